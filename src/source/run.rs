//! The source's loop: episodes, scans, and when there is nothing to do.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::backlog::Backlog;
use super::error::Stop;
use super::outlet::Outlet;
use super::path_columns::PathColumns;
use super::renamed::Inodes;
use super::seen::{KnownPaths, Seen, Why, key_of};
use super::segment_reader::{ReadError, SegmentReader};
use super::{SourceError, SourceSettings};
use crate::channel::{Channel, SourceEvent};
use crate::clock::Clock;
use crate::format::Compression;
use crate::format::charset::Transcoder;
use crate::journal::{FileRow, FileState, Journal};
use crate::segment::{Digest, FileId, FileStat};
use crate::spool::{Found, Spool};

/// Ready files remembered of one scan; more wait for the next one.
const PENDING_MAX: usize = 200_000;
/// Entries of files that vanished are kept up to this many before the journal is asked whether they are over.
const VANISHED_MAX: usize = 50_000;
/// How often a spool that cannot be read is tried.
const SCAN_ATTEMPTS: u32 = 3;
/// Shortest wait between two scans.
const POLL_MIN: Duration = Duration::from_millis(10);

/// Reads one pipeline's spool.
pub struct Source {
    pub(super) settings: SourceSettings,
    pub(super) spool: Arc<dyn Spool>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pipeline: String,
    pub(super) path_columns: PathColumns,
    pub(super) backlog: Arc<Backlog>,
    pub(super) seen: Seen,
    /// `None` before the first episode.
    pub(super) known: Option<KnownPaths>,
    pub(super) inodes: Inodes,
    /// `ReadingSettings` as JSON, per compression found.
    pub(super) settings_json: Vec<(Compression, Arc<serde_json::Value>)>,
    /// Contents handed out in this episode, where `same_content` asks for them.
    pub(super) contents: HashMap<(u64, Digest), u64>,
    /// Rows of skipped files, to be journaled together.
    pub(super) skips: Vec<FileRow>,
    /// Files of which the journal's payload was handed out in this episode.
    pub(super) partly: HashSet<FileId>,
    directory: Option<(u64, u64)>,
}

/// What a scan found.
#[derive(Default)]
struct Scan {
    pending: Vec<Found>,
    /// There was more than fits into `pending`.
    more: bool,
    unready: HashMap<u64, FileStat>,
    files: u64,
    bytes: u64,
}

impl Source {
    /// # Errors
    /// `path_columns` or `charset` mean nothing.
    pub fn new(
        settings: SourceSettings,
        spool: Arc<dyn Spool>,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        pipeline: String,
    ) -> Result<Self, SourceError> {
        let path_columns = PathColumns::new(&settings.path_columns)?;
        Transcoder::new(&settings.reading.charset).map_err(SourceError::Charset)?;
        Ok(Self {
            settings,
            spool,
            journal,
            clock,
            pipeline,
            path_columns,
            backlog: Arc::default(),
            seen: Seen::default(),
            known: None,
            inodes: Inodes::default(),
            settings_json: Vec::new(),
            contents: HashMap::new(),
            skips: Vec::new(),
            partly: HashSet::new(),
            directory: None,
        })
    }

    /// The counters, which other threads may read while this one runs.
    pub fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.backlog)
    }

    /// Files and bytes (on disk) that were not yet handed out at the last scan.
    pub fn waiting(&self) -> (u64, u64) {
        self.backlog.waiting()
    }

    /// One episode. Runs until the channel is closed, or until it told [`SourceEvent::Tainted`] or [`SourceEvent::Failed`], or,
    /// with `once`, until what was ready, or became ready within `ready_after`, was handed out and
    /// [`SourceEvent::Drained`] told.
    ///
    /// First what the journal holds is handed out (payload mode), then files of which some is journaled go on
    /// at the end of that, then the spool is scanned.
    pub fn run(&mut self, channel: &Channel, once: bool) {
        let backlog = Arc::clone(&self.backlog);
        let journal = Arc::clone(&self.journal);
        let pipeline = self.pipeline.clone();
        let payload = self
            .settings
            .payload
            .then_some(self.settings.payload_bytes_max);
        let mut outlet = Outlet::new(channel, &*journal, &pipeline, &backlog, payload);
        match self.episode(&mut outlet, once) {
            Ok(()) | Err(Stop::Closed) => {}
            Err(Stop::Failed { message, transient }) => {
                tracing::error!(pipeline, message, transient, "source stopped");
                // Closed: the other end has its own reason to stop already.
                let _ = channel.send(SourceEvent::Failed { message, transient });
            }
        }
    }

    fn episode(&mut self, outlet: &mut Outlet<'_>, once: bool) -> Result<(), Stop> {
        self.begin_episode()?;
        self.hand_out_waiting(outlet)?;
        self.resume_all(outlet)?;
        let mut patience = Patience::default();
        loop {
            let scan = self.scan(outlet.channel)?;
            let taken = self.take_in(outlet, scan.pending)?;
            if outlet.channel.is_closed() {
                return Ok(());
            }
            if scan.more {
                continue;
            }
            let mut pause = self.settings.poll.max(POLL_MIN);
            if once {
                let now = self.clock.elapsed();
                let ready_after = patience_for(self.settings.spool.ready_after);
                let Some(rest) = patience.goes_on(scan.unready, now, ready_after) else {
                    outlet.channel.send(SourceEvent::Drained)?;
                    return Ok(());
                };
                pause = pause.min(rest.max(POLL_MIN));
            } else if taken == 0 {
                outlet.channel.send(SourceEvent::Drained)?;
            }
            if outlet.channel.wait_closed(pause) {
                return Ok(());
            }
        }
    }

    fn begin_episode(&mut self) -> Result<(), Stop> {
        self.seen.begin_episode();
        self.contents.clear();
        self.skips.clear();
        self.partly.clear();
        self.settle_inodes()?;
        self.load_known()?;
        Ok(())
    }

    /// Reads once which paths the journal knows, so that a new file costs no question.
    pub(super) fn load_known(&mut self) -> Result<(), crate::journal::JournalError> {
        if self.known.is_some() {
            return Ok(());
        }
        let mut known = KnownPaths::new();
        let inodes = &mut self.inodes;
        self.journal.visit_known(&self.pipeline, &mut |file| {
            known.insert(file.path_hash);
            inodes.know(&file);
        })?;
        self.known = Some(known);
        Ok(())
    }

    pub(super) fn remember_path(&mut self, key: u64) {
        if let Some(known) = &mut self.known {
            known.insert(key);
        }
    }

    pub(super) fn may_know(&self, key: u64) -> bool {
        self.known.as_ref().is_none_or(|known| known.may_hold(key))
    }

    /// Segments that are journaled and in no batch.
    fn hand_out_waiting(&mut self, outlet: &mut Outlet<'_>) -> Result<(), Stop> {
        let segments = self.journal.waiting_segments(&self.pipeline)?;
        if segments.is_empty() {
            return Ok(());
        }
        let mut reader = SegmentReader::new(
            Arc::clone(&self.spool),
            Arc::clone(&self.journal),
            &self.settings,
        )
        .map_err(|e| Stop::Failed {
            message: e.to_string(),
            transient: false,
        })?;
        let mut row: Option<Arc<FileRow>> = None;
        for segment in segments {
            let current = match row.take().filter(|row| row.id == segment.file) {
                Some(row) => row,
                None => Arc::new(
                    self.journal
                        .file(segment.file)?
                        .ok_or_else(|| Stop::Failed {
                            message: format!(
                                "the journal holds a segment of file {} and no row of it",
                                segment.file.0
                            ),
                            transient: false,
                        })?,
                ),
            };
            match reader.read_shared(&current, &segment) {
                Ok(data) => {
                    self.partly.insert(current.id);
                    outlet.hand_on(data)?;
                }
                Err(ReadError::Changed { reason, .. }) => {
                    return Self::taint(outlet, current, reason);
                }
                Err(e @ ReadError::Gone { .. }) => {
                    return Err(Stop::Failed {
                        message: e.to_string(),
                        transient: false,
                    });
                }
                Err(ReadError::Journal(e)) => return Err(e.into()),
                Err(e @ ReadError::Io { .. }) => {
                    return Err(Stop::Failed {
                        message: e.to_string(),
                        transient: true,
                    });
                }
            }
            row = Some(current);
        }
        Ok(())
    }

    /// Files of which some is journaled go on whether or not a scan would still find them: the configuration's globs may have changed.
    fn resume_all(&mut self, outlet: &mut Outlet<'_>) -> Result<(), Stop> {
        for row in self
            .journal
            .files_in(&self.pipeline, &[FileState::Reading])?
        {
            let key = key_of(&row.path);
            if is_read(&row) {
                self.seen.insert(key, row.stat, Why::Handed(row.id));
                continue;
            }
            match self.spool.stat(&row.path) {
                // Another file took its name, and has a row of its own by now.
                Ok(Some(stat)) if stat.inode != row.stat.inode && !self.is_newest(&row)? => {
                    self.rest_is_gone(&row);
                }
                Ok(Some(stat)) => {
                    let found = Found {
                        path: row.path.clone(),
                        stat,
                        ready: true,
                    };
                    self.known_path(outlet, &found, row)?;
                }
                Ok(None) => self.rest_is_gone(&row),
                Err(e) if e.unavailable => return Err(e.into()),
                Err(e) => self.unreadable(&row.path, &e.message),
            }
        }
        outlet.flush()
    }

    fn rest_is_gone(&self, row: &FileRow) {
        let why = format!(
            "it is gone, and only its first {} bytes were read; put it back, or its rest will not land",
            row.put_end
        );
        self.unreadable(&row.path, &why);
    }

    fn is_newest(&self, row: &FileRow) -> Result<bool, Stop> {
        let newest = self.journal.file_at(&self.pipeline, &row.path)?;
        Ok(newest.is_none_or(|newest| newest.id == row.id))
    }

    fn scan(&mut self, channel: &Channel) -> Result<Scan, Stop> {
        let mut attempt = 1;
        loop {
            match self.scan_once() {
                Ok(scan) => return Ok(scan),
                Err(Stop::Failed {
                    transient: true,
                    message,
                }) if attempt < SCAN_ATTEMPTS => {
                    tracing::warn!(message, attempt, "scan failed");
                    attempt += 1;
                    if channel.wait_closed(self.settings.poll.max(POLL_MIN)) {
                        return Err(Stop::Closed);
                    }
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    fn scan_once(&mut self) -> Result<Scan, Stop> {
        let spool = Arc::clone(&self.spool);
        self.same_directory(&*spool)?;
        let mut scan = Scan::default();
        let seen = &mut self.seen;
        seen.begin_scan();
        spool.scan(self.clock.now_ns(), &mut |found| {
            let key = key_of(&found.path);
            if seen.meet(key, &found.stat) {
                return ControlFlow::Continue(());
            }
            scan.files += 1;
            scan.bytes += found.stat.size;
            // A file that was dealt with and changed is looked at whether or not it is ready again.
            let changed = seen
                .get(key)
                .is_some_and(|entry| entry.stat.inode == found.stat.inode);
            if !found.ready && !changed {
                scan.unready.insert(key, found.stat);
            } else if scan.pending.len() < PENDING_MAX {
                scan.pending.push(found);
            } else {
                scan.more = true;
            }
            ControlFlow::Continue(())
        })?;
        self.same_directory(&*spool)?;
        self.backlog
            .scanned(scan.files, scan.bytes, scan.unready.len() as u64);
        self.prune_inodes()?;
        if self.seen.vanished() > VANISHED_MAX {
            let journal = Arc::clone(&self.journal);
            self.seen.prune(|id| {
                let row = journal.file(id)?;
                Ok::<_, Stop>(row.is_some_and(|row| is_over(&row)))
            })?;
        }
        Ok(scan)
    }

    /// A spool that was unmounted looks like an empty one; nothing may be concluded from it.
    fn same_directory(&mut self, spool: &dyn Spool) -> Result<(), Stop> {
        let now = spool.directory()?;
        let first = *self.directory.get_or_insert(now);
        if first == now {
            return Ok(());
        }
        Err(Stop::Failed {
            message: format!(
                "spool `{}` is another directory than before (inode {} of file system {:x}, before {} of {:x}): was it unmounted?",
                self.settings.spool.path.display(),
                now.0,
                now.1,
                first.0,
                first.1
            ),
            transient: true,
        })
    }

    /// Deals with each; says how many of them led to something.
    fn take_in(&mut self, outlet: &mut Outlet<'_>, pending: Vec<Found>) -> Result<u64, Stop> {
        let mut taken = 0;
        for found in pending {
            if outlet.channel.is_closed() {
                return Err(Stop::Closed);
            }
            taken += u64::from(self.consider(outlet, &found)?);
        }
        outlet.flush()?;
        self.flush_skips()?;
        Ok(taken)
    }
}

/// All of the file is journaled: there is nothing left to read.
pub(super) fn is_read(row: &FileRow) -> bool {
    row.decoded == Some(row.put_end)
}

/// The journal knows all that there is to know, so that meeting the file again leads to nothing.
fn is_over(row: &FileRow) -> bool {
    row.state != FileState::Reading || is_read(row)
}

/// A little longer than `ready_after`: a file whose time tells nothing, as it lies in the future, is ready once scans have seen it
/// unchanged for so long, and they go by the wall clock. Without it no `--once` run would ever land such a file.
fn patience_for(ready_after: Duration) -> Duration {
    ready_after + ready_after / 100 + Duration::from_millis(20)
}

/// How long a `--once` run waits for files that are not ready yet.
#[derive(Default)]
struct Patience {
    deadline: Option<Duration>,
    /// Files worth waiting for: not ready at first, and unchanged ever since.
    waited: HashMap<u64, FileStat>,
}

impl Patience {
    /// How long to wait for the next scan at most; `None`: no longer.
    fn goes_on(
        &mut self,
        unready: HashMap<u64, FileStat>,
        now: Duration,
        ready_after: Duration,
    ) -> Option<Duration> {
        match self.deadline {
            None => {
                self.deadline = Some(now + ready_after);
                self.waited = unready;
            }
            Some(_) => self
                .waited
                .retain(|key, stat| unready.get(key).is_some_and(|s| s.untouched(stat))),
        }
        let rest = self.deadline?.checked_sub(now)?;
        (!self.waited.is_empty() && !rest.is_zero()).then_some(rest)
    }
}

#[cfg(test)]
mod tests;
