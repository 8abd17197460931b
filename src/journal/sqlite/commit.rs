//! Committing: checkpoints move, and only here. A batch that is committed already stays as it is.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::batches::{batch_files, code_of, set_batch_state};
use super::fault::{Done, refuse};
use super::rows::{self, StoredPipeline};
use super::{partitions, payloads};
use crate::crash;
use crate::journal::PartitionWork;
use crate::protocol::{BatchState, invariant};
use crate::segment::{BatchNumber, FileId, RelativePath};

pub(super) fn commit(
    conn: &Connection,
    now_ns: i64,
    pipeline: &str,
    batch: BatchNumber,
    targets: &[(FileId, RelativePath)],
    work: &[PartitionWork],
) -> Done<()> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    if batch.0 > 0 && batch <= pipeline.row.committed {
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
    if lowest != Some((batch.0, code_of(BatchState::Staged))) {
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
        sums: conn.prepare_cached(SUMS)?,
        advance: conn.prepare_cached(ADVANCE)?,
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
    partitions::queue(conn, pipeline.id, work)
}

/// Only what lies past the checkpoint is looked at: a large file has segments of many batches. Of later batches and of those that wait
/// for one, only where they begin is of interest.
const SUMS: &str = "SELECT f.checkpoint, s.from_offset, s.to_offset, s.records, s.rejected, s.rejected_bytes, s.skipped_bytes, \
       s.batch = ?2 \
     FROM file f LEFT JOIN segment s ON s.file = f.id AND s.from_offset >= f.checkpoint AND (s.batch >= ?2 OR s.batch = 0) \
     WHERE f.id = ?1 ORDER BY s.from_offset, s.to_offset";

/// A file that is whole (`?9`, its end, `NULL` where segments follow) becomes `Committed`; a torn one stays as it is, its pipeline
/// quarantines it next.
const ADVANCE: &str = "UPDATE file SET checkpoint = ?2, records = records + ?3, rejected = rejected + ?4, \
       rejected_bytes = rejected_bytes + ?5, skipped_bytes = skipped_bytes + ?6, \
       state = CASE WHEN state = 0 AND decoded = ?9 AND torn IS NULL THEN 1 ELSE state END, \
       retire_target = CASE WHEN state = 0 AND decoded = ?9 AND torn IS NULL THEN coalesce(?7, retire_target) \
         ELSE retire_target END, \
       changed_ns = CASE WHEN state = 0 AND decoded = ?9 AND torn IS NULL THEN ?8 ELSE changed_ns END \
     WHERE id = ?1";

struct Committer<'a> {
    conn: &'a Connection,
    now_ns: i64,
    pipeline: &'a StoredPipeline,
    batch: BatchNumber,
    sums: CachedStatement<'a>,
    advance: CachedStatement<'a>,
    /// Bytes of payloads dropped.
    freed: u64,
}

/// What a batch adds to a file.
#[derive(Default)]
struct Sum {
    checkpoint: u64,
    ends: Vec<(u64, u64)>,
    /// Where the last of the segments begins that are not committed with this batch.
    follows: Option<u64>,
    records: u64,
    rejected: u64,
    rejected_bytes: u64,
    skipped_bytes: u64,
}

impl Committer<'_> {
    fn file(&mut self, file: FileId, target: Option<&RelativePath>) -> Done<()> {
        let Some(sum) = self.sum(file)? else {
            return refuse(format!(
                "file {} of batch {} is not known",
                file.0, self.batch
            ));
        };
        let end = match invariant::joined(sum.checkpoint, sum.ends.iter().copied()) {
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
                self.freed += payloads::drop_payload(self.conn, file, *from, *to)?;
            }
        }
        let end = if crash::broken("i5-commit-stops-short") {
            end - 1
        } else {
            end
        };
        // The last segment may be empty, and not in this batch.
        let whole = sum.follows.is_none_or(|from| from < end).then_some(end);
        self.advance.execute(params![
            file.0,
            end,
            sum.records,
            sum.rejected,
            sum.rejected_bytes,
            sum.skipped_bytes,
            target.map(RelativePath::as_bytes),
            self.now_ns,
            whole,
        ])?;
        Ok(())
    }

    /// `None` for a file that is not known.
    fn sum(&mut self, file: FileId) -> Done<Option<Sum>> {
        let mut rows = self.sums.query(params![file.0, self.batch.0])?;
        let mut sum = None;
        while let Some(row) = rows.next()? {
            let sum = sum.get_or_insert_with(Sum::default);
            sum.checkpoint = row.get(0)?;
            let Some(from) = row.get(1)? else { continue };
            if !row.get::<_, bool>(7)? {
                sum.follows = Some(from);
                continue;
            }
            sum.ends.push((from, row.get(2)?));
            sum.records += row.get::<_, u64>(3)?;
            sum.rejected += row.get::<_, u64>(4)?;
            sum.rejected_bytes += row.get::<_, u64>(5)?;
            sum.skipped_bytes += row.get::<_, u64>(6)?;
        }
        Ok(sum)
    }
}
