//! An open directory, and all that is done below one: looking, opening, renaming, making, syncing.
//!
//! Everything goes through the directory's descriptor, one component at a time and without following, so that a link
//! that somebody puts in the way is met as "not a directory" or "not a regular file" and never leads out of the tree.
//! A descriptor goes on meaning the same directory when its path is given to something else.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::faults::Faults;
use super::system::{FileSystem, Listed, Look};
use crate::segment::{FileStat, RelativePath};
use crate::spool::SpoolError;

/// What became of a rename that must not replace anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renamed {
    Yes,
    /// Something has the new name.
    Taken,
    /// Nothing has the old name, or one of the directories is gone.
    Gone,
    /// The two directories are on different file systems (or mounts).
    Across,
}

pub(super) struct Directory<F: FileSystem> {
    system: F,
    handle: Arc<F::Handle>,
    /// For messages only.
    path: PathBuf,
}

impl<F: FileSystem> Clone for Directory<F> {
    fn clone(&self) -> Self {
        Self {
            system: self.system.clone(),
            handle: Arc::clone(&self.handle),
            path: self.path.clone(),
        }
    }
}

impl<F: FileSystem> Directory<F> {
    /// Opens a directory by its whole path. Links in the path are followed, at its end only with `follow`.
    pub(super) fn open(system: &F, path: &Path, follow: bool) -> Result<Self, Errno> {
        Ok(Self {
            handle: Arc::new(system.open(path, follow)?),
            system: system.clone(),
            path: path.to_owned(),
        })
    }

    pub(super) fn system(&self) -> &F {
        &self.system
    }

    pub(super) fn handle(&self) -> &Arc<F::Handle> {
        &self.handle
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error about `name` in this directory; an empty name means the directory itself.
    pub(super) fn error(&self, operation: &'static str, name: &[u8], errno: Errno) -> SpoolError {
        let mut error = failure(operation, &self.join(name), describe(errno));
        error.unavailable = is_lost(errno);
        error
    }

    /// The path of `name` in this directory, for messages.
    pub(super) fn join(&self, name: &[u8]) -> PathBuf {
        if name.is_empty() {
            return self.path.clone();
        }
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }

    /// One component down; `None` if nothing, or no directory, has this name.
    pub(super) fn child(&self, name: &[u8]) -> Result<Option<Self>, SpoolError> {
        match self.system.open_child(&self.handle, name) {
            Ok(handle) => Ok(Some(Self {
                system: self.system.clone(),
                handle: Arc::new(handle),
                path: self.join(name),
            })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(self.error("open directory", name, errno)),
        }
    }

    /// Any number of components down, none for an empty path; `None` if one of them is absent or no directory.
    pub(super) fn below(&self, path: &[u8]) -> Result<Option<Self>, SpoolError> {
        let mut at = self.clone();
        for name in components(path) {
            match at.child(name)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// As [`Self::below`], and makes what is missing, with modes by the umask. Answers every directory on the way from
    /// this one to the last, since a directory made here, or by a process that was killed, is durable only once the one
    /// above it is synced.
    pub(super) fn make_below(&self, path: &[u8]) -> Result<Vec<Self>, SpoolError> {
        let mut way = vec![self.clone()];
        for name in components(path) {
            let at = &way[way.len() - 1];
            let next = at.make_child(name)?;
            way.push(next);
        }
        Ok(way)
    }

    fn make_child(&self, name: &[u8]) -> Result<Self, SpoolError> {
        if let Some(child) = self.child(name)? {
            return Ok(child);
        }
        match self.system.make_child(&self.handle, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.error("make directory", name, errno)),
        }
        self.child(name)?.ok_or_else(|| {
            failure(
                "make directory",
                &self.join(name),
                "something that is no directory has this name, perhaps a symbolic link, and none is followed here; \
                 move it away or configure another directory"
                    .into(),
            )
        })
    }

    /// The stat of a regular file; `None` for anything else and for nothing.
    pub(super) fn stat(&self, name: &[u8]) -> Result<Option<FileStat>, SpoolError> {
        Ok(self.look(name)?.and_then(Look::of_file))
    }

    /// Whatever has this name, links not followed.
    pub(super) fn look(&self, name: &[u8]) -> Result<Option<Look>, SpoolError> {
        match self.system.look(&self.handle, name) {
            Ok(look) => Ok(Some(look)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(self.error("look at", name, errno)),
        }
    }

    /// Opens a regular file for reading. What it is, is looked at first, so that no pipe is waited for and no device is
    /// woken, and again once it is open.
    pub(super) fn open_file(&self, name: &[u8]) -> Result<Option<(F::File, FileStat)>, SpoolError> {
        if self.stat(name)?.is_none() {
            return Ok(None);
        }
        match self.system.open_file(&self.handle, name) {
            Ok((file, look)) => Ok(look.of_file().map(|stat| (file, stat))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(errno) => Err(self.error("open", name, errno)),
        }
    }

    /// Creates a file that is ours alone (a temporary name): what is left under it by a killed process is removed first.
    pub(super) fn create_file(&self, name: &[u8], mode: u32) -> Result<F::File, Errno> {
        match self.system.unlink(&self.handle, name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        self.system.create_file(&self.handle, name, mode)
    }

    /// Removes a name; that it is not there is fine.
    pub(super) fn unlink(&self, name: &[u8]) -> Result<(), SpoolError> {
        match self.system.unlink(&self.handle, name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error("remove", name, errno)),
        }
    }

    /// Renames, never over anything. Where the file system has no such rename (NFS, some FUSE), a hard link under the new
    /// name and then the removal of the old one do the same; killed in between, the file has both names, which the next
    /// attempt has to look for.
    pub(super) fn rename_new(
        &self,
        name: &[u8],
        to: &Self,
        to_name: &[u8],
        faults: &Faults,
    ) -> Result<Renamed, SpoolError> {
        let renamed = if faults.lacks_noreplace() {
            Err(Errno::INVAL)
        } else {
            self.system
                .rename_new(&self.handle, name, &to.handle, to_name)
        };
        match renamed {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                self.link_and_unlink(name, to, to_name, faults)
            }
            other => self.outcome(other, name, to, to_name),
        }
    }

    fn link_and_unlink(
        &self,
        name: &[u8],
        to: &Self,
        to_name: &[u8],
        faults: &Faults,
    ) -> Result<Renamed, SpoolError> {
        let Some(before) = self.stat(name)? else {
            return Ok(Renamed::Gone);
        };
        let linked = self.system.link(&self.handle, name, &to.handle, to_name);
        if let Err(errno @ (Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) = linked {
            let text = format!(
                "{}; this file system can neither rename without replacing nor link, so no file can be moved on it \
                 safely: set retire = \"keep\", or put the spool elsewhere",
                describe(errno)
            );
            return Err(failure("rename", &self.join(name), text));
        }
        let outcome = self.outcome(linked, name, to, to_name)?;
        if outcome != Renamed::Yes {
            return Ok(outcome);
        }
        faults.point("linked")?;
        if to.stat(to_name)?.is_none_or(|s| s.inode != before.inode) {
            // Another file came to the old name just before the link was made, and still has that name.
            to.unlink(to_name)?;
            return Ok(Renamed::Gone);
        }
        // A producer re-uses a name only after the file was retired; what stands here now is looked at all the same.
        if self.stat(name)?.is_some_and(|s| s.inode == before.inode) {
            self.unlink(name)?;
        }
        Ok(Renamed::Yes)
    }

    fn outcome(
        &self,
        result: Result<(), Errno>,
        name: &[u8],
        to: &Self,
        to_name: &[u8],
    ) -> Result<Renamed, SpoolError> {
        match result {
            Ok(()) => Ok(Renamed::Yes),
            Err(Errno::EXIST) => Ok(Renamed::Taken),
            Err(Errno::NOENT) => Ok(Renamed::Gone),
            Err(Errno::XDEV) => Ok(Renamed::Across),
            Err(errno) => {
                let mut error = self.error("rename", name, errno);
                error.message = format!("to `{}`: {}", shown(&to.join(to_name)), describe(errno));
                Err(error)
            }
        }
    }

    /// Renames over whatever is there.
    pub(super) fn rename_over(&self, name: &[u8], to_name: &[u8]) -> Result<(), Errno> {
        self.system.rename_over(&self.handle, name, to_name)
    }

    /// Every name in it, with its kind as far as the listing says it.
    pub(super) fn list(
        &self,
        buffer: &mut [MaybeUninit<u8>],
        visit: &mut dyn FnMut(Listed<'_>) -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        self.system.list(&self.handle, buffer, visit)
    }

    /// Makes the names in this directory durable.
    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        match self.system.sync(&self.handle) {
            // The file system has nothing to sync for a directory (some FUSE and network file systems).
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(self.error("sync directory", &[], errno)),
        }
    }

    /// Device and inode of the directory itself.
    pub(super) fn identity(&self) -> Result<(u64, u64), SpoolError> {
        self.system
            .identity(&self.handle)
            .map_err(|e| self.error("look at", &[], e))
    }

    /// Whether this process may make and remove names here.
    pub(super) fn is_writable(&self) -> Result<bool, SpoolError> {
        match self.system.may_write(&self.handle) {
            Ok(()) => Ok(true),
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Ok(false),
            Err(errno) => Err(self.error("look at", &[], errno)),
        }
    }
}

/// An absolute directory, made with whatever is missing above it; and whether anything was made.
pub(super) fn make_absolute<F: FileSystem>(
    system: &F,
    path: &Path,
) -> Result<(Directory<F>, bool), SpoolError> {
    match Directory::open(system, path, false) {
        Ok(directory) => return Ok((directory, false)),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(not_a_directory(path, errno)),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(not_a_directory(path, Errno::NOENT));
    };
    let parent = match Directory::open(system, parent, true) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => make_absolute(system, parent)?.0,
        Err(errno) => return Err(not_a_directory(parent, errno)),
    };
    Ok((parent.make_child(name.as_bytes())?, true))
}

/// An error for a directory that the configuration names.
pub(super) fn not_a_directory(path: &Path, errno: Errno) -> SpoolError {
    let text = match errno {
        Errno::NOTDIR | Errno::LOOP => {
            "this is no directory (a symbolic link is not followed here)".into()
        }
        _ => describe(errno),
    };
    failure("open directory", path, text)
}

pub(super) fn failure(operation: &'static str, path: &Path, message: String) -> SpoolError {
    SpoolError {
        operation,
        path: shown(path),
        message,
        unavailable: false,
    }
}

/// Text for people of any path: control characters and invalid UTF-8 escaped.
pub(super) fn shown(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let (root, rest) = match bytes.strip_prefix(b"/") {
        Some(rest) => ("/", rest),
        None => ("", bytes),
    };
    match RelativePath::new(rest) {
        Ok(path) => format!("{root}{}", path.escaped()),
        Err(_) => format!("{}", bytes.escape_ascii()),
    }
}

fn describe(errno: Errno) -> String {
    let advice = match errno {
        Errno::ACCESS | Errno::PERM => {
            "; give the user that this program runs as the right to do this"
        }
        Errno::ROFS => "; a spool that cannot be written needs retire = \"keep\"",
        Errno::NOSPC | Errno::DQUOT => "; make room and run again",
        Errno::MFILE | Errno::NFILE => "; raise the limit of open files",
        Errno::NAMETOOLONG => "; this file system allows only shorter names",
        _ => "",
    };
    format!("{}{advice}", std::io::Error::from(errno))
}

/// Errors that say that the file system under the spool went away, rather than something about one file.
fn is_lost(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::STALE
            | Errno::IO
            | Errno::NOTCONN
            | Errno::NODEV
            | Errno::TIMEDOUT
            | Errno::HOSTDOWN
            | Errno::SHUTDOWN
    )
}

/// The components of a path below a directory; none for an empty one.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty())
}

/// Whether a listed name is the directory itself or the one above it.
pub(super) fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
