//! The directories whose names changed and are not durable yet.
//!
//! They are held open, so that what is synced is the directory that was changed, whatever has its path now. A hundred
//! thousand files retired in one directory are one fsync. Beyond [`OPEN_MAX`] of them all are synced at once, which is
//! early and harms nothing. A directory leaves only when all were synced: after a failure the next call tries all again.
//! Those that names left are synced after all others: a power cut in between then leaves a file that was moved under both of its
//! names, on a file system that keeps the halves of a rename apart, and never under none.
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
    /// By device and inode.
    directories: BTreeMap<(u64, u64), Note<F>>,
    notes: u64,
}

struct Note<F: FileSystem> {
    directory: Directory<F>,
    /// The count of notes when the last of this directory was taken.
    number: u64,
    has_lost: bool,
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
    /// Names came to it.
    pub(super) fn note(&self, directory: &Directory<F>) -> Result<(), SpoolError> {
        self.note_as(directory, false)
    }

    /// Names left it, perhaps for another that was noted.
    pub(super) fn note_loss(&self, directory: &Directory<F>) -> Result<(), SpoolError> {
        self.note_as(directory, true)
    }

    fn note_as(&self, directory: &Directory<F>, has_lost: bool) -> Result<(), SpoolError> {
        let identity = directory.identity()?;
        let is_new = !self.lock().directories.contains_key(&identity);
        if is_new && self.lock().directories.len() >= OPEN_MAX {
            self.sync()?;
        }
        let mut noted = self.lock();
        noted.notes += 1;
        let number = noted.notes;
        let note = noted.directories.entry(identity).or_insert_with(|| Note {
            directory: directory.clone(),
            number,
            has_lost,
        });
        note.number = number;
        note.has_lost |= has_lost;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        let (directories, until) = self.in_order();
        for directory in directories {
            self.faults.point("sync")?;
            self.faults.synced();
            directory.sync()?;
        }
        self.lock()
            .directories
            .retain(|_, note| note.number > until);
        Ok(())
    }

    /// As they are to be synced, with the count of notes that this covers.
    pub(super) fn in_order(&self) -> (Vec<Directory<F>>, u64) {
        let noted = self.lock();
        let mut notes: Vec<&Note<F>> = noted.directories.values().collect();
        notes.sort_by_key(|note| note.has_lost);
        let directories = notes.iter().map(|note| note.directory.clone());
        (directories.collect(), noted.notes)
    }

    fn lock(&self) -> MutexGuard<'_, Noted<F>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
