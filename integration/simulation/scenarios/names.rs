//! Inodes, names and numbers that are used again, and a clock that goes back.

use super::super::lake::Kind;
use super::make::Make;
use super::{AFTER, BEFORE};
use lakeward::spool::Retire;

const DAY_NS: i64 = 86_400_000_000_000;

fn make(retire: Retire) -> Make {
    Make::of(Kind::Local).set(|setting| setting.retire = retire)
}

#[test]
fn an_inode_is_used_again_for_another_file() {
    // Fails if a file is known by its inode alone.
    let rig = make(Retire::Delete).build();
    rig.disk.reuse_inodes(true);
    rig.drop_file("a.ndjson", 3);
    rig.drains();
    let first = rig.rows("a.ndjson").remove(0).stat;
    // Of the same length.
    rig.drop_file("b.ndjson", 3);
    assert_eq!(rig.disk.stat(rig.at("b.ndjson")).inode, first.inode);
    rig.drains();
    rig.drop_file("a.ndjson", 3);
    assert_eq!(rig.disk.stat(rig.at("a.ndjson")).inode, first.inode);
    rig.is_sound();
}

#[test]
fn a_name_is_used_again_before_and_after_its_file_was_retired() {
    // Fails if a file is known by its name alone.
    for retire in [Retire::Rename, Retire::Delete, Retire::Move] {
        let rig = make(retire).build();
        rig.drop_file("a.ndjson", 3);
        rig.drains();
        rig.drop_file("a.ndjson", 3);
        rig.strike("place", "before_retire", 0, BEFORE);
        rig.dies();
        rig.drop_file("a.ndjson", 3);
        rig.is_sound();
    }
}

#[test]
fn an_index_restarts_at_zero_and_overwrites() {
    // Fails if what stands under a name is read on where an earlier file of that name ended.
    let rig = make(Retire::Rename)
        .set(|setting| {
            setting.segment_bytes = 60;
            setting.roll_records = 3;
        })
        .build();
    let first = rig.drop_file("log.0", 60);
    rig.strike("place", "before_retire", 0, BEFORE);
    rig.dies();
    rig.touched(first);
    rig.drop_file("log.0", 5);
    rig.is_sound();
    // In place: the same file with other bytes, which is nobody's to guess.
    let third = rig.drop_file("log.1", 60);
    rig.strike("place", "before_retire", 0, BEFORE);
    rig.dies();
    rig.touched(third);
    rig.disk.overwrite(
        rig.at("log.1"),
        b"{\"id\":\"other\",\"day\":\"d0\"}\n",
        false,
    );
    rig.is_sound();
    assert!(rig.is_quarantined("log.1"));
}

#[test]
fn the_clock_goes_back() {
    // Fails if an order, a name or an age is taken from the wall clock alone.
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        let rig = Make::of(kind).set(|s| s.roll_records = 3).build();
        rig.drop_file("a.ndjson", 3);
        rig.drop_file("b.ndjson", 3);
        let world = rig.world.clone();
        rig.when("journal: stage", "", 0, move || world.jump(-DAY_NS));
        rig.strike("journal: stage", "", 1, AFTER);
        rig.dies();
        rig.world.jump(-DAY_NS);
        // Its time of change is in the future by now; it is read once the clock has come so far, or the marker says so.
        rig.drains();
        rig.drop_file("c.ndjson", 3);
        rig.world.jump(3 * DAY_NS);
        rig.is_sound();
    }
}
