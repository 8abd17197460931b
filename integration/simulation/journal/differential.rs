//! The memory and the SQLite journal are given the same calls, of which every answer and all that can be read must be equal.

mod calls;
mod reading;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lakeward::journal::conformance::{LAKE, SPOOL};
use lakeward::journal::sqlite::{SqliteJournal, Surroundings};
use lakeward::journal::{FileRow, Journal, JournalError, Result};
use lakeward::segment::{FileId, JournalId};

use super::tests::{OWN, Standing, directory};
use super::{MemoryJournal, MemoryStore};
use crate::simulation::world::Chance;

pub(super) const PIPELINES: [&str; 2] = ["orders", "returns"];

/// Sequences of a test run, each told by its number; `SEQUENCES=` asks for more.
const SEQUENCES: u64 = 200;
const CALLS: u64 = 50;

/// Both journals, and what is known of them to make calls that are near the mark.
struct Pair {
    store: MemoryStore,
    directory: tempfile::TempDir,
    clock: Arc<Standing>,
    memory: MemoryJournal,
    sqlite: SqliteJournal,
    chance: Chance,
    /// Rows as the source once described them, with their pipelines.
    files: Vec<(&'static str, FileRow)>,
    said: Vec<String>,
    /// Whether this sequence knows payloads.
    payloads: bool,
}

impl Pair {
    fn new(number: u64) -> Self {
        let store = MemoryStore::default();
        let directory = directory();
        let clock = Arc::default();
        let memory = open_memory(&store, &clock);
        let sqlite = open_sqlite(directory.path(), &clock);
        let mut chance = Chance::new(number);
        let pair = Self {
            store,
            directory,
            clock,
            memory,
            sqlite,
            payloads: chance.once_in(2),
            chance,
            files: Vec::new(),
            said: Vec::new(),
        };
        for name in PIPELINES {
            for journal in pair.both() {
                journal.pipeline(name, SPOOL, LAKE).unwrap();
            }
        }
        pair
    }

    fn both(&self) -> [&dyn Journal; 2] {
        [&self.memory, &self.sqlite]
    }

    /// Has both do the same and compares the answers.
    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        words: String,
        call: impl Fn(&dyn Journal) -> Result<T>,
    ) {
        self.clock.0.fetch_add(1, Ordering::Relaxed);
        self.said.push(words);
        let [memory, sqlite] = self.both().map(&call);
        let agree = match (&memory, &sqlite) {
            (Ok(a), Ok(b)) => a == b,
            (Err(JournalError::Refused(a)), Err(JournalError::Refused(b))) => {
                a == b || b.contains("constraint failed")
            }
            _ => false,
        };
        if !agree {
            self.fail(&format!("memory: {memory:?}\nSQLite: {sqlite:?}"));
        }
        self.told(if memory.is_ok() { "" } else { " (refused)" });
    }

    fn told(&mut self, more: &str) {
        if let Some(last) = self.said.last_mut() {
            last.push_str(more);
        }
    }

    fn new_file_id(&mut self) -> FileId {
        let [a, b] = self.both().map(Journal::new_file_id);
        if a != b {
            self.fail(&format!("new file ids: memory {a:?}, SQLite {b:?}"));
        }
        a
    }

    fn fail(&self, difference: &str) -> ! {
        panic!("after\n{}\n{difference}", self.said.join("\n"));
    }

    /// Both processes end, in good order or not, and the next ones begin.
    fn reopen(self) -> Self {
        let mut pair = self;
        let in_order = pair.chance.once_in(2);
        pair.said.push(format!("reopened, in order: {in_order}"));
        if in_order {
            pair.memory.close().unwrap();
            pair.sqlite.close().unwrap();
        } else {
            drop(pair.memory);
            pair.sqlite.abandon();
        }
        Self {
            memory: open_memory(&pair.store, &pair.clock),
            sqlite: open_sqlite(pair.directory.path(), &pair.clock),
            ..pair
        }
    }
}

fn open_memory(store: &MemoryStore, clock: &Arc<Standing>) -> MemoryJournal {
    store.open(Arc::clone(clock) as _, OWN).unwrap()
}

fn open_sqlite(dir: &Path, clock: &Arc<Standing>) -> SqliteJournal {
    let around = Surroundings {
        clock: Arc::clone(clock) as _,
        id: Some(OWN),
        ..Surroundings::default()
    };
    SqliteJournal::open_with(dir, around).unwrap()
}

fn sequence(number: u64) {
    let mut pair = Pair::new(number);
    pair.said.push(format!("sequence {number}"));
    if pair.chance.once_in(4) {
        for _ in 0..=pair.chance.below(5) {
            pair.adopt(JournalId(0xabc));
            pair.compare();
        }
    }
    for at in 1..=CALLS {
        if pair.chance.once_in(25) {
            pair = pair.reopen();
        } else {
            pair.call();
        }
        if at % 10 == 0 {
            pair.compare();
        } else {
            pair.compare_at_a_glance();
        }
    }
    pair.compare_said();
}

#[test]
fn memory_and_sqlite_answer_alike() {
    let asked = std::env::var("SEQUENCES").ok();
    let many = asked.map_or(SEQUENCES, |text| text.parse().unwrap());
    for number in 0..many {
        sequence(number);
    }
}
