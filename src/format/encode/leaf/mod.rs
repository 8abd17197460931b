//! Column chunks: the values of one leaf column of a row group, encoded and compressed page by page.
//!
//! ```text
//! array ─► levels   which records, which rows of the leaf's array
//!       └► values   places in a dictionary ─┐
//!                   or plain, or differences ┴► a page ─► pressed ─► header and page, in memory
//! ```
//!
//! The library's own column writers are not used: they cannot write INT96 from Arrow, look each value up and compare it in ways
//! that cost a fifth of a run, and keep a compressor each. What they would write and what is written here is the same but for where
//! pages end and the counts of levels in the footer, which nobody reads and nobody writes here; what every reader makes of it is tested with the library's reader and with those of other systems.

mod bounds;
mod dictionary;
mod levels;
mod numbers;
mod packing;
mod press;
#[cfg(test)]
mod tests;
mod texts;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType,
};
use parquet::basic::{
    Compression, Encoding, EncodingMask, LogicalType, PageType, Type as Physical,
};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use self::bounds::{Order, statistics};
use self::levels::{LevelRun, Levels, Walk};
use self::numbers::{Form, Numbers};
use self::press::Pages;
use self::texts::{Buffer, Texts};
use super::EncodeError;

pub(super) use self::levels::{Hop, ways};
pub(super) use self::press::{Press, Presses, compression};

/// Bytes of a data page before it is compressed. Java's own, 1 MiB, holds 60 MiB more of 17 columns in two lanes, most of which is
/// out of the processor's cache when it is compressed; smaller pages cost 0.7 % in size, still smaller ones more.
const PAGE_BYTES: usize = 256 << 10;
/// Records of a data page, as Java's writer has them: who wants one record reads no more than these.
const PAGE_ROWS: usize = 20_000;
/// Bytes of a dictionary's page at which it is given up, as in Java's writer.
pub(super) const DICTIONARY_BYTES: usize = 1 << 20;

const JULIAN_DAY_OF_1970: i64 = 2_440_588;
const DAY_MICROS: i64 = 86_400_000_000;

/// A column chunk in progress.
pub(super) struct Leaf {
    column: ColumnDescPtr,
    hops: Vec<Hop>,
    values: Values,
    definition: LevelRun,
    repetition: LevelRun,
    /// Records in the page to come.
    page_rows: usize,
    /// Of the chunk: levels, and those of them that have no value.
    levels: usize,
    nulls: usize,
    pages: Pages,
}

enum Values {
    Numbers(Numbers),
    Texts(Box<Texts>),
    Flags { bits: Vec<bool>, seen: [bool; 2] },
}

impl Leaf {
    /// `repeat`: with a dictionary, as long as it is small enough. `sparing`: other values by their differences, where there is
    /// such an encoding.
    pub(super) fn new(
        column: ColumnDescPtr,
        hops: Vec<Hop>,
        repeat: bool,
        sparing: bool,
    ) -> Result<Self, EncodeError> {
        let numbers = |form| Values::Numbers(Numbers::new(form, repeat, sparing));
        let texts =
            |length, order| Values::Texts(Box::new(Texts::new(length, order, repeat, sparing)));
        let values = match column.physical_type() {
            Physical::BOOLEAN => Values::Flags {
                bits: Vec::new(),
                seen: [false; 2],
            },
            Physical::INT32 => numbers(Form::Int32),
            Physical::INT64 => numbers(Form::Int64),
            Physical::FLOAT => numbers(Form::Float),
            Physical::DOUBLE => numbers(Form::Double),
            Physical::INT96 => texts(Some(12), Order::None),
            Physical::BYTE_ARRAY => texts(None, Order::Bytes),
            Physical::FIXED_LEN_BYTE_ARRAY => {
                let length = usize::try_from(column.type_length());
                let length = length.map_err(|e| EncodeError::Refused(e.to_string()))?;
                texts(Some(length), Order::Signed)
            }
        };
        Ok(Self {
            definition: LevelRun::new(column.max_def_level() as u16),
            repetition: LevelRun::new(0),
            column,
            hops,
            values,
            page_rows: 0,
            levels: 0,
            nulls: 0,
            pages: Pages::default(),
        })
    }

    /// Adds the values below `array`, which is the column's, of `field`'s type.
    pub(super) fn write(
        &mut self,
        field: &Field,
        array: &ArrayRef,
        press: &mut Press,
    ) -> Result<(), EncodeError> {
        let walk = Walk::new(field, array, &self.hops)?;
        let values = Source::of(walk.leaf(), &self.column)?;
        // The leaf of a list may have values of more records than these.
        let each = values.bytes() / walk.leaf().len().max(1);
        if walk.is_whole() {
            self.write_whole(values, array.len(), each, press)
        } else {
            let levels = walk.levels(array.len());
            let each = each * levels.rows.len() / array.len().max(1);
            self.write_levels(values, &levels, each, press)
        }
    }

    /// `each`: bytes of a record's values, on average.
    fn write_whole(
        &mut self,
        values: Source<'_>,
        rows: usize,
        each: usize,
        press: &mut Press,
    ) -> Result<(), EncodeError> {
        let mut from = 0;
        while from < rows {
            let end = rows.min(from + self.room(each));
            self.values.append(values, from..end)?;
            self.definition.usual(end - from);
            self.repetition.usual(end - from);
            self.page_rows += end - from;
            from = end;
            self.end_full_page(press)?;
        }
        Ok(())
    }

    fn write_levels(
        &mut self,
        values: Source<'_>,
        levels: &Levels,
        each: usize,
        press: &mut Press,
    ) -> Result<(), EncodeError> {
        let there = self.column.max_def_level() as u16;
        let (mut at, mut value) = (0, 0);
        while at < levels.definition.len() {
            // A record's values are all in one page.
            let (mut end, mut room) = (at, self.room(each));
            while end < levels.repetition.len() {
                if levels.repetition[end] == 0 {
                    if room == 0 {
                        break;
                    }
                    room -= 1;
                    self.page_rows += 1;
                }
                end += 1;
            }
            let definition = &levels.definition[at..end];
            let count = definition.iter().filter(|level| **level == there).count();
            let rows = &levels.rows[value..value + count];
            self.values.append(values, rows.iter().copied())?;
            self.definition.extend(definition);
            self.repetition.extend(&levels.repetition[at..end]);
            self.nulls += definition.len() - count;
            (at, value) = (end, value + count);
            self.end_full_page(press)?;
        }
        Ok(())
    }

    /// How many more records of so many bytes go into this page; one at least.
    fn room(&self, each: usize) -> usize {
        let bytes = PAGE_BYTES.saturating_sub(self.values.bytes());
        (bytes / each.max(1)).clamp(1, PAGE_ROWS - self.page_rows)
    }

    fn end_full_page(&mut self, press: &mut Press) -> Result<(), EncodeError> {
        let full =
            self.values.dictionary_bytes() >= DICTIONARY_BYTES && self.values.has_dictionary();
        if full || self.page_rows >= PAGE_ROWS || self.values.bytes() >= PAGE_BYTES {
            self.end_page(press)?;
        }
        if full {
            self.values.give_up_dictionary();
        }
        Ok(())
    }

    fn end_page(&mut self, press: &mut Press) -> Result<(), EncodeError> {
        let head = &mut press.page;
        head.clear();
        if self.column.max_rep_level() > 0 {
            self.repetition
                .encode(self.column.max_rep_level() as u16, head);
        }
        if self.column.max_def_level() > 0 {
            self.definition
                .encode(self.column.max_def_level() as u16, head);
        }
        let count = self.definition.len();
        let (encoding, page) = self.values.page(head);
        self.pages
            .add_data(page, count, encoding, &mut press.squeeze)?;
        self.values.clear();
        self.definition.clear();
        self.repetition.clear();
        self.levels += count;
        self.page_rows = 0;
        Ok(())
    }

    /// What the chunk comes to, errs to the high side.
    pub(super) fn estimate(&self) -> u64 {
        (self.pages.compressed + self.values.bytes() + self.values.dictionary_bytes()) as u64
    }

    pub(super) fn memory(&self) -> usize {
        self.pages.compressed
            + self.values.memory()
            + self.definition.memory()
            + self.repetition.memory()
    }

    /// The chunk's pages as they stand in the file, and what the footer says of it when it begins at `offset` there.
    pub(super) fn close(
        mut self,
        codec: Compression,
        offset: u64,
        press: &mut Press,
    ) -> Result<(Pages, ColumnChunkMetaData), EncodeError> {
        if self.definition.len() > 0 {
            self.end_page(press)?;
        }
        // Readers want one of a chunk that has nothing but NULLs, too.
        let mut encodings = self.pages.encodings.iter();
        if encodings.any(|(encoding, _)| *encoding == Encoding::RLE_DICTIONARY) {
            let room = &mut press.page;
            room.clear();
            let (page, count) = self.values.dictionary_page(room);
            self.pages.add_dictionary(page, count, &mut press.squeeze)?;
        }
        let metadata = self.metadata(codec, offset as i64)?;
        Ok((self.pages, metadata))
    }

    fn metadata(
        &mut self,
        codec: Compression,
        offset: i64,
    ) -> Result<ColumnChunkMetaData, EncodeError> {
        let dictionary = self.pages.dictionary_len();
        let stats = |page_type, encoding, count| PageEncodingStats {
            page_type,
            encoding,
            count,
        };
        let pages: Vec<PageEncodingStats> = dictionary
            .map(|_| stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1))
            .into_iter()
            .chain(
                self.pages
                    .encodings
                    .iter()
                    .map(|(encoding, count)| stats(PageType::DATA_PAGE, *encoding, *count)),
            )
            .collect();
        let encodings = pages.iter().map(|page| page.encoding);
        let encodings: Vec<Encoding> = encodings.chain([Encoding::RLE]).collect();
        let mut builder = ColumnChunkMetaData::builder(self.column.clone())
            .set_compression(codec)
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(pages)
            .set_total_compressed_size(self.pages.compressed as i64)
            .set_total_uncompressed_size(self.pages.uncompressed as i64)
            .set_num_values(self.levels as i64)
            .set_data_page_offset(offset + dictionary.unwrap_or(0) as i64)
            .set_dictionary_page_offset(dictionary.map(|_| offset));
        if let Some(statistics) = self.statistics() {
            builder = builder.set_statistics(statistics);
        }
        Ok(builder.build()?)
    }

    fn statistics(&mut self) -> Option<Statistics> {
        let (nulls, signed) = (self.nulls as u64, self.column.sort_order().is_signed());
        let utf8 = matches!(self.column.logical_type_ref(), Some(LogicalType::String));
        match &mut self.values {
            Values::Numbers(numbers) => Some(numbers.statistics(nulls, signed)),
            Values::Flags { seen, .. } => {
                let bounds = match *seen {
                    [false, false] => None,
                    [no, yes] => Some([(!no, true), (yes, true)]),
                };
                Some(statistics(bounds, nulls, signed))
            }
            Values::Texts(texts) => match self.column.physical_type() {
                Physical::BYTE_ARRAY => {
                    let kept = of::<ByteArray>(texts.kept(utf8));
                    Some(statistics(kept, nulls, signed))
                }
                Physical::FIXED_LEN_BYTE_ARRAY => {
                    let kept = of::<FixedLenByteArray>(texts.kept(utf8));
                    Some(statistics(kept, nulls, signed))
                }
                // The order of INT96 is not defined, and readers ignore its statistics.
                _ => None,
            },
        }
    }
}

/// As the type of the column's values.
fn of<T: From<Vec<u8>>>(kept: Option<[(Vec<u8>, bool); 2]>) -> Option<[(T, bool); 2]> {
    kept.map(|kept| kept.map(|(value, exact)| (value.into(), exact)))
}

impl Values {
    fn append(
        &mut self,
        source: Source<'_>,
        rows: impl Iterator<Item = usize>,
    ) -> Result<(), EncodeError> {
        match (self, source) {
            (Self::Numbers(numbers), Source::Int8(values)) => {
                numbers.append(rows.map(|row| values[row].into()));
            }
            (Self::Numbers(numbers), Source::Int16(values)) => {
                numbers.append(rows.map(|row| values[row].into()));
            }
            (Self::Numbers(numbers), Source::Int32(values)) => {
                numbers.append(rows.map(|row| values[row].into()));
            }
            (Self::Numbers(numbers), Source::Int64(values)) => {
                numbers.append(rows.map(|row| values[row]));
            }
            (Self::Numbers(numbers), Source::Float(values)) => {
                numbers.append(rows.map(|row| (values[row].to_bits() as i32).into()));
            }
            (Self::Numbers(numbers), Source::Double(values)) => {
                numbers.append(rows.map(|row| values[row].to_bits() as i64));
            }
            (Self::Numbers(numbers), Source::Decimal(values)) => {
                numbers.append(rows.map(|row| values[row] as i64));
            }
            (Self::Texts(texts), Source::Texts(values)) => texts.append(values, rows),
            (Self::Texts(texts), Source::Decimal(values)) => {
                let start = size_of::<i128>() - texts.length();
                for row in rows {
                    texts.append_one(&values[row].to_be_bytes()[start..]);
                }
            }
            (Self::Texts(texts), Source::Int64(values)) => {
                for row in rows {
                    texts.append_one(&int96(values[row])?);
                }
            }
            (Self::Flags { bits, seen }, Source::Flags(values)) => {
                for flag in rows.map(|row| values.value(row)) {
                    seen[usize::from(flag)] = true;
                    bits.push(flag);
                }
            }
            // `Source::of` lets none of these through.
            _ => {
                return Err(EncodeError::Refused(
                    "values of another type than the column's (a bug)".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// What the page to come may take.
    fn bytes(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.bytes(),
            Self::Texts(texts) => texts.bytes(),
            Self::Flags { bits, .. } => bits.len().div_ceil(8),
        }
    }

    fn dictionary_bytes(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.dictionary_bytes(),
            Self::Texts(texts) => texts.dictionary_bytes(),
            Self::Flags { .. } => 0,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.memory(),
            Self::Texts(texts) => texts.memory(),
            Self::Flags { bits, .. } => bits.capacity(),
        }
    }

    fn has_dictionary(&self) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.has_dictionary(),
            Self::Texts(texts) => texts.has_dictionary(),
            Self::Flags { .. } => false,
        }
    }

    fn give_up_dictionary(&mut self) {
        match self {
            Self::Numbers(numbers) => numbers.give_up_dictionary(),
            Self::Texts(texts) => texts.give_up_dictionary(),
            Self::Flags { .. } => {}
        }
    }

    /// The whole page, which begins with what `head` holds.
    fn page<'a>(&'a mut self, head: &'a mut Vec<u8>) -> (Encoding, &'a [u8]) {
        match self {
            Self::Texts(texts) => texts.page(head),
            Self::Numbers(numbers) => (numbers.page(head), head),
            Self::Flags { bits, .. } => {
                let byte = |bits: &[bool]| {
                    let bits = bits.iter().enumerate();
                    bits.fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at)
                };
                head.extend(bits.chunks(8).map(byte));
                (Encoding::PLAIN, head)
            }
        }
    }

    /// The page is done.
    fn clear(&mut self) {
        match self {
            Self::Texts(texts) => texts.clear(),
            Self::Numbers(numbers) => numbers.clear(),
            Self::Flags { bits, .. } => bits.clear(),
        }
    }

    /// The dictionary's page, and how many values it has.
    fn dictionary_page<'a>(&'a self, room: &'a mut Vec<u8>) -> (&'a [u8], usize) {
        match self {
            Self::Texts(texts) => texts.dictionary_page(),
            Self::Numbers(numbers) => {
                let count = numbers.dictionary_page(room);
                (room, count)
            }
            Self::Flags { .. } => (&[], 0),
        }
    }
}

/// The values of a leaf's array.
#[derive(Clone, Copy)]
enum Source<'a> {
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float(&'a [f32]),
    Double(&'a [f64]),
    Decimal(&'a [i128]),
    Texts(Buffer<'a>),
    Flags(&'a BooleanBuffer),
}

impl<'a> Source<'a> {
    fn of(array: &'a ArrayRef, column: &ColumnDescPtr) -> Result<Self, EncodeError> {
        let physical = column.physical_type();
        let source = match array.data_type() {
            DataType::Boolean => Self::Flags(array.as_boolean().values()),
            DataType::Int8 => Self::Int8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Self::Int16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Self::Int32(array.as_primitive::<Int32Type>().values()),
            DataType::Date32 => Self::Int32(array.as_primitive::<Date32Type>().values()),
            DataType::Int64 => Self::Int64(array.as_primitive::<Int64Type>().values()),
            DataType::Float32 => Self::Float(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Self::Double(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal128(_, _) => {
                Self::Decimal(array.as_primitive::<Decimal128Type>().values())
            }
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                Self::Texts(Buffer {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                })
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Self::Texts(Buffer {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                })
            }
            _ => array
                .as_primitive_opt::<TimestampMicrosecondType>()
                .map(|array| Self::Int64(array.values()))
                .ok_or_else(|| refused(array, column))?,
        };
        let fits = match source {
            Self::Flags(_) => physical == Physical::BOOLEAN,
            Self::Int8(_) | Self::Int16(_) | Self::Int32(_) => physical == Physical::INT32,
            Self::Int64(_) => matches!(physical, Physical::INT64 | Physical::INT96),
            Self::Float(_) => physical == Physical::FLOAT,
            Self::Double(_) => physical == Physical::DOUBLE,
            Self::Decimal(_) => matches!(
                physical,
                Physical::INT32 | Physical::INT64 | Physical::FIXED_LEN_BYTE_ARRAY
            ),
            Self::Texts(_) => physical == Physical::BYTE_ARRAY,
        };
        if fits {
            Ok(source)
        } else {
            Err(refused(array, column))
        }
    }

    /// About what all of them take.
    fn bytes(self) -> usize {
        match self {
            Self::Int8(values) => 4 * values.len(),
            Self::Int16(values) => 4 * values.len(),
            Self::Int32(values) => 4 * values.len(),
            Self::Int64(values) => 8 * values.len(),
            Self::Float(values) => 4 * values.len(),
            Self::Double(values) => 8 * values.len(),
            Self::Decimal(values) => 16 * values.len(),
            Self::Flags(values) => values.len() / 8,
            Self::Texts(Buffer { offsets, .. }) => match offsets {
                [first, .., last] => (last - first) as usize + 2 * offsets.len(),
                _ => 0,
            },
        }
    }
}

fn refused(array: &ArrayRef, column: &ColumnDescPtr) -> EncodeError {
    EncodeError::Refused(format!(
        "column `{}`: an array of {} for {}",
        column.path().string(),
        array.data_type(),
        column.physical_type()
    ))
}

/// The INT96 of microseconds since 1970, which Hive 2 and 3 read in a TIMESTAMP column: 8 bytes of nanoseconds since midnight and 4
/// of the Julian day, both little-endian, in UTC.
///
/// # Errors
/// The Julian day leaves 32 bits, some five million years away.
fn int96(micros: i64) -> Result<[u8; 12], EncodeError> {
    let day = micros.div_euclid(DAY_MICROS) + JULIAN_DAY_OF_1970;
    let day = u32::try_from(day).map_err(|_| {
        EncodeError::Refused(format!(
            "a timestamp of {micros} microseconds does not fit INT96; `compat = \"modern\"` holds it"
        ))
    })?;
    let nanos = micros.rem_euclid(DAY_MICROS) as u64 * 1000;
    let mut value = [0; 12];
    value[..8].copy_from_slice(&nanos.to_le_bytes());
    value[8..].copy_from_slice(&day.to_le_bytes());
    Ok(value)
}
