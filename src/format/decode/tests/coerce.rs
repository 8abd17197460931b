//! Every coercion, as a table.

use super::*;

/// Rows of one column `v` of this type, for each of these JSON values.
fn coerced(data_type: &str, values: &[&str]) -> Vec<String> {
    coerced_by(&given(&[("v", data_type)], NewColumns::Rescue), values)
}

fn coerced_by(settings: &SchemaSettings, values: &[&str]) -> Vec<String> {
    let lines: Vec<_> = values.iter().map(|v| format!("{{\"v\":{v}}}\n")).collect();
    let lines = lines.concat();
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
fn a_given_column_takes_keys_that_fold_to_its_name() {
    let types = [("flight_date", "date"), ("geo", "struct<lat_n:int>")];
    let settings = given(&types, NewColumns::Rescue);
    let decoded = decode(
        &settings,
        concat!(
            "{\"Flight Date\":\"2026-11-29\",\"GEO\":{\"Lat N\":1}}\n",
            "{\"flight_date\":\"2026-11-28\",\"Flight Date\":\"2026-11-29\"}\n",
            "{\"Flight Date\":\"2026-11-29\",\"flight_date\":\"2026-11-28\"}\n",
            "{\"geo\":{\"LAT N\":2,\"lat_n\":3}}\n",
        ),
    );
    assert_eq!(
        decoded.rows(),
        [
            "flight_date=2026-11-29 geo={lat_n: 1}",
            "flight_date=2026-11-28 _rescued={\"Flight Date\":\"2026-11-29\"}",
            "flight_date=2026-11-28 _rescued={\"Flight Date\":\"2026-11-29\"}",
            "geo={lat_n: 3} _rescued={\"geo\":{\"LAT N\":2,\"lat_n\":3}}",
        ]
    );
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
