//! What this process knows of paths without asking the journal.
//!
//! Both structures are keyed by a 64-bit hash of the path. A collision can only lead to a question too many: an entry counts
//! for a file only if its stat is equal too.

use std::collections::HashMap;

pub(super) use crate::journal::path_hash as key_of;
use crate::segment::{FileId, FileStat};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// All of it was put into the channel in this episode.
    Handed(FileId),
    /// The journal knows it, and nothing is to be done.
    Settled,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) stat: FileStat,
    pub(super) why: Why,
    scan: u32,
}

/// Files that were dealt with, so that a scan that finds them untouched costs nothing.
#[derive(Default)]
pub(super) struct Seen {
    entries: HashMap<u64, Entry>,
    scan: u32,
    met: usize,
}

impl Seen {
    /// Forgets what was handed out: it was handed to an episode that is over.
    pub(super) fn begin_episode(&mut self) {
        self.entries.retain(|_, e| e.why == Why::Settled);
    }

    pub(super) fn begin_scan(&mut self) {
        self.scan = self.scan.wrapping_add(1);
        self.met = 0;
    }

    /// A scan met this file. True: it was dealt with and is untouched since.
    pub(super) fn meet(&mut self, key: u64, stat: &FileStat) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else {
            return false;
        };
        if entry.scan != self.scan {
            entry.scan = self.scan;
            self.met += 1;
        }
        entry.stat.untouched(stat)
    }

    pub(super) fn get(&self, key: u64) -> Option<Entry> {
        self.entries.get(&key).copied()
    }

    pub(super) fn insert(&mut self, key: u64, stat: FileStat, why: Why) {
        let scan = self.scan;
        if self
            .entries
            .insert(key, Entry { stat, why, scan })
            .is_none()
        {
            self.met += 1;
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.entries.remove(&key);
    }

    /// How many entries the last scan did not meet.
    pub(super) fn vanished(&self) -> usize {
        self.entries.len().saturating_sub(self.met)
    }

    /// Drops entries that the last scan did not meet, where `over` says that an episode needs them no more. A file that
    /// was handed out but not staged must be remembered: it could come back and be handed out twice.
    pub(super) fn prune<E>(
        &mut self,
        mut over: impl FnMut(FileId) -> Result<bool, E>,
    ) -> Result<(), E> {
        let scan = self.scan;
        let mut gone = Vec::new();
        for (key, entry) in self.entries.iter().filter(|(_, e)| e.scan != scan) {
            let drop = match entry.why {
                Why::Settled => true,
                Why::Handed(id) => over(id)?,
            };
            if drop {
                gone.push(*key);
            }
        }
        for key in gone {
            self.entries.remove(&key);
        }
        Ok(())
    }
}

/// Says "the journal has no row for this path" for certain, or "perhaps it has": a Bloom filter of fixed size, so that the
/// journal's history, however long, costs no more memory. With a million paths one answer in a thousand is a needless question.
///
/// All bits of a key are in one line of the processor's cache, since with a million of them it is the misses that take the time.
pub(super) struct KnownPaths {
    /// Made when their first bit is set: most spools have few files.
    pages: Vec<Option<Box<Page>>>,
}

type Page = [Line; PAGE_LINES];
type Line = [u64; 8];

const PAGES: usize = 1024;
const PAGE_LINES: usize = 64;
/// Nine bits of the key each.
const BITS: u32 = 4;

impl KnownPaths {
    pub(super) fn new() -> Self {
        Self {
            pages: (0..PAGES).map(|_| None).collect(),
        }
    }

    /// Page and line.
    fn place(key: u64) -> (usize, usize) {
        let line = (key >> 48) as usize;
        (line / PAGE_LINES % PAGES, line % PAGE_LINES)
    }

    fn bits(key: u64) -> Line {
        let mut line = Line::default();
        for bit in (0..BITS).map(|bit| key >> (9 * bit) & 511) {
            line[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        line
    }

    pub(super) fn insert(&mut self, key: u64) {
        let (page, line) = Self::place(key);
        let page = self.pages[page].get_or_insert_with(|| Box::new([Line::default(); PAGE_LINES]));
        for (word, bits) in page[line].iter_mut().zip(Self::bits(key)) {
            *word |= bits;
        }
    }

    pub(super) fn may_hold(&self, key: u64) -> bool {
        let (page, line) = Self::place(key);
        let page = self.pages[page].as_ref();
        page.is_some_and(|page| {
            let mut words = page[line].iter().zip(Self::bits(key));
            words.all(|(word, bits)| word & bits == bits)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(inode: u64) -> FileStat {
        FileStat {
            inode,
            device: 1,
            size: 3,
            mtime_ns: 5,
        }
    }

    #[test]
    fn a_path_put_into_the_filter_is_never_denied() {
        let mut known = KnownPaths::new();
        let keys: Vec<u64> = (0..10_000u64)
            .map(|i| twox_hash::XxHash3_64::oneshot(&i.to_le_bytes()))
            .collect();
        for key in &keys[..5_000] {
            known.insert(*key);
        }
        assert!(keys[..5_000].iter().all(|k| known.may_hold(*k)));
        let wrong = keys[5_000..].iter().filter(|k| known.may_hold(**k)).count();
        assert!(wrong < 10, "{wrong}");
    }

    #[test]
    fn with_a_million_paths_one_question_in_a_thousand_is_needless() {
        let key = |number: u64| twox_hash::XxHash3_64::oneshot(&number.to_le_bytes());
        let mut known = KnownPaths::new();
        (0..1_000_000).for_each(|number| known.insert(key(number)));
        let asked = 1_000_000..1_100_000;
        let wrong = asked.filter(|number| known.may_hold(key(*number))).count();
        assert!(wrong < 150, "{wrong} of 100,000");
    }

    #[test]
    fn a_handed_out_file_that_vanished_is_remembered_until_it_is_over() {
        let mut seen = Seen::default();
        seen.begin_scan();
        seen.insert(1, stat(1), Why::Handed(FileId(1)));
        seen.insert(2, stat(2), Why::Handed(FileId(2)));
        seen.insert(3, stat(3), Why::Settled);
        assert_eq!(seen.vanished(), 0);
        seen.begin_scan();
        assert_eq!(seen.vanished(), 3);
        seen.prune(|id| Ok::<_, ()>(id == FileId(2))).unwrap();
        assert!(seen.meet(1, &stat(1)));
        assert!(!seen.meet(1, &stat(9)));
        assert!(seen.get(2).is_none() && seen.get(3).is_none());
        seen.begin_episode();
        assert!(seen.get(1).is_none());
    }
}
