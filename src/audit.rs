//! `audit`: the balance of every spooled file (I9), from the journal, and with `--deep` against the lake itself.
//!
//! ```text
//! per file    bytes = landed + rejected + skipped + quarantined;  ranges join on from 0 to the checkpoint (I5)
//! per batch   records of its segments = records of its data files + rejects
//! --deep      every data file stands, with a recorded length and digest, and holds the recorded number of records
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::journal::{FileRange, FileRow, FileState, Journal, matches_copy};
use crate::lake::Lake;
use crate::naming::LakePath;
use crate::pipeline::Halt;
use crate::protocol::{DataFile, DataFileKind, invariant};
use crate::segment::{BatchNumber, RelativePath};

#[derive(Debug, Serialize)]
pub struct FileBalance {
    pub pipeline: String,
    pub path: RelativePath,
    /// Decompressed bytes known of.
    pub bytes: u64,
    pub landed: u64,
    pub rejected: u64,
    pub skipped: u64,
    pub quarantined: u64,
    /// Journaled and not committed yet.
    pub waiting: u64,
    pub records: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Audit {
    pub balanced: bool,
    pub files: Vec<FileBalance>,
    /// Each difference in words.
    pub conflicts: Vec<String>,
    /// Landed files that are not in the lake any more (`--deep`): retention and compaction are normal.
    pub gone: Vec<String>,
    /// Data files looked at (`--deep`).
    pub data_files: u64,
}

#[derive(Default)]
struct BatchSum {
    records: u64,
    rejected: u64,
}

/// `whole`: nothing was ever pruned, so that batches can be held against their files.
pub fn audit_journal(
    journal: &dyn Journal,
    pipeline: &str,
    whole: bool,
    audit: &mut Audit,
) -> Result<(), Halt> {
    let staged: BTreeSet<BatchNumber> = journal
        .unfinished(pipeline)?
        .into_iter()
        .filter(|batch| batch.state == crate::protocol::BatchState::Staged)
        .map(|batch| batch.number)
        .collect();
    let mut batches: BTreeMap<BatchNumber, BatchSum> = BTreeMap::new();
    let mut rows = Vec::new();
    journal.visit_files(pipeline, &mut |row| rows.push(row))?;
    for row in rows {
        let ranges = journal.ranges(row.id)?;
        for range in &ranges {
            let sum = batches.entry(range.batch).or_default();
            sum.records += range.segment.records;
            sum.rejected += range.rejected;
        }
        balance_file(pipeline, &row, &ranges, &staged, audit);
    }
    for (batch, sum) in batches {
        balance_batch(
            pipeline,
            batch,
            &sum,
            &journal.data_files(pipeline, batch)?,
            whole,
            audit,
        );
    }
    Ok(())
}

fn balance_file(
    pipeline: &str,
    row: &FileRow,
    ranges: &[FileRange],
    staged: &BTreeSet<BatchNumber>,
    audit: &mut Audit,
) {
    if row.skipped {
        audit.files.push(skipped_balance(pipeline, row));
        return;
    }
    let committed: Vec<&FileRange> = ranges
        .iter()
        .filter(|range| !staged.contains(&range.batch))
        .collect();
    let mut say = |text: String| {
        audit
            .conflicts
            .push(format!("{pipeline}: `{}`: {text}", row.path));
    };
    match invariant::joined(0, committed.iter().map(|r| (r.segment.from, r.segment.to))) {
        Ok(end) if end == row.checkpoint => {}
        Ok(end) => say(format!(
            "its committed segments end at {end}, its checkpoint is {}",
            row.checkpoint
        )),
        Err((expected, found)) => say(format!(
            "its committed segments do not join on: {expected} was expected, {found} was found"
        )),
    }
    let records: u64 = committed
        .iter()
        .map(|r| r.segment.records - r.rejected.min(r.segment.records))
        .sum();
    let rejected: u64 = committed.iter().map(|r| r.rejected_bytes).sum();
    let skipped: u64 = committed.iter().map(|r| r.skipped_bytes).sum();
    if (rejected, skipped) != (row.rejected_bytes, row.skipped_bytes) {
        say("its counts of rejected and skipped bytes are not those of its segments".to_owned());
    }
    let bytes = row.decoded.unwrap_or(row.put_end).max(row.checkpoint);
    let rest = bytes - row.checkpoint;
    let (quarantined, waiting) = if row.state == FileState::Quarantined {
        (rest, 0)
    } else {
        (0, rest)
    };
    let landed = row.checkpoint.saturating_sub(rejected + skipped);
    if row.state != FileState::Reading
        && !invariant::balanced(bytes, landed, rejected, skipped, quarantined)
    {
        say(format!(
            "{bytes} bytes are not {landed} landed + {rejected} rejected + {skipped} skipped + {quarantined} quarantined"
        ));
    }
    audit.files.push(FileBalance {
        pipeline: pipeline.to_owned(),
        path: row.path.clone(),
        bytes,
        landed,
        rejected,
        skipped,
        quarantined,
        waiting,
        records,
    });
}

/// A file that `resent` or `same_content` skipped: all of it counts as skipped, in bytes as it lay on the disk.
fn skipped_balance(pipeline: &str, row: &FileRow) -> FileBalance {
    FileBalance {
        pipeline: pipeline.to_owned(),
        path: row.path.clone(),
        bytes: row.stat.size,
        landed: 0,
        rejected: 0,
        skipped: row.stat.size,
        quarantined: 0,
        waiting: 0,
        records: 0,
    }
}

fn balance_batch(
    pipeline: &str,
    batch: BatchNumber,
    sum: &BatchSum,
    files: &[DataFile],
    whole: bool,
    audit: &mut Audit,
) {
    let of = |kind: DataFileKind| -> u64 {
        files
            .iter()
            .filter(|file| file.kind == kind)
            .map(|file| file.records)
            .sum()
    };
    let (landed, rejects) = (of(DataFileKind::Data), of(DataFileKind::Reject));
    let right = if whole {
        landed + rejects == sum.records && rejects == sum.rejected
    } else {
        landed + rejects >= sum.records
    };
    if !right {
        audit.conflicts.push(format!(
            "{pipeline}: batch {batch}: its segments hold {} records ({} rejected), its data files {landed} and its reject files {rejects}",
            sum.records, sum.rejected
        ));
    }
}

/// Looks at every data file of committed batches in the lake. `scratch`: a directory for downloads.
pub fn audit_lake(
    journal: &dyn Journal,
    pipeline: &str,
    lake: &dyn Lake,
    scratch: &Path,
    audit: &mut Audit,
) -> Result<(), Halt> {
    let Some(row) = journal
        .pipelines()?
        .into_iter()
        .find(|row| row.name == pipeline)
    else {
        return Ok(());
    };
    let mut number = BatchNumber(1);
    while number <= row.committed {
        for file in journal.data_files(pipeline, number)? {
            audit.data_files += 1;
            audit_data_file(pipeline, lake, &file, scratch, audit)?;
        }
        number = number.next();
    }
    Ok(())
}

fn audit_data_file(
    pipeline: &str,
    lake: &dyn Lake,
    file: &DataFile,
    scratch: &Path,
    audit: &mut Audit,
) -> Result<(), Halt> {
    let path = LakePath::new(&file.path).map_err(Halt::Stopped)?;
    let copy = scratch.join("audited");
    if !lake.download(&path, &copy)? {
        audit.gone.push(format!("{pipeline}: `{path}`"));
        return Ok(());
    }
    let found = crate::pipeline::digest_file(&copy)?;
    let counted = crate::format::count_records(&copy, path.name());
    // The next download writes over it; the last one is removed with the directory.
    let mut say = |text: String| {
        audit
            .conflicts
            .push(format!("{pipeline}: `{path}`: {text}"));
    };
    match found {
        Some((length, digest)) if matches_copy(&file.copies, length, digest) => {}
        Some((length, digest)) => say(format!(
            "it is {length} bytes with digest {digest}, which is none that was landed"
        )),
        None => say("its copy vanished while it was audited".to_owned()),
    }
    match counted {
        Ok(records) if records == file.records => {}
        Ok(records) => say(format!(
            "it holds {records} records, {} were landed",
            file.records
        )),
        Err(error) => say(format!("it cannot be read: {error}")),
    }
    Ok(())
}
