//! The spool on a local (or mounted) file system of Linux.
//!
//! Every call opens the spool directory anew by its path, since a mount may come and go; below it everything is relative
//! to open directories and nothing symbolic is followed (`directory`). While the lock is held, another directory under
//! the spool's path than the one that was locked counts as "not there".
//!
//! Others work in the same directories at the same time: producers, operators, backup programs. Therefore each step
//! looks, acts without replacing anything, and looks again; and each may be repeated after a kill at any point.

mod claim;
mod directory;
mod faults;
mod listing;
mod names;
mod place;
mod quarantine;
mod relocate;
mod retire;
mod scan;
mod seen;
pub mod system;
mod unsynced;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use directory::{Directory, failure, shown};
use names::Names;
use place::Place;
use retire::AtTarget;
use seen::Seen;
use system::{FileSystem, Linux};
use unsynced::Unsynced;

use super::{
    Claim, Found, OpenedFile, Retire, Retired, Spool, SpoolError, SpoolSettings, SpooledFile,
    is_name_of_deleted,
};
use crate::segment::{FileStat, RelativePath};

/// Device and inode of the spool directory that this process has locked.
type Pin = Arc<Mutex<Option<(u64, u64)>>>;

pub struct LocalSpool<F: FileSystem = Linux> {
    system: F,
    settings: SpoolSettings,
    names: Names,
    /// Only under `retire = "move"`.
    retire_place: Option<Place>,
    quarantine_place: Place,
    seen: Mutex<Seen>,
    unsynced: Unsynced<F>,
    pin: Pin,
}

impl LocalSpool {
    /// Checks the settings; whether the directory is there shows when it is used.
    ///
    /// # Errors
    /// A glob that cannot be read, a suffix or directory that cannot be used: the key and what is allowed.
    pub fn new(settings: SpoolSettings) -> Result<Self, SpoolError> {
        Self::on(Linux, settings)
    }
}

impl<F: FileSystem> LocalSpool<F> {
    /// As [`LocalSpool::new`], on another file system than the running one.
    ///
    /// # Errors
    /// The same.
    pub fn on(system: F, settings: SpoolSettings) -> Result<Self, SpoolError> {
        let refused = |text| failure("configure spool", &settings.path, text);
        let names = Names::new(&settings).map_err(refused)?;
        let retire_place = match (settings.retire, &settings.retire_dir) {
            (Retire::Move, Some(path)) => {
                Some(Place::new("retire_dir", path, &settings.path).map_err(refused)?)
            }
            (Retire::Move, None) => {
                return Err(refused(
                    "retire_dir: it is missing, and retire = \"move\" needs it".into(),
                ));
            }
            _ => None,
        };
        let quarantine_place =
            Place::new("quarantine_dir", &settings.quarantine_dir, &settings.path)
                .map_err(refused)?;
        Ok(Self {
            system,
            names,
            retire_place,
            quarantine_place,
            seen: Mutex::default(),
            unsynced: Unsynced::default(),
            pin: Pin::default(),
            settings,
        })
    }

    fn root(&self, operation: &'static str) -> Result<Directory<F>, SpoolError> {
        let path = &self.settings.path;
        let unavailable = |message: String| SpoolError {
            operation,
            path: shown(path),
            message,
            unavailable: true,
        };
        let root = Directory::open(&self.system, path, true).map_err(|errno| {
            let text = std::io::Error::from(errno);
            unavailable(format!(
                "the spool directory cannot be opened ({text}); is it mounted, and readable by this user?"
            ))
        })?;
        let pinned = *locked(&self.pin);
        if pinned.is_some_and(|pinned| root.identity().ok() != Some(pinned)) {
            return Err(unavailable(
                "another directory stands here than the one that was locked; bring that one back (a mount?) or restart"
                    .into(),
            ));
        }
        Ok(root)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock on the spool and what goes with it.
struct Held<F: FileSystem> {
    pin: Pin,
    _lock: claim::Lock<F>,
}

impl<F: FileSystem> Drop for Held<F> {
    fn drop(&mut self) {
        *locked(&self.pin) = None;
    }
}

impl<F: FileSystem> Spool for LocalSpool<F> {
    fn scan(
        &self,
        now_ns: i64,
        visit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), SpoolError> {
        let root = self.root("scan")?;
        // Taken out, so that whoever is called may call back.
        let mut seen = std::mem::take(&mut *locked(&self.seen));
        let result = scan::Scan {
            settings: &self.settings,
            names: &self.names,
            root,
            seen: &mut seen,
        }
        .run(now_ns, visit);
        *locked(&self.seen) = seen;
        result
    }

    fn has_deleted(&self) -> Result<bool, SpoolError> {
        let scan = scan::Scan {
            settings: &self.settings,
            names: &self.names,
            root: self.root("look for deleted files")?,
            seen: &mut Seen::default(),
        };
        scan.finds(&is_name_of_deleted)
    }

    fn open(&self, path: &RelativePath) -> Result<Option<OpenedFile>, SpoolError> {
        let opened = match self.root("open")?.below(path.parent())? {
            Some(directory) => directory.open_file(path.name())?,
            None => None,
        };
        Ok(opened.map(|(file, stat)| (Box::new(file) as Box<dyn SpooledFile>, stat)))
    }

    fn stat(&self, path: &RelativePath) -> Result<Option<FileStat>, SpoolError> {
        match self.root("look at")?.below(path.parent())? {
            Some(directory) => directory.stat(path.name()),
            None => Ok(None),
        }
    }

    fn retire_target(&self, path: &RelativePath, attempt: u32) -> RelativePath {
        self.names.retire_target(path, attempt)
    }

    fn retire(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<Retired, SpoolError> {
        self.retire_file(path, stat, target)
    }

    fn gives_target(&self, path: &RelativePath, target: &RelativePath) -> bool {
        self.names.gives_target(path, target)
    }

    fn is_retired(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<bool, SpoolError> {
        Ok(self.at_target(path, stat, target)?.is_some())
    }

    fn is_copied(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<bool, SpoolError> {
        Ok(self.at_target(path, stat, target)? == Some(AtTarget::Copy))
    }

    fn sync(&self) -> Result<(), SpoolError> {
        self.unsynced.sync()
    }

    fn unlink_target(&self, target: &RelativePath) -> Result<(), SpoolError> {
        self.unlink_deleted(target)
    }

    fn quarantine(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        reason: &serde_json::Value,
    ) -> Result<Option<PathBuf>, SpoolError> {
        self.quarantine_file(path, stat, reason)
    }

    fn claim(&self) -> Result<Option<Claim>, SpoolError> {
        claim::read(&self.root("read claim")?)
    }

    fn write_claim(&self, claim: &Claim) -> Result<bool, SpoolError> {
        claim::write(&self.root("write claim")?, claim, &self.unsynced.faults)
    }

    fn directory(&self) -> Result<(u64, u64), SpoolError> {
        let root = self.root("look at")?;
        let (_, inode) = root.identity()?;
        let system = self.system.system_id(root.handle());
        Ok((inode, system.map_err(|e| root.error("look at", &[], e))?))
    }

    fn lock(&self) -> Result<Option<Box<dyn Send + Sync>>, SpoolError> {
        let root = self.root("lock")?;
        let identity = root.identity()?;
        let Some(lock) = claim::lock(&root)? else {
            return Ok(None);
        };
        *locked(&self.pin) = Some(identity);
        Ok(Some(Box::new(Held {
            pin: Arc::clone(&self.pin),
            _lock: lock,
        })))
    }
}
