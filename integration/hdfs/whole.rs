//! The whole path onto HDFS: killed at every step, a journal lost, many blocks, both protocols.

use super::server::Hdfs;
use crate::support::{LakeAt, Site};

pub const SMALL_BATCHES: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n[pipeline.sink]\npath = \"p/day={day}\"\n[pipeline.sink.roll]\nrecords = 500\n";

/// Nothing half-written is left, and nobody holds a lease.
#[track_caller]
pub fn nothing_left(hdfs: &Hdfs) {
    let left: Vec<String> = hdfs
        .list()
        .into_keys()
        .filter(|path| path.contains(".tmp") && !path.starts_with("_lakeward/tmp/"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn killed_at_each_step(name: &str, toml: &dyn Fn(&Hdfs) -> String) {
    let Some(hdfs) = Hdfs::named(name, "kill") else {
        return;
    };
    let site = Site::with_lake(&toml(&hdfs), "", SMALL_BATCHES);
    let lake = LakeAt::Hdfs(hdfs);
    let mut next = 0;
    let mut counts = Vec::new();
    for place in [
        "before_stage",
        "before_manifest",
        "before_land",
        "before_rename",
        "after_land",
        "before_commit",
        "before_retire",
        "before_done",
    ] {
        let mut kills = 0;
        for times in 1..=3 {
            for _ in 0..3 {
                next = site.drop_ids(&format!("f{next}.ndjson"), next, 300);
            }
            // The first small file that is renamed is the probe's.
            let times = if place == "before_rename" {
                times + 2
            } else {
                times.min(2)
            };
            kills += u32::from(site.killed_at(place, times));
        }
        counts.push(format!("{place} {kills}"));
        assert!(kills >= 3, "{place}: {kills}\n{}", site.log());
    }
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&lake, 0..next);
    let LakeAt::Hdfs(hdfs) = &lake else {
        unreachable!()
    };
    nothing_left(hdfs);
    println!("{name} kills: {}", counts.join(", "));
}

#[test]
fn killed_at_each_step_on_the_oldest_hdfs() {
    killed_at_each_step("HDFS_OLD", &Hdfs::toml);
}

#[test]
fn killed_at_each_step_on_the_newest_hdfs() {
    killed_at_each_step("HDFS_NEW", &Hdfs::toml);
}

#[test]
fn killed_at_each_step_through_webhdfs() {
    killed_at_each_step("HDFS_NEW", &Hdfs::web_toml);
}

#[test]
fn a_lost_journal_is_rebuilt_from_hdfs() {
    let Some(hdfs) = Hdfs::named("HDFS_OLD", "rebuild") else {
        return;
    };
    Site::with_lake(&hdfs.toml(), "", SMALL_BATCHES).expect_rebuilt(&LakeAt::Hdfs(hdfs));
}

#[test]
fn check_probes_hdfs_and_leaves_nothing() {
    let Some(hdfs) = Hdfs::named("HDFS_OLD", "check") else {
        return;
    };
    for toml in [hdfs.toml(), hdfs.web_toml()] {
        let site = Site::with_lake(&toml, "", SMALL_BATCHES);
        site.drop_ids("a.ndjson", 0, 10);
        site.expect(0, &["check"]);
        site.expect(0, &["check", "--no-write"]);
    }
    let found = hdfs.list();
    assert!(found.is_empty(), "{found:?}");
}
