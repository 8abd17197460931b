//! What went wrong at others who do the same work, tried on the real program. Only what no other test holds is here; RELIABILITY.md
//! lists them all.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::means::{
    command_behind, expect_behind, run_measured, stderr, terminate, wait_until, without_power,
};
use crate::support::{Site, ids_text};

const PLAIN: &str = "[pipeline.sink]\npath = \"p\"\n";
const COLUMNS: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n";

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("it stands").ino()
}

// ---------------------------------------------------------------- files and their identity

/// A tail that knows files by their inode takes a recycled one for the old file, and skips as much as it had read of that.
#[test]
fn an_inode_used_again_is_another_file() {
    let site = Site::local(PLAIN);
    let retired = site.path("spool/a.ndjson.COMPLETED");
    let mut next = site.drop_ids("a.ndjson", 0, 50);
    site.expect(0, &["run", "--once"]);
    let recycled = inode(&retired);
    // Shorter than what was read of the old one, longer, as long; under another name, and under the same.
    for (name, count) in [
        ("b.ndjson", 10),
        ("c.ndjson", 70),
        ("d.ndjson", 50),
        ("a.ndjson", 50),
    ] {
        let old = site.path("old");
        let retired = fs::read_dir(site.path("spool"))
            .unwrap()
            .flatten()
            .find(|entry| entry.metadata().is_ok_and(|found| found.ino() == recycled))
            .expect("it was retired under another name")
            .path();
        fs::rename(retired, &old).unwrap();
        fs::write(&old, ids_text(next, count)).unwrap();
        fs::rename(&old, site.path("spool").join(name)).unwrap();
        assert_eq!(inode(&site.path("spool").join(name)), recycled);
        next += count;
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..next);
    }
}

/// Deleted, and its inode given to the next file at once, as file systems do; before anything was read of that one.
#[test]
fn a_deleted_files_inode_used_again_is_another_file() {
    let site = Site::local(&format!("retire = \"delete\"\n{PLAIN}"));
    let mut next = 0;
    let mut seen = BTreeSet::new();
    let mut again = 0;
    for round in 0..12 {
        next = site.drop_ids(&format!("f{}.ndjson", round % 3), next, 20);
        let name = format!("spool/f{}.ndjson", round % 3);
        again += u32::from(!seen.insert(inode(&site.path(&name))));
        site.expect(0, &["run", "--once"]);
        assert!(!site.path(&name).exists());
    }
    site.expect_landed(&site.lake(), 0..next);
    // How often depends on the file system; the test above does not.
    println!("{again} of 12 files had an inode that was used before");
}

/// The last line is lost where whoever reads waits for its newline, or cuts it off.
#[test]
fn a_last_line_without_newline_lands() {
    let gzip = |bytes: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    for (format, name, bytes) in [
        ("ndjson", "a.ndjson", b"{\"id\":0}\n{\"id\":1}".to_vec()),
        ("ndjson", "a.ndjson", b"{\"id\":0}\r\n{\"id\":1}\r".to_vec()),
        ("ndjson", "a.gz", gzip(b"{\"id\":0}\n{\"id\":1}")),
        ("csv", "a.csv", b"id,x\n0,a\n1,b".to_vec()),
        ("csv", "a.csv", b"id,x\n0,a\n1,\"b\"".to_vec()),
        ("csv", "a.csv", b"id,x\n0,a\n1,".to_vec()),
        ("tsv", "a.tsv", b"id\tx\n0\ta\n1\tb".to_vec()),
        ("json", "a.json", b"[{\"id\":0},{\"id\":1}]".to_vec()),
        ("json", "a.json", b"{\"id\":0}{\"id\":1}".to_vec()),
    ] {
        let site = Site::local(&format!("format = \"{format}\"\n{PLAIN}"));
        site.drop_file(name, &bytes);
        site.expect(0, &["run", "--once"]);
        assert!(site.lake().rejects().is_empty(), "{format}");
        site.expect_landed(&site.lake(), 0..2);
    }
}

/// One file that cannot be read, one that is cut off, one broken line: the other thousands land in the same run.
#[test]
fn one_bad_file_among_thousands_holds_up_none_of_them() {
    let power = without_power();
    let site = Site::local(PLAIN);
    let mut next = 0;
    for file in 0..3_000 {
        next = site.drop_ids(&format!("{file:05}.ndjson"), next, 2);
    }
    let closed = site.path("spool/01500.ndjson");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    site.drop_file("00700.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
    site.drop_file("02200.ndjson.bad", b"{\"id\":oops}\n");
    let output = command_behind(&site, &power, &["run", "--once"])
        .output()
        .expect("the program starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains("01500.ndjson"), "{text}");
    let landed: Vec<i64> = (0..next)
        .filter(|id| !(3_000..3_002).contains(id))
        .collect();
    assert_eq!(site.lake().ids(), landed);
    assert_eq!(site.lake().rejects().len(), 1);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o644)).unwrap();
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
    let torn = site.expect_json(0, &["files", "00700.gz", "--json"]);
    assert_eq!(torn[0]["state"], "quarantined", "{torn}");
}

// ---------------------------------------------------------------- names in the lake

/// State lost, and with it the count of files: a sink that begins at 0 again overwrites what it wrote before.
#[test]
fn a_count_that_begins_again_overwrites_nothing() {
    let site = Site::local(PLAIN);
    let mut next = 0;
    let mut before: Vec<(String, Vec<u8>)> = Vec::new();
    for round in 0..3 {
        next = site.drop_ids(&format!("f{round}.ndjson"), next, 10);
        site.expect(0, &["run", "--once"]);
        let lake = site.lake();
        let now: Vec<String> = lake.visible();
        assert_eq!(now.len(), round + 1, "{now:?}");
        assert!(
            now.iter().all(|path| path.ends_with("-1-0.parquet")),
            "{now:?}"
        );
        for (path, bytes) in &before {
            assert_eq!(lake.read(path).as_ref(), Some(bytes), "`{path}`");
        }
        before = now
            .into_iter()
            .map(|path| (path.clone(), lake.read(&path).expect("it stands")))
            .collect();
        // Somebody begins from nothing: no journal, and no claim that says that there was one.
        fs::remove_dir_all(site.path("var")).unwrap();
        fs::remove_file(site.path("spool/.lakeward-claim.json")).unwrap();
    }
    assert_eq!(site.lake().ids(), (0..next).collect::<Vec<_>>());
}

/// Values of a partition that would lead out of its directory, hide it, end it, or be another one's.
#[test]
fn a_partition_value_leads_nowhere_but_to_its_own_directory() {
    let values = [
        "a/b",
        "..",
        ".",
        "../../../etc",
        "/etc/passwd",
        "a/../b",
        "",
        " ",
        "_hidden",
        ".hidden",
        "k=v",
        "100%",
        "%2F",
        "a\\b",
        "new\nline",
        "nul\u{0}",
        "\u{7f}",
        "ümlaut",
        "\u{202e}",
        "__HIVE_DEFAULT_PARTITION__",
        "*",
        "-",
        "~",
        "con",
        "a b",
    ];
    let site = Site::local(
        "[pipeline.sink]\npath = \"t/k={k}\"\nformat = \"ndjson\"\ncompression = \"none\"\n",
    );
    let mut text = String::new();
    for (id, value) in values.iter().enumerate() {
        text += &format!("{}\n", serde_json::json!({"id": id, "k": value}));
    }
    let long = "x".repeat(300);
    text += &format!("{}\n", serde_json::json!({"id": 900, "k": long}));
    text += &format!("{}\n", serde_json::json!({"id": 901, "k": "ä".repeat(101)}));
    site.drop_file("a.ndjson", text.as_bytes());
    let before: BTreeSet<PathBuf> = around(&site);
    site.expect(0, &["run", "--once"]);
    let made: Vec<PathBuf> = around(&site).difference(&before).cloned().collect();
    assert!(
        made.iter().all(|path| path.starts_with("lake")
            || path.starts_with("var")
            || path.starts_with("spool")),
        "{made:?}"
    );
    let lake = site.lake();
    let mut found = BTreeSet::new();
    for path in lake.list().keys().filter(|path| path.starts_with("t/")) {
        let parts: Vec<&str> = path.split('/').collect();
        let [_, directory, file] = parts[..] else {
            panic!("`{path}` is not one level below the table")
        };
        assert!(file.starts_with("p-"), "{path}");
        let value = unescaped(directory.strip_prefix("k=").expect("a key"));
        for line in crate::support::text_of(path, &lake.read(path).expect("it stands")).lines() {
            let record: serde_json::Value = serde_json::from_str(line).expect("NDJSON");
            let id = record["id"].as_u64().expect("an id") as usize;
            let wanted = match values[id] {
                "" => "__HIVE_DEFAULT_PARTITION__",
                value => value,
            };
            assert_eq!(value, wanted, "{path}");
            assert!(found.insert(id), "{id} twice");
        }
    }
    assert_eq!(found, (0..values.len()).collect());
    // Longer than a name may be: rejects, which say so.
    let rejects = lake.rejects();
    assert_eq!(rejects.len(), 2, "{rejects:?}");
    site.expect(0, &["audit", "--deep"]);
}

/// Everything below and beside the site's directory.
fn around(site: &Site) -> BTreeSet<PathBuf> {
    fn walk(root: &Path, dir: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            found.insert(entry.path().strip_prefix(root).expect("below").to_owned());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(root, &entry.path(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&site.path(""), &site.path(""), &mut found);
    found
}

/// `%XX` of Hive's.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(&after[..2]).expect("digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// A key of which every record has another value: memory does not grow with their number, and the run ends. By default few; as
/// many as one likes with `LAKEWARD_TEST_PARTITIONS=1000000`.
#[test]
fn partitions_without_end_take_no_memory_without_end() {
    let count: i64 = std::env::var("LAKEWARD_TEST_PARTITIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2_000);
    let started = std::time::Instant::now();
    let mut peaks = Vec::new();
    let note = "n".repeat(2_000);
    for part in [1, 4] {
        let site = Site::with_lake(
            "type = \"fs\"\nroot = \"lake\"\n",
            "memory = \"64MiB\"\nlanes = 1\n",
            "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", k = \"string\", note = \"string\" }\n[pipeline.sink]\npath = \"t/k={k}\"\nformat = \"ndjson\"\ncompression = \"none\"\npartitions_max = 500\n",
        );
        let end = count * part / 4;
        // Several files, so that this program need not hold all of it; a batch ends between segments, of 500 such records.
        for from in (0..end).step_by(50_000) {
            let mut text = String::new();
            for id in from..end.min(from + 50_000) {
                text += &format!("{{\"id\":{id},\"k\":\"key-{id}\",\"note\":\"{note}\"}}\n");
            }
            site.drop_file(&format!("{from}.ndjson"), text.as_bytes());
        }
        let (output, peak) = run_measured(&site, &["run", "--once"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        site.expect_landed(&site.lake(), 0..end);
        assert_eq!(site.lake().visible().len() as i64, end);
        println!(
            "{end} partitions: {} MiB at the peak, {:?}",
            peak >> 20,
            started.elapsed()
        );
        peaks.push(peak);
    }
    // The budget and what the program needs beside it; a million partitions took the release program 98 MiB.
    assert!(peaks[1] < (64 + 64) << 20, "{} MiB", peaks[1] >> 20);
}

// ---------------------------------------------------------------- files of state

/// Files that a crash left empty, as those do who write in place: told, and nothing is begun anew over what there is.
#[test]
fn an_empty_file_of_state_is_not_taken_for_a_beginning() {
    type Place<'a> = &'a dyn Fn(&Site) -> PathBuf;
    let journal = |site: &Site| site.path("var/journal.db");
    let claim = |site: &Site| site.path("spool/.lakeward-claim.json");
    let manifest = |site: &Site| {
        let path = site
            .lake()
            .list()
            .into_keys()
            .find(|path| path.starts_with("_lakeward/manifests/"))
            .expect("a manifest");
        site.path("lake").join(path)
    };
    let kinds: [(&str, Place, &[&str]); 3] = [
        ("journal.db", &journal, &["run", "--once"]),
        (".lakeward-claim.json", &claim, &["run", "--once"]),
        ("1.json", &manifest, &["rebuild", "--yes"]),
    ];
    for (what, path, command) in kinds {
        let site = Site::local(PLAIN);
        let end = site.drop_ids("a.ndjson", 0, 10);
        assert!(site.killed_at("before_commit", 1));
        let path = path(&site);
        let honest = fs::read(&path).expect("it stands");
        let log = fs::read(site.path("var/journal.db-wal")).ok();
        if what == "1.json" {
            fs::remove_dir_all(site.path("var")).unwrap();
        }
        fs::write(&path, b"").unwrap();
        let before = site.lake().list();
        let refused = site.expect(4, command);
        let text = stderr(&refused);
        assert!(text.contains(what), "{what}: {text}");
        assert_eq!(fs::read(&path).unwrap(), b"", "{what} was written to");
        assert_eq!(site.lake().list(), before, "{what}");
        fs::write(&path, honest).unwrap();
        if let (Some(log), "journal.db") = (log, what) {
            fs::write(site.path("var/journal.db-wal"), log).unwrap();
        }
        if what == "1.json" {
            site.expect(0, &["rebuild", "--yes"]);
        }
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..end);
    }
}

/// The operating system lets no file grow beyond a size: writes fail in the middle, at the flush, at the end. That ends the
/// program by a signal where nobody asked for an error, and by an error where the signal is ignored; either loses nothing.
#[test]
fn a_file_that_may_not_grow_any_more_is_not_taken_for_a_whole_one() {
    for ignored in [false, true] {
        let site = Site::local(&format!(
            "{COLUMNS}[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n[pipeline.sink.roll]\nrecords = 2000\n"
        ));
        let mut next = site.drop_ids("a.ndjson", 0, 100);
        site.expect(0, &["run", "--once"]);
        let mut failed = 0;
        for kib in [100, 200, 260, 300, 400] {
            next = site.drop_ids(&format!("f{next}.ndjson"), next, 3_000);
            let trap = if ignored { "trap '' XFSZ;" } else { "" };
            let before: Vec<String> = [
                "bash",
                "-c",
                &format!("{trap} ulimit -f {kib}; exec \"$0\" \"$@\""),
            ]
            .map(str::to_owned)
            .to_vec();
            let output = command_behind(&site, &before, &["run", "--once", "--deadline", "5s"])
                .output()
                .expect("bash");
            let code = output.status.code();
            let text = stderr(&output);
            if code == Some(0) {
                continue;
            }
            failed += 1;
            if ignored {
                assert!(matches!(code, Some(4 | 75)), "{kib} KiB: {code:?} {text}");
                assert!(
                    text.contains("too large") || text.contains("journal.db"),
                    "{text}"
                );
                assert!(!text.contains("panic"), "{text}");
            } else {
                let signal = output.status.signal();
                assert!(
                    signal == Some(25) || matches!(code, Some(4 | 75)),
                    "{kib} KiB: {signal:?} {code:?} {text}"
                );
            }
            site.lake().expect_whole();
        }
        assert!(failed > 0, "no run met the limit");
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..next);
    }
}

// ---------------------------------------------------------------- clocks

/// A library that moves the wall clock by as many seconds as a file says, each time that it is asked; the clock of elapsed time
/// goes on as it does. Made by the C compiler that Rust links with.
fn moved_clock(site: &Site) -> Vec<String> {
    let source = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
  long result = syscall(SYS_clock_gettime, id, now);
  if (id == CLOCK_REALTIME) {
    char text[32] = {0};
    int file = open(getenv("MOVED_CLOCK"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
      if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
      close(file);
    }
  }
  return (int)result;
}
"#;
    fs::write(site.path("clock.c"), source).unwrap();
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(site.path("clock.so"))
        .arg(site.path("clock.c"))
        .status()
        .expect("a C compiler");
    assert!(made.success());
    fs::write(site.path("clock"), "0").unwrap();
    [
        "env".to_owned(),
        format!("LD_PRELOAD={}", site.path("clock.so").display()),
        format!("MOVED_CLOCK={}", site.path("clock").display()),
    ]
    .to_vec()
}

/// The wall clock goes back by a day, and forth by a year, between runs and while an agent runs: batches end by age, files become
/// ready, nothing is lost, and nothing waits for the old time to come again.
#[test]
fn a_clock_that_goes_back_holds_up_nothing_and_loses_nothing() {
    let site = Site::local(&format!(
        "{COLUMNS}[pipeline.sink]\npath = \"p\"\n[pipeline.sink.roll]\nage = \"300ms\"\n"
    ));
    let config = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    fs::write(
        site.path("lakeward.toml"),
        config.replace("ready_after = \"0s\"", "ready_after = \"300ms\""),
    )
    .unwrap();
    let behind = moved_clock(&site);
    let day = 86_400;
    let mut next = site.drop_ids("first.ndjson", 0, 10);
    expect_behind(&site, &behind, 0, &["run", "--once"]);
    // Between runs: what was retired, committed and pruned lies in the future.
    for offset in [-day, 365 * day, -day, 0] {
        fs::write(site.path("clock"), offset.to_string()).unwrap();
        next = site.drop_ids(&format!("between{next}.ndjson"), next, 10);
        expect_behind(&site, &behind, 0, &["run", "--once", "--deadline", "30s"]);
        assert_eq!(site.lake().ids().len() as i64, next, "{offset}");
    }
    // While one runs.
    let log = fs::File::create(site.path("log")).unwrap();
    let mut agent = command_behind(&site, &behind, &["run"])
        .stderr(log)
        .spawn()
        .expect("the program starts");
    for offset in [0, -day, -2 * day, 365 * day, -day] {
        let half = site.drop_ids(&format!("before{next}.ndjson"), next, 10);
        fs::write(site.path("clock"), offset.to_string()).unwrap();
        next = site.drop_ids(&format!("after{next}.ndjson"), half, 10);
        wait_until("both files landed", || {
            site.lake().ids().len() as i64 == next
        });
    }
    assert_eq!(terminate(&mut agent), Some(0), "{}", site.log());
    fs::write(site.path("clock"), (-day).to_string()).unwrap();
    expect_behind(&site, &behind, 0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

/// A file of tomorrow, as one has after a clock was set back or a copy kept its time: it lands once it is seen unchanged.
#[test]
fn a_file_of_the_future_is_not_waited_for_until_then() {
    let site = Site::local(PLAIN);
    let config = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    fs::write(
        site.path("lakeward.toml"),
        config.replace("ready_after = \"0s\"", "ready_after = \"500ms\""),
    )
    .unwrap();
    let end = site.drop_ids("a.ndjson", 0, 10);
    let tomorrow = SystemTime::now() + Duration::from_hours(24);
    fs::File::options()
        .write(true)
        .open(site.path("spool/a.ndjson"))
        .and_then(|file| file.set_modified(tomorrow))
        .unwrap();
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
}
