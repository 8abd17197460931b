//! The decoder from bytes to rows, format by format.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::array_value_to_string;

use super::{DecodeContext, DecodedBatch, Decoder, Inference, Reject};
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

/// Rows of one column `v` of this type, for each of these JSON values.
fn coerced(data_type: &str, values: &[&str]) -> Vec<String> {
    coerced_by(&given(&[("v", data_type)], NewColumns::Rescue), values)
}

fn coerced_by(settings: &SchemaSettings, values: &[&str]) -> Vec<String> {
    let lines: String = values.iter().map(|v| format!("{{\"v\":{v}}}\n")).collect();
    let decoded = decode(settings, &lines);
    assert_eq!(decoded.reasons(), [""; 0]);
    decoded.rows()
}

fn check(data_type: &str, table: &[(&str, &str)]) {
    let (values, expected): (Vec<_>, Vec<_>) = table.iter().copied().unzip();
    let rows = coerced(data_type, &values);
    for ((value, expected), row) in values.iter().zip(expected).zip(rows) {
        let expected = match expected {
            "rescued" => format!("_rescued={{\"v\":{value}}}"),
            "" => String::new(),
            fits => format!("v={fits}"),
        };
        assert_eq!(row, expected, "{value} into {data_type}");
    }
}

#[test]
fn strings_take_everything_as_written() {
    check(
        "string",
        &[
            ("\"x\"", "x"),
            ("\"\\u00e9\\n\\ud83d\\ude00\"", "é\n😀"),
            ("\"\"", ""),
            ("1.50", "1.50"),
            ("-0", "-0"),
            ("1E+2", "1E+2"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("true", "true"),
            ("null", ""),
            ("{\"a\": [1, \"\\u0041\"]}", "{\"a\": [1, \"\\u0041\"]}"),
            ("[ ]", "[ ]"),
        ]
        .map(|(v, e)| if v == "\"\"" { (v, "") } else { (v, e) })
        .into_iter()
        .filter(|(v, _)| *v != "\"\"")
        .collect::<Vec<_>>(),
    );
    let rows = coerced("string", &["\"\""]);
    assert_eq!(rows, ["v="], "an empty string is no NULL");
    check(
        "varchar(3)",
        &[
            ("\"äöü\"", "äöü"),
            ("\"äöüx\"", "rescued"),
            ("123", "123"),
            ("1234", "rescued"),
            ("{}", "{}"),
        ],
    );
    check("char(1)", &[("\"é\"", "é"), ("\"ab\"", "rescued")]);
    check(
        "binary",
        &[("\"hi\"", "6869"), ("12", "3132"), ("\"aGk=\"", "61476b3d")],
    );
}

#[test]
fn integers_take_what_is_exact() {
    check(
        "bigint",
        &[
            ("1", "1"),
            ("-0", "0"),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("\"12\"", "12"),
            ("\"1.0\"", "1"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775808", "rescued"),
            ("1.5", "rescued"),
            ("1e-1", "rescued"),
            ("1e19", "rescued"),
            ("1e999999999999", "rescued"),
            ("\"x\"", "rescued"),
            ("\"\"", "rescued"),
            ("\" 1\"", "rescued"),
            ("true", "rescued"),
            ("{}", "rescued"),
            ("[1]", "rescued"),
            ("null", ""),
        ],
    );
    check(
        "tinyint",
        &[("127", "127"), ("128", "rescued"), ("-128", "-128")],
    );
    check("smallint", &[("32767", "32767"), ("-32769", "rescued")]);
    check(
        "int",
        &[("2147483647", "2147483647"), ("2147483648", "rescued")],
    );
    let digits = "9".repeat(100_000);
    check("bigint", &[(&digits, "rescued")]);
}

#[test]
fn doubles_decimals_and_booleans_take_what_they_can_hold() {
    check(
        "double",
        &[
            ("0.1", "0.1"),
            ("-0.0", "-0.0"),
            ("3", "3.0"),
            ("\"2.5\"", "2.5"),
            ("\"NaN\"", "NaN"),
            ("\"-Infinity\"", "-inf"),
            ("\"nan\"", "rescued"),
            ("\"inf\"", "rescued"),
            ("9007199254740993", "rescued"),
            ("1e400", "rescued"),
            ("\"1e400\"", "rescued"),
            ("true", "rescued"),
        ],
    );
    check(
        "float",
        &[("0.5", "0.5"), ("16777217", "rescued"), ("1e39", "rescued")],
    );
    check(
        "decimal(5,2)",
        &[
            ("1.25", "1.25"),
            ("\"-999.99\"", "-999.99"),
            ("999.990", "999.99"),
            ("1e2", "100.00"),
            ("1.255", "rescued"),
            ("1000", "rescued"),
            ("0.1", "0.10"),
            ("\"x\"", "rescued"),
            ("false", "rescued"),
        ],
    );
    check(
        "decimal(38,0)",
        &[
            (
                "99999999999999999999999999999999999999",
                "99999999999999999999999999999999999999",
            ),
            ("100000000000000000000000000000000000000", "rescued"),
        ],
    );
    check(
        "boolean",
        &[
            ("true", "true"),
            ("\"FALSE\"", "false"),
            ("1", "rescued"),
            ("\"yes\"", "rescued"),
        ],
    );
}

#[test]
fn times_are_instants_in_utc() {
    check(
        "timestamp",
        &[
            (
                "\"2026-11-22T10:11:12.3456789Z\"",
                "2026-11-22T10:11:12.345678Z",
            ),
            ("\"2026-11-22T10:11:12+01:30\"", "2026-11-22T08:41:12Z"),
            ("\"2026-11-22 10:11:12\"", "2026-11-22T10:11:12Z"),
            ("\"2026-11-22\"", "2026-11-22T00:00:00Z"),
            ("1700000000", "2023-11-14T22:13:20Z"),
            ("1700000000123", "2023-11-14T22:13:20.123Z"),
            ("1700000000123456", "2023-11-14T22:13:20.123456Z"),
            ("1700000000123456789", "2023-11-14T22:13:20.123456Z"),
            ("1700000000.1234567", "2023-11-14T22:13:20.123456Z"),
            ("1.7e9", "2023-11-14T22:13:20Z"),
            ("\"1700000000\"", "2023-11-14T22:13:20Z"),
            ("-1", "1969-12-31T23:59:59Z"),
            ("1e30", "rescued"),
            ("\"soon\"", "rescued"),
            ("true", "rescued"),
        ],
    );
    check(
        "date",
        &[
            ("\"2026-11-22\"", "2026-11-22"),
            ("\"2026-11-22T00:00:00\"", "2026-11-22"),
            ("\"2026-11-22T10:00:00\"", "rescued"),
            ("\"2026-02-30\"", "rescued"),
            ("20261122", "rescued"),
        ],
    );
    let mut berlin = given(&[("v", "timestamp")], NewColumns::Rescue);
    berlin.timezone = "Europe/Berlin".into();
    berlin.timestamp_unit = TimestampUnit::Millis;
    let values = [
        "\"2026-07-01T12:00:00\"",
        "\"2026-01-01T12:00:00\"",
        "\"2026-03-29T02:30:00\"",
        "\"2026-10-25T02:30:00\"",
        "\"2026-07-01T12:00:00Z\"",
        "1000",
    ];
    assert_eq!(
        coerced_by(&berlin, &values),
        [
            "v=2026-07-01T10:00:00Z",
            "v=2026-01-01T11:00:00Z",
            "v=2026-03-29T01:30:00Z",
            "v=2026-10-25T00:30:00Z",
            "v=2026-07-01T12:00:00Z",
            "v=1970-01-01T00:00:01Z",
        ]
    );
    let mut nowhere = given(&[("v", "timestamp")], NewColumns::Rescue);
    nowhere.timezone = "Nowhere/At_All".into();
    assert_eq!(
        coerced_by(&nowhere, &["\"2026-07-01T12:00:00\""]),
        ["_rescued={\"v\":\"2026-07-01T12:00:00\"}"]
    );
}

#[test]
fn a_part_that_does_not_fit_is_null_and_the_whole_value_is_rescued() {
    let cases = [
        ("array<int>", "[1,null,3]", "v=[1, , 3]"),
        (
            "array<int>",
            "[1,\"x\",3]",
            "v=[1, , 3] _rescued={\"v\":[1,\"x\",3]}",
        ),
        (
            "array<array<string>>",
            "[[\"a\"],[],null,[1]]",
            "v=[[a], [], , [1]]",
        ),
        ("array<int>", "{}", "_rescued={\"v\":{}}"),
        ("struct<a:int,b:string>", "{\"b\":\"x\"}", "v={a: , b: x}"),
        ("struct<a:int>", "{\"a\":1,\"z\":null}", "v={a: 1}"),
        (
            "struct<a:int>",
            "{\"a\":1,\"z\":2}",
            "v={a: 1} _rescued={\"v\":{\"a\":1,\"z\":2}}",
        ),
        (
            "struct<a:int>",
            "{\"a\":1,\"a\":2}",
            "v={a: 2} _rescued={\"v\":{\"a\":1,\"a\":2}}",
        ),
        ("struct<a:int>", "[]", "_rescued={\"v\":[]}"),
        ("struct<a:struct<b:int>>", "{\"a\":{}}", "v={a: {b: }}"),
        ("map<string,int>", "{\"x\":1,\"y\":null}", "v={x: 1, y: }"),
        (
            "map<int,string>",
            "{\"1\":\"a\",\"\\u0032\":true}",
            "v={1: a, 2: true}",
        ),
        (
            "map<int,int>",
            "{\"1\":1,\"z\":2}",
            "v={1: 1} _rescued={\"v\":{\"1\":1,\"z\":2}}",
        ),
        (
            "map<string,int>",
            "{\"x\":1,\"x\":2}",
            "v={x: 2} _rescued={\"v\":{\"x\":1,\"x\":2}}",
        ),
        (
            "array<struct<a:int>>",
            "[{\"a\":1},{\"b\":2}]",
            "v=[{a: 1}, {a: }] _rescued={\"v\":[{\"a\":1},{\"b\":2}]}",
        ),
    ];
    for (data_type, value, expected) in cases {
        assert_eq!(coerced(data_type, &[value]), [expected], "{data_type}");
    }
}

#[test]
fn of_a_key_twice_the_last_is_the_columns_and_the_others_are_rescued() {
    let settings = given(&[("a", "int"), ("b", "string")], NewColumns::Rescue);
    let decoded = decode(
        &settings,
        concat!(
            "{\"a\":1,\"b\":\"x\",\"a\":2}\n",
            "{\"a\":1,\"a\":\"no\"}\n",
            "{\"a\":\"no\",\"a\":1,\"\\u0061\":2}\n",
            "{\"a\":3}\n",
            "{\"b\":\"y\",\"u\":1,\"u\":{\"k\": 2}}\n",
        ),
    );
    assert_eq!(
        decoded.rows(),
        [
            "a=2 b=x _rescued={\"a\":1}",
            "_rescued={\"a\":1,\"a\":\"no\"}",
            "a=2 _rescued={\"a\":\"no\",\"a\":1}",
            "a=3",
            "b=y _rescued={\"u\":1,\"u\":{\"k\": 2}}",
        ]
    );
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
fn what_is_no_record_is_a_reject_at_its_offset() {
    let mut bytes = b"{\"a\":1}\n[1]\n \t\n{\"a\":\"\xff\"}\n{\"a\":\"\x01\"}\nnull\n".to_vec();
    bytes.extend_from_slice(format!("{}\n", "[".repeat(200)).as_bytes());
    bytes.extend_from_slice(b"{\"a\":2}\n{\"a\":");
    let decoded = decode_as(&settings(), &context(InputFormat::Ndjson), &bytes);
    assert_eq!(decoded.rows(), ["a=1", "a=2"]);
    assert_eq!(
        decoded.reasons(),
        [
            "not a JSON object",
            "not UTF-8 at byte 6",
            "not JSON at byte 6: a control character inside a string",
            "not a JSON object",
            "not JSON at byte 128: nested deeper than `depth_max`",
            "not JSON at byte 5: a value is missing",
        ]
    );
    assert_eq!(decoded.batch.origins, [(0, 0), (0, 6)]);
}

#[test]
fn a_record_that_is_too_long_is_one_reject_whether_it_came_whole_or_cut() {
    let mut context = context(InputFormat::Ndjson);
    context.settings.record_bytes_max = 10;
    let decoded = decode_as(
        &settings(),
        &context,
        b"{\"a\":1}\n{\"a\":12345678}\n{\"a\":2}\n",
    );
    assert_eq!(decoded.rows(), ["a=1", "a=2"]);
    assert_eq!(
        decoded.reasons(),
        ["longer than `record_bytes_max`, which is 10 bytes"]
    );
    assert_eq!((decoded.rejects[0].offset, decoded.rejects[0].line), (8, 2));

    let mut decoder = decoder(&registry(&settings()));
    let mut range = segment(100, b"{\"a\":\"xxxxxx");
    range.to = 1_000_000;
    range.line = 5;
    let mut rejects = Vec::new();
    let outcome = decoder.decode(3, &context, &range, b"{\"a\":\"xxxxxx", &mut |r| {
        rejects.push(r)
    });
    assert_eq!((outcome.rejected, outcome.rejected_bytes), (1, 999_900));
    let [reject] = &rejects[..] else { panic!() };
    assert_eq!(
        (reject.offset, reject.line, reject.bytes),
        (100, 5, 999_900)
    );
    assert_eq!(
        (reject.segment, reject.ordinal, reject.raw.len()),
        (3, 0, 12)
    );
    assert_eq!(decoder.rows(), 0);
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
    let line = b"{\"i\":1,\"o\":{\"x\":1,\"y\":1},\"new\":[{\"k\":true}]}";
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
fn csv_is_inferred_on_its_text() {
    let mut context = context(InputFormat::Csv);
    let header = "i,zero,plus,d,b,t,empty,big,q,mixed,Airport Name";
    context.header = Some(header.split(',').map(str::to_owned).collect());
    let text = format!(
        "{header}\r\n1,07,+1,1.5,true,2026-01-01T00:00:00Z,,9223372036854775808,\"1\",1,x\r\n\r\n-2,1,1,2,false,2026-01-01 01:00,,1,\"\",true,y\r\n"
    );
    let schema = infer(&settings(), &context, text.as_bytes());
    assert_eq!(
        columns(&schema),
        [
            "i bigint",
            "zero string",
            "plus string",
            "d double",
            "b boolean",
            "t timestamp",
            "empty string",
            "big decimal(38,0)",
            "q bigint",
            "mixed string",
            "airport_name string",
        ]
    );
    let mut settings = settings();
    settings.columns = Vec::new();
    let decoded = decode_as(&settings, &context, text.as_bytes());
    assert_eq!(decoded.outcome.skipped_bytes, header.len() as u64 + 4);
    assert_eq!(decoded.rows()[1].split(' ').next(), Some("i=-2"));
    assert_eq!(decoded.batch.origins, [(0, 0), (0, 1)]);
}

#[test]
fn csv_fields_land_by_name_and_what_does_not_match_the_header_is_a_reject() {
    let mut context = context(InputFormat::Csv);
    context.header = Some(["a", "b", "c"].map(str::to_owned).into());
    context.settings.csv.null = "\\N".into();
    context.settings.csv.comment = Some(b'#');
    let columns = [("a", "int"), ("b", "string"), ("c", "array<int>")];
    let settings = given(&columns, NewColumns::Rescue);
    let text = concat!(
        "#note\n",
        "a,b,c\n",
        "1,\"x, \"\"y\"\"\nz\",\"[1,2]\"\n",
        "\\N,\\N,\n",
        "\"\",\"\",\"\"\n",
        "x,\"\\N\",nope\n",
        "1,2\n",
        "1,2,3,4\n",
        "1,\"2\" ,3\n",
        "2,a\"b,\n",
        "#3,x,\n",
        "1,\"never\n",
        "ends,3\n",
    );
    let decoded = decode_as(&settings, &context, text.as_bytes());
    assert_eq!(
        decoded.rows(),
        [
            "a=1 b=x, \"y\"\nz c=[1, 2]",
            "",
            "b=",
            "b=\\N _rescued={\"a\":\"x\",\"c\":\"nope\"}",
            "a=2 b=a\"b",
        ]
    );
    assert_eq!(
        decoded.reasons(),
        [
            "2 fields, and the header has 3",
            "4 fields, and the header has 3",
            "something follows a closing quote",
            "a quoted field never ends",
        ]
    );
}

#[test]
fn a_csv_header_is_skipped_only_where_the_file_begins() {
    let mut context = context(InputFormat::Tsv);
    context.settings.csv.delimiter = b'\t';
    context.header = Some(["a", "A"].map(str::to_owned).into());
    let mut decoder = decoder(&registry(&settings()));
    let mut none = |r: Reject| panic!("{}", r.reason);
    let first = "\u{feff}a\tA\n1\tx\n".as_bytes();
    let outcome = decoder.decode(0, &context, &segment(0, first), first, &mut none);
    assert_eq!(outcome.skipped_bytes, 3 + 4);
    let later = b"2\ty\n3\tz";
    decoder.decode(
        1,
        &context,
        &segment(first.len() as u64, later),
        later,
        &mut none,
    );
    let batch = decoder.take();
    assert_eq!(rows(&batch.batch), ["a=1 a_2=x", "a=2 a_2=y", "a=3 a_2=z"]);
    assert_eq!(batch.origins, [(0, 0), (1, 0), (1, 1)]);
}

#[test]
fn json_values_stand_in_an_array_or_one_after_the_other() {
    let context = context(InputFormat::Json);
    let text =
        " [\n{\"a\":1},\n {\"a\": [1,\"]}\\\"\"]} , 5, [{\"a\":1}], {\"a\":01}, {\"a\":2}\n]\n";
    let decoded = decode_as(&settings(), &context, text.as_bytes());
    assert_eq!(decoded.rows(), ["a=1", "a=[1,\"]}\\\"\"]", "a=2"]);
    assert_eq!(
        decoded.reasons(),
        [
            "not a JSON object",
            "not a JSON object",
            "not JSON at byte 5: a leading zero"
        ]
    );
    let bytes: u64 = decoded.rejects.iter().map(|r| r.bytes).sum();
    assert_eq!(decoded.outcome.rejected_bytes, bytes);

    let decoded = decode_as(&settings(), &context, b"{\"a\":1}{\"a\":2}\n{\"a\":3,\n\"b");
    assert_eq!(decoded.rows(), ["a=1", "a=2"]);
    assert_eq!(decoded.rejects[0].bytes, 10, "the rest is one reject");
}

#[test]
fn a_text_line_is_a_column() {
    let decoded = decode_as(
        &settings(),
        &context(InputFormat::Text),
        b"2026\r\n\n{}\nlast",
    );
    assert_eq!(columns(&decoded.batch.schema), ["line string"]);
    assert_eq!(
        decoded.rows(),
        ["line=2026", "line=", "line={}", "line=last"]
    );
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
fn raw_records_land_byte_for_byte_with_the_columns_that_paths_name() {
    let mut settings = settings();
    settings.mode = SchemaMode::None;
    let mut first = first_schema(&settings);
    assert!(first.raw);
    first.columns = first_schema(&given(&[("r", "string")], NewColumns::Add)).columns;
    let schemas = Arc::new(SchemaRegistry::new(settings, None, first));
    let mut decoder = decoder(&schemas);
    let mut rejects = Vec::new();
    let bytes = b"{\"x\": 1, \"r\":2.50 }\r\n\n[]\n{\"r\":\"\\u0041\",\"r\":null}\n";
    let range = segment(0, bytes);
    decoder.decode(0, &context(InputFormat::Ndjson), &range, bytes, &mut |r| {
        rejects.push(r)
    });
    let batch = decoder.take();
    let texts = rows(&batch.batch);
    assert_eq!(batch.batch.schema().field(0).name(), "_raw");
    assert_eq!(batch.batch.num_columns(), 2);
    assert!(texts[0].ends_with(" r=2.50"), "{texts:?}");
    let raw = batch
        .batch
        .column(0)
        .as_any()
        .downcast_ref::<arrow::array::BinaryArray>()
        .unwrap();
    assert_eq!(raw.value(0), b"{\"x\": 1, \"r\":2.50 }");
    assert_eq!(raw.value(1), b"{\"r\":\"\\u0041\",\"r\":null}");
    assert_eq!(rejects.len(), 1);
    assert_eq!(schemas.current().0, 0);
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
