//! Whether the values of a leaf repeat often enough for a dictionary, told from a sample.
//!
//! A dictionary that outgrows its page is given up by the library in the middle of a row group: by then each value was
//! hashed, stored and looked up for nothing, and the pages so far are larger than plain ones. Of `n` values drawn out of
//! `D` that are equally frequent, `n²/2D` were drawn before. So the count of those tells `D`, and whether `D` values fit.
//! Where some are more frequent than others `D` comes out too small, and a dictionary is tried that may be given up.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use twox_hash::XxHash3_64;

/// Values looked at.
const SAMPLE: usize = 4096;
/// With fewer nothing can be told.
const LEAST: usize = 1024;
/// A length stands before each text.
const LENGTH: usize = 4;

/// For each leaf below `array`, in Parquet's order: whether its distinct values may fit `dictionary_bytes`; `None`: too few to tell.
pub(super) fn leaves(array: &ArrayRef, dictionary_bytes: usize, found: &mut Vec<Option<bool>>) {
    match array.data_type() {
        DataType::Struct(_) => {
            for column in array.as_struct().columns() {
                leaves(column, dictionary_bytes, found);
            }
        }
        DataType::List(_) => leaves(array.as_list::<i32>().values(), dictionary_bytes, found),
        DataType::Map(_, _) => {
            for column in array.as_map().entries().columns() {
                leaves(column, dictionary_bytes, found);
            }
        }
        _ => found.push(repeats(array, dictionary_bytes)),
    }
}

fn repeats(array: &ArrayRef, dictionary_bytes: usize) -> Option<bool> {
    match array.data_type() {
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            sampled(array, LENGTH, dictionary_bytes, |row| {
                values.value(row).as_bytes()
            })
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            sampled(array, LENGTH, dictionary_bytes, |row| values.value(row))
        }
        other => {
            let Some(width) = other.primitive_width() else {
                return Some(true);
            };
            let data = array.to_data();
            let bytes = &data.buffers()[0].as_slice()[data.offset() * width..];
            sampled(array, 0, dictionary_bytes, |row| {
                &bytes[row * width..(row + 1) * width]
            })
        }
    }
}

fn sampled<'a>(
    array: &ArrayRef,
    length: usize,
    dictionary_bytes: usize,
    value: impl Fn(usize) -> &'a [u8],
) -> Option<bool> {
    if array.len() - array.null_count() < LEAST {
        return None;
    }
    let mut seen = Seen::default();
    let (mut drawn, mut again, mut bytes) = (0_usize, 0_usize, 0_usize);
    let step = (array.len() / SAMPLE).max(1);
    for row in (0..array.len()).step_by(step).take(SAMPLE) {
        if array.is_null(row) {
            continue;
        }
        let value = value(row);
        drawn += 1;
        bytes += value.len() + length;
        again += usize::from(seen.holds(XxHash3_64::oneshot(value)));
    }
    (drawn >= LEAST).then(|| again * 2 * dictionary_bytes >= drawn * bytes)
}

/// Hashes of the values drawn, in a table that stays half empty.
struct Seen(Box<[u64]>);

impl Default for Seen {
    fn default() -> Self {
        Self(vec![0; 2 * SAMPLE].into())
    }
}

impl Seen {
    /// Whether the hash was there already.
    fn holds(&mut self, hash: u64) -> bool {
        // 0 is an empty place; the top bit takes no part in where a hash lies.
        let hash = hash | 1 << 63;
        let mut at = hash as usize % self.0.len();
        while self.0[at] != 0 {
            if self.0[at] == hash {
                return true;
            }
            at = (at + 1) % self.0.len();
        }
        self.0[at] = hash;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    const MIB: usize = 1 << 20;

    fn told(array: impl Array + 'static) -> Option<bool> {
        let mut found = Vec::new();
        leaves(&(Arc::new(array) as ArrayRef), MIB, &mut found);
        assert_eq!(found.len(), 1);
        found[0]
    }

    fn tells(array: impl Array + 'static) -> bool {
        told(array).expect("enough values")
    }

    /// Numbers that look random.
    fn random(count: i64) -> impl Iterator<Item = i64> {
        (0..count).map(|n| (XxHash3_64::oneshot(&n.to_le_bytes()) >> 1) as i64)
    }

    #[test]
    fn values_out_of_many_have_no_dictionary_and_out_of_few_they_have() {
        assert!(!tells(Int64Array::from_iter_values(0..8000)));
        assert!(!tells(Int64Array::from_iter_values(
            random(8000).map(|n| n % 5_000_000)
        )));
        assert!(tells(Int64Array::from_iter_values(
            random(8000).map(|n| n % 50_000)
        )));
        assert!(tells(Int64Array::from_iter_values(
            random(8000).map(|n| n % 3)
        )));
        let text = |n: i64| format!("{n:024}");
        assert!(!tells(StringArray::from_iter_values(
            random(8000).map(text)
        )));
        assert!(tells(StringArray::from_iter_values(
            random(8000).map(|n| text(n % 5000))
        )));
    }

    #[test]
    fn of_few_values_nothing_is_told() {
        assert_eq!(told(Int64Array::from_iter_values(0..1000)), None);
        assert_eq!(told(Int64Array::from(vec![None; 8000])), None);
        assert!(tells(arrow::array::BooleanArray::from(vec![true; 8000])));
    }
}
