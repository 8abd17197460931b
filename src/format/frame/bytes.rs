//! The bytes of a segment, in buffers that are used again.
//!
//! Segments are made by one thread and let go by others, which allocators answer with ever fresh memory: clearing its pages cost a
//! tenth of the CPU time of a run over gzip files. A buffer that serves again is not cleared again either: what stands behind
//! its bytes is from another segment, and is read over.

use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

/// Buffers that wait, at most: as many megabytes, more or less.
const SPARE_MAX: usize = 8;
/// Smaller ones are cheap to make, larger ones are rare.
const SPARE_BYTES: std::ops::RangeInclusive<usize> = 256 << 10..=2 << 20;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes whose buffer serves another segment once they are dropped. They grow at their end.
#[derive(Default)]
pub struct SegmentBytes {
    /// The bytes, and what stands behind them.
    whole: Vec<u8>,
    length: usize,
}

impl SegmentBytes {
    /// None yet, with room for so many.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let whole = spare(capacity).unwrap_or_else(|| Vec::with_capacity(capacity));
        Self { whole, length: 0 }
    }

    /// Bytes of memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.whole.capacity()
    }

    /// Lets `fill` write over the next `most` bytes, whatever stands there; as many as it says are added then. Answers what it did.
    ///
    /// # Errors
    /// Those of `fill`, and nothing was added.
    ///
    /// # Panics
    /// It says more than `most`.
    pub fn append<E>(
        &mut self,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let end = self.length + most;
        if self.whole.len() < end {
            self.whole.resize(end, 0);
        }
        let filled = fill(&mut self.whole[self.length..end])?;
        assert!(filled <= most, "{filled} of {most} bytes were filled");
        self.length += filled;
        Ok(filled)
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let over = (self.whole.len() - self.length).min(bytes.len());
        self.whole[self.length..self.length + over].copy_from_slice(&bytes[..over]);
        self.whole.extend_from_slice(&bytes[over..]);
        self.length += bytes.len();
    }

    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Takes the first `length` bytes away.
    ///
    /// # Panics
    /// There are fewer.
    pub fn remove_front(&mut self, length: usize) {
        self.whole.copy_within(length..self.length, 0);
        self.length -= length;
    }

    /// Gives back memory if more than half of it is not needed.
    pub fn shrink(&mut self) {
        if self.whole.capacity() / 2 > self.length {
            self.whole.truncate(self.length);
            self.whole.shrink_to_fit();
        }
    }
}

impl From<Vec<u8>> for SegmentBytes {
    fn from(whole: Vec<u8>) -> Self {
        let length = whole.len();
        Self { whole, length }
    }
}

impl Deref for SegmentBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.whole[..self.length]
    }
}

impl Clone for SegmentBytes {
    fn clone(&self) -> Self {
        self.to_vec().into()
    }
}

impl fmt::Debug for SegmentBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for SegmentBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SegmentBytes {}

impl Drop for SegmentBytes {
    fn drop(&mut self) {
        if !SPARE_BYTES.contains(&self.whole.capacity()) {
            return;
        }
        let whole = std::mem::take(&mut self.whole);
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(whole);
        }
    }
}

/// A buffer that waits, for so many bytes.
fn spare(capacity: usize) -> Option<Vec<u8>> {
    if !SPARE_BYTES.contains(&capacity) {
        return None;
    }
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let at = spare
        .iter()
        .rposition(|spare| spare.capacity() >= capacity)?;
    Some(spare.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_buffer_serves_again_and_comes_back_empty() {
        let size = (1 << 20) + 12_345;
        let mut bytes = SegmentBytes::with_capacity(size);
        bytes.extend_from_slice(b"old");
        drop(bytes);
        for _ in 0..2 * SPARE_MAX {
            let bytes = SegmentBytes::with_capacity(size);
            assert!(bytes.is_empty() && bytes.capacity() >= size);
        }
        assert!(SPARE.lock().unwrap().len() <= SPARE_MAX);
    }

    #[test]
    fn a_failed_read_adds_nothing() {
        let mut bytes = SegmentBytes::from(b"before".to_vec());
        let failed = bytes.append(10, |room| {
            room.fill(b'x');
            Err("torn")
        });
        assert_eq!((failed, &*bytes), (Err("torn"), &b"before"[..]));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Append(Vec<u8>, usize),
        Extend(Vec<u8>),
        Truncate(usize),
        RemoveFront(usize),
        Shrink,
        Again,
    }

    fn acts() -> impl Strategy<Value = Act> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            (bytes(), 0..40_usize).prop_map(|(bytes, room)| Act::Append(bytes, room)),
            bytes().prop_map(Act::Extend),
            (0..80_usize).prop_map(Act::Truncate),
            (0..80_usize).prop_map(Act::RemoveFront),
            Just(Act::Shrink),
            Just(Act::Again),
        ]
    }

    proptest! {
        /// What stood in the buffer before is never seen.
        #[test]
        fn they_are_what_a_plain_vector_would_hold(acts in prop::collection::vec(acts(), 0..40)) {
            let mut bytes = SegmentBytes::from(b"what stood there before".to_vec());
            bytes.clear();
            let mut plain = Vec::new();
            for act in acts {
                match act {
                    Act::Append(more, room) => {
                        let filled = bytes.append(more.len() + room, |into| {
                            into[..more.len()].copy_from_slice(&more);
                            Ok::<_, ()>(more.len())
                        });
                        prop_assert_eq!(filled, Ok(more.len()));
                        plain.extend_from_slice(&more);
                    }
                    Act::Extend(more) => {
                        bytes.extend_from_slice(&more);
                        plain.extend_from_slice(&more);
                    }
                    Act::Truncate(length) => {
                        bytes.truncate(length);
                        plain.truncate(length);
                    }
                    Act::RemoveFront(length) => {
                        let length = length.min(plain.len());
                        bytes.remove_front(length);
                        plain.drain(..length);
                    }
                    Act::Shrink => bytes.shrink(),
                    Act::Again => {
                        bytes.clear();
                        plain.clear();
                    }
                }
                prop_assert_eq!(&*bytes, &plain[..]);
            }
        }
    }
}
