//! Parquet files, written row group by row group.
//!
//! Pages of version 1, dictionaries where values repeat, statistics per column chunk: what every reader understands. Values that do
//! not repeat are plain for Hive; `modern` has them as differences: numbers by what they differ from the one before, texts by where they
//! differ from it, all lengths before all bytes (Parquet's `Encodings.md`). These are what Java's writer of version 2 takes; Spark
//! reads both from 3.3 on. `DELTA_LENGTH_BYTE_ARRAY` would be 1 % faster and is read by far fewer.
//!
//! No page index: with many partitions its memory would be the larger part of a footer's.
//!
//! Columns are encoded in [`leaf`](super::leaf); the schema's and the footer's bytes are the library's.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::basic::Compression;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataWriter,
    RowGroupMetaData,
};
use parquet::file::writer::TrackedWrite;
use parquet::schema::types::SchemaDescPtr;

use super::footer::use_known_orders;
use super::leaf::{DICTIONARY_BYTES, Hop, Leaf, Press, Presses, compression, ways};
use super::parquet_schema::parquet_schema;
use super::{Codec, Compat, EncodeError, repeats};

/// Rows at which a row group ends at the latest.
pub(super) const ROW_GROUP_ROWS: usize = 1 << 20;

/// What begins and ends a file.
const MAGIC: &[u8] = b"PAR1";
/// What the metadata calls these files: Parquet's version 1.
const VERSION: i32 = 1;

/// What a column chunk holds beside what it reports.
const LEAF_MEMORY: usize = 1 << 10;
/// What a finished row group leaves in memory of each leaf: its part of the footer.
const FOOTER_MEMORY: usize = 700;
/// An open file without a row group: buffers, schema, names.
const FILE_MEMORY: usize = 16 << 10;

/// What Parquet files of one schema version have in common.
pub(super) struct ParquetLayout {
    descriptor: SchemaDescPtr,
    /// Per column, the way to each of its leaves.
    ways: Vec<Vec<Vec<Hop>>>,
    compat: Compat,
    codec: Compression,
    /// Of the footer.
    pairs: Vec<KeyValue>,
    presses: Arc<Presses>,
    /// The leaves that had a dictionary when enough of their values were last seen, in whichever file.
    repeat: Mutex<Vec<bool>>,
}

impl ParquetLayout {
    pub(super) fn new(
        compat: Compat,
        codec: Codec,
        schema: &Schema,
        metadata: &[(String, String)],
    ) -> Result<Self, EncodeError> {
        let descriptor = Arc::new(parquet_schema(compat, schema)?);
        let pairs = metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()));
        // What Hive 4 looks for: without it, it takes days before 1582 for those of the calendar that Hive 2 wrote in.
        let proleptic = ("writer.date.proleptic".to_owned(), "true".to_owned());
        Ok(Self {
            ways: schema.fields().iter().map(|field| ways(field)).collect(),
            repeat: Mutex::new(vec![true; descriptor.num_columns()]),
            descriptor,
            compat,
            codec: compression(codec)?,
            pairs: pairs
                .chain([proleptic])
                .map(|(key, value)| KeyValue::new(key, value))
                .collect(),
            presses: Arc::new(Presses::new(codec)),
        })
    }

    /// Takes what compresses from an older layout of the same codec.
    pub(super) fn share(&mut self, older: &Self) {
        self.presses = Arc::clone(&older.presses);
    }

    /// Memory that files of this layout share.
    pub(super) fn memory(&self) -> usize {
        self.presses.memory()
    }

    pub(super) fn leaves(&self) -> usize {
        self.descriptor.num_columns()
    }

    /// The leaves that shall have a dictionary, by what a row group's first rows tell of them. Where those are too few, as they are with
    /// many partitions and at the end of a batch, it is what earlier ones told.
    fn repeat(&self, told: &[Option<bool>]) -> Vec<bool> {
        let mut repeat = self.repeat.lock().unwrap_or_else(PoisonError::into_inner);
        for (repeat, told) in repeat.iter_mut().zip(told) {
            *repeat = told.unwrap_or(*repeat);
        }
        repeat.clone()
    }
}

/// A Parquet file being written.
pub struct ParquetFile<W: Write + Send> {
    output: TrackedWrite<W>,
    schema: SchemaRef,
    layout: Arc<ParquetLayout>,
    finished: Vec<RowGroupMetaData>,
    group: Option<RowGroup>,
}

struct RowGroup {
    leaves: Vec<Leaf>,
    rows: usize,
}

impl<W: Write + Send> ParquetFile<W> {
    pub(super) fn open(
        layout: &Arc<ParquetLayout>,
        schema: &SchemaRef,
        output: W,
    ) -> Result<Self, EncodeError> {
        let mut output = TrackedWrite::new(output);
        output.write_all(MAGIC)?;
        Ok(Self {
            output,
            schema: Arc::clone(schema),
            layout: Arc::clone(layout),
            finished: Vec::new(),
            group: None,
        })
    }

    pub(super) fn write(
        &mut self,
        batch: &RecordBatch,
        mut from: usize,
        rows: usize,
    ) -> Result<(), EncodeError> {
        let end = from + rows;
        while from < end {
            let rows = (end - from).min(ROW_GROUP_ROWS - self.block_rows());
            let mut group = match self.group.take() {
                Some(group) => group,
                None => self.new_group(batch)?,
            };
            let mut press = self.layout.presses.take()?;
            self.write_to(&mut group, &batch.slice(from, rows), &mut press)?;
            self.layout.presses.give_back(press);
            self.group = Some(group);
            from += rows;
            if self.block_rows() == ROW_GROUP_ROWS {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn write_to(
        &self,
        group: &mut RowGroup,
        batch: &RecordBatch,
        press: &mut Press,
    ) -> Result<(), EncodeError> {
        let mut leaves = group.leaves.iter_mut();
        let columns = self.schema.fields().iter().zip(batch.columns());
        for ((field, array), ways) in columns.zip(&self.layout.ways) {
            for leaf in leaves.by_ref().take(ways.len()) {
                leaf.write(field, array, press)?;
            }
        }
        group.rows += batch.num_rows();
        Ok(())
    }

    /// For rows of which `batch` has the first.
    fn new_group(&self, batch: &RecordBatch) -> Result<RowGroup, EncodeError> {
        let mut told = Vec::with_capacity(self.layout.leaves());
        for array in batch.columns() {
            repeats::leaves(array, DICTIONARY_BYTES, &mut told);
        }
        let repeat = self.layout.repeat(&told);
        let columns = self.layout.descriptor.columns().iter().zip(repeat);
        let sparing = self.layout.compat == Compat::Modern;
        let leaves = columns
            .zip(self.layout.ways.iter().flatten())
            .map(|((column, repeat), hops)| {
                Leaf::new(Arc::clone(column), hops.clone(), repeat, sparing)
            })
            .collect::<Result<_, _>>()?;
        Ok(RowGroup { leaves, rows: 0 })
    }

    pub(super) fn written(&self) -> u64 {
        self.output.bytes_written() as u64
    }

    pub(super) fn block_rows(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.rows)
    }

    pub(super) fn block_estimate(&self) -> u64 {
        let leaves = self.group.iter().flat_map(|group| &group.leaves);
        leaves.map(Leaf::estimate).sum()
    }

    pub(super) fn block_memory(&self) -> usize {
        let leaves = self.group.iter().flat_map(|group| &group.leaves);
        leaves.map(|leaf| LEAF_MEMORY + leaf.memory()).sum()
    }

    pub(super) fn lasting_memory(&self) -> usize {
        FILE_MEMORY + self.finished.len() * self.layout.leaves() * FOOTER_MEMORY
    }

    pub(super) fn flush(&mut self) -> Result<(), EncodeError> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let offset = self.written();
        let mut press = self.layout.presses.take()?;
        let mut columns = Vec::with_capacity(group.leaves.len());
        for leaf in group.leaves {
            let (pages, metadata) = leaf.close(self.layout.codec, self.written(), &mut press)?;
            for piece in pages.pieces() {
                self.output.write_all(piece)?;
            }
            columns.push(metadata);
        }
        self.layout.presses.give_back(press);
        let bytes = columns
            .iter()
            .map(ColumnChunkMetaData::uncompressed_size)
            .sum();
        let finished = RowGroupMetaData::builder(Arc::clone(&self.layout.descriptor))
            .set_column_metadata(columns)
            .set_num_rows(group.rows as i64)
            .set_total_byte_size(bytes)
            .set_ordinal(self.finished.len() as i32)
            .set_file_offset(offset as i64)
            .build()?;
        self.finished.push(finished);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<&mut W, EncodeError> {
        self.flush()?;
        let rows = self.finished.iter().map(RowGroupMetaData::num_rows).sum();
        let file = FileMetaData::new(
            VERSION,
            rows,
            Some(concat!("lakeward version ", env!("CARGO_PKG_VERSION")).to_owned()),
            Some(self.layout.pairs.clone()),
            Arc::clone(&self.layout.descriptor),
            None,
        );
        let metadata = ParquetMetaData::new(file, std::mem::take(&mut self.finished));
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, &metadata).finish()?;
        use_known_orders(&mut footer, self.layout.leaves()).ok_or_else(|| {
            EncodeError::Refused("the footer has another form than this version knows".into())
        })?;
        self.output.write_all(&footer)?;
        self.output.flush()?;
        Ok(self.output.inner_mut())
    }

    pub(super) fn output_mut(&mut self) -> &mut W {
        self.output.inner_mut()
    }
}
