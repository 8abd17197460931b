//! A lake on HDFS.
//!
//! A data file is written under a hidden temporary name beside its final one, every block synced, closed, its length
//! compared with what the NameNode says, and only then renamed, in the NameNode's one step that refuses to replace. A
//! writer that failed is never followed by a rename: what it left is removed, and the next attempt has another name.
//!
//! ```text
//! answer to the rename        what is known                                        land answers
//! done                        it is there, durable                                 Yes
//! exists                      something is there                                   Look
//! lost, standby, safe mode    nothing: look; if absent rename the same file again  Look, Yes, or an error in the end
//! denied, over quota          refused                                              an error
//! ```
//!
//! A rename that was given up on may still arrive, after any later look. It publishes a whole file of ours under its own
//! final name or, if that is taken by then, nothing.
//!
//! HDFS keeps no metadata of a file that could tell whose it is, so where this process did not see a file land itself,
//! its bytes decide.
//!
//! [`HdfsLake`] knows all this and no wire. Below it stand the calls of [`Calls`], by the NameNode's own protocol
//! ([`NativeLake`]) or by WebHDFS ([`WebLake`]). opendal is not used: its rename removes what it should refuse to
//! replace, its writer does not sync, and it takes every fault of HDFS for a lasting one.

mod calls;
mod contents;
mod fault;
mod land;
mod native;
mod operate;
mod probe;
mod site;
mod temporary;
#[cfg(test)]
mod tests;
mod web;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::runtime::Handle;

pub use self::calls::{Calls, Info};
pub use self::contents::Contents;
pub use self::fault::{Fault, FaultKind};
use self::native::Native;
use self::web::Web;
use super::retry::{Backoff, RetryPolicy};
use super::wait;
use super::{
    Created, Entry, ErrorClass, Honours, Lake, LakeError, Landed, Look, Mark,
    SMALL_OBJECT_BYTES_MAX,
};
use crate::config::{HdfsSettings, WebHdfsSettings};
use crate::naming::LakePath;
use crate::protocol::DataFileCopy;
use crate::segment::JournalId;

/// By the NameNode's own protocol.
pub type NativeLake = HdfsLake<Native>;
/// Through WebHDFS, or a gateway that speaks it.
pub type WebLake = HdfsLake<Web>;

/// A directory of HDFS as a lake.
pub struct HdfsLake<C> {
    calls: C,
    runtime: Handle,
    policy: RetryPolicy,
    /// Absolute, without a `/` at its end; empty for HDFS's own root.
    root: String,
    identity: String,
    /// Temporary files that could not be removed when they should have been.
    left: Mutex<Vec<String>>,
}

impl NativeLake {
    /// `policy` bounds the retries of each call. See [`super::open`] for `runtime`.
    ///
    /// # Errors
    /// The settings or Hadoop's own files cannot be used.
    pub fn open(
        settings: &HdfsSettings,
        runtime: Handle,
        policy: RetryPolicy,
    ) -> Result<Self, LakeError> {
        let calls = Native::open(settings, &runtime).map_err(|fault| {
            let root = &settings.root;
            LakeError::new(ErrorClass::Permanent, "open the lake", root, fault.message)
        })?;
        let kind = "hdfs";
        Ok(Self::new(kind, calls, &settings.root, runtime, policy))
    }
}

impl WebLake {
    /// As [`NativeLake::open`].
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn open(
        settings: &WebHdfsSettings,
        runtime: Handle,
        policy: RetryPolicy,
    ) -> Result<Self, LakeError> {
        let calls = Web::open(settings).map_err(|fault| {
            let root = &settings.root;
            LakeError::new(ErrorClass::Permanent, "open the lake", root, fault.message)
        })?;
        let kind = "webhdfs";
        Ok(Self::new(kind, calls, &settings.root, runtime, policy))
    }
}

/// What every client of the cluster writes between `hdfs://` and a path; `None` where neither the settings nor Hadoop's files say.
#[must_use]
pub fn authority(settings: &HdfsSettings) -> Option<String> {
    site::Site::of(settings)
        .ok()?
        .authority(&settings.name_nodes)
}

impl<C: Calls> HdfsLake<C> {
    /// Over these calls; `root` is absolute.
    pub fn new(kind: &str, calls: C, root: &str, runtime: Handle, policy: RetryPolicy) -> Self {
        let root = root.trim_end_matches('/').to_owned();
        Self {
            identity: format!("{kind} {}{root}", calls.service()),
            calls,
            runtime,
            policy,
            root,
            left: Mutex::default(),
        }
    }

    /// A new temporary name for `path`, as landing would take it: for tests that leave a file behind as a kill does.
    #[doc(hidden)]
    #[must_use]
    pub fn temporary_name(&self, path: &LakePath) -> String {
        let path = format!("{}/{path}", self.root);
        temporary::beside(&path)
    }

    /// Runs a call of the port to its end, on the calling thread.
    fn run<T>(
        &self,
        operation: &'static str,
        path: &LakePath,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, LakeError> {
        wait::block_on(&self.runtime, work).map_err(|fault| {
            let class = match fault.kind {
                FaultKind::Transient => ErrorClass::Transient,
                _ => ErrorClass::Permanent,
            };
            let whole = format!("{}/{path}", self.root);
            LakeError::new(class, operation, &whole, fault.message)
        })
    }

    /// A path of the lake as HDFS names it.
    fn full(&self, path: &LakePath) -> Result<String, Fault> {
        if path.as_str().contains(':') {
            return Err(Fault::permanent(
                "HDFS allows no `:` in a name: change `sink.path` (a value's own is written as `%3A`)",
            ));
        }
        Ok(format!("{}/{path}", self.root))
    }

    /// Repeats `attempt` while what it meets is passing. Only for what may be repeated blindly.
    async fn retried<T>(&self, attempt: impl AsyncFn() -> Result<T, Fault>) -> Result<T, Fault> {
        let mut backoff = Backoff::new(self.policy);
        loop {
            match attempt().await {
                Err(fault) if fault.kind == FaultKind::Transient && backoff.pause(&fault).await => {
                    tracing::debug!(error = %fault, "repeated");
                }
                answer => return answer,
            }
        }
    }

    /// `None` if nothing has this name.
    async fn info(&self, path: &str) -> Result<Option<Info>, Fault> {
        self.retried(async || self.calls.info(path).await).await
    }

    /// The whole of a small file.
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        let Some(info) = self.info(path).await? else {
            return Ok(None);
        };
        self.get_whole(path, &info).await
    }

    /// Of one that was looked at.
    async fn get_whole(&self, path: &str, info: &Info) -> Result<Option<Vec<u8>>, Fault> {
        if info.is_dir {
            return Err(Fault::permanent("a directory stands there"));
        }
        if info.length > SMALL_OBJECT_BYTES_MAX {
            return Err(Fault::permanent(format!(
                "it is longer than {SMALL_OBJECT_BYTES_MAX} bytes, which none of Lakeward's own is"
            )));
        }
        let mut contents = Vec::new();
        let found = self
            .stream(path, info.length, &mut |bytes| {
                contents.extend_from_slice(bytes);
                Ok(())
            })
            .await?;
        Ok(found.then_some(contents))
    }

    /// Reads a file of this length piece by piece, going on where a passing fault cut it off; `false` if there is none.
    async fn stream(
        &self,
        path: &str,
        length: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let mut backoff = Backoff::new(self.policy);
        let mut at = 0;
        loop {
            let from = at;
            let read = self
                .calls
                .read(path, from..length, &mut |bytes| {
                    at += bytes.len() as u64;
                    take(bytes)
                })
                .await;
            match read {
                Err(fault) if fault.kind == FaultKind::Transient => {
                    if at > from {
                        backoff = Backoff::new(self.policy);
                    }
                    if !backoff.pause(&fault).await {
                        return Err(fault);
                    }
                    tracing::debug!(path, at, error = %fault, "read on");
                }
                answer => return answer,
            }
        }
    }
}

impl<C: Calls> Lake for HdfsLake<C> {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, LakeError> {
        self.run("create", path, self.create_file(path, contents))
    }

    /// A look is one call, a write that is refused in the end more than six.
    fn ensure(&self, path: &LakePath, contents: &[u8]) -> Result<(), LakeError> {
        self.run("create", path, async {
            if self.info(&self.full(path)?).await?.is_none() {
                self.create_file(path, contents).await?;
            }
            Ok(())
        })
    }

    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, LakeError> {
        self.run("read", path, async { self.get(&self.full(path)?).await })
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, LakeError> {
        self.run("look at", path, self.look_at(path, mark))
    }

    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, LakeError> {
        self.run("land", path, self.land_file(staged, path, mark))
    }

    /// What is visible was synced and closed before its rename, and the NameNode answers a rename when its log has it.
    fn make_durable(&self, _path: &LakePath) -> Result<(), LakeError> {
        Ok(())
    }

    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), LakeError> {
        let mut dirs = vec![dir.clone()];
        while let Some(dir) = dirs.pop() {
            // Shown outside the runtime, so that `visit` may call the lake itself.
            let found = self.run("list", &dir, self.list_dir(&dir))?;
            dirs.extend(found.dirs);
            found.files.into_iter().for_each(&mut *visit);
        }
        Ok(())
    }

    fn digest(&self, path: &LakePath) -> Result<Option<DataFileCopy>, LakeError> {
        self.run("read", path, async {
            self.digest_file(&self.full(path)?).await
        })
    }

    fn download(&self, path: &LakePath, to: &Path) -> Result<bool, LakeError> {
        self.run("download", path, self.download_file(path, to))
    }

    fn probe(&self) -> Result<Honours, LakeError> {
        let path = super::probe_path()?;
        self.run("probe", &path, self.probe_lake(&path))
    }

    fn abort_uploads(&self, path: &LakePath) -> Result<u64, LakeError> {
        self.run("remove temporary files of", path, self.remove_left(path))
    }

    fn staging_dir(&self, _journal: JournalId) -> Option<PathBuf> {
        None
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}
