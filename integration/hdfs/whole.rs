//! The whole path onto HDFS: killed at every step, a journal lost, many blocks, both protocols.

use super::server::Hdfs;
use crate::kill::{PLACES, kill_at_each};
use crate::support::{LakeAt, SMALL_BATCHES, Site};

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
    let mut places = PLACES.map(|place| (place, [1, 2, 2])).to_vec();
    // The first small files that are renamed are the probe's.
    places.push(("before_rename", [3, 4, 5]));
    let lake = LakeAt::Hdfs(hdfs);
    kill_at_each(&site, &lake, &places);
    let LakeAt::Hdfs(hdfs) = &lake else {
        unreachable!()
    };
    nothing_left(hdfs);
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
