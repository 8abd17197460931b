//! What every spool must do, whatever it is made of: run on the local one, and on simulated ones.
//!
//! The suite sees a spool through its port, and the other side of it (what a producer does, what an operator finds)
//! through [`Hands`]. It is part of the library so that simulated spools run the same.

#![expect(
    clippy::unwrap_used,
    reason = "the suite is a test: a failed check is to panic"
)]

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::json;

use super::{Claim, FileReader, Found, Order, Retire, Retired, Spool, SpoolSettings, SpooledFile};
use crate::segment::{FileStat, JournalId, RelativePath};

/// A producer and an operator, working on the directories that the settings name. Paths are bytes below the spool;
/// directories in between are made.
pub trait Hands {
    /// Settings for an empty spool that exists, with `retire_dir` given and not made yet, everything else as the
    /// defaults of the configuration.
    fn settings(&self) -> SpoolSettings;
    /// Writes a new file (another inode than any before at this path), last changed at `mtime_ns`.
    fn drop_file(&self, settings: &SpoolSettings, path: &[u8], content: &[u8], mtime_ns: i64);
    /// Appends to the file in place.
    fn append(&self, settings: &SpoolSettings, path: &[u8], content: &[u8], mtime_ns: i64);
    fn remove(&self, settings: &SpoolSettings, path: &[u8]);
    /// The content of a regular file, `None` if there is none.
    fn read(&self, settings: &SpoolSettings, path: &[u8]) -> Option<Vec<u8>>;
    /// As `read`, below `retire_dir`.
    fn read_retired(&self, settings: &SpoolSettings, path: &[u8]) -> Option<Vec<u8>>;
    /// Puts a symbolic link there, if this kind of spool knows such things.
    fn link(&self, settings: &SpoolSettings, path: &[u8], target: &[u8]);
}

type Make<'a> = &'a dyn Fn(SpoolSettings) -> Box<dyn Spool>;

const SECOND: i64 = 1_000_000_000;
/// When the tests play.
pub const NOW: i64 = 1_800_000_000 * SECOND;

/// Runs everything.
///
/// # Panics
/// On the first promise that is not kept.
pub fn run(make: Make<'_>, hands: &dyn Hands) {
    names_decide_what_is_visited(make, hands);
    globs_decide_what_is_visited(make, hands);
    files_come_in_order(make, hands);
    a_visitor_may_stop(make, hands);
    age_decides_what_is_ready(make, hands);
    a_marker_decides_what_is_ready(make, hands);
    only_regular_files_are_opened(make, hands);
    an_open_file_is_the_file_that_was_opened(make, hands);
    a_file_is_renamed_once(make, hands);
    only_the_recorded_identity_is_retired(make, hands);
    a_target_is_never_replaced(make, hands);
    a_file_is_moved_with_its_path(make, hands);
    a_deleted_file_is_hidden_first(make, hands);
    a_target_of_another_retire_is_the_files_only_where_it_stands(make, hands);
    a_marker_is_retired_with_its_file(make, hands);
    any_name_can_be_retired(make, hands);
    a_quarantined_file_has_its_reason_beside_it(make, hands);
    quarantine_moves_only_that_inode(make, hands);
    a_claim_is_read_back(make, hands);
    a_lock_is_held_once(make, hands);
}

fn path(bytes: &[u8]) -> RelativePath {
    RelativePath::new(bytes).unwrap()
}

pub fn scan(spool: &dyn Spool, now_ns: i64) -> Vec<Found> {
    let mut all = Vec::new();
    spool
        .scan(now_ns, &mut |found| {
            all.push(found);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

fn scanned(spool: &dyn Spool) -> Vec<String> {
    let found = scan(spool, NOW);
    found.into_iter().map(|f| f.path.to_string()).collect()
}

fn stat_of(spool: &dyn Spool, at: &[u8]) -> FileStat {
    spool.stat(&path(at)).unwrap().unwrap()
}

fn by_name(hands: &dyn Hands) -> SpoolSettings {
    SpoolSettings {
        order: Order::Name,
        ..hands.settings()
    }
}

fn names_decide_what_is_visited(make: Make<'_>, hands: &dyn Hands) {
    for recursive in [false, true] {
        let settings = SpoolSettings {
            recursive,
            ready_marker: ".done".into(),
            ..by_name(hands)
        };
        for name in [
            &b"a"[..],
            b"a.done",
            b"b.COMPLETED",
            b"b.COMPLETED.12",
            b"b.COMPLETED.x",
            b"c.tmp",
            b".hidden",
            b".hidden-dir/x",
            b"sub/d",
            b"sub/.e",
            b"sub/.deep/f",
            b"sub/deep/g",
            b"sub/deep/g.COMPLETED",
        ] {
            hands.drop_file(&settings, name, b"1", NOW);
        }
        hands.link(&settings, b"link", b"a");
        hands.link(&settings, b"link-dir", b"sub");
        let spool = make(settings);
        let expected: &[&str] = if recursive {
            &["a", "b.COMPLETED.x", "sub/d", "sub/deep/g"]
        } else {
            &["a", "b.COMPLETED.x"]
        };
        assert_eq!(scanned(&*spool), expected);
    }
}

fn globs_decide_what_is_visited(make: Make<'_>, hands: &dyn Hands) {
    let visited = |include: &[&str], exclude: &[&str]| {
        let owned = |globs: &[&str]| globs.iter().map(|&g| g.to_owned()).collect();
        let settings = SpoolSettings {
            recursive: true,
            include: owned(include),
            exclude: owned(exclude),
            ..by_name(hands)
        };
        for name in ["a.json", "b.csv", "x/c.json", "x/y/d.json", "z/e.json"] {
            hands.drop_file(&settings, name.as_bytes(), b"1", NOW);
        }
        scanned(&*make(settings)).join(" ")
    };
    assert_eq!(
        visited(&["*"], &[]),
        "a.json b.csv x/c.json x/y/d.json z/e.json"
    );
    assert_eq!(
        visited(&["*.json"], &["*"]),
        "",
        "exclude wins, and so does the base name"
    );
    assert_eq!(visited(&["*.json"], &["x/**"]), "a.json z/e.json");
    assert_eq!(visited(&["x/*"], &[]), "x/c.json");
    assert_eq!(visited(&["x/**"], &["d*"]), "x/c.json");
    assert_eq!(visited(&["*.csv", "**/d.json"], &[]), "b.csv x/y/d.json");
}

fn files_come_in_order(make: Make<'_>, hands: &dyn Hands) {
    for (order, expected) in [
        (Order::Oldest, ["d/c", "a", "z", "d.x"]),
        (Order::Newest, ["d.x", "a", "z", "d/c"]),
        (Order::Name, ["a", "d.x", "d/c", "z"]),
    ] {
        let settings = SpoolSettings {
            recursive: true,
            order,
            ..hands.settings()
        };
        hands.drop_file(&settings, b"z", b"1", NOW - 2 * SECOND);
        hands.drop_file(&settings, b"a", b"1", NOW - 2 * SECOND);
        hands.drop_file(&settings, b"d.x", b"1", NOW - 2 * SECOND + 1);
        hands.drop_file(&settings, b"d/c", b"1", -SECOND);
        assert_eq!(scanned(&*make(settings)), expected, "{order:?}");
    }
}

fn a_visitor_may_stop(make: Make<'_>, hands: &dyn Hands) {
    let settings = by_name(hands);
    for name in [b"a", b"b", b"c"] {
        hands.drop_file(&settings, name, b"1", NOW);
    }
    let mut count = 0;
    make(settings)
        .scan(NOW, &mut |_| {
            count += 1;
            if count == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(count, 2);
}

fn age_decides_what_is_ready(make: Make<'_>, hands: &dyn Hands) {
    let settings = SpoolSettings {
        ready_after: Duration::from_secs(10),
        ..by_name(hands)
    };
    let hour = 3600 * SECOND;
    hands.drop_file(&settings, b"ahead", b"1", NOW + hour);
    hands.drop_file(&settings, b"lies", b"1", NOW - hour);
    hands.drop_file(&settings, b"new", b"1", NOW - 9 * SECOND);
    hands.drop_file(&settings, b"old", b"1", NOW - 10 * SECOND);
    let spool = make(settings.clone());
    let ready = |seconds: i64| {
        let found = scan(&*spool, NOW + seconds * SECOND);
        let ready = found.into_iter().filter(|f| f.ready);
        ready.map(|f| f.path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ready(0), ["lies", "old"]);
    // It shows a recent change, and the next one hides behind a time that is long past.
    hands.append(&settings, b"lies", b"2", NOW);
    assert_eq!(ready(1), ["new", "old"]);
    hands.append(&settings, b"lies", b"3", NOW - hour);
    assert_eq!(ready(2), ["new", "old"]);
    assert_eq!(
        ready(9),
        ["new", "old"],
        "a time in the future counts from now"
    );
    assert_eq!(ready(10), ["ahead", "new", "old"]);
    assert_eq!(ready(12), ["lies", "new", "old"]);
    hands.append(&settings, b"new", b"2", NOW + 13 * SECOND);
    assert_eq!(ready(14), ["lies", "old"]);
    assert_eq!(ready(23), ["ahead", "lies", "new", "old"]);
    let trusting = make(SpoolSettings {
        ready_after: Duration::ZERO,
        ..settings
    });
    assert!(scan(&*trusting, NOW).iter().all(|found| found.ready));
}

fn a_marker_decides_what_is_ready(make: Make<'_>, hands: &dyn Hands) {
    let settings = SpoolSettings {
        ready_marker: ".done".into(),
        ready_after: Duration::from_secs(10),
        ..by_name(hands)
    };
    hands.drop_file(&settings, b"a", b"1", NOW);
    hands.drop_file(&settings, b"a.done", b"", NOW);
    hands.drop_file(&settings, b"b", b"1", 0);
    let ready: Vec<_> = scan(&*make(settings), NOW)
        .into_iter()
        .map(|f| (f.path.to_string(), f.ready))
        .collect();
    assert_eq!(ready, [("a".into(), true), ("b".into(), false)]);
}

fn only_regular_files_are_opened(make: Make<'_>, hands: &dyn Hands) {
    let settings = hands.settings();
    hands.drop_file(&settings, b"d/a", b"content", NOW - 1);
    hands.link(&settings, b"link", b"d/a");
    hands.link(&settings, b"link-dir", b"d");
    let spool = make(settings);
    let (file, stat) = spool.open(&path(b"d/a")).unwrap().unwrap();
    assert_eq!(content_of(&*file), b"content");
    assert_eq!((stat.size, stat.mtime_ns), (7, NOW - 1));
    assert_eq!(spool.stat(&path(b"d/a")).unwrap(), Some(stat));
    for absent in [&b"d"[..], b"link", b"link-dir/a", b"x", b"x/y", b"d/a/b"] {
        assert!(spool.open(&path(absent)).unwrap().is_none());
        assert_eq!(spool.stat(&path(absent)).unwrap(), None);
    }
}

fn content_of(file: &dyn SpooledFile) -> Vec<u8> {
    let mut content = Vec::new();
    FileReader::new(file, 0).read_to_end(&mut content).unwrap();
    content
}

fn an_open_file_is_the_file_that_was_opened(make: Make<'_>, hands: &dyn Hands) {
    let settings = hands.settings();
    hands.drop_file(&settings, b"a", b"first", NOW - 1);
    let spool = make(settings.clone());
    let (file, stat) = spool.open(&path(b"a")).unwrap().unwrap();
    assert_eq!(file.stat().unwrap(), stat);
    let mut rest = [0; 8];
    assert_eq!(file.read_at(&mut rest, 2).unwrap(), 3);
    assert_eq!(&rest[..3], b"rst");
    assert_eq!(file.read_at(&mut rest, 5).unwrap(), 0);
    assert_eq!(file.read_at(&mut rest, 50).unwrap(), 0);
    hands.append(&settings, b"a", b" and more", NOW);
    let grown = file.stat().unwrap();
    assert!(!grown.untouched(&stat));
    assert_eq!((grown.inode, grown.size), (stat.inode, 14));
    assert_eq!(content_of(&*file), b"first and more");
    hands.drop_file(&settings, b"a", b"second", NOW);
    assert!(file.stat().unwrap().untouched(&grown));
    hands.remove(&settings, b"a");
    assert_eq!(content_of(&*file), b"first and more");
}

fn a_file_is_renamed_once(make: Make<'_>, hands: &dyn Hands) {
    let settings = SpoolSettings {
        recursive: true,
        ..hands.settings()
    };
    hands.drop_file(&settings, b"d/a", b"1", NOW);
    let spool = make(settings.clone());
    let a = path(b"d/a");
    let stat = stat_of(&*spool, b"d/a");
    let target = spool.retire_target(&a, 0);
    assert_eq!(target, path(b"d/a.COMPLETED"));
    assert_eq!(spool.retire_target(&a, 2), path(b"d/a.COMPLETED.2"));
    assert!(!spool.is_retired(&a, &stat, &target).unwrap());
    assert_eq!(spool.retire(&a, &stat, &target).unwrap(), Retired::Yes);
    assert!(spool.is_retired(&a, &stat, &target).unwrap());
    assert!(!spool.is_copied(&a, &stat, &target).unwrap());
    spool.sync().unwrap();
    assert_eq!(
        hands.read(&settings, b"d/a.COMPLETED").as_deref(),
        Some(&b"1"[..])
    );
    assert_eq!(spool.retire(&a, &stat, &target).unwrap(), Retired::Already);
    spool.sync().unwrap();
    assert!(scanned(&*spool).is_empty());
    // After a restart the device may have another number.
    let rebooted = FileStat {
        device: stat.device + 1,
        ..stat
    };
    let again = make(settings.clone());
    assert_eq!(
        again.retire(&a, &rebooted, &target).unwrap(),
        Retired::Already
    );
    hands.drop_file(&settings, b"d/a", b"2", NOW);
    assert_eq!(spool.retire(&a, &stat, &target).unwrap(), Retired::Already);
    assert_eq!(hands.read(&settings, b"d/a").as_deref(), Some(&b"2"[..]));
}

fn only_the_recorded_identity_is_retired(make: Make<'_>, hands: &dyn Hands) {
    let settings = hands.settings();
    for name in [b"replaced", b"changed_", b"touched_", b"gone____"] {
        hands.drop_file(&settings, name, b"1", NOW);
    }
    let spool = make(settings.clone());
    let retire = |name: &[u8], stat: &FileStat| {
        let target = spool.retire_target(&path(name), 0);
        spool.retire(&path(name), stat, &target).unwrap()
    };
    let stat = stat_of(&*spool, b"replaced");
    hands.drop_file(&settings, b"replaced", b"1", NOW);
    assert_eq!(retire(b"replaced", &stat), Retired::Replaced);
    assert!(hands.read(&settings, b"replaced").is_some());

    let stat = stat_of(&*spool, b"changed_");
    hands.append(&settings, b"changed_", b"2", NOW);
    let now = stat_of(&*spool, b"changed_");
    assert_eq!(retire(b"changed_", &stat), Retired::Changed(now));
    assert!(hands.read(&settings, b"changed_").is_some());

    let stat = stat_of(&*spool, b"touched_");
    hands.append(&settings, b"touched_", b"", NOW + 1);
    let now = stat_of(&*spool, b"touched_");
    assert_eq!(retire(b"touched_", &stat), Retired::Changed(now));

    let stat = stat_of(&*spool, b"gone____");
    hands.remove(&settings, b"gone____");
    assert_eq!(retire(b"gone____", &stat), Retired::Gone);
}

fn a_target_is_never_replaced(make: Make<'_>, hands: &dyn Hands) {
    for retire in [Retire::Rename, Retire::Move, Retire::Delete] {
        let settings = SpoolSettings {
            retire,
            ..hands.settings()
        };
        hands.drop_file(&settings, b"a", b"first", NOW);
        let spool = make(settings.clone());
        let a = path(b"a");
        let first = stat_of(&*spool, b"a");
        let target = spool.retire_target(&a, 0);
        assert_eq!(spool.retire(&a, &first, &target).unwrap(), Retired::Yes);
        hands.drop_file(&settings, b"a", b"second", NOW);
        let second = stat_of(&*spool, b"a");
        assert_eq!(
            spool.retire(&a, &second, &target).unwrap(),
            Retired::TargetTaken
        );
        assert!(hands.read(&settings, b"a").is_some());
        let next = spool.retire_target(&a, 1);
        assert_eq!(spool.retire(&a, &second, &next).unwrap(), Retired::Yes);
        spool.sync().unwrap();
        let read = |at: &RelativePath| match retire {
            Retire::Move => hands.read_retired(&settings, at.as_bytes()),
            _ => hands.read(&settings, at.as_bytes()),
        };
        assert_eq!(read(&target).as_deref(), Some(&b"first"[..]));
        assert_eq!(read(&next).as_deref(), Some(&b"second"[..]));
    }
}

fn a_file_is_moved_with_its_path(make: Make<'_>, hands: &dyn Hands) {
    let settings = SpoolSettings {
        retire: Retire::Move,
        recursive: true,
        ..hands.settings()
    };
    hands.drop_file(&settings, b"x/y/a", b"1", NOW);
    let spool = make(settings.clone());
    let a = path(b"x/y/a");
    let stat = stat_of(&*spool, b"x/y/a");
    let target = spool.retire_target(&a, 0);
    assert_eq!(target, a);
    assert_eq!(spool.retire_target(&a, 1), path(b"x/y/a.1"));
    assert!(!spool.is_retired(&a, &stat, &target).unwrap());
    assert_eq!(spool.retire(&a, &stat, &target).unwrap(), Retired::Yes);
    assert!(spool.is_retired(&a, &stat, &target).unwrap());
    assert!(!spool.is_retired(&a, &stat, &path(b"x/y/a.1")).unwrap());
    spool.sync().unwrap();
    assert_eq!(
        hands.read_retired(&settings, b"x/y/a").as_deref(),
        Some(&b"1"[..])
    );
    assert_eq!(hands.read(&settings, b"x/y/a"), None);
    assert_eq!(spool.retire(&a, &stat, &target).unwrap(), Retired::Already);
    spool.sync().unwrap();
}

fn a_deleted_file_is_hidden_first(make: Make<'_>, hands: &dyn Hands) {
    let settings = SpoolSettings {
        retire: Retire::Delete,
        recursive: true,
        ..hands.settings()
    };
    hands.drop_file(&settings, b"d/e/a", b"1", NOW);
    let spool = make(settings.clone());
    let a = path(b"d/e/a");
    let stat = stat_of(&*spool, b"d/e/a");
    let target = spool.retire_target(&a, 0);
    assert!(target.name().starts_with(b"."));
    assert!(!spool.has_deleted().unwrap());
    assert_eq!(spool.retire(&a, &stat, &target).unwrap(), Retired::Yes);
    spool.sync().unwrap();
    assert!(spool.has_deleted().unwrap());
    assert!(hands.read(&settings, target.as_bytes()).is_some());
    assert!(scanned(&*spool).is_empty());
    spool.unlink_target(&target).unwrap();
    spool.unlink_target(&target).unwrap();
    assert!(!spool.has_deleted().unwrap());
    assert!(hands.read(&settings, target.as_bytes()).is_none());
    hands.drop_file(&settings, b"b", b"1", NOW);
    assert!(spool.unlink_target(&path(b"b")).is_err());
    assert!(hands.read(&settings, b"b").is_some());
}

/// What was recorded before `retire` was changed.
fn a_target_of_another_retire_is_the_files_only_where_it_stands(make: Make<'_>, hands: &dyn Hands) {
    let ways = [Retire::Rename, Retire::Move, Retire::Delete];
    for (before, after) in ways.iter().flat_map(|b| ways.map(|a| (*b, a))) {
        let before = SpoolSettings {
            retire: before,
            ..hands.settings()
        };
        let after = SpoolSettings {
            retire: after,
            ..before.clone()
        };
        hands.drop_file(&before, b"a", b"1", NOW);
        let (old, new) = (make(before.clone()), make(after.clone()));
        let a = path(b"a");
        let stat = stat_of(&*old, b"a");
        for attempt in [0, 1, 12] {
            let target = old.retire_target(&a, attempt);
            let same = before.retire == after.retire;
            assert_eq!(new.gives_target(&a, &target), same, "{before:?} {after:?}");
            assert!(!new.is_retired(&a, &stat, &target).unwrap());
        }
        let target = old.retire_target(&a, 0);
        if before.retire == Retire::Move && after.retire != Retire::Move {
            // Its own path, below the spool.
            assert_eq!(
                new.retire(&a, &stat, &target).unwrap(),
                Retired::TargetTaken
            );
            assert!(hands.read(&after, b"a").is_some());
            hands.remove(&after, b"a");
            continue;
        }
        assert_eq!(old.retire(&a, &stat, &target).unwrap(), Retired::Yes);
        assert!(new.is_retired(&a, &stat, &target).unwrap());
        assert_eq!(new.retire(&a, &stat, &target).unwrap(), Retired::Already);
        new.sync().unwrap();
        if before.retire != Retire::Move {
            assert!(hands.read(&after, target.as_bytes()).is_some());
            hands.remove(&after, target.as_bytes());
        }
    }
}

fn a_marker_is_retired_with_its_file(make: Make<'_>, hands: &dyn Hands) {
    for retire in [Retire::Rename, Retire::Move, Retire::Delete] {
        let settings = SpoolSettings {
            retire,
            ready_marker: ".done".into(),
            ..hands.settings()
        };
        hands.drop_file(&settings, b"a", b"1", NOW);
        hands.drop_file(&settings, b"a.done", b"", NOW);
        let spool = make(settings.clone());
        let a = path(b"a");
        let stat = stat_of(&*spool, b"a");
        let target = spool.retire_target(&a, 0);
        assert_eq!(spool.retire(&a, &stat, &target).unwrap(), Retired::Yes);
        assert_eq!(hands.read(&settings, b"a.done"), None);
        match retire {
            Retire::Rename => assert!(hands.read(&settings, b"a.done.COMPLETED").is_some()),
            Retire::Move => assert!(hands.read_retired(&settings, b"a.done").is_some()),
            _ => {}
        }
        // The next file's marker is not touched by a repeated call.
        hands.drop_file(&settings, b"a", b"2", NOW + 1);
        hands.drop_file(&settings, b"a.done", b"", NOW);
        assert_eq!(spool.retire(&a, &stat, &target).unwrap(), Retired::Already);
        assert!(hands.read(&settings, b"a.done").is_some());
        assert!(scan(&*spool, NOW).iter().all(|found| found.ready));
    }
}

fn any_name_can_be_retired(make: Make<'_>, hands: &dyn Hands) {
    let long = |last: u8| [&[b'n'; 254][..], &[last]].concat();
    let names = [
        b"with\nnewline".to_vec(),
        b"\xff\xfe not utf-8".to_vec(),
        "\u{e4}".repeat(127).into_bytes(),
        long(b'1'),
        long(b'2'),
    ];
    for retire in [Retire::Rename, Retire::Move, Retire::Delete] {
        let settings = SpoolSettings {
            retire,
            ..by_name(hands)
        };
        for name in &names {
            hands.drop_file(&settings, name, name, NOW);
        }
        let spool = make(settings.clone());
        let all = scan(&*spool, NOW);
        assert_eq!(all.len(), names.len());
        for found in &all {
            let target = spool.retire_target(&found.path, 0);
            assert!(target.name().len() <= 255);
            assert_ne!(target, spool.retire_target(&found.path, 1));
            let retired = spool.retire(&found.path, &found.stat, &target);
            assert_eq!(retired.unwrap(), Retired::Yes);
            let content = match retire {
                Retire::Move => hands.read_retired(&settings, target.as_bytes()),
                _ => hands.read(&settings, target.as_bytes()),
            };
            assert_eq!(content.unwrap(), found.path.as_bytes());
            let numbered = spool.retire_target(&found.path, u32::MAX);
            assert!(numbered.name().len() <= 255);
        }
        assert!(scan(&*spool, NOW).is_empty());
    }
}

fn a_quarantined_file_has_its_reason_beside_it(make: Make<'_>, hands: &dyn Hands) {
    let settings = SpoolSettings {
        recursive: true,
        ready_marker: ".done".into(),
        ..hands.settings()
    };
    let spool = make(settings.clone());
    for (at, place) in [
        (&b"d/a"[..], &b".quarantine/d/a"[..]),
        (b"d/a", b".quarantine/d/a.1"),
    ] {
        hands.drop_file(&settings, at, b"1", NOW);
        hands.drop_file(&settings, b"d/a.done", b"", NOW);
        let stat = stat_of(&*spool, at);
        // What is quarantined has often changed: only the inode counts.
        hands.append(&settings, at, b"2", NOW);
        let reason = json!({"reason": "it changed"});
        let first = spool.quarantine(&path(at), &stat, &reason).unwrap();
        let first = first.expect("it was moved");
        spool.sync().unwrap();
        assert!(
            first.ends_with(path(place).as_path()),
            "{}",
            first.display()
        );
        assert_eq!(hands.read(&settings, place).as_deref(), Some(&b"12"[..]));
        assert_eq!(hands.read(&settings, b"d/a.done"), None);
        let text = hands
            .read(&settings, &[place, b".reason.json"].concat())
            .expect("a reason");
        let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(text["reason"], "it changed");
        let again = spool.quarantine(&path(at), &stat, &reason).unwrap();
        assert_eq!(again, Some(first));
        assert_eq!(hands.read(&settings, at), None);
        assert!(scanned(&*spool).is_empty());
    }
}

fn quarantine_moves_only_that_inode(make: Make<'_>, hands: &dyn Hands) {
    let settings = hands.settings();
    hands.drop_file(&settings, b"a", b"1", NOW);
    let spool = make(settings.clone());
    let stat = stat_of(&*spool, b"a");
    hands.drop_file(&settings, b"a", b"1", NOW);
    let moved = spool.quarantine(&path(b"a"), &stat, &json!("why"));
    assert_eq!(moved.unwrap(), None);
    assert!(hands.read(&settings, b"a").is_some());
    hands.remove(&settings, b"a");
    let moved = spool.quarantine(&path(b"a"), &stat, &json!("why"));
    assert_eq!(moved.unwrap(), None);
}

fn a_claim_is_read_back(make: Make<'_>, hands: &dyn Hands) {
    let settings = hands.settings();
    let spool = make(settings.clone());
    assert_eq!(spool.claim().unwrap(), None);
    let mut claim = Claim {
        spool: JournalId(7),
        pipeline: "orders".into(),
        journal: JournalId(8),
        journal_path: "var/journal.db".into(),
        directory: None,
    };
    assert!(spool.write_claim(&claim).unwrap());
    assert_eq!(spool.claim().unwrap().as_ref(), Some(&claim));
    claim.journal = JournalId(9);
    assert!(spool.write_claim(&claim).unwrap());
    assert_eq!(make(settings).claim().unwrap(), Some(claim));
    assert_eq!(spool.directory().unwrap(), spool.directory().unwrap());
    assert!(scanned(&*spool).is_empty());
}

fn a_lock_is_held_once(make: Make<'_>, hands: &dyn Hands) {
    let settings = hands.settings();
    let (one, two) = (make(settings.clone()), make(settings));
    let held = one.lock().unwrap().expect("nobody has it");
    assert!(two.lock().unwrap().is_none());
    assert!(one.lock().unwrap().is_none());
    drop(held);
    assert!(two.lock().unwrap().is_some());
}
