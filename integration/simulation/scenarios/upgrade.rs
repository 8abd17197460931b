//! What was changed between two runs: the program, the configuration, the lake.

use std::sync::Arc;

use lakeward::format::Compression;

use super::super::lake::{Kind, LakeStore, Options};
use super::make::Make;
use super::rig::Rig;
use super::{AFTER, BEFORE, broken, told_apart};

/// The partition is the n-th letter of the file's name: another n stands for a program that decodes otherwise.
fn partition_by(rig: &Rig, pattern: &'static str) {
    rig.text(move |text| {
        let columns = format!("order = \"name\"\npath_columns = '{pattern}'\n");
        text.replace("order = \"name\"\n", &columns)
    });
}

#[test]
fn hole_11_records_change_their_partition_when_a_lost_file_is_encoded_again() {
    let scenario = |rig: &Arc<Rig>| {
        rig.set(|setting| setting.path = "t/src={src}");
        partition_by(rig, "^(?<src>.)");
        rig.drop_file("01.ndjson", 3);
        rig.drop_file("10.ndjson", 3);
        rig.strike("rename staged", "src=1/", 0, BEFORE);
        rig.dies();
        assert_eq!(rig.data_files().len(), 1, "src=0 has landed");
        rig.empty_staging();
        // As many records in each, and other ones.
        partition_by(rig, "^.(?<src>.)");
        if rig.is_wrong() {
            return rig.settled();
        }
        rig.halts(&["membership"]);
        assert_eq!(rig.data_files().len(), 1);
        partition_by(rig, "^(?<src>.)");
        rig.settled()
    };
    let unequal = broken("i1-membership-not-compared");
    told_apart(|| Make::of(Kind::Local), unequal, 1..2, "I2", scenario);
}

#[test]
fn hole_21_the_lake_is_another_one_while_a_batch_is_unfinished() {
    // Fails if a batch is landed in whatever lake the configuration names.
    for kind in [Kind::Local, Kind::Hdfs, Kind::S3] {
        let rig = Make::of(kind).build();
        let other = LakeStore::new(
            kind,
            Options {
                identity: "another".into(),
                short_probe: true,
                ..rig.lake.options().clone()
            },
        );
        rig.drop_file("a.ndjson", 3);
        rig.strike("journal: stage", "", 0, AFTER);
        rig.dies();
        rig.lake_is(&other);
        rig.halts(&["another", "its batch 1 is staged for `simulated`"]);
        assert!(other.visible().is_empty());
        rig.lake_is(&rig.lake);
        rig.is_sound();
        rig.lake_is(&other);
        rig.drains();
        assert!(
            other
                .visible()
                .keys()
                .all(|path| path.starts_with("_lakeward/"))
        );
    }
}

#[test]
fn hole_22_how_a_file_is_read_is_fixed_at_its_first_segment() {
    // Fails if a file that is half committed is read on as the configuration says now.
    for change in 0..2 {
        let rig = Make::of(Kind::Local)
            .set(|setting| {
                setting.segment_bytes = 60;
                setting.roll_records = 3;
            })
            .build();
        rig.drop_file("a.ndjson", 60);
        rig.strike("place", "before_retire", 0, BEFORE);
        rig.dies();
        let row = rig.rows("a.ndjson").remove(0);
        assert!(row.checkpoint > 0 && row.decoded.is_none(), "{row:?}");
        rig.tweak(move |pipeline| match change {
            0 => pipeline.source.reading.charset = "utf-16le".into(),
            _ => pipeline.source.reading.compression = Compression::Gzip,
        });
        rig.is_sound();
        assert_eq!(rig.rows("a.ndjson").remove(0).settings, row.settings);
    }
}
