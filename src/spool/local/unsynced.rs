//! The directories whose names changed and are not durable yet.
//!
//! They are held open, so that what is synced is the directory that was changed, whatever has its path now. A hundred
//! thousand files retired in one directory are one fsync. Beyond [`OPEN_MAX`] of them all are synced at once, which is
//! early and harms nothing. A directory leaves only when all were synced: after a failure the next call tries all again.
//! Nothing is locked while a disk works: a directory that is noted meanwhile stays noted, and two that sync at once both
//! sync all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::directory::Directory;
use super::faults::Faults;
use super::system::FileSystem;
use crate::spool::SpoolError;

const OPEN_MAX: usize = 128;

pub(super) struct Unsynced<F: FileSystem> {
    noted: Mutex<Noted<F>>,
    pub(super) faults: Faults,
}

struct Noted<F: FileSystem> {
    /// By device and inode, with the count of notes when the last of this directory was taken.
    directories: BTreeMap<(u64, u64), (Directory<F>, u64)>,
    notes: u64,
}

impl<F: FileSystem> Default for Unsynced<F> {
    fn default() -> Self {
        Self {
            noted: Mutex::new(Noted {
                directories: BTreeMap::new(),
                notes: 0,
            }),
            faults: Faults::default(),
        }
    }
}

impl<F: FileSystem> Unsynced<F> {
    pub(super) fn note(&self, directory: &Directory<F>) -> Result<(), SpoolError> {
        let identity = directory.identity()?;
        let is_new = !self.lock().directories.contains_key(&identity);
        if is_new && self.lock().directories.len() >= OPEN_MAX {
            self.sync()?;
        }
        let mut noted = self.lock();
        noted.notes += 1;
        let number = noted.notes;
        noted
            .directories
            .entry(identity)
            .or_insert_with(|| (directory.clone(), number))
            .1 = number;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        let (directories, until): (Vec<Directory<F>>, u64) = {
            let noted = self.lock();
            let directories = noted.directories.values();
            (directories.map(|(d, _)| d.clone()).collect(), noted.notes)
        };
        for directory in directories {
            self.faults.point("sync")?;
            self.faults.synced();
            directory.sync()?;
        }
        self.lock()
            .directories
            .retain(|_, (_, number)| *number > until);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Noted<F>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
