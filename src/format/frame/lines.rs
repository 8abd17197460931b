//! Units of NDJSON and text: lines that end with `\n`; the last one may lack it.

use super::{Kind, UnitEnd, is_blank};

pub(super) struct Lines {
    /// Blank lines are records too.
    text: bool,
    /// Nothing but blanks so far in this line.
    blank: bool,
    /// The line has bytes.
    any: bool,
}

impl Lines {
    pub(super) fn ndjson() -> Self {
        Self {
            text: false,
            blank: true,
            any: false,
        }
    }

    pub(super) fn text() -> Self {
        Self {
            text: true,
            blank: true,
            any: false,
        }
    }

    pub(super) fn scan(&mut self, bytes: &[u8]) -> Option<UnitEnd> {
        let end = memchr::memchr(b'\n', bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        self.blank = self.blank && is_blank(line);
        self.any |= !line.is_empty();
        let end = end?;
        let kind = if self.blank && !self.text {
            Kind::Nothing
        } else {
            Kind::Record
        };
        self.begin();
        Some(UnitEnd {
            taken: end + 1,
            kind,
        })
    }

    /// A line begins.
    pub(super) fn begin(&mut self) {
        self.blank = true;
        self.any = false;
    }

    /// How many lines these are, if each is a record; `None`: one begins with a blank, and may be nothing else.
    pub(super) fn records(&self, lines: &[u8]) -> Option<u64> {
        let may_be_blank =
            |(before, byte): (&u8, &u8)| u8::from(*before == b'\n') & u8::from(*byte <= b' ');
        let pairs = lines.iter().zip(&lines[1..]);
        // All of them, without a way out, which the compiler does many at a time.
        let blank = lines[0] <= b' ' || pairs.fold(0, |any, pair| any | may_be_blank(pair)) != 0;
        (self.text || !blank).then(|| super::newlines(lines))
    }

    pub(super) fn finish(&mut self) -> Kind {
        let record = if self.text { self.any } else { !self.blank };
        if record { Kind::Record } else { Kind::Nothing }
    }
}
