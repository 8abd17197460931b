//! `lakeward run`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::args::Run;
use super::progress::{Counters, Progress};
use super::{Context, Exit, Failure};
use crate::agent::{Agent, Ending, RunOrders, Tallies};
use crate::pipeline::{Halt, PipelineReport, Stop};

#[derive(Serialize)]
struct Report<'a> {
    pipelines: Vec<&'a PipelineReport>,
}

pub fn run(context: &Context, args: &Run) -> anyhow::Result<Exit> {
    let config = context.config()?;
    super::memory::keep_within(config.agent.memory, context.give_back);
    let runtime = super::runtime()?;
    let stop = Arc::new(Stop::default());
    runtime.spawn(obey_signals(Arc::clone(&stop)));
    let orders = RunOrders {
        once: args.once,
        deadline: args.deadline,
        wait: args.wait,
        // A daemon's list would grow for ever.
        lists_files: args.once && args.report.is_some(),
    };
    let (agent, failed) = match Agent::new(&config, &orders, Arc::clone(&stop), runtime.handle()) {
        Ok(agent) => agent,
        Err(halt) => {
            let exit = exit_of(&halt);
            let endings: Vec<Ending> = config
                .pipelines
                .iter()
                .map(|pipeline| Ending::never_started(&pipeline.name, &halt))
                .collect();
            write_report(args, &endings)?;
            return Err(Failure::new(exit, halt.to_string()).into());
        }
    };
    let tallies = agent.tallies();
    if !config.agent.http.is_empty() {
        runtime
            .block_on(crate::web::serve(
                &config.agent.http,
                config.agent.http_public,
                Arc::clone(&tallies),
            ))
            .map_err(|message| Failure::new(Exit::Stopped, message))?;
    }
    let counters = Arc::new(Counters::default());
    let progress = Progress::start(Arc::clone(&counters));
    let watching = Arc::new(AtomicBool::new(true));
    let watcher = watch(tallies, counters, Arc::clone(&watching));
    let mut endings = agent.run();
    watching.store(false, Ordering::SeqCst);
    watcher.thread().unpark();
    let _shown = watcher.join();
    drop(progress);
    endings.extend(failed);
    endings.sort_by_key(|ending| {
        config
            .pipelines
            .iter()
            .position(|pipeline| pipeline.name == ending.report.name)
    });
    write_report(args, &endings)?;
    let exit = say(&endings, args.once);
    // A pipeline that `stop_after` cut off may still wait for its lake, on timers of this runtime: both end with the
    // process, as a kill would end them. Shut down before, the runtime makes that thread panic.
    std::mem::forget(runtime);
    Ok(exit)
}

/// Copies what the pipelines have counted to where progress is shown from.
fn watch(
    tallies: Tallies,
    counters: Arc<Counters>,
    watching: Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while watching.load(Ordering::SeqCst) {
            let (mut files, mut bytes, mut records) = (0, 0, 0);
            for tally in tallies.iter() {
                files += tally.files();
                bytes += tally.bytes_taken.load(Ordering::Relaxed);
                records += tally.records_taken.load(Ordering::Relaxed);
            }
            counters.files.store(files, Ordering::Relaxed);
            counters.bytes.store(bytes, Ordering::Relaxed);
            counters.records.store(records, Ordering::Relaxed);
            std::thread::park_timeout(std::time::Duration::from_millis(200));
        }
    })
}

/// The first signal asks for an end, the second ends at once.
async fn obey_signals(stop: Arc<Stop>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::warn!("signals cannot be caught; they end the program at once, which is safe");
        return;
    };
    let mut seen = false;
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        if seen {
            tracing::warn!(signal = name, "second signal, ending at once");
            std::process::exit(i32::from(Exit::NotDone.code()));
        }
        seen = true;
        tracing::info!(signal = name, "landing what is staged, then ending");
        stop.set(&format!("{name} came"));
    }
}

/// The exit code that a pipeline's end stands for.
#[must_use]
pub fn exit_of(halt: &Halt) -> Exit {
    match halt {
        Halt::Stopped(_) => Exit::Stopped,
        Halt::NotDone(_) => Exit::NotDone,
        Halt::Locked(_) => Exit::Locked,
        Halt::Bug(_) => Exit::Bug,
    }
}

/// A daemon that was asked to end has done what was asked for, whatever it quarantined in its life.
fn say(endings: &[Ending], once: bool) -> Exit {
    let mut exit = Exit::Done;
    for ending in endings {
        let report = &ending.report;
        let own = match &ending.halt {
            Some(halt) => exit_of(halt),
            None if once && report.files_quarantined > 0 => Exit::Quarantined,
            None => Exit::Done,
        };
        tracing::info!(
            pipeline = %report.name,
            files = report.files,
            quarantined = report.files_quarantined,
            records = report.records_landed,
            rejected = report.records_rejected,
            batches = report.batches,
            exit = own.code(),
            reason = %report.exit_reason,
            "ended"
        );
        exit = exit.worst(own);
    }
    exit
}

/// Written beside its name, synced and renamed, so that nobody reads half of it.
fn write_report(args: &Run, endings: &[Ending]) -> anyhow::Result<()> {
    let Some(path) = &args.report else {
        return Ok(());
    };
    let report = Report {
        pipelines: endings.iter().map(|ending| &ending.report).collect(),
    };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    // A reason to exit may quote what a library said.
    write_atomically(path, crate::config::redact::mask(&text).as_bytes()).map_err(|e| {
        Failure::new(
            Exit::Stopped,
            format!("write report `{}`: {e}", path.display()),
        )
        .into()
    })
}

fn write_atomically(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}.part", std::process::id()));
    let mut file = std::fs::File::create(&hidden)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(hidden, path)
}
