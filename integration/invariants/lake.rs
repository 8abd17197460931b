//! I1 to I4: what a reader of the lake may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Ended, PLACES, Trial, Verdict, holds_and_can_fail, once, small_batches, try_ids_in};
use crate::support::LakeAt;

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
