//! The spool's own code killed, failed and cut off from power at every system call, and at every pair of them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lakeward::segment::JournalId;
use lakeward::spool::{Claim, Retire, Retired, Spool, SpoolError, SpoolSettings};
use serde_json::json;

use super::super::disk::Lie;
use super::{Bench, path, plain};
use crate::simulation::world::{Chance, Death, Ending, Fate, Fates, Part, Shape, World};

/// Fates by the number of the call; remembers what the calls were.
struct Planned {
    plan: Vec<(usize, Fate)>,
    calls: Arc<Mutex<Vec<Shape>>>,
}

impl Fates for Planned {
    fn fate(&mut self, number: u64, shape: Shape, _: &mut Chance) -> Fate {
        locked(&self.calls).push(shape);
        let planned = self.plan.iter().find(|(at, _)| *at as u64 == number);
        planned.map_or(Fate::PLAIN, |(_, fate)| *fate)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thing that a process makes so, asked again until it is answered. Panics where the answer is wrong.
type Job = fn(&Bench, &World) -> Result<(), SpoolError>;

/// A job, what holds at every moment, and what holds once it is answered.
struct Trial {
    settings: fn(&mut SpoolSettings),
    job: Job,
    always: fn(&Bench),
    at_last: fn(&Bench),
    lie: Option<Lie>,
}

impl Trial {
    const fn new(settings: fn(&mut SpoolSettings), job: Job, at_last: fn(&Bench)) -> Self {
        Self {
            settings,
            job,
            always: one_whole_copy,
            at_last,
            lie: None,
        }
    }

    /// On a disk that lies.
    fn on(lie: Lie, trial: Self) -> Self {
        Self {
            lie: Some(lie),
            ..trial
        }
    }
}

fn unchanged(_: &mut SpoolSettings) {}

pub(super) fn delete(settings: &mut SpoolSettings) {
    settings.retire = Retire::Delete;
}

fn archive(settings: &mut SpoolSettings) {
    settings.retire = Retire::Move;
}

fn marked(settings: &mut SpoolSettings) {
    settings.ready_marker = ".done".into();
}

fn across(settings: &mut SpoolSettings) {
    settings.retire = Retire::Move;
    settings.retire_dir = Some("/elsewhere/archive".into());
    settings.quarantine_dir = "/elsewhere/quarantine".into();
}

fn retire(bench: &Bench, world: &World) -> Result<(), SpoolError> {
    let spool = bench.spool(world);
    let target = spool.retire_target(&path("a"), 0);
    let retired = spool.retire(&path("a"), &bench.stat, &target)?;
    assert!(
        matches!(retired, Retired::Yes | Retired::Already),
        "{retired:?}"
    );
    spool.sync()
}

fn quarantine(bench: &Bench, world: &World) -> Result<(), SpoolError> {
    let spool = bench.spool(world);
    let reason = json!({"reason": "it changed"});
    let place = spool.quarantine(&path("a"), &bench.stat, &reason)?;
    assert!(place.is_some_and(|place| place.ends_with("a")));
    spool.sync()
}

pub(super) fn claim_of(journal: u64) -> Claim {
    Claim {
        spool: JournalId(7),
        pipeline: "orders".into(),
        journal: JournalId(journal),
        journal_path: "var/journal.db".into(),
        directory: None,
    }
}

fn claim(bench: &Bench, world: &World) -> Result<(), SpoolError> {
    let spool = bench.spool(world);
    spool.claim()?;
    assert!(spool.write_claim(&claim_of(9))?);
    Ok(())
}

/// The first process claims the spool, without faults.
fn with_a_claim(bench: &Bench) {
    let spool = bench.spool(&plain());
    assert!(spool.write_claim(&claim_of(8)).expect("no fault"));
}

fn one_whole_copy(bench: &Bench) {
    assert!(!bench.places().is_empty(), "{:?}", bench.files());
}

fn one_whole_claim(bench: &Bench) {
    let claim = bench.disk.claim(&bench.settings).expect("there is a claim");
    assert!(claim == claim_of(8) || claim == claim_of(9), "{claim:?}");
}

const RENAMED: Trial = Trial::new(unchanged, retire, |bench| {
    assert_eq!(bench.places(), ["/data/spool/a.COMPLETED"]);
});

const MARKED: Trial = Trial::new(marked, retire, |bench| {
    assert_eq!(bench.places(), ["/data/spool/a.COMPLETED"]);
    let standing = |name| bench.disk.read(bench.at(name)).is_some();
    assert!(standing("a.done.COMPLETED") && !standing("a.done"));
});

const DELETED: Trial = Trial::new(delete, retire, |bench| {
    let places = bench.places();
    assert!(places.len() == 1 && places[0].starts_with("/data/spool/.lakeward-delete-"));
});

const ARCHIVED: Trial = Trial::new(archive, retire, |bench| {
    assert_eq!(bench.places(), ["/data/new/archive/a"]);
});

const MOVED_ACROSS: Trial = Trial::new(across, retire, |bench| {
    assert_eq!(bench.places(), ["/elsewhere/archive/a"]);
});

const SET_ASIDE: Trial = Trial::new(unchanged, quarantine, |bench| {
    assert_set_aside(bench, "/data/spool/.quarantine");
});

const SET_ASIDE_ACROSS: Trial = Trial::new(across, quarantine, |bench| {
    assert_set_aside(bench, "/elsewhere/quarantine");
});

const CLAIMED: Trial = Trial {
    always: one_whole_claim,
    ..Trial::new(unchanged, claim, |bench| {
        assert_eq!(bench.disk.claim(&bench.settings), Some(claim_of(9)));
    })
};

const TRIALS: [Trial; 8] = [
    RENAMED,
    MARKED,
    DELETED,
    ARCHIVED,
    MOVED_ACROSS,
    SET_ASIDE,
    SET_ASIDE_ACROSS,
    CLAIMED,
];

fn assert_set_aside(bench: &Bench, directory: &str) {
    assert_eq!(bench.places(), [format!("{directory}/a")]);
    let reason = bench.disk.read(format!("{directory}/a.reason.json"));
    let reason: serde_json::Value =
        serde_json::from_slice(&reason.expect("a reason")).expect("a whole reason");
    assert_eq!(reason["reason"], "it changed");
}

/// What can befall a call: the end of the process, or a passing error, before it, halfway or after. Death at a look is death
/// before the next change.
fn fates(shape: Shape) -> Vec<Fate> {
    let parts: &[Part] = match shape {
        Shape::Look => &[Part::None],
        Shape::Parts => &[Part::None, Part::Half, Part::All],
        _ => &[Part::None, Part::All],
    };
    let endings: &[Ending] = match shape {
        Shape::Look => &[Ending::Lost],
        _ => &[Ending::Lost, Ending::Death],
    };
    let of_part = |part: &Part| {
        let part = *part;
        endings.iter().map(move |&ending| Fate { part, ending })
    };
    parts.iter().flat_map(of_part).collect()
}

/// Runs until it ends or dies; whether it died.
fn dies(act: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(()) => false,
        Err(payload) if payload.is::<Death>() => true,
        Err(payload) => resume_unwind(payload),
    }
}

impl Trial {
    /// The calls that were made until the job was answered.
    fn run(&self, seed: u64, plan: &[(usize, Fate)]) -> Vec<Shape> {
        let calls: Arc<Mutex<Vec<Shape>>> = Arc::default();
        let fates = Planned {
            plan: plan.to_vec(),
            calls: Arc::clone(&calls),
        };
        let world = World::new(seed, Box::new(fates));
        let bench = Bench::new(self.settings);
        with_a_claim(&bench);
        if let Some(lie) = self.lie {
            bench.disk.lie(lie);
        }
        let checked = catch_unwind(AssertUnwindSafe(|| self.play(seed, &bench, &world)));
        if let Err(payload) = checked {
            eprintln!("seed {seed}, plan {plan:?}, left {:#?}", bench.places());
            resume_unwind(payload);
        }
        locked(&calls).clone()
    }

    fn play(&self, seed: u64, bench: &Bench, world: &World) {
        let mut is_done = false;
        while !is_done {
            let died = dies(|| is_done = (self.job)(bench, world).is_ok());
            (self.always)(bench);
            if died {
                bench.disk.end_process();
                world.revive();
                // In two of three seeds the power goes too.
                if !seed.is_multiple_of(3) {
                    bench.disk.power_cut(world);
                    (self.always)(bench);
                }
            }
        }
        (self.at_last)(bench);
        bench.disk.power_cut(world);
        (self.at_last)(bench);
    }

    /// Each fate at each call; how many runs that was.
    fn singles(&self) -> u64 {
        let mut runs = 0;
        for (at, shape) in self.run(0, &[]).into_iter().enumerate() {
            for fate in fates(shape) {
                for seed in 0..12 {
                    self.run(seed, &[(at, fate)]);
                    runs += 1;
                }
            }
        }
        runs
    }

    /// Each fate at each call, and each at each call after it, with a power cut after each death.
    fn pairs(&self) -> u64 {
        const SEED: u64 = 1;
        let mut runs = 0;
        for (at, shape) in self.run(0, &[]).into_iter().enumerate() {
            for fate in fates(shape) {
                let then = self.run(SEED, &[(at, fate)]).into_iter().enumerate();
                for (then, shape) in then.skip(at + 1) {
                    for other in fates(shape) {
                        self.run(SEED, &[(at, fate), (then, other)]);
                        runs += 1;
                    }
                }
            }
        }
        runs
    }
}

#[test]
fn any_fault_at_any_call_loses_no_file_and_what_was_answered_lasts() {
    let runs: u64 = TRIALS.iter().map(Trial::singles).sum();
    println!("{runs} runs of one fault");
    assert!(runs > 1_000);
}

#[test]
fn any_two_faults_lose_no_file_and_what_was_answered_lasts() {
    let runs: u64 = TRIALS.iter().map(Trial::pairs).sum();
    println!("{runs} runs of two faults");
    assert!(runs > 10_000);
}

/// Whether nothing is lost when a file appears under the target just before the `at`th call, at any.
fn keeps_what_appears(lie: Option<Lie>) -> bool {
    (0..40).all(|at| {
        let bench = Bench::new(unchanged);
        if let Some(lie) = lie {
            bench.disk.lie(lie);
        }
        let (disk, target) = (bench.disk.clone(), bench.at("a.COMPLETED"));
        let (world, appeared) = (plain(), Arc::new(AtomicBool::new(false)));
        let appears = Arc::clone(&appeared);
        world.watch(Some(Arc::new(move |world: &World| {
            if world.calls() == at && disk.read(&target).is_none() {
                disk.drop_file(&target, b"other", true);
                appears.store(true, Ordering::Relaxed);
            }
        })));
        let spool = bench.spool(&world);
        let target = spool.retire_target(&path("a"), 0);
        let retired = spool.retire(&path("a"), &bench.stat, &target);
        let appeared = appeared.load(Ordering::Relaxed);
        let expected = if appeared {
            Retired::TargetTaken
        } else {
            Retired::Yes
        };
        let stands = bench.files().iter().any(|file| file.content == b"other");
        retired.expect("no fault") == expected && stands == appeared && bench.places().len() == 1
    })
}

#[test]
fn what_appears_under_a_target_is_never_replaced() {
    assert!(keeps_what_appears(None));
    assert!(!keeps_what_appears(Some(Lie::RenameNew)));
}

/// The checks above can fail: on a disk that lies, which is what the spool would be without that call, they do.
#[test]
fn a_disk_that_lies_is_caught() {
    for trial in [
        Trial::on(Lie::DirectorySync, RENAMED),
        Trial::on(Lie::DirectorySync, ARCHIVED),
        Trial::on(Lie::DirectorySync, MOVED_ACROSS),
        Trial::on(Lie::DirectorySync, SET_ASIDE),
        Trial::on(Lie::DirectorySync, CLAIMED),
        Trial::on(Lie::FileSync, MOVED_ACROSS),
        Trial::on(Lie::FileSync, SET_ASIDE),
        Trial::on(Lie::FileSync, CLAIMED),
    ] {
        let caught = catch_unwind(AssertUnwindSafe(|| trial.singles()));
        assert!(caught.is_err(), "{:?} was not noticed", trial.lie);
    }
}
