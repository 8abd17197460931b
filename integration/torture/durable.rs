//! A file system in memory that knows what is durable, and what a power cut may leave of the rest.
//!
//! ```text
//!                 until it is synced              fsync of
//! bytes, length   writes and truncations wait     the file, or the whole of it by fdatasync
//! entries         made, removed, renamed: wait    the directory that holds them
//! ```
//!
//! At a power cut each waiting change of a file is kept or lost for itself, a kept write also in part, to a boundary of 512
//! bytes: so later writes may survive earlier ones, a file may be longer than what was written to it (with zeros between),
//! and have its length without its bytes. Each waiting change of an entry is kept or lost for itself as well; the two halves of
//! a rename between two directories too, so that a file may come back under both names or under none if only one of the
//! directories was synced. Only a rename within one directory is one change, as on every file system that is in use. A sync of a file does not
//! make its entry durable, nor that of a directory its own entry in its parent.
//!
//! This is more than any journaling file system does to a program. Modes, owners and times are durable at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::chance::Chance;

pub const ROOT: u64 = 1;
/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// A change of a file's bytes.
#[derive(Clone)]
pub enum Change {
    Write { at: usize, bytes: Arc<[u8]> },
    Truncate(usize),
}

/// A change of one directory: all of it or nothing survives.
type Entries = Vec<(OsString, Option<u64>)>;

#[derive(Clone)]
pub enum Body {
    File {
        bytes: Vec<u8>,
        durable: Vec<u8>,
        waiting: Vec<Change>,
    },
    Dir {
        entries: BTreeMap<OsString, u64>,
        durable: BTreeMap<OsString, u64>,
        waiting: Vec<Entries>,
    },
}

#[derive(Clone)]
pub struct Inode {
    pub body: Body,
    pub mode: u16,
    pub mtime: SystemTime,
    pub links: u32,
}

/// All inodes, by number; no number is given twice.
#[derive(Clone)]
pub struct Tree {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    /// Changes and syncs so far.
    pub steps: u64,
    /// Before this step the power goes; what was left of the tree then.
    cut_at: Option<u64>,
    cut: Option<Box<Tree>>,
    seed: u64,
    /// A disk that lies: it says that it has synced, and has not.
    pub deaf: bool,
}

/// What a call answers if it fails.
pub type Answer<T> = Result<T, rustix::io::Errno>;
use rustix::io::Errno;

impl Inode {
    fn new(body: Body, mode: u32) -> Self {
        Self {
            links: if matches!(body, Body::Dir { .. }) {
                2
            } else {
                1
            },
            body,
            mode: (mode & 0o7777) as u16,
            mtime: SystemTime::now(),
        }
    }

    pub fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir { .. })
    }

    pub fn length(&self) -> u64 {
        match &self.body {
            Body::File { bytes, .. } => bytes.len() as u64,
            Body::Dir { .. } => 4096,
        }
    }
}

fn new_file() -> Body {
    Body::File {
        bytes: Vec::new(),
        durable: Vec::new(),
        waiting: Vec::new(),
    }
}

fn new_dir() -> Body {
    Body::Dir {
        entries: BTreeMap::new(),
        durable: BTreeMap::new(),
        waiting: Vec::new(),
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            inodes: BTreeMap::from([(ROOT, Inode::new(new_dir(), 0o755))]),
            next: ROOT + 1,
            steps: 0,
            cut_at: None,
            cut: None,
            seed: 0,
            deaf: false,
        }
    }
}

impl Tree {
    /// The power will go before the step of this number, counted from now, if it comes; what survives follows from the seed.
    pub fn cut_at(&mut self, steps: u64, seed: u64) {
        self.cut_at = Some(self.steps + steps);
        self.seed = seed;
        self.cut = None;
    }

    /// What a cut left: the one that was asked for, or one at this instant.
    pub fn after_cut(&mut self, seed: u64) -> Self {
        let cut = self.cut.take();
        self.cut_at = None;
        cut.map_or_else(|| self.survivors(&mut Chance::of(seed)), |cut| *cut)
    }

    /// Whether the power has gone already: nothing that is done now counts.
    pub fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    fn step(&mut self) {
        if self.cut.is_none() && self.cut_at.is_some_and(|at| self.steps >= at) {
            let cut = self.survivors(&mut Chance::of(self.seed));
            self.cut = Some(Box::new(cut));
        }
        self.steps += 1;
    }

    // ------------------------------------------------------------ what survives

    fn survivors(&self, chance: &mut Chance) -> Self {
        let mut inodes = BTreeMap::new();
        // How much of what waits is kept: nothing, nearly all, or half.
        let kept = chance.pick(&[0, 50, 90, 100]);
        for (number, inode) in &self.inodes {
            let body = match &inode.body {
                Body::File {
                    durable, waiting, ..
                } => {
                    let bytes = bytes_left(durable, waiting, kept, chance);
                    Body::File {
                        durable: bytes.clone(),
                        bytes,
                        waiting: Vec::new(),
                    }
                }
                Body::Dir {
                    durable, waiting, ..
                } => {
                    let mut entries = durable.clone();
                    for change in waiting {
                        if chance.below(100) < kept {
                            apply(&mut entries, change);
                        }
                    }
                    // Memory that processes share, which is never synced: nothing of it can be relied upon.
                    entries.retain(|name, _| !name.as_encoded_bytes().ends_with(b"-shm"));
                    Body::Dir {
                        durable: entries.clone(),
                        entries,
                        waiting: Vec::new(),
                    }
                }
            };
            inodes.insert(
                *number,
                Inode {
                    body,
                    ..inode.clone()
                },
            );
        }
        let mut left = Self {
            inodes,
            next: self.next,
            steps: 0,
            cut_at: None,
            cut: None,
            seed: 0,
            deaf: false,
        };
        left.check();
        left
    }

    /// As a check of the file system does after the cut: counts links, drops what no entry leads to.
    fn check(&mut self) {
        let mut links: BTreeMap<u64, u32> = BTreeMap::from([(ROOT, 2)]);
        let mut todo = vec![ROOT];
        while let Some(dir) = todo.pop() {
            let children: Vec<u64> = match &self.inodes[&dir].body {
                Body::Dir { entries, .. } => entries.values().copied().collect(),
                Body::File { .. } => Vec::new(),
            };
            for child in children {
                let is_dir = self.inodes[&child].is_dir();
                let count = links.entry(child).or_insert(u32::from(is_dir));
                *count += 1;
                if is_dir {
                    todo.push(child);
                }
            }
        }
        self.inodes.retain(|number, _| links.contains_key(number));
        for (number, inode) in &mut self.inodes {
            inode.links = links[number];
        }
    }

    // ------------------------------------------------------------ looks

    pub fn inode(&self, number: u64) -> Answer<&Inode> {
        self.inodes.get(&number).ok_or(Errno::NOENT)
    }

    fn inode_mut(&mut self, number: u64) -> Answer<&mut Inode> {
        self.inodes.get_mut(&number).ok_or(Errno::NOENT)
    }

    pub fn entries(&self, dir: u64) -> Answer<&BTreeMap<OsString, u64>> {
        match &self.inode(dir)?.body {
            Body::Dir { entries, .. } => Ok(entries),
            Body::File { .. } => Err(Errno::NOTDIR),
        }
    }

    pub fn lookup(&self, dir: u64, name: &OsStr) -> Answer<u64> {
        self.entries(dir)?.get(name).copied().ok_or(Errno::NOENT)
    }

    pub fn read(&self, file: u64, at: u64, length: usize) -> Answer<&[u8]> {
        match &self.inode(file)?.body {
            Body::File { bytes, .. } => {
                let from = (at as usize).min(bytes.len());
                Ok(&bytes[from..(from + length).min(bytes.len())])
            }
            Body::Dir { .. } => Err(Errno::ISDIR),
        }
    }

    // ------------------------------------------------------------ changes

    pub fn create(&mut self, dir: u64, name: &OsStr, mode: u32, is_dir: bool) -> Answer<u64> {
        if self.lookup(dir, name).is_ok() {
            return Err(Errno::EXIST);
        }
        self.step();
        let number = self.next;
        self.next += 1;
        let body = if is_dir { new_dir() } else { new_file() };
        self.inodes.insert(number, Inode::new(body, mode));
        self.change(dir, vec![(name.to_owned(), Some(number))])?;
        Ok(number)
    }

    pub fn link(&mut self, file: u64, dir: u64, name: &OsStr) -> Answer<()> {
        if self.lookup(dir, name).is_ok() {
            return Err(Errno::EXIST);
        }
        self.step();
        self.inode_mut(file)?.links += 1;
        self.change(dir, vec![(name.to_owned(), Some(file))])
    }

    pub fn remove(&mut self, dir: u64, name: &OsStr) -> Answer<()> {
        let number = self.lookup(dir, name)?;
        if self.inode(number)?.is_dir() && !self.entries(number)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.step();
        self.unlinked(number)?;
        self.change(dir, vec![(name.to_owned(), None)])
    }

    pub fn rename(
        &mut self,
        from: u64,
        name: &OsStr,
        to: u64,
        to_name: &OsStr,
        replace: bool,
    ) -> Answer<()> {
        let number = self.lookup(from, name)?;
        let replaced = self.lookup(to, to_name).ok();
        if replaced.is_some() && !replace {
            return Err(Errno::EXIST);
        }
        self.step();
        if let Some(replaced) = replaced.filter(|replaced| *replaced != number) {
            self.unlinked(replaced)?;
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
        self.step();
        let inode = self.inode_mut(file)?;
        inode.mtime = SystemTime::now();
        let Body::File { bytes, waiting, .. } = &mut inode.body else {
            return Err(Errno::ISDIR);
        };
        let change = Change::Write {
            at: at as usize,
            bytes: data.into(),
        };
        change.apply(bytes);
        waiting.push(change);
        Ok(())
    }

    pub fn truncate(&mut self, file: u64, length: u64) -> Answer<()> {
        self.step();
        let inode = self.inode_mut(file)?;
        inode.mtime = SystemTime::now();
        let Body::File { bytes, waiting, .. } = &mut inode.body else {
            return Err(Errno::ISDIR);
        };
        let change = Change::Truncate(length as usize);
        change.apply(bytes);
        waiting.push(change);
        Ok(())
    }

    pub fn set_mode(&mut self, number: u64, mode: u32) -> Answer<()> {
        self.inode_mut(number)?.mode = (mode & 0o7777) as u16;
        Ok(())
    }

    pub fn set_mtime(&mut self, number: u64, mtime: SystemTime) -> Answer<()> {
        self.inode_mut(number)?.mtime = mtime;
        Ok(())
    }

    /// Of a file or of a directory.
    pub fn sync(&mut self, number: u64) -> Answer<()> {
        self.step();
        if self.deaf {
            return Ok(());
        }
        match &mut self.inode_mut(number)?.body {
            Body::File {
                bytes,
                durable,
                waiting,
            } => {
                for change in waiting.drain(..) {
                    change.apply(durable);
                }
                debug_assert!(bytes == durable);
            }
            Body::Dir {
                entries,
                durable,
                waiting,
            } => {
                durable.clone_from(entries);
                waiting.clear();
            }
        }
        Ok(())
    }

    /// Of all there is.
    pub fn sync_all(&mut self) {
        let numbers: Vec<u64> = self.inodes.keys().copied().collect();
        for number in numbers {
            let _there = self.sync(number);
        }
    }

    fn unlinked(&mut self, number: u64) -> Answer<()> {
        let inode = self.inode_mut(number)?;
        inode.links = inode.links.saturating_sub(1);
        // It stays: it may be open, and a power cut may bring its entry back.
        Ok(())
    }

    fn change(&mut self, dir: u64, change: Entries) -> Answer<()> {
        let inode = self.inode_mut(dir)?;
        inode.mtime = SystemTime::now();
        let Body::Dir {
            entries, waiting, ..
        } = &mut inode.body
        else {
            return Err(Errno::NOTDIR);
        };
        apply(entries, &change);
        waiting.push(change);
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

/// The durable bytes with some of what waits.
fn bytes_left(durable: &[u8], waiting: &[Change], kept: u64, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = durable.to_vec();
    for change in waiting {
        if chance.below(100) >= kept {
            continue;
        }
        match change {
            Change::Write { at, bytes: data } if kept < 100 && chance.one_in(4) => {
                let sectors = data.len().div_ceil(SECTOR) as u64;
                let length = (chance.below(sectors + 1) as usize * SECTOR).min(data.len());
                let part = Change::Write {
                    at: *at,
                    bytes: data[..length].into(),
                };
                part.apply(&mut bytes);
            }
            _ => change.apply(&mut bytes),
        }
    }
    bytes
}

/// Shared with the threads that serve the kernel.
pub type Shared = Arc<Mutex<Tree>>;
