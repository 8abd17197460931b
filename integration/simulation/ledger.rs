//! What the journal says between two processes: checkpoints, ranges and sums, judged without the program's own predicates.

use lakeward::journal::{FileRow, FileState, Journal, Result};
use lakeward::protocol::BatchState;

use super::checker::Dropped;

/// Whatever is wrong, in words that begin with the invariant's id.
pub fn faults(journal: &dyn Journal, pipeline: &str, drops: &[Dropped]) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Err(error) = judge(journal, pipeline, drops, &mut wrong) {
        wrong.push(format!("the journal cannot be read: {error}"));
    }
    wrong
}

fn judge(
    journal: &dyn Journal,
    pipeline: &str,
    drops: &[Dropped],
    wrong: &mut Vec<String>,
) -> Result<()> {
    for batch in journal.unfinished(pipeline)? {
        let Some(facts) = batch.manifest.membership() else {
            continue;
        };
        if batch.state != BatchState::Staged {
            continue;
        }
        for segment in &facts.segments {
            let Some(id) = batch.files.get(segment.file as usize) else {
                continue;
            };
            let Some(row) = journal.file(*id)? else {
                wrong.push(format!("I5: file {} of a staged batch has no row", id.0));
                continue;
            };
            if row.checkpoint > segment.from {
                wrong.push(format!(
                    "I5: the checkpoint of `{}` is {}, and [{}, {}) of it is only staged",
                    row.path, row.checkpoint, segment.from, segment.to
                ));
            }
        }
    }
    let states = [FileState::Reading, FileState::Committed, FileState::Retired];
    for row in journal.files_in(pipeline, &states)? {
        if !row.skipped {
            judge_file(journal, &row, wrong)?;
            judge_counts(&row, drops, wrong);
        }
    }
    Ok(())
}

fn judge_file(journal: &dyn Journal, row: &FileRow, wrong: &mut Vec<String>) -> Result<()> {
    let whole = row.decoded == Some(row.checkpoint);
    if row.state != FileState::Reading && !whole {
        wrong.push(format!(
            "I6: `{}` is {:?} at checkpoint {} of {:?}",
            row.path, row.state, row.checkpoint, row.decoded
        ));
    }
    let mut ranges = journal.ranges(row.id)?;
    ranges.sort_by_key(|range| (range.segment.from, range.segment.to));
    let mut at = 0;
    let (mut rejected, mut skipped) = (0, 0);
    for range in &ranges {
        let segment = &range.segment;
        if segment.from != at {
            wrong.push(format!(
                "I5: of `{}` a range begins at {}, and the one before ends at {at}",
                row.path, segment.from
            ));
            return Ok(());
        }
        at = segment.to;
        if at <= row.checkpoint {
            rejected += range.rejected_bytes;
            skipped += range.skipped_bytes;
        }
    }
    let empty = row.decoded == Some(0);
    if at < row.checkpoint || (ranges.is_empty() && row.checkpoint > 0 && !empty) {
        wrong.push(format!(
            "I5: the checkpoint of `{}` is {}, its ranges end at {at}",
            row.path, row.checkpoint
        ));
    }
    if (row.rejected_bytes, row.skipped_bytes) != (rejected, skipped) {
        wrong.push(format!(
            "I9: `{}` has {} bytes rejected and {} skipped, its ranges have {rejected} and {skipped}",
            row.path, row.rejected_bytes, row.skipped_bytes
        ));
    }
    Ok(())
}

/// I9: what was counted of a whole file is what was dropped, where only one drop can be meant.
fn judge_counts(row: &FileRow, drops: &[Dropped], wrong: &mut Vec<String>) {
    let path = row.path.to_string();
    let mut meant = drops.iter().filter(|dropped| dropped.path == path);
    let (Some(dropped), None) = (meant.next(), meant.next()) else {
        return;
    };
    if dropped.touched || row.state == FileState::Reading {
        return;
    }
    let (records, broken) = (dropped.ids.len() as u64, dropped.broken);
    if (row.records, row.rejected) != (records, broken) {
        wrong.push(format!(
            "I9: `{path}` counts as {} records, {} of them rejected, and was dropped with {records}, {broken} of them broken",
            row.records, row.rejected
        ));
    }
}
