//! A staged file while it is sent: digested as it is read, so that what does not have the recorded digest is not made
//! visible.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use bytes::Bytes;

use crate::protocol::DataFileCopy;
use crate::segment::Digester;

/// Errors are texts that name the staged file; all of them last.
pub(super) struct Staged {
    file: File,
    name: String,
    copy: DataFileCopy,
    digester: Digester,
}

impl Staged {
    pub fn open(path: &Path, copy: DataFileCopy) -> Result<Self, String> {
        let name = path.display().to_string();
        let failed = |e: io::Error| format!("the staged copy `{name}`: {e}");
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() || found.len() != copy.length {
            return Err(format!(
                "the staged copy `{name}` has {} bytes and not the recorded {}",
                found.len(),
                copy.length
            ));
        }
        Ok(Self {
            file,
            name,
            copy,
            digester: Digester::default(),
        })
    }

    pub fn length(&self) -> u64 {
        self.copy.length
    }

    pub fn rewind(&mut self) -> Result<(), String> {
        self.digester = Digester::default();
        self.file.rewind().map_err(|e| self.failed(&e))
    }

    /// Exactly the next `length` bytes.
    pub fn next(&mut self, length: u64) -> Result<Bytes, String> {
        let mut bytes = vec![0; length as usize];
        self.file
            .read_exact(&mut bytes)
            .map_err(|e| self.failed(&e))?;
        self.digester.update(&bytes);
        Ok(Bytes::from(bytes))
    }

    /// Whether all that was read since the last rewinding has the recorded digest.
    pub fn check_digest(&self) -> Result<(), String> {
        let found = self.digester.digest();
        if found == self.copy.digest {
            return Ok(());
        }
        Err(format!(
            "the staged copy `{}` has the digest {found} and not the recorded {}: it was damaged or changed",
            self.name, self.copy.digest
        ))
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("the staged copy `{}`: {error}", self.name)
    }
}
