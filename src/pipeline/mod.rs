//! One pipeline, whole: starts safely, recovers, lands, and starts over from the journal whenever what is in memory
//! can no longer be trusted.
//!
//! ```text
//! start   lock and claim the spool, compare the journal with the lake's manifests      start.rs
//! episode recover ─► source ─► channel ─► lanes ─► stage ─► committer                  episode.rs, lanes.rs, batch.rs
//!            ▲                                                  │
//!            └── rewind: abandon the open batch, read the journal again
//! commit  manifest, land, commit, follow-up work                                       committer.rs, followup.rs
//! catalog partitions of what was committed                                             registrar.rs
//! ```
//!
//! Nothing in memory is needed for correctness: an episode may be dropped at any moment, which is what a kill does, so
//! every doubt (a file that changed under the source, a full staging disk, an operator's request) ends the episode and
//! the next one begins with what the journal says.

mod batch;
mod committer;
mod episode;
mod followup;
mod from_table;
mod lanes;
mod marker;
mod registrar;
mod report;
mod said;
mod start;
mod stop;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{error, info, warn};

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{AgentSettings, PipelineSettings};
use crate::journal::Journal;
use crate::lake::Lake;
use crate::spool::Spool;

pub use committer::{Committer, digest_file};
pub use episode::registry;
pub use from_table::schema_settings;
use registrar::{End, Signal};
pub use report::{PipelineReport, Tally};
pub use start::{Started, make_staging, probe, random_id, read_claim, write_claim};
pub use stop::Stop;
pub use table::{TablePlace, fitting, spec, work_of};

/// Episodes of one `--once` run that begin only because files had to wait for the one before.
const DEFERRALS_MAX: u32 = 5;

/// Why a pipeline ended before all was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A person must act: the lake, the spool or the journal failed for good, a conflict, too many rejects.
    #[error("{0}")]
    Stopped(String),
    /// A passing fault outlasted its retries, or a signal or the deadline came first.
    #[error("{0}")]
    NotDone(String),
    /// A live agent holds the spool or the journal.
    #[error("{0}")]
    Locked(String),
    /// The program is wrong.
    #[error("{0}")]
    Bug(String),
}

impl From<crate::journal::JournalError> for Halt {
    fn from(error: crate::journal::JournalError) -> Self {
        use crate::journal::JournalError as E;
        match &error {
            E::Locked { .. } => Self::Locked(error.to_string()),
            E::Fatal { full: true, .. } => Self::NotDone(error.to_string()),
            E::Unusable { .. } | E::Fatal { .. } => Self::Stopped(error.to_string()),
            E::Refused(_) => Self::Bug(error.to_string()),
        }
    }
}

impl From<crate::lake::LakeError> for Halt {
    fn from(error: crate::lake::LakeError) -> Self {
        match error.class {
            crate::lake::ErrorClass::Transient => Self::NotDone(error.to_string()),
            crate::lake::ErrorClass::Permanent => Self::Stopped(error.to_string()),
        }
    }
}

impl From<crate::spool::SpoolError> for Halt {
    fn from(error: crate::spool::SpoolError) -> Self {
        Self::Stopped(error.to_string())
    }
}

/// What a pipeline works with. The simulation puts its own ports here.
#[derive(Clone)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    pub journal: Arc<dyn Journal>,
    pub lake: Arc<dyn Lake>,
    pub spool: Arc<dyn Spool>,
    /// `None` where nobody is told of partitions.
    pub catalog: Option<Arc<dyn Catalog>>,
}

/// What a pipeline is told by its agent.
#[derive(Clone)]
pub struct Orders {
    /// End once the spool is drained.
    pub once: bool,
    pub stop: Arc<Stop>,
    /// Set by the agent after it changed the journal for an operator: abandon the open batch, read the journal again.
    pub rewind: Arc<AtomicBool>,
}

pub struct Pipeline {
    pub settings: Arc<PipelineSettings>,
    pub agent: Arc<AgentSettings>,
    pub ports: Ports,
    pub orders: Orders,
    pub tally: Arc<Tally>,
    /// This pipeline's share of `memory`.
    pub memory: u64,
    pub staging_dir: PathBuf,
    /// Staging is the lake's own, whose landing syncs staged files.
    pub write_back: bool,
}

impl Pipeline {
    /// Runs until drained (`once`), stopped or halted. Nothing is lost by whatever comes back.
    pub fn run(self: &Arc<Self>) -> Result<(), Halt> {
        let (Some(catalog), Some(settings)) = (&self.ports.catalog, &self.settings.hive) else {
            return self.land(None);
        };
        if !settings.register {
            return self.land(None);
        }
        let signal = Arc::new(Signal::default());
        let registering = registrar::spawn(self, catalog, settings, &signal)?;
        let landed = self.land(Some(&signal));
        let drained = self.orders.once && landed.is_ok() && !self.stopping();
        let registered = registering.end(if drained { End::Drain } else { End::Soon });
        landed.and(registered)
    }

    /// All but the catalog.
    fn land(&self, registrar: Option<&Arc<Signal>>) -> Result<(), Halt> {
        let name = self.settings.name.as_str();
        let mut started: Option<Started> = None;
        let mut failures = 0_u32;
        let mut deferrals = 0_u32;
        loop {
            self.orders.rewind.store(false, Ordering::SeqCst);
            match self.episode(&mut started, registrar) {
                Ok(episode::Ended::Drained | episode::Ended::Stopped) => return Ok(()),
                Ok(episode::Ended::Deferred) => {
                    deferrals += 1;
                    if deferrals > DEFERRALS_MAX {
                        return Err(Halt::NotDone(
                            "files keep being replaced while they are landed".into(),
                        ));
                    }
                }
                Ok(episode::Ended::Rewind) => {
                    failures = 0;
                    info!(pipeline = name, "rewound to the journal");
                }
                Err(Halt::NotDone(message)) if self.may_try_again(failures) => {
                    failures += 1;
                    let pause = backoff(failures);
                    warn!(pipeline = name, %message, pause_seconds = pause.as_secs(), "passing fault, trying again");
                    self.tally.waits_for(&message);
                    if self.orders.stop.wait(pause) {
                        return Err(Halt::NotDone(message));
                    }
                }
                Err(halt) => {
                    // I10: what cannot be right stops its pipeline and no other.
                    if crate::crash::broken("i10-one-halt-stops-all") {
                        self.orders.stop.set("another pipeline has halted");
                    }
                    error!(pipeline = name, reason = %halt, "halted");
                    return Err(halt);
                }
            }
        }
    }

    fn episode(
        &self,
        started: &mut Option<Started>,
        registrar: Option<&Arc<Signal>>,
    ) -> Result<episode::Ended, Halt> {
        let started = if let Some(started) = started {
            started
        } else {
            self.tally
                .waits_for(&format!("lake `{}`", self.ports.lake.identity()));
            let fresh = start::start(self)?;
            self.tally.waits_for("");
            info!(pipeline = %self.settings.name, journal = %self.ports.journal.id(), lake = self.ports.lake.identity(), "started");
            started.insert(fresh)
        };
        episode::run(self, started, registrar)
    }

    /// A daemon tries for ever, since a person would do the same; `--once` three times, as its caller runs it again.
    fn may_try_again(&self, failures: u32) -> bool {
        !self.orders.stop.is_set() && (!self.orders.once || failures < 2)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.orders.stop.is_set()
    }
}

fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(6))
}
