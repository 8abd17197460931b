//! The directories whose names changed and are not durable yet.
//!
//! They are held open, so that what is synced is the directory that was changed, whatever has its path now. A hundred
//! thousand files retired in one directory are one fsync. Beyond [`OPEN_MAX`] of them all are synced at once, which is
//! early and harms nothing. A directory leaves only when all were synced: after a failure the next call tries all again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::directory::Directory;
use super::faults::Faults;
use crate::spool::SpoolError;

const OPEN_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// By device and inode.
    directories: Mutex<HashMap<(u64, u64), Directory>>,
    pub(super) faults: Faults,
}

impl Unsynced {
    pub(super) fn note(&self, directory: &Directory) -> Result<(), SpoolError> {
        let identity = directory.identity()?;
        let mut directories = self.lock();
        if directories.contains_key(&identity) {
            return Ok(());
        }
        if directories.len() >= OPEN_MAX {
            self.sync_all(&mut directories)?;
        }
        directories.insert(identity, directory.clone());
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.sync_all(&mut self.lock())
    }

    fn sync_all(&self, directories: &mut HashMap<(u64, u64), Directory>) -> Result<(), SpoolError> {
        for directory in directories.values() {
            self.faults.point("sync")?;
            self.faults.synced();
            directory.sync()?;
        }
        directories.clear();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u64), Directory>> {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
