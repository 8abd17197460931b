//! The port's suite on each simulated journal, and what the store and the faults add to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lakeward::clock::Clock;
use lakeward::journal::conformance::{self, LAKE, PIPELINE, SPOOL, path, row};
use lakeward::journal::sqlite::{SqliteJournal, Surroundings};
use lakeward::journal::{FileState, Journal, JournalError, Request};
use lakeward::protocol::BatchState;
use lakeward::segment::{BatchNumber, JournalId};
use serde_json::json;

use super::faulty::Hold;
use super::store::{Disk, Kind};
use super::{FaultyJournal, MemoryJournal, MemoryStore};
use crate::simulation::world::{Chance, Death, Ending, Fate, Fates, Part, Shape, World};

/// Time that goes on when it is told to.
#[derive(Default)]
pub(super) struct Standing(pub(super) AtomicI64);

impl Clock for Standing {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

pub(super) const OWN: JournalId = JournalId(7);

pub(super) fn memory(store: &MemoryStore) -> MemoryJournal {
    store.open(Arc::new(Standing::default()), OWN).unwrap()
}

fn sqlite(directory: &tempfile::TempDir) -> SqliteJournal {
    let around = Surroundings {
        clock: Arc::new(Standing::default()),
        id: Some(OWN),
        ..Surroundings::default()
    };
    SqliteJournal::open_with(directory.path(), around).unwrap()
}

pub(super) fn directory() -> tempfile::TempDir {
    match Disk::new(Kind::Sqlite) {
        Disk::Sqlite(directory) => directory,
        Disk::Memory(_) => unreachable!("it was asked for"),
    }
}

/// One fate at one call, nothing otherwise.
struct Once(u64, Fate);

impl Fates for Once {
    fn fate(&mut self, number: u64, _: Shape, _: &mut Chance) -> Fate {
        if number == self.0 {
            self.1
        } else {
            Fate::PLAIN
        }
    }
}

fn world(at: u64, part: Part, ending: Ending) -> World {
    World::new(1, Box::new(Once(at, Fate { part, ending })))
}

fn undisturbed() -> World {
    world(u64::MAX, Part::All, Ending::Answer)
}

#[test]
fn the_suite_of_the_port_passes_in_memory() {
    conformance::run(&|| Box::new(memory(&MemoryStore::default())));
}

#[test]
fn the_suite_of_the_port_passes_in_an_undisturbed_world() {
    conformance::run(&|| {
        let journal = memory(&MemoryStore::default());
        Box::new(FaultyJournal::new(undisturbed(), journal))
    });
    let directories = std::cell::RefCell::new(Vec::new());
    conformance::run(&|| {
        let directory = directory();
        let journal = sqlite(&directory);
        directories.borrow_mut().push(directory);
        Box::new(FaultyJournal::new(undisturbed(), journal))
    });
}

/// A file journaled and its batch staged.
fn staged(journal: &dyn Journal) {
    journal.pipeline(PIPELINE, SPOOL, LAKE).unwrap();
    let file = row(journal, "a", 30);
    let request = conformance::request(journal, 1, &[(&file, 0, 30)]);
    journal.stage(request).unwrap();
}

fn commit(journal: &dyn Journal) -> lakeward::journal::Result<()> {
    journal.commit(PIPELINE, BatchNumber(1), &[], &[])
}

fn state(journal: &dyn Journal) -> BatchState {
    journal.unfinished(PIPELINE).unwrap()[0].state
}

#[test]
fn a_store_outlives_the_process_and_one_process_holds_it() {
    let store = MemoryStore::default();
    assert!(!store.exists());
    let journal = memory(&store);
    staged(&journal);
    let locked = store.open(Arc::new(Standing::default()), OWN);
    assert!(matches!(locked, Err(JournalError::Locked { .. })));
    let onlooker = store.read(Arc::new(Standing::default())).unwrap();
    assert_eq!(state(&onlooker), BatchState::Staged);
    assert!(matches!(commit(&onlooker), Err(JournalError::Refused(_))));
    let request = Request::Adopt {
        pipeline: PIPELINE.into(),
    };
    onlooker.ask(&request).unwrap();
    let last = journal.new_file_id();
    drop(journal);

    let other = JournalId(8);
    let journal = store.open(Arc::new(Standing::default()), other).unwrap();
    assert_eq!(journal.id(), OWN);
    assert_eq!(state(&journal), BatchState::Staged);
    assert_eq!(journal.requests().unwrap()[0].request, request);
    // It was in no row.
    assert_eq!(journal.new_file_id(), last);
}

#[test]
fn what_was_only_said_is_lost_by_a_kill_and_not_by_a_good_end() {
    let store = MemoryStore::default();
    let word = json!({"waiting_for": "files"});
    memory(&store).say(PIPELINE, &word);
    assert_eq!(memory(&store).said(PIPELINE).unwrap(), None);
    let journal = memory(&store);
    journal.say(PIPELINE, &word);
    journal.close().unwrap();
    assert_eq!(memory(&store).said(PIPELINE).unwrap(), Some(word));
}

/// Runs `check` on the disk of a machine of each kind.
fn each(check: impl Fn(&Disk)) {
    for kind in [Kind::Memory, Kind::Sqlite] {
        check(&Disk::new(kind));
    }
}

fn open(disk: &Disk) -> Arc<dyn Journal> {
    open_in(disk, &undisturbed())
}

fn open_in(disk: &Disk, world: &World) -> Arc<dyn Journal> {
    disk.open(world, Arc::new(Standing::default()), OWN)
        .unwrap()
}

#[test]
fn a_backup_put_back_is_the_journal_as_it_was_and_a_lost_one_is_gone() {
    each(|disk| {
        staged(&*open(disk));
        let backup = disk.backup();
        commit(&*open(disk)).unwrap();
        disk.restore(&backup);
        assert_eq!(state(&*open(disk)), BatchState::Staged);
        disk.lose();
        assert_eq!(open(disk).pipelines().unwrap(), []);
    });
}

#[test]
fn a_rebuilt_journal_takes_the_old_ones_place_when_it_is_finished() {
    each(|disk| {
        let journal = open(disk);
        staged(&*journal);
        let manifest = journal.unfinished(PIPELINE).unwrap().remove(0).manifest;
        drop(journal);
        let fresh = JournalId(9);
        let rebuild = |world: &World| {
            let clock = Arc::new(Standing::default());
            let rebuild = disk.rebuild(world, clock, fresh).unwrap();
            let locked = disk.open(world, Arc::new(Standing::default()), OWN);
            assert!(matches!(locked.err(), Some(JournalError::Locked { .. })));
            rebuild
                .journal()
                .adopt(&manifest, BatchState::Done)
                .unwrap();
            rebuild
        };
        drop(rebuild(&undisturbed()));
        assert_eq!(open(disk).id(), OWN);
        for (part, id) in [(Part::None, OWN), (Part::All, fresh)] {
            let world = world(1, part, Ending::Lost);
            let finished = rebuild(&world).finish();
            assert!(matches!(finished.err(), Some(JournalError::Fatal { .. })));
            assert_eq!(open(disk).id(), id);
        }
        let journal = rebuild(&undisturbed()).finish().unwrap();
        assert_eq!(journal.id(), fresh);
        assert_eq!(journal.unfinished(PIPELINE).unwrap(), []);
        assert_eq!(journal.pipelines().unwrap()[0].committed, BatchNumber(1));
        drop(journal);
        assert_eq!(open(disk).id(), fresh);
    });
}

/// Commits as the fate has it; answers what was heard of it, and whether it was done.
fn commit_with<H: Hold>(
    open: &dyn Fn() -> H,
    part: Part,
    ending: Ending,
) -> (Option<lakeward::journal::Result<()>>, bool) {
    staged(open().journal());
    let world = world(0, part, ending);
    let journal = FaultyJournal::new(world.clone(), open());
    let answer = catch_unwind(AssertUnwindSafe(|| commit(&journal)));
    if ending != Ending::Answer {
        let later = journal.pipelines();
        assert!(
            matches!(later, Err(JournalError::Fatal { .. })),
            "{later:?}"
        );
        journal.say(PIPELINE, &json!("a dead man's word"));
    }
    let answer = answer.map_err(|thrown| assert!(thrown.is::<Death>())).ok();
    drop(journal);
    world.revive();
    let next = open();
    let next = next.journal();
    assert_eq!(next.said(PIPELINE).unwrap(), None);
    (answer, state(next) == BatchState::Committed)
}

fn every_fate<H: Hold>(fresh: &dyn Fn() -> Box<dyn Fn() -> H>) {
    let fatal = |answer: &Option<_>| matches!(answer, Some(Err(JournalError::Fatal { .. })));
    for (part, done) in [(Part::None, false), (Part::All, true)] {
        let (answer, was_done) = commit_with(&*fresh(), part, Ending::Lost);
        assert!(fatal(&answer) && was_done == done, "{part:?} {answer:?}");
        let (answer, was_done) = commit_with(&*fresh(), part, Ending::Death);
        assert!(answer.is_none() && was_done == done, "{part:?} {answer:?}");
    }
    let (answer, was_done) = commit_with(&*fresh(), Part::All, Ending::Answer);
    assert!(matches!(answer, Some(Ok(()))) && was_done);
}

#[test]
fn a_change_is_done_or_not_whatever_its_caller_hears() {
    every_fate(&|| {
        let store = MemoryStore::default();
        Box::new(move || memory(&store))
    });
    every_fate(&|| {
        let directory = directory();
        Box::new(move || sqlite(&directory))
    });
}

#[test]
fn a_read_that_fails_is_fatal_too() {
    let store = MemoryStore::default();
    staged(&memory(&store));
    let world = world(0, Part::None, Ending::Lost);
    let journal = FaultyJournal::new(world, memory(&store));
    for _ in 0..2 {
        let read = journal.file_at(PIPELINE, &path("a"));
        assert!(matches!(read, Err(JournalError::Fatal { .. })));
    }
    drop(journal);
    let at = memory(&store).file_at(PIPELINE, &path("a")).unwrap();
    assert_eq!(at.unwrap().state, FileState::Reading);
}
