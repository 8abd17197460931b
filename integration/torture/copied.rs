//! A [`Tree`], taken from a real directory and put into one.
//!
//! The journal knows spooled files by their inodes, so these are no copies: each keeps its inode by a link outside of the disk, and whatever
//! is put anywhere is one more link to it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirEntryExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::durable::{ROOT, Seen, Tree};

/// Links to all spooled files there ever were.
pub struct Spooled {
    dir: PathBuf,
    known: BTreeMap<u64, Known>,
}

struct Known {
    /// By name.
    spool: String,
    /// Size and time: no run may change them.
    state: (u64, i64, i64),
    is_gone: bool,
}

impl Spooled {
    pub fn keep_in(dir: PathBuf) -> Self {
        std::fs::create_dir(&dir).expect("a directory");
        Self {
            dir,
            known: BTreeMap::new(),
        }
    }

    /// All of the spool of this name that are not hidden, the first time that they are seen.
    pub fn keep(&mut self, spool: &str, at: &Path) {
        for entry in std::fs::read_dir(at).expect("a spool").flatten() {
            let found = entry.metadata().expect("a spooled file");
            if entry.file_name().as_encoded_bytes().starts_with(b".")
                || self.known.contains_key(&found.ino())
            {
                continue;
            }
            std::fs::hard_link(entry.path(), self.link(found.ino())).expect("a link");
            let known = Known {
                spool: spool.to_owned(),
                state: state(&found),
                is_gone: false,
            };
            self.known.insert(found.ino(), known);
        }
    }

    fn link(&self, inode: u64) -> PathBuf {
        self.dir.join(inode.to_string())
    }

    /// Inodes of those that were dropped into the spool of this name and are in none of these directories any more.
    pub fn missing(&self, spool: &str, from: &[PathBuf]) -> Vec<u64> {
        let mut found = BTreeSet::new();
        for dir in from {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                found.insert(entry.ino());
            }
        }
        let known = self.known.iter();
        known
            .filter(|(inode, known)| {
                known.spool == spool && !known.is_gone && !found.contains(inode)
            })
            .map(|(inode, _)| *inode)
            .collect()
    }

    /// Nobody asks for this one any more.
    pub fn forget(&mut self, inode: u64) {
        if let Some(known) = self.known.get_mut(&inode) {
            known.is_gone = true;
        }
    }

    /// The first that is not as it was dropped.
    pub fn changed(&self) -> Option<PathBuf> {
        let differs = |(inode, known): (&u64, &Known)| {
            let link = self.link(*inode);
            let now = link.metadata().expect("a link");
            (state(&now) != known.state).then_some(link)
        };
        self.known.iter().find_map(differs)
    }
}

fn state(found: &std::fs::Metadata) -> (u64, i64, i64) {
    (found.len(), found.mtime(), found.mtime_nsec())
}

impl Tree {
    /// What is in a directory, all of it durable.
    pub fn taken_from(at: &Path, spooled: &Spooled) -> Self {
        let mut tree = Self::default();
        let mut seen = BTreeMap::new();
        tree.take(ROOT, at, spooled, &mut seen);
        tree.sync_all();
        tree
    }

    fn take(&mut self, dir: u64, at: &Path, spooled: &Spooled, seen: &mut BTreeMap<u64, u64>) {
        for entry in std::fs::read_dir(at).expect("a directory").flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let found = entry.metadata().expect("what was listed");
            let mode = found.mode() & 0o7777;
            if found.is_dir() {
                let below = self.add_dir(dir, &name, mode).expect("a new name");
                self.take(below, &path, spooled, seen);
            } else if let Some(number) = seen.get(&found.ino()) {
                self.link(*number, dir, &name).expect("a new name");
            } else {
                let number = if spooled.known.contains_key(&found.ino()) {
                    self.add_spooled(dir, &name, spooled.link(found.ino()))
                } else {
                    let bytes = std::fs::read(&path).expect("what was listed");
                    self.add_file(dir, &name, bytes, mode)
                };
                seen.insert(found.ino(), number.expect("a new name"));
            }
        }
    }

    /// A directory that holds this and nothing else.
    pub fn put_into(&self, at: &Path) {
        if at.exists() {
            std::fs::remove_dir_all(at).expect("what an earlier cut left");
        }
        self.put(ROOT, at, &mut BTreeMap::new())
            .expect("room for a tree");
    }

    fn put(&self, dir: u64, at: &Path, done: &mut BTreeMap<u64, PathBuf>) -> std::io::Result<()> {
        std::fs::create_dir(at)?;
        let Ok(Seen::Dir(entries)) = self.see(dir) else {
            unreachable!("only directories are entered");
        };
        for (name, number) in entries {
            let to = at.join(name);
            if let Some(first) = done.get(number) {
                std::fs::hard_link(first, &to)?;
                continue;
            }
            match self.see(*number).expect("an entry's inode") {
                Seen::Dir(_) => self.put(*number, &to, done)?,
                Seen::Spooled(link) => std::fs::hard_link(link, &to)?,
                Seen::File(bytes) => {
                    std::fs::write(&to, bytes)?;
                    self.set(*number, &to)?;
                    done.insert(*number, to);
                }
            }
        }
        self.set(dir, at)
    }

    fn set(&self, number: u64, at: &Path) -> std::io::Result<()> {
        let mode = self.mode(number).expect("an inode");
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode))
    }

    /// Equal for trees that hold the same under the same names.
    pub fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.add_to_mark(ROOT, &mut hasher);
        hasher.finish()
    }

    fn add_to_mark(&self, number: u64, hasher: &mut DefaultHasher) {
        self.mode(number).hash(hasher);
        match self.see(number).expect("an inode") {
            Seen::File(bytes) => (0, bytes).hash(hasher),
            Seen::Spooled(link) => (1, link).hash(hasher),
            Seen::Dir(entries) => {
                (2, entries.len()).hash(hasher);
                for (name, number) in entries {
                    name.hash(hasher);
                    self.add_to_mark(*number, hasher);
                }
            }
        }
    }

    /// The first path under which the two differ in what is cached, but for SQLite's shared memory.
    pub fn difference(&self, other: &Self) -> Option<PathBuf> {
        self.differs(ROOT, other, ROOT, Path::new(""))
    }

    fn differs(&self, own: u64, other: &Self, its: u64, at: &Path) -> Option<PathBuf> {
        let (mine, theirs) = match (self.see(own).ok()?, other.see(its).ok()?) {
            (Seen::Dir(mine), Seen::Dir(theirs)) => (mine, theirs),
            (Seen::File(mine), Seen::File(theirs)) if mine == theirs => return None,
            (Seen::Spooled(mine), Seen::Spooled(theirs)) if mine == theirs => return None,
            _ => return Some(at.to_owned()),
        };
        for name in mine.keys().chain(theirs.keys()) {
            let path = at.join(name);
            if name.as_encoded_bytes().ends_with(b"-shm") {
                continue;
            }
            let (Some(mine), Some(theirs)) = (mine.get(name), theirs.get(name)) else {
                return Some(path);
            };
            let different = self.differs(*mine, other, *theirs, &path);
            if different.is_some() {
                return different;
            }
        }
        None
    }
}
