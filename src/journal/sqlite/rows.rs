//! Rows to values and back. What is read back is input: each value is checked before it is believed.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::{Done, Trouble, bad_row, refuse};
use crate::journal::{FileRange, FileRow, FileState, KnownFile, PipelineRow};
use crate::segment::{BatchNumber, Digest, FileId, FileStat, JournalId, RelativePath, Segment};

pub(super) fn state_code(state: FileState) -> i64 {
    match state {
        FileState::Reading => 0,
        FileState::Committed => 1,
        FileState::Retired => 2,
        FileState::Quarantined => 3,
    }
}

fn state_of(code: i64) -> Option<FileState> {
    match code {
        0 => Some(FileState::Reading),
        1 => Some(FileState::Committed),
        2 => Some(FileState::Retired),
        3 => Some(FileState::Quarantined),
        _ => None,
    }
}

pub(super) fn path_hash(path: &RelativePath) -> i64 {
    crate::journal::path_hash(path) as i64
}

pub(super) fn digest_bytes(digest: Digest) -> [u8; 16] {
    digest.0.to_be_bytes()
}

/// Where a value was found, for the message about it.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) table: &'static str,
    pub(super) row: i64,
}

impl At {
    pub(super) fn bad<T>(self, column: &str, found: impl std::fmt::Display) -> Done<T> {
        bad_row(format!(
            "table `{}`, row {}, column `{column}`: {found}",
            self.table, self.row
        ))
    }

    pub(super) fn get<T: FromSql>(self, row: &Row<'_>, column: &str) -> Done<T> {
        match row.get(column) {
            Ok(value) => Ok(value),
            Err(error @ rusqlite::Error::SqliteFailure(..)) => Err(error.into()),
            Err(error) => self.bad(column, error),
        }
    }

    pub(super) fn digest(self, row: &Row<'_>, column: &str) -> Done<Digest> {
        let bytes: [u8; 16] = self.get(row, column)?;
        Ok(Digest(u128::from_be_bytes(bytes)))
    }

    fn path(self, column: &str, bytes: &[u8]) -> Done<RelativePath> {
        RelativePath::new(bytes).or_else(|error| self.bad(column, error))
    }

    /// A number stored with the bits of a signed one.
    fn bits(self, row: &Row<'_>, column: &str) -> Done<u64> {
        Ok(self.get::<i64>(row, column)? as u64)
    }

    pub(super) fn json(self, column: &str, text: &str) -> Done<serde_json::Value> {
        serde_json::from_str(text).or_else(|error| self.bad(column, error))
    }
}

/// As `SELECT *` gives them: names are for messages, and looking them up for each value would take longer than reading it.
const FILE_COLUMNS: [&str; 26] = [
    "id",
    "pipeline",
    "path",
    "path_hash",
    "inode",
    "device",
    "size",
    "mtime_ns",
    "state",
    "settings",
    "header",
    "put_end",
    "staged_end",
    "checkpoint",
    "decoded",
    "fingerprint",
    "torn",
    "records",
    "rejected",
    "rejected_bytes",
    "skipped_bytes",
    "reason",
    "skipped",
    "retire_target",
    "quarantined_to",
    "changed_ns",
];

/// The values of a file's row, one after the other.
struct Columns<'r> {
    names: &'static [&'static str],
    at: At,
    row: &'r Row<'r>,
    index: usize,
}

impl Columns<'_> {
    fn take<T: FromSql>(&mut self) -> Done<T> {
        let index = self.index;
        self.index += 1;
        match self.row.get(index) {
            Ok(value) => Ok(value),
            Err(error @ rusqlite::Error::SqliteFailure(..)) => Err(error.into()),
            Err(error) => {
                let column = self.names.get(index).copied().unwrap_or("?");
                self.at.bad(column, error)
            }
        }
    }

    /// The columns from `inode` to `state`, which stand together.
    fn stat_and_state(&mut self) -> Done<(FileStat, FileState)> {
        let stat = FileStat {
            inode: self.take::<i64>()? as u64,
            device: self.take::<i64>()? as u64,
            size: self.take()?,
            mtime_ns: self.take()?,
        };
        let state: i64 = self.take()?;
        match state_of(state) {
            Some(state) => Ok((stat, state)),
            None => self.at.bad("state", format!("{state} is no state")),
        }
    }
}

/// A file's row with what only the journal needs to know.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) row: FileRow,
    pub(super) pipeline: i64,
    /// End of the last segment that is in a batch.
    pub(super) staged_end: u64,
}

/// Reads file rows; settings and headers, which repeat, are looked up and parsed once.
pub(super) struct FileReader<'c> {
    conn: &'c Connection,
    settings: HashMap<i64, Arc<serde_json::Value>>,
    headers: HashMap<i64, Vec<String>>,
}

impl<'c> FileReader<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self {
            conn,
            settings: HashMap::new(),
            headers: HashMap::new(),
        }
    }

    /// The rows of `SELECT * FROM file …`.
    pub(super) fn all(&mut self, sql: &str, values: impl rusqlite::Params) -> Done<Vec<Stored>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(self.read(row)?);
        }
        Ok(found)
    }

    pub(super) fn by_id(&mut self, id: FileId) -> Done<Option<Stored>> {
        let found = self.all("SELECT * FROM file WHERE id = ?1", [id.0])?;
        Ok(found.into_iter().next())
    }

    /// In the order of [`FILE_COLUMNS`].
    fn read(&mut self, row: &Row<'_>) -> Done<Stored> {
        let id: i64 = row.get(0)?;
        let at = At {
            table: "file",
            row: id,
        };
        let mut next = Columns {
            names: &FILE_COLUMNS,
            at,
            row,
            index: 1,
        };
        let pipeline = next.take()?;
        let path: Vec<u8> = next.take()?;
        let _: i64 = next.take()?;
        let (stat, state) = next.stat_and_state()?;
        let settings = self.settings(at, next.take()?)?;
        let header: Option<i64> = next.take()?;
        let header = header.map(|id| self.header(at, id)).transpose()?;
        let put_end = next.take()?;
        let staged_end = next.take()?;
        let file = FileRow {
            id: FileId(id),
            path: at.path("path", &path)?,
            stat,
            state,
            settings,
            header,
            put_end,
            checkpoint: next.take()?,
            decoded: next.take()?,
            fingerprint: next
                .take::<Option<[u8; 16]>>()?
                .map(|bytes| Digest(u128::from_be_bytes(bytes))),
            torn: next.take()?,
            records: next.take()?,
            rejected: next.take()?,
            rejected_bytes: next.take()?,
            skipped_bytes: next.take()?,
            reason: next.take()?,
            skipped: next.take::<i64>()? != 0,
            retire_target: next
                .take::<Option<Vec<u8>>>()?
                .map(|bytes| at.path("retire_target", &bytes))
                .transpose()?,
            quarantined_to: next.take()?,
            changed_ns: next.take()?,
        };
        let stored = Stored {
            row: file,
            pipeline,
            staged_end,
        };
        stored.check(at)
    }

    fn settings(&mut self, at: At, id: i64) -> Done<Arc<serde_json::Value>> {
        if let Some(known) = self.settings.get(&id) {
            return Ok(Arc::clone(known));
        }
        let value = Arc::new(at.json("settings", &self.reading(at, "settings", id)?)?);
        self.settings.insert(id, Arc::clone(&value));
        Ok(value)
    }

    fn header(&mut self, at: At, id: i64) -> Done<Vec<String>> {
        if let Some(known) = self.headers.get(&id) {
            return Ok(known.clone());
        }
        let text = self.reading(at, "header", id)?;
        let value: Vec<String> =
            serde_json::from_str(&text).or_else(|error| at.bad("header", error))?;
        // Headers may be as many as files: what is remembered is bounded.
        if self.headers.len() >= 64 {
            self.headers.clear();
        }
        self.headers.insert(id, value.clone());
        Ok(value)
    }

    fn reading(&self, at: At, column: &str, id: i64) -> Done<String> {
        let text = self
            .conn
            .prepare_cached("SELECT value FROM reading WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        match text {
            Some(text) => Ok(text),
            None => at.bad(column, format!("table `reading` has no row {id}")),
        }
    }
}

/// A row of `SELECT id, path_hash, inode, device, size, mtime_ns, state, checkpoint, changed_ns FROM file`.
pub(super) fn read_known(row: &Row<'_>) -> Done<KnownFile> {
    const COLUMNS: [&str; 9] = [
        "id",
        "path_hash",
        "inode",
        "device",
        "size",
        "mtime_ns",
        "state",
        "checkpoint",
        "changed_ns",
    ];
    let id: i64 = row.get(0)?;
    let at = At {
        table: "file",
        row: id,
    };
    let mut next = Columns {
        names: &COLUMNS,
        at,
        row,
        index: 1,
    };
    let path_hash = next.take::<i64>()? as u64;
    let (stat, state) = next.stat_and_state()?;
    Ok(KnownFile {
        id: FileId(id),
        path_hash,
        stat,
        state,
        checkpoint: next.take()?,
        changed_ns: next.take()?,
    })
}

impl Stored {
    fn check(self, at: At) -> Done<Self> {
        let row = &self.row;
        let ordered = row.checkpoint <= self.staged_end
            && self.staged_end <= row.put_end
            && row.decoded.is_none_or(|end| row.put_end <= end);
        if ordered {
            return Ok(self);
        }
        at.bad(
            "checkpoint",
            format!(
                "checkpoint {}, staged {}, put {}, decoded {:?} are out of order",
                row.checkpoint, self.staged_end, row.put_end, row.decoded
            ),
        )
    }
}

/// Writes settings and headers once each.
#[derive(Default)]
pub(super) struct Interner {
    settings: Option<(serde_json::Value, i64)>,
    header: Option<(Vec<String>, i64)>,
}

impl Interner {
    pub(super) fn settings(&mut self, conn: &Connection, value: &serde_json::Value) -> Done<i64> {
        if let Some((last, id)) = &self.settings
            && last == value
        {
            return Ok(*id);
        }
        let id = intern(conn, &value.to_string())?;
        self.settings = Some((value.clone(), id));
        Ok(id)
    }

    pub(super) fn header(
        &mut self,
        conn: &Connection,
        value: Option<&Vec<String>>,
    ) -> Done<Option<i64>> {
        let Some(value) = value else { return Ok(None) };
        if let Some((last, id)) = &self.header
            && last == value
        {
            return Ok(Some(*id));
        }
        let id = intern(conn, &serde_json::Value::from(value.clone()).to_string())?;
        self.header = Some((value.clone(), id));
        Ok(Some(id))
    }
}

fn intern(conn: &Connection, text: &str) -> Done<i64> {
    let hash = twox_hash::XxHash3_64::oneshot(text.as_bytes()) as i64;
    let known = conn
        .prepare_cached("SELECT id FROM reading WHERE hash = ?1 AND value = ?2")?
        .query_row(params![hash, text], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let id = conn
        .prepare_cached("INSERT INTO reading (hash, value) VALUES (?1, ?2)")?
        .insert(params![hash, text])?;
    Ok(id)
}

/// Where a new row begins; everything else is taken from the row given.
#[derive(Clone, Copy)]
pub(super) struct Fresh {
    pub(super) state: FileState,
    pub(super) put_end: u64,
    pub(super) staged_end: u64,
    pub(super) checkpoint: u64,
}

/// Inserts a row that does not exist yet. Counts begin at 0, except what a skipped file skipped.
pub(super) fn insert_file(
    conn: &Connection,
    interner: &mut Interner,
    pipeline: i64,
    row: &FileRow,
    fresh: Fresh,
    now_ns: i64,
) -> Done<()> {
    let settings = interner.settings(conn, &row.settings)?;
    let header = interner.header(conn, row.header.as_ref())?;
    conn.prepare_cached(
        "INSERT INTO file (id, pipeline, path, path_hash, inode, device, size, mtime_ns, state, settings, header, \
           put_end, staged_end, checkpoint, decoded, fingerprint, torn, skipped_bytes, reason, skipped, retire_target, \
           quarantined_to, changed_ns) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
    )?
    .execute(params![
        row.id.0,
        pipeline,
        row.path.as_bytes(),
        path_hash(&row.path),
        row.stat.inode as i64,
        row.stat.device as i64,
        row.stat.size,
        row.stat.mtime_ns,
        state_code(fresh.state),
        settings,
        header,
        fresh.put_end,
        fresh.staged_end,
        fresh.checkpoint,
        row.decoded,
        row.fingerprint.map(digest_bytes),
        row.torn,
        if row.skipped { row.skipped_bytes } else { 0 },
        row.reason,
        row.skipped,
        row.retire_target.as_ref().map(RelativePath::as_bytes),
        row.quarantined_to,
        now_ns,
    ])?;
    Ok(())
}

/// A pipeline's row and its id.
pub(super) struct StoredPipeline {
    pub(super) id: i64,
    pub(super) row: PipelineRow,
    pub(super) payload_bytes: u64,
}

fn read_pipeline(row: &Row<'_>) -> Done<StoredPipeline> {
    let id: i64 = row.get("id")?;
    let at = At {
        table: "pipeline",
        row: id,
    };
    let stored = StoredPipeline {
        id,
        payload_bytes: at.get(row, "payload_bytes")?,
        row: PipelineRow {
            name: at.get(row, "name")?,
            spool: JournalId(at.bits(row, "spool")?),
            lake: at.get(row, "lake")?,
            staged: BatchNumber(at.get(row, "staged")?),
            committed: BatchNumber(at.get(row, "committed")?),
            committed_ns: at.get(row, "committed_ns")?,
        },
    };
    if stored.row.committed > stored.row.staged {
        return at.bad("committed", "it is above `staged`");
    }
    Ok(stored)
}

pub(super) fn find_pipeline(conn: &Connection, name: &str) -> Done<Option<StoredPipeline>> {
    let mut statement = conn.prepare_cached("SELECT * FROM pipeline WHERE name = ?1")?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(read_pipeline).transpose()
}

pub(super) fn get_pipeline(conn: &Connection, name: &str) -> Done<StoredPipeline> {
    match find_pipeline(conn, name)? {
        Some(found) => Ok(found),
        None => refuse(format!("pipeline `{name}` is not known")),
    }
}

pub(super) fn all_pipelines(conn: &Connection) -> Done<Vec<PipelineRow>> {
    let mut statement = conn.prepare_cached("SELECT * FROM pipeline ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read_pipeline(row)?.row);
    }
    Ok(found)
}

/// A row of `SELECT * FROM segment`.
pub(super) fn read_range(row: &Row<'_>) -> Done<FileRange> {
    let file: i64 = row.get("file")?;
    let at = At {
        table: "segment",
        row: file,
    };
    let range = FileRange {
        file: FileId(file),
        batch: BatchNumber(at.get(row, "batch")?),
        segment: Segment {
            file: FileId(file),
            from: at.get(row, "from_offset")?,
            to: at.get(row, "to_offset")?,
            line: at.get(row, "line")?,
            records: at.get(row, "records")?,
            last: at.get::<i64>(row, "last")? != 0,
            digest: at.digest(row, "digest")?,
        },
        rejected: at.get(row, "rejected")?,
        rejected_bytes: at.get(row, "rejected_bytes")?,
        skipped_bytes: at.get(row, "skipped_bytes")?,
        lane: at.get(row, "lane")?,
    };
    if range.segment.to < range.segment.from {
        return at.bad("to_offset", "it is below `from_offset`");
    }
    Ok(range)
}

impl From<Stored> for FileRow {
    fn from(stored: Stored) -> Self {
        stored.row
    }
}

/// A row that must be there.
pub(super) fn known_file(conn: &Connection, id: FileId) -> Done<Stored> {
    match FileReader::new(conn).by_id(id)? {
        Some(found) => Ok(found),
        None => Err(Trouble::Refused(format!("file {} is not known", id.0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_file_are_read_in_the_tables_order() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../../../migrations/0001_journal.sql"))
            .unwrap();
        let statement = conn.prepare("SELECT * FROM file").unwrap();
        assert!(statement.column_names().eq(FILE_COLUMNS));
    }
}
