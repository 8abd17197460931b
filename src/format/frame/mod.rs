//! Cuts a file's decoded stream into segments: runs of whole records of about [`SEGMENT_BYTES`].
//!
//! The stream is first divided into *units*, each a record or nothing (a blank line, a comment, the header, what
//! closes a JSON array), by one small state machine per format. Units are gathered into segments:
//!
//! ```text
//! │ header │ record │ blank │ record │  record  │ record ... longer than record_bytes_max ... │ record │
//! ├──────────────── segment ─────────┼─ segment ┼────────────── segment, cut ────────────────┼─ … ────┤
//! ```
//!
//! Where segments end depends on the bytes and the settings alone, never on how the bytes arrived. The rules:
//!
//! - A segment ends before the unit that would take it beyond [`SEGMENT_BYTES`]. A unit is never split.
//! - A unit longer than `record_bytes_max` and a line end is one record, whatever it is, and a segment of its own, of which
//!   only the first [`CUT_BYTES`] are kept ([`is_cut`]); its range and digest are of all its bytes. No other segment of one
//!   record is that long, so the range tells.
//! - CSV: a quoted field that never ends would swallow the rest of the file. If the record it began is, to the end of
//!   the file, within `record_bytes_max`, only its first line is a record (a reject, as its quote is open), a segment
//!   ends there, and framing goes on after that line. Otherwise the rest of the file is that one record.
//! - JSON: after a syntax error inside the array the rest of the file, from where the last right element ended, is
//!   one record and a segment of its own. So in a segment of one record that record runs to the segment's end, but for
//!   blanks, `,` and `]`.
//! - A torn stream ends at its last whole unit; what stands after it is dropped.

mod bytes;
mod csv;
mod json;
mod lines;

use std::collections::VecDeque;

pub use bytes::SegmentBytes;

use super::{InputFormat, ReadingSettings};
use crate::segment::{Digest, Digester};

/// A segment ends before the unit that would take it beyond this.
pub const SEGMENT_BYTES: usize = 1 << 20;
/// Bytes read at once: into what the processor's cache holds.
const READ_MAX: usize = 256 << 10;
const READ_MIN: usize = 64 << 10;
/// Bytes read beyond a segment's end to see it.
const BEYOND: usize = 16 << 10;
/// How much of a record longer than `record_bytes_max` is handed out.
pub const CUT_BYTES: usize = 64 << 10;
/// The mark that UTF-8 files may begin with; it belongs to the first unit.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether of a segment of this many bytes and records only the first [`CUT_BYTES`] are handed out.
#[must_use]
pub fn is_cut(bytes: u64, records: u64, record_bytes_max: u64) -> bool {
    records == 1 && bytes > unit_bytes_max(record_bytes_max)
}

/// A unit has its line end beside the record. 0 means no limit.
fn unit_bytes_max(record_bytes_max: u64) -> u64 {
    match record_bytes_max {
        0 => u64::MAX,
        max => max.saturating_add(2),
    }
}

/// A line of NDJSON that holds no record: nothing but spaces, tabs and carriage returns.
#[must_use]
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'))
}

/// A segment as it was cut, not yet tied to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    pub from: u64,
    pub to: u64,
    /// Line number, from 1, of the first byte.
    pub line: u64,
    pub records: u64,
    pub digest: Digest,
    /// All of `[from, to)`, or the first [`CUT_BYTES`] where [`is_cut`].
    pub bytes: SegmentBytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Record,
    Nothing,
    Header,
    /// All that follows a syntax error.
    Rest,
}

/// Where a unit ends: bytes taken from the slice given, and what it was.
struct UnitEnd {
    taken: usize,
    kind: Kind,
}

/// What stands unfinished at the end of the stream.
enum Tail {
    Unit(Kind),
    /// A CSV record whose quote is open.
    OpenQuote(Kind),
}

enum Scanner {
    Lines(lines::Lines),
    Csv(csv::Csv),
    Json(json::Json),
}

impl Scanner {
    fn new(settings: &ReadingSettings) -> Self {
        match settings.format {
            InputFormat::Ndjson => Self::Lines(lines::Lines::ndjson()),
            InputFormat::Text => Self::Lines(lines::Lines::text()),
            InputFormat::Csv | InputFormat::Tsv => Self::Csv(csv::Csv::new(&settings.csv)),
            InputFormat::Json => Self::Json(json::Json::default()),
        }
    }

    /// Goes on through `bytes`, which follow what was scanned before; `None`: all taken, the unit goes on.
    fn scan(&mut self, bytes: &[u8]) -> Option<UnitEnd> {
        match self {
            Self::Lines(scanner) => scanner.scan(bytes),
            Self::Csv(scanner) => scanner.scan(bytes),
            Self::Json(scanner) => scanner.scan(bytes),
        }
    }

    /// The end of the stream inside a unit of at least one byte.
    fn finish(&mut self) -> Tail {
        match self {
            Self::Lines(scanner) => Tail::Unit(scanner.finish()),
            Self::Csv(scanner) => scanner.finish(),
            Self::Json(scanner) => Tail::Unit(scanner.finish()),
        }
    }
}

/// A unit longer than `record_bytes_max`, going by.
struct Long {
    from: u64,
    line: u64,
    length: u64,
    newlines: u64,
    digester: Digester,
    kept: Vec<u8>,
}

impl Long {
    fn take(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.newlines += newlines(bytes);
        self.digester.update(bytes);
        let room = CUT_BYTES.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
    }
}

/// The lines of the segment in progress that were counted and digested instead of scanned.
#[derive(Default)]
struct Passed {
    /// Index in the buffer; 0: none.
    end: usize,
    /// Those among them that were not scanned.
    units: u64,
    digester: Option<Digester>,
}

/// The state between pushes.
pub struct Framer {
    scanner: Scanner,
    segment_bytes: usize,
    unit_bytes_max: u64,
    /// Where a segment was journaled to end: one must end there again.
    resume: u64,
    misframed: bool,
    /// From the segment's beginning on.
    buffer: SegmentBytes,
    from: u64,
    line: u64,
    records: u64,
    /// Records, and units that are none.
    units: u64,
    /// Index in `buffer` where the unit in progress begins, and up to where it was scanned.
    unit: usize,
    scanned: usize,
    long: Option<Long>,
    at_start: bool,
    header: Option<Vec<u8>>,
    capacity: usize,
    ready: VecDeque<Framed>,
    passed: Passed,
    /// For the next segment; none: it has no digest.
    digester: fn() -> Option<Digester>,
    /// For tests that hold the two ways against each other.
    #[cfg(test)]
    only_scan: bool,
}

impl Framer {
    /// `resume`: end of what is journaled of this file, 0 for nothing. The stream is framed from its beginning all the
    /// same; a segment ends at `resume` exactly, or [`Self::misframed`] says that it cannot.
    /// `size`: a guess at the stream's bytes.
    pub fn new(settings: &ReadingSettings, resume: u64, size: u64) -> Self {
        Self::with_segment_bytes(settings, resume, size, settings.segment_bytes)
    }

    fn with_segment_bytes(
        settings: &ReadingSettings,
        resume: u64,
        size: u64,
        segment_bytes: usize,
    ) -> Self {
        let capacity = usize::try_from(size)
            .unwrap_or(usize::MAX)
            .min(segment_bytes + (256 << 10));
        Self {
            scanner: Scanner::new(settings),
            segment_bytes,
            unit_bytes_max: unit_bytes_max(settings.record_bytes_max),
            resume,
            misframed: false,
            buffer: SegmentBytes::with_capacity(capacity),
            from: 0,
            line: 1,
            records: 0,
            units: 0,
            unit: 0,
            scanned: 0,
            long: None,
            at_start: true,
            header: None,
            capacity,
            ready: VecDeque::new(),
            passed: Passed::default(),
            digester: || Some(Digester::default()),
            #[cfg(test)]
            only_scan: false,
        }
    }

    /// For segments that are only looked at: their digests are 0.
    #[must_use]
    pub fn without_digests(self) -> Self {
        Self {
            digester: || None,
            ..self
        }
    }

    /// The next segment that is complete.
    pub fn pop(&mut self) -> Option<Framed> {
        self.ready.pop_front()
    }

    /// The header's bytes as they stand in the file (without a byte order mark), once it went by.
    pub fn header(&self) -> Option<&[u8]> {
        self.header.as_deref()
    }

    /// No record ends where the journal says that a segment did: the file or its framing is another one.
    pub fn misframed(&self) -> bool {
        self.misframed
    }

    /// Line number of the first byte of the segment in progress.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Bytes that went in so far.
    pub fn offset(&self) -> u64 {
        let long = self.long.as_ref().map_or(0, |long| long.length);
        self.from + long + self.buffer.len() as u64
    }

    /// The next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.pushed();
    }

    /// The next bytes of the stream, which `read` puts at the end of its buffer, up to about as many as it is told. Answers what
    /// it did: how many; none is for the caller to [finish](Self::finish).
    ///
    /// # Errors
    /// Those of `read`, which added nothing then.
    pub fn append<E>(
        &mut self,
        read: impl FnOnce(&mut SegmentBytes, usize) -> Result<usize, E>,
    ) -> Result<usize, E> {
        // Just beyond the segment's end, so that little of the next one has to be moved.
        let most = (self.segment_bytes + BEYOND)
            .saturating_sub(self.buffer.len())
            .clamp(READ_MIN, READ_MAX);
        let read = read(&mut self.buffer, most)?;
        self.pushed();
        Ok(read)
    }

    /// Closes segments of lines without looking at each line, as long as that gives what scanning would. `true`: what is left is
    /// less than a segment, and is not scanned yet.
    fn close_lines(&mut self) -> bool {
        if !self.may_close_lines() {
            return false;
        }
        // From the unit's beginning, here and wherever scanning may go on below.
        self.scanned = self.unit;
        if let Scanner::Lines(scanner) = &mut self.scanner {
            scanner.begin();
        }
        loop {
            if !self.pass_lines() {
                return false;
            }
            // The unit that would take the segment beyond its size is there, if only its first byte.
            if self.buffer.len() <= self.segment_bytes {
                return true;
            }
            if self.passed.end <= self.unit {
                return false;
            }
            let digester = self.take_passed();
            self.close(self.unit, digester);
        }
    }

    /// Counts and digests the lines that are whole by now and fit into the segment, as long as the processor's cache holds them.
    /// `false`: one of them may be no record.
    fn pass_lines(&mut self) -> bool {
        let Scanner::Lines(scanner) = &self.scanner else {
            return false;
        };
        let from = self.passed.end.max(self.unit);
        let within = self.buffer.len().min(self.segment_bytes);
        let Some(last) = self
            .buffer
            .get(from..within)
            .and_then(|lines| memchr::memrchr(b'\n', lines))
        else {
            return true;
        };
        let end = from + last + 1;
        let mut digester = self.passed.digester.take().or_else(self.digester);
        let mut digest = |bytes: &[u8]| {
            if let Some(digester) = &mut digester {
                digester.update(bytes);
            }
        };
        // What was scanned before.
        digest(&self.buffer[self.passed.end..from]);
        let Some(units) = scanner.records(&self.buffer[from..end], digest) else {
            return false;
        };
        self.passed = Passed {
            end,
            units: self.passed.units + units,
            digester,
        };
        true
    }

    /// Lines that were passed are units of the segment, if there are any. Answers what digested all up to the last one.
    fn take_passed(&mut self) -> Option<Digester> {
        let passed = std::mem::take(&mut self.passed);
        if passed.end > self.unit {
            (self.unit, self.scanned) = (passed.end, passed.end);
        }
        self.units += passed.units;
        self.records += passed.units;
        passed.digester
    }

    /// No unit of a segment can be too long, none need end at `resume`, and what was scanned of the last one is cheap to scan again.
    fn may_close_lines(&self) -> bool {
        #[cfg(test)]
        if self.only_scan {
            return false;
        }
        matches!(self.scanner, Scanner::Lines(_))
            && self.long.is_none()
            && self.from >= self.resume
            && self.unit_bytes_max >= self.segment_bytes as u64
            && self.scanned - self.unit <= self.segment_bytes
            && !(self.from == 0 && self.buffer.starts_with(BOM))
    }

    fn pushed(&mut self) {
        if self.at_start {
            if self.buffer.len() < BOM.len() && BOM.starts_with(&self.buffer) {
                return;
            }
            self.skip_mark();
        }
        if !self.close_lines() {
            self.scan();
        }
    }

    /// The end of the stream. `torn`: what follows the last whole unit is not to be trusted and is dropped.
    pub fn finish(&mut self, torn: bool) {
        if self.at_start {
            self.skip_mark();
        }
        let mut digester = self.take_passed();
        let (from, passed) = (self.from, self.unit);
        self.scan();
        if torn {
            self.long = None;
            self.buffer.truncate(self.unit);
        } else {
            self.finish_units();
        }
        if self.from == from {
            if let Some(digester) = &mut digester {
                digester.update(&self.buffer[passed..]);
            }
        } else {
            digester = None;
        }
        if self.from < self.resume && self.from + self.buffer.len() as u64 != self.resume {
            self.misframed = true;
        }
        if !self.buffer.is_empty() {
            self.close(self.buffer.len(), digester);
        }
    }

    fn skip_mark(&mut self) {
        self.at_start = false;
        if self.buffer.starts_with(BOM) {
            self.scanned = BOM.len();
        }
    }

    /// Units in progress at the end of the stream.
    fn finish_units(&mut self) {
        while self.long.is_some() || self.unit < self.buffer.len() {
            match self.scanner.finish() {
                Tail::Unit(kind) => self.end_unit(kind),
                Tail::OpenQuote(kind) => {
                    let line = match self.long {
                        Some(_) => None,
                        None => memchr::memchr(b'\n', &self.buffer[self.unit..]),
                    };
                    let Some(line) = line else {
                        self.end_unit(kind);
                        continue;
                    };
                    self.scanned = self.unit + line + 1;
                    self.end_unit(kind);
                    // The decoder must find its quote open at the segment's end, as it was found here.
                    if self.unit > 0 {
                        self.close(self.unit, None);
                    }
                    self.scan();
                }
            }
        }
    }

    fn scan(&mut self) {
        self.passed = Passed::default();
        while self.scanned < self.buffer.len() {
            let Some(end) = self.scanner.scan(&self.buffer[self.scanned..]) else {
                self.scanned = self.buffer.len();
                self.pass_long();
                return;
            };
            self.scanned += end.taken;
            if self.accepts() {
                self.end_unit(end.kind);
            }
        }
    }

    /// Elements of a JSON array are checked, unless they are too long to be read anyhow.
    fn accepts(&mut self) -> bool {
        let unit = &self.buffer[self.unit..self.scanned];
        match &mut self.scanner {
            Scanner::Json(scanner)
                if self.long.is_none() && unit.len() as u64 <= self.unit_bytes_max =>
            {
                scanner.accepts(unit)
            }
            _ => true,
        }
    }

    /// The unit in progress goes on; lets its bytes go if it is too long.
    fn pass_long(&mut self) {
        if let Some(long) = &mut self.long {
            long.take(&self.buffer);
            self.buffer.clear();
            self.scanned = 0;
        } else if (self.buffer.len() - self.unit) as u64 > self.unit_bytes_max {
            self.begin_long(self.buffer.len());
            self.buffer.clear();
            self.scanned = 0;
        }
    }

    /// Takes the unit's bytes up to `end` out of the segment in progress, which ends before it.
    fn begin_long(&mut self, end: usize) {
        let length = end - self.unit;
        if self.unit > 0 {
            self.close(self.unit, None);
        }
        let mut long = Long {
            from: self.from,
            line: self.line,
            length: 0,
            newlines: 0,
            digester: Digester::default(),
            kept: Vec::with_capacity(CUT_BYTES),
        };
        long.take(&self.buffer[..length]);
        self.long = Some(long);
    }

    /// The unit ends at `scanned`.
    fn end_unit(&mut self, kind: Kind) {
        let long_in_buffer = (self.scanned - self.unit) as u64 > self.unit_bytes_max;
        if kind == Kind::Header && self.long.is_none() && !long_in_buffer {
            let unit = &self.buffer[self.unit..self.scanned];
            let unit = match unit.strip_prefix(BOM) {
                Some(rest) if self.from + self.unit as u64 == 0 => rest,
                _ => unit,
            };
            self.header = Some(unit.to_vec());
        }
        if let Some(mut long) = self.long.take() {
            long.take(&self.buffer[..self.scanned]);
            self.end_long(long, self.scanned);
        } else if long_in_buffer {
            let length = self.scanned - self.unit;
            self.begin_long(self.scanned);
            if let Some(long) = self.long.take() {
                self.end_long(long, length);
            }
        } else {
            self.add_unit(kind);
        }
    }

    /// The long unit is complete; `taken` of the buffer belonged to it.
    fn end_long(&mut self, long: Long, taken: usize) {
        self.buffer.remove_front(taken);
        self.scanned = 0;
        self.unit = 0;
        self.emit(Framed {
            from: long.from,
            to: long.from + long.length,
            line: long.line,
            records: 1,
            digest: long.digester.digest(),
            bytes: long.kept.into(),
        });
        self.from = long.from + long.length;
        self.line = long.line + long.newlines;
    }

    fn add_unit(&mut self, kind: Kind) {
        let records = self.records + records_of(kind);
        let length = self.scanned;
        let full = length > self.segment_bytes
            || (length as u64 > self.unit_bytes_max && records == 1)
            || kind == Kind::Rest;
        if full && self.unit > 0 {
            self.close(self.unit, None);
        }
        self.unit = self.scanned;
        self.units += 1;
        self.records += records_of(kind);
        if self.from < self.resume {
            let end = self.from + self.unit as u64;
            if end == self.resume {
                self.close(self.unit, None);
            } else if end > self.resume {
                self.misframed = true;
            }
        }
    }

    /// Ends the segment in progress at `end` of the buffer. `digester`: was given all up to there.
    fn close(&mut self, end: usize, digester: Option<Digester>) {
        let rest = &self.buffer[end..];
        let mut buffer = SegmentBytes::with_capacity(if rest.is_empty() && self.capacity == 0 {
            0
        } else {
            self.capacity.max(rest.len())
        });
        buffer.extend_from_slice(rest);
        let mut bytes = std::mem::replace(&mut self.buffer, buffer);
        bytes.truncate(end);
        bytes.shrink();
        let digester = digester.or_else(|| {
            let mut digester = (self.digester)()?;
            digester.update(&bytes);
            Some(digester)
        });
        let framed = Framed {
            from: self.from,
            to: self.from + end as u64,
            line: self.line,
            records: self.records,
            digest: digester.map_or(Digest(0), |digester| digester.digest()),
            bytes,
        };
        self.from = framed.to;
        self.line += self.newlines(&framed.bytes);
        self.units = 0;
        self.records = 0;
        self.unit = self.unit.saturating_sub(end);
        self.scanned = self.scanned.saturating_sub(end);
        self.emit(framed);
    }

    /// Of the segment in progress, whose bytes these are.
    fn newlines(&self, bytes: &[u8]) -> u64 {
        match self.scanner {
            // Each unit has one at its end, but perhaps the last of the stream.
            Scanner::Lines(_) => {
                let counted = self.units - u64::from(bytes.last() != Some(&b'\n'));
                debug_assert_eq!(counted, newlines(bytes));
                counted
            }
            _ => newlines(bytes),
        }
    }

    fn emit(&mut self, framed: Framed) {
        if framed.from < self.resume && framed.to > self.resume {
            self.misframed = true;
        }
        self.ready.push_back(framed);
    }
}

fn records_of(kind: Kind) -> u64 {
    match kind {
        Kind::Record | Kind::Rest => 1,
        Kind::Nothing | Kind::Header => 0,
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests;
