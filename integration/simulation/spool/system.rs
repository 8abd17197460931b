//! The system calls of a process on a [`SpoolDisk`]: each asks the world what befalls it.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lakeward::segment::FileStat;
use lakeward::spool::SpooledFile;
use lakeward::spool::local::system::{FileSystem, Listed, Look};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::disk::{Event, Lie, Locked, SpoolDisk};
use super::model::{Maker, Model, NodeId};
use super::os;
use crate::simulation::world::{Lost, Part, Shape, World};

/// One process's way to the disk.
#[derive(Clone)]
pub struct SimSystem {
    disk: SpoolDisk,
    world: World,
}

/// An open directory.
pub struct SimHandle {
    node: NodeId,
    /// When it was opened.
    path: PathBuf,
}

pub struct SimFile {
    system: SimSystem,
    node: NodeId,
    path: PathBuf,
    process: u64,
}

pub struct SimLock {
    disk: SpoolDisk,
    node: NodeId,
    number: u64,
}

impl SimHandle {
    fn join(&self, name: &[u8]) -> PathBuf {
        self.path.join(os(name))
    }
}

impl SimSystem {
    pub fn new(disk: &SpoolDisk, world: &World) -> Self {
        Self {
            disk: disk.clone(),
            world: world.clone(),
        }
    }

    /// One call: asked of the world, done as far as that says, answered as that says.
    fn call<T>(
        &self,
        operation: &str,
        subject: &Path,
        shape: Shape,
        act: impl FnOnce(&mut Locked<'_>, Part) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let subject = lakeward::spool::place_text(subject);
        let turn = self.world.call(operation, &subject, shape);
        let answer = match turn.part() {
            Part::None | Part::Late => Err(Errno::IO),
            part => act(&mut self.disk.model(), part),
        };
        match turn.end() {
            Ok(()) => answer,
            Err(Lost) if shape == Shape::Look => Err(Errno::IO),
            Err(Lost) => Err(self.refusal()),
        }
    }

    /// What a change that was not done, or not told of, is answered with.
    fn refusal(&self) -> Errno {
        const ERRNOS: [Errno; 3] = [Errno::IO, Errno::NOSPC, Errno::STALE];
        ERRNOS[self.world.below(ERRNOS.len() as u64) as usize]
    }

    fn look_only<T>(
        &self,
        operation: &str,
        subject: &Path,
        act: impl FnOnce(&mut Locked<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.call(operation, subject, Shape::Look, |model, _| act(model))
    }

    fn change<T>(
        &self,
        operation: &str,
        subject: &Path,
        act: impl FnOnce(&mut Locked<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.call(operation, subject, Shape::Atomic, |model, _| act(model))
    }

    fn handle(path: PathBuf, node: NodeId) -> SimHandle {
        SimHandle { node, path }
    }

    fn open_node(&self, model: &mut Model, node: NodeId, path: PathBuf) -> SimFile {
        model.opened(node);
        SimFile {
            system: self.clone(),
            node,
            path,
            process: model.process,
        }
    }

    fn lock(&self, model: &mut Locked<'_>, node: NodeId) -> Option<SimLock> {
        if model.locks.contains_key(&node) && !model.lies(Lie::Lock) {
            return None;
        }
        model.next_lock += 1;
        let number = model.next_lock;
        model.locks.insert(node, number);
        Some(SimLock {
            disk: self.disk.clone(),
            node,
            number,
        })
    }
}

/// What is about to leave its name, if a producer made it.
fn leaving(
    model: &Model,
    at: &SimHandle,
    name: &[u8],
    to: Option<PathBuf>,
) -> Result<Option<Event>, Errno> {
    let node = model.child(at.node, name)?;
    let Ok(file) = model.file(node) else {
        return Ok(None);
    };
    let event = Event {
        node,
        path: at.join(name),
        to,
        content: file.content.clone(),
        stat: model.look(node)?.stat,
    };
    Ok((file.maker == Maker::Producer).then_some(event))
}

impl FileSystem for SimSystem {
    type Handle = SimHandle;
    type File = SimFile;
    type Lock = SimLock;

    fn open(&self, path: &Path, _follow: bool) -> Result<SimHandle, Errno> {
        let node = self.look_only("open", path, |model| model.directory(model.find(path)?))?;
        Ok(Self::handle(path.to_owned(), node))
    }

    fn open_child(&self, at: &SimHandle, name: &[u8]) -> Result<SimHandle, Errno> {
        let path = at.join(name);
        let node = self.look_only("open directory", &path, |model| {
            model.directory(model.child(at.node, name)?)
        })?;
        Ok(Self::handle(path, node))
    }

    fn make_child(&self, at: &SimHandle, name: &[u8]) -> Result<(), Errno> {
        self.change("make directory", &at.join(name), |model| {
            model.make_directory(at.node, name).map(|_| ())
        })
    }

    fn identity(&self, at: &SimHandle) -> Result<(u64, u64), Errno> {
        let look = self.look_only("identity", &at.path, |model| model.look(at.node))?;
        Ok((look.stat.device, look.stat.inode))
    }

    fn system_id(&self, at: &SimHandle) -> Result<u64, Errno> {
        self.look_only("file system", &at.path, |model| model.system_id(at.node))
    }

    fn may_write(&self, at: &SimHandle) -> Result<(), Errno> {
        self.look_only("may write", &at.path, |model| model.may_write(at.node))
    }

    fn list<E>(
        &self,
        at: &SimHandle,
        _buffer: &mut [MaybeUninit<u8>],
        visit: &mut dyn FnMut(Listed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let listed = self.look_only("list", &at.path, |model| {
            let names = model.list(at.node)?.into_iter();
            names
                .map(|(name, node)| Ok((c_string(name), model.look(node)?.kind)))
                .collect::<Result<Vec<(CString, FileType)>, Errno>>()
        });
        match listed {
            Err(errno) => visit(Err(errno)),
            Ok(names) => names
                .iter()
                .try_for_each(|(name, kind)| visit(Ok((name as &CStr, *kind)))),
        }
    }

    fn look(&self, at: &SimHandle, name: &[u8]) -> Result<Look, Errno> {
        self.look_only("look", &at.join(name), |model| {
            let node = model.child(at.node, name)?;
            model.look(node)
        })
    }

    fn open_file(&self, at: &SimHandle, name: &[u8]) -> Result<(SimFile, Look), Errno> {
        let path = at.join(name);
        self.look_only("open file", &path.clone(), |model| {
            let node = model.child(at.node, name)?;
            if model.look(node)?.kind == FileType::Symlink {
                return Err(Errno::LOOP);
            }
            if model.file(node).is_ok_and(|file| file.unreadable) {
                return Err(Errno::ACCESS);
            }
            let look = model.look(node)?;
            Ok((self.open_node(model, node, path), look))
        })
    }

    fn create_file(&self, at: &SimHandle, name: &[u8], _mode: u32) -> Result<SimFile, Errno> {
        let now = self.world.now_ns();
        let path = at.join(name);
        self.change("create", &path.clone(), |model| {
            let node = model.make_file(at.node, name, Maker::Lakeward, now)?;
            Ok(self.open_node(model, node, path))
        })
    }

    fn unlink(&self, at: &SimHandle, name: &[u8]) -> Result<(), Errno> {
        self.change("unlink", &at.join(name), |model| {
            let event = leaving(model, at, name, None)?;
            model.unlink(at.node, name)?;
            model.record(event);
            Ok(())
        })
    }

    fn rename_new(
        &self,
        at: &SimHandle,
        name: &[u8],
        to: &SimHandle,
        to_name: &[u8],
    ) -> Result<(), Errno> {
        self.change("rename", &at.join(name), |model| {
            if model.lacks_rename_new() {
                return Err(Errno::INVAL);
            }
            let event = leaving(model, at, name, Some(to.join(to_name)));
            let replaces = model.lies(Lie::RenameNew);
            let replaced = leaving(model, to, to_name, None).unwrap_or(None);
            model.rename((at.node, name), (to.node, to_name), replaces)?;
            model.record(replaced);
            model.record(event?);
            Ok(())
        })
    }

    fn rename_over(&self, at: &SimHandle, name: &[u8], to_name: &[u8]) -> Result<(), Errno> {
        self.change("rename over", &at.join(name), |model| {
            let moved = leaving(model, at, name, Some(at.join(to_name)))?;
            let replaced = leaving(model, at, to_name, None).unwrap_or(None);
            model.rename((at.node, name), (at.node, to_name), true)?;
            model.record(replaced);
            model.record(moved);
            Ok(())
        })
    }

    fn link(
        &self,
        at: &SimHandle,
        name: &[u8],
        to: &SimHandle,
        to_name: &[u8],
    ) -> Result<(), Errno> {
        self.change("link", &to.join(to_name), |model| {
            model.link((at.node, name), (to.node, to_name))
        })
    }

    fn sync(&self, at: &SimHandle) -> Result<(), Errno> {
        self.call(
            "sync directory",
            &at.path,
            Shape::Parts,
            |model, part| match part {
                _ if model.lies(Lie::DirectorySync) => Ok(()),
                Part::Half => model.sync_directory_half(at.node),
                _ => model.sync_directory(at.node),
            },
        )
    }

    fn write(&self, file: &mut SimFile, bytes: &[u8]) -> Result<(), Errno> {
        let now = self.world.now_ns();
        self.call("write", &file.path, Shape::Parts, |model, part| {
            let length = if part == Part::Half {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            let written = model.file_mut(file.node)?;
            written.content.extend_from_slice(&bytes[..length]);
            written.mtime_ns = now;
            Ok(())
        })
    }

    fn sync_file(&self, file: &SimFile) -> Result<(), Errno> {
        self.call(
            "sync file",
            &file.path,
            Shape::Parts,
            |model, part| match part {
                _ if model.lies(Lie::FileSync) => Ok(()),
                Part::Half => model.sync_file_half(file.node),
                _ => model.sync_file(file.node),
            },
        )
    }

    fn drop_cache(&self, _file: &SimFile) {}

    fn give_attributes(
        &self,
        _original: &SimFile,
        copy: &SimFile,
        mtime_ns: i64,
    ) -> Result<(), Errno> {
        self.change("give attributes", &copy.path, |model| {
            model.file_mut(copy.node)?.mtime_ns = mtime_ns;
            Ok(())
        })
    }

    fn lock_directory(&self, at: &Arc<SimHandle>) -> Result<Option<SimLock>, Errno> {
        self.look_only("lock", &at.path, |model| Ok(self.lock(model, at.node)))
    }

    fn lock_file(
        &self,
        at: &SimHandle,
        name: &[u8],
        create: bool,
    ) -> Result<Option<SimLock>, Errno> {
        let now = self.world.now_ns();
        self.change("lock", &at.join(name), |model| {
            let node = match model.child(at.node, name) {
                Err(Errno::NOENT) if create => {
                    model.make_file(at.node, name, Maker::Lakeward, now)?
                }
                found => found?,
            };
            if create {
                model.may_write(at.node)?;
            }
            Ok(self.lock(model, node))
        })
    }
}

fn c_string(name: Vec<u8>) -> CString {
    CString::new(name).expect("no name holds a NUL")
}

impl SpooledFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let most = self.system.disk.read_bytes_max();
        let read = self.system.look_only("read", &self.path, |model| {
            let content = &model.file(self.node)?.content;
            let from = content.len().min(offset as usize);
            let n = (content.len() - from).min(buffer.len()).min(most);
            buffer[..n].copy_from_slice(&content[from..from + n]);
            Ok(n)
        });
        Ok(read?)
    }

    fn stat(&self) -> io::Result<FileStat> {
        let look = self
            .system
            .look_only("look", &self.path, |model| model.look(self.node));
        Ok(look?.stat)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.system.disk.model().closed(self.node, self.process);
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut model = self.disk.model();
        if model.locks.get(&self.node) == Some(&self.number) {
            model.locks.remove(&self.node);
        }
    }
}
