//! The reject file of a lane and batch: what could not be decoded or has no path, with its place and bytes.
//!
//! NDJSON, gzip, one object a record, in the order of the records: `file`, `offset`, `line`, `reason`, `raw` (the first
//! 64 KiB as text) or `raw_base64` (if they are not UTF-8), `bytes`, `raw_cut`, `batch`. It is staged and landed like a
//! data file, so a reject lands exactly once too.

use std::io::Write;

use base64::Engine as _;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::error::SinkError;
use super::files::{Files, join};
use super::staged::StagedFile;
use crate::format::decode::Reject;
use crate::protocol::{DataFile, DataFileKind, MembershipDigester};

/// Bytes of a record that its reject shows.
const RAW_BYTES_MAX: usize = 64 << 10;
const EXTENSION: &str = ".ndjson.gz";

/// A reject as its line shows it.
#[derive(Serialize)]
struct Shown<'a> {
    file: String,
    offset: u64,
    line: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
    bytes: u64,
    raw_cut: bool,
    batch: u64,
}

/// Rejects not written yet, and the file once there is one.
#[derive(Default)]
pub(super) struct Rejects {
    waiting: Vec<Reject>,
    waiting_bytes: usize,
    file: Option<RejectFile>,
    written: u64,
    /// Of a lane that is encoded again.
    planned: Option<DataFile>,
}

struct RejectFile {
    out: GzEncoder<StagedFile>,
    name: String,
    staged: String,
    number: u32,
    membership: MembershipDigester,
    records: u64,
}

impl Rejects {
    pub(super) fn planned(planned: Option<DataFile>) -> Self {
        Self {
            planned,
            ..Self::default()
        }
    }

    /// Keeps a reject until [`Self::write`]; of its bytes no more than are shown.
    pub(super) fn push(&mut self, mut reject: Reject) {
        if reject.raw.len() > RAW_BYTES_MAX {
            reject.raw.truncate(RAW_BYTES_MAX);
            reject.raw.shrink_to_fit();
        }
        self.waiting_bytes += reject.raw.len() + reject.reason.len() + 256;
        self.waiting.push(reject);
    }

    pub(super) fn memory(&self) -> usize {
        self.waiting_bytes + if self.file.is_some() { 400 << 10 } else { 0 }
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Records that are in the file or wait for it.
    pub(super) fn records(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    /// Writes what waits, in the order of the records. Nothing of an earlier segment may come afterwards.
    pub(super) fn write(&mut self, files: &Files) -> Result<(), SinkError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.waiting
            .sort_by_key(|reject| (reject.segment, reject.ordinal));
        let mut file = match self.file.take() {
            Some(file) => file,
            None => RejectFile::open(files, self.planned.as_ref())?,
        };
        for reject in self.waiting.drain(..) {
            file.write(&reject, files.context.batch.0)?;
        }
        self.written = file.records;
        self.waiting_bytes = 0;
        self.file = Some(file);
        Ok(())
    }

    /// Closes the file, if there is one.
    pub(super) fn close(mut self, files: &mut Files) -> Result<(), SinkError> {
        self.write(files)?;
        match (self.file, self.planned) {
            (None, None) => Ok(()),
            (None, Some(planned)) => Err(files.differs(
                &planned.path,
                &format!("{} rejects", planned.records),
                "none",
                planned.schema_version,
            )),
            (Some(file), planned) => {
                let data_file = file.close(files)?;
                files.finish(data_file, planned.as_ref())
            }
        }
    }
}

impl RejectFile {
    fn open(files: &Files, planned: Option<&DataFile>) -> Result<Self, SinkError> {
        if files.again && planned.is_none() {
            return Err(files.differs("reject file", "no rejects", "some", 0));
        }
        let name = files.name(planned);
        let staged = planned.map_or_else(|| name.staged_name(), |planned| planned.staged.clone());
        Ok(Self {
            out: GzEncoder::new(files.create(&staged)?, flate2::Compression::default()),
            name: planned.map_or_else(
                || join(&files.context.settings.rejects, &name.file_name(EXTENSION)),
                |planned| planned.path.clone(),
            ),
            staged,
            number: name.number,
            membership: MembershipDigester::default(),
            records: 0,
        })
    }

    fn write(&mut self, reject: &Reject, batch: u64) -> Result<(), SinkError> {
        let shown = shown(&reject.raw);
        let line = Shown {
            file: reject.path.escaped(),
            offset: reject.offset,
            line: reject.line,
            reason: &reject.reason,
            raw: shown,
            raw_base64: shown
                .is_none()
                .then(|| base64::engine::general_purpose::STANDARD.encode(&reject.raw)),
            bytes: reject.bytes,
            raw_cut: reject.raw.len() >= RAW_BYTES_MAX && reject.bytes > RAW_BYTES_MAX as u64,
            batch,
        };
        let mut text = serde_json::to_vec(&line)
            .map_err(|e| SinkError::Broken(format!("a reject has no JSON: {e}")))?;
        text.push(b'\n');
        self.out
            .write_all(&text)
            .map_err(|e| SinkError::staging("write", self.out.get_ref().path(), &e))?;
        self.membership.push(reject.segment, reject.ordinal);
        self.records += 1;
        Ok(())
    }

    fn close(mut self, files: &mut Files) -> Result<DataFile, SinkError> {
        let path = self.out.get_ref().path().to_owned();
        self.out
            .try_finish()
            .map_err(|e| SinkError::staging("write", &path, &e))?;
        let copy = files.keep(&self.staged, self.out.get_mut());
        Ok(DataFile {
            number: self.number,
            kind: DataFileKind::Reject,
            path: self.name,
            staged: self.staged,
            copies: vec![copy],
            records: self.records,
            membership: self.membership.digest(),
            lane: files.lane(),
            partition: files.context.settings.rejects.clone(),
            schema_version: files.context.schemas.current().0,
        })
    }
}

/// Text as it is shown; one that was cut within a character is shown without that.
fn shown(raw: &[u8]) -> Option<&str> {
    match std::str::from_utf8(raw) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && raw.len() == RAW_BYTES_MAX => {
            std::str::from_utf8(&raw[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_within_a_character_is_still_text() {
        let mut raw = vec![b'a'; RAW_BYTES_MAX - 1];
        raw.push(0xc3);
        assert_eq!(shown(&raw).map(str::len), Some(RAW_BYTES_MAX - 1));
        assert_eq!(shown(b"\xc3"), None);
        assert_eq!(shown(b"\xff"), None);
    }
}
