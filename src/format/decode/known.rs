//! Whether a record shows an inference anything that it has not seen, told without a tape.
//!
//! Of a hundred thousand records nearly all are like those before. Such a record is read once, from left to right, and each
//! value held against what was seen under its key. Whatever is new, malformed or out of order is "not known" and goes over
//! the tape; so this may say "known" only of well-formed objects that would add nothing, which a test holds it to.

use super::direct::truth;
use crate::record::scan::{escape_end, number, plain_end, plain_key, skip_blanks};
use crate::record::{Kind, time};
use crate::schema::{Kinds, Observed, TYPE_DEPTH_MAX};

/// Whether all of `bytes` (UTF-8) is an object of which `seen` knows all.
pub(super) fn knows(seen: &Observed, bytes: &[u8], depth_max: u32) -> bool {
    let at = skip_blanks(bytes, 0);
    let depth_max = match depth_max {
        0 => TYPE_DEPTH_MAX,
        max => TYPE_DEPTH_MAX.min(max as usize),
    };
    let end = (bytes.get(at) == Some(&b'{'))
        .then(|| fields(seen, bytes, at + 1, depth_max - 1))
        .flatten();
    end.is_some_and(|end| skip_blanks(bytes, end) == bytes.len())
}

/// The fields of an object from after its `{`; answers where it ends. `depth`: containers that may be opened below.
fn fields(seen: &Observed, bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    let mut at = skip_blanks(bytes, at);
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    let mut near = 0;
    loop {
        let (place, field, value_at) =
            if let Some((field, end)) = seen.expected_field(near, bytes, at) {
                (near, field, end)
            } else {
                let (key, end) = plain_key(bytes, at)?;
                let (place, field) = seen.known_field(key, near)?;
                (place, field, end)
            };
        near = place + 1;
        at = value(field, bytes, skip_blanks(bytes, value_at), depth)?;
        at = skip_blanks(bytes, at);
        match bytes.get(at)? {
            b',' => at = skip_blanks(bytes, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

#[inline]
fn value(seen: &Observed, bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' if seen.kinds.has(Kinds::TEXT) => string_end(bytes, at + 1),
        b'"' if seen.kinds.has(Kinds::DATE_TIME) => {
            let end = plain_end(bytes, at + 1);
            let is_time = bytes.get(end) == Some(&b'"')
                && time::parse_date_time(&bytes[at + 1..end]).is_some();
            is_time.then_some(end + 1)
        }
        b'-' | b'0'..=b'9' => {
            let (end, kind) = number(bytes, at).ok()?;
            let is_known = match kind {
                // So short, it fits.
                Kind::Integer => seen.kinds.has(Kinds::INTEGER) && end - at <= 18,
                _ => seen.kinds.has(Kinds::DOUBLE),
            };
            is_known.then_some(end)
        }
        b't' | b'f' if seen.kinds.has(Kinds::BOOLEAN) => Some(truth(bytes, at)?.1),
        b'n' if bytes[at..].starts_with(b"null") => Some(at + 4),
        b'{' if seen.kinds.has(Kinds::OBJECT) => fields(seen, bytes, at + 1, depth.checked_sub(1)?),
        b'[' if seen.kinds.has(Kinds::ARRAY) => {
            elements(seen, bytes, at + 1, depth.checked_sub(1)?)
        }
        _ => None,
    }
}

/// The elements of an array from after its `[`; answers where it ends.
fn elements(seen: &Observed, bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    let mut at = skip_blanks(bytes, at);
    if bytes.get(at) == Some(&b']') {
        return Some(at + 1);
    }
    let element = seen.known_element()?;
    loop {
        at = value(element, bytes, at, depth)?;
        at = skip_blanks(bytes, at);
        match bytes.get(at)? {
            b',' => at = skip_blanks(bytes, at + 1),
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// What follows the closing quote of the string whose first character is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape_end(bytes, at).ok()?,
            _ => return None,
        }
    }
}
