//! The bytes of a segment, in buffers that are used again.
//!
//! Segments are made by one thread and let go by others, which allocators answer with ever fresh memory: clearing its pages cost a
//! tenth of the CPU time of a run over gzip files.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

/// Buffers that wait, at most: as many megabytes, more or less.
const SPARE_MAX: usize = 8;
/// Smaller ones are cheap to make, larger ones are rare.
const SPARE_BYTES: std::ops::RangeInclusive<usize> = 256 << 10..=2 << 20;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes whose buffer serves another segment once they are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentBytes(Vec<u8>);

impl SegmentBytes {
    /// An empty buffer for so many bytes.
    pub(super) fn buffer(capacity: usize) -> Vec<u8> {
        if SPARE_BYTES.contains(&capacity) {
            let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = spare.iter().rposition(|spare| spare.capacity() >= capacity) {
                return spare.swap_remove(at);
            }
        }
        Vec::with_capacity(capacity)
    }

    /// Bytes of memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl From<Vec<u8>> for SegmentBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for SegmentBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SegmentBytes {
    fn drop(&mut self) {
        if !SPARE_BYTES.contains(&self.0.capacity()) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_and_comes_back_empty() {
        let size = (1 << 20) + 12_345;
        let mut buffer = SegmentBytes::buffer(size);
        buffer.extend_from_slice(b"old");
        drop(SegmentBytes::from(buffer));
        for _ in 0..2 * SPARE_MAX {
            let buffer = SegmentBytes::buffer(size);
            assert!(buffer.is_empty() && buffer.capacity() >= size);
            drop(SegmentBytes::from(buffer));
        }
        assert!(SPARE.lock().unwrap().len() <= SPARE_MAX);
    }
}
