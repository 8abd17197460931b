//! Tests of what only this implementation does: the file, the lock, kills, damage, versions, onlookers.

use std::io::{BufRead, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;
use crate::journal::conformance::{self, LAKE, PIPELINE, SPOOL, row};
use crate::protocol::invariant;

/// A process that another test starts has this one's lock until it runs its own program.
fn try_open(dir: &Path) -> Result<SqliteJournal> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        match SqliteJournal::open(dir) {
            Err(JournalError::Locked { .. }) if std::time::Instant::now() < end => {
                std::thread::yield_now();
            }
            opened => return opened,
        }
    }
}

fn open(dir: &Path) -> SqliteJournal {
    let journal = try_open(dir).unwrap();
    journal.pipeline(PIPELINE, SPOOL, LAKE).unwrap();
    journal
}

#[track_caller]
fn unusable<T>(result: Result<T>, word: &str) {
    match result {
        Err(JournalError::Unusable { message, .. }) if message.contains(word) => {}
        Err(error) => panic!("expected `{word}` and not {error:?}"),
        Ok(_) => panic!("expected `{word}`"),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_suite_of_the_port_passes() {
    let temp = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    conformance::run(&|| {
        number.set(number.get() + 1);
        let dir = temp.path().join(number.get().to_string());
        Box::new(try_open(&dir).unwrap())
    });
}

#[test]
fn what_was_answered_is_there_after_a_reopen_and_ids_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let journal = open(temp.path());
    let id = journal.id();
    let file = row(&journal, "a", 30);
    journal
        .stage(conformance::request(&journal, 1, &[(&file, 0, 30)]))
        .unwrap();
    let before = journal.file(file.id).unwrap();
    let unfinished = journal.unfinished(PIPELINE).unwrap();
    journal.close().unwrap();
    assert_eq!(names(temp.path()), ["journal.db", "journal.lock"]);

    let journal = open(temp.path());
    assert_eq!(journal.id(), id);
    assert_eq!(journal.file(file.id).unwrap(), before);
    assert_eq!(journal.unfinished(PIPELINE).unwrap(), unfinished);
    journal.commit(PIPELINE, BatchNumber(1), &[], &[]).unwrap();
    journal.retired(&[file.id]).unwrap();
    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    assert_eq!(journal.prune(PIPELINE, i64::MAX).unwrap(), 1);
    drop(journal);
    assert!(open(temp.path()).new_file_id() > file.id);
}

#[test]
fn the_database_and_its_side_files_are_closed_to_others() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    let journal = open(&dir);
    for name in names(&dir) {
        let mode = std::fs::metadata(dir.join(&name)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    assert!(names(&dir).contains(&"journal.db-wal".to_owned()));
    assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    drop(journal);
}

#[test]
fn a_second_agent_is_refused_while_the_first_lives() {
    let temp = tempfile::tempdir().unwrap();
    let journal = open(temp.path());
    for result in [
        SqliteJournal::open(temp.path()).map(drop),
        SqliteJournal::rebuild(temp.path()).map(drop),
    ] {
        assert!(matches!(result, Err(JournalError::Locked { .. })));
    }
    drop(journal);
    open(temp.path());
}

#[test]
fn an_onlooker_reads_while_the_agent_writes_and_may_only_ask() {
    let temp = tempfile::tempdir().unwrap();
    assert!(SqliteJournal::read(temp.path()).unwrap().is_none());
    assert!(
        SqliteJournal::read(&temp.path().join("absent"))
            .unwrap()
            .is_none()
    );
    assert!(!SqliteJournal::exists(temp.path()).unwrap());
    let agent = open(temp.path());
    assert!(SqliteJournal::exists(temp.path()).unwrap());
    let onlooker = SqliteJournal::read(temp.path()).unwrap().unwrap();
    assert_eq!(onlooker.id(), agent.id());
    let file = row(&agent, "a", 30);
    agent
        .stage(conformance::request(&agent, 1, &[(&file, 0, 30)]))
        .unwrap();
    assert_eq!(
        onlooker.file(file.id).unwrap(),
        agent.file(file.id).unwrap()
    );
    agent.say(PIPELINE, &json!("busy"));
    agent.commit(PIPELINE, BatchNumber(1), &[], &[]).unwrap();
    assert_eq!(onlooker.said(PIPELINE).unwrap(), Some(json!("busy")));

    assert!(matches!(
        onlooker.commit(PIPELINE, BatchNumber(1), &[], &[]),
        Err(JournalError::Refused(_))
    ));
    let request = Request::Release {
        file: file.id,
        as_new: false,
    };
    let id = onlooker.ask(&request).unwrap();
    assert_eq!(agent.requests().unwrap()[0].request, request);
    agent.answer(id, &Ok("done".into())).unwrap();
    assert_eq!(
        onlooker.requests().unwrap()[0].answer,
        Some(Ok("done".into()))
    );
    agent.tidy().unwrap();
    agent.close().unwrap();
    drop(onlooker);
    let later = SqliteJournal::read(temp.path()).unwrap().unwrap();
    assert_eq!(later.pipelines().unwrap()[0].committed, BatchNumber(1));
    let id = later.ask(&request).unwrap();
    drop(later);
    assert!(
        open(temp.path())
            .requests()
            .unwrap()
            .iter()
            .any(|row| row.id == id)
    );
}

#[test]
fn requests_that_arrive_together_are_each_answered_and_a_refused_one_takes_back_only_itself() {
    let temp = tempfile::tempdir().unwrap();
    let journal = open(temp.path());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0..20 {
                    let file = row(journal, &format!("{thread}/{n}"), 30);
                    journal.quarantine(PIPELINE, &file, "test").unwrap();
                    assert!(journal.file(file.id).unwrap().is_some());
                    let known = row(journal, &format!("{thread}/{n}"), 30);
                    let twice = [
                        known.clone(),
                        FileRow {
                            id: file.id,
                            ..known.clone()
                        },
                    ];
                    assert!(matches!(
                        journal.skip(PIPELINE, &twice),
                        Err(JournalError::Refused(_))
                    ));
                    assert_eq!(journal.file(known.id).unwrap(), None);
                }
            });
        }
    });
    let all = journal
        .files_in(PIPELINE, &[FileState::Quarantined])
        .unwrap();
    assert_eq!(all.len(), 160);
}

#[test]
fn a_full_disk_is_fatal_and_every_later_call_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let journal = open(temp.path());
    let file = row(&journal, "a", 30);
    journal
        .stage(conformance::request(&journal, 1, &[(&file, 0, 30)]))
        .unwrap();
    journal
        .change("test", |conn| {
            let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            conn.pragma_update(None, "max_page_count", pages)?;
            Ok(())
        })
        .unwrap();
    let failed = (0..).find_map(|n| {
        let big = row(&journal, &format!("b{n}"), 30);
        journal.quarantine(PIPELINE, &big, &"x".repeat(1000)).err()
    });
    assert!(matches!(
        failed,
        Some(JournalError::Fatal { full: true, .. })
    ));
    let fatal = |result: Result<()>| assert!(matches!(result, Err(JournalError::Fatal { .. })));
    fatal(journal.commit(PIPELINE, BatchNumber(1), &[], &[]));
    fatal(journal.file(file.id).map(drop));
    fatal(journal.tidy());
    fatal(journal.close());
    let journal = open(temp.path());
    journal.commit(PIPELINE, BatchNumber(1), &[], &[]).unwrap();
}

#[test]
fn a_panic_in_the_writer_is_fatal_to_the_journal_only() {
    let temp = tempfile::tempdir().unwrap();
    let journal = open(temp.path());
    let died = journal.change("test", |_| -> Done<()> { panic!("a test's") });
    assert!(matches!(died, Err(JournalError::Fatal { .. })));
    assert!(matches!(
        journal.pipelines(),
        Err(JournalError::Fatal { .. })
    ));
    drop(journal);
    assert_eq!(open(temp.path()).pipelines().unwrap().len(), 1);
}

#[test]
fn the_log_is_emptied_when_idle() {
    let temp = tempfile::tempdir().unwrap();
    let journal = open(temp.path());
    for n in 0..50 {
        let file = row(&journal, &format!("{n}"), 30);
        journal.quarantine(PIPELINE, &file, "test").unwrap();
    }
    let log = temp.path().join("journal.db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    journal.tidy().unwrap();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
}

// ---- files that are not a journal of ours

#[test]
fn a_damaged_database_is_left_as_it_is_and_rebuild_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let database = temp.path().join("journal.db");
    let journal = open(temp.path());
    for n in 0..200 {
        let file = row(&journal, &format!("{n}"), 30);
        journal.quarantine(PIPELINE, &file, "test").unwrap();
    }
    drop(journal);
    let whole = std::fs::read(&database).unwrap();
    let zeros = vec![0; whole.len()];
    for damage in [
        &[][..],
        b"garbage",
        &whole[..50],
        &whole[..whole.len() / 2],
        &zeros,
    ] {
        std::fs::write(&database, damage).unwrap();
        unusable(try_open(temp.path()), "rebuild");
        assert_eq!(std::fs::read(&database).unwrap(), damage);
        unusable(
            SqliteJournal::read(temp.path()).map(|journal| journal.map(drop)),
            "rebuild",
        );
    }
}

/// The header is written first, and says already how long the file is going to be.
#[test]
fn a_kill_while_the_log_is_moved_into_the_database_is_no_damage() {
    const PAGE: usize = 4096;
    let temp = tempfile::tempdir().unwrap();
    let database = temp.path().join("journal.db");
    let log = temp.path().join("journal.db-wal");
    let journal = open(temp.path());
    let before = std::fs::read(&database).unwrap();
    for n in 0..200 {
        let file = row(&journal, &format!("{n}"), 30);
        journal.quarantine(PIPELINE, &file, "test").unwrap();
    }
    let id = journal.id();
    let whole_log = std::fs::read(&log).unwrap();
    journal.tidy().unwrap();
    let after = std::fs::read(&database).unwrap();
    journal.abandon();
    assert!(after.len() > before.len());
    let pages: Vec<usize> = (0..after.len() / PAGE).collect();
    let differs = |page: &usize| {
        let bytes = *page * PAGE..(*page + 1) * PAGE;
        before.get(bytes.clone()) != Some(&after[bytes])
    };
    let moved: Vec<usize> = pages.into_iter().filter(differs).collect();
    assert_eq!(moved[0], 0);
    for count in 0..=moved.len() {
        let mut found = before.clone();
        for page in &moved[..count] {
            let (from, to) = (page * PAGE, (page + 1) * PAGE);
            found.resize(found.len().max(to), 0);
            found[from..to].copy_from_slice(&after[from..to]);
        }
        std::fs::write(&database, found).unwrap();
        std::fs::write(&log, &whole_log).unwrap();
        let journal = try_open(temp.path()).unwrap();
        assert_eq!(journal.id(), id);
        let files = journal.files_in(PIPELINE, &[FileState::Quarantined]);
        assert_eq!(files.unwrap().len(), 200, "after {count} pages");
        journal.abandon();
    }
}

#[test]
fn damage_inside_is_found_after_an_unclean_stop() {
    let temp = tempfile::tempdir().unwrap();
    let database = temp.path().join("journal.db");
    let journal = open(temp.path());
    let file = row(&journal, "a", 30);
    journal.quarantine(PIPELINE, &file, "test").unwrap();
    journal.tidy().unwrap();
    let mut bytes = std::fs::read(&database).unwrap();
    drop(journal);
    // The copy was taken from under a living agent: it is not marked as closed in good order.
    for byte in &mut bytes[4096 * 3..] {
        *byte = 0xee;
    }
    std::fs::write(&database, bytes).unwrap();
    unusable(try_open(temp.path()), "rebuild");
}

#[test]
fn a_number_of_files_that_cannot_be_is_damage_and_no_overflow() {
    let temp = tempfile::tempdir().unwrap();
    drop(open(temp.path()));
    with_header(
        temp.path(),
        "UPDATE journal SET file_ids = 9223372036854775807",
    );
    unusable(SqliteJournal::read(temp.path()), "`file_ids`");
    unusable(try_open(temp.path()), "rebuild");
}

fn with_header(dir: &Path, sql: &str) {
    let conn = Connection::open(dir.join("journal.db")).unwrap();
    conn.execute_batch(sql).unwrap();
}

#[test]
fn a_newer_journal_and_a_foreign_database_are_refused_untouched() {
    let temp = tempfile::tempdir().unwrap();
    drop(open(temp.path()));
    let database = temp.path().join("journal.db");
    for (sql, word) in [
        ("PRAGMA user_version = 7", "newer program"),
        ("PRAGMA application_id = 3", "another program"),
    ] {
        with_header(temp.path(), sql);
        let before = std::fs::read(&database).unwrap();
        unusable(try_open(temp.path()), word);
        unusable(
            SqliteJournal::read(temp.path()).map(|journal| journal.map(drop)),
            word,
        );
        unusable(SqliteJournal::rebuild(temp.path()).map(drop), word);
        assert_eq!(std::fs::read(&database).unwrap(), before);
    }
}

#[test]
fn a_log_without_its_database_is_not_given_to_a_new_one() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("journal.db-wal"), "frames").unwrap();
    unusable(try_open(temp.path()), "journal.db-wal");
    assert_eq!(names(temp.path()), ["journal.db-wal", "journal.lock"]);
}

#[test]
fn a_link_in_the_place_of_the_database_is_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    drop(open(elsewhere.path()));
    let target = elsewhere.path().join("journal.db");
    std::os::unix::fs::symlink(target, temp.path().join("journal.db")).unwrap();
    unusable(try_open(temp.path()), "regular file");
}

#[test]
fn a_row_that_cannot_be_ours_is_named_and_nothing_panics() {
    let temp = tempfile::tempdir().unwrap();
    let journal = open(temp.path());
    let file = row(&journal, "a", 30);
    journal
        .stage(conformance::request(&journal, 1, &[(&file, 0, 30)]))
        .unwrap();
    for (sql, word) in [
        ("UPDATE file SET path = x'2e2e'", "`path`"),
        ("UPDATE file SET state = 9", "`state`"),
        ("UPDATE file SET checkpoint = 31", "out of order"),
        ("UPDATE file SET checkpoint = -1", "`checkpoint`"),
        ("UPDATE file SET settings = 77", "`reading`"),
        ("UPDATE file SET fingerprint = x'00'", "`fingerprint`"),
        ("UPDATE reading SET value = '{'", "`settings`"),
    ] {
        let damaged = journal.look_and_undo(sql, move |conn| {
            rows::FileReader::new(conn).by_id(file.id).map(drop)
        });
        unusable(damaged, word);
    }
    for (sql, word) in [
        ("UPDATE manifest SET text = x'00'", "`text`"),
        ("UPDATE manifest SET files = x'00'", "`files`"),
        ("UPDATE manifest SET files = x''", "another batch"),
        ("UPDATE batch SET state = 5", "`state`"),
    ] {
        let damaged =
            journal.look_and_undo(sql, |conn| batches::unfinished(conn, PIPELINE).map(drop));
        unusable(damaged, word);
    }
    for (sql, word) in [
        ("UPDATE data_file SET path = '../x'", "`path`"),
        ("UPDATE data_file SET copies = x'00'", "`copies`"),
    ] {
        let damaged = journal.look_and_undo(sql, |conn| {
            batches::data_files(conn, PIPELINE, BatchNumber(1)).map(drop)
        });
        unusable(damaged, word);
    }
    assert!(journal.file(file.id).unwrap().is_some());
}

impl SqliteJournal {
    /// What `read` says of a database changed by `sql`, which is taken back.
    fn look_and_undo(
        &self,
        sql: &'static str,
        read: impl FnOnce(&Connection) -> Done<()> + Send + 'static,
    ) -> Result<()> {
        self.change("test", move |conn| {
            conn.execute_batch(sql)?;
            read(conn)?;
            refuse("it was believed")
        })
    }
}

// ---- rebuild

fn rebuild_beside(dir: &Path) -> SqliteJournal {
    let rebuilding = SqliteJournal::rebuild(dir).unwrap();
    let file = row(&*rebuilding, "a", 30);
    let manifest = conformance::manifest(JournalId(5), 1, BatchNumber(0), &[(&file, 0, 30)]);
    rebuilding.adopt(&manifest, BatchState::Committed).unwrap();
    rebuilding.finish().unwrap()
}

#[test]
fn a_rebuilt_journal_takes_the_old_ones_place_which_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let old = open(temp.path());
    let old_id = old.id();
    let file = row(&old, "old", 30);
    old.quarantine(PIPELINE, &file, "test").unwrap();
    drop(old);
    let rebuilt = rebuild_beside(temp.path());
    assert_ne!(rebuilt.id(), old_id);
    assert!(
        rebuilt
            .file_at(PIPELINE, &conformance::path("old"))
            .unwrap()
            .is_none()
    );
    assert!(
        rebuilt
            .file_at(PIPELINE, &conformance::path("a"))
            .unwrap()
            .is_some()
    );
    assert!(matches!(
        SqliteJournal::open(temp.path()),
        Err(JournalError::Locked { .. })
    ));
    rebuilt.close().unwrap();
    let kept = format!("journal.db.{old_id}.old");
    assert_eq!(
        names(temp.path()),
        ["journal.db", kept.as_str(), "journal.lock"]
    );

    std::fs::rename(temp.path().join(kept), temp.path().join("journal.db")).unwrap();
    let restored = open(temp.path());
    assert_eq!(restored.id(), old_id);
    assert!(restored.file(file.id).unwrap().is_some());
}

#[test]
fn a_damaged_journal_is_rebuilt_and_kept_too() {
    let temp = tempfile::tempdir().unwrap();
    for n in 0..2 {
        std::fs::write(temp.path().join("journal.db"), "garbage").unwrap();
        std::fs::write(temp.path().join("journal.db-wal"), "frames").unwrap();
        drop(rebuild_beside(temp.path()));
        let kept = if n == 0 {
            "journal.db.damaged.old"
        } else {
            "journal.db.damaged.2.old"
        };
        assert_eq!(std::fs::read(temp.path().join(kept)).unwrap(), b"garbage");
        let log = temp.path().join(format!("{kept}-wal"));
        assert_eq!(std::fs::read(log).unwrap(), b"frames");
        assert!(
            open(temp.path())
                .file_at(PIPELINE, &conformance::path("a"))
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn a_rebuild_that_is_given_up_leaves_the_old_journal() {
    let temp = tempfile::tempdir().unwrap();
    let id = open(temp.path()).id();
    let rebuilding = SqliteJournal::rebuild(temp.path()).unwrap();
    rebuilding.pipeline(PIPELINE, SPOOL, LAKE).unwrap();
    assert_ne!(rebuilding.id(), id);
    drop(rebuilding);
    assert_eq!(names(temp.path()), ["journal.db", "journal.lock"]);
    assert_eq!(open(temp.path()).id(), id);
}

#[test]
fn an_old_copy_of_the_journal_goes_on_from_where_it_stood() {
    let temp = tempfile::tempdir().unwrap();
    let journal = open(temp.path());
    let file = row(&journal, "a", 30);
    journal
        .stage(conformance::request(&journal, 1, &[(&file, 0, 30)]))
        .unwrap();
    journal.close().unwrap();
    let database = temp.path().join("journal.db");
    let copy = std::fs::read(&database).unwrap();
    let journal = open(temp.path());
    journal.commit(PIPELINE, BatchNumber(1), &[], &[]).unwrap();
    journal.close().unwrap();
    std::fs::write(&database, copy).unwrap();
    let journal = open(temp.path());
    let pipeline = &journal.pipelines().unwrap()[0];
    // What the pipeline compares with the manifests in the lake.
    assert_eq!(
        (pipeline.staged, pipeline.committed),
        (BatchNumber(1), BatchNumber(0))
    );
}

// ---- kill -9

const CHILD_DIR: &str = "LAKEWARD_TEST_JOURNAL_DIR";

/// The child's part of the next test: does nothing unless it was started as the child.
#[test]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let journal = open(Path::new(&dir));
    let mut out = std::io::stdout();
    loop {
        let number = journal.pipelines().unwrap()[0].staged.next();
        let files: Vec<_> = (0..20)
            .map(|n| row(&journal, &format!("{number}/{n}"), 30))
            .collect();
        let parts: Vec<_> = files.iter().map(|file| (file, 0, 30)).collect();
        journal
            .stage(conformance::request(&journal, number.0, &parts))
            .unwrap();
        writeln!(out, "staged {number}").unwrap();
        journal.commit(PIPELINE, number, &[], &[]).unwrap();
        writeln!(out, "committed {number}").unwrap();
        let ids: Vec<_> = files.iter().map(|file| file.id).collect();
        journal.retired(&ids).unwrap();
        journal.done(PIPELINE, number).unwrap();
        writeln!(out, "done {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_kill_at_any_time_loses_nothing_that_was_answered() {
    let temp = tempfile::tempdir().unwrap();
    for kill_after in [1, 2, 3, 4, 5, 9] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "journal::sqlite::tests::child_that_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env(CHILD_DIR, temp.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        let words: Vec<String> = out
            .lines()
            .map_while(std::result::Result::ok)
            .filter(|line| {
                ["staged ", "committed ", "done "]
                    .iter()
                    .any(|word| line.starts_with(word))
            })
            .take(kill_after)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = words.last().unwrap();
        let (word, number) = last.split_once(' ').unwrap();
        let number = BatchNumber(number.parse().unwrap());
        let journal = open(temp.path());
        let pipeline = &journal.pipelines().unwrap()[0];
        assert!(pipeline.staged >= number, "{last}");
        assert!(word == "staged" || pipeline.committed >= number, "{last}");
        balances(&journal);
        for batch in journal.unfinished(PIPELINE).unwrap() {
            journal.commit(PIPELINE, batch.number, &[], &[]).unwrap();
            journal.retired(&batch.files).unwrap();
            journal.done(PIPELINE, batch.number).unwrap();
        }
        balances(&journal);
    }
}

/// Every row's ranges join up to its staged end, and its state fits its checkpoint.
fn balances(journal: &SqliteJournal) {
    let committed = journal.pipelines().unwrap()[0].committed;
    let mut files = Vec::new();
    journal
        .visit_files(PIPELINE, &mut |row| files.push(row))
        .unwrap();
    for file in files {
        let ranges = journal.ranges(file.id).unwrap();
        let ends = |up_to| {
            let within = ranges.iter().filter(move |range| range.batch <= up_to);
            invariant::joined(
                0,
                within.map(|range| (range.segment.from, range.segment.to)),
            )
        };
        assert_eq!(ends(BatchNumber(u64::MAX)), Ok(file.put_end));
        assert_eq!(ends(committed), Ok(file.checkpoint));
        let whole = invariant::may_retire(file.checkpoint, file.decoded);
        assert_eq!(whole, file.state != FileState::Reading);
    }
}

// ---- speed

/// With `LAKEWARD_BENCH_FILES=100000` a measurement; otherwise a small run of the same.
#[test]
fn journal_bench() {
    let count: usize = std::env::var("LAKEWARD_BENCH_FILES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    let temp = tempfile::tempdir().unwrap();
    let mut journal = open(temp.path());
    for number in 1..=10 {
        let files: Vec<_> = (0..count)
            .map(|n| {
                row(
                    &journal,
                    &format!("2026/11/{number}/orders-{n:08}.ndjson"),
                    30,
                )
            })
            .collect();
        let parts: Vec<_> = files.iter().map(|file| (file, 0, 30)).collect();
        let request = conformance::request(&journal, number, &parts);
        let ids: Vec<_> = files.iter().map(|file| file.id).collect();
        let targets: Vec<_> = ids
            .iter()
            .map(|id| (*id, conformance::path("some.COMPLETED")))
            .collect();
        let mut clock = std::time::Instant::now();
        let mut lap = || {
            std::mem::replace(&mut clock, std::time::Instant::now())
                .elapsed()
                .as_millis()
        };
        journal.stage(request).unwrap();
        let stage = lap();
        let unfinished = journal.unfinished(PIPELINE).unwrap().len();
        let read = lap();
        journal
            .commit(PIPELINE, BatchNumber(number), &targets, &[])
            .unwrap();
        let commit = lap();
        let waiting = journal
            .files_in(PIPELINE, &[FileState::Committed])
            .unwrap()
            .len();
        let list = lap();
        journal.retired(&ids).unwrap();
        let retired = lap();
        journal.done(PIPELINE, BatchNumber(number)).unwrap();
        let done = lap();
        for file in files.iter().take(10_000) {
            journal.file_at(PIPELINE, &file.path).unwrap();
        }
        let look = lap();
        assert_eq!((unfinished, waiting), (1, count));
        let log = std::fs::metadata(temp.path().join("journal.db-wal"))
            .unwrap()
            .len()
            >> 20;
        println!(
            "batch {number} of {count}: stage {stage} ms, unfinished {read}, commit {commit}, files_in {list}, \
             retired {retired}, done {done}, 10,000 looks {look}, wal {log} MiB"
        );
    }
    let clock = std::time::Instant::now();
    journal.close().unwrap();
    let closed = clock.elapsed();
    let clock = std::time::Instant::now();
    journal = open(temp.path());
    let opened = clock.elapsed();
    let size = std::fs::metadata(temp.path().join("journal.db"))
        .unwrap()
        .len()
        >> 20;
    let clock = std::time::Instant::now();
    let pruned = journal.prune(PIPELINE, i64::MAX).unwrap();
    let pruning = clock.elapsed();
    println!("{size} MiB: close {closed:?}, open {opened:?}, prune of {pruned} {pruning:?}");
    assert_eq!(pruned, 10 * count as u64);
}
