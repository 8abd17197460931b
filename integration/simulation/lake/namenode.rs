//! HDFS's servers: names, files that one writer may have open, and requests that arrive late.
//!
//! A file that is open has a lease. Its writer's death leaves the file as it is, half-written and open, until the NameNode recovers the lease;
//! nobody else may write to it, but it may be read, renamed and deleted: a rename takes the writer along.

use std::collections::{BTreeMap, BTreeSet};

use lakeward::lake::hdfs::Info;

use super::port::{Answer, FaultKind, Server};
use super::{Deed, Log};

#[derive(Clone, Debug)]
pub enum Request {
    MakeDirs(String),
    Create {
        path: String,
        holder: u64,
    },
    /// Bytes for an open file, by its number: they reach it under whatever name it has.
    Write {
        file: u64,
        bytes: Vec<u8>,
    },
    Close {
        file: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Delete(String),
}

#[derive(Debug)]
struct File {
    number: u64,
    bytes: Vec<u8>,
    /// Its writer, while it is open.
    holder: Option<u64>,
    modified_ms: u64,
}

#[derive(Debug)]
pub struct NameNode {
    files: BTreeMap<String, File>,
    dirs: BTreeSet<String>,
    next: u64,
    /// Writers below this number are dead.
    dead_below: u64,
    next_holder: u64,
    late: Vec<Request>,
    says_no_reason: bool,
    pub now_ms: u64,
    pub log: Log,
}

impl Server for NameNode {
    type Request = Request;

    fn perform(&mut self, request: Request) -> Answer {
        match request {
            Request::MakeDirs(path) => self.make_dirs(&path),
            Request::Create { path, holder } => self.create(&path, holder),
            Request::Write { file, bytes } => self.write(file, &bytes),
            Request::Close { file } => self.close(file),
            Request::Rename { from, to } => self.rename(&from, &to),
            Request::Delete(path) => Ok(self.delete(&path)),
        }
    }

    fn in_words(request: &Request) -> String {
        match request {
            Request::MakeDirs(path) => format!("mkdirs {path}"),
            Request::Create { path, .. } => format!("create {path}"),
            Request::Write { file, .. } => format!("write to {file}"),
            Request::Close { file } => format!("close {file}"),
            Request::Rename { to, .. } => format!("rename to {to}"),
            Request::Delete(path) => format!("delete {path}"),
        }
    }

    fn late(&mut self) -> &mut Vec<Request> {
        &mut self.late
    }
}

impl NameNode {
    /// All that anything later depends on: its clock is set anew by whoever asks it next.
    pub fn describe(&mut self) -> String {
        self.now_ms = 0;
        format!("{self:?}")
    }

    pub fn new(says_no_reason: bool) -> Self {
        Self {
            files: BTreeMap::new(),
            dirs: BTreeSet::from([String::new()]),
            next: 1,
            dead_below: 0,
            next_holder: 0,
            late: Vec::new(),
            says_no_reason,
            now_ms: 0,
            log: Log::default(),
        }
    }

    /// A client that may hold leases.
    pub fn new_holder(&mut self) -> u64 {
        self.next_holder += 1;
        self.next_holder - 1
    }

    fn make_dirs(&mut self, path: &str) -> Answer {
        let mut made = String::new();
        for name in path.split('/') {
            made = joined(&made, name);
            if self.files.contains_key(&made) {
                return Err(FaultKind::Permanent);
            }
            self.dirs.insert(made.clone());
        }
        Ok(0)
    }

    fn create(&mut self, path: &str, holder: u64) -> Answer {
        if !self.dirs.contains(parent(path)) {
            return Err(FaultKind::Absent);
        }
        if let Some(file) = self.files.get_mut(path) {
            // Asking for it begins to recover a dead writer's lease.
            return match file.holder {
                Some(holder) if holder < self.dead_below => {
                    file.holder = None;
                    Err(FaultKind::Transient)
                }
                _ => Err(FaultKind::Exists),
            };
        }
        if self.dirs.contains(path) {
            return Err(FaultKind::Exists);
        }
        let number = self.next;
        self.next += 1;
        let file = File {
            number,
            bytes: Vec::new(),
            holder: Some(holder),
            modified_ms: self.now_ms,
        };
        self.files.insert(path.to_owned(), file);
        self.log.tell(path, Deed::Written);
        Ok(number)
    }

    fn open(&mut self, number: u64) -> Result<(&String, &mut File), FaultKind> {
        self.files
            .iter_mut()
            .find(|(_, file)| file.number == number && file.holder.is_some())
            .ok_or(FaultKind::Transient)
    }

    fn write(&mut self, number: u64, bytes: &[u8]) -> Answer {
        let (path, file) = self.open(number)?;
        file.bytes.extend_from_slice(bytes);
        let path = path.clone();
        self.log.tell(&path, Deed::Replaced { same_bytes: false });
        Ok(0)
    }

    fn close(&mut self, number: u64) -> Answer {
        let now = self.now_ms;
        let (_, file) = self.open(number)?;
        file.holder = None;
        file.modified_ms = now;
        Ok(0)
    }

    /// Native renames say why they are refused; the older one, which WebHDFS asks for, answers false.
    fn rename(&mut self, from: &str, to: &str) -> Answer {
        let why = if self.files.contains_key(to) || self.dirs.contains(to) {
            FaultKind::Exists
        } else if !self.files.contains_key(from) || !self.dirs.contains(parent(to)) {
            FaultKind::Absent
        } else {
            if let Some(file) = self.files.remove(from) {
                self.files.insert(to.to_owned(), file);
            }
            self.log.tell(from, Deed::Deleted);
            self.log.tell(to, Deed::Written);
            return Ok(0);
        };
        Err(if self.says_no_reason {
            FaultKind::Refused
        } else {
            why
        })
    }

    fn delete(&mut self, path: &str) -> u64 {
        if self.files.remove(path).is_none() {
            return 0;
        }
        self.log.tell(path, Deed::Deleted);
        1
    }

    pub fn info(&self, path: &str) -> Option<Info> {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        if let Some(file) = self.files.get(path) {
            return Some(Info {
                name,
                length: file.bytes.len() as u64,
                is_dir: false,
                modified_ms: file.modified_ms,
            });
        }
        self.dirs.contains(path).then_some(Info {
            name,
            length: 0,
            is_dir: true,
            modified_ms: 0,
        })
    }

    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.files.get(path).map(|file| file.bytes.clone())
    }

    /// Entries of a directory whose names come after `after`, at most `most`.
    pub fn list(&self, dir: &str, after: Option<&str>, most: usize) -> Vec<Info> {
        let inside = |path: &&String| !path.is_empty() && parent(path) == dir;
        let mut names: Vec<&String> = self
            .files
            .keys()
            .filter(inside)
            .chain(self.dirs.iter().filter(inside))
            .collect();
        names.sort_unstable();
        names
            .into_iter()
            .filter_map(|path| self.info(path))
            .filter(|info| after.is_none_or(|after| info.name.as_str() > after))
            .take(most)
            .collect()
    }

    pub fn writers_died(&mut self) {
        self.dead_below = self.next_holder;
    }

    pub fn recover_leases(&mut self) -> usize {
        let dead = self.dead_below;
        let mut recovered = 0;
        for file in self.files.values_mut() {
            if file.holder.is_some_and(|holder| holder < dead) {
                file.holder = None;
                recovered += 1;
            }
        }
        recovered
    }

    pub fn open_files(&self) -> usize {
        self.files
            .values()
            .filter(|file| file.holder.is_some())
            .count()
    }

    pub fn visible(&self) -> BTreeMap<String, Vec<u8>> {
        self.files
            .iter()
            .map(|(path, file)| (path.clone(), file.bytes.clone()))
            .collect()
    }

    pub fn take_away(&mut self, path: &str) -> bool {
        self.log.version += 1;
        self.files.remove(path).is_some()
    }

    pub fn put_foreign(&mut self, path: &str, bytes: &[u8]) {
        self.log.version += 1;
        let _no_file_above = self.make_dirs(parent(path));
        let file = File {
            number: self.next,
            bytes: bytes.to_vec(),
            holder: None,
            modified_ms: self.now_ms,
        };
        self.next += 1;
        self.files.insert(path.to_owned(), file);
    }
}

pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn joined(above: &str, name: &str) -> String {
    match above {
        "" => name.to_owned(),
        above => format!("{above}/{name}"),
    }
}
