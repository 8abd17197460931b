//! A staged file while it is written: every byte of a data file goes through here.
//!
//! It is created exclusively, counts and digests what is written, and takes no more of the process's file handles than it
//! needs: [`StagedFile::park`] gives the handle back until the next write. Nothing is synced: whoever lands the file checks
//! or syncs it. Where it will be synced as it lies, the system is asked to write it out while it grows, so that the sync finds
//! little to do. A file that is dropped before it was kept is removed, since a batch given up must free its space.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use crate::protocol::DataFileCopy;
use crate::segment::Digester;

/// Bytes after which a file that is to be synced is written out: much for a disk at once, little to wait for.
const WRITE_BACK_BYTES: u64 = 8 << 20;

pub(super) struct StagedFile {
    path: PathBuf,
    /// `None` while parked.
    file: Option<File>,
    length: u64,
    digester: Digester,
    kept: bool,
    write_back: bool,
}

impl StagedFile {
    /// Creates the file; the umask decides who may read it, as landing a local lake's files renames them. `write_back`: it is
    /// going to be synced.
    ///
    /// # Errors
    /// Something has this name: staging was not swept, or somebody else writes here.
    pub(super) fn create(path: PathBuf, write_back: bool) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self {
            path,
            file: Some(file),
            length: 0,
            digester: Digester::default(),
            kept: false,
            write_back,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Gives the file's handle back; the next write opens it again.
    pub(super) fn park(&mut self) {
        self.file = None;
    }

    /// Length and digest of what was written; the file stays when this value is dropped.
    pub(super) fn keep(&mut self) -> DataFileCopy {
        self.kept = true;
        if self.write_back {
            // The rest, while the batch is staged and its manifest written.
            self.write_out(self.length / WRITE_BACK_BYTES * WRITE_BACK_BYTES);
        }
        self.file = None;
        DataFileCopy {
            length: self.length,
            digest: self.digester.digest(),
        }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.open_again()?,
        };
        Ok(self.file.insert(file))
    }

    /// Has what was written from `from` on go to the disk, without waiting for it. Linux takes this advice so for dirty pages:
    /// it starts to write them (`generic_fadvise`), and drops none that is not clean yet. Elsewhere nothing is lost.
    fn write_out(&self, from: u64) {
        if let Some(file) = &self.file {
            let _ = rustix::fs::fadvise(file, from, None, Advice::DontNeed);
        }
    }

    /// For appending, and only if it is as long as it was left.
    fn open_again(&self) -> io::Result<File> {
        let file = OpenOptions::new().append(true).open(&self.path)?;
        let found = file.metadata()?.len();
        if found != self.length {
            return Err(io::Error::other(format!(
                "{found} bytes long, where {} were written: something else writes here",
                self.length
            )));
        }
        Ok(file)
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.open()?.write(bytes)?;
        let before = self.length;
        self.length += written as u64;
        if self.write_back && before / WRITE_BACK_BYTES < self.length / WRITE_BACK_BYTES {
            self.write_out(before / WRITE_BACK_BYTES * WRITE_BACK_BYTES);
        }
        self.digester.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.kept && !crate::threads::is_dying() {
            // Staging is garbage until its batch is staged (I7): what cannot be removed now is swept at the next start.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Raises the limit of open files to what the system allows, once: files of many partitions are open together.
pub(super) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Refused: files are parked all the same, the limit is only for comfort.
        let _ = setrlimit(Resource::Nofile, limit);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Digest;

    #[test]
    fn a_parked_file_goes_on_where_it_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = StagedFile::create(path.clone(), true).unwrap();
        file.write_all(b"one").unwrap();
        file.park();
        file.write_all(b"two").unwrap();
        let copy = file.keep();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
        assert_eq!((copy.length, copy.digest), (6, Digest::of(b"onetwo")));
    }

    #[test]
    fn a_file_that_grew_while_parked_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = StagedFile::create(path.clone(), true).unwrap();
        file.write_all(b"one").unwrap();
        file.park();
        std::fs::write(&path, b"other").unwrap();
        assert!(file.write_all(b"two").is_err());
    }

    #[test]
    fn a_file_that_is_written_out_while_it_grows_has_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes: Vec<u8> = (0..3 * WRITE_BACK_BYTES / 2)
            .map(|i| (i % 251) as u8)
            .collect();
        let mut file = StagedFile::create(path.clone(), true).unwrap();
        for chunk in bytes.chunks(1 << 20) {
            file.write_all(chunk).unwrap();
        }
        let copy = file.keep();
        assert_eq!(
            (copy.length, copy.digest),
            (bytes.len() as u64, Digest::of(&bytes))
        );
        assert!(std::fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn a_dropped_file_leaves_nothing_and_a_second_one_of_its_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = StagedFile::create(path.clone(), true).unwrap();
        assert!(StagedFile::create(path.clone(), true).is_err());
        drop(file);
        assert!(std::fs::metadata(&path).is_err());
    }
}
