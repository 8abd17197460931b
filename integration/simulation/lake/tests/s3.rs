use super::*;

fn rig(options: Options) -> Rig {
    Rig::new(Kind::S3, options)
}

fn parts() -> Options {
    Options {
        multipart_bytes: 0,
        part_bytes: 8,
        ..Options::default()
    }
}

fn land(rig: &Rig, lake: &SimLake) -> Result<Landed, LakeError> {
    lake.land(&rig.stage(CONTENTS), &path(FINAL), &mark(CONTENTS))
}

fn is_ours(lake: &SimLake) -> bool {
    lake.look(&path(FINAL), &mark(CONTENTS)).unwrap() == Look::Ours
}

fn deeds(rig: &Rig) -> Vec<Deed> {
    rig.store.changes().into_iter().map(|c| c.deed).collect()
}

#[test]
fn a_put_whose_answer_was_lost_was_done() {
    let rig = rig(Options::default());
    rig.then(Shape::Remote, 0, DONE_AND_LOST);
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Look);
    assert!(is_ours(&lake));
    assert_eq!(deeds(&rig), [Deed::Written]);
}

#[test]
fn a_small_object_refused_by_our_own_first_try_is_ours() {
    let rig = rig(Options::default());
    rig.then(Shape::Remote, 0, DONE_AND_LOST);
    let lake = rig.lake();
    let created = lake.create(&path("m.json"), CONTENTS);
    assert_eq!(created.unwrap(), Created::Ours);
    assert_eq!(deeds(&rig), [Deed::Written]);
}

#[test]
fn a_late_put_is_refused_by_its_condition_and_replaces_without_one() {
    for (options, expected) in [
        (Options::default(), vec![Deed::Written]),
        (
            Options::weak(),
            vec![Deed::Written, Deed::Replaced { same_bytes: true }],
        ),
    ] {
        let rig = rig(options);
        rig.then(Shape::Remote, 0, LATE);
        let lake = rig.lake();
        assert_eq!(land(&rig, &lake).unwrap(), Landed::Yes, "the second try");
        assert!(rig.store.deliver(&rig.world));
        assert!(!rig.store.deliver(&rig.world));
        assert_eq!(deeds(&rig), expected);
        assert_eq!(rig.seen(FINAL).as_deref(), Some(CONTENTS));
    }
}

#[test]
fn a_late_put_that_comes_first_is_ours() {
    let rig = rig(Options::default());
    rig.then(Shape::Remote, 0, fate(Part::Late, Ending::Death));
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    assert_eq!(rig.seen(FINAL), None);
    assert!(rig.store.deliver(&rig.world));
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Look);
    assert!(is_ours(&lake));
}

#[test]
fn nothing_of_an_upload_is_visible_before_it_is_completed() {
    let rig = rig(parts());
    // Begin, three parts, complete.
    rig.then(Shape::Remote, 4, BEFORE);
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    assert!(rig.store.visible().is_empty());
    assert_eq!(rig.store.uploads(), 1);
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Yes);
    assert_eq!(lake.abort_uploads(&path(FINAL)).unwrap(), 1);
    assert_eq!(rig.store.uploads(), 0);
    assert_eq!(rig.seen(FINAL).as_deref(), Some(CONTENTS));
}

#[test]
fn a_completion_whose_answer_was_lost_was_done_whatever_the_next_one_is_answered() {
    for (second_complete, expected) in [
        (SecondComplete::Done, Landed::Yes),
        (SecondComplete::Condition, Landed::Look),
        (SecondComplete::Absent, Landed::Look),
    ] {
        let rig = rig(Options {
            second_complete,
            ..parts()
        });
        rig.then(Shape::Remote, 4, DONE_AND_LOST);
        let lake = rig.lake();
        assert_eq!(land(&rig, &lake).unwrap(), expected, "{second_complete:?}");
        assert!(is_ours(&lake));
        assert_eq!(rig.store.uploads(), 0);
        assert_eq!(deeds(&rig), [Deed::Written]);
    }
}

#[test]
fn a_late_completion_is_refused_and_its_upload_is_aborted_by_its_path() {
    let rig = rig(parts());
    rig.then(Shape::Remote, 4, fate(Part::Late, Ending::Death));
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Yes);
    assert!(rig.store.deliver(&rig.world));
    assert_eq!(deeds(&rig), [Deed::Written]);
    assert_eq!(lake.abort_uploads(&path(FINAL)).unwrap(), 1);
}

#[test]
fn a_store_may_honour_the_condition_of_a_put_alone() {
    let rig = rig(Options {
        honours_on_complete: false,
        ..parts()
    });
    rig.then(Shape::Remote, 4, fate(Part::Late, Ending::Death));
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    let lake = rig.lake();
    assert!(lake.probe().unwrap().conditional_writes);
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Yes);
    assert!(rig.store.deliver(&rig.world));
    let replaced = Deed::Replaced { same_bytes: true };
    assert_eq!(deeds(&rig), [Deed::Written, replaced]);
}

#[test]
fn an_upload_that_broke_off_is_aborted_and_begun_again() {
    let rig = rig(parts());
    rig.then(Shape::Remote, 2, LOST);
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Yes);
    assert_eq!(rig.store.uploads(), 0);
}

#[test]
fn an_upload_whose_id_was_lost_stays_until_it_is_looked_for() {
    let rig = rig(parts());
    rig.then(Shape::Remote, 0, DONE_AND_LOST);
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Yes);
    assert_eq!(rig.store.uploads(), 1);
    assert_eq!(lake.abort_uploads(&path(FINAL)).unwrap(), 1);
}

#[test]
fn the_probe_tells_what_the_store_honours_and_leaves_nothing() {
    for short_probe in [false, true] {
        for honours_conditions in [false, true] {
            let rig = rig(Options {
                short_probe,
                honours_conditions,
                ..Options::default()
            });
            let honours = rig.lake().probe().unwrap();
            assert_eq!(honours.conditional_writes, honours_conditions);
            assert!(rig.store.visible().is_empty());
            assert_eq!(rig.store.changes(), []);
        }
    }
}

#[test]
fn a_page_that_fails_fails_the_listing() {
    let rig = rig(Options {
        page: 2,
        ..Options::default()
    });
    for n in 0..5 {
        rig.store.put_foreign(&format!("t/{n}"), b"x");
    }
    let lake = rig.lake();
    let mut found = 0;
    lake.list(&path("t"), &mut |_| found += 1).unwrap();
    assert_eq!(found, 5);
    rig.then(Shape::Look, 1, LOST);
    assert!(lake.list(&path("t"), &mut |_| ()).is_err());
}

#[test]
fn a_file_whose_metadata_says_another_batch_is_foreign() {
    let rig = rig(Options::default());
    let lake = rig.lake();
    land(&rig, &lake).unwrap();
    let other = mark(b"01234567890123456789");
    let look = lake.look(&path(FINAL), &other).unwrap();
    assert!(matches!(look, Look::Foreign { length: 20, found } if found.contains("batch")));
}
