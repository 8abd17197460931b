//! Names, configurations and manifests that somebody else wrote, or somebody's editor.

use lakeward::config::DEFAULT_TOML;
use proptest::prelude::*;
use serde_json::Value;

use crate::properties::{config, journal, manifest, names};

// ---------------------------------------------------------------- names

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn files_of_a_lake_have_one_name_each(
        pipeline in "[a-z0-9-]{0,6}",
        journal in "[0-9a-f]{16}|[0-9A-F]{16}|\\+[0-9a-f]{15}|[0-9a-f]{1,3}",
        batch in "\\+?[0-9]{1,3}|0{1,3}[1-9]?|18446744073709551615|18446744073709551616",
        number in "\\+?[0-9]{1,2}|0{1,3}[1-9]?|4294967295|4294967296",
        extension in "\\.parquet|\\.ndjson|\\.ndjson\\.gz|\\.ndjson\\.zst|\\.gz",
        dot in "\\.",
    ) {
        names::hold(format!("{pipeline}-{journal}-{batch}-{number}{extension}").as_bytes());
        names::hold(format!("{batch}.json").as_bytes());
        names::hold(format!("{batch}{dot}{number}.json").as_bytes());
        names::hold(journal.as_bytes());
        names::hold(format!("{journal}{journal}").as_bytes());
    }

    #[test]
    fn names_have_one_form(
        text in "[-a-z0-9+._/]{0,8}(-[0-9a-f]{16}|-\\+?[0-9]{1,3}|\\.[0-9+]{1,3}|\\\\x[0-9a-f+]{2}|/|\\.\\.|%2[fF]|[+0]){0,4}(\\.json|\\.parquet|\\.ndjson(\\.gz|\\.zst)?)?"
    ) {
        names::hold(text.as_bytes());
    }

    #[test]
    fn whatever_bytes_a_name_has_it_is_read_back(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        names::hold(&bytes);
    }

    #[test]
    fn types_and_templates_are_read_back(
        text in "(array|map|struct|decimal|varchar|char|int|string|uniontype|[a-z`:]{0,4}|<|>|,|\\(|\\)|[0-9]{1,3}| |\\{[a-z:%YmdH.]{0,8}\\}|=|/){0,12}"
    ) {
        names::hold(text.as_bytes());
    }
}

// ---------------------------------------------------------------- configurations

/// The default file with every key that is commented out put in force.
fn all_keys() -> Vec<String> {
    DEFAULT_TOML
        .lines()
        .map(|line| {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            let is_key = bare.split_once(" = ").is_some_and(|(key, _)| {
                !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            });
            if is_key { bare } else { line }.to_owned()
        })
        .collect()
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "0",
            "-1",
            "1",
            "9223372036854775807",
            "-9223372036854775808",
            "1e308",
            "nan",
            "inf",
            "0x7fffffffffffffff",
            "true",
            "\"\"",
            "\"\\u0000\"",
            "\"\\u202e\"",
            "\"/\"",
            "\"..\"",
            "\"{\"",
            "\"{a:%\"",
            "\"${UNSET}\"",
            "\"${SET}\"",
            "\"${file:/absent}\"",
            "\"${\"",
            "\"99999999999999999999TiB\"",
            "\"1h1h\"",
            "\"(\"",
            "\"[\"",
            "\"(?<a>.){1000}{1000}\"",
            "\"**/[\"",
            "\"array<\"",
            "[]",
            "[[]]",
            "[1,\"a\"]",
            "{}",
            "{ a = 1 }",
            "{ a.b = \"c\" }",
            "1979-05-27T07:32:00Z",
            "'''\n'''",
        ])
        .prop_map(str::to_owned),
        "\"[ -!#-\\[\\]-~äß]{0,12}\"",
    ]
}

proptest! {
    #![proptest_config(crate::cases(500))]

    #[test]
    fn a_configuration_with_changed_lines_is_told_by_line_and_key(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..5_u8, value()), 1..4),
    ) {
        let mut lines = all_keys();
        for (at, how, value) in changes {
            let at = at.index(lines.len());
            match how {
                0 => drop(lines.remove(at)),
                1 => {
                    let copy = lines[at].clone();
                    lines.insert(at, copy);
                }
                2 => lines.swap(at, 0),
                _ => {
                    if let Some((key, _)) = lines[at].split_once(" = ") {
                        lines[at] = format!("{key} = {value}");
                    }
                }
            }
        }
        config::hold(lines.join("\n").as_bytes());
    }

    #[test]
    fn a_configuration_of_any_bytes_is_told(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        config::hold(&bytes);
    }
}

// ---------------------------------------------------------------- manifests

/// Every place in a value, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(elements) => {
            for (n, element) in elements.iter().enumerate() {
                places(element, &format!("{at}/{n}"), found);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                places(field, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

fn json() -> impl Strategy<Value = Value> {
    let texts = vec![
        "", "..", "../x", "/x", "a/../b", "a\0b", "batch", "data", "p", "\u{202e}",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![0, 1, u64::from(u32::MAX), u64::MAX]).prop_map(Value::from),
        // Short ones: no manifest has fractions of its own, and JSON is read to the last digit but one.
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        prop::sample::select(texts).prop_map(Value::from),
        Just(Value::Array(Vec::new())),
        Just(serde_json::json!({})),
        Just(serde_json::json!([[], {}, null])),
        Just(Value::Array(vec![Value::Null; 1000])),
    ]
}

proptest! {
    #![proptest_config(crate::cases(1000))]

    #[test]
    fn a_manifest_with_changed_values_is_refused_or_the_same_after_a_round_trip(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..6_u8, json()), 1..4),
    ) {
        let mut value: Value = serde_json::from_slice(&journal::manifest().to_json()).unwrap();
        for (at, how, new) in changes {
            let mut found = Vec::new();
            places(&value, "", &mut found);
            let at = &found[at.index(found.len())];
            let Some(place) = value.pointer_mut(at) else { continue };
            match (how, place) {
                (1, Value::Array(elements)) => elements.push(new),
                (1, Value::Object(fields)) => drop(fields.insert("more".into(), new)),
                (2, Value::Array(elements)) if !elements.is_empty() => {
                    let copy = elements[0].clone();
                    elements.push(copy);
                }
                (3, Value::Array(elements)) => drop(elements.pop()),
                (3, Value::Object(fields)) => {
                    let key = fields.keys().next().cloned();
                    key.map(|key| fields.shift_remove(&key));
                }
                (_, place) => *place = new,
            }
        }
        manifest::hold(value.to_string().as_bytes());
    }

    #[test]
    fn a_manifest_with_changed_bytes_is_refused_or_the_same_after_a_round_trip(
        at in any::<prop::sample::Index>(),
        length in 0..30_usize,
        put in "[-\\[\\]{}\",:0-9eE+.\\\\a-z]{0,12}",
    ) {
        let mut bytes = journal::manifest().to_json();
        let at = at.index(bytes.len());
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, put.bytes());
        manifest::hold(&bytes);
    }
}

/// Deep nesting, and a number of a million digits: refused without a stack or a minute for it.
#[test]
fn a_manifest_that_is_a_bomb_is_refused() {
    for bomb in [
        "[".repeat(1_000_000),
        "{\"a\":".repeat(100_000),
        format!("{{\"format\":{}}}", "9".repeat(1_000_000)),
        format!("{{\"format\":1e{}}}", "9".repeat(1_000_000)),
    ] {
        manifest::hold(bomb.as_bytes());
    }
    let honest = String::from_utf8(journal::manifest().to_json()).unwrap();
    let deep = honest.replacen("{\"columns\":[]}", &"[".repeat(100_000), 1);
    assert_ne!(honest, deep);
    manifest::hold(deep.as_bytes());
}
