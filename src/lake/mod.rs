//! The lake port: the destination, with exactly the calls that the commit protocol needs.
//!
//! Every method is "make it so": calling it again after any error, kill or lost answer is harmless. A look that
//! failed is an error and never "absent".

pub mod conformance;
pub mod hdfs;
mod http;
mod local;
pub mod retry;
mod s3;
mod staged;
mod wait;

use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::Arc;

pub use hdfs::{NativeLake, WebLake, authority as hdfs_authority};
pub use local::LocalLake;
pub use s3::{ALLOWED_OPTIONS as S3_OPTIONS, S3Lake};

use crate::config::LakeSettings;
use crate::naming::LakePath;
use crate::protocol::DataFileCopy;
use crate::segment::{BatchNumber, JournalId};

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// A passing fault: it was retried with backoff for as long as the settings allow; running again may help.
    Transient,
    /// Running again will not help before somebody mends something.
    Permanent,
}

/// `operation` `path`: `message`. No secret is ever part of it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation} `{path}`: {message}")]
pub struct LakeError {
    pub class: ErrorClass,
    /// `land`, `look at`, `create`, …
    pub operation: &'static str,
    pub path: String,
    pub message: String,
}

impl LakeError {
    #[must_use]
    pub fn new(
        class: ErrorClass,
        operation: &'static str,
        path: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            class,
            operation,
            path: path.to_owned(),
            message: message.into(),
        }
    }
}

/// Opens the lake that `settings` describe. Nothing is asked of a remote lake yet: [`Lake::probe`] does that.
///
/// `runtime` must be a multi-threaded one, with time and I/O, that outlives the lake. The lake's methods block on it, so
/// they are called from plain threads (several at once), never from one of the runtime's own.
///
/// # Errors
/// The settings cannot be used, or a local root can be neither found nor made.
pub fn open(
    settings: &LakeSettings,
    runtime: tokio::runtime::Handle,
) -> Result<Arc<dyn Lake>, LakeError> {
    Ok(match settings {
        LakeSettings::Fs { root } => Arc::new(LocalLake::open(root)?),
        LakeSettings::S3(settings) => Arc::new(S3Lake::open(
            settings,
            runtime,
            retry::RetryPolicy::default(),
        )?),
        LakeSettings::Hdfs(settings) => Arc::new(NativeLake::open(
            settings,
            runtime,
            retry::RetryPolicy::default(),
        )?),
        LakeSettings::WebHdfs(settings) => Arc::new(WebLake::open(
            settings,
            runtime,
            retry::RetryPolicy::default(),
        )?),
    })
}

/// What [`Lake::read`] reads into memory at most: manifests and claims are input like any other.
const SMALL_OBJECT_BYTES_MAX: u64 = 256 << 20;

/// A new name under `_lakeward/probe/`.
fn probe_path() -> Result<LakePath, LakeError> {
    let path = format!("{}/probe/{:016x}", crate::naming::METADATA_DIR, random());
    LakePath::new(&path).map_err(|e| LakeError::new(ErrorClass::Permanent, "probe", &path, e))
}

/// 64 bits that nobody else has: for temporary names and jitter, not for secrets.
fn random() -> u64 {
    if let Some(turns) = crate::threads::turns() {
        return turns.random();
    }
    std::hash::RandomState::new().build_hasher().finish()
}

/// What [`Lake::create`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// There now with these contents, durable. Also when an earlier attempt of ours, whose answer was lost, made it.
    Ours,
    /// There with other contents.
    Other,
}

/// What stands at a final path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    Absent,
    /// One of the expected copies (length and digest, or length and the object's metadata).
    Ours,
    Foreign {
        length: u64,
        /// What tells it from ours, for the message: a digest, or whose metadata it carries.
        found: String,
    },
}

/// What [`Lake::land`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// Visible under its final name and durable.
    Yes,
    /// Something stands there, or the answer was ambiguous: look.
    Look,
}

/// What a data file is marked with where the lake keeps metadata, and told by everywhere.
#[derive(Clone, Debug)]
pub struct Mark {
    pub journal: JournalId,
    pub batch: BatchNumber,
    pub number: u32,
    /// The copy that stands in staging now.
    pub copy: DataFileCopy,
    pub copies: Vec<DataFileCopy>,
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: LakePath,
    pub length: u64,
}

/// What the start-up probe found the store to honour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Honours {
    /// A create over an existing object is refused.
    pub conditional_writes: bool,
}

pub trait Lake: Send + Sync {
    /// Type, root, bucket and endpoint, without secrets: recorded in each batch, compared at each start.
    fn identity(&self) -> &str;

    /// Creates a small object if nothing has its name. Durable on `Ok`.
    ///
    /// # Errors
    /// Whether it exists now is then unknown; calling again decides.
    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, LakeError>;

    /// Creates a small object if nothing has its name. What is there, whoever's, does as well: it is neither read nor changed.
    ///
    /// # Errors
    /// Whether anything has the name now is then unknown.
    fn ensure(&self, path: &LakePath, contents: &[u8]) -> Result<(), LakeError> {
        self.create(path, contents).map(|_| ())
    }

    /// The whole of a small object, `None` if there is none.
    ///
    /// # Errors
    /// Then it may or may not be there.
    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, LakeError>;

    /// What stands at a data file's final path, compared with `mark.copies` by length and digest, or by length and
    /// metadata where the lake keeps any.
    ///
    /// # Errors
    /// Then it may or may not be there.
    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, LakeError>;

    /// Makes the staged file visible under `path` in one atomic step, never over anything. The staged file's content
    /// is known to be `mark.copy`. A local lake renames it away; others leave it.
    ///
    /// # Errors
    /// Whether it is visible now is then unknown: look.
    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, LakeError>;

    /// After `Ok` a file seen at `path` survives a power cut (local: file, directory, parents up to the root fsynced;
    /// object stores: nothing to do).
    ///
    /// # Errors
    /// It is visible but perhaps not durable.
    fn make_durable(&self, path: &LakePath) -> Result<(), LakeError>;

    /// Calls `visit` for every object whose path begins with the directory `dir`, at any depth, in no order. An absent
    /// directory has no objects.
    ///
    /// # Errors
    /// Then the listing is incomplete and proves nothing.
    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), LakeError>;

    /// Length and digest of a landed file, by reading it; `None` if there is none.
    ///
    /// # Errors
    /// Then it may or may not be there.
    fn digest(&self, path: &LakePath) -> Result<Option<DataFileCopy>, LakeError>;

    /// Copies a landed file to a local one (for `audit --deep`); `false` if there is none.
    ///
    /// # Errors
    /// Then it may or may not be there.
    fn download(&self, path: &LakePath, to: &Path) -> Result<bool, LakeError>;

    /// Writes, reads, overwrites (expecting a refusal) and removes one object under `_lakeward/probe/`.
    ///
    /// # Errors
    /// Wrong credentials, bucket, permissions, no route: in words that say what to mend.
    fn probe(&self) -> Result<Honours, LakeError>;

    /// Aborts uploads to exactly this path that were begun and never completed, and says how many. 0 where the lake
    /// has no such thing or cannot list them.
    ///
    /// # Errors
    /// Some may be left.
    fn abort_uploads(&self, path: &LakePath) -> Result<u64, LakeError>;

    /// The directory in which batches are staged if it must be on the lake's own file system (a local lake).
    fn staging_dir(&self, journal: JournalId) -> Option<std::path::PathBuf>;

    /// Free bytes of the lake's file system; `None` where that means nothing.
    fn free_bytes(&self) -> Option<u64>;
}
