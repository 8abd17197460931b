//! Single values for paths, out of Arrow's columns, and times as text.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericStringArray, PrimitiveArray, RecordBatch,
    StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};

use crate::record::time;
use crate::schema::TimestampUnit;

/// A value as far as paths care.
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Decimal(i128, u8),
    Text(&'a str),
    /// Since 1970, UTC.
    Micros(i64),
    Days(i32),
}

/// A column, or a field of a struct, with the nulls of all that is above it.
pub(super) struct Column<'a> {
    nulls: Option<NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Bool(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float(&'a PrimitiveArray<Float32Type>),
    Double(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>, u8),
    Text(&'a GenericStringArray<i32>),
    LargeText(&'a GenericStringArray<i64>),
    TextView(&'a StringViewArray),
    Micros(&'a PrimitiveArray<TimestampMicrosecondType>),
    Days(&'a PrimitiveArray<Date32Type>),
    /// A type that has no place in a path.
    None,
}

impl<'a> Column<'a> {
    /// The column called `name`, or else field `b` of struct `a` where it is `a.b`.
    pub(super) fn find(batch: &'a RecordBatch, name: &str) -> Option<Self> {
        let find = |name: &str| batch.column_by_name(name);
        descend(name, &find, None)
    }

    fn new(array: &'a ArrayRef, above: Option<NullBuffer>) -> Self {
        let values = match array.data_type() {
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Int8 => Values::Int8(array.as_primitive()),
            DataType::Int16 => Values::Int16(array.as_primitive()),
            DataType::Int32 => Values::Int32(array.as_primitive()),
            DataType::Int64 => Values::Int64(array.as_primitive()),
            DataType::Float32 => Values::Float(array.as_primitive()),
            DataType::Float64 => Values::Double(array.as_primitive()),
            DataType::Decimal128(_, scale) => {
                Values::Decimal(array.as_primitive(), u8::try_from(*scale).unwrap_or(0))
            }
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::LargeUtf8 => Values::LargeText(array.as_string()),
            DataType::Utf8View => Values::TextView(array.as_string_view()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Values::Micros(array.as_primitive()),
            DataType::Date32 => Values::Days(array.as_primitive()),
            _ => Values::None,
        };
        Self {
            nulls: NullBuffer::union(above.as_ref(), array.nulls()),
            values,
        }
    }

    pub(super) fn get(&self, row: usize) -> Scalar<'_> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Scalar::Null;
        }
        match &self.values {
            Values::Bool(array) => Scalar::Bool(array.value(row)),
            Values::Int8(array) => Scalar::Int(array.value(row).into()),
            Values::Int16(array) => Scalar::Int(array.value(row).into()),
            Values::Int32(array) => Scalar::Int(array.value(row).into()),
            Values::Int64(array) => Scalar::Int(array.value(row)),
            Values::Float(array) => Scalar::Double(array.value(row).into()),
            Values::Double(array) => Scalar::Double(array.value(row)),
            Values::Decimal(array, scale) => Scalar::Decimal(array.value(row), *scale),
            Values::Text(array) => Scalar::Text(array.value(row)),
            Values::LargeText(array) => Scalar::Text(array.value(row)),
            Values::TextView(array) => Scalar::Text(array.value(row)),
            Values::Micros(array) => Scalar::Micros(array.value(row)),
            Values::Days(array) => Scalar::Days(array.value(row)),
            Values::None => Scalar::Null,
        }
    }
}

fn descend<'a>(
    name: &str,
    find: &dyn Fn(&str) -> Option<&'a ArrayRef>,
    above: Option<NullBuffer>,
) -> Option<Column<'a>> {
    if let Some(array) = find(name) {
        return Some(Column::new(array, above));
    }
    for (at, _) in name.match_indices('.') {
        let parent = find(&name[..at]).and_then(|array| array.as_struct_opt());
        if let Some(parent) = parent {
            let below = |name: &str| parent.column_by_name(name);
            let nulls = NullBuffer::union(above.as_ref(), parent.nulls());
            if let Some(column) = descend(&name[at + 1..], &below, nulls) {
                return Some(column);
            }
        }
    }
    None
}

/// How finely a time format tells times apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Granularity {
    /// Days and hours: every zone of today is a multiple of a quarter of an hour from UTC, and changes at one.
    Quarter,
    Minute,
    Second,
    Micro,
}

const SECOND: i64 = 1_000_000;

impl Granularity {
    /// Equal for times of equal text. Zones of long ago were off by odd seconds, so such times stand for themselves.
    pub(super) fn bucket(self, micros: i64) -> i64 {
        const REGULAR_FROM: i64 = 3 * 366 * 86_400 * SECOND;
        let size = match self {
            Self::Quarter => 900 * SECOND,
            Self::Minute => 60 * SECOND,
            Self::Second => SECOND,
            Self::Micro => return micros,
        };
        if micros < REGULAR_FROM {
            return micros;
        }
        micros - micros.rem_euclid(size)
    }
}

/// Only directives that are known to be coarse count as coarse.
pub(super) fn granularity(format: Option<&str>) -> Granularity {
    let Some(format) = format else {
        return Granularity::Micro;
    };
    let mut finest = Granularity::Quarter;
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            continue;
        }
        let mut directive = rest.next();
        while matches!(directive, Some('-' | '_' | '0' | '^' | '#' | '1'..='9')) {
            directive = rest.next();
        }
        match directive {
            Some(
                'Y' | 'y' | 'C' | 'G' | 'g' | 'm' | 'b' | 'B' | 'h' | 'd' | 'e' | 'j' | 'a' | 'A'
                | 'u' | 'w' | 'U' | 'V' | 'W' | 'F' | 'D' | 'H' | 'I' | 'k' | 'l' | 'p' | 'P' | '%'
                | 'n' | 't' | 'q',
            ) => {}
            Some('M' | 'R') => finest = finest.max(Granularity::Minute),
            Some('S' | 'T' | 's') => finest = Granularity::Second,
            _ => return Granularity::Micro,
        }
    }
    finest
}

/// A time as text in `zone`; without a format as Hive writes it, `2026-11-22 10:00:00.5`. `None` where it lies outside the
/// calendar's years, -9999 to 9999, or has no such text.
pub(super) fn format_time(micros: i64, format: Option<&str>, zone: &TimeZone) -> Option<String> {
    let zoned = Timestamp::from_microsecond(micros)
        .ok()?
        .to_zoned(zone.clone());
    strtime::format(format.unwrap_or("%Y-%m-%d %H:%M:%S%.f"), &zoned).ok()
}

/// A date, which is in no zone.
pub(super) fn format_date(days: i32, format: Option<&str>) -> Option<String> {
    let date = civil::date(1970, 1, 1)
        .checked_add(SignedDuration::from_hours(i64::from(days) * 24))
        .ok()?;
    let midnight = date.to_zoned(TimeZone::UTC).ok()?;
    strtime::format(format.unwrap_or("%Y-%m-%d"), &midnight).ok()
}

pub(super) fn decimal(unscaled: i128, scale: u8) -> String {
    let mut out = Vec::new();
    crate::format::encode::write_decimal(unscaled, scale, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// An ISO 8601 date or date-time; `zone` for one without an offset.
pub(super) fn parse_time(text: &str, zone: &TimeZone) -> Option<i64> {
    // As nearly all are written; the last year is not all of it within the calendar that reads the rest.
    const LAST_YEAR: i64 = 253_370_764_800 * SECOND;
    if let Some(micros) = time::parse_plain(text.as_bytes())
        && micros < LAST_YEAR
    {
        return Some(micros);
    }
    parse_any_time(text, zone)
}

fn parse_any_time(text: &str, zone: &TimeZone) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    let civil = text.parse::<civil::DateTime>().ok()?;
    let zoned = civil.to_zoned(zone.clone()).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

/// A number that counts since 1970. By magnitude: up to eleven digits are seconds, and each unit a thousand times more.
pub(super) fn number_to_micros(number: i64, unit: TimestampUnit) -> Option<i64> {
    match unit {
        TimestampUnit::Seconds => number.checked_mul(1_000_000),
        TimestampUnit::Millis => number.checked_mul(1000),
        TimestampUnit::Micros => Some(number),
        TimestampUnit::Nanos => Some(number.div_euclid(1000)),
        TimestampUnit::Auto => {
            let unit = match number.unsigned_abs() {
                0..100_000_000_000 => TimestampUnit::Seconds,
                100_000_000_000..100_000_000_000_000 => TimestampUnit::Millis,
                100_000_000_000_000..100_000_000_000_000_000 => TimestampUnit::Micros,
                _ => TimestampUnit::Nanos,
            };
            number_to_micros(number, unit)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_read_alike_in_their_usual_form_and_in_any(
            text in prop_oneof![
                "[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,9})?Z",
                "(0000|0001|1582|1969|1970|2000|2100|9998|9999)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-4]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,7})?Z",
                "20[0-9]{2}-(0[1-9]|1[0-2])-[0-2][0-9][Tt ][01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,7})?(Z|z|[+-]0[0-9]:?00| )?",
            ],
        ) {
            let zone = TimeZone::get("America/St_Johns").unwrap();
            prop_assert_eq!(parse_time(&text, &zone), parse_any_time(&text, &zone), "{}", text);
        }
    }

    #[test]
    fn formats_are_as_fine_as_their_finest_directive() {
        for (format, expected) in [
            ("%Y-%m-%d", Granularity::Quarter),
            ("%F %-H", Granularity::Quarter),
            ("%H%M", Granularity::Minute),
            ("%S%M", Granularity::Second),
            ("%T", Granularity::Second),
            ("%f", Granularity::Micro),
            ("%Y%z", Granularity::Micro),
        ] {
            assert_eq!(granularity(Some(format)), expected, "{format}");
        }
    }

    #[test]
    fn times_of_one_bucket_have_one_text_in_every_zone_and_over_its_changes() {
        let zones = [
            "UTC",
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
            "America/St_Johns",
            "Africa/Casablanca",
        ];
        for zone in zones.map(|zone| TimeZone::get(zone).unwrap()) {
            // Two years from 2025 in steps of seven minutes and a bit.
            let mut micros: i64 = 1_735_689_600_000_000;
            while micros < 1_798_761_600_000_000 {
                let bucket = Granularity::Quarter.bucket(micros);
                let text = |micros| format_time(micros, Some("%Y-%m-%d %H"), &zone);
                assert_eq!(text(bucket), text(micros), "{micros}");
                micros += 427 * SECOND;
            }
        }
    }

    #[test]
    fn numbers_are_times_by_their_magnitude() {
        for number in [
            1_795_341_600,
            1_795_341_600_000,
            1_795_341_600_000_000,
            1_795_341_600_000_000_000,
        ] {
            assert_eq!(
                number_to_micros(number, TimestampUnit::Auto),
                Some(1_795_341_600_000_000)
            );
        }
    }
}
