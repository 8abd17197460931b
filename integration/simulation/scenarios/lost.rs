//! Journals that are lost, put back from a backup, copied, and made again.

use std::sync::Arc;

use super::super::checker::Dropped;
use super::super::lake::{Kind, Wrong};
use super::super::records::dropped;
use super::make::Make;
use super::rig::Rig;
use super::{AFTER, BEFORE, LATE_DEATH, broken, told_apart};

const KINDS: [Kind; 3] = [Kind::Local, Kind::Hdfs, Kind::S3];

/// Each file is a batch.
fn small_batches(kind: Kind) -> Make {
    Make::of(kind).set(|setting| setting.roll_records = 3)
}

fn replaces(make: Make) -> Make {
    make.options(|options| options.wrong = Some(Wrong::Replaces))
}

#[test]
fn hole_06_an_agent_starts_with_an_empty_journal() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.strike("place", "before_retire", 0, BEFORE);
        rig.dies();
        rig.store.lose();
        if rig.is_wrong() {
            return rig.settled();
        }
        rig.halts(&["belongs to journal", "lakeward rebuild"]);
        rig.store.lose();
        rig.rebuilds();
        rig.settled()
    };
    for kind in KINDS {
        let unclaimed = broken("i12-claim-not-compared");
        told_apart(|| Make::of(kind), unclaimed, 1..2, "I2", scenario);
    }
}

#[test]
fn hole_07_an_old_agent_lives_on_after_a_rebuild_elsewhere() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.drop_file("b.ndjson", 3);
        let other = rig.beside("/spool");
        let elsewhere = Arc::clone(&other);
        rig.when("place", "before_manifest", 1, move || {
            elsewhere.while_another_is_frozen(|elsewhere| {
                elsewhere.rebuilds();
                elsewhere.drains();
            });
        });
        if rig.is_wrong() {
            let _halted = rig.run();
        } else {
            rig.halts(&["was closed by a rebuild", "has taken over"]);
        }
        other.settled()
    };
    for kind in KINDS {
        told_apart(|| small_batches(kind), replaces, 1..2, "I3", scenario);
    }
}

#[test]
fn hole_07_a_manifest_comes_after_the_rebuild_and_before_a_second_one() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.drop_file("b.ndjson", 3);
        rig.strike("put", "/2.json", 0, LATE_DEATH);
        rig.dies();
        rig.store.lose();
        rig.rebuilds();
        assert!(rig.lake.deliver(&rig.world));
        rig.drains();
        rig.store.lose();
        if rig.is_wrong() {
            let _halted = rig.rebuild();
        } else {
            rig.rebuilds();
        }
        rig.settled()
    };
    told_apart(|| small_batches(Kind::S3), replaces, 1..2, "I3", scenario);
}

#[test]
fn hole_09_a_journal_from_a_backup_is_told_at_the_start() {
    // Fails if the start does not look for manifests past the journal's last batch.
    for kind in KINDS {
        let rig = small_batches(kind).build();
        rig.drop_file("a.ndjson", 3);
        rig.drains();
        let backup = rig.store.backup();
        rig.drop_file("b.ndjson", 3);
        rig.drains();
        rig.store.restore(&backup);
        rig.set(|setting| setting.path = "u/day={day}");
        rig.drop_file("c.ndjson", 3);
        let before = rig.data_files();
        rig.halts(&["2.json", "is an old copy", "lakeward rebuild"]);
        assert_eq!(rig.data_files(), before);
        rig.rebuilds();
        rig.is_sound();
    }
}

#[test]
fn a_journal_from_a_backup_is_told_by_a_revision_that_it_does_not_know() {
    for kind in KINDS {
        let rig = small_batches(kind).build();
        rig.drop_file("a.ndjson", 3);
        rig.strike("journal: stage", "", 0, AFTER);
        rig.dies();
        let backup = rig.store.backup();
        rig.empty_staging();
        rig.upgrade();
        rig.drains();
        rig.store.restore(&backup);
        let before = rig.data_files();
        rig.halts(&[
            "revision 1 of batch 1",
            "is an old copy",
            "lakeward rebuild",
        ]);
        assert_eq!(rig.data_files(), before);
        rig.rebuilds();
        rig.is_sound();
    }
}

#[test]
fn hole_10_in_payload_mode_no_file_leaves_before_it_has_landed() {
    let places = [
        "before_stage",
        "before_manifest",
        "before_land",
        "before_commit",
        "before_retire",
        "before_retired",
        "before_done",
    ];
    let payload = || {
        Make::of(Kind::Local).set(|setting| {
            setting.payload = true;
            setting.segment_bytes = 60;
            setting.roll_records = 3;
        })
    };
    for place in places {
        let rig = payload().build();
        rig.drop_file("a.ndjson", 9);
        rig.strike("place", place, 0, BEFORE);
        rig.dies();
        rig.store.lose();
        rig.empty_staging();
        rig.rebuilds();
        rig.is_sound();
    }
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 30);
        rig.settled()
    };
    let early = broken("i6-retire-what-is-read");
    told_apart(payload, early, 1..2, "I6", scenario);
}

#[test]
fn hole_12_a_rebuild_leaves_another_live_agents_batches_alone() {
    // Fails if a rebuild adopts all manifests below the pipeline's name, and not those of the claim's journal alone.
    for kind in KINDS {
        let rig = Make::of(kind).build();
        let other = rig.beside("/spool2");
        other.drop_file("a.ndjson", 3);
        other.drains();
        let theirs = other.manifests();
        rig.drop_file("a.ndjson", 3);
        rig.strike("place", "before_commit", 0, BEFORE);
        rig.dies();
        other.drop_file("b.ndjson", 3);
        other.strike("place", "before_commit", 0, BEFORE);
        other.dies();
        rig.store.lose();
        rig.rebuilds();
        let adopted = rig.unfinished();
        let is_theirs = |id: &lakeward::segment::JournalId| {
            theirs.iter().any(|(_, manifest)| manifest.journal == *id)
        };
        assert!(
            adopted.len() == 1 && !adopted.iter().any(is_theirs),
            "{adopted:?}"
        );
        rig.drains();
        other.is_sound();
        rig.is_sound();
    }
}

#[test]
fn hole_24_two_agents_on_copies_of_one_journal_stage_apart_and_the_second_stops() {
    let scenario = |rig: &Arc<Rig>| {
        // A claim and a journal with nothing in it.
        rig.drains();
        let other = rig.beside("/spool");
        other.store.restore(&rig.store.backup());
        rig.drop_file("a.ndjson", 3);
        let (copy, producer) = (Arc::clone(&other), other.dropper());
        rig.when("place", "before_manifest", 0, move || {
            producer("b.ndjson", 3);
            copy.while_another_is_frozen(Rig::drains);
        });
        if rig.is_wrong() {
            let _halted = rig.run();
        } else {
            rig.halts(&["1.json", "older than its lake", "lakeward rebuild"]);
        }
        other.settled()
    };
    for kind in KINDS {
        told_apart(|| Make::of(kind), replaces, 1..2, "I3", scenario);
    }
}

#[test]
fn hole_27_a_batch_of_blank_lines_has_a_manifest() {
    // Fails if a batch without data files is not staged, or has no manifest: the file would stay, or be read again after a rebuild.
    for kind in KINDS {
        let rig = Make::of(kind).build();
        rig.drop_as(Dropped {
            bytes: b"\n\n\n".to_vec(),
            ..dropped(0, "blank.ndjson", 0, 0)
        });
        rig.strike("place", "before_retire", 0, BEFORE);
        rig.dies();
        assert_eq!(rig.manifests().len(), 1);
        assert!(rig.data_files().is_empty());
        rig.store.lose();
        rig.rebuilds();
        rig.is_sound();
        let batches = rig
            .manifests()
            .iter()
            .filter(|(_, m)| m.membership().is_some())
            .count();
        assert_eq!(batches, 1, "it was read again");
        assert!(rig.stands("blank.ndjson").is_none(), "it was not retired");
        let text = dropped(0, "blank.ndjson", 1, 0);
        rig.drop_as(text);
        rig.is_sound();
    }
}
