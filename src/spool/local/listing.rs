//! The names of one scan, in little memory: 16 bytes and the name for each file.
//!
//! A million names lie in blocks of a megabyte, so that they never move while they grow; what is sorted are entries that
//! point at them. Nothing else about a file is kept, since what a stat call says is asked again when the file's turn
//! comes.

use std::cmp::Ordering;
use std::ffi::CStr;

use crate::spool::Order;

const BLOCK_BITS: u32 = 20;
const BLOCK_BYTES: usize = 1 << BLOCK_BITS;

/// A file that was found. `mtime_ns` is 0 where the order does not need it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    mtime_ns: i64,
    /// Block and place in it.
    name: u32,
    directory: u32,
}

/// Names and directories of one scan.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names, each with its NUL.
    blocks: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    /// Paths below the spool; the first is empty.
    directories: Vec<Box<[u8]>>,
}

impl Listing {
    pub(super) fn add_directory(&mut self, path: &[u8]) -> Option<u32> {
        let number = u32::try_from(self.directories.len()).ok()?;
        self.directories.push(path.into());
        Some(number)
    }

    /// The path of a directory that was added.
    pub(super) fn directory(&self, number: u32) -> Option<&[u8]> {
        self.directories.get(number as usize).map(|path| &path[..])
    }

    /// `None`: four gigabytes of names are there already.
    pub(super) fn add(&mut self, directory: u32, name: &CStr, mtime_ns: i64) -> Option<()> {
        let bytes = name.to_bytes_with_nul();
        let fits = self
            .blocks
            .last()
            .is_some_and(|block| block.len() + bytes.len() <= BLOCK_BYTES);
        if !fits {
            self.blocks.push(Vec::with_capacity(BLOCK_BYTES));
        }
        let number = self.blocks.len() - 1;
        let block = self.blocks.last_mut()?;
        let place = u64::try_from(number).ok()? << BLOCK_BITS | block.len() as u64;
        let entry = Entry {
            mtime_ns,
            name: u32::try_from(place).ok()?,
            directory,
        };
        block.extend_from_slice(bytes);
        if self.entries.len() == self.entries.capacity() {
            // A quarter more, not twice as much: the old and the new table exist together for a moment.
            self.entries.reserve_exact(1024 + self.entries.len() / 4);
        }
        self.entries.push(entry);
        Some(())
    }

    /// Sorts; files of one time by path, so that the order is the same every time.
    pub(super) fn sort(&mut self, order: Order) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|a, b| {
            let by_time = match order {
                Order::Oldest => a.mtime_ns.cmp(&b.mtime_ns),
                Order::Newest => b.mtime_ns.cmp(&a.mtime_ns),
                Order::Name => Ordering::Equal,
            };
            by_time.then_with(|| self.compare_paths(a, b))
        });
        // Some network file systems list a name twice when their directory changes meanwhile.
        entries.dedup_by(|a, b| self.compare_paths(a, b) == Ordering::Equal);
        self.entries = entries;
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn compare_paths(&self, a: &Entry, b: &Entry) -> Ordering {
        if a.directory == b.directory {
            return self.name(*a).cmp(self.name(*b));
        }
        self.bytes_of(a).cmp(self.bytes_of(b))
    }

    fn bytes_of(&self, entry: &Entry) -> impl Iterator<Item = u8> {
        let directory = self.directory(entry.directory).unwrap_or_default();
        let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        let name = self.name(*entry).to_bytes();
        directory.iter().chain(slash).chain(name).copied()
    }

    /// The name of an entry of this listing.
    pub(super) fn name(&self, entry: Entry) -> &CStr {
        let place = entry.name as usize;
        self.blocks
            .get(place >> BLOCK_BITS)
            .and_then(|block| block.get(place & (BLOCK_BYTES - 1)..))
            .and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok())
            .unwrap_or_default()
    }
}

impl Entry {
    pub(super) fn directory(self) -> u32 {
        self.directory
    }
}

/// Writes `directory/name` into `path`.
pub(super) fn write_path(path: &mut Vec<u8>, directory: &[u8], name: &[u8]) {
    path.clear();
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
