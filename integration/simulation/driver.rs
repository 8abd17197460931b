//! One run: processes begin, land, are struck, die, and begin again, until all is drained and nothing strikes any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lakeward::catalog::Catalog;
use lakeward::clock::Clock;
use lakeward::config::Config;
use lakeward::journal::Journal;
use lakeward::pipeline::{Halt, Orders, Pipeline, Ports, Stop, Tally};
use lakeward::segment::JournalId;

use super::acts::{Props, Shared, Stage, lock};
use super::beside::Elsewhere;
use super::broken::wrong;
use super::catalog::SimCatalog;
use super::fates::Kind as NoFate;
use super::journal::store::{Backup, Disk as JournalDisk};
use super::lake::{LakeStore, Options, SimLake};
use super::ledger;
use super::operator::End;
use super::place::{PIPELINE, Place, RETIRED, SPOOL, SimClock, configured, small_lake, toml};
use super::plan::{Plan, Setting};
use super::spool::{self, SpoolDisk};
use super::turns::{Ended, Schedule};
use super::world::{Fates, Shape, World};

/// Processes of one run at most, before the weather clears.
const LIVES_MAX: u32 = 30;

/// Processes that a run may need once nothing strikes any more: one recovers, one lands, files that had to wait for what another landed
/// take one more, and so does each message that an operator heeds.
const LAST_LIVES: u32 = 10;

/// The first journal of a run, and those after it.
const FIRST_JOURNAL: u64 = 0x51d0_0000_0000_0001;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    pub trace: u64,
    pub calls: u64,
    pub faults: u64,
    pub deaths: u64,
    pub batches: usize,
    pub files: usize,
    /// Of the calls before the weather cleared, in their order: where an exhaustive search strikes.
    pub shapes: Vec<Shape>,
    /// It was not ended: another run had been in the same state, and so went on the same way.
    pub equal: bool,
    pub violations: Vec<String>,
    pub words: Vec<String>,
}

/// A run is not ended where another one has been in the same state.
#[derive(Clone, Copy)]
pub struct Until<'a> {
    /// The state after so many deaths is asked for.
    pub death: u64,
    /// Whether a run has been in it; remembers it.
    pub known: &'a (dyn Fn(u128) -> bool + Sync),
}

pub struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) place: &'a Place,
    pub(super) world: World,
    pub(super) stage: Shared,
    pub(super) lake: Arc<LakeStore>,
    pub(super) disk: SpoolDisk,
    pub(super) journal: Arc<JournalDisk>,
    pub(super) backup: Mutex<Option<Backup>>,
    /// Journals that were lost or made again.
    pub(super) made: AtomicU64,
    pub(super) clock: Arc<dyn Clock>,
    lives: AtomicU64,
    until: Option<Until<'a>>,
    /// Loaded already.
    configs: Mutex<Vec<(Setting, Config)>>,
}

/// Runs a plan in which what its weather says befalls the calls.
pub fn run(plan: &Plan, place: &Place, keep_words: bool) -> Outcome {
    let fates = Box::new(plan.weather.clone());
    run_with(plan, fates, place, keep_words, None)
}

/// Runs a plan with other fates than its weather's.
pub fn run_with(
    plan: &Plan,
    fates: Box<dyn Fates>,
    place: &Place,
    keep_words: bool,
    until: Option<Until>,
) -> Outcome {
    place.clear();
    let world = World::new(plan.seed, fates);
    if keep_words {
        world.keep_words();
    }
    let lake = LakeStore::new(plan.lake, lake_options(plan, place));
    let journal = Arc::new(JournalDisk::new(plan.journal));
    let clock: Arc<dyn Clock> = Arc::new(SimClock(world.clone()));
    let disk = spool_disk(plan, &world);
    let props = Props {
        world: world.clone(),
        lake: Arc::clone(&lake),
        disk: disk.clone(),
        journal: Arc::clone(&journal),
        clock: Arc::clone(&clock),
        staging: place.staging(),
        weak: plan.setting.weak,
        bulk: plan.bulk,
    };
    if plan.bulk.call_ns > 0 {
        world.take_longer(plan.bulk.call_ns);
    }
    let run = Run {
        plan,
        place,
        stage: Arc::new(Mutex::new(Stage::new(props, &plan.acts))),
        journal,
        backup: Mutex::default(),
        made: AtomicU64::new(0),
        clock,
        lives: AtomicU64::new(0),
        until,
        configs: Mutex::default(),
        lake,
        disk,
        world,
    };
    run.all()
}

fn spool_disk(plan: &Plan, world: &World) -> SpoolDisk {
    let disk = SpoolDisk::new(world);
    disk.reuse_inodes(plan.reuses_inodes);
    disk.read_at_most(plan.read_bytes_max);
    if plan.mounts_spool() {
        disk.mount_new(SPOOL);
    } else {
        disk.mkdir(SPOOL);
    }
    disk.mkdir(RETIRED);
    disk.settle();
    disk
}

fn lake_options(plan: &Plan, place: &Place) -> Options {
    let base = if plan.setting.weak {
        Options::weak()
    } else {
        Options::default()
    };
    Options {
        dirs_not_synced: plan.broken == "lake-dirs-not-synced",
        ancestors_not_synced: plan.broken == "lake-ancestors-not-synced",
        never_made_durable: plan.broken == "lake-never-made-durable",
        shared_temporary_name: plan.broken == "lake-shared-temporary-name",
        wrong: wrong(plan.broken),
        staging: place.staging(),
        ..small_lake(base)
    }
}

impl Run<'_> {
    fn all(&self) -> Outcome {
        let stage = Arc::clone(&self.stage);
        self.world
            .watch(Some(Arc::new(move |world| lock(&stage).step(world))));
        lock(&self.stage).step(&self.world);
        let mut setting = &self.plan.setting;
        let mut life = 0;
        let mut drained = false;
        while life < LIVES_MAX && !drained {
            life += 1;
            let ended = self.life(setting, self.plan.daemon, self.deadline());
            if self.end_process(&ended) {
                return self.outcome(true);
            }
            drained = matches!(ended, Ended::Returned(Ok(()))) && lock(&self.stage).is_over();
            self.heed(&ended, setting);
            setting = self.next_setting(&ended);
        }
        self.world.fates(Box::new(NoFate));
        let shapes = self.world.take_shapes();
        Outcome {
            shapes,
            ..self.finish(setting)
        }
    }

    /// Nothing strikes any more: all is drained, and draining it again changes nothing.
    fn finish<'a>(&'a self, mut setting: &'a Setting) -> Outcome {
        let mut last = String::new();
        let mut quiet = false;
        for _ in 0..LAST_LIVES {
            lock(&self.stage).do_rest();
            self.befall();
            let ended = self.life(setting, false, None);
            let _ended_sound = self.end_process(&ended);
            quiet = matches!(ended, Ended::Returned(Ok(())));
            if quiet && lock(&self.stage).is_over() {
                break;
            }
            if !quiet
                && !self.heed(&ended, setting)
                && !self.accept_loss(&ended)
                && !self.move_foreign(&ended)
            {
                last = format!("{ended:?}");
            }
            setting = self.next_setting(&ended);
        }
        let mut violations = Vec::new();
        if quiet {
            let before = self.landed();
            // I8: recovery once more is recovery once.
            let ended = self.life(setting, false, None);
            if !matches!(ended, Ended::Returned(Ok(()))) {
                violations.push(format!("I8: running once more ended in {ended:?}"));
            } else if self.landed() != before {
                violations.push("I8: running once more changed the lake".to_owned());
            }
        } else {
            violations.push(format!("it does not come to an end: {last}"));
        }
        {
            let mut stage = lock(&self.stage);
            stage.judge_changed();
            let drops = stage.drops.clone();
            stage.checker.end(&drops);
            if self.plan.setting.registers {
                stage.checker.catalog_ends();
            }
            stage.checker.violations.extend(violations);
        }
        self.outcome(false)
    }

    fn outcome(&self, equal: bool) -> Outcome {
        self.world.watch(None);
        let stage = lock(&self.stage);
        Outcome {
            equal,
            trace: self.world.trace(),
            calls: self.world.calls(),
            faults: self.world.faults(),
            deaths: self.world.deaths(),
            batches: stage.checker.batches(),
            files: stage.drops.len(),
            shapes: Vec::new(),
            violations: stage.checker.violations.clone(),
            words: self.world.take_words(),
        }
    }

    fn landed(&self) -> Vec<(String, usize)> {
        self.lake
            .visible()
            .into_iter()
            .filter(|(path, _)| !path.starts_with("_lakeward/probe/"))
            .map(|(path, bytes)| (path, bytes.len()))
            .collect()
    }

    /// When a process that is told to end by itself has to: early in one life, late in the next.
    fn deadline(&self) -> Option<Duration> {
        let calls = self.plan.deadline_calls.filter(|_| !self.plan.daemon)?;
        Some(self.world.calls_take(1 + self.world.below(calls)))
    }

    /// One agent's process from its start to its end.
    fn life(&self, setting: &Setting, daemon: bool, deadline: Option<Duration>) -> End {
        let stop = Arc::new(Stop::default());
        {
            let mut stage = lock(&self.stage);
            stage.bind(setting);
            let at = if daemon {
                self.world.calls() + 100 + self.world.below(600)
            } else {
                u64::MAX
            };
            stage.stop = Some((at, Arc::clone(&stop)));
            stage.beside = Some(self.elsewhere(setting).beside());
        }
        let orders = Orders {
            once: !daemon,
            stop,
            rewind: Arc::new(AtomicBool::new(false)),
        };
        let ended = self.process(|| {
            if let Some(after) = deadline {
                orders.stop.set_deadline(after);
            }
            self.land(setting, orders)
        });
        self.lives.fetch_add(1, Ordering::SeqCst);
        let mut stage = lock(&self.stage);
        (stage.stop, stage.beside) = (None, None);
        ended
    }

    /// Any process: an agent's, or an operator's command.
    pub(super) fn process(&self, process: impl FnOnce() -> Result<(), Halt>) -> End {
        self.world.revive();
        self.world.note("a process begins");
        let upgraded = self.plan.upgraded && self.lives.load(Ordering::SeqCst) > 0;
        let other = if upgraded { "another-encoder" } else { "" };
        let switches = [self.plan.broken, other];
        Schedule::new(self.world.clone(), self.plan.switches, switches).run(process)
    }

    fn land(&self, setting: &Setting, orders: Orders) -> Result<(), Halt> {
        let config = self.config(setting);
        let journal = self.open_journal()?;
        let settings = config.pipelines[0].source.spool.clone();
        let spool = spool::open(&self.disk, &self.world, settings)?;
        let ports = Ports {
            clock: Arc::clone(&self.clock),
            journal,
            lake: Arc::new(SimLake::new(&self.lake, self.world.clone())),
            spool: Arc::new(spool),
            catalog: setting.registers.then(|| self.catalog()),
        };
        let stop = Arc::clone(&orders.stop);
        let pipeline = pipeline_of(&config, ports, orders, self.place.staging());
        pipeline.run()?;
        // What was told to stop has not drained.
        match stop.reason() {
            Some(reason) if pipeline.orders.once => {
                self.world.note(&format!("not drained: {reason}"));
                Err(Halt::NotDone(reason))
            }
            _ => Ok(()),
        }
    }

    fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(SimCatalog {
            world: self.world.clone(),
            store: Arc::clone(&lock(&self.stage).metastore),
        })
    }

    pub(super) fn open_journal(&self) -> Result<Arc<dyn Journal>, Halt> {
        let clock = Arc::clone(&self.clock);
        Ok(self.journal.open(&self.world, clock, self.fresh())?)
    }

    /// The id of a journal that has to be made.
    pub(super) fn fresh(&self) -> JournalId {
        JournalId(FIRST_JOURNAL + self.made.load(Ordering::SeqCst))
    }

    pub(super) fn config(&self, setting: &Setting) -> Config {
        let known = || self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().iter().find(|(of, _)| of == setting).cloned();
        if let Some((_, config)) = found {
            return config;
        }
        let text = toml(setting, self.plan.lake);
        let config = configured(self.place, &text, setting, SPOOL);
        known().push((setting.clone(), config.clone()));
        config
    }

    fn elsewhere(&self, setting: &Setting) -> Elsewhere {
        Elsewhere {
            config: self.config(setting),
            lake: Arc::clone(&self.lake),
            disk: self.disk.clone(),
            journal: Arc::clone(&self.journal),
            staging: self.place.other_staging(),
            now_ns: self.world.now_ns(),
            broken: self.plan.broken,
        }
    }

    /// What the end of a process leaves, which must be sound, and what happens before the next one. Whether another run has been there.
    pub(super) fn end_process(&self, ended: &End) -> bool {
        self.judge_journal();
        {
            let mut stage = lock(&self.stage);
            stage.step(&self.world);
            stage.judge_gone();
            match ended {
                Ended::Stuck => {
                    let stuck = "everybody waits for somebody".to_owned();
                    stage.checker.violations.push(stuck);
                }
                Ended::Returned(Err(Halt::Bug(text))) => {
                    stage.checker.violations.push(format!("a bug: {text}"));
                }
                _ => {}
            }
        }
        self.lake.process_died();
        self.disk.end_process();
        let died = matches!(ended, Ended::Died | Ended::Stuck);
        if died {
            self.lose_power();
        }
        self.befall();
        died && self.plan.aligned && self.is_known()
    }

    fn is_known(&self) -> bool {
        self.align();
        let Some(until) = self.until else {
            return false;
        };
        until.death == self.world.deaths() && self.state().is_some_and(until.known)
    }

    /// What no process may leave in the journal.
    fn judge_journal(&self) {
        let Some(journal) = self.journal.read(Arc::clone(&self.clock)) else {
            return;
        };
        let mut stage = lock(&self.stage);
        let wrong = ledger::faults(journal.as_ref(), PIPELINE, &stage.drops);
        stage.checker.violations.extend(wrong);
    }
}

/// The program's own pipeline.
pub(super) fn pipeline_of(
    config: &Config,
    ports: Ports,
    orders: Orders,
    staging_dir: std::path::PathBuf,
) -> Arc<Pipeline> {
    Arc::new(Pipeline {
        settings: Arc::new(config.pipelines[0].clone()),
        agent: Arc::new(config.agent.clone()),
        ports,
        orders,
        tally: Arc::new(Tally::new(PIPELINE, false)),
        memory: config.agent.memory,
        staging_dir,
        write_back: false,
    })
}

/// Until the spool is drained.
pub(super) fn once() -> Orders {
    Orders {
        once: true,
        stop: Arc::new(Stop::default()),
        rewind: Arc::new(AtomicBool::new(false)),
    }
}

/// Why a process halted.
pub(super) fn said(ended: &End) -> Option<String> {
    match ended {
        Ended::Returned(Err(halt)) => Some(halt.to_string()),
        _ => None,
    }
}
