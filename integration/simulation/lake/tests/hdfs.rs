use super::*;

/// Of a landing whose directory is there: create, blocks, close, rename; only requests to the NameNode are counted.
const CREATE: u64 = 0;
const CLOSE: u64 = 1;
const RENAME: u64 = 2;

fn rig(options: Options) -> Rig {
    let rig = Rig::new(
        Kind::Hdfs,
        Options {
            block_bytes: 8,
            ..options
        },
    );
    rig.store.put_foreign("t/dt=1/neighbour", b"x");
    rig
}

fn land(rig: &Rig, lake: &SimLake) -> Result<Landed, LakeError> {
    lake.land(&rig.stage(CONTENTS), &path(FINAL), &mark(CONTENTS))
}

fn names(rig: &Rig) -> Arc<Mutex<NameNode>> {
    match rig.store.held() {
        Held::Hdfs(names) => names,
        _ => panic!("an HDFS lake"),
    }
}

#[test]
fn a_writer_that_died_leaves_half_a_file_and_its_lease() {
    let rig = rig(Options::default());
    rig.then(Shape::RemoteParts, 1, HALFWAY);
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    let visible = rig.store.visible();
    let (temporary, left) = visible.iter().find(|(name, _)| is_temporary(name)).unwrap();
    assert_eq!(left, &CONTENTS[..12], "a block and half of the next");
    assert_eq!(lock(&names(&rig)).open_files(), 1);
    let create = |holder| {
        let path = temporary.clone();
        lock(&names(&rig)).perform(namenode::Request::Create { path, holder })
    };
    let ours = lock(&names(&rig)).new_holder();
    assert_eq!(
        create(ours),
        Err(port::FaultKind::Transient),
        "the lease is being recovered"
    );
    assert_eq!(create(ours), Err(port::FaultKind::Exists));
    assert_eq!(lock(&names(&rig)).open_files(), 0);
}

#[test]
fn a_live_writers_lease_keeps_others_out_and_deleting_its_file_ends_it() {
    let rig = rig(Options::default());
    let shared = names(&rig);
    let mut names = lock(&shared);
    let (writer, other) = (names.new_holder(), names.new_holder());
    let path = "t/dt=1/.a.0000000000000001.tmp".to_owned();
    let create = |holder| namenode::Request::Create {
        path: path.clone(),
        holder,
    };
    let file = names.perform(create(writer)).unwrap();
    assert_eq!(names.perform(create(other)), Err(port::FaultKind::Exists));
    assert_eq!(names.recover_leases(), 0, "it lives");
    let delete = namenode::Request::Delete(path.clone());
    assert_eq!(names.perform(delete), Ok(1));
    let bytes = b"more".to_vec();
    let write = namenode::Request::Write { file, bytes };
    assert_eq!(names.perform(write), Err(port::FaultKind::Transient));
}

#[test]
fn what_dead_writers_left_open_is_closed_in_time() {
    let rig = rig(Options::default());
    rig.then(Shape::Remote, CREATE, AFTER);
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    assert_eq!(rig.store.recover_leases(), 1);
    assert_eq!(rig.store.recover_leases(), 0);
    let lake = rig.lake();
    assert_eq!(lake.abort_uploads(&path(FINAL)).unwrap(), 1);
    assert_eq!(rig.store.temporary(), 0);
}

#[test]
fn a_rename_whose_answer_was_lost_was_done() {
    let rig = rig(Options::default());
    rig.then(Shape::Remote, RENAME, DONE_AND_LOST);
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Look);
    let look = lake.look(&path(FINAL), &mark(CONTENTS)).unwrap();
    assert_eq!(look, Look::Ours);
    assert_eq!(rig.store.temporary(), 0);
}

#[test]
fn a_close_whose_answer_was_lost_is_not_followed_by_a_rename() {
    let rig = rig(Options::default());
    rig.then(Shape::Remote, CLOSE, DONE_AND_LOST);
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Yes);
    assert_eq!(rig.store.temporary(), 0, "the first attempt's is removed");
}

#[test]
fn a_late_rename_never_replaces_and_publishes_a_whole_file() {
    let rig = rig(Options::default());
    rig.then(Shape::Remote, RENAME, fate(Part::Late, Ending::Death));
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    assert_eq!(rig.seen(FINAL), None);
    assert_eq!(rig.store.late(), 1);
    // The next process is in the middle of its own attempt when the rename arrives.
    rig.then(Shape::RemoteParts, 1, HALFWAY);
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    assert!(rig.store.deliver(&rig.world));
    assert!(!rig.store.deliver(&rig.world));
    assert_eq!(rig.seen(FINAL).as_deref(), Some(CONTENTS));
    let lake = rig.lake();
    assert_eq!(land(&rig, &lake).unwrap(), Landed::Look);
    assert_eq!(lake.abort_uploads(&path(FINAL)).unwrap(), 1);
}

#[test]
fn with_one_temporary_name_for_all_a_late_rename_publishes_half_a_file() {
    let rig = rig(Options {
        shared_temporary_name: true,
        ..Options::default()
    });
    rig.then(Shape::Remote, RENAME, fate(Part::Late, Ending::Death));
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    // Finds its name taken, removes it, writes again.
    rig.then(Shape::RemoteParts, 1, HALFWAY);
    rig.dies(|lake| {
        let _dead = land(&rig, &lake);
    });
    assert!(rig.store.deliver(&rig.world));
    assert_eq!(rig.seen(FINAL).as_deref(), Some(&CONTENTS[..12]));
}

#[test]
fn a_page_that_fails_often_fails_the_listing() {
    let rig = rig(Options {
        page: 2,
        ..Options::default()
    });
    for n in 0..5 {
        rig.store.put_foreign(&format!("t/many/{n}"), b"x");
    }
    let lake = rig.lake();
    let mut found = 0;
    lake.list(&path("t/many"), &mut |_| found += 1).unwrap();
    assert_eq!(found, 5);
    rig.then(Shape::Look, 1, LOST);
    found = 0;
    lake.list(&path("t/many"), &mut |_| found += 1).unwrap();
    assert_eq!(found, 5, "begun again, and none twice");
    rig.then(Shape::Look, 1, LOST);
    for _ in 1..3 {
        rig.then(Shape::Look, 0, LOST);
    }
    assert!(lake.list(&path("t/many"), &mut |_| ()).is_err());
}

#[test]
fn the_probe_removes_what_an_old_kill_left() {
    let rig = rig(Options::default());
    let lake = rig.lake();
    lake.create(&path("_lakeward/m.json"), b"x").unwrap();
    rig.then(Shape::Remote, CREATE, AFTER);
    rig.dies(|lake| {
        let _dead = lake.create(&path("_lakeward/n.json"), b"x");
    });
    let lake = rig.lake();
    lake.probe().unwrap();
    assert_eq!(rig.store.temporary(), 1, "it may be another's");
    rig.world.pass(25 * 3600 * 1_000_000_000);
    lake.probe().unwrap();
    assert_eq!(rig.store.temporary(), 0);
}
