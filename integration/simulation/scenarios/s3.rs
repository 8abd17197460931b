//! Requests to an S3 store whose answers are lost, or that come late.

use std::sync::Arc;

use lakeward::sink::{Codec, OutputFormat};

use super::super::lake::{Kind, Options, SecondComplete, Wrong};
use super::make::Make;
use super::rig::Rig;
use super::{BEFORE, DONE_AND_LOST, LATE, LATE_DEATH, broken, told_apart};

fn s3() -> Make {
    Make::of(Kind::S3)
}

fn replaces(make: Make) -> Make {
    make.options(|options| options.wrong = Some(Wrong::Replaces))
}

/// What is on its way arrives just before that call.
fn delivers_before(rig: &Arc<Rig>, operation: &str, subject: &str, skipped: u32) {
    let (lake, world) = (Arc::clone(&rig.lake), rig.world.clone());
    rig.when(operation, subject, skipped, move || {
        assert!(lake.deliver(&world), "nothing is on its way");
    });
}

#[test]
fn hole_08_a_batch_none_of_whose_files_is_there_yet_is_adopted() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.strike("put", "t/day=d0/", 0, LATE_DEATH);
        rig.dies();
        assert!(rig.data_files().is_empty());
        rig.store.lose();
        rig.empty_staging();
        rig.rebuilds();
        delivers_before(rig, "journal: commit", "", 0);
        rig.settled()
    };
    let forgets = broken("i1-rebuild-forgets-the-staged");
    told_apart(s3, forgets, 1..2, "I2", scenario);
}

#[test]
fn hole_09_a_restored_journal_meets_a_manifest_that_comes_late() {
    let scenario = |rig: &Arc<Rig>| {
        rig.set(|setting| setting.roll_records = 3);
        rig.drop_file("a.ndjson", 3);
        rig.drains();
        let backup = rig.store.backup();
        rig.drop_file("b.ndjson", 3);
        rig.strike("put", "/2.json", 0, LATE_DEATH);
        rig.dies();
        rig.store.restore(&backup);
        rig.set(|setting| setting.path = "u/day={day}");
        delivers_before(rig, "put", "/2.json", 0);
        if rig.is_wrong() {
            return rig.settled();
        }
        rig.halts(&["2.json", "older than its lake", "lakeward rebuild"]);
        rig.rebuilds();
        rig.settled()
    };
    told_apart(s3, replaces, 1..2, "I3", scenario);
}

#[test]
fn hole_14_a_late_put_comes_after_its_retry() {
    let scenario = |rig: &Arc<Rig>| {
        rig.drop_file("a.ndjson", 3);
        rig.strike("put", "t/day=d0/", 0, LATE);
        rig.drains();
        assert!(rig.lake.deliver(&rig.world));
        rig.settled()
    };
    told_apart(s3, replaces, 1..2, "I3", scenario);
    // The store takes no conditions and the configuration knows it: the late put repeats the same bytes, which is what is promised then.
    let weak = |make: Make| {
        make.options(|options| {
            options.honours_conditions = false;
            options.honours_on_complete = false;
            options.conditional_writes = false;
        })
        .set(|setting| setting.weak = true)
    };
    let found = scenario(&weak(s3()).build());
    assert!(
        found.iter().all(|text| text.contains("same_bytes: true")) && found.len() == 1,
        "{found:#?}"
    );
}

#[test]
fn hole_14_a_store_that_ignores_conditions_is_refused() {
    // Fails if the probe is not asked, or its answer not compared with the configuration.
    let ignores = |options: &mut Options| options.honours_conditions = false;
    let rig = s3().options(ignores).build();
    rig.drop_file("a.ndjson", 3);
    rig.halts(&["If-None-Match", "lake.conditional_writes = false"]);
    assert!(rig.lake.visible().is_empty());
}

#[test]
fn hole_19_a_late_first_manifest_meets_its_revision() {
    let scenario = |rig: &Arc<Rig>| {
        rig.set(|setting| setting.parquet = true);
        rig.drop_file("a.ndjson", 3);
        rig.strike("put", "/1.json", 0, LATE_DEATH);
        rig.dies();
        rig.empty_staging();
        // Other bytes of the same records.
        rig.tweak(|pipeline| {
            if let OutputFormat::Parquet { codec, .. } = &mut pipeline.sink.format {
                *codec = Codec::None;
            }
        });
        delivers_before(rig, "journal: commit", "", 0);
        let mut found = rig.settled();
        let names: Vec<String> = rig.manifests().into_iter().map(|(path, _)| path).collect();
        assert!(
            names.iter().any(|name| name.ends_with("/1.json")),
            "{names:?}"
        );
        assert!(
            names.iter().any(|name| name.ends_with("/1.1.json")),
            "{names:?}"
        );
        rig.store.lose();
        rig.rebuilds();
        found.extend(rig.settled());
        found
    };
    told_apart(s3, replaces, 1..2, "I3", scenario);
}

#[test]
fn hole_26_a_file_is_taken_away_while_its_first_put_is_in_flight() {
    // Fails if a committed batch is landed again. That a request in flight may bring the file back is what is assumed not to be.
    let rig = s3().build();
    rig.drop_file("a.ndjson", 3);
    rig.strike("put", "t/day=d0/", 0, LATE);
    rig.strike("place", "before_done", 0, BEFORE);
    rig.dies();
    let found = rig.verdict();
    assert!(found.is_empty(), "{found:#?}");
    let path = rig.data_file("day=d0");
    assert!(rig.lake.take_away(&path));
    rig.drains();
    assert!(!rig.data_files().contains(&path), "it was landed again");
    assert!(rig.lake.deliver(&rig.world));
    assert!(rig.data_files().contains(&path), "{:?}", rig.data_files());
}

#[test]
fn a_retry_is_answered_412_by_our_own_first_try() {
    // Fails if "exists" is a conflict before it was looked at.
    let rig = s3().build();
    rig.drop_file("a.ndjson", 3);
    rig.strike("put", "/1.json", 0, DONE_AND_LOST);
    rig.strike("put", "t/day=d0/", 0, DONE_AND_LOST);
    rig.strike("put", "t/day=d1/", 0, DONE_AND_LOST);
    rig.drains();
    rig.is_sound();
}

#[test]
fn no_such_upload_is_answered_after_it_was_completed() {
    // Fails if a completed upload that is unknown, or met again, is a failure before it was looked at.
    for answer in [
        SecondComplete::Done,
        SecondComplete::Condition,
        SecondComplete::Absent,
    ] {
        let rig = s3()
            .options(|options| options.second_complete = answer)
            .set(|setting| setting.roll_records = 60)
            .build();
        rig.drop_file("a.ndjson", 60);
        rig.strike("complete upload", "t/day=d0/", 0, DONE_AND_LOST);
        rig.drains();
        rig.is_sound();
        assert_eq!(rig.lake.uploads(), 0, "{answer:?}");
    }
}
