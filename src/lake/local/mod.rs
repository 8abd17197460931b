//! A lake on a local disk (or whatever is mounted there).
//!
//! ```text
//! land:    fsync the staged file -> rename without replacing -> fsync target directory, new ancestors, staging
//! create:  hidden temporary file -> fsync -> rename without replacing -> fsync directory and ancestors
//! ```
//!
//! The rename is `renameat2(RENAME_NOREPLACE)`; where the file system knows none, `link` and then `unlink`, which never
//! replaces either: a kill between the two leaves the file under both names, the final one seen as ours, the staged
//! one swept as garbage.
//!
//! Visible is not durable: a process killed after the rename and before the fsyncs leaves a file that a power cut may
//! still take away. That is why [`Lake::make_durable`] exists for files that were merely observed.

mod tree;
mod walk;
mod words;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use self::tree::{Parents, Tree};
use super::{Created, Entry, Honours, Lake, LakeError, Landed, Look, Mark, SMALL_OBJECT_BYTES_MAX};
use crate::crash;
use crate::naming::{LakePath, METADATA_DIR};
use crate::protocol::DataFileCopy;
use crate::segment::{Digester, JournalId};

/// How much of a file is read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A directory as a lake.
pub struct LocalLake {
    tree: Tree,
    identity: String,
}

impl LocalLake {
    /// Makes the root if it is missing.
    ///
    /// # Errors
    /// It can be neither found nor made, or is no directory.
    pub fn open(root: &Path) -> Result<Self, LakeError> {
        let text = root.display().to_string();
        let tree = Tree::open(root).map_err(|e| words::error("open the lake", &text, &e))?;
        Ok(Self {
            tree,
            identity: format!("fs {text}"),
        })
    }

    /// The whole path, since whoever reads it must find the disk that is full or the directory that is closed.
    fn error(&self, operation: &'static str, path: &LakePath, error: &io::Error) -> LakeError {
        let whole = self.tree.root().join(path.as_str());
        words::error(operation, &whole.display().to_string(), error)
    }

    /// Fsyncs the file under `path` and every directory above it.
    fn sync_file(&self, parents: &Parents, name: &str) -> io::Result<()> {
        open_file(parents.fd(), name)?.sync_all()?;
        self.tree.sync(parents)
    }

    fn try_create(&self, path: &LakePath, contents: &[u8]) -> io::Result<Created> {
        let parents = self.tree.made_parents(path)?;
        let name = path.name();
        // I3 write-once.
        if crash::broken("i3-manifest-replaced") && path.as_str().contains("/manifests/") {
            let _ = rustix::fs::unlinkat(parents.fd(), name, AtFlags::empty());
        }
        if tree::kind_of(parents.fd(), name)?.is_none() {
            let temporary = format!(".lakeward-{:016x}.tmp", super::random());
            let created = write_new(parents.fd(), &temporary, contents)
                .and_then(|()| rename_new(parents.fd(), Path::new(&temporary), parents.fd(), name));
            if !matches!(created, Ok(true)) {
                // Best effort: a hidden leftover harms nobody.
                let _ = rustix::fs::unlinkat(parents.fd(), &temporary, AtFlags::empty());
            }
            if created? {
                self.tree.sync(&parents)?;
                return Ok(Created::Ours);
            }
        }
        // Somebody's: an earlier attempt's of ours, perhaps, that was killed before its fsyncs.
        let mut found = Vec::new();
        let Some(file) = open_regular(parents.fd(), name)? else {
            return Ok(Created::Other);
        };
        file.take(contents.len() as u64 + 1)
            .read_to_end(&mut found)?;
        if found != contents {
            return Ok(Created::Other);
        }
        self.sync_file(&parents, name)?;
        Ok(Created::Ours)
    }

    fn try_land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> io::Result<Landed> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(staged, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            // An earlier attempt of ours may have renamed it away already.
            Err(Errno::NOENT) if self.stands_there(path)? => return Ok(Landed::Look),
            Err(Errno::NOENT) => {
                return Err(io::Error::other(format!(
                    "the staged copy `{}` is not there, and nothing has landed",
                    staged.display()
                )));
            }
            Err(e) => return Err(e.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() || found.len() != mark.copy.length {
            return Err(io::Error::other(format!(
                "the staged copy `{}` has {} bytes and not the recorded {}",
                staged.display(),
                found.len(),
                mark.copy.length
            )));
        }
        file.sync_all()?;
        let parents = self.tree.made_parents(path)?;
        // I3 write-once: the rename never replaces. I2 visible-once: it is one step.
        if crash::broken("i3-landing-replaces") {
            let _ = rustix::fs::unlinkat(parents.fd(), path.name(), AtFlags::empty());
        }
        if crash::broken("i2-land-by-copying") {
            copy_slowly(staged, parents.fd(), path.name())?;
            return Ok(Landed::Yes);
        }
        if !rename_new(CWD, staged, parents.fd(), path.name())? {
            return Ok(Landed::Look);
        }
        self.tree.sync(&parents)?;
        if let Some(dir) = staged.parent() {
            tree::sync_dir(File::open(dir)?.as_fd())?;
        }
        Ok(Landed::Yes)
    }

    fn stands_there(&self, path: &LakePath) -> io::Result<bool> {
        match self.tree.parents(path)? {
            Some(parents) => Ok(tree::kind_of(parents.fd(), path.name())?.is_some()),
            None => Ok(false),
        }
    }

    fn try_look(&self, path: &LakePath, mark: &Mark) -> io::Result<Look> {
        let Some(parents) = self.tree.parents(path)? else {
            return Ok(Look::Absent);
        };
        let Some((kind, length)) = tree::kind_of(parents.fd(), path.name())? else {
            return Ok(Look::Absent);
        };
        let foreign = |length, found: String| Ok(Look::Foreign { length, found });
        if kind != FileType::RegularFile {
            return foreign(length, kind_in_words(kind).to_owned());
        }
        if !mark.copies.iter().any(|copy| copy.length == length) {
            return foreign(length, "another length than ours".to_owned());
        }
        let Some(copy) = self.try_digest(path)? else {
            return Ok(Look::Absent);
        };
        if mark.copies.contains(&copy) {
            return Ok(Look::Ours);
        }
        foreign(copy.length, format!("digest {}", copy.digest))
    }

    fn try_digest(&self, path: &LakePath) -> io::Result<Option<DataFileCopy>> {
        let Some(mut file) = self.try_open(path)? else {
            return Ok(None);
        };
        let mut digester = Digester::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut length = 0;
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            digester.update(&buffer[..n]);
            length += n as u64;
        }
        Ok(Some(DataFileCopy {
            length,
            digest: digester.digest(),
        }))
    }

    fn try_open(&self, path: &LakePath) -> io::Result<Option<File>> {
        let Some(parents) = self.tree.parents(path)? else {
            return Ok(None);
        };
        match open_file(parents.fd(), path.name()) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn try_read(&self, path: &LakePath) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.try_open(path)? else {
            return Ok(None);
        };
        let mut contents = Vec::new();
        file.take(SMALL_OBJECT_BYTES_MAX + 1)
            .read_to_end(&mut contents)?;
        if contents.len() as u64 > SMALL_OBJECT_BYTES_MAX {
            return Err(io::Error::other(format!(
                "it is longer than {SMALL_OBJECT_BYTES_MAX} bytes, which none of Lakeward's own is"
            )));
        }
        Ok(Some(contents))
    }

    fn try_make_durable(&self, path: &LakePath) -> io::Result<()> {
        let parents = self
            .tree
            .parents(path)?
            .ok_or_else(|| io::Error::from(Errno::NOENT))?;
        self.sync_file(&parents, path.name())
    }

    fn try_probe(&self, path: &LakePath) -> Result<Honours, LakeError> {
        let failed = |e: io::Error| self.error("probe", path, &e);
        let contents = b"lakeward probes this lake";
        if self.try_create(path, contents).map_err(failed)? != Created::Ours {
            return Err(failed(io::Error::other("somebody else writes this name")));
        }
        let read = self.try_read(path).map_err(failed)?;
        let second = self.try_create(path, b"another").map_err(failed)?;
        self.remove(path).map_err(failed)?;
        if read.as_deref() != Some(&contents[..]) || second != Created::Other {
            return Err(failed(io::Error::other(
                "what was written did not read back: this file system cannot hold a lake",
            )));
        }
        Ok(Honours {
            conditional_writes: true,
        })
    }

    fn remove(&self, path: &LakePath) -> io::Result<()> {
        if let Some(parents) = self.tree.parents(path)? {
            rustix::fs::unlinkat(parents.fd(), path.name(), AtFlags::empty())?;
        }
        Ok(())
    }
}

impl Lake for LocalLake {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, LakeError> {
        self.try_create(path, contents)
            .map_err(|e| self.error("create", path, &e))
    }

    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, LakeError> {
        self.try_read(path)
            .map_err(|e| self.error("read", path, &e))
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, LakeError> {
        self.try_look(path, mark)
            .map_err(|e| self.error("look at", path, &e))
    }

    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, LakeError> {
        self.try_land(staged, path, mark)
            .map_err(|e| self.error("land", path, &e))
    }

    fn make_durable(&self, path: &LakePath) -> Result<(), LakeError> {
        self.try_make_durable(path)
            .map_err(|e| self.error("make durable", path, &e))
    }

    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), LakeError> {
        walk::list(&self.tree, dir, visit).map_err(|e| self.error("list", dir, &e))
    }

    fn digest(&self, path: &LakePath) -> Result<Option<DataFileCopy>, LakeError> {
        self.try_digest(path)
            .map_err(|e| self.error("read", path, &e))
    }

    fn download(&self, path: &LakePath, to: &Path) -> Result<bool, LakeError> {
        let failed = |e: io::Error| self.error("download", path, &e);
        let Some(mut from) = self.try_open(path).map_err(failed)? else {
            return Ok(false);
        };
        let mut to = File::create(to).map_err(failed)?;
        io::copy(&mut from, &mut to).map_err(failed)?;
        Ok(true)
    }

    fn probe(&self) -> Result<Honours, LakeError> {
        self.try_probe(&super::probe_path()?)
    }

    fn abort_uploads(&self, _path: &LakePath) -> Result<u64, LakeError> {
        Ok(0)
    }

    /// The directory, made with mode 0700 if it is missing. Where that fails, whoever opens it hears why.
    fn staging_dir(&self, journal: JournalId) -> Option<PathBuf> {
        let staging = self.tree.root().join(METADATA_DIR).join("staging");
        let dir = staging.join(journal.to_string());
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .create(self.tree.root().join(METADATA_DIR))
            .and_then(|()| make_private(&staging))
            .and_then(|()| make_private(&dir));
        if let Err(error) = made {
            tracing::warn!(dir = %dir.display(), %error, "staging not made");
        }
        Some(dir)
    }

    fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.tree.root()).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Writes and fsyncs a file that is new.
fn write_new(dir: BorrowedFd<'_>, name: &str, contents: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o666))?;
    let mut file = File::from(fd);
    file.write_all(contents)?;
    file.sync_all()
}

/// Renames a file, never over another: `false` if the name is taken.
fn rename_new(
    from_dir: BorrowedFd<'_>,
    from: &Path,
    to_dir: BorrowedFd<'_>,
    to: &str,
) -> io::Result<bool> {
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::INVAL | Errno::NOSYS) => link_new(from_dir, from, to_dir, to),
        Err(e) => Err(e.into()),
    }
}

/// What landing must never be, since a reader sees the part of a file: for the broken variant of I2 alone.
fn copy_slowly(staged: &Path, to_dir: BorrowedFd<'_>, to: &str) -> io::Result<()> {
    let bytes = std::fs::read(staged)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(to_dir, to, flags, Mode::from_raw_mode(0o666))?;
    let mut file = File::from(fd);
    for half in bytes.chunks(bytes.len() / 2 + 1) {
        file.write_all(half)?;
        file.sync_all()?;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

/// The same on file systems (NFS, some FUSE ones) that know no rename without replacing.
fn link_new(
    from_dir: BorrowedFd<'_>,
    from: &Path,
    to_dir: BorrowedFd<'_>,
    to: &str,
) -> io::Result<bool> {
    match rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(e @ (Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) => {
            return Err(io::Error::other(format!(
                "{e}: this file system knows neither a rename without replacing nor hard links, so it cannot hold a lake"
            )));
        }
        Err(e) => return Err(e.into()),
    }
    rustix::fs::unlinkat(from_dir, from, AtFlags::empty())?;
    Ok(true)
}

fn open_file(dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(
        dir,
        name,
        flags,
        Mode::empty(),
    )?))
}

/// `None` if what has this name is no regular file.
fn open_regular(dir: BorrowedFd<'_>, name: &str) -> io::Result<Option<File>> {
    match tree::kind_of(dir, name)? {
        Some((FileType::RegularFile, _)) => open_file(dir, name).map(Some),
        _ => Ok(None),
    }
}

fn kind_in_words(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        _ => "no regular file",
    }
}

#[cfg(test)]
mod tests;
