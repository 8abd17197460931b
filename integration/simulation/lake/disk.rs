//! A small file system: what the page cache shows, and what the platter holds.
//!
//! ```text
//! contents    written            shown, kept up to the length that was synced; the rest is torn at a power cut
//!             fsync(file)        kept
//! names       create, rename,    shown; at a power cut each name of each directory is by chance as shown or as last synced
//!             mkdir, unlink      (so a rename may be seen under both names, or under none)
//!             fsync(directory)   kept, of this directory alone: its own name is its parent's
//! ```
//!
//! Real file systems promise more (a rename is one transaction of ext4's or XFS's log), some of them only when mounted so; the protocol is
//! to need no more than this.
//!
//! Staged files are real ones, since the real sink writes them. They move in here when they are renamed to their final name; until
//! staging's directory was synced, a power cut may bring their old name back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::world::World;
use super::{Deed, Log};

pub const ROOT: u64 = 0;

type Names = BTreeMap<String, u64>;

#[derive(Debug)]
enum Node {
    File {
        contents: Vec<u8>,
        /// So many bytes from the beginning survive.
        synced: usize,
    },
    Dir {
        now: Names,
        disk: Names,
    },
}

impl Node {
    fn new_dir() -> Self {
        Self::Dir {
            now: Names::new(),
            disk: Names::new(),
        }
    }
}

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    File(u64),
    Dir(u64),
}

pub struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    staging: Staging,
    pub log: Log,
}

/// What is known of the real files in staging.
#[derive(Default)]
struct Staging {
    /// Files whose contents were synced, and those whose names were.
    contents: BTreeMap<PathBuf, Stamp>,
    names: BTreeMap<PathBuf, Stamp>,
    /// Renamed away, and that not synced yet.
    ghosts: BTreeMap<PathBuf, u64>,
}

/// Tells a file from another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let stat = fs::symlink_metadata(path).ok()?;
    stat.is_file()
        .then(|| Stamp(stat.ino(), stat.len(), stat.mtime(), stat.mtime_nsec()))
}

impl Disk {
    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::new_dir())]),
            next: ROOT + 1,
            staging: Staging::default(),
            log: Log::default(),
        }
    }

    fn add(&mut self, node: Node) -> u64 {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    fn names(&self, dir: u64) -> Option<&Names> {
        match self.nodes.get(&dir) {
            Some(Node::Dir { now, .. }) => Some(now),
            _ => None,
        }
    }

    fn names_mut(&mut self, dir: u64) -> Option<&mut Names> {
        match self.nodes.get_mut(&dir) {
            Some(Node::Dir { now, .. }) => Some(now),
            _ => None,
        }
    }

    pub fn find(&self, dir: u64, name: &str) -> Option<Found> {
        let id = *self.names(dir)?.get(name)?;
        Some(match self.nodes.get(&id)? {
            Node::File { .. } => Found::File(id),
            Node::Dir { .. } => Found::Dir(id),
        })
    }

    /// Whatever stands at a path.
    pub fn at(&self, path: &str) -> Option<Found> {
        path.split('/')
            .try_fold(Found::Dir(ROOT), |found, name| match found {
                Found::Dir(dir) => self.find(dir, name),
                Found::File(_) => None,
            })
    }

    pub fn contents(&self, file: u64) -> Option<&[u8]> {
        match self.nodes.get(&file)? {
            Node::File { contents, .. } => Some(contents),
            Node::Dir { .. } => None,
        }
    }

    /// Names in a directory, in their order.
    pub fn list(&self, dir: u64) -> Vec<(String, Found)> {
        let names = self.names(dir).cloned().unwrap_or_default();
        names
            .into_keys()
            .filter_map(|name| self.find(dir, &name).map(|found| (name, found)))
            .collect()
    }

    /// The directory of this name, made if there is none; `None` if a file has the name.
    pub fn make_dir(&mut self, above: u64, name: &str) -> Option<u64> {
        match self.find(above, name) {
            Some(Found::Dir(id)) => return Some(id),
            Some(Found::File(_)) => return None,
            None => {}
        }
        let id = self.add(Node::new_dir());
        self.names_mut(above)?.insert(name.to_owned(), id);
        Some(id)
    }

    /// A new empty file; `None` if the name is taken.
    pub fn create(&mut self, dir: u64, name: &str) -> Option<u64> {
        if self.find(dir, name).is_some() {
            return None;
        }
        let id = self.add(Node::File {
            contents: Vec::new(),
            synced: 0,
        });
        self.names_mut(dir)?.insert(name.to_owned(), id);
        self.log.version += 1;
        Some(id)
    }

    pub fn append(&mut self, file: u64, bytes: &[u8]) {
        if let Some(Node::File { contents, .. }) = self.nodes.get_mut(&file) {
            contents.extend_from_slice(bytes);
            self.log.version += 1;
        }
    }

    pub fn sync_file(&mut self, file: u64) {
        if let Some(Node::File { contents, synced }) = self.nodes.get_mut(&file) {
            *synced = contents.len();
        }
    }

    pub fn sync_dir(&mut self, dir: u64) {
        if let Some(Node::Dir { now, disk }) = self.nodes.get_mut(&dir) {
            disk.clone_from(now);
        }
    }

    /// Renames a file within a directory, never over another; `path` is the whole new one. `false`: the name is taken.
    pub fn rename_new(&mut self, dir: u64, from: &str, to: &str, path: &str) -> bool {
        if self.find(dir, to).is_some() {
            return false;
        }
        let Some(names) = self.names_mut(dir) else {
            return false;
        };
        if let Some(id) = names.remove(from) {
            names.insert(to.to_owned(), id);
        }
        self.log.tell(path, Deed::Written);
        true
    }

    pub fn unlink(&mut self, dir: u64, name: &str, path: &str) {
        if let Some(names) = self.names_mut(dir)
            && names.remove(name).is_some()
        {
            self.log.tell(path, Deed::Deleted);
        }
    }

    /// The contents of a real file in staging survive a power cut from now on.
    pub fn sync_staged(&mut self, staged: &Path) {
        if let Some(stamp) = stamp(staged) {
            self.staging.contents.insert(staged.to_owned(), stamp);
        }
    }

    /// Staging's names are from now on what they are.
    pub fn sync_staging(&mut self, dir: &Path) -> io::Result<()> {
        self.staging
            .ghosts
            .retain(|path, _| path.parent() != Some(dir));
        self.staging
            .names
            .retain(|path, _| path.parent() != Some(dir));
        for path in files_in(dir)? {
            if let Some(stamp) = stamp(&path) {
                self.staging.names.insert(path, stamp);
            }
        }
        Ok(())
    }

    /// Renames a real file of staging to its final name, never over another; `false`: the name is taken.
    pub fn take_staged(
        &mut self,
        staged: &Path,
        dir: u64,
        to: &str,
        path: &str,
    ) -> io::Result<bool> {
        if self.find(dir, to).is_some() {
            return Ok(false);
        }
        let contents = fs::read(staged)?;
        let is_synced = self.staging.contents.remove(staged) == stamp(staged);
        self.staging.names.remove(staged);
        fs::remove_file(staged)?;
        let synced = if is_synced { contents.len() } else { 0 };
        let id = self.add(Node::File { contents, synced });
        if let Some(names) = self.names_mut(dir) {
            names.insert(to.to_owned(), id);
        }
        self.staging.ghosts.insert(staged.to_owned(), id);
        self.log.tell(path, Deed::Written);
        Ok(true)
    }

    pub fn visible(&self) -> BTreeMap<String, Vec<u8>> {
        let mut seen = BTreeMap::new();
        let mut dirs = vec![(String::new(), ROOT)];
        while let Some((above, dir)) = dirs.pop() {
            for (name, found) in self.list(dir) {
                let path = joined(&above, &name);
                match found {
                    Found::Dir(id) => dirs.push((path, id)),
                    Found::File(id) => {
                        let contents = self.contents(id).unwrap_or_default();
                        seen.insert(path, contents.to_vec());
                    }
                }
            }
        }
        seen
    }

    /// All that anything later depends on. Staged files are real ones: what tells them apart is no part of it.
    pub fn describe(&self, staging: &Path) -> String {
        let mut staged = files_in(staging).unwrap_or_default();
        staged.sort();
        let staged = staged.iter().map(|path| {
            let known = stamp(path);
            let contents = self.staging.contents.get(path).copied() == known;
            let name = self.staging.names.get(path).copied() == known;
            (path.file_name(), contents, name)
        });
        let ghosts = self.staging.ghosts.iter();
        let ghosts = ghosts.map(|(path, id)| (path.file_name(), id));
        format!(
            "{:?} {} {:?} {:?} {:?}",
            self.nodes,
            self.next,
            staged.collect::<Vec<_>>(),
            ghosts.collect::<Vec<_>>(),
            self.log
        )
    }

    /// All that was written is durable.
    pub fn settle(&mut self) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File { contents, synced } => *synced = contents.len(),
                Node::Dir { now, disk } => disk.clone_from(now),
            }
        }
        self.staging = Staging::default();
        self.forget_unreachable();
    }

    pub fn power_cut(&mut self, world: &World, staging: &Path) {
        let before = self.visible();
        self.settle_names(world);
        self.tear_files(world);
        self.restore_staging(world, staging);
        self.forget_unreachable();
        let after = self.visible();
        for (path, contents) in before {
            let now = after.get(&path);
            if now != Some(&contents) {
                let torn = now.is_some();
                self.log.tell(&path, Deed::LostPower { torn });
            }
        }
    }

    /// Each name that differs from what was synced is by chance the one or the other.
    fn settle_names(&mut self, world: &World) {
        for node in self.nodes.values_mut() {
            let Node::Dir { now, disk } = node else {
                continue;
            };
            let names: Vec<String> = now.keys().chain(disk.keys()).cloned().collect();
            for name in names {
                let (shown, synced) = (now.get(&name).copied(), disk.get(&name).copied());
                if shown == synced {
                    continue;
                }
                let kept = if flip(world) { shown } else { synced };
                for map in [&mut *now, &mut *disk] {
                    match kept {
                        Some(id) => map.insert(name.clone(), id),
                        None => map.remove(&name),
                    };
                }
            }
        }
    }

    fn tear_files(&mut self, world: &World) {
        for node in self.nodes.values_mut() {
            if let Node::File { contents, synced } = node {
                tear(world, contents, *synced);
                *synced = contents.len();
            }
        }
    }

    fn restore_staging(&mut self, world: &World, staging: &Path) {
        let known = std::mem::take(&mut self.staging);
        for (path, id) in &known.ghosts {
            if flip(world) && stamp(path).is_none() {
                let contents = self.contents(*id).unwrap_or_default();
                // Its directory may be gone by the hand of the test.
                let _gone = fs::write(path, contents);
                self.sync_staged(path);
            }
        }
        let back: Vec<PathBuf> = self.staging.contents.keys().cloned().collect();
        let is_kept = |path: &Path, kept: &BTreeMap<PathBuf, Stamp>| {
            back.iter().any(|known| known == path)
                || kept
                    .get(path)
                    .is_some_and(|known| Some(*known) == stamp(path))
        };
        tear_real(
            world,
            staging,
            &|path| is_kept(path, &known.contents),
            &|path| is_kept(path, &known.names),
        );
    }

    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::new();
        let mut left = vec![ROOT];
        while let Some(id) = left.pop() {
            if reached.insert(id) {
                left.extend(self.list(id).into_iter().map(|(_, found)| match found {
                    Found::File(id) | Found::Dir(id) => id,
                }));
            }
        }
        self.nodes.retain(|id, _| reached.contains(id));
    }

    pub fn take_away(&mut self, path: &str) -> bool {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = match above {
            "" => Some(Found::Dir(ROOT)),
            above => self.at(above),
        };
        let Some(Found::Dir(dir)) = dir else {
            return false;
        };
        let taken = self
            .names_mut(dir)
            .is_some_and(|names| names.remove(name).is_some());
        self.sync_dir(dir);
        self.log.version += 1;
        taken
    }

    pub fn put_foreign(&mut self, path: &str, bytes: &[u8]) {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = ROOT;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            let Some(made) = self.make_dir(dir, part) else {
                return;
            };
            self.sync_name(dir, part);
            dir = made;
        }
        let id = self.add(Node::File {
            contents: bytes.to_vec(),
            synced: bytes.len(),
        });
        if let Some(names) = self.names_mut(dir) {
            names.insert(name.to_owned(), id);
        }
        self.sync_name(dir, name);
        self.log.version += 1;
    }

    /// One name alone: somebody else's sync is to make nothing of ours durable.
    fn sync_name(&mut self, dir: u64, name: &str) {
        if let Some(Node::Dir { now, disk }) = self.nodes.get_mut(&dir)
            && let Some(id) = now.get(name)
        {
            disk.insert(name.to_owned(), *id);
        }
    }
}

fn joined(above: &str, name: &str) -> String {
    match above {
        "" => name.to_owned(),
        above => format!("{above}/{name}"),
    }
}

fn flip(world: &World) -> bool {
    world.below(2) == 0
}

/// What a power cut makes of contents of which only the first `synced` bytes were synced.
fn tear(world: &World, contents: &mut Vec<u8>, synced: usize) {
    if synced >= contents.len() {
        return;
    }
    let tail = contents.len() - synced;
    match world.below(4) {
        0 => {}
        1 => contents.truncate(synced + world.below(tail as u64) as usize),
        // The length was written, the blocks were not.
        2 => contents[synced..].fill(0),
        _ => contents.truncate(synced),
    }
}

/// The same for real files of which nothing was synced, at any depth: for staging that is not a local lake's.
pub fn tear_directory(world: &World, dir: &Path) {
    tear_real(world, dir, &|_| false, &|_| false);
}

fn tear_real(
    world: &World,
    dir: &Path,
    contents_kept: &dyn Fn(&Path) -> bool,
    name_kept: &dyn Fn(&Path) -> bool,
) {
    if dir.as_os_str().is_empty() {
        return;
    }
    for path in tree(dir) {
        if !name_kept(&path) && flip(world) {
            let _gone = fs::remove_file(&path);
        } else if !contents_kept(&path)
            && let Ok(mut contents) = fs::read(&path)
        {
            let whole = contents.clone();
            tear(world, &mut contents, 0);
            if contents != whole {
                let _gone = fs::write(&path, &contents);
            }
        }
    }
}

/// Regular files at any depth. By their own names first: a directory may be named by an id that another run draws otherwise.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort_by(|a, b| (a.file_name(), a).cmp(&(b.file_name(), b)));
    found
}

fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
