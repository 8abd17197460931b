//! What lands: formats, compressions, names used again, rejects, quarantine, ways to retire.

use std::fs;
use std::io::Write;

use crate::support::{Site, ids_text};

const PLAIN: &str = "[pipeline.sink]\npath = \"p\"\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

#[test]
fn every_compression_lands() {
    let site = Site::local(PLAIN);
    let text = |n: i64| ids_text(n * 1000, 1000).into_bytes();
    site.drop_file("plain", &text(0));
    let mut members = gzip(&text(1)[..5_000]);
    members.extend(gzip(&text(1)[5_000..]));
    site.drop_file("gzip", &members);
    site.drop_file(
        "zstd",
        &zstd::encode_all(&text(2)[..], 3).expect("in memory"),
    );
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&text(3)).expect("in memory");
    site.drop_file("bzip2", &bzip2.finish().expect("in memory"));
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&text(4)).expect("in memory");
    site.drop_file("xz", &xz.finish().expect("in memory"));
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&text(5)).expect("in memory");
    site.drop_file("lz4", &lz4.finish().expect("in memory"));
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..6_000);
    for name in ["plain", "gzip", "zstd", "bzip2", "xz", "lz4"] {
        assert!(
            site.path(&format!("spool/{name}.COMPLETED")).exists(),
            "{name}"
        );
    }
}

/// Otherwise each start would check all of it, as after a kill.
#[test]
fn a_run_that_ended_leaves_its_journal_closed() {
    let site = Site::local(PLAIN);
    for round in 0..30 {
        site.drop_ids(&format!("{round}.ndjson"), round * 10, 10);
        site.expect(0, &["run", "--once"]);
        assert!(!site.path("var/journal.db-wal").exists(), "round {round}");
    }
    site.expect_landed(&site.lake(), 0..300);
}

#[test]
fn every_output_compression_and_profile_lands() {
    for (format, compat, codecs) in [
        (
            "parquet",
            "hive",
            &["snappy", "none", "gzip", "zstd", "zstd(6)", "lz4"][..],
        ),
        (
            "parquet",
            "modern",
            &["snappy", "none", "gzip", "zstd", "zstd(6)", "lz4"],
        ),
        ("ndjson", "hive", &["gzip", "none", "zstd"]),
    ] {
        for codec in codecs {
            let site = Site::local(&format!(
                "[pipeline.sink]\npath = \"p/day={{day}}\"\nformat = \"{format}\"\ncompat = \"{compat}\"\ncompression = \"{codec}\"\n"
            ));
            site.drop_ids("a.ndjson", 0, 2_000);
            site.expect(0, &["run", "--once"]);
            site.expect_landed(&site.lake(), 0..2_000);
        }
    }
}

#[test]
fn broken_lines_become_rejects_whose_offsets_point_at_their_bytes() {
    let site = Site::local(PLAIN);
    let mut text = ids_text(0, 3);
    let first = text.len();
    text.push_str("{\"id\": oops}\n\n");
    text.push_str(&ids_text(3, 2));
    let second = text.len();
    text.push_str("no newline at the end");
    site.drop_file("a.ndjson", text.as_bytes());
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..5);
    let rejects = site.lake().rejects();
    assert_eq!(rejects.len(), 2, "{rejects:?}");
    assert_eq!(rejects[0]["offset"], first);
    assert_eq!(rejects[0]["line"], 4);
    assert_eq!(rejects[0]["raw"], "{\"id\": oops}");
    assert_eq!(rejects[1]["offset"], second);
    assert_eq!(rejects[1]["raw"], "no newline at the end");
    assert_eq!(rejects[1]["file"], "a.ndjson");
    let files = site.expect_json(0, &["files", "--json"]);
    assert_eq!(files[0]["rejects"], 2, "{files}");
    assert_eq!(files[0]["state"], "retired", "{files}");
}

#[test]
fn too_many_rejects_stop_the_pipeline_and_nothing_lands() {
    let site = Site::local("[pipeline.sink]\npath = \"p\"\nrejects_max = 1\n");
    site.drop_file("a.ndjson", format!("{}x\ny\n", ids_text(0, 3)).as_bytes());
    let stopped = site.expect(4, &["run", "--once"]);
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("rejects_max"));
    assert!(site.lake().visible().is_empty());
    assert!(site.path("spool/a.ndjson").exists());
}

#[test]
fn a_name_used_again_is_a_new_file_and_both_land() {
    let site = Site::local(PLAIN);
    let next = site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, &["run", "--once"]);
    let next = site.drop_ids("a.ndjson", next, 10);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
    assert!(site.path("spool/a.ndjson.COMPLETED").exists());
    assert!(site.path("spool/a.ndjson.COMPLETED.1").exists());
}

#[test]
fn an_equal_drop_of_a_retired_file_follows_resent() {
    for (resent, landed, code) in [("skip", 10, 0), ("land", 20, 0), ("quarantine", 10, 3)] {
        let site = Site::local(&format!("resent = \"{resent}\"\n{PLAIN}"));
        site.drop_ids("a.ndjson", 0, 10);
        site.expect(0, &["run", "--once"]);
        site.drop_ids("a.ndjson", 0, 10);
        site.expect(code, &["run", "--once"]);
        assert_eq!(site.lake().ids().len(), landed, "{resent}");
        assert!(!site.path("spool/a.ndjson").exists(), "{resent}");
        site.expect(0, &["audit", "--deep"]);
    }
}

#[test]
fn a_torn_gzip_lands_its_whole_records_and_is_quarantined() {
    let site = Site::local(PLAIN);
    let whole = gzip(ids_text(0, 20_000).as_bytes());
    site.drop_file("torn.gz", &whole[..whole.len() * 2 / 3]);
    site.drop_ids("good.ndjson", 100_000, 5);
    site.expect(3, &["run", "--once"]);
    let ids = site.lake().ids();
    assert!(ids.len() > 1_000 && ids.len() < 20_000, "{}", ids.len());
    assert_eq!(
        ids[..ids.len() - 5],
        (0..ids.len() as i64 - 5).collect::<Vec<_>>()
    );
    let files = site.expect_json(0, &["files", "--json"]);
    let torn = files
        .as_array()
        .expect("files")
        .iter()
        .find(|f| f["path"] == "torn.gz")
        .expect("torn.gz");
    assert_eq!(torn["state"], "quarantined");
    assert!(
        torn["reason"]
            .as_str()
            .expect("a reason")
            .contains(&torn["checkpoint"].to_string()),
        "{torn}"
    );
    assert!(site.path("spool/.quarantine/torn.gz").exists());
    site.expect(0, &["audit", "--deep"]);
}

#[test]
fn csv_text_and_json_land() {
    for (format, text) in [
        (
            "csv",
            "id,name\r\n0,\"two\nlines\"\r\n1,\"a \"\"quote\"\"\"\r\n2,\r\n",
        ),
        ("tsv", "id\tname\n0\tx\n1\ty\n2\tz\n"),
        ("json", "[{\"id\":0}, {\"id\":1},\n {\"id\":2}]"),
        ("json", "{\"id\":0} {\"id\":1}\n\n{\"id\":2}"),
    ] {
        let site = Site::local(&format!("format = \"{format}\"\n{PLAIN}"));
        site.drop_file("a", text.as_bytes());
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..3);
    }
    let site = Site::local(&format!("format = \"text\"\n{PLAIN}").replace(
        "path = \"p\"",
        "path = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"",
    ));
    site.drop_file("a", b"one\ntwo\nthree");
    site.expect(0, &["run", "--once"]);
    let lake = site.lake();
    let path = lake.visible().remove(0);
    let text = String::from_utf8(lake.read(&path).expect("a file")).expect("text");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(
        lines
            .iter()
            .map(|l| l["line"].as_str().expect("text"))
            .collect::<Vec<_>>(),
        ["one", "two", "three"]
    );
}

#[test]
fn a_quoted_field_that_never_ends_is_a_reject_and_not_a_swallowed_file() {
    let site = Site::local(&format!("format = \"csv\"\n{PLAIN}"));
    site.drop_file("a.csv", b"id,name\n0,x\n1,\"never ends\n2,y\n3,z\n");
    site.expect(0, &["run", "--once"]);
    let rejects = site.lake().rejects();
    assert!(!rejects.is_empty());
    assert_eq!(site.lake().ids()[0], 0);
    site.expect(0, &["audit", "--deep"]);
}

#[test]
fn what_is_no_spooled_file_is_never_read() {
    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 3);
    let spool = site.path("spool");
    fs::write(spool.join(".hidden"), ids_text(100, 1)).expect("write");
    fs::write(spool.join("b.tmp"), ids_text(100, 1)).expect("write");
    fs::create_dir(spool.join("dir")).expect("mkdir");
    fs::write(spool.join("dir/c.ndjson"), ids_text(100, 1)).expect("write");
    fs::write(site.path("outside"), ids_text(100, 1)).expect("write");
    std::os::unix::fs::symlink(site.path("outside"), spool.join("link.ndjson")).expect("symlink");
    std::process::Command::new("mkfifo")
        .arg(spool.join("pipe"))
        .status()
        .expect("mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(spool.join("socket")).expect("socket");
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..3);
}

#[test]
fn each_way_to_retire_does_what_it_says() {
    for (keys, left) in [
        (
            "retire = \"rename\"\nretire_suffix = \".DONE\"\n",
            vec!["spool/a.ndjson.DONE"],
        ),
        (
            "retire = \"move\"\nretire_dir = \"done\"\n",
            vec!["done/a.ndjson"],
        ),
        ("retire = \"delete\"\n", vec![]),
        ("retire = \"keep\"\n", vec!["spool/a.ndjson"]),
    ] {
        let site = Site::local(&format!("{keys}{PLAIN}"));
        site.drop_ids("a.ndjson", 0, 3);
        site.expect(0, &["run", "--once"]);
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..3);
        for path in &left {
            assert!(site.path(path).exists(), "{keys}");
        }
        if left.first() != Some(&"spool/a.ndjson") {
            assert!(!site.path("spool/a.ndjson").exists(), "{keys}");
        }
    }
}

#[test]
fn many_small_files_share_a_data_file() {
    let site = Site::local(PLAIN);
    let mut next = 0;
    for _ in 0..3_000 {
        next = site.drop_ids(&format!("{next:06}.ndjson"), next, 3);
    }
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
    assert_eq!(site.lake().visible().len(), 1);
}

#[test]
fn data_files_are_cut_at_their_encoded_size() {
    let site = Site::local(
        "[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\ndata_file_bytes = \"1MiB\"\n",
    );
    site.drop_ids("a.ndjson", 0, 200_000);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..200_000);
    let lake = site.lake();
    let lengths: Vec<u64> = lake
        .visible()
        .iter()
        .map(|path| lake.list()[path])
        .collect();
    assert!(lengths.len() >= 8, "{lengths:?}");
    assert!(
        lengths.iter().all(|length| *length < 6 << 20),
        "{lengths:?}"
    );
}

#[test]
fn a_report_is_written_and_says_what_was_done() {
    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 7);
    site.expect(0, &["run", "--once", "--report", "report.json"]);
    let text = fs::read(site.path("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let pipeline = &report["pipelines"][0];
    assert_eq!(pipeline["name"], "p");
    assert_eq!(pipeline["files"], 1);
    assert_eq!(pipeline["records_landed"], 7);
    assert_eq!(pipeline["data_files"].as_array().expect("paths").len(), 1);
    assert_eq!(pipeline["roll_reasons"]["drained"], 1);
}

#[test]
fn several_pipelines_run_side_by_side_and_fail_alone() {
    let site = Site::local(PLAIN);
    let mut config = fs::read_to_string(site.path("lakeward.toml")).expect("a configuration");
    config.push_str("[[pipeline]]\nname = \"q\"\n[pipeline.source]\npath = \"absent\"\nready_after = \"0s\"\n[pipeline.sink]\npath = \"q\"\n");
    fs::write(site.path("lakeward.toml"), config).expect("a configuration");
    site.drop_ids("a.ndjson", 0, 7);
    site.expect(4, &["run", "--once"]);
    assert_eq!(site.lake().ids(), (0..7).collect::<Vec<_>>());
}
