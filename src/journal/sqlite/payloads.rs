//! Payload mode: segments that carry their bytes until they are committed.

use std::io::Read;

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::{Done, refuse};
use super::rows::{self, At, FileReader, Fresh, Interner, StoredPipeline, digest_bytes};
use super::stage;
use crate::journal::{FileState, PutRequest};
use crate::protocol::invariant;
use crate::segment::{BatchNumber, Digest, FileId, Segment};

/// Checks the bytes against the segment and compresses them, on the caller's thread.
pub(super) fn pack(put: &PutRequest) -> Done<Vec<u8>> {
    let segment = &put.segment;
    let whole = segment.file == put.file.id
        && segment.from <= segment.to
        && put.payload.len() as u64 == segment.bytes()
        && Digest::of(&put.payload) == segment.digest;
    if !whole {
        return refuse(format!(
            "`{}`: the payload at {} is not what its segment says",
            put.file.path, segment.from
        ));
    }
    match zstd::bulk::compress(&put.payload, 1) {
        Ok(bytes) => Ok(bytes),
        Err(error) => refuse(format!("a payload cannot be compressed: {error}")),
    }
}

pub(super) fn put(
    conn: &Connection,
    now_ns: i64,
    pipeline: &str,
    puts: &[(PutRequest, Vec<u8>)],
) -> Done<()> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    let mut interner = Interner::default();
    let mut stored = 0;
    for (put, bytes) in puts {
        put_file(conn, now_ns, &pipeline, &mut interner, put)?;
        put_segment(conn, pipeline.id, &put.segment, bytes)?;
        stored += bytes.len() as u64;
    }
    conn.prepare_cached("UPDATE pipeline SET payload_bytes = payload_bytes + ?2 WHERE id = ?1")?
        .execute(params![pipeline.id, stored])?;
    Ok(())
}

/// The file's row with its put mark moved to the segment's end.
fn put_file(
    conn: &Connection,
    now_ns: i64,
    pipeline: &StoredPipeline,
    interner: &mut Interner,
    put: &PutRequest,
) -> Done<()> {
    let (row, segment) = (&put.file, &put.segment);
    let known = FileReader::new(conn).by_id(row.id)?;
    let begin = known.as_ref().map_or(0, |known| known.row.put_end);
    let end = match invariant::joined(begin, [(segment.from, segment.to)]) {
        Ok(end) => end,
        Err((expected, found)) => {
            return refuse(format!(
                "I5: `{}`: a segment begins at {found} where {expected} is journaled",
                row.path
            ));
        }
    };
    let journaled = known.as_ref().and_then(|known| known.row.decoded);
    let decoded = row.decoded.or(journaled);
    if segment.last && decoded != Some(end) || decoded.is_some_and(|all| end > all) {
        return refuse(format!(
            "`{}`: its segments end at {end} and its size is {decoded:?}",
            row.path
        ));
    }
    let Some(known) = known else {
        stage::refuse_twin(conn, pipeline.id, row)?;
        let fresh = Fresh {
            state: FileState::Reading,
            put_end: end,
            staged_end: 0,
            checkpoint: 0,
        };
        return rows::insert_file(conn, interner, pipeline.id, row, fresh, now_ns);
    };
    let same = known.pipeline == pipeline.id
        && known.row.path == row.path
        && known.row.stat.untouched(&row.stat)
        && known.row.settings == row.settings;
    if !same {
        return refuse(format!(
            "`{}`: file {} is journaled with another pipeline, path, identity or settings",
            row.path, row.id.0
        ));
    }
    if known.row.state != FileState::Reading {
        return refuse(format!("`{}` is not being read any more", row.path));
    }
    let header = interner.header(conn, row.header.as_ref())?;
    conn.prepare_cached(
        "UPDATE file SET put_end = ?2, decoded = coalesce(?3, decoded), fingerprint = coalesce(?4, fingerprint), \
           torn = coalesce(?5, torn), header = coalesce(header, ?6) WHERE id = ?1",
    )?
    .execute(params![
        row.id.0,
        end,
        row.decoded,
        row.fingerprint.map(digest_bytes),
        row.torn,
        header
    ])?;
    Ok(())
}

fn put_segment(conn: &Connection, pipeline: i64, segment: &Segment, bytes: &[u8]) -> Done<()> {
    conn.prepare_cached(
        "INSERT INTO segment (file, from_offset, to_offset, batch, line, records, last, digest) \
         VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        segment.file.0,
        segment.from,
        segment.to,
        segment.line,
        segment.records,
        segment.last,
        digest_bytes(segment.digest)
    ])?;
    conn.prepare_cached(
        "INSERT INTO payload (pipeline, file, from_offset, to_offset, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![pipeline, segment.file.0, segment.from, segment.to, bytes])?;
    Ok(())
}

/// Journaled segments that are in no batch, in put order.
pub(super) fn waiting(conn: &Connection, pipeline: &str) -> Done<Vec<Segment>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(Vec::new());
    };
    let mut statement = conn.prepare_cached(
        "SELECT s.* FROM payload p JOIN segment s ON s.file = p.file AND s.from_offset = p.from_offset \
           AND s.to_offset = p.to_offset AND s.batch = ?1 WHERE p.pipeline = ?2 ORDER BY p.put",
    )?;
    let mut rows = statement.query(params![BatchNumber(0).0, pipeline.id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(rows::read_range(row)?.segment);
    }
    Ok(found)
}

/// The bytes of the segment that begins here, checked by its digest. Of an empty segment and one that follows it at the same offset, the latter.
pub(super) fn payload(conn: &Connection, file: FileId, from: u64) -> Done<Option<Vec<u8>>> {
    let found: Option<(i64, u64, Vec<u8>)> = conn
        .prepare_cached(
            "SELECT put, to_offset, bytes FROM payload WHERE file = ?1 AND from_offset = ?2 ORDER BY to_offset DESC LIMIT 1",
        )?
        .query_row(params![file.0, from], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((put, to, packed)) = found else {
        return Ok(None);
    };
    let at = At {
        table: "payload",
        row: put,
    };
    let size = to.saturating_sub(from);
    let mut bytes = Vec::new();
    let read = zstd::stream::read::Decoder::new(packed.as_slice())
        .and_then(|decoder| decoder.take(size + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return at.bad("bytes", error);
    }
    // Empty segments of several batches may stand at one place.
    let named: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM segment WHERE file = ?1 AND from_offset = ?2 AND to_offset = ?3 AND digest = ?4)",
        )?
        .query_row(
            params![file.0, from, to, digest_bytes(Digest::of(&bytes))],
            |row| row.get(0),
        )?;
    if bytes.len() as u64 != size || !named {
        return at.bad("bytes", "they are not what the segment's digest says");
    }
    Ok(Some(bytes))
}

/// Drops the payload of one segment and answers its stored size.
pub(super) fn drop_payload(conn: &Connection, file: FileId, from: u64, to: u64) -> Done<u64> {
    let found: Option<(i64, u64)> = conn
        .prepare_cached(
            "SELECT put, length(bytes) FROM payload WHERE file = ?1 AND from_offset = ?2 AND to_offset = ?3",
        )?
        .query_row(params![file.0, from, to], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((put, size)) = found else {
        return Ok(0);
    };
    conn.prepare_cached("DELETE FROM payload WHERE put = ?1")?
        .execute([put])?;
    Ok(size)
}

/// Drops a file's segments that are in no batch, with their payloads.
pub(super) fn drop_waiting(conn: &Connection, pipeline: i64, file: FileId) -> Done<()> {
    let waiting: Vec<(u64, u64)> = conn
        .prepare_cached("SELECT from_offset, to_offset FROM segment WHERE file = ?1 AND batch = 0")?
        .query_map([file.0], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut freed = 0;
    for (from, to) in waiting {
        freed += drop_payload(conn, file, from, to)?;
    }
    conn.prepare_cached("DELETE FROM segment WHERE file = ?1 AND batch = 0")?
        .execute([file.0])?;
    conn.prepare_cached("UPDATE pipeline SET payload_bytes = payload_bytes - ?2 WHERE id = ?1")?
        .execute(params![pipeline, freed])?;
    Ok(())
}
