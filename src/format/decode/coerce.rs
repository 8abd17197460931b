//! Values into columns: what each type takes, and what is NULL there and rescued.
//!
//! | column | takes |
//! | --- | --- |
//! | `string`, `varchar`, `char` | strings; numbers and booleans as written; objects and arrays as their JSON text; `varchar(n)` and `char(n)` nothing longer |
//! | `binary` | as `string`, the bytes of the text in UTF-8 (base64 is not undone: nothing says that a text is base64) |
//! | `tinyint` … `bigint` | integers in range, `1.0` and `1e3` too, all of it quoted as well |
//! | `float`, `double` | numbers, quoted too, and the strings `NaN`, `Infinity`, `-Infinity`; no integer that would change, nothing that overflows |
//! | `decimal(p,s)` | numbers of at most `s` decimals and `p` digits, quoted too, read from the text |
//! | `boolean` | `true`, `false`, quoted in any case |
//! | `timestamp` | ISO 8601 date-times and dates; numbers, quoted too, by `timestamp_unit`; digits past microseconds are cut |
//! | `date` | `2026-11-22`, or a date-time at midnight without offset |
//! | `struct`, `array`, `map` | objects, arrays, objects; out of CSV their JSON text |
//!
//! An element that does not fit is NULL in its place, and the value of the whole column is rescued. Duplicate keys inside
//! a struct or a map: the last counts, and the whole is rescued. Of two keys for one given column, that which is spelled as
//! the column counts.

use std::collections::HashMap;

use jiff::civil;
use jiff::tz::TimeZone;

use super::column::{Column, Level, Values};
use crate::record::number::{Number, parse_f32, parse_f64, parse_i64};
use crate::record::{Kind, Node, Tape, text, time};
use crate::schema::{NewColumns, SchemaSettings, TimestampUnit};

/// Why a record cannot be appended as things stand.
#[derive(Debug)]
pub(super) enum Stop {
    Reject(String),
    /// It holds a key that the schema shall learn first.
    Widen,
}

/// The settings that values are read by.
pub(super) struct Rules {
    zone: Option<TimeZone>,
    utc: bool,
    unit: TimestampUnit,
    pub(super) new_columns: NewColumns,
    /// The schema was widened by the rest of this segment already, or is full: unknown keys are rescued.
    pub(super) closed: bool,
    pub(super) depth_max: u32,
}

impl Rules {
    pub(super) fn new(settings: &SchemaSettings) -> Self {
        Self {
            // The configuration has checked the name. A zone that cannot be read rescues the times that need it.
            zone: TimeZone::get(&settings.timezone).ok(),
            utc: settings.timezone == "UTC",
            unit: settings.timestamp_unit,
            new_columns: settings.new_columns,
            closed: false,
            depth_max: 0,
        }
    }

    /// What an unknown key with a value means; `Ok`: rescue it.
    pub(super) fn unknown(&self, key: &[u8]) -> Result<(), Stop> {
        match self.new_columns {
            NewColumns::Add if !self.closed => Err(Stop::Widen),
            NewColumns::Add | NewColumns::Rescue => Ok(()),
            NewColumns::Reject => Err(Stop::Reject(format!(
                "key `{}` is no column, and `new_columns` is `reject`",
                String::from_utf8_lossy(&key[..key.len().min(200)]).escape_debug()
            ))),
        }
    }

    /// Microseconds since 1970 in UTC.
    fn instant(&self, written: time::Written) -> Option<i64> {
        if let Some(offset) = written.offset_seconds {
            return Some(written.wall_us - i64::from(offset) * time::SECOND);
        }
        if self.utc {
            return Some(written.wall_us);
        }
        // The wall clock is split by reading it as if it were UTC. A time that a zone skips counts with the offset before the gap, one
        // that it repeats is the first.
        let wall: civil::DateTime = jiff::Timestamp::from_microsecond(written.wall_us)
            .ok()
            .map(|timestamp| TimeZone::UTC.to_datetime(timestamp))?;
        let instant = self.zone.as_ref()?.to_timestamp(wall).ok()?;
        Some(instant.as_microsecond())
    }

    fn timestamp_text(&self, text: &[u8]) -> Option<i64> {
        if let Some(written) = time::parse_date_time(text) {
            return self.instant(written);
        }
        if let Some(days) = time::parse_date(text) {
            return self.instant(time::Written {
                wall_us: i64::from(days) * time::DAY,
                offset_seconds: None,
            });
        }
        self.timestamp_number(text)
    }

    /// A number of seconds, milli-, micro- or nanoseconds since 1970.
    fn timestamp_number(&self, text: &[u8]) -> Option<i64> {
        let number = Number::parse(text)?;
        let micros_per_unit_log = match self.unit {
            TimestampUnit::Seconds => 6,
            TimestampUnit::Millis => 3,
            TimestampUnit::Micros => 0,
            TimestampUnit::Nanos => -3,
            TimestampUnit::Auto => match number.cut(0)?.unsigned_abs() {
                0..100_000_000_000 => 6,
                100_000_000_000..100_000_000_000_000 => 3,
                100_000_000_000_000..100_000_000_000_000_000 => 0,
                _ => -3,
            },
        };
        let micros = Number {
            exponent: number.exponent + micros_per_unit_log,
            ..number
        };
        let micros = i64::try_from(micros.cut(0)?).ok()?;
        // Years 0001 to 9999, as for texts.
        let range = -62_135_596_800 * time::SECOND..253_402_300_800 * time::SECOND;
        range.contains(&micros).then_some(micros)
    }
}

fn date_text(text: &[u8]) -> Option<i32> {
    if let Some(days) = time::parse_date(text) {
        return Some(days);
    }
    let written = time::parse_date_time(text)?;
    let midnight = written.offset_seconds.is_none() && written.wall_us % time::DAY == 0;
    if !midnight {
        return None;
    }
    i32::try_from(written.wall_us / time::DAY).ok()
}

fn integer<T: TryFrom<i64>>(text: &[u8]) -> Option<T> {
    let value = match parse_i64(text) {
        Some(value) => value,
        None => i64::try_from(Number::parse(text)?.integer()?).ok()?,
    };
    T::try_from(value).ok()
}

fn decimal(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    let value = Number::parse(text)?.unscaled(scale)?;
    let below = 10_u128.pow(u32::from(precision));
    (value.unsigned_abs() < below).then_some(value)
}

fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// A scanned record: its bytes and its tape.
#[derive(Clone, Copy)]
pub(super) struct Scanned<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) nodes: &'a [Node],
}

/// Appends one row to the column: the value, or NULL if it does not fit (`Ok(false)`: to be rescued).
///
/// # Errors
/// The record cannot be appended; the column may be left half done and is to be truncated.
pub(super) fn append(
    column: &mut Column,
    scanned: Scanned<'_>,
    at: u32,
    rules: &Rules,
) -> Result<bool, Stop> {
    let node = &scanned.nodes[at as usize];
    match (&mut column.values, node.kind) {
        (_, Kind::Null) => {
            column.push_null();
            return Ok(true);
        }
        (Values::Text(text), Kind::String) if node.escaped => {
            let start = text.data.len();
            text::unescape(node.inner(scanned.bytes), &mut text.data);
            return Ok(end_text(column, start));
        }
        (Values::Text(text), _) => {
            let start = text.data.len();
            text.data.extend_from_slice(node.inner(scanned.bytes));
            return Ok(end_text(column, start));
        }
        (Values::Struct(level), Kind::Object) => {
            let row = column.validity.len();
            let fits = append_fields(level, scanned, at, row, rules)?;
            column.validity.push(true);
            return Ok(fits);
        }
        (Values::Array { offsets, element }, Kind::Array) => {
            let mut fits = true;
            let mut child = at + 1;
            while child < node.next {
                fits &= append(element, scanned, child, rules)?;
                child = scanned.nodes[child as usize].next;
            }
            offsets.push(element.len());
            column.validity.push(true);
            return Ok(fits);
        }
        (Values::Map { .. }, Kind::Object) => return append_map(column, scanned, at, rules),
        (_, Kind::Object | Kind::Array) => {
            column.push_null();
            return Ok(false);
        }
        _ => {}
    }
    let inner = node.inner(scanned.bytes);
    Ok(match node.kind {
        Kind::String if node.escaped => {
            let mut plain = Vec::new();
            text::unescape(inner, &mut plain);
            append_scalar(column, &plain, Source::Text, rules)
        }
        Kind::String => append_scalar(column, inner, Source::Text, rules),
        Kind::True | Kind::False => append_scalar(column, inner, Source::Boolean, rules),
        _ => append_scalar(column, inner, Source::Number, rules),
    })
}

/// What a scalar's text stood in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Quotes, or CSV.
    Text,
    Number,
    Boolean,
}

/// Ends a row of a text column whose bytes begin at `start`.
#[inline]
pub(super) fn end_text(column: &mut Column, start: usize) -> bool {
    let Values::Text(text) = &mut column.values else {
        return false;
    };
    if let Some(max) = text.chars_max
        && is_longer(&text.data[start..], max)
    {
        text.data.truncate(start);
        column.push_null();
        return false;
    }
    text.offsets.push(text.data.len());
    column.validity.push(true);
    true
}

fn is_longer(text: &[u8], chars_max: u32) -> bool {
    let continues = |b: &&u8| (**b & 0xC0) != 0x80;
    text.len() > chars_max as usize && text.iter().filter(continues).count() > chars_max as usize
}

/// Appends a text (of CSV, of a path, of a map's key) to a column.
///
/// # Errors
/// As [`append`].
pub(super) fn append_text(column: &mut Column, text: &[u8], rules: &Rules) -> Result<bool, Stop> {
    match &mut column.values {
        Values::Text(values) => {
            let start = values.data.len();
            values.data.extend_from_slice(text);
            Ok(end_text(column, start))
        }
        Values::Struct(_) | Values::Array { .. } | Values::Map { .. } => {
            let mut tape = Tape::default();
            if tape.scan(text, rules.depth_max).is_err() {
                column.push_null();
                return Ok(false);
            }
            let scanned = Scanned {
                bytes: text,
                nodes: tape.nodes(),
            };
            append(column, scanned, 0, rules)
        }
        _ => Ok(append_scalar(column, text, Source::Text, rules)),
    }
}

#[inline]
pub(super) fn append_scalar(
    column: &mut Column,
    text: &[u8],
    source: Source,
    rules: &Rules,
) -> bool {
    /// Pushes what was read, or says that nothing was.
    fn put<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
        let Some(value) = value else {
            return false;
        };
        values.push(value);
        true
    }
    let quoted = source == Source::Text;
    let fits = match &mut column.values {
        Values::Boolean(bits) => {
            let value = boolean(text);
            if let Some(value) = value {
                bits.push(value);
            }
            value.is_some()
        }
        _ if source == Source::Boolean => false,
        Values::TinyInt(values) => put(values, integer(text)),
        Values::SmallInt(values) => put(values, integer(text)),
        Values::Int(values) => put(values, integer(text)),
        Values::BigInt(values) => put(values, integer(text)),
        Values::Float(values) => put(values, parse_f32(text, quoted)),
        Values::Double(values) => put(values, parse_f64(text, quoted)),
        Values::Decimal {
            unscaled,
            precision,
            scale,
        } => put(unscaled, decimal(text, *precision, *scale)),
        Values::Timestamp(values) if quoted => put(values, rules.timestamp_text(text)),
        Values::Timestamp(values) => put(values, rules.timestamp_number(text)),
        Values::Date(values) if quoted => put(values, date_text(text)),
        _ => false,
    };
    if fits {
        column.validity.push(true);
    } else {
        column.push_null();
    }
    fits
}

/// Appends an object's values to the fields of row `row`. Answers whether all fit.
fn append_fields(
    level: &mut Level,
    scanned: Scanned<'_>,
    at: u32,
    row: usize,
    rules: &Rules,
) -> Result<bool, Stop> {
    let end = scanned.nodes[at as usize].next;
    let mut fits = true;
    let mut before = None;
    let mut unescaped = Vec::new();
    let mut key = at + 1;
    while key < end {
        let node = &scanned.nodes[key as usize];
        let name = plain_key(node, scanned.bytes, &mut unescaped);
        let value = key + 1;
        key = scanned.nodes[value as usize].next;
        let Some(found) = level.find(name, before) else {
            if scanned.nodes[value as usize].kind != Kind::Null
                || rules.new_columns == NewColumns::Reject
            {
                rules.unknown(name)?;
                fits = false;
            }
            continue;
        };
        before = Some(found);
        let is_key = level.slots[found].is_key(name);
        let column = &mut level.slots[found].column;
        if column.len() > row {
            fits = false;
            if !is_key {
                continue;
            }
            column.truncate(row);
        }
        column.pad(row);
        fits &= append(column, scanned, value, rules)?;
    }
    Ok(fits)
}

/// A key as its characters are.
#[inline]
pub(super) fn plain_key<'a>(node: &Node, bytes: &'a [u8], unescaped: &'a mut Vec<u8>) -> &'a [u8] {
    if !node.escaped {
        return node.inner(bytes);
    }
    unescaped.clear();
    text::unescape(node.inner(bytes), unescaped);
    unescaped
}

fn append_map(
    column: &mut Column,
    scanned: Scanned<'_>,
    at: u32,
    rules: &Rules,
) -> Result<bool, Stop> {
    let Values::Map {
        offsets,
        key: keys,
        value: values,
    } = &mut column.values
    else {
        return Ok(false);
    };
    let end = scanned.nodes[at as usize].next;
    let mut last_of: HashMap<Vec<u8>, u32> = HashMap::new();
    let mut key = at + 1;
    while key < end {
        let mut name = Vec::new();
        text::unescape(scanned.nodes[key as usize].inner(scanned.bytes), &mut name);
        last_of.insert(name, key);
        key = scanned.nodes[key as usize + 1].next;
    }
    let mut fits = true;
    let mut key = at + 1;
    while key < end {
        let mut name = Vec::new();
        text::unescape(scanned.nodes[key as usize].inner(scanned.bytes), &mut name);
        let value = key + 1;
        let is_last = last_of.get(&name) == Some(&key);
        key = scanned.nodes[value as usize].next;
        if !is_last {
            fits = false;
            continue;
        }
        let len = keys.len();
        if append_text(keys, &name, rules)? {
            fits &= append(values, scanned, value, rules)?;
        } else {
            keys.truncate(len);
            fits = false;
        }
    }
    offsets.push(keys.len());
    column.validity.push(true);
    Ok(fits)
}
