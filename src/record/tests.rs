//! The scanner against another reader of JSON.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::scan::{Kind, Tape};
use super::text;

fn string(tape: &Tape, at: u32, bytes: &[u8]) -> String {
    let mut plain = Vec::new();
    text::unescape(tape.nodes()[at as usize].inner(bytes), &mut plain);
    String::from_utf8(plain).unwrap()
}

/// The tape read back the slow way.
fn value(tape: &Tape, at: u32, bytes: &[u8]) -> Value {
    let node = tape.nodes()[at as usize];
    let raw = std::str::from_utf8(node.raw(bytes)).unwrap();
    match node.kind {
        Kind::Null => Value::Null,
        Kind::True => Value::Bool(true),
        Kind::False => Value::Bool(false),
        Kind::Integer | Kind::Decimal => serde_json::from_str(raw).unwrap(),
        Kind::String => Value::String(string(tape, at, bytes)),
        Kind::Array => {
            let mut values = Vec::new();
            let mut child = at + 1;
            while child < node.next {
                values.push(value(tape, child, bytes));
                child = tape.nodes()[child as usize].next;
            }
            Value::Array(values)
        }
        Kind::Object => {
            let mut map = Map::new();
            let mut child = at + 1;
            while child < node.next {
                map.insert(string(tape, child, bytes), value(tape, child + 1, bytes));
                child = tape.nodes()[child as usize + 1].next;
            }
            Value::Object(map)
        }
    }
}

fn agree(text: &str) {
    let expected: Result<Value, _> = serde_json::from_str(text);
    if let Err(e) = &expected
        && e.to_string().contains("number out of range")
    {
        // It is JSON all the same.
        return;
    }
    let mut tape = Tape::default();
    let scanned = tape.scan(text.as_bytes(), 0);
    match (&expected, scanned) {
        (Ok(expected), Ok(())) => {
            assert_eq!(&value(&tape, 0, text.as_bytes()), expected, "{text:?}");
            let root = tape.nodes()[0].raw(text.as_bytes());
            assert_eq!(root, text.trim_ascii().as_bytes());
        }
        (Err(_), Err(malformed)) => assert!(malformed.at <= text.len()),
        (expected, scanned) => panic!("{text:?}: {scanned:?}, expected {expected:?}"),
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\\n\u{0}é😀 ]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(("[a-c\"é\n]{0,3}", inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_by_another_is_read_alike(value in json(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            serde_json::to_string(&value).unwrap()
        };
        agree(&text);
    }

    #[test]
    fn one_changed_character_is_judged_alike(
        value in json(),
        at in any::<prop::sample::Index>(),
        by in "[\\[\\]{}\",:0-9eE+.\\\\ \u{1}\u{7f}utrnfals-]{0,3}",
    ) {
        let mut text: Vec<char> = serde_json::to_string(&value).unwrap().chars().collect();
        let at = at.index(text.len());
        text.splice(at..=at, by.chars());
        agree(&text.into_iter().collect::<String>());
    }

    #[test]
    fn a_soup_of_jsons_characters_is_judged_alike(text in "[\\[\\]{}\",:0-2eE+.\\\\ udD8cfn-]{0,14}") {
        agree(&text);
    }

    #[test]
    fn escapes_are_judged_and_read_alike(text in "(\\\\u[dD]8[0-9a-f]{2}|\\\\u[dD][cC][0-9a-f]{2}|\\\\u00[0-9a-f]{2}|\\\\[\"\\\\/bfnrtux]|[a-z\"é]){0,8}") {
        agree(&format!("\"{text}\""));
        agree(&format!("{{\"{text}\":1}}"));
    }

    #[test]
    fn numbers_are_judged_alike(text in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?") {
        agree(&text);
        agree(&format!("[{text}]"));
    }

    #[test]
    fn a_quoted_text_is_read_back(text in any::<String>()) {
        let mut quoted = Vec::new();
        text::quote(text.as_bytes(), &mut quoted);
        prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text);
    }
}

#[test]
fn what_readers_disagree_about_is_refused() {
    for (text, at, what) in [
        ("01", 0, "a leading zero"),
        ("[1,-01]", 4, "a leading zero"),
        ("\"\\ud800\"", 1, "half a surrogate pair"),
        ("\"\\udc00\\ud800\"", 1, "half a surrogate pair"),
        ("\"\\ud800\\u0041\"", 1, "half a surrogate pair"),
        ("\"a\tb\"", 2, "a control character inside a string"),
        (
            "\"01234567\u{0}\"",
            9,
            "a control character inside a string",
        ),
        ("\"\\x\"", 1, "an escape that JSON does not have"),
        ("\"\\u12g4\"", 1, "`\\u` without four hexadecimal digits"),
        ("{\"a\":1} x", 8, "something follows the value"),
        ("{\"a\":1}{\"a\":2}", 7, "something follows the value"),
        ("{\"a\":1,}", 7, "a key in quotes is missing"),
        ("[1,]", 3, "no JSON value begins like this"),
        ("[1 2]", 3, "`,` or `]` is missing"),
        ("{\"a\" 1}", 5, "`:` is missing"),
        ("{\"a\":1", 6, "the object does not end"),
        ("{\"a", 3, "the string does not end"),
        ("NaN", 0, "no JSON value begins like this"),
        ("\u{feff}1", 0, "no JSON value begins like this"),
        ("", 0, "a value is missing"),
        ("1.", 2, "a digit is missing"),
        ("{'a':1}", 1, "a key in quotes is missing"),
        ("\u{a0}1", 0, "no JSON value begins like this"),
    ] {
        let malformed = Tape::default().scan(text.as_bytes(), 128).unwrap_err();
        assert_eq!((malformed.at, malformed.what), (at, what), "{text}");
    }
}

#[test]
fn a_depth_bomb_costs_a_refusal_and_no_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let mut tape = Tape::default();
        tape.scan(nested(128).as_bytes(), 128).unwrap();
        let malformed = tape.scan(nested(129).as_bytes(), 128).unwrap_err();
        assert_eq!(malformed.what, "nested deeper than `depth_max`");
        tape.scan(nested(1_000_000).as_bytes(), 0).unwrap();
    }
}

#[test]
fn duplicate_keys_are_all_on_the_tape() {
    let mut tape = Tape::default();
    tape.scan(b"{\"a\":1,\"a\":2}", 128).unwrap();
    assert_eq!(tape.nodes().len(), 5);
}
