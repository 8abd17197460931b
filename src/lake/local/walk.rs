//! Lists a local lake, hidden names included.
//!
//! Entries that come or go meanwhile may or may not be listed. Links to directories are followed, as landing follows
//! them, except below `_lakeward`; one that leads back to a directory above itself is not. Names that are not UTF-8
//! cannot be ours and are left out.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::tree::{Tree, directory_flags};
use crate::lake::Entry;
use crate::naming::LakePath;

/// One directory of the way down.
struct Level {
    path: String,
    entries: Dir,
    fd: OwnedFd,
    identity: (u64, u64),
}

pub(super) fn list(tree: &Tree, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> io::Result<()> {
    let flags = directory_flags(dir.as_str().split('/').next());
    let Some(parents) = tree.parents(dir)? else {
        return Ok(());
    };
    let Some(top) = enter(parents.fd(), dir.name(), dir.as_str(), flags)? else {
        return Ok(());
    };
    let mut levels = vec![top];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.read() else {
            levels.pop();
            continue;
        };
        let entry = entry?;
        let Some(path) = child(&level.path, entry.file_name()) else {
            continue;
        };
        if let Some(below) = look_at(level, &path, flags, visit)? {
            let loops = levels.iter().any(|above| above.identity == below.identity);
            if !loops {
                levels.push(below);
            }
        }
    }
    Ok(())
}

/// The path of an entry, `None` for `.`, `..` and what is no path of a lake.
fn child(dir: &str, name: &CStr) -> Option<LakePath> {
    let name = name.to_str().ok()?;
    LakePath::new(&format!("{dir}/{name}")).ok()
}

/// Visits a file; a directory is opened to go on in.
fn look_at(
    level: &Level,
    path: &LakePath,
    flags: OFlags,
    visit: &mut dyn FnMut(Entry),
) -> io::Result<Option<Level>> {
    let follow = if flags.contains(OFlags::NOFOLLOW) {
        AtFlags::SYMLINK_NOFOLLOW
    } else {
        AtFlags::empty()
    };
    let stat = match rustix::fs::statat(&level.fd, path.name(), follow) {
        Ok(stat) => stat,
        // Gone meanwhile, or a link to nowhere.
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            visit(Entry {
                path: path.clone(),
                length: u64::try_from(stat.st_size).unwrap_or(0),
            });
            Ok(None)
        }
        FileType::Directory => enter(level.fd.as_fd(), path.name(), path.as_str(), flags),
        _ => Ok(None),
    }
}

/// Opens the directory `name`, `None` if it is gone.
fn enter(
    above: BorrowedFd<'_>,
    name: &str,
    path: &str,
    flags: OFlags,
) -> io::Result<Option<Level>> {
    let fd = match rustix::fs::openat(above, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = rustix::fs::fstat(&fd)?;
    Ok(Some(Level {
        path: path.to_owned(),
        entries: Dir::read_from(&fd)?,
        fd,
        identity: (stat.st_dev, stat.st_ino),
    }))
}
