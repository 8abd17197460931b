//! A file that a producer renames within the spool stays the same file: what was read under its first name must not land again under
//! the second.
//!
//! | the inode is that of | the file found | then |
//! | --- | --- | --- |
//! | a file that is not retired, still under its own name | | another name of it (a hard link): a file of its own, `same_content` decides |
//! | a file that is not retired (or was set aside half landed) and is gone | untouched, or holds what was journaled | not read: it must get its name back |
//! | a file that is not retired and is gone | unrelated content | new: the number was used again |
//! | a retired file, found at the target that was recorded of it | untouched | nothing: `retire` was another one then |
//! | a retired file that does not stand at its target | untouched | landed under the first name: quarantine |
//! | a retired file of which a copy stands there, on another file system | untouched | likewise: it was renamed while it was copied |
//!
//! Inodes are kept in memory for files that are not retired; of all others a filter says whether the journal is worth a question.

use std::collections::HashMap;

use super::error::Stop;
use super::likeness::Likeness;
use super::run::Source;
use super::seen::{KnownPaths, Why, key_of};
use crate::journal::{FileRow, FileState, KnownFile};
use crate::segment::{FileId, FileStat, RelativePath};
use crate::spool::Found;

/// Inodes kept before those of retired files are dropped.
const INODES_MAX: usize = 200_000;

/// Which files have which inodes.
pub(super) struct Inodes {
    unretired: HashMap<u64, FileId>,
    /// Handed out in this episode: the journal may never learn of them.
    handed: HashMap<u64, FileId>,
    /// Of every file, whatever became of it: inode, size and time.
    identities: KnownPaths,
    /// How many there may be before they are looked through.
    limit: usize,
}

impl Default for Inodes {
    fn default() -> Self {
        Self {
            unretired: HashMap::new(),
            handed: HashMap::new(),
            identities: KnownPaths::new(),
            limit: INODES_MAX,
        }
    }
}

/// The file of this row, or a part of it that landed, may still be found. One that is set aside may be taken back.
fn is_unretired(state: FileState, checkpoint: u64) -> bool {
    match state {
        FileState::Reading | FileState::Committed => true,
        FileState::Quarantined => checkpoint > 0,
        FileState::Retired => false,
    }
}

/// As [`FileStat::untouched`] compares: a device's number may be another after each start of the machine.
fn identity_of(stat: &FileStat) -> u64 {
    let mut bytes = [0; 24];
    for (place, number) in
        bytes
            .chunks_exact_mut(8)
            .zip([stat.inode, stat.size, stat.mtime_ns.cast_unsigned()])
    {
        place.copy_from_slice(&number.to_le_bytes());
    }
    twox_hash::XxHash3_64::oneshot(&bytes)
}

impl Inodes {
    /// The journal has this file.
    pub(super) fn know(&mut self, file: &KnownFile) {
        if is_unretired(file.state, file.checkpoint) {
            self.unretired.insert(file.stat.inode, file.id);
        }
        if file.state != FileState::Quarantined && file.stat.inode != 0 {
            self.identities.insert(identity_of(&file.stat));
        }
    }

    /// Something of this file is handed out.
    pub(super) fn hand_out(&mut self, stat: &FileStat, id: FileId) {
        self.handed.insert(stat.inode, id);
        self.identities.insert(identity_of(stat));
    }

    fn get(&self, inode: u64) -> Option<FileId> {
        let id = self.handed.get(&inode);
        id.or_else(|| self.unretired.get(&inode)).copied()
    }

    fn forget(&mut self, inode: u64) {
        self.handed.remove(&inode);
        self.unretired.remove(&inode);
    }
}

impl Source {
    /// `None`: the file is no other file's second name. Otherwise it was dealt with, and this says whether that led to something.
    pub(super) fn renamed(&mut self, found: &Found) -> Result<Option<bool>, Stop> {
        let Some(id) = self.inodes.get(found.stat.inode) else {
            return self.renamed_when_retired(found);
        };
        let Some(row) = self.journal.file(id)? else {
            // Handed out and not journaled yet: what becomes of it is not certain.
            return Ok(Some(self.later()));
        };
        if row.path == found.path {
            return Ok(None);
        }
        if !is_unretired(row.state, row.checkpoint) {
            self.inodes.forget(found.stat.inode);
            return self.renamed_when_retired(found);
        }
        if self.has_inode(&row, &found.stat)? {
            return Ok(None);
        }
        if !row.stat.untouched(&found.stat) {
            match self.likeness(found, &row)? {
                None => return Ok(Some(self.later())),
                // Renamed *and* cut short is rarer by far than a number that is used again.
                Some(Likeness::Unrelated | Likeness::Untold) => return Ok(None),
                Some(Likeness::Same) => {}
            }
        }
        let why = match row.state {
            FileState::Committed => format!(
                "it is `{}`, renamed after all of it landed and before it was retired; rename it back, or take it away",
                row.path
            ),
            FileState::Quarantined => format!(
                "it is `{}`, which was set aside after its first {} bytes had landed; rename it back, then say `lakeward release`",
                row.path, row.checkpoint
            ),
            FileState::Reading | FileState::Retired => format!(
                "it is `{}`, renamed after {} bytes of it were taken in; rename it back, and the rest lands",
                row.path, row.put_end
            ),
        };
        self.unreadable(&found.path, &why);
        Ok(Some(false))
    }

    /// The very file that landed under another name, taken from there before it was retired, or taken back afterwards.
    fn renamed_when_retired(&mut self, found: &Found) -> Result<Option<bool>, Stop> {
        if !self.inodes.identities.may_hold(identity_of(&found.stat)) {
            return Ok(None);
        }
        let Some(row) = self.retired_before(found)? else {
            return Ok(None);
        };
        // Under another `retire`, which this configuration's names do not tell.
        if row.retire_target.as_ref() == Some(&found.path) {
            let key = key_of(&found.path);
            self.seen.insert(key, found.stat, Why::Settled);
            return Ok(Some(false));
        }
        // Another link to what stands there. A copy is no link: then this is what was copied, renamed by its producer while it was.
        if self.stands_at_target(&row)? && !self.is_copied(&row)? {
            return Ok(None);
        }
        let reason = format!(
            "it is the very file that landed as `{}`, under another name; copy it if it shall land once more",
            row.path
        );
        self.quarantine_drop(found, &reason).map(Some)
    }

    /// The retired file of another path that has this identity.
    fn retired_before(&self, found: &Found) -> Result<Option<FileRow>, Stop> {
        let is_it = |row: &FileRow| {
            row.state == FileState::Retired
                && row.path != found.path
                && row.stat.untouched(&found.stat)
        };
        // One question for a file that was renamed, where those of its size may be a million.
        if let Some(before) = before_rename(&found.path, &self.settings.spool.retire_suffix)
            && let Some(row) = self.journal.file_at(&self.pipeline, &before)?
            && is_it(&row)
        {
            return Ok(Some(row));
        }
        let rows = self
            .journal
            .files_of_size(&self.pipeline, found.stat.size)?;
        Ok(rows.into_iter().find(is_it))
    }

    /// Whether the row's path still leads to this inode.
    fn has_inode(&self, row: &FileRow, stat: &FileStat) -> Result<bool, Stop> {
        match self.spool.stat(&row.path) {
            Ok(there) => Ok(there.is_some_and(|there| there.inode == stat.inode)),
            Err(e) if e.unavailable => Err(e.into()),
            // Not the same as "absent": nothing is concluded from it.
            Err(_) => Ok(false),
        }
    }

    /// What was handed out in the episode that is over counts only if the journal learned of it.
    pub(super) fn settle_inodes(&mut self) -> Result<(), Stop> {
        for (inode, id) in std::mem::take(&mut self.inodes.handed) {
            if self.is_unretired(id)? {
                self.inodes.unretired.insert(inode, id);
            }
        }
        Ok(())
    }

    /// Drops the inodes of files that are retired by now, where there are many.
    pub(super) fn prune_inodes(&mut self) -> Result<(), Stop> {
        let inodes = &mut self.inodes;
        if inodes.unretired.len() + inodes.handed.len() <= inodes.limit {
            return Ok(());
        }
        let unretired = std::mem::take(&mut inodes.unretired);
        let handed = std::mem::take(&mut inodes.handed);
        for (inode, id) in unretired {
            if self.is_unretired(id)? {
                self.inodes.unretired.insert(inode, id);
            }
        }
        for (inode, id) in handed {
            match self.journal.file(id)? {
                None => drop(self.inodes.handed.insert(inode, id)),
                Some(row) if is_unretired(row.state, row.checkpoint) => {
                    self.inodes.unretired.insert(inode, id);
                }
                Some(_) => {}
            }
        }
        let inodes = &mut self.inodes;
        inodes.limit = (inodes.unretired.len() + inodes.handed.len()) * 2 + INODES_MAX;
        Ok(())
    }

    fn is_unretired(&self, id: FileId) -> Result<bool, Stop> {
        let row = self.journal.file(id)?;
        Ok(row.is_some_and(|row| is_unretired(row.state, row.checkpoint)))
    }
}

/// What a file with this suffix was called before it was retired, as far as its name tells.
fn before_rename(path: &RelativePath, suffix: &str) -> Option<RelativePath> {
    let before = path.as_bytes().strip_suffix(suffix.as_bytes())?;
    RelativePath::new(before).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, Told};
    use crate::journal::FileState;
    use crate::segment::RelativePath;

    const BOTH: &[u8] = b"{\"id\":1}\n{\"id\":2}\n";

    /// `a`, of which a segment or all is committed, is called `b` from now on.
    fn renamed(whole: bool, change: impl FnOnce(&Rig)) -> (Rig, Told, u64) {
        let mut rig = Rig::new();
        rig.settings.reading.segment_bytes = 9;
        rig.spool.write("a", BOTH);
        let told = rig.once();
        assert_eq!(told.segments.len(), 2);
        let taken = if whole { 2 } else { 1 };
        rig.journal.commit(&told.segments[..taken]);
        std::fs::rename(rig.spool.place("a"), rig.spool.place("b")).unwrap();
        change(&rig);
        let mut source = rig.source();
        let told = Rig::episode(&mut source);
        let (unreadable, _) = source.backlog().unreadable();
        (rig, told, unreadable)
    }

    #[test]
    fn a_half_landed_file_does_not_land_again_under_a_second_name() {
        let (rig, told, unreadable) = renamed(false, |_| {});
        assert_eq!(told.segments.len(), 0);
        assert_eq!(unreadable, 1);
        std::fs::rename(rig.spool.place("b"), rig.spool.place("a")).unwrap();
        let told = rig.once();
        assert_eq!(told.segments.len(), 1);
        assert_eq!(told.segments[0].segment.from, 9);
    }

    #[test]
    fn a_landed_file_does_not_land_again_under_a_second_name() {
        let (_, told, unreadable) = renamed(true, |_| {});
        assert_eq!((told.segments.len(), unreadable), (0, 1));
    }

    #[test]
    fn a_landed_file_that_was_taken_from_its_name_and_comes_back_is_set_aside() {
        let retire = |rig: &Rig| rig.journal.set("a", |row| row.state = FileState::Retired);
        let (rig, told, _) = renamed(true, retire);
        assert_eq!(told.segments.len(), 0);
        let row = rig.journal.row("b");
        assert_eq!(row.state, FileState::Quarantined);
        assert!(row.reason.unwrap().contains("landed as `a`"));
    }

    #[test]
    fn a_landed_file_that_was_renamed_while_it_was_copied_away_is_set_aside() {
        let (rig, told, _) = renamed(true, |rig| {
            std::fs::write(rig.spool.place("a.COMPLETED"), BOTH).unwrap();
            rig.journal.set("a", |row| {
                row.state = FileState::Retired;
                row.retire_target = Some(RelativePath::new(b"a.COMPLETED").unwrap());
            });
        });
        assert_eq!(told.segments.len(), 0);
        assert_eq!(rig.journal.row("b").state, FileState::Quarantined);
    }

    #[test]
    fn another_file_with_the_number_of_one_that_is_gone_is_new() {
        let (_, told, unreadable) = renamed(false, |rig| {
            // In place, so that the inode stays.
            std::fs::write(
                rig.spool.place("b"),
                b"{\"id\":3}\n{\"id\":4}\n{\"id\":5}\n",
            )
            .unwrap();
        });
        assert_eq!((told.segments.len(), unreadable), (3, 0));
    }

    #[test]
    fn a_short_file_with_the_number_of_one_that_is_gone_is_new() {
        let (_, told, unreadable) = renamed(false, |rig| {
            std::fs::write(rig.spool.place("b"), b"{}\n").unwrap();
        });
        assert_eq!((told.segments.len(), unreadable), (1, 0));
    }

    #[test]
    fn a_second_link_is_a_file_of_its_own() {
        let (_, told, unreadable) = renamed(true, |rig| {
            std::fs::hard_link(rig.spool.place("b"), rig.spool.place("a")).unwrap();
        });
        assert_eq!((told.text("b").len(), unreadable), (BOTH.len(), 0));
    }
}
