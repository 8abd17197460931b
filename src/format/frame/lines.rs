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
        let mut blank = lines[0] <= b' ';
        let mut count = 0;
        for at in memchr::memchr_iter(b'\n', lines) {
            count += 1;
            blank |= lines.get(at + 1).is_some_and(|next| *next <= b' ');
        }
        (self.text || !blank).then_some(count)
    }

    pub(super) fn finish(&mut self) -> Kind {
        let record = if self.text { self.any } else { !self.blank };
        if record { Kind::Record } else { Kind::Nothing }
    }
}
