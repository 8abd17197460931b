//! What others read in our Parquet: every Hive type, its extremes, NULLs and empty values at every level, value by value.
//!
//! `readers/values.ndjson` is dropped, landed and read back by each reader; what one shows differently is pinned in a
//! snapshot, an empty one for a reader that shows everything as it was dropped.

use std::path::PathBuf;
use std::process::Command;

use arrow::array::Array;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{LakeAt, Site};

const COLUMNS: &str = include_str!("readers/columns.toml");
const VALUES: &str = include_str!("readers/values.ndjson");

/// All values landed with this profile, nothing rejected or rescued.
pub fn land(compat: &str) -> Site {
    let site = Site::local(&format!(
        "[pipeline.schema]\nmode = \"columns\"\n[pipeline.schema.columns]\n{COLUMNS}\n[pipeline.sink]\npath = \"t\"\ncompat = \"{compat}\"\n"
    ));
    site.drop_file("values.ndjson", VALUES.as_bytes());
    site.expect(0, &["run", "--once"]);
    assert!(site.lake().rejects().is_empty());
    for file in data_files(&site) {
        let bytes = bytes::Bytes::from(std::fs::read(&file).expect("a data file"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .expect("a reader");
        for batch in reader {
            let batch = batch.expect("rows");
            let rescued = batch.column_by_name("_rescued").expect("_rescued");
            assert_eq!(rescued.null_count(), batch.num_rows(), "{rescued:?}");
        }
    }
    site
}

pub fn data_files(site: &Site) -> Vec<PathBuf> {
    let LakeAt::Local(root) = site.lake() else {
        unreachable!("the lake is local")
    };
    let visible = site.lake().visible().into_iter();
    visible.map(|path| root.join(path)).collect()
}

fn beside(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("integration/readers")
        .join(name)
}

/// What `reader` shows differently, and how many rows it found.
fn differences(reader: &str, site: &Site) -> String {
    let python = std::env::var("LAKEWARD_TEST_READERS").expect(
        "LAKEWARD_TEST_READERS, a Python with duckdb and pyarrow: run this test by integration/test.sh",
    );
    let output = Command::new(python)
        .arg(beside("read.py"))
        .arg(beside("values.ndjson"))
        .arg(beside("columns.toml"))
        .arg(reader)
        .args(data_files(site))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // A zone that is nobody's: what is shown must not depend on it unless a reader is asked to.
        .env("TZ", "America/New_York")
        .output()
        .expect("the reader starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn hold(name: &str, shown: &str) {
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, shown);
    });
}

#[test]
fn duckdb_and_pyarrow_show_every_value_as_it_was_dropped() {
    for compat in ["hive", "modern"] {
        let site = land(compat);
        for (reader, name) in [
            ("duckdb", "duckdb"),
            ("duckdb in America/New_York", "duckdb_elsewhere"),
            ("pyarrow", "pyarrow"),
            ("pyarrow-us", "pyarrow_micros"),
        ] {
            hold(
                &format!("readers_{name}_{compat}"),
                &differences(reader, &site),
            );
        }
    }
}

/// Columns, partition keys, fields of structs and groups of `path_columns` land as Hive keeps them; what folds to a name in use, to
/// a partition key or to a name of Lakeward's own gets a number.
#[test]
fn names_land_as_hive_keeps_them() {
    let site = Site::local(
        "recursive = true\npath_columns = '(?<Shop>[a-z]+)/'\n[pipeline.sink]\npath = \"T/Dt={createdAt:%Y-%m-%d}/Region={Region}/shop={shop}\"\n",
    );
    site.drop_file(
        "north/a.ndjson",
        br#"{"ID":1,"createdAt":"2026-11-22T10:00:00Z","Region":"EU","dt":"mine","SHOP":"s","_rescued":"r","_File":"f","a.b":1,"A B":2,"Gr\u00f6\u00dfe":3,"geo":{"Lat":1.5,"lat":2.5,"Order":[{"Date":1,"date":2}]}}
"#,
    );
    site.expect(0, &["run", "--once"]);
    let files = data_files(&site);
    let [file] = files.as_slice() else {
        panic!("{files:?}")
    };
    let path = file.to_string_lossy();
    assert!(
        path.contains("/T/dt=2026-11-22/region=EU/shop=north/"),
        "{path}"
    );
    let ddl = site.expect(0, &["schema", "--ddl"]);
    let ddl = String::from_utf8(ddl.stdout).expect("text");
    let wanted = "(
  `id` bigint,
  `createdat` timestamp,
  `dt_2` string,
  `shop_2` string,
  `_rescued_2` string,
  `_file_2` string,
  `a_b` bigint,
  `a_b_2` bigint,
  `gr__e` bigint,
  `geo` struct<`lat`:double,`lat_2`:double,`order`:array<struct<`date`:bigint,`date_2`:bigint>>>,
  `_rescued` string
)
PARTITIONED BY (`dt` string, `region` string, `shop` string)
";
    assert!(ddl.contains(wanted), "{ddl}");
    let bytes = bytes::Bytes::from(std::fs::read(file).expect("a data file"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
    let fields = reader.schema().fields().iter();
    let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
    assert_eq!(
        names,
        [
            "id",
            "createdat",
            "dt_2",
            "shop_2",
            "_rescued_2",
            "_file_2",
            "a_b",
            "a_b_2",
            "gr__e",
            "geo",
            "_rescued"
        ]
    );
}

/// `dt={dt:%Y-%m}` keeps the day in the file: Hive cannot have both, so the statement leaves the column out, and `check` says so.
#[test]
fn a_column_that_is_a_partition_key_too_is_told_by_check() {
    let site = Site::local("[pipeline.sink]\npath = \"t/day={day:%Y-%m}\"\n");
    site.drop_ids("a.ndjson", 0, 3);
    let check = site.expect(0, &["check"]);
    let check = String::from_utf8(check.stdout).expect("text");
    assert!(check.contains("a partition key `day`"), "{check}");
    site.expect(0, &["run", "--once"]);
    let ddl = site.expect(0, &["schema", "--ddl"]);
    let ddl = String::from_utf8(ddl.stdout).expect("text");
    assert!(!ddl.contains("  `day`"), "{ddl}");
    assert!(ddl.contains("PARTITIONED BY (`day` string)"), "{ddl}");
}
