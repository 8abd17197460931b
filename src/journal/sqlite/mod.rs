//! The journal as an SQLite database: WAL, `synchronous = FULL`, one thread that writes.
//!
//! ```text
//! callers ─ write ─► writer thread ─ group commit ─► journal.db-wal ─► journal.db
//!         ─ read ──► a few connections, each read a short transaction of its own
//! ```
//!
//! | module | noun |
//! | --- | --- |
//! | `place` | state directory, lock, names on the disk |
//! | `database` | opening, migrations, checking |
//! | `writer`, `fault` | the writing thread; what an error means |
//! | `rows` | rows to values |
//! | `files`, `payloads`, `partitions`, `requests` | what the port's methods do inside a transaction |
//! | `batches`, `stage`, `revise`, `commit`, `adopt` | and of those, what concerns batches |
//! | `rebuild` | a new database in the place of the old one |
//!
//! What can go wrong: the disk. Any I/O error, full disk or failed commit poisons the journal: every later call answers that same
//! error, the process ends, and its next start recovers. A reader that stays in a transaction keeps the log from being
//! emptied, so none does.

mod adopt;
mod batches;
mod commit;
mod database;
mod fault;
mod files;
mod partitions;
mod payloads;
mod place;
mod rebuild;
mod requests;
mod revise;
mod rows;
mod stage;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, params};

use self::database::{Durability, Opened};
use self::fault::{Done, Role, refuse};
use self::place::{DATABASE, Lock, Place, UNFINISHED};
pub use self::rebuild::Rebuilding;
use self::writer::{Poison, Writer};
use super::{
    BatchRow, FileRange, FileRow, FileState, Journal, JournalError, KnownFile, PartitionWork,
    PipelineRow, PutRequest, Request, RequestRow, Result, StageRequest,
};
use crate::clock::{Clock, SystemClock};
use crate::protocol::{BatchState, DataFile, Manifest};
use crate::segment::{BatchNumber, FileId, FileStat, JournalId, RelativePath, Segment};

/// Connections kept for the next reader.
const READERS_KEPT: usize = 4;

/// The journal in a state directory; see [`Journal`].
pub struct SqliteJournal {
    id: JournalId,
    place: Place,
    poison: Arc<Poison>,
    readers: Mutex<Vec<Connection>>,
    /// Only the agent's.
    writer: Option<Writer>,
    next_file: AtomicI64,
    /// What was said by this process, which the database may not have yet.
    words: Mutex<BTreeMap<String, serde_json::Value>>,
    clock: Arc<dyn Clock>,
    cache_bytes: u64,
    /// Given up last.
    lock: Option<Lock>,
}

/// What a journal takes from the machine, unless it is told.
pub struct Surroundings {
    /// `changed_ns` and `committed_ns` are read from it.
    pub clock: Arc<dyn Clock>,
    /// The id of a journal that has to be made; `None`: 64 random bits.
    pub id: Option<JournalId>,
    /// Pages of the database that the one connection that writes keeps in memory; those that read keep a quarter of it each.
    pub cache_bytes: u64,
}

/// What caches of a journal may take of a process that has `memory`: with four readers an eighth, or 8 MiB.
#[must_use]
pub fn cache_bytes(memory: u64) -> u64 {
    (memory / 16).clamp(4 << 20, 32 << 20)
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::default()),
            id: None,
            cache_bytes: cache_bytes(u64::MAX),
        }
    }
}

impl Surroundings {
    fn make(&self, place: &Place) -> Result<()> {
        let id = match self.id {
            Some(id) => id,
            None => database::new_journal_id(place)?,
        };
        database::make(place, id, self.clock.now_ns())
    }
}

impl SqliteJournal {
    /// Takes the lock, and makes the state directory (0700) and the database (0600) if there are none.
    ///
    /// # Errors
    /// `Locked` while another process has it; `Unusable` for a damaged, foreign or newer database, one whose log was
    /// left behind, or a file system of the network: nothing was changed then.
    pub fn open(state_dir: &Path) -> Result<Self> {
        Self::open_with(state_dir, Surroundings::default())
    }

    /// [`Self::open`] with what it otherwise takes from the machine.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(state_dir: &Path, around: Surroundings) -> Result<Self> {
        let place = Place::new(place::state_dir(state_dir)?, DATABASE);
        let lock = Lock::take(&place)?;
        if place.length()?.is_none() {
            place.refuse_orphaned_log()?;
            Self::begin(&place, &around)?;
        }
        Self::resume(place, lock, around.clock, around.cache_bytes)
    }

    /// A first, empty database under its name, durable.
    fn begin(place: &Place, around: &Surroundings) -> Result<()> {
        let unfinished = Place::new(place.dir().to_path_buf(), UNFINISHED);
        around.make(&unfinished)?;
        place.remove_sides()?;
        std::fs::rename(unfinished.database(), place.database())
            .map_err(|error| place.io("name the new database", &error))?;
        place.sync_dir()
    }

    fn resume(place: Place, lock: Lock, clock: Arc<dyn Clock>, cache_bytes: u64) -> Result<Self> {
        let opened = database::open(&place, Durability::AtCommit, cache_bytes)?;
        Self::serve(place, Some(lock), clock, cache_bytes, opened)
    }

    fn serve(
        place: Place,
        lock: Option<Lock>,
        clock: Arc<dyn Clock>,
        cache_bytes: u64,
        opened: Opened,
    ) -> Result<Self> {
        let poison = Arc::new(Poison::default());
        let writer = Writer::start(place.clone(), opened.conn, Arc::clone(&poison))?;
        Ok(Self {
            id: opened.id,
            place,
            poison,
            readers: Mutex::default(),
            writer: Some(writer),
            next_file: AtomicI64::new(opened.file_ids + 1),
            words: Mutex::default(),
            clock,
            cache_bytes,
            lock,
        })
    }

    /// Opens the journal for reading beside a running agent; of all that writes, only [`Journal::ask`] works.
    /// `None` if there is no journal yet.
    ///
    /// # Errors
    /// `Unusable` for a damaged, foreign, newer or older database.
    pub fn read(state_dir: &Path) -> Result<Option<Self>> {
        let Ok(dir) = std::fs::canonicalize(state_dir) else {
            let asked = Place::new(state_dir.to_path_buf(), DATABASE);
            return match asked.length()? {
                None => Ok(None),
                Some(_) => Err(asked.unusable("its directory cannot be looked at")),
            };
        };
        let place = Place::new(dir, DATABASE);
        if place.length()?.is_none() {
            place.refuse_orphaned_log()?;
            return Ok(None);
        }
        place::refuse_network(&place)?;
        let cache_bytes = Surroundings::default().cache_bytes;
        let opened = database::look(&place, cache_bytes)?;
        Ok(Some(Self {
            id: opened.id,
            place,
            poison: Arc::new(Poison::default()),
            readers: Mutex::new(vec![opened.conn]),
            writer: None,
            next_file: AtomicI64::new(opened.file_ids + 1),
            words: Mutex::default(),
            clock: Arc::new(SystemClock::default()),
            cache_bytes,
            lock: None,
        }))
    }

    /// Whether there is a database, whatever it holds.
    ///
    /// # Errors
    /// A failed look, or something there that is no regular file.
    pub fn exists(state_dir: &Path) -> Result<bool> {
        let place = Place::new(state_dir.to_path_buf(), DATABASE);
        Ok(place.length()?.is_some())
    }

    /// Takes the lock and begins a new journal with a new id beside the old one, for [`Journal::adopt`]; nothing is replaced
    /// before [`Rebuilding::finish`].
    ///
    /// # Errors
    /// As [`Self::open`], but a damaged database is no error: it is what rebuilding is for.
    pub fn rebuild(state_dir: &Path) -> Result<Rebuilding> {
        Self::rebuild_with(state_dir, Surroundings::default())
    }

    /// [`Self::rebuild`] with what it otherwise takes from the machine.
    ///
    /// # Errors
    /// As [`Self::rebuild`].
    pub fn rebuild_with(state_dir: &Path, around: Surroundings) -> Result<Rebuilding> {
        Rebuilding::begin(state_dir, around)
    }

    /// Ends in good order: the log is emptied, the next start need not check. Dropping does the same and tells nobody of errors.
    ///
    /// # Errors
    /// The journal is as durable as it was; the next start checks it.
    pub fn close(self) -> Result<()> {
        self.shut()
    }

    /// Ends as a kill would: nothing is put in order, and the next start checks. What was answered is durable all the same.
    pub fn abandon(mut self) {
        self.pool().clear();
        if let Some(writer) = self.writer.take() {
            writer.abandon();
        }
    }

    fn shut(&self) -> Result<()> {
        self.pool().clear();
        match &self.writer {
            Some(writer) => writer.close(),
            None => Ok(()),
        }
    }

    fn pool(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn role(&self) -> Role {
        match self.writer {
            Some(_) => Role::Agent,
            None => Role::Onlooker,
        }
    }

    fn look<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Connection) -> Done<T>,
    ) -> Result<T> {
        self.poison.check()?;
        let looked = self.look_at(read);
        looked.map_err(|trouble| {
            let error = trouble.at(&self.place, self.role(), operation);
            self.poison.note(&error);
            error
        })
    }

    /// One transaction, so that what is read belongs together.
    fn look_at<T>(&self, read: impl FnOnce(&Connection) -> Done<T>) -> Done<T> {
        let kept = self.pool().pop();
        let conn = match kept {
            Some(conn) => conn,
            None => database::reading(&self.place, self.cache_bytes)?,
        };
        conn.prepare_cached("BEGIN")?.execute([])?;
        let found = read(&conn);
        // Where that fails the connection is not used again.
        conn.prepare_cached("COMMIT")?.execute([])?;
        let mut pool = self.pool();
        if pool.len() < READERS_KEPT {
            pool.push(conn);
        }
        found
    }

    fn change<T: Send + 'static>(
        &self,
        operation: &'static str,
        write: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        match &self.writer {
            Some(writer) => writer.run(operation, write),
            None => Err(JournalError::Refused(format!(
                "{operation}: the journal is open for reading only"
            ))),
        }
    }

    /// Work on the caller's thread before a write.
    fn prepare<T>(&self, operation: &'static str, made: Done<T>) -> Result<T> {
        made.map_err(|trouble| trouble.at(&self.place, self.role(), operation))
    }

    fn now(&self) -> i64 {
        self.clock.now_ns()
    }

    /// A row by somebody who does not hold the lock, beside the agent's writes.
    fn ask_from_outside(&self, request: &Request) -> Result<i64> {
        let asked = || -> Done<i64> {
            let mut conn = database::writing(&self.place, Durability::AtCommit, self.cache_bytes)?;
            let transaction =
                conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let id = requests::ask(&transaction, request)?;
            transaction.commit()?;
            Ok(id)
        };
        asked().map_err(|trouble| trouble.at(&self.place, Role::Onlooker, "ask"))
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "the journal was not closed in good order; the next start checks it");
        }
        drop(self.lock.take());
    }
}

impl Journal for SqliteJournal {
    fn id(&self) -> JournalId {
        self.id
    }

    fn pipeline(&self, name: &str, spool: JournalId, lake: &str) -> Result<PipelineRow> {
        if let Some(known) = self.look("pipeline", |conn| rows::find_pipeline(conn, name))? {
            return Ok(known.row);
        }
        let (name, lake) = (name.to_owned(), lake.to_owned());
        self.change("pipeline", move |conn| {
            conn.prepare_cached(
                "INSERT INTO pipeline (name, spool, lake) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING",
            )?
            .execute(params![name, spool.0 as i64, lake])?;
            Ok(rows::get_pipeline(conn, &name)?.row)
        })
    }

    fn pipelines(&self) -> Result<Vec<PipelineRow>> {
        self.look("pipelines", rows::all_pipelines)
    }

    fn set_lake(&self, pipeline: &str, lake: &str) -> Result<()> {
        let (name, lake) = (pipeline.to_owned(), lake.to_owned());
        self.change("set lake", move |conn| {
            let pipeline = rows::get_pipeline(conn, &name)?;
            if pipeline.row.lake == lake {
                return Ok(());
            }
            let unfinished: Option<u64> = conn.query_row(
                "SELECT min(batch) FROM manifest WHERE pipeline = ?1",
                [pipeline.id],
                |row| row.get(0),
            )?;
            if let Some(batch) = unfinished {
                return refuse(format!(
                    "batch {batch} of `{name}` is not done in lake `{}`",
                    pipeline.row.lake
                ));
            }
            let waiting = partitions::count(conn, &name)?;
            if waiting > 0 {
                return refuse(format!(
                    "{waiting} partitions of `{name}` in lake `{}` wait to be registered",
                    pipeline.row.lake
                ));
            }
            conn.prepare_cached("UPDATE pipeline SET lake = ?2 WHERE id = ?1")?
                .execute(params![pipeline.id, lake])?;
            Ok(())
        })
    }

    fn new_file_id(&self) -> FileId {
        FileId(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    fn file(&self, id: FileId) -> Result<Option<FileRow>> {
        self.look("file", |conn| {
            let found = rows::FileReader::new(conn).by_id(id)?;
            Ok(found.map(FileRow::from))
        })
    }

    fn file_at(&self, pipeline: &str, path: &RelativePath) -> Result<Option<FileRow>> {
        self.look("file", |conn| files::file_at(conn, pipeline, path))
    }

    fn files_of_size(&self, pipeline: &str, size: u64) -> Result<Vec<FileRow>> {
        self.look("files of size", |conn| {
            files::files_of_size(conn, pipeline, size)
        })
    }

    fn files_in(&self, pipeline: &str, states: &[FileState]) -> Result<Vec<FileRow>> {
        self.look("files in state", |conn| {
            files::files_in(conn, pipeline, states)
        })
    }

    fn visit_files(&self, pipeline: &str, visit: &mut dyn FnMut(FileRow)) -> Result<()> {
        let mut after = FileId(i64::MIN);
        loop {
            let page = self.look("visit files", |conn| files::page(conn, pipeline, after))?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            page.into_iter().for_each(&mut *visit);
        }
    }

    fn visit_known(&self, pipeline: &str, visit: &mut dyn FnMut(KnownFile)) -> Result<()> {
        let mut after = FileId(i64::MIN);
        loop {
            let page = self.look("visit files", |conn| {
                files::known_page(conn, pipeline, after)
            })?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            page.into_iter().for_each(&mut *visit);
        }
    }

    fn ranges(&self, file: FileId) -> Result<Vec<FileRange>> {
        self.look("ranges", |conn| files::ranges(conn, file))
    }

    fn quarantine(&self, pipeline: &str, file: &FileRow, reason: &str) -> Result<()> {
        let (pipeline, file, reason) = (pipeline.to_owned(), file.clone(), reason.to_owned());
        let now = self.now();
        self.change("quarantine", move |conn| {
            files::quarantine(conn, now, &pipeline, &file, &reason)
        })
    }

    fn quarantined_to(&self, file: FileId, place: &str) -> Result<()> {
        let place = place.to_owned();
        self.change("quarantined to", move |conn| {
            files::quarantined_to(conn, file, &place)
        })
    }

    fn skip(&self, pipeline: &str, files: &[FileRow]) -> Result<()> {
        let (pipeline, files, now) = (pipeline.to_owned(), files.to_vec(), self.now());
        self.change("skip", move |conn| {
            files::skip(conn, now, &pipeline, &files)
        })
    }

    fn release(&self, file: FileId, stat: &FileStat, path: &RelativePath) -> Result<()> {
        let (stat, path, now) = (*stat, path.clone(), self.now());
        self.change("release", move |conn| {
            files::release(conn, now, file, &stat, &path)
        })
    }

    fn forget(&self, file: FileId, reason: &str) -> Result<()> {
        let (reason, now) = (reason.to_owned(), self.now());
        self.change("forget", move |conn| {
            files::forget(conn, now, file, &reason)
        })
    }

    fn put(&self, pipeline: &str, puts: &[PutRequest]) -> Result<()> {
        let mut packed = Vec::with_capacity(puts.len());
        for put in puts {
            let bytes = self.prepare("put", payloads::pack(put))?;
            let request = PutRequest {
                payload: Vec::new(),
                file: put.file.clone(),
                segment: put.segment.clone(),
            };
            packed.push((request, bytes));
        }
        let (pipeline, now) = (pipeline.to_owned(), self.now());
        self.change("put", move |conn| {
            payloads::put(conn, now, &pipeline, &packed)
        })
    }

    fn waiting_segments(&self, pipeline: &str) -> Result<Vec<Segment>> {
        self.look("waiting segments", |conn| payloads::waiting(conn, pipeline))
    }

    fn payload(&self, file: FileId, from: u64) -> Result<Option<Vec<u8>>> {
        self.look("payload", |conn| payloads::payload(conn, file, from))
    }

    fn payload_bytes(&self, pipeline: &str) -> Result<u64> {
        self.look("payload bytes", |conn| {
            let found = rows::find_pipeline(conn, pipeline)?;
            Ok(found.map_or(0, |pipeline| pipeline.payload_bytes))
        })
    }

    fn stage(&self, request: StageRequest) -> Result<()> {
        let text = self.prepare("stage", batches::pack(&request.manifest))?;
        let (journal, now) = (self.id, self.now());
        self.change("stage", move |conn| {
            stage::stage(conn, now, journal, &request, &text)
        })
    }

    fn revise(&self, manifest: &Manifest) -> Result<()> {
        let text = self.prepare("revise", batches::pack(manifest))?;
        let manifest = manifest.clone();
        self.change("revise", move |conn| revise::revise(conn, &manifest, &text))
    }

    fn unfinished(&self, pipeline: &str) -> Result<Vec<BatchRow>> {
        self.look("unfinished batches", |conn| {
            batches::unfinished(conn, pipeline)
        })
    }

    fn commit(
        &self,
        pipeline: &str,
        batch: BatchNumber,
        targets: &[(FileId, RelativePath)],
        partitions: &[PartitionWork],
    ) -> Result<()> {
        let (pipeline, targets, now) = (pipeline.to_owned(), targets.to_vec(), self.now());
        let partitions = partitions.to_vec();
        self.change("commit", move |conn| {
            commit::commit(conn, now, &pipeline, batch, &targets, &partitions)
        })
    }

    fn done(&self, pipeline: &str, batch: BatchNumber) -> Result<()> {
        let pipeline = pipeline.to_owned();
        self.change("done", move |conn| batches::done(conn, &pipeline, batch))
    }

    fn data_files(&self, pipeline: &str, batch: BatchNumber) -> Result<Vec<DataFile>> {
        self.look("data files", |conn| {
            batches::data_files(conn, pipeline, batch)
        })
    }

    fn set_retire_target(&self, file: FileId, target: &RelativePath) -> Result<()> {
        let target = target.clone();
        self.change("set retire target", move |conn| {
            files::set_retire_target(conn, file, &target)
        })
    }

    fn retired(&self, files: &[FileId]) -> Result<()> {
        let (files, now) = (files.to_vec(), self.now());
        self.change("retired", move |conn| files::retired(conn, now, &files))
    }

    fn queue_partitions(&self, pipeline: &str, work: &[PartitionWork]) -> Result<()> {
        let (pipeline, work) = (pipeline.to_owned(), work.to_vec());
        self.change("queue partitions", move |conn| {
            partitions::queue(conn, rows::get_pipeline(conn, &pipeline)?.id, &work)
        })
    }

    fn waiting_partitions(
        &self,
        pipeline: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PartitionWork>> {
        self.look("waiting partitions", |conn| {
            partitions::waiting(conn, pipeline, after, limit)
        })
    }

    fn count_waiting_partitions(&self, pipeline: &str) -> Result<u64> {
        self.look("waiting partitions", |conn| {
            partitions::count(conn, pipeline)
        })
    }

    fn landed_partitions(&self, pipeline: &str) -> Result<Vec<PartitionWork>> {
        let mut landed = std::collections::BTreeMap::new();
        let mut from = 0;
        loop {
            let next = self.look("landed partitions", |conn| {
                partitions::landed(conn, pipeline, from, &mut landed)
            })?;
            match next {
                Some(next) => from = next,
                None => return Ok(landed.into_values().collect()),
            }
        }
    }

    fn registered(&self, pipeline: &str, work: &[PartitionWork]) -> Result<()> {
        let (pipeline, work) = (pipeline.to_owned(), work.to_vec());
        self.change("registered", move |conn| {
            partitions::registered(conn, &pipeline, &work)
        })
    }

    fn prune(&self, pipeline: &str, before_ns: i64) -> Result<u64> {
        let mut after = FileId(i64::MIN);
        let mut pruned = 0;
        loop {
            let found = self.look("prune", |conn| {
                files::prunable(conn, pipeline, before_ns, after)
            })?;
            let Some(last) = found.last() else {
                return Ok(pruned);
            };
            after = *last;
            let pipeline = pipeline.to_owned();
            pruned += self.change("prune", move |conn| {
                files::prune(conn, &pipeline, before_ns, &found)
            })?;
        }
    }

    fn schema(&self, pipeline: &str) -> Result<Option<(u32, serde_json::Value)>> {
        self.look("schema", |conn| requests::schema(conn, pipeline))
    }

    fn schema_version(&self, pipeline: &str, version: u32) -> Result<Option<serde_json::Value>> {
        self.look("schema", |conn| {
            requests::schema_version(conn, pipeline, version)
        })
    }

    fn ask(&self, request: &Request) -> Result<i64> {
        if self.writer.is_none() {
            return self.ask_from_outside(request);
        }
        let request = request.clone();
        self.change("ask", move |conn| requests::ask(conn, &request))
    }

    fn requests(&self) -> Result<Vec<RequestRow>> {
        self.look("requests", requests::all)
    }

    fn answer(&self, id: i64, answer: &std::result::Result<String, String>) -> Result<()> {
        let answer = answer.clone();
        self.change("answer", move |conn| requests::answer(conn, id, &answer))
    }

    fn adopt(&self, manifest: &Manifest, state: BatchState) -> Result<()> {
        let text = self.prepare("adopt", batches::pack(manifest))?;
        let count = manifest.membership().map_or(0, |m| m.files.len()) as i64;
        let first = self.next_file.fetch_add(count, Ordering::Relaxed);
        let (manifest, now) = (manifest.clone(), self.now());
        self.change("adopt", move |conn| {
            adopt::adopt(conn, now, &manifest, state, first..first + count, &text)
        })
    }

    fn say(&self, pipeline: &str, status: &serde_json::Value) {
        let Some(writer) = &self.writer else { return };
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.get(pipeline) == Some(status) {
            return;
        }
        words.insert(pipeline.to_owned(), status.clone());
        writer.say(pipeline, status.to_string());
    }

    fn said(&self, pipeline: &str) -> Result<Option<serde_json::Value>> {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = words.get(pipeline) {
            return Ok(Some(word.clone()));
        }
        drop(words);
        self.look("said", |conn| requests::said(conn, pipeline))
    }

    fn tidy(&self) -> Result<()> {
        match &self.writer {
            Some(writer) => writer.tidy(),
            None => Ok(()),
        }
    }
}
