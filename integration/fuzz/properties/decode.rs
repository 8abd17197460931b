//! Records of any bytes: each is a row or a reject, and one that is broken takes nothing from its neighbours.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use lakeward::format::decode::{DecodeContext, DecodedBatch, Decoder, Inference};
use lakeward::format::{FileContext, InputFormat};
use lakeward::schema::{
    DataType, Metadata, Names, NewColumns, SchemaMode, SchemaRegistry, SchemaSettings,
    TimestampUnit, first_schema,
};
use lakeward::segment::{BatchNumber, FileId, RelativePath, Segment};

use super::frame::cut;

fn schema(mode: SchemaMode) -> SchemaSettings {
    SchemaSettings {
        mode,
        columns: vec![("id".to_owned(), DataType::BigInt)],
        new_columns: NewColumns::Add,
        names: Names::Hive,
        timezone: "UTC".into(),
        timestamp_unit: TimestampUnit::Auto,
        metadata: Metadata::ALL.to_vec(),
        columns_max: 50,
        path_columns: Vec::new(),
        partition_keys: Vec::new(),
    }
}

pub struct Decoded {
    pub batch: DecodedBatch,
    pub rejected: usize,
}

impl Decoded {
    /// The `id`s, where the column took them.
    #[must_use]
    pub fn ids(&self) -> Vec<i64> {
        let Some(column) = self.batch.batch.column_by_name("id") else {
            return Vec::new();
        };
        let column = column.as_primitive::<Int64Type>();
        (0..column.len())
            .filter(|row| column.is_valid(*row))
            .map(|row| column.value(row))
            .collect()
    }
}

/// Frames, infers and decodes a whole stream, and counts on the way.
///
/// # Panics
/// Where a record is neither row nor reject.
#[must_use]
pub fn decode(
    format: InputFormat,
    record_bytes_max: u64,
    mode: SchemaMode,
    stream: &[u8],
) -> Decoded {
    let settings = super::reading(format, record_bytes_max);
    let framed = cut(&settings, 0, stream, 1 << 16, false);
    let is_csv = matches!(format, InputFormat::Csv | InputFormat::Tsv);
    let context = FileContext {
        file: FileId(1),
        path: RelativePath::new(b"a").expect("a path"),
        path_columns: Vec::new(),
        header: is_csv.then(|| Arc::from(["id".to_owned(), "x".to_owned()])),
        settings,
    };
    let schema = schema(mode);
    let mut inference = Inference::new(&schema);
    let mut first = first_schema(&schema);
    let ranges: Vec<Segment> = framed
        .segments
        .iter()
        .map(|framed| Segment {
            file: FileId(1),
            from: framed.from,
            to: framed.to,
            line: framed.line,
            records: framed.records,
            last: framed.to == stream.len() as u64,
            digest: framed.digest,
        })
        .collect();
    for (range, framed) in ranges.iter().zip(&framed.segments) {
        inference.observe(&context, range, &framed.bytes);
    }
    if mode == SchemaMode::Infer {
        inference.finish(&mut first);
    }
    let registry = Arc::new(SchemaRegistry::new(schema, None, first));
    registry.settle();
    let batch = DecodeContext {
        batch: BatchNumber(1),
        batch_time_ns: 1_700_000_000_123_456_789,
    };
    let mut decoder = Decoder::new(registry, batch);
    let mut rejects = Vec::new();
    for (index, (range, framed)) in ranges.iter().zip(&framed.segments).enumerate() {
        let (rows, before) = (decoder.rows(), rejects.len());
        let outcome = decoder.decode(
            index as u32,
            &context,
            range,
            &framed.bytes,
            &mut |reject| {
                rejects.push(reject);
            },
        );
        let rows = (decoder.rows() - rows) as u64;
        assert_eq!(outcome.rejected, (rejects.len() - before) as u64);
        assert_eq!(rows + outcome.rejected, range.records, "{range:?}");
        assert!(outcome.rejected_bytes + outcome.skipped_bytes <= range.bytes());
        for reject in &rejects[before..] {
            assert!(range.from <= reject.offset && reject.offset + reject.bytes <= range.to);
            let at = reject.offset as usize;
            assert!(stream[at..].starts_with(&reject.raw), "{reject:?}");
        }
    }
    let batch = decoder.take();
    assert_eq!(batch.batch.num_rows(), batch.origins.len());
    Decoded {
        batch,
        rejected: rejects.len(),
    }
}

/// Two choices, format and limit; then the stream.
///
/// # Panics
/// Where it does not hold.
pub fn hold(input: &[u8]) {
    let ([format, limits], stream) = super::choices(input);
    let format = super::FORMATS[usize::from(format) % super::FORMATS.len()];
    let record_bytes_max = [0, 12, 100][usize::from(limits % 3)];
    let mode = [SchemaMode::Infer, SchemaMode::Columns][usize::from(limits / 3 % 2)];
    let decoded = decode(format, record_bytes_max, mode, stream);
    assert!(decoded.rejected + decoded.batch.origins.len() <= stream.len() + 1);
    beside(format, stream);
}

/// A line of any bytes between two good ones costs neither.
///
/// # Panics
/// Where it does.
pub fn beside(format: InputFormat, line: &[u8]) {
    let line: Vec<u8> = line
        .iter()
        .copied()
        .filter(|b| !matches!(b, b'\n' | b'\r'))
        .collect();
    let (before, after): (&[u8], &[u8]) = match format {
        InputFormat::Ndjson => (b"{\"id\":-7001}\n", b"\n{\"id\":-7002}\n"),
        InputFormat::Json => (b"{\"id\":-7001}\n", b"\n"),
        InputFormat::Csv => (b"id,x\n-7001,a\n", b"\n-7002,b\n"),
        InputFormat::Tsv => (b"id\tx\n-7001\ta\n", b"\n-7002\tb\n"),
        InputFormat::Text => return,
    };
    let stream = [before, &line, after].concat();
    for mode in [SchemaMode::Infer, SchemaMode::Columns] {
        let decoded = decode(format, 0, mode, &stream);
        let ids = decoded.ids();
        assert_eq!(ids.first(), Some(&-7001), "{}", stream.escape_ascii());
        if format != InputFormat::Json {
            assert_eq!(ids.last(), Some(&-7002), "{}", stream.escape_ascii());
        }
    }
}
