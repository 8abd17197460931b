//! What the disk itself does: what lasts, what producers do to a file that is read, what goes with a process.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use lakeward::spool::{FileReader, Found, Retired, Spool, SpooledFile};
use rustix::io::Errno;

use super::super::disk::Place;
use super::super::model::Maker;
use super::{Bench, CONTENT, path, plain};
use crate::simulation::world::World;

fn read_all(file: &dyn SpooledFile) -> Vec<u8> {
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut FileReader::new(file, 0), &mut content).expect("no fault");
    content
}

fn scan(spool: &dyn Spool, now_ns: i64) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    let mut visit = |Found { path, ready, .. }| {
        all.push((path.to_string(), ready));
        ControlFlow::Continue(())
    };
    spool.scan(now_ns, &mut visit).expect("no fault");
    all
}

/// What a power cut leaves, by many seeds.
fn after_power_cuts<T: Ord>(act: impl Fn(&Bench), see: impl Fn(&Bench) -> T) -> BTreeSet<T> {
    (0..200)
        .map(|seed| {
            let bench = Bench::new(|_| {});
            act(&bench);
            bench
                .disk
                .power_cut(&World::new(seed, Box::new(super::Plain)));
            see(&bench)
        })
        .collect()
}

#[test]
fn a_name_that_was_not_synced_is_lost_or_not_and_a_renamed_file_has_one_name() {
    let producer = |bench: &Bench| bench.disk.rename(bench.at("a"), bench.at("b"));
    let seen = after_power_cuts(producer, Bench::places);
    let expected = ["/data/spool/a", "/data/spool/b"];
    assert_eq!(seen, expected.map(|name| vec![name.to_owned()]).into());

    let lakeward = |sync: bool| {
        move |bench: &Bench| {
            let spool = bench.spool(&plain());
            let target = spool.retire_target(&path("a"), 0);
            let retired = spool.retire(&path("a"), &bench.stat, &target);
            assert_eq!(retired.expect("no fault"), Retired::Yes);
            if sync {
                spool.sync().expect("no fault");
            }
        }
    };
    let unsynced = after_power_cuts(lakeward(false), Bench::places);
    let expected = ["/data/spool/a", "/data/spool/a.COMPLETED"];
    assert_eq!(unsynced, expected.map(|name| vec![name.to_owned()]).into());
    let synced = after_power_cuts(lakeward(true), Bench::places);
    assert_eq!(synced, [vec![expected[1].to_owned()]].into());
}

#[test]
fn what_a_producer_did_not_sync_is_old_new_torn_or_zeros() {
    let appended = after_power_cuts(
        |bench| bench.disk.append(bench.at("a"), b"more"),
        |bench| bench.disk.read(bench.at("a")).expect("its name is durable"),
    );
    let torn = [CONTENT, b"mo"].concat();
    let zeros = [CONTENT, &[0; 4]].concat();
    let whole = [CONTENT, b"more"].concat();
    for content in [CONTENT, &torn, &zeros, &whole] {
        assert!(appended.contains(content), "{content:?}");
    }
    let overwritten = after_power_cuts(
        |bench| bench.disk.overwrite(bench.at("a"), b"N", true),
        |bench| {
            let a = bench.at("a");
            assert_eq!(bench.disk.stat(&a).mtime_ns, bench.stat.mtime_ns);
            bench.disk.read(a).expect("its name is durable")
        },
    );
    let mixed = [b"N", &CONTENT[1..]].concat();
    let expected = [CONTENT.to_vec(), b"N".to_vec(), mixed];
    assert_eq!(overwritten, expected.into());
    let dropped = after_power_cuts(
        |bench| {
            bench.disk.drop_file(bench.at("new"), b"new", false);
        },
        |bench| bench.disk.read(bench.at("new")),
    );
    for content in [None, Some(b"".to_vec()), Some(b"new".to_vec())] {
        assert!(dropped.contains(&content), "{dropped:?}");
    }
    let settled = after_power_cuts(
        |bench| {
            bench.disk.drop_file(bench.at("new"), b"new", false);
            bench.disk.truncate(bench.at("a"), 1);
            bench.disk.settle();
        },
        |bench| {
            bench
                .disk
                .read(bench.at("new"))
                .zip(bench.disk.read(bench.at("a")))
        },
    );
    assert_eq!(settled, [Some((b"new".to_vec(), b"{".to_vec()))].into());
}

#[test]
fn the_same_seed_leaves_the_same() {
    let left = |seed| {
        let bench = Bench::new(|_| {});
        for n in 0..20 {
            let name = format!("f{n}");
            bench
                .disk
                .drop_file(bench.at(&name), &[b'x'; 20], n % 3 == 0);
            bench.disk.append(bench.at(&name), name.as_bytes());
        }
        let world = World::new(seed, Box::new(super::Plain));
        bench.disk.power_cut(&world);
        let files = bench.files().into_iter();
        files
            .map(|file| (file.path, file.content))
            .collect::<Vec<_>>()
    };
    let all: BTreeSet<_> = (0..50).map(left).collect();
    assert!(all.len() > 20);
    for seed in 0..50 {
        assert_eq!(left(seed), left(seed));
    }
}

#[test]
fn an_inode_number_given_again_is_durably_one_files_at_most() {
    for seed in 0..200 {
        let bench = Bench::new(|_| {});
        bench.disk.reuse_inodes(true);
        bench.disk.remove(bench.at("a"));
        bench.disk.drop_file(bench.at("b"), b"b", seed % 2 == 0);
        assert_eq!(bench.disk.stat(bench.at("b")).inode, bench.stat.inode);
        let world = World::new(seed, Box::new(super::Plain));
        bench.disk.power_cut(&world);
        let files = bench.files();
        let same = files.iter().filter(|file| file.inode == bench.stat.inode);
        assert!(same.count() < 2, "{files:?}");
    }
    let bench = Bench::new(|_| {});
    bench.disk.reuse_inodes(true);
    let open = bench.spool(&plain()).open(&path("a"));
    bench.disk.remove(bench.at("a"));
    bench.disk.drop_file(bench.at("b"), b"b", false);
    assert_ne!(bench.disk.stat(bench.at("b")).inode, bench.stat.inode);
    drop(open);
    bench.disk.drop_file(bench.at("c"), b"c", false);
    assert_eq!(bench.disk.stat(bench.at("c")).inode, bench.stat.inode);
}

#[test]
fn an_open_file_shows_what_producers_do_to_it() {
    let bench = Bench::new(|_| {});
    let world = plain();
    let spool = bench.spool(&world);
    let (file, stat) = spool.open(&path("a")).expect("no fault").expect("a file");
    assert_eq!(stat, bench.stat);
    world.pass(5);
    bench.disk.append(bench.at("a"), b"more");
    assert_eq!(read_all(&*file), [CONTENT, b"more"].concat());
    assert!(!file.stat().expect("no fault").untouched(&stat));
    bench.disk.truncate(bench.at("a"), 3);
    bench.disk.read_at_most(2);
    let mut buffer = [0; 8];
    assert_eq!(file.read_at(&mut buffer, 0).expect("no fault"), 2);
    assert_eq!(read_all(&*file), &CONTENT[..3]);
    let first = bench.disk.events();
    let node = bench.disk.drop_file(bench.at("a"), b"replaced", false);
    assert_eq!(read_all(&*file), &CONTENT[..3]);
    bench.disk.remove(bench.at("a"));
    assert_eq!(read_all(&*file), &CONTENT[..3]);
    assert!(bench.files().iter().all(|file| file.node != node));
    assert!(first.is_empty() && bench.disk.events().is_empty());
}

#[test]
fn what_lakeward_takes_away_is_told_and_what_producers_do_is_not() {
    let bench = Bench::new(super::kills::delete);
    let spool = bench.spool(&plain());
    let target = spool.retire_target(&path("a"), 0);
    spool
        .retire(&path("a"), &bench.stat, &target)
        .expect("no fault");
    spool.sync().expect("no fault");
    let hidden = bench.settings.path.join(target.as_path());
    let standing = bench.files();
    let file = standing
        .iter()
        .find(|file| file.path == hidden)
        .expect("it stands there");
    assert_eq!((file.place, file.maker), (Place::Spool, Maker::Producer));
    spool.unlink_target(&target).expect("no fault");
    let events: Vec<_> = bench
        .disk
        .events()
        .into_iter()
        .map(|event| (event.node, event.path, event.to, event.content))
        .collect();
    let (node, content) = (file.node, CONTENT.to_vec());
    assert_eq!(
        events,
        [
            (node, bench.at("a"), Some(hidden.clone()), content.clone()),
            (node, hidden, None, content)
        ]
    );
}

#[test]
fn an_unmounted_spool_is_not_there_or_is_another() {
    let bench = Bench::new(|settings| settings.path = "/mounted".into());
    let world = plain();
    bench.disk.mount_new("/mounted");
    bench.disk.drop_file(bench.at("a"), CONTENT, true);
    let spool = bench.spool(&world);
    let directory = spool.directory().expect("no fault");
    let held = spool.lock().expect("no fault").expect("nobody has it");
    bench.disk.unmount("/mounted");
    assert!(spool.stat(&path("a")).expect_err("pinned").unavailable);
    let other = bench.spool(&world);
    assert_eq!(scan(&other, 0), [("a".to_owned(), true)], "the one below");
    assert_ne!(other.directory().expect("no fault"), directory);
    bench.disk.mount("/mounted");
    assert!(spool.stat(&path("a")).expect("no fault").is_some());
    assert_eq!(other.directory().expect("no fault"), directory);
    drop(held);
}

#[test]
fn a_lock_ends_with_its_process() {
    let bench = Bench::new(|_| {});
    let world = plain();
    let (one, two) = (bench.spool(&world), bench.spool(&world));
    let held = one.lock().expect("no fault").expect("nobody has it");
    assert!(two.lock().expect("no fault").is_none());
    bench.disk.end_process();
    let next = two.lock().expect("no fault").expect("it is free");
    drop(held);
    assert!(one.lock().expect("no fault").is_none(), "not by the dead");
    drop(next);
    assert!(one.lock().expect("no fault").is_some());
}

#[test]
fn a_spool_that_cannot_be_written_is_read_all_the_same() {
    let bench = Bench::new(|_| {});
    bench.disk.make_read_only(&bench.settings.path, true);
    let spool = bench.spool(&plain());
    assert!(!spool.write_claim(&super::kills::claim_of(9)).expect("told"));
    let aside = spool.quarantine(&path("a"), &bench.stat, &serde_json::json!("why"));
    assert_eq!(aside.expect("told"), None);
    let target = spool.retire_target(&path("a"), 0);
    assert!(spool.retire(&path("a"), &bench.stat, &target).is_err());
    assert!(spool.lock().expect("no fault").is_some());
    assert_eq!(scan(&spool, 0).len(), 1);
    bench.disk.make_read_only(&bench.settings.path, false);
    bench.disk.make_unreadable(bench.at("a"), true);
    let refused = spool.open(&path("a")).map(|_| ()).expect_err("unreadable");
    assert!(!refused.unavailable && refused.message.contains("Permission"));
    assert!(spool.stat(&path("a")).expect("no fault").is_some());
}

#[test]
fn files_age_by_the_worlds_clock() {
    let bench = Bench::new(|settings| settings.ready_after = Duration::from_secs(10));
    let world = plain();
    let spool = bench.spool(&world);
    let ready = || scan(&spool, world.now_ns())[0].1;
    assert!(!ready());
    world.pass(9_000_000_000);
    assert!(!ready());
    world.jump(-60_000_000_000);
    assert!(!ready());
    world.pass(10_000_000_000);
    assert!(ready());
}

#[test]
#[should_panic(expected = "No such file or directory")]
fn what_a_producer_cannot_do_ends_the_run() {
    let bench = Bench::new(|_| {});
    assert_eq!(bench.disk.model().find("/none".as_ref()), Err(Errno::NOENT));
    bench.disk.remove("/none");
}
