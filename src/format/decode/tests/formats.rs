//! Formats, and what is no record in them.

use super::*;

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
        rejects.push(r);
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
fn a_header_of_words_lands_in_given_columns() {
    let mut context = context(InputFormat::Csv);
    context.header = Some(["Flight Date", "Seats"].map(str::to_owned).into());
    let settings = given(
        &[("seats", "int"), ("flight_date", "date")],
        NewColumns::Rescue,
    );
    let decoded = decode_as(&settings, &context, b"Flight Date,Seats\n2026-11-29,7\n");
    assert_eq!(decoded.rows(), ["seats=7 flight_date=2026-11-29"]);
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
        rejects.push(r);
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
        .downcast_ref::<arrow::array::BinaryViewArray>()
        .unwrap();
    assert_eq!(raw.value(0), b"{\"x\": 1, \"r\":2.50 }");
    assert_eq!(raw.value(1), b"{\"r\":\"\\u0041\",\"r\":null}");
    assert_eq!(rejects.len(), 1);
    assert_eq!(schemas.current().0, 0);
}

#[test]
fn what_follows_a_syntax_error_in_an_array_is_one_record_of_its_segment() {
    let context = context(InputFormat::Json);
    let bytes = b", {\"a\":01}, {\"b\":2}\n]\n";
    let mut range = segment(50, bytes);
    range.records = 1;
    let mut decoder = decoder(&registry(&settings()));
    let mut rejects = Vec::new();
    let outcome = decoder.decode(0, &context, &range, bytes, &mut |r| rejects.push(r));
    assert_eq!(rejects[0].raw, b"{\"a\":01}, {\"b\":2}");
    assert_eq!((outcome.rejected, outcome.rejected_bytes), (1, 17));
    assert_eq!((rejects[0].offset, outcome.skipped_bytes), (52, 5));

    let bytes = b",{\"a\":1} ,\n]";
    let mut range = segment(50, bytes);
    range.records = 1;
    let outcome = decoder.decode(1, &context, &range, bytes, &mut |r| rejects.push(r));
    assert_eq!((outcome.rejected, outcome.skipped_bytes), (0, 5));
}

#[test]
fn a_segment_framed_as_one_long_record_is_a_reject_whatever_it_holds() {
    let mut context = context(InputFormat::Ndjson);
    context.settings.record_bytes_max = 10;
    let bytes = b"               \n";
    let mut range = segment(7, bytes);
    range.records = 1;
    let mut rejects = Vec::new();
    let outcome = decoder(&registry(&settings())).decode(0, &context, &range, bytes, &mut |r| {
        rejects.push(r);
    });
    assert_eq!((outcome.rejected, outcome.rejected_bytes), (1, 16));
    assert_eq!(rejects[0].bytes, 16);
}

#[test]
fn four_million_empty_lines_cost_a_look_at_each() {
    let bytes = vec![b'\n'; 4_000_000];
    for format in [InputFormat::Ndjson, InputFormat::Csv, InputFormat::Json] {
        let decoded = decode_as(&settings(), &context(format), &bytes);
        assert_eq!(decoded.outcome.skipped_bytes, 4_000_000);
    }
}
