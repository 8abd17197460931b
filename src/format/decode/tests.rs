//! The decoder from bytes to rows, format by format.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;

use super::{DecodeContext, DecodedBatch, Decoder, Inference, Reject};
use crate::format::{Compression, CsvSettings, FileContext, InputFormat, ReadingSettings};
use crate::schema::{
    Metadata, Names, NewColumns, Schema, SchemaMode, SchemaRegistry, SchemaSettings, TimestampUnit,
    first_schema, parse_type,
};
use crate::segment::{BatchNumber, Digest, FileId, RelativePath, Segment};
use crate::sink::SegmentOutcome;

fn settings() -> SchemaSettings {
    SchemaSettings {
        mode: SchemaMode::Infer,
        columns: Vec::new(),
        new_columns: NewColumns::Add,
        names: Names::Hive,
        timezone: "UTC".into(),
        timestamp_unit: TimestampUnit::Auto,
        metadata: Vec::new(),
        columns_max: 2000,
        path_columns: Vec::new(),
    }
}

fn given(columns: &[(&str, &str)], new_columns: NewColumns) -> SchemaSettings {
    SchemaSettings {
        mode: SchemaMode::Columns,
        columns: columns
            .iter()
            .map(|(name, t)| ((*name).to_owned(), parse_type(t).unwrap()))
            .collect(),
        new_columns,
        ..settings()
    }
}

fn context(format: InputFormat) -> FileContext {
    FileContext {
        file: FileId(1),
        path: RelativePath::new(b"in/a.json").unwrap(),
        path_columns: Vec::new(),
        header: None,
        settings: ReadingSettings {
            format,
            compression: Compression::None,
            charset: "utf-8".into(),
            csv: CsvSettings {
                header: true,
                delimiter: b',',
                quote: b'"',
                null: String::new(),
                columns: Vec::new(),
                comment: None,
            },
            record_bytes_max: 16 << 20,
            decoded_bytes_max: 0,
            depth_max: 128,
        },
    }
}

fn segment(from: u64, bytes: &[u8]) -> Segment {
    Segment {
        file: FileId(1),
        from,
        to: from + bytes.len() as u64,
        line: 1,
        records: 0,
        last: true,
        digest: Digest::of(bytes),
    }
}

struct Decoded {
    batch: DecodedBatch,
    rejects: Vec<Reject>,
    outcome: SegmentOutcome,
}

impl Decoded {
    /// Each row as `column=value` of what is not NULL.
    fn rows(&self) -> Vec<String> {
        rows(&self.batch.batch)
    }

    fn reasons(&self) -> Vec<&str> {
        self.rejects.iter().map(|r| r.reason.as_str()).collect()
    }
}

fn rows(batch: &RecordBatch) -> Vec<String> {
    let schema = batch.schema();
    (0..batch.num_rows())
        .map(|row| {
            let values = schema.fields().iter().zip(batch.columns());
            let texts = values
                .filter(|(_, column)| column.is_valid(row))
                .map(|(field, column)| {
                    format!(
                        "{}={}",
                        field.name(),
                        array_value_to_string(column, row).unwrap()
                    )
                });
            texts.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn registry(settings: &SchemaSettings) -> Arc<SchemaRegistry> {
    let first = first_schema(settings);
    Arc::new(SchemaRegistry::new(settings.clone(), None, first))
}

fn decoder(schemas: &Arc<SchemaRegistry>) -> Decoder {
    let context = DecodeContext {
        batch: BatchNumber(7),
        batch_time_ns: 1_700_000_000_123_456_789,
    };
    Decoder::new(Arc::clone(schemas), context)
}

fn decode_as(settings: &SchemaSettings, context: &FileContext, bytes: &[u8]) -> Decoded {
    let mut decoder = decoder(&registry(settings));
    let mut rejects = Vec::new();
    let range = segment(0, bytes);
    let outcome = decoder.decode(0, context, &range, bytes, &mut |r| rejects.push(r));
    let batch = decoder.take();
    assert_eq!(outcome.rejected, rejects.len() as u64);
    for reject in &rejects {
        let at = reject.offset as usize;
        assert_eq!(
            reject.raw,
            &bytes[at..at + reject.raw.len()],
            "I10: {}",
            reject.reason
        );
        let line = bytes[..at].iter().filter(|b| **b == b'\n').count() as u64 + 1;
        assert_eq!(reject.line, line);
    }
    Decoded {
        batch,
        rejects,
        outcome,
    }
}

fn decode(settings: &SchemaSettings, text: &str) -> Decoded {
    decode_as(settings, &context(InputFormat::Ndjson), text.as_bytes())
}

fn infer(settings: &SchemaSettings, context: &FileContext, bytes: &[u8]) -> Schema {
    let mut inference = Inference::new(settings);
    inference.observe(context, &segment(0, bytes), bytes);
    let mut schema = first_schema(settings);
    inference.finish(&mut schema);
    schema
}

fn columns(schema: &Schema) -> Vec<String> {
    let columns = schema.columns.iter();
    columns
        .map(|c| format!("{} {}", c.name, c.data_type))
        .collect()
}

#[test]
fn ndjson_records_become_rows_and_the_schema_grows_in_place() {
    let decoded = decode(
        &settings(),
        "{\"a\":1,\"b\":\"x\"}\n\n{\"a\":2,\"c\":{\"d\":[1,2]}}\r\n{\"a\":oops}\n{\"a\":\"no\",\"c\":{\"d\":[3],\"e\":true}}",
    );
    assert_eq!(
        columns(&decoded.batch.schema),
        [
            "a string",
            "b string",
            "c struct<d:array<bigint>,e:boolean>"
        ]
    );
    assert_eq!(
        decoded.rows(),
        [
            "a=1 b=x",
            "a=2 c={d: [1, 2], e: }",
            "a=no c={d: [3], e: true}",
        ]
    );
    assert_eq!(
        decoded.reasons(),
        ["not JSON at byte 5: no JSON value begins like this"]
    );
    assert_eq!(decoded.batch.origins, [(0, 0), (0, 1), (0, 3)]);
    assert_eq!(decoded.outcome.skipped_bytes, 1);
    assert_eq!(decoded.outcome.rejected_bytes, 11);
}
