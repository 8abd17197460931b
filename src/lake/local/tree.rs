//! The directories of a local lake: opened one component after the other, made where missing, and made durable.
//!
//! Whoever renames a file into a directory must fsync that directory, and a directory that is new is itself only a name
//! in its parent, up to the root. A directory may be new without this process having made it: another thread or an
//! earlier run that was killed did. So every ancestor is synced once by this process; [`Tree`] remembers for which.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::naming::{LakePath, METADATA_DIR};

/// So many directories are remembered as durable; beyond that all are forgotten, which costs only some syncs.
const DURABLE_MAX: usize = 20_000;

/// The lake's root, and which directories below it this process has made durable.
pub(super) struct Tree {
    root: PathBuf,
    /// Device and inode at the start: another one later means that a file system was mounted or unmounted meanwhile.
    identity: (u64, u64),
    /// Inode by path of directories whose name in their parent is durable.
    durable: Mutex<HashMap<String, u64>>,
}

/// The directories from the root down to the one that holds a path's last component.
pub(super) struct Parents {
    dirs: Vec<Dir>,
}

struct Dir {
    /// Below the root; empty for the root itself.
    path: String,
    inode: u64,
    fd: OwnedFd,
}

impl Parents {
    /// The directory that holds the last component.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dirs[self.dirs.len() - 1].fd.as_fd()
    }
}

impl Tree {
    /// Makes the root if it is missing, durably.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_root(root)?;
        let fd = open_root(root)?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self {
            root: root.to_owned(),
            identity: (stat.st_dev, stat.st_ino),
            durable: Mutex::default(),
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The root, if it still is the directory that it was at the start.
    pub fn root_fd(&self) -> io::Result<OwnedFd> {
        let fd = open_root(&self.root)?;
        let stat = rustix::fs::fstat(&fd)?;
        if (stat.st_dev, stat.st_ino) != self.identity {
            return Err(io::Error::other(format!(
                "the lake's root `{}` is not the directory that it was at the start: was a file system mounted or \
                 unmounted there?",
                self.root.display()
            )));
        }
        Ok(fd)
    }

    /// The directories above `path`'s last component; `None` if one is missing.
    pub fn parents(&self, path: &LakePath) -> io::Result<Option<Parents>> {
        self.descend(path, false)
    }

    /// The same, made where missing.
    pub fn made_parents(&self, path: &LakePath) -> io::Result<Parents> {
        self.descend(path, true)?.ok_or_else(|| Errno::NOENT.into())
    }

    fn descend(&self, path: &LakePath, make: bool) -> io::Result<Option<Parents>> {
        let mut dirs = vec![Dir {
            path: String::new(),
            inode: self.identity.1,
            fd: self.root_fd()?,
        }];
        let mut names: Vec<&str> = path.as_str().split('/').collect();
        names.pop();
        let flags = directory_flags(names.first().copied());
        for name in names {
            let above = &dirs[dirs.len() - 1];
            let below = match (above.path.as_str(), name) {
                ("", name) => name.to_owned(),
                (above, name) => format!("{above}/{name}"),
            };
            let Some(fd) = self.step(above.fd.as_fd(), name, &below, flags, make)? else {
                return Ok(None);
            };
            let inode = rustix::fs::fstat(&fd)?.st_ino;
            dirs.push(Dir {
                path: below,
                inode,
                fd,
            });
        }
        Ok(Some(Parents { dirs }))
    }

    /// Opens one directory, made if it is missing and `make` says so.
    fn step(
        &self,
        above: BorrowedFd<'_>,
        name: &str,
        path: &str,
        flags: OFlags,
        make: bool,
    ) -> io::Result<Option<OwnedFd>> {
        match rustix::fs::openat(above, name, flags, Mode::empty()) {
            Ok(fd) => return Ok(Some(fd)),
            Err(Errno::NOENT) if make => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        self.lock().remove(path);
        match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(Some(rustix::fs::openat(above, name, flags, Mode::empty())?))
    }

    /// After `Ok` the last component's name survives a power cut, and so do all directories above it.
    pub fn sync(&self, parents: &Parents) -> io::Result<()> {
        let mut entry_is_durable = false;
        for dir in parents.dirs.iter().rev() {
            if !entry_is_durable {
                sync_dir(dir.fd.as_fd())?;
            }
            entry_is_durable = self.lock().get(&dir.path) == Some(&dir.inode);
        }
        let mut durable = self.lock();
        if durable.len() > DURABLE_MAX {
            durable.clear();
        }
        for dir in &parents.dirs {
            durable.insert(dir.path.clone(), dir.inode);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Below `_lakeward` nothing symbolic is followed: whoever could plant a link there could redirect manifests.
pub(super) fn directory_flags(first_name: Option<&str>) -> OFlags {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if first_name == Some(METADATA_DIR) {
        flags | OFlags::NOFOLLOW
    } else {
        flags
    }
}

/// Syncs a directory. File systems that know no such thing (some network ones) answer `EINVAL`: they cannot do better.
pub(super) fn sync_dir(fd: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::fs::fsync(fd)) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether a file has this name in the directory, as an entry of any kind.
pub(super) fn kind_of(dir: BorrowedFd<'_>, name: &str) -> io::Result<Option<(FileType, u64)>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some((
            FileType::from_raw_mode(stat.st_mode),
            u64::try_from(stat.st_size).unwrap_or(0),
        ))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(|e| match e {
        Errno::NOENT => io::Error::other(format!(
            "the lake's root `{}` is not there: is its file system mounted?",
            root.display()
        )),
        e => e.into(),
    })
}

/// Makes the root and what is missing above it, and syncs the directory above each, whoever made it.
fn make_root(root: &Path) -> io::Result<()> {
    if let Some(parent) = root.parent() {
        if !root.is_dir() {
            make_root(parent)?;
            match std::fs::create_dir(root) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
        }
        // The parent of a mount point may be closed to us; then it is not ours to sync either.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::open(parent, flags, Mode::empty()) {
            sync_dir(fd.as_fd())?;
        }
    }
    Ok(())
}
