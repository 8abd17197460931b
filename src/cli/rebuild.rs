//! `lakeward rebuild`: shows what it will believe, and with `--yes` does it.

use std::fmt::Write as _;

use serde_json::json;

use super::args::Rebuild;
use super::{Context, Exit, Failure, Ports};
use crate::rebuild::{Belief, Place, believe, rebuild, unknown_data_files};

pub fn run(context: &Context, args: &Rebuild) -> anyhow::Result<Exit> {
    let config = context.config()?;
    if !context.global.pipelines.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "rebuild makes the journal of all pipelines again: leave `--pipeline` out",
        )
        .into());
    }
    if super::is_alive(&config)? {
        return Err(Failure::new(
            Exit::Locked,
            format!(
                "a live agent holds the journal in `{}`: stop it first",
                config.agent.state_dir.display()
            ),
        )
        .into());
    }
    let runtime = super::runtime()?;
    let mut places = Vec::new();
    for pipeline in &config.pipelines {
        places.push(Place {
            pipeline: pipeline.name.clone(),
            lake: Ports::lake(pipeline, &runtime)?,
            spool: Ports::spool(pipeline)?,
            payload: pipeline.source.payload,
            registers: pipeline.hive.as_ref().is_some_and(|hive| hive.register),
            roots: vec![
                crate::sink::PathTemplate::parse(&pipeline.sink.path, &pipeline.sink.timezone)
                    .map_err(|message| Failure::new(Exit::Usage, message))?
                    .root(),
                pipeline.sink.rejects.clone(),
            ],
        });
    }
    let beliefs = super::done(believe(&places))?;
    if beliefs.is_empty() {
        return Err(Failure::new(
            Exit::Stopped,
            "no spool of the configuration has a claim, so nothing was ever landed from them: there is nothing to rebuild; `lakeward run` starts a new journal",
        )
        .into());
    }
    for belief in &beliefs {
        refuse_unknown(&places, belief)?;
    }
    let shown = serde_json::to_value(&beliefs)?;
    if !args.json {
        super::print(&text(&beliefs))?;
    }
    if !args.yes {
        if args.json {
            super::print_json(&json!({ "done": false, "pipelines": shown }))?;
        } else {
            super::print("Nothing was changed. `lakeward rebuild --yes` does it.\n")?;
        }
        return Ok(Exit::Done);
    }
    let id = super::done(rebuild(&config, &places, beliefs))?;
    if args.json {
        super::print_json(&json!({ "done": true, "journal": id, "pipelines": shown }))?;
    } else {
        super::print(&format!(
            "Done: journal {id}. `lakeward run` goes on from here.\n"
        ))?;
    }
    Ok(Exit::Done)
}

fn refuse_unknown(places: &[Place], belief: &Belief) -> anyhow::Result<()> {
    let Some(place) = places
        .iter()
        .find(|place| place.pipeline == belief.pipeline)
    else {
        return Ok(());
    };
    let unknown = super::done(unknown_data_files(place, belief))?;
    let Some(first) = unknown.first() else {
        return Ok(());
    };
    Err(Failure::new(
        Exit::Stopped,
        format!(
            "`{first}`{} carries the name of a believed journal and stands in no manifest: somebody took manifests away; put them back, or move the data file away if its records shall land again",
            match unknown.len() {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            }
        ),
    )
    .into())
}

fn text(beliefs: &[Belief]) -> String {
    let mut text = String::new();
    for belief in beliefs {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}: journal {} is believed: {} batches of {} spooled files with {} records, committed up to {}, {} staged to be finished",
            belief.pipeline,
            belief.journal,
            belief.batches,
            belief.spooled_files,
            belief.records,
            belief.committed,
            belief.staged
        );
        for predecessor in &belief.predecessors {
            let _ = writeln!(text, "  it was rebuilt from journal {predecessor}");
        }
        for warning in &belief.warnings {
            let _ = writeln!(text, "  note: {warning}");
        }
    }
    text
}
