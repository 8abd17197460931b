//! One run: processes begin, land, are struck, die, and begin again, until all is drained and nothing strikes any more.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lakeward::clock::Clock;
use lakeward::config::{Config, load};
use lakeward::journal::sqlite::{SqliteJournal, Surroundings};
use lakeward::journal::{Journal, Request};
use lakeward::pipeline::{Halt, Orders, Pipeline, Ports, Stop, Tally};
use lakeward::segment::JournalId;
use lakeward::spool::Retire;

use super::broken::wrong;
use super::checker::{Checker, Dropped};
use super::fates::Kind as NoFate;
use super::journal::{FaultyJournal, MemoryStore};
use super::lake::{Kind as LakeKind, LakeStore, Options, SimLake, tear_directory};
use super::ledger;
use super::plan::{Act, JournalKind, Plan, Power, Setting};
use super::records;
use super::spool::model::NodeId;
use super::spool::{self, SpoolDisk};
use super::turns::{Ended, Schedule};
use super::world::{Fates, Shape, World};

const PIPELINE: &str = "sim";
const SPOOL: &str = "/spool";
const RETIRED: &str = "/retired";
const QUARANTINE: &str = "/spool/.quarantine";

/// Processes of one run at most, before the weather clears.
const LIVES_MAX: u32 = 30;

/// Processes that a run may need once nothing strikes any more: one recovers, one lands, and files that had to wait for what another
/// landed take one more.
const LAST_LIVES: u32 = 6;

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
    pub violations: Vec<String>,
    pub words: Vec<String>,
}

/// Where a run keeps what has to be real files: staging, and SQLite's journal. On memory, where there is such a place.
pub struct Place {
    pub(super) dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        Self {
            dir: dir.expect("a directory"),
        }
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.dir.path().join("staging")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(super) fn clear(&self) {
        for dir in [self.staging(), self.state()] {
            let _absent = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).expect("a directory");
        }
    }
}

/// The simulated clock.
pub(super) struct SimClock(pub(super) World);

impl Clock for SimClock {
    fn now_ns(&self) -> i64 {
        self.0.now_ns()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.elapsed_ns())
    }
}

/// What outlives a process, and who looks at it.
struct Stage {
    world: World,
    lake: Arc<LakeStore>,
    disk: SpoolDisk,
    checker: Checker,
    drops: Vec<Dropped>,
    /// Those that were dropped a second time.
    again: std::collections::BTreeSet<usize>,
    /// Files that left the spool, with their contents.
    gone: std::collections::BTreeMap<NodeId, Vec<u8>>,
    acts: std::collections::VecDeque<(u64, Act)>,
    staging: PathBuf,
}

type Shared = Arc<Mutex<Stage>>;

fn lock(stage: &Shared) -> std::sync::MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Run<'a> {
    plan: &'a Plan,
    place: &'a Place,
    world: World,
    stage: Shared,
    lake: Arc<LakeStore>,
    disk: SpoolDisk,
    memory: MemoryStore,
    clock: Arc<dyn Clock>,
    /// Loaded already.
    configs: Mutex<Vec<(Setting, Config)>>,
}

/// Runs a plan in which what its weather says befalls the calls.
pub fn run(plan: &Plan, place: &Place, keep_words: bool) -> Outcome {
    run_with(plan, Box::new(plan.weather.clone()), place, keep_words)
}

/// Runs a plan with other fates than its weather's.
pub fn run_with(plan: &Plan, fates: Box<dyn Fates>, place: &Place, keep_words: bool) -> Outcome {
    place.clear();
    let world = World::new(plan.seed, fates);
    if keep_words {
        world.keep_words();
    }
    let lake = LakeStore::new(plan.lake, lake_options(plan, place));
    let disk = SpoolDisk::new(&world);
    disk.mkdir(SPOOL);
    disk.mkdir(RETIRED);
    disk.settle();
    let stage = Stage {
        world: world.clone(),
        lake: Arc::clone(&lake),
        disk: disk.clone(),
        checker: Checker::new(Arc::clone(&lake), plan.setting.weak),
        drops: Vec::new(),
        again: std::collections::BTreeSet::new(),
        gone: std::collections::BTreeMap::new(),
        acts: plan.acts.iter().cloned().collect(),
        staging: place.staging(),
    };
    let run = Run {
        plan,
        place,
        clock: Arc::new(SimClock(world.clone())),
        stage: Arc::new(Mutex::new(stage)),
        memory: MemoryStore::default(),
        configs: Mutex::default(),
        lake,
        disk,
        world,
    };
    run.all()
}

fn lake_options(plan: &Plan, place: &Place) -> Options {
    let base = if plan.setting.weak {
        Options::weak()
    } else {
        Options::default()
    };
    Options {
        identity: "simulated".into(),
        staging: place.staging(),
        short_probe: true,
        dirs_not_synced: plan.broken == "lake-dirs-not-synced",
        ancestors_not_synced: plan.broken == "lake-ancestors-not-synced",
        never_made_durable: plan.broken == "lake-never-made-durable",
        shared_temporary_name: plan.broken == "lake-shared-temporary-name",
        wrong: wrong(plan.broken),
        page: 3,
        block_bytes: 150,
        multipart_bytes: 150,
        part_bytes: 100,
        ..base
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
            let ended = self.life(setting);
            drained = matches!(ended, Ended::Returned(Ok(()))) && lock(&self.stage).acts.is_empty();
            self.after(&ended);
            setting = self.next_setting(&ended);
        }
        self.world.fates(Box::new(NoFate));
        let shapes = self.world.take_shapes();
        Outcome {
            shapes,
            ..self.finish(setting)
        }
    }

    /// The changed one, unless the program wants the old one once more.
    fn next_setting(&self, ended: &Ended<Result<(), Halt>>) -> &Setting {
        let wants_old = said(ended).is_some_and(|said| said.contains("set the old format again"));
        match &self.plan.changed {
            Some(changed) if !wants_old => changed,
            _ => &self.plan.setting,
        }
    }

    /// An operator moves away what stands where ours is to land, as the message says.
    fn move_foreign(&self, ended: &Ended<Result<(), Halt>>) -> bool {
        if !said(ended).is_some_and(|said| said.contains("something else stands there")) {
            return false;
        }
        let mut stage = lock(&self.stage);
        let foreign = std::mem::take(&mut stage.checker.foreign);
        self.world.note("an operator moves away what is foreign");
        foreign.iter().any(|path| self.lake.take_away(path))
    }

    /// An operator gives up what cannot be had any more, as the message says; `false` if it does not say so.
    fn accept_loss(&self, ended: &Ended<Result<(), Halt>>) -> bool {
        // Only where somebody did change or take away what was needed.
        let touched = lock(&self.stage).drops.iter().any(|d| d.touched);
        if !touched || !said(ended).is_some_and(|said| said.contains("--accept-loss")) {
            return false;
        }
        let Ok(journal) = self.journal() else {
            return false;
        };
        let Some(batch) = journal
            .unfinished(PIPELINE)
            .ok()
            .and_then(|batches| Some(batches.first()?.number))
        else {
            return false;
        };
        self.world.note("an operator accepts the loss");
        let request = Request::Resolve {
            pipeline: PIPELINE.into(),
            batch,
        };
        let resolved = lakeward::operator::carry_out(journal.as_ref(), &[], &request);
        lock(&self.stage).checker.loss_accepted = true;
        resolved.is_ok()
    }

    /// Nothing strikes any more: all is drained, and draining it again changes nothing.
    fn finish<'a>(&'a self, mut setting: &'a Setting) -> Outcome {
        let mut last = String::new();
        let mut quiet = false;
        for _ in 0..LAST_LIVES {
            lock(&self.stage).do_rest();
            let ended = self.life(setting);
            setting = self.next_setting(&ended);
            quiet = matches!(ended, Ended::Returned(Ok(())));
            self.judge();
            if quiet && lock(&self.stage).acts.is_empty() {
                break;
            }
            if !quiet && !self.accept_loss(&ended) && !self.move_foreign(&ended) {
                last = format!("{ended:?}");
            }
        }
        let mut violations = Vec::new();
        if quiet {
            let before = self.landed();
            // I8: recovery once more is recovery once.
            let ended = self.life(setting);
            if !matches!(ended, Ended::Returned(Ok(()))) {
                violations.push(format!("I8: running once more ended in {ended:?}"));
            } else if self.landed() != before {
                violations.push("I8: running once more changed the lake".to_owned());
            }
        } else {
            violations.push(format!("it does not come to an end: {last}"));
        }
        self.world.watch(None);
        let mut stage = lock(&self.stage);
        let drops = stage.drops.clone();
        stage.checker.end(&drops);
        violations.extend(stage.checker.violations.iter().cloned());
        Outcome {
            trace: self.world.trace(),
            calls: self.world.calls(),
            faults: self.world.faults(),
            deaths: self.world.deaths(),
            batches: stage.checker.batches(),
            files: drops.len(),
            shapes: Vec::new(),
            violations,
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

    /// One process from its start to its end.
    fn life(&self, setting: &Setting) -> Ended<Result<(), Halt>> {
        self.world.revive();
        self.world.note("a process begins");
        let schedule = Schedule::new(self.world.clone(), self.plan.switches, self.plan.broken);
        schedule.run(|| self.process(setting))
    }

    fn process(&self, setting: &Setting) -> Result<(), Halt> {
        let config = self.config(setting);
        let world = &self.world;
        let journal = self.journal()?;
        let settings = config.pipelines[0].source.spool.clone();
        let spool = spool::open(&self.disk, world, settings)?;
        let ports = Ports {
            clock: Arc::clone(&self.clock),
            journal,
            lake: Arc::new(SimLake::new(&self.lake, world.clone())),
            spool: Arc::new(spool),
            catalog: None,
        };
        let pipeline = pipeline_of(&config, ports, self.place);
        pipeline.run()
    }

    fn journal(&self) -> Result<Arc<dyn Journal>, Halt> {
        let id = JournalId(0x51d0_0000_0000_0001);
        let world = self.world.clone();
        Ok(match self.plan.journal {
            JournalKind::Memory => {
                let journal = self.memory.open(Arc::clone(&self.clock), id)?;
                Arc::new(FaultyJournal::new(world, journal))
            }
            JournalKind::Sqlite => {
                let around = Surroundings {
                    clock: Arc::clone(&self.clock),
                    id: Some(id),
                };
                let journal = SqliteJournal::open_with(&self.place.state(), around)?;
                Arc::new(FaultyJournal::new(world, journal))
            }
        })
    }

    fn config(&self, setting: &Setting) -> Config {
        let known = || self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().iter().find(|(of, _)| of == setting).cloned();
        if let Some((_, config)) = found {
            return config;
        }
        let config = self.load(setting);
        known().push((setting.clone(), config.clone()));
        config
    }

    fn load(&self, setting: &Setting) -> Config {
        let path = self.place.dir.path().join("lakeward.toml");
        std::fs::write(&path, toml(setting, self.plan.lake)).expect("a configuration");
        let mut config = load(&path).expect("a configuration");
        let source = &mut config.pipelines[0].source;
        source.reading.segment_bytes = setting.segment_bytes;
        source.spool.path = SPOOL.into();
        source.spool.quarantine_dir = ".quarantine".into();
        source.spool.retire_dir = (setting.retire == Retire::Move).then(|| RETIRED.into());
        config
    }

    /// What no process may leave behind.
    fn judge(&self) {
        self.judge_journal();
        let mut stage = lock(&self.stage);
        stage.step(&self.world);
        stage.judge_gone();
    }

    /// What no process may leave in the journal.
    fn judge_journal(&self) {
        let Some(journal) = self.journal_as_it_is() else {
            return;
        };
        let wrong = ledger::faults(journal.as_ref(), PIPELINE);
        lock(&self.stage).checker.violations.extend(wrong);
    }

    /// Without faults; `None` if there is none yet.
    fn journal_as_it_is(&self) -> Option<Box<dyn Journal>> {
        match self.plan.journal {
            JournalKind::Memory => {
                let journal = self.memory.read(Arc::clone(&self.clock))?;
                Some(Box::new(journal))
            }
            JournalKind::Sqlite => {
                let around = Surroundings {
                    clock: Arc::clone(&self.clock),
                    id: Some(JournalId(0)),
                };
                match SqliteJournal::open_with(&self.place.state(), around) {
                    Ok(journal) => Some(Box::new(journal)),
                    Err(error) => panic!("between two processes: {error}"),
                }
            }
        }
    }

    /// What the death of a process does to what it leaves.
    fn after(&self, ended: &Ended<Result<(), Halt>>) {
        self.judge();
        let died = matches!(ended, Ended::Died | Ended::Stuck);
        if matches!(ended, Ended::Stuck) {
            let stuck = "everybody waits for somebody".to_owned();
            lock(&self.stage).checker.violations.push(stuck);
        }
        if let Ended::Returned(Err(Halt::Bug(text))) = ended {
            let text = format!("a bug: {text}");
            lock(&self.stage).checker.violations.push(text);
        }
        self.lake.process_died();
        self.disk.end_process();
        if !died {
            return;
        }
        let cut = match self.plan.power {
            Power::Never => false,
            Power::Always => true,
            Power::Later => self.world.deaths() > 1,
            Power::OnceIn(often) => self.world.below(often) == 0,
        };
        if cut {
            self.world.note("the power goes");
            self.lake.power_cut(&self.world);
            self.disk.power_cut(&self.world);
            if self.plan.lake != LakeKind::Local {
                tear_directory(&self.world, &self.place.staging());
            }
        }
    }
}

/// The program's own pipeline, to be run once on these ports.
pub(super) fn pipeline_of(config: &Config, ports: Ports, place: &Place) -> Arc<Pipeline> {
    Arc::new(Pipeline {
        settings: Arc::new(config.pipelines[0].clone()),
        agent: Arc::new(config.agent.clone()),
        ports,
        orders: Orders {
            once: true,
            stop: Arc::new(Stop::default()),
            rewind: Arc::new(AtomicBool::new(false)),
        },
        tally: Arc::new(Tally::new(PIPELINE, false)),
        memory: config.agent.memory,
        staging_dir: place.staging(),
    })
}

/// Why a process halted.
fn said(ended: &Ended<Result<(), Halt>>) -> Option<String> {
    match ended {
        Ended::Returned(Err(halt)) => Some(halt.to_string()),
        _ => None,
    }
}

pub(super) fn toml(setting: &Setting, lake: LakeKind) -> String {
    let lake = match lake {
        LakeKind::Local => "type = \"fs\"\nroot = \"lake\"".to_owned(),
        LakeKind::Hdfs => {
            "type = \"hdfs\"\nname_node = \"hdfs://127.0.0.1:1\"\nroot = \"/lake\"".to_owned()
        }
        LakeKind::S3 => format!(
            "type = \"s3\"\nbucket = \"b\"\nendpoint = \"http://127.0.0.1:1\"\nconditional_writes = {}",
            !setting.weak
        ),
    };
    let (retire, more) = match setting.retire {
        Retire::Rename => ("rename", ""),
        Retire::Move => ("move", "retire_dir = \"retired\"\n"),
        Retire::Delete => ("delete", ""),
        Retire::Keep => ("keep", ""),
    };
    let (format, compression) = if setting.parquet {
        ("parquet", "zstd")
    } else {
        ("ndjson", "none")
    };
    let journal = if setting.payload {
        "payload"
    } else {
        "offsets"
    };
    let (lanes, path, records) = (setting.lanes, setting.path, setting.roll_records);
    format!(
        r#"
[agent]
state_dir = "state"
lanes = {lanes}
free_bytes_min = 0
[lake]
{lake}
[[pipeline]]
name = "{PIPELINE}"
[pipeline.source]
path = "spool"
order = "name"
ready_after = "0s"
retire = "{retire}"
{more}[pipeline.channel]
journal = "{journal}"
[pipeline.schema]
columns = {{ id = "string", day = "string" }}
[pipeline.sink]
path = "{path}"
format = "{format}"
compression = "{compression}"
rejects_max = 1000
[pipeline.sink.roll]
records = {records}
"#
    )
}

impl Stage {
    /// Before each call of the program: what others do meanwhile, and what a reader sees.
    fn step(&mut self, world: &World) {
        while let Some((at, _)) = self.acts.front() {
            if *at > world.calls() {
                break;
            }
            if let Some((_, act)) = self.acts.pop_front() {
                self.act(&act);
            }
        }
        self.checker.look();
        for event in self.disk.events() {
            let to = event.to.as_deref();
            let back = |to: &Path| self.drops.iter().any(|d| to == Path::new(&place(&d.path)));
            if to.is_some_and(|to| to.starts_with(QUARANTINE) || back(to)) {
                self.gone.remove(&event.node);
            } else {
                self.gone.insert(event.node, event.content);
            }
        }
    }

    /// A process ended: what left the spool has left it. Before that it may have been put back, if somebody replaced it at that moment.
    fn judge_gone(&mut self) {
        for (_, content) in std::mem::take(&mut self.gone) {
            self.left(&content);
        }
    }

    /// What had not happened yet when all was drained.
    fn do_rest(&mut self) {
        while let Some((_, act)) = self.acts.pop_front() {
            self.act(&act);
        }
    }

    fn left(&mut self, bytes: &[u8]) {
        // One that was sent again is skipped on the word of the first; one that was changed has other bytes.
        let dropped = self.drops.iter().rev().find(|d| d.bytes == bytes);
        if let Some(dropped) = dropped.filter(|d| !d.cut) {
            let before = self.checker.violations.len();
            self.checker.left_the_spool(dropped);
            if self.checker.violations.len() > before {
                self.world.note("VIOLATION here");
            }
        }
    }

    fn act(&mut self, act: &Act) {
        self.world.note(&format!("{act:?}"));
        match act {
            Act::Drop {
                path,
                records,
                broken,
                synced,
            } => self.drop_new(path, *records, *broken, *synced, false),
            Act::DropAgain { drop } => {
                // What somebody changed was another file, of which a part may have landed.
                let Some(dropped) = self.drops.get(*drop).filter(|d| !d.touched).cloned() else {
                    return;
                };
                if self.disk.read(place(&dropped.path)).is_none() {
                    self.again.insert(*drop);
                    self.disk
                        .drop_file(place(&dropped.path), &dropped.bytes, true);
                }
            }
            Act::Append { drop } => {
                if let Some(path) = self.standing(*drop) {
                    let more = records::line(*drop, 1000);
                    self.disk.append(place(&path), more.as_bytes());
                    self.drops[*drop].touched = true;
                    self.drops[*drop].more.push(format!("{drop}-1000"));
                }
            }
            Act::Replace { drop, records } => {
                if let Some(path) = self.standing(*drop) {
                    self.drops[*drop].touched = true;
                    self.drop_new(&path, *records, 0, true, true);
                }
            }
            Act::Truncate { drop } => {
                if let Some(path) = self.standing(*drop) {
                    self.drops[*drop].touched = true;
                    // Before it is durable, a cut may be undone by a power cut.
                    self.drops[*drop].cut = true;
                    let length = self.drops[*drop].bytes.len() / 2;
                    self.disk.truncate(place(&path), length);
                }
            }
            Act::Rename { drop } => {
                // One whose cut was undone by a power cut has changed, too.
                let standing = self.standing(*drop).filter(|_| !self.drops[*drop].cut);
                if let Some(path) = standing {
                    let to = format!("z-{path}");
                    self.drops[*drop].touched = true;
                    self.drops[*drop].path.clone_from(&to);
                    self.disk.rename(place(&path), place(&to));
                }
            }
            Act::Jump { seconds } => self.world.jump(seconds * 1_000_000_000),
            Act::Deliver => {
                self.lake.deliver(&self.world);
            }
            Act::EmptyStaging => empty(&self.staging),
            Act::Foreign => self.put_foreign(),
        }
    }

    /// Somebody else's file takes the name of a data file that has not landed yet.
    fn put_foreign(&mut self) {
        if let Some(path) = self.checker.not_landed() {
            self.lake.put_foreign(&path, b"somebody else's\n");
            self.checker.foreign.insert(path);
        }
    }

    fn drop_new(&mut self, path: &str, records: u64, broken: u64, synced: bool, touched: bool) {
        let dropped = Dropped {
            touched,
            ..dropped(self.drops.len(), path, records, broken)
        };
        self.disk.drop_file(place(path), &dropped.bytes, synced);
        self.drops.push(dropped);
    }

    /// The path of a drop whose file stands in the spool as it was dropped. One that was renamed is left alone, since renamed *and* changed
    /// it counts as new, and so is an equal drop: changed or renamed it is another file that shares records.
    fn standing(&self, drop: usize) -> Option<String> {
        let dropped = self.drops.get(drop)?;
        if dropped.path.starts_with("z-") || self.again.contains(&drop) {
            return None;
        }
        let content = self.disk.read(place(&dropped.path))?;
        (content == dropped.bytes).then(|| dropped.path.clone())
    }
}

fn place(path: &str) -> String {
    format!("{SPOOL}/{path}")
}

pub(super) fn dropped(number: usize, path: &str, records: u64, broken: u64) -> Dropped {
    let mut text = String::new();
    let mut ids = Vec::new();
    for at in 0..records {
        if at < broken {
            text += &records::broken_line(number, at);
        } else {
            text += &records::line(number, at);
        }
        ids.push(format!("{number}-{at}"));
    }
    Dropped {
        path: path.to_owned(),
        bytes: text.into_bytes(),
        ids,
        more: Vec::new(),
        cut: false,
        touched: false,
    }
}

pub(super) fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let _gone = std::fs::remove_file(entry.path());
    }
}
