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

/// The first delimiter or line end. Most fields are short, so the first bytes are looked at one by one.
#[inline]
fn find_stop(bytes: &[u8], delimiter: u8) -> Option<usize> {
    let near = bytes.len().min(12);
    for (i, &b) in bytes[..near].iter().enumerate() {
        if b == delimiter || b == b'\n' {
            return Some(i);
        }
    }
    memchr::memchr2(delimiter, b'\n', &bytes[near..]).map(|stop| near + stop)
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
            let rest = &bytes[at..];
            let stop = find_stop(rest, settings.delimiter).map(|stop| at + stop);
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
