//! What is kept of batches: their rows, packed manifests, data files, schemas; and the step to done.
//!
//! | call | again |
//! | --- | --- |
//! | stage | refused: its number is taken |
//! | revise | `Ok` if that very revision stands |
//! | commit, done | `Ok`, nothing changes |

use std::io::Read;

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::{Done, refuse};
use super::files;
use super::rows::{self, At, StoredPipeline, digest_bytes};
use crate::crash;
use crate::journal::BatchRow;
use crate::protocol::{
    BatchState, DataFile, DataFileCopy, DataFileKind, Manifest, ManifestSegment,
};
use crate::segment::{BatchNumber, FileId};

const STAGED: i64 = 0;
const COMMITTED: i64 = 1;
const DONE: i64 = 2;

/// A manifest's text grows with its files; beyond this one is damaged or forged.
const MANIFEST_BYTES_MAX: u64 = 1 << 31;

pub(super) fn state_of(code: i64) -> Option<BatchState> {
    match code {
        STAGED => Some(BatchState::Staged),
        COMMITTED => Some(BatchState::Committed),
        DONE => Some(BatchState::Done),
        _ => None,
    }
}

pub(super) fn code_of(state: BatchState) -> i64 {
    match state {
        BatchState::Staged => STAGED,
        BatchState::Committed => COMMITTED,
        BatchState::Done => DONE,
    }
}

/// A manifest as it is stored. Done on the caller's thread, so that the writer does not wait for it.
pub(super) fn pack(manifest: &Manifest) -> Done<Vec<u8>> {
    if let Err(error) = manifest.check() {
        return refuse(format!("the manifest could not be read back: {error}"));
    }
    match zstd::bulk::compress(&manifest.to_json(), 1) {
        Ok(text) => Ok(text),
        Err(error) => refuse(format!("the manifest cannot be compressed: {error}")),
    }
}

pub(super) fn unpack(at: At, text: &[u8]) -> Done<Manifest> {
    let mut json = Vec::new();
    let read = zstd::stream::read::Decoder::new(text)
        .and_then(|decoder| decoder.take(MANIFEST_BYTES_MAX).read_to_end(&mut json));
    if let Err(error) = read {
        return at.bad("text", error);
    }
    Manifest::from_json(&json).or_else(|error| at.bad("text", error))
}

fn pack_ids(files: &[FileId]) -> Vec<u8> {
    files.iter().flat_map(|id| id.0.to_le_bytes()).collect()
}

pub(super) fn unpack_ids(at: At, bytes: &[u8]) -> Done<Vec<FileId>> {
    let (ids, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return at.bad("files", "it is no list of file ids");
    }
    Ok(ids
        .iter()
        .map(|id| FileId(i64::from_le_bytes(*id)))
        .collect())
}

pub(super) fn insert_segment(
    conn: &Connection,
    file: FileId,
    batch: BatchNumber,
    segment: &ManifestSegment,
) -> Done<()> {
    conn.prepare_cached(
        "INSERT INTO segment (file, from_offset, to_offset, batch, line, records, last, digest, rejected, rejected_bytes, \
           skipped_bytes, lane) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        file.0,
        segment.from,
        segment.to,
        batch.0,
        segment.line,
        segment.records,
        segment.last,
        digest_bytes(segment.digest),
        // I9 balanced: the lane's counts, as they are.
        if crash::broken("i9-rejects-not-counted") {
            0
        } else {
            segment.rejected
        },
        segment.rejected_bytes,
        if crash::broken("i9-blank-lines-not-counted") {
            0
        } else {
            segment.skipped_bytes
        },
        segment.lane,
    ])?;
    Ok(())
}

pub(super) fn insert_schema(
    conn: &Connection,
    pipeline: i64,
    version: u32,
    schema: &serde_json::Value,
) -> Done<()> {
    let text = schema.to_string();
    let known: Option<String> = conn
        .prepare_cached("SELECT text FROM schema WHERE pipeline = ?1 AND version = ?2")?
        .query_row(params![pipeline, version], |row| row.get(0))
        .optional()?;
    match known {
        Some(known) if known == text => return Ok(()),
        Some(_) => return refuse(format!("schema version {version} is journaled otherwise")),
        None => {}
    }
    conn.prepare_cached("INSERT INTO schema (pipeline, version, text) VALUES (?1, ?2, ?3)")?
        .execute(params![pipeline, version, text])?;
    Ok(())
}

/// The batch's own rows; `kept` (file ids and the packed manifest) unless it is done.
pub(super) fn insert_batch(
    conn: &Connection,
    pipeline: &StoredPipeline,
    manifest: &Manifest,
    state: BatchState,
    kept: Option<(&[FileId], &[u8])>,
) -> Done<()> {
    let Some(membership) = manifest.membership() else {
        return refuse("a tombstone is no batch");
    };
    let number = manifest.batch;
    conn.prepare_cached(
        "INSERT INTO batch (pipeline, number, state, ranges) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        pipeline.id,
        number.0,
        code_of(state),
        membership.segments.len() as u64
    ])?;
    if let Some((files, text)) = kept {
        conn.prepare_cached(
            "INSERT INTO manifest (pipeline, batch, files, text) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![pipeline.id, number.0, pack_ids(files), text])?;
    }
    for file in &membership.data_files {
        put_data_file(conn, pipeline.id, number, file)?;
    }
    conn.prepare_cached("UPDATE pipeline SET staged = ?2 WHERE id = ?1")?
        .execute(params![pipeline.id, number.0])?;
    Ok(())
}

pub(super) fn put_data_file(
    conn: &Connection,
    pipeline: i64,
    batch: BatchNumber,
    file: &DataFile,
) -> Done<()> {
    let mut copies = Vec::with_capacity(file.copies.len() * 24);
    for copy in &file.copies {
        copies.extend_from_slice(&copy.length.to_be_bytes());
        copies.extend_from_slice(&digest_bytes(copy.digest));
    }
    conn.prepare_cached(
        "INSERT OR REPLACE INTO data_file (pipeline, batch, number, reject, path, staged, copies, records, membership, \
           lane, partition, schema_version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        pipeline,
        batch.0,
        file.number,
        file.kind == DataFileKind::Reject,
        file.path,
        file.staged,
        copies,
        file.records,
        digest_bytes(file.membership),
        file.lane,
        file.partition,
        file.schema_version,
    ])?;
    Ok(())
}

pub(super) fn data_files(
    conn: &Connection,
    pipeline: &str,
    batch: BatchNumber,
) -> Done<Vec<DataFile>> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    let mut statement = conn.prepare_cached(
        "SELECT * FROM data_file WHERE pipeline = ?1 AND batch = ?2 ORDER BY number",
    )?;
    let mut rows = statement.query(params![pipeline.id, batch.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let at = At {
            table: "data_file",
            row: batch.0 as i64,
        };
        let path: String = at.get(row, "path")?;
        crate::naming::LakePath::new(&path).or_else(|error| at.bad("path", error))?;
        found.push(DataFile {
            number: at.get(row, "number")?,
            kind: match at.get::<i64>(row, "reject")? {
                0 => DataFileKind::Data,
                _ => DataFileKind::Reject,
            },
            path,
            staged: at.get(row, "staged")?,
            copies: copies(at, &at.get::<Vec<u8>>(row, "copies")?)?,
            records: at.get(row, "records")?,
            membership: at.digest(row, "membership")?,
            lane: at.get(row, "lane")?,
            partition: at.get(row, "partition")?,
            schema_version: at.get(row, "schema_version")?,
        });
    }
    Ok(found)
}

fn copies(at: At, bytes: &[u8]) -> Done<Vec<DataFileCopy>> {
    let (copies, rest) = bytes.as_chunks::<24>();
    if copies.is_empty() || !rest.is_empty() {
        return at.bad("copies", "it is no list of lengths and digests");
    }
    Ok(copies.iter().map(copy_of).collect())
}

fn copy_of(bytes: &[u8; 24]) -> DataFileCopy {
    let mut length = [0; 8];
    let mut digest = [0; 16];
    length.copy_from_slice(&bytes[..8]);
    digest.copy_from_slice(&bytes[8..]);
    DataFileCopy {
        length: u64::from_be_bytes(length),
        digest: crate::segment::Digest(u128::from_be_bytes(digest)),
    }
}

pub(super) fn batch_files(
    conn: &Connection,
    pipeline: i64,
    batch: BatchNumber,
) -> Done<Vec<FileId>> {
    let (id, bytes): (i64, Vec<u8>) = conn
        .prepare_cached("SELECT id, files FROM manifest WHERE pipeline = ?1 AND batch = ?2")?
        .query_row(params![pipeline, batch.0], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    unpack_ids(
        At {
            table: "manifest",
            row: id,
        },
        &bytes,
    )
}

/// Batches that are not done, lowest first. The rows are taken in one short read, the texts parsed after it.
pub(super) fn unfinished(conn: &Connection, pipeline: &str) -> Done<Vec<BatchRow>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(Vec::new());
    };
    let mut statement = conn.prepare_cached(
        "SELECT m.id, m.batch, b.state, m.files, m.text FROM manifest m \
         JOIN batch b ON b.pipeline = m.pipeline AND b.number = m.batch WHERE m.pipeline = ?1 ORDER BY m.batch",
    )?;
    let mut rows = statement.query([pipeline.id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let at = At {
            table: "manifest",
            row: row.get(0)?,
        };
        let code: i64 = row.get(2)?;
        let Some(state) = state_of(code) else {
            return at.bad("state", format!("{code} is no state of a batch"));
        };
        let batch = BatchRow {
            number: BatchNumber(row.get(1)?),
            state,
            files: unpack_ids(at, &row.get::<_, Vec<u8>>(3)?)?,
            manifest: unpack(at, &row.get::<_, Vec<u8>>(4)?)?,
        };
        let fits = batch.manifest.batch == batch.number
            && batch.manifest.pipeline == pipeline.row.name
            && batch
                .manifest
                .membership()
                .is_some_and(|m| m.files.len() == batch.files.len());
        if !fits {
            return at.bad("text", "it is another batch's");
        }
        found.push(batch);
    }
    Ok(found)
}

pub(super) fn batch_state(
    conn: &Connection,
    pipeline: i64,
    batch: BatchNumber,
) -> Done<Option<BatchState>> {
    let code: Option<i64> = conn
        .prepare_cached("SELECT state FROM batch WHERE pipeline = ?1 AND number = ?2")?
        .query_row(params![pipeline, batch.0], |row| row.get(0))
        .optional()?;
    let at = At {
        table: "batch",
        row: batch.0 as i64,
    };
    match code {
        None => Ok(None),
        Some(code) => match state_of(code) {
            Some(state) => Ok(Some(state)),
            None => at.bad("state", format!("{code} is no state of a batch")),
        },
    }
}

pub(super) fn set_batch_state(
    conn: &Connection,
    pipeline: i64,
    batch: BatchNumber,
    state: BatchState,
) -> Done<()> {
    conn.prepare_cached("UPDATE batch SET state = ?3 WHERE pipeline = ?1 AND number = ?2")?
        .execute(params![pipeline, batch.0, code_of(state)])?;
    Ok(())
}

pub(super) fn done(conn: &Connection, pipeline: &str, batch: BatchNumber) -> Done<()> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    match batch_state(conn, pipeline.id, batch)? {
        Some(BatchState::Done) => return Ok(()),
        // Its row was pruned after it was done.
        None if batch <= pipeline.row.committed && batch.0 > 0 => return Ok(()),
        None => return refuse(format!("batch {batch} is not staged")),
        Some(state) => {
            if let Err(illegal) = state.advance(BatchState::Done) {
                return refuse(format!("batch {batch}: {illegal}"));
            }
        }
    }
    set_batch_state(conn, pipeline.id, batch, BatchState::Done)?;
    conn.prepare_cached("DELETE FROM manifest WHERE pipeline = ?1 AND batch = ?2")?
        .execute(params![pipeline.id, batch.0])?;
    // All that referred to it may have been pruned meanwhile.
    files::loosen(conn, pipeline.id, batch.0, 0)
}
