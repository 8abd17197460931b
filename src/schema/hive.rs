//! Hive's type syntax, read and written.
//!
//! ```text
//! type    := boolean | tinyint | smallint | int | bigint | float | double | decimal(p,s) | string
//!          | varchar(n) | char(n) | binary | date | timestamp
//!          | array<type> | map<scalar,type> | struct<name:type,…>
//! ```
//!
//! A struct's field name may stand in back quotes, doubled inside; it must where it holds one of `:,<>` or a space.

use std::fmt;

use super::{DataType, Field, TYPE_DEPTH_MAX};

const ALLOWED: &str = "boolean, tinyint, smallint, int, bigint, float, double, decimal(p,s), string, varchar(n), char(n), \
                       binary, date, timestamp, array<…>, map<…,…>, struct<name:…>";

/// Reads a Hive type; case and blanks do not matter.
///
/// # Errors
/// What was found at which character (from 1) and what is allowed there.
pub fn parse_type(text: &str) -> Result<DataType, String> {
    let mut parser = Parser { text, at: 0 };
    let data_type = parser.data_type(0)?;
    parser.skip_blanks();
    if parser.at < text.len() {
        return Err(parser.wrong(parser.at, "the end of the type"));
    }
    Ok(data_type)
}

struct Parser<'a> {
    text: &'a str,
    /// A byte offset on a character's boundary.
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn wrong(&self, at: usize, allowed: &str) -> String {
        let found = match self.text[at..].chars().next() {
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end".to_owned(),
        };
        let position = self.text[..at].chars().count() + 1;
        format!(
            "type `{}`: found {found} at character {position}, allowed is {allowed}",
            self.text
        )
    }

    fn eat(&mut self, c: char) -> bool {
        self.skip_blanks();
        let eaten = self.rest().starts_with(c);
        if eaten {
            self.at += c.len_utf8();
        }
        eaten
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.eat(c) {
            Ok(())
        } else {
            Err(self.wrong(self.at, &format!("`{c}`")))
        }
    }

    fn word(&mut self) -> &str {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let length = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn number(&mut self, low: u32, high: u32) -> Result<u32, String> {
        self.skip_blanks();
        let start = self.at;
        self.word()
            .parse()
            .ok()
            .filter(|n| (low..=high).contains(n))
            .ok_or_else(|| self.wrong(start, &format!("a number from {low} to {high}")))
    }

    fn length(&mut self, max: u32) -> Result<u32, String> {
        self.expect('(')?;
        let length = self.number(1, max)?;
        self.expect(')')?;
        Ok(length)
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType, String> {
        self.skip_blanks();
        let start = self.at;
        if depth >= TYPE_DEPTH_MAX {
            return Err(self.wrong(
                start,
                &format!("no type nested deeper than {TYPE_DEPTH_MAX}"),
            ));
        }
        let word = self.word().to_ascii_lowercase();
        Ok(match word.as_str() {
            "boolean" => DataType::Boolean,
            "tinyint" => DataType::TinyInt,
            "smallint" => DataType::SmallInt,
            "int" | "integer" => DataType::Int,
            "bigint" => DataType::BigInt,
            "float" => DataType::Float,
            "double" => DataType::Double,
            "decimal" | "numeric" => self.decimal()?,
            "string" => DataType::String,
            "varchar" => DataType::Varchar(self.length(65_535)?),
            "char" => DataType::Char(self.length(255)?),
            "binary" => DataType::Binary,
            "date" => DataType::Date,
            "timestamp" => DataType::Timestamp,
            "array" => {
                self.expect('<')?;
                let element = self.data_type(depth + 1)?;
                self.expect('>')?;
                DataType::Array(Box::new(element))
            }
            "map" => self.map(depth)?,
            "struct" => self.fields(depth)?,
            _ => return Err(self.wrong(start, ALLOWED)),
        })
    }

    /// Hive's default is (10,0), that of a missing scale 0.
    fn decimal(&mut self) -> Result<DataType, String> {
        if !self.eat('(') {
            return Ok(DataType::Decimal(10, 0));
        }
        let precision = self.number(1, 38)?;
        let scale = if self.eat(',') {
            self.number(0, precision)?
        } else {
            0
        };
        self.expect(')')?;
        Ok(DataType::Decimal(precision as u8, scale as u8))
    }

    fn map(&mut self, depth: usize) -> Result<DataType, String> {
        self.expect('<')?;
        self.skip_blanks();
        let start = self.at;
        let key = self.data_type(depth + 1)?;
        if matches!(
            key,
            DataType::Struct(_) | DataType::Array(_) | DataType::Map(..)
        ) {
            return Err(self.wrong(start, "a scalar type as a map's key"));
        }
        self.expect(',')?;
        let value = self.data_type(depth + 1)?;
        self.expect('>')?;
        Ok(DataType::Map(Box::new(key), Box::new(value)))
    }

    fn fields(&mut self, depth: usize) -> Result<DataType, String> {
        self.expect('<')?;
        let mut fields: Vec<Field> = Vec::new();
        loop {
            self.skip_blanks();
            let start = self.at;
            let name = self.field_name()?;
            if fields.iter().any(|field| field.key == name) {
                return Err(self.wrong(start, "each field's name once"));
            }
            self.expect(':')?;
            fields.push(Field {
                key: name.clone(),
                name,
                data_type: self.data_type(depth + 1)?,
                folds: false,
            });
            if !self.eat(',') {
                break;
            }
        }
        self.expect('>')?;
        Ok(DataType::Struct(fields))
    }

    fn field_name(&mut self) -> Result<String, String> {
        self.skip_blanks();
        let start = self.at;
        if self.eat('`') {
            return self.quoted_name(start);
        }
        let rest = self.rest();
        let length = rest
            .find(|c: char| matches!(c, ':' | ',' | '<' | '>' | '`') || c.is_whitespace())
            .unwrap_or(rest.len());
        if length == 0 {
            return Err(self.wrong(start, "a field's name"));
        }
        let name = rest[..length].to_owned();
        self.at += length;
        Ok(name)
    }

    fn quoted_name(&mut self, start: usize) -> Result<String, String> {
        let mut name = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find('`') else {
                return Err(self.wrong(start, "a name whose back quote is closed"));
            };
            name.push_str(&rest[..end]);
            let doubled = rest[end + 1..].starts_with('`');
            self.at += end + 1;
            if !doubled {
                return Ok(name);
            }
            name.push('`');
            self.at += 1;
        }
    }
}

/// Hive's form, which [`parse_type`] reads back: `struct<lat:double,tags:array<string>>`. With `{:#}` every field's name is
/// quoted, as a statement needs it where one is a word of the language, such as `date` or `order`.
impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::TinyInt => f.write_str("tinyint"),
            Self::SmallInt => f.write_str("smallint"),
            Self::Int => f.write_str("int"),
            Self::BigInt => f.write_str("bigint"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::String => f.write_str("string"),
            Self::Varchar(length) => write!(f, "varchar({length})"),
            Self::Char(length) => write!(f, "char({length})"),
            Self::Binary => f.write_str("binary"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Array(element) => {
                f.write_str("array<")?;
                element.fmt(f)?;
                f.write_str(">")
            }
            Self::Map(key, value) => {
                write!(f, "map<{key},")?;
                value.fmt(f)?;
                f.write_str(">")
            }
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, field) in fields.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    QuotedName(&field.name).fmt(f)?;
                    f.write_str(":")?;
                    field.data_type.fmt(f)?;
                }
                f.write_str(">")
            }
        }
    }
}

/// A field's name, in back quotes where the plain one would not be read back, or wherever asked.
struct QuotedName<'a>(&'a str);

impl fmt::Display for QuotedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || c == '_';
        if !f.alternate() && !self.0.is_empty() && self.0.chars().all(plain) {
            f.write_str(self.0)
        } else {
            write!(f, "`{}`", self.0.replace('`', "``"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hive_type_is_read_and_written_in_hives_form() {
        for text in [
            "boolean",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "float",
            "double",
            "decimal(38,0)",
            "decimal(5,2)",
            "string",
            "varchar(65535)",
            "char(255)",
            "binary",
            "date",
            "timestamp",
            "array<array<int>>",
            "map<string,struct<a:int>>",
            "struct<lat:double,tags:array<string>>",
            "struct<`a:b`:int,`x``y`:string,``:int>",
        ] {
            assert_eq!(parse_type(text).unwrap().to_string(), text);
        }
        for (text, form) in [
            (
                " STRUCT < a : Int , b:DECIMAL > ",
                "struct<a:int,b:decimal(10,0)>",
            ),
            ("decimal(7)", "decimal(7,0)"),
            ("integer", "int"),
            ("numeric(3, 1)", "decimal(3,1)"),
        ] {
            assert_eq!(parse_type(text).unwrap().to_string(), form);
        }
    }

    #[test]
    fn a_statement_has_every_field_quoted_at_any_depth() {
        let text = "array<struct<date:int,m:map<string,struct<`a-b`:array<struct<x:int>>>>>>";
        assert_eq!(
            format!("{:#}", parse_type(text).unwrap()),
            "array<struct<`date`:int,`m`:map<string,struct<`a-b`:array<struct<`x`:int>>>>>>"
        );
    }

    #[test]
    fn an_error_says_where_and_what_is_allowed() {
        for (text, position, allowed) in [
            ("", "the end at character 1", "bigint"),
            ("bigit", "`b` at character 1", "bigint"),
            ("array<bigit>", "`b` at character 7", "bigint"),
            ("array<int", "the end at character 10", "`>`"),
            ("int x", "`x` at character 5", "the end of the type"),
            ("decimal(39,0)", "`3` at character 9", "1 to 38"),
            ("decimal(5,6)", "`6` at character 11", "0 to 5"),
            ("varchar(0)", "`0` at character 9", "1 to 65535"),
            ("varchar", "the end at character 8", "`(`"),
            ("map<array<int>,int>", "`a` at character 5", "scalar"),
            ("struct<>", "`>` at character 8", "a field's name"),
            ("struct<a:int,a:int>", "`a` at character 14", "once"),
            ("struct<`a:int>", "``` at character 8", "closed"),
        ] {
            let error = parse_type(text).unwrap_err();
            assert!(error.contains(position), "{error}");
            assert!(error.contains(allowed), "{error}");
        }
        let bomb = format!("{}int{}", "array<".repeat(500), ">".repeat(500));
        assert!(parse_type(&bomb).unwrap_err().contains("deeper"));
    }
}
