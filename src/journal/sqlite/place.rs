//! Where the journal lies: the state directory, the lock, the names of the database and its side files.
//!
//! ```text
//! <state_dir>/                     0700
//!   journal.db  -wal  -shm         0600, SQLite's
//!   journal.lock                   flock of the one agent, holds its process id; never removed
//!   journal.db.new                 a database being made; garbage until renamed
//!   journal.db.<id>.old            what a rebuild replaced
//! ```
//!
//! The lock is on a file of its own, because closing any other handle of a file that SQLite has open would drop
//! SQLite's own locks on it, and so that `status` may read while `run` writes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::fault::REBUILD;
use crate::crash;
use crate::journal::{JournalError, Result};

pub(super) const DATABASE: &str = "journal.db";
pub(super) const UNFINISHED: &str = "journal.db.new";
const LOCK: &str = "journal.lock";
const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// One database file in the state directory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    dir: PathBuf,
    database: PathBuf,
}

impl Place {
    /// `dir` is absolute and free of links, see [`state_dir`].
    pub(super) fn new(dir: PathBuf, name: &str) -> Self {
        let database = dir.join(name);
        Self { dir, database }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    fn text(&self) -> String {
        self.database.display().to_string()
    }

    pub(super) fn unusable(&self, message: impl Into<String>) -> JournalError {
        JournalError::Unusable {
            path: self.text(),
            message: message.into(),
        }
    }

    pub(super) fn damaged(&self, found: impl std::fmt::Display) -> JournalError {
        self.unusable(format!(
            "it is damaged ({found}) and was left as it is; {REBUILD}"
        ))
    }

    pub(super) fn fatal(
        &self,
        operation: &'static str,
        message: String,
        full: bool,
    ) -> JournalError {
        let full = full || self.no_space();
        let message = if full {
            format!(
                "{message} (the disk under `{}` is full: free some space there)",
                self.dir.display()
            )
        } else {
            message
        };
        JournalError::Fatal {
            path: self.text(),
            operation,
            message,
            full,
        }
    }

    /// A full disk can show as a plain I/O error of a side file.
    pub(super) fn no_space(&self) -> bool {
        rustix::fs::statvfs(&self.dir)
            .is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < 64 * 1024)
    }

    pub(super) fn io(&self, operation: &'static str, error: &std::io::Error) -> JournalError {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                self.fatal(operation, error.to_string(), true)
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => self.unusable(format!(
                "{operation}: {error}; the state directory must be writable for the user that runs this"
            )),
            _ => self.fatal(operation, error.to_string(), false),
        }
    }

    /// Its length, `None` if there is none.
    pub(super) fn length(&self) -> Result<Option<u64>> {
        match std::fs::symlink_metadata(&self.database) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => Err(self.unusable("it is not a regular file; move it away")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unusable(format!("look at it: {error}"))),
        }
    }

    /// Whether something is in its log, be it worth anything or not.
    pub(super) fn has_log(&self) -> bool {
        std::fs::symlink_metadata(self.side("-wal")).is_ok_and(|found| found.len() > 0)
    }

    pub(super) fn beginning<const LENGTH: usize>(&self) -> Result<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        File::open(&self.database)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|error| self.io("read its header", &error))?;
        Ok(bytes)
    }

    pub(super) fn side(&self, suffix: &str) -> PathBuf {
        let mut name = self.database.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// A log without its database: the database was moved or removed by itself, and a new one in its place would be given the old log's pages.
    pub(super) fn refuse_orphaned_log(&self) -> Result<()> {
        for suffix in ["-wal", "-journal"] {
            let log = self.side(suffix);
            if std::fs::symlink_metadata(&log).is_ok_and(|found| found.len() > 0) {
                return Err(self.unusable(format!(
                    "it is gone, but `{}` is there, so it was not lost on purpose; put it back, or {REBUILD}",
                    log.display()
                )));
            }
        }
        Ok(())
    }

    /// Removes the database and its side files: only for one that was never finished.
    pub(super) fn remove(&self) -> Result<()> {
        let sides = SIDES.iter().map(|suffix| self.side(suffix));
        for path in sides.chain([self.database.clone()]) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(self.io("remove what was left of an unfinished database", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn remove_sides(&self) -> Result<()> {
        for path in SIDES.iter().map(|suffix| self.side(suffix)) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(self.io("remove side files", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An empty file that only its owner may read; SQLite gives its side files the same rights.
    pub(super) fn create(&self) -> Result<()> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.database)
            .map(drop)
            .map_err(|error| self.io("create", &error))
    }

    /// The contents of a closed database are on the disk after `Ok`.
    pub(super) fn sync(&self) -> Result<()> {
        File::open(&self.database)
            .and_then(|file| file.sync_all())
            .map_err(|error| self.io("sync", &error))
    }

    pub(super) fn sync_dir(&self) -> Result<()> {
        sync_dir(&self.dir).map_err(|error| self.io("sync the state directory", &error))
    }
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the state directory if need be and answers its real path.
///
/// # Errors
/// It cannot be made, is no directory, or lies on a file system of the network.
pub(super) fn state_dir(dir: &Path) -> Result<PathBuf> {
    let asked = Place::new(dir.to_path_buf(), DATABASE);
    make_dir(dir).map_err(|error| asked.io("make the state directory", &error))?;
    let real =
        std::fs::canonicalize(dir).map_err(|error| asked.io("find the state directory", &error))?;
    let place = Place::new(real, DATABASE);
    refuse_network(&place)?;
    close_to_others(&place)?;
    Ok(place.dir)
}

/// Each directory that had to be made is on the disk, its name in its parent too.
fn make_dir(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_dir(parent)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_dir(parent)
}

/// A state directory that somebody made beforehand is closed too, unless it also serves for something else.
fn close_to_others(place: &Place) -> Result<()> {
    let io = |error| place.io("close the state directory to others", &error);
    let found = std::fs::metadata(&place.dir).map_err(io)?;
    let mine = found.uid() == rustix::process::geteuid().as_raw();
    if !mine || found.mode().trailing_zeros() >= 6 {
        return Ok(());
    }
    for entry in std::fs::read_dir(&place.dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.as_encoded_bytes();
        let ours = name.starts_with(b"journal.") || name.ends_with(b".lock") || name == b"staging";
        if !ours {
            return Ok(());
        }
    }
    let rights = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&place.dir, rights).map_err(io)
}

/// File systems on which SQLite's shared memory or locks cannot be trusted, by the magic number of `statfs(2)`.
const NETWORK: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xfe53_4d42, "SMB2"),
    (0xff53_4d42, "CIFS"),
    (0x6573_5546, "FUSE"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x7375_7245, "Coda"),
    (0x0000_564c, "NCP"),
    (0x0102_1997, "9P"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0xaad7_aaea, "PanFS"),
    (0x2003_0528, "OrangeFS"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
];

fn network_name(magic: u32) -> Option<&'static str> {
    NETWORK
        .iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, name)| *name)
}

pub(super) fn refuse_network(place: &Place) -> Result<()> {
    let found = rustix::fs::statfs(&place.dir).map_err(|error| {
        place.io(
            "look at the file system of the state directory",
            &error.into(),
        )
    })?;
    match network_name(found.f_type as u32) {
        None => Ok(()),
        Some(name) => Err(place.unusable(format!(
            "its directory is on a file system of type {name}, where SQLite's shared memory and locks cannot be trusted; \
             set `agent.state_dir` to a directory on a local disk (ext4, XFS, Btrfs, ZFS, tmpfs)"
        ))),
    }
}

/// The lock of the one agent that may write, until it is dropped or the process ends in any way.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held open: closing it ends the lock")] File);

impl Lock {
    pub(super) fn take(place: &Place) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(place.dir.join(LOCK))
            .map_err(|error| place.io("open `journal.lock`", &error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // I12 alone: one journal, one agent.
            Err(rustix::io::Errno::WOULDBLOCK) if !crash::broken("i12-journal-not-locked") => {
                return Err(JournalError::Locked {
                    path: place.text(),
                    holder: holder(&mut file),
                });
            }
            Err(_) if crash::broken("i12-journal-not-locked") => {}
            Err(error) => return Err(place.io("lock `journal.lock`", &error.into())),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(pid.as_bytes()))
            .map_err(|error| place.io("write the process id into `journal.lock`", &error))?;
        Ok(Self(file))
    }
}

/// ` (process 4711)`, or nothing where that cannot be read: the lock counts, not the number.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(32).read_to_string(&mut text) {
        Ok(_) => match text.trim().parse::<u32>() {
            Ok(pid) => format!(" (process {pid})"),
            Err(_) => String::new(),
        },
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_and_local_ones_pass() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0x6573_5546), Some("FUSE"));
        for local in [0xef53, 0x5846_5342, 0x0102_1994, 0x794c_7630, 0x9123_683e] {
            assert_eq!(network_name(local), None);
        }
    }

    #[test]
    fn a_new_state_directory_is_closed_to_others_with_its_parents() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        let real = state_dir(&dir).unwrap();
        for made in [temp.path().join("a"), real] {
            assert_eq!(std::fs::metadata(made).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn an_open_state_directory_is_closed_unless_it_holds_other_things() {
        let temp = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        let mode = |dir: &Path| std::fs::metadata(dir).unwrap().mode() & 0o777;

        let ours = temp.path().join("ours");
        std::fs::create_dir(&ours).unwrap();
        std::fs::set_permissions(&ours, open.clone()).unwrap();
        state_dir(&ours).unwrap();
        assert_eq!(mode(&ours), 0o700);

        let shared = temp.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::write(shared.join("letter.txt"), "").unwrap();
        std::fs::set_permissions(&shared, open).unwrap();
        state_dir(&shared).unwrap();
        assert_eq!(mode(&shared), 0o755);
    }

    #[test]
    fn the_second_who_wants_the_lock_is_told_who_has_it() {
        let temp = tempfile::tempdir().unwrap();
        let place = Place::new(state_dir(temp.path()).unwrap(), DATABASE);
        let lock = Lock::take(&place).unwrap();
        let error = Lock::take(&place).unwrap_err();
        let expected = format!(" (process {})", std::process::id());
        assert!(
            matches!(&error, JournalError::Locked { holder, .. } if *holder == expected),
            "{error}"
        );
        drop(lock);
        Lock::take(&place).unwrap();
    }
}
