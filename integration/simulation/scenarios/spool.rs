//! Files that others touch, replace and bring back.

use std::sync::Arc;

use super::super::lake::Kind;
use super::super::records::dropped;
use super::make::Make;
use super::rig::{End, Rig};
use super::{AFTER, BEFORE, broken, told_apart};
use lakeward::journal::{FileRow, FileState};
use lakeward::spool::Retire;

const HOUR_NS: i64 = 3_600_000_000_000;

fn local() -> Make {
    Make::of(Kind::Local)
}

/// A file of many segments, so that some of it is landed and some not yet read.
fn long_file() -> Make {
    local().set(|setting| {
        setting.segment_bytes = 60;
        setting.roll_records = 3;
    })
}

/// Dies when the first batch of a long file is committed; answers the drop.
fn dies_in_mid_file(rig: &Rig) -> usize {
    let number = rig.drop_file("a.ndjson", 60);
    rig.strike("place", "before_retire", 0, BEFORE);
    rig.dies();
    let row = rig.rows("a.ndjson").remove(0);
    assert!(row.checkpoint > 0 && row.decoded.is_none(), "{row:?}");
    number
}

#[test]
fn hole_01_retire_meets_a_new_drop_of_the_same_name() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        let producer = rig.dropper();
        rig.when("journal: retired", "", 0, move || producer("a.ndjson", 4));
        rig.strike("journal: retired", "", 0, BEFORE);
        rig.dies();
        rig.settled()
    };
    for retire in [Retire::Rename, Retire::Delete, Retire::Move] {
        let make = || local().set(|setting| setting.retire = retire);
        let by_path = broken("i1-retire-by-path");
        told_apart(make, by_path, 1..2, "I6", scenario);
    }
}

#[test]
fn hole_13_bytes_that_were_landed_are_changed_in_place_before_the_rest_is_read() {
    let quarantined = |rig: &Arc<Rig>| {
        let number = dies_in_mid_file(rig);
        let changed = rig.dropped(number);
        let text = String::from_utf8(changed.bytes).unwrap();
        let text = text.replacen("\"id\":\"0-0\"", "\"id\":\"0-X\"", 1);
        rig.touched(number);
        rig.disk
            .overwrite(rig.at("a.ndjson"), text.as_bytes(), true);
        let found = rig.settled();
        assert!(found.is_empty(), "{found:#?}");
        rig.is_quarantined("a.ndjson")
    };
    assert!(quarantined(&long_file().build()));
    let unseen = long_file().broken("i10-digests-not-compared").build();
    assert!(!quarantined(&unseen), "this check cannot fail");
}

#[test]
fn hole_13_bytes_that_must_be_encoded_again_are_changed_in_place() {
    // Fails if a segment's digest is not compared when it is read again: the changed record would land.
    let rig = local().build();
    let number = rig.drop_file("a.ndjson", 3);
    rig.strike("journal: stage", "", 0, AFTER);
    rig.dies();
    rig.empty_staging();
    let before = rig.dropped(number).bytes;
    let text = String::from_utf8(before.clone()).unwrap();
    let text = text.replacen("\"id\":\"0-0\"", "\"id\":\"0-X\"", 1);
    rig.disk
        .overwrite(rig.at("a.ndjson"), text.as_bytes(), true);
    rig.halts(&["staged copy is lost", "lakeward resolve sim --batch 1"]);
    assert!(rig.data_files().is_empty());
    rig.disk.overwrite(rig.at("a.ndjson"), &before, true);
    rig.is_sound();
}

#[test]
fn hole_15_a_file_grows_between_its_commit_and_its_retiring() {
    let quarantined = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        let (disk, path) = (rig.disk.clone(), rig.at("a.ndjson"));
        rig.when("place", "before_retire", 0, move || {
            disk.append(&path, b"{\"id\":\"more\",\"day\":\"d0\"}\n");
        });
        let found = rig.settled();
        assert!(found.is_empty(), "{found:#?}");
        rig.is_quarantined("a.ndjson")
    };
    assert!(quarantined(&local().build()));
    let by_path = local().broken("i1-retire-by-path").build();
    assert!(!quarantined(&by_path), "this check cannot fail");
}

#[test]
fn hole_15_a_kept_file_grows() {
    // Fails if a scan takes the same inode with another size for the file that it knows.
    let rig = local().set(|s| s.retire = Retire::Keep).build();
    rig.drop_file("a.ndjson", 3);
    rig.drains();
    let more = b"{\"id\":\"more\",\"day\":\"d0\"}\n";
    rig.disk.append(rig.at("a.ndjson"), more);
    rig.is_sound();
    assert!(rig.is_quarantined("a.ndjson"));
    let reason = rig.rows("a.ndjson").remove(0).reason.unwrap();
    assert!(
        reason.contains("it changed before it was retired"),
        "{reason}"
    );
}

#[test]
fn hole_16_the_same_bytes_come_back_as_another_file_while_the_first_is_not_retired() {
    // Fails if equal content under the path of a file that has landed lands again (`resent`; under keep it is asked about).
    for retire in [Retire::Rename, Retire::Delete, Retire::Keep] {
        let rig = local().set(|setting| setting.retire = retire).build();
        let number = rig.drop_file("a.ndjson", 3);
        let again = Arc::downgrade(&rig);
        // Under keep it is never retired.
        if retire == Retire::Keep {
            rig.drains();
        } else {
            rig.strike("place", "before_retire", 0, BEFORE);
            rig.dies();
        }
        again.upgrade().unwrap().drop_again(number);
        // What the journal does not know of the first file's end is settled by what stands there.
        rig.is_sound();
        let rows = rig.rows("a.ndjson");
        assert!(
            rig.is_quarantined("a.ndjson")
                || rows
                    .iter()
                    .any(|row| row.skipped && row.state == FileState::Retired),
            "{retire:?}: {rows:#?}"
        );
    }
}

#[test]
fn hole_16_the_same_bytes_come_back_as_another_file_in_mid_file() {
    // Fails if another inode under the path of a file that is half committed counts as a new drop: its beginning would land twice.
    let rig = long_file().build();
    let number = dies_in_mid_file(&rig);
    rig.drop_again(number);
    rig.touched(number);
    rig.is_sound();
    assert!(rig.is_quarantined("a.ndjson"));
    let rows = rig.rows("a.ndjson");
    let asked = |row: &FileRow| {
        row.reason
            .as_ref()
            .is_some_and(|why| why.contains("perhaps it landed already"))
    };
    assert!(rows.iter().any(asked), "{rows:#?}");
}

#[test]
fn hole_16_the_first_stands_at_its_target_already_so_the_second_is_a_drop_like_any_other() {
    // Fails if a file that stands at its recorded target already does not count as retired: the second drop would be quarantined.
    for retire in [Retire::Rename, Retire::Delete] {
        let rig = local().set(|setting| setting.retire = retire).build();
        let number = rig.drop_file("a.ndjson", 3);
        rig.strike("journal: retired", "", 0, BEFORE);
        rig.dies();
        rig.drop_again(number);
        rig.is_sound();
        assert!(!rig.is_quarantined("a.ndjson"));
        assert!(rig.stands("a.ndjson").is_none());
        let rows = rig.rows("a.ndjson");
        assert!(rows.iter().any(|row| row.skipped), "{rows:#?}");
    }
}

#[test]
fn hole_17_a_file_quarantined_in_mid_file_is_repaired_and_dropped_again() {
    // Fails if a drop under a quarantined path is new, or if a release begins at 0.
    let rig = long_file().build();
    let number = dies_in_mid_file(&rig);
    rig.disk.truncate(rig.at("a.ndjson"), 100);
    rig.drains();
    assert!(rig.is_quarantined("a.ndjson"));
    let landed = rig.data_files();
    rig.drop_again(number);
    rig.drains();
    assert!(rig.stands("a.ndjson").is_none(), "it is set aside again");
    assert_eq!(rig.data_files(), landed);
    // Other bytes than those that were landed are refused.
    let other = dropped(9, "a.ndjson", 60, 0);
    rig.disk.drop_file(rig.at("a.ndjson"), &other.bytes, true);
    let refused = rig.release().unwrap_err().to_string();
    assert!(
        refused.contains("are not those that were read then"),
        "{refused}"
    );
    rig.drop_again(number);
    let said = rig.release().unwrap();
    assert!(said.contains("goes on at offset"), "{said}");
    rig.is_sound();
}

#[test]
fn hole_23_kept_files_are_forgotten_while_their_spool_is_not_mounted() {
    // Fails if a spool without its claim is claimed anew, or counts as one whose files are gone.
    let rig = local().set(|s| s.retire = Retire::Keep).build();
    rig.tweak(|pipeline| pipeline.source.history = Some(std::time::Duration::from_hours(1)));
    rig.disk.mount_new("/spool");
    rig.drop_file("a.ndjson", 3);
    rig.drains();
    rig.disk.unmount("/spool");
    rig.world.jump(2 * HOUR_NS);
    rig.halts(&["its claim", "is missing", "not mounted"]);
    rig.disk.mount("/spool");
    rig.is_sound();
}

#[test]
fn hole_23_a_spool_is_unmounted_while_it_is_read() {
    // Fails if another directory under the spool's path passes for the one that was locked; the spool and the source both ask.
    let rig = local().set(|s| s.retire = Retire::Keep).build();
    rig.tweak(|pipeline| pipeline.source.history = Some(std::time::Duration::from_hours(1)));
    rig.disk.mount_new("/spool");
    rig.drop_file("a.ndjson", 3);
    rig.drains();
    rig.world.jump(2 * HOUR_NS);
    rig.drop_file("b.ndjson", 3);
    let disk = rig.disk.clone();
    rig.when("journal: files in", "Committed", 0, move || {
        disk.unmount("/spool");
    });
    let End::Halted(halt) = rig.run() else {
        panic!("it went on");
    };
    assert!(halt.to_string().contains("/spool"), "{halt}");
    rig.disk.mount("/spool");
    rig.is_sound();
}

#[test]
fn hole_25_an_archive_has_the_name_already() {
    // Fails if a retire renames over what has its target's name, or takes it for the file that is retired.
    let rig = local().build();
    rig.drop_file("a.ndjson", 3);
    rig.drains();
    let second = rig.drop_file("a.ndjson", 4);
    rig.strike("journal: set retire target", "", 0, AFTER);
    rig.dies();
    rig.is_sound();
    let archives: Vec<_> = ["a.ndjson.COMPLETED", "a.ndjson.COMPLETED.1"]
        .into_iter()
        .filter_map(|name| rig.stands(name))
        .collect();
    assert_eq!(archives, [rig.dropped(0).bytes, rig.dropped(second).bytes]);
}

#[test]
fn hole_28_the_source_goes_on_at_the_last_journaled_segment() {
    // Fails if it goes on at the checkpoint: what is in the journal and in no batch would be handed out twice.
    let rig = local()
        .set(|setting| {
            setting.payload = true;
            setting.segment_bytes = 10;
            setting.roll_records = 2000;
        })
        .build();
    // More segments than share a transaction.
    rig.drop_file("a.ndjson", 1200);
    rig.strike("journal: put", "", 0, AFTER);
    rig.dies();
    let row = rig.rows("a.ndjson").remove(0);
    assert!(row.put_end > 0 && row.checkpoint == 0 && row.decoded.is_none());
    rig.is_sound();
}
