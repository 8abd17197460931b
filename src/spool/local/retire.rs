//! Retiring: a committed file leaves its path for the target that the journal recorded.
//!
//! | at the path | at the target | answer |
//! | --- | --- | --- |
//! | our identity | nothing | moved: `Yes` |
//! | our identity | the same file (killed between link and unlink), or an equal copy on another file system | finished: `Yes` |
//! | our identity | something else | `TargetTaken` |
//! | our inode, another size or time | any | `Changed` |
//! | our inode, another size, time and beginning | a copy of ours on another file system | `Already`; the inode was given to a new drop |
//! | another file | our identity | `Already`; the other file is a new drop |
//! | nothing | our identity | `Already` |
//! | another file | anything else | `Replaced` |
//! | nothing | anything else | `Gone` |
//!
//! A target that was recorded under another `retire` is looked for below the spool, where the file may have gone to already.
//!
//! The marker goes first: as long as the file stands, its marker is its own; once the path is free, it may be that of a
//! new file.

use twox_hash::XxHash3_64;

use super::LocalSpool;
use super::directory::{Directory, failure};
use super::place::Place;
use super::relocate::{Moved, Relocation, begins_with, may_be_copy};
use super::system::FileSystem;
use crate::crash;
use crate::segment::{FileStat, RelativePath};
use crate::spool::{Retire, Retired, SpoolError, is_of_deleted};

/// What a retired file is at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtTarget {
    Itself,
    /// Of a file of another file system.
    Copy,
}

impl<F: FileSystem> LocalSpool<F> {
    pub(super) fn retire_file(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<Retired, SpoolError> {
        let root = self.root("retire")?;
        if self.settings.retire == Retire::Keep {
            let text = "retire = \"keep\" retires nothing (a bug: this is never asked for)".into();
            return Err(failure("retire", &root.join(path.as_bytes()), text));
        }
        let Some(from) = root.below(path.parent())? else {
            return self.look_for_retired(&root, None, path, stat, target);
        };
        // I1 and I10: only the recorded identity is retired, whatever has its name by now.
        let here = from.stat(path.name())?;
        let stat = match &here {
            Some(here) if crash::broken("i1-retire-by-path") => here,
            Some(here) if here.inode == stat.inode && crash::broken("i10-changed-is-retired") => {
                here
            }
            _ => stat,
        };
        match here {
            Some(here) if here.untouched(stat) => {}
            Some(here) if here.inode == stat.inode => {
                return self.look_at_changed(&root, &from, path, stat, target, here);
            }
            _ => return self.look_for_retired(&root, Some(&from), path, stat, target),
        }
        // Of another `retire`: nothing is renamed to itself.
        if target == path && self.place_of(path, target).is_none() {
            return Ok(Retired::TargetTaken);
        }
        let to = self.target_directory(&root, &from, path, target)?;
        if self.is_taken(&to, path, target, stat)? {
            return Ok(Retired::TargetTaken);
        }
        self.retire_marker(&from, &to, path)?;
        self.unsynced.faults.point("marker retired")?;
        let moved = self.relocate(&from, path.name(), stat, &to, target.name(), true)?;
        self.unsynced.note(&to)?;
        self.unsynced.note_loss(&from)?;
        Ok(match moved {
            Moved::Yes => Retired::Yes,
            Moved::Taken => Retired::TargetTaken,
            Moved::Changed(now) => Retired::Changed(now),
            Moved::Gone | Moved::Other => {
                return self.look_for_retired(&root, Some(&from), path, stat, target);
            }
        })
    }

    /// Nothing of ours stands at the path: was it retired before?
    fn look_for_retired(
        &self,
        root: &Directory<F>,
        from: Option<&Directory<F>>,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<Retired, SpoolError> {
        let here = match from {
            Some(from) => from.look(path.name())?,
            None => None,
        };
        let otherwise = match from {
            Some(from) if from.stat(path.name())?.is_some() => Retired::Replaced,
            _ => Retired::Gone,
        };
        let place = self.place_of(path, target);
        let Some(to) = Self::found_directory(place, root, target)? else {
            return Ok(otherwise);
        };
        if place.is_some() {
            to.unlink(&self.temporary_name(target.name()))?;
        }
        let Some(there) = to.stat(target.name())? else {
            return Ok(otherwise);
        };
        if is_the_retired(place, &there, stat) {
            // Whoever did it may have been killed before the directories were synced.
            if let Some(from) = from {
                self.unsynced.note_loss(from)?;
            }
            self.target_directory(root, from.unwrap_or(&to), path, target)?;
            self.unsynced.note(&to)?;
            return Ok(Retired::Already);
        }
        let is_ours = there.inode == stat.inode && to.identity()?.0 == root.identity()?.0;
        if !is_ours {
            return Ok(otherwise);
        }
        // Renamed by an attempt that was killed, and written to since: it goes back, if its path is free.
        if let Some(from) = from.filter(|_| here.is_none()) {
            self.unsynced.note(from)?;
            self.unsynced.note_loss(&to)?;
            to.rename_new(target.name(), from, path.name(), &self.unsynced.faults)?;
        }
        Ok(Retired::Changed(there))
    }

    /// What stands at the target, if the file was retired: for whoever finds another one under its name, or this one under another.
    pub(super) fn at_target(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> Result<Option<AtTarget>, SpoolError> {
        let place = self.place_of(path, target);
        if place.is_none() && target == path {
            return Ok(None);
        }
        let root = self.root("look for the retired")?;
        let Some(to) = Self::found_directory(place, &root, target)? else {
            return Ok(None);
        };
        let there = to.stat(target.name())?;
        if !there.is_some_and(|there| is_the_retired(place, &there, stat)) {
            return Ok(None);
        }
        let is_here = to.identity()?.0 == root.identity()?.0;
        Ok(Some(if is_here {
            AtTarget::Itself
        } else {
            AtTarget::Copy
        }))
    }

    /// `retire_dir`, unless the target was recorded before there was one.
    fn place_of(&self, path: &RelativePath, target: &RelativePath) -> Option<&Place> {
        let place = self.retire_place.as_ref();
        place.filter(|_| self.names.gives_target(path, target))
    }

    fn found_directory(
        place: Option<&Place>,
        root: &Directory<F>,
        target: &RelativePath,
    ) -> Result<Option<Directory<F>>, SpoolError> {
        match place {
            Some(place) => place.find(root, target.parent()),
            None => root.below(target.parent()),
        }
    }

    /// Our inode has another size or time: it changed. Unless it was freed and given to a new file, which is likely once
    /// the original of a copy was removed: then the copy stands, and the new file does not begin with it.
    fn look_at_changed(
        &self,
        root: &Directory<F>,
        from: &Directory<F>,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
        here: FileStat,
    ) -> Result<Retired, SpoolError> {
        let to = match self.place_of(path, target) {
            Some(place) => place.find(root, target.parent())?,
            None => None,
        };
        let copy = match to {
            Some(to) => to.open_file(target.name())?,
            None => None,
        };
        let (Some((copy, there)), Some((file, _))) = (copy, from.open_file(path.name())?) else {
            return Ok(Retired::Changed(here));
        };
        if !may_be_copy(&there, stat)
            || begins_with(&file, &copy, &|e| from.error("read", path.name(), e))?
        {
            return Ok(Retired::Changed(here));
        }
        self.unsynced.note_loss(from)?;
        self.target_directory(root, from, path, target)?;
        Ok(Retired::Already)
    }

    /// The target's directory; under `retire_dir` it is made.
    fn target_directory(
        &self,
        root: &Directory<F>,
        from: &Directory<F>,
        path: &RelativePath,
        target: &RelativePath,
    ) -> Result<Directory<F>, SpoolError> {
        if let Some(place) = self.place_of(path, target) {
            return place.make(root, target.parent(), &self.unsynced);
        }
        if target.parent() == path.parent() {
            return Ok(from.clone());
        }
        root.below(target.parent())?.ok_or_else(|| {
            let text = "the directory of the recorded target is not there".into();
            failure("retire", &root.join(target.as_bytes()), text)
        })
    }

    /// Whether the target's name is another file's, as far as a look tells; the rename itself never replaces.
    fn is_taken(
        &self,
        to: &Directory<F>,
        path: &RelativePath,
        target: &RelativePath,
        stat: &FileStat,
    ) -> Result<bool, SpoolError> {
        if to.look(target.name())?.is_none() {
            return Ok(false);
        }
        let place = self.place_of(path, target);
        let may_be_ours = to
            .stat(target.name())?
            .is_some_and(|there| is_the_retired(place, &there, stat));
        Ok(!may_be_ours)
    }

    /// The marker goes the way of its file, under the first free name; that of a deleted file is removed.
    fn retire_marker(
        &self,
        from: &Directory<F>,
        to: &Directory<F>,
        path: &RelativePath,
    ) -> Result<(), SpoolError> {
        let Some(marker) = self.names.marker_of(path.name()) else {
            return Ok(());
        };
        if self.settings.retire == Retire::Delete {
            return from.unlink(&marker);
        }
        let as_path = RelativePath::new(&marker)
            .map_err(|text| failure("retire", &from.join(&marker), text))?;
        self.move_marker(from, to, &marker, &|attempt| {
            self.names.retire_target(&as_path, attempt).name().to_vec()
        })
    }

    pub(super) fn move_marker(
        &self,
        from: &Directory<F>,
        to: &Directory<F>,
        marker: &[u8],
        target: &dyn Fn(u32) -> Vec<u8>,
    ) -> Result<(), SpoolError> {
        let Some(stat) = from.stat(marker)? else {
            return Ok(());
        };
        for attempt in 0..u32::MAX {
            let moved = self.relocate(from, marker, &stat, to, &target(attempt), false)?;
            if moved != Moved::Taken {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) fn relocate(
        &self,
        from: &Directory<F>,
        name: &[u8],
        stat: &FileStat,
        to: &Directory<F>,
        to_name: &[u8],
        exactly: bool,
    ) -> Result<Moved, SpoolError> {
        Relocation {
            from,
            name,
            to,
            to_name,
            temporary: &self.temporary_name(to_name),
            stat,
            exactly,
            before_removal: &|| self.unsynced.sync(),
            faults: &self.unsynced.faults,
        }
        .run()
    }

    /// The same each time, so that what a killed process left is written anew; another one for each pipeline, since several
    /// may share a directory.
    pub(super) fn temporary_name(&self, to_name: &[u8]) -> Vec<u8> {
        let seed = XxHash3_64::oneshot(self.settings.pipeline.as_bytes());
        let hash = XxHash3_64::oneshot_with_seed(seed, to_name);
        format!(".lakeward-move-{hash:016x}").into_bytes()
    }

    pub(super) fn unlink_deleted(&self, target: &RelativePath) -> Result<(), SpoolError> {
        const OPERATION: &str = "remove";
        let root = self.root(OPERATION)?;
        if !is_of_deleted(target) {
            let text =
                "this is no hidden name of a deleted file; nothing else is ever removed".into();
            return Err(failure(OPERATION, &root.join(target.as_bytes()), text));
        }
        match root.below(target.parent())? {
            Some(directory) => directory.unlink(target.name()),
            None => Ok(()),
        }
    }
}

/// Under `retire_dir` it may be a copy on another file system.
fn is_the_retired(place: Option<&Place>, there: &FileStat, stat: &FileStat) -> bool {
    there.untouched(stat) || (place.is_some() && may_be_copy(there, stat))
}
