//! NDJSON files: one record a line, compressed in members.
//!
//! A *member* is a whole gzip stream or zstd frame; several joined are one stream to every reader. So a file's compressor,
//! whose tables take hundreds of KiB, need not stay open as long as the file: with many partitions members end early.

use std::io::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use flate2::write::GzEncoder;

use crate::crash;

use super::{Codec, EncodeError, RAW_COLUMN, RowWriter};

/// Uncompressed bytes handed to the compressor at a time.
const CHUNK: usize = 64 << 10;
/// Uncompressed bytes that a compressor holds back at most: a block of zstd, and its buffers.
const LAG: u64 = 256 << 10;
/// An open file without a member.
const FILE_MEMORY: usize = 2 << 10;
const GZIP_MEMORY: usize = 400 << 10;
const ZSTD_MEMORY: usize = 4 << 20;

pub struct NdjsonFile<W: Write + Send> {
    output: W,
    codec: Codec,
    raw: bool,
    member: Option<Member>,
    rows: usize,
    written: u64,
    /// Bytes into the member so far.
    entered: u64,
    /// Written when the member began.
    written_before: u64,
    /// Bytes that came out of the last member per byte that went in, once one ended.
    ratio: Option<f64>,
}

enum Member {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Member {
    fn new(codec: Codec) -> Result<Self, EncodeError> {
        Ok(match codec {
            Codec::None => Self::Plain(Vec::new()),
            Codec::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Codec::Zstd(level) => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level)?),
            Codec::Snappy | Codec::Lz4 => {
                return Err(EncodeError::Refused(
                    "ndjson is compressed by gzip or zstd, or not at all".into(),
                ));
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match self {
            Self::Plain(out) => out.extend_from_slice(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes)?,
            Self::Zstd(encoder) => encoder.write_all(bytes)?,
        }
        Ok(())
    }

    /// What has come out and not been taken.
    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(out) => out,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn finish(self) -> Result<Vec<u8>, EncodeError> {
        Ok(match self {
            Self::Plain(out) => out,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        })
    }
}

impl<W: Write + Send> NdjsonFile<W> {
    pub(super) fn open(codec: Codec, raw: bool, output: W) -> Self {
        Self {
            output,
            codec,
            raw,
            member: None,
            rows: 0,
            written: 0,
            entered: 0,
            written_before: 0,
            ratio: None,
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        if self.raw {
            self.write_raw(batch)?;
        } else {
            self.write_objects(batch)?;
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    fn write_objects(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        let rows = RowWriter::new(batch)?;
        let mut lines = Vec::with_capacity(CHUNK);
        // A simulated other version of the program writes the same records as other bytes.
        let is_other = crash::broken("another-encoder");
        for row in 0..batch.num_rows() {
            rows.write(row, &mut lines);
            if is_other {
                lines.push(b' ');
            }
            lines.push(b'\n');
            if lines.len() >= CHUNK {
                self.enter(&lines)?;
                lines.clear();
            }
        }
        self.enter(&lines)
    }

    fn write_raw(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        let missing = || {
            EncodeError::Refused(format!(
                "records that land as they came have no `{RAW_COLUMN}`"
            ))
        };
        let column = batch.column_by_name(RAW_COLUMN).ok_or_else(missing)?;
        let mut lines = Vec::with_capacity(CHUNK);
        for row in 0..batch.num_rows() {
            let record: &[u8] = match column.data_type() {
                DataType::Binary => column.as_binary::<i32>().value(row),
                DataType::LargeBinary => column.as_binary::<i64>().value(row),
                DataType::BinaryView => column.as_binary_view().value(row),
                DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes(),
                DataType::LargeUtf8 => column.as_string::<i64>().value(row).as_bytes(),
                DataType::Utf8View => column.as_string_view().value(row).as_bytes(),
                _ => return Err(missing()),
            };
            lines.extend_from_slice(record);
            lines.push(b'\n');
            if lines.len() >= CHUNK {
                self.enter(&lines)?;
                lines.clear();
            }
        }
        self.enter(&lines)
    }

    fn enter(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut member = match self.member.take() {
            Some(member) => member,
            None => Member::new(self.codec)?,
        };
        member.write(bytes)?;
        self.entered += bytes.len() as u64;
        let out = member.out();
        if !out.is_empty() {
            self.written += out.len() as u64;
            self.output.write_all(out)?;
            out.clear();
        }
        self.member = Some(member);
        Ok(())
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn block_rows(&self) -> usize {
        self.rows
    }

    /// What entered the compressor and has not come out, compressed as the last member was, or at first not at all.
    pub(super) fn block_estimate(&self) -> u64 {
        match self.ratio {
            Some(ratio) => {
                let member = (self.entered as f64 * ratio) as u64;
                (self.written_before + member).saturating_sub(self.written)
            }
            None => self.entered.min(LAG),
        }
    }

    pub(super) fn block_memory(&self) -> usize {
        match &self.member {
            None => 0,
            Some(Member::Plain(out)) => out.capacity(),
            Some(Member::Gzip(_)) => GZIP_MEMORY,
            Some(Member::Zstd(_)) => ZSTD_MEMORY,
        }
    }

    #[expect(clippy::unused_self, reason = "the same for every file, as it happens")]
    pub(super) fn lasting_memory(&self) -> usize {
        FILE_MEMORY
    }

    pub(super) fn flush(&mut self) -> Result<(), EncodeError> {
        let Some(member) = self.member.take() else {
            return Ok(());
        };
        let out = member.finish()?;
        self.written += out.len() as u64;
        self.output.write_all(&out)?;
        let grown = self.written - self.written_before;
        self.ratio = Some(grown as f64 / self.entered.max(1) as f64);
        self.written_before = self.written;
        self.entered = 0;
        self.rows = 0;
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<&mut W, EncodeError> {
        self.flush()?;
        self.output.flush()?;
        Ok(&mut self.output)
    }

    pub(super) fn output_mut(&mut self) -> &mut W {
        &mut self.output
    }
}
