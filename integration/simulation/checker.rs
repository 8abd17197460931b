//! Looks at the lake as a reader does, at every step of a run, and at the end compares all of it with all that was dropped.
//!
//! It knows the names and the manifest of the protocol, since those are promised, and nothing of how the program works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lakeward::naming::{DataFileName, METADATA_DIR, parse_manifest_name};
use lakeward::protocol::{DataFile, DataFileCopy, Manifest};
use lakeward::segment::Digester;

use super::lake::{Deed, LakeStore, is_temporary};
use super::records::{Found, Held, held, ids_in};

/// What a producer dropped.
#[derive(Clone, Debug)]
pub struct Dropped {
    pub path: String,
    pub bytes: Vec<u8>,
    pub ids: Vec<String>,
    /// How many of its records cannot be decoded.
    pub broken: u64,
    /// Those that were appended later.
    pub more: Vec<String>,
    /// It was cut short.
    pub cut: bool,
    /// Somebody changed it in the spool, so that all of it need not land; no record of it may land twice.
    pub touched: bool,
}

impl Dropped {
    /// Records that begin in `[from, to)`.
    fn ids_between(&self, from: u64, to: u64) -> Vec<String> {
        let part = |at: u64| {
            usize::try_from(at)
                .unwrap_or(usize::MAX)
                .min(self.bytes.len())
        };
        ids_in(&self.bytes[part(from)..part(to)])
    }
}

fn is_at(location: &str, dir: &str) -> bool {
    location.ends_with(&format!("/{dir}"))
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
    /// Records of batches that an operator gave up, since they could not be had again.
    lost: BTreeSet<String>,
    /// How often a record may be there beyond once: an operator had its file land from its beginning.
    more: BTreeMap<String, u64>,
    /// Whether a spool was taken over, from when on nobody knows what was sent before.
    adopted: bool,
    /// The lake is not there: another one, with nothing in it, shows in its place.
    hidden: bool,
    /// Locations of partitions that a catalog tells its readers of.
    registered: BTreeSet<String>,
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
            lost: BTreeSet::new(),
            more: BTreeMap::new(),
            adopted: false,
            hidden: false,
            registered: BTreeSet::new(),
            violations: Vec::new(),
        }
    }

    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    pub fn hide(&mut self, hidden: bool) {
        self.hidden = hidden;
        self.version = None;
    }

    /// At any moment: whatever is visible is whole, recorded, and no record is there twice.
    pub fn look(&mut self) {
        let version = self.lake.version();
        if self.version == Some(version) {
            return;
        }
        self.version = Some(version);
        if self.hidden {
            return self.look_aside();
        }
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
            let most = 1 + self.more.get(id).copied().unwrap_or(0);
            if *count > most && self.doubled.insert(id.clone()) {
                self.violations
                    .push(format!("I2: record {id} is there {count} times"));
            }
        }
    }

    /// What lands where the lake is not is gone as soon as it is there again.
    fn look_aside(&mut self) {
        for path in self.lake.data_files() {
            self.violations
                .push(format!("I1: `{path}` landed where the lake is not mounted"));
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

    /// A catalog tells of no partition in which nothing landed.
    pub fn look_at_catalog(&mut self, registered: &[String]) {
        for place in registered {
            if self.registered.contains(place) || self.hidden {
                continue;
            }
            self.registered.insert(place.clone());
            if !self.directories().iter().any(|dir| is_at(place, dir)) {
                self.violations.push(format!(
                    "`{place}` is registered, and nothing has landed there"
                ));
            }
        }
    }

    /// Partitions of the table in which something has landed, whatever its key is.
    fn directories(&self) -> BTreeSet<String> {
        let data = self.seen.keys().filter_map(|path| path.rsplit_once('/'));
        data.filter(|(dir, _)| dir.contains('=') && !dir.starts_with("_rejects"))
            .map(|(dir, _)| dir.to_owned())
            .collect()
    }

    /// All that landed is told of. What a journal had yet to tell, nobody knows once its spool was taken over without it.
    pub fn catalog_ends(&mut self) {
        for dir in self.directories() {
            let told = self.registered.iter().any(|place| is_at(place, &dir));
            if !told && !self.adopted {
                self.violations
                    .push(format!("`{dir}` has landed and is not registered"));
            }
        }
    }

    fn is_missing(&self, id: &str) -> bool {
        self.found.get(id).copied().unwrap_or(0) == 0 && !self.lost.contains(id)
    }

    /// I6: a file left the spool, so all of it is to be seen in the lake.
    pub fn left_the_spool(&mut self, dropped: &Dropped) {
        let ids = dropped.ids.iter();
        let missing: Vec<&String> = ids.filter(|id| self.is_missing(id)).collect();
        if !missing.is_empty() {
            self.violations.push(format!(
                "I6: `{}` left the spool, and of its {} records these are not in the lake: {missing:?}",
                dropped.path,
                dropped.ids.len()
            ));
        }
    }

    /// I10: a file that somebody had changed was retired, so all of what it was at that moment is to be seen in the lake.
    pub fn changed_left(&mut self, content: &[u8]) {
        let mut missing = ids_in(content);
        missing.retain(|id| self.is_missing(id));
        if !missing.is_empty() {
            self.violations.push(format!(
                "I10: a file that had changed was retired, and these of its records are not in the lake: {missing:?}"
            ));
        }
    }

    /// An operator gives up a batch: what was in its segments may be missing from here on, and nothing else.
    pub fn given_up(&mut self, batch: &Manifest, drops: &[Dropped]) {
        let Some(membership) = batch.membership() else {
            return;
        };
        for segment in &membership.segments {
            let path = membership.files[segment.file as usize].path.to_string();
            for dropped in drops.iter().filter(|dropped| dropped.path == path) {
                self.lost
                    .extend(dropped.ids_between(segment.from, segment.to));
            }
        }
    }

    /// A spool is taken over from a journal that nobody has any more: what stands there and has landed, or may still land of what that
    /// journal staged, lands from its beginning.
    pub fn taken_over(&mut self, spooled: &[Vec<u8>]) {
        self.adopted = true;
        let on_its_way = self.not_landed().is_some();
        for id in spooled.iter().flat_map(|content| ids_in(content)) {
            if on_its_way || self.found.get(&id).is_some_and(|count| *count > 0) {
                *self.more.entry(id).or_default() += 1;
            }
        }
    }

    /// An equal drop: nobody knows the first one after a spool was taken over.
    pub fn sent_again(&mut self, dropped: &Dropped) {
        for id in dropped.ids.iter().filter(|_| self.adopted) {
            *self.more.entry(id.clone()).or_default() += 1;
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
            for id in &dropped.ids {
                if self.is_missing(id) {
                    self.violations.push(format!(
                        "I1: record {id} of `{}` is not in the lake",
                        dropped.path
                    ));
                }
            }
        }
    }
}
