//! Which warnings were said already, as far as memory allows (I11 bounded): a table may have more partitions that are elsewhere than
//! anybody wants to remember.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Beyond these the oldest is forgotten, and said again when it comes up again.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Said {
    hasher: RandomState,
    /// Hashes, since texts may be long: two texts of one hash in 2^64 cost a warning at most.
    known: HashSet<u64>,
    /// The same, oldest first.
    order: VecDeque<u64>,
}

impl Said {
    pub fn is_new(&mut self, text: &str) -> bool {
        let hash = self.hasher.hash_one(text);
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_new_once_and_memory_is_bounded() {
        let mut said = Said::default();
        assert!(said.is_new("first"));
        assert!(!said.is_new("first"));
        for n in 0..3 * REMEMBERED_MAX {
            assert!(said.is_new(&n.to_string()), "{n}");
        }
        assert_eq!(said.known.len(), REMEMBERED_MAX);
        assert_eq!(said.order.len(), REMEMBERED_MAX);
        assert!(!said.is_new(&(3 * REMEMBERED_MAX - 1).to_string()));
        assert!(said.is_new("first"));
    }
}
