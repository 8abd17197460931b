//! I5 to I9: what the journal and recovery keep.

use std::collections::BTreeMap;
use std::fs;

use super::{
    Ended, PLACES, Trial, Verdict, batch_per_segment, holds_and_can_fail, once, small_batches,
    try_ids, try_ids_in,
};
use crate::support::ids_text;

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
            ("i5-commit-stops-short", "its committed segments end at"),
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

/// With another codec a lost copy is encoded to other bytes: their digests are recorded before they land, or an audit would call
/// the landed files foreign.
#[test]
fn i7_a_copy_encoded_again_to_other_bytes_is_recorded_before_it_lands() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            let wanted = trial.drop_small_files(4);
            trial.killed_at("before_land:2");
            for copy in trial.staged_copies() {
                fs::remove_file(copy).expect("removed");
            }
            let other = trial.config().replace(
                "path = \"p/day={day}\"",
                "path = \"p/day={day}\"\ncompression = \"zstd\"",
            );
            fs::write(trial.site.path("lakeward.toml"), other).expect("a configuration");
            if variant.is_empty() {
                trial.killed_at("before_revise:1");
                trial.killed_at("after_land:1");
            }
            trial.run();
            once(&trial, &wanted)?;
            let audit = trial.json(&["audit", "--deep", "--json"]);
            if audit["balanced"] != true {
                return Err(format!("I7: the audit says {}", audit["conflicts"]));
            }
            Ok(())
        },
        &[("i7-new-digests-not-recorded", "none that was landed")],
    );
}

/// A file's name says its format. Where the configuration has another one by now, a lost copy is not encoded again as that.
#[test]
fn i7_a_copy_is_not_encoded_again_in_another_format() {
    let trial = Trial::new("", &small_batches());
    let wanted = trial.drop_small_files(4);
    trial.killed_at("before_land:2");
    for copy in trial.staged_copies() {
        fs::remove_file(copy).expect("removed");
    }
    let before = trial.config();
    let other = before.replace(
        "path = \"p/day={day}\"",
        "path = \"p/day={day}\"\nformat = \"ndjson\"",
    );
    fs::write(trial.site.path("lakeward.toml"), other).expect("a configuration");
    assert_eq!(trial.run(), Ended::With(4), "{}", trial.site.log());
    assert!(
        trial.site.log().contains("set the old format again"),
        "{}",
        trial.site.log()
    );
    fs::write(trial.site.path("lakeward.toml"), before).expect("a configuration");
    assert_eq!(trial.run(), Ended::With(0), "{}", trial.site.log());
    once(&trial, &wanted).expect("all lands as it was staged");
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
        .map_or("one that is missing", |(key, _)| key.as_str());
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
