//! Whether a file holds what another file of its path, that is not retired, held.
//!
//! The other file is usually gone by then. What is left of it are its fingerprint and the digests of its journaled
//! segments, which the new file's decoded stream is held against, range by range.

use super::error::Stop;
use super::run::Source;
use super::stream::Stream;
use crate::format::ReadingSettings;
use crate::format::decompress::Fault;
use crate::journal::FileRow;
use crate::segment::{Digest, Digester, Segment};
use crate::spool::Found;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// Equal, or one begins with the other, as far as the journal can tell.
    Same,
    Unrelated,
    /// Shorter than the other's first segment: there is no digest to hold it against.
    Untold,
}

impl Source {
    /// `None`: the file could not be read now (counted).
    pub(super) fn likeness(
        &mut self,
        found: &Found,
        row: &FileRow,
    ) -> Result<Option<Likeness>, Stop> {
        let mut segments: Vec<Segment> = self
            .journal
            .ranges(row.id)?
            .into_iter()
            .map(|range| range.segment)
            .collect();
        let waiting = self.journal.waiting_segments(&self.pipeline)?;
        segments.extend(waiting.into_iter().filter(|s| s.file == row.id));
        segments.sort_by_key(|s| s.from);
        segments.dedup_by_key(|s| s.from);
        segments.retain(|s| s.to > s.from);
        let Some(file) = self.open(found)? else {
            return Ok(None);
        };
        let settings = ReadingSettings {
            // The same content may come packed in another way.
            compression: self.settings.reading.compression,
            ..super::intake::settings_of(row)?
        };
        let compared = Stream::open(file, &found.stat, &settings, true)
            .map_err(Fault::Io)
            .and_then(|mut stream| compare(&mut stream, &segments, row));
        match compared {
            Ok(likeness) => Ok(Some(likeness)),
            Err(Fault::Io(e)) => {
                self.unreadable(&found.path, &e.to_string());
                Ok(None)
            }
            Err(Fault::Torn(_)) => Ok(Some(Likeness::Unrelated)),
        }
    }
}

fn compare(stream: &mut Stream, segments: &[Segment], row: &FileRow) -> Result<Likeness, Fault> {
    let likeness = compare_ranges(stream, segments)?;
    if likeness == Likeness::Same || row.fingerprint.is_none() {
        return Ok(likeness);
    }
    // Files of which no range is known (skipped ones), or that are packed alike but cannot be unpacked.
    let fingerprint = stream.fingerprint().map_err(Fault::Io)?;
    if fingerprint == row.fingerprint {
        return Ok(Likeness::Same);
    }
    Ok(likeness)
}

/// Goes along the stream until a range differs, the stream ends, or all ranges were met.
fn compare_ranges(stream: &mut Stream, segments: &[Segment]) -> Result<Likeness, Fault> {
    let mut ranges = segments.iter();
    let Some(mut range) = ranges.next() else {
        return Ok(Likeness::Unrelated);
    };
    let mut at = 0;
    let mut met = 0;
    let mut digester = Digester::default();
    loop {
        let mut chunk = match stream.fill() {
            Ok(chunk) => chunk,
            Err(Fault::Torn(_)) => &[],
            Err(fault) => return Err(fault),
        };
        if chunk.is_empty() {
            return Ok(match (met, at) {
                (0, 0) => Likeness::Unrelated,
                (0, _) => Likeness::Untold,
                _ => Likeness::Same,
            });
        }
        while !chunk.is_empty() {
            // Ranges are journaled from the beginning on and join (I5).
            let n = usize::try_from(range.to - at)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            digester.update(&chunk[..n]);
            chunk = &chunk[n..];
            at += n as u64;
            if at < range.to {
                continue;
            }
            if digester_end(&mut digester) != range.digest {
                return Ok(Likeness::Unrelated);
            }
            met += 1;
            match ranges.next() {
                Some(next) => range = next,
                None => return Ok(Likeness::Same),
            }
        }
    }
}

/// The digest so far; begins anew.
fn digester_end(digester: &mut Digester) -> Digest {
    std::mem::take(digester).digest()
}
