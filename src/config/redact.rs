//! The second lock on secrets: whatever is about to be shown is searched for them.
//!
//! [`super::Secret`] keeps a value out of messages by its type. A library's error text or a panic may still quote one;
//! logs and panics therefore go through [`mask`]. Values that are too short to be told from ordinary words are left to the
//! type alone, or every `test` in a path would be blotted out.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

/// What stands in place of a secret.
pub const MASK: &str = "[secret]";

/// Shorter values are not searched for.
const LENGTH_MIN: usize = 6;

/// Longest first, so that a secret that is part of another does not leave the other's rest behind.
static KNOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on [`mask`] hides `value`, also as JSON and as a URL would write it.
pub fn remember(value: &str) {
    let value = value.trim();
    if value.len() < LENGTH_MIN {
        return;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    for form in [
        value.to_owned(),
        json_form(value),
        format!("{value:?}").trim_matches('"').to_owned(),
        percent_form(value),
    ] {
        if !known.contains(&form) {
            known.push(form);
        }
    }
    known.sort_by_key(|form| std::cmp::Reverse(form.len()));
}

/// `text` without any remembered secret.
#[must_use]
pub fn mask(text: &str) -> Cow<'_, str> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut masked = Cow::Borrowed(text);
    for secret in known.iter() {
        if masked.contains(secret.as_str()) {
            masked = Cow::Owned(masked.replace(secret.as_str(), MASK));
        }
    }
    masked
}

/// `scheme://user:password@host` without what stands before the `@`.
#[must_use]
pub fn mask_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        shown.push_str(head);
        let authority_end = tail
            .find(|c: char| c == '/' || c == '?' || c == '#' || c.is_whitespace())
            .unwrap_or(tail.len());
        match tail[..authority_end].rfind('@') {
            Some(sign) => {
                shown.push_str(MASK);
                rest = &tail[sign..];
            }
            // A password may itself hold a `/`: then the `@` comes later, and all before it is suspect.
            None => match tail.find('@') {
                Some(sign) if !tail[..sign].contains(char::is_whitespace) => {
                    shown.push_str(MASK);
                    rest = &tail[sign..];
                }
                _ => rest = tail,
            },
        }
    }
    shown.push_str(rest);
    shown
}

fn json_form(value: &str) -> String {
    serde_json::to_string(value)
        .map(|quoted| quoted.trim_matches('"').to_owned())
        .unwrap_or_default()
}

fn percent_form(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_secret_is_hidden_in_every_form() {
        remember("p/ss\"word+42");
        for text in [
            "said p/ss\"word+42 aloud",
            r#"{"key":"p/ss\"word+42"}"#,
            "http://h/?k=p%2Fss%22word%2B42",
        ] {
            let shown = mask(text);
            assert!(shown.contains(MASK), "{shown}");
            assert!(!shown.contains("word"), "{shown}");
        }
    }

    #[test]
    fn a_short_value_does_not_blot_out_ordinary_words() {
        remember("test");
        assert_eq!(mask("a test of the lake"), "a test of the lake");
    }

    #[test]
    fn credentials_inside_urls_are_hidden() {
        for (text, shown) in [
            ("http://u:p@h:9000/b", "http://[secret]@h:9000/b"),
            ("http://u:p/w@h/b", "http://[secret]@h/b"),
            ("http://h/b", "http://h/b"),
            ("no url, me@home", "no url, me@home"),
        ] {
            assert_eq!(mask_userinfo(text), shown);
        }
    }
}
