//! Batches: stage, revise, commit, done, and what is kept of them.
//!
//! | call | again |
//! | --- | --- |
//! | stage | refused: its number is taken |
//! | revise | `Ok` if that very revision stands |
//! | commit, done | `Ok`, nothing changes |

use std::collections::HashMap;
use std::io::Read;

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::{Done, refuse};
use super::rows::{self, At, Fresh, Interner, StoredPipeline, digest_bytes};
use crate::journal::{BatchRow, FileRow, FileState, StageRequest};
use crate::protocol::{
    BatchState, DataFile, DataFileCopy, DataFileKind, Manifest, ManifestSegment, Membership,
    invariant,
};
use crate::segment::{BatchNumber, FileId, JournalId, RelativePath};

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
    match zstd::bulk::compress(&manifest.to_json(), 1) {
        Ok(text) => Ok(text),
        Err(error) => refuse(format!("the manifest cannot be compressed: {error}")),
    }
}

fn unpack(at: At, text: &[u8]) -> Done<Manifest> {
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

fn unpack_ids(at: At, bytes: &[u8]) -> Done<Vec<FileId>> {
    let (ids, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return at.bad("files", "it is no list of file ids");
    }
    Ok(ids
        .iter()
        .map(|id| FileId(i64::from_le_bytes(*id)))
        .collect())
}

/// The batch's segments by file, each file's in the order of their offsets.
pub(super) fn by_file(membership: &Membership) -> Done<Vec<Vec<&ManifestSegment>>> {
    let mut files: Vec<Vec<&ManifestSegment>> = vec![Vec::new(); membership.files.len()];
    for segment in &membership.segments {
        match files.get_mut(segment.file as usize) {
            Some(of_file) => of_file.push(segment),
            None => return refuse("a segment names a file that the manifest does not have"),
        }
    }
    for of_file in &mut files {
        of_file.sort_by_key(|segment| (segment.from, segment.to));
    }
    Ok(files)
}

/// I5 joined, and the end told by the last segment.
pub(super) fn joined_end(
    path: &RelativePath,
    begin: u64,
    decoded: Option<u64>,
    segments: &[&ManifestSegment],
) -> Done<u64> {
    let joined = invariant::joined(begin, segments.iter().map(|s| (s.from, s.to)));
    let end = match joined {
        Ok(end) => end,
        Err((expected, found)) => {
            return refuse(format!(
                "I5: `{path}`: a segment begins at {found} where {expected} is staged"
            ));
        }
    };
    let whole = segments.iter().any(|segment| segment.last);
    if whole && decoded != Some(end) || decoded.is_some_and(|decoded| end > decoded) {
        return refuse(format!(
            "`{path}`: its segments end at {end} and its size is {decoded:?}"
        ));
    }
    Ok(end)
}

pub(super) fn stage(
    conn: &Connection,
    now_ns: i64,
    journal: JournalId,
    request: &StageRequest,
    text: &[u8],
) -> Done<()> {
    let manifest = &request.manifest;
    let pipeline = rows::get_pipeline(conn, &manifest.pipeline)?;
    let membership = may_stage(&pipeline, journal, request)?;
    let mut stager = Stager {
        conn,
        now_ns,
        pipeline: &pipeline,
        batch: manifest.batch,
        interner: Interner::default(),
    };
    for (row, segments) in request.files.iter().zip(by_file(membership)?) {
        stager.file(row, &segments)?;
    }
    for (version, schema) in &request.schemas {
        insert_schema(conn, pipeline.id, *version, schema)?;
    }
    let files: Vec<FileId> = request.files.iter().map(|row| row.id).collect();
    insert_batch(
        conn,
        &pipeline,
        manifest,
        BatchState::Staged,
        Some((&files, text)),
    )?;
    Ok(())
}

fn may_stage<'r>(
    pipeline: &StoredPipeline,
    journal: JournalId,
    request: &'r StageRequest,
) -> Done<&'r Membership> {
    let manifest = &request.manifest;
    let Some(membership) = manifest.membership() else {
        return refuse("a tombstone is no batch");
    };
    let next = pipeline.row.staged.next();
    if manifest.batch != next {
        return refuse(format!("batch {} where {next} is next", manifest.batch));
    }
    if manifest.journal != journal {
        return refuse(format!(
            "the manifest names journal {} and this is {journal}",
            manifest.journal
        ));
    }
    if manifest.committed > pipeline.row.committed {
        return refuse(format!(
            "the manifest says that batch {} is committed, and {} is",
            manifest.committed, pipeline.row.committed
        ));
    }
    if manifest.lake != pipeline.row.lake {
        return refuse(format!(
            "the manifest names lake `{}`, the journal `{}`",
            manifest.lake, pipeline.row.lake
        ));
    }
    if membership.spool != pipeline.row.spool {
        return refuse(format!(
            "the manifest names spool {}, the journal {}",
            membership.spool, pipeline.row.spool
        ));
    }
    let paths = request.files.iter().map(|row| &row.path);
    if !paths.eq(membership.files.iter().map(|file| &file.path)) {
        return refuse("the rows are not those of the manifest's files");
    }
    Ok(membership)
}

struct Stager<'a> {
    conn: &'a Connection,
    now_ns: i64,
    pipeline: &'a StoredPipeline,
    batch: BatchNumber,
    interner: Interner,
}

/// What staging needs to know of a row.
struct Standing {
    staged_end: u64,
    put_end: u64,
}

impl Stager<'_> {
    fn file(&mut self, row: &FileRow, segments: &[&ManifestSegment]) -> Done<()> {
        match self.standing(row)? {
            Some(standing) => self.known(row, &standing, segments),
            None => self.new(row, segments),
        }
    }

    fn new(&mut self, row: &FileRow, segments: &[&ManifestSegment]) -> Done<()> {
        let end = joined_end(&row.path, 0, row.decoded, segments)?;
        refuse_twin(self.conn, self.pipeline.id, row)?;
        let fresh = Fresh {
            state: FileState::Reading,
            put_end: end,
            staged_end: end,
            checkpoint: 0,
        };
        rows::insert_file(
            self.conn,
            &mut self.interner,
            self.pipeline.id,
            row,
            fresh,
            self.now_ns,
        )?;
        for segment in segments {
            insert_segment(self.conn, row.id, self.batch, segment)?;
        }
        Ok(())
    }

    fn known(
        &mut self,
        row: &FileRow,
        standing: &Standing,
        segments: &[&ManifestSegment],
    ) -> Done<()> {
        let end = joined_end(&row.path, standing.staged_end, row.decoded, segments)?;
        for segment in segments {
            let attached = (segment.from < standing.put_end || segment.from == segment.to)
                && self.attach(row.id, segment)?;
            if attached {
                continue;
            }
            if segment.from < standing.put_end {
                return refuse(format!(
                    "`{}`: the journaled segment at {} is another one",
                    row.path, segment.from
                ));
            }
            insert_segment(self.conn, row.id, self.batch, segment)?;
        }
        self.conn
            .prepare_cached(
                "UPDATE file SET staged_end = ?2, put_end = max(put_end, ?2), decoded = coalesce(?3, decoded), \
                   fingerprint = coalesce(?4, fingerprint), torn = coalesce(?5, torn), header = coalesce(header, ?6) \
                 WHERE id = ?1",
            )?
            .execute(params![
                row.id.0,
                end,
                row.decoded,
                row.fingerprint.map(digest_bytes),
                row.torn,
                self.interner.header(self.conn, row.header.as_ref())?,
            ])?;
        Ok(())
    }

    /// Puts a segment that is journaled with its payload into the batch, if there is that very segment.
    fn attach(&self, file: FileId, segment: &ManifestSegment) -> Done<bool> {
        let changed = self
            .conn
            .prepare_cached(
                "UPDATE segment SET batch = ?1, rejected = ?2, rejected_bytes = ?3, skipped_bytes = ?4, lane = ?5 \
                 WHERE file = ?6 AND from_offset = ?7 AND to_offset = ?8 AND batch = 0 AND digest = ?9 AND records = ?10",
            )?
            .execute(params![
                self.batch.0,
                segment.rejected,
                segment.rejected_bytes,
                segment.skipped_bytes,
                segment.lane,
                file.0,
                segment.from,
                segment.to,
                digest_bytes(segment.digest),
                segment.records,
            ])?;
        Ok(changed == 1)
    }

    fn standing(&mut self, row: &FileRow) -> Done<Option<Standing>> {
        let mut statement = self.conn.prepare_cached(
            "SELECT pipeline, path, inode, size, mtime_ns, state, staged_end, put_end, settings FROM file WHERE id = ?1",
        )?;
        let mut found = statement.query([row.id.0])?;
        let Some(stored) = found.next()? else {
            return Ok(None);
        };
        let settings = self.interner.settings(self.conn, &row.settings)?;
        let same = stored.get::<_, i64>(0)? == self.pipeline.id
            && stored.get_ref(1)?.as_blob().ok() == Some(row.path.as_bytes())
            && stored.get::<_, i64>(2)? == row.stat.inode as i64
            && stored.get::<_, u64>(3)? == row.stat.size
            && stored.get::<_, i64>(4)? == row.stat.mtime_ns;
        if !same {
            return refuse(format!(
                "`{}`: file {} is journaled with another pipeline, path or identity",
                row.path, row.id.0
            ));
        }
        if stored.get::<_, i64>(5)? != rows::state_code(FileState::Reading) {
            return refuse(format!(
                "`{}`: file {} is not being read any more",
                row.path, row.id.0
            ));
        }
        if stored.get::<_, i64>(8)? != settings {
            return refuse(format!(
                "`{}`: its reading settings are fixed, and these are others",
                row.path
            ));
        }
        Ok(Some(Standing {
            staged_end: stored.get(6)?,
            put_end: stored.get(7)?,
        }))
    }
}

/// A second row for a file that is journaled and not retired would land it twice.
pub(super) fn refuse_twin(conn: &Connection, pipeline: i64, row: &FileRow) -> Done<()> {
    let twin: Option<i64> = conn
        .prepare_cached(
            "SELECT id FROM file INDEXED BY file_path WHERE pipeline = ?1 AND path_hash = ?2 AND path = ?3 \
               AND inode = ?4 AND size = ?5 AND mtime_ns = ?6 AND state IN (0, 1) AND id <> ?7",
        )?
        .query_row(
            params![
                pipeline,
                rows::path_hash(&row.path),
                row.path.as_bytes(),
                row.stat.inode as i64,
                row.stat.size,
                row.stat.mtime_ns,
                row.id.0
            ],
            |found| found.get(0),
        )
        .optional()?;
    match twin {
        None => Ok(()),
        Some(id) => refuse(format!(
            "`{}`: this very file is journaled as file {id} and not retired",
            row.path
        )),
    }
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
        segment.rejected,
        segment.rejected_bytes,
        segment.skipped_bytes,
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

fn put_data_file(
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

fn batch_state(conn: &Connection, pipeline: i64, batch: BatchNumber) -> Done<Option<BatchState>> {
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

fn set_batch_state(
    conn: &Connection,
    pipeline: i64,
    batch: BatchNumber,
    state: BatchState,
) -> Done<()> {
    conn.prepare_cached("UPDATE batch SET state = ?3 WHERE pipeline = ?1 AND number = ?2")?
        .execute(params![pipeline, batch.0, code_of(state)])?;
    Ok(())
}

pub(super) fn revise(conn: &Connection, manifest: &Manifest, text: &[u8]) -> Done<()> {
    let pipeline = rows::get_pipeline(conn, &manifest.pipeline)?;
    let number = manifest.batch;
    let stored: Option<(i64, Vec<u8>, Vec<u8>)> = conn
        .prepare_cached("SELECT id, text, files FROM manifest WHERE pipeline = ?1 AND batch = ?2")?
        .query_row(params![pipeline.id, number.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let state = batch_state(conn, pipeline.id, number)?;
    let (Some((id, old_text, ids)), Some(BatchState::Staged)) = (stored, state) else {
        return refuse(format!("batch {number} is not staged"));
    };
    let at = At {
        table: "manifest",
        row: id,
    };
    let old = unpack(at, &old_text)?;
    if old == *manifest {
        return Ok(());
    }
    let membership = may_revise(&old, manifest)?;
    let ids = unpack_ids(at, &ids)?;
    update_counts(conn, number, &ids, &old, membership)?;
    conn.prepare_cached("UPDATE manifest SET text = ?2 WHERE id = ?1")?
        .execute(params![id, text])?;
    conn.prepare_cached("DELETE FROM data_file WHERE pipeline = ?1 AND batch = ?2")?
        .execute(params![pipeline.id, number.0])?;
    for file in &membership.data_files {
        put_data_file(conn, pipeline.id, number, file)?;
    }
    Ok(())
}

/// A revision adds copies; only one that accepts a loss may drop data files and count records otherwise.
fn may_revise<'m>(old: &Manifest, new: &'m Manifest) -> Done<&'m Membership> {
    let (Some(before), Some(after)) = (old.membership(), new.membership()) else {
        return refuse("a tombstone is no batch");
    };
    if new.revision != old.revision + 1 {
        return refuse(format!("revision {} after {}", new.revision, old.revision));
    }
    let loses = after.lost_files.len() > before.lost_files.len();
    let place = |s: &ManifestSegment| (s.file, s.from, s.to, s.records, s.last, s.digest, s.lane);
    let same_segments = before.segments.len() == after.segments.len()
        && before
            .segments
            .iter()
            .zip(&after.segments)
            .all(|(a, b)| place(a) == place(b));
    let same = if loses {
        new.journal == old.journal
            && same_segments
            && before
                .files
                .iter()
                .map(|f| &f.path)
                .eq(after.files.iter().map(|f| &f.path))
    } else {
        new.same_batch(old)
    };
    if !same {
        return refuse(format!(
            "revision {} has other facts than batch {}",
            new.revision, new.batch
        ));
    }
    let copies: HashMap<u32, &DataFile> = before.data_files.iter().map(|f| (f.number, f)).collect();
    for file in &after.data_files {
        let Some(known) = copies.get(&file.number) else {
            return refuse(format!("revision {} has a new data file", new.revision));
        };
        let kept = known.path == file.path && known.copies.iter().all(|c| file.copies.contains(c));
        if !kept {
            return refuse(format!(
                "revision {} forgets a copy of `{}`",
                new.revision, known.path
            ));
        }
    }
    Ok(after)
}

fn update_counts(
    conn: &Connection,
    batch: BatchNumber,
    ids: &[FileId],
    old: &Manifest,
    new: &Membership,
) -> Done<()> {
    let before = old.membership().map_or(&[][..], |m| &m.segments);
    for (a, b) in before.iter().zip(&new.segments) {
        if a == b {
            continue;
        }
        let Some(id) = ids.get(b.file as usize) else {
            return refuse("a segment names a file that the manifest does not have");
        };
        conn.prepare_cached(
            "UPDATE segment SET rejected = ?5, rejected_bytes = ?6, skipped_bytes = ?7 \
             WHERE file = ?1 AND from_offset = ?2 AND to_offset = ?3 AND batch = ?4",
        )?
        .execute(params![
            id.0,
            b.from,
            b.to,
            batch.0,
            b.rejected,
            b.rejected_bytes,
            b.skipped_bytes
        ])?;
    }
    Ok(())
}

pub(super) fn commit(
    conn: &Connection,
    now_ns: i64,
    pipeline: &str,
    batch: BatchNumber,
    targets: &[(FileId, RelativePath)],
) -> Done<()> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    if batch <= pipeline.row.committed {
        return Ok(());
    }
    let lowest: Option<(u64, i64)> = conn
        .prepare_cached(
            "SELECT number, state FROM batch WHERE pipeline = ?1 AND number > ?2 ORDER BY number LIMIT 1",
        )?
        .query_row(params![pipeline.id, pipeline.row.committed.0], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    if lowest != Some((batch.0, STAGED)) {
        return refuse(match lowest {
            None => format!("batch {batch} is not staged"),
            Some((lowest, _)) => format!("batch {batch} where {lowest} is the lowest staged"),
        });
    }
    let targets: HashMap<FileId, &RelativePath> = targets
        .iter()
        .map(|(file, target)| (*file, target))
        .collect();
    let mut committer = Committer {
        conn,
        now_ns,
        pipeline: &pipeline,
        batch,
        freed: 0,
    };
    for file in batch_files(conn, pipeline.id, batch)? {
        committer.file(file, targets.get(&file).copied())?;
    }
    let freed = committer.freed;
    set_batch_state(conn, pipeline.id, batch, BatchState::Committed)?;
    conn.prepare_cached(
        "UPDATE pipeline SET committed = ?2, committed_ns = ?3, payload_bytes = payload_bytes - ?4 WHERE id = ?1",
    )?
    .execute(params![pipeline.id, batch.0, now_ns, freed])?;
    Ok(())
}

fn batch_files(conn: &Connection, pipeline: i64, batch: BatchNumber) -> Done<Vec<FileId>> {
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

struct Committer<'a> {
    conn: &'a Connection,
    now_ns: i64,
    pipeline: &'a StoredPipeline,
    batch: BatchNumber,
    /// Bytes of payloads dropped.
    freed: u64,
}

/// What a batch adds to a file.
#[derive(Default)]
struct Sum {
    ends: Vec<(u64, u64)>,
    records: u64,
    rejected: u64,
    rejected_bytes: u64,
    skipped_bytes: u64,
}

impl Committer<'_> {
    fn file(&mut self, file: FileId, target: Option<&RelativePath>) -> Done<()> {
        let checkpoint: Option<u64> = self
            .conn
            .prepare_cached("SELECT checkpoint FROM file WHERE id = ?1")?
            .query_row([file.0], |row| row.get(0))
            .optional()?;
        let Some(checkpoint) = checkpoint else {
            return refuse(format!(
                "file {} of batch {} is not known",
                file.0, self.batch
            ));
        };
        let sum = self.sum(file, checkpoint)?;
        let end = match invariant::joined(checkpoint, sum.ends.iter().copied()) {
            Ok(end) => end,
            Err((expected, found)) => {
                return refuse(format!(
                    "I5: file {}: a segment of batch {} begins at {found}, its checkpoint is {expected}",
                    file.0, self.batch
                ));
            }
        };
        if self.pipeline.payload_bytes > 0 {
            for (from, to) in &sum.ends {
                self.freed += super::payloads::drop_payload(self.conn, file, *from, *to)?;
            }
        }
        self.advance(file, end, &sum, target)
    }

    /// Only what lies past the checkpoint is looked at: a large file has segments of many batches.
    fn sum(&self, file: FileId, checkpoint: u64) -> Done<Sum> {
        let mut statement = self.conn.prepare_cached(
            "SELECT from_offset, to_offset, records, rejected, rejected_bytes, skipped_bytes FROM segment \
             WHERE file = ?1 AND from_offset >= ?2 AND batch = ?3 ORDER BY from_offset, to_offset",
        )?;
        let mut rows = statement.query(params![file.0, checkpoint, self.batch.0])?;
        let mut sum = Sum::default();
        while let Some(row) = rows.next()? {
            sum.ends.push((row.get(0)?, row.get(1)?));
            sum.records += row.get::<_, u64>(2)?;
            sum.rejected += row.get::<_, u64>(3)?;
            sum.rejected_bytes += row.get::<_, u64>(4)?;
            sum.skipped_bytes += row.get::<_, u64>(5)?;
        }
        Ok(sum)
    }

    /// A file that is whole becomes `Committed`; a torn one stays as it is, its pipeline quarantines it next.
    fn advance(
        &self,
        file: FileId,
        end: u64,
        sum: &Sum,
        target: Option<&RelativePath>,
    ) -> Done<()> {
        self.conn
            .prepare_cached(
                "UPDATE file SET checkpoint = ?2, records = records + ?3, rejected = rejected + ?4, \
                   rejected_bytes = rejected_bytes + ?5, skipped_bytes = skipped_bytes + ?6, \
                   state = CASE WHEN state = 0 AND decoded = ?2 AND torn IS NULL THEN 1 ELSE state END, \
                   retire_target = CASE WHEN state = 0 AND decoded = ?2 AND torn IS NULL THEN coalesce(?7, retire_target) \
                     ELSE retire_target END, \
                   changed_ns = CASE WHEN state = 0 AND decoded = ?2 AND torn IS NULL THEN ?8 ELSE changed_ns END \
                 WHERE id = ?1",
            )?
            .execute(params![
                file.0,
                end,
                sum.records,
                sum.rejected,
                sum.rejected_bytes,
                sum.skipped_bytes,
                target.map(RelativePath::as_bytes),
                self.now_ns,
            ])?;
        Ok(())
    }
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
    Ok(())
}
