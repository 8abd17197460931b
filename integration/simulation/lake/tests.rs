//! The simulated lakes keep the port's contract, and each does to its callers what it is there for.

use std::collections::VecDeque;
use std::path::PathBuf;

use lakeward::lake::conformance::{Suite, mark};
use lakeward::lake::{Created, ErrorClass, Lake, LakeError, Landed, Look, Mark};
use lakeward::naming::LakePath;
use lakeward::segment::JournalId;

use super::super::world::{Chance, Death, Ending, Fate, Fates, Part, Shape};
use super::*;

const JOURNAL: JournalId = JournalId(0xabc);
const AFTER: Fate = fate(Part::All, Ending::Death);
const BEFORE: Fate = fate(Part::None, Ending::Death);
const HALFWAY: Fate = fate(Part::Half, Ending::Death);
const DONE_AND_LOST: Fate = fate(Part::All, Ending::Lost);
const LOST: Fate = fate(Part::None, Ending::Lost);
const LATE: Fate = fate(Part::Late, Ending::Lost);

const fn fate(part: Part, ending: Ending) -> Fate {
    Fate { part, ending }
}

/// Fates that a test names beforehand: the first entry waits until so many calls of its shape went by.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<VecDeque<(Shape, u64, Fate)>>>);

impl Fates for Script {
    fn fate(&mut self, _number: u64, shape: Shape, _chance: &mut Chance) -> Fate {
        let mut script = lock(&self.0);
        match script.front_mut() {
            Some((wanted, 0, fate)) if *wanted == shape => {
                let fate = *fate;
                script.pop_front();
                fate
            }
            Some((wanted, left, _)) if *wanted == shape => {
                *left -= 1;
                Fate::PLAIN
            }
            _ => Fate::PLAIN,
        }
    }
}

/// The call of this number has this fate, whatever shape it has.
struct At(u64, Fate);

impl Fates for At {
    fn fate(&mut self, number: u64, _shape: Shape, _chance: &mut Chance) -> Fate {
        if number == self.0 {
            self.1
        } else {
            Fate::PLAIN
        }
    }
}

struct Rig {
    dir: tempfile::TempDir,
    store: Arc<LakeStore>,
    world: World,
    script: Script,
}

impl Rig {
    fn new(kind: Kind, options: Options) -> Self {
        Self::seeded(kind, options, 1)
    }

    fn seeded(kind: Kind, mut options: Options, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        options.staging = dir.path().to_owned();
        let script = Script::default();
        Self {
            store: LakeStore::new(kind, options),
            world: World::new(seed, Box::new(script.clone())),
            dir,
            script,
        }
    }

    fn lake(&self) -> SimLake {
        self.world.revive();
        SimLake::new(&self.store, self.world.clone())
    }

    /// The call of this shape that comes after so many others of it has this fate.
    fn then(&self, shape: Shape, skipped: u64, fate: Fate) {
        lock(&self.script.0).push_back((shape, skipped, fate));
    }

    fn stage(&self, contents: &[u8]) -> PathBuf {
        let dir = self.dir.path().join(JOURNAL.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let staged = dir.join(".p-1-1.staged");
        std::fs::write(&staged, contents).unwrap();
        staged
    }

    /// Runs a process to its end by a fate.
    fn dies(&self, work: impl FnOnce(SimLake)) {
        let lake = self.lake();
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(lake)));
        assert!(
            end.unwrap_err().is::<Death>(),
            "the process ends by its fate"
        );
        self.store.process_died();
    }

    fn seen(&self, name: &str) -> Option<Vec<u8>> {
        self.store.visible().remove(name)
    }
}

fn path(text: &str) -> LakePath {
    LakePath::new(text).unwrap()
}

const FINAL: &str = "t/dt=1/p-1.parquet";
const CONTENTS: &[u8] = b"0123456789abcdefghij";

fn large() -> Options {
    Options {
        block_bytes: 1 << 20,
        multipart_bytes: 1 << 16,
        part_bytes: 1 << 20,
        ..Options::default()
    }
}

fn weak() -> Options {
    Options {
        part_bytes: 1 << 20,
        ..Options::weak()
    }
}

fn suite<'a>(rig: &Rig, lake: &'a SimLake) -> Suite<'a> {
    let staging = lake.staging_dir(JOURNAL);
    Suite {
        lake,
        dir: path("scratch"),
        staging: staging.unwrap_or_else(|| rig.dir.path().to_owned()),
    }
}

fn keeps_the_contract(kind: Kind, options: Options) {
    let rig = Rig::new(kind, options);
    let lake = rig.lake();
    let suite = suite(&rig, &lake);
    suite.all();
    suite.lands_large_files();
    suite.takes_emoji();
    if kind != Kind::Hdfs {
        suite.takes_colons();
    }
    assert_eq!(rig.store.temporary(), 0);
    assert_eq!(rig.store.uploads(), 0);
    let replaced = |change: &Change| change.deed != Deed::Written;
    assert!(!rig.store.changes().iter().any(replaced), "I3 write-once");
    assert!(lake.probe().unwrap().conditional_writes);
}

#[test]
fn a_simulated_local_lake_keeps_the_ports_contract() {
    keeps_the_contract(Kind::Local, Options::default());
}

#[test]
fn a_simulated_hdfs_lake_keeps_the_ports_contract() {
    keeps_the_contract(Kind::Hdfs, large());
    let web = Options {
        web: true,
        page: 7,
        ..large()
    };
    keeps_the_contract(Kind::Hdfs, web);
}

#[test]
fn a_simulated_s3_lake_keeps_the_ports_contract() {
    keeps_the_contract(Kind::S3, large());
    let plain = Options {
        drops_metadata: true,
        page: 7,
        second_complete: SecondComplete::Condition,
        ..large()
    };
    keeps_the_contract(Kind::S3, plain);
}

#[test]
fn a_simulated_store_without_conditions_keeps_what_one_client_needs() {
    let rig = Rig::new(Kind::S3, weak());
    let lake = rig.lake();
    assert!(!lake.probe().unwrap().conditional_writes);
    let suite = suite(&rig, &lake);
    suite.creates_only_what_is_not_there();
    suite.reads_what_was_created();
    suite.lands_once_and_then_sees_its_own();
    suite.never_lands_over_anything();
    suite.tells_foreign_files_from_its_own();
    suite.refuses_a_staged_copy_of_another_length();
    suite.takes_any_name();
    suite.lists_everything_once();
    suite.digests_and_downloads();
}

#[test]
fn uploads_and_temporary_files_left_behind_are_removed_by_their_path() {
    let parts = Options {
        multipart_bytes: 0,
        ..Options::default()
    };
    for kind in [Kind::S3, Kind::Hdfs] {
        let rig = Rig::new(kind, parts.clone());
        let lake = rig.lake();
        // A neighbour, so that the directory is there and the first request creates or begins.
        let neighbour = path("scratch/uploads/x=a b+c/other");
        let staged = rig.stage(CONTENTS);
        lake.land(&staged, &neighbour, &mark(CONTENTS)).unwrap();
        suite(&rig, &lake).aborts_what_was_begun(&|path| {
            rig.then(Shape::Remote, 0, AFTER);
            rig.dies(|lake| {
                let _dead = lake.land(&staged, path, &mark(CONTENTS));
            });
            rig.world.revive();
        });
    }
}

#[test]
fn a_dead_process_changes_nothing_more() {
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        let rig = Rig::new(kind, Options::default());
        let staged = rig.stage(CONTENTS);
        rig.then(Shape::Look, 0, BEFORE);
        let lake = rig.lake();
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _dead = lake.look(&path(FINAL), &mark(CONTENTS));
        }));
        assert!(looked.is_err());
        let version = rig.store.version();
        assert!(lake.create(&path("t/m.json"), CONTENTS).is_err());
        assert!(lake.land(&staged, &path(FINAL), &mark(CONTENTS)).is_err());
        assert!(lake.list(&path("t"), &mut |_| ()).is_err());
        assert!(lake.probe().is_err());
        assert_eq!(rig.store.version(), version);
        assert!(staged.exists());
    }
}

#[test]
fn tries_end_and_the_error_may_pass() {
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        let rig = Rig::new(kind, Options::default());
        let lake = rig.lake();
        for _ in 0..20 {
            rig.then(Shape::Look, 0, LOST);
        }
        let error = lake.look(&path(FINAL), &mark(CONTENTS)).unwrap_err();
        assert_eq!(error.class, ErrorClass::Transient);
        let left = lock(&rig.script.0).len();
        let tries = if kind == Kind::Local { 1 } else { 3 };
        assert_eq!(20 - left, tries, "{kind:?}");
    }
}

#[test]
fn tampering_is_seen_and_not_told_of() {
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        let rig = Rig::new(kind, Options::default());
        let lake = rig.lake();
        rig.store.put_foreign(FINAL, b"somebody's");
        let look = lake.look(&path(FINAL), &mark(CONTENTS)).unwrap();
        assert!(matches!(look, Look::Foreign { length: 10, .. }), "{kind:?}");
        rig.store.power_cut(&rig.world);
        assert!(rig.seen(FINAL).is_some());
        assert!(rig.store.take_away(FINAL));
        assert!(!rig.store.take_away(FINAL));
        assert_eq!(
            lake.look(&path(FINAL), &mark(CONTENTS)).unwrap(),
            Look::Absent
        );
        assert_eq!(rig.store.changes(), []);
    }
}

#[test]
fn a_name_that_the_outside_drew_is_a_number_in_the_trace() {
    let subjects = Subjects::default();
    let one = subjects.subject("_lakeward/manifests/p/00c0ffee00c0ffee/1.json");
    assert_eq!(one, "_lakeward/manifests/p/#0/1.json");
    assert_eq!(subjects.subject("p-feedfeedfeedfeed-1-1"), "p-#1-1-1");
    assert_eq!(subjects.subject("p-00c0ffee00c0ffee-12"), "p-#0-12");
    assert_eq!(subjects.subject("größe=dead"), "größe=dead");
}

/// Removes what landing left behind; the fate may fall here too.
fn tidies(rig: &Rig) {
    for _ in 0..3 {
        let lake = rig.lake();
        let tidied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lake.abort_uploads(&path(FINAL)).is_ok()
        }));
        if matches!(tidied, Ok(true)) {
            return;
        }
    }
    panic!("what is left cannot be removed");
}

/// Lands a file with one fate at one call, then again in new processes until it is ours, as the committer does.
fn lands_after(kind: Kind, options: &Options, at: u64, fate: Fate, seed: u64) -> bool {
    let mut rig = Rig::seeded(kind, options.clone(), seed);
    rig.world = World::new(seed, Box::new(At(at, fate)));
    let mark = mark(CONTENTS);
    let mut staged = rig.stage(CONTENTS);
    for round in 0..20 {
        let lake = rig.lake();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let seen = lake.look(&path(FINAL), &mark).ok()?;
            match seen {
                Look::Ours => return lake.make_durable(&path(FINAL)).ok(),
                Look::Absent => {}
                foreign @ Look::Foreign { .. } => panic!("{foreign:?}"),
            }
            match lake.land(&staged, &path(FINAL), &mark) {
                Ok(Landed::Yes) => Some(()),
                _ => None,
            }
        }));
        match done {
            Ok(Some(())) => {
                rig.store.power_cut(&rig.world);
                while rig.store.deliver(&rig.world) {}
                assert_eq!(
                    rig.seen(FINAL).as_deref(),
                    Some(CONTENTS),
                    "call {at}, {fate:?}"
                );
                tidies(&rig);
                assert_eq!(rig.store.uploads(), 0, "call {at}, {fate:?}");
                assert_eq!(rig.store.temporary(), 0, "call {at}, {fate:?}");
                return round > 0;
            }
            Ok(None) => {}
            Err(end) => {
                assert!(end.is::<Death>(), "call {at}, {fate:?}");
                rig.store.process_died();
                rig.store.power_cut(&rig.world);
            }
        }
        let written = std::fs::read(&staged).unwrap_or_default();
        if written != CONTENTS {
            staged = rig.stage(CONTENTS);
        }
    }
    panic!("call {at}, {fate:?}: never landed");
}

#[test]
fn whatever_befalls_one_call_of_landing_landing_again_mends() {
    let small = Options {
        block_bytes: 8,
        part_bytes: 8,
        multipart_bytes: 0,
        ..Options::default()
    };
    let fates = [BEFORE, AFTER, HALFWAY, LOST, DONE_AND_LOST, LATE];
    let late_death = fate(Part::Late, Ending::Death);
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        let mut mended = 0;
        for second_complete in [
            SecondComplete::Done,
            SecondComplete::Condition,
            SecondComplete::Absent,
        ] {
            let options = Options {
                second_complete,
                ..small.clone()
            };
            for at in 0..16 {
                for fate in fates.into_iter().chain([late_death]) {
                    for seed in 0..6 {
                        mended += u32::from(lands_after(kind, &options, at, fate, seed));
                    }
                }
            }
        }
        assert!(mended > 100, "{kind:?}: {mended}");
    }
}

mod hdfs;
mod local;
mod s3;
mod wrong;
