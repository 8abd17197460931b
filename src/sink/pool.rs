//! Decoded rows that wait until enough of their partition are together.
//!
//! With many partitions each decoded batch brings each of them a few rows. Encoding those at once would need a Parquet
//! column writer per column and partition, of some 70 KiB each. So rows wait here as they were decoded, listed by
//! partition, and go to their files all together when the pool is full.

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;

use crate::format::encode::{EncodeError, widen};

/// Where a row lies: batch of the pool, row in it.
pub(super) type Place = (u32, u32);

#[derive(Default)]
pub(super) struct Pool {
    batches: Vec<RecordBatch>,
    /// Segment and ordinal of each row of each batch.
    origins: Vec<Vec<(u32, u32)>>,
    /// Rows that have not gone to their files.
    rows: usize,
    bytes: usize,
}

impl Pool {
    /// Takes in a batch, of which `rows` will be asked for. Answers its index.
    pub(super) fn push(
        &mut self,
        batch: RecordBatch,
        origins: Vec<(u32, u32)>,
        rows: usize,
    ) -> u32 {
        // A row is listed by its place too, and remembers its origin.
        self.bytes += batch.get_array_memory_size() + origins.len() * 16 + 256;
        self.rows += rows;
        self.batches.push(batch);
        self.origins.push(origins);
        self.batches.len() as u32 - 1
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Gives all rows the columns of a newer schema version.
    pub(super) fn widen(&mut self, schema: &SchemaRef) -> Result<(), EncodeError> {
        for batch in &mut self.batches {
            let before = batch.get_array_memory_size();
            *batch = widen(batch, schema)?;
            self.bytes += batch.get_array_memory_size().saturating_sub(before);
        }
        Ok(())
    }

    /// Rows of average size in `bytes`, at least one.
    pub(super) fn rows_in(&self, bytes: usize) -> usize {
        let all: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        (bytes.saturating_mul(all) / self.bytes.max(1)).max(1)
    }

    /// Copies the rows at `places`, in that order, with their origins. They count as gone.
    pub(super) fn take(
        &mut self,
        places: &[Place],
    ) -> Result<(RecordBatch, Vec<(u32, u32)>), EncodeError> {
        // Only the batches that hold some of these rows; they come in the order of the batches.
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut indices = Vec::with_capacity(places.len());
        let mut origins = Vec::with_capacity(places.len());
        let mut last = None;
        for (batch, row) in places {
            let (batch, row) = (*batch as usize, *row as usize);
            if last != Some(batch) {
                batches.push(&self.batches[batch]);
                last = Some(batch);
            }
            indices.push((batches.len() - 1, row));
            origins.push(self.origins[batch][row]);
        }
        let taken = interleave_record_batch(&batches, &indices)?;
        self.rows -= places.len();
        if self.rows == 0 {
            *self = Self::default();
        }
        Ok((taken, origins))
    }
}
