//! The rarer moments, waited for: most of a batch's life is spent before it is staged, and a kill at random seldom meets
//! what comes after.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::chance::Chance;
use super::ground::{Ground, Lake};

/// What is seen to happen from outside, in the order in which a batch does it.
#[derive(Clone, Copy, Debug)]
enum Sign {
    Staging,
    Manifest,
    Landing,
    Retiring,
}

pub struct Aim {
    sign: Sign,
    places: Vec<PathBuf>,
    before: BTreeSet<OsString>,
}

impl Aim {
    /// A sign that can be seen here without asking a server.
    pub fn at(ground: &Ground, chance: &mut Chance) -> Self {
        let sign = match &ground.lake {
            Lake::Local(_) => chance.pick(&[
                Sign::Staging,
                Sign::Manifest,
                Sign::Landing,
                Sign::Landing,
                Sign::Retiring,
            ]),
            Lake::S3(_) => chance.pick(&[Sign::Staging, Sign::Retiring]),
        };
        let places = match (sign, &ground.lake) {
            (Sign::Manifest, Lake::Local(root)) => vec![root.join("_lakeward/manifests")],
            (Sign::Landing, Lake::Local(root)) => {
                let pipelines = ground.pipelines.iter();
                pipelines
                    .map(|pipeline| root.join(&pipeline.name))
                    .collect()
            }
            (Sign::Retiring, _) => vec![ground.spools.clone()],
            _ => vec![ground.staging.clone()],
        };
        let mut aim = Self {
            sign,
            places,
            before: BTreeSet::new(),
        };
        aim.before = aim.seen();
        aim
    }

    /// Comes back at the sign, when the program has ended, or when nothing has happened for long.
    pub fn wait(&self, agent: &mut Agent, limit: Duration) {
        let start = Instant::now();
        while start.elapsed() < limit && agent.ended().is_none() && !self.has_happened() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn has_happened(&self) -> bool {
        let now = self.seen();
        match self.sign {
            // A producer adds, a name that is gone was retired.
            Sign::Retiring => !self.before.is_subset(&now),
            _ => !now.is_subset(&self.before),
        }
    }

    fn seen(&self) -> BTreeSet<OsString> {
        let mut seen = BTreeSet::new();
        for place in &self.places {
            names_below(place, &mut seen);
        }
        seen
    }
}

/// Names are new for each file of a lake; in a spool, those that are used again stand for themselves.
fn names_below(dir: &Path, names: &mut BTreeSet<OsString>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names_below(&entry.path(), names);
        } else {
            names.insert(entry.path().into_os_string());
        }
    }
}
