//! Moves to another file system, killed and disturbed at each point. They need one: `/dev/shm`, where there is one.

use super::*;

#[test]
fn the_local_spool_keeps_every_promise_with_an_archive_on_another_file_system() {
    struct Across(DiskHands);
    impl Hands for Across {
        fn settings(&self) -> SpoolSettings {
            let elsewhere = TempDir::new_in("/dev/shm").unwrap();
            let mut settings = self.0.settings();
            settings.retire_dir = Some(elsewhere.path().join("archive"));
            locked(&self.0.0).push(elsewhere);
            settings
        }
        fn drop_file(&self, s: &SpoolSettings, path: &[u8], content: &[u8], mtime_ns: i64) {
            self.0.drop_file(s, path, content, mtime_ns);
        }
        fn append(&self, s: &SpoolSettings, path: &[u8], content: &[u8], mtime_ns: i64) {
            self.0.append(s, path, content, mtime_ns);
        }
        fn remove(&self, s: &SpoolSettings, path: &[u8]) {
            self.0.remove(s, path);
        }
        fn read(&self, s: &SpoolSettings, path: &[u8]) -> Option<Vec<u8>> {
            self.0.read(s, path)
        }
        fn read_retired(&self, s: &SpoolSettings, path: &[u8]) -> Option<Vec<u8>> {
            self.0.read_retired(s, path)
        }
        fn link(&self, s: &SpoolSettings, path: &[u8], target: &[u8]) {
            self.0.link(s, path, target);
        }
    }
    if Bench::across().is_none() {
        return;
    }
    let make = |settings| Box::new(LocalSpool::new(settings).unwrap()) as Box<dyn Spool>;
    conformance::run(&make, &Across(DiskHands::default()));
}

#[test]
fn killed_anywhere_on_the_way_to_another_file_system_one_whole_copy_is_left() {
    for point in [
        "copying",
        "copied",
        "copy renamed",
        "sync",
        "copy durable",
        "original removed",
    ] {
        let Some(bench) = Bench::across() else {
            return;
        };
        let archive = bench.settings.retire_dir.clone().unwrap();
        let spool = bench.spool();
        spool.unsynced.faults.kill_at(point);
        bench.retire(&spool).expect_err(point);
        let spool = bench.spool();
        let retired = bench.retire(&spool).unwrap();
        let expected = if point == "original removed" {
            Retired::Already
        } else {
            Retired::Yes
        };
        assert_eq!(retired, expected, "{point}");
        assert_eq!(bench.retire(&spool).unwrap(), Retired::Already, "{point}");
        spool.sync().unwrap();
        assert_eq!(names_in(&archive), ["a"], "{point}");
        assert!(names_in(&bench.settings.path).is_empty(), "{point}");
        assert_eq!(fs::read(archive.join("a")).unwrap(), b"content");
        let mtime_ns = |m: fs::Metadata| m.mtime() * 1_000_000_000 + m.mtime_nsec();
        let metadata = fs::metadata(archive.join("a")).unwrap();
        assert_eq!(mtime_ns(metadata), bench.stat.mtime_ns);
    }
}

#[test]
fn a_file_that_changes_while_it_is_copied_stays_and_its_copy_goes() {
    for point in ["copying", "copied", "copy renamed", "copy durable"] {
        let Some(bench) = Bench::across() else {
            return;
        };
        let spool = bench.spool();
        let a = bench.at("a");
        spool
            .unsynced
            .faults
            .act_at(point, move || append(&a, b" and more"));
        let retired = bench.retire(&spool).unwrap();
        assert!(matches!(retired, Retired::Changed(_)), "{point}");
        assert_eq!(fs::read(bench.at("a")).unwrap(), b"content and more");
        let archive = bench.settings.retire_dir.clone().unwrap();
        assert!(names_in(&archive).is_empty(), "{point}");
    }
}

#[test]
fn an_inode_given_to_a_new_file_after_a_copy_was_moved_is_no_change_of_the_old_one() {
    let Some(bench) = Bench::across() else {
        return;
    };
    let spool = bench.spool();
    spool.unsynced.faults.kill_at("copy renamed");
    bench.retire(&spool).unwrap_err();
    // The same inode on any file system: as if it had been removed and given out again.
    fs::write(bench.at("a"), b"new drop").unwrap();
    assert_eq!(bench.retire(&spool).unwrap(), Retired::Already);
    fs::write(bench.at("a"), b"content and more").unwrap();
    assert!(matches!(bench.retire(&spool).unwrap(), Retired::Changed(_)));
    assert!(bench.at("a").exists());
}

#[test]
fn an_unequal_file_of_the_same_size_and_time_in_the_archive_is_not_ours() {
    let Some(bench) = Bench::across() else {
        return;
    };
    let archive = bench.settings.retire_dir.clone().unwrap();
    fs::create_dir_all(&archive).unwrap();
    fs::write(archive.join("a"), b"CONTENT").unwrap();
    set_mtime(&archive.join("a"), bench.stat.mtime_ns);
    let spool = bench.spool();
    assert_eq!(bench.retire(&spool).unwrap(), Retired::TargetTaken);
    let target = spool.retire_target(&path("a"), 1);
    assert!(!spool.is_copied(&path("a"), &bench.stat, &target).unwrap());
    let retired = spool.retire(&path("a"), &bench.stat, &target);
    assert_eq!(retired.unwrap(), Retired::Yes);
    assert!(spool.is_copied(&path("a"), &bench.stat, &target).unwrap());
    assert_eq!(names_in(&archive), ["a", "a.1"]);
}
