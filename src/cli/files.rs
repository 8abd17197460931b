//! `lakeward files`: what became of each spooled file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;

use serde::Serialize;

use super::args::Files;
use super::{Context, Exit, Failure, Ports};
use crate::clock::Clock as _;
use crate::config::PipelineSettings;
use crate::journal::{FileRow, FileState, Journal};
use crate::segment::{BatchNumber, RelativePath};

#[derive(Serialize)]
struct FileWords {
    path: RelativePath,
    pipeline: String,
    state: &'static str,
    size: u64,
    checkpoint: u64,
    records: u64,
    rejects: u64,
    reason: Option<String>,
    /// Where a quarantined file stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantined_to: Option<String>,
    batches: Vec<BatchNumber>,
    data_files: Vec<String>,
}

pub fn run(context: &Context, args: &Files) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let journal = super::read_journal(&config)?;
    let wanted: Vec<RelativePath> = args
        .paths
        .iter()
        .map(|path| RelativePath::new(path.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|message| Failure::new(Exit::Usage, message))?;
    let mut files = Vec::new();
    for pipeline in &config.pipelines {
        let mut known = BTreeSet::new();
        if let Some(journal) = journal.as_deref() {
            let mut rows = Vec::new();
            super::done(
                journal
                    .visit_files(&pipeline.name, &mut |row| rows.push(row))
                    .map_err(Into::into),
            )?;
            for row in rows {
                if row.state == FileState::Reading || row.state == FileState::Committed {
                    known.insert(row.path.clone());
                }
                if wanted.is_empty() || wanted.contains(&row.path) {
                    files.push(words(journal, &pipeline.name, row)?);
                }
            }
        }
        waiting(pipeline, &known, &wanted, &mut files)?;
    }
    for path in &wanted {
        if !files.iter().any(|file| &file.path == path) {
            return Err(Failure::new(
                Exit::Stopped,
                format!(
                    "`{path}` is neither in a spool nor in the journal; paths count from the spool"
                ),
            )
            .into());
        }
    }
    if args.json {
        super::print_json(&files)?;
    } else {
        super::print(&text(&files))?;
    }
    Ok(Exit::Done)
}

fn words(journal: &dyn Journal, pipeline: &str, row: FileRow) -> anyhow::Result<FileWords> {
    let ranges = super::done(journal.ranges(row.id).map_err(Into::into))?;
    let mut batches: Vec<BatchNumber> = ranges.iter().map(|range| range.batch).collect();
    batches.dedup();
    let lanes: BTreeSet<(BatchNumber, u32)> = ranges
        .iter()
        .map(|range| (range.batch, range.lane))
        .collect();
    let mut data_files = Vec::new();
    for batch in &batches {
        for file in super::done(journal.data_files(pipeline, *batch).map_err(Into::into))? {
            if lanes.contains(&(*batch, file.lane)) {
                data_files.push(file.path);
            }
        }
    }
    Ok(FileWords {
        path: row.path,
        pipeline: pipeline.to_owned(),
        state: state(row.state),
        size: row.stat.size,
        checkpoint: row.checkpoint,
        records: row.records,
        rejects: row.rejected,
        reason: row.reason,
        quarantined_to: row
            .quarantined_to
            .filter(|_| row.state == FileState::Quarantined),
        batches,
        data_files,
    })
}

fn state(state: FileState) -> &'static str {
    match state {
        FileState::Reading => "reading",
        FileState::Committed => "committed",
        FileState::Retired => "retired",
        FileState::Quarantined => "quarantined",
    }
}

/// Files in the spool that the journal does not hold open.
fn waiting(
    pipeline: &PipelineSettings,
    known: &BTreeSet<RelativePath>,
    wanted: &[RelativePath],
    files: &mut Vec<FileWords>,
) -> anyhow::Result<()> {
    let spool = Ports::spool(pipeline)?;
    let now = crate::clock::SystemClock::default().now_ns();
    let scanned = spool.scan(now, &mut |found| {
        let asked = wanted.is_empty() || wanted.contains(&found.path);
        if asked && !known.contains(&found.path) {
            files.push(FileWords {
                path: found.path,
                pipeline: pipeline.name.clone(),
                state: "waiting",
                size: found.stat.size,
                checkpoint: 0,
                records: 0,
                rejects: 0,
                reason: (!found.ready).then(|| "not ready yet".to_owned()),
                quarantined_to: None,
                batches: Vec::new(),
                data_files: Vec::new(),
            });
        }
        ControlFlow::Continue(())
    });
    super::done(scanned.map_err(Into::into))
}

fn text(files: &[FileWords]) -> String {
    let width = files
        .iter()
        .map(|file| file.path.escaped().chars().count())
        .max()
        .unwrap_or(0)
        .clamp(4, 60);
    let mut text = format!(
        "{:<width$}  {:<11}  {:>10}  {:>10}  {:>7}  batches\n",
        "file", "state", "size", "records", "rejects"
    );
    for file in files {
        let batches: Vec<String> = file.batches.iter().map(ToString::to_string).collect();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<width$}  {:<11}  {:>10}  {:>10}  {:>7}  {}",
            file.path.escaped(),
            file.state,
            super::bytes(file.size),
            file.records,
            file.rejects,
            batches.join(" ")
        );
        if let Some(reason) = &file.reason {
            let _ = writeln!(text, "{:<width$}    {reason}", "");
        }
        if let Some(place) = &file.quarantined_to {
            let _ = writeln!(text, "{:<width$}    it stands at `{place}`", "");
        }
    }
    text
}
