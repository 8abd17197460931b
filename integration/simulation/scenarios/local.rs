//! What a power cut takes from a local lake and spool.

use std::sync::Arc;
use std::time::Duration;

use super::super::lake::Kind;
use super::make::Make;
use super::rig::{End, Rig};
use super::{AFTER, BEFORE, broken, told_apart};

const HOUR_NS: i64 = 3_600_000_000_000;

/// What only comes true by chance is tried with so many seeds.
const SEEDS: std::ops::Range<u64> = 1..25;

fn local() -> Make {
    Make::of(Kind::Local)
}

#[test]
fn hole_02_a_renamed_file_that_was_never_synced_is_taken_for_landed() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.strike("rename staged", "day=d0", 0, AFTER);
        rig.dies();
        // It sees the file, ours, and commits.
        rig.drains();
        rig.power_cut();
        rig.settled()
    };
    let never = |make: Make| make.options(|options| options.never_made_durable = true);
    told_apart(local, never, SEEDS, "I1", scenario);
}

#[test]
fn hole_03_a_new_directorys_own_name_is_not_synced() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.drains();
        rig.power_cut();
        rig.settled()
    };
    let unsynced = |make: Make| make.options(|options| options.ancestors_not_synced = true);
    told_apart(local, unsynced, SEEDS, "I1", scenario);
}

#[test]
fn hole_04_a_staged_copy_has_the_right_length_and_wrong_bytes() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.strike("journal: stage", "", 0, AFTER);
        rig.dies();
        rig.zero_staging();
        rig.settled()
    };
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        let found = scenario(&Make::of(kind).build());
        assert!(found.is_empty(), "{kind:?}: {found:#?}");
    }
    let unverified = broken("i2-staged-copy-not-verified");
    told_apart(local, unverified, 1..2, "I2", scenario);
}

#[test]
fn hole_18_a_power_cut_takes_the_manifest_and_leaves_its_data_file() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.strike("place", "before_commit", 0, BEFORE);
        rig.dies();
        rig.power_cut();
        rig.store.lose();
        if let End::Halted(halt) = rig.rebuild() {
            return vec![halt.to_string()];
        }
        rig.settled()
    };
    let unsynced = |make: Make| make.options(|options| options.dirs_not_synced = true);
    told_apart(local, unsynced, SEEDS, "in no manifest", scenario);
}

#[test]
fn hole_20_a_retired_file_comes_back_after_its_row_was_pruned() {
    let scenario = |rig: &Arc<Rig>| {
        rig.tweak(|pipeline| pipeline.source.history = Some(Duration::from_hours(1)));
        rig.drop_file("a.ndjson", 3);
        rig.drains();
        rig.world.jump(2 * HOUR_NS);
        rig.drains();
        assert!(rig.rows("a.ndjson").is_empty(), "its row is pruned");
        rig.power_cut();
        rig.settled()
    };
    let unsynced = broken("i1-retired-before-synced");
    told_apart(local, unsynced, SEEDS, "I2", scenario);
}
