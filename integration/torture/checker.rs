//! Compares all that is in a lake with all that the history says was dropped, and names each record that is not there
//! exactly once.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::history::History;
use super::onlooker::words;
use super::pipelines::note;
use crate::support::{LakeAt, is_visible, rows_in, text_of};

#[derive(Default, Debug)]
pub struct Verdict {
    pub records: u64,
    pub lost: Vec<String>,
    pub duplicated: Vec<String>,
    pub invented: Vec<String>,
}

/// What a record is known by: the pipeline, its number, and whether it could be decoded.
type Known = (String, i64, bool);

pub fn check(history: &History, site: &str, lake: &LakeAt) -> Verdict {
    let wanted = wanted(history, site);
    let mut verdict = Verdict {
        records: wanted.len() as u64,
        ..Verdict::default()
    };
    let found = found(lake, &mut verdict);
    for (record, file) in &wanted {
        if !found.contains_key(record) {
            verdict.lost.push(format!("{record:?} of `{file}`"));
        }
    }
    for (record, places) in found {
        if !wanted.contains_key(&record) {
            verdict.invented.push(format!("{record:?} in {places:?}"));
        } else if places.len() > 1 {
            verdict.duplicated.push(format!("{record:?} in {places:?}"));
        }
    }
    verdict
}

/// Every record that was dropped, and in which file.
fn wanted(history: &History, site: &str) -> BTreeMap<Known, String> {
    let mut wanted = BTreeMap::new();
    for fact in history.read() {
        if fact["event"] != "dropped" || fact["site"] != site {
            continue;
        }
        let text = |key: &str| fact[key].as_str().expect("a text").to_owned();
        let number = |key: &str| fact[key].as_i64().expect("a number");
        let bad: Vec<i64> = serde_json::from_value(fact["bad"].clone()).expect("numbers");
        for id in number("from")..number("to") {
            let record = (text("pipeline"), id, !bad.contains(&id));
            wanted.insert(record, text("file"));
        }
    }
    wanted
}

/// Every record of the lake, and where it is.
fn found(lake: &LakeAt, verdict: &mut Verdict) -> BTreeMap<Known, Vec<String>> {
    let mut found: BTreeMap<Known, Vec<String>> = BTreeMap::new();
    for path in lake.list().into_keys() {
        let reject = path.strip_prefix("_rejects/");
        if reject.is_none() && !is_visible(&path) {
            continue;
        }
        let below = reject.unwrap_or(&path);
        let pipeline = below.split('/').next().unwrap_or_default();
        match records(lake, &path, reject.is_some()) {
            Ok(records) => {
                for (id, good) in records {
                    let record = (pipeline.to_owned(), id, good);
                    found.entry(record).or_default().push(path.clone());
                }
            }
            Err(wrong) => verdict.invented.push(format!("`{path}`: {wrong}")),
        }
    }
    found
}

/// Number and goodness of each record of a file, unless something in it is no record that was dropped.
fn records(lake: &LakeAt, path: &str, rejects: bool) -> Result<Vec<(i64, bool)>, String> {
    let bytes = lake.read(path).ok_or("it vanished")?;
    if rejects {
        return text_of(path, &bytes)
            .lines()
            .map(|line| rejected(line).map(|id| (id, false)).ok_or(line.to_owned()))
            .collect();
    }
    let mut records = Vec::new();
    let mut foreign = None;
    let read = catch_unwind(AssertUnwindSafe(|| {
        rows_in(path, bytes, |id, text| {
            records.push((id, true));
            if text != note(id) {
                foreign = Some(format!("{id} has the note {text:?}"));
            }
        });
    }));
    match (read, foreign) {
        (Err(panic), _) => Err(words(panic.as_ref())),
        (_, Some(foreign)) => Err(foreign),
        _ => Ok(records),
    }
}

fn rejected(line: &str) -> Option<i64> {
    let reject: serde_json::Value = serde_json::from_str(line).ok()?;
    let raw = reject["raw"].as_str()?.trim_end();
    raw.strip_prefix("bad-")?.parse().ok()
}
