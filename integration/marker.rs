//! `sink.marker`: a hidden file in every directory in which a batch landed.

use std::collections::BTreeSet;

use crate::hdfs::Hdfs;
use crate::support::{LakeAt, S3, Site};

const MORE: &str = "[pipeline.sink]\npath = \"p/day={day}\"\nmarker = \"_SUCCESS\"\n[pipeline.sink.roll]\nrecords = 500\n";

fn directories(paths: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let directory = |path: String| path.rsplit_once('/').map(|(dir, _)| dir.to_owned());
    paths.into_iter().filter_map(directory).collect()
}

fn marked(lake: &LakeAt) -> BTreeSet<String> {
    let all = lake.list().into_keys();
    directories(all.filter(|path| path.ends_with("/_SUCCESS")))
}

#[track_caller]
fn expect_marked(lake: &LakeAt) {
    let landed = directories(lake.visible());
    assert!(!landed.is_empty());
    assert_eq!(marked(lake), landed);
    for directory in landed {
        let text = lake.read(&format!("{directory}/_SUCCESS")).expect("it is");
        let parsed: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(parsed["pipeline"], "p");
        assert!(text.ends_with(b"}\n"));
    }
}

/// Killed around every marker, and before and after them.
fn killed(site: &Site, lake: &LakeAt) {
    let mut next = 0;
    let mut kills = 0;
    for (place, times) in [
        ("before_commit", 1),
        ("before_retire", 1),
        ("before_marker", 1),
        ("before_marker", 3),
        ("after_marker", 1),
        ("after_marker", 5),
        ("before_done", 1),
    ] {
        // A directory that no batch before had.
        let record = format!("{{\"id\":{next},\"day\":\"{place} {times}\",\"note\":\"\"}}\n");
        site.drop_file(&format!("n{next}.ndjson"), record.as_bytes());
        next = site.drop_ids(&format!("f{next}.ndjson"), next + 1, 200);
        assert!(site.killed_at(place, times), "{place}\n{}", site.log());
        kills += 1;
    }
    site.expect(0, &["run", "--once"]);
    site.expect_landed(lake, 0..next);
    expect_marked(lake);
    println!("kills: {kills}");
}

#[test]
fn a_kill_loses_no_marker() {
    let site = Site::local(MORE);
    killed(&site, &site.lake());
}

#[test]
fn a_kill_loses_no_marker_on_hdfs() {
    let Some(hdfs) = Hdfs::named("HDFS_OLD", "marker") else {
        return;
    };
    let site = Site::with_lake(&hdfs.toml(), "", MORE);
    killed(&site, &LakeAt::Hdfs(hdfs));
}

#[test]
fn a_kill_loses_no_marker_on_s3() {
    let Some(s3) = S3::named("MINIO", "marker") else {
        return;
    };
    let site = Site::with_lake(&s3.toml(), "", MORE);
    killed(&site, &LakeAt::S3(s3));
}

#[test]
fn one_that_was_taken_away_comes_back_and_one_that_is_there_stays() {
    let site = Site::local(MORE);
    let mut next = site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, &["run", "--once"]);
    expect_marked(&site.lake());
    let at = |day: &str| site.path(&format!("lake/p/day=2026-10-0{day}/_SUCCESS"));
    std::fs::remove_file(at("1")).expect("taken away");
    std::fs::write(at("2"), "somebody else's").expect("written");
    // Without a batch nothing is written.
    site.expect(0, &["run", "--once"]);
    assert!(!at("1").exists());
    next = site.drop_ids("b.ndjson", next, 10);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
    assert!(at("1").exists());
    let theirs = std::fs::read_to_string(at("2")).expect("it is there");
    assert_eq!(theirs, "somebody else's");
}

#[test]
fn without_the_key_there_is_none() {
    let site = Site::local(&MORE.replace("marker = \"_SUCCESS\"\n", ""));
    site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, &["run", "--once"]);
    assert_eq!(marked(&site.lake()), BTreeSet::new());
}
