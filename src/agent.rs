//! The agent: one process, one journal, all pipelines side by side, each failing alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::clock::{Clock, SystemClock};
use crate::config::{AgentSettings, Config, PipelineSettings};
use crate::crash;
use crate::journal::sqlite::{SqliteJournal, Surroundings, cache_bytes};
use crate::journal::{Journal, JournalError, Request};
use crate::lake;
use crate::pipeline::{Halt, Orders, Pipeline, PipelineReport, Ports, Stop, Tally};
use crate::spool::local::LocalSpool;

/// How one pipeline's run ended, in the words of the exit codes.
#[derive(Clone, Debug)]
pub struct Ending {
    pub report: PipelineReport,
    /// `None`: all that was asked for is done.
    pub halt: Option<Halt>,
}

impl Ending {
    /// A pipeline that could not even begin.
    #[must_use]
    pub fn never_started(pipeline: &str, halt: &Halt) -> Self {
        let tally = Tally::new(pipeline, false);
        tally.set_ending(0.0, &halt.to_string());
        Self {
            report: tally.report(),
            halt: Some(halt.clone()),
        }
    }
}

/// What `run` asks for.
#[derive(Clone, Debug, Default)]
pub struct RunOrders {
    pub once: bool,
    /// Give up after this long.
    pub deadline: Option<Duration>,
    /// Wait so long for the journal's lock.
    pub wait: Option<Duration>,
    /// Remember the path of every file that lands, for a report.
    pub lists_files: bool,
}

/// Commands that look whether an agent is alive hold the lock for a moment.
const LOOKERS: Duration = Duration::from_millis(600);

/// How often requests of operators are looked for, and what is said for `status` is written.
const ATTEND: Duration = Duration::from_millis(500);
/// Between two looks at whether an end was asked for.
const TICK: Duration = Duration::from_millis(20);

struct Running {
    pipeline: Arc<Pipeline>,
    rewind: Arc<AtomicBool>,
}

/// Counts of all pipelines, for whoever looks on from another thread.
pub type Tallies = Arc<Vec<Arc<Tally>>>;

pub struct Agent {
    settings: Arc<AgentSettings>,
    journal: Arc<SqliteJournal>,
    stop: Arc<Stop>,
    running: Vec<Running>,
    tallies: Tallies,
    /// Held while the agent lives.
    _staging: Vec<File>,
}

/// Opens the journal under its lock, waiting for it if told so.
pub fn open_journal(
    settings: &AgentSettings,
    wait: Option<Duration>,
    stop: &Stop,
) -> Result<SqliteJournal, Halt> {
    let end = Instant::now() + wait.unwrap_or_default().max(LOOKERS);
    let mut said = false;
    loop {
        let around = Surroundings {
            cache_bytes: cache_bytes(settings.memory),
            ..Surroundings::default()
        };
        match SqliteJournal::open_with(&settings.state_dir, around) {
            Err(JournalError::Locked { .. }) if Instant::now() < end => {
                if !said {
                    info!(state_dir = %settings.state_dir.display(), "waiting for the journal's lock");
                    said = true;
                }
                if stop.wait(Duration::from_millis(200)) {
                    return Err(Halt::NotDone(
                        "stopped while waiting for the journal's lock".into(),
                    ));
                }
            }
            other => return other.map_err(Halt::from),
        }
    }
}

/// The ports of one pipeline as the configuration names them.
pub fn ports(
    pipeline: &PipelineSettings,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    runtime: &tokio::runtime::Handle,
) -> Result<Ports, Halt> {
    Ok(Ports {
        clock,
        journal,
        lake: lake::open(&pipeline.lake, runtime.clone())?,
        spool: Arc::new(LocalSpool::new(pipeline.source.spool.clone())?),
        catalog: pipeline.hive.as_ref().map(crate::catalog::open),
    })
}

impl Agent {
    pub fn new(
        config: &Config,
        orders: &RunOrders,
        stop: Arc<Stop>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(Self, Vec<Ending>), Halt> {
        if let Some(deadline) = orders.deadline {
            stop.set_deadline(deadline);
        }
        raise_open_files();
        let journal = Arc::new(open_journal(&config.agent, orders.wait, &stop)?);
        let settings = Arc::new(config.agent.clone());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let memory = config.agent.memory / (config.pipelines.len() as u64).max(1);
        let mut running = Vec::new();
        let mut failed = Vec::new();
        let mut staging = BTreeMap::new();
        for pipeline in &config.pipelines {
            let tally = Arc::new(Tally::new(&pipeline.name, orders.lists_files));
            let as_port: Arc<dyn Journal> = Arc::clone(&journal) as Arc<dyn Journal>;
            let ports = match ports(pipeline, as_port, Arc::clone(&clock), runtime) {
                Ok(ports) => ports,
                Err(halt) => {
                    error!(pipeline = %pipeline.name, reason = %halt, "halted");
                    failed.push(Ending::never_started(&pipeline.name, &halt));
                    continue;
                }
            };
            let rewind = Arc::new(AtomicBool::new(false));
            let own_staging = ports.lake.staging_dir(journal.id());
            let write_back = own_staging.is_some();
            let staging_dir = own_staging.unwrap_or_else(|| config.agent.state_dir.join("staging"));
            if let Err(halt) = lock_staging(&staging_dir, &mut staging) {
                error!(pipeline = %pipeline.name, reason = %halt, "halted");
                failed.push(Ending::never_started(&pipeline.name, &halt));
                continue;
            }
            running.push(Running {
                rewind: Arc::clone(&rewind),
                pipeline: Arc::new(Pipeline {
                    settings: Arc::new(pipeline.clone()),
                    agent: Arc::clone(&settings),
                    ports,
                    orders: Orders {
                        once: orders.once,
                        stop: Arc::clone(&stop),
                        rewind,
                    },
                    tally,
                    memory,
                    staging_dir,
                    write_back,
                }),
            });
        }
        let tallies = Arc::new(
            running
                .iter()
                .map(|running| Arc::clone(&running.pipeline.tally))
                .collect(),
        );
        let agent = Self {
            _staging: staging.into_values().collect(),
            settings,
            journal,
            stop,
            running,
            tallies,
        };
        Ok((agent, failed))
    }

    #[must_use]
    pub fn tallies(&self) -> Tallies {
        Arc::clone(&self.tallies)
    }

    /// Runs all pipelines to their ends. After the wish to stop they have `stop_after`; whatever is not done then is left as a
    /// kill would leave it.
    #[must_use]
    pub fn run(self) -> Vec<Ending> {
        let endings: Arc<Mutex<Vec<Ending>>> = Arc::default();
        let started = Instant::now();
        let mut threads: Vec<_> = self
            .running
            .iter()
            .map(|running| spawn(running, &endings, started))
            .collect();
        let mut stop_seen: Option<Instant> = None;
        let mut attended = Instant::now();
        while !self.have_ended(&threads, &endings) {
            if self.stop.is_set() {
                let since = *stop_seen.get_or_insert_with(Instant::now);
                if since.elapsed() > self.settings.stop_after {
                    let late: Vec<String> = self
                        .running
                        .iter()
                        .map(|running| waited_for(&running.pipeline))
                        .collect();
                    warn!(
                        "`agent.stop_after` is over; what is not landed is landed by the next run{}",
                        late.concat()
                    );
                    break;
                }
            }
            if attended.elapsed() >= ATTEND {
                attended = Instant::now();
                for name in self.attend() {
                    threads.extend(self.begin_again(&name, &endings, started));
                }
            }
            // The end of a pipeline ends the pause.
            std::thread::park_timeout(TICK);
        }
        let _too_late = self.attend();
        let mut endings = endings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for running in &self.running {
            let name = &running.pipeline.settings.name;
            if !endings.iter().any(|ending| &ending.report.name == name) {
                let reason = format!(
                    "{}, and `agent.stop_after` was too short for what was begun; the next run ends it{}",
                    self.stop.reason().unwrap_or_default(),
                    waited_for(&running.pipeline)
                );
                running
                    .pipeline
                    .tally
                    .set_ending(started.elapsed().as_secs_f64(), &reason);
                endings.push(Ending {
                    report: running.pipeline.tally.report(),
                    halt: Some(Halt::NotDone(reason)),
                });
            }
        }
        endings
    }

    /// Each pipeline has said how it ended, or its thread died before it could.
    fn have_ended(
        &self,
        threads: &[std::thread::JoinHandle<()>],
        endings: &Mutex<Vec<Ending>>,
    ) -> bool {
        let said = endings.lock().unwrap_or_else(PoisonError::into_inner).len();
        said == self.running.len() || threads.iter().all(std::thread::JoinHandle::is_finished)
    }

    /// A pipeline that had halted for want of what an operator has now granted runs again; one that runs goes on.
    fn begin_again(
        &self,
        name: &str,
        endings: &Arc<Mutex<Vec<Ending>>>,
        started: Instant,
    ) -> Option<std::thread::JoinHandle<()>> {
        let running = self
            .running
            .iter()
            .find(|running| running.pipeline.settings.name == name)?;
        let mut ended = endings.lock().unwrap_or_else(PoisonError::into_inner);
        let place = ended
            .iter()
            .position(|ending| ending.report.name == name && ending.halt.is_some())?;
        ended.remove(place);
        drop(ended);
        running.pipeline.tally.set_ending(0.0, "");
        Some(spawn(running, endings, started))
    }

    /// Takes up requests of operators and says for `status` how things stand. Answers which pipelines have reason to begin again.
    fn attend(&self) -> Vec<String> {
        let mut granted = Vec::new();
        for running in &self.running {
            self.journal.say(
                &running.pipeline.settings.name,
                &crate::status::said(&running.pipeline.tally),
            );
        }
        let requests = match self.journal.requests() {
            Ok(requests) => requests,
            Err(error) => {
                error!(%error, "the journal failed");
                self.stop.set("the journal failed");
                return granted;
            }
        };
        for row in requests.into_iter().filter(|row| row.answer.is_none()) {
            let answer =
                crate::operator::carry_out(self.journal.as_ref(), &self.spools(), &row.request)
                    .map_err(|halt| halt.to_string());
            if let Err(error) = self.journal.answer(row.id, &answer) {
                error!(%error, "a request could not be answered");
            }
            self.rewind(&row.request);
            if let (Ok(_), Request::Adopt { pipeline } | Request::Resolve { pipeline, .. }) =
                (&answer, &row.request)
            {
                granted.push(pipeline.clone());
            }
        }
        granted
    }

    fn spools(&self) -> Vec<crate::operator::Place> {
        self.running
            .iter()
            .map(|running| crate::operator::Place {
                pipeline: running.pipeline.settings.name.clone(),
                root: running.pipeline.settings.source.spool.path.clone(),
                spool: Arc::clone(&running.pipeline.ports.spool),
                lake: Arc::clone(&running.pipeline.ports.lake),
                journal_path: self
                    .settings
                    .state_dir
                    .join("journal.db")
                    .display()
                    .to_string(),
            })
            .collect()
    }

    fn rewind(&self, request: &Request) {
        for running in &self.running {
            let concerned = match request {
                Request::Release { .. } => true,
                Request::Resolve { pipeline, .. } | Request::Adopt { pipeline } => {
                    *pipeline == running.pipeline.settings.name
                }
            };
            if concerned {
                running.rewind.store(true, Ordering::SeqCst);
            }
        }
    }
}

fn spawn(
    running: &Running,
    endings: &Arc<Mutex<Vec<Ending>>>,
    started: Instant,
) -> std::thread::JoinHandle<()> {
    let pipeline = Arc::clone(&running.pipeline);
    let endings = Arc::clone(endings);
    let agent = std::thread::current();
    std::thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pipeline.run()))
            .unwrap_or_else(|_| Err(Halt::Bug("the pipeline's thread panicked".into())));
        let halt = result.err().or_else(|| left_undone(&pipeline));
        let reason = halt
            .as_ref()
            .map_or_else(|| done_reason(&pipeline), ToString::to_string);
        pipeline
            .tally
            .set_ending(started.elapsed().as_secs_f64(), &reason);
        let report = pipeline.tally.report();
        // The journal is closed in good order by who lets go of it last: by the agent, which goes on at once.
        drop(pipeline);
        endings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Ending { report, halt });
        agent.unpark();
    })
}

fn done_reason(pipeline: &Pipeline) -> String {
    if pipeline.orders.once {
        "drained".to_owned()
    } else {
        pipeline
            .orders
            .stop
            .reason()
            .unwrap_or_else(|| "done".to_owned())
    }
}

/// With `--once`, a stop that came before the spool was drained means "run again".
fn left_undone(pipeline: &Pipeline) -> Option<Halt> {
    if !pipeline.orders.once {
        return None;
    }
    if let Some(unreadable) = pipeline.tally.unreadable() {
        return Some(Halt::NotDone(unreadable));
    }
    if pipeline.tally.drained() {
        return None;
    }
    let reason = pipeline.orders.stop.reason()?;
    Some(Halt::NotDone(format!("{reason}{}", waited_for(pipeline))))
}

/// `; it waited for …`, or nothing.
fn waited_for(pipeline: &Pipeline) -> String {
    match pipeline.tally.waiting_for() {
        what if what.is_empty() || what == "files" => String::new(),
        what => format!("; it waited for {what}"),
    }
}

/// I12: one staging directory, one process. A copied state directory on the same local lake has the same journal id, so its
/// journal's own lock does not keep the two apart.
/// Pipelines of one process share a directory and its lock.
fn lock_staging(dir: &Path, locked: &mut BTreeMap<PathBuf, File>) -> Result<(), Halt> {
    if locked.contains_key(dir) {
        return Ok(());
    }
    crate::pipeline::make_staging(dir)?;
    let path = dir.join(".lock");
    let failed = |e: std::io::Error| Halt::Stopped(format!("lock `{}`: {e}", path.display()));
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            locked.insert(dir.to_owned(), lock);
            Ok(())
        }
        Err(std::fs::TryLockError::Error(e)) => Err(failed(e)),
        Err(std::fs::TryLockError::WouldBlock) if crash::broken("i12-staging-not-locked") => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => Err(Halt::Locked(format!(
            "staging `{}` is in use by another live agent, whose state directory is perhaps a copy of this one",
            dir.display()
        ))),
    }
}

/// 1,000 partitions are 1,000 open files; the usual soft limit is 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open files could not be raised");
    }
}
