//! STUB: the decoder's signatures with just enough behind them to test the lane. Replaced at merge.
#![allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes as arrow_types;
use arrow::datatypes::{DataType as Arrow, Field as ArrowField, SchemaRef, TimeUnit};
use serde_json::Value;

use crate::format::FileContext;
use crate::schema::{DataType, Metadata, Schema, SchemaRegistry};
use crate::segment::{BatchNumber, RelativePath, Segment};
use crate::sink::SegmentOutcome;

pub struct DecodeContext {
    pub batch: BatchNumber,
    pub batch_time_ns: i64,
}

pub struct DecodedBatch {
    pub version: u32,
    pub schema: Arc<Schema>,
    pub batch: RecordBatch,
    pub origins: Vec<(u32, u32)>,
}

pub struct Reject {
    pub path: RelativePath,
    pub offset: u64,
    pub line: u64,
    pub reason: String,
    pub raw: Vec<u8>,
    pub bytes: u64,
    pub segment: u32,
    pub ordinal: u32,
}

struct Row {
    value: Value,
    raw: Vec<u8>,
    file: String,
    offset: i64,
    origin: (u32, u32),
}

pub struct Decoder {
    schemas: Arc<SchemaRegistry>,
    context: DecodeContext,
    rows: Vec<Row>,
    bytes: usize,
}

pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<ArrowField> = Vec::new();
    for column in &schema.columns {
        fields.push(ArrowField::new(
            &column.name,
            arrow_type(&column.data_type),
            true,
        ));
    }
    for name in &schema.path_columns {
        fields.push(ArrowField::new(name, Arrow::Utf8, true));
    }
    if schema.raw {
        fields.push(ArrowField::new("_raw", Arrow::Binary, true));
        return Arc::new(arrow_types::Schema::new(fields));
    }
    fields.push(ArrowField::new("_rescued", Arrow::Utf8, true));
    for metadata in &schema.metadata {
        fields.push(match metadata {
            Metadata::File => ArrowField::new("_file", Arrow::Utf8, true),
            Metadata::Offset => ArrowField::new("_offset", Arrow::Int64, true),
            Metadata::Batch => ArrowField::new("_batch", Arrow::Int64, true),
            Metadata::IngestedAt => ArrowField::new("_ingested_at", timestamp(), true),
        });
    }
    Arc::new(arrow_types::Schema::new(fields))
}

fn timestamp() -> Arrow {
    Arrow::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

fn arrow_type(kind: &DataType) -> Arrow {
    match kind {
        DataType::Boolean => Arrow::Boolean,
        DataType::TinyInt => Arrow::Int8,
        DataType::SmallInt => Arrow::Int16,
        DataType::Int => Arrow::Int32,
        DataType::BigInt => Arrow::Int64,
        DataType::Float => Arrow::Float32,
        DataType::Double => Arrow::Float64,
        DataType::Decimal(p, s) => Arrow::Decimal128(*p, *s as i8),
        DataType::String | DataType::Varchar(_) | DataType::Char(_) => Arrow::Utf8,
        DataType::Binary => Arrow::Binary,
        DataType::Date => Arrow::Date32,
        DataType::Timestamp => timestamp(),
        DataType::Struct(fields) => Arrow::Struct(
            fields
                .iter()
                .map(|f| ArrowField::new(&f.name, arrow_type(&f.data_type), true))
                .collect(),
        ),
        DataType::Array(element) => Arrow::List(Arc::new(ArrowField::new(
            "element",
            arrow_type(element),
            true,
        ))),
        DataType::Map(key, value) => Arrow::Map(
            Arc::new(ArrowField::new(
                "key_value",
                Arrow::Struct(
                    vec![
                        ArrowField::new("key", arrow_type(key), false),
                        ArrowField::new("value", arrow_type(value), true),
                    ]
                    .into(),
                ),
                false,
            )),
            false,
        ),
    }
}

impl Decoder {
    pub fn new(schemas: Arc<SchemaRegistry>, context: DecodeContext) -> Self {
        Self {
            schemas,
            context,
            rows: Vec::new(),
            bytes: 0,
        }
    }

    pub fn decode(
        &mut self,
        segment: u32,
        context: &FileContext,
        range: &Segment,
        bytes: &[u8],
        reject: &mut dyn FnMut(Reject),
    ) -> SegmentOutcome {
        let mut outcome = SegmentOutcome::default();
        let (mut at, mut ordinal) = (0, 0);
        for (number, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let record = line.strip_suffix(b"\n").unwrap_or(line);
            let offset = range.from + at as u64;
            at += line.len();
            if record.trim_ascii().is_empty() {
                outcome.skipped_bytes += line.len() as u64;
                continue;
            }
            match serde_json::from_slice::<Value>(record) {
                Ok(value) if value.is_object() => {
                    self.bytes += record.len() * 16;
                    self.rows.push(Row {
                        value,
                        raw: record.to_vec(),
                        file: context.path.escaped(),
                        offset: offset as i64,
                        origin: (segment, ordinal),
                    });
                }
                _ => {
                    outcome.rejected += 1;
                    outcome.rejected_bytes += line.len() as u64;
                    reject(Reject {
                        path: context.path.clone(),
                        offset,
                        line: range.line + number as u64,
                        reason: "not one JSON object".into(),
                        raw: record.to_vec(),
                        bytes: record.len() as u64,
                        segment,
                        ordinal,
                    });
                }
            }
            ordinal += 1;
        }
        outcome
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn take(&mut self) -> DecodedBatch {
        let (version, schema) = self.schemas.settle();
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let arrow = arrow_schema(&schema);
        let mut columns: Vec<ArrayRef> = Vec::new();
        for column in &schema.columns {
            let cells = rows.iter().map(|r| r.value.get(&column.key));
            columns.push(match &column.data_type {
                DataType::BigInt => Arc::new(Int64Array::from_iter(
                    cells.map(|c| c.and_then(Value::as_i64)),
                )),
                DataType::Double => Arc::new(Float64Array::from_iter(
                    cells.map(|c| c.and_then(Value::as_f64)),
                )),
                DataType::Boolean => Arc::new(BooleanArray::from_iter(
                    cells.map(|c| c.and_then(Value::as_bool)),
                )),
                DataType::String => Arc::new(StringArray::from_iter(
                    cells.map(|c| c.and_then(Value::as_str)),
                )),
                DataType::Timestamp => Arc::new(
                    TimestampMicrosecondArray::from_iter(cells.map(|c| {
                        c.and_then(Value::as_str)
                            .and_then(|t| t.parse::<jiff::Timestamp>().ok())
                            .map(|t| t.as_microsecond())
                    }))
                    .with_timezone("+00:00"),
                ),
                other => new_null_array(&arrow_type(other), rows.len()),
            });
        }
        for _ in &schema.path_columns {
            columns.push(new_null_array(&Arrow::Utf8, rows.len()));
        }
        if schema.raw {
            columns.push(Arc::new(BinaryArray::from_iter_values(
                rows.iter().map(|r| &r.raw),
            )));
        } else {
            columns.push(new_null_array(&Arrow::Utf8, rows.len()));
            for metadata in &schema.metadata {
                columns.push(match metadata {
                    Metadata::File => {
                        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.file)))
                    }
                    Metadata::Offset => {
                        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.offset)))
                    }
                    Metadata::Batch => Arc::new(Int64Array::from_iter_values(
                        rows.iter().map(|_| self.context.batch.0 as i64),
                    )),
                    Metadata::IngestedAt => Arc::new(
                        TimestampMicrosecondArray::from_iter_values(
                            rows.iter().map(|_| self.context.batch_time_ns / 1000),
                        )
                        .with_timezone("+00:00"),
                    ),
                });
            }
        }
        DecodedBatch {
            version,
            schema,
            batch: RecordBatch::try_new(arrow, columns).unwrap(),
            origins: rows.iter().map(|r| r.origin).collect(),
        }
    }
}
