//! What goes wrong around the program: full disks, servers that stop, keys that stop working, spools that are not there,
//! files that nobody may read, operators and their decisions, other agents, signals.
//!
//! Each test ends with the fault gone and everything landed once: nothing lost, nothing twice.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::means::{
    Disk, OwnMinio, command_behind, ended, expect_behind, free_port, stderr, stdout, terminate,
    wait_until, without_power,
};
use crate::support::{LakeAt, Site, ids_text};

const PLAIN: &str = "[pipeline.sink]\npath = \"p\"\n";
const COLUMNS: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n";

fn small_batches() -> String {
    format!(
        "{COLUMNS}[pipeline.sink]\npath = \"p/day={{day}}\"\n[pipeline.sink.roll]\nrecords = 500\n"
    )
}

// ---------------------------------------------------------------- full disks

/// Runs with ever less room until a run ends well without any; answers what was said by those that did not.
fn with_ever_more_room(
    site: &Site,
    disk: &Disk,
    rooms: &[u64],
    mut before: impl FnMut(),
) -> Vec<String> {
    let mut said = Vec::new();
    for room in rooms {
        before();
        disk.leave(*room);
        let output = command_behind(site, &disk.inside(), &["run", "--once"])
            .output()
            .expect("it starts");
        let text = stderr(&output);
        match output.status.code() {
            Some(0) => {}
            Some(75) => said.push(text),
            code => panic!(
                "with {room} bytes free it ended with {code:?}, 75 is right for a full disk\n{text}"
            ),
        }
    }
    disk.free();
    said
}

#[track_caller]
fn all_landed_behind(site: &Site, disk: &Disk, lake: &LakeAt, end: i64) {
    expect_behind(site, &disk.inside(), 0, &["run", "--once"]);
    assert_eq!(lake.ids(), (0..end).collect::<Vec<_>>());
    expect_behind(site, &disk.inside(), 0, &["audit", "--deep"]);
}

#[test]
fn a_full_disk_under_the_journal_loses_nothing_once_there_is_room_again() {
    let site = Site::local(&small_batches());
    let disk = Disk::mount(&site.path("var"), 4 << 20);
    let mut next = site.drop_ids("first.ndjson", 0, 300);
    expect_behind(&site, &disk.inside(), 0, &["run", "--once"]);
    let said = with_ever_more_room(&site, &disk, &[0, 100 << 10, 200 << 10], || {
        for _ in 0..6 {
            next = site.drop_ids(&format!("f{next}.ndjson"), next, 300);
        }
    });
    assert!(!said.is_empty(), "no run met the full disk");
    for text in said {
        assert!(
            text.contains("journal.db") && text.contains("var` is full: free some space"),
            "{text}"
        );
    }
    all_landed_behind(&site, &disk, &site.lake(), next);
}

#[test]
fn a_full_disk_under_a_local_lake_loses_nothing_once_there_is_room_again() {
    let site = Site::local(&format!(
        "{COLUMNS}[pipeline.sink]\npath = \"p/day={{day}}\"\nformat = \"ndjson\"\ncompression = \"none\"\n[pipeline.sink.roll]\nrecords = 2000\n"
    ));
    let disk = Disk::mount(&site.path("lake"), 8 << 20);
    let lake = LakeAt::Local(disk.seen(&site.path("lake")));
    let mut next = 0;
    let said = with_ever_more_room(&site, &disk, &[0, 64 << 10, 400 << 10], || {
        for _ in 0..3 {
            next = site.drop_ids(&format!("f{next}.ndjson"), next, 1_000);
        }
    });
    assert!(said.len() >= 2, "{} runs met the full disk", said.len());
    for text in said {
        let names_it = text.contains("disk is full") || text.contains("No space left");
        assert!(
            text.contains("/lake/_lakeward/") && names_it && text.contains("free some space"),
            "{text}"
        );
    }
    all_landed_behind(&site, &disk, &lake, next);
}

#[test]
fn a_full_disk_under_staging_of_a_remote_lake_loses_nothing_once_there_is_room_again() {
    let Some(minio) = OwnMinio::start("own-minio-secret") else {
        return;
    };
    let s3 = minio.s3("own-minio-secret");
    let site = Site::with_lake(
        &s3.toml(),
        "",
        &format!(
            "{COLUMNS}[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n"
        ),
    );
    let disk = Disk::mount(&site.path("var/staging"), 4 << 20);
    let mut next = 0;
    let said = with_ever_more_room(&site, &disk, &[0, 400 << 10], || {
        next = site.drop_ids(&format!("f{next}.ndjson"), next, 10_000);
    });
    assert!(!said.is_empty(), "no run met the full disk");
    for text in said {
        assert!(
            text.contains("var/staging")
                && text.contains("No space left")
                && text.contains("free some space"),
            "{text}"
        );
    }
    all_landed_behind(&site, &disk, &LakeAt::S3(s3), next);
}

#[test]
fn below_free_bytes_min_intake_waits_and_says_so_and_goes_on_by_itself() {
    let site = Site::with_lake("type = \"fs\"\nroot = \"lake\"\n", "", &small_batches());
    let text = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    fs::write(
        site.path("lakeward.toml"),
        text.replace("free_bytes_min = 0", "free_bytes_min = \"3MiB\""),
    )
    .unwrap();
    let disk = Disk::mount(&site.path("lake"), 6 << 20);
    let lake = LakeAt::Local(disk.seen(&site.path("lake")));
    disk.leave(2 << 20);
    let end = site.drop_ids("a.ndjson", 0, 700);
    let given_up = expect_behind(
        &site,
        &disk.inside(),
        75,
        &["run", "--once", "--deadline", "3s"],
    );
    let text = stderr(&given_up);
    assert!(
        text.contains("free_bytes_min") && text.contains("lake"),
        "{text}"
    );
    assert!(lake.visible().is_empty());
    let mut agent = command_behind(&site, &disk.inside(), &["run"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("status says what is waited for", || {
        let status = stdout(&expect_behind(&site, &disk.inside(), 0, &["status"]));
        status.contains("free_bytes_min")
    });
    disk.free();
    wait_until("all of it landed", || lake.ids().len() == 700);
    assert_eq!(terminate(&mut agent), Some(0));
    all_landed_behind(&site, &disk, &lake, end);
}

#[test]
fn staging_bytes_max_holds_and_all_lands() {
    let site = Site::with_lake(
        "type = \"fs\"\nroot = \"lake\"\n",
        "staging_bytes_max = \"64KiB\"\n",
        &format!(
            "{COLUMNS}[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n"
        ),
    );
    let mut next = 0;
    for _ in 0..10 {
        next = site.drop_ids(&format!("f{next}.ndjson"), next, 2_000);
    }
    site.expect(0, &["run", "--once", "--report", "report.json"]);
    site.expect_landed(&site.lake(), 0..next);
}

// ---------------------------------------------------------------- servers

#[test]
fn a_server_stopped_and_started_in_mid_landing_loses_nothing() {
    let Some(mut minio) = OwnMinio::start("own-minio-secret") else {
        return;
    };
    let s3 = minio.s3("own-minio-secret");
    let site = Site::with_lake(&s3.toml(), "", &small_batches());
    let lake = LakeAt::S3(s3);
    let mut next = 0;
    for _ in 0..30 {
        next = site.drop_ids(&format!("f{next}.ndjson"), next, 300);
    }
    let mut agent = site.spawn(&["run"], &[]);
    for round in 1..=2 {
        wait_until("some batches are committed", || {
            site.log().matches(" committed ").count() >= 3 * round
        });
        minio.down();
        wait_until("the fault is met", || {
            site.log().matches("no answer from").count()
                + site.log().matches("nothing listens").count()
                >= round
        });
        minio.up("own-minio-secret");
        next = site.drop_ids(&format!("f{next}.ndjson"), next, 300);
    }
    wait_until("all of it landed", || {
        site.expect_json(0, &["status", "--json"])["pipelines"][0]["backlog_files"] == 0
    });
    assert_eq!(terminate(&mut agent), Some(0), "{}", site.log());
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&lake, 0..next);
}

#[test]
fn a_server_that_is_away_is_75_and_the_next_run_lands_all() {
    let Some(mut minio) = OwnMinio::start("own-minio-secret") else {
        return;
    };
    let s3 = minio.s3("own-minio-secret");
    let site = Site::with_lake(&s3.toml(), "stop_after = \"1s\"\n", &small_batches());
    let next = site.drop_ids("a.ndjson", 0, 700);
    assert!(site.killed_at("before_commit", 1));
    minio.down();
    let start = Instant::now();
    let away = site.expect(75, &["run", "--once", "--deadline", "5s"]);
    assert!(
        start.elapsed() < Duration::from_secs(40),
        "{:?}",
        start.elapsed()
    );
    assert!(!stderr(&away).contains("bug at"), "{}", stderr(&away));
    assert!(
        stderr(&away).contains("stop_after")
            && stderr(&away).contains("nothing listens at http://127.0.0.1:"),
        "{}",
        stderr(&away)
    );
    minio.up("own-minio-secret");
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&LakeAt::S3(s3), 0..next);
}

#[test]
fn credentials_that_stop_working_stop_the_pipeline_and_nothing_is_lost() {
    let Some(mut minio) = OwnMinio::start("own-minio-secret") else {
        return;
    };
    let s3 = minio.s3("own-minio-secret");
    let site = Site::with_lake(&s3.toml(), "", &small_batches());
    let lake = LakeAt::S3(s3);
    let mut next = 0;
    for _ in 0..30 {
        next = site.drop_ids(&format!("f{next}.ndjson"), next, 300);
    }
    let mut agent = site.spawn(&["run"], &[]);
    wait_until("a batch is committed", || {
        site.log().contains(" committed ")
    });
    minio.down();
    minio.up("another-secret");
    assert_eq!(ended(&mut agent), Some(4), "{}", site.log());
    let log = site.log();
    // An answer to HEAD has no body that names the reason; which request is refused first is chance.
    let told = log.contains("the secret access key does not belong")
        || log
            .contains("the store answered 403: the access key id `own-minio-key` may not do that");
    assert!(told, "{log}");
    site.expect(4, &["run", "--once"]);
    minio.down();
    minio.up("own-minio-secret");
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&lake, 0..next);
}

// ---------------------------------------------------------------- spools

/// Makes the spool's directory so that nothing can be written in it; with all rights again once dropped, so that the test's
/// directory can be removed.
struct ReadOnly(std::path::PathBuf);

impl ReadOnly {
    fn make(path: std::path::PathBuf) -> Self {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
        Self(path)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _gone = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o755));
    }
}

#[test]
fn a_read_only_spool_is_kept_and_its_claim_stands_in_the_lake() {
    let power = without_power();
    let site = Site::local(&format!("retire = \"keep\"\n{PLAIN}"));
    let next = site.drop_ids("a.ndjson", 0, 100);
    {
        let _read_only = ReadOnly::make(site.path("spool"));
        expect_behind(&site, &power, 0, &["run", "--once"]);
        expect_behind(&site, &power, 0, &["run", "--once"]);
        let lake = site.lake().list();
        assert!(lake.contains_key("_lakeward/claims/p.json"), "{lake:?}");
        assert!(!site.path("spool/.lakeward-claim.json").exists());
    }
    // A file that changes is set aside by a row in the journal alone.
    fs::write(site.path("spool/a.ndjson"), ids_text(500, 3)).unwrap();
    let next = site.drop_ids("b.ndjson", next, 50);
    let _read_only = ReadOnly::make(site.path("spool"));
    expect_behind(&site, &power, 3, &["run", "--once"]);
    let files = site.expect_json(0, &["files", "a.ndjson", "--json"]);
    assert!(
        files
            .as_array()
            .unwrap()
            .iter()
            .any(|file| file["state"] == "quarantined"),
        "{files}"
    );
    assert!(site.path("spool/a.ndjson").exists());
    site.expect_landed(&site.lake(), 0..next);
    // The journal lost: the claim in the lake says whose this spool is.
    fs::remove_dir_all(site.path("var")).unwrap();
    let refused = expect_behind(&site, &power, 4, &["run", "--once"]);
    assert!(
        stderr(&refused).contains("lakeward rebuild"),
        "{}",
        stderr(&refused)
    );
}

/// Each agent finds its own claim among those in the lake.
#[test]
fn two_agents_with_read_only_spools_and_one_lake_go_on_side_by_side() {
    let power = without_power();
    let one = Site::local(&format!("retire = \"keep\"\n{PLAIN}"));
    let other = Site::local(&format!("retire = \"keep\"\n{PLAIN}"));
    share_lake(&one, &other);
    let next = one.drop_ids("a.ndjson", 0, 10);
    let next = other.drop_ids("a.ndjson", next, 10);
    {
        let _read_only = (
            ReadOnly::make(one.path("spool")),
            ReadOnly::make(other.path("spool")),
        );
        for site in [&one, &other, &one, &other] {
            expect_behind(site, &power, 0, &["run", "--once"]);
        }
    }
    one.drop_ids("b.ndjson", next, 10);
    let _read_only = (
        ReadOnly::make(one.path("spool")),
        ReadOnly::make(other.path("spool")),
    );
    expect_behind(&one, &power, 0, &["run", "--once"]);
    one.expect_landed(&one.lake(), 0..30);
}

/// From now on `other` lands in the lake of `one`.
fn share_lake(one: &Site, other: &Site) {
    let lake = format!("type = \"fs\"\nroot = \"{}\"", one.path("lake").display());
    let text = fs::read_to_string(other.path("lakeward.toml")).unwrap();
    fs::write(
        other.path("lakeward.toml"),
        text.replace("type = \"fs\"\nroot = \"lake\"", &lake),
    )
    .unwrap();
}

#[test]
fn a_spool_that_is_not_mounted_is_never_taken_for_an_empty_one() {
    let site = Site::local(&format!("retire = \"keep\"\n{PLAIN}"));
    let next = site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, &["run", "--once"]);
    fs::rename(site.path("spool"), site.path("elsewhere")).unwrap();
    let gone = site.expect(4, &["run", "--once"]);
    assert!(stderr(&gone).contains("is it mounted"), "{}", stderr(&gone));
    fs::create_dir(site.path("spool")).unwrap();
    let empty = site.expect(4, &["run", "--once"]);
    assert!(
        stderr(&empty).contains("perhaps not mounted"),
        "{}",
        stderr(&empty)
    );
    fs::remove_dir_all(site.path("spool")).unwrap();
    fs::rename(site.path("elsewhere"), site.path("spool")).unwrap();
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

#[test]
fn a_lake_that_is_not_mounted_is_never_taken_for_a_new_one() {
    let site = Site::local(PLAIN);
    let next = site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, &["run", "--once"]);
    let next = site.drop_ids("b.ndjson", next, 10);
    fs::rename(site.path("lake"), site.path("elsewhere")).unwrap();
    for left in [false, true] {
        if left {
            fs::create_dir_all(site.path("lake")).unwrap();
        }
        let gone = site.expect(4, &["run", "--once"]);
        assert!(stderr(&gone).contains("is it mounted"), "{}", stderr(&gone));
        assert!(site.path("spool/b.ndjson").exists());
    }
    fs::remove_dir_all(site.path("lake")).unwrap();
    fs::rename(site.path("elsewhere"), site.path("lake")).unwrap();
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

#[test]
fn a_file_that_may_not_be_read_holds_up_no_other_and_makes_it_75() {
    let power = without_power();
    let site = Site::local(PLAIN);
    let next = site.drop_ids("closed.ndjson", 0, 10);
    let next = site.drop_ids("open.ndjson", next, 10);
    fs::set_permissions(
        site.path("spool/closed.ndjson"),
        fs::Permissions::from_mode(0o0),
    )
    .unwrap();
    let output = expect_behind(&site, &power, 75, &["run", "--once"]);
    let text = stderr(&output);
    assert!(
        text.contains("closed.ndjson") && text.contains("ermission denied"),
        "{text}"
    );
    assert_eq!(site.lake().ids(), (10..20).collect::<Vec<_>>());
    fs::set_permissions(
        site.path("spool/closed.ndjson"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

// ---------------------------------------------------------------- files that change (I10)

#[test]
fn a_file_changed_before_it_was_retired_is_quarantined_with_both_fingerprints() {
    let site = Site::local(&small_batches());
    let next = site.drop_ids("a.ndjson", 0, 100);
    assert!(site.killed_at("before_retire", 1));
    fs::OpenOptions::new()
        .append(true)
        .open(site.path("spool/a.ndjson"))
        .unwrap()
        .write_all(ids_text(900, 1).as_bytes())
        .unwrap();
    let next = site.drop_ids("b.ndjson", next, 100);
    site.expect(3, &["run", "--once"]);
    // What was read of it stays; what was added is not guessed about.
    site.expect_landed(&site.lake(), 0..next);
    assert!(!site.path("spool/a.ndjson").exists());
    both_fingerprints(&site, "a.ndjson");
}

#[test]
fn a_file_changed_while_it_is_read_is_quarantined_and_the_others_go_on() {
    let site = Site::local(&format!(
        "{COLUMNS}[pipeline.sink]\npath = \"p\"\n[pipeline.sink.roll]\nrecords = 20000\n"
    ));
    site.drop_ids("a.ndjson", 0, 100_000);
    // Staged up to the middle; the rest is read by the next run and is another by then.
    assert!(site.killed_at("before_stage", 2));
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(site.path("spool/a.ndjson"))
        .unwrap();
    file.write_all(ids_text(900_000, 1).as_bytes()).unwrap();
    site.drop_ids("b.ndjson", 200_000, 100);
    site.expect(3, &["run", "--once"]);
    let found = site.lake().ids();
    assert_eq!(
        found.len() - 100,
        found.iter().filter(|id| **id < 100_000).count()
    );
    assert!(
        found.len() > 100 && found.len() < 100_100,
        "{}",
        found.len()
    );
    assert!(
        found.windows(2).all(|pair| pair[0] != pair[1]),
        "a record landed twice"
    );
    both_fingerprints(&site, "a.ndjson");
    site.expect(0, &["audit", "--deep"]);
}

/// The reason beside a quarantined file tells what it was and what it is.
#[track_caller]
fn both_fingerprints(site: &Site, name: &str) {
    let note =
        fs::read(site.path(&format!("spool/.quarantine/{name}.reason.json"))).expect("a reason");
    let note: serde_json::Value = serde_json::from_slice(&note).expect("JSON");
    for key in ["recorded", "found"] {
        assert!(
            note[key]["size"].is_u64() && note[key]["mtime_ns"].is_i64(),
            "{key}: {note}"
        );
    }
    assert_ne!(note["recorded"], note["found"], "{note}");
    assert!(note["found_fingerprint"].is_string(), "{note}");
    assert!(note.get("fingerprint").is_some(), "{note}");
    let files = site.expect_json(0, &["files", name, "--json"]);
    let reason = files[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("it was") && reason.contains("it is"),
        "{reason}"
    );
}

// ---------------------------------------------------------------- agents side by side

#[test]
fn two_agents_of_one_pipeline_name_land_into_one_table() {
    let one = Site::local(&small_batches());
    let other = Site::local(&small_batches());
    share_lake(&one, &other);
    let mut next = 0;
    for name in 0..6 {
        for site in [&one, &other] {
            next = site.drop_ids(&format!("f{name}.ndjson"), next, 250);
        }
    }
    let mut agents = [
        one.spawn(&["run", "--once"], &[]),
        other.spawn(&["run", "--once"], &[]),
    ];
    for agent in &mut agents {
        assert_eq!(ended(agent), Some(0), "{}{}", one.log(), other.log());
    }
    one.expect_landed(&one.lake(), 0..next);
    other.expect(0, &["audit", "--deep"]);
    // The journal of one is lost: what the other landed is not its business.
    fs::remove_dir_all(one.path("var")).unwrap();
    one.expect(0, &["rebuild", "--yes"]);
    next = one.drop_ids("late.ndjson", next, 10);
    one.expect(0, &["run", "--once"]);
    one.expect_landed(&one.lake(), 0..next);
    other.expect(0, &["run", "--once"]);
}

#[test]
fn several_pipelines_fail_alone_and_each_says_how_it_ended() {
    let site = Site::local(PLAIN);
    let mut text = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    for (name, more) in [("absent", ""), ("picky", "rejects_max = 0\n"), ("well", "")] {
        text.push_str(&format!(
            "[[pipeline]]\nname = \"{name}\"\n[pipeline.source]\npath = \"{name}\"\nready_after = \"0s\"\n[pipeline.sink]\npath = \"{name}\"\nrejects = \"_rejects/{name}\"\n{more}"
        ));
    }
    fs::write(site.path("lakeward.toml"), text).unwrap();
    let next = site.drop_ids("a.ndjson", 0, 10);
    for (name, content) in [("picky", "x\n".to_owned()), ("well", ids_text(next, 5))] {
        fs::create_dir(site.path(name)).unwrap();
        fs::write(site.path(&format!("{name}/a")), content).unwrap();
    }
    site.expect(4, &["run", "--once", "--report", "report.json"]);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(site.path("report.json")).unwrap()).unwrap();
    let reasons: Vec<(&str, &str)> = report["pipelines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            (
                p["name"].as_str().unwrap(),
                p["exit_reason"].as_str().unwrap(),
            )
        })
        .collect();
    let names: Vec<&str> = reasons.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["p", "absent", "picky", "well"]);
    assert_eq!(reasons[0].1, "drained");
    assert!(reasons[1].1.contains("is it mounted"), "{reasons:?}");
    assert!(reasons[2].1.contains("rejects_max"), "{reasons:?}");
    assert_eq!(reasons[3].1, "drained");
    assert_eq!(site.lake().ids(), (0..15).collect::<Vec<_>>());
    // The one that failed lands once it is mended; the others have nothing left to do.
    site.expect(
        0,
        &["run", "--once", "--pipeline", "well", "--pipeline", "p"],
    );
}

// ---------------------------------------------------------------- ends

#[test]
fn a_deadline_ends_a_run_with_75_and_the_next_one_goes_on() {
    let site = Site::local(&small_batches().replace("ready_after = \"0s\"", ""));
    let text = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    fs::write(
        site.path("lakeward.toml"),
        text.replace("ready_after = \"0s\"", "ready_after = \"30s\""),
    )
    .unwrap();
    let next = site.drop_ids("a.ndjson", 0, 100);
    let stopped = site.expect(75, &["run", "--once", "--deadline", "1s"]);
    assert!(
        stderr(&stopped).contains("the deadline came"),
        "{}",
        stderr(&stopped)
    );
    fs::write(site.path("lakeward.toml"), text).unwrap();
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

#[test]
fn sigterm_lands_what_is_open_and_is_0_as_a_daemon_and_75_before_the_spool_is_drained() {
    let site = Site::local(&format!("{COLUMNS}[pipeline.sink]\npath = \"p\"\n"));
    let end = site.drop_ids("a.ndjson", 0, 300);
    let mut agent = site.spawn(&["run"], &[]);
    wait_until("the batch is open", || {
        site.expect_json(0, &["status", "--json"])["pipelines"][0]["open_batch"]["records"] == 300
    });
    assert!(site.lake().visible().is_empty());
    assert_eq!(terminate(&mut agent), Some(0), "{}", site.log());
    assert_eq!(site.lake().ids().len(), 300);
    // A file that becomes ready only much later keeps a --once run waiting.
    let text = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    fs::write(
        site.path("lakeward.toml"),
        text.replace("ready_after = \"0s\"", "ready_after = \"1h\""),
    )
    .unwrap();
    let end = site.drop_ids("b.ndjson", end, 10);
    let mut once = site.spawn(&["run", "--once"], &[]);
    wait_until("it has started", || {
        site.log().matches(" started ").count() == 2
    });
    assert_eq!(terminate(&mut once), Some(75), "{}", site.log());
    fs::write(site.path("lakeward.toml"), text).unwrap();
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
}

#[test]
fn a_second_signal_ends_at_once() {
    let Some(mut minio) = OwnMinio::start("own-minio-secret") else {
        return;
    };
    let s3 = minio.s3("own-minio-secret");
    let site = Site::with_lake(&s3.toml(), "stop_after = \"10m\"\n", &small_batches());
    let end = site.drop_ids("a.ndjson", 0, 700);
    assert!(site.killed_at("before_land", 1));
    minio.down();
    let mut agent = site.spawn(&["run"], &[]);
    wait_until("it waits for the lake", || {
        site.log().contains("still trying")
    });
    let pid = rustix::process::Pid::from_child(&agent);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_until("the first signal is seen", || {
        site.log().contains("landing what is staged")
    });
    assert!(agent.try_wait().unwrap().is_none(), "{}", site.log());
    assert_eq!(terminate(&mut agent), Some(75), "{}", site.log());
    minio.up("own-minio-secret");
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&LakeAt::S3(s3), 0..end);
}

#[test]
fn a_second_agent_waits_for_the_lock_as_long_as_it_is_told() {
    let site = Site::local(PLAIN);
    let end = site.drop_ids("a.ndjson", 0, 10);
    let mut agent = site.spawn(&["run"], &[]);
    wait_until("it has started", || site.log().contains(" started "));
    let locked = site.expect(5, &["run", "--once"]);
    assert!(
        stderr(&locked).contains(&format!("process {}", agent.id())),
        "{}",
        stderr(&locked)
    );
    site.expect(5, &["run", "--once", "--wait", "1s"]);
    let mut waiting = site.spawn(&["run", "--once", "--wait", "10m"], &[]);
    wait_until("it waits", || {
        site.log().contains("waiting for the journal's lock")
    });
    assert_eq!(terminate(&mut agent), Some(0));
    assert_eq!(ended(&mut waiting), Some(0), "{}", site.log());
    site.expect_landed(&site.lake(), 0..end);
}

// ---------------------------------------------------------------- what operators decide

/// A site whose `a.ndjson` of 2,000 records is committed to its half and quarantined, since somebody added to it.
fn half_committed() -> (Site, i64) {
    let site = Site::local(&format!(
        "{COLUMNS}[pipeline.sink]\npath = \"p\"\n[pipeline.sink.roll]\nrecords = 20000\n"
    ));
    site.drop_ids("a.ndjson", 0, 100_000);
    assert!(site.killed_at("before_stage", 2));
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(site.path("spool/a.ndjson"))
        .unwrap();
    file.write_all(ids_text(100_000, 1_000).as_bytes()).unwrap();
    drop(file);
    site.expect(3, &["run", "--once"]);
    let files = site.expect_json(0, &["files", "--json"]);
    assert_eq!(files[0]["state"], "quarantined", "{files}");
    let checkpoint = files[0]["checkpoint"].as_u64().unwrap();
    assert!(
        checkpoint > 0 && checkpoint < ids_text(0, 100_000).len() as u64,
        "{files}"
    );
    (site, 101_000)
}

#[test]
fn a_released_file_goes_on_at_its_checkpoint() {
    let (site, end) = half_committed();
    let said = stdout(&site.expect(0, &["release", "a.ndjson"]));
    assert!(said.contains("goes on at offset"), "{said}");
    assert!(
        site.path("spool/a.ndjson").exists()
            && !site.path("spool/.quarantine/a.ndjson.reason.json").exists()
    );
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
    let again = site.expect(4, &["release", "a.ndjson"]);
    assert!(
        stderr(&again).contains("not quarantined"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn a_file_whose_beginning_changed_is_not_released_but_as_new() {
    let (site, _) = half_committed();
    let place = site.path("spool/.quarantine/a.ndjson");
    let text = fs::read_to_string(&place)
        .unwrap()
        .replacen("record 7 of", "rekord 7 of", 1);
    fs::write(&place, text).unwrap();
    let landed = site.lake().ids().len();
    let refused = site.expect(4, &["release", "a.ndjson"]);
    let text = stderr(&refused);
    assert!(
        text.contains("not those that were read") && text.contains("--as-new"),
        "{text}"
    );
    assert!(place.exists());
    let said = stdout(&site.expect(0, &["release", "--as-new", "a.ndjson"]));
    assert!(said.contains("a second time"), "{said}");
    site.expect(0, &["run", "--once"]);
    assert_eq!(site.lake().ids().len(), landed + 101_000);
    site.expect(0, &["audit", "--deep"]);
}

#[test]
fn beside_a_running_agent_release_is_taken_up_by_it() {
    let (site, end) = half_committed();
    // The log holds those of the runs before too.
    let starts = |site: &Site| site.log().matches(" started ").count();
    let before = starts(&site);
    let mut agent = site.spawn(&["run"], &[]);
    wait_until("it has started", || starts(&site) > before);
    let said = stdout(&site.expect(0, &["release", "a.ndjson"]));
    assert!(said.contains("goes on at offset"), "{said}");
    wait_until("it is read", || {
        let files = site.expect_json(0, &["files", "a.ndjson", "--json"]);
        files
            .as_array()
            .unwrap()
            .iter()
            .all(|file| file["state"] != "quarantined" && file["reason"].is_null())
    });
    assert_eq!(terminate(&mut agent), Some(0), "{}", site.log());
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
}

#[test]
fn a_release_that_was_killed_is_mended_by_the_same_command() {
    for arguments in [
        &["release", "a.ndjson"][..],
        &["release", "--as-new", "a.ndjson"],
    ] {
        let (site, end) = half_committed();
        let landed = site.lake().ids().len();
        let mut killed = site.spawn(arguments, &[("LAKEWARD_CRASH_AT", "before_move_back:1")]);
        assert_eq!(ended(&mut killed), None, "it was not killed");
        assert!(site.path("spool/.quarantine/a.ndjson").exists());
        site.expect(0, arguments);
        site.expect(0, &["run", "--once"]);
        if arguments.len() == 2 {
            site.expect_landed(&site.lake(), 0..end);
        } else {
            assert_eq!(site.lake().ids().len(), landed + 101_000);
            site.expect(0, &["audit", "--deep"]);
        }
    }
}

#[test]
fn a_batch_whose_records_are_gone_everywhere_ends_by_an_operators_word() {
    let site = Site::local(&small_batches());
    site.drop_ids("a.ndjson", 0, 500);
    // Two of its five data files have landed.
    assert!(site.killed_at("before_land", 3));
    let staging: Vec<_> = site
        .lake()
        .list()
        .into_keys()
        .filter(|path| path.ends_with(".staged"))
        .collect();
    for path in &staging {
        fs::remove_file(site.path("lake").join(path)).unwrap();
    }
    fs::remove_file(site.path("spool/a.ndjson")).unwrap();
    let before = site.lake().ids();
    let stopped = site.expect(4, &["run", "--once"]);
    let text = stderr(&stopped);
    assert!(
        text.contains("lakeward resolve p --batch 1 --accept-loss"),
        "{text}"
    );
    let wrong = site.expect(4, &["resolve", "p", "--batch", "7", "--accept-loss"]);
    assert!(
        stderr(&wrong).contains("has no staged batch 7"),
        "{}",
        stderr(&wrong)
    );
    let said = stdout(&site.expect(0, &["resolve", "p", "--batch", "1", "--accept-loss"]));
    assert!(
        said.contains("a.ndjson") && said.contains("500 records"),
        "{said}"
    );
    let next = site.drop_ids("b.ndjson", 1_000, 10);
    let ended = site.expect(0, &["run", "--once"]);
    let text = stderr(&ended);
    assert!(
        text.contains("lost") && text.contains(&format!("records={}", 500 - before.len())),
        "{text}"
    );
    let mut wanted = before.clone();
    wanted.extend(1_000..next);
    assert_eq!(site.lake().ids(), wanted);
    // The last revision in the lake says it for good.
    let revision = site
        .lake()
        .list()
        .into_keys()
        .filter(|path| path.contains("/1.") && !path.ends_with("/1.json"))
        .max()
        .expect("a revision");
    let manifest: serde_json::Value =
        serde_json::from_slice(&site.lake().read(&revision).expect("a revision")).unwrap();
    assert!(
        !manifest["body"]["batch"]["lost_files"]
            .as_array()
            .unwrap()
            .is_empty(),
        "{manifest}"
    );
    // Nothing of it is ever tried again.
    site.expect(0, &["run", "--once"]);
    assert_eq!(site.lake().ids(), wanted);
}

#[test]
fn an_adopted_spool_is_closed_to_the_old_journal_and_can_be_rebuilt_later() {
    let site = Site::local(&small_batches());
    let next = site.drop_ids("a.ndjson", 0, 700);
    site.expect(0, &["run", "--once"]);
    let old = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    fs::write(
        site.path("lakeward.toml"),
        old.replace("\"var\"", "\"other\""),
    )
    .unwrap();
    let refused = site.expect(4, &["run", "--once"]);
    assert!(
        stderr(&refused).contains("lakeward adopt p"),
        "{}",
        stderr(&refused)
    );
    let said = stdout(&site.expect(0, &["adopt", "p"]));
    assert!(said.contains("belonged to journal"), "{said}");
    let next = site.drop_ids("b.ndjson", next, 700);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
    let new = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    fs::write(site.path("lakeward.toml"), old).unwrap();
    let closed = site.expect(4, &["run", "--once"]);
    assert!(stderr(&closed).contains("lakeward"), "{}", stderr(&closed));
    fs::write(site.path("lakeward.toml"), new).unwrap();
    fs::remove_dir_all(site.path("other")).unwrap();
    site.expect(0, &["rebuild", "--yes"]);
    let next = site.drop_ids("c.ndjson", next, 100);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

// ---------------------------------------------------------------- the journal

#[test]
fn with_payload_a_spooled_file_may_vanish_once_it_is_journaled() {
    for place in ["before_stage", "before_land", "before_commit"] {
        let site = Site::local(&format!(
            "[pipeline.channel]\njournal = \"payload\"\n{}",
            small_batches().replace("records = 500", "records = 5000")
        ));
        let end = site.drop_ids("a.ndjson", 0, 700);
        assert!(site.killed_at(place, 1), "{place}");
        fs::remove_file(site.path("spool/a.ndjson")).unwrap();
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..end);
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_left_as_it_is_and_says_what_to_do() {
    let site = Site::local(PLAIN);
    let next = site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, &["run", "--once"]);
    let path = site.path("var/journal.db");
    let whole = fs::read(&path).unwrap();
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let mut foreign = whole.clone();
    foreign[68..72].copy_from_slice(&7_u32.to_be_bytes());
    for (bytes, told) in [
        (b"garbage".repeat(1_000), "lakeward rebuild"),
        (whole[..whole.len() / 2].to_vec(), "lakeward rebuild"),
        (Vec::new(), "lakeward rebuild"),
        (newer, "install the newer program"),
        (foreign, "another program"),
    ] {
        fs::write(&path, &bytes).unwrap();
        for arguments in [
            &["run", "--once"][..],
            &["status"],
            &["files"],
            &["audit"],
            &["release", "a.ndjson"],
            &["schema"],
        ] {
            let stopped = site.expect(4, arguments);
            assert!(
                stderr(&stopped).contains(told),
                "{arguments:?}: {}",
                stderr(&stopped)
            );
            assert_eq!(fs::read(&path).unwrap(), bytes, "{arguments:?} changed it");
        }
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    site.expect(0, &["rebuild", "--yes"]);
    let next = site.drop_ids("b.ndjson", next, 10);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

// ---------------------------------------------------------------- http

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn http_answers_metrics_and_health_and_refuses_all_else() {
    let port = free_port();
    let site = Site::with_lake(
        "type = \"fs\"\nroot = \"lake\"\n",
        &format!("http = \"127.0.0.1:{port}\"\n"),
        &small_batches(),
    );
    site.drop_ids("a.ndjson", 0, 500);
    let mut agent = site.spawn(&["run"], &[]);
    wait_until("it listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let get = |path: &str, host: &str| {
        ask(
            port,
            &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        )
    };
    wait_until("the batch is counted", || {
        get("/metrics", &format!("localhost:{port}"))
            .contains("lakeward_records_landed_total{pipeline=\"p\"} 500")
    });
    assert!(get("/healthz", &format!("127.0.0.1:{port}")).ends_with("ok\n"));
    assert!(get("/healthz", "evil.example").starts_with("HTTP/1.1 421"));
    assert!(get("/metrics", &format!("evil.example:{port}")).starts_with("HTTP/1.1 421"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = ask(
            port,
            &format!(
                "{method} /metrics HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    assert!(!get("/metrics", &format!("localhost:{port}")).contains("record 1 of some"));
    assert_eq!(terminate(&mut agent), Some(0));
}
