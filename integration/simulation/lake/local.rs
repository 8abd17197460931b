//! The client of a local lake: the system calls of `lake/local/`, each of which changes the disk alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lakeward::lake::{Created, Entry, Honours, Landed, Look, Mark};
use lakeward::naming::LakePath;
use lakeward::segment::JournalId;

use super::super::world::{Part, Shape};
use super::disk::{Disk, Found, ROOT};
use super::port::{Fault, FaultKind, OfKind, Port, copy_of};
use super::{Wrong, lock};

pub struct Client {
    port: Port,
    disk: Arc<Mutex<Disk>>,
    identity: String,
    /// Directories whose name in their parent this process knows to be durable.
    durable: Mutex<BTreeMap<String, u64>>,
}

/// A directory on the way to a file.
#[derive(Clone)]
struct Dir {
    path: String,
    id: u64,
}

/// What an exclusive rename answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renamed {
    Yes,
    Taken,
}

impl Client {
    pub fn new(port: Port, disk: Arc<Mutex<Disk>>) -> Self {
        Self {
            identity: port.identity("fs /simulated"),
            port,
            disk,
            durable: Mutex::default(),
        }
    }

    fn disk<T>(&self, ask: impl FnOnce(&mut Disk) -> T) -> T {
        ask(&mut lock(&self.disk))
    }

    /// The directories above a path, from the root on; `None` if one is missing.
    fn parents(&self, path: &LakePath) -> Result<Option<Vec<Dir>>, Fault> {
        let mut dirs = vec![root()];
        let (mut names, _) = split(path);
        for name in &mut names {
            let above = dirs[dirs.len() - 1].clone();
            match self.disk(|disk| disk.find(above.id, name)) {
                Some(Found::Dir(id)) => dirs.push(below(&above, name, id)),
                Some(Found::File(_)) => return Err(no_directory()),
                None => return Ok(None),
            }
        }
        Ok(Some(dirs))
    }

    /// The same, made where missing, each by a call.
    fn made_parents(&self, path: &LakePath) -> Result<Vec<Dir>, Fault> {
        let mut dirs = vec![root()];
        let (names, _) = split(path);
        for name in names {
            let above = dirs[dirs.len() - 1].clone();
            let id = match self.disk(|disk| disk.find(above.id, name)) {
                Some(Found::Dir(id)) => id,
                Some(Found::File(_)) => return Err(no_directory()),
                None => {
                    let made = below(&above, name, 0).path;
                    lock(&self.durable).remove(&made);
                    self.port
                        .atomic("mkdir", &made, || {
                            self.disk(|disk| disk.make_dir(above.id, name))
                        })?
                        .ok_or_else(no_directory)?
                }
            };
            dirs.push(below(&above, name, id));
        }
        Ok(dirs)
    }

    /// After it the last component's name is durable, and so are those of all directories above.
    fn sync(&self, dirs: &[Dir]) -> Result<(), Fault> {
        let mut entry_is_durable = false;
        for (n, dir) in dirs.iter().rev().enumerate() {
            let skipped = self.port.options.dirs_not_synced
                || (n > 0 && self.port.options.ancestors_not_synced);
            if !entry_is_durable && !skipped {
                self.port.atomic("fsync directory", &dir.path, || {
                    self.disk(|disk| disk.sync_dir(dir.id));
                })?;
            }
            entry_is_durable = lock(&self.durable).get(&dir.path) == Some(&dir.id);
        }
        let known = dirs.iter().map(|dir| (dir.path.clone(), dir.id));
        lock(&self.durable).extend(known);
        Ok(())
    }

    fn sync_file(&self, path: &LakePath, file: u64, dirs: &[Dir]) -> Result<(), Fault> {
        self.port.atomic("fsync", path.as_str(), || {
            self.disk(|disk| disk.sync_file(file));
        })?;
        self.sync(dirs)
    }

    fn try_create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, Fault> {
        let dirs = self.made_parents(path)?;
        let dir = dirs[dirs.len() - 1].clone();
        self.do_wrong(&dir, path)?;
        if self.disk(|disk| disk.find(dir.id, path.name())).is_none() {
            let name = format!(".lakeward-{:016x}.tmp", self.port.attempt());
            let temporary = below(&dir, &name, 0).path;
            let created = self
                .write_new(&dir, &name, &temporary, contents)
                .and_then(|()| self.rename_temporary(&dir, &name, path));
            if !matches!(created, Ok(Renamed::Yes)) {
                let _best_effort = self.unlink(&dir, &name, &temporary);
            }
            if created? == Renamed::Yes {
                self.sync(&dirs)?;
                return Ok(Created::Ours);
            }
        }
        let found = self.port.look("read", path.as_str(), || {
            self.disk(|disk| match disk.find(dir.id, path.name()) {
                Some(Found::File(file)) if disk.contents(file) == Some(contents) => Some(file),
                _ => None,
            })
        })?;
        let Some(file) = found else {
            return Ok(Created::Other);
        };
        self.sync_file(path, file, &dirs)?;
        Ok(Created::Ours)
    }

    /// Writes and syncs a file that is new.
    fn write_new(&self, dir: &Dir, name: &str, whole: &str, contents: &[u8]) -> Result<(), Fault> {
        let file = self
            .port
            .atomic("open new", whole, || {
                self.disk(|disk| disk.create(dir.id, name))
            })?
            .ok_or_else(|| Fault::from(FaultKind::Exists))?;
        self.port
            .turn("write", whole, Shape::Parts, |part| match part {
                Part::All => {
                    self.disk(|disk| disk.append(file, contents));
                    Some(())
                }
                Part::Half => {
                    self.disk(|disk| disk.append(file, &contents[..contents.len() / 2]));
                    None
                }
                Part::None | Part::Late => None,
            })?;
        self.port.atomic("fsync", whole, || {
            self.disk(|disk| disk.sync_file(file));
        })
    }

    fn rename_temporary(&self, dir: &Dir, name: &str, path: &LakePath) -> Result<Renamed, Fault> {
        self.port.atomic("rename", path.as_str(), || {
            let done = self.disk(|disk| disk.rename_new(dir.id, name, path.name(), path.as_str()));
            renamed(done)
        })
    }

    fn unlink(&self, dir: &Dir, name: &str, whole: &str) -> Result<(), Fault> {
        self.port.atomic("unlink", whole, || {
            self.disk(|disk| disk.unlink(dir.id, name, whole));
        })
    }

    fn try_land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, Fault> {
        let found = match std::fs::symlink_metadata(staged) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return match self.port.look("stat", path.as_str(), || self.at(path))? {
                    Some(_) => Ok(Landed::Look),
                    None => Err(Fault::permanent(format!(
                        "the staged copy `{}` is not there, and nothing has landed",
                        staged.display()
                    ))),
                };
            }
            Err(e) => return Err(Fault::permanent(e.to_string())),
        };
        if !found.is_file() || found.len() != mark.copy.length {
            return Err(Fault::permanent(format!(
                "the staged copy `{}` has {} bytes and not the recorded {}",
                staged.display(),
                found.len(),
                mark.copy.length
            )));
        }
        if !self.is_wrong(Wrong::StagedNotSynced) {
            self.port.atomic("fsync staged", path.as_str(), || {
                self.disk(|disk| disk.sync_staged(staged));
            })?;
        }
        let dirs = self.made_parents(path)?;
        let dir = &dirs[dirs.len() - 1];
        self.do_wrong(dir, path)?;
        if self.is_wrong(Wrong::WritesInPlace) {
            return self.write_in_place(staged, &dirs, path);
        }
        let done = self.port.atomic("rename staged", path.as_str(), || {
            self.disk(|disk| disk.take_staged(staged, dir.id, path.name(), path.as_str()))
        })?;
        if !done.map_err(|e| Fault::permanent(e.to_string()))? {
            return Ok(Landed::Look);
        }
        self.sync(&dirs)?;
        if !self.port.options.dirs_not_synced
            && let Some(dir) = staged.parent()
        {
            self.port
                .atomic("fsync staging", "", || {
                    self.disk(|disk| disk.sync_staging(dir))
                })?
                .map_err(|e| Fault::permanent(e.to_string()))?;
        }
        Ok(Landed::Yes)
    }

    fn is_wrong(&self, wrong: Wrong) -> bool {
        self.port.options.wrong == Some(wrong)
    }

    fn do_wrong(&self, dir: &Dir, path: &LakePath) -> Result<(), Fault> {
        if self.is_wrong(Wrong::Replaces) {
            self.unlink(dir, path.name(), path.as_str())?;
        }
        Ok(())
    }

    fn write_in_place(
        &self,
        staged: &Path,
        dirs: &[Dir],
        path: &LakePath,
    ) -> Result<Landed, Fault> {
        let contents = std::fs::read(staged).map_err(|e| Fault::permanent(e.to_string()))?;
        let dir = &dirs[dirs.len() - 1];
        self.write_new(dir, path.name(), path.as_str(), &contents)?;
        self.sync(dirs)?;
        Ok(Landed::Yes)
    }

    fn at(&self, path: &LakePath) -> Option<Found> {
        self.disk(|disk| disk.at(path.as_str()))
    }

    /// The whole of a file, `None` if there is none.
    fn bytes(&self, path: &LakePath) -> Result<Option<Vec<u8>>, Fault> {
        self.port.look("read", path.as_str(), || {
            self.disk(|disk| match disk.at(path.as_str()) {
                Some(Found::File(file)) => Ok(disk.contents(file).map(<[u8]>::to_vec)),
                Some(Found::Dir(_)) => Err(Fault::permanent("is a directory")),
                None => Ok(None),
            })
        })?
    }

    fn try_look(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        let foreign = |length, found: String| Ok(Look::Foreign { length, found });
        let seen = self.port.look("look", path.as_str(), || {
            self.disk(|disk| match disk.at(path.as_str()) {
                Some(Found::File(file)) => Some(disk.contents(file).map(copy_of)),
                Some(Found::Dir(_)) => Some(None),
                None => None,
            })
        })?;
        match seen {
            None => Ok(Look::Absent),
            Some(None) => foreign(0, "a directory".to_owned()),
            Some(Some(copy)) if mark.copies.contains(&copy) => Ok(Look::Ours),
            Some(Some(copy)) if mark.copies.iter().any(|c| c.length == copy.length) => {
                foreign(copy.length, format!("digest {}", copy.digest))
            }
            Some(Some(copy)) => foreign(copy.length, "another length than ours".to_owned()),
        }
    }

    fn try_make_durable(&self, path: &LakePath) -> Result<(), Fault> {
        if self.port.options.never_made_durable {
            return Ok(());
        }
        let absent = || Fault::from(FaultKind::Absent);
        let dirs = self.parents(path)?.ok_or_else(absent)?;
        let dir = dirs[dirs.len() - 1].id;
        match self.disk(|disk| disk.find(dir, path.name())) {
            Some(Found::File(file)) => self.sync_file(path, file, &dirs),
            _ => Err(absent()),
        }
    }

    fn try_probe(&self, path: &LakePath) -> Result<Honours, Fault> {
        let honours = Honours {
            conditional_writes: true,
        };
        if self.port.options.short_probe {
            return self.port.look("probe", "", || honours);
        }
        let contents = b"lakeward probes this lake";
        if self.try_create(path, contents)? != Created::Ours {
            return Err(Fault::permanent("somebody else writes this name"));
        }
        let read = self.bytes(path)?;
        let second = self.try_create(path, b"another")?;
        if let Some(dirs) = self.parents(path)? {
            self.unlink(&dirs[dirs.len() - 1], path.name(), path.as_str())?;
        }
        if read.as_deref() != Some(&contents[..]) || second != Created::Other {
            return Err(Fault::permanent("what was written did not read back"));
        }
        Ok(honours)
    }

    fn list_dir(&self, dir: &str) -> Result<Vec<(String, Found)>, Fault> {
        self.port.look("read directory", dir, || {
            self.disk(|disk| match disk.at(dir) {
                Some(Found::Dir(id)) => disk.list(id),
                _ => Vec::new(),
            })
        })
    }

    fn length(&self, file: u64) -> u64 {
        self.disk(|disk| {
            disk.contents(file)
                .map_or(0, |contents| contents.len() as u64)
        })
    }
}

fn root() -> Dir {
    Dir {
        path: String::new(),
        id: ROOT,
    }
}

fn below(above: &Dir, name: &str, id: u64) -> Dir {
    let path = match above.path.as_str() {
        "" => name.to_owned(),
        above => format!("{above}/{name}"),
    };
    Dir { path, id }
}

fn split(path: &LakePath) -> (Vec<&str>, &str) {
    let mut names: Vec<&str> = path.as_str().split('/').collect();
    let last = names.pop().unwrap_or_default();
    (names, last)
}

fn renamed(done: bool) -> Renamed {
    if done { Renamed::Yes } else { Renamed::Taken }
}

fn no_directory() -> Fault {
    Fault::permanent("a part of this path is no directory")
}

impl OfKind for Client {
    fn port(&self) -> &Port {
        &self.port
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, Fault> {
        self.try_create(path, contents)
    }

    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, Fault> {
        self.bytes(path)
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        self.try_look(path, mark)
    }

    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, Fault> {
        self.try_land(staged, path, mark)
    }

    fn make_durable(&self, path: &LakePath) -> Result<(), Fault> {
        self.try_make_durable(path)
    }

    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), Fault> {
        let mut dirs = vec![dir.as_str().to_owned()];
        while let Some(dir) = dirs.pop() {
            for (name, found) in self.list_dir(&dir)? {
                let path = format!("{dir}/{name}");
                match found {
                    Found::Dir(_) => dirs.push(path),
                    Found::File(file) => {
                        if let Ok(path) = LakePath::new(&path) {
                            let length = self.length(file);
                            visit(Entry { path, length });
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn probe(&self, path: &LakePath) -> Result<Honours, Fault> {
        self.try_probe(path)
    }

    fn staging_dir(&self, journal: JournalId) -> Option<PathBuf> {
        let dir = self.port.options.staging.join(journal.to_string());
        // Where that fails, whoever opens it hears why.
        let _heard_later = self
            .port
            .atomic("make staging", "", || std::fs::create_dir_all(&dir));
        Some(dir)
    }

    fn free_bytes(&self) -> Option<u64> {
        Some(self.port.options.free_bytes)
    }
}
