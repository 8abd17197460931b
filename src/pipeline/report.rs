//! What a run did, counted while it does it: for the report, `/metrics`, progress and the exit code.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::protocol::{DataFile, DataFileKind, Manifest, RollReason};

/// One element of `pipelines` in the report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PipelineReport {
    pub name: String,
    /// Spooled files committed whole in this run.
    pub files: u64,
    pub files_quarantined: u64,
    pub files_resent: u64,
    pub files_waiting: u64,
    pub records_read: u64,
    pub records_landed: u64,
    pub records_rejected: u64,
    /// Decompressed bytes of committed segments.
    pub bytes_read: u64,
    pub bytes_landed: u64,
    /// Paths under the lake's root.
    pub data_files: Vec<String>,
    pub reject_files: Vec<String>,
    pub batches: u64,
    pub roll_reasons: BTreeMap<&'static str, u64>,
    pub seconds: f64,
    pub exit_reason: String,
}

/// Counts of one pipeline, shared between its threads and whoever looks on.
#[derive(Default)]
pub struct Tally {
    /// Whether the report lists data files: only where one is written, since the list grows with them.
    lists_files: bool,
    report: Mutex<PipelineReport>,
    waiting_for: Mutex<String>,
    /// Records and bytes taken by lanes, committed or not: for progress.
    pub records_taken: AtomicU64,
    pub bytes_taken: AtomicU64,
    pub open_batch_records: AtomicU64,
    pub open_batch_bytes: AtomicU64,
    /// Partitions that wait to be registered, and how many were.
    pub partitions_waiting: AtomicU64,
    pub partitions_registered: AtomicU64,
    /// Why they wait.
    catalog: Mutex<String>,
    /// Files that could not be read for want of permission, for instance, in words.
    unreadable: Mutex<Option<String>>,
    drained: AtomicBool,
}

impl Tally {
    #[must_use]
    pub fn new(name: &str, lists_files: bool) -> Self {
        let tally = Self {
            lists_files,
            ..Self::default()
        };
        name.clone_into(&mut tally.edit().name);
        tally
    }

    fn edit(&self) -> MutexGuard<'_, PipelineReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn report(&self) -> PipelineReport {
        self.edit().clone()
    }

    pub fn set_ending(&self, seconds: f64, exit_reason: &str) {
        let mut report = self.edit();
        report.seconds = seconds;
        exit_reason.clone_into(&mut report.exit_reason);
    }

    pub fn rolled(&self, reason: RollReason) {
        *self.edit().roll_reasons.entry(reason.as_str()).or_default() += 1;
    }

    /// `whole`: files of the batch that are fully committed with it.
    pub fn committed(&self, manifest: &Manifest, whole: u64) {
        let Some(membership) = manifest.membership() else {
            return;
        };
        let mut report = self.edit();
        report.batches += 1;
        report.files += whole;
        for segment in &membership.segments {
            report.records_read += segment.records;
            report.records_rejected += segment.rejected;
            report.bytes_read += segment.to - segment.from;
        }
        let landed = |file: &&DataFile| !membership.lost_files.contains(&file.number);
        for file in membership.data_files.iter().filter(landed) {
            match file.kind {
                DataFileKind::Data => {
                    report.records_landed += file.records;
                    report.bytes_landed += file.copies.last().map_or(0, |copy| copy.length);
                    if self.lists_files {
                        report.data_files.push(file.path.clone());
                    }
                }
                DataFileKind::Reject if self.lists_files => {
                    report.reject_files.push(file.path.clone());
                }
                DataFileKind::Reject => {}
            }
        }
    }

    pub fn quarantined(&self, files: u64) {
        self.edit().files_quarantined += files;
    }

    /// What one episode's source decided by itself.
    pub fn add_source(&self, quarantined: u64, resent: u64, waiting: u64) {
        let mut report = self.edit();
        report.files_quarantined += quarantined;
        report.files_resent += resent;
        report.files_waiting = waiting;
    }

    #[must_use]
    pub fn files(&self) -> u64 {
        self.edit().files
    }

    pub fn set_drained(&self) {
        self.drained.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn drained(&self) -> bool {
        self.drained.load(Ordering::SeqCst)
    }

    pub fn set_unreadable(&self, what: Option<String>) {
        *self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = what;
    }

    #[must_use]
    pub fn unreadable(&self) -> Option<String> {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn waits_for(&self, what: &str) {
        let mut waiting_for = self
            .waiting_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        what.clone_into(&mut waiting_for);
    }

    #[must_use]
    pub fn waiting_for(&self) -> String {
        self.waiting_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn set_partitions_waiting(&self, waiting: u64) {
        self.partitions_waiting.store(waiting, Ordering::Relaxed);
    }

    pub fn registered(&self, partitions: u64) {
        self.partitions_registered
            .fetch_add(partitions, Ordering::Relaxed);
    }

    /// Empty once the catalog has all.
    pub fn catalog_waits(&self, why: &str) {
        let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone_into(&mut catalog);
    }

    #[must_use]
    pub fn catalog(&self) -> String {
        self.catalog
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn took(&self, records: u64, bytes: u64) {
        self.records_taken.fetch_add(records, Ordering::Relaxed);
        self.bytes_taken.fetch_add(bytes, Ordering::Relaxed);
    }
}
