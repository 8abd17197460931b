//! Compares all that is in a lake with all that the history says was dropped, and names each record that is not there
//! exactly once.

use std::collections::BTreeMap;

use super::history::History;
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
        let bytes = lake.read(&path).expect("a file that was listed");
        let below = reject.unwrap_or(&path);
        let pipeline = below.split('/').next().unwrap_or_default().to_owned();
        let mut add = |id: i64, good: bool| {
            let record = (pipeline.clone(), id, good);
            found.entry(record).or_default().push(path.clone());
        };
        if reject.is_some() {
            for line in text_of(&path, &bytes).lines() {
                match rejected(line) {
                    Some(id) => add(id, false),
                    None => verdict.invented.push(format!("{line} in `{path}`")),
                }
            }
            continue;
        }
        rows_in(&path, bytes, |id, text| {
            add(id, true);
            if text != note(id) {
                verdict
                    .invented
                    .push(format!("{id} with note {text:?} in `{path}`"));
            }
        });
    }
    found
}

fn rejected(line: &str) -> Option<i64> {
    let reject: serde_json::Value = serde_json::from_str(line).ok()?;
    let raw = reject["raw"].as_str()?.trim_end();
    raw.strip_prefix("bad-")?.parse().ok()
}
