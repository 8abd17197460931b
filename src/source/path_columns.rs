//! Columns out of a spooled file's path.

use regex::Regex;

use crate::segment::RelativePath;

/// A regular expression whose named groups become columns.
pub(super) struct PathColumns(Option<Regex>);

impl PathColumns {
    /// Empty: no columns.
    pub(super) fn new(expression: &str) -> Result<Self, regex::Error> {
        if expression.is_empty() {
            return Ok(Self(None));
        }
        Regex::new(expression).map(|r| Self(Some(r)))
    }

    /// Each named group with what it matched of the relative path (bytes that are no UTF-8 as replacement characters);
    /// `None` for all where the path does not match.
    pub(super) fn of(&self, path: &RelativePath) -> Vec<(String, Option<String>)> {
        let Some(regex) = &self.0 else {
            return Vec::new();
        };
        let text = String::from_utf8_lossy(path.as_bytes());
        let captures = regex.captures(&text);
        regex
            .capture_names()
            .flatten()
            .map(|name| {
                let value = captures.as_ref().and_then(|c| c.name(name));
                (name.to_owned(), value.map(|v| v.as_str().to_owned()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_match_gives_nulls() {
        let columns = PathColumns::new(r"^(?<shop>\w+)/(?<day>\d{4})?").unwrap();
        let of = |path: &[u8]| columns.of(&RelativePath::new(path).unwrap());
        let value = |v: &str| Some(v.to_owned());
        assert_eq!(
            of(b"north/2026.json"),
            [
                ("shop".to_owned(), value("north")),
                ("day".to_owned(), value("2026"))
            ]
        );
        assert_eq!(
            of(b"north/x"),
            [
                ("shop".to_owned(), value("north")),
                ("day".to_owned(), None)
            ]
        );
        assert_eq!(
            of(b"x"),
            [("shop".to_owned(), None), ("day".to_owned(), None)]
        );
    }
}
