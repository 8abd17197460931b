//! Which partition each row belongs to.
//!
//! ```text
//! row ─► per value of the template: an id of its escaped text ─► tuple of ids ─► partition
//! ```
//!
//! Values repeat from row to row, so the last one and its id are remembered, and times are looked up by the quarter of
//! an hour, minute or second that their format can tell apart: text is made once per value, not per row. The clock is
//! never read here, nor anything but the row, its file and the batch's time: a row encoded again goes where it went.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::RecordBatch;
use jiff::tz::TimeZone;

use super::template::{
    BATCH, COMPONENT_BYTES_MAX, DEFAULT_PARTITION, FILE, INGESTED_AT, PATH_BYTES_MAX, PathTemplate,
    Piece, VALUE_BYTES_MAX, ValuePiece, escape_into,
};
use super::value::{Column, Granularity, Scalar, format_time, granularity, parse_time};
use crate::schema::TimestampUnit;

/// What the rows of one decoded batch have beside their columns.
pub(super) struct RowFiles<'a> {
    /// Segment and ordinal of each row.
    pub(super) origins: &'a [(u32, u32)],
    /// Escaped path of the spooled file that a segment is of.
    pub(super) file: &'a dyn Fn(u32) -> String,
}

/// Partition of a row, or why it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assigned {
    Partition(u32),
    Reject(Arc<str>),
}

/// Times as the pipeline reads them where a path needs them and the column holds none.
#[derive(Clone)]
pub(super) struct Reading {
    /// Of texts without an offset.
    pub(super) zone: TimeZone,
    /// Of numbers.
    pub(super) unit: TimestampUnit,
}

pub(super) struct Keyer {
    template: Arc<PathTemplate>,
    values: Vec<ValueKeyer>,
    batch_time_us: i64,
    batch: u64,
    partitions: HashMap<Box<[u32]>, u32>,
    /// Full directory of each partition.
    paths: Vec<String>,
    by_path: HashMap<String, u32>,
    /// The last row's ids and where it went.
    last: Option<(Box<[u32]>, u32)>,
}

impl Keyer {
    pub(super) fn new(
        template: Arc<PathTemplate>,
        reading: &Reading,
        batch: u64,
        batch_time_ns: i64,
    ) -> Self {
        let values = template
            .values()
            .map(|piece| ValueKeyer::new(piece, &template.zone, reading))
            .collect();
        Self {
            template,
            values,
            batch_time_us: batch_time_ns.div_euclid(1000),
            batch,
            partitions: HashMap::new(),
            paths: Vec::new(),
            by_path: HashMap::new(),
            last: None,
        }
    }

    /// Directory of a partition below the lake's root.
    pub(super) fn path(&self, partition: u32) -> &str {
        &self.paths[partition as usize]
    }

    /// The part of the directory below the template's root.
    pub(super) fn partition(&self, partition: u32) -> &str {
        let root = self.template.root_length();
        let mut rest = self.path(partition);
        for _ in 0..root {
            rest = rest.split_once('/').map_or("", |(_, below)| below);
        }
        rest
    }

    /// Whether rows can differ in their partition.
    pub(super) fn is_partitioned(&self) -> bool {
        !self.values.is_empty()
    }

    pub(super) fn partitions(&self) -> usize {
        self.paths.len()
    }

    /// The partition with exactly this directory, new if there was none.
    pub(super) fn intern_path(&mut self, path: String) -> u32 {
        match self.by_path.entry(path) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let id = self.paths.len() as u32;
                self.paths.push(new.key().clone());
                *new.insert(id)
            }
        }
    }

    /// Rough bytes of what is remembered.
    pub(super) fn memory(&self) -> usize {
        let texts: usize = self.values.iter().map(ValueKeyer::memory).sum();
        texts + self.paths.len() * 400
    }

    /// Calls `assign` for each row in order.
    pub(super) fn assign(
        &mut self,
        batch: &RecordBatch,
        rows: &RowFiles<'_>,
        mut assign: impl FnMut(usize, Assigned),
    ) {
        if self.values.is_empty() {
            let partition = self.root_partition();
            for row in 0..batch.num_rows() {
                assign(row, Assigned::Partition(partition));
            }
            return;
        }
        let mut values = std::mem::take(&mut self.values);
        let columns: Vec<Source> = values
            .iter_mut()
            .map(|value| self.source(value, batch))
            .collect();
        let mut ids = vec![0; values.len()];
        for row in 0..batch.num_rows() {
            for ((value, column), id) in values.iter_mut().zip(&columns).zip(&mut ids) {
                *id = match column {
                    Source::Constant(id) => *id,
                    Source::File => value.file_id(rows, row),
                    Source::Column(column) => value.id(&column.get(row)),
                };
            }
            assign(row, self.tuple(&values, &ids));
        }
        self.values = values;
    }

    fn root_partition(&mut self) -> u32 {
        let root = self.template.root();
        self.intern_path(root)
    }

    fn source<'a>(&self, value: &mut ValueKeyer, batch: &'a RecordBatch) -> Source<'a> {
        match value.piece.name.as_str() {
            FILE => Source::File,
            BATCH => Source::Constant(value.id(&Scalar::Int(self.batch as i64))),
            INGESTED_AT => Source::Constant(value.id(&Scalar::Micros(self.batch_time_us))),
            name => match Column::find(batch, name) {
                Some(column) => Source::Column(column),
                None => Source::Constant(DEFAULT_ID),
            },
        }
    }

    fn tuple(&mut self, values: &[ValueKeyer], ids: &[u32]) -> Assigned {
        if let Some((last, partition)) = &self.last
            && **last == *ids
        {
            return Assigned::Partition(*partition);
        }
        let partition = match self.partitions.get(ids) {
            Some(partition) => *partition,
            None => match self.render(values, ids) {
                Err(reason) => return Assigned::Reject(reason.into()),
                Ok(path) => {
                    let partition = self.intern_path(path);
                    self.partitions.insert(ids.into(), partition);
                    partition
                }
            },
        };
        match &mut self.last {
            Some((last, to)) => {
                last.copy_from_slice(ids);
                *to = partition;
            }
            last @ None => *last = Some((ids.into(), partition)),
        }
        Assigned::Partition(partition)
    }

    fn render(&self, values: &[ValueKeyer], ids: &[u32]) -> Result<String, String> {
        let mut path = String::new();
        let mut values = values.iter().zip(ids);
        for component in &self.template.components {
            if !path.is_empty() {
                path.push('/');
            }
            let from = path.len();
            for piece in &component.pieces {
                match piece {
                    Piece::Literal(text) => path.push_str(text),
                    Piece::Value(_) => {
                        let (value, id) = values
                            .next()
                            .ok_or("the path has more values than the template")?;
                        value.write(*id, path.len() == from, &mut path)?;
                    }
                }
            }
            let bytes = path.len() - from;
            if bytes > COMPONENT_BYTES_MAX {
                return Err(format!(
                    "a directory of the path takes {bytes} bytes encoded; {COMPONENT_BYTES_MAX} are allowed"
                ));
            }
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(format!(
                "the path takes {} bytes encoded; {PATH_BYTES_MAX} are allowed",
                path.len()
            ));
        }
        Ok(path)
    }
}

enum Source<'a> {
    Constant(u32),
    File,
    Column(Column<'a>),
}

/// No value.
const DEFAULT_ID: u32 = 0;
/// Too long a value; no text is kept of it.
const LONG_ID: u32 = 1;
/// How many values are remembered by their columns' own values; texts are remembered all, they are partitions.
const REMEMBERED_MAX: usize = 100_000;

/// Gives the values of one piece ids, equal for equal text.
struct ValueKeyer {
    piece: ValuePiece,
    zone: TimeZone,
    reading: Reading,
    granularity: Granularity,
    /// Unescaped text of each id; that of the first two is not used.
    texts: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, u32>,
    by_number: HashMap<i128, u32>,
    text_bytes: usize,
    last: Last,
    /// Encoded bytes of the last value that was too long.
    long: usize,
}

enum Last {
    None,
    Number(i128, u32),
    Text(String, u32),
    Segment(u32, u32),
}

impl ValueKeyer {
    fn new(piece: &ValuePiece, zone: &TimeZone, reading: &Reading) -> Self {
        let none: Arc<str> = "".into();
        Self {
            piece: piece.clone(),
            zone: zone.clone(),
            reading: reading.clone(),
            granularity: granularity(piece.format.as_deref()),
            texts: vec![Arc::clone(&none), none],
            by_text: HashMap::new(),
            by_number: HashMap::new(),
            text_bytes: 0,
            last: Last::None,
            long: 0,
        }
    }

    fn memory(&self) -> usize {
        self.text_bytes + self.texts.len() * 100 + self.by_number.capacity() * 40
    }

    fn id(&mut self, value: &Scalar<'_>) -> u32 {
        match value {
            Scalar::Null => DEFAULT_ID,
            Scalar::Text(text) => self.text_id(text),
            Scalar::Int(number) if self.piece.format.is_none() => {
                self.number_id(i128::from(*number), |_| Some(number.to_string()))
            }
            Scalar::Int(number) => {
                match super::value::number_to_micros(*number, self.reading.unit) {
                    Some(micros) => self.time_id(micros),
                    None => DEFAULT_ID,
                }
            }
            Scalar::Micros(micros) => self.time_id(*micros),
            Scalar::Days(days) => {
                let days = *days;
                self.number_id(i128::from(days), |keyer| {
                    super::value::format_date(days, keyer.piece.format.as_deref())
                })
            }
            Scalar::Decimal(unscaled, scale) => {
                let (unscaled, scale) = (*unscaled, *scale);
                self.number_id(unscaled, |_| Some(super::value::decimal(unscaled, scale)))
            }
            Scalar::Bool(flag) => self.number_id(i128::from(*flag), |_| Some(flag.to_string())),
            Scalar::Double(number) => {
                let number = *number;
                self.number_id(i128::from(number.to_bits()), |_| Some(number.to_string()))
            }
        }
    }

    fn file_id(&mut self, rows: &RowFiles<'_>, row: usize) -> u32 {
        let segment = rows.origins[row].0;
        if let Last::Segment(last, id) = self.last
            && last == segment
        {
            return id;
        }
        let id = self.intern(&(rows.file)(segment));
        self.last = Last::Segment(segment, id);
        id
    }

    fn text_id(&mut self, text: &str) -> u32 {
        if let Last::Text(last, id) = &self.last
            && last == text
        {
            return *id;
        }
        let id = match (&self.piece.format, self.by_text.get(text)) {
            (None, Some(id)) => *id,
            (None, None) => self.intern(text),
            (Some(_), _) => match parse_time(text, &self.reading.zone) {
                Some(micros) => self.time_id(micros),
                None => DEFAULT_ID,
            },
        };
        match &mut self.last {
            Last::Text(last, to) => {
                last.clear();
                last.push_str(text);
                *to = id;
            }
            last => *last = Last::Text(text.to_owned(), id),
        }
        id
    }

    /// Times that the format cannot tell apart share their bucket's text.
    fn time_id(&mut self, micros: i64) -> u32 {
        let bucket = self.granularity.bucket(micros);
        self.number_id(i128::from(bucket), |keyer| {
            format_time(micros, keyer.piece.format.as_deref(), &keyer.zone)
        })
    }

    fn number_id(&mut self, number: i128, text: impl FnOnce(&Self) -> Option<String>) -> u32 {
        if let Last::Number(last, id) = self.last
            && last == number
        {
            return id;
        }
        let id = if let Some(id) = self.by_number.get(&number) {
            *id
        } else {
            let id = text(self).map_or(DEFAULT_ID, |text| self.intern(&text));
            if self.by_number.len() >= REMEMBERED_MAX {
                self.by_number.clear();
            }
            self.by_number.insert(number, id);
            id
        };
        self.last = Last::Number(number, id);
        id
    }

    fn intern(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return DEFAULT_ID;
        }
        if let Some(id) = self.by_text.get(text) {
            return *id;
        }
        let mut encoded = String::new();
        if text.len() <= VALUE_BYTES_MAX {
            escape_into(text, true, &mut encoded);
        }
        let bytes = encoded.len().max(text.len());
        if bytes > VALUE_BYTES_MAX {
            self.long = bytes;
            return LONG_ID;
        }
        let id = self.texts.len() as u32;
        let text: Arc<str> = text.into();
        self.text_bytes += text.len();
        self.texts.push(Arc::clone(&text));
        self.by_text.insert(text, id);
        id
    }

    fn write(&self, id: u32, leading: bool, path: &mut String) -> Result<(), String> {
        match id {
            DEFAULT_ID => escape_into(DEFAULT_PARTITION, leading, path),
            LONG_ID => {
                return Err(format!(
                    "the value of `{{{}}}` in the path takes {} bytes encoded; {VALUE_BYTES_MAX} are allowed",
                    self.piece.name, self.long
                ));
            }
            id => escape_into(&self.texts[id as usize], leading, path),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array, StringArray, StructArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{DataType, Field};

    fn keyer(template: &str, zone: &str) -> Keyer {
        let template = Arc::new(PathTemplate::parse(template, zone).unwrap());
        let reading = Reading {
            zone: TimeZone::get("Europe/Berlin").unwrap(),
            unit: TimestampUnit::Auto,
        };
        Keyer::new(template, &reading, 7, 1_795_341_600_000_000_000)
    }

    fn assign(keyer: &mut Keyer, columns: Vec<(&str, ArrayRef)>) -> Vec<String> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let origins: Vec<_> = (0..batch.num_rows() as u32)
            .map(|row| (row / 2, row))
            .collect();
        let rows = RowFiles {
            origins: &origins,
            file: &|segment| format!("d/f{segment}.json"),
        };
        let mut assigned = Vec::new();
        keyer.assign(&batch, &rows, |_, to| assigned.push(to));
        assigned
            .into_iter()
            .map(|to| match to {
                Assigned::Partition(id) => keyer.path(id).to_owned(),
                Assigned::Reject(reason) => format!("reject: {reason}"),
            })
            .collect()
    }

    fn times(values: Vec<Option<i64>>) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone("+00:00"))
    }

    fn texts(values: Vec<Option<&str>>) -> ArrayRef {
        Arc::new(StringArray::from(values))
    }

    #[test]
    fn a_time_is_written_in_the_sinks_zone_and_changes_day_there() {
        let mut keyer = keyer("o/dt={at:%Y-%m-%d}", "America/New_York");
        let midnight = 1_795_237_200_000_000; // 2026-11-21T05:00Z is midnight in New York
        let columns = vec![(
            "at",
            times(vec![
                Some(midnight - 1),
                Some(midnight),
                None,
                Some(i64::MAX),
            ]),
        )];
        assert_eq!(
            assign(&mut keyer, columns),
            [
                "o/dt=2026-11-20",
                "o/dt=2026-11-21",
                "o/dt=__HIVE_DEFAULT_PARTITION__",
                "o/dt=__HIVE_DEFAULT_PARTITION__"
            ]
        );
    }

    #[test]
    fn texts_are_read_as_times_where_the_template_formats_them() {
        let mut keyer = keyer("{at:%Y-%m-%dT%H}", "UTC");
        let columns = vec![(
            "at",
            texts(vec![
                Some("2026-11-22T23:30:00-02:00"),
                Some("2026-11-22 10:15:00"), // without an offset: Berlin
                Some("2026-11-22"),
                Some("soon"),
                Some(""),
            ]),
        )];
        assert_eq!(
            assign(&mut keyer, columns),
            [
                "2026-11-23T01",
                "2026-11-22T09",
                "2026-11-21T23",
                "%5F_HIVE_DEFAULT_PARTITION__",
                "%5F_HIVE_DEFAULT_PARTITION__"
            ]
        );
    }

    #[test]
    fn values_of_every_type_are_written_as_hive_reads_them() {
        let mut keyer = keyer("{i}/{b}/d={d}/n={n}/{s}/t={t}", "UTC");
        let decimal = Decimal128Array::from(vec![-1_050])
            .with_precision_and_scale(10, 2)
            .unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("i", Arc::new(Int64Array::from(vec![-5]))),
            ("b", Arc::new(BooleanArray::from(vec![true]))),
            ("d", Arc::new(Date32Array::from(vec![20_779]))),
            ("n", Arc::new(decimal)),
            ("s", texts(vec![Some("._a/b")])),
            ("t", times(vec![Some(1_500_000)])),
        ];
        assert_eq!(
            assign(&mut keyer, columns),
            ["-5/true/d=2026-11-22/n=-10.50/%2E_a%2Fb/t=1970-01-01 00%3A00%3A01.5"]
        );
    }

    #[test]
    fn the_batchs_own_values_and_fields_of_structs_can_be_named() {
        let mut keyer = keyer(
            "f={_file}/{_ingested_at:%Y%m%d}/b{_batch}/{geo.city}",
            "UTC",
        );
        let city = texts(vec![Some("Rom"), None, Some("x")]);
        let geo = StructArray::try_new(
            vec![Field::new("city", DataType::Utf8, true)].into(),
            vec![city],
            Some(vec![true, true, false].into()),
        )
        .unwrap();
        assert_eq!(
            assign(&mut keyer, vec![("geo", Arc::new(geo))]),
            [
                "f=d%2Ff0.json/20261122/b7/Rom",
                "f=d%2Ff0.json/20261122/b7/%5F_HIVE_DEFAULT_PARTITION__",
                "f=d%2Ff1.json/20261122/b7/%5F_HIVE_DEFAULT_PARTITION__",
            ]
        );
    }

    #[test]
    fn a_value_over_200_encoded_bytes_is_a_reject_and_one_of_200_is_not() {
        let mut keyer = keyer("o/x={x}", "UTC");
        let (long, fits) = ("a".repeat(198) + "/", "a".repeat(197) + "/");
        let columns = vec![("x", texts(vec![Some(&long), Some(&fits)]))];
        let assigned = assign(&mut keyer, columns);
        assert!(
            assigned[0].starts_with("reject: the value of `{x}`"),
            "{}",
            assigned[0]
        );
        assert!(assigned[0].contains("201 bytes"), "{}", assigned[0]);
        assert!(assigned[1].ends_with("%2F"));
    }

    #[test]
    fn equal_text_is_one_partition_whatever_it_came_from() {
        let mut keyer = keyer("{x}", "UTC");
        assign(
            &mut keyer,
            vec![("x", texts(vec![Some("1"), None, Some("")]))],
        );
        assign(&mut keyer, vec![("x", Arc::new(Int64Array::from(vec![1])))]);
        assert_eq!(keyer.partitions(), 2);
    }

    #[test]
    fn a_partition_is_named_below_the_templates_root() {
        let mut keyer = keyer("a/b/x={x}/y", "UTC");
        assign(&mut keyer, vec![("x", texts(vec![Some("1")]))]);
        assert_eq!(keyer.partition(0), "x=1/y");
        let mut plain = self::keyer("a/b", "UTC");
        assign(&mut plain, vec![("x", texts(vec![Some("1")]))]);
        assert_eq!((plain.path(0), plain.partition(0)), ("a/b", ""));
    }
}
