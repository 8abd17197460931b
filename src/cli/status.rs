//! `lakeward status`.

use std::fmt::Write as _;

use serde_json::json;

use super::args::Status;
use super::{Context, Exit, Ports};
use crate::clock::Clock as _;

pub fn run(context: &Context, args: &Status) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let journal = super::read_journal(&config)?;
    let alive = super::is_alive(&config)?;
    let now = crate::clock::SystemClock::default().now_ns();
    let mut pipelines = Vec::new();
    for pipeline in &config.pipelines {
        let spool = Ports::spool(pipeline)?;
        pipelines.push(super::done(crate::status::pipeline_status(
            journal.as_deref(),
            &pipeline.name,
            spool.as_ref(),
            now,
            alive,
        ))?);
    }
    if args.json {
        super::print_json(&json!({ "pipelines": pipelines }))?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for status in &pipelines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {}", status.name, status.state);
        if !status.waiting_for.is_empty() {
            let _ = writeln!(text, "  waits for    {}", status.waiting_for);
        }
        let _ = writeln!(
            text,
            "  backlog      {} files, {}",
            status.backlog_files,
            super::bytes(status.backlog_bytes)
        );
        if let Some(open) = &status.open_batch {
            let _ = writeln!(text, "  open batch   {} records", open["records"]);
        }
        if let Some(last) = &status.last_commit {
            let _ = writeln!(
                text,
                "  last commit  batch {} at {}",
                last["batch"],
                last["at"].as_str().unwrap_or("unknown")
            );
        }
        if status.quarantined_files > 0 {
            let _ = writeln!(
                text,
                "  quarantined  {} files; `lakeward files` says why",
                status.quarantined_files
            );
        }
        if status.partitions_waiting > 0 {
            let _ = writeln!(
                text,
                "  catalog      {} partitions wait to be registered{}{}",
                status.partitions_waiting,
                if status.catalog.is_empty() { "" } else { ": " },
                status.catalog
            );
        }
    }
    super::print(&text)?;
    Ok(Exit::Done)
}
