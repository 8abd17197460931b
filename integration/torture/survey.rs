//! What holds of a program that stands still, looked at before each kill: by the end of a round recovery may have
//! mended what was wrong in the middle of it.

use std::collections::{HashMap, HashSet};

use super::checker::{Known, contents, dropped, is_landed};
use super::ground::Ground;
use super::moment::{Moment, Step};
use crate::support::LakeAt;

/// Grows with the lake, of which nothing is read twice.
#[derive(Default)]
pub struct Survey {
    files: HashSet<String>,
    landed: HashSet<Known>,
    manifests: HashSet<String>,
    named: HashSet<String>,
    /// Files of the history that have left the spool and are wholly in the lake.
    settled: HashSet<usize>,
}

/// What a look has found.
pub struct Found {
    pub steps: Vec<Step>,
    pub wrong: Vec<String>,
}

impl Survey {
    /// The program must stand still, and no request of it be under way.
    pub fn look(&mut self, ground: &Ground) -> Found {
        let lake = ground.lake();
        let mut wrong = Vec::new();
        self.read(&lake, &mut wrong);
        let moment = Moment::of(&ground.var);
        if let Some(moment) = &moment {
            wrong.extend(moment.not_joined());
        }
        wrong.extend(self.left_too_early(ground));
        let steps = moment.and_then(|moment| moment.steps(&ground.staging, &lake));
        Found {
            steps: steps.unwrap_or_default().into_iter().collect(),
            wrong,
        }
    }

    pub fn records(&self) -> usize {
        self.landed.len()
    }

    /// What is new in the lake. I4: manifests name it. I2: no record of it was there before.
    fn read(&mut self, lake: &LakeAt, wrong: &mut Vec<String>) {
        let list = lake.list();
        for path in list.keys() {
            if path.starts_with("_lakeward/manifests/") && self.manifests.insert(path.clone()) {
                self.named.extend(names_in(lake, path));
            }
        }
        for path in list.into_keys().filter(|path| is_landed(path)) {
            if !self.files.insert(path.clone()) {
                continue;
            }
            if !self.named.contains(&path) {
                wrong.push(format!("I4: no manifest names `{path}`"));
            }
            let contents = contents(lake, &path);
            for record in contents.records {
                if let Some(record) = self.landed.replace(record) {
                    wrong.push(format!("I2: {record:?} is there twice, again in `{path}`"));
                }
            }
            for what in contents.wrong.into_iter().take(5) {
                wrong.push(format!("I2: `{path}`: {what}"));
            }
        }
    }

    /// I6: what is no longer in the spool is in the lake.
    fn left_too_early(&mut self, ground: &Ground) -> Vec<String> {
        let dropped = dropped(&ground.history, &ground.name);
        // A name is used again only once it is free: all but its last file have left.
        let mut last = HashMap::new();
        for (at, file) in dropped.iter().enumerate() {
            last.insert((&file.pipeline, &file.file), at);
        }
        let mut wrong = Vec::new();
        for (at, file) in dropped.iter().enumerate() {
            let path = ground.spools.join(&file.pipeline).join(&file.file);
            if self.settled.contains(&at)
                || (last[&(&file.pipeline, &file.file)] == at && path.exists())
            {
                continue;
            }
            let missing = file
                .records()
                .filter(|record| !self.landed.contains(record))
                .count();
            if missing == 0 {
                self.settled.insert(at);
            } else {
                wrong.push(format!(
                    "I6: `{}` of {} has left the spool, and {missing} of its records are not in the lake",
                    file.file, file.pipeline
                ));
            }
        }
        wrong
    }
}

/// The final paths that a manifest names; a tombstone names none.
fn names_in(lake: &LakeAt, path: &str) -> Vec<String> {
    let read = lake.read(path);
    let manifest = read.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let Some(manifest) = manifest else {
        return Vec::new();
    };
    let files = manifest["body"]["batch"]["data_files"].as_array();
    let paths = files.into_iter().flatten();
    paths
        .filter_map(|file| file["path"].as_str().map(str::to_owned))
        .collect()
}
