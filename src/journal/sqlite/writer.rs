//! The one thread that writes, and its group commit.
//!
//! Requests are closures. All that wait when the thread turns to them run in one transaction, each in a savepoint of its own, so
//! that one that is refused takes back only itself; nobody is answered `Ok` before the commit they share is on the disk.
//!
//! ```text
//! callers ──closures──► mpsc ──► BEGIN IMMEDIATE; run a; run b; …; COMMIT (fsync) ──► answers
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::database;
use super::fault::{Done, Role, Trouble};
use super::place::Place;
use crate::journal::{JournalError, Result};

/// More would only make the first of them wait.
const GROUP_MAX: usize = 256;

/// The first fatal error; from then on every call answers it.
#[derive(Debug, Default)]
pub(super) struct Poison {
    set: AtomicBool,
    error: Mutex<Option<JournalError>>,
}

impl Poison {
    pub(super) fn check(&self) -> Result<()> {
        if !self.set.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.error.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Remembers a fatal error; others pass by.
    pub(super) fn note(&self, error: &JournalError) {
        if matches!(error, JournalError::Fatal { .. }) {
            let mut slot = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            slot.get_or_insert_with(|| error.clone());
            self.set.store(true, Ordering::Release);
        }
    }
}

/// A request that ran: what became of it, and how its caller hears of it once the group's fate is known.
struct Ran {
    outcome: Result<()>,
    answer: Box<dyn FnOnce(Result<()>) + Send>,
}

type Job = Box<dyn FnOnce(&Connection) -> Ran + Send>;

enum Message {
    Job(Job),
    Say(String, String),
    Tidy(SyncSender<Result<()>>),
    Close(SyncSender<Result<()>>),
}

/// The callers' end.
#[derive(Debug)]
pub(super) struct Writer {
    requests: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    place: Place,
    poison: std::sync::Arc<Poison>,
}

impl Writer {
    pub(super) fn start(
        place: Place,
        conn: Connection,
        poison: std::sync::Arc<Poison>,
    ) -> Result<Self> {
        let (requests, waiting) = channel();
        let desk = Desk {
            place: place.clone(),
            poison: std::sync::Arc::clone(&poison),
            words: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || desk.serve(conn, &waiting))
            .map_err(|error| place.io("start the writer thread", &error))?;
        Ok(Self {
            requests,
            thread: Mutex::new(Some(thread)),
            place,
            poison,
        })
    }

    /// Runs `work` in a transaction and answers once that is durable.
    pub(super) fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        self.poison.check()?;
        let (answer, answered) = sync_channel(1);
        let place = self.place.clone();
        let job = move |conn: &Connection| {
            let result = work(conn).map_err(|trouble| trouble.at(&place, Role::Agent, operation));
            Ran {
                outcome: result.as_ref().map(drop).map_err(Clone::clone),
                answer: Box::new(move |fate| {
                    // A caller that went away needs no answer.
                    let _ = answer.send(fate.and(result));
                }),
            }
        };
        self.ask(Message::Job(Box::new(job)), operation)?;
        answered
            .recv()
            .unwrap_or_else(|_| Err(self.gone(operation)))
    }

    pub(super) fn say(&self, pipeline: &str, text: String) {
        // Lost if the thread is gone: so is the agent, then.
        let _ = self.requests.send(Message::Say(pipeline.to_owned(), text));
    }

    pub(super) fn tidy(&self) -> Result<()> {
        self.poison.check()?;
        let (answer, answered) = sync_channel(1);
        self.ask(Message::Tidy(answer), "tidy")?;
        answered.recv().unwrap_or_else(|_| Err(self.gone("tidy")))
    }

    /// Ends the thread after what waits; a second call does nothing.
    pub(super) fn close(&self) -> Result<()> {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else { return Ok(()) };
        let (answer, answered) = sync_channel(1);
        let asked = self.ask(Message::Close(answer), "close");
        let closed =
            asked.and_then(|()| answered.recv().unwrap_or_else(|_| Err(self.gone("close"))));
        // Its panic, if it had one, was told to whoever waited for it.
        let _ = thread.join();
        closed
    }

    /// Ends the thread after what waits, as if everybody who could ask were killed.
    pub(super) fn abandon(self) {
        drop(self.requests);
        let thread = self.thread.into_inner();
        if let Some(thread) = thread.unwrap_or_else(PoisonError::into_inner) {
            // Its panic, if it had one, was told to whoever waited for it.
            let _ = thread.join();
        }
    }

    fn ask(&self, message: Message, operation: &'static str) -> Result<()> {
        self.requests
            .send(message)
            .map_err(|_| self.gone(operation))
    }

    fn gone(&self, operation: &'static str) -> JournalError {
        if let Err(error) = self.poison.check() {
            return error;
        }
        let error = self
            .place
            .fatal(operation, "the writer thread has ended".into(), false);
        self.poison.note(&error);
        error
    }
}

/// The thread's end.
struct Desk {
    place: Place,
    poison: std::sync::Arc<Poison>,
    /// Words for `status` not yet written, the newest of each pipeline.
    words: BTreeMap<String, String>,
}

impl Desk {
    fn serve(mut self, conn: Connection, waiting: &Receiver<Message>) {
        while let Ok(first) = waiting.recv() {
            let mut jobs = Vec::new();
            let mut after = None;
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Job(job) => jobs.push(job),
                    Message::Say(pipeline, text) => {
                        self.words.insert(pipeline, text);
                    }
                    last => after = Some(last),
                }
                if after.is_none() && jobs.len() < GROUP_MAX {
                    next = waiting.try_recv().ok();
                }
            }
            self.group(&conn, jobs);
            match after {
                Some(Message::Tidy(answer)) => {
                    let _ = answer.send(self.tidy(&conn));
                }
                Some(Message::Close(answer)) => {
                    let _ = answer.send(self.close(conn));
                    return;
                }
                _ => {}
            }
        }
        // Everybody who could ask is gone without a word: as after a kill, the next start checks.
    }

    fn group(&mut self, conn: &Connection, jobs: Vec<Job>) {
        let mut ran = Vec::with_capacity(jobs.len());
        let alone = jobs.len() == 1;
        let fate = self.poison.check().and_then(|()| {
            if jobs.is_empty() {
                self.write_words_alone(conn)
            } else {
                self.transaction(conn, jobs, alone, &mut ran)
            }
        });
        if let Err(error) = &fate {
            self.poison.note(error);
        }
        for Ran { answer, .. } in ran {
            answer(fate.clone());
        }
    }

    /// On an error the transaction is left to the end of the process: nothing is answered `Ok`, and the connection is never used again.
    fn transaction(
        &mut self,
        conn: &Connection,
        jobs: Vec<Job>,
        alone: bool,
        ran: &mut Vec<Ran>,
    ) -> Result<()> {
        let fault = |place: &Place, operation| {
            let place = place.clone();
            move |error: rusqlite::Error| Trouble::from(error).at(&place, Role::Agent, operation)
        };
        let begun = conn.execute_batch("BEGIN IMMEDIATE");
        let mut failed = begun
            .err()
            .map(|error| fatally(&self.place, fault(&self.place, "begin")(error)));
        for job in jobs {
            if let Some(error) = &failed {
                // Still run, to learn whom to answer, is what must not be: the caller hears that the thread gave up.
                self.poison.note(error);
                drop(job);
                continue;
            }
            let result = self.step(conn, job, alone, ran);
            failed = result.err();
        }
        if let Some(error) = failed {
            let _ = conn.execute_batch("ROLLBACK");
            return Err(error);
        }
        let refused_alone = alone && ran.iter().all(|ran| ran.outcome.is_err());
        if refused_alone {
            return conn
                .execute_batch("ROLLBACK")
                .map_err(|error| fatally(&self.place, fault(&self.place, "roll back")(error)));
        }
        self.write_words(conn)
            .and_then(|()| conn.execute_batch("COMMIT"))
            .map_err(|error| fatally(&self.place, fault(&self.place, "commit")(error)))
    }

    fn step(&self, conn: &Connection, job: Job, alone: bool, ran: &mut Vec<Ran>) -> Result<()> {
        let save = |sql: &str| {
            if alone {
                return Ok(());
            }
            conn.execute_batch(sql).map_err(|error| {
                fatally(
                    &self.place,
                    Trouble::from(error).at(&self.place, Role::Agent, "savepoint"),
                )
            })
        };
        save("SAVEPOINT request")?;
        let done = job(conn);
        let outcome = done.outcome.clone();
        ran.push(done);
        match outcome {
            Ok(()) => save("RELEASE request"),
            Err(error @ JournalError::Fatal { .. }) => Err(error),
            Err(_) => save("ROLLBACK TO request; RELEASE request"),
        }
    }

    fn write_words(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut insert =
            conn.prepare_cached("INSERT OR REPLACE INTO said (pipeline, text) VALUES (?1, ?2)")?;
        for (pipeline, text) in std::mem::take(&mut self.words) {
            insert.execute([pipeline, text])?;
        }
        Ok(())
    }

    /// Not worth a sync: the next commit's covers it.
    fn write_words_alone(&mut self, conn: &Connection) -> Result<()> {
        if self.words.is_empty() {
            return Ok(());
        }
        let before: i64 = conn
            .query_row("PRAGMA synchronous", [], |row| row.get(0))
            .map_err(|error| self.fatal("say", error))?;
        conn.execute_batch("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE")
            .and_then(|()| self.write_words(conn))
            .and_then(|()| conn.execute_batch(&format!("COMMIT; PRAGMA synchronous = {before}")))
            .map_err(|error| self.fatal("say", error))
    }

    fn fatal(&self, operation: &'static str, error: rusqlite::Error) -> JournalError {
        fatally(
            &self.place,
            Trouble::from(error).at(&self.place, Role::Agent, operation),
        )
    }

    fn tidy(&self, conn: &Connection) -> Result<()> {
        self.poison.check()?;
        let tidied = database::truncate_log(conn)
            .and_then(|()| conn.execute_batch("PRAGMA shrink_memory"))
            .map_err(|error| self.fatal("tidy", error));
        if let Err(error) = &tidied {
            self.poison.note(error);
        }
        tidied
    }

    fn close(&self, conn: Connection) -> Result<()> {
        self.poison.check()?;
        database::close(conn).map_err(|error| self.fatal("close", error))
    }
}

/// Outside a request nothing may be refused: whatever it was, the transaction's fate is not known.
fn fatally(place: &Place, error: JournalError) -> JournalError {
    match error {
        fatal @ JournalError::Fatal { .. } => fatal,
        other => place.fatal("commit", other.to_string(), false),
    }
}
