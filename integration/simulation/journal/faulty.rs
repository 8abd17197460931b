//! A journal whose calls the world interferes with.
//!
//! | call | the world may |
//! | --- | --- |
//! | reads | have it fail, or end the process there |
//! | changes: each one transaction | have it done or not, and either answered, or not (then `Fatal`), or the process ended |
//!
//! A fatal error stays: every later call answers it, without a word to the world. What only this process's memory knows (`id`,
//! `new_file_id`, `say`) is no call.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use lakeward::journal::sqlite::{self, SqliteJournal};
use lakeward::journal::{
    BatchRow, FileRange, FileRow, FileState, Journal, JournalError, KnownFile, PartitionWork,
    PipelineRow, PutRequest, Request, RequestRow, Result, StageRequest,
};
use lakeward::protocol::{BatchState, DataFile, Manifest};
use lakeward::segment::{BatchNumber, FileId, FileStat, JournalId, RelativePath, Segment};

use super::memory::{self, MemoryJournal};
use crate::simulation::world::{Part, Shape, Turn, World};

/// What a process has of a journal while it lives.
pub trait Hold: Send + Sync {
    fn journal(&self) -> &dyn Journal;

    /// The process ended: nothing is put in order, the lock is free.
    fn killed(self);
}

/// A journal in the making, which takes the old one's place when it is finished.
pub trait Making: Hold {
    type Made: Hold;

    fn finish(self) -> Result<Self::Made>;
}

impl Hold for MemoryJournal {
    fn journal(&self) -> &dyn Journal {
        self
    }

    fn killed(self) {}
}

impl Hold for memory::Rebuilding {
    fn journal(&self) -> &dyn Journal {
        &**self
    }

    fn killed(self) {}
}

impl Making for memory::Rebuilding {
    type Made = MemoryJournal;

    fn finish(self) -> Result<MemoryJournal> {
        self.finish()
    }
}

impl Hold for SqliteJournal {
    fn journal(&self) -> &dyn Journal {
        self
    }

    fn killed(self) {
        self.abandon();
    }
}

/// A killed one leaves an unfinished database, which the next rebuild removes; this one does so itself.
impl Hold for sqlite::Rebuilding {
    fn journal(&self) -> &dyn Journal {
        &**self
    }

    fn killed(self) {}
}

impl Making for sqlite::Rebuilding {
    type Made = SqliteJournal;

    fn finish(self) -> Result<SqliteJournal> {
        self.finish()
    }
}

pub struct FaultyJournal<H: Hold> {
    world: World,
    /// `None` only while it is finished or dropped.
    hold: Option<H>,
    fatal: Mutex<Option<JournalError>>,
}

impl<H: Making> FaultyJournal<H> {
    /// One step: the new journal is in the old one's place, or the old one is.
    pub fn finish(mut self) -> Result<FaultyJournal<H::Made>> {
        const FINISH: &str = "finish the rebuild";
        let turn = self.turn(FINISH, &"", Shape::Atomic)?;
        let made = match (turn.part(), self.hold.take()) {
            (Part::All, Some(hold)) => Some(FaultyJournal::new(self.world.clone(), hold.finish()?)),
            (_, hold) => {
                self.hold = hold;
                None
            }
        };
        match (turn.end(), made) {
            (Ok(()), Some(made)) => Ok(made),
            _ => self.fail(FINISH),
        }
    }
}

impl<H: Hold> FaultyJournal<H> {
    pub fn new(world: World, hold: H) -> Self {
        Self {
            world,
            hold: Some(hold),
            fatal: Mutex::default(),
        }
    }

    fn journal(&self) -> &dyn Journal {
        let hold = self.hold.as_ref().expect("it is not dropped yet");
        hold.journal()
    }

    fn check(&self) -> Result<()> {
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        fatal.clone().map_or(Ok(()), Err)
    }

    /// From here on every call answers this.
    fn fail<T>(&self, operation: &'static str) -> Result<T> {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        Err(fatal
            .get_or_insert_with(|| JournalError::Fatal {
                path: "simulated".into(),
                operation,
                message: "the simulated disk failed".into(),
                full: false,
            })
            .clone())
    }

    fn turn(&self, operation: &str, subject: &dyn Display, shape: Shape) -> Result<Turn> {
        self.check()?;
        let operation = format!("journal: {operation}");
        Ok(self.world.call(&operation, &subject.to_string(), shape))
    }

    fn look<T>(
        &self,
        operation: &'static str,
        subject: &dyn Display,
        read: impl FnOnce(&dyn Journal) -> Result<T>,
    ) -> Result<T> {
        match self.turn(operation, subject, Shape::Look)?.end() {
            Ok(()) => read(self.journal()),
            Err(_) => self.fail(operation),
        }
    }

    fn change<T>(
        &self,
        operation: &'static str,
        subject: &dyn Display,
        change: impl FnOnce(&dyn Journal) -> Result<T>,
    ) -> Result<T> {
        let turn = self.turn(operation, subject, Shape::Atomic)?;
        let done = (turn.part() == Part::All).then(|| change(self.journal()));
        match (turn.end(), done) {
            (Ok(()), Some(done)) => done,
            _ => self.fail(operation),
        }
    }
}

impl<H: Hold> Drop for FaultyJournal<H> {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else {
            return;
        };
        if self.world.is_dead() || self.check().is_err() {
            hold.killed();
        }
    }
}

/// A batch of a pipeline, as subject of a call.
fn batch_of(pipeline: &str, batch: BatchNumber) -> String {
    format!("{pipeline} {batch}")
}

fn paths<'a>(pipeline: &str, files: impl Iterator<Item = &'a RelativePath>) -> String {
    files.fold(pipeline.to_owned(), |text, path| format!("{text} {path}"))
}

fn ids(files: &[FileId]) -> String {
    files
        .iter()
        .fold("files".to_owned(), |text, id| format!("{text} {}", id.0))
}

fn id_of(file: FileId) -> String {
    format!("file {}", file.0)
}

impl<H: Hold> Journal for FaultyJournal<H> {
    fn id(&self) -> JournalId {
        self.journal().id()
    }

    fn pipeline(&self, name: &str, spool: JournalId, lake: &str) -> Result<PipelineRow> {
        self.change("pipeline", &name, |journal| {
            journal.pipeline(name, spool, lake)
        })
    }

    fn pipelines(&self) -> Result<Vec<PipelineRow>> {
        self.look("pipelines", &"", |journal| journal.pipelines())
    }

    fn set_lake(&self, pipeline: &str, lake: &str) -> Result<()> {
        self.change("set lake", &pipeline, |journal| {
            journal.set_lake(pipeline, lake)
        })
    }

    fn new_file_id(&self) -> FileId {
        self.journal().new_file_id()
    }

    fn file(&self, id: FileId) -> Result<Option<FileRow>> {
        self.look("file", &id_of(id), |journal| journal.file(id))
    }

    fn file_at(&self, pipeline: &str, path: &RelativePath) -> Result<Option<FileRow>> {
        let subject = paths(pipeline, std::iter::once(path));
        self.look("file at", &subject, |journal| {
            journal.file_at(pipeline, path)
        })
    }

    fn files_of_size(&self, pipeline: &str, size: u64) -> Result<Vec<FileRow>> {
        let subject = format!("{pipeline} {size}");
        self.look("files of size", &subject, |journal| {
            journal.files_of_size(pipeline, size)
        })
    }

    fn files_in(&self, pipeline: &str, states: &[FileState]) -> Result<Vec<FileRow>> {
        let subject = format!("{pipeline} {states:?}");
        self.look("files in", &subject, |journal| {
            journal.files_in(pipeline, states)
        })
    }

    fn visit_files(&self, pipeline: &str, visit: &mut dyn FnMut(FileRow)) -> Result<()> {
        self.look("visit files", &pipeline, |journal| {
            journal.visit_files(pipeline, visit)
        })
    }

    fn visit_known(&self, pipeline: &str, visit: &mut dyn FnMut(KnownFile)) -> Result<()> {
        self.look("visit known files", &pipeline, |journal| {
            journal.visit_known(pipeline, visit)
        })
    }

    fn ranges(&self, file: FileId) -> Result<Vec<FileRange>> {
        self.look("ranges", &id_of(file), |journal| journal.ranges(file))
    }

    fn quarantine(&self, pipeline: &str, file: &FileRow, reason: &str) -> Result<()> {
        let subject = paths(pipeline, std::iter::once(&file.path));
        self.change("quarantine", &subject, |journal| {
            journal.quarantine(pipeline, file, reason)
        })
    }

    fn quarantined_to(&self, file: FileId, place: &str) -> Result<()> {
        self.change("quarantined to", &id_of(file), |journal| {
            journal.quarantined_to(file, place)
        })
    }

    fn skip(&self, pipeline: &str, files: &[FileRow]) -> Result<()> {
        let subject = paths(pipeline, files.iter().map(|row| &row.path));
        self.change("skip", &subject, |journal| journal.skip(pipeline, files))
    }

    fn release(&self, file: FileId, stat: &FileStat, path: &RelativePath) -> Result<()> {
        self.change("release", path, |journal| journal.release(file, stat, path))
    }

    fn forget(&self, file: FileId, reason: &str) -> Result<()> {
        self.change("forget", &id_of(file), |journal| {
            journal.forget(file, reason)
        })
    }

    fn put(&self, pipeline: &str, puts: &[PutRequest]) -> Result<()> {
        let segments = puts.iter().map(|put| {
            let segment = &put.segment;
            format!(" {} {}-{}", put.file.path, segment.from, segment.to)
        });
        let subject = segments.fold(pipeline.to_owned(), |text, segment| text + &segment);
        self.change("put", &subject, |journal| journal.put(pipeline, puts))
    }

    fn waiting_segments(&self, pipeline: &str) -> Result<Vec<Segment>> {
        self.look("waiting segments", &pipeline, |journal| {
            journal.waiting_segments(pipeline)
        })
    }

    fn payload(&self, file: FileId, from: u64) -> Result<Option<Vec<u8>>> {
        let subject = format!("file {} {from}", file.0);
        self.look("payload", &subject, |journal| journal.payload(file, from))
    }

    fn payload_bytes(&self, pipeline: &str) -> Result<u64> {
        self.look("payload bytes", &pipeline, |journal| {
            journal.payload_bytes(pipeline)
        })
    }

    fn stage(&self, request: StageRequest) -> Result<()> {
        let manifest = &request.manifest;
        let subject = batch_of(&manifest.pipeline, manifest.batch);
        self.change("stage", &subject, |journal| journal.stage(request))
    }

    fn revise(&self, manifest: &Manifest) -> Result<()> {
        let subject = batch_of(&manifest.pipeline, manifest.batch);
        self.change("revise", &subject, |journal| journal.revise(manifest))
    }

    fn unfinished(&self, pipeline: &str) -> Result<Vec<BatchRow>> {
        self.look("unfinished", &pipeline, |journal| {
            journal.unfinished(pipeline)
        })
    }

    fn commit(
        &self,
        pipeline: &str,
        batch: BatchNumber,
        targets: &[(FileId, RelativePath)],
        partitions: &[PartitionWork],
    ) -> Result<()> {
        self.change("commit", &batch_of(pipeline, batch), |journal| {
            journal.commit(pipeline, batch, targets, partitions)
        })
    }

    fn done(&self, pipeline: &str, batch: BatchNumber) -> Result<()> {
        self.change("done", &batch_of(pipeline, batch), |journal| {
            journal.done(pipeline, batch)
        })
    }

    fn data_files(&self, pipeline: &str, batch: BatchNumber) -> Result<Vec<DataFile>> {
        self.look("data files", &batch_of(pipeline, batch), |journal| {
            journal.data_files(pipeline, batch)
        })
    }

    fn set_retire_target(&self, file: FileId, target: &RelativePath) -> Result<()> {
        self.change("set retire target", &id_of(file), |journal| {
            journal.set_retire_target(file, target)
        })
    }

    fn retired(&self, files: &[FileId]) -> Result<()> {
        self.change("retired", &ids(files), |journal| journal.retired(files))
    }

    fn queue_partitions(&self, pipeline: &str, work: &[PartitionWork]) -> Result<()> {
        self.change("queue partitions", &pipeline, |journal| {
            journal.queue_partitions(pipeline, work)
        })
    }

    fn waiting_partitions(
        &self,
        pipeline: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PartitionWork>> {
        self.look("waiting partitions", &pipeline, |journal| {
            journal.waiting_partitions(pipeline, after, limit)
        })
    }

    fn count_waiting_partitions(&self, pipeline: &str) -> Result<u64> {
        self.look("count waiting partitions", &pipeline, |journal| {
            journal.count_waiting_partitions(pipeline)
        })
    }

    fn landed_partitions(&self, pipeline: &str) -> Result<Vec<PartitionWork>> {
        self.look("landed partitions", &pipeline, |journal| {
            journal.landed_partitions(pipeline)
        })
    }

    fn registered(&self, pipeline: &str, work: &[PartitionWork]) -> Result<()> {
        self.change("registered", &pipeline, |journal| {
            journal.registered(pipeline, work)
        })
    }

    fn prune(&self, pipeline: &str, before_ns: i64) -> Result<u64> {
        self.change("prune", &pipeline, |journal| {
            journal.prune(pipeline, before_ns)
        })
    }

    fn schema(&self, pipeline: &str) -> Result<Option<(u32, serde_json::Value)>> {
        self.look("schema", &pipeline, |journal| journal.schema(pipeline))
    }

    fn schema_version(&self, pipeline: &str, version: u32) -> Result<Option<serde_json::Value>> {
        let subject = format!("{pipeline} {version}");
        self.look("schema version", &subject, |journal| {
            journal.schema_version(pipeline, version)
        })
    }

    fn ask(&self, request: &Request) -> Result<i64> {
        self.change("ask", &format!("{request:?}"), |journal| {
            journal.ask(request)
        })
    }

    fn requests(&self) -> Result<Vec<RequestRow>> {
        self.look("requests", &"", |journal| journal.requests())
    }

    fn answer(&self, id: i64, answer: &std::result::Result<String, String>) -> Result<()> {
        self.change("answer", &id, |journal| journal.answer(id, answer))
    }

    fn adopt(&self, manifest: &Manifest, state: BatchState) -> Result<()> {
        let subject = batch_of(&manifest.pipeline, manifest.batch);
        self.change("adopt", &subject, |journal| journal.adopt(manifest, state))
    }

    fn say(&self, pipeline: &str, status: &serde_json::Value) {
        if self.check().is_ok() && !self.world.is_dead() {
            self.journal().say(pipeline, status);
        }
    }

    fn said(&self, pipeline: &str) -> Result<Option<serde_json::Value>> {
        self.look("said", &pipeline, |journal| journal.said(pipeline))
    }

    fn tidy(&self) -> Result<()> {
        self.change("tidy", &"", |journal| journal.tidy())
    }
}
