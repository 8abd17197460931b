//! A table whose changes are taken back, or kept, together: what makes a call a transaction without a copy of the world.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    /// What stood there before, in the order of the changes.
    before: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            before: Vec::new(),
        }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn rows(&self) -> &BTreeMap<K, V> {
        &self.rows
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        let old = self.rows.insert(key.clone(), value);
        self.before.push((key, old));
    }

    /// The row to be changed, if there is one.
    pub(super) fn edit(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.before.push((key.clone(), Some(row.clone())));
        Some(row)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.rows.remove(key)?;
        self.before.push((key.clone(), Some(old.clone())));
        Some(old)
    }

    pub(super) fn keep(&mut self) {
        self.before.clear();
    }

    pub(super) fn take_back(&mut self) {
        while let Some((key, old)) = self.before.pop() {
            match old {
                Some(old) => self.rows.insert(key, old),
                None => self.rows.remove(&key),
            };
        }
    }
}
