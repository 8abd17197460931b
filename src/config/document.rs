//! The file's shape: a tree of keys and values that know their lines, with `${…}` replaced.
//!
//! TOML itself is parsed by the `toml` crate. Its error texts quote the source line, which may hold a secret, so only
//! their message and position are used.

use toml::de::{DeTable, DeValue};

use super::error::Problems;
use super::interpolate::{Interpolated, Surroundings, interpolate};
use super::redact;

/// A string value.
#[derive(Clone)]
pub struct Text {
    pub value: String,
    /// As it stands in the file.
    written: String,
    replaced: bool,
}

impl Text {
    /// What a message may show of it: never a secret, never what the environment put in.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.replaced {
            format!("`{}` (after replacement)", shown(&self.written))
        } else {
            format!("`{}`", shown(&self.value))
        }
    }
}

#[derive(Clone)]
pub enum Value {
    Text(Text),
    /// `None`: an integer past 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    Time,
    /// A string whose `${…}` could not be replaced; complained of already.
    Broken,
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What a message may say that was found.
    #[must_use]
    pub fn found(&self) -> String {
        match self {
            Self::Text(text) => format!("the string {}", text.shown()),
            Self::Integer(Some(number)) => format!("the number `{number}`"),
            Self::Integer(None) => "a number past 64 bits".to_owned(),
            Self::Float(number) => format!("the number `{number}`"),
            Self::Boolean(value) => format!("`{value}`"),
            Self::Broken => "a string that could not be replaced".to_owned(),
            Self::Time => "a date or time".to_owned(),
            Self::Array(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

#[derive(Clone)]
pub struct Node {
    pub line: usize,
    pub value: Value,
}

/// Keys in the order of the file.
#[derive(Clone, Default)]
pub struct Table(pub Vec<Entry>);

#[derive(Clone)]
pub struct Entry {
    pub key: String,
    pub line: usize,
    pub node: Node,
}

impl Table {
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }
}

/// Parses `text`. What is wrong goes into `problems`; without any the tree is whole.
#[must_use]
pub fn parse(text: &str, surroundings: &Surroundings, problems: &Problems) -> Table {
    let reader = Reader {
        lines: text.match_indices('\n').map(|(at, _)| at).collect(),
        surroundings,
        problems,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let message = error.message();
        if let Some(span) = error.span() {
            let line = reader.line(span.start);
            problems.add(line, "", format!("not TOML: {message}"));
        } else {
            // The parser says of its limit alone not where.
            let nested = "keys, arrays or tables are nested too deeply here";
            let line = deepest_line(text);
            problems.add(line, "", format!("not TOML: {nested} ({message})"));
        }
    }
    if !errors.is_empty() {
        return Table::default();
    }
    reader.table(table.get_ref(), "")
}

/// Where most dots stand in a line, or most brackets are open. Counted from 1.
fn deepest_line(text: &str) -> usize {
    let mut open: usize = 0;
    let mut deepest = (0, 1);
    for (number, line) in text.split('\n').enumerate() {
        let dots = line.bytes().filter(|byte| *byte == b'.').count();
        let mut most = open + dots;
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            most = most.max(open);
        }
        if most > deepest.0 {
            deepest = (most, number + 1);
        }
    }
    deepest.1
}

struct Reader<'a> {
    /// Where the line ends stand.
    lines: Vec<usize>,
    surroundings: &'a Surroundings<'a>,
    problems: &'a Problems,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.lines.partition_point(|end| *end < offset)
    }

    fn table(&self, table: &DeTable, path: &str) -> Table {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let name = key.get_ref().to_string();
                let path = join(path, &name);
                let line = self.line(key.span().start);
                let entry = Entry {
                    node: self.node(value.get_ref(), line, value.span().start, &path),
                    key: name,
                    line,
                };
                (key.span().start, entry)
            })
            .collect();
        entries.sort_by_key(|(start, _)| *start);
        Table(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    fn node(&self, value: &DeValue, key_line: usize, start: usize, path: &str) -> Node {
        let line = match value {
            // A table's span begins at its header or where its first dotted key stands; the key says it better.
            DeValue::Table(_) => key_line,
            _ => self.line(start),
        };
        let value = match value {
            DeValue::String(text) => self.text(text, line, path),
            DeValue::Integer(number) => {
                Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Time,
            DeValue::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| {
                        let start = item.span().start;
                        self.node(item.get_ref(), self.line(start), start, path)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, path)),
        };
        Node { line, value }
    }

    fn text(&self, written: &str, line: usize, path: &str) -> Value {
        match interpolate(written, self.surroundings) {
            Ok(Interpolated { value, replaced }) => Value::Text(Text {
                value,
                written: written.to_owned(),
                replaced,
            }),
            Err(message) => {
                self.problems.add(line, path, message);
                Value::Broken
            }
        }
    }
}

#[must_use]
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare {
        key.to_owned()
    } else {
        format!("\"{}\"", shown(key))
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// `text` for a message: one line, printable, of bounded length, without credentials inside URLs.
#[must_use]
pub fn shown(text: &str) -> String {
    let text = redact::mask_userinfo(text);
    let mut short: String = text.chars().take(120).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    escaped(&redact::mask(&short))
}

/// A path for a message: whole, without secrets.
#[must_use]
pub fn shown_path(path: &std::path::Path) -> String {
    escaped(&redact::mask(&path.to_string_lossy()))
}

/// Control characters as escapes.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            result.extend(c.escape_default());
        } else {
            result.push(c);
        }
    }
    result
}
