//! Streams of any bytes through framing and decoding.

use lakeward::format::InputFormat;
use proptest::prelude::*;

use crate::properties::{decode, frame};

/// What formats stumble over, and bytes that mean nothing.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        &b"\n"[..],
        b"\r\n",
        b"\r",
        b"\"",
        b"\"\"",
        b",",
        b"\t",
        b" ",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"\\",
        b"\\u",
        b"\\ud800",
        b"#",
        b"{\"id\":1}",
        b"{\"id\":\"x\",\"id\":2}",
        b"{\"x\":{\"y\":[1,null,1e400,-0.0]}}",
        b"{\"\":{\"\":{}}}",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xc3",
        b"\0",
        b"null",
        b"true",
        b"-",
        b"99999999999999999999999999999999999999999",
        b"2026-11-29T18:00:00Z",
        b"9999-12-31",
        b"id",
    ]);
    let part = prop_oneof![
        6 => words.prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..8),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(crate::cases(5_000))]

    #[test]
    fn every_byte_is_in_one_segment(head in any::<[u8; 4]>(), stream in soup()) {
        frame::hold(&[&head[..], &stream].concat());
    }

    #[test]
    fn every_record_is_a_row_or_a_reject(head in any::<[u8; 2]>(), stream in soup()) {
        decode::hold(&[&head[..], &stream].concat());
    }

    #[test]
    fn a_bad_line_takes_nothing_from_its_neighbours(format in 0..5_usize, line in soup()) {
        decode::beside(crate::properties::FORMATS[format], &line);
    }
}

/// What may be among thousands: each kind of broken line between two good ones.
#[test]
fn known_bad_lines_take_nothing_from_their_neighbours() {
    let lines: [&[u8]; 9] = [
        b"{\"id\":oops}",
        b"{\"id\":1",
        b"\"",
        b"\"open, and never closed",
        b"\xff\xfe\xff",
        b"\0\0\0",
        b"[1,2",
        b"{\"id\":{\"a\":[[[[[",
        b"{\"id\":1}{\"id\":2}",
    ];
    for line in lines {
        for format in crate::properties::FORMATS {
            decode::beside(format, line);
        }
    }
    let all = lines.join(&b"\n"[..]);
    let decoded = decode::decode(
        InputFormat::Text,
        0,
        lakeward::schema::SchemaMode::Columns,
        &all,
    );
    assert_eq!(decoded.rejected + decoded.batch.origins.len(), lines.len());
}
