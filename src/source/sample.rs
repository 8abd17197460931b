//! The first records of what waits, for inferring a schema and for `check`. Journals nothing, hands out nothing.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::SourceError;
use super::error::Stop;
use super::intake::segment_of;
use super::reading::{FileReading, Step};
use super::run::{Source, is_read};
use super::seen::key_of;
use super::stream::Stream;
use crate::format::FileContext;
use crate::journal::{FileRow, FileState, JournalError};
use crate::segment::{FileId, Segment};
use crate::spool::Found;

/// How much of what waits is looked at. A limit ends a file, or the sample, after the segment that reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleLimits {
    /// Of each file.
    pub records: u64,
    /// Of each file, decoded.
    pub bytes: u64,
    /// Decoded, of all files.
    pub bytes_in_all: u64,
    /// Files that are not ready yet are sampled too.
    pub unready: bool,
}

impl Default for SampleLimits {
    fn default() -> Self {
        Self {
            records: 100_000,
            bytes: 64 << 20,
            bytes_in_all: 1 << 30,
            unready: false,
        }
    }
}

/// Takes a segment with its bytes; `Break` ends the sample.
pub type Visit<'a> = dyn FnMut(&FileContext, &Segment, &[u8]) -> ControlFlow<()> + 'a;

/// Files of which a sample keeps the path at most.
const FILES_MAX: usize = 200_000;

impl Source {
    /// Calls `visit` with segments of waiting files, each file from its beginning, until it says `Break`. Files that cannot be
    /// read are warned of and left out. A file that has no row yet has the id 0 here.
    ///
    /// # Errors
    /// The spool or the journal cannot be read.
    pub fn sample(
        &mut self,
        limits: SampleLimits,
        visit: &mut Visit<'_>,
    ) -> Result<(), SourceError> {
        self.load_known()?;
        let mut waiting = Vec::new();
        let spool = Arc::clone(&self.spool);
        spool.scan(self.clock.now_ns(), &mut |found| {
            if found.ready || limits.unready {
                waiting.push(found);
            }
            if waiting.len() < FILES_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        let mut left = limits.bytes_in_all;
        for found in waiting {
            if left == 0 {
                break;
            }
            let Some(row) = self.waits(&found)? else {
                continue;
            };
            let flow = self.sample_file(&found, row.as_ref(), limits, &mut left, visit)?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// `None`: the file is dealt with. `Some(None)`: it is new.
    #[expect(clippy::option_option, reason = "two different absences, said above")]
    fn waits(&self, found: &Found) -> Result<Option<Option<FileRow>>, JournalError> {
        if !self.may_know(key_of(&found.path)) {
            return Ok(Some(None));
        }
        let Some(row) = self.journal.file_at(&self.pipeline, &found.path)? else {
            return Ok(Some(None));
        };
        if !row.stat.untouched(&found.stat) {
            return Ok((row.state == FileState::Retired).then_some(None));
        }
        let reads_on = row.state == FileState::Reading && !is_read(&row);
        Ok(reads_on.then_some(Some(row)))
    }

    fn sample_file(
        &mut self,
        found: &Found,
        row: Option<&FileRow>,
        limits: SampleLimits,
        left: &mut u64,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, SourceError> {
        let Some(mut reading) = self.open_sample(found, row)? else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut context: Option<FileContext> = None;
        let (mut records, mut bytes) = (0, 0);
        loop {
            let (framed, last) = match reading.next() {
                Ok(Step::Segment(framed)) => (framed, false),
                Ok(Step::Last(framed, _)) => (framed, true),
                Err(fault) => {
                    tracing::warn!(file = %found.path, ?fault, "sample ends early");
                    return Ok(ControlFlow::Continue(()));
                }
            };
            let context = context.get_or_insert_with(|| FileContext {
                file: row.map_or(FileId(0), |row| row.id),
                path: found.path.clone(),
                path_columns: self.path_columns.of(&found.path),
                header: reading.header().map(Into::into),
                settings: reading.settings(),
            });
            let segment = segment_of(context.file, &framed, last);
            if visit(context, &segment, &framed.bytes).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            records += framed.records;
            let size = framed.bytes.len() as u64;
            bytes += size;
            *left = left.saturating_sub(size);
            if last || records >= limits.records || bytes >= limits.bytes || *left == 0 {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    fn open_sample(
        &mut self,
        found: &Found,
        row: Option<&FileRow>,
    ) -> Result<Option<FileReading>, SourceError> {
        let file = match self.spool.open(&found.path) {
            Ok(Some((file, stat))) if stat.untouched(&found.stat) => file,
            Ok(_) => return Ok(None),
            Err(e) if e.unavailable => return Err(e.into()),
            Err(e) => {
                self.unreadable(&found.path, &e.message);
                return Ok(None);
            }
        };
        let settings = match row {
            Some(row) => super::intake::settings_of(row).map_err(|stop| match stop {
                Stop::Failed { message, .. } => JournalError::Refused(message),
                Stop::Closed => JournalError::Refused("closed".to_owned()),
            })?,
            None => self.settings.reading.clone(),
        };
        match Stream::open(file, &found.stat, &settings, false) {
            Ok(stream) => Ok(Some(FileReading::new(stream, found.stat, &settings, 0, []))),
            Err(e) => {
                self.unreadable(&found.path, &e.to_string());
                Ok(None)
            }
        }
    }
}
