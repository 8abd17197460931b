//! Numbers for the distinct values of a column, in the order in which they first come.
//!
//! A table of keys and numbers side by side, one place of the processor's cache for a value that is known. What is longer
//! than a key is told apart by who asks.

use std::hash::{BuildHasher, RandomState};

/// Stands in a free slot.
const FREE: u32 = u32::MAX;
const SLOTS_MIN: usize = 64;

pub(super) trait Key: Copy + Eq + Default {
    /// The same keys hash to the same, and who does not know the seed finds none that hash alike.
    fn hash(self, seed: [u64; 2]) -> u64;
}

/// Folds the two halves of a product into one: each bit of both factors tells.
#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

impl Key for u64 {
    #[inline]
    fn hash(self, seed: [u64; 2]) -> u64 {
        fold(self ^ seed[0], seed[1])
    }
}

impl Key for u128 {
    #[inline]
    fn hash(self, seed: [u64; 2]) -> u64 {
        let half = fold(self as u64 ^ seed[0], seed[1]);
        fold(half ^ (self >> 64) as u64, seed[1])
    }
}

/// Numbers by keys.
pub(super) struct Table<K> {
    slots: Vec<(K, u32)>,
    filled: usize,
    seed: [u64; 2],
}

impl<K: Key> Default for Table<K> {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            slots: Vec::new(),
            filled: 0,
            // Odd, so that no bit of a key is lost.
            seed: [random.hash_one(0), random.hash_one(1) | 1],
        }
    }
}

impl<K: Key> Table<K> {
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<(K, u32)>()
    }

    /// The number of this key, `next` if it is a new one. `same`: whether what has that number is the same, where keys may be alike.
    #[inline]
    pub(super) fn number(&mut self, key: K, next: u32, same: impl Fn(u32) -> bool) -> u32 {
        if self.filled * 3 >= self.slots.len() * 2 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = key.hash(self.seed) as usize & mask;
        loop {
            let (there, number) = self.slots[at];
            if number == FREE {
                self.slots[at] = (key, next);
                self.filled += 1;
                return next;
            }
            if there == key && same(number) {
                return number;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![(K::default(), FREE); slots]);
        for (key, number) in old.into_iter().filter(|(_, number)| *number != FREE) {
            let mut at = key.hash(self.seed) as usize & (slots - 1);
            while self.slots[at].1 != FREE {
                at = (at + 1) & (slots - 1);
            }
            self.slots[at] = (key, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_number_however_many_come() {
        let mut table = Table::<u64>::default();
        let keys = || (0..10_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (next, key) in keys().enumerate() {
            assert_eq!(table.number(key, next as u32, |_| true), next as u32);
        }
        for (number, key) in keys().enumerate() {
            assert_eq!(table.number(key, 10_000, |_| true), number as u32);
        }
    }

    #[test]
    fn keys_that_are_alike_are_told_apart_by_who_asks() {
        let mut table = Table::<u64>::default();
        assert_eq!(table.number(7, 0, |_| true), 0);
        assert_eq!(table.number(7, 1, |number| number == 9), 1);
        assert_eq!(table.number(7, 2, |number| number == 1), 1);
        assert_eq!(table.number(7, 2, |number| number == 0), 0);
    }
}
