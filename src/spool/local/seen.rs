//! What former scans of this process saw of files that were not ready: 16 bytes a file, and of a bounded number.
//!
//! A file's mtime says how long it is unchanged, unless it lies: it may be in the future (another machine's clock), or
//! in the past while the file still grows. Therefore a scan also remembers size and time of what it found not ready.
//!
//! | a former scan saw | now | ready |
//! | --- | --- | --- |
//! | nothing | mtime `ready_after` old | yes |
//! | the same size and time | mtime `ready_after` old, or seen so for `ready_after` | yes |
//! | another size or time | any | no: counted from now |
//! | a change after the mtime | anything but seen unchanged for `ready_after` | no: this mtime lies |
//!
//! Names are remembered by their hash: two that share one (about one in 2^24 for a million files) may be judged a
//! little early or late, and what is read is checked against its stat before it counts.

use std::time::Duration;

use twox_hash::XxHash3_64;

use crate::segment::FileStat;

#[derive(Clone, Copy, Debug)]
struct Memory {
    name: u64,
    /// Of size, time and inode, and [`MET`] and [`LIES`].
    stat: u32,
    /// How long it was unchanged at the time of the scan, in milliseconds.
    unchanged_ms: u32,
}

/// This scan met the name.
const MET: u32 = 1;
/// The file changed after what its mtime says.
const LIES: u32 = 2;
const FLAGS: u32 = MET | LIES;

/// Memories to a block.
const BLOCK: usize = 4096;

/// So many files that are not ready are remembered (8 MB). Of those beyond it the mtime alone decides, until others
/// become ready and make room.
const REMEMBERED_MAX: usize = 500_000;

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Sorted by name.
    known: Vec<Memory>,
    /// Of this scan, not sorted yet, in blocks: nothing moves while the names of the scan are in memory too.
    added: Vec<Vec<Memory>>,
    /// When the last scan was, in nanoseconds since 1970.
    scanned_ns: i64,
    /// Milliseconds between the last scan and this one; `None` if the clock went back.
    passed_ms: Option<u32>,
}

/// The hash that a file is remembered by.
pub(super) fn name_hash(directory_hash: u64, name: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(directory_hash, name)
}

pub(super) fn directory_hash(path: &[u8]) -> u64 {
    XxHash3_64::oneshot(path)
}

fn stat_hash(stat: &FileStat) -> u32 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&stat.size.to_le_bytes());
    bytes[8..16].copy_from_slice(&stat.mtime_ns.to_le_bytes());
    bytes[16..].copy_from_slice(&stat.inode.to_le_bytes());
    (XxHash3_64::oneshot(&bytes) as u32) & !FLAGS
}

/// Saturating, in both directions.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Seen {
    pub(super) fn begin(&mut self, now_ns: i64) {
        // Whole milliseconds of both, so that many short pauses add up to what passed, and no part of each is lost.
        let whole = |ns: i64| ns.div_euclid(1_000_000);
        self.passed_ms = (now_ns >= self.scanned_ns)
            .then(|| whole(now_ns).saturating_sub(whole(self.scanned_ns)))
            .map(|passed| u32::try_from(passed).unwrap_or(u32::MAX));
        self.scanned_ns = now_ns;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Judges a file by its age, and remembers it if it is not ready.
    pub(super) fn is_ready(&mut self, name: u64, stat: &FileStat, ready_after: Duration) -> bool {
        if ready_after.is_zero() {
            return true;
        }
        let age = self.scanned_ns.checked_sub(stat.mtime_ns);
        let is_old = age
            .and_then(|ns| u64::try_from(ns).ok())
            .is_some_and(|ns| Duration::from_nanos(ns) >= ready_after);
        let hash = stat_hash(stat);
        let passed_ms = self.passed_ms;
        let Some(memory) = self.find(name) else {
            if !is_old {
                self.add(Memory {
                    name,
                    stat: hash,
                    unchanged_ms: 0,
                });
            }
            return is_old;
        };
        let changed = memory.stat & !FLAGS != hash;
        memory.unchanged_ms = match passed_ms {
            Some(passed) if !changed => memory.unchanged_ms.saturating_add(passed),
            _ => 0,
        };
        // It changed since the last scan, which is not as long ago as the mtime pretends.
        let was_just_changed =
            changed && is_old && passed_ms.is_some_and(|passed| passed < milliseconds(ready_after));
        let lies = if was_just_changed {
            LIES
        } else {
            memory.stat & LIES
        };
        let was_seen_so_long = memory.unchanged_ms >= milliseconds(ready_after);
        let ready = !changed && (was_seen_so_long || (is_old && lies == 0));
        // What is ready is forgotten: it is not marked as met.
        memory.stat = hash | lies | if ready { 0 } else { MET };
        ready
    }

    /// A file that this scan found but did not look at, because its caller had enough: what is remembered of it stays,
    /// and no time counts for it.
    pub(super) fn keep(&mut self, name: u64) {
        if let Some(memory) = self.find(name) {
            memory.stat |= MET;
        }
    }

    /// Forgets what this scan did not meet.
    pub(super) fn end(&mut self) {
        self.known.retain(|memory| memory.stat & MET != 0);
        for memory in &mut self.known {
            memory.stat &= !MET;
        }
        if self.added.is_empty() {
            return;
        }
        let count = self.added.iter().map(Vec::len).sum();
        self.known.reserve_exact(count);
        for block in std::mem::take(&mut self.added) {
            self.known.extend_from_slice(&block);
        }
        self.known.sort_unstable_by_key(|memory| memory.name);
        self.known.dedup_by_key(|memory| memory.name);
    }

    /// After a scan that failed: nothing is forgotten, and nothing new is remembered.
    pub(super) fn abandon(&mut self) {
        self.added = Vec::new();
        for memory in &mut self.known {
            memory.stat &= !MET;
        }
    }

    fn add(&mut self, memory: Memory) {
        let full_blocks = self.added.len().saturating_sub(1);
        if self.known.len() + full_blocks * BLOCK >= REMEMBERED_MAX {
            return;
        }
        match self.added.last_mut() {
            Some(block) if block.len() < BLOCK => block.push(memory),
            _ => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(memory);
                self.added.push(block);
            }
        }
    }

    fn find(&mut self, name: u64) -> Option<&mut Memory> {
        let at = self.known.binary_search_by_key(&name, |m| m.name).ok()?;
        self.known.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that was set back leaves files of the future; they are judged by what was seen of them.
    #[test]
    fn a_file_of_the_future_is_ready_once_it_was_seen_for_so_long_however_often() {
        let stat = FileStat {
            inode: 1,
            device: 1,
            size: 1,
            mtime_ns: i64::MAX,
        };
        for pause_ns in [900_000, 1_900_000, 50_900_000, 300_000_000] {
            let mut seen = Seen::default();
            let mut now = 1_700_000_000_000_000_000;
            let mut ready = false;
            let start = now;
            while now - start <= 301_000_000 + pause_ns && !ready {
                seen.begin(now);
                ready = seen.is_ready(7, &stat, Duration::from_millis(300));
                seen.end();
                now += pause_ns;
            }
            assert!(ready, "looked at every {pause_ns} ns");
        }
    }
}
