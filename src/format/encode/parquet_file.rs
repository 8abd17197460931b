//! Parquet files, written row group by row group.
//!
//! The library's Arrow writer is not used, since it cannot write INT96; its column writers are, for all other leaves.
//! Pages of version 1, dictionaries where values repeat, statistics per column chunk: what every reader understands. Values that do
//! not repeat are plain for Hive; `modern` has them as differences ([`sparing`]). No page index: with many partitions its memory
//! would be the larger part of a footer's.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, GzipLevel, Type as Physical, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesPtr, WriterVersion,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{SchemaDescriptor, TypePtr};

use super::footer::Ending;
use super::int96::{Hop, Int96Column, timestamp_leaves};
use super::parquet_schema::parquet_schema;
use super::{Codec, Compat, EncodeError, repeats};

/// Rows at which a row group ends at the latest.
pub(super) const ROW_GROUP_ROWS: usize = 1 << 20;

/// Bytes of a data page before it is compressed. The library's own, 1 MiB, holds 60 MiB more of 17 columns in two lanes, most of which is
/// out of the processor's cache when it is compressed; smaller pages cost 0.7 % in size, still smaller ones more.
const PAGE_BYTES: usize = 256 << 10;

/// What a column writer holds beside what it reports: level encoders, compressor, page buffers.
const LEAF_MEMORY: usize = 16 << 10;
/// Contexts of zstd, which grow with its first page.
const ZSTD_MEMORY: usize = 160 << 10;
const ZSTD_PAGE_MEMORY: usize = 1200 << 10;
/// What a finished row group leaves in memory of each leaf: its part of the footer.
const FOOTER_MEMORY: usize = 700;
/// An open file without a row group: buffers, schema, names.
const FILE_MEMORY: usize = 16 << 10;

/// What Parquet files of one schema version have in common.
pub(super) struct ParquetLayout {
    root: TypePtr,
    descriptor: SchemaDescriptor,
    properties: WriterPropertiesPtr,
    /// Per column, per leaf: the way to a timestamp that is written as INT96.
    int96: Vec<Vec<Option<Vec<Hop>>>>,
    compat: Compat,
    zstd: bool,
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
        let descriptor = parquet_schema(compat, schema)?;
        let int96 = schema
            .fields()
            .iter()
            .map(|field| {
                let mut leaves = timestamp_leaves(field);
                if compat == Compat::Modern {
                    leaves.fill(None);
                }
                leaves
            })
            .collect();
        Ok(Self {
            root: descriptor.root_schema_ptr(),
            properties: Arc::new(properties(codec, &descriptor, metadata)?),
            repeat: Mutex::new(vec![true; descriptor.num_columns()]),
            descriptor,
            int96,
            compat,
            zstd: matches!(codec, Codec::Zstd(_)),
        })
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

fn properties(
    codec: Codec,
    descriptor: &SchemaDescriptor,
    metadata: &[(String, String)],
) -> Result<WriterProperties, EncodeError> {
    let mut pairs: Vec<KeyValue> = metadata
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    // What Hive 4 looks for: without it, it takes days before 1582 for those of the calendar that Hive 2 wrote in.
    pairs.push(KeyValue::new(
        "writer.date.proleptic".to_owned(),
        "true".to_owned(),
    ));
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("lakeward version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression(codec)?)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(64))
        .set_offset_index_disabled(true)
        .set_coerce_types(true)
        .set_key_value_metadata(Some(pairs));
    for column in descriptor.columns() {
        // The order of INT96 is not defined, and readers ignore its statistics.
        if column.physical_type() == Physical::INT96 {
            builder = builder
                .set_column_statistics_enabled(column.path().clone(), EnabledStatistics::None);
        }
    }
    Ok(builder.build())
}

/// How values that do not repeat take less room than plain ones, and leave less to compress: numbers by what they differ from the one
/// before, texts by where they differ from it, all lengths before all bytes (Parquet's `Encodings.md`). These are what Java's writer of
/// version 2 takes; Spark reads both from 3.3 on. `DELTA_LENGTH_BYTE_ARRAY` would be 1 % faster and is read by far fewer.
fn sparing(physical: Physical) -> Option<Encoding> {
    match physical {
        Physical::INT32 | Physical::INT64 => Some(Encoding::DELTA_BINARY_PACKED),
        Physical::BYTE_ARRAY => Some(Encoding::DELTA_BYTE_ARRAY),
        _ => None,
    }
}

fn compression(codec: Codec) -> Result<Compression, EncodeError> {
    Ok(match codec {
        Codec::None => Compression::UNCOMPRESSED,
        Codec::Snappy => Compression::SNAPPY,
        Codec::Gzip => Compression::GZIP(GzipLevel::default()),
        Codec::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level)?),
        Codec::Lz4 => Compression::LZ4_RAW,
    })
}

/// A Parquet file being written.
pub struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<Ending<W>>,
    leaves: Leaves,
    schema: SchemaRef,
    layout: Arc<ParquetLayout>,
    group: Option<RowGroup>,
}

/// Makes the column writers of a row group.
struct Leaves {
    factory: ArrowRowGroupWriterFactory,
    properties: WriterPropertiesPtr,
    /// Those that have a dictionary.
    repeat: Vec<bool>,
}

impl Leaves {
    /// The library takes the properties out of a file's writer, so one is made that writes nothing.
    fn new(
        layout: &ParquetLayout,
        schema: &SchemaRef,
        repeat: Vec<bool>,
    ) -> Result<Self, EncodeError> {
        let mut properties = Arc::clone(&layout.properties);
        if repeat.contains(&false) {
            let mut builder = WriterProperties::clone(&properties).into_builder();
            for (column, repeats) in layout.descriptor.columns().iter().zip(&repeat) {
                if *repeats {
                    continue;
                }
                builder = builder.set_column_dictionary_enabled(column.path().clone(), false);
                if layout.compat == Compat::Modern
                    && let Some(encoding) = sparing(column.physical_type())
                {
                    builder = builder.set_column_encoding(column.path().clone(), encoding);
                }
            }
            properties = Arc::new(builder.build());
        }
        let root = Arc::clone(&layout.root);
        let writer = SerializedFileWriter::new(std::io::sink(), root, Arc::clone(&properties))?;
        Ok(Self {
            factory: ArrowRowGroupWriterFactory::new(&writer, Arc::clone(schema)),
            properties,
            repeat,
        })
    }
}

struct RowGroup {
    leaves: Vec<Leaf>,
    rows: usize,
}

enum Leaf {
    Arrow(ArrowColumnWriter),
    Int96(Int96Column),
}

impl<W: Write + Send> ParquetFile<W> {
    pub(super) fn open(
        layout: &Arc<ParquetLayout>,
        schema: &SchemaRef,
        output: W,
    ) -> Result<Self, EncodeError> {
        let writer = SerializedFileWriter::new(
            Ending::new(output),
            Arc::clone(&layout.root),
            Arc::clone(&layout.properties),
        )?;
        Ok(Self {
            leaves: Leaves::new(layout, schema, layout.repeat(&[]))?,
            writer,
            schema: Arc::clone(schema),
            layout: Arc::clone(layout),
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
            self.write_to(&mut group, &batch.slice(from, rows))?;
            self.group = Some(group);
            from += rows;
            if self.block_rows() == ROW_GROUP_ROWS {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn write_to(&self, group: &mut RowGroup, batch: &RecordBatch) -> Result<(), EncodeError> {
        let mut leaves = group.leaves.iter_mut();
        for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
            for computed in compute_leaves(field, array)? {
                match leaves.next() {
                    Some(Leaf::Arrow(writer)) => writer.write(&computed)?,
                    Some(Leaf::Int96(column)) => column.write(field, array)?,
                    None => return Err(EncodeError::Refused("a column too many".into())),
                }
            }
        }
        group.rows += batch.num_rows();
        Ok(())
    }

    /// For rows of which `batch` has the first.
    fn new_group(&mut self, batch: &RecordBatch) -> Result<RowGroup, EncodeError> {
        let limit = self.layout.properties.dictionary_page_size_limit();
        let mut told = Vec::with_capacity(self.layout.leaves());
        for array in batch.columns() {
            repeats::leaves(array, limit, &mut told);
        }
        let repeat = self.layout.repeat(&told);
        if repeat != self.leaves.repeat {
            self.leaves = Leaves::new(&self.layout, &self.schema, repeat)?;
        }
        let arrow = self
            .leaves
            .factory
            .create_column_writers(self.writer.flushed_row_groups().len())?;
        let hops = self.layout.int96.iter().flatten();
        let leaves = arrow
            .into_iter()
            .zip(hops)
            .enumerate()
            .map(|(at, (writer, hops))| match hops {
                None => Leaf::Arrow(writer),
                Some(hops) => Leaf::Int96(Int96Column::new(
                    self.writer.schema_descr().column(at),
                    Arc::clone(&self.leaves.properties),
                    hops.clone(),
                )),
            })
            .collect();
        Ok(RowGroup { leaves, rows: 0 })
    }

    pub(super) fn written(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    pub(super) fn block_rows(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.rows)
    }

    pub(super) fn block_estimate(&self) -> u64 {
        let leaves = self.group.iter().flat_map(|group| &group.leaves);
        leaves
            .map(|leaf| match leaf {
                Leaf::Arrow(writer) => writer.get_estimated_total_bytes() as u64,
                Leaf::Int96(column) => column.estimate(),
            })
            .sum()
    }

    pub(super) fn block_memory(&self) -> usize {
        let leaves = self.group.iter().flat_map(|group| &group.leaves);
        leaves
            .map(|leaf| match leaf {
                Leaf::Arrow(writer) => self.leaf_memory(writer.memory_size()),
                Leaf::Int96(column) => self.leaf_memory(column.memory() + (70 << 10)),
            })
            .sum()
    }

    fn leaf_memory(&self, reported: usize) -> usize {
        let zstd = match (self.layout.zstd, reported > 256 << 10) {
            (false, _) => 0,
            (true, false) => ZSTD_MEMORY,
            (true, true) => ZSTD_PAGE_MEMORY,
        };
        reported + LEAF_MEMORY + zstd
    }

    pub(super) fn lasting_memory(&self) -> usize {
        FILE_MEMORY + self.writer.flushed_row_groups().len() * self.layout.leaves() * FOOTER_MEMORY
    }

    pub(super) fn flush(&mut self) -> Result<(), EncodeError> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let mut writer = self.writer.next_row_group()?;
        for leaf in group.leaves {
            match leaf {
                Leaf::Arrow(column) => column.close()?.append_to_row_group(&mut writer)?,
                Leaf::Int96(column) => {
                    let (bytes, close) = column.close()?;
                    writer.append_column(&bytes, close)?;
                }
            }
        }
        writer.close()?;
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<&mut W, EncodeError> {
        self.flush()?;
        self.writer.inner_mut().hold();
        self.writer.finish()?;
        let ending = self.writer.inner_mut();
        ending.release(self.layout.leaves())?;
        Ok(&mut ending.output)
    }

    pub(super) fn output_mut(&mut self) -> &mut W {
        &mut self.writer.inner_mut().output
    }
}
