use proptest::prelude::*;

use super::*;
use crate::format::{Compression, CsvSettings};

fn settings(format: InputFormat, record_bytes_max: u64) -> ReadingSettings {
    ReadingSettings {
        format,
        compression: Compression::None,
        charset: "utf-8".into(),
        csv: CsvSettings {
            header: true,
            delimiter: b',',
            quote: b'"',
            null: String::new(),
            columns: Vec::new(),
            comment: Some(b'#'),
        },
        record_bytes_max,
        decoded_bytes_max: 0,
        depth_max: 128,
        segment_bytes: crate::format::frame::SEGMENT_BYTES,
    }
}

struct Cut {
    segments: Vec<Framed>,
    header: Option<Vec<u8>>,
    misframed: bool,
}

/// Frames `stream`, pushed in pieces of these lengths, over and over.
fn frame(
    settings: &ReadingSettings,
    segment_bytes: usize,
    resume: u64,
    stream: &[u8],
    pieces: &[usize],
    torn: bool,
) -> Cut {
    let framer = Framer::with_segment_bytes(settings, resume, 0, segment_bytes);
    frame_by(framer, stream, pieces, torn)
}

fn frame_by(mut framer: Framer, stream: &[u8], pieces: &[usize], torn: bool) -> Cut {
    let mut segments = Vec::new();
    let mut rest = stream;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let n = pieces
            .next()
            .copied()
            .unwrap_or(rest.len())
            .clamp(1, rest.len());
        framer.push(&rest[..n]);
        rest = &rest[n..];
        segments.extend(std::iter::from_fn(|| framer.pop()));
    }
    framer.finish(torn);
    segments.extend(std::iter::from_fn(|| framer.pop()));
    Cut {
        segments,
        header: framer.header().map(<[u8]>::to_vec),
        misframed: framer.misframed(),
    }
}

fn counts(format: InputFormat, stream: &[u8]) -> Vec<(String, u64)> {
    frame(&settings(format, 1000), 1, 0, stream, &[], false)
        .segments
        .into_iter()
        .map(|s| (String::from_utf8_lossy(&s.bytes).into_owned(), s.records))
        .collect()
}

fn check(settings: &ReadingSettings, stream: &[u8], segments: &[Framed], segment_bytes: usize) {
    let mut at = 0;
    let mut line = 1;
    for s in segments {
        assert_eq!((s.from, s.line), (at, line));
        assert!(s.to > s.from);
        let bytes = &stream[s.from as usize..s.to as usize];
        assert_eq!(s.digest, Digest::of(bytes));
        line += newlines(bytes);
        at = s.to;
        let length = s.to - s.from;
        if is_cut(length, s.records, settings.record_bytes_max) {
            assert_eq!(s.bytes[..], bytes[..bytes.len().min(CUT_BYTES)]);
        } else {
            assert_eq!(&s.bytes[..], bytes);
            assert!(length <= segment_bytes as u64 || s.records <= 1);
        }
    }
    assert_eq!(at, stream.len() as u64);
}

const FORMATS: [InputFormat; 5] = [
    InputFormat::Ndjson,
    InputFormat::Text,
    InputFormat::Csv,
    InputFormat::Tsv,
    InputFormat::Json,
];

/// Pieces that all formats stumble over.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        "\n",
        "\r\n",
        "\"",
        "\"\"",
        ",",
        "a",
        " ",
        "{",
        "}",
        "[",
        "]",
        "\\",
        "#",
        "{\"a\":1}",
        "x,y",
        "\u{feff}",
        "\"q\n\"",
        "1",
        "\t",
        "{\"b\":[1,\"]\"]},\n",
        "long long long long line",
    ]);
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat().into_bytes())
}

/// Mostly whole records; now and then a blank line, a carriage return or a long one.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        10 => "[a-z]{1,12}",
        1 => Just(String::new()),
        1 => Just("\r".to_owned()),
        1 => Just(" \t".to_owned()),
        1 => " [a-z]{1,12}",
        1 => "[a-z]{20,60}",
    ];
    let lines = prop::collection::vec(line, 0..60);
    (lines, any::<bool>()).prop_map(|(lines, ends)| {
        let mut stream = lines.join("\n");
        if ends {
            stream.push('\n');
        }
        stream.into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn segments_do_not_depend_on_how_the_bytes_arrive(
        stream in soup(),
        pieces in prop::collection::vec(1_usize..9, 1..6),
        format in 0_usize..5,
        record_bytes_max in prop::sample::select(vec![0_u64, 4, 12, 30]),
        segment_bytes in prop::sample::select(vec![1_usize, 10, 40, 1000]),
        torn in any::<bool>(),
    ) {
        let settings = settings(FORMATS[format], record_bytes_max);
        let whole = frame(&settings, segment_bytes, 0, &stream, &[], torn);
        let pieced = frame(&settings, segment_bytes, 0, &stream, &pieces, torn);
        prop_assert_eq!(&whole.segments, &pieced.segments);
        prop_assert_eq!(&whole.header, &pieced.header);
        let end = whole.segments.last().map_or(0, |s| s.to) as usize;
        prop_assert!(torn || end == stream.len());
        check(&settings, &stream[..end], &whole.segments, segment_bytes);
    }

    #[test]
    fn lines_are_framed_alike_with_and_without_a_look_at_each(
        stream in prop_oneof![soup(), lines()],
        pieces in prop::collection::vec(1_usize..90, 1..6),
        format in 0_usize..2,
        record_bytes_max in prop::sample::select(vec![0_u64, 4, 12, 30]),
        segment_bytes in prop::sample::select(vec![1_usize, 10, 40, 100]),
        torn in any::<bool>(),
    ) {
        let settings = settings(FORMATS[format], record_bytes_max);
        let framer = |only_scan| {
            let mut framer = Framer::with_segment_bytes(&settings, 0, 0, segment_bytes);
            framer.only_scan = only_scan;
            frame_by(framer, &stream, &pieces, torn)
        };
        let (quick, scanned) = (framer(false), framer(true));
        prop_assert_eq!(quick.segments, scanned.segments);
    }

    #[test]
    fn framing_goes_on_at_every_segment_end_as_if_it_never_stopped(
        stream in soup(),
        format in 0_usize..5,
        segment_bytes in prop::sample::select(vec![1_usize, 10, 40]),
    ) {
        let settings = settings(FORMATS[format], 12);
        let whole = frame(&settings, segment_bytes, 0, &stream, &[], false);
        for s in &whole.segments {
            let again = frame(&settings, segment_bytes, s.to, &stream, &[3], false);
            prop_assert!(!again.misframed);
            prop_assert_eq!(&again.segments, &whole.segments);
        }
    }

    #[test]
    fn a_resumed_stream_of_other_segment_sizes_still_ends_one_where_it_was_journaled(
        stream in soup(),
        format in 0_usize..5,
    ) {
        let settings = settings(FORMATS[format], 12);
        for s in frame(&settings, 10, 0, &stream, &[], false).segments {
            let other = frame(&settings, 25, s.to, &stream, &[], false);
            prop_assert!(!other.misframed);
            prop_assert!(other.segments.iter().any(|o| o.to == s.to));
            check(&settings, &stream, &other.segments, 25);
        }
    }
}

#[test]
fn a_stream_that_has_no_record_end_where_one_was_journaled_is_misframed() {
    let settings = settings(InputFormat::Ndjson, 0);
    for (stream, resume) in [(&b"aaaa\nbb\n"[..], 3), (b"aaaa\n", 9), (b"", 1)] {
        for pieces in [&[1][..], &[100]] {
            assert!(frame(&settings, 10, resume, stream, pieces, false).misframed);
        }
    }
    assert!(!frame(&settings, 10, 5, b"aaaa\nbb\n", &[], false).misframed);
}

#[test]
fn ndjson_blank_lines_are_no_records_and_text_lines_are() {
    let stream = b"\xef\xbb\xbf{}\n \t\r\n\n{}";
    let count = |format| counts(format, stream).iter().map(|c| c.1).sum::<u64>();
    assert_eq!(count(InputFormat::Ndjson), 2);
    assert_eq!(count(InputFormat::Text), 4);
    assert_eq!(counts(InputFormat::Text, b"\xef\xbb\xbf").len(), 1);
    assert_eq!(counts(InputFormat::Text, b"\xef\xbb\xbf")[0].1, 0);
}

#[test]
fn csv_records_may_hold_line_ends_in_quotes() {
    let stream = b"\xef\xbb\xbf#c\n\na,b\r\n1,\"x\ny\"\r\n\r\n2,x\"y\n3,\"a\"\"\n\"z\n4,5";
    let got = frame(&settings(InputFormat::Csv, 1000), 1, 0, stream, &[], false);
    assert_eq!(got.header.as_deref(), Some(&b"a,b\r\n"[..]));
    let units: Vec<(&[u8], u64)> = got
        .segments
        .iter()
        .filter(|s| s.records > 0)
        .map(|s| (&s.bytes[..], s.records))
        .collect();
    let expected: [(&[u8], u64); 4] = [
        (b"1,\"x\ny\"\r\n", 1),
        (b"2,x\"y\n", 1),
        (b"3,\"a\"\"\n\"z\n", 1),
        (b"4,5", 1),
    ];
    assert_eq!(units, expected);
}

#[test]
fn csv_a_quote_that_never_closes_costs_one_line() {
    let stream = b"a,b\n1,2\n3,\"4\n5,6\n7,8\n";
    let got = frame(
        &settings(InputFormat::Csv, 1000),
        1 << 20,
        0,
        stream,
        &[],
        false,
    );
    let found: Vec<(&[u8], u64)> = got
        .segments
        .iter()
        .map(|s| (&s.bytes[..], s.records))
        .collect();
    let expected: [(&[u8], u64); 2] = [(b"a,b\n1,2\n3,\"4\n", 2), (b"5,6\n7,8\n", 2)];
    assert_eq!(found, expected);
}

#[test]
fn csv_a_quote_that_never_closes_and_is_too_long_is_one_record_to_the_end() {
    let stream = b"a,b\n1,2\n3,\"4\n5,6\n7,8\n";
    let got = frame(
        &settings(InputFormat::Csv, 6),
        1 << 20,
        0,
        stream,
        &[2],
        false,
    );
    let last = got.segments.last().unwrap();
    assert_eq!((last.from, last.to, last.records, last.line), (8, 21, 1, 3));
    assert!(is_cut(last.to - last.from, last.records, 6));
}

#[test]
fn json_elements_of_an_array_and_values_one_after_another_are_records() {
    let array = br#" [ {"a":"]}\""} , [1,{"b":2}],"x",3 ] "#;
    let got: Vec<_> = counts(InputFormat::Json, array);
    let expected = [
        (r#" [ {"a":"]}\""}"#, 1),
        (r#" , [1,{"b":2}]"#, 1),
        (r#","x""#, 1),
        (",3", 1),
        (" ] ", 0),
    ];
    let expected: Vec<_> = expected.map(|(t, n)| (t.to_owned(), n)).into();
    assert_eq!(got, expected);
    let records = |text: &str| {
        counts(InputFormat::Json, text.as_bytes())
            .iter()
            .map(|c| c.1)
            .sum::<u64>()
    };
    assert_eq!(records("{\"a\":1}{\"b\":2}\n{\"c\":3}"), 3);
    assert_eq!(records("{\"a\":1},\n{\"b\":2}"), 2);
    assert_eq!(records("[]"), 0);
    assert_eq!(records(""), 0);
    assert_eq!(records("{\"a\":1}[2,3]"), 2);
}

#[test]
fn json_after_an_error_inside_the_array_the_rest_is_one_record() {
    for (good, rest) in [
        (r#"[{"a":1}"#, r#",{"a":oops},{"a":3}]"#),
        (r#"[{"a":1}"#, r#",,{"a":2},{"a":3}]"#),
        (r#"[{"a":1}"#, r#" {"a":2},{"a":3}]"#),
        (r#"[{"a":1}"#, r#",{"a":"never,{"a":2},{"a":3}]"#),
        (r#"[{"a":1}"#, r#",{"a":[2},{"a":3}]"#),
        (r#"[{"a":1}"#, r#",{"a":"#),
        (r#"[{"a":1}]"#, r#"]{"a":2}{"a":3}"#),
    ] {
        let stream = format!("{good}{rest}");
        for pieces in [&[1][..], &[1000]] {
            let got = frame(
                &settings(InputFormat::Json, 1000),
                1 << 20,
                0,
                stream.as_bytes(),
                pieces,
                false,
            );
            let found: Vec<(&[u8], u64)> = got
                .segments
                .iter()
                .map(|s| (&s.bytes[..], s.records))
                .collect();
            let good_bytes = good.strip_suffix(']').filter(|_| rest.starts_with(']'));
            let expected: [(&[u8], u64); 2] = match good_bytes {
                Some(good) => [(good.as_bytes(), 1), (&stream.as_bytes()[good.len()..], 1)],
                None => [(good.as_bytes(), 1), (rest.as_bytes(), 1)],
            };
            assert_eq!(found, expected, "{stream}");
        }
    }
    // Nothing but separators is left: no record.
    assert_eq!(counts(InputFormat::Json, b"[1,,]").last().unwrap().1, 0);
}

#[test]
fn json_a_malformed_value_with_balanced_brackets_outside_the_array_is_one_record() {
    let records: Vec<u64> = counts(InputFormat::Json, b"{\"a\":oops}\n{\"b\":1}\n")
        .iter()
        .map(|c| c.1)
        .collect();
    assert_eq!(records, [1, 1, 0]);
}

#[test]
fn a_record_longer_than_the_limit_is_cut_and_never_held_whole() {
    let long = vec![b'x'; 3 << 20];
    let stream = [b"{\"a\":1}\n", &long[..], b"\n{\"b\":2}\n"].concat();
    let settings = settings(InputFormat::Ndjson, 1 << 20);
    let mut framer = Framer::new(&settings, 0, 0);
    let mut segments = Vec::new();
    for piece in stream.chunks(100_000) {
        framer.push(piece);
        assert!(framer.buffer.len() <= (1 << 20) + 100_100);
        segments.extend(std::iter::from_fn(|| framer.pop()));
    }
    framer.finish(false);
    segments.extend(std::iter::from_fn(|| framer.pop()));
    check(&settings, &stream, &segments, SEGMENT_BYTES);
    assert_eq!(segments[1].bytes.len(), CUT_BYTES);
    assert_eq!(
        segments.iter().map(|s| s.records).collect::<Vec<_>>(),
        [1, 1, 1]
    );
}

#[test]
fn a_torn_stream_ends_at_its_last_whole_record() {
    for (format, stream, end) in [
        (InputFormat::Ndjson, &b"{}\n{}\n{\"a\":1}"[..], 6),
        (InputFormat::Csv, b"a\n\"x\"\n\"y\nz\n", 6),
        (InputFormat::Json, b"[1,2,3", 4),
        (InputFormat::Json, b"[1,oops,3", 2),
    ] {
        let got = frame(&settings(format, 1000), 1 << 20, 0, stream, &[], true);
        assert_eq!(got.segments.last().unwrap().to, end);
    }
}
