//! A file system in memory that knows what is durable, and what a power cut may leave of the rest.
//!
//! ```text
//!                 until it is synced              fsync of
//! bytes, length   writes and truncations wait     the file, or fdatasync
//! entries         made, removed, renamed: wait    the directory that holds them
//! ```
//!
//! At a power cut each waiting change of a file is kept or lost for itself, a kept write also in part, to a boundary of 512
//! bytes: so later writes may survive earlier ones, a file may be longer than what was written to it (with zeros between),
//! and have its length without its bytes. Each waiting change of an entry is kept or lost for itself as well; the two halves of
//! a rename between two directories too, so that a file may come back under both names or under none if only one of the
//! directories was synced. Only a rename within one directory is one change, as on every file system that is in use. A sync of a file does not
//! make its entry durable, nor that of a directory its own entry in its parent, and a sync covers what was done before it began.
//!
//! This is more than any journaling file system does to a program. Modes and owners are durable at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chance::Chance;

pub const ROOT: u64 = 1;
/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// A change of a file's bytes.
#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Arc<[u8]> },
    Truncate(usize),
}

/// A change of one directory: all of it or nothing survives.
type Entries = Vec<(OsString, Option<u64>)>;

/// What waits, with its number among all changes.
type Waiting<T> = Vec<(u64, T)>;

#[derive(Clone)]
enum Body {
    File {
        bytes: Arc<Vec<u8>>,
        durable: Arc<Vec<u8>>,
        waiting: Waiting<Change>,
    },
    /// A spooled file: never changed by the program, known to it by its inode, which this path keeps alive.
    Spooled(PathBuf),
    Dir {
        entries: BTreeMap<OsString, u64>,
        durable: BTreeMap<OsString, u64>,
        waiting: Waiting<Entries>,
    },
}

#[derive(Clone)]
struct Inode {
    body: Body,
    mode: u32,
}

/// What is under a number, as it is cached.
pub enum Seen<'a> {
    File(&'a [u8]),
    Spooled(&'a Path),
    Dir(&'a BTreeMap<OsString, u64>),
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Nothing,
    Everything,
    /// Names without what was written.
    Names,
    /// What was written without new names.
    Contents,
    /// What was done up to some moment, as where a disk is written in order.
    InOrder,
    /// Each for itself.
    Chance,
}

/// All inodes, by number; no number is given twice.
#[derive(Clone)]
pub struct Tree {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    /// Made so far.
    changes: u64,
}

/// Or what stands against it.
pub type Answer<T> = Result<T, String>;

impl Body {
    fn dir() -> Self {
        Self::Dir {
            entries: BTreeMap::new(),
            durable: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    fn file(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        Self::File {
            durable: Arc::clone(&bytes),
            bytes,
            waiting: Vec::new(),
        }
    }
}

/// How much of what waits is kept, in percent.
struct Kept {
    contents: u64,
    entries: u64,
    /// Changes from here on are lost.
    until: u64,
    tears: bool,
}

impl Kept {
    fn of(manner: Manner, changes: u64, chance: &mut Chance) -> Self {
        let all = |contents, entries| Self {
            contents,
            entries,
            until: u64::MAX,
            tears: false,
        };
        match manner {
            Manner::Nothing => all(0, 0),
            Manner::Everything => all(100, 100),
            Manner::Names => all(0, 100),
            Manner::Contents => all(100, 0),
            Manner::InOrder => Self {
                // Of the last ones, mostly: who writes in order is never long behind.
                until: changes.saturating_sub(chance.below(40)),
                ..all(100, 100)
            },
            Manner::Chance => Self {
                tears: true,
                ..all(chance.pick(&[10, 50, 90]), chance.pick(&[10, 50, 90, 100]))
            },
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        let root = Inode {
            body: Body::dir(),
            mode: 0o755,
        };
        Self {
            inodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            changes: 0,
        }
    }
}

impl Tree {
    // ------------------------------------------------------------ what survives

    /// What a cut leaves now, all of it durable.
    pub fn after_cut(&self, manner: Manner, chance: &mut Chance) -> Self {
        let kept = Kept::of(manner, self.changes, chance);
        let mut left = self.clone();
        for inode in left.inodes.values_mut() {
            match &mut inode.body {
                Body::File {
                    bytes,
                    durable,
                    waiting,
                } => {
                    keep_bytes(durable, waiting, &kept, chance);
                    bytes.clone_from(durable);
                    waiting.clear();
                }
                Body::Spooled(_) => {}
                Body::Dir {
                    entries,
                    durable,
                    waiting,
                } => {
                    for (number, change) in waiting.drain(..) {
                        if number < kept.until && chance.below(100) < kept.entries {
                            apply(durable, &change);
                        }
                    }
                    // Memory that processes share, which is never synced: nothing of it can be relied upon.
                    durable.retain(|name, _| !name.as_encoded_bytes().ends_with(b"-shm"));
                    entries.clone_from(durable);
                }
            }
        }
        left
    }

    // ------------------------------------------------------------ looks

    fn inode(&self, number: u64) -> Answer<&Inode> {
        self.inodes
            .get(&number)
            .ok_or_else(|| format!("no inode {number}"))
    }

    fn inode_mut(&mut self, number: u64) -> Answer<&mut Inode> {
        self.inodes
            .get_mut(&number)
            .ok_or_else(|| format!("no inode {number}"))
    }

    pub fn see(&self, number: u64) -> Answer<Seen<'_>> {
        Ok(match &self.inode(number)?.body {
            Body::File { bytes, .. } => Seen::File(bytes),
            Body::Spooled(path) => Seen::Spooled(path),
            Body::Dir { entries, .. } => Seen::Dir(entries),
        })
    }

    pub fn mode(&self, number: u64) -> Answer<u32> {
        Ok(self.inode(number)?.mode)
    }

    pub fn is_dir(&self, number: u64) -> bool {
        matches!(self.see(number), Ok(Seen::Dir(_)))
    }

    /// Of a file of the program's own.
    pub fn length(&self, number: u64) -> Answer<usize> {
        match self.see(number)? {
            Seen::File(bytes) => Ok(bytes.len()),
            _ => Err(format!("inode {number} is not the program's to write")),
        }
    }

    pub fn find(&self, dir: u64, name: &OsStr) -> Option<u64> {
        match self.see(dir) {
            Ok(Seen::Dir(entries)) => entries.get(name).copied(),
            _ => None,
        }
    }

    /// Below `dir`, by names alone.
    pub fn follow(&self, dir: u64, path: &Path) -> Option<u64> {
        path.iter().try_fold(dir, |dir, name| self.find(dir, name))
    }

    // ------------------------------------------------------------ changes

    pub fn add_dir(&mut self, dir: u64, name: &OsStr, mode: u32) -> Answer<u64> {
        self.add(dir, name, Body::dir(), mode)
    }

    pub fn add_file(&mut self, dir: u64, name: &OsStr, bytes: Vec<u8>, mode: u32) -> Answer<u64> {
        self.add(dir, name, Body::file(bytes), mode)
    }

    pub fn add_spooled(&mut self, dir: u64, name: &OsStr, kept: PathBuf) -> Answer<u64> {
        self.add(dir, name, Body::Spooled(kept), 0o644)
    }

    fn add(&mut self, dir: u64, name: &OsStr, body: Body, mode: u32) -> Answer<u64> {
        self.vacant(dir, name)?;
        let number = self.next;
        self.next += 1;
        self.inodes.insert(number, Inode { body, mode });
        self.change(dir, vec![(name.to_owned(), Some(number))])?;
        Ok(number)
    }

    pub fn link(&mut self, file: u64, dir: u64, name: &OsStr) -> Answer<()> {
        self.vacant(dir, name)?;
        self.change(dir, vec![(name.to_owned(), Some(file))])
    }

    /// The inode stays: it may be open, and a power cut may bring its entry back.
    pub fn remove(&mut self, dir: u64, name: &OsStr) -> Answer<()> {
        let number = self.there(dir, name)?;
        if let Seen::Dir(entries) = self.see(number)?
            && !entries.is_empty()
        {
            return Err(format!("{} is not empty", name.display()));
        }
        self.change(dir, vec![(name.to_owned(), None)])
    }

    pub fn rename(
        &mut self,
        (from, name): (u64, &OsStr),
        (to, to_name): (u64, &OsStr),
        replaces: bool,
    ) -> Answer<()> {
        let number = self.there(from, name)?;
        if !replaces {
            self.vacant(to, to_name)?;
        }
        let gone = (name.to_owned(), None);
        let there = (to_name.to_owned(), Some(number));
        if from == to {
            return self.change(from, vec![gone, there]);
        }
        self.change(to, vec![there])?;
        self.change(from, vec![gone])
    }

    pub fn write(&mut self, file: u64, at: u64, data: &[u8]) -> Answer<()> {
        let change = Change::Write {
            at: at as usize,
            bytes: data.into(),
        };
        self.change_bytes(file, change)
    }

    pub fn truncate(&mut self, file: u64, length: u64) -> Answer<()> {
        self.change_bytes(file, Change::Truncate(length as usize))
    }

    pub fn set_mode(&mut self, number: u64, mode: u32) -> Answer<()> {
        self.inode_mut(number)?.mode = mode & 0o7777;
        Ok(())
    }

    /// How many changes there were: what a sync that begins now covers.
    pub fn now(&self) -> u64 {
        self.changes
    }

    /// Of a file or of a directory: what waits since before `began` is durable.
    pub fn sync(&mut self, number: u64, began: u64) -> Answer<()> {
        match &mut self.inode_mut(number)?.body {
            Body::File {
                durable, waiting, ..
            } => {
                for change in covered(waiting, began) {
                    change.apply(Arc::make_mut(durable));
                }
            }
            Body::Spooled(_) => {}
            Body::Dir {
                durable, waiting, ..
            } => {
                for change in covered(waiting, began) {
                    apply(durable, &change);
                }
            }
        }
        Ok(())
    }

    /// Of all there is.
    pub fn sync_all(&mut self) {
        let numbers: Vec<u64> = self.inodes.keys().copied().collect();
        for number in numbers {
            let _there = self.sync(number, u64::MAX);
        }
    }

    fn there(&self, dir: u64, name: &OsStr) -> Answer<u64> {
        self.find(dir, name)
            .ok_or_else(|| format!("no {} in inode {dir}", name.display()))
    }

    fn vacant(&self, dir: u64, name: &OsStr) -> Answer<()> {
        match self.find(dir, name) {
            None => Ok(()),
            Some(_) => Err(format!("{} is in inode {dir} already", name.display())),
        }
    }

    fn change_bytes(&mut self, file: u64, change: Change) -> Answer<()> {
        let number = self.changes;
        let Body::File { bytes, waiting, .. } = &mut self.inode_mut(file)?.body else {
            return Err(format!("inode {file} is not the program's to write"));
        };
        change.apply(Arc::make_mut(bytes));
        waiting.push((number, change));
        self.changes += 1;
        Ok(())
    }

    fn change(&mut self, dir: u64, change: Entries) -> Answer<()> {
        let number = self.changes;
        let Body::Dir {
            entries, waiting, ..
        } = &mut self.inode_mut(dir)?.body
        else {
            return Err(format!("inode {dir} is no directory"));
        };
        apply(entries, &change);
        waiting.push((number, change));
        self.changes += 1;
        Ok(())
    }
}

fn apply(entries: &mut BTreeMap<OsString, u64>, change: &Entries) {
    for (name, number) in change {
        match number {
            Some(number) => entries.insert(name.clone(), *number),
            None => entries.remove(name),
        };
    }
}

/// Takes out what was done before.
fn covered<T>(waiting: &mut Waiting<T>, began: u64) -> Vec<T> {
    let count = waiting.partition_point(|(number, _)| *number < began);
    waiting.drain(..count).map(|(_, change)| change).collect()
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => to.resize(*length, 0),
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
        }
    }
}

/// Adds some of what waits to what is durable.
fn keep_bytes(
    durable: &mut Arc<Vec<u8>>,
    waiting: &Waiting<Change>,
    kept: &Kept,
    chance: &mut Chance,
) {
    for (number, change) in waiting {
        if *number >= kept.until || chance.below(100) >= kept.contents {
            continue;
        }
        let to = Arc::make_mut(durable);
        match change {
            Change::Write { at, bytes } if kept.tears && chance.one_in(4) => {
                let sectors = bytes.len().div_ceil(SECTOR) as u64;
                let length = (chance.below(sectors + 1) as usize * SECTOR).min(bytes.len());
                let part = Change::Write {
                    at: *at,
                    bytes: bytes[..length].into(),
                };
                part.apply(to);
            }
            _ => change.apply(to),
        }
    }
}
