//! Many runs: all single and double crashes of small workloads, and seeds by chance beyond.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use lakeward::spool::Retire;

use super::driver::{Outcome, Until, run, run_with};
use super::fates::{Script, all};
use super::lake::Kind as LakeKind;
use super::place::Place;
use super::plan::{Plan, Power, Setting};
use super::world::{Ending, Fate, Shape};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Sum {
    pub runs: u64,
    /// Of these, so many went on from a state in which another run had been, and were not made again from there.
    pub equal: u64,
    pub distinct: HashSet<u64>,
    pub crashes: u64,
    pub faults: u64,
    /// What was wrong, and how to see it again.
    pub violations: Vec<String>,
    /// How many violations those are, where only numbers are added up.
    pub found: u64,
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
        // What another run ended has the batches of that one.
        let has_batches = outcome.equal || outcome.batches >= 2;
        if !has_batches || outcome.files < 2 || outcome.faults == 0 {
            self.idle += 1;
            return;
        }
        self.runs += 1;
        self.equal += u64::from(outcome.equal);
        self.crashes += outcome.deaths;
        self.faults += outcome.faults;
        self.distinct.insert(outcome.trace);
    }

    pub fn merge(&mut self, other: Self) {
        self.count(&other);
        self.distinct.extend(other.distinct);
        self.violations.extend(other.violations);
    }

    /// The numbers alone.
    fn count(&mut self, other: &Self) {
        self.runs += other.runs;
        self.equal += other.equal;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.idle += other.idle;
        self.found += other.violations.len() as u64;
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
    /// What a power cut leaves is drawn with this seed.
    pub luck: u64,
}

impl Mode {
    /// Two crashes are searched wholly where the second may take the power with it and where none does.
    pub fn is_for_pairs(&self) -> bool {
        self.power != Power::Always
    }

    /// Whether this is a mode that the environment asks for: `LAKE=`, `RETIRE=`, `JOURNAL=payload|offsets`, `POWER=`.
    pub fn is_wanted(&self) -> bool {
        let journal = if self.setting.payload {
            "payload"
        } else {
            "offsets"
        };
        let is = |name: &str, own: String| {
            std::env::var(name).is_ok_and(|wanted| !own.eq_ignore_ascii_case(&wanted))
        };
        !(is("LAKE", format!("{:?}", self.lake))
            || is("RETIRE", format!("{:?}", self.setting.retire))
            || is("JOURNAL", journal.to_owned())
            || is("POWER", format!("{:?}", self.power)))
    }

    pub fn plan(&self) -> Plan {
        Plan::still(self.luck, self.lake, self.setting.clone(), self.power)
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
                        luck: 1,
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
    script_until(mode, fates, place, None)
}

fn script_until(
    mode: &Mode,
    fates: &[(u64, Fate)],
    place: &Place,
    until: Option<Until>,
) -> Outcome {
    let fates = Box::new(Script(fates.to_vec()));
    run_with(&mode.plan(), fates, place, false, until)
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

/// The deaths at every effect of the undisturbed run.
fn first_deaths(mode: &Mode, place: &Place) -> Vec<(u64, Fate)> {
    let plain = script(mode, &[], place);
    assert!(plain.violations.is_empty(), "{mode:?}: {plain:?}");
    deaths_after(&plain, 0)
}

/// All deaths that can befall a run from the given call on.
fn deaths_after(outcome: &Outcome, call: u64) -> Vec<(u64, Fate)> {
    let shapes = outcome.shapes.iter().enumerate().skip(call as usize);
    let deaths = |(number, shape): (usize, &Shape)| {
        let fates = deaths(*shape).into_iter();
        fates.map(move |fate| (number as u64, fate))
    };
    shapes.flat_map(deaths).collect()
}

/// A crash at every effect, one in each run.
pub fn deaths_of(mode: &Mode) -> Sum {
    let work = first_deaths(mode, &Place::new());
    on_all_cores(&work, |first, place, sum| {
        let outcome = script(mode, &[*first], place);
        sum.add(&outcome, || format!("{mode:?} {first:?}"));
    })
}

/// A crash at every effect, and at every effect of what follows.
///
/// What follows a crash depends on nothing but the state that it leaves. Where two crashes leave the same one, what follows is searched
/// once and counted for both.
pub fn pairs(mode: &Mode, progress: impl Fn(&Sum) + Sync) -> Sum {
    let work = first_deaths(mode, &Place::new());
    let after_one = States::default();
    let after_two = States::default();
    let done = Mutex::new(Sum::default());
    let all = on_all_cores(&work, |first, place, sum| {
        let mut own = Sum::default();
        let state = Mutex::new(None);
        let known = |found| {
            *state.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            after_one.meet(found)
        };
        let until = Until {
            death: 1,
            known: &known,
        };
        let outcome = script_until(mode, &[*first], place, Some(until));
        own.add(&outcome, || format!("{mode:?} {first:?}"));
        if !outcome.equal {
            for then in deaths_after(&outcome, first.0 + 1) {
                let fates = [*first, then];
                let until = Until {
                    death: 2,
                    known: &|found| after_two.meet(found),
                };
                let outcome = script_until(mode, &fates, place, Some(until));
                own.add(&outcome, || format!("{mode:?} {fates:?}"));
            }
        }
        if let Some(state) = state.into_inner().unwrap_or_else(PoisonError::into_inner) {
            after_one.searched(state, &own, outcome.equal);
        }
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        done.count(&own);
        progress(&done);
        sum.merge(own);
    });
    after_one.with_equals(all)
}

/// States that runs have been in, and how many runs were made from each.
#[derive(Default)]
struct States(Mutex<HashMap<u128, Met>>);

#[derive(Default)]
struct Met {
    /// Runs from this state, beside the one that came to it first, and their deaths.
    runs: u64,
    crashes: u64,
    faults: u64,
    /// Others that came to it.
    others: u64,
}

impl States {
    /// Whether one was there before.
    fn meet(&self, state: u128) -> bool {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(met) = states.get_mut(&state) {
            met.others += 1;
            return true;
        }
        states.insert(state, Met::default());
        false
    }

    /// What was made from a state, by whoever met it first.
    fn searched(&self, state: u128, sum: &Sum, equal: bool) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(met) = states.get_mut(&state).filter(|_| !equal) {
            met.runs = sum.runs.saturating_sub(1);
            met.crashes = sum.crashes.saturating_sub(1);
            met.faults = sum.faults.saturating_sub(1);
        }
    }

    /// With the runs that need not be made, since they go on from a state that was searched.
    fn with_equals(self, mut sum: Sum) -> Sum {
        let states = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        for met in states.values() {
            sum.runs += met.others * met.runs;
            sum.equal += met.others * met.runs;
            sum.crashes += met.others * met.crashes;
            sum.faults += met.others * met.faults;
        }
        sum
    }
}
