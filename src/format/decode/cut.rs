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
use crate::record::scan::skip_blanks;

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
    header_due: bool,
    /// A `[` that comes now is the array around all records.
    array_due: bool,
}

impl<'a> Cutter<'a> {
    /// `from`: the offset of the first byte in the file.
    pub(super) fn new(context: &'a FileContext, from: u64, bytes: &'a [u8]) -> Self {
        let csv = matches!(context.settings.format, InputFormat::Csv | InputFormat::Tsv);
        Self {
            context,
            bytes,
            at: 0,
            beginning: from == 0,
            header_due: from == 0 && csv && context.settings.csv.header,
            array_due: from == 0,
        }
    }

    /// From a record on that is not the file's beginning.
    pub(super) fn midway(context: &'a FileContext, bytes: &'a [u8]) -> Self {
        Self {
            context,
            bytes,
            at: 0,
            beginning: false,
            header_due: false,
            array_due: false,
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
        if skip_blank && skip_blanks(self.bytes, start) >= end {
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
        if std::mem::take(&mut self.header_due) {
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
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' => {}
                b'[' if self.array_due => self.array_due = false,
                _ => break,
            }
            at += 1;
        }
        if at > start {
            return Piece::Skipped { next: at };
        }
        self.array_due = false;
        let end = value_end(self.bytes, start);
        let next = end.unwrap_or(self.bytes.len());
        Piece::Record(Place {
            start,
            end: next,
            next,
            problem: None,
        })
    }
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
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}
