//! Encodes: Arrow's record batches into the bytes of data files.
//!
//! ```text
//! RecordBatch ─► Encoder ─► block in progress (memory) ─ flush ─► output ─ finish ─► footer
//! ```
//!
//! A *block* is what an encoder keeps in memory until it is flushed: a Parquet row group, a gzip member, a zstd frame.
//! Flushing one frees its memory and makes [`Encoder::written`] the true encoded size; files whose blocks were flushed at
//! other places differ in bytes and hold the same records. What a data file holds, and where it ends, is decided by the
//! sink; here nothing is known of partitions, batches or staging.

mod error;
mod footer;
mod json_row;
mod leaf;
mod members;
mod ndjson_file;
#[cfg(test)]
mod nested_tests;
mod parquet_file;
mod parquet_schema;
mod repeats;
mod settings;
#[cfg(test)]
mod tests;
mod widen;

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;

pub use error::EncodeError;
pub use json_row::RowWriter;
pub(crate) use json_row::write_decimal;
pub use settings::{Codec, Compat, OutputFormat, extension};
pub use widen::widen;

/// Counts up whenever the same records would be written to other columns, values or files: a part of what a batch
/// records of its encoding.
pub const ENCODER_VERSION: u32 = 1;

/// The column that holds a record's bytes where records land as they came (`schema.mode = "none"`).
pub const RAW_COLUMN: &str = "_raw";

/// All that the data files of one schema version and batch have in common.
pub struct Layout {
    /// Columns as they are written.
    pub schema: SchemaRef,
    /// Leaf columns; 1 for NDJSON.
    pub leaves: usize,
    kind: LayoutKind,
}

enum LayoutKind {
    Parquet(Arc<parquet_file::ParquetLayout>),
    Ndjson {
        codec: Codec,
        raw: bool,
        members: Option<Arc<members::Members>>,
    },
}

impl Layout {
    /// `metadata`: key and value pairs for the footer of formats that have one. `raw`: records are written from the
    /// column [`RAW_COLUMN`] as they came (NDJSON only).
    ///
    /// # Errors
    /// A column whose type the format does not have.
    pub fn new(
        format: OutputFormat,
        schema: SchemaRef,
        metadata: &[(String, String)],
        raw: bool,
    ) -> Result<Arc<Self>, EncodeError> {
        let (kind, leaves) = match format {
            OutputFormat::Parquet { compat, codec } => {
                let layout = parquet_file::ParquetLayout::new(compat, codec, &schema, metadata)?;
                let leaves = layout.leaves();
                (LayoutKind::Parquet(Arc::new(layout)), leaves)
            }
            OutputFormat::Ndjson { codec } => {
                let members = members::Members::of(codec).map(Arc::new);
                let kind = LayoutKind::Ndjson {
                    codec,
                    raw,
                    members,
                };
                (kind, 1)
            }
        };
        Ok(Arc::new(Self {
            schema,
            leaves,
            kind,
        }))
    }
}

impl Layout {
    /// With what files of an older layout share, so that it is there once.
    #[must_use]
    pub fn share(self: Arc<Self>, older: &Self) -> Arc<Self> {
        let mut layout = self;
        let Some(own) = Arc::get_mut(&mut layout) else {
            return layout;
        };
        match (&mut own.kind, &older.kind) {
            (
                LayoutKind::Ndjson { members, .. },
                LayoutKind::Ndjson {
                    members: theirs, ..
                },
            ) => members.clone_from(theirs),
            (LayoutKind::Parquet(parquet), LayoutKind::Parquet(theirs)) => {
                if let Some(parquet) = Arc::get_mut(parquet) {
                    parquet.share(theirs);
                }
            }
            _ => {}
        }
        layout
    }

    /// Memory that files of this layout share.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.kind {
            LayoutKind::Parquet(parquet) => parquet.memory(),
            LayoutKind::Ndjson { members, .. } => members.as_ref().map_or(0, |m| m.memory()),
        }
    }
}

/// Memory of the rows of a batch by themselves: of what they share with others, views into one buffer, each counts its own, and room
/// that buffers have for more counts for none.
#[must_use]
pub fn row_memory(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    let memory = columns.map(|column| {
        if let Some(views) = column.as_binary_view_opt() {
            let lengths = views.lengths().map(|length| length as usize);
            views.len() * size_of::<u128>() + lengths.sum::<usize>()
        } else {
            let data = column.to_data();
            data.get_slice_memory_size()
                .unwrap_or_else(|_| column.get_array_memory_size())
        }
    });
    memory.sum()
}

/// Writes one data file to `W`.
pub enum Encoder<W: Write + Send> {
    Parquet(parquet_file::ParquetFile<W>),
    Ndjson(Box<ndjson_file::NdjsonFile<W>>),
}

impl<W: Write + Send> Encoder<W> {
    /// # Errors
    /// The output fails.
    pub fn open(layout: &Arc<Layout>, output: W) -> Result<Self, EncodeError> {
        Ok(match &layout.kind {
            LayoutKind::Parquet(parquet) => Self::Parquet(parquet_file::ParquetFile::open(
                parquet,
                &layout.schema,
                output,
            )?),
            LayoutKind::Ndjson {
                codec,
                raw,
                members,
            } => {
                let members = members.clone();
                let file = ndjson_file::NdjsonFile::open(*codec, *raw, members, output);
                Self::Ndjson(Box::new(file))
            }
        })
    }

    /// Adds rows, which must have the layout's schema.
    ///
    /// # Errors
    /// The output fails, or a value has no encoding. The file is then of no use.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        self.write_rows(batch, 0, batch.num_rows())
    }

    /// Adds `rows` of a batch's rows, the first of which is `from`. What the others are like may tell how these are encoded.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_rows(
        &mut self,
        batch: &RecordBatch,
        from: usize,
        rows: usize,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Parquet(file) => file.write(batch, from, rows),
            Self::Ndjson(file) => file.write(&batch.slice(from, rows)),
        }
    }

    /// Encoded bytes that have left the encoder.
    pub fn written(&self) -> u64 {
        match self {
            Self::Parquet(file) => file.written(),
            Self::Ndjson(file) => file.written(),
        }
    }

    /// What the block in progress may come to when it is flushed; 0 without one. See [`Self::estimates_high`].
    pub fn block_estimate(&self) -> u64 {
        match self {
            Self::Parquet(file) => file.block_estimate(),
            Self::Ndjson(file) => file.block_estimate(),
        }
    }

    /// Whether [`Self::block_estimate`] errs to the high side, by a factor that depends on the data and can be told from what
    /// [`Self::written`] grows by. Otherwise an encoder learns by itself.
    pub fn estimates_high(&self) -> bool {
        matches!(self, Self::Parquet(_))
    }

    /// Memory that [`Self::flush`] would free; 0 without a block.
    pub fn block_memory(&self) -> usize {
        match self {
            Self::Parquet(file) => file.block_memory(),
            Self::Ndjson(file) => file.block_memory(),
        }
    }

    /// Rows in the block in progress.
    pub fn block_rows(&self) -> usize {
        match self {
            Self::Parquet(file) => file.block_rows(),
            Self::Ndjson(file) => file.block_rows(),
        }
    }

    /// Memory that stays until the file is finished: buffers, and the footer to come.
    pub fn lasting_memory(&self) -> usize {
        match self {
            Self::Parquet(file) => file.lasting_memory(),
            Self::Ndjson(file) => file.lasting_memory(),
        }
    }

    /// Ends the block in progress.
    ///
    /// # Errors
    /// The output fails. The file is then of no use.
    pub fn flush(&mut self) -> Result<(), EncodeError> {
        match self {
            Self::Parquet(file) => file.flush(),
            Self::Ndjson(file) => file.flush(),
        }
    }

    /// Ends the file; nothing may be written afterwards. Answers the output, which holds all of it.
    ///
    /// # Errors
    /// The output fails. The file is then of no use.
    pub fn finish(&mut self) -> Result<&mut W, EncodeError> {
        match self {
            Self::Parquet(file) => file.finish(),
            Self::Ndjson(file) => file.finish(),
        }
    }

    /// The output, for its own bookkeeping; writing to it would destroy the file.
    pub fn output_mut(&mut self) -> &mut W {
        match self {
            Self::Parquet(file) => file.output_mut(),
            Self::Ndjson(file) => file.output_mut(),
        }
    }
}
