//! The spool port: the directory that producers drop files into.
//!
//! Nothing symbolic is followed below the spool; files are opened relative to it without following, and must be
//! regular after opening. What is found here is hearsay until it was opened: identities are taken by `fstat`.

pub mod conformance;
pub mod local;

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::segment::{FileStat, JournalId, RelativePath};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    Oldest,
    Newest,
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retire {
    Rename,
    Move,
    Delete,
    Keep,
}

/// The `[pipeline.source]` keys that concern the directory, validated.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    pub pipeline: String,
    pub path: PathBuf,
    pub recursive: bool,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub skip_suffixes: Vec<String>,
    pub order: Order,
    pub ready_after: Duration,
    /// Empty: none.
    pub ready_marker: String,
    pub retire: Retire,
    pub retire_suffix: String,
    /// Absolute; only with `Retire::Move`.
    pub retire_dir: Option<PathBuf>,
    /// Absolute or below the spool.
    pub quarantine_dir: PathBuf,
}

/// A file that a scan found and whose name is not excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: RelativePath,
    pub stat: FileStat,
    /// Judged by the marker where one is set, otherwise by the file's age (mtime and, where a former scan of this
    /// process saw it, unchanged since) at the time given to the scan.
    pub ready: bool,
}

/// The hidden file `.lakeward-claim.json` in a spool (or in the lake, where the spool cannot be written).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The spool's random id, made with its first claim and kept over `rebuild` and `adopt`.
    pub spool: JournalId,
    pub pipeline: String,
    pub journal: JournalId,
    /// The journal's path, for the message to whoever is refused.
    pub journal_path: String,
    /// Only in a claim that stands in the lake: inode and file system id of the spool directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<(u64, u64)>,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation} `{path}`: {message}")]
pub struct SpoolError {
    pub operation: &'static str,
    /// For people: the spool's path and the escaped path below it.
    pub path: String,
    pub message: String,
    /// The spool itself is not there or cannot be read, so that nothing found or missing in it means anything.
    pub unavailable: bool,
}

/// What [`Spool::retire`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retired {
    /// The file stands under its target (delete: its hidden target) and the directories need [`Spool::sync`].
    Yes,
    /// It was there before: an earlier attempt did it.
    Already,
    /// Something else has the target's name: choose another, journal it, call again.
    TargetTaken,
    /// The identity at the path is another one: a new drop. Nothing was touched.
    Replaced,
    /// Same inode, other size or time: it changed after it was read. Nothing was touched, or it was renamed back.
    Changed(FileStat),
    /// Neither at its path nor at the target.
    Gone,
}

/// An open spooled file: its inode, whatever becomes of its name. Several threads may read it at once.
pub trait SpooledFile: Send + Sync {
    /// Reads at `offset`, as `pread` does: fewer bytes than there is room for are not the end, none are.
    ///
    /// # Errors
    /// It could not be read; `Interrupted`: ask again.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// What `fstat` says of it now.
    ///
    /// # Errors
    /// The file system answered none.
    fn stat(&self) -> io::Result<FileStat>;
}

/// With the identity that was taken when it was opened.
pub type OpenedFile = (Box<dyn SpooledFile>, FileStat);

/// Reads an open spooled file from an offset on.
pub struct FileReader<F> {
    file: F,
    at: u64,
}

impl<F> FileReader<F> {
    pub fn new(file: F, offset: u64) -> Self {
        Self { file, at: offset }
    }
}

impl<F: std::ops::Deref<Target: SpooledFile>> Read for FileReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// What hidden targets of deleted files begin with.
const DELETE_PREFIX: &[u8] = b".lakeward-delete-";

/// Whether this is the hidden name under which a deleted file waits to be unlinked.
#[must_use]
pub fn is_of_deleted(target: &RelativePath) -> bool {
    is_name_of_deleted(target.name())
}

fn is_name_of_deleted(name: &[u8]) -> bool {
    name.starts_with(DELETE_PREFIX)
}

pub trait Spool: Send + Sync {
    /// Calls `visit` for every file that may be read, in the configured order (`now_ns`: nanoseconds since 1970, for
    /// readiness). One pass over the directory, however many files it holds; memory is bounded by some 50 bytes a file.
    /// Never visits: retired names, skipped suffixes, hidden names, markers, directories, links, pipes, sockets.
    ///
    /// # Errors
    /// The spool cannot be read; nothing can be concluded from files not visited.
    fn scan(
        &self,
        now_ns: i64,
        visit: &mut dyn FnMut(Found) -> std::ops::ControlFlow<()>,
    ) -> Result<(), SpoolError>;

    /// Opens a regular file without following links; its identity is taken from the open file.
    ///
    /// # Errors
    /// `Ok(None)` if it is gone or is no regular file any more.
    fn open(&self, path: &RelativePath) -> Result<Option<OpenedFile>, SpoolError>;

    /// # Errors
    /// A failed look, which is not "absent".
    fn stat(&self, path: &RelativePath) -> Result<Option<FileStat>, SpoolError>;

    /// The `attempt`th target name for a file (0: without a number), as bytes to be journaled before it is used:
    /// relative to the spool for rename and delete, relative to `retire_dir` for move. Pure.
    fn retire_target(&self, path: &RelativePath, attempt: u32) -> RelativePath;

    /// Moves exactly the recorded identity to the recorded target, never over an existing file; then stats again.
    /// Takes the marker along. Durable only after [`Spool::sync`]. Across file systems: copied to a hidden temporary name, synced,
    /// compared, renamed, synced, removed.
    ///
    /// # Errors
    /// Any part may have been done; calling again decides.
    fn retire(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<Retired, SpoolError>;

    /// Whether [`Spool::retire_target`] gives this file that target, as it is configured now. One that was recorded under another
    /// `retire` is below the spool, or below a `retire_dir` that nobody knows any more; the latter may be the path itself. Pure.
    fn gives_target(&self, path: &RelativePath, target: &RelativePath) -> bool;

    /// Whether the file of this identity stands at its recorded target, retired by somebody who may not have recorded it yet.
    /// A look alone; a target that is not given any more is looked for below the spool.
    ///
    /// # Errors
    /// A failed look, which is not "no".
    fn is_retired(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<bool, SpoolError>;

    /// Whether it is retired (see [`Spool::is_retired`]) as a copy on another file system, so that its inode is no longer taken by
    /// what stands at the target.
    ///
    /// # Errors
    /// A failed look, which is not "no".
    fn is_copied(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<bool, SpoolError>;

    /// Fsyncs every directory touched by [`Spool::retire`] and [`Spool::quarantine`] since the last call.
    ///
    /// # Errors
    /// Nothing touched since may be recorded as retired.
    fn sync(&self) -> Result<(), SpoolError>;

    /// Whether a hidden target of a deleted file stands in any directory that is scanned. A look at names alone.
    ///
    /// # Errors
    /// A failed look, which is not "no".
    fn has_deleted(&self) -> Result<bool, SpoolError>;

    /// Unlinks the hidden target of a deleted file, after "retired" was recorded. Absent is fine.
    ///
    /// # Errors
    /// It may still be there; it is hidden and harmless. Or it is no such name ([`is_of_deleted`]): nothing else is ever removed.
    fn unlink_target(&self, target: &RelativePath) -> Result<(), SpoolError>;

    /// Moves a file (if it is still there with this inode) into the quarantine directory, numbered on a clash, and writes
    /// `NAME.reason.json` beside it. On a spool that cannot be written: does nothing. Says where the file is now.
    ///
    /// # Errors
    /// Repeat.
    fn quarantine(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        reason: &serde_json::Value,
    ) -> Result<Option<PathBuf>, SpoolError>;

    /// The claim in the spool, `None` if there is none.
    ///
    /// # Errors
    /// The spool is not there, or the claim cannot be read.
    fn claim(&self) -> Result<Option<Claim>, SpoolError>;

    /// Replaces the claim atomically and durably.
    ///
    /// # Errors
    /// `Ok(false)` if the spool cannot be written (then the claim belongs into the lake).
    fn write_claim(&self, claim: &Claim) -> Result<bool, SpoolError>;

    /// Inode and file system id of the spool directory.
    ///
    /// # Errors
    /// The spool is not there.
    fn directory(&self) -> Result<(u64, u64), SpoolError>;

    /// Takes the lock that says "a live agent uses this spool", held until the value is dropped; `None`: another has it.
    /// A spool that cannot be written is locked by a lock on the directory itself.
    ///
    /// # Errors
    /// The spool is not there.
    fn lock(&self) -> Result<Option<Box<dyn Send + Sync>>, SpoolError>;
}

/// A whole path as the journal keeps it and people read it: escaped as [`RelativePath::escaped`] does, which loses nothing.
#[must_use]
pub fn place_text(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    match RelativePath::new(bytes.strip_prefix(b"/").unwrap_or(bytes)) {
        Ok(below) if bytes.starts_with(b"/") => format!("/{below}"),
        Ok(below) => below.to_string(),
        // Not a path that this program makes.
        Err(_) => path.to_string_lossy().into_owned(),
    }
}

/// The path that [`place_text`] was made from.
#[must_use]
pub fn place_of(text: &str) -> Option<PathBuf> {
    let below = RelativePath::from_escaped(text.strip_prefix('/').unwrap_or(text)).ok()?;
    let root = if text.starts_with('/') { "/" } else { "" };
    Some(std::path::Path::new(root).join(below.as_path()))
}
