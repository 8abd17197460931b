//! The claim in the spool, and the lock on it.
//!
//! The claim says for good whose spool this is; the lock says that somebody uses it now. The lock is taken twice, on the
//! file `.lakeward-lock` and on the directory itself: the file works on file systems that lock no directories, the
//! directory where nothing can be written, and an agent of either kind meets one of the other.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::directory::{Directory, failure};
use super::faults::Faults;
use crate::crash;
use crate::spool::{Claim, SpoolError};

const CLAIM: &[u8] = b".lakeward-claim.json";
const CLAIM_TEMPORARY: &[u8] = b".lakeward-claim.json.temporary";
const LOCK: &[u8] = b".lakeward-lock";

/// A claim is some hundred bytes; what is longer is none.
const CLAIM_BYTES_MAX: u64 = 64 << 10;

pub(super) fn read(root: &Directory) -> Result<Option<Claim>, SpoolError> {
    let Some((file, _)) = root.open_file(CLAIM)? else {
        return match root.look(CLAIM)? {
            None => Ok(None),
            Some(_) => Err(unusable(root, "it is no regular file")),
        };
    };
    let mut text = Vec::new();
    file.take(CLAIM_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|e| root.error("read claim", CLAIM, errno(&e)))?;
    match serde_json::from_slice(&text) {
        Ok(claim) => Ok(Some(claim)),
        Err(e) => Err(unusable(root, &format!("it is no claim ({e})"))),
    }
}

fn unusable(root: &Directory, what: &str) -> SpoolError {
    let text = format!(
        "{what}, so it cannot be told whose spool this is; bring the file back from a backup, or remove it and take the \
         spool over on purpose with `lakeward adopt`, once no other agent uses this spool"
    );
    failure("read claim", &root.join(CLAIM), text)
}

/// `Ok(false)`: nothing can be written here.
pub(super) fn write(root: &Directory, claim: &Claim, faults: &Faults) -> Result<bool, SpoolError> {
    const OPERATION: &str = "write claim";
    let mut file = match root.create_file(CLAIM_TEMPORARY, 0o666) {
        Ok(file) => file,
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => return Ok(false),
        Err(errno) => return Err(root.error(OPERATION, CLAIM_TEMPORARY, errno)),
    };
    let mut text = serde_json::to_vec_pretty(claim)
        .map_err(|e| failure(OPERATION, &root.join(CLAIM), e.to_string()))?;
    text.push(b'\n');
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(|e| root.error(OPERATION, CLAIM_TEMPORARY, errno(&e)))?;
    faults.point("claim written")?;
    root.rename_over(CLAIM_TEMPORARY, CLAIM)
        .map_err(|e| root.error(OPERATION, CLAIM, e))?;
    root.sync()?;
    Ok(true)
}

/// Held until dropped.
pub(super) struct Lock {
    _directory: Option<Directory>,
    _file: Option<OwnedFd>,
}

/// `None`: another has it.
/// The root must have been opened for this lock alone: it lasts until the last clone of it is dropped.
pub(super) fn lock(root: &Directory) -> Result<Option<Lock>, SpoolError> {
    const OPERATION: &str = "lock";
    let directory = match try_lock(root) {
        Ok(true) => Ok(root.clone()),
        Ok(false) => return Ok(None),
        Err(errno) => Err(errno),
    };
    let file = match open_lock_file(root)? {
        None => None,
        Some(file) => match try_lock(&file) {
            Ok(true) => Some(OwnedFd::from(file)),
            Ok(false) => return Ok(None),
            Err(errno) => return Err(root.error(OPERATION, LOCK, errno)),
        },
    };
    match (directory, file) {
        (Err(errno), None) => Err(root.error(OPERATION, &[], errno)),
        (directory, file) => Ok(Some(Lock {
            _directory: directory.ok(),
            _file: file,
        })),
    }
}

/// `None`: there is none, and none can be made.
fn open_lock_file(root: &Directory) -> Result<Option<File>, SpoolError> {
    let common = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    // NFS locks for writing only what is open for writing.
    let tries = [OFlags::RDWR | OFlags::CREATE, OFlags::RDONLY];
    for flags in tries {
        match rustix::fs::openat(root, LOCK, common | flags, mode) {
            Ok(fd) => return Ok(Some(File::from(fd))),
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::NOENT) => {}
            Err(errno) => return Err(root.error("lock", LOCK, errno)),
        }
    }
    Ok(None)
}

fn try_lock(fd: impl AsFd) -> Result<bool, Errno> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        // I12 alone: one spool, one agent.
        Err(Errno::WOULDBLOCK) => Ok(crash::broken("i12-spool-not-locked")),
        Err(errno) => Err(errno),
    }
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
