//! Revisions: a batch whose file was encoded again has one more copy, or lost what an operator gave up.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::batches::{batch_state, put_data_file, unpack, unpack_ids};
use super::fault::{Done, refuse};
use super::rows::{self, At};
use crate::protocol::{BatchState, DataFile, Manifest, ManifestSegment, Membership};
use crate::segment::{BatchNumber, FileId};

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
