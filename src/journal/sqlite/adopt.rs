//! Adopting: a closed journal's manifests become rows of this one.
//!
//! Manifests are believed as they stand: numbers ascend, files are told by path and identity, segments join on. A file whose
//! beginning no adopted manifest holds (an older journal's, whose manifests were not given) begins where it is first met: its
//! own journal would not have staged that segment unless all before it was staged.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::batches;
use super::fault::{Done, refuse};
use super::rows::{self, FileReader, Fresh, Interner, Stored, StoredPipeline, digest_bytes};
use super::stage::{by_file, joined_end};
use crate::journal::{FileRow, FileState};
use crate::protocol::{BatchState, Manifest, ManifestFile, ManifestSegment, Membership};
use crate::segment::{FileId, RelativePath};

/// `ids` are as many fresh file ids as the manifest has files; those not needed are never used.
pub(super) fn adopt(
    conn: &Connection,
    now_ns: i64,
    manifest: &Manifest,
    state: BatchState,
    ids: std::ops::Range<i64>,
    text: &[u8],
) -> Done<()> {
    let Some(membership) = manifest.membership() else {
        return refuse("a tombstone is no batch");
    };
    let pipeline = pipeline_for(conn, manifest, membership)?;
    may_adopt(&pipeline, manifest, state)?;
    let mut adopter = Adopter {
        conn,
        now_ns,
        pipeline: &pipeline,
        manifest,
        state,
        interner: Interner::default(),
    };
    let mut files = Vec::with_capacity(membership.files.len());
    let segments = by_file(membership)?;
    for ((file, segments), id) in membership.files.iter().zip(segments).zip(ids) {
        files.push(adopter.file(file, &segments, FileId(id))?);
    }
    adopter.schema(membership)?;
    let kept = (state != BatchState::Done).then_some((files.as_slice(), text));
    batches::insert_batch(conn, &pipeline, manifest, state, kept)?;
    if state != BatchState::Staged {
        conn.prepare_cached("UPDATE pipeline SET committed = ?2, committed_ns = ?3 WHERE id = ?1")?
            .execute(params![
                pipeline.id,
                manifest.batch.0,
                membership.encoding.batch_time_ns
            ])?;
    }
    Ok(())
}

fn pipeline_for(
    conn: &Connection,
    manifest: &Manifest,
    membership: &Membership,
) -> Done<StoredPipeline> {
    conn.prepare_cached(
        "INSERT INTO pipeline (name, spool, lake) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET lake = excluded.lake",
    )?
    .execute(params![
        manifest.pipeline,
        membership.spool.0 as i64,
        manifest.lake
    ])?;
    let pipeline = rows::get_pipeline(conn, &manifest.pipeline)?;
    if pipeline.row.spool != membership.spool {
        return refuse(format!(
            "the manifest of batch {} names spool {}, the journal {}",
            manifest.batch, membership.spool, pipeline.row.spool
        ));
    }
    Ok(pipeline)
}

fn may_adopt(pipeline: &StoredPipeline, manifest: &Manifest, state: BatchState) -> Done<()> {
    let (staged, committed) = (pipeline.row.staged, pipeline.row.committed);
    let dense = staged.0 == 0 || manifest.batch == staged.next();
    if !dense || manifest.batch.0 == 0 {
        return refuse(format!(
            "the manifest of batch {} where {} is next",
            manifest.batch,
            staged.next()
        ));
    }
    if state != BatchState::Staged && committed != staged {
        return refuse(format!(
            "batch {} is said to be committed and {} before it is not",
            manifest.batch, staged
        ));
    }
    Ok(())
}

struct Adopter<'a> {
    conn: &'a Connection,
    now_ns: i64,
    pipeline: &'a StoredPipeline,
    manifest: &'a Manifest,
    state: BatchState,
    interner: Interner,
}

impl Adopter<'_> {
    fn file(
        &mut self,
        file: &ManifestFile,
        segments: &[&ManifestSegment],
        fresh: FileId,
    ) -> Done<FileId> {
        let from = segments.first().map(|segment| segment.from);
        let known = self.known(file, from)?;
        let begin = known
            .as_ref()
            .map_or(from.unwrap_or(0), |known| known.staged_end);
        let decoded = match &known {
            Some(known) if known.row.stat.untouched(&file.stat) => {
                file.decoded.or(known.row.decoded)
            }
            _ => file.decoded,
        };
        let end = joined_end(&file.path, begin, decoded, segments)?;
        let id = if let Some(known) = known {
            if self.state != BatchState::Staged && known.row.checkpoint != begin {
                return refuse(format!(
                    "I5: `{}`: batch {} is said to be committed from {begin}, the checkpoint is {}",
                    file.path, self.manifest.batch, known.row.checkpoint
                ));
            }
            self.update(&known, file)?;
            known.row.id
        } else {
            self.insert(file, fresh, begin)?;
            fresh
        };
        for segment in segments {
            batches::insert_segment(self.conn, id, self.manifest.batch, segment)?;
        }
        self.advance(id, end, segments)?;
        Ok(id)
    }

    /// The row that these segments continue: by path and identity, or (a file that was released with a new identity) by path and offset.
    fn known(&self, file: &ManifestFile, from: Option<u64>) -> Done<Option<Stored>> {
        let found = FileReader::new(self.conn).all(
            "SELECT * FROM file INDEXED BY file_path WHERE pipeline = ?1 AND path_hash = ?2 AND path = ?3 ORDER BY id DESC",
            params![
                self.pipeline.id,
                rows::path_hash(&file.path),
                file.path.as_bytes()
            ],
        )?;
        let goes_on = |stored: &&Stored| {
            from.is_none_or(|from| stored.staged_end == from)
                && stored.row.state != FileState::Retired
        };
        let same = found
            .iter()
            .find(|stored| stored.row.stat.untouched(&file.stat) && goes_on(stored));
        let released = || {
            let newest = found.first()?;
            let middle = from.is_some_and(|from| from > 0);
            (middle && goes_on(&newest)).then_some(newest)
        };
        Ok(same.or_else(released).cloned())
    }

    /// A file that was released has a new identity, and what was known of its end no longer holds.
    fn update(&self, known: &Stored, file: &ManifestFile) -> Done<()> {
        let released = !known.row.stat.untouched(&file.stat);
        self.conn
            .prepare_cached(
                "UPDATE file SET inode = ?2, device = ?3, size = ?4, mtime_ns = ?5, \
                   decoded = CASE WHEN ?8 THEN ?6 ELSE coalesce(?6, decoded) END, \
                   fingerprint = CASE WHEN ?8 THEN ?7 ELSE coalesce(?7, fingerprint) END, \
                   torn = CASE WHEN ?8 THEN ?9 ELSE coalesce(?9, torn) END, \
                   state = CASE WHEN ?8 THEN 0 ELSE state END WHERE id = ?1",
            )?
            .execute(params![
                known.row.id.0,
                file.stat.inode as i64,
                file.stat.device as i64,
                file.stat.size,
                file.stat.mtime_ns,
                file.decoded,
                file.fingerprint.map(digest_bytes),
                released,
                file.torn,
            ])?;
        Ok(())
    }

    fn insert(&mut self, file: &ManifestFile, id: FileId, begin: u64) -> Done<()> {
        let row = row_of(id, &file.path, file, self.manifest);
        let fresh = Fresh {
            state: FileState::Reading,
            put_end: begin,
            staged_end: begin,
            checkpoint: begin,
        };
        rows::insert_file(
            self.conn,
            &mut self.interner,
            self.pipeline.id,
            &row,
            fresh,
            self.now_ns,
        )
    }

    /// Moves the staged end, and of a committed batch the checkpoint, which stands at the staged end of the batch before.
    fn advance(&self, id: FileId, end: u64, segments: &[&ManifestSegment]) -> Done<()> {
        self.conn
            .prepare_cached("UPDATE file SET staged_end = ?2, put_end = ?2 WHERE id = ?1")?
            .execute(params![id.0, end])?;
        if self.state == BatchState::Staged {
            return Ok(());
        }
        let sum =
            |count: fn(&ManifestSegment) -> u64| segments.iter().map(|s| count(s)).sum::<u64>();
        self.conn
            .prepare_cached(
                "UPDATE file SET checkpoint = ?2, records = records + ?3, rejected = rejected + ?4, \
                   rejected_bytes = rejected_bytes + ?5, skipped_bytes = skipped_bytes + ?6, \
                   state = CASE WHEN state = 0 AND decoded = ?2 AND torn IS NULL THEN 1 ELSE state END, changed_ns = ?7 \
                 WHERE id = ?1",
            )?
            .execute(params![
                id.0,
                end,
                sum(|s| s.records),
                sum(|s| s.rejected),
                sum(|s| s.rejected_bytes),
                sum(|s| s.skipped_bytes),
                self.now_ns,
            ])?;
        Ok(())
    }

    fn schema(&self, membership: &Membership) -> Done<()> {
        let encoding = &membership.encoding;
        let newest = super::requests::schema(self.conn, &self.manifest.pipeline)?;
        if newest.is_some_and(|(version, _)| version >= encoding.schema_version) {
            return Ok(());
        }
        batches::insert_schema(
            self.conn,
            self.pipeline.id,
            encoding.schema_version,
            &encoding.schema,
        )
    }
}

/// What the manifest says of the file, with nothing of it committed yet. The manifest was checked: the index is good.
fn row_of(id: FileId, path: &RelativePath, file: &ManifestFile, manifest: &Manifest) -> FileRow {
    let readings = manifest.membership().map(|membership| &membership.readings);
    let settings = readings
        .and_then(|readings| readings.get(file.reading as usize))
        .cloned()
        .unwrap_or_default();
    FileRow {
        header: file.header.clone(),
        decoded: file.decoded,
        fingerprint: file.fingerprint,
        torn: file.torn.clone(),
        ..FileRow::fresh(id, path.clone(), file.stat, Arc::new(settings), 0)
    }
}
