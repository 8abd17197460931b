//! The claim in the spool, and the lock on it.
//!
//! The claim says for good whose spool this is; the lock says that somebody uses it now. The lock is taken twice, on the
//! file `.lakeward-lock` and on the directory itself: the file works on file systems that lock no directories, the
//! directory where nothing can be written, and an agent of either kind meets one of the other.

use std::io::Read;

use rustix::io::Errno;

use super::directory::{Directory, failure};
use super::faults::Faults;
use super::system::{FileSystem, errno};
use crate::crash;
use crate::spool::{Claim, FileReader, SpoolError};

const CLAIM: &[u8] = b".lakeward-claim.json";
const CLAIM_TEMPORARY: &[u8] = b".lakeward-claim.json.temporary";
const LOCK: &[u8] = b".lakeward-lock";

/// A claim is some hundred bytes; what is longer is none.
const CLAIM_BYTES_MAX: u64 = 64 << 10;

pub(super) fn read<F: FileSystem>(root: &Directory<F>) -> Result<Option<Claim>, SpoolError> {
    let Some((file, _)) = root.open_file(CLAIM)? else {
        return match root.look(CLAIM)? {
            None => Ok(None),
            Some(_) => Err(unusable(root, "it is no regular file")),
        };
    };
    let mut text = Vec::new();
    FileReader::new(&file, 0)
        .take(CLAIM_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|e| root.error("read claim", CLAIM, errno(&e)))?;
    match serde_json::from_slice(&text) {
        Ok(claim) => Ok(Some(claim)),
        Err(e) => Err(unusable(root, &format!("it is no claim ({e})"))),
    }
}

fn unusable<F: FileSystem>(root: &Directory<F>, what: &str) -> SpoolError {
    let text = format!(
        "{what}, so it cannot be told whose spool this is; bring the file back from a backup, or remove it and take the \
         spool over on purpose with `lakeward adopt`, once no other agent uses this spool"
    );
    failure("read claim", &root.join(CLAIM), text)
}

/// `Ok(false)`: nothing can be written here.
pub(super) fn write<F: FileSystem>(
    root: &Directory<F>,
    claim: &Claim,
    faults: &Faults,
) -> Result<bool, SpoolError> {
    const OPERATION: &str = "write claim";
    let mut file = match root.create_file(CLAIM_TEMPORARY, 0o666) {
        Ok(file) => file,
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => return Ok(false),
        Err(errno) => return Err(root.error(OPERATION, CLAIM_TEMPORARY, errno)),
    };
    let mut text = serde_json::to_vec_pretty(claim)
        .map_err(|e| failure(OPERATION, &root.join(CLAIM), e.to_string()))?;
    text.push(b'\n');
    let system = root.system();
    system
        .write(&mut file, &text)
        .and_then(|()| system.sync_file(&file))
        .map_err(|e| root.error(OPERATION, CLAIM_TEMPORARY, e))?;
    faults.point("claim written")?;
    root.rename_over(CLAIM_TEMPORARY, CLAIM)
        .map_err(|e| root.error(OPERATION, CLAIM, e))?;
    root.sync()?;
    Ok(true)
}

/// Held until dropped.
pub(super) struct Lock<F: FileSystem> {
    _directory: Option<F::Lock>,
    _file: Option<F::Lock>,
}

/// `None`: another has it.
/// The root must have been opened for this lock alone: it lasts until the last clone of it is dropped.
pub(super) fn lock<F: FileSystem>(root: &Directory<F>) -> Result<Option<Lock<F>>, SpoolError> {
    const OPERATION: &str = "lock";
    let directory = root.system().lock_directory(root.handle());
    if matches!(directory, Ok(None)) && !is_shared() {
        return Ok(None);
    }
    let file = lock_file(root).map_err(|e| root.error(OPERATION, LOCK, e))?;
    match (directory, file) {
        (Err(errno), LockFile::Absent) => Err(root.error(OPERATION, &[], errno)),
        (_, LockFile::Taken) if !is_shared() => Ok(None),
        (directory, file) => Ok(Some(Lock {
            _directory: directory.ok().flatten(),
            _file: match file {
                LockFile::Ours(lock) => Some(lock),
                LockFile::Taken | LockFile::Absent => None,
            },
        })),
    }
}

enum LockFile<L> {
    Ours(L),
    Taken,
    /// There is none, and none can be made.
    Absent,
}

fn lock_file<F: FileSystem>(root: &Directory<F>) -> Result<LockFile<F::Lock>, Errno> {
    for create in [true, false] {
        match root.system().lock_file(root.handle(), LOCK, create) {
            Ok(Some(lock)) => return Ok(LockFile::Ours(lock)),
            Ok(None) => return Ok(LockFile::Taken),
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(LockFile::Absent)
}

/// I12 alone: one spool, one agent.
fn is_shared() -> bool {
    crash::broken("i12-spool-not-locked")
}
