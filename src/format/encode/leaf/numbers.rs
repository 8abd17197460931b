//! Numbers of 32 and 64 bits, and floating point ones.

use parquet::basic::Encoding;
use parquet::file::statistics::Statistics;

use super::bounds::statistics;
use super::dictionary::Table;
use super::packing::{Size, differences, hybrid, width};

/// What a number is in a page, and how it compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Int32,
    Int64,
    /// Their bits stand for them.
    Float,
    Double,
}

impl Form {
    fn bytes(self) -> usize {
        match self {
            Self::Int32 | Self::Float => 4,
            Self::Int64 | Self::Double => 8,
        }
    }

    /// The encoding by differences, for those that have it.
    fn size(self) -> Option<Size> {
        match self {
            Self::Int32 => Some(Size::Narrow),
            Self::Int64 => Some(Size::Wide),
            Self::Float | Self::Double => None,
        }
    }

    /// A number that compares as this one does, the bits of a float by what they stand for; `None` for a NaN.
    #[inline]
    fn rank(self, value: i64) -> Option<i64> {
        match self {
            Self::Int32 | Self::Int64 => Some(value),
            Self::Float => {
                let bits = value as i32;
                let rank = bits ^ (((bits >> 31) as u32) >> 1) as i32;
                (!f32::from_bits(bits as u32).is_nan()).then_some(i64::from(rank))
            }
            Self::Double => {
                let rank = value ^ (((value >> 63) as u64) >> 1) as i64;
                (!f64::from_bits(value as u64).is_nan()).then_some(rank)
            }
        }
    }

    /// The numbers of the least and the greatest rank: that function undoes itself. Zeros have a sign that readers are told to pass over
    /// (`parquet.thrift`, `ColumnOrder`): rank -1 is that of -0.0, rank 0 that of 0.0.
    fn bounds(self, [least, greatest]: [i64; 2]) -> [i64; 2] {
        let bits = |rank: i64| match self {
            Self::Float => i64::from(rank as i32 ^ (((rank as i32 >> 31) as u32) >> 1) as i32),
            _ => rank ^ (((rank >> 63) as u64) >> 1) as i64,
        };
        match self {
            Self::Int32 | Self::Int64 => [least, greatest],
            Self::Float | Self::Double => [
                bits(if least == 0 { -1 } else { least }),
                bits(if greatest == -1 { 0 } else { greatest }),
            ],
        }
    }
}

/// Numbers of a column chunk: those of the page to come, and the distinct ones of the dictionary.
pub(super) struct Numbers {
    form: Form,
    /// How values are written that are not in the dictionary.
    plainly: Encoding,
    dictionary: Option<Table<u64>>,
    /// Those of the dictionary, also of one that was given up.
    entries: Vec<i64>,
    /// Of the page to come: where its values stand in the dictionary.
    places: Vec<u32>,
    /// Of the page to come, without a dictionary.
    values: Vec<i64>,
    /// Ranks of the least and the greatest of all pages without a dictionary.
    bounds: Option<[i64; 2]>,
}

impl Numbers {
    /// `repeat`: with a dictionary. `sparing`: the others by their differences.
    pub(super) fn new(form: Form, repeat: bool, sparing: bool) -> Self {
        Self {
            form,
            plainly: match form.size() {
                Some(_) if sparing => Encoding::DELTA_BINARY_PACKED,
                _ => Encoding::PLAIN,
            },
            dictionary: repeat.then(Table::default),
            entries: Vec::new(),
            places: Vec::new(),
            values: Vec::new(),
            bounds: None,
        }
    }

    #[inline]
    pub(super) fn append(&mut self, values: impl Iterator<Item = i64>) {
        let Some(table) = &mut self.dictionary else {
            return self.values.extend(values);
        };
        let entries = &mut self.entries;
        self.places.extend(values.map(|value| {
            let next = entries.len() as u32;
            let place = table.number(value as u64, next, |_| true);
            if place == next {
                entries.push(value);
            }
            place
        }));
    }

    /// What the page to come may take.
    pub(super) fn bytes(&self) -> usize {
        2 * self.places.len() + self.values.len() * self.form.bytes()
    }

    pub(super) fn dictionary_bytes(&self) -> usize {
        self.entries.len() * self.form.bytes()
    }

    pub(super) fn memory(&self) -> usize {
        self.dictionary.as_ref().map_or(0, Table::memory)
            + 8 * (self.entries.capacity() + self.values.capacity())
            + 4 * self.places.capacity()
    }

    pub(super) fn has_dictionary(&self) -> bool {
        self.dictionary.is_some()
    }

    /// From here on without. The page to come is empty.
    pub(super) fn give_up_dictionary(&mut self) {
        self.dictionary = None;
        self.places = Vec::new();
    }

    /// Puts the page's values after what stands there.
    pub(super) fn page(&mut self, page: &mut Vec<u8>) -> Encoding {
        if self.dictionary.is_some() {
            places(&self.places, self.entries.len(), page);
            return Encoding::RLE_DICTIONARY;
        }
        self.bounds = rank_bounds(self.form, self.bounds, &self.values);
        match self.form.size() {
            Some(size) if self.plainly == Encoding::DELTA_BINARY_PACKED => {
                differences(self.values.iter().copied(), size, page);
            }
            _ => plain(self.form, &self.values, page),
        }
        self.plainly
    }

    /// The page is done.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.values.clear();
    }

    /// The dictionary's page, and how many values it has.
    pub(super) fn dictionary_page(&self, page: &mut Vec<u8>) -> usize {
        plain(self.form, &self.entries, page);
        self.entries.len()
    }

    /// Of all pages.
    pub(super) fn statistics(&self, nulls: u64, signed: bool) -> Statistics {
        let ranks = rank_bounds(self.form, self.bounds, &self.entries);
        let bounds = ranks.map(|ranks| self.form.bounds(ranks).map(|value| (value, true)));
        match self.form {
            Form::Int32 => statistics(of(bounds, |v| v as i32), nulls, signed),
            Form::Int64 => statistics(bounds, nulls, signed),
            Form::Float => statistics(of(bounds, |v| f32::from_bits(v as u32)), nulls, signed),
            Form::Double => statistics(of(bounds, |v| f64::from_bits(v as u64)), nulls, signed),
        }
    }
}

fn of<T>(bounds: Option<[(i64, bool); 2]>, value: fn(i64) -> T) -> Option<[(T, bool); 2]> {
    bounds.map(|bounds| bounds.map(|(bits, exact)| (value(bits), exact)))
}

/// `RLE_DICTIONARY`: the width of a place in a dictionary of so many values, then the places.
pub(super) fn places(places: &[u32], entries: usize, page: &mut Vec<u8>) {
    let width = width(entries.saturating_sub(1) as u32);
    page.push(width as u8);
    hybrid(places, width, page);
}

fn plain(form: Form, values: &[i64], page: &mut Vec<u8>) {
    if form.bytes() == 4 {
        page.extend(
            values
                .iter()
                .flat_map(|value| (*value as i32).to_le_bytes()),
        );
    } else {
        page.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
}

/// The ranks of the least and the greatest of these and of what was found before.
fn rank_bounds(form: Form, found: Option<[i64; 2]>, values: &[i64]) -> Option<[i64; 2]> {
    let mut bounds = found.unwrap_or([i64::MAX, i64::MIN]);
    match form {
        Form::Int32 | Form::Int64 => {
            for value in values {
                bounds = [bounds[0].min(*value), bounds[1].max(*value)];
            }
        }
        Form::Float | Form::Double => {
            for rank in values.iter().filter_map(|value| form.rank(*value)) {
                bounds = [bounds[0].min(rank), bounds[1].max(rank)];
            }
        }
    }
    (bounds[0] <= bounds[1]).then_some(bounds)
}
