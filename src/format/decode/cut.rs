//! Where the records of a segment stand, by the same rules by which it was framed.
//!
//! | format | a record | skipped |
//! | --- | --- | --- |
//! | ndjson | a line without its `\n` and one `\r` before it | lines of white space only |
//! | text | the same; an empty line is a record | |
//! | csv, tsv | see `csv`; a line of nothing is none | the header, comments, empty lines |
//! | json | a value; what does not end runs to the end of the segment | white space, commas, brackets of the array around |
//!
//! A byte order mark at the very beginning of a file is skipped.

use super::csv::{Ended, Fields};
use crate::format::{FileContext, InputFormat};
use crate::record::scan::plain_end;
use crate::segment::Segment;

/// The next piece of a segment.
pub(super) enum Piece {
    /// No record; up to there.
    Skipped {
        next: usize,
    },
    Record(Place),
}

#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) start: usize,
    /// Without the line end.
    pub(super) end: usize,
    pub(super) next: usize,
    /// What is already known to be wrong with it.
    pub(super) problem: Option<&'static str>,
}

pub(super) struct Cutter<'a> {
    context: &'a FileContext,
    bytes: &'a [u8],
    pub(super) at: usize,
    /// The file's beginning is yet to be cut.
    beginning: bool,
    due: Due,
    /// The segment holds one record, which may be all that follows a syntax error.
    single: bool,
}

/// What comes before the first record of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    /// A CSV header.
    Header,
    /// Perhaps the `[` of an array around all records.
    Array,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(context: &'a FileContext, range: &Segment, bytes: &'a [u8]) -> Self {
        let from = range.from;
        let due = match context.settings.format {
            InputFormat::Csv | InputFormat::Tsv if context.settings.csv.header => Due::Header,
            InputFormat::Json => Due::Array,
            _ => Due::Nothing,
        };
        Self {
            context,
            bytes,
            at: 0,
            beginning: from == 0,
            due: if from == 0 { due } else { Due::Nothing },
            single: range.records == 1,
        }
    }

    /// From a record on that is not the file's beginning.
    pub(super) fn midway(context: &'a FileContext, bytes: &'a [u8]) -> Self {
        Self {
            context,
            bytes,
            at: 0,
            beginning: false,
            due: Due::Nothing,
            single: false,
        }
    }

    /// The next piece; of a CSV record its fields too.
    pub(super) fn next(&mut self, fields: &mut Fields) -> Option<Piece> {
        if std::mem::take(&mut self.beginning) && self.bytes.starts_with("\u{feff}".as_bytes()) {
            self.at = 3;
            return Some(Piece::Skipped { next: 3 });
        }
        if self.at >= self.bytes.len() {
            return None;
        }
        let piece = match self.context.settings.format {
            InputFormat::Ndjson => self.line(true),
            InputFormat::Text => self.line(false),
            InputFormat::Csv | InputFormat::Tsv => self.row(fields),
            InputFormat::Json => self.value(),
        };
        self.at = match &piece {
            Piece::Skipped { next } => *next,
            Piece::Record(place) => place.next,
        };
        Some(piece)
    }

    fn line(&self, skip_blank: bool) -> Piece {
        let start = self.at;
        let (mut end, next) = match memchr::memchr(b'\n', &self.bytes[start..]) {
            Some(length) => (start + length, start + length + 1),
            None => (self.bytes.len(), self.bytes.len()),
        };
        if end > start && self.bytes[end - 1] == b'\r' {
            end -= 1;
        }
        if skip_blank && self.bytes[start..end].iter().all(|b| b" \t\r".contains(b)) {
            return Piece::Skipped { next };
        }
        Piece::Record(Place {
            start,
            end,
            next,
            problem: None,
        })
    }

    fn row(&mut self, fields: &mut Fields) -> Piece {
        let settings = &self.context.settings.csv;
        let start = self.at;
        let rest = &self.bytes[start..];
        if rest[0] == b'\n' {
            return Piece::Skipped { next: start + 1 };
        }
        if rest.starts_with(b"\r\n") || rest == b"\r" {
            return Piece::Skipped {
                next: start + rest.len().min(2),
            };
        }
        if settings.comment == Some(rest[0]) {
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            return Piece::Skipped {
                next: start + length,
            };
        }
        let Ended { end, next, problem } = fields.read(self.bytes, start, settings);
        if self.due == Due::Header {
            self.due = Due::Nothing;
            return Piece::Skipped { next };
        }
        Piece::Record(Place {
            start,
            end,
            next,
            problem,
        })
    }

    fn value(&mut self) -> Piece {
        let start = self.at;
        let mut at = start;
        while let Some(&b) = self.bytes.get(at) {
            match b {
                b'[' if self.due == Due::Array => self.due = Due::Nothing,
                // A syntax error, after which no array begins.
                b',' | b']' => self.due = Due::Nothing,
                b if separates(b) => {}
                _ => break,
            }
            at += 1;
        }
        if at > start {
            return Piece::Skipped { next: at };
        }
        self.due = Due::Nothing;
        let mut next = value_end(self.bytes, start).unwrap_or(self.bytes.len());
        if self.single && !self.bytes[next..].iter().all(|b| separates(*b)) {
            // After a syntax error inside the array the rest of the file is one record.
            let last = self.bytes.iter().rposition(|b| !separates(*b));
            next = last.map_or(next, |last| last + 1);
        }
        Piece::Record(Place {
            start,
            end: next,
            next,
            problem: None,
        })
    }
}

/// What may stand between values and after the last.
fn separates(b: u8) -> bool {
    b" \t\r\n,]".contains(&b)
}

/// The end of the value that begins at `start`, by brackets and strings alone; `None` if it does not end.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match *bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ if depth == 0 => {
                let ends = |b: &u8| b" \t\r\n,]}[{\"".contains(b);
                return Some(
                    bytes[at..]
                        .iter()
                        .position(ends)
                        .map_or(bytes.len(), |n| at + n),
                );
            }
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = plain_end(bytes, at);
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            // A control character: the decoder's business.
            _ => at += 1,
        }
    }
}
