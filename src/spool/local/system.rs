//! The system calls that a local spool is made of, one method each.
//!
//! [`Linux`] are the real ones. A simulated file system behind the same methods shows what the spool does when it is killed
//! between two of them, when one fails, or when the power goes: all else in this module is then the code that runs.

use std::ffi::CStr;
use std::fs::{File, Permissions};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    Access, Advice, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RawDir, RenameFlags,
    Stat, Timespec, Timestamps, UTIME_OMIT,
};
use rustix::io::Errno;

use crate::segment::FileStat;
use crate::spool::SpooledFile;

/// What has a name. Size and time mean something of regular files only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub kind: FileType,
    pub stat: FileStat,
}

impl Look {
    /// The stat of a regular file.
    #[must_use]
    pub fn of_file(self) -> Option<FileStat> {
        (self.kind == FileType::RegularFile).then_some(self.stat)
    }
}

/// One name of a directory, with its kind as far as the listing says it.
pub type Listed<'a> = Result<(&'a CStr, FileType), Errno>;

/// `name` is always one component; nothing symbolic is followed but where it is said. Errors are what Linux answers.
pub trait FileSystem: Clone + Send + Sync + 'static {
    /// An open directory: it goes on meaning the same one when its path is given to something else.
    type Handle: Send + Sync + 'static;
    type File: SpooledFile + 'static;
    /// Held until dropped.
    type Lock: Send + Sync + 'static;

    /// Opens a directory by its whole path. Links in the path are followed, at its end only with `follow`.
    fn open(&self, path: &Path, follow: bool) -> Result<Self::Handle, Errno>;
    fn open_child(&self, at: &Self::Handle, name: &[u8]) -> Result<Self::Handle, Errno>;
    /// With modes by the umask.
    fn make_child(&self, at: &Self::Handle, name: &[u8]) -> Result<(), Errno>;
    /// Device and inode of the directory itself.
    fn identity(&self, at: &Self::Handle) -> Result<(u64, u64), Errno>;
    /// The id of the file system that the directory is on.
    fn system_id(&self, at: &Self::Handle) -> Result<u64, Errno>;
    /// `Ok`: this process may make and remove names here.
    fn may_write(&self, at: &Self::Handle) -> Result<(), Errno>;
    /// Every name in the directory, `.` and `..` among them or not, with its kind as far as the listing says it. `buffer` is
    /// room that may be used.
    fn list<E>(
        &self,
        at: &Self::Handle,
        buffer: &mut [MaybeUninit<u8>],
        visit: &mut dyn FnMut(Listed<'_>) -> Result<(), E>,
    ) -> Result<(), E>;
    /// Whatever has this name.
    fn look(&self, at: &Self::Handle, name: &[u8]) -> Result<Look, Errno>;
    /// Opens for reading without waiting for anything, and says what it opened.
    fn open_file(&self, at: &Self::Handle, name: &[u8]) -> Result<(Self::File, Look), Errno>;
    /// Creates a file that was not there, for reading and writing.
    fn create_file(&self, at: &Self::Handle, name: &[u8], mode: u32) -> Result<Self::File, Errno>;
    fn unlink(&self, at: &Self::Handle, name: &[u8]) -> Result<(), Errno>;
    /// Never over anything.
    fn rename_new(
        &self,
        at: &Self::Handle,
        name: &[u8],
        to: &Self::Handle,
        to_name: &[u8],
    ) -> Result<(), Errno>;
    /// Over whatever is there.
    fn rename_over(&self, at: &Self::Handle, name: &[u8], to_name: &[u8]) -> Result<(), Errno>;
    fn link(
        &self,
        at: &Self::Handle,
        name: &[u8],
        to: &Self::Handle,
        to_name: &[u8],
    ) -> Result<(), Errno>;
    /// Makes the names in the directory durable.
    fn sync(&self, at: &Self::Handle) -> Result<(), Errno>;

    /// All of it, at the file's end.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> Result<(), Errno>;
    fn sync_file(&self, file: &Self::File) -> Result<(), Errno>;
    /// What memory holds of the file is to be read from the disk again; may do nothing.
    fn drop_cache(&self, file: &Self::File);
    /// Gives `copy` the permissions of `original`, its time, and its owner where this process may. That time or owner cannot be
    /// given is no error.
    fn give_attributes(
        &self,
        original: &Self::File,
        copy: &Self::File,
        mtime_ns: i64,
    ) -> Result<(), Errno>;

    /// `None`: another has it. The directory must have been opened for this lock alone.
    fn lock_directory(&self, at: &Arc<Self::Handle>) -> Result<Option<Self::Lock>, Errno>;
    /// The same of a file, which is made if `create`.
    fn lock_file(
        &self,
        at: &Self::Handle,
        name: &[u8],
        create: bool,
    ) -> Result<Option<Self::Lock>, Errno>;
}

/// The running system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// What a lock hangs on.
pub enum Locked {
    Directory(Arc<OwnedFd>),
    File(OwnedFd),
}

impl SpooledFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    fn stat(&self) -> std::io::Result<FileStat> {
        Ok(look_of(&rustix::fs::fstat(self)?).stat)
    }
}

impl FileSystem for Linux {
    type Handle = OwnedFd;
    type File = File;
    type Lock = Locked;

    fn open(&self, path: &Path, follow: bool) -> Result<OwnedFd, Errno> {
        let flags = if follow {
            DIRECTORY
        } else {
            DIRECTORY | OFlags::NOFOLLOW
        };
        rustix::fs::openat(CWD, path, flags, Mode::empty())
    }

    fn open_child(&self, at: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
    }

    fn make_child(&self, at: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o777))
    }

    fn identity(&self, at: &OwnedFd) -> Result<(u64, u64), Errno> {
        let stat = rustix::fs::fstat(at)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn system_id(&self, at: &OwnedFd) -> Result<u64, Errno> {
        Ok(rustix::fs::fstatvfs(at)?.f_fsid)
    }

    fn may_write(&self, at: &OwnedFd) -> Result<(), Errno> {
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(at, c".", wanted, AtFlags::empty())
    }

    fn list<E>(
        &self,
        at: &OwnedFd,
        buffer: &mut [MaybeUninit<u8>],
        visit: &mut dyn FnMut(Listed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut read = RawDir::new(at, buffer);
        while let Some(entry) = read.next() {
            match entry {
                Ok(entry) => visit(Ok((entry.file_name(), entry.file_type())))?,
                Err(errno) => visit(Err(errno))?,
            }
        }
        Ok(())
    }

    fn look(&self, at: &OwnedFd, name: &[u8]) -> Result<Look, Errno> {
        rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| look_of(&stat))
    }

    fn open_file(&self, at: &OwnedFd, name: &[u8]) -> Result<(File, Look), Errno> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(at, name, flags, Mode::empty())?;
        let look = look_of(&rustix::fs::fstat(&fd)?);
        Ok((File::from(fd), look))
    }

    fn create_file(&self, at: &OwnedFd, name: &[u8], mode: u32) -> Result<File, Errno> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(at, name, flags, Mode::from_raw_mode(mode)).map(File::from)
    }

    fn unlink(&self, at: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        rustix::fs::unlinkat(at, name, AtFlags::empty())
    }

    fn rename_new(
        &self,
        at: &OwnedFd,
        name: &[u8],
        to: &OwnedFd,
        to_name: &[u8],
    ) -> Result<(), Errno> {
        rustix::fs::renameat_with(at, name, to, to_name, RenameFlags::NOREPLACE)
    }

    fn rename_over(&self, at: &OwnedFd, name: &[u8], to_name: &[u8]) -> Result<(), Errno> {
        rustix::fs::renameat(at, name, at, to_name)
    }

    fn link(&self, at: &OwnedFd, name: &[u8], to: &OwnedFd, to_name: &[u8]) -> Result<(), Errno> {
        rustix::fs::linkat(at, name, to, to_name, AtFlags::empty())
    }

    fn sync(&self, at: &OwnedFd) -> Result<(), Errno> {
        rustix::fs::fsync(at)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> Result<(), Errno> {
        file.write_all(bytes).map_err(|e| errno(&e))
    }

    fn sync_file(&self, file: &File) -> Result<(), Errno> {
        file.sync_all().map_err(|e| errno(&e))
    }

    fn drop_cache(&self, file: &File) {
        let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    }

    fn give_attributes(&self, original: &File, copy: &File, mtime_ns: i64) -> Result<(), Errno> {
        let metadata = original.metadata().map_err(|e| errno(&e))?;
        let _ = std::os::unix::fs::fchown(copy, Some(metadata.uid()), Some(metadata.gid()));
        let mode = metadata.permissions().mode() & 0o777;
        copy.set_permissions(Permissions::from_mode(mode))
            .map_err(|e| errno(&e))?;
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: mtime_ns.div_euclid(1_000_000_000),
                tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
            },
        };
        // Without it, a later attempt after a kill makes a second copy under the next number; nothing is lost.
        let _ = rustix::fs::futimens(copy, &times);
        Ok(())
    }

    fn lock_directory(&self, at: &Arc<OwnedFd>) -> Result<Option<Locked>, Errno> {
        let is_locked = try_lock(at)?;
        Ok(is_locked.then(|| Locked::Directory(Arc::clone(at))))
    }

    fn lock_file(&self, at: &OwnedFd, name: &[u8], create: bool) -> Result<Option<Locked>, Errno> {
        let common = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // NFS locks for writing only what is open for writing.
        let flags = if create {
            OFlags::RDWR | OFlags::CREATE
        } else {
            OFlags::RDONLY
        };
        let fd = rustix::fs::openat(at, name, common | flags, Mode::from_raw_mode(0o666))?;
        let is_locked = try_lock(&fd)?;
        Ok(is_locked.then_some(Locked::File(fd)))
    }
}

fn try_lock(fd: impl AsFd) -> Result<bool, Errno> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn look_of(stat: &Stat) -> Look {
    Look {
        kind: FileType::from_raw_mode(stat.st_mode),
        stat: FileStat {
            inode: stat.st_ino,
            device: stat.st_dev,
            size: stat.st_size as u64,
            mtime_ns: stat
                .st_mtime
                .saturating_mul(1_000_000_000)
                .saturating_add(stat.st_mtime_nsec as i64),
        },
    }
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
