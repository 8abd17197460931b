//! The journal in memory: as durable as the store it lies in, which outlives the processes that open it.
//!
//! ```text
//! MemoryStore ── open ──► MemoryJournal (holds the lock until it is dropped)
//!      │  rebuild ──► Rebuilding ── finish ──► MemoryJournal
//!      └─ snapshot, restore, lose: what befalls the state directory between processes
//! ```
//!
//! Written from the contract of [`Journal`], beside the SQLite one and not from it: where the two differ, one is wrong. Each changing
//! call is done wholly or not at all, by taking back what it changed.

mod adopt;
mod batches;
mod files;
mod payloads;
mod port;
mod state;
mod table;
mod work;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lakeward::clock::Clock;
use lakeward::journal::{JournalError, Result};
use lakeward::segment::JournalId;

use self::state::{Done, State};

/// What messages call it.
const PLACE: &str = "memory";

/// A state directory; clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Shelf>);

#[derive(Default)]
struct Shelf {
    held: AtomicBool,
    /// `None`: there is no journal.
    state: Mutex<Option<State>>,
}

/// A journal as it stood at some time.
#[derive(Clone)]
pub struct Snapshot(Option<State>);

impl MemoryStore {
    pub fn exists(&self) -> bool {
        self.0.state().is_some()
    }

    /// Takes the lock; a journal that has to be made gets the id `fresh`.
    pub fn open(&self, clock: Arc<dyn Clock>, fresh: JournalId) -> Result<MemoryJournal> {
        self.0.take_lock()?;
        let opened = {
            let mut state = self.0.state();
            let state = state.get_or_insert_with(|| State::new(fresh));
            MemoryJournal::new(&self.0, state, clock)
        };
        Ok(MemoryJournal {
            held: Some(Held(Arc::clone(&self.0))),
            ..opened
        })
    }

    /// For reading beside a running agent; of all that writes, only `ask` works. `None` if there is no journal.
    pub fn read(&self, clock: Arc<dyn Clock>) -> Option<MemoryJournal> {
        let state = self.0.state();
        Some(MemoryJournal::new(&self.0, state.as_ref()?, clock))
    }

    /// Takes the lock and begins a new journal beside the old one, which stays until the new one is finished.
    pub fn rebuild(&self, clock: Arc<dyn Clock>, fresh: JournalId) -> Result<Rebuilding> {
        self.0.take_lock()?;
        let journal = Self::default().open(Arc::clone(&clock), fresh)?;
        Ok(Rebuilding {
            journal,
            target: Held(Arc::clone(&self.0)),
            clock,
        })
    }

    /// A backup.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.state().clone())
    }

    /// A backup put back.
    ///
    /// # Panics
    /// While a process holds the journal.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.set(snapshot.0.clone());
    }

    /// The journal is gone.
    ///
    /// # Panics
    /// While a process holds the journal.
    pub fn lose(&self) {
        self.set(None);
    }

    /// All that a later process finds.
    pub fn describe(&self) -> String {
        format!("{:?}", *self.0.state())
    }

    fn set(&self, state: Option<State>) {
        assert!(!self.0.held.load(Ordering::Acquire), "a process has it");
        *self.0.state() = state;
    }
}

impl Shelf {
    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_lock(&self) -> Result<()> {
        if self.held.swap(true, Ordering::AcqRel) {
            return Err(JournalError::Locked {
                path: PLACE.into(),
                holder: String::new(),
            });
        }
        Ok(())
    }
}

/// The lock, until it is dropped.
struct Held(Arc<Shelf>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}

/// One process's handle.
pub struct MemoryJournal {
    id: JournalId,
    shelf: Arc<Shelf>,
    clock: Arc<dyn Clock>,
    next_file: AtomicI64,
    words: Mutex<Words>,
    /// Only the agent's; given up last.
    held: Option<Held>,
}

/// What was said by this process.
#[derive(Default)]
struct Words {
    said: BTreeMap<String, serde_json::Value>,
    /// Not in the store yet: the next change takes them along.
    unwritten: BTreeMap<String, serde_json::Value>,
}

impl MemoryJournal {
    fn new(shelf: &Arc<Shelf>, state: &State, clock: Arc<dyn Clock>) -> Self {
        let newest = state.files.rows().last_key_value();
        let given_out = newest.map_or(0, |(id, _)| id.0).max(state.file_ids);
        Self {
            id: state.id,
            shelf: Arc::clone(shelf),
            clock,
            next_file: AtomicI64::new(given_out + 1),
            words: Mutex::default(),
            held: None,
        }
    }

    /// Ends in good order; dropping it is a kill, which loses what was only said.
    pub fn close(self) -> Result<()> {
        self.change("close", |_| Ok(()))
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, operation: &'static str, read: impl FnOnce(&State) -> Done<T>) -> Result<T> {
        match &*self.shelf.state() {
            Some(state) => read(state).map_err(|text| refused(operation, &text)),
            None => Err(gone(operation)),
        }
    }

    fn change<T>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut State) -> Done<T>,
    ) -> Result<T> {
        if self.held.is_none() {
            let text = "the journal is open for reading only";
            return Err(refused(operation, text));
        }
        let mut state = self.shelf.state();
        let Some(state) = state.as_mut() else {
            return Err(gone(operation));
        };
        let done = state.transaction(|state| {
            let done = change(state)?;
            for (pipeline, word) in std::mem::take(&mut self.words().unwritten) {
                state.said.put(pipeline, word);
            }
            Ok(done)
        });
        done.map_err(|text| refused(operation, &text))
    }

    fn now(&self) -> i64 {
        self.clock.now_ns()
    }
}

fn refused(operation: &str, text: &str) -> JournalError {
    JournalError::Refused(format!("{operation}: {text}"))
}

fn gone(operation: &'static str) -> JournalError {
    JournalError::Fatal {
        path: PLACE.into(),
        operation,
        message: "the journal is gone".into(),
        full: false,
    }
}

/// A journal in the making: adopt the manifests through it, then finish.
pub struct Rebuilding {
    journal: MemoryJournal,
    target: Held,
    clock: Arc<dyn Clock>,
}

impl Rebuilding {
    /// Puts the new journal in the old one's place and answers it, open.
    pub fn finish(self) -> Result<MemoryJournal> {
        let made = self.journal.shelf.state().take();
        let shelf = Arc::clone(&self.target.0);
        *shelf.state() = made;
        drop(self.target);
        MemoryStore(shelf).open(self.clock, self.journal.id)
    }
}

impl Deref for Rebuilding {
    type Target = MemoryJournal;

    fn deref(&self) -> &MemoryJournal {
        &self.journal
    }
}
