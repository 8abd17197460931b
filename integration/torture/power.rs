//! The power goes. A run of the program over journal, spool, staging and lake is recorded call by call; then, for a cut after any
//! of its changes and syncs, what could be left of all this is put into a directory, and the program must come to terms with it.
//!
//! One of the cuts is what the next recorded run begins with, after more files were dropped: so there are cuts during the
//! recovery from a cut.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use serde_json::json;

use super::agent::Agent;
use super::chance::Chance;
use super::checker::{Verdict, check};
use super::copied::Spooled;
use super::durable::{Manner, Tree};
use super::ground::Ground;
use super::history::History;
use super::moment::steps;
use super::onlooker::try_look;
use super::pipelines::Pipeline;
use super::producer::Producer;
use super::recorded::{Deaf, Recorded};
use super::strace::record;
use super::totals::Totals;
use crate::support::{Reader, Site};

/// Recorded runs of a round, each but the first from a cut of the one before.
const LIVES: u64 = 5;
/// At each change and sync, as long as all of them are looked at.
const MANNERS: [Manner; 8] = [
    Manner::Nothing,
    Manner::Everything,
    Manner::Names,
    Manner::Contents,
    Manner::InOrder,
    Manner::Chance,
    Manner::Chance,
    Manner::Chance,
];

/// A ground whose power can be cut.
pub struct Power {
    pub ground: Ground,
    disk: PathBuf,
    spooled: Spooled,
    /// Only where this is to be found out.
    pub deaf: Option<Deaf>,
}

/// Something that must not be.
pub struct Finding {
    pub what: String,
    pub verdict: Verdict,
}

impl From<String> for Finding {
    fn from(what: String) -> Self {
        Self {
            what,
            verdict: Verdict::default(),
        }
    }
}

/// What the next run begins with: one of the trees, all alike, but those with something to recover first.
#[derive(Default)]
struct Next {
    tree: Option<Tree>,
    met: bool,
    offers: u64,
}

impl Next {
    fn offer(&mut self, tree: Tree, met: bool, chance: &mut Chance) {
        if met && !self.met {
            *self = Self {
                tree: None,
                met,
                offers: 0,
            };
        }
        if met == self.met {
            self.offers += 1;
            if chance.one_in(self.offers) {
                self.tree = Some(tree);
            }
        }
    }
}

impl Power {
    pub fn on(name: &str, pipelines: Vec<Pipeline>, history: &Arc<History>) -> Self {
        let site = Site::in_memory();
        let disk = site.path("disk");
        let spooled = Spooled::keep_in(site.path("spooled"));
        Self {
            ground: Ground::local_in(site, "disk/", name, pipelines, history),
            disk,
            spooled,
            deaf: None,
        }
    }

    pub fn producer(&self, ids: &Arc<AtomicI64>, chance: Chance) -> Producer {
        self.ground.producer(ids, chance)
    }

    /// A recorded run, and so many cuts of it.
    pub fn life(
        &mut self,
        cuts: u64,
        producer: &mut Producer,
        chance: &mut Chance,
        totals: &mut Totals,
    ) -> Result<(), Finding> {
        for _ in 0..2 + chance.below(4) {
            producer.drop_one();
        }
        for pipeline in &self.ground.pipelines {
            let spool = self.ground.spools.join(&pipeline.name);
            self.spooled.keep(&pipeline.name, &spool);
        }
        // A cut that keeps the one half of a move and not the other may have lost some.
        for lost in self.retired_and_gone() {
            self.spooled.forget(lost);
        }
        let before = Tree::taken_from(&self.disk, &self.spooled);
        let (site, log) = (&self.ground.site, self.ground.site.path("strace"));
        let mut command = site.command(&["run", "--once"]);
        command.envs(self.ground.environment.iter().copied());
        let (code, calls) = record(&command, &log);
        if code != Some(0) {
            let said = std::fs::read_to_string(log.with_extension("said")).unwrap_or_default();
            return Err(format!("a recorded run ended with {code:?}\n{said}").into());
        }
        let calls = calls?;
        let start = self.ground.site.path("");
        let (disk, start) = (self.disk.clone(), start.as_path());
        let run = |tree| Recorded::new(tree, &disk, start, &calls);
        let count = self.count_steps(run(before.clone()))?;
        totals.fault("power cuts: recorded runs");
        totals.faults("power cuts: recorded changes and syncs", count);

        let mut marks = HashSet::new();
        let mut next = Next::default();
        let mut run = run(before);
        run.deaf = self.deaf;
        while let Some(step) = run.step()? {
            for manner in MANNERS {
                if chance.below(count * MANNERS.len() as u64) >= cuts {
                    continue;
                }
                let tree = run.after_cut(manner, chance);
                totals.fault("power cuts: tried");
                if marks.insert(tree.mark()) {
                    let what =
                        format!("a cut after {step}, {manner:?} of what was not synced kept");
                    let met = self.recover(&tree, manner, &what, totals)?;
                    next.offer(tree, met, chance);
                }
            }
        }
        if let Some(next) = next.tree {
            next.put_into(&self.disk);
        }
        Ok(())
    }

    /// Changes and syncs of a whole run. What it leaves by the record is what it left.
    fn count_steps(&self, mut run: Recorded<'_>) -> Result<u64, String> {
        let mut count = 0;
        while run.step()?.is_some() {
            count += 1;
        }
        let left = Tree::taken_from(&self.disk, &self.spooled);
        match run.tree.difference(&left) {
            None => Ok(count),
            Some(path) => Err(format!(
                "the record does not lead to what is in `{}`",
                path.display()
            )),
        }
    }

    /// A run over what a cut has left lands all that there ever was, once. Whether there was something to recover.
    fn recover(
        &mut self,
        tree: &Tree,
        manner: Manner,
        cut: &str,
        totals: &mut Totals,
    ) -> Result<bool, Finding> {
        tree.put_into(&self.disk);
        let _none = std::fs::remove_file(self.ground.site.path("log"));
        totals.fault("power cuts: trees that differ");
        let met = steps(&self.ground.var, &self.ground.staging, &self.ground.lake());
        for step in &met {
            totals.fault(&format!(
                "power cuts: trees with a batch that was {}",
                step.words()
            ));
        }
        if !met.is_empty() {
            totals.fault("power cuts: trees with any of these");
        }
        let outcome = self.drained(manner, totals);
        if outcome.is_err() {
            tree.put_into(&self.ground.site.path("cut"));
            self.ground.note(json!({"event": "cut", "what": cut}));
        }
        match outcome {
            Ok(()) => Ok(!met.is_empty()),
            Err(mut finding) => {
                finding.what = format!("{cut}: {}", finding.what);
                Err(finding)
            }
        }
    }

    fn drained(&mut self, manner: Manner, totals: &mut Totals) -> Result<(), Finding> {
        // I2 visible-once: nothing that is seen is torn or there twice, and it stays (I3).
        let mut reader = Reader::of(self.ground.lake());
        try_look(&mut reader)?;
        let code = Agent::start(&self.ground, &["run", "--once"]).wait();
        if code != Some(0) {
            let said = self.ground.last_words();
            return Err(format!("the next run ended with {code:?}\n{said}").into());
        }
        try_look(&mut reader)?;
        totals.looks += 2;
        let verdict = check(&self.ground.history, &self.ground.name, &self.ground.lake());
        if !verdict.is_clean() {
            return Err(Finding {
                what: "the lake is wrong".to_owned(),
                verdict,
            });
        }
        totals.records += verdict.records;
        if let Some(changed) = self.spooled.changed() {
            return Err(format!("a spooled file was changed: {}", changed.display()).into());
        }
        match self.retired_and_gone().first() {
            Some(gone) if manner != Manner::Chance => {
                Err(format!("the spooled file of inode {gone} is gone").into())
            }
            _ => Ok(()),
        }
    }

    /// Spooled files that are neither where they were dropped nor where they were to be kept.
    fn retired_and_gone(&self) -> Vec<u64> {
        let mut gone = Vec::new();
        for Pipeline { name, retire, .. } in &self.ground.pipelines {
            if *retire != "delete" {
                let archive = self.disk.join("retired").join(name);
                let places = [self.ground.spools.join(name), archive];
                gone.extend(self.spooled.missing(name, &places));
            }
        }
        gone
    }

    pub fn end(mut self, totals: &mut Totals) {
        self.ground.end(totals);
    }

    pub fn tell(mut self, finding: Finding, totals: &mut Totals) {
        let kept = self.ground.site.keep().display().to_string();
        totals.wrong(format!("{}: {}", self.ground.name, finding.what));
        totals.take(&self.ground.name, finding.verdict);
        println!("kept for you to look at, the cut in cut/: {kept}");
    }
}

/// So many cuts, of several recorded runs.
pub fn cut(
    power: &mut Power,
    cuts: u64,
    producer: &mut Producer,
    chance: &mut Chance,
    totals: &mut Totals,
) -> Result<(), Finding> {
    for _ in 0..LIVES {
        power.life(cuts.div_ceil(LIVES), producer, chance, totals)?;
    }
    Ok(())
}
