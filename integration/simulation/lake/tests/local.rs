use std::collections::BTreeSet;

use super::*;

/// Where a file is after a power cut: landed, and back in staging.
fn after_power_cut(seed: u64, options: &Options, renames: impl Fn(&Rig)) -> (bool, bool) {
    let rig = Rig::seeded(Kind::Local, options.clone(), seed);
    renames(&rig);
    rig.store.power_cut(&rig.world);
    let landed = rig.seen(FINAL);
    assert!(
        landed.as_deref().is_none_or(|found| found == CONTENTS),
        "it was synced before it was renamed"
    );
    let staged = rig
        .dir
        .path()
        .join(JOURNAL.to_string())
        .join(".p-1-1.staged");
    let back = std::fs::read(staged).ok();
    assert!(back.as_deref().is_none_or(|found| found == CONTENTS));
    (landed.is_some(), back.is_some())
}

fn outcomes(options: &Options, renames: impl Fn(&Rig)) -> BTreeSet<(bool, bool)> {
    (0..60)
        .map(|seed| after_power_cut(seed, options, &renames))
        .collect()
}

fn lands(rig: &Rig) {
    let staged = rig.stage(CONTENTS);
    let landed = rig.lake().land(&staged, &path(FINAL), &mark(CONTENTS));
    assert_eq!(landed.unwrap(), Landed::Yes);
}

/// Before it: fsync of the staged file, two directories made.
const RENAME: u64 = 3;

#[test]
fn a_rename_that_was_not_synced_is_seen_under_either_name_or_both_or_none() {
    let all = outcomes(&Options::default(), |rig| {
        let staged = rig.stage(CONTENTS);
        rig.then(Shape::Atomic, RENAME, AFTER);
        rig.dies(|lake| {
            let _dead = lake.land(&staged, &path(FINAL), &mark(CONTENTS));
        });
        assert!(rig.seen(FINAL).is_some(), "visible until the power goes");
        assert!(!staged.exists());
    });
    let expected = [(false, false), (false, true), (true, false), (true, true)];
    assert_eq!(all, BTreeSet::from(expected));
}

#[test]
fn what_landed_survives_every_power_cut_and_its_old_name_none() {
    let all = outcomes(&Options::default(), lands);
    assert_eq!(all, BTreeSet::from([(true, false)]));
}

#[test]
fn a_directory_that_is_not_synced_loses_what_landed() {
    for wrong in [
        Options {
            dirs_not_synced: true,
            ..Options::default()
        },
        Options {
            ancestors_not_synced: true,
            ..Options::default()
        },
    ] {
        let all = outcomes(&wrong, lands);
        assert!(all.iter().any(|(landed, _)| !landed), "{all:?}");
    }
}

#[test]
fn a_file_that_was_merely_seen_survives_once_it_was_made_durable() {
    for durable in [true, false] {
        let all = outcomes(&Options::default(), |rig| {
            let staged = rig.stage(CONTENTS);
            rig.then(Shape::Atomic, RENAME, AFTER);
            rig.dies(|lake| {
                let _dead = lake.land(&staged, &path(FINAL), &mark(CONTENTS));
            });
            if durable {
                rig.lake().make_durable(&path(FINAL)).unwrap();
            }
        });
        assert_eq!(all.iter().all(|(landed, _)| *landed), durable, "{all:?}");
    }
}

#[test]
fn what_was_written_and_not_synced_is_torn() {
    let mut kinds = BTreeSet::new();
    for seed in 0..200 {
        let rig = Rig::seeded(Kind::Local, Options::default(), seed);
        rig.store.put_foreign("t/dt=1/neighbour", b"x");
        // Made: the temporary file; written: all of it.
        rig.then(Shape::Parts, 0, AFTER);
        rig.dies(|lake| {
            let _dead = lake.create(&path("t/dt=1/m.json"), CONTENTS);
        });
        assert_eq!(rig.store.temporary(), 1);
        rig.store.power_cut(&rig.world);
        let mut visible = rig.store.visible();
        visible.remove("t/dt=1/neighbour").unwrap();
        kinds.insert(match visible.into_values().next().as_deref() {
            None => "gone",
            Some(b"") => "empty",
            Some(CONTENTS) => "whole",
            Some(zeros) if zeros == [0; CONTENTS.len()] => "zeros",
            Some(part) if CONTENTS.starts_with(part) => "part",
            Some(other) => panic!("{other:?}"),
        });
    }
    let expected = ["empty", "gone", "part", "whole", "zeros"];
    assert_eq!(kinds, BTreeSet::from(expected));
}

#[test]
fn a_power_cut_tells_what_it_took() {
    let mut told = BTreeSet::new();
    for seed in 0..40 {
        let rig = Rig::seeded(Kind::Local, Options::default(), seed);
        let staged = rig.stage(CONTENTS);
        rig.then(Shape::Atomic, RENAME, AFTER);
        rig.dies(|lake| {
            let _dead = lake.land(&staged, &path(FINAL), &mark(CONTENTS));
        });
        let written = Change {
            path: FINAL.to_owned(),
            deed: Deed::Written,
        };
        assert_eq!(rig.store.changes(), [written]);
        rig.store.power_cut(&rig.world);
        let lost = Change {
            path: FINAL.to_owned(),
            deed: Deed::LostPower { torn: false },
        };
        let gone = rig.seen(FINAL).is_none();
        let expected = if gone { vec![lost] } else { vec![] };
        assert_eq!(rig.store.changes(), expected);
        told.insert(gone);
    }
    assert_eq!(told.len(), 2);
}

#[test]
fn staged_files_that_were_not_synced_are_lost_or_torn() {
    let mut kinds = BTreeSet::new();
    for seed in 0..100 {
        for kind in [Kind::Local, Kind::S3] {
            let rig = Rig::seeded(kind, Options::default(), seed);
            let staged = rig.stage(CONTENTS);
            rig.store.power_cut(&rig.world);
            if kind == Kind::S3 {
                assert!(staged.exists(), "staging is not the store's");
                tear_directory(&rig.world, rig.dir.path());
            }
            let left = std::fs::read(staged).ok();
            kinds.insert((kind, left.map(|left| left == CONTENTS)));
        }
    }
    assert_eq!(kinds.len(), 6, "lost, torn and whole: {kinds:?}");
}

#[test]
fn half_a_write_is_an_error_and_its_temporary_file_goes() {
    let rig = Rig::new(Kind::Local, Options::default());
    rig.then(Shape::Parts, 0, fate(Part::Half, Ending::Lost));
    let lake = rig.lake();
    let error = lake.create(&path("t/m.json"), CONTENTS).unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert_eq!(rig.store.visible().len(), 0);
    let again = lake.create(&path("t/m.json"), CONTENTS);
    assert_eq!(again.unwrap(), Created::Ours);
}

#[test]
fn the_same_seed_loses_the_same() {
    let lost = |seed| {
        let rig = Rig::seeded(Kind::Local, Options::default(), seed);
        for n in 0..8 {
            let staged = rig.stage(CONTENTS);
            rig.then(Shape::Atomic, if n == 0 { RENAME } else { 1 }, AFTER);
            rig.dies(|lake| {
                let name = format!("t/dt=1/p-{n}.parquet");
                let _dead = lake.land(&staged, &path(&name), &mark(CONTENTS));
            });
        }
        rig.store.power_cut(&rig.world);
        rig.store.visible().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(lost(3), lost(3));
    assert!((0..10).any(|seed| lost(seed) != lost(3)));
}
