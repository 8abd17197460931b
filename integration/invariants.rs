//! The invariants of the design, I1 to I12, each held on the real program by a check that is shown to be able to fail.
//!
//! | what | how |
//! | --- | --- |
//! | a scenario | runs the program over a spool and a lake of its own, kills it or gets in its way, and answers what the invariant's check says |
//! | the program as it is | the check must be content |
//! | a broken variant | the same scenario with `LAKEWARD_BROKEN=variant` (debug builds only, `src/crash.rs`): the same check must see it, in the words given here |
//!
//! A variant stands in `src/` at the line that keeps the invariant. Where a second guard would catch it before harm is done, it is
//! no variant: what is shown here reaches the lake, the spool or the journal.
//!
//! A kill is not a power cut: what was written and not synced survives it. Whether the syncs are where they must be cannot be
//! shown on a local lake from outside; the simulation does that, with a disk that forgets.

mod bounds;
mod journal;
mod lake;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Child;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::support::{KILLED, LakeAt, Site};

/// What a check says: nothing, or how the invariant is violated.
type Verdict = Result<(), String>;

/// `variant`: empty for the program as it is.
type Scenario = fn(variant: &str) -> Verdict;

/// The check of this scenario is content with the program and sees each variant, in words that hold what is given.
#[track_caller]
fn holds_and_can_fail(scenario: Scenario, variants: &[(&str, &str)]) {
    if let Err(violation) = scenario("") {
        panic!("{violation}");
    }
    for (variant, words) in variants {
        match scenario(variant) {
            Ok(()) => panic!("`{variant}` was not seen: this check cannot fail"),
            Err(violation) if violation.contains(words) => println!("{variant}: {violation}"),
            Err(violation) => {
                panic!("`{variant}` was seen for another reason than {words:?}: {violation}")
            }
        }
    }
}

const COLUMNS: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n";

/// Five partitions, batches of 500 records.
fn small_batches() -> String {
    format!(
        "{COLUMNS}[pipeline.sink]\npath = \"p/day={{day}}\"\n[pipeline.sink.roll]\nrecords = 500\n"
    )
}

/// One batch per segment.
fn batch_per_segment() -> String {
    format!("{COLUMNS}[pipeline.sink]\npath = \"p\"\n[pipeline.sink.roll]\nrecords = 1\n")
}

/// A site whose program is the broken variant; what only looks (`files`, `audit`) is never broken.
struct Trial {
    site: Site,
    variant: String,
}

/// How a run of the program ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Killed,
    With(i32),
}

impl Trial {
    fn new(variant: &str, more: &str) -> Self {
        Self {
            site: Site::local(more),
            variant: variant.to_owned(),
        }
    }

    fn spawn(&self, arguments: &[&str], crash_at: &str) -> Child {
        self.site.spawn(
            arguments,
            &[
                ("LAKEWARD_BROKEN", &self.variant),
                ("LAKEWARD_CRASH_AT", crash_at),
            ],
        )
    }

    fn end(mut child: Child) -> Ended {
        let status = child.wait().expect("the program ends");
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended::With(code),
            (None, Some(KILLED)) => Ended::Killed,
            other => panic!("it ended with {other:?}"),
        }
    }

    fn run(&self) -> Ended {
        Self::end(self.spawn(&["run", "--once"], ""))
    }

    /// A scenario that does not come to its place is none.
    #[track_caller]
    fn killed_at(&self, place: &str) {
        let ended = Self::end(self.spawn(&["run", "--once"], place));
        assert_eq!(
            ended,
            Ended::Killed,
            "`{place}` was not reached\n{}",
            self.site.log()
        );
    }

    /// `count` files of 300 records each.
    fn drop_small_files(&self, count: i64) -> Range<i64> {
        for n in 0..count {
            self.site.drop_ids(&format!("f{n}.ndjson"), n * 300, 300);
        }
        0..count * 300
    }

    /// One file of `records` records of about 1 KiB.
    fn drop_large_file(&self, records: i64) -> Range<i64> {
        self.site
            .drop_file("large.ndjson", large_text(records).as_bytes());
        0..records
    }

    /// What a command that only looks says, whatever its exit code.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.site.lakeward(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
            panic!(
                "{arguments:?}: {e}\n{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    fn files(&self) -> Vec<Value> {
        self.json(&["files", "--json"])
            .as_array()
            .expect("files")
            .clone()
    }

    /// The journal's row of a spooled file.
    fn file(&self, path: &str) -> Value {
        let files = self.files();
        let found = files.iter().find(|file| file["path"] == path);
        found
            .unwrap_or_else(|| panic!("no `{path}` in {files:?}"))
            .clone()
    }

    fn config(&self) -> String {
        fs::read_to_string(self.site.path("lakeward.toml")).expect("a configuration")
    }

    fn lake_root(&self) -> PathBuf {
        self.site.path("lake")
    }

    /// Manifests that are batches, by number.
    fn manifests(&self) -> BTreeMap<u64, Value> {
        let lake = self.site.lake();
        let paths = lake
            .list()
            .into_keys()
            .filter(|path| path.starts_with("_lakeward/manifests/"));
        let read = paths.filter_map(|path| lake.read(&path));
        read.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .filter(|manifest| manifest["body"]["batch"].is_object())
            .map(|manifest| (manifest["batch"].as_u64().expect("a number"), manifest))
            .collect()
    }

    /// Data and reject files that have their final names.
    fn final_paths(&self) -> Vec<String> {
        let lake = self.site.lake();
        let rejects = lake
            .list()
            .into_keys()
            .filter(|path| path.starts_with("_rejects/"));
        lake.visible().into_iter().chain(rejects).collect()
    }

    fn staged_copies(&self) -> Vec<PathBuf> {
        let paths = self.site.lake().list().into_keys();
        let staged = paths
            .filter(|path| path.starts_with("_lakeward/staging/") && path.ends_with(".staged"));
        staged.map(|path| self.lake_root().join(path)).collect()
    }
}

fn large_text(records: i64) -> String {
    let note = "n".repeat(1000);
    let mut text = String::new();
    for id in 0..records {
        let day = 1 + id % 5;
        text += &format!("{{\"id\":{id},\"day\":\"2026-10-{day:02}\",\"note\":\"{note}\"}}\n");
    }
    text
}

/// The `id`s of a visible Parquet file, or why a reader cannot have them.
fn try_ids_in(lake: &LakeAt, path: &str) -> Result<Vec<i64>, String> {
    let cannot = |e: &dyn std::fmt::Display| {
        format!("I2: `{path}` is visible and a reader cannot read it: {e}")
    };
    let bytes = lake.read(path).ok_or_else(|| cannot(&"it vanished"))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|e| cannot(&e))?;
    let mut ids = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| cannot(&e))?;
        let column = batch
            .column_by_name("id")
            .ok_or_else(|| cannot(&"it has no id"))?;
        ids.extend(column.as_primitive::<Int64Type>().values());
    }
    Ok(ids)
}

fn try_ids(lake: &LakeAt) -> Result<Vec<i64>, String> {
    let mut ids = Vec::new();
    for path in lake.visible() {
        ids.extend(try_ids_in(lake, &path)?);
    }
    ids.sort_unstable();
    Ok(ids)
}

/// The check of I1: each of these ids is in exactly one landed data file, and no other is.
fn once(trial: &Trial, wanted: &Range<i64>) -> Verdict {
    let found = try_ids(&trial.site.lake())?;
    let lost = wanted
        .clone()
        .filter(|id| found.binary_search(id).is_err())
        .count();
    let twice = found.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let foreign = found.iter().filter(|id| !wanted.contains(id)).count();
    if (lost, twice, foreign) == (0, 0, 0) {
        return Ok(());
    }
    Err(format!(
        "I1: {lost} records are lost, {twice} landed twice, {foreign} are nobody's"
    ))
}

/// Every place where a batch can be met half done.
const PLACES: [&str; 7] = [
    "before_stage:2",
    "before_manifest:2",
    "before_land:2",
    "after_land:2",
    "before_commit:2",
    "before_retire:2",
    "before_done:2",
];
