//! The power goes: journal, spool, staging and lake are on one disk of [`super::durable`], which keeps what was synced and
//! of the rest what chance decides.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use serde_json::json;

use super::agent::Agent;
use super::chance::Chance;
use super::durable::Tree;
use super::ground::Ground;
use super::history::History;
use super::moment::steps;
use super::mounted::Mounted;
use super::pipelines::Pipeline;
use super::producer::Producer;
use super::totals::Totals;
use crate::support::{Reader, Site};

/// After so many changes and syncs the power goes at the latest; a run that lands a few files needs fewer.
const STEPS_MAX: u64 = 500;
/// A run over it may take this long, and then the power goes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ground on a disk whose power can be cut.
pub struct Power {
    pub ground: Ground,
    at: PathBuf,
    /// `None` only while it is changed for another.
    disk: Option<Mounted>,
    /// While the program runs the disk syncs nothing: for the test that shows that this is found out.
    pub lies: bool,
}

impl Power {
    /// Why it cannot be had, where nothing can be mounted.
    pub fn on(
        name: &str,
        pipelines: Vec<Pipeline>,
        history: &Arc<History>,
    ) -> Result<Self, std::io::Error> {
        let site = Site::empty();
        let at = site.path("disk");
        std::fs::create_dir(&at)?;
        let disk = Mounted::at(&at, Tree::default())?;
        let mut ground = Ground::local_in(site, "disk/", name, pipelines, history);
        // The program refuses a journal over FUSE, with good reason but for this.
        ground.environment = vec![("LAKEWARD_BROKEN", "journal-on-fuse")];
        // The spools are older than the producer and the program.
        disk.tree().sync_all();
        Ok(Self {
            ground,
            at,
            disk: Some(disk),
            lies: false,
        })
    }

    pub fn producer(&self, ids: &Arc<AtomicI64>, chance: Chance) -> Producer {
        let mut producer = self.ground.producer(ids, chance);
        producer.durable = true;
        producer
    }

    fn disk(&self) -> &Mounted {
        self.disk.as_ref().expect("a disk")
    }

    /// Whether the disk lies, from now on until the power goes.
    fn set_deaf(&self, deaf: bool) {
        self.disk().tree().deaf = deaf;
    }

    /// The disk holds this from now on.
    fn change_to(&mut self, tree: Tree) {
        self.disk = None;
        self.disk = Some(Mounted::at(&self.at, tree).expect("it could be mounted before"));
    }

    /// Runs the program until the power goes at this step; whether it got so far.
    fn run_until(&mut self, step: u64, seed: u64, totals: &mut Totals) -> bool {
        self.disk().tree().cut_at(step, seed);
        let mut agent = Agent::start(&self.ground, &["run", "--once"]);
        let start = Instant::now();
        let mut ended = None;
        while ended.is_none() && !self.disk().tree().is_cut() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
            ended = agent.ended();
        }
        let cut = self.disk().tree().is_cut();
        agent.kill();
        if ended.is_some_and(|status| !status.success()) && !cut {
            totals.wrong(format!(
                "{}: a run ended with {ended:?}\n{}",
                self.ground.name,
                self.ground.last_words()
            ));
        }
        let left = self.disk().tree().after_cut(seed);
        self.change_to(left);
        let met = steps(&self.ground.var, &self.ground.staging, &self.ground.lake());
        totals.fault("power cuts");
        if !met.is_empty() {
            totals.fault("power cuts after which a batch was open or unfinished");
        }
        let words: Vec<&str> = met.iter().map(|step| step.words()).collect();
        self.ground
            .note(json!({"event": "power cut", "step": step, "seed": seed, "reached": cut, "steps": words}));
        // I2: after it too nothing that is seen is torn or there twice.
        let looked = super::onlooker::try_look(&mut Reader::of(self.ground.lake()));
        totals.looks += 1;
        if let Err(wrong) = looked {
            totals.wrong(format!("{}: after a power cut: {wrong}", self.ground.name));
        }
        cut
    }

    pub fn end(mut self, totals: &mut Totals) {
        if !self.ground.end(totals) {
            let left = self.ground.site.path("disk-at-the-end");
            let _copied = Command::new("cp")
                .arg("-a")
                .args([&self.at, &left])
                .status();
        }
        // Before the directory that it is mounted in goes.
        self.disk = None;
    }
}

/// So many cuts, at steps that nobody chose, files dropped in between.
pub fn cut(
    power: &mut Power,
    cuts: u64,
    producer: &mut Producer,
    chance: &mut Chance,
    totals: &mut Totals,
) {
    for _ in 0..cuts {
        power.set_deaf(false);
        for _ in 0..chance.below(5) {
            producer.drop_one();
        }
        power.set_deaf(power.lies);
        let below = chance.pick(&[40, 150, STEPS_MAX]);
        let step = chance.below(below);
        power.run_until(step, chance.next(), totals);
    }
}
