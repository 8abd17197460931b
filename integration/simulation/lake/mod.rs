//! Simulated lakes: what each kind of lake may do to Lakeward, as implementations of the port [`Lake`](lakeward::lake::Lake).
//!
//! [`LakeStore`] is what is stored: it outlives processes. [`SimLake`] is one process's client of it; it does what the real client of
//! that kind does, call by call, and each call is asked of the [`World`], which says how much of it happens and what its caller learns.
//!
//! ```text
//! kind     a call of the world is                 what only this kind does to its callers
//! local    a system call that changes something   what was not synced vanishes or is torn when the power goes
//! HDFS     a request to NameNode or DataNodes     open files of dead writers, half-written temporary files, renames that come late
//! S3       a request to the store                 uploads left behind, conditions that refuse our own retry or are ignored, pages
//! ```
//!
//! What it does not simulate: link and unlink where a file system has no rename without replacing, fsyncs that fail and then succeed
//! without having written, a power cut of HDFS's or S3's own servers, listings that lag behind.

#![allow(
    dead_code,
    reason = "the driver of the simulation uses what the tests here do not"
)]

mod bucket;
mod client;
mod disk;
mod hdfs;
mod in_turns;
mod local;
mod namenode;
mod port;
mod s3;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lakeward::naming::{DataFileName, METADATA_DIR};

use self::bucket::Bucket;
use self::disk::Disk;
use self::namenode::NameNode;
use self::port::{Server, Subjects};
use super::world::World;

pub use self::bucket::SecondComplete;
pub use self::client::SimLake;
pub use self::disk::tear_directory;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Local,
    Hdfs,
    S3,
}

/// How a lake behaves. Limits are small, so that small files have several blocks and parts.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that do not depend on each other"
)]
#[derive(Clone, Debug)]
pub struct Options {
    /// What is recorded in each batch; the kind's own name if it is empty.
    pub identity: String,
    /// How often a client tries what met a passing fault.
    pub tries: u32,
    /// Entries of a page of a listing.
    pub page: usize,
    /// [`Lake::probe`] asks one question only: what the store honours. The whole probe is some twenty calls at each start.
    pub short_probe: bool,
    /// Local: where batches are staged, a real directory.
    pub staging: PathBuf,
    /// Local: what [`Lake::free_bytes`] answers.
    pub free_bytes: u64,
    /// Wrong, local: no directory is ever synced.
    pub dirs_not_synced: bool,
    /// Wrong, local: only the directory that holds the file is synced, not those that had to be made for it.
    pub ancestors_not_synced: bool,
    /// Wrong, local: [`Lake::make_durable`] does nothing.
    pub never_made_durable: bool,
    /// HDFS: bytes of a block, each written and synced by itself.
    pub block_bytes: usize,
    /// HDFS through WebHDFS: a rename that is refused says no reason.
    pub web: bool,
    /// Wrong, HDFS: all attempts at a file have the same temporary name.
    pub shared_temporary_name: bool,
    /// S3: from this length on a file is uploaded in parts.
    pub multipart_bytes: usize,
    /// S3: bytes of a part.
    pub part_bytes: usize,
    /// S3: the store refuses a conditional put or complete over an existing object.
    pub honours_conditions: bool,
    /// S3: the store does so for completed uploads too. Without it a put alone is safe.
    pub honours_on_complete: bool,
    /// S3: the client asks for conditions (`lake.conditional_writes`), else it looks before it puts.
    pub conditional_writes: bool,
    /// S3: what completing an upload again is answered.
    pub second_complete: SecondComplete,
    /// S3: the store keeps no metadata of an object.
    pub drops_metadata: bool,
    /// A further deliberately wrong client.
    pub wrong: Option<Wrong>,
}

/// Deliberately wrong clients: each is to be caught by whoever checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Whatever stands at a final path is taken for ours (I10).
    ExistsIsOurs,
    /// A look, a read or a listing that failed found nothing.
    FailedLookIsAbsent,
    /// What stands at a final path, or under a manifest's name, is taken away first (I3).
    Replaces,
    /// A data file is written under its final name (I2). Local and HDFS: S3 has no such thing.
    WritesInPlace,
    /// The staged file is not synced before its rename. Local.
    StagedNotSynced,
    /// The first page of a listing is taken for all of it. HDFS and S3.
    FirstPageIsAll,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            identity: String::new(),
            tries: 3,
            page: 1000,
            short_probe: false,
            staging: PathBuf::new(),
            free_bytes: 1 << 50,
            dirs_not_synced: false,
            ancestors_not_synced: false,
            never_made_durable: false,
            block_bytes: 2048,
            web: false,
            shared_temporary_name: false,
            multipart_bytes: 2048,
            part_bytes: 2048,
            honours_conditions: true,
            honours_on_complete: true,
            conditional_writes: true,
            second_complete: SecondComplete::Absent,
            drops_metadata: false,
            wrong: None,
        }
    }
}

impl Options {
    /// A store that ignores conditions, and a client that was told so.
    pub fn weak() -> Self {
        Self {
            honours_conditions: false,
            honours_on_complete: false,
            conditional_writes: false,
            ..Self::default()
        }
    }
}

/// What became of a file at a final path. Temporary files and probes are not told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub deed: Deed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing had this name.
    Written,
    /// A client wrote over what was there.
    Replaced { same_bytes: bool },
    /// A client took it away.
    Deleted,
    /// It was not synced when the power went: gone, or torn.
    LostPower { torn: bool },
}

/// What a store tells the checker.
#[derive(Debug, Default)]
struct Log {
    changes: Vec<Change>,
    /// Counts whatever a reader could notice, temporary files included.
    version: u64,
}

impl Log {
    fn tell(&mut self, path: &str, deed: Deed) {
        self.version += 1;
        if !is_temporary(path) && !path.starts_with("_lakeward/probe/") {
            self.changes.push(Change {
                path: path.to_owned(),
                deed,
            });
        }
    }
}

/// Whether this is the name of a file that is being written, by either client's way of naming.
pub fn is_temporary(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp"));
    stem.is_some_and(|stem| {
        stem.rsplit(['.', '-']).next().is_some_and(|digits| {
            digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())
        })
    })
}

/// What is stored: it outlives processes, and the power of the agent's machine unless it is a local lake.
pub struct LakeStore {
    options: Options,
    held: Mutex<Held>,
    /// The real one, while another shows in its place.
    hidden: Mutex<Option<Held>>,
    subjects: Arc<Subjects>,
}

#[derive(Clone)]
enum Held {
    Local(Arc<Mutex<Disk>>),
    Hdfs(Arc<Mutex<NameNode>>),
    S3(Arc<Mutex<Bucket>>),
}

impl Held {
    fn new(kind: Kind, options: &Options) -> Self {
        match kind {
            Kind::Local => Self::Local(Arc::new(Mutex::new(Disk::new()))),
            Kind::Hdfs => Self::Hdfs(Arc::new(Mutex::new(NameNode::new(options.web)))),
            Kind::S3 => Self::S3(Arc::new(Mutex::new(Bucket::new(options)))),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LakeStore {
    pub fn new(kind: Kind, options: Options) -> Arc<Self> {
        let held = Held::new(kind, &options);
        Arc::new(Self {
            options,
            held: Mutex::new(held),
            hidden: Mutex::default(),
            subjects: Arc::default(),
        })
    }

    pub fn kind(&self) -> Kind {
        match self.held() {
            Held::Local(_) => Kind::Local,
            Held::Hdfs(_) => Kind::Hdfs,
            Held::S3(_) => Kind::S3,
        }
    }

    fn held(&self) -> Held {
        lock(&self.held).clone()
    }

    /// Between two processes: an empty one shows in its place.
    pub fn hide(&self) {
        let empty = Held::new(self.kind(), &self.options);
        let real = std::mem::replace(&mut *lock(&self.held), empty);
        lock(&self.hidden).get_or_insert(real);
    }

    /// It is there again.
    pub fn show(&self) {
        if let Some(real) = lock(&self.hidden).take() {
            *lock(&self.held) = real;
        }
    }

    /// Paths of data and reject files that a reader sees.
    pub fn data_files(&self) -> Vec<String> {
        let visible = self.visible().into_keys();
        visible
            .filter(|path| {
                let name = path.rsplit('/').next().unwrap_or(path);
                !path.starts_with(METADATA_DIR) && DataFileName::parse(name).is_some()
            })
            .collect()
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The agent's machine loses its power. Of a local lake, and of the real files in its staging, whatever was not synced is lost or torn by
    /// chance: contents and names each for themselves. The servers of the others go on; their staging is for [`tear_directory`].
    pub fn power_cut(&self, world: &World) {
        match &self.held() {
            Held::Local(disk) => lock(disk).power_cut(world, &self.options.staging),
            Held::Hdfs(_) | Held::S3(_) => self.process_died(),
        }
    }

    /// All that anything later depends on.
    pub fn describe(&self) -> String {
        let held = match self.held() {
            Held::Local(disk) => lock(&disk).describe(&self.options.staging),
            Held::Hdfs(names) => lock(&names).describe(),
            Held::S3(bucket) => format!("{:?}", lock(&bucket)),
        };
        format!("{held} {}", self.subjects.describe())
    }

    /// Whatever was written is durable.
    pub fn settle(&self) {
        if let Held::Local(disk) = self.held() {
            lock(&disk).settle();
        }
    }

    /// What its requests began stays: open files keep their lease until [`Self::recover_leases`], uploads stay open.
    pub fn process_died(&self) {
        if let Held::Hdfs(names) = &self.held() {
            lock(names).writers_died();
        }
    }

    /// HDFS: the NameNode closes what dead writers left open, after an hour or so. How many files that were.
    pub fn recover_leases(&self) -> usize {
        match &self.held() {
            Held::Hdfs(names) => lock(names).recover_leases(),
            Held::Local(_) | Held::S3(_) => 0,
        }
    }

    /// What a reader who lists the whole lake sees, hidden names included.
    pub fn visible(&self) -> BTreeMap<String, Vec<u8>> {
        match &self.held() {
            Held::Local(disk) => lock(disk).visible(),
            Held::Hdfs(names) => lock(names).visible(),
            Held::S3(bucket) => lock(bucket).visible(),
        }
    }

    /// Another number whenever [`Self::visible`] may have another answer.
    pub fn version(&self) -> u64 {
        self.log(|log| log.version)
    }

    /// What became of files at final paths since the last call.
    pub fn changes(&self) -> Vec<Change> {
        self.log(|log| std::mem::take(&mut log.changes))
    }

    fn log<T>(&self, ask: impl FnOnce(&mut Log) -> T) -> T {
        match &self.held() {
            Held::Local(disk) => ask(&mut lock(disk).log),
            Held::Hdfs(names) => ask(&mut lock(names).log),
            Held::S3(bucket) => ask(&mut lock(bucket).log),
        }
    }

    /// One of the requests that were given up on arrives after all; `false` if there is none.
    pub fn deliver(&self, world: &World) -> bool {
        let late = self.late() as u64;
        if late == 0 {
            return false;
        }
        let chosen = world.below(late) as usize;
        let said = match &self.held() {
            Held::Local(_) => return false,
            Held::Hdfs(names) => lock(names).deliver(chosen),
            Held::S3(bucket) => lock(bucket).deliver(chosen),
        };
        world.note(&format!("late {}", self.subjects.subject(&said)));
        true
    }

    /// Requests on their way.
    pub fn late(&self) -> usize {
        match &self.held() {
            Held::Local(_) => 0,
            Held::Hdfs(names) => lock(names).late().len(),
            Held::S3(bucket) => lock(bucket).late().len(),
        }
    }

    /// The requests on their way are lost for good.
    pub fn forget_late(&self) {
        match &self.held() {
            Held::Local(_) => {}
            Held::Hdfs(names) => lock(names).late().clear(),
            Held::S3(bucket) => lock(bucket).late().clear(),
        }
    }

    /// Somebody takes a file away; `false` if there is none.
    pub fn take_away(&self, path: &str) -> bool {
        match &self.held() {
            Held::Local(disk) => lock(disk).take_away(path),
            Held::Hdfs(names) => lock(names).take_away(path),
            Held::S3(bucket) => lock(bucket).take_away(path),
        }
    }

    /// Somebody else's file stands there from now on, durable.
    pub fn put_foreign(&self, path: &str, bytes: &[u8]) {
        match &self.held() {
            Held::Local(disk) => lock(disk).put_foreign(path, bytes),
            Held::Hdfs(names) => lock(names).put_foreign(path, bytes),
            Held::S3(bucket) => lock(bucket).put_foreign(path, bytes),
        }
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub fn uploads(&self) -> usize {
        match &self.held() {
            Held::S3(bucket) => lock(bucket).uploads(),
            Held::Local(_) | Held::Hdfs(_) => 0,
        }
    }

    /// Temporary files that are left.
    pub fn temporary(&self) -> usize {
        self.visible()
            .keys()
            .filter(|path| is_temporary(path))
            .count()
    }
}
