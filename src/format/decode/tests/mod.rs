//! The decoder from bytes to rows: schemas, lanes, buffers. Its submodules go through coercions and formats.

mod coerce;
mod direct;
mod formats;

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::array_value_to_string;

use super::{DecodeContext, DecodedBatch, Decoder, Inference, Reject};
use crate::format::decode::SegmentOutcome;
use crate::format::{Compression, CsvSettings, FileContext, InputFormat, ReadingSettings};
use crate::schema::{
    Metadata, Names, NewColumns, Schema, SchemaMode, SchemaRegistry, SchemaSettings, TimestampUnit,
    first_schema, parse_type,
};
use crate::segment::{BatchNumber, Digest, FileId, RelativePath, Segment};

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
        partition_keys: Vec::new(),
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
            segment_bytes: crate::format::frame::SEGMENT_BYTES,
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
                .map(|(field, column)| format!("{}={}", field.name(), shown(column, row)));
            texts.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

/// Arrow shows no named zone.
fn shown(column: &dyn Array, row: usize) -> String {
    if let Some(instants) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        let instant = jiff::Timestamp::from_microsecond(instants.value(row));
        return instant.unwrap().to_string();
    }
    array_value_to_string(column, row).unwrap()
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
        let line = memchr::memchr_iter(b'\n', &bytes[..at]).count() as u64 + 1;
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

#[test]
fn a_reject_in_mid_record_leaves_nothing_behind() {
    let types = "struct<x:array<string>,y:map<string,int>>";
    let settings = given(&[("a", "int"), ("s", types)], NewColumns::Reject);
    let good = "{\"s\":{\"x\":[\"p\"],\"y\":{\"k\":1}},\"a\":1}\n";
    let bad = "{\"a\":9,\"s\":{\"x\":[\"q\",\"r\"],\"y\":{\"k\":2},\"z\":1}}\n";
    let also_bad = "{\"s\":{\"x\":[\"q\"]},\"zz\":null}\n";
    let decoded = decode(&settings, &format!("{good}{bad}{also_bad}{good}{bad}"));
    assert_eq!(decoded.rows(), ["a=1 s={x: [p], y: {k: 1}}"; 2]);
    let reason = |key| format!("key `{key}` is no column, and `new_columns` is `reject`");
    assert_eq!(decoded.reasons(), [reason("z"), reason("zz"), reason("z")]);
    assert_eq!(decoded.batch.origins, [(0, 0), (0, 3)]);
}

#[test]
fn the_schema_is_inferred_from_all_that_waits() {
    let lines = concat!(
        "{\"n\":null,\"i\":1,\"big\":9223372036854775808,\"huge\":1,\"d\":1,\"b\":true,\"t\":\"2026-01-01T00:00:00Z\",",
        "\"day\":\"2026-01-01\",\"o\":{\"x\":1,\"Y\":null},\"l\":[1,2.5],\"e\":[],\"eo\":{},\"m\":1,\"Cost $\":\"\",\"cost__\":1}\n",
        "{\"i\":-5,\"big\":1,\"huge\":100000000000000000000000000000000000000,\"d\":1e2,\"b\":null,\"t\":\"2026-01-01 00:00\",",
        "\"o\":{\"z\":{\"deep\":\"s\"}},\"l\":[null],\"m\":\"x\"}\n",
        "garbage\n",
    );
    let schema = infer(&settings(), &context(InputFormat::Ndjson), lines.as_bytes());
    assert_eq!(
        columns(&schema),
        [
            "n string",
            "i bigint",
            "big decimal(38,0)",
            "huge string",
            "d double",
            "b boolean",
            "t timestamp",
            "day string",
            "o struct<x:bigint,y:string,z:struct<deep:string>>",
            "l array<double>",
            "e array<string>",
            "eo string",
            "m string",
            "cost__ string",
            "cost___2 bigint",
        ]
    );
}

#[test]
fn hints_keep_their_type_and_gain_fields() {
    let mut settings = settings();
    settings.columns = given(
        &[("o", "struct<x:string>"), ("i", "string")],
        NewColumns::Add,
    )
    .columns;
    let line = b"{\"I\":1,\"o\":{\"X\":1,\"y\":1},\"new\":[{\"k\":true}]}";
    let schema = infer(&settings, &context(InputFormat::Ndjson), line);
    assert_eq!(
        columns(&schema),
        [
            "o struct<x:string,y:bigint>",
            "i string",
            "new array<struct<k:boolean>>"
        ]
    );
    let mut inference = Inference::new(&settings);
    inference.observe(&context(InputFormat::Ndjson), &segment(0, line), line);
    assert_eq!(inference.records(), 1);
}

#[test]
fn path_and_metadata_columns_are_filled_over_many_files() {
    let mut settings = given(&[("a", "int"), ("day", "int")], NewColumns::Rescue);
    settings.path_columns = vec!["day".into(), "region".into()];
    settings.metadata = Metadata::ALL.to_vec();
    let mut decoder = decoder(&registry(&settings));
    let mut none = |r: Reject| panic!("{}", r.reason);
    for (i, (day, region)) in [
        (Some("07"), Some("eu")),
        (Some("x"), None),
        (None, Some("us")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut context = context(InputFormat::Ndjson);
        context.path = RelativePath::new(format!("f{i}\u{1}").as_bytes()).unwrap();
        context.path_columns = vec![
            ("day".into(), day.map(str::to_owned)),
            ("region".into(), region.map(str::to_owned)),
        ];
        let bytes = b"{\"a\":1}\n{\"a\":2,\"day\":9}\n";
        decoder.decode(
            i as u32,
            &context,
            &segment(i as u64 * 100, bytes),
            bytes,
            &mut none,
        );
    }
    let batch = decoder.take();
    let tail = "_batch=7 _ingested_at=2023-11-14T22:13:20.123456Z";
    assert_eq!(
        rows(&batch.batch),
        [
            format!("a=1 day=7 region=eu _file=f0\\x01 _offset=0 {tail}"),
            format!("a=2 day=7 region=eu _rescued={{\"day\":9}} _file=f0\\x01 _offset=8 {tail}"),
            format!("a=1 _rescued={{\"day\":\"x\"}} _file=f1\\x01 _offset=100 {tail}"),
            format!("a=2 _rescued={{\"day\":9,\"day\":\"x\"}} _file=f1\\x01 _offset=108 {tail}"),
            format!("a=1 region=us _file=f2\\x01 _offset=200 {tail}"),
            format!("a=2 region=us _rescued={{\"day\":9}} _file=f2\\x01 _offset=208 {tail}"),
        ]
    );
    assert_eq!(batch.batch.schema(), super::arrow_schema(&batch.schema));
}

#[test]
fn another_lanes_columns_are_taken_over_and_its_types_hold() {
    let schemas = registry(&settings());
    let (mut one, mut other) = (decoder(&schemas), decoder(&schemas));
    let context = context(InputFormat::Ndjson);
    let mut none = |r: Reject| panic!("{}", r.reason);
    let mut feed = |decoder: &mut Decoder, bytes: &[u8]| {
        decoder.decode(0, &context, &segment(0, bytes), bytes, &mut none);
    };
    feed(&mut one, b"{\"a\":1}");
    feed(&mut other, b"{\"a\":\"x\",\"b\":true}");
    feed(&mut one, b"{\"b\":1,\"c\":{\"d\":1}}");
    feed(&mut other, b"{\"c\":{\"e\":1}}");
    let (one, other) = (one.take(), other.take());
    assert_eq!(
        columns(&other.schema),
        ["a bigint", "b boolean", "c struct<d:bigint,e:bigint>"]
    );
    assert_eq!(rows(&one.batch), ["a=1", "c={d: 1} _rescued={\"b\":1}"]);
    assert_eq!(
        rows(&other.batch),
        ["b=true _rescued={\"a\":\"x\"}", "c={d: , e: 1}"]
    );
    assert_eq!((one.version, other.version), (3, 4));
    assert_eq!(schemas.fresh().len(), 4);
}

#[test]
fn a_key_that_is_only_null_waits_and_beyond_columns_max_keys_are_rescued() {
    let mut settings = settings();
    settings.columns_max = 2;
    let decoded = decode(
        &settings,
        "{\"n\":null,\"a\":1}\n{\"b\":{\"x\":1,\"y\":2},\"c\":3}\n{\"q\":1}\n",
    );
    assert_eq!(
        columns(&decoded.batch.schema),
        ["a bigint", "b struct<x:bigint>"]
    );
    assert_eq!(
        decoded.rows(),
        [
            "a=1",
            "b={x: 1} _rescued={\"b\":{\"x\":1,\"y\":2},\"c\":3}",
            "_rescued={\"q\":1}",
        ]
    );
}

#[test]
fn a_new_key_whose_type_nothing_tells_yet_waits_and_its_value_is_rescued() {
    let decoded = decode(
        &settings(),
        "{\"a\":1,\"l\":[],\"o\":{\"x\":null},\"e\":{}}\n",
    );
    assert_eq!(columns(&decoded.batch.schema), ["a bigint"]);
    let rescued = "_rescued={\"l\":[],\"o\":{\"x\":null},\"e\":{}}";
    assert_eq!(decoded.rows(), [format!("a=1 {rescued}")]);
    let decoded = decode(&settings(), "{\"l\":[]}\n{\"l\":[{\"k\":1}]}\n");
    assert_eq!(
        columns(&decoded.batch.schema),
        ["l array<struct<k:bigint>>"]
    );
    assert_eq!(decoded.rows(), ["l=[]", "l=[{k: 1}]"]);
}

#[test]
fn taking_empties_the_buffers_and_many_tiny_segments_share_them() {
    let schemas = registry(&settings());
    let mut decoder = decoder(&schemas);
    let mut none = |r: Reject| panic!("{}", r.reason);
    for round in 0..3 {
        for i in 0..50_u32 {
            let mut context = context(InputFormat::Ndjson);
            context.path = RelativePath::new(format!("{i}").as_bytes()).unwrap();
            let bytes = b"{\"a\":[1],\"b\":true,\"c\":{\"d\":\"x\"}}";
            decoder.decode(i, &context, &segment(0, bytes), bytes, &mut none);
        }
        assert_eq!(decoder.rows(), 50);
        assert!(decoder.bytes() > 0);
        let batch = decoder.take();
        assert_eq!(
            rows(&batch.batch),
            ["a=[1] b=true c={d: x}"; 50],
            "round {round}"
        );
        assert_eq!((decoder.rows(), batch.origins.len()), (0, 50));
    }
    assert_eq!(decoder.take().batch.num_rows(), 0);
}
