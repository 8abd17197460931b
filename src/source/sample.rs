//! The first records of what waits, for inferring a schema and for `check`. Journals nothing, hands out nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
use crate::threads;

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

/// What several threads gather from a sample, each from a run of files, and how that comes together.
pub trait Survey: Sync {
    /// What is gathered.
    type Part: Send;
    fn begin(&self) -> Self::Part;
    /// As [`Visit`].
    fn visit(
        &self,
        part: &mut Self::Part,
        context: &FileContext,
        segment: &Segment,
        bytes: &[u8],
    ) -> ControlFlow<()>;
}

/// Files of which a sample keeps the path at most.
const FILES_MAX: usize = 200_000;

/// Bytes on disk of a run of files that one thread looks at: enough that what is learnt anew with each costs little.
const RUN_BYTES: u64 = 8 << 20;

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
        let found = self.sampled(limits)?;
        let left = AtomicU64::new(limits.bytes_in_all);
        let _ended = self.sample_files(&found, limits, &left, visit)?;
        Ok(())
    }

    /// As [`Self::sample`], by several threads. Calls `merge` with what they gathered, in the order of the files.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn survey<S: Survey>(
        &mut self,
        limits: SampleLimits,
        threads: usize,
        survey: &S,
        merge: &mut (dyn FnMut(S::Part) + Send),
    ) -> Result<(), SourceError> {
        let found = self.sampled(limits)?;
        let files = runs(&found, limits);
        let threads = threads.min(files.len());
        let surveying = Surveying {
            source: self,
            survey,
            limits,
            left: AtomicU64::new(limits.bytes_in_all),
            files,
            next: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            merging: Mutex::new((0, BTreeMap::new(), merge)),
        };
        if threads < 2 {
            return surveying.work();
        }
        threads::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|number| scope.spawn(&format!("sample-{number}"), || surveying.work()))
                .collect();
            let ended: Vec<_> = workers.into_iter().map(threads::Scoped::join).collect();
            ended.into_iter().try_for_each(|ended| {
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }

    /// What waits, as far as it may be sampled.
    fn sampled(&mut self, limits: SampleLimits) -> Result<Vec<Found>, SourceError> {
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
        Ok(waiting)
    }

    fn sample_files(
        &self,
        files: &[Found],
        limits: SampleLimits,
        left: &AtomicU64,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, SourceError> {
        for found in files {
            if left.load(Ordering::Relaxed) == 0 {
                return Ok(ControlFlow::Break(()));
            }
            let Some(row) = self.waits(found)? else {
                continue;
            };
            let flow = self.sample_file(found, row.as_ref(), limits, left, visit)?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
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
        &self,
        found: &Found,
        row: Option<&FileRow>,
        limits: SampleLimits,
        left: &AtomicU64,
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
            let before = left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    Some(left.saturating_sub(size))
                })
                .unwrap_or_default();
            if last || records >= limits.records || bytes >= limits.bytes || before <= size {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    fn open_sample(
        &self,
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
            Ok(stream) => Ok(Some(FileReading::sample(stream, found.stat, &settings))),
            Err(e) => {
                self.unreadable(&found.path, &e.to_string());
                Ok(None)
            }
        }
    }
}

/// The files in runs for one thread each.
fn runs(files: &[Found], limits: SampleLimits) -> Vec<&[Found]> {
    let mut bytes = 0;
    files
        .split_inclusive(|found| {
            bytes += found.stat.size.min(limits.bytes);
            let full = bytes >= RUN_BYTES;
            if full {
                bytes = 0;
            }
            full
        })
        .collect()
}

/// A sample that several threads take.
struct Surveying<'a, S: Survey> {
    source: &'a Source,
    survey: &'a S,
    limits: SampleLimits,
    left: AtomicU64,
    files: Vec<&'a [Found]>,
    next: AtomicUsize,
    /// Nothing more is looked at.
    ended: AtomicBool,
    /// The run to be merged next, those that are ready before their turn, and where they go.
    #[expect(clippy::type_complexity, reason = "said above")]
    merging: Mutex<(
        usize,
        BTreeMap<usize, S::Part>,
        &'a mut (dyn FnMut(S::Part) + Send),
    )>,
}

impl<S: Survey> Surveying<'_, S> {
    /// Goes through runs as long as there are some.
    fn work(&self) -> Result<(), SourceError> {
        while !self.ended.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(files) = self.files.get(number) else {
                break;
            };
            let mut part = self.survey.begin();
            let flow = self.source.sample_files(
                files,
                self.limits,
                &self.left,
                &mut |context, segment, bytes| {
                    self.survey.visit(&mut part, context, segment, bytes)
                },
            );
            if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                self.ended.store(true, Ordering::Relaxed);
            }
            let _ended = flow?;
            self.merge(number, part);
        }
        Ok(())
    }

    fn merge(&self, number: usize, part: S::Part) {
        let mut merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, early, merge) = &mut *merging;
        early.insert(number, part);
        while let Some(part) = early.remove(next) {
            merge(part);
            *next += 1;
        }
    }
}
