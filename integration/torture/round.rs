//! The kinds of rounds, and a run of many.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use serde_json::json;

use super::chance::Chance;
use super::disks::{Narrow, Place, Rights};
use super::ground::Ground;
use super::history::History;
use super::killing::{Mayhem, Peace, kill};
use super::onlooker::{Onlooker, Pause};
use super::pipelines::of_round;
use super::power::{Power, cut};
use super::store::{SECRET, Storm};
use super::strace;
use super::totals::Totals;
use crate::means::{OwnMinio, without_power};
use crate::proxy::Proxy;
use crate::support::{S3, runtime};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// kill -9 and SIGSTOP over a local lake.
    Local,
    /// The same over MinIO.
    Minio,
    /// The same while a proxy spoils exchanges and MinIO is killed and started again.
    Store,
    /// The same while the disk under the journal, the spool, the lake or staging is full or read-only at times; in turn.
    Disks,
    /// The same while rights are taken away.
    Rights,
    /// The power goes, after changes and syncs that were recorded.
    Power,
}

impl Kind {
    /// Those that the program must pass.
    pub const ALL: [Self; 6] = [
        Self::Local,
        Self::Minio,
        Self::Store,
        Self::Disks,
        Self::Rights,
        Self::Power,
    ];

    /// Over a store everything takes longer, and a cut takes a fifth of what a kill takes.
    pub fn share_of(self, kills: u64) -> u64 {
        match self {
            Self::Local => kills,
            Self::Power => kills * 5,
            Self::Minio => kills.div_ceil(3),
            Self::Store | Self::Disks | Self::Rights => kills.div_ceil(5),
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Minio => "minio",
            Self::Store => "store",
            Self::Disks => "disks",
            Self::Rights => "rights",
            Self::Power => "power",
        }
    }
}

/// A run: rounds of some kinds from a seed.
pub struct Torture {
    dir: PathBuf,
    ids: Arc<AtomicI64>,
    seed: u64,
    /// Started when it is needed first.
    minio: Option<OwnMinio>,
    pause: Pause,
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
            minio: None,
            pause: Pause::default(),
            totals: Totals::default(),
        }
    }

    /// A round of this kind with so many kills; what meets in it follows from its number.
    pub fn round(&mut self, kind: Kind, number: u64, kills: u64) {
        let start = Instant::now();
        let name = format!("{}-{}", kind.word(), number);
        let path = self.dir.join(format!("{name}.jsonl"));
        let history = Arc::new(History::begin(path));
        history.add(json!({"event": "begin", "seed": self.seed, "round": number}));
        let mut chance = Chance::of(self.seed ^ (number << 32) ^ kind as u64);
        let mut totals = Totals::default();
        let pipelines = of_round(number, 3);
        match kind {
            Kind::Local => {
                let ground = Ground::local(&name, pipelines, &history);
                self.fight(ground, kills, &mut Peace, &mut chance, &mut totals);
            }
            Kind::Minio => {
                let Some(s3) = self.s3(&name) else {
                    return;
                };
                let ground = Ground::s3(&name, pipelines, &history, &s3, s3.clone());
                self.fight(ground, kills, &mut Peace, &mut chance, &mut totals);
            }
            Kind::Store => {
                let Some((direct, mut minio)) = self.s3(&name).zip(self.minio.take()) else {
                    return;
                };
                let proxy = Proxy::start(&runtime(), &direct.endpoint);
                let s3 = S3 {
                    endpoint: proxy.endpoint(),
                    ..direct.clone()
                };
                let ground = Ground::s3(&name, pipelines, &history, &s3, direct);
                let mut storm = Storm::new(&mut minio, &proxy, self.pause.clone());
                self.fight(ground, kills, &mut storm, &mut chance, &mut totals);
                self.minio = Some(minio);
            }
            Kind::Disks => {
                let place = Place::ALL[(number % Place::ALL.len() as u64) as usize];
                let pipelines = match place {
                    // Of every other number one pipeline moves for sure.
                    Place::Archive => of_round(number | 1, 3),
                    _ => pipelines,
                };
                let mut ground = if place == Place::Staging {
                    let Some(s3) = self.s3(&name) else {
                        return;
                    };
                    Ground::s3(&name, pipelines, &history, &s3, s3.clone())
                } else {
                    Ground::local(&name, pipelines, &history)
                };
                let mut narrow = Narrow::under(&mut ground, place);
                self.fight(ground, kills, &mut narrow, &mut chance, &mut totals);
            }
            Kind::Rights => {
                if !rustix::process::geteuid().is_root() {
                    return println!(
                        "{name}: left out, since only root can give rights back to what it took them from"
                    );
                }
                let mut ground = Ground::local(&name, pipelines, &history);
                ground.before = without_power();
                let mut rights = Rights::over(&ground);
                self.fight(ground, kills, &mut rights, &mut chance, &mut totals);
            }
            Kind::Power => {
                if strace::is_left_out() {
                    return println!("{name}: left out, as LAKEWARD_TEST_WITHOUT says");
                }
                let mut power = Power::on(&name, pipelines, &history);
                let mut producer = power.producer(&self.ids, chance.fork());
                match cut(&mut power, kills, &mut producer, &mut chance, &mut totals) {
                    Ok(()) => power.end(&mut totals),
                    Err(finding) => power.tell(finding, &mut totals),
                }
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
    }

    /// A place of its own in MinIO; `None` if that was left out by hand.
    fn s3(&mut self, name: &str) -> Option<S3> {
        if self.minio.is_none() {
            self.minio = OwnMinio::start(SECRET);
        }
        let Some(minio) = &self.minio else {
            println!("{name}: left out, as LAKEWARD_TEST_WITHOUT says");
            return None;
        };
        Some(S3 {
            root: name.to_owned(),
            ..minio.s3(SECRET)
        })
    }

    pub fn fight(
        &self,
        mut ground: Ground,
        kills: u64,
        mayhem: &mut dyn Mayhem,
        chance: &mut Chance,
        totals: &mut Totals,
    ) {
        let mut producer = ground.producer(&self.ids, chance.fork());
        producer.long_files = true;
        let producer = producer.start();
        let onlooker = Onlooker::start(&ground.lake, self.pause.clone(), chance.fork());
        kill(&ground, kills, mayhem, chance, totals);
        mayhem.settle();
        producer.end();
        onlooker.end(totals);
        ground.end(totals);
    }
}
