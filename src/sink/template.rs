//! The path template: `orders/dt={created_at:%Y-%m-%d}/region={region}`.
//!
//! ```text
//! orders / dt={created_at:%Y-%m-%d} / region={region}
//! literal  component of two pieces    the same; takes `region` out of the data file
//! root ──┘ └── partition
//! ```
//!
//! Values are written as Hive writes partition names: what `FileUtils.escapePathName` escapes becomes `%XX`, and what is
//! missing, null, empty or unreadable as a time becomes `__HIVE_DEFAULT_PARTITION__`. No value makes a hidden name: where
//! one begins a component, a leading `.` or `_` is escaped too, that of the default included.

use jiff::tz::TimeZone;

use crate::schema::{DataType, Field, Metadata, Schema};

/// Hive's name for no value.
pub const DEFAULT_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Encoded bytes of one value; beyond it a record is a reject.
pub const VALUE_BYTES_MAX: usize = 200;
/// Bytes of one component, which with a file system's are 255.
pub(super) const COMPONENT_BYTES_MAX: usize = 255;
/// Bytes of the whole directory: an object store's key may have 1024, with the file's name.
pub(super) const PATH_BYTES_MAX: usize = 800;

/// Values that no column holds: of the batch or the spooled file.
pub(super) const FILE: &str = "_file";
pub(super) const INGESTED_AT: &str = "_ingested_at";
pub(super) const BATCH: &str = "_batch";

/// A parsed template.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    text: String,
    pub(super) zone: TimeZone,
    pub(super) components: Vec<Component>,
}

/// What stands between two `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Value(ValuePiece),
}

/// `{name}` or `{name:format}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValuePiece {
    pub(super) name: String,
    pub(super) format: Option<String>,
}

impl Component {
    /// `x={x}`: the path says it all, so the column leaves the data file.
    pub(super) fn removes(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [
                Piece::Literal(key),
                Piece::Value(ValuePiece { name, format: None }),
            ] if key.strip_suffix('=') == Some(name) => Some(name),
            _ => None,
        }
    }

    fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

impl PathTemplate {
    /// `timezone`: the IANA name of the zone in which dates are written.
    ///
    /// # Errors
    /// What is wrong, at which byte of the template, what was found there and what is allowed.
    pub fn parse(path: &str, timezone: &str) -> Result<Self, String> {
        let zone = TimeZone::get(timezone).map_err(|e| {
            format!("time zone `{timezone}` is not known: {e}; IANA names like `Europe/Berlin` or `UTC` are")
        })?;
        let components = Parser::new(path).components()?;
        Ok(Self {
            text: path.to_owned(),
            zone,
            components,
        })
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the columns that it reads (`a.b`: field `b` of struct `a`), each once, in order; without what the batch
    /// itself brings (`_file`, `_ingested_at`, `_batch`).
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for value in self.values() {
            let own = [FILE, INGESTED_AT, BATCH].contains(&value.name.as_str());
            if !own && !names.contains(&value.name.as_str()) {
                names.push(value.name.as_str());
            }
        }
        names
    }

    /// Columns that leave the data file because a component `x={x}` of the path says them.
    #[must_use]
    pub fn removed(&self) -> Vec<&str> {
        self.components
            .iter()
            .filter_map(Component::removes)
            .collect()
    }

    /// The directories before the first value: `orders`, empty if there are none.
    #[must_use]
    pub fn root(&self) -> String {
        let literals: Vec<&str> = self.components[..self.root_length()]
            .iter()
            .filter_map(Component::literal)
            .collect();
        literals.join("/")
    }

    /// How many components belong to the root.
    pub(super) fn root_length(&self) -> usize {
        self.components
            .iter()
            .position(|component| component.literal().is_none())
            .unwrap_or(self.components.len())
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &ValuePiece> {
        let pieces = self.components.iter().flat_map(|c| &c.pieces);
        pieces.filter_map(|piece| match piece {
            Piece::Value(value) => Some(value),
            Piece::Literal(_) => None,
        })
    }

    /// Columns that it names and the schema lacks. While schemas are inferred they may still come; until then their value
    /// is `__HIVE_DEFAULT_PARTITION__`.
    #[must_use]
    pub fn missing(&self, schema: &Schema) -> Vec<&str> {
        let names = self.columns().into_iter();
        names
            .filter(|name| matches!(find(schema, name), Found::Missing))
            .collect()
    }

    /// Whether the columns that the schema has can make a path.
    ///
    /// # Errors
    /// A column of a type that has no place in a path, or a time format on what holds no time. A column that the schema
    /// lacks is no error here, see [`Self::missing`].
    pub fn check(&self, schema: &Schema) -> Result<(), String> {
        for value in self.values() {
            let Found::Column(kind) = find(schema, &value.name) else {
                continue;
            };
            let unusable = matches!(
                kind,
                DataType::Struct(_) | DataType::Array(_) | DataType::Map(_, _) | DataType::Binary
            );
            if unusable {
                return Err(format!(
                    "`{{{}}}` in path `{}` is a column of several values or bytes: a path takes single values",
                    value.name, self.text
                ));
            }
            let timeless = matches!(
                kind,
                DataType::Boolean | DataType::Float | DataType::Double | DataType::Decimal(_, _)
            );
            if let Some(format) = value.format.as_ref().filter(|_| timeless) {
                return Err(format!(
                    "`{{{}:{format}}}` in path `{}` is no time: time formats go with timestamp, date, string and integer columns",
                    value.name, self.text
                ));
            }
        }
        Ok(())
    }
}

enum Found<'a> {
    Column(&'a DataType),
    /// A path column or metadata column, which holds text or what it says.
    Other,
    Missing,
}

fn find<'a>(schema: &'a Schema, name: &str) -> Found<'a> {
    if let Some(kind) = find_field(&schema.columns, name) {
        return Found::Column(kind);
    }
    let offset = name == "_offset" && schema.metadata.contains(&Metadata::Offset);
    let other = offset || name == "_rescued" || schema.path_columns.iter().any(|c| c == name);
    if other { Found::Other } else { Found::Missing }
}

/// A field called `name`, or else `a.b` as field `b` of struct `a`.
fn find_field<'a>(fields: &'a [Field], name: &str) -> Option<&'a DataType> {
    if let Some(field) = fields.iter().find(|field| field.name == name) {
        return Some(&field.data_type);
    }
    for (at, _) in name.match_indices('.') {
        let parent = fields.iter().find(|field| field.name == name[..at]);
        if let Some(DataType::Struct(below)) = parent.map(|field| &field.data_type)
            && let Some(found) = find_field(below, &name[at + 1..])
        {
            return Some(found);
        }
    }
    None
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn error(&self, at: usize, message: &str) -> String {
        format!("path `{}`, at byte {}: {message}", self.text, at + 1)
    }

    fn components(&mut self) -> Result<Vec<Component>, String> {
        if self.text.is_empty() {
            return Ok(Vec::new());
        }
        if self.text.starts_with('/') {
            return Err(self.error(0, "found `/`: paths are relative to the lake's root"));
        }
        let mut components = Vec::new();
        let mut pieces = Vec::new();
        let mut from = 0;
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            if rest.starts_with('/') {
                components.push(self.component(std::mem::take(&mut pieces), from)?);
                self.at += 1;
                from = self.at;
            } else if rest.starts_with('{') {
                self.value(&mut pieces, &mut components, &mut from)?;
            } else {
                pieces.push(Piece::Literal(self.literal()?));
            }
        }
        components.push(self.component(pieces, from)?);
        Ok(components)
    }

    fn component(&self, pieces: Vec<Piece>, from: usize) -> Result<Component, String> {
        let component = Component { pieces };
        let message = match component.pieces.first() {
            None => "found nothing between two `/` or at the end: a directory has a name",
            Some(Piece::Literal(text)) if matches!(component.literal(), Some("." | "..")) => {
                return Err(self.error(
                    from,
                    &format!("found `{text}`: paths go down, without `.` and `..`"),
                ));
            }
            Some(Piece::Literal(text)) if text.starts_with(['.', '_']) => {
                "found a leading `.` or `_`: readers skip such names as hidden"
            }
            Some(_) => return Ok(component),
        };
        Err(self.error(from, message))
    }

    fn literal(&mut self) -> Result<String, String> {
        let rest = &self.text[self.at..];
        let end = rest.find(['/', '{']).unwrap_or(rest.len());
        let text = &rest[..end];
        let bad = text
            .char_indices()
            .find(|(_, c)| c.is_control() || matches!(c, '}' | '\\'));
        if let Some((offset, c)) = bad {
            return Err(self.error(
                self.at + offset,
                &format!(
                    "found `{}`: names are written without `}}`, `\\` and control characters",
                    c.escape_default()
                ),
            ));
        }
        self.at += end;
        Ok(text.to_owned())
    }

    /// `{name}` or `{name:format}`. A `/` in the format separates directories like any other.
    fn value(
        &mut self,
        pieces: &mut Vec<Piece>,
        components: &mut Vec<Component>,
        from: &mut usize,
    ) -> Result<(), String> {
        let start = self.at;
        let inner = &self.text[start + 1..];
        let Some(end) = inner.find('}') else {
            return Err(self.error(
                start,
                "found `{` without `}`: `{column}` or `{column:%Y-%m-%d}`",
            ));
        };
        let inner = &inner[..end];
        let (name, format) = match inner.split_once(':') {
            Some((name, format)) => (name, Some(format)),
            None => (inner, None),
        };
        if name.is_empty() || name.contains(['{', '/']) || name.chars().any(char::is_control) {
            return Err(self.error(
                start,
                &format!(
                    "found `{{{}}}`: a column's name stands here, as it lands",
                    inner.escape_debug()
                ),
            ));
        }
        self.at = start + end + 2;
        let Some(format) = format else {
            pieces.push(Piece::Value(ValuePiece {
                name: name.to_owned(),
                format: None,
            }));
            return Ok(());
        };
        for (at, part) in format.split('/').enumerate() {
            if at > 0 {
                components.push(self.component(std::mem::take(pieces), *from)?);
                *from = start;
            }
            check_format(part).map_err(|message| self.error(start, &message))?;
            pieces.push(Piece::Value(ValuePiece {
                name: name.to_owned(),
                format: Some(part.to_owned()),
            }));
        }
        Ok(())
    }
}

fn check_format(format: &str) -> Result<(), String> {
    let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    match jiff::fmt::strtime::format(format, &sample) {
        Ok(text) if !text.is_empty() => Ok(()),
        Ok(_) => Err("found an empty time format: `%Y-%m-%d` is one".to_owned()),
        Err(error) => Err(format!(
            "found the time format `{format}`: {error}; `%Y-%m-%d` and `%H` are some"
        )),
    }
}

/// Appends `value` as Hive escapes it. `leading`: it begins its component, where it must not make a hidden name.
pub(super) fn escape_into(value: &str, leading: bool, out: &mut String) {
    for (at, c) in value.char_indices() {
        let hides = leading && at == 0 && matches!(c, '.' | '_');
        if c.is_ascii() && (hides || crate::naming::hive_escapes(c as u8)) {
            out.push_str(&format!("%{:02X}", c as u32));
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(value: &str, leading: bool) -> String {
        let mut out = String::new();
        escape_into(value, leading, &mut out);
        out
    }

    #[test]
    fn values_are_escaped_as_hive_does_it() {
        let special = "\"#%'*/:=?\\\u{7f}{[]^";
        assert_eq!(
            escaped(special, false),
            "%22%23%25%27%2A%2F%3A%3D%3F%5C%7F%7B%5B%5D%5E"
        );
        for byte in 0..32_u8 {
            let value = char::from(byte).to_string();
            assert_eq!(escaped(&value, false), format!("%{byte:02X}"));
        }
        let plain = " !$&()+,-.09;<>@AZ_`az|}~äß\u{1f600}";
        assert_eq!(escaped(plain, false), plain);
    }

    #[test]
    fn only_a_leading_dot_or_underscore_is_escaped_and_only_where_a_component_begins() {
        assert_eq!(escaped("._a", true), "%2E_a");
        assert_eq!(escaped("__x", true), "%5F_x");
        assert_eq!(escaped("..", true), "%2E.");
        assert_eq!(escaped("_x", false), "_x");
        assert_eq!(
            escaped(DEFAULT_PARTITION, true),
            "%5F_HIVE_DEFAULT_PARTITION__"
        );
    }

    #[test]
    fn a_template_knows_its_root_its_columns_and_what_leaves_the_file() {
        let template = PathTemplate::parse(
            "lake/orders/dt={created_at:%Y-%m-%d}/region={region}/{geo.city}-{region}/{_file}",
            "UTC",
        )
        .unwrap();
        assert_eq!(template.root(), "lake/orders");
        assert_eq!(template.columns(), ["created_at", "region", "geo.city"]);
        assert_eq!(template.removed(), ["region"]);
        let plain = PathTemplate::parse("a/b", "UTC").unwrap();
        assert_eq!((plain.root().as_str(), plain.columns().len()), ("a/b", 0));
    }

    #[test]
    fn a_slash_in_a_time_format_separates_directories() {
        let template = PathTemplate::parse("x/{at:%Y/%m}", "UTC").unwrap();
        assert_eq!(template.components.len(), 3);
        assert_eq!(template.removed().len(), 0);
    }

    #[test]
    fn what_is_wrong_in_a_template_is_said_with_its_place() {
        for (path, position, words) in [
            ("/abs", 1, "relative"),
            ("a//b", 3, "nothing between"),
            ("a/", 3, "nothing between"),
            ("a/../b", 3, "go down"),
            ("a/_b", 3, "hidden"),
            ("a/.b={c}", 3, "hidden"),
            ("a/{b", 3, "without `}`"),
            ("a/b}", 4, "without `}`"),
            ("a/{}", 3, "column's name"),
            ("a/{t:%E}", 3, "time format"),
            ("a/{t:%Y//%m}", 3, "time format"),
            ("a/b\n", 4, "control"),
        ] {
            let error = PathTemplate::parse(path, "UTC").unwrap_err();
            assert!(error.contains(&format!("at byte {position}:")), "{error}");
            assert!(error.contains(words), "{error}");
        }
        assert!(PathTemplate::parse("a", "Mars/Olympus").is_err());
    }
}
