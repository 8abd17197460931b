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
pub type Known = (String, i64, bool);

/// A file that a producer dropped.
pub struct Dropped {
    pub pipeline: String,
    pub file: String,
    ids: std::ops::Range<i64>,
    bad: Vec<i64>,
}

/// What a file of the lake holds: its records, and what is none.
#[derive(Default)]
pub struct Contents {
    pub records: Vec<Known>,
    pub wrong: Vec<String>,
}

pub fn check(history: &History, site: &str, lake: &LakeAt) -> Verdict {
    let dropped = dropped(history, site);
    let wanted: BTreeMap<Known, &str> = dropped
        .iter()
        .flat_map(|file| file.records().map(|record| (record, file.file.as_str())))
        .collect();
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

/// Every file that was dropped so far, in that order.
pub fn dropped(history: &History, site: &str) -> Vec<Dropped> {
    let facts = history.read().into_iter();
    let ours = facts.filter(|fact| fact["event"] == "dropped" && fact["site"] == site);
    ours.map(|fact| {
        let text = |key: &str| fact[key].as_str().expect("a text").to_owned();
        let number = |key: &str| fact[key].as_i64().expect("a number");
        Dropped {
            pipeline: text("pipeline"),
            file: text("file"),
            ids: number("from")..number("to"),
            bad: serde_json::from_value(fact["bad"].clone()).expect("numbers"),
        }
    })
    .collect()
}

impl Dropped {
    pub fn records(&self) -> impl Iterator<Item = Known> + '_ {
        let ids = self.ids.clone();
        ids.map(|id| (self.pipeline.clone(), id, !self.bad.contains(&id)))
    }
}

/// Every record of the lake, and where it is.
fn found(lake: &LakeAt, verdict: &mut Verdict) -> BTreeMap<Known, Vec<String>> {
    let mut found: BTreeMap<Known, Vec<String>> = BTreeMap::new();
    for path in lake.list().into_keys().filter(|path| is_landed(path)) {
        let contents = contents(lake, &path);
        for record in contents.records {
            found.entry(record).or_default().push(path.clone());
        }
        let wrong = contents.wrong.into_iter();
        verdict
            .invented
            .extend(wrong.map(|what| format!("`{path}`: {what}")));
    }
    found
}

/// A data file or a reject file under its final name.
pub fn is_landed(path: &str) -> bool {
    is_visible(path.strip_prefix("_rejects/").unwrap_or(path))
}

/// Whatever can be read of it, even if something else in it cannot.
pub fn contents(lake: &LakeAt, path: &str) -> Contents {
    let mut contents = Contents::default();
    let Some(bytes) = lake.read(path) else {
        contents.wrong.push("it vanished".to_owned());
        return contents;
    };
    let rejects = path.strip_prefix("_rejects/");
    let below = rejects.unwrap_or(path);
    let pipeline = below.split('/').next().unwrap_or_default();
    let read = catch_unwind(AssertUnwindSafe(|| {
        if rejects.is_some() {
            for line in text_of(path, &bytes).lines() {
                match rejected(line) {
                    Some(id) => contents.records.push((pipeline.to_owned(), id, false)),
                    None => contents.wrong.push(line.to_owned()),
                }
            }
            return;
        }
        rows_in(path, bytes, |id, text| {
            if text == note(id) {
                contents.records.push((pipeline.to_owned(), id, true));
            } else {
                contents.wrong.push(format!("{id} has the note {text:?}"));
            }
        });
    }));
    if let Err(panic) = read {
        contents.wrong.push(words(panic.as_ref()));
    }
    contents
}

fn rejected(line: &str) -> Option<i64> {
    let reject: serde_json::Value = serde_json::from_str(line).ok()?;
    let raw = reject["raw"].as_str()?.trim_end();
    raw.strip_prefix("bad-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::{Verdict, check};
    use crate::support::LakeAt;
    use crate::torture::history::History;
    use crate::torture::pipelines::note;

    /// Ten records, of which 4 is bad, and a lake as it should be: two data files and a reject file.
    fn case(spoil: impl FnOnce(&Path)) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let history = History::begin(dir.path().join("history"));
        for (site, file, from, to) in [
            ("here", "a", 0, 6),
            ("here", "b", 6, 10),
            ("there", "a", 50, 60),
        ] {
            history.add(json!({
                "site": site, "event": "dropped", "pipeline": "p", "file": file, "from": from, "to": to,
                "bad": if from == 0 { vec![4] } else { Vec::new() },
            }));
        }
        let lake = dir.path().join("lake");
        put(
            &lake,
            "p/day=1/a.ndjson",
            &[0, 1, 2, 3, 5].map(line).concat(),
        );
        put(&lake, "p/day=2/b.ndjson", &[6, 7, 8, 9].map(line).concat());
        put(&lake, "_rejects/p/c.ndjson", &reject(4));
        put(&lake, "_lakeward/staging/x.ndjson", &line(0));
        spoil(&lake);
        check(&history, "here", &LakeAt::Local(lake))
    }

    fn put(lake: &Path, path: &str, text: &str) {
        let path = lake.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn line(id: i64) -> String {
        format!("{}\n", json!({"id": id, "note": note(id)}))
    }

    fn reject(id: i64) -> String {
        format!("{}\n", json!({"raw": format!("bad-{id}")}))
    }

    /// Counts, and that each complaint has one of the words in it.
    #[track_caller]
    fn expect(verdict: &Verdict, counts: (usize, usize, usize), words: &[&str]) {
        let found = (
            verdict.lost.len(),
            verdict.duplicated.len(),
            verdict.invented.len(),
        );
        assert_eq!(found, counts, "lost, duplicated, invented: {verdict:?}");
        let mut said = verdict
            .lost
            .iter()
            .chain(&verdict.duplicated)
            .chain(&verdict.invented);
        assert!(
            said.all(|text| words.iter().any(|word| text.contains(word))),
            "{words:?}: {verdict:?}"
        );
    }

    #[test]
    fn a_lake_that_is_as_it_should_be_is_not_complained_of() {
        let verdict = case(|_| ());
        assert_eq!(verdict.records, 10);
        expect(&verdict, (0, 0, 0), &[]);
    }

    #[test]
    fn a_record_that_is_nowhere_is_lost() {
        let verdict = case(|lake| put(lake, "p/day=2/b.ndjson", &[6, 7, 9].map(line).concat()));
        expect(&verdict, (1, 0, 0), &["8"]);
    }

    #[test]
    fn all_records_of_a_file_that_is_gone_are_lost() {
        let verdict = case(|lake| std::fs::remove_file(lake.join("p/day=2/b.ndjson")).unwrap());
        expect(&verdict, (4, 0, 0), &["of `b`"]);
    }

    #[test]
    fn a_record_of_two_files_is_duplicated() {
        let verdict = case(|lake| put(lake, "p/day=1/d.ndjson", &line(7)));
        expect(
            &verdict,
            (0, 1, 0),
            &[
                "p/day=2/b.ndjson\", \"p/day=1/d.ndjson",
                "p/day=1/d.ndjson\", \"p/day=2/b.ndjson",
            ],
        );
    }

    #[test]
    fn a_record_that_is_twice_in_one_file_is_duplicated() {
        let twice = [6, 7, 8, 9, 9].map(line).concat();
        let verdict = case(|lake| put(lake, "p/day=2/b.ndjson", &twice));
        expect(&verdict, (0, 1, 0), &["9"]);
    }

    #[test]
    fn a_record_that_nobody_dropped_is_invented() {
        let verdict = case(|lake| put(lake, "p/day=1/d.ndjson", &line(77)));
        expect(&verdict, (0, 0, 1), &["77"]);
    }

    /// Of another round, of another pipeline.
    #[test]
    fn a_record_that_was_dropped_elsewhere_is_invented() {
        let verdict = case(|lake| {
            put(lake, "p/day=1/d.ndjson", &line(55));
            put(lake, "q/day=1/d.ndjson", &line(7));
        });
        expect(&verdict, (0, 0, 2), &["55", "\"q\", 7"]);
    }

    /// And its neighbours are there.
    #[test]
    fn a_record_with_another_note_is_invented_and_the_right_one_lost() {
        let verdict = case(|lake| {
            let mangled = line(8).replace("record", "rekord");
            put(
                lake,
                "p/day=2/b.ndjson",
                &([6, 7, 9].map(line).concat() + &mangled),
            );
        });
        expect(&verdict, (1, 0, 1), &["8"]);
    }

    #[test]
    fn a_file_that_ends_in_the_middle_of_a_record_is_told_and_what_was_in_it_is_lost() {
        let verdict = case(|lake| {
            let text = [6, 7, 8, 9].map(line).concat();
            put(lake, "p/day=2/b.ndjson", &text[..text.len() - 9]);
        });
        expect(&verdict, (1, 0, 1), &["9", "p/day=2/b.ndjson"]);
    }

    #[test]
    fn a_good_record_among_the_rejects_is_lost_and_invented() {
        let verdict = case(|lake| {
            put(lake, "p/day=2/b.ndjson", &[6, 7, 9].map(line).concat());
            put(lake, "_rejects/p/d.ndjson", &reject(8));
        });
        expect(&verdict, (1, 0, 1), &["8"]);
    }

    #[test]
    fn a_reject_is_lost_or_duplicated_like_any_record() {
        let lost = case(|lake| std::fs::remove_file(lake.join("_rejects/p/c.ndjson")).unwrap());
        expect(&lost, (1, 0, 0), &["4, false"]);
        let twice = case(|lake| put(lake, "_rejects/p/d.ndjson", &reject(4)));
        expect(&twice, (0, 1, 0), &["4, false"]);
        let foreign = case(|lake| put(lake, "_rejects/p/d.ndjson", "{\"raw\":\"what\"}\n"));
        expect(&foreign, (0, 0, 1), &["what"]);
    }
}
