//! The way of most records: from their text straight into the columns, without a tape.
//!
//! Records of one producer have the same keys in the same order, and values that fit their columns. Such a record is read
//! once, from left to right: each key is compared with the one that came here last time, each value is read as its
//! column wants it, strings are copied while they are scanned.
//!
//! ```text
//! {"id":17,"name":"a\nb","at":"2026-…"}
//!  └ key as expected? ┘└ copied and unescaped up to the quote
//! ```
//!
//! Whatever is out of the ordinary (malformed text, an unknown key, a key twice, a value that does not fit) is not decided
//! here: the answer is "no", the row is cut off again and the record goes the way over the tape, which says what is
//! wrong and where. So this accepts a part of what the tape accepts, with the same values, and a test holds it to that.

use super::coerce::{Rules, Source, append_scalar, end_text};
use super::column::{Column, Level, Values};
use crate::record::number::parse_f64;
use crate::record::scan::{
    escape_end, has_special, number, plain_end, plain_key, skip_blanks, specials,
};
use crate::record::text;

/// Whether records are worth trying: after one that was not, some are left out, more each time.
#[derive(Default)]
pub(super) struct Worth {
    /// Records to leave out before the next try.
    out: u32,
    /// How many to leave out next time.
    next: u32,
}

impl Worth {
    const OUT_MAX: u32 = 255;

    #[inline]
    pub(super) fn is_worth(&mut self) -> bool {
        if self.out == 0 {
            return true;
        }
        self.out -= 1;
        false
    }

    #[inline]
    pub(super) fn learn(&mut self, went: bool) {
        if went {
            self.next /= 2;
        } else {
            self.out = self.next;
            self.next = (self.next * 2 + 1).min(Self::OUT_MAX);
        }
    }
}

/// Appends the object that is all of `bytes` (UTF-8) as row `row`. `false`: it must go over the tape, and whatever it left in
/// the columns beyond `row` is to be cut off.
pub(super) fn append_object(level: &mut Level, row: usize, bytes: &[u8], rules: &Rules) -> bool {
    let at = skip_blanks(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return false;
    }
    let depth_max = match rules.depth_max {
        0 => u32::MAX,
        max => max,
    };
    let end = fields(level, row, bytes, at + 1, rules, depth_max - 1);
    end.is_some_and(|end| skip_blanks(bytes, end) == bytes.len())
}

/// The fields of an object from after its `{`; answers where it ends. `depth`: containers that may be opened below.
fn fields(
    level: &mut Level,
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
        let guess = level.guess(before);
        let expected = level.slots.get(guess);
        let (found, value_at) = match expected.and_then(|slot| slot.after_key(bytes, at)) {
            Some(end) => (guess, end),
            None => look_up(level, bytes, at, before)?,
        };
        before = Some(found);
        let column = &mut level.slots[found].column;
        if column.len() != row {
            if column.len() > row {
                return None;
            }
            column.pad(row);
        }
        at = value(column, bytes, skip_blanks(bytes, value_at), rules, depth)?;
        at = skip_blanks(bytes, at);
        match bytes.get(at)? {
            b',' => at = skip_blanks(bytes, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// The slot of the key at `at`, another one than last time, and what follows its colon.
#[inline(never)]
fn look_up(
    level: &mut Level,
    bytes: &[u8],
    at: usize,
    before: Option<usize>,
) -> Option<(usize, usize)> {
    let (key, end) = plain_key(bytes, at)?;
    Some((level.find(key, before)?, end))
}

/// A value into the next row of its column; answers where it ends.
#[inline]
pub(super) fn value(
    column: &mut Column,
    bytes: &[u8],
    at: usize,
    rules: &Rules,
    depth: u32,
) -> Option<usize> {
    match (&mut column.values, bytes.get(at)?) {
        (Values::Text(text), b'"') => {
            let start = text.data.len();
            let end = copy_string(bytes, at + 1, &mut text.data)?;
            if text.chars_max.is_none() {
                text.offsets.push(text.data.len());
                column.validity.push(true);
            } else if !end_text(column, start) {
                return None;
            }
            Some(end)
        }
        (Values::BigInt(values), b'-' | b'0'..=b'9') => {
            let Some((value, end)) = short_integer(bytes, at) else {
                return other_value(column, bytes, at, rules);
            };
            values.push(value);
            column.validity.push(true);
            Some(end)
        }
        (Values::Double(values), b'-' | b'0'..=b'9') => {
            let (value, end) = double(bytes, at)?;
            values.push(value);
            column.validity.push(true);
            Some(end)
        }
        (Values::Boolean(values), b't' | b'f') => {
            let (value, end) = truth(bytes, at)?;
            values.push(value);
            column.validity.push(true);
            Some(end)
        }
        (Values::Struct(level), b'{') => {
            let row = column.validity.len();
            let end = fields(level, row, bytes, at + 1, rules, depth.checked_sub(1)?)?;
            column.validity.push(true);
            Some(end)
        }
        (Values::Array { offsets, element }, b'[') => {
            let end = elements(element, bytes, at + 1, rules, depth.checked_sub(1)?)?;
            offsets.push(element.len());
            column.validity.push(true);
            Some(end)
        }
        _ => other_value(column, bytes, at, rules),
    }
}

/// The elements of an array from after its `[`; answers where it ends.
fn elements(
    element: &mut Column,
    bytes: &[u8],
    at: usize,
    rules: &Rules,
    depth: u32,
) -> Option<usize> {
    let mut at = skip_blanks(bytes, at);
    if bytes.get(at) == Some(&b']') {
        return Some(at + 1);
    }
    loop {
        at = value(element, bytes, at, rules, depth)?;
        at = skip_blanks(bytes, at);
        match bytes.get(at)? {
            b',' => at = skip_blanks(bytes, at + 1),
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// NULL, and scalars for columns that are rarer or take more than one form.
fn other_value(column: &mut Column, bytes: &[u8], at: usize, rules: &Rules) -> Option<usize> {
    let (source, start, end, after) = match bytes[at] {
        b'"' => {
            let end = plain_end(bytes, at + 1);
            if bytes.get(end) != Some(&b'"') {
                return None;
            }
            (Source::Text, at + 1, end, end + 1)
        }
        b'-' | b'0'..=b'9' => {
            let (end, _) = number(bytes, at).ok()?;
            (Source::Number, at, end, end)
        }
        b't' | b'f' => {
            let (_, end) = truth(bytes, at)?;
            (Source::Boolean, at, end, end)
        }
        b'n' if bytes[at..].starts_with(b"null") => {
            column.push_null();
            return Some(at + 4);
        }
        _ => return None,
    };
    let fits = match &mut column.values {
        Values::Text(text) => {
            let from = text.data.len();
            text.data.extend_from_slice(&bytes[start..end]);
            end_text(column, from)
        }
        _ => append_scalar(column, &bytes[start..end], source, rules),
    };
    fits.then_some(after)
}

/// The boolean at `at`, and what follows it.
#[inline]
pub(super) fn truth(bytes: &[u8], at: usize) -> Option<(bool, usize)> {
    let rest = &bytes[at..];
    if rest.starts_with(b"true") {
        Some((true, at + 4))
    } else if rest.starts_with(b"false") {
        Some((false, at + 5))
    } else {
        None
    }
}

/// Appends the characters of the string whose first one is at `at`; answers what follows its closing quote.
#[inline]
fn copy_string(bytes: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<usize> {
    loop {
        at = copy_plain(bytes, at, out);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = copy_escape(bytes, at, out)?,
            _ => return None,
        }
    }
}

/// Appends what stands before the next `"`, `\` or control character, and answers where that is. Words are appended before
/// they are looked at, and cut back.
#[inline]
fn copy_plain(bytes: &[u8], mut at: usize, out: &mut Vec<u8>) -> usize {
    /// After so many words a string is taken for a long one.
    const WORDS: usize = 4;
    for _ in 0..WORDS {
        let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
            return copy_slowly(bytes, at, out);
        };
        out.extend_from_slice(word);
        let found = specials(u64::from_le_bytes(*word));
        if found != 0 {
            let plain = (found.trailing_zeros() / 8) as usize;
            out.truncate(out.len() - (8 - plain));
            return at + plain;
        }
        at += 8;
    }
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>)
        && !has_special(chunk)
    {
        out.extend_from_slice(chunk);
        at += 32;
    }
    copy_slowly(bytes, at, out)
}

#[inline(never)]
fn copy_slowly(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let end = plain_end(bytes, at);
    out.extend_from_slice(&bytes[at..end]);
    end
}

/// Appends the character of the escape at `at`; answers what follows it.
#[inline]
fn copy_escape(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let character = match bytes.get(at + 1)? {
        b'"' => b'"',
        b'\\' => b'\\',
        b'/' => b'/',
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        _ => {
            let end = escape_end(bytes, at).ok()?;
            text::unescape(&bytes[at..end], out);
            return Some(end);
        }
    };
    out.push(character);
    Some(at + 2)
}

/// The integer at `at`, of at most 18 digits and nothing else.
#[inline]
fn short_integer(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let (value, end) = digits(bytes, first, 0);
    let count = end - first;
    let is_plain = matches!(count, 1..=18) && (count == 1 || bytes[first] != b'0');
    if !is_plain || matches!(bytes.get(end), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    let value = value as i64;
    Some((if negative { -value } else { value }, end))
}

/// Digits from `at` on, behind `value`; the sum is of use only where there are few enough of them.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0'))
        && digit <= 9
    {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// The number at `at` as a double.
#[inline]
fn double(bytes: &[u8], at: usize) -> Option<(f64, usize)> {
    short_double(bytes, at).or_else(|| {
        let (end, _) = number(bytes, at).ok()?;
        Some((parse_f64(&bytes[at..end], false)?, end))
    })
}

/// A number of at most 15 digits, with a point or without: both its digits and the power of ten are exact doubles, so that
/// one division, which rounds once, gives the nearest.
#[inline]
fn short_double(bytes: &[u8], at: usize) -> Option<(f64, usize)> {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    let negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let (mut mantissa, mut end) = digits(bytes, first, 0);
    let mut count = end - first;
    if count == 0 || (count > 1 && bytes[first] == b'0') {
        return None;
    }
    let mut decimals = 0;
    if bytes.get(end) == Some(&b'.') {
        let point = end + 1;
        (mantissa, end) = digits(bytes, point, mantissa);
        decimals = end - point;
        if decimals == 0 {
            return None;
        }
        count += decimals;
    }
    if count > 15 || matches!(bytes.get(end), Some(b'e' | b'E')) {
        return None;
    }
    let value = mantissa as f64 / POWERS[decimals];
    Some((if negative { -value } else { value }, end))
}
