//! One CSV or TSV record into fields, per RFC 4180.
//!
//! A quote counts only where a field begins; inside a quoted field it is doubled, and line ends belong to the field. A
//! record ends at `\n`; one `\r` before it does not count. Everywhere else a quote is text. What follows a closing quote, and a
//! quote that never closes, make the record a reject; where it ends is clear all the same.

use crate::format::CsvSettings;

#[derive(Clone, Copy)]
struct Field {
    /// Into the bytes, or into `scratch` if `unquoted`.
    start: usize,
    end: usize,
    quoted: bool,
    /// It held doubled quotes, so its text stands in `scratch`.
    unquoted: bool,
}

/// The fields of the record in hand; reused.
#[derive(Default)]
pub(super) struct Fields {
    fields: Vec<Field>,
    scratch: Vec<u8>,
}

/// Where a record ends.
pub(super) struct Ended {
    /// Without its line end.
    pub(super) end: usize,
    pub(super) next: usize,
    pub(super) problem: Option<&'static str>,
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// The first delimiter or line end from `at` on. Most fields are short: their bytes are looked at by words.
#[inline]
fn find_stop(bytes: &[u8], mut at: usize, delimiter: u8) -> Option<usize> {
    const WORDS: usize = 3;
    for _ in 0..WORDS {
        let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
            break;
        };
        let word = u64::from_le_bytes(*word);
        let found = with_byte(word, delimiter) | with_byte(word, b'\n');
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    memchr::memchr2(delimiter, b'\n', &bytes[at..]).map(|stop| at + stop)
}

/// The high bit of each byte that is `byte`; above the lowest one there may be false ones.
#[inline]
fn with_byte(word: u64, byte: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let others = word ^ (ONES * u64::from(byte));
    others.wrapping_sub(ONES) & !others & HIGHS
}

impl Fields {
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    fn text<'a>(&'a self, field: &Field, bytes: &'a [u8]) -> &'a [u8] {
        let source = if field.unquoted { &self.scratch } else { bytes };
        &source[field.start..field.end]
    }

    /// The texts in order; `None` for NULL: an empty field, or the `null` text, without quotes.
    pub(super) fn texts<'a>(
        &'a self,
        bytes: &'a [u8],
        settings: &'a CsvSettings,
    ) -> impl Iterator<Item = Option<&'a [u8]>> + Clone + 'a {
        self.fields.iter().map(move |field| {
            let text = self.text(field, bytes);
            let null = !field.quoted && (text.is_empty() || text == settings.null.as_bytes());
            (!null).then_some(text)
        })
    }

    /// Reads the record that begins at `at`.
    pub(super) fn read(&mut self, bytes: &[u8], mut at: usize, settings: &CsvSettings) -> Ended {
        self.fields.clear();
        self.scratch.clear();
        let mut problem = None;
        loop {
            let quoted = settings.quote != 0 && bytes.get(at) == Some(&settings.quote);
            let mut field = Field {
                start: at,
                end: at,
                quoted,
                unquoted: false,
            };
            if quoted {
                let Some(after) = self.quoted(bytes, &mut field, settings.quote) else {
                    return Ended {
                        end: at + without_line_end(&bytes[at..]).len(),
                        next: bytes.len(),
                        problem: Some("a quoted field never ends"),
                    };
                };
                at = after;
            }
            let stop = find_stop(bytes, at, settings.delimiter);
            let delimited = stop.is_some_and(|stop| bytes[stop] != b'\n');
            let mut end = stop.unwrap_or(bytes.len());
            if !delimited && end > at && bytes[end - 1] == b'\r' {
                end -= 1;
            }
            if !quoted {
                field.end = end;
            } else if end > at {
                problem = Some("something follows a closing quote");
            }
            self.fields.push(field);
            match stop {
                Some(stop) if delimited => at = stop + 1,
                stop => {
                    return Ended {
                        end,
                        next: stop.map_or(bytes.len(), |stop| stop + 1),
                        problem,
                    };
                }
            }
        }
    }

    /// Reads the quoted field that begins at `field.start`; answers one past its closing quote.
    fn quoted(&mut self, bytes: &[u8], field: &mut Field, quote: u8) -> Option<usize> {
        let start = field.start + 1;
        let mut at = start;
        let mut copied = start;
        let scratch = self.scratch.len();
        loop {
            let found = at + memchr::memchr(quote, &bytes[at..])?;
            if bytes.get(found + 1) == Some(&quote) {
                self.scratch.extend_from_slice(&bytes[copied..=found]);
                at = found + 2;
                copied = at;
                field.unquoted = true;
                continue;
            }
            if field.unquoted {
                self.scratch.extend_from_slice(&bytes[copied..found]);
                (field.start, field.end) = (scratch, self.scratch.len());
            } else {
                (field.start, field.end) = (start, found);
            }
            return Some(found + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stop_is_found_where_it_is_first(
            bytes in prop::collection::vec(prop::sample::select(vec![b'a', b',', b'\n', b'-', b'+', 0x0b, 0x8c, 0xac, 0, 0xff]), 0..40),
            long in "[a-z]{0,40}",
            at in 0..40_usize,
        ) {
            let bytes = [long.as_bytes(), &bytes].concat();
            let at = at.min(bytes.len());
            let expected = bytes[at..].iter().position(|b| b",\n".contains(b)).map(|n| at + n);
            prop_assert_eq!(find_stop(&bytes, at, b','), expected);
        }
    }
}
