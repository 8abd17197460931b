//! What others read in our Parquet: every Hive type, its extremes, NULLs and empty values at every level, value by value.
//!
//! `readers/values.ndjson` is dropped, landed and read back by each reader; what one shows differently is pinned in a
//! snapshot, an empty one for a reader that shows everything as it was dropped.

use std::path::PathBuf;
use std::process::Command;

use arrow::array::Array;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::metadata::RowGroupMetaData;

use crate::support::{LakeAt, Site};

const COLUMNS: &str = include_str!("readers/columns.toml");
const VALUES: &str = include_str!("readers/values.ndjson");

/// All values landed with this profile, nothing rejected or rescued.
pub fn land(compat: &str) -> Site {
    land_values(compat, VALUES)
}

fn land_values(compat: &str, values: &str) -> Site {
    land_table(compat, COLUMNS, values)
}

fn land_table(compat: &str, columns: &str, values: &str) -> Site {
    let site = Site::local(&format!(
        "[pipeline.schema]\nmode = \"columns\"\n[pipeline.schema.columns]\n{columns}\n[pipeline.sink]\npath = \"t\"\ncompat = \"{compat}\"\n"
    ));
    site.drop_file("values.ndjson", values.as_bytes());
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
    let python = provided("readers", "LAKEWARD_TEST_READERS").expect("not to be left out");
    let mut arguments = vec![
        text_of(beside("values.ndjson")),
        text_of(beside("columns.toml")),
        reader.to_owned(),
    ];
    arguments.extend(data_files(site).into_iter().map(text_of));
    said(&python, "read.py", &arguments)
}

/// What a script beside this file says, run by the Python of this variable.
fn said(python: &str, script: &str, arguments: &[String]) -> String {
    let output = Command::new(python)
        .arg(beside(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // A zone that is nobody's: what is shown must not depend on it unless a reader is asked to.
        .env("TZ", "America/New_York")
        .output()
        .expect("the script starts");
    assert!(
        output.status.success(),
        "{script}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// A server or reader that `integration/test.sh` provides; `None` if it was left out by hand.
fn provided(name: &str, variable: &str) -> Option<String> {
    let left_out = std::env::var("LAKEWARD_TEST_WITHOUT").unwrap_or_default();
    if left_out.split(',').any(|out| out.trim() == name) {
        return None;
    }
    let value = std::env::var(variable);
    Some(
        value.unwrap_or_else(|_| {
            panic!("{variable} is not set: run this test by integration/test.sh")
        }),
    )
}

fn text_of(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("text")
}

fn location(site: &Site) -> String {
    format!("file://{}", site.path("lake/t").display())
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

/// Generated schemas and values of every type, nested, with NULLs and extremes at every level, in both profiles and as NDJSON:
/// readers show each as it was dropped. Another seed: `LAKEWARD_TEST_SEED=…`.
#[test]
fn generated_values_of_generated_schemas_are_shown_as_they_were_dropped() {
    let (tables, rows) = (20, 25);
    let seed = std::env::var("LAKEWARD_TEST_SEED").unwrap_or_else(|_| "1".to_owned());
    let python = provided("readers", "LAKEWARD_TEST_READERS").expect("not to be left out");
    let made = tempfile::tempdir().expect("a directory");
    let root = text_of(made.path().join("tables"));
    let ask = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        said(&python, "generated.py", &arguments)
    };
    ask(&["make", &seed, &tables.to_string(), &rows.to_string(), &root]);
    for (format, sink) in [
        ("parquet", "compat = \"hive\"\n"),
        ("parquet", "compat = \"modern\"\n"),
        ("ndjson", "format = \"ndjson\"\ncompression = \"none\"\n"),
    ] {
        let site = land_generated(&root, tables, sink);
        let shown = ask(&["check", &root, &text_of(site.path("lake")), format]);
        let as_dropped = format!("rows {rows}");
        let different: Vec<&str> = shown
            .lines()
            .filter(|line| {
                *line != as_dropped && !line.starts_with("table ") && !line.starts_with("reader ")
            })
            .collect();
        assert!(different.is_empty(), "seed {seed}, {sink}{shown}");
        let readers = shown.lines().filter(|line| *line == as_dropped).count();
        assert_eq!(readers, tables * if format == "ndjson" { 3 } else { 2 });
    }
}

/// One pipeline for each table, all in one run.
fn land_generated(root: &str, tables: usize, sink: &str) -> Site {
    let site = Site::local("");
    let mut config = String::from(
        "[agent]\nstate_dir = \"var\"\nfree_bytes_min = 0\nlanes = 1\n[lake]\ntype = \"fs\"\nroot = \"lake\"\n",
    );
    for table in 0..tables {
        let of = PathBuf::from(root).join(table.to_string());
        let columns = std::fs::read_to_string(of.join("columns.toml")).expect("columns");
        config += &format!(
            "[[pipeline]]\nname = \"t{table}\"\n[pipeline.source]\npath = \"spool{table}\"\nready_after = \"0s\"\n[pipeline.schema]\nmode = \"columns\"\n[pipeline.schema.columns]\n{columns}[pipeline.sink]\npath = \"t{table}\"\nrejects_max = 0\n{sink}"
        );
        let spool = site.path(&format!("spool{table}"));
        std::fs::create_dir(&spool).expect("a spool");
        std::fs::copy(of.join("values.ndjson"), spool.join("values.ndjson")).expect("a file");
    }
    std::fs::write(site.path("lakeward.toml"), config).expect("a configuration");
    site.expect(0, &["run", "--once"]);
    site
}

/// Hive itself: every value of the profile that is made for it, but days before 1582, which Hive 2 shows in the calendar that was
/// used then; and what is not read of the other profile.
#[test]
fn hive_shows_every_value_of_its_profile() {
    let hive = land("hive");
    let modern = land("modern");
    for (name, variable) in [
        ("hive", "LAKEWARD_TEST_HIVE_CLIENT"),
        ("hive_new", "LAKEWARD_TEST_HIVE_NEW_CLIENT"),
    ] {
        let Some(client) = provided(name, variable) else {
            continue;
        };
        let arguments = [
            text_of(beside("values.ndjson")),
            text_of(beside("columns.toml")),
            client,
            format!("hive={}", location(&hive)),
            format!("modern={}", location(&modern)),
        ];
        hold(
            &format!("readers_{name}"),
            &said("python3", "hive.py", &arguments),
        );
    }
}

/// Spark by Hive's SerDe and by its own reader, in two zones; without a setting, that one refuses what is before 1900.
#[test]
fn spark_shows_every_value_of_both_profiles() {
    let Some(python) = provided("hive", "LAKEWARD_TEST_SPARK") else {
        return;
    };
    let recent: String = VALUES
        .lines()
        .filter(|line| !is_before_1900(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut sites = Vec::new();
    let mut arguments = vec![text_of(beside("columns.toml"))];
    for compat in ["hive", "modern"] {
        for (table, values) in [
            (compat.to_owned(), VALUES),
            (format!("{compat}_recent"), recent.as_str()),
        ] {
            let site = land_values(compat, values);
            let dropped = site.path("values.ndjson");
            std::fs::write(&dropped, values).expect("written");
            arguments.push(format!("{table}={}={}", location(&site), dropped.display()));
            sites.push(site);
        }
    }
    hold("readers_spark", &said(&python, "spark.py", &arguments));
}

/// In `modern`, values that do not repeat are written as differences (`format/encode/parquet_file.rs`): of every type that this is
/// done for, alone and nested, with NULLs, each reader shows all of them. Hive 2 does not: its Parquet knows no differences of 64
/// bits. Hive 4 shows times in its server's zone; they are left out.
#[test]
fn values_that_do_not_repeat_are_shown_by_every_reader() {
    const ROWS: usize = 3_000;
    let site = land_table("modern", DISTINCT, &distinct(ROWS));
    let written = delta_columns(&site);
    assert_eq!(
        written,
        [
            "a_int", "a_string", "bi", "by", "d18", "d9", "da", "id", "it", "s", "st", "ts"
        ]
    );
    let (values, columns) = (site.path("values.ndjson"), site.path("columns.toml"));
    std::fs::write(&values, distinct(ROWS)).expect("written");
    let all = |given: &[&str], shown: &str| {
        assert_eq!(shown.matches("rows ").count(), given.len(), "{shown}");
        for line in shown.lines() {
            let whole = line == format!("rows {ROWS}") || line.starts_with("== ");
            assert!(whole, "{shown}");
        }
    };
    std::fs::write(&columns, DISTINCT).expect("written");
    let python = provided("readers", "LAKEWARD_TEST_READERS").expect("not to be left out");
    let place = |path: &PathBuf| text_of(path.clone());
    for reader in ["duckdb", "pyarrow"] {
        let mut arguments = vec![place(&values), place(&columns), reader.to_owned()];
        arguments.extend(data_files(&site).into_iter().map(text_of));
        all(&[reader], &said(&python, "read.py", &arguments));
    }
    if let Some(python) = provided("hive", "LAKEWARD_TEST_SPARK") {
        let table = format!("modern_distinct={}={}", location(&site), values.display());
        let shown = said(&python, "spark.py", &[place(&columns), table]);
        all(&["Hive's SerDe", "its own"], &shown);
    }
    let for_hive: String = DISTINCT
        .lines()
        .filter(|line| !line.contains("timestamp"))
        .flat_map(|line| [line, "\n"])
        .collect();
    std::fs::write(&columns, &for_hive).expect("written");
    if let Some(client) = provided("hive_new", "LAKEWARD_TEST_HIVE_NEW_CLIENT") {
        let table = format!("modern={}", location(&site));
        let arguments = [place(&values), place(&columns), client, table];
        all(&["Hive 4"], &said("python3", "hive.py", &arguments));
    }
}

const DISTINCT: &str = r#"id = "bigint"
it = "int"
bi = "bigint"
d9 = "decimal(9,0)"
d18 = "decimal(18,6)"
da = "date"
ts = "timestamp"
st = "string"
by = "binary"
a_int = "array<int>"
a_string = "array<string>"
s = "struct<a:int,name:string>"
"#;

/// Records of which no two have a value in common, far apart from each other; every seventh value is NULL.
fn distinct(rows: usize) -> String {
    let mut text = String::new();
    for row in 1..=rows {
        let wild = (row as i64).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64);
        let mut record = serde_json::json!({
            "id": row,
            "it": wild as i32,
            "bi": wild,
            "d9": (wild % 1_000_000_000).to_string(),
            "d18": format!("{}.{:06}", wild % 1_000_000_000_000, row),
            "da": format!("{}-{:02}-{:02}", 1970 + row % 97, 1 + row % 12, 1 + row % 28),
            "ts": format!("2026-11-{:02}T{:02}:{:02}:{:02}.{:06}Z", 1 + row % 28, row % 24, row % 60, row % 59, row),
            "st": format!("漢{wild}é").repeat(1 + row % 4),
            "by": format!("bytes {wild}"),
            "a_int": [row as i32, wild as i32],
            "a_string": [format!("a{wild}"), format!("b{row}")],
            "s": {"a": wild as i32 ^ 7, "name": format!("name {wild}")},
        });
        let values = record.as_object_mut().expect("an object");
        for (at, (name, value)) in values.iter_mut().enumerate() {
            if name != "id" && (row + at) % 7 == 0 {
                *value = serde_json::Value::Null;
            }
        }
        text += &format!("{record}\n");
    }
    text
}

/// The columns with a leaf that is not plain, sorted.
fn delta_columns(site: &Site) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    for file in data_files(site) {
        let bytes = bytes::Bytes::from(std::fs::read(&file).expect("a data file"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("a reader");
        for column in builder
            .metadata()
            .row_groups()
            .iter()
            .flat_map(RowGroupMetaData::columns)
        {
            let delta = column.encodings().any(|encoding| {
                matches!(
                    encoding,
                    Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_BYTE_ARRAY
                )
            });
            if delta {
                found.insert(column.column_path().parts()[0].clone());
            }
        }
    }
    found.into_iter().collect()
}

fn is_before_1900(record: &str) -> bool {
    let record: serde_json::Value = serde_json::from_str(record).expect("JSON");
    record["da"].as_str().is_some_and(|day| day < "1900-01-01")
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
