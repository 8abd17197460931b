//! Looks at the lake as a reader does, at every step of a run, and at the end compares all of it with all that was dropped.
//!
//! It knows the names and the manifest of the protocol, since those are promised, and nothing of how the program works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lakeward::naming::{DataFileName, METADATA_DIR, parse_manifest_name};
use lakeward::protocol::{DataFile, DataFileCopy, Manifest};
use lakeward::segment::Digester;

use super::lake::{Deed, LakeStore, is_temporary};
use super::records::{Found, Held, held};

/// What a producer dropped.
#[derive(Clone, Debug)]
pub struct Dropped {
    pub path: String,
    pub bytes: Vec<u8>,
    pub ids: Vec<String>,
    /// Those that were appended later.
    pub more: Vec<String>,
    /// It was cut short.
    pub cut: bool,
    /// Somebody changed it in the spool, so that all of it need not land; no record of it may land twice.
    pub touched: bool,
}

struct Seen {
    bytes: Vec<u8>,
    ids: Vec<String>,
}

pub struct Checker {
    lake: Arc<LakeStore>,
    /// A store that ignores conditions may write the same bytes over themselves.
    weak: bool,
    version: Option<u64>,
    seen: BTreeMap<String, Seen>,
    manifests: BTreeMap<String, Manifest>,
    pub found: Found,
    /// Files that somebody else put where ours were to land, until they are moved away.
    pub foreign: BTreeSet<String>,
    /// Records that were told of.
    doubled: BTreeSet<String>,
    /// An operator gave up a batch whose records could not be had again.
    pub loss_accepted: bool,
    pub violations: Vec<String>,
}

impl Checker {
    pub fn new(lake: Arc<LakeStore>, weak: bool) -> Self {
        Self {
            lake,
            weak,
            version: None,
            seen: BTreeMap::new(),
            manifests: BTreeMap::new(),
            found: Found::new(),
            foreign: BTreeSet::new(),
            doubled: BTreeSet::new(),
            loss_accepted: false,
            violations: Vec::new(),
        }
    }

    /// At any moment: whatever is visible is whole, recorded, and no record is there twice.
    pub fn look(&mut self) {
        let version = self.lake.version();
        if self.version == Some(version) {
            return;
        }
        self.version = Some(version);
        let mut lost = BTreeSet::new();
        for change in self.lake.changes() {
            match change.deed {
                Deed::Written => {}
                Deed::LostPower { .. } => {
                    lost.insert(change.path);
                }
                Deed::Replaced { same_bytes } if same_bytes && self.weak => {}
                deed @ (Deed::Replaced { .. } | Deed::Deleted) => {
                    self.violations
                        .push(format!("I3: `{}` was {deed:?}", change.path));
                }
            }
        }
        let visible = self.lake.visible();
        self.forget(&visible, &lost);
        for (path, bytes) in &visible {
            if is_temporary(path)
                || self.foreign.contains(path)
                || self.seen.get(path).is_some_and(|seen| seen.bytes == *bytes)
            {
                continue;
            }
            self.take(path, bytes);
        }
        for (id, count) in &self.found {
            if *count > 1 && self.doubled.insert(id.clone()) {
                self.violations
                    .push(format!("I2: record {id} is there {count} times"));
            }
        }
    }

    fn forget(&mut self, visible: &BTreeMap<String, Vec<u8>>, lost: &BTreeSet<String>) {
        let gone: Vec<String> = self
            .seen
            .keys()
            .filter(|path| !visible.contains_key(*path) || lost.contains(*path))
            .cloned()
            .collect();
        for path in gone {
            if !lost.contains(&path) {
                self.violations.push(format!("I3: `{path}` is gone"));
            }
            self.drop_seen(&path);
        }
        self.manifests.retain(|path, _| visible.contains_key(path));
    }

    fn drop_seen(&mut self, path: &str) {
        for id in self.seen.remove(path).into_iter().flat_map(|seen| seen.ids) {
            if let Some(count) = self.found.get_mut(&id) {
                *count -= 1;
            }
        }
    }

    fn take(&mut self, path: &str, bytes: &[u8]) {
        self.drop_seen(path);
        let name = path.rsplit('/').next().unwrap_or(path);
        if path.starts_with(METADATA_DIR) {
            if parse_manifest_name(name).is_some() {
                match Manifest::from_json(bytes) {
                    Ok(manifest) => {
                        self.manifests.insert(path.to_owned(), manifest);
                    }
                    Err(error) => self
                        .violations
                        .push(format!("I2: manifest `{path}` is no whole one: {error}")),
                }
            }
            return;
        }
        if DataFileName::parse(name).is_none() {
            return;
        }
        match self.copies(path) {
            None => self
                .violations
                .push(format!("I4: `{path}` is visible and in no manifest")),
            Some((copies, _)) => {
                let mut digester = Digester::default();
                digester.update(bytes);
                let copy = DataFileCopy {
                    length: bytes.len() as u64,
                    digest: digester.digest(),
                };
                if !copies.contains(&copy) {
                    self.violations.push(format!(
                        "I2: `{path}` is visible with {} bytes that its manifests do not record",
                        bytes.len()
                    ));
                }
            }
        }
        match held(path, bytes) {
            Ok(Held { records, ids }) => {
                if let Some((_, recorded)) = self.copies(path).filter(|(_, n)| *n != records) {
                    self.violations.push(format!(
                        "I9: `{path}` holds {records} records, its manifest says {recorded}"
                    ));
                }
                for id in &ids {
                    *self.found.entry(id.clone()).or_default() += 1;
                }
                let bytes = bytes.to_vec();
                self.seen.insert(path.to_owned(), Seen { bytes, ids });
            }
            Err(error) => self
                .violations
                .push(format!("I2: `{path}` is no whole file: {error}")),
        }
    }

    /// A data file that a manifest records and nobody sees yet.
    pub fn not_landed(&self) -> Option<String> {
        self.manifests
            .values()
            .filter_map(Manifest::membership)
            .flat_map(|membership| &membership.data_files)
            .map(|file| &file.path)
            .find(|path| !self.seen.contains_key(*path))
            .cloned()
    }

    /// What the manifests record of a data file: its copies and its records.
    fn copies(&self, path: &str) -> Option<(Vec<DataFileCopy>, u64)> {
        let files: Vec<&DataFile> = self
            .manifests
            .values()
            .filter_map(Manifest::membership)
            .flat_map(|membership| &membership.data_files)
            .filter(|file| file.path == path)
            .collect();
        let records = files.first()?.records;
        let copies = files.iter().flat_map(|file| file.copies.iter().copied());
        Some((copies.collect(), records))
    }

    /// Batches that a manifest tells of.
    pub fn batches(&self) -> usize {
        self.manifests
            .values()
            .filter(|manifest| manifest.membership().is_some())
            .map(|manifest| (manifest.journal, manifest.batch))
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// I6: a file left the spool, so all of it is to be seen in the lake.
    pub fn left_the_spool(&mut self, dropped: &Dropped) {
        if self.loss_accepted {
            return;
        }
        let missing: Vec<&String> = dropped
            .ids
            .iter()
            .filter(|id| self.found.get(*id).copied().unwrap_or(0) == 0)
            .collect();
        if !missing.is_empty() {
            self.violations.push(format!(
                "I6: `{}` left the spool, and of its {} records these are not in the lake: {missing:?}",
                dropped.path,
                dropped.ids.len()
            ));
        }
    }

    /// Once all is drained: every record of every drop once, and nothing else.
    pub fn end(&mut self, drops: &[Dropped]) {
        self.version = None;
        self.look();
        let known: BTreeSet<&String> = drops
            .iter()
            .flat_map(|dropped| dropped.ids.iter().chain(&dropped.more))
            .collect();
        for (id, count) in &self.found {
            if *count > 0 && !known.contains(id) {
                self.violations
                    .push(format!("record {id} is in the lake and nobody dropped it"));
            }
        }
        for dropped in drops.iter().filter(|dropped| !dropped.touched) {
            if self.loss_accepted {
                break;
            }
            for id in &dropped.ids {
                let count = self.found.get(id).copied().unwrap_or(0);
                if count == 0 {
                    self.violations.push(format!(
                        "I1: record {id} of `{}` is not in the lake",
                        dropped.path
                    ));
                }
            }
        }
    }
}
