//! Timestamps as INT96: what Hive 2 and 3 read in a TIMESTAMP column, and what the library's Arrow writer cannot write.
//!
//! A value is 8 bytes of nanoseconds since midnight and 4 bytes of the Julian day, both little-endian, in UTC. The column
//! writer below Arrow's is used, into pages kept in memory; they join the row group when it ends. Definition and
//! repetition levels, which the Arrow writer would compute, are computed here, for timestamps at any depth.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimestampMicrosecondType};
use bytes::Bytes;
use parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use parquet::column::writer::{ColumnCloseResult, ColumnWriterImpl};
use parquet::data_type::{Int96, Int96Type};
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::EncodeError;

const JULIAN_DAY_OF_1970: i64 = 2_440_588;
const DAY_MICROS: i64 = 86_400_000_000;

/// The INT96 of microseconds since 1970. `None` where the Julian day leaves 32 bits, some five million years away.
fn int96(micros: i64) -> Option<Int96> {
    let day = u32::try_from(micros.div_euclid(DAY_MICROS) + JULIAN_DAY_OF_1970).ok()?;
    let nanos = micros.rem_euclid(DAY_MICROS) as u64 * 1000;
    let mut value = Int96::new();
    value.set_data(nanos as u32, (nanos >> 32) as u32, day);
    Some(value)
}

/// How a timestamp is reached from its column's array, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// A struct's field.
    Field(usize),
    /// A list's element.
    Element,
    /// A map's key (0) or value (1).
    Entry(usize),
}

/// The leaves of a field in Parquet's order: the hops to it where it is a timestamp, else `None`.
pub(super) fn timestamp_leaves(field: &Field) -> Vec<Option<Vec<Hop>>> {
    let mut leaves = Vec::new();
    collect_leaves(field.data_type(), &mut Vec::new(), &mut leaves);
    leaves
}

fn collect_leaves(kind: &DataType, hops: &mut Vec<Hop>, leaves: &mut Vec<Option<Vec<Hop>>>) {
    let mut below = |hop: Hop, field: &Field| {
        hops.push(hop);
        collect_leaves(field.data_type(), hops, leaves);
        hops.pop();
    };
    match kind {
        DataType::Struct(fields) => {
            for (at, field) in fields.iter().enumerate() {
                below(Hop::Field(at), field);
            }
        }
        DataType::List(field) | DataType::LargeList(field) => below(Hop::Element, field),
        DataType::Map(entries, _) => {
            if let DataType::Struct(fields) = entries.data_type() {
                for (at, field) in fields.iter().enumerate() {
                    below(Hop::Entry(at), field);
                }
            }
        }
        DataType::Timestamp(_, _) => leaves.push(Some(hops.clone())),
        _ => leaves.push(None),
    }
}

/// A column chunk of INT96 in progress.
pub(super) struct Int96Column {
    writer: ColumnWriterImpl<'static, Int96Type>,
    pages: Pages,
    hops: Vec<Hop>,
    /// Values since the last page went out: an upper bound of what the encoder buffers.
    buffered: usize,
    written: u64,
}

impl Int96Column {
    pub(super) fn new(
        column: ColumnDescPtr,
        properties: WriterPropertiesPtr,
        hops: Vec<Hop>,
    ) -> Self {
        let pages = Pages::default();
        Self {
            writer: ColumnWriterImpl::new(column, properties, Box::new(pages.clone())),
            pages,
            hops,
            buffered: 0,
            written: 0,
        }
    }

    /// Adds the timestamps below `array`, which is `field`'s.
    pub(super) fn write(&mut self, field: &Field, array: &ArrayRef) -> Result<(), EncodeError> {
        let column = self.writer.get_descriptor();
        let (definition, repetition) = (column.max_def_level(), column.max_rep_level());
        let mut levels = Levels::default();
        let walk = Walk::new(field, array, &self.hops)?;
        for row in 0..array.len() {
            walk.emit(row, 0, 0, 0, &mut levels)?;
        }
        self.writer.write_batch(
            &levels.values,
            (definition > 0).then_some(levels.definition.as_slice()),
            (repetition > 0).then_some(levels.repetition.as_slice()),
        )?;
        self.buffered += levels.values.len();
        let written = self.writer.get_total_bytes_written();
        if written != self.written {
            self.written = written;
            self.buffered = 0;
        }
        Ok(())
    }

    pub(super) fn estimate(&self) -> u64 {
        self.pages.len() as u64 + 2 * self.buffered as u64
    }

    /// Pages, and what a dictionary may have grown to: 12 bytes and an index a value until it falls back at 1 MiB.
    pub(super) fn memory(&self) -> usize {
        let values = self.writer.get_total_rows_written() as usize + self.buffered;
        self.pages.len() + (values * 28).min(3 << 20) + 8 * self.buffered
    }

    /// The chunk's bytes, and where its pages lie in them.
    pub(super) fn close(self) -> Result<(Bytes, ColumnCloseResult), EncodeError> {
        let close = self.writer.close()?;
        Ok((Bytes::from(self.pages.take()), close))
    }
}

/// Pages of a column chunk, header and data one after the other, in memory.
#[derive(Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl Pages {
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PageWriter for Pages {
    fn write_page(&mut self, page: CompressedPage) -> ParquetResult<PageWriteSpec> {
        let mut encoded = TrackedWrite::new(Vec::new());
        let mut spec = SerializedPageWriter::new(&mut encoded).write_page(page)?;
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spec.offset = pages.len() as u64;
        pages.extend_from_slice(&encoded.into_inner()?);
        Ok(spec)
    }

    fn buffered_memory_size(&self) -> usize {
        self.len()
    }

    fn close(&mut self) -> ParquetResult<()> {
        Ok(())
    }
}

/// Values with the levels that place them in their records.
#[derive(Default)]
struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
    values: Vec<Int96>,
}

impl Levels {
    fn none(&mut self, definition: i16, repetition: i16) {
        self.definition.push(definition);
        self.repetition.push(repetition);
    }

    fn some(&mut self, definition: i16, repetition: i16, value: Int96) {
        self.none(definition, repetition);
        self.values.push(value);
    }
}

/// One array of the chain from a column down to its timestamps.
struct Walk<'a> {
    nullable: bool,
    array: &'a dyn Array,
    next: Next<'a>,
}

enum Next<'a> {
    Values(&'a TimestampMicrosecondArray),
    Field(Box<Walk<'a>>),
    /// Start and end of each element's run, by 32-bit or 64-bit offsets.
    Elements(Offsets<'a>, Box<Walk<'a>>),
}

enum Offsets<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
}

impl Offsets<'_> {
    fn of(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Self::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
        }
    }
}

impl<'a> Walk<'a> {
    fn new(field: &Field, array: &'a ArrayRef, hops: &[Hop]) -> Result<Self, EncodeError> {
        let unexpected = || {
            EncodeError::Refused(format!(
                "column `{}`: no timestamps in {}",
                field.name(),
                array.data_type()
            ))
        };
        let next = match (hops.split_first(), field.data_type()) {
            (None, _) => Next::Values(
                array
                    .as_primitive_opt::<TimestampMicrosecondType>()
                    .ok_or_else(unexpected)?,
            ),
            (Some((Hop::Field(at), rest)), DataType::Struct(fields)) => {
                let parent = array.as_struct_opt().ok_or_else(unexpected)?;
                let below = Walk::new(&fields[*at], parent.column(*at), rest)?;
                Next::Field(Box::new(below))
            }
            (Some((Hop::Element, rest)), DataType::List(element)) => {
                let list = array.as_list_opt::<i32>().ok_or_else(unexpected)?;
                let below = Walk::new(element, list.values(), rest)?;
                Next::Elements(Offsets::Small(list.value_offsets()), Box::new(below))
            }
            (Some((Hop::Element, rest)), DataType::LargeList(element)) => {
                let list = array.as_list_opt::<i64>().ok_or_else(unexpected)?;
                let below = Walk::new(element, list.values(), rest)?;
                Next::Elements(Offsets::Large(list.value_offsets()), Box::new(below))
            }
            (Some((Hop::Entry(at), rest)), DataType::Map(entries, _)) => {
                let map = array.as_map_opt().ok_or_else(unexpected)?;
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(unexpected());
                };
                let below = Walk::new(&fields[*at], map.entries().column(*at), rest)?;
                Next::Elements(Offsets::Small(map.value_offsets()), Box::new(below))
            }
            _ => return Err(unexpected()),
        };
        Ok(Self {
            nullable: field.is_nullable(),
            array: array.as_ref(),
            next,
        })
    }

    /// `depth`: lists above this one.
    fn emit(
        &self,
        row: usize,
        definition: i16,
        repetition: i16,
        depth: i16,
        levels: &mut Levels,
    ) -> Result<(), EncodeError> {
        if self.array.is_null(row) {
            levels.none(definition, repetition);
            return Ok(());
        }
        let definition = definition + i16::from(self.nullable);
        match &self.next {
            Next::Values(values) => {
                let micros = values.value(row);
                let value = int96(micros).ok_or_else(|| {
                    EncodeError::Refused(format!(
                        "a timestamp of {micros} microseconds does not fit INT96; `compat = \"modern\"` holds it"
                    ))
                })?;
                levels.some(definition, repetition, value);
                Ok(())
            }
            Next::Field(below) => below.emit(row, definition, repetition, depth, levels),
            Next::Elements(offsets, below) => {
                let elements = offsets.of(row);
                if elements.is_empty() {
                    levels.none(definition, repetition);
                }
                for (at, element) in elements.enumerate() {
                    let repetition = if at == 0 { repetition } else { depth + 1 };
                    below.emit(element, definition + 1, repetition, depth + 1, levels)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int96_counts_nanoseconds_of_the_julian_day_before_and_after_1970() {
        let parts = |micros| int96(micros).map(|v| v.data().to_vec());
        assert_eq!(parts(0), Some(vec![0, 0, 2_440_588]));
        let last = 86_399_999_999_000_u64;
        assert_eq!(
            parts(-1),
            Some(vec![last as u32, (last >> 32) as u32, 2_440_587])
        );
        assert!(parts(i64::MIN).is_none());
    }
}
