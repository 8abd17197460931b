//! Units of NDJSON and text: lines that end with `\n`; the last one may lack it.

use super::{Kind, UnitEnd, is_blank};

/// Bytes that are looked at together: a multiple of what a processor takes at once.
const TOGETHER: usize = 32;
/// As many of these as one byte counts the line ends of.
const COUNTED: usize = TOGETHER * u8::MAX as usize;

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

    /// How many lines these are, if each is a record; `None`: one begins with a blank, and may be nothing else. `seen` is given all
    /// bytes, some thousand at a time.
    pub(super) fn records(&self, lines: &[u8], mut seen: impl FnMut(&[u8])) -> Option<u64> {
        let (last, pairs) = (lines.last()?, lines.len() - 1);
        let mut count = u64::from(*last == b'\n');
        let mut blanks = [0; TOGETHER];
        blanks[0] = u8::from(lines[0] <= b' ');
        let each = lines[..pairs].chunks(COUNTED);
        // Each place counts for itself, without a jump, so that the compiler makes vectors of it: lines may be short.
        for (bytes, nexts) in each.zip(lines[1..].chunks(COUNTED)) {
            let mut ends = [0; TOGETHER];
            let (whole, rest) = bytes.as_chunks();
            let (whole_nexts, rest_nexts) = nexts.as_chunks();
            for (bytes, nexts) in whole.iter().zip(whole_nexts) {
                count_each(&mut ends, &mut blanks, bytes, nexts);
            }
            count += ends.iter().map(|ends| u64::from(*ends)).sum::<u64>();
            for (byte, next) in rest.iter().zip(rest_nexts) {
                let end = u8::from(*byte == b'\n');
                count += u64::from(end);
                blanks[0] |= end & u8::from(*next <= b' ');
            }
            seen(bytes);
        }
        seen(&lines[pairs..]);
        (self.text || blanks == [0; TOGETHER]).then_some(count)
    }

    pub(super) fn finish(&mut self) -> Kind {
        let record = if self.text { self.any } else { !self.blank };
        if record { Kind::Record } else { Kind::Nothing }
    }
}

/// Adds to each place whether a line ends there, and marks it if the next one then begins with a blank.
fn count_each(
    ends: &mut [u8; TOGETHER],
    blanks: &mut [u8; TOGETHER],
    bytes: &[u8; TOGETHER],
    nexts: &[u8; TOGETHER],
) {
    for place in 0..TOGETHER {
        // In words of a processor's vectors: a comparison answers with all bits, and a difference that is not below 0 compares.
        let end = if bytes[place] == b'\n' { u8::MAX } else { 0 };
        ends[place] = ends[place].wrapping_sub(end);
        blanks[place] |= end & (b' ' + 1).saturating_sub(nexts[place]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_but_line_ends_is_counted() {
        for length in [1, 2, TOGETHER + 1, COUNTED, COUNTED + 1, 3 * COUNTED + 7] {
            let ends = vec![b'\n'; length];
            assert_eq!(Lines::text().records(&ends, |_| {}), Some(length as u64));
            assert_eq!(Lines::ndjson().records(&ends, |_| {}), None);
        }
    }

    proptest! {
        #[test]
        fn lines_counted_together_are_as_many_as_one_by_one(
            lines in prop::collection::vec((0..700_usize, "[ \\t\r{}a]{0,3}"), 1..60),
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
            let mut seen = Vec::new();
            let counted = Lines::text().records(&bytes, |bytes| seen.extend_from_slice(bytes));
            prop_assert_eq!((counted, &seen), (Some(count), &bytes));
            let counted = Lines::ndjson().records(&bytes, |_| {});
            prop_assert_eq!(counted, (!blank).then_some(count));
        }
    }
}
