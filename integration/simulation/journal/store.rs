//! Where a simulated machine keeps its journal, of either kind, and what befalls it between processes.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use lakeward::clock::Clock;
use lakeward::journal::sqlite::{self, SqliteJournal, Surroundings};
use lakeward::journal::{Journal, Result};
use lakeward::segment::JournalId;

use super::memory;
use super::{FaultyJournal, MemoryStore};
use crate::simulation::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Memory,
    /// The real one, in a directory in memory where there is such a thing.
    Sqlite,
}

/// The state directory of a simulated machine.
pub enum Disk {
    Memory(MemoryStore),
    Sqlite(tempfile::TempDir),
}

/// A backup.
pub enum Backup {
    Memory(Box<memory::Snapshot>),
    /// Names and contents.
    Sqlite(Vec<(PathBuf, Vec<u8>)>),
}

/// A rebuild under way.
pub enum Rebuild {
    Memory(Box<FaultyJournal<memory::Rebuilding>>),
    Sqlite(Box<FaultyJournal<sqlite::Rebuilding>>),
}

impl Disk {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Memory => Self::Memory(MemoryStore::default()),
            Kind::Sqlite => {
                let memory = PathBuf::from("/dev/shm");
                let dir = if memory.is_dir() {
                    tempfile::tempdir_in(memory)
                } else {
                    tempfile::tempdir()
                };
                Self::Sqlite(dir.expect("a directory"))
            }
        }
    }

    pub fn is_in_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// A process opens it, under its lock; a journal that has to be made gets the id `fresh`.
    pub fn open(
        &self,
        world: &World,
        clock: Arc<dyn Clock>,
        fresh: JournalId,
    ) -> Result<Arc<dyn Journal>> {
        let world = world.clone();
        Ok(match self {
            Self::Memory(store) => Arc::new(FaultyJournal::new(world, store.open(clock, fresh)?)),
            Self::Sqlite(dir) => {
                let id = Some(fresh);
                let journal = SqliteJournal::open_with(dir.path(), around(clock, id))?;
                Arc::new(FaultyJournal::new(world, journal))
            }
        })
    }

    /// A process begins a new journal, which takes the old one's place when it is finished.
    pub fn rebuild(
        &self,
        world: &World,
        clock: Arc<dyn Clock>,
        fresh: JournalId,
    ) -> Result<Rebuild> {
        let world = world.clone();
        Ok(match self {
            Self::Memory(store) => Rebuild::Memory(Box::new(FaultyJournal::new(
                world,
                store.rebuild(clock, fresh)?,
            ))),
            Self::Sqlite(dir) => {
                let id = Some(fresh);
                let making = SqliteJournal::rebuild_with(dir.path(), around(clock, id))?;
                Rebuild::Sqlite(Box::new(FaultyJournal::new(world, making)))
            }
        })
    }

    /// As it is, without faults; `None` if there is none yet. Of SQLite's only while no process has it.
    pub fn read(&self, clock: Arc<dyn Clock>) -> Option<Box<dyn Journal>> {
        match self {
            Self::Memory(store) => Some(Box::new(store.read(clock)?)),
            Self::Sqlite(dir) => {
                if databases(dir).is_empty() {
                    return None;
                }
                let id = Some(JournalId(0));
                let journal = SqliteJournal::open_with(dir.path(), around(clock, id));
                Some(Box::new(journal.expect("a journal between two processes")))
            }
        }
    }

    /// All that a later process finds; of SQLite's nothing is said.
    pub fn describe(&self) -> Option<String> {
        match self {
            Self::Memory(store) => Some(store.describe()),
            Self::Sqlite(_) => None,
        }
    }

    /// No process has it: what was killed, and what ended in good order, alike.
    pub fn backup(&self) -> Backup {
        match self {
            Self::Memory(store) => Backup::Memory(Box::new(store.snapshot())),
            Self::Sqlite(dir) => {
                let files = databases(dir).into_iter();
                let read = |path: PathBuf| fs::read(&path).map(|bytes| (path, bytes));
                Backup::Sqlite(files.map(|path| read(path).expect("a database")).collect())
            }
        }
    }

    /// # Panics
    /// While a process has it; with a backup of the other kind.
    pub fn restore(&self, backup: &Backup) {
        match (self, backup) {
            (Self::Memory(store), Backup::Memory(snapshot)) => store.restore(snapshot),
            (Self::Sqlite(_), Backup::Sqlite(files)) => {
                self.lose();
                for (path, bytes) in files {
                    fs::write(path, bytes).expect("a database");
                }
            }
            _ => panic!("a backup of the other kind of journal"),
        }
    }

    /// The journal is gone.
    pub fn lose(&self) {
        match self {
            Self::Memory(store) => store.lose(),
            Self::Sqlite(dir) => {
                for path in databases(dir) {
                    fs::remove_file(path).expect("a database");
                }
            }
        }
    }
}

/// The database and its side files.
fn databases(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let names = ["journal.db", "journal.db-wal", "journal.db-shm"];
    let paths = names.iter().map(|name| dir.path().join(name));
    paths.filter(|path| path.is_file()).collect()
}

impl Rebuild {
    pub fn journal(&self) -> &dyn Journal {
        match self {
            Self::Memory(making) => &**making,
            Self::Sqlite(making) => &**making,
        }
    }

    pub fn finish(self) -> Result<Arc<dyn Journal>> {
        Ok(match self {
            Self::Memory(making) => Arc::new(making.finish()?),
            Self::Sqlite(making) => Arc::new(making.finish()?),
        })
    }
}

fn around(clock: Arc<dyn Clock>, id: Option<JournalId>) -> Surroundings {
    Surroundings {
        clock,
        id,
        ..Surroundings::default()
    }
}
