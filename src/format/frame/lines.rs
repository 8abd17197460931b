//! Units of NDJSON and text: lines that end with `\n`; the last one may lack it.

use super::{Kind, UnitEnd, is_blank};

/// Bytes whose line ends are counted in one byte: a multiple of what a processor takes at once.
const COUNTED: usize = 240;

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
        let (last, pairs) = (lines.last()?, lines.len() - 1);
        let mut blank = u8::from(lines[0] <= b' ');
        let mut count = u64::from(*last == b'\n');
        let each = lines[..pairs].chunks(COUNTED);
        // Without a jump in it, so that many bytes are looked at together: lines are short.
        for (bytes, nexts) in each.zip(lines[1..].chunks(COUNTED)) {
            let mut ends = 0;
            for (byte, next) in bytes.iter().zip(nexts) {
                let end = u8::from(*byte == b'\n');
                ends += end;
                blank |= end & u8::from(*next <= b' ');
            }
            count += u64::from(ends);
        }
        (self.text || blank == 0).then_some(count)
    }

    pub(super) fn finish(&mut self) -> Kind {
        let record = if self.text { self.any } else { !self.blank };
        if record { Kind::Record } else { Kind::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_counted_together_are_as_many_as_one_by_one(
            lines in prop::collection::vec((0..700_usize, "[ \\t\r{}a]{0,3}"), 1..12),
            blanks in any::<bool>(),
        ) {
            let mut bytes = Vec::new();
            for (length, mut line) in lines {
                if !blanks {
                    line.insert(0, '{');
                }
                line.push_str(&"x".repeat(length));
                line.push('\n');
                bytes.extend_from_slice(line.as_bytes());
            }
            let each = bytes.split_inclusive(|byte| *byte == b'\n');
            let count = each.clone().count() as u64;
            let blank = each.clone().any(|line| line[0] <= b' ');
            prop_assert_eq!(Lines::text().records(&bytes), Some(count));
            prop_assert_eq!(Lines::ndjson().records(&bytes), (!blank).then_some(count));
        }
    }
}
