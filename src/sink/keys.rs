//! The template as a table in a catalog sees it: its partition keys, and the values in a directory's name.

use super::template::{Component, PathTemplate, Piece};
use crate::catalog::{Column, PartitionKey};
use crate::schema::{DataType, Schema};

impl Component {
    /// `dt={…}` has the key `dt`.
    fn table_key(&self) -> Option<&str> {
        let [Piece::Literal(key), Piece::Value(_), ..] = self.pieces.as_slice() else {
            return None;
        };
        let name = key.strip_suffix('=')?;
        (!name.is_empty() && !name.contains('=')).then_some(name)
    }

    /// As written.
    fn text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Value(value) => match &value.format {
                    Some(format) => format!("{{{}:{format}}}", value.name),
                    None => format!("{{{}}}", value.name),
                },
            })
            .collect()
    }
}

impl PathTemplate {
    /// The keys of the table in a catalog. `dt={…}` is one called `dt`: a string, or of the type of the column if the component is that
    /// column alone.
    #[must_use]
    pub fn registered_keys(&self, schema: &Schema) -> Vec<PartitionKey> {
        let removed = self.removed();
        let keys = self.components.iter().filter_map(Component::table_key);
        keys.map(|name| {
            let own = removed.contains(&name);
            let data_type = if own { schema.type_of(name) } else { None };
            PartitionKey {
                column: Column::new(name, data_type.unwrap_or(DataType::String)),
                made: !own,
            }
        })
        .collect()
    }

    /// The keys of a table whose partitions are all that this template makes.
    ///
    /// # Errors
    /// A directory below the first value that is no `name={…}`, or two of one name, said in words.
    pub fn table_keys(&self) -> Result<Vec<&str>, String> {
        let mut keys: Vec<&str> = Vec::new();
        for component in &self.components[self.root_length()..] {
            let Some(key) = component.table_key() else {
                return Err(format!(
                    "`sink.path` is `{}`, whose directory `{}` cannot be registered: from the first value on each directory must be a partition key and its value, such as `dt={{created_at:%Y-%m-%d}}`",
                    self.text(),
                    component.text()
                ));
            };
            if keys.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                return Err(format!(
                    "`sink.path` is `{}`, which has the partition key `{key}` twice",
                    self.text()
                ));
            }
            let stays = component.pieces.iter().any(|piece| {
                matches!(piece, Piece::Value(value) if value.name.eq_ignore_ascii_case(key))
            }) && component.removes().is_none();
            if stays {
                return Err(format!(
                    "`sink.path` is `{}`, where `{key}` is a partition key and also a column that stays in the data files; give the key another name, such as `{key}_day=`",
                    self.text()
                ));
            }
            keys.push(key);
        }
        Ok(keys)
    }
}

/// Key and value of each directory of `dt=2026-11-22/region=a%3Ab`, without the escapes; `None` if it is no such path. An empty
/// one has none.
#[must_use]
pub fn partition_values(partition: &str) -> Option<Vec<(String, String)>> {
    if partition.is_empty() {
        return Some(Vec::new());
    }
    let pair = |directory: &str| {
        let (key, value) = directory.split_once('=')?;
        (!key.is_empty()).then(|| (key.to_owned(), unescape(value)))
    };
    partition.split('/').map(pair).collect()
}

/// What is no escape stands for itself, as in Hive.
fn unescape(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    // Only ASCII is ever escaped, so this loses nothing of ours.
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(path: &str) -> Result<Vec<String>, String> {
        let template = PathTemplate::parse(path, "UTC").unwrap();
        let keys = template.table_keys()?;
        Ok(keys.iter().map(|key| (*key).to_owned()).collect())
    }

    #[test]
    fn keys_are_directories_with_a_name_and_a_value() {
        assert_eq!(keys("a/b"), Ok(vec![]));
        assert_eq!(keys(""), Ok(vec![]));
        assert_eq!(
            keys("v=1/dt={at:%Y-%m-%d}/region={region}/x={a}-{b}").unwrap(),
            ["dt", "region", "x"]
        );
        for (path, word) in [
            ("o/{at:%Y-%m-%d}", "`{at:%Y-%m-%d}`"),
            ("o/dt={at:%Y/%m}", "`{at:%m}`"),
            ("o/dt={at}/files", "`files`"),
            ("o/dt={at}/v=1", "`v=1`"),
            ("o/x-{a}", "`x-{a}`"),
            ("o/dt={a}/DT={b}", "twice"),
            ("o/at={at:%Y}", "stays in the data files"),
            ("o/at={at}-{b}", "stays in the data files"),
        ] {
            let error = keys(path).unwrap_err();
            assert!(error.contains(word), "{path}: {error}");
        }
    }

    #[test]
    fn values_are_read_back_as_they_were_escaped() {
        for value in ["2026-11-22", "a:b/c=d%e", "100%", "ä'\"", "%4", "\u{7f}x y"] {
            let mut path = String::from("k=");
            super::super::template::escape_into(value, false, &mut path);
            path.push_str("/r=eu");
            let pairs = partition_values(&path).unwrap();
            assert_eq!(pairs[0], ("k".to_owned(), value.to_owned()), "{path}");
            assert_eq!(pairs[1].1, "eu");
        }
        assert_eq!(partition_values(""), Some(vec![]));
        assert_eq!(partition_values("dt=1/files"), None);
        assert_eq!(partition_values("=1"), None);
        assert_eq!(partition_values("k=%zz").unwrap()[0].1, "%zz");
    }
}
