//! Requests to a NameNode that come late.

use std::sync::Arc;

use super::super::lake::Kind;
use super::make::Make;
use super::rig::Rig;
use super::{LATE_DEATH, told_apart};

#[test]
fn hole_05_a_late_rename_publishes_half_of_a_file_of_the_same_temporary_name() {
    let hdfs = || Make::of(Kind::Hdfs).options(|options| options.block_bytes = 10);
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.strike("rename", "t/day=d0/", 0, LATE_DEATH);
        rig.dies();
        let (lake, world) = (Arc::clone(&rig.lake), rig.world.clone());
        rig.when("write block", "t/day=d0/", 1, move || {
            assert!(lake.deliver(&world), "the rename is on its way");
        });
        rig.settled()
    };
    let shared = |make: Make| make.options(|options| options.shared_temporary_name = true);
    told_apart(hdfs, shared, 1..2, "I2", scenario);
}
