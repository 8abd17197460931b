//! `status`: how each pipeline stands, from the journal, also while an agent runs.

use std::sync::atomic::Ordering;

use serde::Serialize;
use serde_json::{Value, json};

use crate::journal::{FileState, Journal};
use crate::pipeline::{Halt, Tally};
use crate::spool::Spool;

/// One element of `pipelines` in `status --json`.
#[derive(Debug, Serialize)]
pub struct PipelineStatus {
    pub name: String,
    /// `running`, `idle` (no agent), or `recovering` (no agent, a batch is unfinished).
    pub state: &'static str,
    pub waiting_for: String,
    pub backlog_files: u64,
    pub backlog_bytes: u64,
    pub open_batch: Option<Value>,
    pub last_commit: Option<Value>,
    pub quarantined_files: u64,
    /// Landed, and not registered with the catalog yet.
    pub partitions_waiting: u64,
    /// What the catalog last said, while they wait.
    pub catalog: String,
}

/// What a running agent says of a pipeline through the journal.
#[must_use]
pub fn said(tally: &Tally) -> Value {
    json!({
        "waiting_for": tally.waiting_for(),
        "records": tally.open_batch_records.load(Ordering::Relaxed),
        "bytes": tally.open_batch_bytes.load(Ordering::Relaxed),
        "catalog": tally.catalog(),
    })
}

/// `alive`: an agent holds the journal.
pub fn pipeline_status(
    journal: Option<&dyn Journal>,
    name: &str,
    spool: &dyn Spool,
    now_ns: i64,
    alive: bool,
) -> Result<PipelineStatus, Halt> {
    let mut status = PipelineStatus {
        name: name.to_owned(),
        state: if alive { "running" } else { "idle" },
        waiting_for: String::new(),
        backlog_files: 0,
        backlog_bytes: 0,
        open_batch: None,
        last_commit: None,
        quarantined_files: 0,
        partitions_waiting: 0,
        catalog: String::new(),
    };
    let mut unready = 0_u64;
    let mut failed: Option<Halt> = None;
    spool.scan(now_ns, &mut |found| {
        match is_known(journal, name, &found.path, &found.stat) {
            Ok(true) => {}
            Ok(false) => {
                status.backlog_files += 1;
                status.backlog_bytes += found.stat.size;
                unready += u64::from(!found.ready);
            }
            Err(halt) => {
                failed = Some(halt);
                return std::ops::ControlFlow::Break(());
            }
        }
        std::ops::ControlFlow::Continue(())
    })?;
    if let Some(halt) = failed {
        return Err(halt);
    }
    let Some(journal) = journal else {
        status.waiting_for = "its first run".into();
        return Ok(status);
    };
    fill_from_journal(journal, name, alive, unready, &mut status)?;
    Ok(status)
}

fn is_known(
    journal: Option<&dyn Journal>,
    pipeline: &str,
    path: &crate::segment::RelativePath,
    stat: &crate::segment::FileStat,
) -> Result<bool, Halt> {
    let Some(journal) = journal else {
        return Ok(false);
    };
    Ok(journal
        .file_at(pipeline, path)?
        .is_some_and(|row| row.state != FileState::Reading && row.stat.untouched(stat)))
}

fn fill_from_journal(
    journal: &dyn Journal,
    name: &str,
    alive: bool,
    unready: u64,
    status: &mut PipelineStatus,
) -> Result<(), Halt> {
    let unfinished = journal.unfinished(name)?;
    if let Some(row) = journal
        .pipelines()?
        .into_iter()
        .find(|row| row.name == name)
        && row.committed.0 > 0
    {
        status.last_commit = Some(json!({
            "batch": row.committed,
            "at": row.committed_ns.map(timestamp),
        }));
    }
    status.quarantined_files = journal.files_in(name, &[FileState::Quarantined])?.len() as u64;
    status.partitions_waiting = journal.count_waiting_partitions(name)?;
    let said = journal.said(name)?.unwrap_or(Value::Null);
    if status.partitions_waiting > 0 {
        said["catalog"]
            .as_str()
            .unwrap_or("")
            .clone_into(&mut status.catalog);
    }
    if alive {
        if said["records"].as_u64().unwrap_or(0) > 0 {
            status.open_batch = Some(json!({ "records": said["records"], "bytes": said["bytes"] }));
        }
        said["waiting_for"]
            .as_str()
            .unwrap_or("")
            .clone_into(&mut status.waiting_for);
    } else if !unfinished.is_empty() {
        status.state = "recovering";
        status.waiting_for = format!(
            "a run that ends its {} unfinished batches",
            unfinished.len()
        );
    } else if status.backlog_files > 0 {
        status.waiting_for = "a run".into();
    }
    if status.waiting_for.is_empty() && unready > 0 {
        status.waiting_for = format!("{unready} files that are not ready yet");
    }
    Ok(())
}

/// RFC 3339 in UTC.
#[must_use]
pub fn timestamp(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .map_or_else(|_| ns.to_string(), |time| format!("{time:.3}"))
}
