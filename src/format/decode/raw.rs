//! Records that land as they came: places in the bytes of their segments, which stay until the rows are gone. So nothing is
//! copied, and whoever writes records that stand one after another finds them so.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryViewArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::error::ArrowError;

use super::column::OFFSET_MAX;
use crate::format::frame::SegmentBytes;

/// A segment's bytes as an owner of Arrow's.
struct Shared(Arc<SegmentBytes>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Default)]
pub(super) struct RawRecords {
    views: Vec<u128>,
    buffers: Vec<Buffer>,
    /// The segment in hand.
    segment: Option<Arc<SegmentBytes>>,
    /// Its place among the buffers, once one of its records is a row.
    buffer: Option<u32>,
    /// Of the records.
    bytes: usize,
}

impl RawRecords {
    /// The records that follow stand in this segment.
    pub(super) fn begin(&mut self, segment: Arc<SegmentBytes>) {
        self.segment = Some(segment);
        self.buffer = None;
    }

    /// No records of the segment follow.
    pub(super) fn end(&mut self) {
        self.segment = None;
        self.buffer = None;
    }

    /// Appends the record at `start..end` of the segment in hand.
    #[inline]
    pub(super) fn push(&mut self, start: usize, end: usize) {
        let Some(segment) = &self.segment else {
            return;
        };
        let record = &segment[start..end];
        self.bytes += record.len();
        let (buffer, offset) = if end <= OFFSET_MAX {
            let buffers = &mut self.buffers;
            let buffer = *self.buffer.get_or_insert_with(|| {
                buffers.push(bytes::Bytes::from_owner(Shared(Arc::clone(segment))).into());
                buffers.len() as u32 - 1
            });
            (buffer, start as u32)
        } else {
            // Farther in than a view reaches.
            self.buffers.push(record.to_vec().into());
            (self.buffers.len() as u32 - 1, 0)
        };
        self.views
            .push(arrow::array::make_view(record, buffer, offset));
    }

    /// Bytes in use; of the segments those of the records.
    pub(super) fn bytes(&self) -> usize {
        self.views.len() * size_of::<u128>() + self.bytes
    }

    /// Bytes of the records.
    pub(super) fn offset(&self) -> usize {
        self.bytes
    }

    /// Hands the records over, and is empty again.
    ///
    /// # Errors
    /// None that can happen: every view is of a place in its buffer.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.bytes = 0;
        self.buffer = None;
        let room = Vec::with_capacity(self.views.len());
        let views = ScalarBuffer::from(std::mem::replace(&mut self.views, room));
        let buffers = std::mem::take(&mut self.buffers);
        Ok(Arc::new(BinaryViewArray::try_new(views, buffers, None)?))
    }
}
