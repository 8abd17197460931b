//! Rows of a record batch as JSON objects.
//!
//! | column | JSON |
//! |---|---|
//! | NULL | `null`: the key is always there, so that every line shows every column |
//! | boolean, integers | as they are |
//! | float, double | the shortest text that reads back equal; NaN and the infinities, which JSON lacks: `null` |
//! | decimal | a number with exactly its scale's digits |
//! | string | escaped as JSON asks, otherwise as it is |
//! | binary | base64 with padding |
//! | date, timestamp | `"2026-11-22"`, `"2026-11-22T10:00:00.123456Z"`, always six digits |
//! | array, struct, map | array, object, object with the keys' text |

use std::io::Write;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, GenericBinaryArray,
    GenericStringArray, PrimitiveArray, RecordBatch, StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use base64::Engine as _;

use super::EncodeError;

const DAY_MICROS: i64 = 86_400_000_000;

/// Writes the rows of one record batch.
pub struct RowWriter<'a> {
    /// `"name":` and the column.
    columns: Vec<(Vec<u8>, Column<'a>)>,
}

impl<'a> RowWriter<'a> {
    /// # Errors
    /// A column of a type that schemas do not have.
    pub fn new(batch: &'a RecordBatch) -> Result<Self, EncodeError> {
        let schema = batch.schema_ref();
        let columns = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, array)| Ok((key(field.name()), Column::new(array)?)))
            .collect::<Result<_, EncodeError>>()?;
        Ok(Self { columns })
    }

    /// Appends row `row` as one object, without a newline.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        write_object(&self.columns, row, out);
    }
}

fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    write_text(name, &mut key);
    key.push(b':');
    key
}

fn write_object(columns: &[(Vec<u8>, Column<'_>)], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (key, column)) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        column.write(row, out);
    }
    out.push(b'}');
}

struct Column<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>, u8),
    Date(&'a PrimitiveArray<Date32Type>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    Text(&'a GenericStringArray<i32>),
    LargeText(&'a GenericStringArray<i64>),
    TextView(&'a StringViewArray),
    Binary(&'a GenericBinaryArray<i32>),
    LargeBinary(&'a GenericBinaryArray<i64>),
    BinaryView(&'a BinaryViewArray),
    Struct(Vec<(Vec<u8>, Column<'a>)>),
    List(&'a [i32], Box<Column<'a>>),
    LargeList(&'a [i64], Box<Column<'a>>),
    Map(&'a [i32], Box<Column<'a>>, Box<Column<'a>>),
    Null,
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, EncodeError> {
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int8 => Values::Int8(array.as_primitive()),
            DataType::Int16 => Values::Int16(array.as_primitive()),
            DataType::Int32 => Values::Int32(array.as_primitive()),
            DataType::Int64 => Values::Int64(array.as_primitive()),
            DataType::Float32 => Values::Float32(array.as_primitive()),
            DataType::Float64 => Values::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => {
                Values::Decimal(array.as_primitive(), u8::try_from(*scale).unwrap_or(0))
            }
            DataType::Date32 => Values::Date(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Timestamp(array.as_primitive())
            }
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::LargeUtf8 => Values::LargeText(array.as_string()),
            DataType::Utf8View => Values::TextView(array.as_string_view()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::LargeBinary => Values::LargeBinary(array.as_binary()),
            DataType::BinaryView => Values::BinaryView(array.as_binary_view()),
            DataType::Struct(fields) => Values::Struct(
                fields
                    .iter()
                    .zip(array.as_struct().columns())
                    .map(|(field, below)| Ok((key(field.name()), Column::new(below)?)))
                    .collect::<Result<_, EncodeError>>()?,
            ),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Values::List(list.value_offsets(), Box::new(Column::new(list.values())?))
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Values::LargeList(list.value_offsets(), Box::new(Column::new(list.values())?))
            }
            DataType::Map(_, _) => {
                let map = array.as_map();
                Values::Map(
                    map.value_offsets(),
                    Box::new(Column::new(map.keys())?),
                    Box::new(Column::new(map.values())?),
                )
            }
            other => {
                return Err(EncodeError::Refused(format!(
                    "a column of type {other} has no JSON form"
                )));
            }
        };
        Ok(Self {
            nulls: array.nulls(),
            values,
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.values {
            Values::Null => out.extend_from_slice(b"null"),
            Values::Boolean(array) => {
                let text: &[u8] = if array.value(row) { b"true" } else { b"false" };
                out.extend_from_slice(text);
            }
            Values::Int8(array) => write_integer(array, row, out),
            Values::Int16(array) => write_integer(array, row, out),
            Values::Int32(array) => write_integer(array, row, out),
            Values::Int64(array) => write_integer(array, row, out),
            // Writing numbers and text to memory cannot fail.
            Values::Float32(array) => drop(serde_json::to_writer(out, &array.value(row))),
            Values::Float64(array) => drop(serde_json::to_writer(out, &array.value(row))),
            Values::Decimal(array, scale) => write_decimal(array.value(row), *scale, out),
            Values::Date(array) => {
                out.push(b'"');
                write_date(i64::from(array.value(row)), out);
                out.push(b'"');
            }
            Values::Timestamp(array) => write_timestamp(array.value(row), out),
            Values::Text(array) => write_text(array.value(row), out),
            Values::LargeText(array) => write_text(array.value(row), out),
            Values::TextView(array) => write_text(array.value(row), out),
            Values::Binary(array) => write_base64(array.value(row), out),
            Values::LargeBinary(array) => write_base64(array.value(row), out),
            Values::BinaryView(array) => write_base64(array.value(row), out),
            Values::Struct(columns) => write_object(columns, row, out),
            Values::List(offsets, below) => {
                write_list(offsets[row] as usize..offsets[row + 1] as usize, below, out);
            }
            Values::LargeList(offsets, below) => {
                write_list(offsets[row] as usize..offsets[row + 1] as usize, below, out);
            }
            Values::Map(offsets, keys, values) => {
                let entries = offsets[row] as usize..offsets[row + 1] as usize;
                out.push(b'{');
                for (at, entry) in entries.enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    keys.write_key(entry, out);
                    out.push(b':');
                    values.write(entry, out);
                }
                out.push(b'}');
            }
        }
    }

    /// A JSON key is a string whatever the map's key is.
    fn write_key(&self, row: usize, out: &mut Vec<u8>) {
        let from = out.len();
        self.write(row, out);
        if out.get(from) != Some(&b'"') {
            out.insert(from, b'"');
            out.push(b'"');
        }
    }
}

fn write_list(elements: std::ops::Range<usize>, below: &Column<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, element) in elements.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        below.write(element, out);
    }
    out.push(b']');
}

fn write_integer<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize, out: &mut Vec<u8>)
where
    T::Native: std::fmt::Display,
{
    drop(write!(out, "{}", array.value(row)));
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    drop(serde_json::to_writer(out, text));
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// An unscaled decimal with all the digits of its scale: 12345 of scale 2 is `123.45`.
pub(crate) fn write_decimal(unscaled: i128, scale: u8, out: &mut Vec<u8>) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let digits = format!(
        "{:0width$}",
        unscaled.unsigned_abs(),
        width = scale as usize + 1
    );
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    out.extend_from_slice(whole.as_bytes());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

/// Days since 1970 as `2026-11-22`.
fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    if (0..=9999).contains(&year) {
        drop(write!(out, "{year:04}-{month:02}-{day:02}"));
    } else {
        drop(write!(out, "{year:+}-{month:02}-{day:02}"));
    }
}

fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    let (days, rest) = (micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    out.push(b'"');
    write_date(days, out);
    drop(write!(
        out,
        "T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z\""
    ));
}

/// Year, month and day of a day since 1970 in the proleptic Gregorian calendar: counted in years that begin in March, so
/// that the leap day is the last of its year, within eras of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_keep_every_digit_of_their_scale() {
        for (unscaled, scale, expected) in [
            (12_345, 2, "123.45"),
            (-5, 2, "-0.05"),
            (0, 3, "0.000"),
            (7, 0, "7"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        ] {
            assert_eq!(text(|out| write_decimal(unscaled, scale, out)), expected);
        }
    }

    #[test]
    fn times_before_1970_and_after_9999_are_written_in_full() {
        for (micros, expected) in [
            (0, "\"1970-01-01T00:00:00.000000Z\""),
            (-1, "\"1969-12-31T23:59:59.999999Z\""),
            (1_795_341_600_123_456, "\"2026-11-22T10:00:00.123456Z\""),
            (951_782_400_000_000, "\"2000-02-29T00:00:00.000000Z\""),
            (253_402_300_800_000_000, "\"+10000-01-01T00:00:00.000000Z\""),
        ] {
            assert_eq!(text(|out| write_timestamp(micros, out)), expected);
        }
    }
}
