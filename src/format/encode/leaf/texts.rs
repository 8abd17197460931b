//! Texts and byte strings, and numbers that are written as byte strings of one length: decimals, and INT96.

use std::hash::{BuildHasher, RandomState};

use parquet::basic::Encoding;
use twox_hash::XxHash3_64;

use super::bounds::{Bounds, Order};
use super::dictionary::Table;
use super::numbers::places;
use super::packing::{Size, differences};

/// Before the bytes of a page: what a page begins with goes there, if it is not longer, so that the bytes need not be copied.
const GAP: usize = 8 << 10;
/// The longest byte string that is a key of its own: its length takes the sixteenth byte.
const SHORT: usize = 15;

/// Byte strings of a column chunk: those of the page to come, and the distinct ones of the dictionary.
pub(super) struct Texts {
    /// All are as long as this.
    length: Option<usize>,
    plainly: Encoding,
    dictionary: Option<Dictionary>,
    /// The dictionary's page, also of one that was given up.
    entries: Entries,
    /// Of the page to come: where its values stand in the dictionary.
    places: Vec<u32>,
    /// Of the page to come, without a dictionary: a gap, then its bytes.
    bytes: Vec<u8>,
    /// By differences: how many bytes at the beginning are those of the one before, and how many follow.
    shared: Vec<u32>,
    added: Vec<u32>,
    /// By differences: the last one.
    before: Vec<u8>,
    /// Of all pages without a dictionary.
    bounds: Bounds,
}

#[derive(Default)]
struct Dictionary {
    short: Table<u128>,
    /// By hash.
    long: Table<u64>,
    seed: u64,
}

/// Distinct byte strings as a dictionary's page has them.
#[derive(Default)]
struct Entries {
    page: Vec<u8>,
    /// Where each one's bytes end.
    ends: Vec<u32>,
}

impl Entries {
    /// `prefix`: bytes before each.
    fn get(&self, at: usize, prefix: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        &self.page[start + prefix..self.ends[at] as usize]
    }
}

/// Values that lie in one buffer.
#[derive(Clone, Copy)]
pub(super) struct Buffer<'a> {
    pub(super) offsets: &'a [i32],
    pub(super) bytes: &'a [u8],
}

impl<'a> Buffer<'a> {
    #[inline]
    fn get(self, row: usize) -> &'a [u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// Bytes and length of a short value, as one number.
    #[inline]
    fn short(self, row: usize) -> Option<u128> {
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        let len = end - start;
        if len > SHORT {
            return None;
        }
        let Some(bytes) = self.bytes[start..].first_chunk::<16>() else {
            return short(&self.bytes[start..end]);
        };
        let bits = u128::from_le_bytes(*bytes) & ((1 << (8 * len)) - 1);
        Some(bits | (len as u128) << 120)
    }
}

fn short(value: &[u8]) -> Option<u128> {
    let mut bytes = [0; 16];
    bytes
        .get_mut(..SHORT)?
        .get_mut(..value.len())?
        .copy_from_slice(value);
    bytes[SHORT] = value.len() as u8;
    Some(u128::from_le_bytes(bytes))
}

impl Texts {
    /// `repeat`: with a dictionary. `sparing`: the others by their differences, if their lengths differ.
    pub(super) fn new(length: Option<usize>, order: Order, repeat: bool, sparing: bool) -> Self {
        Self {
            length,
            plainly: match length {
                None if sparing => Encoding::DELTA_BYTE_ARRAY,
                _ => Encoding::PLAIN,
            },
            dictionary: repeat.then(|| Dictionary {
                seed: RandomState::new().hash_one(0),
                ..Dictionary::default()
            }),
            entries: Entries::default(),
            places: Vec::new(),
            bytes: Vec::new(),
            shared: Vec::new(),
            added: Vec::new(),
            before: Vec::new(),
            bounds: Bounds::new(order),
        }
    }

    /// Of each value, where all have the same.
    pub(super) fn length(&self) -> usize {
        self.length.unwrap_or_default()
    }

    fn prefix(&self) -> usize {
        if self.length.is_some() { 0 } else { 4 }
    }

    pub(super) fn append(&mut self, values: Buffer<'_>, rows: impl Iterator<Item = usize>) {
        if self.dictionary.is_some() {
            for row in rows {
                self.append_repeating(values.get(row), values.short(row));
            }
            return;
        }
        self.begin();
        if self.plainly == Encoding::DELTA_BYTE_ARRAY {
            let before = std::mem::take(&mut self.before);
            let mut last = &before[..];
            for row in rows {
                let value = values.get(row);
                self.bounds.see(value);
                let shared = shared(last, value);
                self.shared.push(shared as u32);
                self.added.push((value.len() - shared) as u32);
                self.bytes.extend_from_slice(&value[shared..]);
                last = value;
            }
            self.before = last.to_vec();
        } else {
            for row in rows {
                self.append_plain(values.get(row));
            }
        }
    }

    /// One that lies nowhere.
    pub(super) fn append_one(&mut self, value: &[u8]) {
        if self.dictionary.is_some() {
            self.append_repeating(value, short(value));
        } else {
            self.begin();
            self.append_plain(value);
        }
    }

    fn begin(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.resize(GAP, 0);
        }
    }

    #[inline]
    fn append_plain(&mut self, value: &[u8]) {
        self.bounds.see(value);
        if self.length.is_none() {
            self.bytes
                .extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        self.bytes.extend_from_slice(value);
    }

    #[inline]
    fn append_repeating(&mut self, value: &[u8], short: Option<u128>) {
        let prefix = self.prefix();
        let Some(dictionary) = &mut self.dictionary else {
            return;
        };
        let next = self.entries.ends.len() as u32;
        let entries = &self.entries;
        let place = if let Some(key) = short {
            dictionary.short.number(key, next, |_| true)
        } else {
            let hash = XxHash3_64::oneshot_with_seed(dictionary.seed, value);
            let same = |at: u32| entries.get(at as usize, prefix) == value;
            dictionary.long.number(hash, next, same)
        };
        if place == next {
            if prefix > 0 {
                let len = (value.len() as u32).to_le_bytes();
                self.entries.page.extend_from_slice(&len);
            }
            self.entries.page.extend_from_slice(value);
            self.entries.ends.push(self.entries.page.len() as u32);
        }
        self.places.push(place);
    }

    /// What the page to come may take.
    pub(super) fn bytes(&self) -> usize {
        2 * (self.places.len() + self.shared.len()) + self.bytes.len().saturating_sub(GAP)
    }

    pub(super) fn dictionary_bytes(&self) -> usize {
        self.entries.page.len()
    }

    pub(super) fn memory(&self) -> usize {
        let tables = self.dictionary.as_ref().map_or(0, |dictionary| {
            dictionary.short.memory() + dictionary.long.memory()
        });
        let lengths = self.entries.ends.capacity()
            + self.places.capacity()
            + self.shared.capacity()
            + self.added.capacity();
        let bytes = self.entries.page.capacity() + self.bytes.capacity() + self.before.capacity();
        tables + 4 * lengths + bytes + self.bounds.memory()
    }

    pub(super) fn has_dictionary(&self) -> bool {
        self.dictionary.is_some()
    }

    /// From here on without. The page to come is empty.
    pub(super) fn give_up_dictionary(&mut self) {
        self.dictionary = None;
        self.places = Vec::new();
    }

    /// The whole page, which begins with what `head` holds.
    pub(super) fn page<'a>(&'a mut self, head: &'a mut Vec<u8>) -> (Encoding, &'a [u8]) {
        if self.dictionary.is_some() {
            places(&self.places, self.entries.ends.len(), head);
            return (Encoding::RLE_DICTIONARY, head);
        }
        self.begin();
        if self.plainly == Encoding::DELTA_BYTE_ARRAY {
            for lengths in [&self.shared, &self.added] {
                let lengths = lengths.iter().map(|length| i64::from(*length));
                differences(lengths, Size::Narrow, head);
            }
        }
        let page = if let Some(start) = GAP.checked_sub(head.len()) {
            self.bytes[start..GAP].copy_from_slice(head);
            &self.bytes[start..]
        } else {
            head.extend_from_slice(&self.bytes[GAP..]);
            &head[..]
        };
        (self.plainly, page)
    }

    /// The page is done.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.bytes.clear();
        self.shared.clear();
        self.added.clear();
        self.before.clear();
    }

    /// The dictionary's page, and how many values it has.
    pub(super) fn dictionary_page(&self) -> (&[u8], usize) {
        (&self.entries.page, self.entries.ends.len())
    }

    /// The least and the greatest of all pages, as far as they are kept, and whether they are exact.
    pub(super) fn kept(&mut self, utf8: bool) -> Option<[(Vec<u8>, bool); 2]> {
        for at in 0..self.entries.ends.len() {
            self.bounds.see(self.entries.get(at, self.prefix()));
        }
        self.bounds.kept(utf8)
    }
}

/// How many bytes at the beginning of both are the same.
#[inline]
fn shared(left: &[u8], right: &[u8]) -> usize {
    let len = left.len().min(right.len());
    let mut at = 0;
    while let (Some(a), Some(b)) = (
        left[at..len].first_chunk::<8>(),
        right[at..len].first_chunk(),
    ) {
        let other = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if other != 0 {
            return at + other.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let pairs = left[at..len].iter().zip(&right[at..len]);
    at + pairs.take_while(|(a, b)| a == b).count()
}
