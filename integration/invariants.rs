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

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::support::{KILLED, LakeAt, Site, ids_text};

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

/// One batch per segment of 4 MiB.
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
    (0..records)
        .map(|id| {
            format!(
                "{{\"id\":{id},\"day\":\"2026-10-{:02}\",\"note\":\"{note}\"}}\n",
                1 + id % 5
            )
        })
        .collect()
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

#[test]
fn i1_every_record_lands_once_wherever_the_program_is_killed() {
    holds_and_can_fail(
        |variant| {
            for place in PLACES {
                let trial = Trial::new(variant, &small_batches());
                let wanted = trial.drop_small_files(4);
                trial.killed_at(place);
                trial.run();
                once(&trial, &wanted).map_err(|violation| format!("{place}: {violation}"))?;
            }
            Ok(())
        },
        &[
            ("i1-file-not-landed", "records are lost"),
            ("i8-lands-under-a-new-name", "landed twice"),
        ],
    );
}

/// A producer that does not wait: the name is used again between the commit and the retiring.
#[test]
fn i1_a_name_used_again_before_its_file_was_retired_is_another_file() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            trial.site.drop_ids("a.ndjson", 0, 300);
            trial.killed_at("before_retire:1");
            trial.site.drop_ids("a.ndjson", 300, 200);
            trial.run();
            trial.run();
            once(&trial, &(0..500))
        },
        &[("i1-retire-by-path", "200 records are lost")],
    );
}

#[test]
fn i1_a_lost_journal_lands_nothing_twice() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            let wanted = trial.drop_small_files(4);
            trial.killed_at("before_commit:1");
            fs::remove_dir_all(trial.site.path("var")).expect("the journal is lost");
            assert_eq!(
                Trial::end(trial.spawn(&["rebuild", "--yes"], "")),
                Ended::With(0),
                "{}",
                trial.site.log()
            );
            trial.run();
            once(&trial, &wanted)
        },
        &[("i1-rebuild-forgets-the-staged", "landed twice")],
    );
}

/// The check of I2, while the program runs: a reader who skips hidden names sees no record twice, no part of a file, and nothing
/// that it has seen taken away or changed.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Verdict>,
}

impl Reader {
    fn start(root: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let lake = LakeAt::Local(root);
            let mut seen: BTreeMap<String, u64> = BTreeMap::new();
            let mut ids = BTreeSet::new();
            loop {
                let last = stopped.load(Ordering::SeqCst);
                let found = lake.list();
                if let Some(path) = seen
                    .iter()
                    .find_map(|(path, length)| (found.get(path) != Some(length)).then_some(path))
                {
                    return Err(format!("I2: `{path}` was taken away or changed"));
                }
                for path in lake.visible() {
                    if seen.contains_key(&path) {
                        continue;
                    }
                    for id in try_ids_in(&lake, &path)? {
                        if !ids.insert(id) {
                            return Err(format!("I2: id {id} is seen twice, again in `{path}`"));
                        }
                    }
                    let length = lake.list().get(&path).copied().unwrap_or(0);
                    seen.insert(path, length);
                }
                if last {
                    return Ok(());
                }
                std::thread::yield_now();
            }
        });
        Self { stop, thread }
    }

    fn end(self) -> Verdict {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the reader lives")
    }
}

#[test]
fn i2_a_reader_never_sees_a_part_of_a_file_or_a_record_twice() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            let reader = Reader::start(trial.lake_root());
            trial.drop_small_files(4);
            trial.killed_at("after_land:3");
            trial.run();
            reader.end()
        },
        &[
            ("i2-land-by-copying", "cannot read it"),
            ("i8-lands-under-a-new-name", "is seen twice"),
        ],
    );
}

/// What a power cut can leave of a staged copy: its length, and other bytes.
#[test]
fn i2_a_damaged_staged_copy_is_never_seen() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            let wanted = trial.drop_small_files(2);
            trial.killed_at("before_land:1");
            let reader = Reader::start(trial.lake_root());
            for copy in trial.staged_copies() {
                let length = fs::metadata(&copy).expect("a staged copy").len();
                fs::write(copy, vec![0; length as usize]).expect("damaged");
            }
            trial.run();
            reader.end()?;
            once(&trial, &wanted)
        },
        &[("i2-staged-copy-not-verified", "cannot read it")],
    );
}

/// What stands under a path: which file it is, when it was last written, and what it holds.
type Standing = BTreeMap<String, (u64, i64, Vec<u8>)>;

/// Everything that is never written again: what is visible, rejects and manifests.
fn standing(trial: &Trial) -> Standing {
    let lake = trial.site.lake();
    let kept = |path: &String| {
        path.starts_with("_lakeward/manifests/")
            || path.starts_with("_rejects/")
            || !path.starts_with('_')
    };
    let paths = lake.list().into_keys().filter(kept);
    paths
        .map(|path| {
            let found = fs::metadata(trial.lake_root().join(&path)).expect("it stands");
            let facts = (
                found.ino(),
                found.mtime_nsec(),
                lake.read(&path).expect("it can be read"),
            );
            (path, facts)
        })
        .collect()
}

/// The check of I3: whatever stood before stands now, the same file with the same bytes.
fn write_once(before: &Standing, trial: &Trial) -> Verdict {
    let now = standing(trial);
    match before
        .iter()
        .find(|(path, facts)| now.get(*path) != Some(facts))
    {
        None => Ok(()),
        Some((path, _)) => Err(format!("I3: `{path}` was replaced, changed or deleted")),
    }
}

/// Somebody wrote a file under the very name that the next batch will use.
#[test]
fn i3_a_file_at_the_final_path_is_never_replaced() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            trial.drop_small_files(1);
            assert_eq!(trial.run(), Ended::With(0), "{}", trial.site.log());
            for path in trial.site.lake().visible() {
                let next = path.replace("-1-", "-2-");
                assert_ne!(next, path, "names carry the batch");
                fs::write(trial.lake_root().join(next), "somebody else's").expect("written");
            }
            let before = standing(&trial);
            trial.site.drop_ids("later.ndjson", 300, 300);
            let ended = trial.run();
            write_once(&before, &trial)?;
            if ended != Ended::With(4) || !trial.site.log().contains("something else stands there")
            {
                return Err(format!("I3: a conflict was not told: {ended:?}"));
            }
            Ok(())
        },
        &[("i3-landing-replaces", "was replaced")],
    );
}

/// Another journal's rebuild was quicker: a tombstone stands where this batch's manifest should.
#[test]
fn i3_a_manifest_is_never_replaced() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            trial.drop_small_files(4);
            trial.killed_at("before_manifest:2");
            let (_, first) = trial
                .manifests()
                .pop_first()
                .expect("the first batch's manifest");
            let mut tombstone = first.clone();
            tombstone["batch"] = 2.into();
            tombstone["body"] = serde_json::json!({"tombstone": {"successor": first["journal"]}});
            let journal = first["journal"].as_str().expect("an id");
            let path = format!("_lakeward/manifests/p/{journal}/2.json");
            fs::write(trial.lake_root().join(path), tombstone.to_string()).expect("written");
            let before = standing(&trial);
            let ended = trial.run();
            write_once(&before, &trial)?;
            if ended != Ended::With(4) {
                return Err(format!("I3: a tombstone was not obeyed: {ended:?}"));
            }
            Ok(())
        },
        &[("i3-manifest-replaced", "was replaced")],
    );
}

/// The check of I4: a manifest and the journal name every file that has its final name.
fn names_first(trial: &Trial) -> Verdict {
    let mut in_manifests = BTreeSet::new();
    for manifest in trial.manifests().values() {
        let files = manifest["body"]["batch"]["data_files"]
            .as_array()
            .expect("data files");
        in_manifests.extend(
            files
                .iter()
                .map(|file| file["path"].as_str().expect("a path").to_owned()),
        );
    }
    let mut in_journal = BTreeSet::new();
    for file in trial.files() {
        let paths = file["data_files"].as_array().expect("data files");
        in_journal.extend(
            paths
                .iter()
                .map(|path| path.as_str().expect("a path").to_owned()),
        );
    }
    for path in trial.final_paths() {
        if !in_manifests.contains(&path) {
            return Err(format!("I4: `{path}` has landed and no manifest names it"));
        }
        if !in_journal.contains(&path) {
            return Err(format!(
                "I4: `{path}` has landed and no staged batch names it"
            ));
        }
    }
    Ok(())
}

#[test]
fn i4_nothing_has_its_final_name_before_journal_and_manifest_name_it() {
    holds_and_can_fail(
        |variant| {
            for place in [
                "before_stage:1",
                "before_manifest:1",
                "after_land:1",
                "after_land:4",
                "before_commit:1",
            ] {
                let trial = Trial::new(variant, &small_batches());
                trial.drop_small_files(4);
                trial.site.drop_file("broken.ndjson", b"{oops\n");
                trial.killed_at(place);
                names_first(&trial).map_err(|violation| format!("{place}: {violation}"))?;
            }
            Ok(())
        },
        &[
            ("i4-land-before-manifest", "no manifest names it"),
            ("i4-land-before-stage", "no staged batch names it"),
        ],
    );
}

/// The check of I5: each checkpoint is where the segments of committed batches end, which join on from the file's beginning.
/// The lake's manifests tell the segments, whatever the journal believes of them.
fn joined(trial: &Trial) -> Verdict {
    let status = trial.json(&["status", "--json"]);
    let committed = status["pipelines"][0]["last_commit"]["batch"]
        .as_u64()
        .unwrap_or(0);
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for (batch, manifest) in trial.manifests() {
        if batch > committed {
            continue;
        }
        let facts = &manifest["body"]["batch"];
        for segment in facts["segments"].as_array().expect("segments") {
            let file = segment["file"].as_u64().expect("an index") as usize;
            let path = facts["files"][file]["path"]
                .as_str()
                .expect("a path")
                .to_owned();
            let end = ends.entry(path.clone()).or_insert(0);
            if segment["from"] != *end {
                return Err(format!(
                    "I5: `{path}`: batch {batch} begins at {} and not at {end}",
                    segment["from"]
                ));
            }
            *end = segment["to"].as_u64().expect("an offset");
        }
    }
    for file in trial.files() {
        let path = file["path"].as_str().expect("a path");
        let end = ends.get(path).copied().unwrap_or(0);
        if file["checkpoint"] != end {
            return Err(format!(
                "I5: `{path}`: its checkpoint is {}, its committed segments end at {end}",
                file["checkpoint"]
            ));
        }
    }
    Ok(())
}

#[test]
fn i5_a_checkpoint_moves_only_in_a_commit_and_only_along_segments_that_join() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &batch_per_segment());
            trial.drop_large_file(11_000);
            for place in [
                "before_land:1",
                "before_commit:2",
                "before_retire:1",
                "before_stage:1",
            ] {
                if Trial::end(trial.spawn(&["run", "--once"], place)) != Ended::Killed {
                    assert_ne!(
                        variant,
                        "",
                        "`{place}` was not reached\n{}",
                        trial.site.log()
                    );
                }
                joined(&trial).map_err(|violation| format!("{place}: {violation}"))?;
            }
            trial.run();
            joined(&trial)
        },
        &[
            ("i5-checkpoint-at-stage", "its committed segments end at 0"),
            ("i5-commit-stops-short", "its checkpoint is 41941"),
        ],
    );
}

/// The check of I6: a file that has left its name in the spool has its checkpoint at its end.
fn retired_last(trial: &Trial, names: &[&str]) -> Verdict {
    for name in names {
        if trial.site.path(&format!("spool/{name}")).exists() {
            continue;
        }
        let file = trial.file(name);
        if file["checkpoint"] != file["size"] {
            return Err(format!(
                "I6: `{name}` has left the spool, and its checkpoint is {} of {}",
                file["checkpoint"], file["size"]
            ));
        }
    }
    Ok(())
}

#[test]
fn i6_a_file_leaves_the_spool_only_when_all_of_it_is_committed() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &batch_per_segment());
            let wanted = trial.drop_large_file(11_000);
            for place in ["before_land:1", "before_commit:1", "before_retired:1"] {
                let _ended = Trial::end(trial.spawn(&["run", "--once"], place));
                retired_last(&trial, &["large.ndjson"])
                    .map_err(|violation| format!("{place}: {violation}"))?;
            }
            trial.run();
            retired_last(&trial, &["large.ndjson"])?;
            assert!(
                !trial.site.path("spool/large.ndjson").exists(),
                "it was retired at last"
            );
            once(&trial, &wanted)
        },
        &[("i6-retire-what-is-read", "has left the spool")],
    );
}

#[test]
fn i7_staging_may_be_emptied_at_any_moment() {
    holds_and_can_fail(
        |variant| {
            for place in PLACES {
                let trial = Trial::new(variant, &small_batches());
                let wanted = trial.drop_small_files(4);
                trial.killed_at(place);
                for copy in trial.staged_copies() {
                    fs::remove_file(copy).expect("removed");
                }
                trial.run();
                once(&trial, &wanted).map_err(|violation| format!("I7: {place}: {violation}"))?;
            }
            Ok(())
        },
        &[("i7-never-encoded-again", "records are lost")],
    );
}

/// What recovery left: every landed file's records, under its name without the journal's random id, and what the journal says.
fn shape(trial: &Trial) -> Result<BTreeMap<String, Vec<i64>>, String> {
    let lake = trial.site.lake();
    let mut shape = BTreeMap::new();
    for path in lake.visible() {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let rest = name.split('-').skip(2).collect::<Vec<_>>().join("-");
        shape.insert(format!("{dir}/{rest}"), try_ids_in(&lake, &path)?);
    }
    for file in trial.files() {
        shape.insert(
            format!("{} {} {}", file["path"], file["state"], file["checkpoint"]),
            Vec::new(),
        );
    }
    Ok(shape)
}

/// The check of I8: two lakes and journals that went the same way but for recoveries are the same.
fn again(once: &BTreeMap<String, Vec<i64>>, twice: &BTreeMap<String, Vec<i64>>) -> Verdict {
    if once == twice {
        return Ok(());
    }
    let differs = |(key, ids): &(&String, &Vec<i64>)| once.get(*key) != Some(*ids);
    let first = twice
        .iter()
        .find(differs)
        .map(|(key, _)| key.as_str())
        .unwrap_or("one that is missing");
    Err(format!(
        "I8: recovered again there are {} facts instead of {}, the first is `{first}`",
        twice.len(),
        once.len()
    ))
}

#[test]
fn i8_recovery_run_twice_is_recovery_run_once() {
    holds_and_can_fail(
        |variant| {
            let recovered = |kills: &[&str]| {
                let trial = Trial::new(variant, &small_batches());
                trial.drop_small_files(4);
                for place in kills {
                    trial.killed_at(place);
                }
                trial.run();
                trial
            };
            for place in [
                "before_land:3",
                "after_land:3",
                "before_commit:1",
                "before_retire:1",
            ] {
                let trial = recovered(&[place]);
                let once = shape(&trial)?;
                trial.run();
                again(&once, &shape(&trial)?)
                    .map_err(|violation| format!("{place}, run again: {violation}"))?;
                for second in [
                    "before_manifest:1",
                    "before_commit:1",
                    "before_retire:1",
                    "before_done:1",
                ] {
                    if place == "before_retire:1"
                        && !second.ends_with("re:1")
                        && second != "before_done:1"
                    {
                        continue;
                    }
                    let twice = shape(&recovered(&[place, second]))?;
                    again(&once, &twice)
                        .map_err(|violation| format!("{place}, then {second}: {violation}"))?;
                }
            }
            Ok(())
        },
        &[("i8-lands-under-a-new-name", "recovered again there are")],
    );
}

/// What a spooled file's bytes and records came to, counted by whoever wrote the file.
struct Truth {
    landed: (u64, u64),
    rejected: (u64, u64),
    skipped: u64,
}

/// The check of I9: the journal's balance is that of the file's author, and the lake's rows and rejects are those of the journal.
fn balanced(trial: &Trial, truth: &Truth) -> Verdict {
    let audit = trial.json(&["audit", "--deep", "--json"]);
    let file = &audit["files"][0];
    for (what, found, wanted) in [
        (
            "bytes",
            &file["bytes"],
            truth.landed.0 + truth.rejected.0 + truth.skipped,
        ),
        ("landed bytes", &file["landed"], truth.landed.0),
        ("rejected bytes", &file["rejected"], truth.rejected.0),
        ("skipped bytes", &file["skipped"], truth.skipped),
        ("records", &file["records"], truth.landed.1),
    ] {
        if *found != wanted {
            return Err(format!(
                "I9: {what}: {found} in the journal, {wanted} in the file"
            ));
        }
    }
    let lake = trial.site.lake();
    let (rows, rejects) = (try_ids(&lake)?.len() as u64, lake.rejects().len() as u64);
    if (rows, rejects) != (truth.landed.1, truth.rejected.1) {
        return Err(format!("I9: {rows} rows and {rejects} rejects in the lake"));
    }
    if audit["balanced"] != true {
        return Err(format!("I9: the audit says {}", audit["conflicts"]));
    }
    Ok(())
}

#[test]
fn i9_every_byte_and_every_record_is_accounted_for() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            let bad = "{\"id\": oops}\nnot JSON at all\n[1,2]\n";
            let blank = "\n\r\n   \n\n";
            let good = ids_text(0, 1_000);
            let (first, second) =
                good.split_at(good.find("\n{\"id\":500,").expect("record 500") + 1);
            trial.site.drop_file(
                "a.ndjson",
                format!("{first}{bad}{blank}{second}").as_bytes(),
            );
            assert_eq!(trial.run(), Ended::With(0), "{}", trial.site.log());
            let truth = Truth {
                landed: (good.len() as u64, 1_000),
                rejected: (bad.len() as u64, 3),
                skipped: blank.len() as u64,
            };
            balanced(&trial, &truth)
        },
        &[
            ("i9-rejects-not-counted", "records: 1003 in the journal"),
            ("i9-blank-lines-not-counted", "landed bytes"),
        ],
    );
}

/// The check of I10: a file that changed is set aside whole, with both states of it in the reason.
fn set_aside(trial: &Trial, name: &str, words: &[String]) -> Verdict {
    let file = trial.file(name);
    if file["state"] != "quarantined" {
        return Err(format!("I10: `{name}` changed and is {}", file["state"]));
    }
    let reason = file["reason"].as_str().unwrap_or_default();
    if let Some(missing) = words.iter().find(|word| !reason.contains(*word)) {
        return Err(format!("I10: `{name}`: {reason:?} does not say {missing}"));
    }
    if !trial
        .site
        .path(&format!("spool/.quarantine/{name}"))
        .exists()
    {
        return Err(format!("I10: `{name}` does not stand in quarantine"));
    }
    Ok(())
}

#[test]
fn i10_a_file_that_changed_before_it_was_retired_is_quarantined() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            trial.drop_small_files(2);
            trial.killed_at("before_retire:1");
            let path = trial.site.path("spool/f0.ndjson");
            let before = fs::metadata(&path).expect("it stands").len();
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .expect("a producer goes on");
            file.write_all(ids_text(9_000, 10).as_bytes())
                .expect("written");
            let after = fs::metadata(&path).expect("it stands").len();
            let ended = trial.run();
            set_aside(
                &trial,
                "f0.ndjson",
                &[
                    format!("{before} bytes"),
                    format!("{after} bytes"),
                    "fingerprint".into(),
                ],
            )?;
            if ended != Ended::With(3) {
                return Err(format!("I10: it ended with {ended:?}"));
            }
            once(&trial, &(0..600))
        },
        &[("i1-retire-by-path", "changed and is \"retired\"")],
    );
}

/// Other bytes under what was journaled, and a time that tells nothing: only the digest does.
#[test]
fn i10_a_file_that_changed_under_its_checkpoint_is_quarantined() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &batch_per_segment());
            trial.drop_large_file(11_000);
            trial.killed_at("before_commit:1");
            let path = trial.site.path("spool/large.ndjson");
            let modified = fs::metadata(&path)
                .and_then(|found| found.modified())
                .expect("a time");
            let file = fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .expect("it can be written");
            std::os::unix::fs::FileExt::write_at(&file, b"N", 500).expect("written");
            file.set_modified(modified).expect("a time");
            trial.run();
            set_aside(&trial, "large.ndjson", &["digest".into()])
        },
        &[("i10-digests-not-compared", "changed and is \"retired\"")],
    );
}

/// What cannot be right stops its pipeline and no other: `q` goes on landing after `p` has met a conflict.
#[test]
fn i10_a_conflict_stops_its_own_pipeline_only() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(
                variant,
                "retire = \"keep\"\n[pipeline.sink]\npath = \"p\"\n",
            );
            let config = trial.site.path("lakeward.toml");
            let mut text = fs::read_to_string(&config).expect("a configuration");
            text.push_str("[[pipeline]]\nname = \"q\"\n[pipeline.source]\npath = \"spool_q\"\nready_after = \"0s\"\npoll = \"50ms\"\n[pipeline.sink]\npath = \"q\"\n[pipeline.sink.roll]\nage = \"100ms\"\n");
            fs::write(&config, text).expect("a configuration");
            fs::create_dir(trial.site.path("spool_q")).expect("a spool");
            // A claim that is none: nobody can tell whose this spool is.
            fs::write(trial.site.path("spool/.lakeward-claim.json"), "{}").expect("written");
            let mut agent = trial.spawn(&["run"], "");
            until(&trial, "p halts", || trial.site.log().contains("halted"));
            fs::write(trial.site.path("spool_q/a.ndjson"), ids_text(0, 10))
                .expect("a file of the other");
            let start = Instant::now();
            let verdict = loop {
                let landed = trial
                    .site
                    .lake()
                    .visible()
                    .iter()
                    .any(|path| path.starts_with("q/"));
                let ended = agent.try_wait().expect("it can be asked");
                match (landed, ended) {
                    (true, _) => break Ok(()),
                    (false, Some(status)) => {
                        break Err(format!("I10: the other pipeline stopped too: {status}"));
                    }
                    (false, None) if start.elapsed() > Duration::from_secs(20) => {
                        break Err("I10: the other pipeline lands nothing".to_owned());
                    }
                    _ => std::thread::sleep(Duration::from_millis(20)),
                }
            };
            let _ended = agent.kill();
            agent.wait().expect("it ends");
            verdict
        },
        &[("i10-one-halt-stops-all", "stopped too")],
    );
}

#[track_caller]
fn until(trial: &Trial, what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not in time: {what}\n{}",
            trial.site.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The most that a process was seen to hold.
#[derive(Debug, Default)]
struct Peak {
    memory: u64,
    handles: usize,
    staging: u64,
}

fn watch(trial: &Trial, mut child: Child) -> Peak {
    let mut peak = Peak::default();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    while child.try_wait().expect("it can be asked").is_none() {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kibibytes =
            line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak.memory = peak.memory.max(kibibytes.unwrap_or(0) << 10);
        let handles = fs::read_dir(process.join("fd")).map_or(0, Iterator::count);
        peak.handles = peak.handles.max(handles);
        let staged = trial
            .staged_copies()
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|found| found.len())
            .sum();
        peak.staging = peak.staging.max(staged);
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{peak:?}");
    peak
}

const MIB: u64 = 1 << 20;

/// The check of I11: memory under the budget plus 64 MiB, and handles and staging under bounds that no input moves.
fn bounded(peak: &Peak, memory: u64, staging: u64) -> Verdict {
    if peak.memory > memory + 64 * MIB {
        return Err(format!(
            "I11: {} MiB of memory, the budget is {} MiB",
            peak.memory / MIB,
            memory / MIB
        ));
    }
    if peak.handles > 300 {
        return Err(format!("I11: {} open files", peak.handles));
    }
    // Space is looked at once a second, and two batches may wait to land: what is written meanwhile comes on top.
    if peak.staging > staging + 64 * MIB {
        return Err(format!(
            "I11: {} MiB in staging, the bound is {} MiB",
            peak.staging / MIB,
            staging / MIB
        ));
    }
    Ok(())
}

#[test]
fn i11_memory_is_bounded_whatever_the_size_of_a_file() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, "");
            let memory = 32 * MIB;
            trial.site.configure(
                "type = \"fs\"\nroot = \"lake\"\n",
                "memory = \"32MiB\"\nlanes = 1\n",
                &format!("{COLUMNS}[pipeline.sink]\npath = \"p\"\n"),
            );
            trial.drop_large_file(200_000);
            bounded(
                &watch(&trial, trial.spawn(&["run", "--once"], "")),
                memory,
                16 * MIB,
            )
        },
        &[("i11-channel-without-bound", "of memory")],
    );
}

#[test]
fn i11_open_files_are_bounded_whatever_the_partitions() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, "");
            trial.site.configure(
                "type = \"fs\"\nroot = \"lake\"\n",
                "memory = \"64MiB\"\nlanes = 1\n",
                &format!("{COLUMNS}[pipeline.sink]\npath = \"p/part={{day}}\"\n"),
            );
            let note = "n".repeat(3000);
            let text: String = (0..12_000)
                .map(|id| {
                    format!(
                        "{{\"id\":{id},\"day\":\"d{}\",\"note\":\"{note}\"}}\n",
                        id % 500
                    )
                })
                .collect();
            trial.site.drop_file("a.ndjson", text.as_bytes());
            bounded(
                &watch(&trial, trial.spawn(&["run", "--once"], "")),
                64 * MIB,
                16 * MIB,
            )
        },
        &[("i11-handles-kept-open", "open files")],
    );
}

/// Nothing is compressed, and by itself the batch would not end.
#[test]
fn i11_staging_is_bounded_whatever_the_backlog() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, "");
            trial.site.configure(
                "type = \"fs\"\nroot = \"lake\"\n",
                "staging_bytes_max = \"4MiB\"\nlanes = 1\n",
                &format!("{COLUMNS}[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n"),
            );
            trial.drop_large_file(200_000);
            bounded(
                &watch(&trial, trial.spawn(&["run", "--once"], "")),
                512 * MIB,
                4 * MIB,
            )
        },
        &[("i11-staging-without-bound", "in staging")],
    );
}

/// The check of I12 for a second agent: it is refused with this exit code, for this reason.
fn refused(output: &std::process::Output, code: i32, words: &str) -> Verdict {
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(code) && text.contains(words) {
        return Ok(());
    }
    Err(format!(
        "I12: a second agent ended with {:?} and was not refused with {code} ({words})",
        output.status.code()
    ))
}

/// A live agent, and what a second one, started beside it, is told.
fn beside(trial: &Trial, second: impl FnOnce() -> std::process::Output) -> std::process::Output {
    let mut agent = trial.spawn(&["run"], "");
    until(trial, "the first agent lands", || {
        !trial.site.lake().visible().is_empty()
    });
    let output = second();
    agent.kill().expect("kill -9");
    agent.wait().expect("it ends");
    output
}

impl Trial {
    /// The same program with another configuration, as a second agent.
    fn second(&self, config: &str) -> std::process::Output {
        fs::write(self.site.path("second.toml"), config).expect("a configuration");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lakeward"));
        command
            .current_dir(self.site.path(""))
            .env("LAKEWARD_BROKEN", &self.variant);
        command.args([
            "--config",
            "second.toml",
            "--color",
            "never",
            "run",
            "--once",
        ]);
        command.output().expect("the program starts")
    }

    fn config(&self) -> String {
        fs::read_to_string(self.site.path("lakeward.toml")).expect("a configuration")
    }
}

/// Batches of any age end soon, so that a daemon lands what it has.
fn soon() -> String {
    format!("{COLUMNS}[pipeline.sink]\npath = \"p\"\n[pipeline.sink.roll]\nage = \"50ms\"\n")
}

/// Another spool and another pipeline: only the journal is shared.
#[test]
fn i12_a_journal_has_one_agent() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &soon());
            trial.drop_small_files(1);
            fs::create_dir(trial.site.path("spool2")).expect("a spool");
            let config = trial
                .config()
                .replace("\"spool\"", "\"spool2\"")
                .replace("name = \"p\"", "name = \"q\"");
            let output = beside(&trial, || trial.second(&config));
            refused(&output, 5, "journal")
        },
        &[("i12-journal-not-locked", "was not refused")],
    );
}

/// A copy of the journal has the same id, so the claim lets it pass: only the spool's lock does not.
#[test]
fn i12_a_spool_has_one_agent() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &soon());
            trial.drop_small_files(1);
            assert_eq!(trial.run(), Ended::With(0), "{}", trial.site.log());
            copy_files(&trial.site.path("var"), &trial.site.path("var2"));
            let config = trial.config().replace("\"var\"", "\"var2\"");
            let output = beside(&trial, || {
                until(&trial, "the first agent has the spool", || {
                    trial.site.log().matches("started").count() >= 2
                });
                trial.second(&config)
            });
            refused(&output, 5, "spool")
        },
        &[("i12-spool-not-locked", "was not refused")],
    );
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

/// Another journal over a spool whose files are landed and not yet committed would land them again.
#[test]
fn i12_a_spool_has_one_journal() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            let wanted = trial.drop_small_files(2);
            trial.killed_at("before_commit:1");
            let output = trial.second(&trial.config().replace("\"var\"", "\"var2\""));
            trial.run();
            once(&trial, &wanted).map_err(|violation| format!("I12: {violation}"))?;
            refused(&output, 4, "lakeward adopt p")
        },
        &[("i12-claim-not-compared", "landed twice")],
    );
}
