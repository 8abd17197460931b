//! Reads journaled segments again: after a restart, when their bytes were let go, or to encode a batch again.
//!
//! The bytes come from the journal if it holds them (payload mode), else from the spooled file, at its path or where it was
//! retired to inside the spool. Whatever they come from, they are checked: the file's identity when it is opened, the
//! segment's digest over what was read. A cut segment ([`is_cut`]) out of the journal has only its first bytes there and
//! is believed.

use std::sync::Arc;

use super::path_columns::PathColumns;
use super::stream::Stream;
use super::{SourceError, SourceSettings};
use crate::channel::{FileEnd, SegmentData};
use crate::format::charset::Transcoder;
use crate::format::decompress::Fault;
use crate::format::frame::{CUT_BYTES, is_cut};
use crate::format::{Compression, FileContext, ReadingSettings};
use crate::journal::{FileRow, Journal, JournalError};
use crate::segment::{Digest, Digester, FileId, RelativePath, Segment};
use crate::spool::{Retire, Spool, SpooledFile};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file stands there and its content is not what was journaled.
    #[error("read `{path}` again: {reason}")]
    Changed { path: RelativePath, reason: String },
    /// Neither at its path nor where it was retired to.
    #[error(
        "read `{path}` again: it is gone, and bytes [{from}, {to}) of it are needed; put it back"
    )]
    Gone {
        path: RelativePath,
        from: u64,
        to: u64,
    },
    /// Reading again may help.
    #[error("read `{path}` again: {message}")]
    Io { path: RelativePath, message: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Goes forward through one file cheaply: ask for the segments of a file in order.
pub struct SegmentReader {
    spool: Arc<dyn Spool>,
    journal: Arc<dyn Journal>,
    path_columns: PathColumns,
    retire: Retire,
    open: Option<Open>,
    context: Option<Arc<FileContext>>,
}

/// A file being read.
struct Open {
    file: FileId,
    stream: Stream,
    /// What was decoded and not yet taken: `chunk[taken..]`.
    chunk: Vec<u8>,
    taken: usize,
}

impl Open {
    /// Offset of the next byte.
    fn at(&self) -> u64 {
        self.stream.decoded() - (self.chunk.len() - self.taken) as u64
    }

    /// The next bytes, `most` at most; none: the end.
    fn next(&mut self, most: u64) -> Result<&[u8], Fault> {
        if self.taken == self.chunk.len() {
            self.chunk.clear();
            self.taken = 0;
            let chunk = self.stream.fill()?;
            self.chunk.extend_from_slice(chunk);
        }
        let n = (self.chunk.len() - self.taken).min(usize::try_from(most).unwrap_or(usize::MAX));
        self.taken += n;
        Ok(&self.chunk[self.taken - n..self.taken])
    }
}

impl SegmentReader {
    /// # Errors
    /// `path_columns` is no regular expression.
    pub fn new(
        spool: Arc<dyn Spool>,
        journal: Arc<dyn Journal>,
        settings: &SourceSettings,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            spool,
            journal,
            path_columns: PathColumns::new(&settings.path_columns)?,
            retire: settings.spool.retire,
            open: None,
            context: None,
        })
    }

    /// # Errors
    /// The segment cannot be had, or is not what it was.
    pub fn read(&mut self, row: &FileRow, segment: &Segment) -> Result<SegmentData, ReadError> {
        self.read_shared(&Arc::new(row.clone()), segment)
    }

    /// As [`Self::read`], for a row that is shared by many segments.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_shared(
        &mut self,
        row: &Arc<FileRow>,
        segment: &Segment,
    ) -> Result<SegmentData, ReadError> {
        let context = self.context_of(row)?;
        let bytes = match self.journal.payload(row.id, segment.from)? {
            Some(bytes) => checked_payload(row, segment, &context.settings, bytes)?,
            None => self.read_spooled(row, segment, &context.settings)?,
        };
        let end = segment.last.then(|| FileEnd {
            fingerprint: row.fingerprint,
            decoded: segment.to,
            torn: row.torn.clone(),
        });
        Ok(SegmentData {
            context,
            row: Arc::clone(row),
            segment: segment.clone(),
            bytes: Arc::new(bytes.into()),
            end,
        })
    }

    fn context_of(&mut self, row: &FileRow) -> Result<Arc<FileContext>, ReadError> {
        if let Some(context) = &self.context
            && context.file == row.id
        {
            return Ok(Arc::clone(context));
        }
        let settings = serde_json::from_value((*row.settings).clone()).map_err(|e| {
            JournalError::Refused(format!(
                "the reading settings of `{}` cannot be read: {e}",
                row.path
            ))
        })?;
        let context = Arc::new(FileContext {
            file: row.id,
            path: row.path.clone(),
            path_columns: self.path_columns.of(&row.path),
            header: row.header.clone().map(Into::into),
            settings,
        });
        self.context = Some(Arc::clone(&context));
        Ok(context)
    }

    fn read_spooled(
        &mut self,
        row: &FileRow,
        segment: &Segment,
        settings: &ReadingSettings,
    ) -> Result<Vec<u8>, ReadError> {
        let keeps = self
            .open
            .as_ref()
            .is_some_and(|open| open.file == row.id && open.at() <= segment.from);
        let mut open = match self.open.take() {
            Some(open) if keeps => open,
            _ => self.open_file(row, segment, settings)?,
        };
        let read = read_range(&mut open, row, segment, settings);
        if read.is_ok() {
            self.open = Some(open);
        }
        read
    }

    fn open_file(
        &self,
        row: &FileRow,
        segment: &Segment,
        settings: &ReadingSettings,
    ) -> Result<Open, ReadError> {
        let file = self.find(row, segment)?;
        let seekable = settings.compression == Compression::None
            && matches!(Transcoder::new(&settings.charset), Ok(None));
        let stream = if seekable {
            Stream::open_at(file, segment.from)
        } else {
            Stream::open(file, &row.stat, settings, false).map_err(|e| io(row, &e.to_string()))?
        };
        Ok(Open {
            file: row.id,
            stream,
            chunk: Vec::new(),
            taken: 0,
        })
    }

    /// The file with the row's identity.
    fn find(&self, row: &FileRow, segment: &Segment) -> Result<Box<dyn SpooledFile>, ReadError> {
        let mut other = None;
        let retired = row
            .retire_target
            .as_ref()
            .filter(|_| matches!(self.retire, Retire::Rename | Retire::Delete));
        for path in [Some(&row.path), retired].into_iter().flatten() {
            match self.spool.open(path) {
                Ok(Some((file, stat))) if stat.untouched(&row.stat) => return Ok(file),
                Ok(Some((_, stat))) => other = other.or(Some(stat)),
                Ok(None) => {}
                Err(e) => return Err(io(row, &e.to_string())),
            }
        }
        match other {
            Some(stat) if stat.inode == row.stat.inode => Err(changed(
                row,
                format!(
                    "its size or time changed: {} bytes, modified {} ns; journaled were {} bytes, {} ns",
                    stat.size, stat.mtime_ns, row.stat.size, row.stat.mtime_ns
                ),
            )),
            _ => Err(ReadError::Gone {
                path: row.path.clone(),
                from: segment.from,
                to: segment.to,
            }),
        }
    }
}

fn changed(row: &FileRow, reason: String) -> ReadError {
    ReadError::Changed {
        path: row.path.clone(),
        reason,
    }
}

fn io(row: &FileRow, message: &str) -> ReadError {
    ReadError::Io {
        path: row.path.clone(),
        message: message.to_owned(),
    }
}

fn other_digest(row: &FileRow, segment: &Segment, found: Digest) -> ReadError {
    changed(
        row,
        format!(
            "its bytes [{}, {}) have the digest {found}, journaled was {}",
            segment.from, segment.to, segment.digest
        ),
    )
}

fn checked_payload(
    row: &FileRow,
    segment: &Segment,
    settings: &ReadingSettings,
    bytes: Vec<u8>,
) -> Result<Vec<u8>, ReadError> {
    if is_cut(segment.bytes(), segment.records, settings.record_bytes_max) {
        return Ok(bytes);
    }
    let found = Digest::of(&bytes);
    if found == segment.digest {
        Ok(bytes)
    } else {
        Err(other_digest(row, segment, found))
    }
}

fn read_range(
    open: &mut Open,
    row: &FileRow,
    segment: &Segment,
    settings: &ReadingSettings,
) -> Result<Vec<u8>, ReadError> {
    let fault = |fault: Fault| match fault {
        Fault::Io(e) => io(row, &e.to_string()),
        Fault::Torn(reason) => changed(row, reason),
    };
    let ended = |at: u64| {
        changed(
            row,
            format!(
                "it ends at offset {at}, and bytes [{}, {}) of it were journaled",
                segment.from, segment.to
            ),
        )
    };
    while open.at() < segment.from {
        if open
            .next(segment.from - open.at())
            .map_err(fault)?
            .is_empty()
        {
            return Err(ended(open.at()));
        }
    }
    let cut = is_cut(segment.bytes(), segment.records, settings.record_bytes_max);
    let keep = if cut {
        CUT_BYTES
    } else {
        usize::try_from(segment.bytes()).unwrap_or(usize::MAX)
    };
    let mut bytes = Vec::with_capacity(keep);
    let mut digester = Digester::default();
    while open.at() < segment.to {
        let chunk = open.next(segment.to - open.at()).map_err(fault)?;
        if chunk.is_empty() {
            return Err(ended(open.at()));
        }
        if cut {
            digester.update(chunk);
        }
        let room = (keep - bytes.len()).min(chunk.len());
        bytes.extend_from_slice(&chunk[..room]);
    }
    let found = if cut {
        digester.digest()
    } else {
        Digest::of(&bytes)
    };
    if found == segment.digest {
        Ok(bytes)
    } else {
        Err(other_digest(row, segment, found))
    }
}
