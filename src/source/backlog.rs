//! What the source found, read and set aside: counters that other threads may read at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Shared by the source and whoever reports. Each number is right by itself; two of them may be of different moments.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Files not yet handed out, as of the last scan less what was dealt with since.
    waiting_files: AtomicU64,
    waiting_bytes: AtomicU64,
    /// Of those at the last scan: not ready yet.
    unready: AtomicU64,
    /// Of those at the last scan: left for later, as their path still belongs to an earlier file.
    deferred: AtomicU64,
    /// Files that could not be read in the last scan.
    unreadable: AtomicU64,
    first_unreadable: Mutex<Option<String>>,
    /// Since the program began.
    files_read: AtomicU64,
    bytes_read: AtomicU64,
    resent: AtomicU64,
    same_content: AtomicU64,
    quarantined: AtomicU64,
    /// The source waits until payloads in the journal were committed: the open batch should end.
    payload_full: AtomicBool,
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Backlog {
    /// Files and bytes (on disk) not yet handed out.
    pub fn waiting(&self) -> (u64, u64) {
        (get(&self.waiting_files), get(&self.waiting_bytes))
    }

    pub fn unready(&self) -> u64 {
        get(&self.unready)
    }

    pub fn deferred(&self) -> u64 {
        get(&self.deferred)
    }

    /// How many files could not be read in the last scan, and what was wrong with the first. A `--once` run that ends
    /// with some is not done.
    pub fn unreadable(&self) -> (u64, Option<String>) {
        let first = self
            .first_unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        (get(&self.unreadable), first)
    }

    /// Files and bytes (on disk) handed out whole.
    pub fn read(&self) -> (u64, u64) {
        (get(&self.files_read), get(&self.bytes_read))
    }

    /// Files skipped because they were sent again.
    pub fn resent(&self) -> u64 {
        get(&self.resent)
    }

    /// Files skipped because their content was landed under another name.
    pub fn same_content(&self) -> u64 {
        get(&self.same_content)
    }

    /// Files that the source itself quarantined.
    pub fn quarantined(&self) -> u64 {
        get(&self.quarantined)
    }

    pub fn payload_full(&self) -> bool {
        self.payload_full.load(Ordering::Relaxed)
    }

    pub(super) fn scanned(&self, files: u64, bytes: u64, unready: u64) {
        self.waiting_files.store(files, Ordering::Relaxed);
        self.waiting_bytes.store(bytes, Ordering::Relaxed);
        self.unready.store(unready, Ordering::Relaxed);
        self.deferred.store(0, Ordering::Relaxed);
        self.unreadable.store(0, Ordering::Relaxed);
        *self
            .first_unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// One file of the scan was dealt with.
    pub(super) fn dealt_with(&self, bytes: u64) {
        let less = |counter: &AtomicU64, by: u64| {
            let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                Some(n.saturating_sub(by))
            });
        };
        less(&self.waiting_files, 1);
        less(&self.waiting_bytes, bytes);
    }

    pub(super) fn count_deferred(&self) {
        self.deferred.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_unreadable(&self, message: &str) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
        self.first_unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| message.to_owned());
    }

    pub(super) fn count_read(&self, bytes: u64) {
        self.files_read.fetch_add(1, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_resent(&self) {
        self.resent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_same_content(&self) {
        self.same_content.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_quarantined(&self) {
        self.quarantined.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_payload_full(&self, full: bool) {
        self.payload_full.store(full, Ordering::Relaxed);
    }
}
