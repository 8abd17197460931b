//! The way of most records that land as they came: read once to see that they are JSON, without a tape.
//!
//! Nothing is built of such a record but the few columns that a path names, and these are filled as in `direct`. Of all
//! other values only where they end is of interest. Keys are compared with those that came in their place last time, so that
//! whether one is a column's is seldom looked up.
//!
//! As in `direct`, whatever is malformed or out of the ordinary is answered "no" and goes over the tape, which says what is
//! wrong and where; a test holds this to accept no more than the tape does, with the same columns.

use std::collections::HashMap;

use super::coerce::Rules;
use super::column::Level;
use super::direct::{truth, value};
use crate::record::Expected;
use crate::record::scan::{escape_end, number, plain_end, plain_key, skip_blanks};

/// Containers in containers that are followed here; deeper ones go over the tape.
const DEPTH_MAX: u32 = 64;

/// Which keys came, and which of them are columns'.
#[derive(Default)]
pub(super) struct Keys {
    known: Vec<Known>,
    lookup: HashMap<Box<[u8]>, u32>,
    /// The key that came first last time.
    first: u32,
}

struct Known {
    expected: Expected,
    /// `None`: nobody's.
    slot: Option<usize>,
    /// The key that came after this one last time.
    follower: u32,
}

/// A key, its slot, and what follows its colon.
struct Found {
    /// `None`: it is not remembered.
    key: Option<u32>,
    slot: Option<usize>,
    end: usize,
}

impl Keys {
    /// Of the many keys that an input may have, and of long ones, not all are remembered.
    const KEYS_MAX: usize = 1000;
    const LENGTH_MAX: usize = 100;

    /// The key at `at`, which came after `before`.
    #[inline]
    fn next(
        &mut self,
        level: &Level,
        bytes: &[u8],
        at: usize,
        before: Option<u32>,
    ) -> Option<Found> {
        let guess = match before {
            Some(before) => self.known[before as usize].follower,
            None => self.first,
        };
        if let Some(known) = self.known.get(guess as usize)
            && let Some(end) = known.expected.end(bytes, at)
        {
            return Some(Found {
                key: Some(guess),
                slot: known.slot,
                end,
            });
        }
        self.look_up(level, bytes, at, before)
    }

    #[inline(never)]
    fn look_up(
        &mut self,
        level: &Level,
        bytes: &[u8],
        at: usize,
        before: Option<u32>,
    ) -> Option<Found> {
        let Some((text, end)) = plain_key(bytes, at) else {
            // With escapes: who knows whose it is, if it can be anybody's.
            return level.slots.is_empty().then_some(Found {
                key: None,
                slot: None,
                end: key_end(bytes, at)?,
            });
        };
        let (key, slot) = match self.lookup.get(text) {
            Some(key) => (Some(*key), self.known[*key as usize].slot),
            None => self.remember(level, text),
        };
        if let Some(key) = key {
            match before {
                Some(before) => self.known[before as usize].follower = key,
                None => self.first = key,
            }
        }
        Some(Found { key, slot, end })
    }

    fn remember(&mut self, level: &Level, text: &[u8]) -> (Option<u32>, Option<usize>) {
        let slot = level.slot_of(text);
        if self.known.len() >= Self::KEYS_MAX || text.len() > Self::LENGTH_MAX {
            return (None, slot);
        }
        let key = self.known.len() as u32;
        self.known.push(Known {
            expected: Expected::new(text),
            slot,
            follower: key + 1,
        });
        self.lookup.insert(text.into(), key);
        (Some(key), slot)
    }
}

/// Appends the object that is all of `bytes` (UTF-8) as row `row`: of its values those that have a column. `false`: it must go
/// over the tape, and whatever it left in the columns beyond `row` is to be cut off.
pub(super) fn append_object(
    level: &mut Level,
    keys: &mut Keys,
    row: usize,
    bytes: &[u8],
    rules: &Rules,
) -> bool {
    let at = skip_blanks(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return false;
    }
    let depth = match rules.depth_max {
        0 => DEPTH_MAX,
        max => max.min(DEPTH_MAX),
    };
    let end = fields(level, keys, row, bytes, at + 1, rules, depth - 1);
    end.is_some_and(|end| skip_blanks(bytes, end) == bytes.len())
}

/// The fields of the record from after its `{`; answers where it ends. `depth`: containers that may be opened below.
fn fields(
    level: &mut Level,
    keys: &mut Keys,
    row: usize,
    bytes: &[u8],
    at: usize,
    rules: &Rules,
    depth: u32,
) -> Option<usize> {
    let mut at = skip_blanks(bytes, at);
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    let mut before = None;
    loop {
        let found = keys.next(level, bytes, at, before)?;
        before = found.key;
        let value_at = skip_blanks(bytes, found.end);
        at = match found.slot {
            None => skip(bytes, value_at, depth)?,
            Some(slot) => {
                let column = &mut level.slots[slot].column;
                if column.len() > row {
                    return None;
                }
                column.pad(row);
                value(column, bytes, value_at, rules, depth)?
            }
        };
        at = skip_blanks(bytes, at);
        match bytes.get(at)? {
            b',' => at = skip_blanks(bytes, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// What follows the value at `at`, if it is JSON and opens no more than `depth` containers, which are at most [`DEPTH_MAX`].
fn skip(bytes: &[u8], mut at: usize, depth: u32) -> Option<usize> {
    // The containers that are open, the innermost as the lowest bit: set, where it is an object.
    let mut objects: u64 = 0;
    let mut open = 0;
    loop {
        match *bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1)?,
            b'-' | b'0'..=b'9' => at = number(bytes, at).ok()?.0,
            first @ (b'{' | b'[') => {
                if open == depth {
                    return None;
                }
                let is_object = first == b'{';
                at = skip_blanks(bytes, at + 1);
                if *bytes.get(at)? == if is_object { b'}' } else { b']' } {
                    at += 1;
                } else {
                    objects = objects << 1 | u64::from(is_object);
                    open += 1;
                    if is_object {
                        at = key_end(bytes, at)?;
                    }
                    continue;
                }
            }
            b't' | b'f' => at = truth(bytes, at)?.1,
            b'n' if bytes[at..].starts_with(b"null") => at += 4,
            _ => return None,
        }
        loop {
            if open == 0 {
                return Some(at);
            }
            let is_object = objects & 1 == 1;
            at = skip_blanks(bytes, at);
            match *bytes.get(at)? {
                b',' => {
                    at = skip_blanks(bytes, at + 1);
                    if is_object {
                        at = key_end(bytes, at)?;
                    }
                    break;
                }
                b'}' if is_object => {}
                b']' if !is_object => {}
                _ => return None,
            }
            at += 1;
            objects >>= 1;
            open -= 1;
        }
    }
}

/// Where the value of the key at `at` begins.
#[inline]
fn key_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = string_end(bytes, at + 1)?;
    if bytes.get(at) != Some(&b':') {
        at = skip_blanks(bytes, at);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
    }
    Some(skip_blanks(bytes, at + 1))
}

/// What follows the closing quote of the string whose first character is at `at`.
#[inline]
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                at = match bytes.get(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at + 2,
                    _ => escape_end(bytes, at).ok()?,
                }
            }
            _ => return None,
        }
    }
}
