//! Reads one spooled file from its beginning to its end as segments.
//!
//! One segment is held back, so that the last one is known as the last before it is handed out. Before that the open
//! file's stat is taken again: a file that changed while it was read never gets a last segment.
//!
//! A file that is resumed is framed from its beginning too: line numbers, the state of quotes and brackets and the
//! fingerprint depend on all of it. What was journaled is skipped, and its digests are compared on the way.

use std::collections::HashMap;
use std::io;

use super::stream::Stream;
use crate::channel::FileEnd;
use crate::crash;
use crate::format::decompress::Fault;
use crate::format::frame::{Framed, Framer, SegmentBytes, is_cut};
use crate::format::{CsvSettings, InputFormat, ReadingSettings};
use crate::segment::{Digest, FileStat, Segment};

/// What comes next out of a file.
#[derive(Debug)]
pub(super) enum Step {
    Segment(Framed),
    Last(Framed, FileEnd),
}

#[derive(Debug)]
pub(super) enum ReadFault {
    /// Reading again may help.
    Io(io::Error),
    /// The file is not the one that it was; in words, and its stat now.
    Changed { reason: String, now: FileStat },
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) struct FileReading {
    stream: Stream,
    framer: Framer,
    settings: ReadingSettings,
    opened: FileStat,
    resume: u64,
    journaled: HashMap<u64, (u64, Digest)>,
    held: Option<Framed>,
    torn: Option<String>,
    read_all: bool,
    first: bool,
}

impl FileReading {
    /// `resume`: end of what is journaled; `journaled`: the segments before it, as far as they are known.
    pub(super) fn new(
        stream: Stream,
        opened: FileStat,
        settings: &ReadingSettings,
        resume: u64,
        journaled: impl IntoIterator<Item = Segment>,
    ) -> Self {
        Self {
            framer: Framer::new(settings, resume, opened.size.saturating_add(16)),
            stream,
            settings: settings.clone(),
            opened,
            resume,
            journaled: journaled
                .into_iter()
                .map(|s| (s.from, (s.to, s.digest)))
                .collect(),
            held: None,
            torn: None,
            read_all: false,
            first: true,
        }
    }

    /// From the beginning, and for a look only: segments have no digests.
    pub(super) fn sample(stream: Stream, opened: FileStat, settings: &ReadingSettings) -> Self {
        let reading = Self::new(stream, opened, settings, 0, []);
        Self {
            framer: reading.framer.without_digests(),
            ..reading
        }
    }

    /// The settings, with the compression that was found; right after the first [`Self::next`].
    pub(super) fn settings(&self) -> ReadingSettings {
        ReadingSettings {
            compression: self.stream.compression(),
            ..self.settings.clone()
        }
    }

    /// The columns' names: of the file's header, or of the configuration; right after the first [`Self::next`].
    pub(super) fn header(&self) -> Option<Vec<String>> {
        let csv = &self.settings.csv;
        if !is_csv(self.settings.format) {
            return None;
        }
        if csv.header {
            return self.framer.header().map(|bytes| parse_header(bytes, csv));
        }
        (!csv.columns.is_empty()).then(|| csv.columns.clone())
    }

    /// The next segment at or after the resume offset. After the last one, or an error, it must not be called again.
    pub(super) fn next(&mut self) -> Result<Step, ReadFault> {
        loop {
            while let Some(framed) = self.framer.pop() {
                if framed.to <= self.resume && framed.from < framed.to {
                    self.check_journaled(&framed)?;
                } else if let Some(before) = self.held.replace(framed) {
                    return self.step(before);
                }
            }
            if self.framer.misframed() {
                return self.changed(format!(
                    "no record ends at offset {} any more, where a segment was journaled to end",
                    self.resume
                ));
            }
            if self.read_all {
                return self.last();
            }
            self.read_on()?;
        }
    }

    fn read_on(&mut self) -> Result<(), ReadFault> {
        let stream = &mut self.stream;
        match self
            .framer
            .append(|buffer, most| stream.append(buffer, most))
        {
            Ok(0) => {
                self.framer.finish(false);
                self.read_all = true;
            }
            Ok(_) => {}
            Err(Fault::Torn(reason)) => {
                self.framer.finish(true);
                self.torn = Some(reason);
                self.read_all = true;
            }
            Err(Fault::Io(e)) => return Err(ReadFault::Io(e)),
        }
        Ok(())
    }

    /// A segment that is not the last.
    fn step(&mut self, framed: Framed) -> Result<Step, ReadFault> {
        if self.header_lost(&framed, false) {
            return self.without_header();
        }
        self.first = false;
        Ok(Step::Segment(framed))
    }

    fn last(&mut self) -> Result<Step, ReadFault> {
        let framed = self
            .held
            .take()
            .unwrap_or_else(|| self.nothing(self.framer.offset()));
        if self.header_lost(&framed, true) {
            return self.without_header();
        }
        self.end(framed)
    }

    fn end(&mut self, framed: Framed) -> Result<Step, ReadFault> {
        let fingerprint = self.stream.fingerprint()?;
        let now = self.stream.stat()?;
        if now != self.opened {
            return self.changed("it changed while it was read".to_owned());
        }
        let end = FileEnd {
            fingerprint,
            decoded: framed.to,
            torn: self.torn.take().map(|reason| {
                format!(
                    "{reason}; the rest is missing from offset {} of the decoded stream",
                    framed.to
                )
            }),
        };
        Ok(Step::Last(framed, end))
    }

    /// A segment without bytes.
    fn nothing(&self, at: u64) -> Framed {
        Framed {
            from: at,
            to: at,
            line: self.framer.line(),
            records: 0,
            digest: Digest::of(&[]),
            bytes: SegmentBytes::default(),
        }
    }

    /// Later segments could not be read without the columns' names.
    fn header_lost(&self, framed: &Framed, last: bool) -> bool {
        self.first
            && is_csv(self.settings.format)
            && self.settings.csv.header
            && self.framer.header().is_none()
            && (!last
                || is_cut(
                    framed.to - framed.from,
                    framed.records,
                    self.settings.record_bytes_max,
                ))
    }

    fn without_header(&mut self) -> Result<Step, ReadFault> {
        self.torn = Some(format!(
            "its header is longer than record_bytes_max = {} bytes, or does not stand within its first segment",
            self.settings.record_bytes_max
        ));
        let mut nothing = self.nothing(0);
        nothing.line = 1;
        self.end(nothing)
    }

    fn check_journaled(&self, framed: &Framed) -> Result<(), ReadFault> {
        match self.journaled.get(&framed.from) {
            // I10 never guess.
            Some((to, digest))
                if *to == framed.to
                    && *digest != framed.digest
                    && !crash::broken("i10-digests-not-compared") =>
            {
                self.changed(format!(
                    "the bytes of its journaled segment [{}, {}) have the digest {} instead of {digest}",
                    framed.from, framed.to, framed.digest
                ))
            }
            _ => Ok(()),
        }
    }

    fn changed<T>(&self, reason: String) -> Result<T, ReadFault> {
        Err(ReadFault::Changed {
            reason,
            now: self.stream.stat()?,
        })
    }
}

fn is_csv(format: InputFormat) -> bool {
    matches!(format, InputFormat::Csv | InputFormat::Tsv)
}

/// The names in a header record, as written; bytes that are no UTF-8 become replacement characters.
fn parse_header(record: &[u8], csv: &CsvSettings) -> Vec<String> {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let record = record.strip_suffix(b"\r").unwrap_or(record);
    let mut names = Vec::new();
    let mut name = Vec::new();
    let mut rest = record;
    loop {
        let (field, after) = take_field(rest, csv);
        name.clear();
        name.extend_from_slice(&field);
        names.push(String::from_utf8_lossy(&name).into_owned());
        match after {
            Some(after) => rest = after,
            None => return names,
        }
    }
}

/// One field, unquoted, and what follows its delimiter.
fn take_field<'a>(record: &'a [u8], csv: &CsvSettings) -> (Vec<u8>, Option<&'a [u8]>) {
    let mut field = Vec::new();
    let mut i = 0;
    if record.first() == Some(&csv.quote) {
        i = 1;
        while i < record.len() {
            if record[i] == csv.quote {
                if record.get(i + 1) != Some(&csv.quote) {
                    i += 1;
                    break;
                }
                i += 1;
            }
            field.push(record[i]);
            i += 1;
        }
    }
    if let Some(n) = memchr::memchr(csv.delimiter, &record[i..]) {
        field.extend_from_slice(&record[i..i + n]);
        (field, Some(&record[i + n + 1..]))
    } else {
        field.extend_from_slice(&record[i..]);
        (field, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_unquoted_and_keeps_its_empty_names() {
        let csv = CsvSettings {
            header: true,
            delimiter: b',',
            quote: b'"',
            null: String::new(),
            columns: Vec::new(),
            comment: None,
        };
        assert_eq!(
            parse_header(b"a,\"b \"\"x\"\", c\",,d\r\n", &csv),
            ["a", "b \"x\", c", "", "d"]
        );
    }
}
