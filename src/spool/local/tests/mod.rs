//! What only the local spool has to withstand: links, kills between two system calls, other file systems.

mod across;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::segment::JournalId;
use crate::spool::Order;
use crate::spool::conformance::{self, Hands, NOW, scan};

fn settings_in(directory: &Path) -> SpoolSettings {
    let path = directory.join("spool");
    fs::create_dir_all(&path).unwrap();
    SpoolSettings {
        pipeline: "orders".into(),
        path,
        recursive: false,
        include: vec!["*".into()],
        exclude: Vec::new(),
        skip_suffixes: vec![".tmp".into(), ".part".into()],
        order: Order::Name,
        ready_after: Duration::ZERO,
        ready_marker: String::new(),
        retire: Retire::Rename,
        retire_suffix: ".COMPLETED".into(),
        retire_dir: Some(directory.join("new/archive")),
        quarantine_dir: ".quarantine".into(),
    }
}

fn os(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn set_mtime(path: &Path, mtime_ns: i64) {
    let time = if mtime_ns < 0 {
        UNIX_EPOCH - Duration::from_nanos(mtime_ns.unsigned_abs())
    } else {
        UNIX_EPOCH + Duration::from_nanos(mtime_ns.unsigned_abs())
    };
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// A real directory.
#[derive(Default)]
struct DiskHands(Mutex<Vec<TempDir>>);

impl Hands for DiskHands {
    fn settings(&self) -> SpoolSettings {
        let directory = TempDir::new().unwrap();
        let settings = settings_in(directory.path());
        locked(&self.0).push(directory);
        settings
    }

    fn drop_file(&self, settings: &SpoolSettings, path: &[u8], content: &[u8], mtime_ns: i64) {
        let path = settings.path.join(os(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temporary = path.with_file_name("new.tmp");
        fs::write(&temporary, content).unwrap();
        set_mtime(&temporary, mtime_ns);
        fs::rename(&temporary, &path).unwrap();
    }

    fn append(&self, settings: &SpoolSettings, path: &[u8], content: &[u8], mtime_ns: i64) {
        let path = settings.path.join(os(path));
        append(&path, content);
        set_mtime(&path, mtime_ns);
    }

    fn remove(&self, settings: &SpoolSettings, path: &[u8]) {
        fs::remove_file(settings.path.join(os(path))).unwrap();
    }

    fn read(&self, settings: &SpoolSettings, path: &[u8]) -> Option<Vec<u8>> {
        fs::read(settings.path.join(os(path))).ok()
    }

    fn read_retired(&self, settings: &SpoolSettings, path: &[u8]) -> Option<Vec<u8>> {
        fs::read(settings.retire_dir.as_ref()?.join(os(path))).ok()
    }

    fn link(&self, settings: &SpoolSettings, path: &[u8], target: &[u8]) {
        symlink(os(target), settings.path.join(os(path))).unwrap();
    }
}

fn append(path: &Path, content: &[u8]) {
    use std::io::Write;
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(content).unwrap();
}

/// One spool on a disk of its own, and a file `a` in it.
struct Bench {
    directory: TempDir,
    /// Where another file system is mounted, if this machine has one to spare.
    elsewhere: Option<TempDir>,
    settings: SpoolSettings,
    stat: FileStat,
}

impl Bench {
    fn new(change: impl FnOnce(&mut SpoolSettings)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut settings = settings_in(directory.path());
        change(&mut settings);
        Self {
            directory,
            elsewhere: None,
            settings,
            stat: FileStat {
                inode: 0,
                device: 0,
                size: 0,
                mtime_ns: 0,
            },
        }
        .with_file(b"content")
    }

    /// Moves to another file system; `None` if there is none.
    fn across() -> Option<Self> {
        let elsewhere = TempDir::new_in("/dev/shm").ok()?;
        let mut bench = Self::new(|settings| {
            settings.retire = Retire::Move;
            settings.recursive = true;
            settings.retire_dir = Some(elsewhere.path().join("archive"));
            settings.quarantine_dir = elsewhere.path().join("quarantine");
        });
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        if device(elsewhere.path()) == device(bench.directory.path()) {
            return None;
        }
        bench.elsewhere = Some(elsewhere);
        Some(bench)
    }

    fn with_file(mut self, content: &[u8]) -> Self {
        fs::write(self.at("a"), content).unwrap();
        self.stat = self.spool().stat(&path("a")).unwrap().unwrap();
        self
    }

    /// A new process.
    fn spool(&self) -> LocalSpool {
        LocalSpool::new(self.settings.clone()).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.settings.path.join(name)
    }

    fn retire(&self, spool: &LocalSpool) -> Result<Retired, SpoolError> {
        spool.retire(&path("a"), &self.stat, &spool.retire_target(&path("a"), 0))
    }

    fn outside(&self) -> PathBuf {
        let path = self.directory.path().join("outside");
        fs::create_dir_all(&path).unwrap();
        path
    }
}

fn path(name: &str) -> RelativePath {
    RelativePath::new(name.as_bytes()).unwrap()
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn the_local_spool_keeps_every_promise_of_the_port() {
    let make = |settings| Box::new(LocalSpool::new(settings).unwrap()) as Box<dyn Spool>;
    conformance::run(&make, &DiskHands::default());
}

#[test]
fn the_local_spool_keeps_every_promise_without_a_rename_that_does_not_replace() {
    let make = |settings| {
        let spool = LocalSpool::new(settings).unwrap();
        spool.unsynced.faults.take_noreplace_away();
        Box::new(spool) as Box<dyn Spool>
    };
    conformance::run(&make, &DiskHands::default());
}

#[test]
fn pipes_and_sockets_are_neither_visited_nor_waited_for() {
    let bench = Bench::new(|_| {});
    let root = fs::File::open(&bench.settings.path).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(&root, "pipe", rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.at("socket")).unwrap();
    let spool = bench.spool();
    assert_eq!(scan(&spool, NOW).len(), 1);
    assert!(spool.open(&path("pipe")).unwrap().is_none());
    assert!(spool.open(&path("socket")).unwrap().is_none());
}

#[test]
fn a_missing_spool_is_unavailable_and_not_empty() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    fs::rename(&bench.settings.path, bench.directory.path().join("away")).unwrap();
    let unavailable = |error: SpoolError| {
        assert!(error.unavailable, "{error}");
    };
    unavailable(spool.scan(NOW, &mut |_| unreachable!()).unwrap_err());
    unavailable(spool.stat(&path("a")).unwrap_err());
    unavailable(spool.open(&path("a")).map(|_| ()).unwrap_err());
    unavailable(bench.retire(&spool).unwrap_err());
    unavailable(spool.claim().unwrap_err());
    unavailable(spool.directory().unwrap_err());
    unavailable(spool.lock().map(|_| ()).unwrap_err());
    fs::write(&bench.settings.path, "a file").unwrap();
    unavailable(spool.scan(NOW, &mut |_| unreachable!()).unwrap_err());
}

#[test]
fn another_directory_than_the_locked_one_is_not_the_spool() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    let held = spool.lock().unwrap().unwrap();
    let away = bench.directory.path().join("away");
    fs::rename(&bench.settings.path, &away).unwrap();
    fs::create_dir(&bench.settings.path).unwrap();
    assert!(spool.stat(&path("a")).unwrap_err().unavailable);
    fs::remove_dir(&bench.settings.path).unwrap();
    fs::rename(&away, &bench.settings.path).unwrap();
    assert!(spool.stat(&path("a")).unwrap().is_some());
    drop(held);
}

#[test]
fn a_lock_on_the_file_alone_or_on_the_directory_alone_is_respected() {
    for name in ["", ".lakeward-lock"] {
        let bench = Bench::new(|_| {});
        let spool = bench.spool();
        drop(spool.lock().unwrap().unwrap());
        let other = fs::File::open(bench.at(name)).unwrap();
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&other, operation).unwrap();
        assert!(spool.lock().unwrap().is_none());
        drop(other);
        assert!(spool.lock().unwrap().is_some());
    }
}

#[test]
fn links_lead_nowhere_for_whatever_is_done_below_the_spool() {
    let bench = Bench::new(|settings| settings.recursive = true);
    let outside = bench.outside();
    fs::write(outside.join("x"), "secret").unwrap();
    symlink(&outside, bench.at("d")).unwrap();
    let spool = bench.spool();
    let x = path("d/x");
    let metadata = fs::metadata(outside.join("x")).unwrap();
    let stat = FileStat {
        inode: metadata.ino(),
        device: metadata.dev(),
        size: metadata.size(),
        mtime_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
    };
    assert_eq!(scan(&spool, NOW).len(), 1);
    assert!(spool.open(&x).unwrap().is_none());
    let target = spool.retire_target(&x, 0);
    assert_eq!(spool.retire(&x, &stat, &target).unwrap(), Retired::Gone);
    assert_eq!(spool.quarantine(&x, &stat, &json!("")).unwrap(), None);
    assert_eq!(names_in(&outside), ["x"]);
}

#[test]
fn a_link_swapped_in_for_a_file_is_not_retired() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    fs::rename(bench.at("a"), bench.outside().join("a")).unwrap();
    symlink(bench.outside().join("a"), bench.at("a")).unwrap();
    assert_eq!(bench.retire(&spool).unwrap(), Retired::Gone);
    let moved = spool
        .quarantine(&path("a"), &bench.stat, &json!(""))
        .unwrap();
    assert_eq!(moved, None);
    assert!(bench.outside().join("a").exists());
}

#[test]
fn a_link_in_the_place_of_the_archive_or_the_quarantine_is_refused() {
    let bench = Bench::new(|settings| settings.retire = Retire::Move);
    let archive = bench.settings.retire_dir.clone().unwrap();
    fs::create_dir_all(archive.parent().unwrap()).unwrap();
    symlink(bench.outside(), &archive).unwrap();
    symlink(bench.outside(), bench.at(".quarantine")).unwrap();
    let spool = bench.spool();
    let error = bench.retire(&spool).unwrap_err();
    assert!(error.message.contains("symbolic link"), "{error}");
    let reason = json!("");
    let error = spool
        .quarantine(&path("a"), &bench.stat, &reason)
        .unwrap_err();
    assert!(error.message.contains("symbolic link"), "{error}");
    assert!(names_in(&bench.outside()).is_empty());
    assert!(bench.at("a").exists());

    // A link below the archive is no better than the archive itself.
    fs::remove_file(&archive).unwrap();
    fs::create_dir_all(&archive).unwrap();
    symlink(bench.outside(), archive.join("d")).unwrap();
    fs::create_dir(bench.at("d")).unwrap();
    fs::write(bench.at("d/b"), "1").unwrap();
    let stat = spool.stat(&path("d/b")).unwrap().unwrap();
    assert!(spool.retire(&path("d/b"), &stat, &path("d/b")).is_err());
    assert!(names_in(&bench.outside()).is_empty());
}

#[test]
fn a_file_that_grows_between_the_look_and_the_rename_is_put_back() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    let a = bench.at("a");
    spool
        .unsynced
        .faults
        .act_at("looked", move || append(&a, b" and more"));
    let Retired::Changed(now) = bench.retire(&spool).unwrap() else {
        panic!("it changed");
    };
    assert_eq!(now.size, 16);
    assert_eq!(names_in(&bench.settings.path), ["a"]);
}

#[test]
fn a_file_replaced_between_the_look_and_the_rename_is_put_back() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    let (a, new) = (bench.at("a"), bench.directory.path().join("new-file"));
    spool.unsynced.faults.act_at("looked", move || {
        fs::write(&new, "new").unwrap();
        fs::rename(&new, &a).unwrap();
    });
    assert_eq!(bench.retire(&spool).unwrap(), Retired::Replaced);
    assert_eq!(names_in(&bench.settings.path), ["a"]);
    assert_eq!(fs::read(bench.at("a")).unwrap(), b"new");
}

#[test]
fn a_link_swapped_in_between_the_look_and_the_rename_is_put_back() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    let a = bench.at("a");
    spool.unsynced.faults.act_at("looked", move || {
        fs::remove_file(&a).unwrap();
        symlink("elsewhere", &a).unwrap();
    });
    assert_eq!(bench.retire(&spool).unwrap(), Retired::Gone);
    assert_eq!(names_in(&bench.settings.path), ["a"]);
}

#[test]
fn a_file_that_grows_after_the_rename_is_put_back_by_the_next_attempt() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    spool.unsynced.faults.kill_at("renamed");
    bench.retire(&spool).unwrap_err();
    append(&bench.at("a.COMPLETED"), b" and more");
    let spool = bench.spool();
    assert!(matches!(bench.retire(&spool).unwrap(), Retired::Changed(_)));
    assert_eq!(names_in(&bench.settings.path), ["a"]);
}

#[test]
fn a_file_that_grew_after_the_rename_stays_whole_when_its_path_has_a_new_file() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    spool.unsynced.faults.kill_at("renamed");
    bench.retire(&spool).unwrap_err();
    append(&bench.at("a.COMPLETED"), b" and more");
    fs::write(bench.at("a"), "new").unwrap();
    assert!(matches!(
        bench.retire(&bench.spool()).unwrap(),
        Retired::Changed(_)
    ));
    assert_eq!(names_in(&bench.settings.path), ["a", "a.COMPLETED"]);
    assert_eq!(fs::read(bench.at("a")).unwrap(), b"new");
}

#[test]
fn killed_after_the_rename_the_next_attempt_finds_it_done_and_syncs_again() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    spool.unsynced.faults.kill_at("renamed");
    bench.retire(&spool).unwrap_err();
    fs::write(bench.at("a"), "a new drop").unwrap();
    let spool = bench.spool();
    assert_eq!(bench.retire(&spool).unwrap(), Retired::Already);
    spool.sync().unwrap();
    assert_eq!(spool.unsynced.faults.syncs(), 1);
    assert_eq!(fs::read(bench.at("a")).unwrap(), b"a new drop");
}

#[test]
fn killed_between_link_and_unlink_the_next_attempt_finishes() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    spool.unsynced.faults.take_noreplace_away();
    spool.unsynced.faults.kill_at("linked");
    bench.retire(&spool).unwrap_err();
    assert_eq!(names_in(&bench.settings.path), ["a", "a.COMPLETED"]);
    assert_eq!(bench.retire(&bench.spool()).unwrap(), Retired::Yes);
    assert_eq!(names_in(&bench.settings.path), ["a.COMPLETED"]);
}

#[test]
fn many_files_retired_in_one_directory_are_synced_once() {
    let bench = Bench::new(|_| {});
    for n in 0..300 {
        fs::write(bench.at(&format!("f{n}")), "1").unwrap();
    }
    let spool = bench.spool();
    for found in scan(&spool, NOW) {
        let target = spool.retire_target(&found.path, 0);
        let retired = spool.retire(&found.path, &found.stat, &target);
        assert_eq!(retired.unwrap(), Retired::Yes);
    }
    assert_eq!(spool.unsynced.faults.syncs(), 0);
    spool.sync().unwrap();
    assert_eq!(spool.unsynced.faults.syncs(), 1);
    spool.sync().unwrap();
    assert_eq!(spool.unsynced.faults.syncs(), 1);
}

#[test]
fn what_could_not_be_synced_is_synced_by_the_next_call() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    assert_eq!(bench.retire(&spool).unwrap(), Retired::Yes);
    spool.unsynced.faults.kill_at("sync");
    spool.sync().unwrap_err();
    spool.sync().unwrap();
    assert_eq!(spool.unsynced.faults.syncs(), 1);
}

#[test]
fn an_archive_is_made_and_every_directory_above_it_is_synced() {
    let bench = Bench::new(|settings| settings.retire = Retire::Move);
    let spool = bench.spool();
    assert_eq!(bench.retire(&spool).unwrap(), Retired::Yes);
    spool.sync().unwrap();
    let archive = bench.settings.retire_dir.clone().unwrap();
    assert_eq!(names_in(&archive), ["a"]);
    let above = archive.ancestors().count();
    assert_eq!(spool.unsynced.faults.syncs(), above + 1);
}

/// A power cut between two syncs leaves a file that was moved under both of its names, never under none.
#[test]
fn what_names_left_is_synced_after_what_they_came_to() {
    // Directories are known by their inodes, so both orders of making them are tried.
    for archive_first in [false, true] {
        let bench = Bench::new(|settings| {
            settings.retire = Retire::Move;
            if !archive_first {
                return;
            }
            fs::create_dir_all(settings.retire_dir.as_ref().unwrap()).unwrap();
            let spool = settings.path.clone();
            fs::rename(&spool, spool.with_extension("old")).unwrap();
            fs::create_dir(spool).unwrap();
        });
        let spool = bench.spool();
        assert_eq!(bench.retire(&spool).unwrap(), Retired::Yes);
        let (order, _) = spool.unsynced.in_order();
        let last = order.last().unwrap().identity().unwrap();
        let own = fs::metadata(&bench.settings.path).unwrap();
        assert_eq!(last, (own.dev(), own.ino()));
    }
}

#[test]
fn killed_anywhere_in_quarantine_the_next_attempt_finishes() {
    for across in [false, true] {
        for point in [
            "looked",
            "renamed",
            "copied",
            "copy renamed",
            "copy durable",
            "original removed",
            "quarantined",
            "reason written",
        ] {
            let bench = if across {
                let Some(bench) = Bench::across() else {
                    return;
                };
                bench
            } else {
                Bench::new(|_| {})
            };
            let reason = json!({"reason": "why"});
            let spool = bench.spool();
            spool.unsynced.faults.kill_at(point);
            let _ = spool.quarantine(&path("a"), &bench.stat, &reason);
            let spool = bench.spool();
            let place = spool.quarantine(&path("a"), &bench.stat, &reason).unwrap();
            let place = place.unwrap_or_else(|| panic!("{point} {across}"));
            spool.sync().unwrap();
            let directory = bench.settings.path.join(&bench.settings.quarantine_dir);
            assert_eq!(place, directory.join("a"));
            assert_eq!(
                names_in(&directory),
                ["a", "a.reason.json"],
                "{point} {across}"
            );
            assert!(!bench.at("a").exists(), "{point} {across}");
        }
    }
}

#[test]
fn a_spooled_file_called_like_a_reason_does_not_take_its_place() {
    let bench = Bench::new(|_| {});
    let spool = bench.spool();
    fs::write(bench.at("a.reason.json"), "data").unwrap();
    for name in ["a.reason.json", "a"] {
        let stat = spool.stat(&path(name)).unwrap().unwrap();
        spool.quarantine(&path(name), &stat, &json!("why")).unwrap();
    }
    assert_eq!(
        names_in(&bench.at(".quarantine")),
        [
            "a.1",
            "a.1.reason.json",
            "a.reason.json",
            "a.reason.json.reason.json"
        ]
    );
}

#[test]
fn a_claim_that_cannot_be_read_says_what_to_do() {
    for content in [&b"{"[..], b"[]", b"\xff", b""] {
        let bench = Bench::new(|_| {});
        fs::write(bench.at(".lakeward-claim.json"), content).unwrap();
        let error = bench.spool().claim().unwrap_err();
        assert!(!error.unavailable);
        assert!(error.message.contains("lakeward adopt"), "{error}");
    }
    let bench = Bench::new(|_| {});
    symlink("elsewhere", bench.at(".lakeward-claim.json")).unwrap();
    assert!(bench.spool().claim().is_err());
}

#[test]
fn killed_while_a_claim_is_written_the_old_one_stands() {
    let bench = Bench::new(|_| {});
    let claim = |journal| Claim {
        spool: JournalId(1),
        pipeline: "orders".into(),
        journal: JournalId(journal),
        journal_path: String::new(),
        directory: None,
    };
    let spool = bench.spool();
    assert!(spool.write_claim(&claim(2)).unwrap());
    spool.unsynced.faults.kill_at("claim written");
    spool.write_claim(&claim(3)).unwrap_err();
    assert_eq!(bench.spool().claim().unwrap(), Some(claim(2)));
    assert!(bench.spool().write_claim(&claim(4)).unwrap());
    assert_eq!(bench.spool().claim().unwrap(), Some(claim(4)));
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_key() {
    let refused = |key: &str, change: &dyn Fn(&mut SpoolSettings)| {
        let directory = TempDir::new().unwrap();
        let mut settings = settings_in(directory.path());
        change(&mut settings);
        let error = LocalSpool::new(settings).map(|_| ()).unwrap_err();
        assert!(error.message.starts_with(key), "{error}");
    };
    refused("include", &|s| s.include.clear());
    refused("include", &|s| s.include = vec!["[".into()]);
    refused("exclude", &|s| s.exclude = vec!["{a".into()]);
    refused("skip_suffixes", &|s| s.skip_suffixes = vec![String::new()]);
    refused("ready_marker", &|s| s.ready_marker = "a/b".into());
    refused("retire_suffix", &|s| s.retire_suffix.clear());
    refused("retire_dir", &|s| {
        s.retire = Retire::Move;
        s.retire_dir = None;
    });
    refused("retire_dir", &|s| {
        s.retire = Retire::Move;
        s.retire_dir = Some(s.path.join("visible"));
    });
    refused("quarantine_dir", &|s| s.quarantine_dir = "../x".into());
    refused("quarantine_dir", &|s| s.quarantine_dir = "visible".into());
}

#[test]
fn a_directory_that_exclude_shuts_out_is_not_entered() {
    let bench = Bench::new(|settings| {
        settings.recursive = true;
        settings.exclude = vec!["lost+found/**".into()];
    });
    let names = &bench.spool().names;
    assert!(!names.is_entered(b"lost+found", b"lost+found"));
    assert!(names.is_entered(b"found", b"found"));
}

#[test]
fn a_tree_that_is_too_deep_fails_the_scan_and_says_where() {
    let bench = Bench::new(|settings| settings.recursive = true);
    let mut directory = Directory::open(&Linux, &bench.settings.path, true)
        .ok()
        .unwrap();
    let name = [b'd'; 200];
    for _ in 0..21 {
        directory = directory.make_below(&name).unwrap().pop().unwrap();
    }
    let error = bench.spool().scan(NOW, &mut |_| ControlFlow::Continue(()));
    let error = error.unwrap_err();
    assert!(
        error.unavailable && error.message.contains("4095"),
        "{error}"
    );
}

#[test]
fn files_of_many_blocks_come_in_one_order() {
    let mut listing = listing::Listing::default();
    listing.add_directory(&[]);
    for n in 0..200_000_u32 {
        let n = n.wrapping_mul(7919) % 200_000;
        let name = std::ffi::CString::new(format!("{n:06}")).unwrap();
        listing.add(0, &name, i64::from(n / 2)).unwrap();
        if n == 5 {
            listing.add(0, &name, i64::from(n / 2)).unwrap();
        }
    }
    for order in [Order::Oldest, Order::Name] {
        listing.sort(order);
        let names: Vec<_> = listing
            .in_order(order)
            .map(|entry| listing.name(entry).to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names.len(), 200_000);
        assert!(names.is_sorted());
    }
    listing.sort(Order::Newest);
    let first = listing.in_order(Order::Newest).next().unwrap();
    assert_eq!(listing.name(first), c"199998");
}
