//! Lives of one agent's process on simulated ports, each call of which can be struck, or be the moment at which something else happens.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lakeward::clock::Clock;
use lakeward::config::{Config, PipelineSettings};
use lakeward::journal::{FileState, Journal, Request};
use lakeward::pipeline::{Halt, Ports};
use lakeward::segment::JournalId;
use lakeward::{operator, rebuild};

use super::super::acts::empty;
use super::super::checker::Dropped;
use super::super::driver::{once, pipeline_of};
use super::super::journal::store::Disk as JournalDisk;
use super::super::lake::{Kind, LakeStore, SimLake, tear_directory};
use super::super::operator::{rebuild_journal, roots};
use super::super::place::{PIPELINE, Place, configured, toml};
use super::super::plan::Setting;
use super::super::records::dropped;
use super::super::spool::{self, SimSpool, SpoolDisk};
use super::super::turns::{Ended, Schedule};
use super::super::world::{Fate, World};
use super::cues::{Cue, Script, What};
use super::make::{Life, Seen};

/// Processes that a scenario may need until all is drained.
const LIVES_MAX: u32 = 6;

/// How a process ended.
#[derive(Debug)]
pub enum End {
    Drained,
    Halted(Halt),
    Died,
}

pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Rig {
    pub world: World,
    pub lake: Arc<LakeStore>,
    pub disk: SpoolDisk,
    pub store: JournalDisk,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) spool: &'static str,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) broken: &'static str,
    pub(super) life: Mutex<Life>,
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) script: Arc<Script>,
    /// Ids given out.
    pub(super) journals: Arc<AtomicU64>,
    /// Another agent is only frozen while this one runs: what is left of it is not cleared away.
    pub(super) others_live: AtomicBool,
    pub(super) is_upgraded: AtomicBool,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.world.watch(None);
        self.world.before(None);
    }
}

impl Rig {
    /// The other agent is frozen meanwhile, and its machine was given up: its locks are gone.
    pub fn while_another_is_frozen(&self, act: impl FnOnce(&Self)) {
        self.disk.end_process();
        self.others_live.store(true, Ordering::SeqCst);
        act(self);
        self.others_live.store(false, Ordering::SeqCst);
    }

    /// Whether it is a wrong variant of the program or of its client that runs, which need not stop where it should.
    pub fn is_wrong(&self) -> bool {
        !self.broken.is_empty() || self.lake.options().wrong.is_some()
    }

    // What the next process is configured with.

    pub fn set(&self, set: impl FnOnce(&mut Setting)) {
        set(&mut lock(&self.life).setting);
    }

    pub fn text(&self, text: impl Fn(String) -> String + Send + Sync + 'static) {
        lock(&self.life).text = Arc::new(text);
    }

    pub fn tweak(&self, tweak: impl Fn(&mut PipelineSettings) + Send + Sync + 'static) {
        lock(&self.life).tweak = Arc::new(tweak);
    }

    pub fn lake_is(&self, lake: &Arc<LakeStore>) {
        lock(&self.life).lake = Arc::clone(lake);
    }

    // The script.

    /// The call of this operation that comes after `skipped` others of it, of those whose subject holds this, has this fate.
    pub fn strike(&self, operation: &str, subject: &str, skipped: u32, fate: Fate) {
        self.cue(operation, subject, skipped, What::Strike(fate));
    }

    /// Just before that call this happens.
    pub fn when(
        &self,
        operation: &str,
        subject: &str,
        skipped: u32,
        act: impl FnOnce() + Send + 'static,
    ) {
        self.cue(operation, subject, skipped, What::Do(Box::new(act)));
    }

    fn cue(&self, operation: &str, subject: &str, left: u32, what: What) {
        lock(&self.script.cues).push(Cue {
            operation: operation.to_owned(),
            subject: subject.to_owned(),
            left,
            what,
        });
    }

    // What producers do.

    /// Drops so many records under a name; answers the drop's number.
    pub fn drop_file(&self, path: &str, records: u64) -> usize {
        let number = lock(&self.seen).drops.len();
        self.drop_as(dropped(number, path, records, 0))
    }

    pub fn drop_as(&self, dropped: Dropped) -> usize {
        self.disk
            .drop_file(self.at(&dropped.path), &dropped.bytes, true);
        let mut seen = lock(&self.seen);
        seen.drops.push(dropped);
        seen.drops.len() - 1
    }

    /// Drops files while this rig is in use otherwise.
    pub fn dropper(&self) -> impl Fn(&str, u64) + Send + 'static {
        let (seen, disk, spool) = (Arc::clone(&self.seen), self.disk.clone(), self.spool);
        move |path, records| {
            let mut seen = lock(&seen);
            let dropped = dropped(seen.drops.len(), path, records, 0);
            disk.drop_file(format!("{spool}/{path}"), &dropped.bytes, true);
            seen.drops.push(dropped);
        }
    }

    /// The same bytes once more, in another file of that name.
    pub fn drop_again(&self, number: usize) {
        let dropped = self.dropped(number);
        self.disk
            .drop_file(self.at(&dropped.path), &dropped.bytes, true);
    }

    pub fn dropped(&self, number: usize) -> Dropped {
        lock(&self.seen).drops[number].clone()
    }

    /// Somebody changed it, so that all of it need not land.
    pub fn touched(&self, number: usize) {
        lock(&self.seen).drops[number].touched = true;
    }

    /// Where a name of the spool is on the disk.
    pub fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.spool)
    }

    /// What stands under a name of the spool.
    pub fn stands(&self, path: &str) -> Option<Vec<u8>> {
        self.disk.read(self.at(path))
    }

    pub fn is_quarantined(&self, path: &str) -> bool {
        self.stands(&format!(".quarantine/{path}")).is_some()
    }

    // What befalls the machine.

    /// From now on the program is another version, which writes other bytes for the same records.
    pub fn upgrade(&self) {
        self.is_upgraded.store(true, Ordering::SeqCst);
    }

    pub fn empty_staging(&self) {
        empty(&self.place.staging());
    }

    /// The staged files have their length and no contents.
    pub fn zero_staging(&self) {
        let mut zeroed = 0;
        for entry in std::fs::read_dir(self.place.staging()).expect("staging") {
            let path = entry.expect("an entry").path();
            let length = std::fs::read(&path).expect("a staged file").len();
            std::fs::write(&path, vec![0; length]).expect("a staged file");
            zeroed += 1;
        }
        assert!(zeroed > 0, "nothing is staged");
    }

    pub fn power_cut(&self) {
        self.lake.power_cut(&self.world);
        self.disk.power_cut(&self.world);
        if self.kind != Kind::Local {
            tear_directory(&self.world, &self.place.staging());
        }
        lock(&self.seen).look();
    }

    // Processes.

    pub fn run(&self) -> End {
        self.process(|| self.land())
    }

    #[track_caller]
    pub fn drains(&self) {
        let end = self.run();
        assert!(matches!(end, End::Drained), "{end:?}");
    }

    #[track_caller]
    pub fn dies(&self) {
        let end = self.run();
        assert!(matches!(end, End::Died), "{end:?}");
    }

    /// The process stops with a message that holds all of these.
    #[track_caller]
    pub fn halts(&self, words: &[&str]) {
        let End::Halted(halt) = self.run() else {
            panic!("it went on instead of saying {words:?}");
        };
        let text = halt.to_string();
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(*word)).collect();
        assert!(missing.is_empty(), "{missing:?} is not said in: {text}");
    }

    /// `lakeward rebuild`.
    pub fn rebuild(&self) -> End {
        self.process(|| self.make_again())
    }

    #[track_caller]
    pub fn rebuilds(&self) {
        let end = self.rebuild();
        assert!(matches!(end, End::Drained), "{end:?}");
    }

    /// `lakeward release`, of the one file that is quarantined.
    pub fn release(&self) -> Result<String, Halt> {
        let answer = Mutex::new(None);
        let end = self.process(|| {
            let ports = self.ports(&self.config())?;
            let rows = ports
                .journal
                .files_in(PIPELINE, &[FileState::Quarantined])?;
            let place = operator::Place {
                pipeline: PIPELINE.into(),
                root: self.spool.into(),
                spool: ports.spool,
                lake: ports.lake,
                journal_path: String::new(),
            };
            let request = Request::Release {
                file: rows[0].id,
                as_new: false,
            };
            let said = operator::carry_out(ports.journal.as_ref(), &[place], &request)?;
            *lock(&answer) = Some(said);
            Ok(())
        });
        match end {
            End::Halted(halt) => Err(halt),
            _ => Ok(lock(&answer).take().expect("an answer")),
        }
    }

    /// On a thread of its own, since this may happen in the midst of another process.
    fn process(&self, process: impl FnOnce() -> Result<(), Halt> + Send) -> End {
        self.world.revive();
        let upgraded = if self.is_upgraded.load(Ordering::SeqCst) {
            "another-encoder"
        } else {
            ""
        };
        let schedule = Schedule::new(self.world.clone(), 0, [self.broken, upgraded]);
        let ended = std::thread::scope(|scope| scope.spawn(|| schedule.run(process)).join());
        let ended = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if !self.others_live.load(Ordering::SeqCst) {
            self.lake.process_died();
            self.disk.end_process();
        }
        lock(&self.seen).look();
        match ended {
            Ended::Returned(Ok(())) => End::Drained,
            Ended::Returned(Err(Halt::Bug(text))) => panic!("a bug: {text}"),
            Ended::Returned(Err(halt)) => End::Halted(halt),
            Ended::Died => End::Died,
            Ended::Stuck => panic!("everybody waits for somebody"),
        }
    }

    fn land(&self) -> Result<(), Halt> {
        let config = self.config();
        let ports = self.ports(&config)?;
        pipeline_of(&config, ports, once(), self.place.staging()).run()
    }

    fn make_again(&self) -> Result<(), Halt> {
        let config = self.config();
        let place = rebuild::Place {
            pipeline: PIPELINE.into(),
            lake: Arc::new(self.lake_client()),
            spool: Arc::new(self.spool_client(&config)?),
            payload: lock(&self.life).setting.payload,
            registers: false,
            roots: roots(&config),
        };
        let fresh = self.fresh_journal();
        rebuild_journal(&config, place, &self.store, &self.world, &self.clock, fresh)
    }

    fn fresh_journal(&self) -> JournalId {
        JournalId(0x51d0_0000_0000_0001 + self.journals.fetch_add(1, Ordering::SeqCst))
    }

    fn lake_client(&self) -> SimLake {
        SimLake::new(&lock(&self.life).lake, self.world.clone())
    }

    fn spool_client(&self, config: &Config) -> Result<SimSpool, Halt> {
        let settings = config.pipelines[0].source.spool.clone();
        Ok(spool::open(&self.disk, &self.world, settings)?)
    }

    fn ports(&self, config: &Config) -> Result<Ports, Halt> {
        let clock = Arc::clone(&self.clock);
        let journal = self.store.open(&self.world, clock, self.fresh_journal())?;
        Ok(Ports {
            clock: Arc::clone(&self.clock),
            journal,
            lake: Arc::new(self.lake_client()),
            spool: Arc::new(self.spool_client(config)?),
            catalog: None,
        })
    }

    fn config(&self) -> Config {
        let life = lock(&self.life);
        let text = (life.text)(toml(&life.setting, self.kind));
        let mut config = configured(&self.place, &text, &life.setting, self.spool);
        let pipeline = &mut config.pipelines[0];
        (life.tweak)(pipeline);
        config
    }

    /// Runs until all is drained, once more, and answers all that was wrong at any step.
    pub fn settled(&self) -> Vec<String> {
        let mut last = String::new();
        let mut drained = 0;
        for _ in 0..LIVES_MAX {
            match self.run() {
                End::Drained if drained == 1 => return self.verdict(),
                End::Drained => drained += 1,
                other => last = format!("{other:?}"),
            }
        }
        let mut found = self.verdict();
        found.push(format!("it does not come to an end: {last}"));
        found
    }

    #[track_caller]
    pub fn is_sound(&self) {
        let found = self.settled();
        assert!(found.is_empty(), "{found:#?}");
    }

    /// All that was wrong so far, if nothing more is to land.
    pub fn verdict(&self) -> Vec<String> {
        let mut seen = lock(&self.seen);
        seen.look();
        let drops = seen.drops.clone();
        seen.checker.end(&drops);
        let found: BTreeSet<String> = seen.checker.violations.iter().cloned().collect();
        let mut found: Vec<String> = found.into_iter().collect();
        for cue in lock(&self.script.cues).iter() {
            let (operation, subject) = (&cue.operation, &cue.subject);
            found.push(format!("`{operation}` of `{subject}` never came"));
        }
        found
    }
}
