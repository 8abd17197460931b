//! Quarantine: a file is set aside whole, with the reason beside it.
//!
//! ```text
//! <quarantine_dir>/<directory below the spool>/NAME              the file; NAME.1, NAME.2, … where that is taken
//! <quarantine_dir>/<directory below the spool>/NAME.reason.json  why, and the identity that was quarantined
//! ```
//!
//! Only the inode decides what is moved, since a file may be here just because its size and time changed. Killed between
//! the two steps and done again, the file is found by its inode (a copy on another file system by the identity in the
//! reason, which is written before the original is removed) and the reason is written if it is missing.

use std::io::Read;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::LocalSpool;
use super::directory::{Directory, Renamed, failure};
use super::names::{lengthened, numbered};
use super::relocate::{Moved, Relocation};
use super::system::{FileSystem, errno};
use crate::segment::{FileStat, RelativePath};
use crate::spool::{FileReader, SpoolError};

const OPERATION: &str = "quarantine";
const REASON_SUFFIX: &[u8] = b".reason.json";

/// A reason is a few hundred bytes; what is longer was not written here.
const REASON_BYTES_MAX: u64 = 1 << 20;

/// One file that is to be set aside.
struct Aside<'a, F: FileSystem> {
    spool: &'a LocalSpool<F>,
    to: Directory<F>,
    /// Of the file's directory, and so of `to` below the quarantine.
    parent: &'a [u8],
    name: &'a [u8],
    stat: &'a FileStat,
    reason: &'a Value,
}

impl<F: FileSystem> LocalSpool<F> {
    pub(super) fn quarantine_file(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        reason: &Value,
    ) -> Result<Option<PathBuf>, SpoolError> {
        let root = self.root(OPERATION)?;
        if !root.is_writable()? {
            return Ok(None);
        }
        let from = root.below(path.parent())?;
        let is_there = match &from {
            Some(from) => from
                .stat(path.name())?
                .is_some_and(|s| s.inode == stat.inode),
            None => false,
        };
        let to = if is_there {
            self.quarantine_place
                .make(&root, path.parent(), &self.unsynced)?
        } else {
            match self.quarantine_place.find(&root, path.parent())? {
                Some(to) => to,
                None => return Ok(None),
            }
        };
        let aside = Aside {
            spool: self,
            to,
            parent: path.parent(),
            name: path.name(),
            stat,
            reason,
        };
        match from {
            Some(from) if is_there => aside.take(&root, &from),
            from => aside.find(&root, from.as_ref()),
        }
    }
}

impl<F: FileSystem> Aside<'_, F> {
    fn take(
        &self,
        root: &Directory<F>,
        from: &Directory<F>,
    ) -> Result<Option<PathBuf>, SpoolError> {
        let unsynced = &self.spool.unsynced;
        self.take_marker(from)?;
        for attempt in 0..u32::MAX {
            let name = numbered(self.name, attempt);
            if !self.is_reason_free(&name)? {
                continue;
            }
            let moved = self.relocate(from, &name)?;
            unsynced.note(&self.to)?;
            unsynced.note_loss(from)?;
            match moved {
                Moved::Yes => {
                    unsynced.faults.point("quarantined")?;
                    self.write_reason(&name)?;
                    return Ok(Some(self.to.join(&name)));
                }
                Moved::Taken => {}
                Moved::Gone | Moved::Other => return self.find(root, Some(from)),
                Moved::Changed(_) => {
                    let text =
                        "it is being written to while it is copied; its writer has to stop".into();
                    return Err(failure(OPERATION, &from.join(self.name), text));
                }
            }
        }
        Ok(None)
    }

    fn relocate(&self, from: &Directory<F>, name: &[u8]) -> Result<Moved, SpoolError> {
        Relocation {
            from,
            name: self.name,
            to: &self.to,
            to_name: name,
            temporary: &self.spool.temporary_name(name),
            stat: self.stat,
            exactly: false,
            before_removal: &|| {
                self.spool.unsynced.sync()?;
                self.write_reason(name)
            },
            faults: &self.spool.unsynced.faults,
        }
        .run()
    }

    /// A marker left behind would make a new file of this name ready before it is whole.
    fn take_marker(&self, from: &Directory<F>) -> Result<(), SpoolError> {
        let Some(marker) = self.spool.names.marker_of(self.name) else {
            return Ok(());
        };
        self.spool.move_marker(from, &self.to, &marker, &|attempt| {
            numbered(&marker, attempt)
        })
    }

    /// Where an earlier attempt put it.
    fn find(
        &self,
        root: &Directory<F>,
        from: Option<&Directory<F>>,
    ) -> Result<Option<PathBuf>, SpoolError> {
        let is_one_device = self.to.identity()?.0 == root.identity()?.0;
        for attempt in 0..u32::MAX {
            let name = numbered(self.name, attempt);
            let there = self.to.stat(&name)?;
            let reason = self.to.look(&reason_name(&name))?;
            let is_ours = match there {
                Some(there) if is_one_device && there.inode == self.stat.inode => true,
                Some(_) => reason.is_some() && self.is_our_reason(&name)?,
                None => false,
            };
            if is_ours {
                // Whoever did it may have been killed before the directories were synced.
                let unsynced = &self.spool.unsynced;
                if let Some(from) = from {
                    unsynced.note_loss(from)?;
                }
                let place = &self.spool.quarantine_place;
                place.make(root, self.parent, unsynced)?;
                self.write_reason(&name)?;
                return Ok(Some(self.to.join(&name)));
            }
            if there.is_none() && reason.is_none() {
                break;
            }
        }
        Ok(None)
    }

    fn is_reason_free(&self, name: &[u8]) -> Result<bool, SpoolError> {
        Ok(self.to.look(&reason_name(name))?.is_none() || self.is_our_reason(name)?)
    }

    fn is_our_reason(&self, name: &[u8]) -> Result<bool, SpoolError> {
        let reason_name = reason_name(name);
        let Some((file, _)) = self.to.open_file(&reason_name)? else {
            return Ok(false);
        };
        let mut text = Vec::new();
        FileReader::new(&file, 0)
            .take(REASON_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(|e| self.to.error("read", &reason_name, errno(&e)))?;
        let identity = serde_json::from_slice::<Value>(&text)
            .ok()
            .and_then(|mut value| value.get_mut("identity").map(Value::take))
            .and_then(|value| serde_json::from_value::<FileStat>(value).ok());
        Ok(identity.is_some_and(|identity| identity.untouched(self.stat)))
    }

    /// Writes the reason durably; one that is there stays.
    fn write_reason(&self, name: &[u8]) -> Result<(), SpoolError> {
        let reason_name = reason_name(name);
        if self.to.look(&reason_name)?.is_some() {
            return Ok(());
        }
        let temporary = self.spool.temporary_name(&reason_name);
        let mut file = self
            .to
            .create_file(&temporary, 0o666)
            .map_err(|e| self.to.error(OPERATION, &temporary, e))?;
        let mut text = serde_json::to_vec_pretty(&self.reason_and_identity())
            .map_err(|e| failure(OPERATION, &self.to.join(&reason_name), e.to_string()))?;
        text.push(b'\n');
        let system = self.to.system();
        system
            .write(&mut file, &text)
            .and_then(|()| system.sync_file(&file))
            .map_err(|e| self.to.error(OPERATION, &temporary, e))?;
        let faults = &self.spool.unsynced.faults;
        faults.point("reason written")?;
        let renamed = self
            .to
            .rename_new(&temporary, &self.to, &reason_name, faults)?;
        if renamed == Renamed::Taken {
            self.to.unlink(&temporary)?;
        }
        self.to.sync()
    }

    fn reason_and_identity(&self) -> Value {
        let mut value = match self.reason {
            Value::Object(_) => self.reason.clone(),
            other => json!({ "reason": other }),
        };
        value["identity"] = json!(self.stat);
        value
    }
}

fn reason_name(name: &[u8]) -> Vec<u8> {
    lengthened(name, REASON_SUFFIX)
}
