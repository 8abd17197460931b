//! The whole path on real S3 servers: kill -9, a server that goes away in mid-landing, credentials that stop working,
//! answers that are lost, a store that ignores conditions.

use std::process::Command;

use crate::kill::{PLACES, kill_at_each};
use crate::support::{LakeAt, S3, SMALL_BATCHES, Site};

fn killed_at_each_step(server: &str) {
    let Some(s3) = S3::named(server, "kill") else {
        return;
    };
    let site = Site::with_lake(&s3.toml(), "", SMALL_BATCHES);
    let places = PLACES.map(|place| (place, [1, 2, 2]));
    kill_at_each(&site, &LakeAt::S3(s3), &places);
}

#[test]
fn killed_at_each_step_on_minio() {
    killed_at_each_step("MINIO");
}

#[test]
fn killed_at_each_step_on_seaweedfs() {
    killed_at_each_step("SEAWEEDFS");
}

#[test]
fn a_lost_journal_is_rebuilt_from_minio() {
    let Some(s3) = S3::named("MINIO", "rebuild") else {
        return;
    };
    Site::with_lake(&s3.toml(), "", SMALL_BATCHES).expect_rebuilt(&LakeAt::S3(s3));
}

#[test]
fn multipart_uploads_land_on_minio_and_a_kill_leaves_none_behind() {
    let Some(s3) = S3::named("MINIO", "large") else {
        return;
    };
    let site = Site::with_lake(
        &s3.toml(),
        "",
        "[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n",
    );
    let lake = LakeAt::S3(s3);
    let end = site.drop_ids("a.ndjson", 0, 500_000);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&lake, 0..end);
}

/// Found by the start-up probe and refused, unless the configuration says otherwise. MinIO before May 2025 ignored the condition
/// where an upload in parts was completed, and nowhere else.
#[test]
fn a_store_that_ignores_conditions_is_refused_unless_told_otherwise() {
    for ignores in ["ignore_conditions", "ignore_completion"] {
        let Some(s3) = S3::named("WEAK", ignores) else {
            return;
        };
        control(&s3, &format!("{{\"{ignores}\": true}}"));
        refused_unless_told_otherwise(&s3);
        control(&s3, &format!("{{\"{ignores}\": false}}"));
    }
}

fn refused_unless_told_otherwise(s3: &S3) {
    let site = Site::with_lake(&s3.toml(), "", SMALL_BATCHES);
    site.drop_ids("a.ndjson", 0, 100);
    let refused = site.lakeward(&["run", "--once"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{text}");
    assert!(text.contains("conditional_writes"), "{text}");
    site.configure(
        &format!("{}conditional_writes = false\n", s3.toml()),
        "",
        SMALL_BATCHES,
    );
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&LakeAt::S3(s3.clone()), 0..100);
}

/// Steers the weak store.
fn control(s3: &S3, json: &str) {
    let status = Command::new("python3")
        .args([
            "-c",
            "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1] + '/_control', data=sys.argv[2].encode(), method='POST')).read()",
            &s3.endpoint,
            json,
        ])
        .status()
        .expect("python3");
    assert!(status.success());
}
