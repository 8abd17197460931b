//! Files: what the journal knows of each, how they are set aside, skipped, retired and forgotten.
//!
//! ```text
//!            commit (whole)           retired
//! Reading ────────────────► Committed ────────► Retired ──prune──► forgotten
//!   │ ▲                         │ skip begins here  ▲
//!   │ └── release ──┐           │                   │ forget
//!   └─ quarantine ─► Quarantined ◄──────────────────┘
//! ```

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::{Done, bad_row, refuse};
use super::payloads;
use super::rows::{self, FileReader, Fresh, Interner, Stored, state_code};
use super::stage;
use crate::journal::{FileRange, FileRow, FileState, KnownFile};
use crate::protocol::invariant;
use crate::segment::{FileId, FileStat, RelativePath};

fn plain(found: Vec<Stored>) -> Vec<FileRow> {
    found.into_iter().map(FileRow::from).collect()
}

pub(super) fn file_at(
    conn: &Connection,
    pipeline: &str,
    path: &RelativePath,
) -> Done<Option<FileRow>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(None);
    };
    let found = FileReader::new(conn).all(
        "SELECT * FROM file INDEXED BY file_path WHERE pipeline = ?1 AND path_hash = ?2 AND path = ?3 ORDER BY id DESC LIMIT 1",
        params![pipeline.id, rows::path_hash(path), path.as_bytes()],
    )?;
    Ok(plain(found).pop())
}

pub(super) fn files_of_size(conn: &Connection, pipeline: &str, size: u64) -> Done<Vec<FileRow>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(Vec::new());
    };
    let found = FileReader::new(conn).all(
        "SELECT * FROM file INDEXED BY file_size WHERE pipeline = ?1 AND size = ?2 AND state <> 3 ORDER BY id DESC LIMIT 100",
        params![pipeline.id, size],
    )?;
    Ok(plain(found))
}

pub(super) fn files_in(
    conn: &Connection,
    pipeline: &str,
    states: &[FileState],
) -> Done<Vec<FileRow>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(Vec::new());
    };
    let mut reader = FileReader::new(conn);
    let mut found = Vec::new();
    for state in states {
        // Retired rows are the many and have no index; nobody asks for them while working.
        let sql = match state {
            FileState::Retired => "SELECT * FROM file WHERE +pipeline = ?1 AND state = ?2",
            _ => {
                "SELECT * FROM file INDEXED BY file_state WHERE pipeline = ?1 AND state = ?2 AND state <> 2"
            }
        };
        let rows = reader.all(sql, params![pipeline.id, state_code(*state)])?;
        // SQLite takes an index at its word; with a flipped bit in one, a file that is half read would be retired.
        if let Some(other) = rows.iter().find(|stored| stored.row.state != *state) {
            let id = other.row.id.0;
            return bad_row(format!(
                "table `file`, row {id}: index `file_state` says another state than the row"
            ));
        }
        found.extend(rows);
    }
    found.sort_by_key(|stored| stored.row.id);
    found.dedup_by_key(|stored| stored.row.id);
    Ok(plain(found))
}

/// Up to 1,000 rows with ids above `after`, ascending.
pub(super) fn page(conn: &Connection, pipeline: &str, after: FileId) -> Done<Vec<FileRow>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(Vec::new());
    };
    let found = FileReader::new(conn).all(
        "SELECT * FROM file WHERE id > ?1 AND +pipeline = ?2 ORDER BY id LIMIT 1000",
        params![after.0, pipeline.id],
    )?;
    Ok(plain(found))
}

/// Up to 10,000 of them with ids above `after`, ascending.
pub(super) fn known_page(conn: &Connection, pipeline: &str, after: FileId) -> Done<Vec<KnownFile>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(Vec::new());
    };
    let mut statement = conn.prepare_cached(
        "SELECT id, path_hash, inode, device, size, mtime_ns, state, checkpoint, changed_ns FROM file \
         WHERE id > ?1 AND +pipeline = ?2 ORDER BY id LIMIT 10000",
    )?;
    let mut rows = statement.query(params![after.0, pipeline.id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(rows::read_known(row)?);
    }
    Ok(found)
}

pub(super) fn ranges(conn: &Connection, file: FileId) -> Done<Vec<FileRange>> {
    let mut statement = conn.prepare_cached(
        "SELECT * FROM segment WHERE file = ?1 AND batch <> 0 ORDER BY from_offset, to_offset, batch",
    )?;
    let mut rows = statement.query([file.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(rows::read_range(row)?);
    }
    Ok(found)
}

pub(super) fn quarantine(
    conn: &Connection,
    now_ns: i64,
    pipeline: &str,
    row: &FileRow,
    reason: &str,
) -> Done<()> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    let Some(known) = FileReader::new(conn).by_id(row.id)? else {
        let aside = FileRow {
            reason: Some(reason.to_owned()),
            skipped: false,
            ..row.clone()
        };
        let fresh = Fresh {
            state: FileState::Quarantined,
            put_end: 0,
            staged_end: 0,
            checkpoint: 0,
        };
        let mut interner = Interner::default();
        return rows::insert_file(conn, &mut interner, pipeline.id, &aside, fresh, now_ns);
    };
    if known.pipeline != pipeline.id || known.row.path != row.path {
        return refuse(format!(
            "`{}`: file {} is journaled with another pipeline or path",
            row.path, row.id.0
        ));
    }
    match known.row.state {
        FileState::Quarantined => return Ok(()),
        FileState::Retired => return refuse(format!("`{}` is retired", row.path)),
        FileState::Reading | FileState::Committed => {}
    }
    payloads::drop_waiting(conn, pipeline.id, row.id)?;
    conn.prepare_cached(
        "UPDATE file SET state = 3, reason = ?2, put_end = staged_end, quarantined_to = NULL, changed_ns = ?3 WHERE id = ?1",
    )?
    .execute(params![row.id.0, reason, now_ns])?;
    Ok(())
}

pub(super) fn quarantined_to(conn: &Connection, file: FileId, place: &str) -> Done<()> {
    let changed = conn
        .prepare_cached("UPDATE file SET quarantined_to = ?2 WHERE id = ?1 AND state = 3")?
        .execute(params![file.0, place])?;
    match changed {
        0 => refuse(format!("file {} is not quarantined", file.0)),
        _ => Ok(()),
    }
}

pub(super) fn skip(conn: &Connection, now_ns: i64, pipeline: &str, files: &[FileRow]) -> Done<()> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    let mut interner = Interner::default();
    for row in files {
        if let Some(known) = FileReader::new(conn).by_id(row.id)? {
            if known.row.skipped && known.row.path == row.path {
                continue;
            }
            return refuse(format!("`{}`: file {} is journaled", row.path, row.id.0));
        }
        let skipped = FileRow {
            skipped: true,
            ..row.clone()
        };
        let fresh = Fresh {
            state: FileState::Committed,
            put_end: 0,
            staged_end: 0,
            checkpoint: 0,
        };
        rows::insert_file(conn, &mut interner, pipeline.id, &skipped, fresh, now_ns)?;
    }
    Ok(())
}

/// What was learned of the former content's end no longer holds: the source finds out again. Where the file stands is kept:
/// it has yet to be moved back.
pub(super) fn release(
    conn: &Connection,
    now_ns: i64,
    file: FileId,
    stat: &FileStat,
    path: &RelativePath,
) -> Done<()> {
    let known = rows::known_file(conn, file)?;
    let released = known.row.state == FileState::Reading
        && known.row.path == *path
        && known.row.stat.untouched(stat);
    if released {
        return Ok(());
    }
    if known.row.state != FileState::Quarantined {
        return refuse(format!("`{}` is not quarantined", known.row.path));
    }
    let again = FileRow {
        path: path.clone(),
        stat: *stat,
        ..known.row
    };
    stage::refuse_twin(conn, known.pipeline, &again)?;
    conn.prepare_cached(
        "UPDATE file SET state = 0, path = ?2, path_hash = ?3, inode = ?4, device = ?5, size = ?6, mtime_ns = ?7, \
           put_end = staged_end, decoded = NULL, fingerprint = NULL, torn = NULL, reason = NULL, \
           retire_target = NULL, changed_ns = ?8 WHERE id = ?1",
    )?
    .execute(params![
        file.0,
        path.as_bytes(),
        rows::path_hash(path),
        stat.inode as i64,
        stat.device as i64,
        stat.size,
        stat.mtime_ns,
        now_ns
    ])?;
    Ok(())
}

/// Neither its identity (no file has inode 0) nor its content matches anything from here on; what was committed of it stays on record.
pub(super) fn forget(conn: &Connection, now_ns: i64, file: FileId, reason: &str) -> Done<()> {
    let known = rows::known_file(conn, file)?;
    match known.row.state {
        FileState::Quarantined => {}
        FileState::Retired => return Ok(()),
        FileState::Reading | FileState::Committed => {
            return refuse(format!("`{}` is not quarantined", known.row.path));
        }
    }
    conn.prepare_cached(
        "UPDATE file SET state = 2, reason = ?2, fingerprint = NULL, inode = 0, changed_ns = ?3 WHERE id = ?1",
    )?
    .execute(params![file.0, reason, now_ns])?;
    Ok(())
}

pub(super) fn set_retire_target(
    conn: &Connection,
    file: FileId,
    target: &RelativePath,
) -> Done<()> {
    let changed = conn
        .prepare_cached("UPDATE file SET retire_target = ?2 WHERE id = ?1 AND state = 1")?
        .execute(params![file.0, target.as_bytes()])?;
    match changed {
        0 => refuse(format!("file {} has no retiring before it", file.0)),
        _ => Ok(()),
    }
}

/// I6 retire-last: whole, or skipped as a whole.
pub(super) fn retired(conn: &Connection, now_ns: i64, files: &[FileId]) -> Done<()> {
    for file in files {
        let changed = conn
            .prepare_cached(
                "UPDATE file SET state = 2, changed_ns = ?2 WHERE id = ?1 AND state = 1 AND (skipped = 1 OR decoded = checkpoint)",
            )?
            .execute(params![file.0, now_ns])?;
        if changed == 1 {
            continue;
        }
        let known = rows::known_file(conn, *file)?;
        if known.row.state == FileState::Retired {
            continue;
        }
        let whole = invariant::may_retire(known.row.checkpoint, known.row.decoded);
        return refuse(format!(
            "I6: `{}` is {:?}, its checkpoint {}{} its end",
            known.row.path,
            known.row.state,
            known.row.checkpoint,
            if whole { " at" } else { " not at" }
        ));
    }
    Ok(())
}

/// Up to 10,000 retired rows above `after` that were last changed before the time given. A row whose last batch is not committed is not among them.
pub(super) fn prunable(
    conn: &Connection,
    pipeline: &str,
    before_ns: i64,
    after: FileId,
) -> Done<Vec<FileId>> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    let found = conn
        .prepare_cached(
            "SELECT id FROM file WHERE id > ?1 AND +pipeline = ?2 AND state = 2 AND changed_ns < ?3 \
               AND checkpoint = staged_end ORDER BY id LIMIT 10000",
        )?
        .query_map(params![after.0, pipeline.id, before_ns], |row| {
            row.get(0).map(FileId)
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

/// Forgets these rows (those that still may be), their ranges, and what is left without a range. A batch in flight may hold an empty
/// segment, which moves no offset.
pub(super) fn prune(
    conn: &Connection,
    pipeline: &str,
    before_ns: i64,
    files: &[FileId],
) -> Done<u64> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    // Their ids must never be given out again.
    conn.execute(
        "UPDATE journal SET file_ids = max(file_ids, coalesce((SELECT max(id) FROM file), 0))",
        [],
    )?;
    let mut pruned = 0;
    let mut loosened: BTreeMap<u64, u64> = BTreeMap::new();
    for file in files {
        let gone = conn
            .prepare_cached(
                "DELETE FROM file WHERE id = ?1 AND pipeline = ?2 AND state = 2 AND changed_ns < ?3 AND checkpoint = staged_end \
                   AND NOT EXISTS (SELECT 1 FROM segment WHERE file = ?1 AND batch > ?4)",
            )?
            .execute(params![
                file.0,
                pipeline.id,
                before_ns,
                pipeline.row.committed.0
            ])?;
        if gone == 0 {
            continue;
        }
        pruned += 1;
        let mut counts = conn
            .prepare_cached("SELECT batch, count(*) FROM segment WHERE file = ?1 GROUP BY batch")?;
        let mut counts = counts.query([file.0])?;
        while let Some(row) = counts.next()? {
            *loosened.entry(row.get(0)?).or_default() += row.get::<_, u64>(1)?;
        }
        conn.prepare_cached("DELETE FROM segment WHERE file = ?1")?
            .execute([file.0])?;
    }
    for (batch, count) in loosened {
        loosen(conn, pipeline.id, batch, count)?;
    }
    Ok(pruned)
}

/// Takes ranges off a batch; with the last one, once it is done, its data files are forgotten.
pub(super) fn loosen(conn: &Connection, pipeline: i64, batch: u64, count: u64) -> Done<()> {
    let left: Option<i64> = conn
        .prepare_cached(
            "UPDATE batch SET ranges = max(0, ranges - ?3) WHERE pipeline = ?1 AND number = ?2 RETURNING ranges",
        )?
        .query_row(params![pipeline, batch, count], |row| row.get(0))
        .optional()?;
    if left != Some(0) {
        return Ok(());
    }
    let gone = conn
        .prepare_cached("DELETE FROM batch WHERE pipeline = ?1 AND number = ?2 AND state = 2")?
        .execute(params![pipeline, batch])?;
    if gone == 1 {
        conn.prepare_cached("DELETE FROM data_file WHERE pipeline = ?1 AND batch = ?2")?
            .execute(params![pipeline, batch])?;
    }
    Ok(())
}
