//! Strings: JSON's escapes, both ways.

use super::scan::hex4;

/// Appends the characters of a scanned JSON string (without its quotes) to `out`.
///
/// The scanner has checked every escape; one that it would refuse is copied as it is.
pub fn unescape(mut raw: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\\', raw) {
        out.extend_from_slice(&raw[..at]);
        let (c, length) = escape(&raw[at..]);
        let mut buffer = [0; 4];
        out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        raw = &raw[(at + length).min(raw.len())..];
    }
    out.extend_from_slice(raw);
}

/// The character of the escape that `raw` begins with, and the escape's length.
fn escape(raw: &[u8]) -> (char, usize) {
    let simple = match raw.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(raw),
        Some(b'"') => '"',
        Some(b'/') => '/',
        Some(b'\\') => '\\',
        _ => return ('\\', 1),
    };
    (simple, 2)
}

fn unicode_escape(raw: &[u8]) -> (char, usize) {
    let Some(high) = hex4(raw, 2) else {
        return ('\\', 1);
    };
    if let Some(c) = char::from_u32(high) {
        return (c, 6);
    }
    let pair = hex4(raw, 8)
        .and_then(|low| {
            Some(0x1_0000 + ((high.checked_sub(0xD800)? << 10) | low.checked_sub(0xDC00)?))
        })
        .and_then(char::from_u32);
    pair.map_or(('\\', 1), |c| (c, 12))
}

/// Appends `text`, which is UTF-8, as a JSON string with its quotes.
pub fn quote(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &b in text {
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(b >> 4)],
                HEX[usize::from(b & 15)],
            ]),
            _ => out.push(b),
        }
    }
    out.push(b'"');
}
