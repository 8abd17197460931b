//! What a commit leaves to do: retire whole files, set torn ones aside, empty staging, write markers. Journaled, repeated until done,
//! harmless to repeat, and never able to undo what landed.

use serde_json::json;
use tracing::{info, warn};

use super::Halt;
use super::committer::{Committer, data_files, remove_if_there};
use crate::crash;
use crate::journal::{BatchRow, FileRow, FileState};
use crate::protocol::{BatchState, invariant};
use crate::segment::{Digest, FileStat, RelativePath};
use crate::spool::{Retire, Retired, is_of_deleted};

/// Files retired between two fsyncs of the spool and their record in the journal.
const RETIRE_GROUP: usize = 10_000;

/// How far back a start looks for deletes that were not finished: a day.
const DELETES_LOOKED_AT_NS: i64 = 86_400_000_000_000;

/// A target's name is numbered at most this often.
const TARGETS_MAX: u32 = 10_000;

impl Committer {
    pub(super) fn follow_up(&self, batch: &BatchRow) -> Result<(), Halt> {
        crash::place("before_retire");
        if self.retire != Retire::Keep {
            if crash::broken("i6-retire-what-is-read") {
                self.retire_what_is_read()?;
            }
            self.retire_committed()?;
        }
        self.set_torn_aside()?;
        for file in data_files(&batch.manifest)? {
            remove_if_there(&self.staging_dir.join(&file.staged))?;
        }
        if batch.state != BatchState::Done {
            self.write_markers(batch)?;
            crash::place("before_done");
            self.ports.journal.done(&self.pipeline, batch.number)?;
        }
        Ok(())
    }

    /// I6 retire-last: rows in state `Committed` are those whose checkpoint is at their end.
    ///
    /// Under `keep` this looks for kept files that are gone, which is a look at each: done at the start of an episode only.
    pub fn retire_committed(&self) -> Result<(), Halt> {
        self.retiring.with(|| {
            let rows = self
                .ports
                .journal
                .files_in(&self.pipeline, &[FileState::Committed])?;
            for group in rows.chunks(RETIRE_GROUP) {
                self.retire_group(group)?;
            }
            Ok(())
        })
    }

    /// What I6 forbids, for its broken variant alone.
    fn retire_what_is_read(&self) -> Result<(), Halt> {
        let spool = &self.ports.spool;
        for row in self
            .ports
            .journal
            .files_in(&self.pipeline, &[FileState::Reading])?
        {
            spool.retire(&row.path, &row.stat, &spool.retire_target(&row.path, 0))?;
        }
        Ok(())
    }

    fn retire_group(&self, rows: &[FileRow]) -> Result<(), Halt> {
        let mut gone = Vec::with_capacity(rows.len());
        for row in rows {
            if self.retire == Retire::Keep {
                if self
                    .ports
                    .spool
                    .stat(&row.path)?
                    .is_none_or(|stat| stat.inode != row.stat.inode)
                {
                    // The claim was read at the start, so the spool is there and the file is not.
                    gone.push(row);
                }
            } else if self.retire_one(row)? {
                gone.push(row);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        crash::place("before_retired");
        // I1 once: a file whose row is forgotten must not come back.
        if !crash::broken("i1-retired-before-synced") {
            self.ports.spool.sync()?;
        }
        let ids: Vec<_> = gone.iter().map(|row| row.id).collect();
        self.ports.journal.retired(&ids)?;
        for row in gone {
            if let Some(target) = self.target_of(row) {
                self.ports.spool.unlink_target(&target)?;
            }
        }
        Ok(())
    }

    /// The hidden target of a deleted file, which a former `retire` may have left, too.
    fn target_of(&self, row: &FileRow) -> Option<RelativePath> {
        let before = row.retire_target.as_ref().filter(|t| is_of_deleted(t));
        if self.retire != Retire::Delete {
            return before.cloned();
        }
        match self.ports.journal.file(row.id) {
            Ok(Some(row)) => row.retire_target.filter(is_of_deleted),
            _ => before.cloned(),
        }
    }

    /// True once the file is out of the way.
    fn retire_one(&self, row: &FileRow) -> Result<bool, Halt> {
        debug_assert!(row.skipped || invariant::may_retire(row.checkpoint, row.decoded));
        let mut target = self.recorded_target(row)?;
        for attempt in 1..TARGETS_MAX {
            match self.ports.spool.retire(&row.path, &row.stat, &target)? {
                Retired::Yes | Retired::Already => return Ok(true),
                Retired::TargetTaken => {
                    target = self.ports.spool.retire_target(&row.path, attempt);
                    self.ports.journal.set_retire_target(row.id, &target)?;
                }
                Retired::Replaced => {
                    warn!(pipeline = %self.pipeline, path = %row.path, "the file was landed, then replaced by another before it was retired; the other counts as new");
                    return Ok(true);
                }
                Retired::Gone => {
                    warn!(pipeline = %self.pipeline, path = %row.path, "the file was landed, then taken away before it was retired");
                    return Ok(true);
                }
                Retired::Changed(now) => {
                    let fingerprint =
                        crate::source::fingerprint_now(self.ports.spool.as_ref(), &row.path);
                    self.quarantine(row, &changed_reason(row, &now, fingerprint))?;
                    return Ok(false);
                }
            }
        }
        Err(Halt::Stopped(format!(
            "retire `{}`: {TARGETS_MAX} files have the names it could get; tidy them up",
            row.path
        )))
    }

    /// Where the file goes. What was recorded under another `retire` counts only if the file has gone there already.
    fn recorded_target(&self, row: &FileRow) -> Result<RelativePath, Halt> {
        let spool = &self.ports.spool;
        if let Some(target) = &row.retire_target
            && (spool.gives_target(&row.path, target)
                || spool.is_retired(&row.path, &row.stat, target)?)
        {
            return Ok(target.clone());
        }
        let target = spool.retire_target(&row.path, 0);
        self.ports.journal.set_retire_target(row.id, &target)?;
        Ok(target)
    }

    /// Torn files whose whole records are committed.
    pub fn set_torn_aside(&self) -> Result<(), Halt> {
        let rows = self
            .ports
            .journal
            .files_in(&self.pipeline, &[FileState::Reading])?;
        for row in rows {
            if let Some(torn) = &row.torn
                && invariant::may_retire(row.checkpoint, row.decoded)
            {
                self.quarantine(&row, torn)?;
            }
        }
        Ok(())
    }

    /// Sets a whole file aside: first in the journal, then in the spool. Repeating it is harmless.
    pub fn quarantine(&self, row: &FileRow, reason: &str) -> Result<(), Halt> {
        warn!(pipeline = %self.pipeline, path = %row.path, reason, "quarantined");
        self.ports.journal.quarantine(&self.pipeline, row, reason)?;
        self.tally.quarantined(1);
        self.move_aside(row, reason)
    }

    fn move_aside(&self, row: &FileRow, reason: &str) -> Result<(), Halt> {
        let stat = self.ports.spool.stat(&row.path)?.unwrap_or(row.stat);
        let note = json!({
            "path": row.path,
            "pipeline": self.pipeline,
            "reason": reason,
            "checkpoint": row.checkpoint,
            "recorded": row.stat,
            "found": stat,
            "fingerprint": row.fingerprint,
            "found_fingerprint": crate::source::fingerprint_now(self.ports.spool.as_ref(), &row.path),
        });
        if let Some(place) = self.ports.spool.quarantine(&row.path, &stat, &note)? {
            self.ports
                .journal
                .quarantined_to(row.id, &crate::spool::place_text(&place))?;
        }
        Ok(())
    }

    /// Hidden targets of deleted files that a kill kept from being unlinked after "retired" was recorded.
    pub fn finish_deletes(&self) -> Result<(), Halt> {
        // The journal may know a million deleted files, and there is hardly ever one that still stands.
        if self.retire != Retire::Delete || !self.ports.spool.has_deleted()? {
            return Ok(());
        }
        let since = self.ports.clock.now_ns() - DELETES_LOOKED_AT_NS;
        let mut retired = Vec::new();
        self.ports
            .journal
            .visit_known(&self.pipeline, &mut |file| {
                if file.state == FileState::Retired && file.changed_ns >= since {
                    retired.push(file.id);
                }
            })?;
        for id in retired {
            let row = self.ports.journal.file(id)?;
            let target = row.and_then(|row| row.retire_target);
            // One that was renamed before `retire` was `delete` stays.
            let Some(target) = target.filter(is_of_deleted) else {
                continue;
            };
            if self.ports.spool.stat(&target)?.is_some() {
                self.ports.spool.unlink_target(&target)?;
            }
        }
        Ok(())
    }

    /// Quarantines that were journaled and not carried out, because of a kill in between.
    pub fn finish_quarantines(&self) -> Result<(), Halt> {
        let rows = self
            .ports
            .journal
            .files_in(&self.pipeline, &[FileState::Quarantined])?;
        for row in rows.iter().filter(|row| row.quarantined_to.is_none()) {
            if self
                .ports
                .spool
                .stat(&row.path)?
                .is_some_and(|stat| stat.inode == row.stat.inode)
            {
                info!(pipeline = %self.pipeline, path = %row.path, "quarantine is carried out now");
                // The run that journaled it ended before it could say so.
                self.tally.quarantined(1);
                self.move_aside(row, row.reason.as_deref().unwrap_or(""))?;
            }
        }
        Ok(())
    }
}

/// I10: both sides are said.
fn changed_reason(row: &FileRow, now: &FileStat, fingerprint: Option<Digest>) -> String {
    let words = |stat: &FileStat, fingerprint: Option<Digest>| {
        let fingerprint =
            fingerprint.map_or_else(String::new, |digest| format!(", fingerprint {digest}"));
        format!(
            "{} bytes (mtime {} ns{fingerprint})",
            stat.size, stat.mtime_ns
        )
    };
    format!(
        "changed after it was read and before it was retired: it was {}, it is {}; all that was read of it has landed",
        words(&row.stat, row.fingerprint),
        words(now, fingerprint)
    )
}
