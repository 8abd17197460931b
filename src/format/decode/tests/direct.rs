//! The straight way against the way over the tape: the same rows, rejects and schema, whatever the records are.

use proptest::prelude::*;

use super::*;

/// What a value may be; the columns are of all types, so most of them fit somewhere and nowhere else.
fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,20})",
        "-?(0|[1-9][0-9]{0,17})\\.[0-9]{1,17}",
        "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,3})?",
        "true|false|null|tru|nul|TRUE|NaN",
        "\"[a-z é😀]{0,45}\"",
        "\"([a-z]{0,9}|\\\\[\"\\\\/bfnrtux]|\\\\u[dD][89cC][0-9a-f]{2}|\\\\u00[0-9a-f]{2}|\u{1}|é){0,7}\"",
        "\"20[0-9]{2}-(0[1-9]|1[0-3])-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-6][0-9](\\.[0-9]{1,9})?)?(Z|[+-]0[0-9]:?[0-5]0)?)?\"",
        "\"(true|False|-?[0-9]{1,20}(\\.[0-9]{1,3})?|Infinity|1e5)\"",
        "1[0-9]{9}(000)?|\"1[0-9]{12}\"",
    ]
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        let pairs = prop::collection::vec((key(), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            pairs.prop_map(|pairs| object(&pairs, "", "")),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "i",
        "d",
        "s",
        "v",
        "b",
        "t",
        "y",
        "o",
        "a",
        "m",
        "n",
        "f",
        "c",
        "S",
        "a long key of many words",
        "é",
        "q\\\"",
        "\\u0069",
        "zz",
    ])
    .prop_map(str::to_owned)
}

fn object(pairs: &[(String, String)], before: &str, after: &str) -> String {
    let pairs = pairs
        .iter()
        .map(|(key, value)| format!("{before}\"{key}\"{before}:{after}{value}{after}"));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

/// A record whose values mostly fit the columns, so that the straight way is gone to its end.
fn fitting() -> impl Strategy<Value = String> {
    (
        any::<i64>(),
        any::<f64>(),
        "([a-z é]|\\\\n|\\\\u00e9|\\\\\"){0,60}",
        any::<bool>(),
        0..2_000_000_000_u32,
        prop::collection::vec("-?[1-9][0-9]{0,3}|null", 0..5),
        0..4_usize,
    )
        .prop_map(|(i, d, s, b, t, a, rest)| {
            let d = serde_json::to_string(&d).unwrap();
            let t = jiff::Timestamp::from_second(i64::from(t)).unwrap();
            let rest = ["", ",\"m\":{}", ",\"n\":null", ",\"S\":\"once more\""][rest];
            format!(
                "{{\"i\":{i},\"d\":{d},\"s\":\"{s}\",\"b\":{b},\"t\":\"{t}\",\"a\":[{}],\"o\":{{\"i\":{i},\"s\":\"{s}\"}},\"q\\\"\":1{rest}}}",
                a.join(",")
            )
        })
}

fn record() -> impl Strategy<Value = String> {
    let blanks = prop::sample::select(vec!["", "", " ", "\t ", "  \t  "]);
    prop_oneof![
        4 => fitting(),
        2 => (prop::collection::vec((key(), value()), 0..12), blanks.clone(), blanks)
            .prop_map(|(pairs, before, after)| format!("{before}{}{after}", object(&pairs, before, after))),
        1 => (fitting(), any::<prop::sample::Index>(), "[\\[\\]{}\",:0-9eE+.\\\\ \u{1}utrnfals-]{0,3}")
            .prop_map(|(text, at, by)| {
                let mut text: Vec<char> = text.chars().collect();
                let at = at.index(text.len());
                text.splice(at..=at, by.chars());
                text.into_iter().collect()
            }),
        1 => value(),
    ]
}

fn all_types(new_columns: NewColumns) -> SchemaSettings {
    given(
        &[
            ("i", "bigint"),
            ("d", "double"),
            ("s", "string"),
            ("v", "varchar(5)"),
            ("b", "boolean"),
            ("t", "timestamp"),
            ("y", "date"),
            (
                "o",
                "struct<i:int,s:string,o:struct<d:double,a:array<string>>,b:boolean>",
            ),
            ("a", "array<smallint>"),
            ("m", "map<string,bigint>"),
            ("n", "decimal(20,2)"),
            ("f", "float"),
            ("c", "binary"),
            ("a long key of many words", "tinyint"),
            ("q\"", "array<struct<i:bigint>>"),
        ],
        new_columns,
    )
}

/// Decodes segments of lines, by the straight way where it goes, or never.
fn through(
    settings: &SchemaSettings,
    context: &FileContext,
    segments: &[Vec<String>],
    only_tape: bool,
) -> (DecodedBatch, Vec<Reject>) {
    let mut decoder = decoder(&registry(settings));
    decoder.rows.only_tape = only_tape;
    let mut rejects = Vec::new();
    let mut from = 0;
    for (at, lines) in segments.iter().enumerate() {
        let bytes = lines.join("\n").into_bytes();
        let range = segment(from, &bytes);
        from += bytes.len() as u64;
        let mut reject = |r| rejects.push(r);
        decoder.decode(at as u32, context, &range, &bytes, &mut reject);
    }
    (decoder.take(), rejects)
}

fn agree(settings: &SchemaSettings, segments: &[Vec<String>], depth_max: u32) {
    let mut context = context(InputFormat::Ndjson);
    context.settings.depth_max = depth_max;
    agree_on(settings, &context, segments);
}

fn agree_on(settings: &SchemaSettings, context: &FileContext, segments: &[Vec<String>]) {
    let (straight, straight_rejects) = through(settings, context, segments, false);
    let (tape, tape_rejects) = through(settings, context, segments, true);
    assert_eq!(columns(&straight.schema), columns(&tape.schema));
    assert_eq!(straight_rejects, tape_rejects);
    assert_eq!(straight.origins, tape.origins);
    assert_eq!(straight.batch, tape.batch);
}

fn segments() -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec(record(), 1..8), 1..4)
}

/// A CSV field; what is quoted may hold anything.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?",
        2 => "[a-z é]{0,12}|true|False|NULL|\"\"|",
        1 => "20[0-9]{2}-(0[1-9]|1[0-2])-[0-2][0-9][ T][01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,3})?Z?",
        1 => "[a-z\"',\n\r {}]{0,9}".prop_map(|text| format!("\"{}\"", text.replace('"', "\"\""))),
        1 => value().prop_map(|text| format!("\"{}\"", text.replace('"', "\"\""))),
        1 => "[a-z\"\r]{0,4}",
    ]
}

fn csv() -> impl Strategy<Value = (Vec<String>, Vec<Vec<String>>)> {
    prop::collection::vec(key(), 1..8).prop_flat_map(|header| {
        let columns = header.len();
        let fields = prop_oneof![
            9 => prop::collection::vec(field(), columns),
            1 => prop::collection::vec(field(), 0..9),
        ];
        let rows = prop::collection::vec(fields.prop_map(|fields| fields.join(",")), 1..8);
        (Just(header), prop::collection::vec(rows, 1..4))
    })
}

proptest! {
    #[test]
    fn csv_goes_with_and_without_a_look_at_names_alike(
        (header, segments) in csv(),
        inferred in any::<bool>(),
        null in prop::sample::select(vec!["", "NULL"]),
        new_columns in prop::sample::select(vec![NewColumns::Add, NewColumns::Rescue, NewColumns::Reject]),
    ) {
        let settings = if inferred { settings() } else { all_types(new_columns) };
        let mut context = context(InputFormat::Csv);
        context.header = Some(header.into());
        context.settings.csv.header = false;
        context.settings.csv.null = null.to_owned();
        agree_on(&settings, &context, &segments);
    }

    #[test]
    fn the_straight_way_and_the_tape_agree_on_given_columns(
        segments in segments(),
        new_columns in prop::sample::select(vec![NewColumns::Add, NewColumns::Rescue, NewColumns::Reject]),
        depth_max in prop::sample::select(vec![0, 1, 2, 3, 128]),
    ) {
        agree(&all_types(new_columns), &segments, depth_max);
    }

    #[test]
    fn the_straight_way_and_the_tape_agree_on_columns_that_are_found(segments in segments()) {
        agree(&settings(), &segments, 128);
    }

    #[test]
    fn raw_records_go_the_straight_way_and_the_tape_alike(
        segments in segments(),
        columns in prop::sample::select(vec![
            &[][..],
            &[("s", "string")],
            &[("é", "string"), ("o", "struct<i:string,o:struct<s:string>>"), ("i", "string")],
            &[("t", "timestamp"), ("n", "varchar(3)"), ("a long key of many words", "bigint"), ("m", "string"), ("q\"", "string")],
        ]),
        names in prop::sample::select(vec![Names::Hive, Names::AsIs]),
        new_columns in prop::sample::select(vec![NewColumns::Rescue, NewColumns::Reject, NewColumns::Add]),
        depth_max in prop::sample::select(vec![0, 1, 2, 3, 128]),
    ) {
        let mut settings = given(columns, new_columns);
        settings.mode = SchemaMode::None;
        settings.names = names;
        agree(&settings, &segments, depth_max);
    }

    #[test]
    fn deep_records_go_the_straight_way_and_the_tape_alike(
        opening in prop::collection::vec(prop::sample::select(vec!["[", "{\"a\":", "[1,", "[{},"]), 0..140),
        wrong in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(vec!["]", "}", ",", ""]))),
        depth_max in prop::sample::select(vec![0, 63, 64, 65, 128]),
    ) {
        let mut closing: Vec<&str> = opening
            .iter()
            .rev()
            .map(|opened| if opened.starts_with('[') { "]" } else { "}" })
            .collect();
        if let Some((at, by)) = wrong && !closing.is_empty() {
            let at = at.index(closing.len());
            closing[at] = by;
        }
        let record = format!("{{\"s\":{}1{}}}", opening.concat(), closing.concat());
        for columns in [&[][..], &[("t", "string")], &[("s", "string")]] {
            let mut settings = given(columns, NewColumns::Rescue);
            settings.mode = SchemaMode::None;
            agree(&settings, &[vec![record.clone()]], depth_max);
        }
    }

    #[test]
    fn a_schema_is_inferred_alike_with_and_without_the_tape(
        segments in segments(),
        depth_max in prop::sample::select(vec![0, 1, 2, 3, 128]),
    ) {
        let mut settings = settings();
        settings.columns_max = 20;
        let inferred = [false, true].map(|only_tape| {
            let mut inference = Inference::new(&settings);
            inference.only_tape = only_tape;
            let mut context = context(InputFormat::Ndjson);
            context.settings.depth_max = depth_max;
            for lines in &segments {
                let bytes = lines.join("\n").into_bytes();
                inference.observe(&context, &segment(0, &bytes), &bytes);
            }
            let mut schema = first_schema(&settings);
            inference.finish(&mut schema);
            (columns(&schema), inference.records())
        });
        prop_assert_eq!(&inferred[0], &inferred[1]);
    }

    #[test]
    fn a_schema_is_inferred_alike_by_one_and_by_several_that_are_merged(segments in segments()) {
        let settings = settings();
        let observe = |inference: &mut Inference, lines: &[String]| {
            let bytes = lines.join("\n").into_bytes();
            inference.observe(&context(InputFormat::Ndjson), &segment(0, &bytes), &bytes);
        };
        let finish = |inference: &Inference| {
            let mut schema = first_schema(&settings);
            inference.finish(&mut schema);
            (columns(&schema), inference.records())
        };
        let mut whole = Inference::new(&settings);
        let mut merged = Inference::new(&settings);
        for lines in &segments {
            observe(&mut whole, lines);
            let mut part = Inference::new(&settings);
            observe(&mut part, lines);
            merged.merge(part);
        }
        prop_assert_eq!(finish(&merged), finish(&whole));
    }
}

#[test]
fn records_of_one_kind_go_the_straight_way_with_blanks_and_missing_keys_too() {
    let settings = given(
        &[
            ("id", "bigint"),
            ("name", "string"),
            ("o", "struct<x:double,l:array<string>>"),
        ],
        NewColumns::Reject,
    );
    let mut decoder = decoder(&registry(&settings));
    let lines = [
        "{\"id\":1,\"name\":\"a\\n\\u00e9\",\"o\":{\"x\":1.5,\"l\":[\"p\",null]}}",
        " { \"id\" : -2 , \"name\" : null , \"o\" : { \"x\" : 1e3 , \"l\" : [ ] } } ",
        "{\"name\":\"only\"}",
        "{\"o\":{},\"id\":3}",
        "{}",
    ];
    for line in lines {
        let record = line.as_bytes();
        let none = super::super::rows::PathValues::new(&decoder.schema, &[]);
        assert!(
            decoder.rows.append_plain(record, &none, &decoder.rules),
            "{line}"
        );
    }
    assert_eq!(decoder.rows(), lines.len());
}

#[test]
fn csv_records_that_fit_go_without_a_look_at_names() {
    let settings = given(
        &[
            ("id", "bigint"),
            ("name", "string"),
            ("at", "timestamp"),
            ("x", "double"),
        ],
        NewColumns::Reject,
    );
    let mut decoder = decoder(&registry(&settings));
    let none = super::super::rows::PathValues::new(&decoder.schema, &[]);
    let names = ["x", "name", "id"].map(str::to_owned);
    let slots = decoder.rows.texts_of(&names, &none).unwrap();
    assert_eq!(*slots, [3, 1, 0]);
    for (texts, fits) in [
        ([Some("1.5"), Some("a"), Some("7")], true),
        ([Some(""), None, Some("")], true),
        ([Some("1"), Some(""), Some("x")], false),
        ([None, None, None], true),
    ] {
        let texts = texts.iter().map(|text| text.map(str::as_bytes));
        let went = decoder
            .rows
            .append_plain_texts(&slots, texts, &decoder.rules);
        assert_eq!(went, fits);
    }
    assert_eq!(decoder.rows(), 3);
    for names in [&["id", "ID"][..], &["id", "other"], &["id", "id"]] {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert!(decoder.rows.texts_of(&names, &none).is_none(), "{names:?}");
    }
}

#[test]
fn raw_records_go_the_straight_way_with_any_keys_and_values() {
    for columns in [&[][..], &[("id", "string"), ("t", "string")]] {
        let mut settings = given(columns, NewColumns::Rescue);
        settings.mode = SchemaMode::None;
        let mut decoder = decoder(&registry(&settings));
        let lines = [
            "{\"id\":1,\"name\":\"a\\n\\u00e9\\ud83d\\ude00\",\"o\":{\"x\":1.5e-3,\"l\":[\"p\",null,{\"\\\"\":[[]]}]}}",
            " { \"id\" : \"2\" , \"name\" : null , \"o\" : { \"x\" : -0 , \"l\" : [ ] } , \"b\" : true } ",
            "{\"t\":\"only\"}",
            "{\"new\":{},\"id\":3,\"other\":false}",
            "{}",
        ];
        for line in lines {
            let none = super::super::rows::PathValues::new(&decoder.schema, &[]);
            assert!(
                decoder
                    .rows
                    .append_plain(line.as_bytes(), &none, &decoder.rules),
                "{line}"
            );
        }
        assert_eq!(decoder.rows(), lines.len());
    }
}

#[test]
fn records_of_one_kind_show_an_inference_nothing_new() {
    let first =
        "{\"a\":1,\"b\":\"x\",\"t\":\"2026-01-01T00:00:00Z\",\"o\":{\"d\":0.5},\"l\":[true]}";
    let mut inference = Inference::new(&settings());
    let context = context(InputFormat::Ndjson);
    inference.observe(&context, &segment(0, first.as_bytes()), first.as_bytes());
    for (record, known) in [
        (first, true),
        ("{\"l\":[],\"a\":-5,\"t\":null,\"b\":\"\\n\"}", true),
        ("{\"a\":1234567890123456789}", false),
        ("{\"a\":1.5}", false),
        ("{\"b\":1}", false),
        ("{\"t\":\"now\"}", false),
        ("{\"o\":{\"e\":1}}", false),
        ("{\"l\":[1]}", false),
        ("{\"z\":null}", false),
        ("{\"a\":1", false),
        ("{\"a\":01}", false),
        ("[]", false),
    ] {
        assert_eq!(inference.knows(record.as_bytes(), 128), known, "{record}");
    }
}
