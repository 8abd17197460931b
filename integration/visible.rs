//! A visible file is a whole data file. One that is empty, cut or not what its name says breaks every query on its partition in
//! Hive, so there is none: after no kill, out of no input, with no disk full. The kills on S3 and at random moments hold the
//! same, see `kill.rs` and `s3.rs`.

use crate::kill::PLACES;
use crate::means::{Disk, command_behind};
use crate::support::{LakeAt, Site, ids_text};

const FORMATS: [&str; 3] = [
    "format = \"parquet\"\ncompat = \"hive\"",
    "format = \"parquet\"\ncompat = \"modern\"",
    "format = \"ndjson\"",
];

#[test]
fn killed_at_any_place_every_visible_file_is_whole() {
    for format in FORMATS {
        let settings = |codec: &str| {
            format!(
                "[pipeline.sink]\npath = \"t/day={{day}}\"\n{format}\ncompression = \"{codec}\"\n[pipeline.sink.roll]\nrecords = 400\n"
            )
        };
        let site = Site::local(&settings("zstd"));
        let mut next = 0;
        let mut seen = 0;
        // Those of a batch's steps, and of recovery.
        for place in PLACES.into_iter().chain(["before_revise"]) {
            for times in 1..=3 {
                next = site.drop_ids(&format!("f{next}.ndjson"), next, 1_000);
                if place == "before_revise" {
                    // Reached when a staged copy is lost and encoded again to other bytes.
                    assert!(site.killed_at("before_land", times), "{}", site.log());
                    empty_staging(&site);
                    let codec = ["zstd", "zstd(19)"][times as usize % 2];
                    let lake = "type = \"fs\"\nroot = \"lake\"\n";
                    site.configure(lake, "", &settings(codec));
                }
                let killed = site.killed_at(place, times);
                assert!(killed || times > 1, "{place} {format}\n{}", site.log());
                seen += site.lake().expect_whole();
            }
        }
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..next);
        assert!(seen > 0 && site.lake().expect_whole() > 0);
    }
}

fn empty_staging(site: &Site) {
    let LakeAt::Local(root) = site.lake() else {
        unreachable!("the lake is local")
    };
    for path in site.lake().list().into_keys() {
        if path.starts_with("_lakeward/staging/") && path.ends_with(".staged") {
            std::fs::remove_file(root.join(path)).expect("staging can be emptied");
        }
    }
}

/// Batches without a record that lands: they are committed, and leave no data file.
#[test]
fn what_holds_no_record_makes_no_visible_file() {
    for format in FORMATS {
        for (source, input) in [
            ("ndjson", ""),
            ("ndjson", "\n\n  \n"),
            ("ndjson", "no record\n{\"id\":\n"),
            ("json", "[]"),
            ("json", "[1, 2]"),
            ("csv", ""),
            ("csv", "id,day\n"),
            ("csv", "id,day\n1\n2\n"),
            ("tsv", "id\tday\n\n"),
            ("text", ""),
        ] {
            let site = Site::local(&format!(
                "format = \"{source}\"\n[pipeline.sink]\npath = \"t/day={{day}}\"\n{format}\n"
            ));
            site.drop_file("a", input.as_bytes());
            site.expect(0, &["run", "--once"]);
            assert!(
                site.path("spool/a.COMPLETED").exists(),
                "{source} {input:?}"
            );
            let visible = site.lake().visible();
            assert!(visible.is_empty(), "{source} {input:?}: {visible:?}");
        }
    }
}

/// A torn file whose first record is lost too is quarantined; too many rejects stop the pipeline. Nothing of either is seen.
#[test]
fn what_is_set_aside_makes_no_visible_file() {
    let site = Site::local("[pipeline.sink]\npath = \"t\"\n");
    site.drop_file("a.ndjson.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1]);
    site.expect(3, &["run", "--once"]);
    assert!(site.lake().visible().is_empty());
    let site = Site::local("[pipeline.sink]\npath = \"t\"\nrejects_max = 0\n");
    site.drop_file("a.ndjson", b"{\"id\":1}\nno record\n");
    site.expect(4, &["run", "--once"]);
    assert!(site.lake().visible().is_empty());
}

/// A full disk is met while a data file is written: what is seen before and after is whole.
#[test]
fn a_disk_that_fills_up_leaves_no_part_of_a_file_visible() {
    let site = Site::local(
        "[pipeline.sink]\npath = \"t/day={day}\"\ncompression = \"none\"\n[pipeline.sink.roll]\nrecords = 2000\n",
    );
    let disk = Disk::mount(&site.path("lake"), 4 << 20);
    let lake = LakeAt::Local(disk.seen(&site.path("lake")));
    let run = |code: i32| {
        let output = command_behind(
            &site,
            &disk.inside(),
            &["run", "--once", "-q", "--deadline", "3s"],
        )
        .output()
        .expect("the program starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
    };
    site.drop_file("a.ndjson", ids_text(0, 2_000).as_bytes());
    run(0);
    let before = lake.expect_whole();
    assert!(before > 0);
    site.drop_file("b.ndjson", ids_text(2_000, 40_000).as_bytes());
    for left in [0, 8 << 10, 64 << 10] {
        disk.leave(left);
        run(75);
        assert!(lake.expect_whole() >= before);
    }
    disk.free();
    run(0);
    assert!(lake.expect_whole() > before);
    assert_eq!(lake.ids(), (0..42_000).collect::<Vec<i64>>());
}
