//! Decides what a file is that a scan found, and reads it or sets it aside.
//!
//! | the path's newest row | the file found | then |
//! | --- | --- | --- |
//! | none | | new: read it |
//! | reading | untouched | read on at the end of what is journaled |
//! | committed | untouched | nothing |
//! | reading, committed | same inode, other size or time | changed: quarantine (I10) |
//! | reading, committed | other inode; the row's retire target holds the row's identity | as retired |
//! | reading, committed | other inode; content equal, or one begins with the other | perhaps landed: quarantine |
//! | reading, committed | other inode; unrelated content | new |
//! | retired | equal content | `resent` |
//! | retired | other content | new |
//! | quarantined | untouched | finish the quarantine; where the spool cannot be written, nothing |
//! | none | a retired file, at the target that is recorded of it | nothing: `retire` was another one when it was retired |
//! | none, retired | another file's inode | perhaps that file under a second name: see [`super::renamed`] |
//! | quarantined | other inode, or back again | quarantine again: an operator releases it |
//!
//! A file that was handed out in this episode and that the journal does not know yet is tainted by a change, and a
//! replacement of it waits until the journal knows it.

use std::sync::Arc;

use serde_json::json;

use super::Again;
use super::error::Stop;
use super::likeness::Likeness;
use super::outlet::Outlet;
use super::reading::{FileReading, ReadFault, Step};
use super::run::{Source, is_read};
use super::seen::{Entry, Why, key_of};
use super::stream::{Stream, fingerprint_of};
use crate::channel::{FileEnd, SegmentData, SourceEvent};
use crate::format::frame::Framed;
use crate::format::{FileContext, ReadingSettings};
use crate::journal::{FileRow, FileState};
use crate::segment::{Digest, FileId, FileStat, RelativePath, Segment};
use crate::spool::{Found, Retire, Spool, SpooledFile};

/// Skipped files are journaled in groups.
const SKIPS_MAX: usize = 1000;

impl Source {
    /// Deals with one file of a scan. True: something was handed out or set aside.
    pub(super) fn consider(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
    ) -> Result<bool, Stop> {
        let key = key_of(&found.path);
        let done = match self.seen.get(key) {
            Some(entry) if entry.stat.untouched(&found.stat) => false,
            Some(entry) => self.touched(outlet, found, entry)?,
            None if self.may_know(key) => {
                match self.journal.file_at(&self.pipeline, &found.path)? {
                    Some(row) => self.known_path(outlet, found, row)?,
                    None => self.new_drop(outlet, found)?,
                }
            }
            None => self.new_drop(outlet, found)?,
        };
        if self.seen.get(key).is_some() {
            self.backlog.dealt_with(found.stat.size);
        }
        Ok(done)
    }

    /// A path that was dealt with has another stat now.
    fn touched(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
        entry: Entry,
    ) -> Result<bool, Stop> {
        let key = key_of(&found.path);
        let row = self.journal.file_at(&self.pipeline, &found.path)?;
        if let Why::Handed(id) = entry.why {
            let ours = row.filter(|row| row.id == id);
            let over = ours
                .as_ref()
                .is_some_and(|row| row.state != FileState::Reading);
            if !over {
                if entry.stat.inode != found.stat.inode {
                    return Ok(self.later());
                }
                let row = match ours {
                    Some(row) => row,
                    None => self.fresh_row(&found.path, entry.stat, id)?,
                };
                return Self::taint(
                    outlet,
                    Arc::new(row),
                    format!(
                        "it changed after it was read: {}",
                        was_and_is(&entry.stat, &found.stat)
                    ),
                );
            }
            return self.touched_row(outlet, found, key, ours);
        }
        self.touched_row(outlet, found, key, row)
    }

    fn touched_row(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
        key: u64,
        row: Option<FileRow>,
    ) -> Result<bool, Stop> {
        let changed_in_place = row.as_ref().is_some_and(|row| {
            row.state == FileState::Committed && row.stat.inode == found.stat.inode
        });
        if !found.ready && !changed_in_place {
            return Ok(self.later());
        }
        self.seen.remove(key);
        match row {
            Some(row) => self.known_path(outlet, found, row),
            None => self.new_drop(outlet, found),
        }
    }

    pub(super) fn later(&self) -> bool {
        self.backlog.count_deferred();
        false
    }

    /// The journal has a row for this path.
    pub(super) fn known_path(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
        row: FileRow,
    ) -> Result<bool, Stop> {
        let key = key_of(&found.path);
        let untouched = row.stat.untouched(&found.stat);
        match row.state {
            FileState::Reading if untouched && is_read(&row) => {
                self.seen.insert(key, found.stat, Why::Handed(row.id));
                Ok(false)
            }
            FileState::Reading if untouched => self.read_in(outlet, found, Some(row)),
            FileState::Committed if untouched => {
                self.seen.insert(key, found.stat, Why::Settled);
                Ok(false)
            }
            FileState::Reading | FileState::Committed if row.stat.inode == found.stat.inode => {
                let reason = format!(
                    "it changed before it was retired: {}",
                    was_and_is(&row.stat, &found.stat)
                );
                if self.partly.contains(&row.id) {
                    return Self::taint(outlet, Arc::new(row), reason);
                }
                self.quarantine(&row, &found.stat, &reason)
            }
            FileState::Reading | FileState::Committed => self.replaced(outlet, found, row),
            FileState::Retired if is_forgotten(&row) => self.new_drop(outlet, found),
            FileState::Retired => self.after_retired(outlet, found, &row),
            FileState::Quarantined if untouched && row.quarantined_to.is_none() => {
                let reason = row.reason.clone().unwrap_or_default();
                self.set_aside(&row, &found.stat, &reason)?;
                Ok(false)
            }
            FileState::Quarantined => self.quarantine_again(found, &row),
        }
    }

    /// A drop under the name of a quarantined file. It joins that file's row, which knows what was landed of it: with
    /// a row of its own, the next drop would count as new and land that part twice.
    fn quarantine_again(&mut self, found: &Found, row: &FileRow) -> Result<bool, Stop> {
        const AGAIN: &str = "dropped again while quarantined";
        let reason = row.reason.clone().unwrap_or_default();
        let reason = match reason.split_once(AGAIN) {
            Some(_) => reason,
            None => format!(
                "{reason}; {AGAIN}: say `lakeward release` (goes on at offset {}) or `lakeward release --as-new`",
                row.checkpoint
            ),
        };
        self.quarantine(row, &found.stat, &reason)
    }

    /// Another inode stands where a file stood that is not retired, as far as the journal knows.
    fn replaced(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
        row: FileRow,
    ) -> Result<bool, Stop> {
        if self.stands_at_target(&row)? {
            return self.after_retired(outlet, found, &row);
        }
        let why = match self.likeness(found, &row)? {
            None => return Ok(self.later()),
            Some(Likeness::Unrelated) => return self.new_drop(outlet, found),
            Some(Likeness::Same) => {
                "its content is that of the earlier file, or one begins with the other"
            }
            Some(Likeness::Untold) => {
                "it is shorter than the earlier file's first segment, so that it cannot be told from a part of it"
            }
        };
        let reason = format!(
            "perhaps it landed already: another file (inode {}, before {}) has this name while the earlier one is not retired, and {why}",
            found.stat.inode, row.stat.inode
        );
        self.quarantine_drop(found, &reason)
    }

    /// The row's file was retired and that was not recorded yet.
    pub(super) fn stands_at_target(&self, row: &FileRow) -> Result<bool, Stop> {
        let Some(target) = &row.retire_target else {
            return Ok(false);
        };
        match self.spool.is_retired(&row.path, &row.stat, target) {
            Ok(retired) => Ok(retired),
            Err(e) if e.unavailable => Err(e.into()),
            Err(e) => {
                // Not the same as "absent", but the content decides then, and equal content is quarantined.
                self.unreadable(target, &e.message);
                Ok(false)
            }
        }
    }

    /// As a copy on another file system, so that the original may still be found.
    pub(super) fn is_copied(&self, row: &FileRow) -> Result<bool, Stop> {
        let Some(target) = &row.retire_target else {
            return Ok(false);
        };
        match self.spool.is_copied(&row.path, &row.stat, target) {
            Ok(copied) => Ok(copied),
            Err(e) if e.unavailable => Err(e.into()),
            // It stood there a moment ago. Who cannot tell sets aside what may have landed.
            Err(_) => Ok(true),
        }
    }

    /// A drop under the name of a retired file.
    fn after_retired(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
        row: &FileRow,
    ) -> Result<bool, Stop> {
        let policy = match (self.settings.resent, self.settings.spool.retire) {
            (Again::Skip, Retire::Keep) => Again::Quarantine,
            (policy, _) => policy,
        };
        if policy == Again::Land {
            return self.new_drop(outlet, found);
        }
        let mut rows = self
            .journal
            .files_of_size(&self.pipeline, found.stat.size)?;
        rows.retain(|other| {
            other.path == found.path && other.id != row.id && other.state == FileState::Retired
        });
        rows.push(row.clone());
        rows.retain(|row| has_content(row) && row.stat.size == found.stat.size);
        if rows.is_empty() {
            return self.new_drop(outlet, found);
        }
        let Some(fingerprint) = self.fingerprint(found)? else {
            return Ok(false);
        };
        let Some(landed) = rows
            .into_iter()
            .find(|row| row.fingerprint == Some(fingerprint))
        else {
            return self.new_drop(outlet, found);
        };
        let reason = "sent again: a file of this name, size and content was landed and retired";
        if policy == Again::Quarantine {
            return self.quarantine_drop(found, reason);
        }
        self.backlog.count_resent();
        self.skip(found, &landed, reason)
    }

    /// A file that is new at its path.
    fn new_drop(&mut self, outlet: &mut Outlet<'_>, found: &Found) -> Result<bool, Stop> {
        if let Some(done) = self.renamed(found)? {
            return Ok(done);
        }
        if self.settings.same_content == Again::Land {
            return self.read_in(outlet, found, None);
        }
        let size = found.stat.size;
        let mut rows = self.journal.files_of_size(&self.pipeline, size)?;
        rows.retain(|row| {
            row.path != found.path && has_content(row) && row.state != FileState::Quarantined
        });
        let handed_out = self.contents.keys().any(|(s, _)| *s == size);
        if size == 0 || (rows.is_empty() && !handed_out) {
            return self.read_in(outlet, found, None);
        }
        let Some(fingerprint) = self.fingerprint(found)? else {
            return Ok(false);
        };
        let Some(row) = rows
            .into_iter()
            .find(|row| row.fingerprint == Some(fingerprint))
        else {
            if self.contents.contains_key(&(size, fingerprint)) {
                // Its twin is in the channel: what becomes of that is not certain yet.
                return Ok(self.later());
            }
            return self.read_in(outlet, found, None);
        };
        let reason = format!("same content as `{}`", row.path);
        if self.settings.same_content == Again::Quarantine {
            return self.quarantine_drop(found, &reason);
        }
        self.backlog.count_same_content();
        self.skip(found, &row, &reason)
    }

    /// The fingerprint of a file as found; `None` if it cannot be read or is another one by now (counted).
    fn fingerprint(&mut self, found: &Found) -> Result<Option<Digest>, Stop> {
        let Some(file) = self.open(found)? else {
            return Ok(None);
        };
        match fingerprint_of(file, &found.stat) {
            Ok(fingerprint) => Ok(fingerprint),
            Err(e) => {
                self.unreadable(&found.path, &e.to_string());
                Ok(None)
            }
        }
    }

    /// Opens a file if it is still the one that was found; else it is counted for the next scan.
    pub(super) fn open(&mut self, found: &Found) -> Result<Option<Box<dyn SpooledFile>>, Stop> {
        match self.spool.open(&found.path) {
            Ok(Some((file, stat))) if stat.untouched(&found.stat) => Ok(Some(file)),
            Ok(_) => {
                self.backlog.count_deferred();
                Ok(None)
            }
            Err(e) if e.unavailable => Err(e.into()),
            Err(e) => {
                self.unreadable(&found.path, &e.message);
                Ok(None)
            }
        }
    }

    pub(super) fn unreadable(&self, path: &RelativePath, why: &str) {
        let message = format!("read `{path}`: {why}");
        tracing::warn!(pipeline = self.pipeline, message, "file not readable");
        self.backlog.count_unreadable(&message);
    }

    /// Reads a file, from its beginning or from what is journaled of it on, into the channel.
    fn read_in(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
        row: Option<FileRow>,
    ) -> Result<bool, Stop> {
        let Some(file) = self.open(found)? else {
            return Ok(false);
        };
        let settings = match &row {
            Some(row) => settings_of(row)?,
            None => self.settings.reading.clone(),
        };
        let stream = match Stream::open(file, &found.stat, &settings, true) {
            Ok(stream) => stream,
            Err(e) => {
                self.unreadable(&found.path, &e.to_string());
                return Ok(false);
            }
        };
        let (resume, journaled) = match &row {
            Some(row) => (row.put_end, self.journal.ranges(row.id)?),
            None => (0, Vec::new()),
        };
        let reading = FileReading::new(
            stream,
            found.stat,
            &settings,
            resume,
            journaled.into_iter().map(|range| range.segment),
        );
        self.hand_out(outlet, found, row, reading)
    }

    fn hand_out(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
        row: Option<FileRow>,
        mut reading: FileReading,
    ) -> Result<bool, Stop> {
        let journaled = row.is_some();
        let mut known = row;
        let mut file: Option<OpenFile> = None;
        loop {
            let step = match reading.next() {
                Ok(step) => step,
                Err(fault) => {
                    let handed = file.map(|file| file.row);
                    return self.give_up(outlet, found, known, handed, journaled, fault);
                }
            };
            let file = match &mut file {
                Some(file) => file,
                slot => slot.insert(self.begin_file(found, known.take(), &reading)?),
            };
            match step {
                Step::Segment(framed) => outlet.send(file.data(framed, None))?,
                Step::Last(framed, end) => {
                    let id = file.row.id;
                    let fingerprint = end.fingerprint;
                    outlet.send(file.data(framed, Some(end)))?;
                    self.all_handed_out(found, id, fingerprint);
                    return Ok(true);
                }
            }
        }
    }

    fn all_handed_out(&mut self, found: &Found, id: FileId, fingerprint: Option<Digest>) {
        let key = key_of(&found.path);
        self.seen.insert(key, found.stat, Why::Handed(id));
        self.remember_path(key);
        self.backlog.count_read(found.stat.size);
        if self.settings.same_content != Again::Land
            && let Some(fingerprint) = fingerprint
        {
            self.contents.insert((found.stat.size, fingerprint), key);
        }
    }

    /// The row and context of a file whose first segment is about to be handed out.
    fn begin_file(
        &mut self,
        found: &Found,
        row: Option<FileRow>,
        reading: &FileReading,
    ) -> Result<OpenFile, Stop> {
        let settings = reading.settings();
        let row = match row {
            Some(row) => row,
            None => FileRow {
                header: reading.header(),
                ..self.row_with(
                    &found.path,
                    found.stat,
                    self.journal.new_file_id(),
                    &settings,
                )?
            },
        };
        let context = FileContext {
            file: row.id,
            path: found.path.clone(),
            path_columns: self.path_columns.of(&found.path),
            header: row.header.clone().map(Into::into),
            settings,
        };
        self.inodes.hand_out(&found.stat, row.id);
        Ok(OpenFile {
            row: Arc::new(row),
            context: Arc::new(context),
        })
    }

    fn settings_json(
        &mut self,
        settings: &ReadingSettings,
    ) -> Result<Arc<serde_json::Value>, Stop> {
        if let Some((_, json)) = self
            .settings_json
            .iter()
            .find(|(compression, _)| *compression == settings.compression)
        {
            return Ok(Arc::clone(json));
        }
        let json = Arc::new(serde_json::to_value(settings).map_err(|e| Stop::Failed {
            message: format!("reading settings cannot be written as JSON: {e}"),
            transient: false,
        })?);
        self.settings_json
            .push((settings.compression, Arc::clone(&json)));
        Ok(json)
    }

    /// A row as of a file nothing of which was read.
    fn fresh_row(
        &mut self,
        path: &RelativePath,
        stat: FileStat,
        id: FileId,
    ) -> Result<FileRow, Stop> {
        let settings = self.settings.reading.clone();
        self.row_with(path, stat, id, &settings)
    }

    fn row_with(
        &mut self,
        path: &RelativePath,
        stat: FileStat,
        id: FileId,
        settings: &ReadingSettings,
    ) -> Result<FileRow, Stop> {
        let settings = self.settings_json(settings)?;
        Ok(FileRow::fresh(
            id,
            path.clone(),
            stat,
            settings,
            self.clock.now_ns(),
        ))
    }

    /// Reading ended before the file's end. `handed`: segments of it went out in this episode.
    fn give_up(
        &mut self,
        outlet: &mut Outlet<'_>,
        found: &Found,
        known: Option<FileRow>,
        handed: Option<Arc<FileRow>>,
        journaled: bool,
        fault: ReadFault,
    ) -> Result<bool, Stop> {
        let (reason, now) = match fault {
            ReadFault::Io(e) if handed.is_none() => {
                self.unreadable(&found.path, &e.to_string());
                return Ok(false);
            }
            // The next episode begins from the journal; this one could only hand the segments out twice.
            ReadFault::Io(e) => {
                return Err(Stop::Failed {
                    message: format!("read `{}`: {e}", found.path),
                    transient: true,
                });
            }
            ReadFault::Changed { reason, now } => {
                (format!("{reason}: {}", was_and_is(&found.stat, &now)), now)
            }
        };
        if let Some(row) = handed.or(known.map(Arc::new)) {
            Self::taint(outlet, row, reason)
        } else {
            debug_assert!(!journaled, "a journaled file has a row");
            let id = self.journal.new_file_id();
            let row = self.fresh_row(&found.path, found.stat, id)?;
            self.quarantine(&row, &now, &reason)
        }
    }

    /// Says that the file's segments can no longer be trusted; the episode is over.
    pub(super) fn taint<T>(
        outlet: &mut Outlet<'_>,
        row: Arc<FileRow>,
        reason: String,
    ) -> Result<T, Stop> {
        outlet.flush()?;
        outlet.channel.send(SourceEvent::Tainted { row, reason })?;
        Err(Stop::Closed)
    }

    /// Sets a drop aside that gets a row of its own.
    pub(super) fn quarantine_drop(&mut self, found: &Found, reason: &str) -> Result<bool, Stop> {
        let row = self.fresh_row(&found.path, found.stat, self.journal.new_file_id())?;
        self.quarantine(&row, &found.stat, reason)
    }

    /// First the journal, then the file: a crash between leaves a row whose file the next scan sets aside.
    fn quarantine(&mut self, row: &FileRow, now: &FileStat, reason: &str) -> Result<bool, Stop> {
        tracing::error!(pipeline = self.pipeline, file = %row.path, reason, "quarantined");
        self.journal.quarantine(&self.pipeline, row, reason)?;
        self.remember_path(key_of(&row.path));
        self.backlog.count_quarantined();
        self.set_aside(row, now, reason)?;
        Ok(true)
    }

    fn set_aside(&mut self, row: &FileRow, now: &FileStat, reason: &str) -> Result<(), Stop> {
        let facts = json!({
            "path": row.path,
            "pipeline": self.pipeline,
            "reason": reason,
            "checkpoint": row.checkpoint,
            "recorded": row.stat,
            "found": now,
            "fingerprint": row.fingerprint,
            "found_fingerprint": fingerprint_now(&*self.spool, &row.path),
        });
        match self.spool.quarantine(&row.path, now, &facts) {
            Ok(Some(place)) => {
                self.journal
                    .quarantined_to(row.id, &crate::spool::place_text(&place))?;
            }
            Ok(None) => {}
            Err(e) if e.unavailable => return Err(e.into()),
            Err(e) => {
                self.unreadable(&row.path, &e.to_string());
                return Ok(());
            }
        }
        self.seen.insert(key_of(&row.path), *now, Why::Settled);
        Ok(())
    }

    /// A file that lands nothing, as its content is that of `landed`; the pipeline retires it. All its bytes count as skipped (I9).
    fn skip(&mut self, found: &Found, landed: &FileRow, reason: &str) -> Result<bool, Stop> {
        tracing::info!(pipeline = self.pipeline, file = %found.path, reason, "skipped");
        let target = match self.settings.spool.retire {
            Retire::Keep => None,
            _ => Some(self.spool.retire_target(&found.path, 0)),
        };
        let id = self.journal.new_file_id();
        let row = self.fresh_row(&found.path, found.stat, id)?;
        self.skips.push(FileRow {
            state: FileState::Committed,
            skipped: true,
            decoded: landed.decoded,
            skipped_bytes: landed.decoded.unwrap_or(0),
            fingerprint: landed.fingerprint,
            reason: Some(reason.to_owned()),
            retire_target: target,
            ..row
        });
        let key = key_of(&found.path);
        self.remember_path(key);
        self.seen.insert(key, found.stat, Why::Settled);
        if self.skips.len() >= SKIPS_MAX {
            self.flush_skips()?;
        }
        Ok(true)
    }

    pub(super) fn flush_skips(&mut self) -> Result<(), Stop> {
        if self.skips.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.skips);
        self.journal.skip(&self.pipeline, &rows)?;
        Ok(())
    }
}

/// For the reason that lies beside a quarantined file; as good as it can be had.
pub fn fingerprint_now(spool: &dyn Spool, path: &RelativePath) -> Option<Digest> {
    let (file, stat) = spool.open(path).ok()??;
    fingerprint_of(file, &stat).ok()?
}

/// A file whose segments are being handed out.
struct OpenFile {
    row: Arc<FileRow>,
    context: Arc<FileContext>,
}

impl OpenFile {
    fn data(&self, framed: Framed, end: Option<FileEnd>) -> SegmentData {
        SegmentData {
            context: Arc::clone(&self.context),
            row: Arc::clone(&self.row),
            segment: segment_of(self.row.id, &framed, end.is_some()),
            bytes: Arc::new(framed.bytes),
            end,
        }
    }
}

pub(super) fn segment_of(file: FileId, framed: &Framed, last: bool) -> Segment {
    Segment {
        file,
        from: framed.from,
        to: framed.to,
        line: framed.line,
        records: framed.records,
        last,
        digest: framed.digest,
    }
}

/// The settings that were fixed for a file when it was first read.
pub(super) fn settings_of(row: &FileRow) -> Result<ReadingSettings, Stop> {
    serde_json::from_value((*row.settings).clone()).map_err(|e| Stop::Failed {
        message: format!(
            "the journal's reading settings of `{}` cannot be read: {e}",
            row.path
        ),
        transient: false,
    })
}

/// Released as new by an operator: its content counts as never seen.
fn is_forgotten(row: &FileRow) -> bool {
    row.state == FileState::Retired && row.reason.is_some() && !row.skipped
}

/// Its content is known and was, or will be, landed (or skipped as equal to what was).
fn has_content(row: &FileRow) -> bool {
    row.fingerprint.is_some() && !is_forgotten(row)
}

fn was_and_is(was: &FileStat, now: &FileStat) -> String {
    let say = |s: &FileStat| {
        format!(
            "inode {}, {} bytes, modified {} ns",
            s.inode, s.size, s.mtime_ns
        )
    };
    format!("it was [{}], it is [{}]", say(was), say(now))
}
