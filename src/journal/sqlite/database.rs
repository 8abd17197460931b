//! Opening SQLite databases: pragmas, whose file it is, the ladder of migrations, the check after an unclean stop.
//!
//! Forward only: a database of a newer version is refused before anything is written to it. A new database is made whole under
//! a temporary name and renamed, so that an empty or headless `journal.db` is always damage and never a beginning.

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::fault::{Done, Role, Trouble};
use super::place::Place;
use crate::journal::JournalError;
use crate::segment::JournalId;

/// `LkWd` in ASCII, in the database's header.
const APPLICATION_ID: i32 = 0x4c6b_5764;

/// The ladder: entry `n` leads from version `n` to `n + 1`.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/0001_journal.sql"),
    include_str!("../../../migrations/0002_partitions.sql"),
];

/// Above this a whole `quick_check` would hold up the start for long.
const CHECK_BYTES_MAX: u64 = 1 << 30;

/// Another process writes only when somebody asks for something, and only a row.
const BUSY: Duration = Duration::from_mins(1);

/// How long emptying the log waits for somebody's reading to end.
const READER_WAIT: Duration = Duration::from_millis(200);

/// When commits are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Once they answered.
    AtCommit,
    /// With the sync of the whole file that ends a rebuild.
    AtTheEnd,
}

fn connect(place: &Place, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let conn = Connection::open_with_flags(place.database(), flags)?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(96);
    // Without it statements are parsed again whenever a value is bound that a partial index might be about.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Rows are input: what a forged schema could call is switched off, damaged cells are noticed when read.
    conn.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;",
    )?;
    Ok(conn)
}

/// The one connection that writes.
pub(super) fn writing(
    place: &Place,
    durability: Durability,
    cache_bytes: u64,
) -> rusqlite::Result<Connection> {
    let conn = connect(place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // A database that is refused after it was opened keeps its log as it is.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch("PRAGMA journal_mode = WAL;")?;
    let synchronous = match durability {
        Durability::AtCommit => "FULL",
        Durability::AtTheEnd => "OFF",
    };
    conn.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 2000; PRAGMA journal_size_limit = 8388608;"
    ))?;
    limit_cache(&conn, cache_bytes)?;
    Ok(conn)
}

/// There may be a few of these, so each has a quarter of the writer's cache.
pub(super) fn reading(place: &Place, cache_bytes: u64) -> rusqlite::Result<Connection> {
    let conn = connect(place, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    limit_cache(&conn, cache_bytes / 4)?;
    Ok(conn)
}

/// I11 bounded: pages are kept up to so many bytes, however large the database is.
fn limit_cache(conn: &Connection, bytes: u64) -> rusqlite::Result<()> {
    conn.execute_batch(&format!("PRAGMA cache_size = -{};", bytes >> 10))
}

/// A database with the newest schema and this id, closed and complete but for its name.
pub(super) fn make(place: &Place, id: JournalId, now_ns: i64) -> Result<(), JournalError> {
    place.remove()?;
    place.create()?;
    let make = || -> Done<()> {
        let mut conn = connect(place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // It counts for nothing before it has its name, and is synced as a whole before that.
        conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")?;
        migrate(&mut conn)?;
        conn.execute(
            "INSERT INTO journal (only_row, id, made_ns, clean, file_ids) VALUES (1, ?1, ?2, 1, 0)",
            params![id.0 as i64, now_ns],
        )?;
        conn.execute_batch("PRAGMA journal_mode = WAL;")?;
        truncate_log(&conn)?;
        conn.close().map_err(|(_, error)| error)?;
        Ok(())
    };
    make().map_err(|trouble| trouble.at(place, Role::Agent, "make the database"))?;
    place.sync()
}

/// 64 random bits, never 0.
pub(super) fn new_journal_id(place: &Place) -> Result<JournalId, JournalError> {
    use std::io::Read;
    let mut bytes = [0; 8];
    loop {
        std::fs::File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut bytes))
            .map_err(|error| place.io("draw a journal id", &error))?;
        let id = u64::from_le_bytes(bytes);
        if id != 0 {
            return Ok(JournalId(id));
        }
    }
}

/// Up the ladder, each rung one transaction.
fn migrate(conn: &mut Connection) -> Done<()> {
    let version = user_version(conn)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version as usize) {
        let rung = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        rung.execute_batch(sql)?;
        rung.pragma_update(None, "application_id", APPLICATION_ID)?;
        rung.pragma_update(None, "user_version", step as u32 + 1)?;
        rung.commit()?;
    }
    Ok(())
}

fn user_version(conn: &Connection) -> rusqlite::Result<u32> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whose file it is and of which version, from what this connection sees.
///
/// # Errors
/// Damaged, foreign or newer: nothing was changed.
fn recognize(conn: &Connection, place: &Place) -> Result<u32, Unfit> {
    let header = conn
        .query_row("PRAGMA application_id", [], |row| row.get::<_, i32>(0))
        .and_then(|application| Ok((application, user_version(conn)?)));
    let (application, version) = header.map_err(|error| unreadable(place, &error))?;
    fit(place, application, version)
}

fn fit(place: &Place, application: i32, version: u32) -> Result<u32, Unfit> {
    if application != APPLICATION_ID {
        return Err(Unfit::Other(place.unusable(
            "it is an SQLite database of another program and was left as it is; move it away, or set another `agent.state_dir`",
        )));
    }
    let known = MIGRATIONS.len() as u32;
    if version > known {
        return Err(Unfit::Other(place.unusable(format!(
            "it is of version {version}, made by a newer program, and was left as it is; this program knows version {known}: install the newer program"
        ))));
    }
    if version == 0 {
        return Err(damaged(place, "it has no version"));
    }
    Ok(version)
}

/// Why a database was not opened. Nothing was changed.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It cannot be read; what a rebuild is for.
    Damaged(JournalError),
    /// Not ours to replace, or a fault of something else.
    Other(JournalError),
}

impl From<Unfit> for JournalError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Damaged(error) | Unfit::Other(error) => error,
        }
    }
}

impl From<JournalError> for Unfit {
    fn from(error: JournalError) -> Self {
        Self::Other(error)
    }
}

fn damaged(place: &Place, found: impl std::fmt::Display) -> Unfit {
    Unfit::Damaged(place.damaged(found))
}

fn unreadable(place: &Place, error: &rusqlite::Error) -> Unfit {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Unfit::Other(place.fatal("open", error.to_string(), true)),
        // Without room for its side files SQLite knows an I/O error only. That is no damage.
        Some(ErrorCode::SystemIoFailure) if place.no_space() => {
            Unfit::Other(place.fatal("open", error.to_string(), true))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            Unfit::Other(place.unusable(format!(
                "open it: {error}; it must be readable and writable for the user that runs this, and its directory too"
            )))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Unfit::Other(place.unusable(
            format!("open it: {error}; another program has it open, end that"),
        )),
        _ => damaged(place, error),
    }
}

/// As [`unreadable`], for what was found in a row.
fn unfit(place: &Place, trouble: Trouble) -> Unfit {
    match trouble {
        Trouble::Sql(error) => unreadable(place, &error),
        Trouble::Refused(text) | Trouble::BadRow(text) => damaged(place, text),
    }
}

/// SQLite takes a file without a whole header for a new database.
fn refuse_stump(place: &Place) -> Result<(), Unfit> {
    match place.length()? {
        Some(0) => Err(damaged(place, "it is empty")),
        Some(length) if length < 512 => Err(damaged(place, format!("it has {length} bytes"))),
        _ => Ok(()),
    }
}

/// Looks at the file itself, without its log, lock or any side file: whether it may be opened at all.
fn peek(place: &Place) -> Result<(), Unfit> {
    refuse_stump(place)?;
    match peek_alone(place) {
        // Who died while the log was moved into it has left a file that makes sense with its log only: longer by its header than
        // it is. Its header tells whose it is all the same.
        Err(Unfit::Damaged(_)) if place.has_log() => peek_at_header(place),
        found => found,
    }
}

/// The first bytes of a file, as SQLite's documentation of its format has them.
fn peek_at_header(place: &Place) -> Result<(), Unfit> {
    let header = place.beginning::<100>()?;
    let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(damaged(place, "file is not a database"));
    }
    let (version, application) = (number(60), number(68));
    fit(place, application.cast_signed(), version).map(drop)
}

fn peek_alone(place: &Place) -> Result<(), Unfit> {
    let mut uri = String::from("file:");
    for byte in place.database().as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(*byte as char);
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn =
        Connection::open_with_flags(&uri, flags).map_err(|error| unreadable(place, &error))?;
    recognize(&conn, place).map(drop)
}

/// What is known of a database once it is open.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) id: JournalId,
    /// File ids up to here were given out.
    pub(super) file_ids: i64,
}

/// Opens an existing database for writing: recognized, brought up to date, checked if it was not closed in good order, and marked as in use.
pub(super) fn open(
    place: &Place,
    durability: Durability,
    cache_bytes: u64,
) -> Result<Opened, Unfit> {
    peek(place)?;
    let mut conn =
        writing(place, durability, cache_bytes).map_err(|error| unreadable(place, &error))?;
    recognize(&conn, place)?;
    let fault = |trouble| unfit(place, trouble);
    let (id, clean) = identity(&conn).map_err(fault)?;
    if !clean {
        check(&conn, place)?;
    }
    migrate(&mut conn).map_err(fault)?;
    let file_ids = file_ids(&conn).map_err(fault)?;
    conn.execute("UPDATE journal SET clean = 0 WHERE clean <> 0", [])
        .map_err(|error| unreadable(place, &error))?;
    Ok(Opened { conn, id, file_ids })
}

/// A reading connection for somebody who does not hold the lock; nothing is brought up to date.
pub(super) fn look(place: &Place, cache_bytes: u64) -> Result<Opened, Unfit> {
    refuse_stump(place)?;
    let conn = reading(place, cache_bytes).map_err(|error| unreadable(place, &error))?;
    let version = recognize(&conn, place)?;
    let known = MIGRATIONS.len() as u32;
    if version < known {
        return Err(Unfit::Other(place.unusable(format!(
            "it is of version {version} and this program reads version {known}: start `lakeward run` once, which brings it up to date"
        ))));
    }
    let fault = |trouble| unfit(place, trouble);
    let (id, _) = identity(&conn).map_err(fault)?;
    let file_ids = file_ids(&conn).map_err(fault)?;
    Ok(Opened { conn, id, file_ids })
}

fn identity(conn: &Connection) -> Done<(JournalId, bool)> {
    let row = conn
        .query_row(
            "SELECT id, clean FROM journal WHERE only_row = 1",
            [],
            |row| {
                Ok((
                    JournalId(row.get::<_, i64>(0)? as u64),
                    row.get::<_, i64>(1)? == 1,
                ))
            },
        )
        .optional()?;
    row.ok_or_else(|| Trouble::BadRow("table `journal` has no row".into()))
}

fn file_ids(conn: &Connection) -> Done<i64> {
    let sql = "SELECT max(file_ids, coalesce((SELECT max(id) FROM file), 0)) FROM journal";
    let given_out: i64 = conn.query_row(sql, [], |row| row.get(0))?;
    // Ids count up by one from 1: no number of files comes near.
    if !(0..i64::MAX / 2).contains(&given_out) {
        return Err(Trouble::BadRow(format!(
            "table `journal`, column `file_ids`, or an id of table `file`: {given_out} files cannot have been"
        )));
    }
    Ok(given_out)
}

/// After a kill or a power cut: the whole of a small database, the ends of a large one's tables.
fn check(conn: &Connection, place: &Place) -> Result<(), Unfit> {
    if place.length()?.unwrap_or(0) >= CHECK_BYTES_MAX {
        let ends = "SELECT (SELECT max(id) FROM file), (SELECT max(file) FROM segment), (SELECT max(put) FROM payload), \
                    (SELECT count(*) FROM pipeline), (SELECT count(*) FROM manifest)";
        return conn
            .query_row(ends, [], |_| Ok(()))
            .map_err(|error| unreadable(place, &error));
    }
    let found: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| unreadable(place, &error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(damaged(place, found))
}

/// Moves the log into the database and empties it, unless a reader is in the way, which is no harm.
pub(super) fn truncate_log(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(READER_WAIT)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    conn.busy_timeout(BUSY)
}

/// Closed in good order: nothing to check next time, no side files left unless somebody reads.
pub(super) fn close(conn: Connection) -> rusqlite::Result<()> {
    conn.execute("UPDATE journal SET clean = 1", [])?;
    truncate_log(&conn)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    conn.close().map_err(|(_, error)| error)
}
