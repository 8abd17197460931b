//! Many runs: all single and double crashes of small workloads, and seeds by chance beyond.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use lakeward::spool::Retire;

use super::driver::{Outcome, Place, run, run_with};
use super::fates::{Script, Weather, all};
use super::lake::Kind as LakeKind;
use super::plan::{JournalKind, Plan, Power, Setting, small_drops};
use super::world::{Ending, Fate, Shape};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Sum {
    pub runs: u64,
    pub distinct: HashSet<u64>,
    pub crashes: u64,
    pub faults: u64,
    /// What was wrong, and how to see it again.
    pub violations: Vec<String>,
    /// Runs that had no two files, two batches and a fault: they count for nothing.
    pub idle: u64,
}

/// Violations that are kept in words.
const VIOLATIONS_MAX: usize = 20;

impl Sum {
    fn add(&mut self, outcome: &Outcome, what: impl FnOnce() -> String) {
        if !outcome.violations.is_empty() && self.violations.len() < VIOLATIONS_MAX {
            self.violations
                .push(format!("{}: {}", what(), outcome.violations.join("; ")));
        }
        if outcome.batches < 2 || outcome.files < 2 || outcome.faults == 0 {
            self.idle += 1;
            return;
        }
        self.runs += 1;
        self.crashes += outcome.deaths;
        self.faults += outcome.faults;
        self.distinct.insert(outcome.trace);
    }

    pub fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        self.distinct.extend(other.distinct);
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.violations.extend(other.violations);
        self.idle += other.idle;
    }

    /// The line that `make sim` ends with.
    pub fn line(&self) -> String {
        format!(
            "runs {}, distinct {}, crashes {}, violations {}",
            self.runs,
            self.distinct.len(),
            self.crashes,
            self.violations.len()
        )
    }
}

/// Does all of the work on all cores; each piece has a place of its own while it runs.
fn on_all_cores<T: Sync>(work: &[T], one: impl Fn(&T, &Place, &mut Sum) + Sync) -> Sum {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for core in 0..threads {
            let (next, total, one) = (&next, &total, &one);
            scope.spawn(move || {
                stay_on(core);
                let place = Place::new();
                let mut sum = Sum::default();
                while let Some(piece) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(piece, &place, &mut sum);
                }
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                total.merge(sum);
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One run's threads take turns, so they are fastest on one core. Where that is not allowed they run anywhere.
fn stay_on(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    let _anywhere = rustix::thread::sched_setaffinity(None, &cores);
}

/// Runs by chance: the plans of these seeds, changed by `with`.
pub fn sampled(seeds: std::ops::Range<u64>, with: impl Fn(&mut Plan) + Sync) -> Sum {
    let seeds: Vec<u64> = seeds.collect();
    on_all_cores(&seeds, |seed, place, sum| {
        let mut plan = Plan::of(*seed);
        with(&mut plan);
        let outcome = run(&plan, place, false);
        sum.add(&outcome, || format!("SEED={seed}"));
    })
}

/// A mode that is searched wholly.
#[derive(Clone, Debug)]
pub struct Mode {
    pub lake: LakeKind,
    pub setting: Setting,
    pub power: Power,
}

impl Mode {
    /// Two crashes are searched wholly where the second may take the power with it and where none does: renaming after landing, the
    /// other ways to retire differ in the last step only.
    pub fn is_for_pairs(&self) -> bool {
        self.setting.retire == Retire::Rename && self.power != Power::Always
    }

    pub fn plan(&self) -> Plan {
        Plan {
            seed: 1,
            lake: self.lake,
            journal: JournalKind::Memory,
            setting: self.setting.clone(),
            changed: None,
            acts: small_drops(),
            weather: Weather {
                once_in: 1,
                deaths_of_four: 0,
                deaths_left: 0,
                faults_left: 0,
            },
            power: self.power,
            switches: 0,
            broken: "",
        }
    }
}

/// All modes: each lake, both journal modes, each way to retire, with and without the power.
pub fn modes() -> Vec<Mode> {
    let mut modes = Vec::new();
    for lake in [LakeKind::Local, LakeKind::Hdfs, LakeKind::S3] {
        for payload in [false, true] {
            for retire in [Retire::Rename, Retire::Move, Retire::Delete, Retire::Keep] {
                for power in [Power::Never, Power::Always, Power::Later] {
                    let setting = Setting {
                        payload,
                        retire,
                        ..Setting::plain()
                    };
                    modes.push(Mode {
                        lake,
                        setting,
                        power,
                    });
                }
            }
        }
    }
    modes
}

fn deaths(shape: Shape) -> Vec<Fate> {
    if shape == Shape::Look {
        return Vec::new();
    }
    let all = all(shape).into_iter();
    all.filter(|fate| fate.ending == Ending::Death).collect()
}

fn script(mode: &Mode, fates: &[(u64, Fate)], place: &Place) -> Outcome {
    run_with(&mode.plan(), Box::new(Script(fates.to_vec())), place, false)
}

/// Every fate of every call, one in each run.
pub fn singles(modes: &[Mode]) -> Sum {
    let place = Place::new();
    let mut work = Vec::new();
    for mode in modes {
        let plain = script(mode, &[], &place);
        assert!(plain.violations.is_empty(), "{mode:?}: {plain:?}");
        for (number, shape) in plain.shapes.iter().enumerate() {
            for fate in all(*shape) {
                // What the power does matters only where a process dies, and the first death alone is all there is.
                let told = fate.ending == Ending::Death && mode.power != Power::Later;
                if told || mode.power == Power::Never {
                    work.push((mode, number as u64, fate));
                }
            }
        }
    }
    on_all_cores(&work, |(mode, number, fate), place, sum| {
        let outcome = script(mode, &[(*number, *fate)], place);
        sum.add(&outcome, || format!("{mode:?} {number} {fate:?}"));
    })
}

/// A crash at every effect, one in each run.
pub fn deaths_of(modes: &[Mode]) -> Sum {
    let place = Place::new();
    let mut work = Vec::new();
    for mode in modes {
        for (number, shape) in script(mode, &[], &place).shapes.iter().enumerate() {
            for fate in deaths(*shape) {
                work.push((mode, number as u64, fate));
            }
        }
    }
    on_all_cores(&work, |(mode, number, fate), place, sum| {
        let outcome = script(mode, &[(*number, *fate)], place);
        sum.add(&outcome, || format!("{mode:?} {number} {fate:?}"));
    })
}

/// A crash at every effect, and at every effect of what follows.
pub fn pairs(modes: &[Mode]) -> Sum {
    let place = Place::new();
    let mut work = Vec::new();
    for mode in modes {
        let plain = script(mode, &[], &place);
        for (number, shape) in plain.shapes.iter().enumerate() {
            for fate in deaths(*shape) {
                work.push((mode, number as u64, fate));
            }
        }
    }
    on_all_cores(&work, |(mode, first, fate), place, sum| {
        let outcome = script(mode, &[(*first, *fate)], place);
        sum.add(&outcome, || format!("{mode:?} {first} {fate:?}"));
        for (second, shape) in outcome.shapes.iter().enumerate().skip(*first as usize + 1) {
            for then in deaths(*shape) {
                let fates = [(*first, *fate), (second as u64, then)];
                let outcome = script(mode, &fates, place);
                sum.add(&outcome, || format!("{mode:?} {fates:?}"));
            }
        }
    })
}
