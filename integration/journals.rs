//! A lost journal, an old copy of one, and two agents where one is right.

use std::fs;

use crate::means::{terminate, wait_until};
use crate::support::{Site, ids_text};

const SMALL_BATCHES: &str =
    "[pipeline.sink]\npath = \"p/day={day}\"\n[pipeline.sink.roll]\nrecords = 500\n";

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn a_lost_journal_is_refused_then_rebuilt_and_nothing_lands_twice() {
    for place in [
        "before_land",
        "after_land",
        "before_commit",
        "before_retire",
        "before_done",
    ] {
        let site = Site::local(SMALL_BATCHES);
        let mut next = 0;
        for _ in 0..5 {
            next = site.drop_ids(&format!("f{next}.ndjson"), next, 400);
        }
        assert!(site.killed_at(place, 2), "{place}");
        fs::remove_dir_all(site.path("var")).expect("the journal is lost");
        let refused = site.expect(4, &["run", "--once"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(text.contains("lakeward rebuild"), "{text}");
        fs::remove_dir_all(site.path("var")).expect("what the refused run made");
        site.expect(0, &["rebuild", "--yes"]);
        next = site.drop_ids("later.ndjson", next, 100);
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..next);
    }
}

#[test]
fn a_journal_restored_from_an_old_copy_is_refused_then_rebuilt() {
    let site = Site::local(SMALL_BATCHES);
    let mut next = site.drop_ids("a.ndjson", 0, 700);
    site.expect(0, &["run", "--once"]);
    copy_dir(&site.path("var"), &site.path("backup"));
    next = site.drop_ids("b.ndjson", next, 700);
    site.expect(0, &["run", "--once"]);
    fs::remove_dir_all(site.path("var")).expect("the newer journal is gone");
    copy_dir(&site.path("backup"), &site.path("var"));
    next = site.drop_ids("c.ndjson", next, 700);
    let refused = site.expect(4, &["run", "--once"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        text.contains("old copy") && text.contains("lakeward rebuild"),
        "{text}"
    );
    site.expect(0, &["rebuild", "--yes"]);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

#[test]
fn a_journal_is_lost_twice() {
    let site = Site::local(SMALL_BATCHES);
    let mut next = 0;
    for round in 0..3 {
        next = site.drop_ids(&format!("r{round}.ndjson"), next, 900);
        // From the second round on the batch that the rebuild adopted is recovered first.
        assert!(site.killed_at("before_commit", if round == 0 { 1 } else { 2 }));
        fs::remove_dir_all(site.path("var")).expect("the journal is lost");
        site.expect(0, &["rebuild", "--yes"]);
    }
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

#[test]
fn the_old_agent_meets_the_tombstone() {
    let site = Site::local(SMALL_BATCHES);
    let next = site.drop_ids("a.ndjson", 0, 700);
    site.expect(0, &["run", "--once"]);
    copy_dir(&site.path("var"), &site.path("old"));
    fs::remove_dir_all(site.path("var")).expect("given up");
    site.expect(0, &["rebuild", "--yes"]);
    fs::remove_dir_all(site.path("var")).expect("aside");
    copy_dir(&site.path("old"), &site.path("var"));
    site.drop_ids("b.ndjson", next, 10);
    let refused = site.expect(4, &["run", "--once"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("rebuild"), "{text}");
}

#[test]
fn i12_a_second_agent_on_the_journal_or_the_spool_is_refused() {
    let site = Site::local(SMALL_BATCHES);
    site.drop_ids("a.ndjson", 0, 10);
    let mut agent = site.spawn(&["run"], &[]);
    let start = std::time::Instant::now();
    while !site.path("var/journal.db").exists() || !site.path("spool/.lakeward-claim.json").exists()
    {
        assert!(start.elapsed().as_secs() < 20, "{}", site.log());
        std::thread::yield_now();
    }
    site.expect(5, &["run", "--once"]);
    // Another journal over the same spool: claimed by the first.
    let other = fs::read_to_string(site.path("lakeward.toml"))
        .expect("a configuration")
        .replace("\"var\"", "\"var2\"");
    fs::write(site.path("lakeward.toml"), other).expect("a configuration");
    let refused = site.lakeward(&["run", "--once"]);
    assert!(matches!(refused.status.code(), Some(4 | 5)), "{refused:?}");
    agent.kill().expect("kill");
    agent.wait().expect("ended");
    let refused = site.expect(4, &["run", "--once"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("lakeward adopt p"), "{text}");
    site.expect(0, &["adopt", "p"]);
    site.expect(0, &["run", "--once"]);
}

#[test]
fn status_and_files_read_beside_a_running_agent() {
    let site = Site::local(SMALL_BATCHES);
    site.drop_ids("a.ndjson", 0, 700);
    let mut agent = site.spawn(&["run"], &[]);
    let start = std::time::Instant::now();
    loop {
        assert!(start.elapsed().as_secs() < 30, "{}", site.log());
        if !site.path("var/journal.db").exists() {
            continue;
        }
        let status = site.expect_json(0, &["status", "--json"]);
        if status["pipelines"][0]["last_commit"]["batch"] == 1 {
            break;
        }
    }
    let files = site.expect_json(0, &["files", "--json"]);
    assert_eq!(files[0]["path"], "a.ndjson", "{files}");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&agent),
        rustix::process::Signal::TERM,
    )
    .expect("SIGTERM");
    assert_eq!(
        agent.wait().expect("ended").code(),
        Some(0),
        "{}",
        site.log()
    );
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..700);
}

/// What a half-read CSV's later segments mean, and that a torn file is quarantined, survives the journal.
#[test]
fn a_csv_header_and_a_tear_survive_a_lost_journal() {
    use std::io::Write;
    let site = Site::local(
        "format = \"csv\"\n[pipeline.sink]\npath = \"p\"\n[pipeline.sink.roll]\nrecords = 1000\n",
    );
    let mut text = String::from("id,name\n");
    for id in 0..1_500_000 {
        text.push_str(&format!("{id},n{}\n", id % 100));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("in memory");
    let bytes = gzip.finish().expect("in memory");
    site.drop_file("a.csv.gz", &bytes[..bytes.len() - 20]);
    assert!(site.killed_at("before_land", 2));
    fs::remove_dir_all(site.path("var")).expect("the journal is lost");
    site.expect(0, &["rebuild", "--yes"]);
    site.expect(3, &["run", "--once"]);
    let ids = site.lake().ids();
    assert!(ids.len() > 1_000_000);
    assert_eq!(ids, (0..ids.len() as i64).collect::<Vec<_>>());
    assert!(site.path("spool/.quarantine/a.csv.gz").exists());
    site.expect(0, &["audit", "--deep"]);
}

/// The first start claimed the spool and was cut off, the second met what stood in the place of the unmounted disk: the claim is this
/// journal's own, and of another spool than it knows.
#[test]
fn a_spool_that_was_first_met_unmounted_is_taken_over_as_the_message_says() {
    let site = Site::local(SMALL_BATCHES);
    let mut next = site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, &["run", "--once"]);
    let claim = site.path("spool/.lakeward-claim.json");
    let text = fs::read_to_string(&claim).expect("a claim");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["spool"] = "00000000000000aa".into();
    fs::write(&claim, json.to_string()).expect("the claim of the disk");
    next = site.drop_ids("b.ndjson", next, 10);
    let refused = site.expect(4, &["run", "--once"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("lakeward adopt p"), "{text}");
    site.expect(0, &["adopt", "p"]);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
}

/// Beside a running agent `adopt` is a request: the pipeline that had halted for want of its spool begins again.
#[test]
fn a_running_agent_takes_up_adopt_and_begins_the_pipeline_again() {
    let site =
        Site::local("[pipeline.sink]\npath = \"p\"\n[pipeline.sink.roll]\nage = \"300ms\"\n");
    let config = fs::read_to_string(site.path("lakeward.toml")).expect("a configuration");
    let other = config
        .replace("\"var\"", "\"var2\"")
        .replace("\"p\"", "\"q\"")
        .replace("\"spool\"", "\"other\"");
    fs::create_dir(site.path("other")).expect("a second spool");
    fs::write(site.path("lakeward.toml"), &other).expect("a configuration");
    site.expect(0, &["run", "--once"]);
    let (_, second) = other.split_once("[[pipeline]]").expect("a pipeline");
    fs::write(
        site.path("lakeward.toml"),
        format!("{config}\n[[pipeline]]{second}"),
    )
    .expect("a configuration");
    site.drop_ids("a.ndjson", 0, 10);
    let mut agent = site.spawn(&["run"], &[]);
    wait_until("the second pipeline halts", || {
        site.log().contains("halted pipeline=\"q\"")
    });
    let said = site.expect(0, &["adopt", "q"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("belongs to journal"));
    fs::write(site.path("other/b.ndjson"), ids_text(10, 10)).expect("a spooled file");
    wait_until("its file is retired", || {
        site.path("other/b.ndjson.COMPLETED").exists()
    });
    terminate(&mut agent);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..20);
}
