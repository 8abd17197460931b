//! Each deliberately wrong client does what it is named for, in what it does the right one does not.

use super::*;

fn rig(kind: Kind, wrong: Option<Wrong>) -> Rig {
    Rig::new(
        kind,
        Options {
            wrong,
            page: 2,
            block_bytes: 8,
            ..Options::default()
        },
    )
}

fn land(rig: &Rig, lake: &SimLake) -> Result<Landed, LakeError> {
    lake.land(&rig.stage(CONTENTS), &path(FINAL), &mark(CONTENTS))
}

#[test]
fn exists_is_ours() {
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        for wrong in [None, Some(Wrong::ExistsIsOurs)] {
            let rig = rig(kind, wrong);
            rig.store.put_foreign(FINAL, b"somebody's");
            let look = rig.lake().look(&path(FINAL), &mark(CONTENTS)).unwrap();
            assert_eq!(look == Look::Ours, wrong.is_some(), "{kind:?}");
        }
    }
}

#[test]
fn failed_look_is_absent() {
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        for wrong in [None, Some(Wrong::FailedLookIsAbsent)] {
            let rig = rig(kind, wrong);
            rig.store.put_foreign(FINAL, CONTENTS);
            for _ in 0..9 {
                rig.then(Shape::Look, 0, LOST);
            }
            let look = rig.lake().look(&path(FINAL), &mark(CONTENTS));
            assert_eq!(look.ok(), wrong.map(|_| Look::Absent), "{kind:?}");
        }
    }
}

#[test]
fn replaces() {
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        for wrong in [None, Some(Wrong::Replaces)] {
            let rig = rig(kind, wrong);
            rig.store.put_foreign(FINAL, b"somebody's");
            rig.store.put_foreign("m.json", b"another's");
            let lake = rig.lake();
            land(&rig, &lake).unwrap();
            lake.create(&path("m.json"), CONTENTS).unwrap();
            for name in [FINAL, "m.json"] {
                let is_replaced = rig.seen(name).as_deref() == Some(CONTENTS);
                assert_eq!(is_replaced, wrong.is_some(), "{kind:?} {name}");
            }
            let told = rig
                .store
                .changes()
                .iter()
                .any(|change| change.deed != Deed::Written);
            assert_eq!(told, wrong.is_some(), "{kind:?}");
        }
    }
}

#[test]
fn writes_in_place() {
    for (kind, shape) in [
        (Kind::Local, Shape::Parts),
        (Kind::Hdfs, Shape::RemoteParts),
    ] {
        for wrong in [None, Some(Wrong::WritesInPlace)] {
            let rig = rig(kind, wrong);
            rig.store.put_foreign("t/dt=1/neighbour", b"x");
            rig.then(shape, 0, HALFWAY);
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _perhaps_dead = land(&rig, &rig.lake());
            }));
            let seen = rig.seen(FINAL);
            let is_half = seen.is_some_and(|seen| seen != CONTENTS);
            assert_eq!(is_half, wrong.is_some(), "{kind:?} {end:?}");
        }
    }
}

#[test]
fn staged_not_synced() {
    for wrong in [None, Some(Wrong::StagedNotSynced)] {
        let mut torn = false;
        for seed in 0..30 {
            let options = Options {
                wrong,
                ..Options::default()
            };
            let rig = Rig::seeded(Kind::Local, options, seed);
            land(&rig, &rig.lake()).unwrap();
            rig.store.power_cut(&rig.world);
            torn |= rig.seen(FINAL).as_deref() != Some(CONTENTS);
        }
        assert_eq!(torn, wrong.is_some());
    }
}

#[test]
fn first_page_is_all() {
    for kind in [Kind::Hdfs, Kind::S3] {
        for wrong in [None, Some(Wrong::FirstPageIsAll)] {
            let rig = rig(kind, wrong);
            for n in 0..5 {
                rig.store.put_foreign(&format!("t/{n}"), b"x");
            }
            let mut found = 0;
            let lake = rig.lake();
            lake.list(&path("t"), &mut |_| found += 1).unwrap();
            assert_eq!(found, if wrong.is_some() { 2 } else { 5 }, "{kind:?}");
        }
    }
}
