//! What several commands share: a runtime, the journal read or asked, a pipeline's spool and lake.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::run::exit_of;
use super::{Exit, Failure};
use crate::config::{Config, PipelineSettings};
use crate::journal::sqlite::SqliteJournal;
use crate::journal::{Journal, JournalError, Request};
use crate::lake::Lake;
use crate::pipeline::{Halt, Stop};
use crate::spool::Spool;
use crate::spool::local::LocalSpool;

/// How long an answer of a running agent is waited for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// A halt as an error that knows its exit code.
pub fn done<T>(result: Result<T, Halt>) -> anyhow::Result<T> {
    result.map_err(|halt| Failure::new(exit_of(&halt), halt.to_string()).into())
}

/// For uploads, HTTP and signals; CPU work has threads of its own.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("waits")
        .enable_all()
        .build()?)
}

/// The journal for reading, also beside a running agent; `None` before the first run.
pub fn read_journal(config: &Config) -> anyhow::Result<Option<Box<dyn Journal>>> {
    let journal = done(SqliteJournal::read(&config.agent.state_dir).map_err(Halt::from))?;
    Ok(journal.map(|journal| Box::new(journal) as Box<dyn Journal>))
}

/// Whether an agent holds the journal's lock at this moment.
pub fn is_alive(config: &Config) -> anyhow::Result<bool> {
    let path = config.agent.state_dir.join("journal.lock");
    let Ok(lock) = std::fs::File::open(&path) else {
        return Ok(false);
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(Failure::new(
            Exit::Stopped,
            format!("look at the lock `{}`: {error}", path.display()),
        )
        .into()),
    }
}

pub struct Ports;

impl Ports {
    pub fn spool(pipeline: &PipelineSettings) -> anyhow::Result<Arc<dyn Spool>> {
        let spool = done(LocalSpool::new(pipeline.source.spool.clone()).map_err(Halt::from))?;
        Ok(Arc::new(spool))
    }

    pub fn lake(
        pipeline: &PipelineSettings,
        runtime: &tokio::runtime::Runtime,
    ) -> anyhow::Result<Arc<dyn Lake>> {
        done(crate::lake::open(&pipeline.lake, runtime.handle().clone()).map_err(Halt::from))
    }
}

/// Hands requests to the running agent and waits for its answers, or carries them out under the lock.
pub fn request(config: &Config, requests: &[Request]) -> anyhow::Result<Exit> {
    match SqliteJournal::open(&config.agent.state_dir) {
        Ok(journal) => carry_out(config, &journal, requests),
        Err(JournalError::Locked { .. }) => ask(config, requests),
        Err(error) => done(Err(error.into())),
    }
}

fn carry_out(
    config: &Config,
    journal: &SqliteJournal,
    requests: &[Request],
) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    let mut spools = Vec::new();
    for pipeline in &config.pipelines {
        spools.push(crate::operator::Place {
            pipeline: pipeline.name.clone(),
            root: pipeline.source.spool.path.clone(),
            spool: Ports::spool(pipeline)?,
            lake: Ports::lake(pipeline, &runtime)?,
            journal_path: config
                .agent
                .state_dir
                .join("journal.db")
                .display()
                .to_string(),
        });
    }
    for request in requests {
        let said = done(crate::operator::carry_out(journal, &spools, request))?;
        super::print(&format!("{said}\n"))?;
    }
    Ok(Exit::Done)
}

fn ask(config: &Config, requests: &[Request]) -> anyhow::Result<Exit> {
    let journal = read_journal(config)?.ok_or_else(|| {
        Failure::new(
            Exit::Locked,
            "an agent is making the journal at this moment; try again",
        )
    })?;
    let waiting = Stop::default();
    for request in requests {
        let id = done(journal.ask(request).map_err(Into::into))?;
        let end = Instant::now() + ANSWER_PATIENCE;
        loop {
            let rows = done(journal.requests().map_err(Into::into))?;
            let answer = rows
                .into_iter()
                .find(|row| row.id == id)
                .and_then(|row| row.answer);
            match answer {
                Some(Ok(said)) => {
                    super::print(&format!("{said}\n"))?;
                    break;
                }
                Some(Err(message)) => return Err(Failure::new(Exit::Stopped, message).into()),
                None if Instant::now() > end => {
                    return Err(Failure::new(
                        Exit::NotDone,
                        "the running agent has not answered yet; it takes the request up when it can",
                    )
                    .into());
                }
                None => {
                    let _never = waiting.wait(Duration::from_millis(100));
                }
            }
        }
    }
    Ok(Exit::Done)
}

pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    super::print(&text)
}

/// `1.5 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
