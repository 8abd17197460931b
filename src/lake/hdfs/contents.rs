//! What is written into a new file, piece by piece, and from its beginning again at each attempt.

use bytes::Bytes;

use super::fault::Fault;
use crate::lake::staged::Staged;

/// How much is read and sent at once.
const PIECE_BYTES: u64 = 1 << 20;

pub struct Contents {
    from: From,
    length: u64,
    /// So much was handed out since the last rewinding.
    at: u64,
}

enum From {
    Memory(Bytes),
    Staged(Staged),
}

impl Contents {
    pub(super) fn memory(bytes: &[u8]) -> Self {
        Self {
            length: bytes.len() as u64,
            from: From::Memory(Bytes::copy_from_slice(bytes)),
            at: 0,
        }
    }

    pub(super) fn staged(staged: Staged) -> Self {
        Self {
            length: staged.length(),
            from: From::Staged(staged),
            at: 0,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn rewind(&mut self) -> Result<(), Fault> {
        self.at = 0;
        match &mut self.from {
            From::Memory(_) => Ok(()),
            From::Staged(staged) => staged.rewind().map_err(Fault::permanent),
        }
    }

    /// The next piece, of at most `most` bytes; `None` at the end.
    ///
    /// # Errors
    /// The staged copy cannot be read.
    pub fn next(&mut self, most: u64) -> Result<Option<Bytes>, Fault> {
        let length = PIECE_BYTES.min(most).min(self.length - self.at);
        if length == 0 {
            return Ok(None);
        }
        let bytes = match &mut self.from {
            From::Memory(bytes) => bytes.slice(self.at as usize..(self.at + length) as usize),
            From::Staged(staged) => staged.next(length).map_err(Fault::permanent)?,
        };
        self.at += length;
        Ok(Some(bytes))
    }

    /// Whether all of it was handed out and is what it should be.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.at != self.length {
            return Err(Fault::transient(format!(
                "{} of {} bytes were taken and the file was closed all the same",
                self.at, self.length
            )));
        }
        match &self.from {
            From::Memory(_) => Ok(()),
            From::Staged(staged) => staged.check_digest().map_err(Fault::permanent),
        }
    }
}
