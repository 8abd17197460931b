//! Column buffers of our own: plain vectors that can be cut back, and become Arrow arrays without copying.
//!
//! A column may lag behind the row count: whoever sets a value first pads with NULLs up to its row, and [`Column::finish`] pads
//! what is left. So a record costs what it holds, not what the schema has, a record that turns out to be a reject is
//! cut off again, and a column that is added in the middle of a batch is backfilled for nothing.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType as ArrowType, FieldRef};
use arrow::error::ArrowError;

use crate::record::Expected;
use crate::schema::{DataType, Field, fold_name};

/// Bits with a count of those that are not set. As long as all are set, which is what most columns come to, they are only counted.
#[derive(Default)]
pub(super) struct Bits {
    /// None before the first that is not set.
    bytes: Vec<u8>,
    len: usize,
    unset: usize,
}

impl Bits {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, bit: bool) {
        if self.bytes.is_empty() && bit {
            self.len += 1;
        } else {
            self.push_byte(bit);
        }
    }

    #[inline]
    fn push_byte(&mut self, bit: bool) {
        if self.bytes.is_empty() {
            self.fill();
        }
        let place = self.len % 8;
        if place == 0 {
            self.bytes.push(u8::from(bit));
        } else if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << place;
        }
        self.len += 1;
        self.unset += usize::from(!bit);
    }

    /// The bytes of bits that are all set.
    #[cold]
    fn fill(&mut self) {
        self.bytes.resize(self.len / 8, u8::MAX);
        if !self.len.is_multiple_of(8) {
            self.bytes.push((1 << (self.len % 8)) - 1);
        }
    }

    /// Appends `count` bits that are not set.
    fn pad(&mut self, count: usize) {
        if self.bytes.is_empty() {
            self.fill();
        }
        self.len += count;
        self.unset += count;
        self.bytes.resize(self.len.div_ceil(8), 0);
    }

    fn truncate(&mut self, len: usize) {
        if self.bytes.is_empty() {
            self.len = self.len.min(len);
            return;
        }
        while self.len > len {
            self.len -= 1;
            let mask = 1 << (self.len % 8);
            let byte = &mut self.bytes[self.len / 8];
            self.unset -= usize::from(*byte & mask == 0);
            *byte &= !mask;
        }
        self.bytes.truncate(len.div_ceil(8));
    }

    fn take(&mut self) -> BooleanBuffer {
        if self.bytes.is_empty() {
            self.fill();
        }
        let bytes = fresh(&mut self.bytes);
        let bits = BooleanBuffer::new(Buffer::from_vec(bytes), 0, self.len);
        (self.len, self.unset) = (0, 0);
        bits
    }

    fn take_nulls(&mut self) -> Option<NullBuffer> {
        if self.unset > 0 {
            return Some(NullBuffer::new(self.take()));
        }
        self.bytes.clear();
        self.len = 0;
        None
    }
}

/// Takes the vector and leaves an empty one that has room for as much again and a little more: what comes next is seldom of the same
/// length, and a vector that outgrows its room is copied into one of twice the size, half of which waits in the pool unused.
fn fresh<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len() + values.len() / 16);
    std::mem::replace(values, room)
}

/// Offsets as Arrow has them, beginning with 0.
pub(super) struct Offsets(Vec<i32>);

impl Default for Offsets {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Offsets {
    fn last(&self) -> i32 {
        self.0.last().copied().unwrap_or(0)
    }

    /// `end` must fit, see [`OFFSET_MAX`].
    #[inline]
    pub(super) fn push(&mut self, end: usize) {
        self.0.push(end as i32);
    }

    fn pad(&mut self, count: usize) {
        let last = self.last();
        self.0.resize(self.0.len() + count, last);
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len + 1);
    }

    fn take(&mut self) -> OffsetBuffer<i32> {
        let offsets = fresh(&mut self.0);
        self.0.push(0);
        OffsetBuffer::new(ScalarBuffer::from(offsets))
    }
}

/// What Arrow's 32-bit offsets reach: no column of one batch may hold more bytes or elements.
pub(super) const OFFSET_MAX: usize = i32::MAX as usize;

/// Bytes of strings.
#[derive(Default)]
pub(super) struct Text {
    pub(super) offsets: Offsets,
    pub(super) data: Vec<u8>,
    /// In characters, of `varchar` and `char`.
    pub(super) chars_max: Option<u32>,
    binary: bool,
}

pub(super) enum Values {
    Boolean(Bits),
    TinyInt(Vec<i8>),
    SmallInt(Vec<i16>),
    Int(Vec<i32>),
    BigInt(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal {
        unscaled: Vec<i128>,
        precision: u8,
        scale: u8,
    },
    Text(Text),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    Struct(Level),
    Array {
        offsets: Offsets,
        element: Box<Column>,
    },
    Map {
        offsets: Offsets,
        key: Box<Column>,
        value: Box<Column>,
    },
}

pub(super) struct Column {
    pub(super) validity: Bits,
    pub(super) values: Values,
}

impl Column {
    pub(super) fn new(data_type: &DataType) -> Self {
        let text = |chars_max, binary| {
            Values::Text(Text {
                chars_max,
                binary,
                ..Text::default()
            })
        };
        let values = match data_type {
            DataType::Boolean => Values::Boolean(Bits::default()),
            DataType::TinyInt => Values::TinyInt(Vec::new()),
            DataType::SmallInt => Values::SmallInt(Vec::new()),
            DataType::Int => Values::Int(Vec::new()),
            DataType::BigInt => Values::BigInt(Vec::new()),
            DataType::Float => Values::Float(Vec::new()),
            DataType::Double => Values::Double(Vec::new()),
            DataType::Decimal(precision, scale) => Values::Decimal {
                unscaled: Vec::new(),
                precision: *precision,
                scale: *scale,
            },
            DataType::String => text(None, false),
            DataType::Varchar(length) | DataType::Char(length) => text(Some(*length), false),
            DataType::Binary => text(None, true),
            DataType::Date => Values::Date(Vec::new()),
            DataType::Timestamp => Values::Timestamp(Vec::new()),
            DataType::Struct(fields) => {
                let mut level = Level::default();
                level.widen(fields);
                Values::Struct(level)
            }
            DataType::Array(element) => Values::Array {
                offsets: Offsets::default(),
                element: Box::new(Self::new(element)),
            },
            DataType::Map(key, value) => Values::Map {
                offsets: Offsets::default(),
                key: Box::new(Self::new(key)),
                value: Box::new(Self::new(value)),
            },
        };
        Self {
            validity: Bits::default(),
            values,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.validity.len()
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.values, Values::Text(_))
    }

    pub(super) fn push_null(&mut self) {
        self.pad(self.len() + 1);
    }

    /// Appends NULLs up to `len`.
    pub(super) fn pad(&mut self, len: usize) {
        let Some(count) = len.checked_sub(self.len()).filter(|count| *count > 0) else {
            return;
        };
        self.validity.pad(count);
        match &mut self.values {
            Values::Boolean(bits) => bits.pad(count),
            Values::TinyInt(values) => values.resize(len, 0),
            Values::SmallInt(values) => values.resize(len, 0),
            Values::Int(values) | Values::Date(values) => values.resize(len, 0),
            Values::BigInt(values) | Values::Timestamp(values) => values.resize(len, 0),
            Values::Float(values) => values.resize(len, 0.0),
            Values::Double(values) => values.resize(len, 0.0),
            Values::Decimal { unscaled, .. } => unscaled.resize(len, 0),
            Values::Text(text) => text.offsets.pad(count),
            Values::Struct(_) => {}
            Values::Array { offsets, .. } | Values::Map { offsets, .. } => offsets.pad(count),
        }
    }

    /// Cuts back to `len` rows, whatever was left half done beyond it.
    pub(super) fn truncate(&mut self, len: usize) {
        self.validity.truncate(len);
        match &mut self.values {
            Values::Boolean(bits) => bits.truncate(len),
            Values::TinyInt(values) => values.truncate(len),
            Values::SmallInt(values) => values.truncate(len),
            Values::Int(values) | Values::Date(values) => values.truncate(len),
            Values::BigInt(values) | Values::Timestamp(values) => values.truncate(len),
            Values::Float(values) => values.truncate(len),
            Values::Double(values) => values.truncate(len),
            Values::Decimal { unscaled, .. } => unscaled.truncate(len),
            Values::Text(text) => {
                text.offsets.truncate(len);
                text.data.truncate(text.offsets.last() as usize);
            }
            Values::Struct(level) => level.truncate(len),
            Values::Array { offsets, element } => {
                offsets.truncate(len);
                element.truncate(offsets.last() as usize);
            }
            Values::Map {
                offsets,
                key,
                value,
            } => {
                offsets.truncate(len);
                key.truncate(offsets.last() as usize);
                value.truncate(offsets.last() as usize);
            }
        }
    }

    /// Makes room for fields that the type has gained.
    pub(super) fn widen(&mut self, data_type: &DataType) {
        match (&mut self.values, data_type) {
            (Values::Struct(level), DataType::Struct(fields)) => level.widen(fields),
            (Values::Array { element, .. }, DataType::Array(inner)) => element.widen(inner),
            (Values::Map { value, .. }, DataType::Map(_, inner)) => value.widen(inner),
            _ => {}
        }
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        self.validity.bytes.len()
            + match &self.values {
                Values::Boolean(bits) => bits.bytes.len(),
                Values::TinyInt(values) => values.len(),
                Values::SmallInt(values) => values.len() * 2,
                Values::Int(values) | Values::Date(values) => values.len() * 4,
                Values::BigInt(values) | Values::Timestamp(values) => values.len() * 8,
                Values::Float(values) => values.len() * 4,
                Values::Double(values) => values.len() * 8,
                Values::Decimal { unscaled, .. } => unscaled.len() * 16,
                Values::Text(text) => text.offsets.0.len() * 4 + text.data.len(),
                Values::Struct(level) => level.bytes(),
                Values::Array { offsets, element } => offsets.0.len() * 4 + element.bytes(),
                Values::Map {
                    offsets,
                    key,
                    value,
                } => offsets.0.len() * 4 + key.bytes() + value.bytes(),
            }
    }

    /// The most bytes or elements that one of the offsets here reaches.
    pub(super) fn offset(&self) -> usize {
        match &self.values {
            Values::Text(text) => text.data.len(),
            Values::Struct(level) => level.offset(),
            Values::Array { element, .. } => element.len().max(element.offset()),
            Values::Map { key, value, .. } => key.len().max(key.offset()).max(value.offset()),
            _ => 0,
        }
    }

    /// Hands the values over as an array of `len` rows of this type, and is empty again.
    ///
    /// # Errors
    /// None that can happen: lengths agree by construction and text was checked to be UTF-8.
    pub(super) fn finish(
        &mut self,
        len: usize,
        data_type: &ArrowType,
    ) -> Result<ArrayRef, ArrowError> {
        self.pad(len);
        let nulls = self.validity.take_nulls();
        Ok(match &mut self.values {
            Values::Boolean(bits) => Arc::new(BooleanArray::new(bits.take(), nulls)),
            Values::TinyInt(values) => Arc::new(Int8Array::try_new(fresh(values).into(), nulls)?),
            Values::SmallInt(values) => Arc::new(Int16Array::try_new(fresh(values).into(), nulls)?),
            Values::Int(values) => Arc::new(Int32Array::try_new(fresh(values).into(), nulls)?),
            Values::BigInt(values) => Arc::new(Int64Array::try_new(fresh(values).into(), nulls)?),
            Values::Float(values) => Arc::new(Float32Array::try_new(fresh(values).into(), nulls)?),
            Values::Double(values) => Arc::new(Float64Array::try_new(fresh(values).into(), nulls)?),
            Values::Decimal {
                unscaled,
                precision,
                scale,
            } => Arc::new(
                Decimal128Array::try_new(fresh(unscaled).into(), nulls)?
                    .with_precision_and_scale(*precision, *scale as i8)?,
            ),
            Values::Date(values) => Arc::new(Date32Array::try_new(fresh(values).into(), nulls)?),
            Values::Timestamp(values) => Arc::new(
                TimestampMicrosecondArray::try_new(fresh(values).into(), nulls)?
                    .with_data_type(data_type.clone()),
            ),
            Values::Text(text) => {
                let offsets = text.offsets.take();
                let data = Buffer::from_vec(fresh(&mut text.data));
                if text.binary {
                    Arc::new(BinaryArray::try_new(offsets, data, nulls)?)
                } else {
                    strings(offsets, data, nulls)?
                }
            }
            Values::Struct(level) => {
                let ArrowType::Struct(fields) = data_type else {
                    return Err(mismatch(data_type));
                };
                let arrays = level.finish(len, fields.iter())?;
                Arc::new(StructArray::try_new_with_length(
                    fields.clone(),
                    arrays,
                    nulls,
                    len,
                )?)
            }
            Values::Array { offsets, element } => {
                let ArrowType::List(field) = data_type else {
                    return Err(mismatch(data_type));
                };
                let array = element.finish(offsets.last() as usize, field.data_type())?;
                Arc::new(ListArray::try_new(
                    Arc::clone(field),
                    offsets.take(),
                    array,
                    nulls,
                )?)
            }
            Values::Map {
                offsets,
                key,
                value,
            } => {
                let ArrowType::Map(field, sorted) = data_type else {
                    return Err(mismatch(data_type));
                };
                let ArrowType::Struct(fields) = field.data_type() else {
                    return Err(mismatch(data_type));
                };
                let len = offsets.last() as usize;
                let arrays = vec![
                    key.finish(len, fields[0].data_type())?,
                    value.finish(len, fields[1].data_type())?,
                ];
                let entries = StructArray::try_new_with_length(fields.clone(), arrays, None, len)?;
                Arc::new(MapArray::try_new(
                    Arc::clone(field),
                    offsets.take(),
                    entries,
                    nulls,
                    *sorted,
                )?)
            }
        })
    }
}

/// Texts as an array. Arrow would read each byte once more to see that it is UTF-8; debug builds let it.
fn strings(
    offsets: OffsetBuffer<i32>,
    data: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    if cfg!(debug_assertions) {
        return Ok(Arc::new(StringArray::try_new(offsets, data, nulls)?));
    }
    #[expect(
        unsafe_code,
        reason = "checking again what the decoder has checked costs 2 % of a run"
    )]
    // SAFETY: a text is appended whole: a record of a segment or a value of a path, both checked to be UTF-8, or a part of one that
    // begins and ends beside ASCII (a quote, a delimiter, a digit), or what `text::unescape` makes of such a part,
    // which refuses lone surrogates. `Column::truncate` cuts at the offsets of whole rows only, and `Offsets` never fall and end at the data's length.
    let array = unsafe { StringArray::new_unchecked(offsets, data, nulls) };
    Ok(Arc::new(array))
}

fn mismatch(data_type: &ArrowType) -> ArrowError {
    ArrowError::SchemaError(format!("a column is not of its type {data_type}"))
}

/// Equality of keys, which are short: without a call.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    let words = a_words.iter().zip(b_words);
    words.into_iter().all(|(a, b)| a == b) && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

/// No value of the row in hand.
pub(super) const NONE: u32 = u32::MAX;

/// A column among others, found by its key.
pub(super) struct Slot {
    pub(super) key: Box<[u8]>,
    pub(super) column: Column,
    /// Which value of the row in hand was set last, for a key that comes twice: a node of the tape or a CSV field.
    pub(super) last: u32,
    /// The slot whose key came after this one's last time.
    follower: u32,
    expected: Expected,
}

impl Slot {
    /// If this key in quotes and its colon stand at `at`, what follows them.
    #[inline]
    pub(super) fn after_key(&self, bytes: &[u8], at: usize) -> Option<usize> {
        self.expected.end(bytes, at)
    }

    /// Whether this is its own key, and not another that folds to it.
    pub(super) fn is_key(&self, key: &[u8]) -> bool {
        same(&self.key, key)
    }
}

/// The columns of a schema or the fields of a struct.
#[derive(Default)]
pub(super) struct Level {
    pub(super) slots: Vec<Slot>,
    lookup: HashMap<Box<[u8]>, u32>,
    /// By name, the slots that also take keys that fold to it.
    folded: HashMap<String, u32>,
    /// The slot whose key came first last time.
    first: u32,
}

impl Level {
    /// Appends slots for fields that are new and widens the others. Fields only ever grow at the end.
    pub(super) fn widen(&mut self, fields: &[Field]) {
        for (i, field) in fields.iter().enumerate() {
            if let Some(slot) = self.slots.get_mut(i) {
                slot.column.widen(&field.data_type);
                continue;
            }
            let key: Box<[u8]> = field.key.as_bytes().into();
            self.lookup.insert(key.clone(), i as u32);
            if field.folds {
                self.folded.insert(field.name.clone(), i as u32);
            }
            self.slots.push(Slot {
                key,
                column: Column::new(&field.data_type),
                last: NONE,
                follower: i as u32 + 1,
                expected: Expected::new(field.key.as_bytes()),
            });
        }
    }

    /// Which slot's key is likely to come after `before`'s (`None`: as the first one): that of the record before.
    #[inline]
    pub(super) fn guess(&self, before: Option<usize>) -> usize {
        let guess = match before {
            Some(before) => self.slots[before].follower,
            None => self.first,
        };
        guess as usize
    }

    /// The slot of a key that comes after `before`'s.
    #[inline]
    pub(super) fn find(&mut self, key: &[u8], before: Option<usize>) -> Option<usize> {
        let guess = self.guess(before);
        if self
            .slots
            .get(guess)
            .is_some_and(|slot| same(&slot.key, key))
        {
            return Some(guess);
        }
        let found = self.look_up(key)?;
        match before {
            Some(before) => self.slots[before].follower = found,
            None => self.first = found,
        }
        Some(found as usize)
    }

    fn look_up(&mut self, key: &[u8]) -> Option<u32> {
        /// Other spellings that are remembered, of the many that an input may have.
        const SPELLINGS_MAX: usize = 1000;
        if let Some(found) = self.lookup.get(key) {
            return Some(*found);
        }
        let found = self.folded(key)?;
        if self.lookup.len() < self.slots.len() + SPELLINGS_MAX {
            self.lookup.insert(key.into(), found);
        }
        Some(found)
    }

    fn folded(&self, key: &[u8]) -> Option<u32> {
        if self.folded.is_empty() {
            return None;
        }
        let name = fold_name(std::str::from_utf8(key).ok()?);
        self.folded.get(&name).copied()
    }

    /// The slot of a key, wherever it comes.
    pub(super) fn slot_of(&self, key: &[u8]) -> Option<usize> {
        let found = self.lookup.get(key).copied();
        found.or_else(|| self.folded(key)).map(|slot| slot as usize)
    }

    pub(super) fn truncate(&mut self, len: usize) {
        for slot in &mut self.slots {
            slot.column.truncate(len);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.column.bytes()).sum()
    }

    pub(super) fn offset(&self) -> usize {
        let offsets = self.slots.iter().map(|slot| slot.column.offset());
        offsets.max().unwrap_or(0)
    }

    pub(super) fn finish<'a>(
        &mut self,
        len: usize,
        fields: impl Iterator<Item = &'a FieldRef>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        self.slots
            .iter_mut()
            .zip(fields)
            .map(|(slot, field)| slot.column.finish(len, field.data_type()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Push(bool, usize),
        Pad(usize),
        Truncate(usize),
        Take,
        TakeNulls,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => (prop::bool::weighted(0.8), 0..40_usize).prop_map(|(bit, count)| Act::Push(bit, count)),
            1 => (0..20_usize).prop_map(Act::Pad),
            1 => (0..60_usize).prop_map(Act::Truncate),
            1 => Just(Act::Take),
            1 => Just(Act::TakeNulls),
        ];
        prop::collection::vec(act, 0..20)
    }

    proptest! {
        #[test]
        fn bits_are_what_a_plain_list_of_them_is(acts in acts()) {
            let (mut bits, mut plain) = (Bits::default(), Vec::new());
            for act in acts {
                match act {
                    Act::Push(bit, count) => {
                        (0..count).for_each(|_| bits.push(bit));
                        plain.extend(std::iter::repeat_n(bit, count));
                    }
                    Act::Pad(count) => {
                        bits.pad(count);
                        plain.extend(std::iter::repeat_n(false, count));
                    }
                    Act::Truncate(len) => {
                        bits.truncate(len);
                        plain.truncate(len);
                    }
                    Act::Take => {
                        prop_assert_eq!(bits.take().iter().collect::<Vec<_>>(), plain.clone());
                        plain.clear();
                    }
                    Act::TakeNulls => {
                        let nulls = bits.take_nulls();
                        let expected = plain.contains(&false).then(|| plain.clone());
                        prop_assert_eq!(nulls.map(|nulls| nulls.iter().collect::<Vec<_>>()), expected);
                        plain.clear();
                    }
                }
                prop_assert_eq!(bits.len(), plain.len());
            }
        }
    }
}
