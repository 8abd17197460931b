//! Moves one file, known by its identity, to another name, and never over anything.
//!
//! Within a file system that is a rename that does not replace, looked at afterwards: what was renamed may be another
//! file than the one that was looked at before, or one that changed in that moment; then it is renamed back.
//!
//! Across file systems:
//!
//! ```text
//! copy to a hidden temporary name ─► fsync ─► read back, compare digest ─► rename without replacing
//!   ─► fsync directories ─► look at the original again ─► unlink it
//! ```
//!
//! Killed anywhere, the original stands, or a whole durable copy does. Done again: a temporary name is written anew, and
//! a copy under the final name that equals the original is taken for ours.

use std::io::{BufRead, BufReader, Read};

use rustix::io::Errno;

use super::directory::{Directory, Renamed, failure, shown};
use super::faults::Faults;
use super::system::{FileSystem, errno};
use crate::segment::{Digest, Digester, FileStat};
use crate::spool::{FileReader, SpoolError, SpooledFile};

const BUFFER_BYTES: usize = 256 << 10;

/// File systems that keep coarser times (FAT: two seconds) still hold a copy of ours.
const MTIME_GRAIN_NS: u64 = 2_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Yes,
    /// Something else has the new name.
    Taken,
    /// Nothing has the old name any more.
    Gone,
    /// Another file has the old name.
    Other,
    /// The same file, another size or time; it stands where it stood, or, if a new file came there, under the new name.
    Changed(FileStat),
}

pub(super) struct Relocation<'a, F: FileSystem> {
    pub(super) from: &'a Directory<F>,
    pub(super) name: &'a [u8],
    pub(super) to: &'a Directory<F>,
    pub(super) to_name: &'a [u8],
    /// What a copy is called until it is whole.
    pub(super) temporary: &'a [u8],
    /// The identity that may be moved.
    pub(super) stat: &'a FileStat,
    /// Size and time count too, not only the inode.
    pub(super) exactly: bool,
    /// What must be durable before the original of a copy is removed.
    pub(super) before_removal: &'a dyn Fn() -> Result<(), SpoolError>,
    pub(super) faults: &'a Faults,
}

/// Whether `copy` may be a copy of ours of a file of this size and time.
pub(super) fn may_be_copy(copy: &FileStat, original: &FileStat) -> bool {
    copy.size == original.size && copy.mtime_ns.abs_diff(original.mtime_ns) < MTIME_GRAIN_NS
}

/// Whether all of `beginning` is what `file` begins with.
pub(super) fn begins_with(
    file: &dyn SpooledFile,
    beginning: &dyn SpooledFile,
    failed: &dyn Fn(Errno) -> SpoolError,
) -> Result<bool, SpoolError> {
    let buffered = |file| BufReader::with_capacity(BUFFER_BYTES, FileReader::new(file, 0));
    let (mut file, mut beginning) = (buffered(file), buffered(beginning));
    loop {
        let wanted = beginning.fill_buf().map_err(|e| failed(errno(&e)))?;
        let found = file.fill_buf().map_err(|e| failed(errno(&e)))?;
        let length = wanted.len().min(found.len());
        if length == 0 {
            return Ok(wanted.is_empty());
        }
        if wanted[..length] != found[..length] {
            return Ok(false);
        }
        file.consume(length);
        beginning.consume(length);
    }
}

/// Whether two looks, taken just now, saw one and the same file.
fn is_same_file(a: &FileStat, b: &FileStat) -> bool {
    a.inode == b.inode && a.device == b.device
}

impl<F: FileSystem> Relocation<'_, F> {
    pub(super) fn run(&self) -> Result<Moved, SpoolError> {
        let here = match self.look_here()? {
            Ok(here) => here,
            Err(otherwise) => return Ok(otherwise),
        };
        self.faults.point("looked")?;
        let renamed = self
            .from
            .rename_new(self.name, self.to, self.to_name, self.faults)?;
        match renamed {
            Renamed::Yes => {
                self.faults.point("renamed")?;
                self.look_there()
            }
            Renamed::Gone => Ok(Moved::Gone),
            Renamed::Taken => self.finish_link(&here),
            Renamed::Across => self.copy(),
        }
    }

    /// The file that may be moved, or what stands in its place.
    fn look_here(&self) -> Result<Result<FileStat, Moved>, SpoolError> {
        let Some(here) = self.from.stat(self.name)? else {
            return Ok(Err(Moved::Gone));
        };
        Ok(self.judge(&here).map_or(Ok(here), Err))
    }

    fn judge(&self, seen: &FileStat) -> Option<Moved> {
        if seen.inode != self.stat.inode {
            return Some(Moved::Other);
        }
        if self.exactly && !seen.untouched(self.stat) {
            return Some(Moved::Changed(*seen));
        }
        None
    }

    /// After a rename: what was renamed?
    fn look_there(&self) -> Result<Moved, SpoolError> {
        if self.to.look(self.to_name)?.is_none() {
            let text = format!(
                "it was renamed to `{}` and is not there; somebody else moves files here",
                shown(&self.to.join(self.to_name))
            );
            return Err(failure("rename", &self.from.join(self.name), text));
        }
        let otherwise = match self.to.stat(self.to_name)? {
            Some(there) => self.judge(&there),
            None => Some(Moved::Other),
        };
        let Some(otherwise) = otherwise else {
            return Ok(Moved::Yes);
        };
        let back = self
            .to
            .rename_new(self.to_name, self.from, self.name, self.faults)?;
        match (back, otherwise) {
            (Renamed::Yes, otherwise) => Ok(otherwise),
            // A new file has the path already. The changed one stays whole under the new name.
            (Renamed::Taken, Moved::Changed(stat)) => Ok(Moved::Changed(stat)),
            _ => {
                let text = format!(
                    "another file came to this path at the moment of the rename, and a third one after it; the second is \
                     now `{}`: move it back under another name",
                    shown(&self.to.join(self.to_name))
                );
                Err(failure("rename", &self.from.join(self.name), text))
            }
        }
    }

    /// The new name is taken: perhaps by ourselves, killed between linking and unlinking.
    fn finish_link(&self, here: &FileStat) -> Result<Moved, SpoolError> {
        let there = self.to.stat(self.to_name)?;
        if !there.is_some_and(|there| is_same_file(&there, here)) {
            return Ok(Moved::Taken);
        }
        self.from.unlink(self.name)?;
        self.look_there()
    }

    fn copy(&self) -> Result<Moved, SpoolError> {
        let Some((source, opened)) = self.from.open_file(self.name)? else {
            return Ok(Moved::Gone);
        };
        if let Some(otherwise) = self.judge(&opened) {
            return Ok(otherwise);
        }
        if self.to.look(self.to_name)?.is_some() {
            return self.finish_copy(&source, &opened);
        }
        if let Some(now) = self.write_copy(&source, &opened)? {
            self.to.unlink(self.temporary)?;
            return Ok(now);
        }
        self.faults.point("copied")?;
        match self
            .to
            .rename_new(self.temporary, self.to, self.to_name, self.faults)?
        {
            Renamed::Yes => {}
            Renamed::Taken => {
                self.to.unlink(self.temporary)?;
                return Ok(Moved::Taken);
            }
            Renamed::Gone | Renamed::Across => {
                let text = "the copy vanished; somebody else removes files here".into();
                return Err(failure("copy", &self.to.join(self.temporary), text));
            }
        }
        self.faults.point("copy renamed")?;
        self.remove_original(&opened)
    }

    /// The new name is taken: perhaps by our own copy, killed before the original was removed.
    fn finish_copy(&self, source: &F::File, opened: &FileStat) -> Result<Moved, SpoolError> {
        let Some((copy, there)) = self.to.open_file(self.to_name)? else {
            return Ok(Moved::Taken);
        };
        if !may_be_copy(&there, opened) {
            return Ok(Moved::Taken);
        }
        let original = digest_of(source, self.from, self.name)?;
        if original != digest_of(&copy, self.to, self.to_name)? {
            return Ok(Moved::Taken);
        }
        self.to
            .system()
            .sync_file(&copy)
            .map_err(|e| self.to.error("sync", self.to_name, e))?;
        self.remove_original(opened)
    }

    /// `None` if the temporary name now holds all of the file, durably.
    fn write_copy(&self, source: &F::File, opened: &FileStat) -> Result<Option<Moved>, SpoolError> {
        let system = self.to.system();
        let failed = |errno| self.to.error("copy", self.temporary, errno);
        let mut copy = self.to.create_file(self.temporary, 0o600).map_err(failed)?;
        let mut digester = Digester::default();
        let mut reader = FileReader::new(source, 0);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut length = 0;
        loop {
            let n = read(&mut reader, &mut buffer, self.from, self.name)?;
            if n == 0 {
                break;
            }
            digester.update(&buffer[..n]);
            system.write(&mut copy, &buffer[..n]).map_err(failed)?;
            length += n as u64;
            self.faults.point("copying")?;
            if length > opened.size {
                break;
            }
        }
        // By its time a later attempt knows the copy.
        system
            .give_attributes(source, &copy, opened.mtime_ns)
            .map_err(failed)?;
        system.sync_file(&copy).map_err(failed)?;
        // What the disk holds is to be compared, not what memory does; a file system may ignore this.
        system.drop_cache(&copy);
        if digest_of(&copy, self.to, self.temporary)? != digester.digest() {
            let text =
                "what was written reads back differently; the original stays; check the disk";
            return Err(failure(
                "copy",
                &self.to.join(self.temporary),
                text.to_owned(),
            ));
        }
        self.was_changed(source, opened, length)
    }

    fn was_changed(
        &self,
        source: &F::File,
        opened: &FileStat,
        length: u64,
    ) -> Result<Option<Moved>, SpoolError> {
        let now = source
            .stat()
            .map_err(|e| self.from.error("look at", self.name, errno(&e)))?;
        let is_same = now.untouched(opened) && length == opened.size;
        Ok((!is_same).then_some(Moved::Changed(now)))
    }

    fn remove_original(&self, opened: &FileStat) -> Result<Moved, SpoolError> {
        (self.before_removal)()?;
        self.faults.point("copy durable")?;
        match self.from.stat(self.name)? {
            Some(now) if now.untouched(opened) => self.from.unlink(self.name)?,
            Some(now) if now.inode == opened.inode => {
                // The copy is of a state that is past: only the original is whole.
                self.to.unlink(self.to_name)?;
                return Ok(Moved::Changed(now));
            }
            // Gone, or a new file: what was moved is under its new name.
            _ => {}
        }
        self.faults.point("original removed")?;
        Ok(Moved::Yes)
    }
}

fn digest_of<F: FileSystem>(
    file: &F::File,
    directory: &Directory<F>,
    name: &[u8],
) -> Result<Digest, SpoolError> {
    let mut reader = FileReader::new(file, 0);
    let mut digester = Digester::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let n = read(&mut reader, &mut buffer, directory, name)?;
        if n == 0 {
            return Ok(digester.digest());
        }
        digester.update(&buffer[..n]);
    }
}

fn read<F: FileSystem>(
    file: &mut impl Read,
    buffer: &mut [u8],
    directory: &Directory<F>,
    name: &[u8],
) -> Result<usize, SpoolError> {
    loop {
        match file.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(directory.error("read", name, errno(&e))),
            Ok(n) => return Ok(n),
        }
    }
}
