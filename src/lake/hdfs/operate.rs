//! Looking, listing, reading, and tidying up after a kill.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::calls::{Calls, Info};
use super::fault::Fault;
use super::land::parent;
use super::{DataFileCopy, Entry, HdfsLake, LakePath, Look, Mark, temporary};
use crate::segment::Digester;

/// What a directory holds.
pub(super) struct Listed {
    pub dirs: Vec<LakePath>,
    pub files: Vec<Entry>,
}

impl<C: Calls> HdfsLake<C> {
    pub(super) async fn look_at(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        let path = self.full(path)?;
        let Some(info) = self.info(&path).await? else {
            return Ok(Look::Absent);
        };
        let foreign = |length, found: &str| {
            let found = found.to_owned();
            Ok(Look::Foreign { length, found })
        };
        if info.is_dir {
            return foreign(0, "a directory");
        }
        if !mark.copies.iter().any(|copy| copy.length == info.length) {
            return foreign(info.length, "another length than ours");
        }
        match self.digest_whole(&path, &info).await? {
            None => Ok(Look::Absent),
            Some(copy) if mark.copies.contains(&copy) => Ok(Look::Ours),
            Some(copy) => foreign(copy.length, &format!("digest {}", copy.digest)),
        }
    }

    /// `None` if there is no file of this name.
    pub(super) async fn digest_file(&self, path: &str) -> Result<Option<DataFileCopy>, Fault> {
        match self.info(path).await? {
            None => Ok(None),
            Some(info) => self.digest_whole(path, &info).await,
        }
    }

    /// Of one that was looked at.
    async fn digest_whole(&self, path: &str, info: &Info) -> Result<Option<DataFileCopy>, Fault> {
        if info.is_dir {
            return Err(Fault::permanent("a directory stands there"));
        }
        let mut digester = Digester::default();
        let mut length = 0;
        let found = self
            .stream(path, info.length, &mut |bytes| {
                digester.update(bytes);
                length += bytes.len() as u64;
                Ok(())
            })
            .await?;
        Ok(found.then(|| DataFileCopy {
            length,
            digest: digester.digest(),
        }))
    }

    pub(super) async fn download_file(&self, path: &LakePath, to: &Path) -> Result<bool, Fault> {
        let local = |e: std::io::Error| Fault::permanent(format!("write `{}`: {e}", to.display()));
        let path = self.full(path)?;
        let Some(info) = self.info(&path).await? else {
            return Ok(false);
        };
        let mut file = File::create(to).map_err(local)?;
        let mut take = |bytes: &[u8]| file.write_all(bytes).map_err(local);
        self.stream(&path, info.length, &mut take).await
    }

    /// Temporary files are left out: they are writes under way, or what is left of some.
    pub(super) async fn list_dir(&self, dir: &LakePath) -> Result<Listed, Fault> {
        let full = self.full(dir)?;
        let found = self
            .retried(async || self.calls.list(&full).await)
            .await?
            .unwrap_or_default();
        let mut listed = Listed {
            dirs: Vec::new(),
            files: Vec::new(),
        };
        for info in found {
            let Ok(path) = dir.join(&info.name) else {
                continue;
            };
            if info.is_dir {
                listed.dirs.push(path);
            } else if !temporary::is_one(&info.name) {
                let length = info.length;
                listed.files.push(Entry { path, length });
            }
        }
        Ok(listed)
    }

    /// Removes the temporary files that were meant for exactly this path. That ends the lease of whoever wrote one, and
    /// a rename of it that still comes finds nothing. It is called when the path's batch is committed and its journal
    /// is locked, so nobody writes them any more.
    pub(super) async fn remove_left(&self, path: &LakePath) -> Result<u64, Fault> {
        let full = self.full(path)?;
        let dir = parent(&full);
        let found = self
            .retried(async || self.calls.list(dir).await)
            .await?
            .unwrap_or_default();
        let mut removed = 0;
        for info in found {
            if !info.is_dir && temporary::is_for(&info.name, path.name()) {
                let name = format!("{}/{}", dir.trim_end_matches('/'), info.name);
                let gone = self
                    .retried(async || self.calls.delete(&name).await)
                    .await?;
                removed += u64::from(gone);
            }
        }
        Ok(removed)
    }
}
