//! The kinds of rounds, and a run of many.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use serde_json::json;

use super::chance::Chance;
use super::ground::Ground;
use super::history::History;
use super::killing::{Mayhem, Peace, kill};
use super::onlooker::Onlooker;
use super::pipelines::of_round;
use super::totals::Totals;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// kill -9 and SIGSTOP over a local lake.
    Local,
}

impl Kind {
    pub const ALL: [Self; 1] = [Self::Local];

    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
        }
    }
}

/// A run: rounds of some kinds from a seed.
pub struct Torture {
    dir: PathBuf,
    ids: Arc<AtomicI64>,
    seed: u64,
    round: u64,
    pub totals: Totals,
}

impl Torture {
    /// Histories go to `dir`.
    pub fn new(dir: &Path, seed: u64) -> Self {
        std::fs::create_dir_all(dir).expect("a directory");
        Self {
            dir: dir.to_owned(),
            ids: Arc::default(),
            seed,
            round: 0,
            totals: Totals::default(),
        }
    }

    /// A round of this kind with so many kills.
    pub fn round(&mut self, kind: Kind, kills: u64) {
        let start = Instant::now();
        let name = format!("{}-{}", kind.word(), self.round);
        let path = self.dir.join(format!("{name}.jsonl"));
        let history = Arc::new(History::begin(path));
        history.add(json!({"event": "begin", "seed": self.seed, "round": self.round}));
        let mut chance = Chance::of(self.seed ^ (self.round << 32) ^ kind as u64);
        let mut totals = Totals::default();
        match kind {
            Kind::Local => {
                let ground = Ground::local(&name, of_round(self.round, 3), &history);
                self.fight(ground, kills, &mut Peace, &mut chance, &mut totals);
            }
        }
        println!(
            "{name}: {} kills, {} records in {:.1} s, history {}",
            totals.kills,
            totals.records,
            start.elapsed().as_secs_f64(),
            history.path().display()
        );
        self.totals.add(totals);
        self.round += 1;
    }

    fn fight(
        &self,
        ground: Ground,
        kills: u64,
        mayhem: &mut dyn Mayhem,
        chance: &mut Chance,
        totals: &mut Totals,
    ) {
        let producer = ground.producer(&self.ids, chance.fork()).start();
        let onlooker = Onlooker::start(&ground.lake, chance.fork());
        kill(&ground, kills, mayhem, chance, totals);
        producer.end();
        onlooker.end(totals);
        ground.end(totals);
    }
}
