//! The client of an HDFS lake: the calls of `lake/hdfs/`, in its order, with its answers to each fault.

use std::path::Path;
use std::sync::{Arc, Mutex};

use lakeward::lake::{Created, Entry, Honours, Landed, Look, Mark};
use lakeward::naming::{LakePath, METADATA_DIR};

use super::super::world::{Part, Shape};
use super::namenode::{Info, NameNode, Request, parent};
use super::port::{Backoff, Fault, FaultKind, OfKind, Port, Server, check_digest, copy_of, staged};
use super::{Wrong, is_temporary, lock};

const TEMPORARY_DIR: &str = "tmp";
/// A small temporary file that is so much older is a kill's.
const LEFT_MS: u64 = 24 * 3600 * 1000;

pub struct Client {
    port: Port,
    names: Arc<Mutex<NameNode>>,
    identity: String,
    holder: u64,
    /// Temporary files that could not be removed when they should have been.
    left: Mutex<Vec<String>>,
}

/// What became of a file that was to get a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placed {
    Yes,
    Taken,
}

impl Client {
    pub fn new(port: Port, names: Arc<Mutex<NameNode>>) -> Self {
        let holder = lock(&names).new_holder();
        Self {
            identity: port.identity("hdfs simulated/lake"),
            holder,
            port,
            names,
            left: Mutex::default(),
        }
    }

    /// The servers, whose clock is their own.
    fn names<T>(&self, ask: impl FnOnce(&mut NameNode) -> T) -> T {
        let now_ms = self.port.world.elapsed_ns() / 1_000_000;
        let mut names = lock(&self.names);
        names.now_ms = now_ms;
        ask(&mut names)
    }

    fn request(&self, operation: &str, subject: &str, request: Request) -> Result<u64, Fault> {
        self.names(|_| ());
        self.port.request(operation, subject, &self.names, request)
    }

    fn info(&self, path: &str) -> Result<Option<Info>, Fault> {
        self.port.retried(|| {
            self.port
                .look("get info", path, || self.names(|names| names.info(path)))
        })
    }

    fn make_dirs(&self, path: &str) -> Result<(), Fault> {
        self.port.retried(|| {
            let request = Request::MakeDirs(path.to_owned());
            self.request("mkdirs", path, request).map(|_| ())
        })
    }

    fn delete(&self, path: &str) -> Result<bool, Fault> {
        let request = Request::Delete(path.to_owned());
        Ok(self.request("delete", path, request)? > 0)
    }

    fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        match self.info(path)? {
            None => return Ok(None),
            Some(info) if info.is_dir => return Err(Fault::permanent("a directory stands there")),
            Some(_) => {}
        }
        self.port.retried(|| {
            self.port
                .look("read", path, || self.names(|names| names.read(path)))
        })
    }

    /// `dir/.NAME.<16 hex digits>.tmp`.
    fn temporary(&self, dir: &str, name: &str) -> String {
        let attempt = if self.port.options.shared_temporary_name {
            0
        } else {
            self.port.attempt()
        };
        let name = format!(".{name}.{attempt:016x}.tmp");
        if dir.is_empty() {
            name
        } else {
            format!("{dir}/{name}")
        }
    }

    /// Creates, writes and syncs block by block, closes, compares the length.
    fn write(
        &self,
        path: &str,
        contents: &[u8],
        check: &dyn Fn(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let create = Request::Create {
            path: path.to_owned(),
            holder: self.holder,
        };
        let file = self.request("create", path, create)?;
        for block in contents.chunks(self.port.options.block_bytes) {
            self.write_block(path, file, block)?;
        }
        self.request("close", path, Request::Close { file })?;
        check(contents)?;
        match self.info(path)? {
            Some(info) if !info.is_dir && info.length == contents.len() as u64 => Ok(()),
            Some(info) => Err(Fault::transient(format!(
                "the temporary file was closed with {} bytes",
                info.length
            ))),
            None => Err(Fault::transient("the temporary file vanished")),
        }
    }

    fn write_block(&self, path: &str, file: u64, block: &[u8]) -> Result<(), Fault> {
        let write = |bytes: &[u8]| Request::Write {
            file,
            bytes: bytes.to_vec(),
        };
        let answer =
            self.port
                .turn("write block", path, Shape::RemoteParts, |part| match part {
                    Part::All => Some(self.names(|names| names.perform(write(block)))),
                    Part::Half => {
                        let half = &block[..block.len() / 2];
                        let _nobody_hears = self.names(|names| names.perform(write(half)));
                        None
                    }
                    Part::Late => {
                        self.names(|names| names.late().push(write(block)));
                        None
                    }
                    Part::None => None,
                })?;
        answer?;
        Ok(())
    }

    /// Writes a file and gives it its name. Each attempt has a temporary name of its own.
    fn put(
        &self,
        path: &str,
        name: impl Fn() -> String,
        contents: &[u8],
        check: &dyn Fn(&[u8]) -> Result<(), Fault>,
    ) -> Result<Placed, Fault> {
        let mut backoff = self.port.backoff();
        let mut made_dir = false;
        loop {
            let temporary = name();
            let placed = self
                .write(&temporary, contents, check)
                .and_then(|()| self.place(&temporary, path, &mut backoff));
            if !matches!(placed, Ok(Placed::Yes)) {
                self.remove(&temporary);
            }
            match placed {
                Ok(placed) => {
                    self.remove_forgotten();
                    return Ok(placed);
                }
                Err(fault) if fault.kind == FaultKind::Absent && !made_dir => {
                    self.make_dirs(parent(&temporary))?;
                    made_dir = true;
                }
                Err(fault) => {
                    let fault = passing(fault);
                    if fault.kind != FaultKind::Transient || !backoff.pause() {
                        return Err(fault);
                    }
                }
            }
        }
    }

    /// Renames a closed file to its final name. What is not known of a rename's fate is looked at before it is repeated.
    fn place(&self, temporary: &str, path: &str, backoff: &mut Backoff) -> Result<Placed, Fault> {
        loop {
            let rename = Request::Rename {
                from: temporary.to_owned(),
                to: path.to_owned(),
            };
            let Err(fault) = self.request("rename", path, rename) else {
                return Ok(Placed::Yes);
            };
            if fault.kind == FaultKind::Exists || self.info(path)?.is_some() {
                return Ok(Placed::Taken);
            }
            match fault.kind {
                FaultKind::Permanent | FaultKind::Exists => return Err(fault),
                FaultKind::Transient => {}
                FaultKind::Absent | FaultKind::Refused => {
                    if self.info(temporary)?.is_none() {
                        return Err(Fault::transient("the temporary file was taken away"));
                    }
                    self.make_dirs(parent(path))?;
                }
            }
            let fault = passing(fault);
            if !backoff.pause() {
                return Err(fault);
            }
        }
    }

    /// Best effort, and remembered.
    fn remove(&self, temporary: &str) {
        if self.delete(temporary).is_err() {
            lock(&self.left).push(temporary.to_owned());
        }
    }

    fn remove_forgotten(&self) {
        let left = std::mem::take(&mut *lock(&self.left));
        for temporary in left {
            self.remove(&temporary);
        }
    }

    fn try_create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, Fault> {
        let full = full(path)?;
        self.do_wrong(full)?;
        let name = || self.temporary(&temporary_dir(), path.name());
        if self.put(full, name, contents, &|_| Ok(()))? == Placed::Yes {
            return Ok(Created::Ours);
        }
        match self.info(full)? {
            Some(info) if info.is_dir || info.length != contents.len() as u64 => {
                return Ok(Created::Other);
            }
            _ => {}
        }
        match self.bytes(full)? {
            Some(found) if found == contents => Ok(Created::Ours),
            Some(_) => Ok(Created::Other),
            None => Err(Fault::transient(
                "it was refused as existing, and then it was not there",
            )),
        }
    }

    fn try_land(&self, from: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, Fault> {
        let full = full(path)?;
        let contents = staged(from, mark.copy)?;
        let name = || self.temporary(parent(full), path.name());
        self.do_wrong(full)?;
        if self.port.options.wrong == Some(Wrong::WritesInPlace) {
            self.make_dirs(parent(full))?;
            self.write(full, &contents, &|_| Ok(()))?;
            return Ok(Landed::Yes);
        }
        match self.put(full, name, &contents, &|bytes| check_digest(bytes, mark))? {
            Placed::Yes => Ok(Landed::Yes),
            Placed::Taken => Ok(Landed::Look),
        }
    }

    fn do_wrong(&self, path: &str) -> Result<(), Fault> {
        if self.port.options.wrong == Some(Wrong::Replaces) {
            self.delete(path)?;
        }
        Ok(())
    }

    fn try_look(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        let full = full(path)?;
        let foreign = |length, found: String| Ok(Look::Foreign { length, found });
        match self.info(full)? {
            None => return Ok(Look::Absent),
            Some(info) if info.is_dir => return foreign(0, "a directory".to_owned()),
            Some(info) if !mark.copies.iter().any(|c| c.length == info.length) => {
                return foreign(info.length, "another length than ours".to_owned());
            }
            Some(_) => {}
        }
        match self.bytes(full)?.as_deref().map(copy_of) {
            None => Ok(Look::Absent),
            Some(copy) if mark.copies.contains(&copy) => Ok(Look::Ours),
            Some(copy) => foreign(copy.length, format!("digest {}", copy.digest)),
        }
    }

    /// A directory page by page; a page that fails, fails it all.
    fn list_dir(&self, dir: &str) -> Result<Vec<Info>, Fault> {
        let most = self.port.options.page;
        self.port.retried(|| {
            let mut found: Vec<Info> = Vec::new();
            loop {
                let after = found.last().map(|info| info.name.clone());
                let page = self.port.look("list page", dir, || {
                    self.names(|names| names.list(dir, after.as_deref(), most))
                })?;
                let more =
                    page.len() == most && self.port.options.wrong != Some(Wrong::FirstPageIsAll);
                found.extend(page);
                if !more {
                    return Ok(found);
                }
            }
        })
    }

    fn remove_left(&self, path: &LakePath) -> Result<u64, Fault> {
        let dir = parent(full(path)?);
        let mut removed = 0;
        for info in self.list_dir(dir)? {
            if !info.is_dir && is_for(&info.name, path.name()) {
                let name = format!("{dir}/{}", info.name);
                removed += u64::from(self.port.retried(|| self.delete(&name))?);
            }
        }
        Ok(removed)
    }

    fn try_probe(&self, path: &LakePath) -> Result<Honours, Fault> {
        if self.port.options.short_probe {
            return self.port.look("probe", "", || Honours {
                conditional_writes: true,
            });
        }
        if self.try_create(path, PROBE)? != Created::Ours {
            return Err(Fault::permanent("somebody else writes this name"));
        }
        let probed = self.probe_rest(path);
        let removed = self.port.retried(|| self.delete(path.as_str()));
        let honours = probed?;
        removed?;
        Ok(honours)
    }

    fn probe_rest(&self, path: &LakePath) -> Result<Honours, Fault> {
        if self.bytes(path.as_str())?.as_deref() != Some(PROBE) {
            return Err(Fault::permanent("what was written did not read back"));
        }
        let listed = self.list_dir(parent(path.as_str()))?;
        let Some(info) = listed.iter().find(|info| info.name == path.name()) else {
            return Err(Fault::permanent("what was written is not listed"));
        };
        self.remove_old(info.modified_ms)?;
        let second = self.try_create(path, b"written over it")?;
        Ok(Honours {
            conditional_writes: second == Created::Other
                && self.bytes(path.as_str())?.as_deref() == Some(PROBE),
        })
    }

    /// What kills left where small files are written, told by age.
    fn remove_old(&self, now_ms: u64) -> Result<(), Fault> {
        let dir = temporary_dir();
        for info in self.list_dir(&dir)? {
            let old = info.modified_ms + LEFT_MS < now_ms;
            if !info.is_dir && is_temporary(&info.name) && old {
                let _best_effort = self.delete(&format!("{dir}/{}", info.name));
            }
        }
        Ok(())
    }
}

const PROBE: &[u8] = b"lakeward probes this lake";

fn temporary_dir() -> String {
    format!("{METADATA_DIR}/{TEMPORARY_DIR}")
}

fn full(path: &LakePath) -> Result<&str, Fault> {
    if path.as_str().contains(':') {
        return Err(Fault::permanent("HDFS allows no `:` in a name"));
    }
    Ok(path.as_str())
}

fn is_for(candidate: &str, name: &str) -> bool {
    is_temporary(candidate)
        && candidate
            .strip_prefix('.')
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| {
                rest.len() == ".0123456789abcdef.tmp".len() && rest.starts_with('.')
            })
}

/// Temporary names taken by an earlier try of ours, and directories that somebody tidies up, pass with another name.
fn passing(fault: Fault) -> Fault {
    match fault.kind {
        FaultKind::Absent | FaultKind::Exists | FaultKind::Refused => Fault {
            kind: FaultKind::Transient,
            ..fault
        },
        FaultKind::Transient | FaultKind::Permanent => fault,
    }
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
        self.bytes(full(path)?)
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        self.try_look(path, mark)
    }

    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, Fault> {
        self.try_land(staged, path, mark)
    }

    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), Fault> {
        let mut dirs = vec![dir.clone()];
        while let Some(dir) = dirs.pop() {
            for info in self.list_dir(full(&dir)?)? {
                let Ok(path) = dir.join(&info.name) else {
                    continue;
                };
                if info.is_dir {
                    dirs.push(path);
                } else if !is_temporary(&info.name) {
                    let length = info.length;
                    visit(Entry { path, length });
                }
            }
        }
        Ok(())
    }

    fn probe(&self, path: &LakePath) -> Result<Honours, Fault> {
        self.try_probe(path)
    }

    fn remove_left(&self, path: &LakePath) -> Result<u64, Fault> {
        Self::remove_left(self, path)
    }
}
