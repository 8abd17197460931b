//! The journal port: what is durable of files, segments, checkpoints, batches and schemas.
//!
//! Every method that changes something is one durable transaction (it may share it with others' that arrive
//! together) and has happened wholly once it answered `Ok`. Called again, it is `Ok` and changes nothing (`commit`, `done`, `revise`, `retired`,
//! `quarantine`, `skip`, `release`, `forget`, `answer`, `registered`) or `Refused` (`stage`, `put`, `adopt`), never done twice. After an error of class `Fatal` nothing may be called
//! again: the process ends and recovers at its next start.

pub mod conformance;
pub mod sqlite;

use std::sync::Arc;

use crate::protocol::{BatchState, DataFileCopy, Manifest};
use crate::segment::{BatchNumber, Digest, FileId, FileStat, JournalId, RelativePath, Segment};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Some of it is journaled, not all of it committed.
    Reading,
    /// All of it is committed; it has not been retired yet (under `keep`: for ever, until the file is gone).
    Committed,
    Retired,
    Quarantined,
}

/// A spooled file as the journal knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRow {
    pub id: FileId,
    pub path: RelativePath,
    pub stat: FileStat,
    pub state: FileState,
    /// `format::ReadingSettings` as JSON; shared by the files that are read alike.
    pub settings: Arc<serde_json::Value>,
    /// CSV header.
    pub header: Option<Vec<String>>,
    /// End of the last journaled segment: where the source goes on.
    pub put_end: u64,
    /// End of what is committed.
    pub checkpoint: u64,
    /// Decompressed size, known once the last segment is journaled.
    pub decoded: Option<u64>,
    pub fingerprint: Option<Digest>,
    /// Set with the last segment of a torn file: once the checkpoint reaches `decoded`, the file is quarantined for this
    /// reason instead of retired.
    pub torn: Option<String>,
    /// Committed counts.
    pub records: u64,
    pub rejected: u64,
    pub rejected_bytes: u64,
    pub skipped_bytes: u64,
    /// Of a quarantined file, or of one that was skipped (`resent`, `same_content`) and retired.
    pub reason: Option<String>,
    /// Retired without landing anything, because of `resent` or `same_content`.
    pub skipped: bool,
    pub retire_target: Option<RelativePath>,
    /// Where a quarantined file stands now, for people.
    pub quarantined_to: Option<String>,
    /// Nanoseconds since 1970 of the last change of state.
    pub changed_ns: i64,
}

/// What is asked of every file at a start: so little that a million of them are no wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    pub id: FileId,
    /// [`path_hash`] of its path.
    pub path_hash: u64,
    pub stat: FileStat,
    pub state: FileState,
    pub checkpoint: u64,
    pub changed_ns: i64,
}

impl KnownFile {
    #[must_use]
    pub fn of(row: &FileRow) -> Self {
        Self {
            id: row.id,
            path_hash: path_hash(&row.path),
            stat: row.stat,
            state: row.state,
            checkpoint: row.checkpoint,
            changed_ns: row.changed_ns,
        }
    }
}

/// XXH3-64 of the path's bytes. A collision must lead to no more than a question too many.
#[must_use]
pub fn path_hash(path: &RelativePath) -> u64 {
    twox_hash::XxHash3_64::oneshot(path.as_bytes())
}

impl FileRow {
    /// A file of which nothing is journaled yet.
    #[must_use]
    pub fn fresh(
        id: FileId,
        path: RelativePath,
        stat: FileStat,
        settings: Arc<serde_json::Value>,
        now_ns: i64,
    ) -> Self {
        Self {
            id,
            path,
            stat,
            state: FileState::Reading,
            settings,
            header: None,
            put_end: 0,
            checkpoint: 0,
            decoded: None,
            fingerprint: None,
            torn: None,
            records: 0,
            rejected: 0,
            rejected_bytes: 0,
            skipped_bytes: 0,
            reason: None,
            skipped: false,
            retire_target: None,
            quarantined_to: None,
            changed_ns: now_ns,
        }
    }
}

/// A range of a file and the batch it was committed (or staged) in; kept as long as the file's row.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRange {
    pub file: FileId,
    pub batch: BatchNumber,
    pub segment: Segment,
    pub rejected: u64,
    pub rejected_bytes: u64,
    pub skipped_bytes: u64,
    pub lane: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PipelineRow {
    pub name: String,
    pub spool: JournalId,
    pub lake: String,
    /// Highest batch staged; 0 for none.
    pub staged: BatchNumber,
    /// Highest batch committed; 0 for none.
    pub committed: BatchNumber,
    /// When that was; nanoseconds since 1970.
    pub committed_ns: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BatchRow {
    pub number: BatchNumber,
    pub state: BatchState,
    pub manifest: Manifest,
    /// File ids of `manifest.membership().files`, index by index.
    pub files: Vec<FileId>,
}

/// What `put` writes in payload mode: the file's row (new or known) and one segment with its bytes.
#[derive(Clone, Debug)]
pub struct PutRequest {
    pub file: FileRow,
    pub segment: Segment,
    /// The decoded bytes `[from, to)`, compressed by the journal as it likes.
    pub payload: Vec<u8>,
}

/// What `stage` writes: the batch with all its facts.
#[derive(Clone, Debug)]
pub struct StageRequest {
    pub manifest: Manifest,
    /// The rows of the batch's files as they shall stand (`put_end`, `decoded`, `fingerprint`, `torn` and, when new,
    /// everything), index by index as in the manifest. Checkpoints and counts are not taken from here.
    pub files: Vec<FileRow>,
    /// Schema versions not journaled yet: version and `schema::Schema` as JSON.
    pub schemas: Vec<(u32, serde_json::Value)>,
}

/// A directory that the catalog is to learn of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionWork {
    /// Below the lake's root.
    pub directory: String,
    /// The part of it below the template's root, `dt=2026-11-22/region=eu`; empty if the table has no partitions.
    pub partition: String,
    /// The highest of its data files.
    pub schema_version: u32,
    /// The last that landed there.
    pub batch: BatchNumber,
}

/// A request that a command leaves for the agent that holds the journal, or carries out itself under the lock.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", tag = "request")]
pub enum Request {
    Release {
        file: FileId,
        as_new: bool,
    },
    Resolve {
        pipeline: String,
        batch: BatchNumber,
    },
    Adopt {
        pipeline: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct RequestRow {
    pub id: i64,
    pub request: Request,
    /// `None` while it waits; then what came of it.
    pub answer: Option<std::result::Result<String, String>>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// A newer program's journal, a lock held, a damaged or foreign database: nothing was changed. The text says what to do next.
    #[error("journal `{path}`: {message}")]
    Unusable { path: String, message: String },
    /// Another live agent holds the lock.
    #[error("journal `{path}` is in use by another live agent{holder}")]
    Locked { path: String, holder: String },
    /// An I/O error or a full disk: the process must end and recover at its next start.
    #[error(
        "journal `{path}`: {operation} failed: {message}; the process ends here and recovers at its next start"
    )]
    Fatal {
        path: String,
        operation: &'static str,
        message: String,
        /// The disk is full: a passing fault for the exit code.
        full: bool,
    },
    /// A request that contradicts what is journaled (I5 for instance): a bug, nothing was changed.
    #[error("journal: {0}")]
    Refused(String),
}

pub type Result<T> = std::result::Result<T, JournalError>;

pub trait Journal: Send + Sync {
    fn id(&self) -> JournalId;

    // ---- pipelines

    /// The pipeline's row, made with this spool and lake if there is none.
    fn pipeline(&self, name: &str, spool: JournalId, lake: &str) -> Result<PipelineRow>;
    fn pipelines(&self) -> Result<Vec<PipelineRow>>;
    /// Records a changed lake; refused while a batch of the pipeline is unfinished (not `Done`), or one of its partitions waits, whose
    /// directory is one of the old lake.
    fn set_lake(&self, pipeline: &str, lake: &str) -> Result<()>;

    // ---- files

    /// A file id never used before. In memory; durable with the first row that carries it.
    fn new_file_id(&self) -> FileId;
    fn file(&self, id: FileId) -> Result<Option<FileRow>>;
    /// The newest row of this path.
    fn file_at(&self, pipeline: &str, path: &RelativePath) -> Result<Option<FileRow>>;
    /// Rows (of any state but quarantined) whose size on disk is this one, newest first, 100 at most.
    fn files_of_size(&self, pipeline: &str, size: u64) -> Result<Vec<FileRow>>;
    /// All rows in one of these states, oldest id first.
    fn files_in(&self, pipeline: &str, states: &[FileState]) -> Result<Vec<FileRow>>;
    /// Calls `visit` for every row, oldest id first, without holding a read transaction for long.
    fn visit_files(&self, pipeline: &str, visit: &mut dyn FnMut(FileRow)) -> Result<()>;
    /// The same, of each row only what [`KnownFile`] has.
    fn visit_known(&self, pipeline: &str, visit: &mut dyn FnMut(KnownFile)) -> Result<()> {
        self.visit_files(pipeline, &mut |row| visit(KnownFile::of(&row)))
    }
    fn ranges(&self, file: FileId) -> Result<Vec<FileRange>>;
    /// Sets a file aside: state, reason, its segments that are in no batch dropped. Its checkpoint stays. A row that does not exist is made.
    fn quarantine(&self, pipeline: &str, file: &FileRow, reason: &str) -> Result<()>;
    fn quarantined_to(&self, file: FileId, place: &str) -> Result<()>;
    /// A file that lands nothing (`resent`, `same_content`): a row in state `Committed`, `skipped`, with its retire target, `reason` and
    /// `skipped_bytes` as given, its offsets 0.
    fn skip(&self, pipeline: &str, files: &[FileRow]) -> Result<()>;
    /// A quarantined file goes on: back to `Reading` at its checkpoint (at the end of what is staged, if a batch is in flight), at the
    /// identity given; `decoded`, `fingerprint` and `torn` are unknown again.
    fn release(&self, file: FileId, stat: &FileStat, path: &RelativePath) -> Result<()>;
    /// Removes a quarantined file's claim on its path, so that the content counts as new (`--as-new`): state `Retired`, with this reason,
    /// without a fingerprint and with inode 0, so that nothing equals it.
    fn forget(&self, file: FileId, reason: &str) -> Result<()>;

    // ---- channel, payload mode

    fn put(&self, pipeline: &str, puts: &[PutRequest]) -> Result<()>;
    /// Journaled segments that are in no batch, in put order.
    fn waiting_segments(&self, pipeline: &str) -> Result<Vec<Segment>>;
    fn payload(&self, file: FileId, from: u64) -> Result<Option<Vec<u8>>>;
    /// Bytes of the payloads in the journal (as stored).
    fn payload_bytes(&self, pipeline: &str) -> Result<u64>;

    // ---- batches

    /// Makes the batch `Staged`. Refused unless its number is the highest staged plus one and each file's segments join on
    /// from its last staged end (I5).
    fn stage(&self, request: StageRequest) -> Result<()>;
    /// Adds a copy to a data file that was encoded again, or accepted losses: the manifest with its revision counted up. Only of a staged
    /// batch; only with more accepted losses may data files be missing and segments count otherwise.
    fn revise(&self, manifest: &Manifest) -> Result<()>;
    /// Batches that are not `Done`, lowest first.
    fn unfinished(&self, pipeline: &str) -> Result<Vec<BatchRow>>;
    /// Makes the batch `Committed`, moves checkpoints (I5 asserted), adds counts, drops payloads, makes fully committed files `Committed` with
    /// the retire targets given for them, and queues `partitions`. Refused unless it is the lowest staged one.
    fn commit(
        &self,
        pipeline: &str,
        batch: BatchNumber,
        targets: &[(FileId, RelativePath)],
        partitions: &[PartitionWork],
    ) -> Result<()>;
    /// Makes the batch `Done`; its manifest's text may be pruned then, its data files are kept for `history`.
    fn done(&self, pipeline: &str, batch: BatchNumber) -> Result<()>;
    /// Committed and staged batches of a file: number, state, and the data and reject files of those batches that hold its records' lanes.
    fn data_files(
        &self,
        pipeline: &str,
        batch: BatchNumber,
    ) -> Result<Vec<crate::protocol::DataFile>>;

    // ---- follow-up work

    fn set_retire_target(&self, file: FileId, target: &RelativePath) -> Result<()>;
    fn retired(&self, files: &[FileId]) -> Result<()>;
    /// Partitions that the catalog is to learn of, beside those that commits queue. One that waits already keeps the higher batch and schema
    /// version.
    fn queue_partitions(&self, pipeline: &str, work: &[PartitionWork]) -> Result<()>;
    /// By directory, those that come after `after`; none of a pipeline that is not known.
    fn waiting_partitions(
        &self,
        pipeline: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PartitionWork>>;
    fn count_waiting_partitions(&self, pipeline: &str) -> Result<u64>;
    /// The directories in which committed batches landed data files, by directory, as far as the journal remembers.
    fn landed_partitions(&self, pipeline: &str) -> Result<Vec<PartitionWork>>;
    /// Takes partitions off the queue, but for those that a later batch has queued again since they were looked at.
    fn registered(&self, pipeline: &str, work: &[PartitionWork]) -> Result<()>;
    /// Forgets retired rows last changed before this time, with their ranges, and data files of batches that no row refers to.
    fn prune(&self, pipeline: &str, before_ns: i64) -> Result<u64>;

    // ---- schema

    /// The newest version.
    fn schema(&self, pipeline: &str) -> Result<Option<(u32, serde_json::Value)>>;
    fn schema_version(&self, pipeline: &str, version: u32) -> Result<Option<serde_json::Value>>;

    // ---- requests, rebuild, housekeeping

    fn ask(&self, request: &Request) -> Result<i64>;
    fn requests(&self) -> Result<Vec<RequestRow>>;
    fn answer(&self, id: i64, answer: &std::result::Result<String, String>) -> Result<()>;
    /// Takes in a manifest of a closed journal: the batch, its files, ranges and schema as they stand there, `Committed` (then
    /// checkpoints moved, files `Committed` once whole) or `Staged`. Batches come in ascending order; the manifest keeps its old journal id.
    /// `Done` is `Committed` without follow-up work: the manifest's text is not kept. `torn` and `header` are in no manifest, and are unknown then.
    fn adopt(&self, manifest: &Manifest, state: BatchState) -> Result<()>;
    /// A word for `status`: what a pipeline waits for, its open batch. Not durable at once; lost by a kill.
    fn say(&self, pipeline: &str, status: &serde_json::Value);
    fn said(&self, pipeline: &str) -> Result<Option<serde_json::Value>>;
    /// Idle work: truncates the WAL.
    fn tidy(&self) -> Result<()>;
}

/// Which of these copies a staged or landed file is.
#[must_use]
pub fn matches_copy(copies: &[DataFileCopy], length: u64, digest: Digest) -> bool {
    copies
        .iter()
        .any(|copy| copy.length == length && copy.digest == digest)
}
