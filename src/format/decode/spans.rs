//! The columns that no record brings: path columns and metadata. Kept per run of rows of one file, and made into arrays
//! when the rows are taken.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringBuilder, TimestampMicrosecondArray};

use super::DecodeContext;
use super::column::OFFSET_MAX;
use crate::format::FileContext;
use crate::schema::{Metadata, Schema, group_value};
use crate::segment::RelativePath;

/// Rows of one file that follow each other.
struct Span {
    rows: usize,
    path: RelativePath,
    /// Path columns: name and value.
    values: Vec<(String, Option<String>)>,
    /// Bytes of text that each row repeats.
    repeats: usize,
}

#[derive(Default)]
pub(super) struct Spans {
    runs: Vec<Span>,
    /// Of each row, if `_offset` is wanted.
    offsets: Vec<i64>,
    /// Bytes of text that the rows will take.
    repeated: usize,
}

impl Spans {
    /// The rows that follow are of this file.
    pub(super) fn begin(&mut self, context: &FileContext, schema: &Schema) {
        if let Some(last) = self.runs.last_mut() {
            if last.path == context.path && last.values == context.path_columns {
                return;
            }
            if last.rows == 0 {
                self.runs.pop();
            }
        }
        let values = context.path_columns.iter().map(|(_, value)| value.as_ref());
        let mut repeats: usize = values.map(|value| value.map_or(0, String::len)).sum();
        if schema.metadata.contains(&Metadata::File) {
            repeats += context.path.escaped().len();
        }
        self.runs.push(Span {
            rows: 0,
            path: context.path.clone(),
            values: context.path_columns.clone(),
            repeats,
        });
    }

    #[inline]
    pub(super) fn add_row(&mut self, offset: u64, schema: &Schema) {
        if let Some(span) = self.runs.last_mut() {
            span.rows += 1;
            self.repeated += span.repeats;
        }
        if schema.metadata.contains(&Metadata::Offset) {
            self.offsets.push(i64::try_from(offset).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn clear(&mut self) {
        if let Some(last) = self.runs.pop() {
            self.runs.clear();
            self.runs.push(Span { rows: 0, ..last });
        }
        self.offsets.clear();
        self.repeated = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.runs.len() * size_of::<Span>() + self.offsets.len() * 8 + self.repeated
    }

    /// Whether so many rows more of the last file's path can be held by one column.
    pub(super) fn has_room(&self, rows: u64) -> bool {
        let repeats = self.runs.last().map_or(0, |span| span.repeats) as u64;
        (self.repeated as u64).saturating_add(repeats.saturating_mul(rows)) < OFFSET_MAX as u64
    }

    pub(super) fn path_arrays(&self, schema: &Schema, len: usize) -> Vec<ArrayRef> {
        let arrays = schema.landed_path_columns().map(|name| {
            let mut builder = StringBuilder::with_capacity(len, 0);
            for span in &self.runs {
                append_repeated(&mut builder, group_value(&span.values, name), span.rows);
            }
            Arc::new(builder.finish()) as ArrayRef
        });
        arrays.collect()
    }

    pub(super) fn metadata_arrays(
        &self,
        schema: &Schema,
        context: DecodeContext,
        len: usize,
    ) -> Vec<ArrayRef> {
        let arrays = schema.metadata.iter().map(|metadata| match metadata {
            Metadata::File => self.files(len),
            Metadata::Offset => Arc::new(Int64Array::from(self.offsets.clone())) as ArrayRef,
            Metadata::Batch => {
                let batch = i64::try_from(context.batch.0).unwrap_or(i64::MAX);
                Arc::new(Int64Array::from(vec![batch; len]))
            }
            Metadata::IngestedAt => {
                let micros = context.batch_time_ns.div_euclid(1000);
                let array = TimestampMicrosecondArray::from(vec![micros; len]);
                Arc::new(array.with_timezone("UTC"))
            }
        });
        arrays.collect()
    }

    fn files(&self, len: usize) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(len, 0);
        for span in self.runs.iter().filter(|span| span.rows > 0) {
            append_repeated(&mut builder, Some(&span.path.escaped()), span.rows);
        }
        Arc::new(builder.finish())
    }
}

fn append_repeated(builder: &mut StringBuilder, value: Option<&str>, count: usize) {
    match value {
        Some(value) => builder.append_value_n(value, count),
        None => builder.append_nulls(count),
    }
}
