//! Rebuilding: a new database takes the place of a lost, damaged or outdated one.
//!
//! The new one grows under a temporary name, without syncs, and is garbage until [`Rebuilding::finish`] has synced and renamed it;
//! a kill before that leaves the old one as it was. The old one stays as `journal.db.<old id>.old`.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::database::{self, Durability, Unfit};
use super::place::{self, DATABASE, Lock, Place, UNFINISHED};
use super::{SqliteJournal, Surroundings};
use crate::clock::Clock;
use crate::journal::Result;

/// A journal in the making: adopt the manifests through it, then finish.
pub struct Rebuilding {
    /// `None` only while it is being finished or dropped.
    journal: Option<SqliteJournal>,
    lock: Option<Lock>,
    target: Place,
    unfinished: Place,
    /// What the old database is kept as; `None` where there is none.
    kept: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    cache_bytes: u64,
}

impl Rebuilding {
    pub(super) fn begin(state_dir: &Path, around: Surroundings) -> Result<Self> {
        let dir = place::state_dir(state_dir)?;
        let target = Place::new(dir.clone(), DATABASE);
        let unfinished = Place::new(dir, UNFINISHED);
        let lock = Lock::take(&target)?;
        let kept = old_copy(&target)?;
        around.make(&unfinished)?;
        let (clock, cache_bytes) = (around.clock, around.cache_bytes);
        let opened = database::open(&unfinished, Durability::AtTheEnd, cache_bytes)?;
        let own_clock = Arc::clone(&clock);
        let journal =
            SqliteJournal::serve(unfinished.clone(), None, own_clock, cache_bytes, opened)?;
        Ok(Self {
            journal: Some(journal),
            lock: Some(lock),
            target,
            unfinished,
            kept,
            clock,
            cache_bytes,
        })
    }

    /// Syncs the new database, keeps the old one beside it, and puts the new one in its place in one step. Answers it, open.
    ///
    /// # Errors
    /// The old database is still in its place, or the new one is: opening tells, and beginning again is harmless.
    pub fn finish(mut self) -> Result<SqliteJournal> {
        if let Some(journal) = self.journal.take() {
            journal.close()?;
        }
        self.unfinished.sync()?;
        if let Some(kept) = &self.kept {
            keep(&self.target, kept)?;
        }
        self.target.remove_sides()?;
        std::fs::rename(self.unfinished.database(), self.target.database())
            .map_err(|error| self.target.io("name the rebuilt database", &error))?;
        self.target.sync_dir()?;
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => Lock::take(&self.target)?,
        };
        let clock = Arc::clone(&self.clock);
        SqliteJournal::resume(self.target.clone(), lock, clock, self.cache_bytes)
    }
}

impl Deref for Rebuilding {
    type Target = SqliteJournal;

    fn deref(&self) -> &SqliteJournal {
        match &self.journal {
            Some(journal) => journal,
            None => unreachable!("only `finish`, which consumes it, and `drop` take the journal"),
        }
    }
}

impl Drop for Rebuilding {
    fn drop(&mut self) {
        drop(self.journal.take());
        // The next start or rebuild removes it too.
        let _ = self.unfinished.remove();
        drop(self.lock.take());
    }
}

/// Looks at the old database and answers the name under which it will be kept. Its log is moved into it first, so that the kept file is whole.
///
/// # Errors
/// It is another program's or a newer one's: not ours to replace.
fn old_copy(target: &Place) -> Result<Option<PathBuf>> {
    if target.length()?.is_none() {
        return Ok(None);
    }
    let id = match database::open(
        target,
        Durability::AtCommit,
        Surroundings::default().cache_bytes,
    ) {
        Ok(opened) => {
            let id = opened.id;
            let closed = database::close(opened.conn);
            closed.map_err(|error| target.unusable(format!("empty its log: {error}")))?;
            id.to_string()
        }
        Err(Unfit::Damaged(_)) => "damaged".to_owned(),
        Err(Unfit::Other(error)) => return Err(error),
    };
    Ok(Some(free_name(target, &id)))
}

/// An earlier rebuild may have kept one under the name.
fn free_name(target: &Place, id: &str) -> PathBuf {
    let mut name = target.side(&format!(".{id}.old"));
    let mut number = 1;
    while std::fs::symlink_metadata(&name).is_ok() {
        number += 1;
        name = target.side(&format!(".{id}.{number}.old"));
    }
    name
}

fn keep(target: &Place, kept: &Path) -> Result<()> {
    let log = target.side("-wal");
    let links = [(target.database().to_path_buf(), kept.to_path_buf()), {
        let mut name = kept.as_os_str().to_owned();
        name.push("-wal");
        (log, PathBuf::from(name))
    }];
    for (from, to) in links {
        match std::fs::hard_link(&from, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(target.io("keep the old database", &error)),
            Ok(()) => {}
        }
    }
    target.sync_dir()
}
