//! The names of one scan, in little memory: 16 bytes and the name for each file.
//!
//! Names and entries lie in blocks of a megabyte, so that they never move while they grow (a table that doubles holds
//! everything twice for a moment). Each block of entries is sorted by itself, and the blocks are merged on the way out.
//! Nothing else about a file is kept, since what a stat call says is asked again when the file's turn comes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ffi::CStr;

use crate::spool::Order;

const BLOCK_BITS: u32 = 20;
const BLOCK_BYTES: usize = 1 << BLOCK_BITS;
const BLOCK_ENTRIES: usize = BLOCK_BYTES / size_of::<Entry>();

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
    entries: Vec<Vec<Entry>>,
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
        match self.entries.last_mut() {
            Some(block) if block.len() < BLOCK_ENTRIES => block.push(entry),
            _ => {
                let mut block = Vec::with_capacity(BLOCK_ENTRIES);
                block.push(entry);
                self.entries.push(block);
            }
        }
        Some(())
    }

    /// Sorts; has to come before [`Self::in_order`], with the same order.
    pub(super) fn sort(&mut self, order: Order) {
        let mut entries = std::mem::take(&mut self.entries);
        for block in &mut entries {
            block.sort_unstable_by(|a, b| self.compare(order, a, b));
        }
        self.entries = entries;
    }

    /// The files, each once.
    pub(super) fn in_order(&self, order: Order) -> InOrder<'_> {
        let heads = self.entries.iter().filter_map(|block| {
            let (entry, rest) = block.split_first()?;
            Some(Head {
                listing: self,
                order,
                entry: *entry,
                rest,
            })
        });
        InOrder {
            heads: heads.collect(),
            last: None,
        }
    }

    /// Files of one time by path, so that the order is the same every time.
    fn compare(&self, order: Order, a: &Entry, b: &Entry) -> Ordering {
        let by_time = match order {
            Order::Oldest => a.mtime_ns.cmp(&b.mtime_ns),
            Order::Newest => b.mtime_ns.cmp(&a.mtime_ns),
            Order::Name => Ordering::Equal,
        };
        by_time.then_with(|| self.compare_paths(a, b))
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

/// The rest of one sorted block. The greatest head is the one that comes first, as the heap wants it.
struct Head<'a> {
    listing: &'a Listing,
    order: Order,
    entry: Entry,
    rest: &'a [Entry],
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.listing.compare(self.order, &other.entry, &self.entry)
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

pub(super) struct InOrder<'a> {
    heads: BinaryHeap<Head<'a>>,
    last: Option<Entry>,
}

impl Iterator for InOrder<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let mut head = self.heads.peek_mut()?;
            let (listing, entry) = (head.listing, head.entry);
            match head.rest.split_first() {
                Some((next, rest)) => {
                    head.entry = *next;
                    head.rest = rest;
                }
                None => {
                    std::collections::binary_heap::PeekMut::pop(head);
                }
            }
            // Some network file systems list a name twice when their directory changes meanwhile.
            let is_twice = self
                .last
                .is_some_and(|last| listing.compare_paths(&last, &entry) == Ordering::Equal);
            self.last = Some(entry);
            if !is_twice {
                return Some(entry);
            }
        }
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
