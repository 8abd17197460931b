//! NDJSON files: one record a line, compressed in members.
//!
//! A *member* is a whole gzip stream or zstd frame; several joined are one stream to every reader. So a file's compressor,
//! whose tables take hundreds of KiB, need not stay open as long as the file: with many partitions members end early.
//!
//! ```text
//! rows ─► pending lines ─► member, in one go (`members`) or piece by piece ─► output
//! records that stand together as they came ─┘
//! ```

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryViewArray, ByteView, RecordBatch};
use arrow::datatypes::DataType;
use flate2::write::GzEncoder;

use crate::crash;

use super::members::{MEMBER_BYTES, MEMBER_MIN, Members};
use super::{Codec, EncodeError, RAW_COLUMN, RowWriter};

/// Uncompressed bytes handed to a stream's compressor at a time.
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
    /// What makes members in one go; `None`: they are streams.
    members: Option<Arc<Members>>,
    /// Lines to be compressed. Of a stream they do not stay after a write.
    pending: Vec<u8>,
    /// The stream in progress.
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

/// Records of one buffer, with a line end after each but the last.
struct Run<'a> {
    buffer: &'a [u8],
    start: usize,
    end: usize,
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
    pub(super) fn open(codec: Codec, raw: bool, members: Option<Arc<Members>>, output: W) -> Self {
        Self {
            output,
            codec,
            raw,
            members,
            pending: Vec::new(),
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
        if self.members.is_none() {
            self.compress_pending()?;
            self.pending = Vec::new();
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    fn write_objects(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        let rows = RowWriter::new(batch)?;
        // A simulated other version of the program writes the same records as other bytes.
        let is_other = crash::broken("another-encoder");
        for row in 0..batch.num_rows() {
            rows.write(row, &mut self.pending);
            if is_other {
                self.pending.push(b' ');
            }
            self.end_line()?;
        }
        Ok(())
    }

    fn write_raw(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        let missing = || {
            EncodeError::Refused(format!(
                "records that land as they came have no `{RAW_COLUMN}`"
            ))
        };
        let column = batch.column_by_name(RAW_COLUMN).ok_or_else(missing)?;
        if let Some(views) = column.as_binary_view_opt() {
            return self.write_views(views);
        }
        for row in 0..batch.num_rows() {
            let record: &[u8] = match column.data_type() {
                DataType::Binary => column.as_binary::<i32>().value(row),
                DataType::LargeBinary => column.as_binary::<i64>().value(row),
                DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes(),
                DataType::LargeUtf8 => column.as_string::<i64>().value(row).as_bytes(),
                DataType::Utf8View => column.as_string_view().value(row).as_bytes(),
                _ => return Err(missing()),
            };
            self.pending.extend_from_slice(record);
            self.end_line()?;
        }
        Ok(())
    }

    /// Records that stand one after another, a line end between them, are not looked at one by one.
    fn write_views(&mut self, records: &BinaryViewArray) -> Result<(), EncodeError> {
        let buffers = records.data_buffers();
        let mut run: Option<Run> = None;
        for (row, view) in records.views().iter().enumerate() {
            let view = ByteView::from(*view);
            if view.length <= arrow::array::MAX_INLINE_VIEW_LEN {
                self.write_run(run.take())?;
                self.pending.extend_from_slice(records.value(row));
                self.end_line()?;
                continue;
            }
            let buffer = &buffers[view.buffer_index as usize][..];
            let start = view.offset as usize;
            let end = start + view.length as usize;
            match &mut run {
                Some(run)
                    if std::ptr::eq(run.buffer, buffer)
                        && start == run.end + 1
                        && buffer[run.end] == b'\n' =>
                {
                    run.end = end;
                }
                _ => {
                    self.write_run(run.take())?;
                    run = Some(Run { buffer, start, end });
                }
            }
        }
        self.write_run(run)
    }

    fn write_run(&mut self, run: Option<Run<'_>>) -> Result<(), EncodeError> {
        let Some(Run { buffer, start, end }) = run else {
            return Ok(());
        };
        let ended = buffer.get(end) == Some(&b'\n');
        let lines = &buffer[start..end + usize::from(ended)];
        if lines.len() >= MEMBER_MIN && (self.members.is_none() || self.pending.is_empty()) {
            self.compress_pending()?;
            self.compress(lines)?;
        } else {
            self.pending.extend_from_slice(lines);
        }
        if ended {
            self.limit_pending()
        } else {
            self.end_line()
        }
    }

    fn end_line(&mut self) -> Result<(), EncodeError> {
        self.pending.push(b'\n');
        self.limit_pending()
    }

    #[inline]
    fn limit_pending(&mut self) -> Result<(), EncodeError> {
        let limit = if self.members.is_some() {
            MEMBER_BYTES
        } else {
            CHUNK
        };
        if self.pending.len() < limit {
            return Ok(());
        }
        self.compress_pending()
    }

    fn compress_pending(&mut self) -> Result<(), EncodeError> {
        let mut pending = std::mem::take(&mut self.pending);
        self.compress(&pending)?;
        pending.clear();
        pending.shrink_to(2 * MEMBER_BYTES);
        self.pending = pending;
        Ok(())
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(members) = &self.members {
            let (output, written) = (&mut self.output, &mut self.written);
            return members.compress(bytes, &mut |member| {
                output.write_all(member)?;
                *written += member.len() as u64;
                Ok(())
            });
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
        if let Some(members) = &self.members {
            let pending = self.pending.len() as f64;
            return (pending * members.ratio().unwrap_or(1.0)) as u64;
        }
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
            None => self.pending.capacity(),
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
        self.compress_pending()?;
        self.pending = Vec::new();
        if self.members.is_some() {
            self.rows = 0;
        }
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

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, BinaryViewArray, make_view};
    use arrow::buffer::Buffer;
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::format::encode::{Encoder, Layout, OutputFormat};

    /// How a record stands in the text that it is a view of.
    fn records() -> impl Strategy<Value = Vec<(usize, &'static str)>> {
        let length = prop_oneof![0..20_usize, 0..3000_usize, 0..300_000_usize];
        let between =
            prop_oneof![8 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\n\n"), 1 => Just("")];
        prop::collection::vec((length, between), 1..40)
    }

    fn batch(column: impl Array + 'static) -> RecordBatch {
        let field = Field::new(RAW_COLUMN, column.data_type().clone(), false);
        RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(column)]).unwrap()
    }

    fn unpacked(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        match codec {
            Codec::Gzip => {
                let mut out = Vec::new();
                let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
                std::io::Read::read_to_end(&mut decoder, &mut out).unwrap();
                out
            }
            Codec::Zstd(_) => zstd::decode_all(bytes).unwrap(),
            _ => bytes.to_vec(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn records_are_written_alike_wherever_they_stand(
            segments in prop::collection::vec(records(), 1..4),
            codec in prop::sample::select(vec![Codec::Zstd(1), Codec::Zstd(3), Codec::Gzip, Codec::None]),
            rows in 1..50_usize,
            flush in prop::collection::vec(any::<bool>(), 8),
        ) {
            let (mut views, mut buffers, mut plain, mut expected) = (vec![], vec![], vec![], vec![]);
            for (number, records) in segments.iter().enumerate() {
                let mut text: Vec<u8> = b"before".to_vec();
                for (at, (length, between)) in records.iter().enumerate() {
                    let record: Vec<u8> = (0..*length).map(|i| b' ' + ((i * at * 7 + i) % 90) as u8).collect();
                    views.push((number as u32, text.len() as u32, record.clone()));
                    text.extend_from_slice(&record);
                    text.extend_from_slice(between.as_bytes());
                    expected.extend_from_slice(&record);
                    expected.push(b'\n');
                    plain.push(record);
                }
                buffers.push(Buffer::from(text));
            }
            let views = views
                .iter()
                .map(|(buffer, offset, record)| make_view(record, *buffer, *offset))
                .collect::<Vec<u128>>();
            let views = batch(BinaryViewArray::try_new(views.into(), buffers, None).unwrap());
            let plain = batch(BinaryArray::from_iter_values(&plain));
            for batch in [views, plain] {
                let layout = Layout::new(OutputFormat::Ndjson { codec }, batch.schema(), &[], true).unwrap();
                let mut file = Encoder::open(&layout, Vec::new()).unwrap();
                let mut from = 0;
                let mut flush = flush.iter().cycle();
                while from < batch.num_rows() {
                    let count = rows.min(batch.num_rows() - from);
                    file.write(&batch.slice(from, count)).unwrap();
                    from += count;
                    if *flush.next().unwrap() {
                        file.flush().unwrap();
                        prop_assert_eq!(file.block_memory(), 0);
                        prop_assert_eq!(file.block_estimate(), 0);
                    }
                }
                let out = file.finish().unwrap().clone();
                prop_assert_eq!(file.written(), out.len() as u64);
                prop_assert!(unpacked(codec, &out) == expected);
            }
        }
    }

    #[test]
    fn lines_that_stand_together_are_members_and_nothing_of_them_stays() {
        let line = b"{\"id\":12345678,\"name\":\"a name\"}\n";
        let text = line.repeat((9 << 20) / line.len());
        let views: Vec<u128> = (0..text.len() / line.len())
            .map(|at| make_view(&line[..line.len() - 1], 0, (at * line.len()) as u32))
            .collect();
        let views = BinaryViewArray::try_new(views.into(), vec![Buffer::from(text.clone())], None);
        let batch = batch(views.unwrap());
        let codec = Codec::Zstd(1);
        let layout =
            Layout::new(OutputFormat::Ndjson { codec }, batch.schema(), &[], true).unwrap();
        let mut file = Encoder::open(&layout, Vec::new()).unwrap();
        file.write(&batch).unwrap();
        assert_eq!((file.block_memory(), file.block_estimate()), (0, 0));
        assert!(layout.memory() > 0 && layout.memory() < 8 << 20);
        let out = file.finish().unwrap();
        let first = zstd::zstd_safe::find_frame_compressed_size(out).unwrap();
        assert!(first < out.len() / 2, "{first} of {}", out.len());
        assert!(zstd::decode_all(&out[..]).unwrap() == text);
    }
}
