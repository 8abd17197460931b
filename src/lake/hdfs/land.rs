//! Writing under a temporary name, and the one rename that makes a file visible.

use std::path::Path;
use std::sync::PoisonError;

use super::calls::Calls;
use super::contents::Contents;
use super::fault::{Fault, FaultKind};
use super::{Created, HdfsLake, Landed, Mark, temporary};
use crate::crash;
use crate::lake::retry::{Backoff, RetryPolicy};
use crate::lake::staged::Staged;
use crate::naming::{LakePath, METADATA_DIR};

/// More than could be left of one run; beyond it the oldest are forgotten, and stay hidden where they are.
const LEFT_MAX: usize = 10_000;

/// What became of a file that was to get a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Yes,
    /// Something has the name: perhaps ours, by a rename whose answer was lost.
    Taken,
}

impl<C: Calls> HdfsLake<C> {
    pub(super) async fn land_file(
        &self,
        staged: &Path,
        path: &LakePath,
        mark: &Mark,
    ) -> Result<Landed, Fault> {
        let path = self.full(path)?;
        let staged = Staged::open(staged, mark.copy).map_err(Fault::permanent)?;
        let mut contents = Contents::staged(staged);
        if crash::broken("lake-writes-in-place") {
            self.calls.make_dirs(parent(&path)).await?;
            self.write(&path, &mut contents).await?;
            return Ok(Landed::Yes);
        }
        // Beside the final one, since quotas, storage policies, encryption and erasure coding go by directory.
        let name = || temporary::beside(&path);
        match self.put(&path, name, &mut contents, self.policy).await? {
            Placed::Yes => Ok(Landed::Yes),
            Placed::Taken => Ok(Landed::Look),
        }
    }

    pub(super) async fn create_file(
        &self,
        path: &LakePath,
        contents: &[u8],
    ) -> Result<Created, Fault> {
        self.create_within(path, contents, self.policy).await
    }

    pub(super) async fn create_within(
        &self,
        path: &LakePath,
        contents: &[u8],
        policy: RetryPolicy,
    ) -> Result<Created, Fault> {
        let full = self.full(path)?;
        // Not beside the final one: whoever looks for what a kill left would have to list every manifest.
        let dir = self.temporary_dir();
        let name = || temporary::within(&dir, path.name());
        let mut source = Contents::memory(contents);
        if self.put(&full, name, &mut source, policy).await? == Placed::Yes {
            return Ok(Created::Ours);
        }
        let found = match self.info(&full).await? {
            None => None,
            Some(info) if info.is_dir || info.length != contents.len() as u64 => {
                return Ok(Created::Other);
            }
            Some(info) => self.get_whole(&full, &info).await?,
        };
        match found {
            Some(found) if found == contents => Ok(Created::Ours),
            Some(_) => Ok(Created::Other),
            None => Err(Fault::transient(
                "it was refused as existing, and then it was not there",
            )),
        }
    }

    /// Where small files are written before they get their names.
    pub(super) fn temporary_dir(&self) -> String {
        format!("{}/{METADATA_DIR}/tmp", self.root)
    }

    /// Writes a file and gives it its name. Each attempt has a temporary name of its own.
    async fn put(
        &self,
        path: &str,
        name: impl Fn() -> String,
        contents: &mut Contents,
        policy: RetryPolicy,
    ) -> Result<Placed, Fault> {
        let mut backoff = Backoff::new(policy);
        let mut made_dir = false;
        loop {
            let temporary = name();
            let placed = match self.write(&temporary, contents).await {
                Ok(()) => {
                    crash::place("before_rename");
                    self.place(&temporary, path, &mut backoff).await
                }
                Err(fault) => Err(fault),
            };
            // Where the directory is missing nothing was made.
            let absent = matches!(&placed, Err(fault) if fault.kind == FaultKind::Absent);
            if !absent && !matches!(placed, Ok(Placed::Yes)) {
                self.remove(&temporary).await;
            }
            match placed {
                Ok(placed) => {
                    self.remove_forgotten().await;
                    return Ok(placed);
                }
                Err(fault) if fault.kind == FaultKind::Absent && !made_dir => {
                    let dir = parent(&temporary);
                    self.retried(async || self.calls.make_dirs(dir).await)
                        .await?;
                    made_dir = true;
                }
                Err(fault) => {
                    let fault = passing(fault);
                    if fault.kind != FaultKind::Transient || !backoff.pause(&fault).await {
                        return Err(fault);
                    }
                    tracing::debug!(path, error = %fault, "written again");
                }
            }
        }
    }

    /// After `Ok` a closed file of the right length and digest has this name.
    async fn write(&self, path: &str, contents: &mut Contents) -> Result<(), Fault> {
        contents.rewind()?;
        self.calls.write(path, contents).await?;
        contents.check()?;
        match self.info(path).await? {
            Some(info) if !info.is_dir && info.length == contents.length() => Ok(()),
            Some(info) => Err(Fault::transient(format!(
                "the temporary file `{path}` was closed with {} bytes and not {}",
                info.length,
                contents.length()
            ))),
            None => Err(Fault::transient(format!(
                "the temporary file `{path}` vanished after it was closed"
            ))),
        }
    }

    /// Renames a closed file to its final name. What is not known of a rename's fate is looked at before it is repeated.
    async fn place(
        &self,
        temporary: &str,
        path: &str,
        backoff: &mut Backoff,
    ) -> Result<Placed, Fault> {
        loop {
            let fault = match self.calls.rename(temporary, path).await {
                Ok(()) => return Ok(Placed::Yes),
                Err(fault) => fault,
            };
            if fault.kind == FaultKind::Exists || self.info(path).await?.is_some() {
                return Ok(Placed::Taken);
            }
            match fault.kind {
                FaultKind::Permanent | FaultKind::Exists => return Err(fault),
                FaultKind::Transient => {}
                FaultKind::Absent | FaultKind::Refused => {
                    if self.info(temporary).await?.is_none() {
                        return Err(Fault::transient(format!(
                            "the temporary file `{temporary}` was taken away before its rename"
                        )));
                    }
                    let dir = parent(path);
                    self.retried(async || self.calls.make_dirs(dir).await)
                        .await?;
                }
            }
            let fault = passing(fault);
            if !backoff.pause(&fault).await {
                return Err(fault);
            }
            tracing::debug!(path, error = %fault, "renamed again");
        }
    }

    /// Best effort: a hidden leftover harms nobody, and is remembered.
    pub(super) async fn remove(&self, temporary: &str) {
        if let Err(fault) = self.calls.delete(temporary).await {
            tracing::debug!(temporary, error = %fault, "not removed yet");
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            if left.len() < LEFT_MAX {
                left.push(temporary.to_owned());
            }
        }
    }

    /// What could not be removed earlier.
    async fn remove_forgotten(&self) {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        for temporary in left {
            self.remove(&temporary).await;
        }
    }
}

/// A name that nobody else has is taken by an attempt of ours whose answer was lost, and a directory that was just made is
/// missing because somebody tidies up: both pass, with another name.
fn passing(fault: Fault) -> Fault {
    match fault.kind {
        FaultKind::Absent | FaultKind::Exists | FaultKind::Refused => Fault {
            kind: FaultKind::Transient,
            ..fault
        },
        FaultKind::Transient | FaultKind::Permanent => fault,
    }
}

pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((dir, _)) => dir,
    }
}
