//! Staging: a batch with all its facts, in one transaction. A batch that is staged already is refused, its number is taken.

use rusqlite::{Connection, OptionalExtension, params};

use super::batches::{insert_batch, insert_schema, insert_segment};
use super::fault::{Done, refuse};
use super::rows::{self, Fresh, Interner, StoredPipeline, digest_bytes};
use crate::crash;
use crate::journal::{FileRow, FileState, StageRequest};
use crate::protocol::{BatchState, ManifestSegment, Membership, invariant};
use crate::segment::{BatchNumber, FileId, JournalId, RelativePath};

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
    decoded: Option<u64>,
}

impl Stager<'_> {
    fn file(&mut self, row: &FileRow, segments: &[&ManifestSegment]) -> Done<()> {
        match self.standing(row)? {
            Some(standing) => self.known(row, &standing, segments),
            None => self.add(row, segments),
        }
    }

    fn add(&mut self, row: &FileRow, segments: &[&ManifestSegment]) -> Done<()> {
        let end = joined_end(&row.path, 0, row.decoded, segments)?;
        refuse_twin(self.conn, self.pipeline.id, row)?;
        let fresh = Fresh {
            state: FileState::Reading,
            put_end: end,
            staged_end: end,
            // I5 joined: only a commit moves it.
            checkpoint: if crash::broken("i5-checkpoint-at-stage") {
                end
            } else {
                0
            },
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
        let decoded = row.decoded.or(standing.decoded);
        let end = joined_end(&row.path, standing.staged_end, decoded, segments)?;
        if decoded.is_some_and(|decoded| standing.put_end > decoded) {
            return refuse(format!(
                "`{}`: its journaled segments end at {} and its size is {decoded:?}",
                row.path, standing.put_end
            ));
        }
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
            "SELECT pipeline, path, inode, size, mtime_ns, state, staged_end, put_end, settings, decoded FROM file WHERE id = ?1",
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
            decoded: stored.get(9)?,
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
