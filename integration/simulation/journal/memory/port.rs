//! The port's methods, each one transaction.

use std::sync::atomic::Ordering;

use lakeward::journal::{
    BatchRow, FileRange, FileRow, FileState, Journal, PartitionWork, PipelineRow, PutRequest,
    Request, RequestRow, Result, StageRequest,
};
use lakeward::protocol::{BatchState, DataFile, Manifest};
use lakeward::segment::{BatchNumber, FileId, FileStat, JournalId, RelativePath, Segment};

use super::state::{Done, fits};
use super::{MemoryJournal, payloads};

/// Rows that are visited at once.
const PAGE: usize = 1000;

/// What is written must be believed when it is read back.
fn check(manifest: &Manifest) -> Done<()> {
    manifest
        .check()
        .map_err(|error| format!("the manifest could not be read back: {error}"))
}

impl Journal for MemoryJournal {
    fn id(&self) -> JournalId {
        self.id
    }

    fn pipeline(&self, name: &str, spool: JournalId, lake: &str) -> Result<PipelineRow> {
        let known = self.look("pipeline", |state| {
            Ok(state.find_pipeline(name).map(|known| known.row.clone()))
        })?;
        if let Some(known) = known {
            return Ok(known);
        }
        self.change("pipeline", |state| {
            state.make_pipeline(name, spool, lake);
            Ok(state.pipeline(name)?.row)
        })
    }

    fn pipelines(&self) -> Result<Vec<PipelineRow>> {
        self.look("pipelines", |state| {
            let all = state.pipelines.rows().values();
            Ok(all.map(|pipeline| pipeline.row.clone()).collect())
        })
    }

    fn set_lake(&self, pipeline: &str, lake: &str) -> Result<()> {
        self.change("set lake", |state| state.set_lake(pipeline, lake))
    }

    fn new_file_id(&self) -> FileId {
        FileId(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    fn file(&self, id: FileId) -> Result<Option<FileRow>> {
        self.look("file", |state| {
            Ok(state.files.get(&id).map(|file| file.row.clone()))
        })
    }

    fn file_at(&self, pipeline: &str, path: &RelativePath) -> Result<Option<FileRow>> {
        self.look("file", |state| Ok(state.file_at(pipeline, path)))
    }

    fn files_of_size(&self, pipeline: &str, size: u64) -> Result<Vec<FileRow>> {
        self.look("files of size", |state| state.files_of_size(pipeline, size))
    }

    fn files_in(&self, pipeline: &str, states: &[FileState]) -> Result<Vec<FileRow>> {
        self.look("files in state", |state| {
            Ok(state.files_in(pipeline, states))
        })
    }

    fn visit_files(&self, pipeline: &str, visit: &mut dyn FnMut(FileRow)) -> Result<()> {
        let mut after = FileId(i64::MIN);
        loop {
            let page = self.look("visit files", |state| Ok(state.page(pipeline, after, PAGE)))?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            page.into_iter().for_each(&mut *visit);
        }
    }

    fn ranges(&self, file: FileId) -> Result<Vec<FileRange>> {
        self.look("ranges", |state| Ok(state.ranges(file)))
    }

    fn quarantine(&self, pipeline: &str, file: &FileRow, reason: &str) -> Result<()> {
        let now = self.now();
        self.change("quarantine", |state| {
            state.quarantine(now, pipeline, file, reason)
        })
    }

    fn quarantined_to(&self, file: FileId, place: &str) -> Result<()> {
        self.change("quarantined to", |state| state.quarantined_to(file, place))
    }

    fn skip(&self, pipeline: &str, files: &[FileRow]) -> Result<()> {
        let now = self.now();
        self.change("skip", |state| state.skip(now, pipeline, files))
    }

    fn release(&self, file: FileId, stat: &FileStat, path: &RelativePath) -> Result<()> {
        let now = self.now();
        self.change("release", |state| state.release(now, file, stat, path))
    }

    fn forget(&self, file: FileId, reason: &str) -> Result<()> {
        let now = self.now();
        self.change("forget", |state| state.forget(now, file, reason))
    }

    fn put(&self, pipeline: &str, puts: &[PutRequest]) -> Result<()> {
        let now = self.now();
        self.change("put", |state| {
            puts.iter().try_for_each(payloads::check)?;
            state.put(now, pipeline, puts)
        })
    }

    fn waiting_segments(&self, pipeline: &str) -> Result<Vec<Segment>> {
        self.look("waiting segments", |state| {
            Ok(state.waiting_segments(pipeline))
        })
    }

    fn payload(&self, file: FileId, from: u64) -> Result<Option<Vec<u8>>> {
        self.look("payload", |state| {
            fits(from)?;
            Ok(state.payload(file, from))
        })
    }

    fn payload_bytes(&self, pipeline: &str) -> Result<u64> {
        self.look("payload bytes", |state| {
            let known = state.find_pipeline(pipeline);
            Ok(known.map_or(0, |pipeline| pipeline.payload_bytes))
        })
    }

    fn stage(&self, request: StageRequest) -> Result<()> {
        let now = self.now();
        self.change("stage", |state| {
            check(&request.manifest)?;
            state.stage(now, request)
        })
    }

    fn revise(&self, manifest: &Manifest) -> Result<()> {
        self.change("revise", |state| {
            check(manifest)?;
            state.revise(manifest)
        })
    }

    fn unfinished(&self, pipeline: &str) -> Result<Vec<BatchRow>> {
        self.look("unfinished batches", |state| Ok(state.unfinished(pipeline)))
    }

    fn commit(
        &self,
        pipeline: &str,
        batch: BatchNumber,
        targets: &[(FileId, RelativePath)],
        partitions: &[PartitionWork],
    ) -> Result<()> {
        let now = self.now();
        self.change("commit", |state| {
            state.commit(now, pipeline, batch, targets, partitions)
        })
    }

    fn done(&self, pipeline: &str, batch: BatchNumber) -> Result<()> {
        self.change("done", |state| state.done(pipeline, batch))
    }

    fn data_files(&self, pipeline: &str, batch: BatchNumber) -> Result<Vec<DataFile>> {
        self.look("data files", |state| state.data_files_of(pipeline, batch))
    }

    fn set_retire_target(&self, file: FileId, target: &RelativePath) -> Result<()> {
        self.change("set retire target", |state| {
            state.set_retire_target(file, target)
        })
    }

    fn retired(&self, files: &[FileId]) -> Result<()> {
        let now = self.now();
        self.change("retired", |state| state.retired(now, files))
    }

    fn queue_partitions(&self, pipeline: &str, work: &[PartitionWork]) -> Result<()> {
        self.change("queue partitions", |state| {
            let pipeline = state.pipeline(pipeline)?;
            state.queue(&pipeline, work)
        })
    }

    fn waiting_partitions(
        &self,
        pipeline: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PartitionWork>> {
        self.look("waiting partitions", |state| {
            Ok(state.waiting_partitions(pipeline, after, limit))
        })
    }

    fn count_waiting_partitions(&self, pipeline: &str) -> Result<u64> {
        self.look("waiting partitions", |state| {
            Ok(state.count_waiting_partitions(pipeline))
        })
    }

    fn landed_partitions(&self, pipeline: &str) -> Result<Vec<PartitionWork>> {
        self.look("landed partitions", |state| {
            Ok(state.landed_partitions(pipeline))
        })
    }

    fn registered(&self, pipeline: &str, work: &[PartitionWork]) -> Result<()> {
        self.change("registered", |state| state.registered(pipeline, work))
    }

    fn prune(&self, pipeline: &str, before_ns: i64) -> Result<u64> {
        self.change("prune", |state| state.prune(pipeline, before_ns))
    }

    fn schema(&self, pipeline: &str) -> Result<Option<(u32, serde_json::Value)>> {
        self.look("schema", |state| Ok(state.schema(pipeline)))
    }

    fn schema_version(&self, pipeline: &str, version: u32) -> Result<Option<serde_json::Value>> {
        self.look(
            "schema",
            |state| Ok(state.schema_version(pipeline, version)),
        )
    }

    fn ask(&self, request: &Request) -> Result<i64> {
        if self.held.is_some() {
            return self.change("ask", |state| Ok(state.ask(request)));
        }
        match self.shelf.state().as_mut() {
            Some(state) => state
                .transaction(|state| Ok(state.ask(request)))
                .map_err(|text| super::refused("ask", &text)),
            None => Err(super::gone("ask")),
        }
    }

    fn requests(&self) -> Result<Vec<RequestRow>> {
        self.look("requests", |state| {
            Ok(state.requests.rows().values().cloned().collect())
        })
    }

    fn answer(&self, id: i64, answer: &std::result::Result<String, String>) -> Result<()> {
        self.change("answer", |state| state.answer(id, answer))
    }

    fn adopt(&self, manifest: &Manifest, state: BatchState) -> Result<()> {
        let count = manifest.membership().map_or(0, |m| m.files.len()) as i64;
        let now = self.now();
        self.change("adopt", |tables| {
            check(manifest)?;
            let fresh = self.next_file.fetch_add(count, Ordering::Relaxed);
            tables.adopt(now, manifest, state, fresh)
        })
    }

    fn say(&self, pipeline: &str, status: &serde_json::Value) {
        let mut words = self.words();
        if self.held.is_none() || words.said.get(pipeline) == Some(status) {
            return;
        }
        words.said.insert(pipeline.to_owned(), status.clone());
        words.unwritten.insert(pipeline.to_owned(), status.clone());
    }

    fn said(&self, pipeline: &str) -> Result<Option<serde_json::Value>> {
        if let Some(word) = self.words().said.get(pipeline) {
            return Ok(Some(word.clone()));
        }
        self.look("said", |state| Ok(state.said.rows().get(pipeline).cloned()))
    }

    fn tidy(&self) -> Result<()> {
        if self.held.is_none() {
            return Ok(());
        }
        self.change("tidy", |_| Ok(()))
    }
}
