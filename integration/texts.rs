//! What the program says, held fast: exit code, stdout and stderr of runtime faults, and of every command that shows
//! something, on a small site that is the same each time. Times, ids, ports, places and process ids are replaced by words.
//!
//! `INSTA_UPDATE=always` (and a look at the difference) takes a changed text in.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use regex::Regex;

use crate::means::{
    Disk, OwnMinio, command_behind, free_port, terminate, wait_until, without_power,
};
use crate::support::{Site, ids_text};

const PLAIN: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n[pipeline.sink]\npath = \"p/day={day}\"\n[pipeline.sink.roll]\nrecords = 500\n";

/// Replaces what differs from run to run; the same thing by the same word within one text.
fn redacted(site: &Site, text: &str) -> String {
    let mut text = text.replace(
        site.path("").to_string_lossy().trim_end_matches('/'),
        "<site>",
    );
    for (pattern, word) in [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (r"(?m)^.*INFO progress.*\n", ""),
        (r"for_seconds=\d+", "for_seconds=<n>"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:<port>"),
        (r"process \d+", "process <pid>"),
        (r"mtime \d+ ns", "mtime <ns> ns"),
        (r"modified \d+ ns", "modified <ns> ns"),
        (r#""mtime_ns": \d+"#, "\"mtime_ns\": <ns>"),
        (r"inode \d+", "inode <inode>"),
        (r"before \d+\)", "before <inode>)"),
        (r"\b[0-9a-f]{32}\b", "<digest>"),
        (r"probe/[0-9a-f]{16}", "probe/<id>"),
        (r"\b[0-9a-f]{16}\b", "<id>"),
        (r#""seconds": [0-9.]+"#, "\"seconds\": <seconds>"),
        (r"\b\d{6,} bytes free", "<bytes> bytes free"),
        (r"spool <id>", "spool <spool>"),
    ] {
        text = Regex::new(pattern)
            .expect("a pattern")
            .replace_all(&text, word)
            .into_owned();
    }
    text
}

fn shown(site: &Site, output: &Output) -> String {
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap_or(-1),
        redacted(site, &String::from_utf8_lossy(&output.stdout)),
        redacted(site, &String::from_utf8_lossy(&output.stderr)),
    )
}

/// Holds what was said against `snapshots/<name>.snap`. Runs say on stderr only what went wrong (`-q`), as cron's mail does.
fn hold(site: &Site, name: &str, output: &Output) {
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, shown(site, output));
    });
}

fn said(site: &Site, name: &str, arguments: &[&str]) {
    let output = site.lakeward(arguments);
    hold(site, name, &output);
}

const ONCE: &[&str] = &["run", "--once", "-q"];
const SOON: &[&str] = &["run", "--once", "-q", "--deadline", "2s"];

// ---------------------------------------------------------------- servers

#[test]
fn texts_of_a_lake_that_does_not_answer_or_refuses() {
    let site = |lake: &str| {
        let site = Site::with_lake(lake, "stop_after = \"1s\"\n", PLAIN);
        site.drop_ids("a.ndjson", 0, 10);
        site
    };
    let lake = crate::support::S3 {
        endpoint: format!("http://127.0.0.1:{}", free_port()),
        key: "somebody".to_owned(),
        secret: "something-secret".to_owned(),
        bucket: "lakeward".to_owned(),
        root: "lake".to_owned(),
    };
    // Long enough for the word that is said after three seconds.
    said(
        &site(&lake.toml()),
        "refused_connection",
        &["run", "--once", "-q", "--deadline", "6s"],
    );
    let Some(minio) = OwnMinio::start("own-minio-secret") else {
        return;
    };
    let mut lake = minio.s3("own-minio-secret");
    lake.bucket = "absent".to_owned();
    said(&site(&lake.toml()), "wrong_bucket", ONCE);
    let lake = minio.s3("another-secret");
    said(&site(&lake.toml()), "wrong_secret", ONCE);
    said(
        &site(&lake.toml()),
        "check_wrong_secret",
        &["check", "--json"],
    );
    let mut lake = minio.s3("own-minio-secret");
    lake.key = "nobody-knows-me".to_owned();
    said(&site(&lake.toml()), "wrong_key", ONCE);
    let lake = format!(
        "{}session_token = \"not-a-token\"\n",
        minio.s3("own-minio-secret").toml()
    );
    said(&site(&lake), "wrong_session_token", ONCE);
}

// ---------------------------------------------------------------- disks and rights

#[test]
fn texts_of_disks_and_rights() {
    let site = Site::local(PLAIN);
    let disk = Disk::mount(&site.path("lake"), 2 << 20);
    site.drop_ids("a.ndjson", 0, 10);
    disk.leave(0);
    hold(
        &site,
        "full_lake",
        &command_behind(&site, &disk.inside(), SOON)
            .output()
            .unwrap(),
    );

    let site = Site::local(PLAIN);
    let disk = Disk::mount(&site.path("var"), 2 << 20);
    site.drop_ids("a.ndjson", 0, 10);
    command_behind(&site, &disk.inside(), ONCE)
        .output()
        .unwrap();
    disk.leave(0);
    hold(
        &site,
        "full_journal",
        &command_behind(&site, &disk.inside(), SOON)
            .output()
            .unwrap(),
    );

    let power = without_power();
    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 10);
    for (name, path) in [
        ("closed_file", "spool/a.ndjson"),
        ("closed_spool", "spool"),
        ("closed_state", "var"),
        ("closed_lake", "lake"),
    ] {
        let path = site.path(path);
        let _there = fs::create_dir(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
        let output = command_behind(&site, &power, SOON).output().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        hold(&site, name, &output);
    }
}

// ---------------------------------------------------------------- the journal

#[test]
fn texts_of_a_journal_that_cannot_be_used() {
    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 10);
    said(&site, "no_journal_audit", &["audit"]);
    said(&site, "no_journal_release", &["release", "a.ndjson"]);
    said(&site, "no_journal_rebuild", &["rebuild"]);
    site.expect(0, ONCE);
    let path = site.path("var/journal.db");
    let whole = fs::read(&path).unwrap();
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let mut foreign = whole.clone();
    foreign[68..72].copy_from_slice(&7_u32.to_be_bytes());
    for (name, bytes) in [
        ("garbage_journal", b"garbage".repeat(1_000)),
        ("empty_journal", Vec::new()),
        ("newer_journal", newer),
        ("foreign_journal", foreign),
    ] {
        fs::write(&path, bytes).unwrap();
        said(&site, name, ONCE);
    }
    fs::write(&path, &whole).unwrap();
    let mut agent = site.spawn(&["run"], &[]);
    wait_until("it has started", || site.log().contains(" started "));
    said(&site, "locked_journal", ONCE);
    said(&site, "rebuild_beside_an_agent", &["rebuild"]);
    let text = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    fs::write(
        site.path("lakeward.toml"),
        text.replace("\"var\"", "\"other\""),
    )
    .unwrap();
    said(&site, "locked_spool", ONCE);
    said(&site, "adopt_beside_an_agent", &["adopt", "p"]);
    terminate(&mut agent);
    said(&site, "foreign_spool", ONCE);
    said(&site, "adopt", &["adopt", "p"]);
    fs::write(site.path("lakeward.toml"), text).unwrap();
    said(&site, "adopted_away", ONCE);
}

#[test]
fn texts_of_lost_and_outdated_journals() {
    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, ONCE);
    let old = fs::read(site.path("var/journal.db")).unwrap();
    site.drop_ids("b.ndjson", 10, 10);
    site.expect(0, ONCE);
    fs::write(site.path("var/journal.db"), &old).unwrap();
    said(&site, "old_journal_copy", ONCE);
    said(&site, "rebuild_shows", &["rebuild"]);
    said(&site, "rebuild_does", &["rebuild", "--yes"]);
    fs::write(site.path("var/journal.db"), &old).unwrap();
    said(&site, "journal_given_up", ONCE);
    let manifests = site
        .lake()
        .list()
        .into_keys()
        .filter(|path| path.ends_with("/1.json") && path.contains("/manifests/"));
    let lost: Vec<String> = manifests.collect();
    fs::remove_file(site.path("lake").join(&lost[0])).unwrap();
    fs::remove_dir_all(site.path("var")).unwrap();
    said(&site, "rebuild_missing_manifest", &["rebuild"]);
    fs::write(site.path("lake").join(&lost[0]), "{}").unwrap();
    said(&site, "rebuild_broken_manifest", &["rebuild"]);
}

// ---------------------------------------------------------------- spool and lake

#[test]
fn texts_of_spools_and_lakes_that_are_not_as_they_were() {
    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, ONCE);
    fs::rename(site.path("spool"), site.path("aside")).unwrap();
    said(&site, "missing_spool", ONCE);
    fs::create_dir(site.path("spool")).unwrap();
    said(&site, "unmounted_spool", ONCE);
    fs::remove_dir_all(site.path("spool")).unwrap();
    fs::rename(site.path("aside"), site.path("spool")).unwrap();
    fs::rename(site.path("lake"), site.path("aside")).unwrap();
    said(&site, "unmounted_lake", ONCE);
    fs::remove_dir_all(site.path("lake")).unwrap();
    fs::rename(site.path("aside"), site.path("lake")).unwrap();

    // Somebody else's file under a final path, and under a manifest's.
    site.drop_ids("b.ndjson", 10, 10);
    assert!(site.killed_at("before_land", 1));
    let staged = site
        .lake()
        .list()
        .into_keys()
        .find(|path| path.ends_with("/2.json"))
        .expect("a manifest");
    let manifest: serde_json::Value =
        serde_json::from_slice(&site.lake().read(&staged).unwrap()).unwrap();
    let last = manifest["body"]["batch"]["data_files"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()["path"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = site.path("lake").join(&last);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "not ours").unwrap();
    said(&site, "conflict", ONCE);
    fs::remove_file(&path).unwrap();
    let honest = fs::read(site.path("lake").join(&staged)).unwrap();
    fs::write(site.path("lake").join(&staged), "{}").unwrap();
    said(&site, "manifest_conflict", ONCE);
    fs::write(site.path("lake").join(&staged), honest).unwrap();
    site.expect(0, ONCE);
    fs::remove_file(&path).unwrap();
    said(&site, "audit_gone", &["audit", "--deep"]);
}

#[test]
fn texts_of_files_that_are_set_aside() {
    let site = Site::local(&PLAIN.replace(
        "[pipeline.sink.roll]",
        "rejects_max = 1\n[pipeline.sink.roll]",
    ));
    site.drop_file("a.ndjson", b"x\ny\n");
    said(&site, "too_many_rejects", ONCE);

    let site = Site::local(PLAIN);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(ids_text(0, 5_000).as_bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    site.drop_file("torn.gz", &whole[..whole.len() / 2]);
    said(&site, "torn_file", ONCE);
    said(&site, "torn_file_files", &["files"]);
    said(&site, "unknown_path", &["files", "absent.ndjson"]);
    said(&site, "climbing_path", &["files", "../absent"]);
    said(
        &site,
        "release_not_quarantined",
        &["release", "absent.ndjson"],
    );
    said(
        &site,
        "resolve_no_batch",
        &["resolve", "p", "--batch", "7", "--accept-loss"],
    );
    said(&site, "adopt_unknown", &["adopt", "q"]);

    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 10);
    assert!(site.killed_at("before_retire", 1));
    fs::write(site.path("spool/a.ndjson"), ids_text(0, 3)).unwrap();
    said(&site, "changed_file", ONCE);
    said(&site, "release_changed", &["release", "a.ndjson"]);
    said(
        &site,
        "release_as_new",
        &["release", "--as-new", "a.ndjson"],
    );

    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 10);
    assert!(site.killed_at("before_land", 1));
    for path in site
        .lake()
        .list()
        .into_keys()
        .filter(|path| path.ends_with(".staged"))
    {
        fs::remove_file(site.path("lake").join(path)).unwrap();
    }
    fs::remove_file(site.path("spool/a.ndjson")).unwrap();
    said(&site, "records_gone", ONCE);
    said(
        &site,
        "resolve",
        &["resolve", "p", "--batch", "1", "--accept-loss"],
    );
    said(&site, "resolved", ONCE);
}

// ---------------------------------------------------------------- what commands show

#[test]
fn texts_of_the_commands_that_show_something() {
    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 10);
    site.drop_file(
        "b.ndjson",
        format!("{}no record\n", ids_text(10, 2)).as_bytes(),
    );
    for (command, arguments) in [
        ("status", &["status"][..]),
        ("files", &["files"]),
        ("schema", &["schema"]),
        ("check", &["check"]),
    ] {
        said(&site, &format!("before_{command}"), arguments);
    }
    said(&site, "before_check_json", &["check", "--json"]);
    site.expect(0, ONCE);
    site.drop_ids("c.ndjson", 12, 3);
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["files"],
        &["files", "--json"],
        &["audit"],
        &["audit", "--json"],
        &["audit", "--deep"],
        &["audit", "--deep", "--json"],
        &["schema"],
        &["schema", "--json"],
        &["schema", "--ddl"],
        &["check"],
        &["check", "--json"],
    ] {
        said(
            &site,
            &format!("after_{}", arguments.join("_").replace("--", "")),
            arguments,
        );
    }
    site.expect(0, &["run", "--once", "--report", "report.json"]);
    let report = fs::read_to_string(site.path("report.json")).unwrap();
    let output = site.lakeward(&["status"]);
    hold(
        &site,
        "report",
        &Output {
            stdout: report.into_bytes(),
            stderr: Vec::new(),
            ..output
        },
    );
}
