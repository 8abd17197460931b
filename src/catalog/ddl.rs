//! The same as statements of Hive's language, for whoever runs them where no program may talk to the catalog. Pure.
//!
//! Every name is quoted and every text escaped: names come from keys of records, values from records themselves.

use std::fmt::Write as _;

use super::{Column, Partition, TableFormat, TableSpec};
use crate::schema::parse_type;

/// Partitions in one statement.
const PARTITIONS_PER_STATEMENT: usize = 100;

/// `` `name` ``.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `'text'`, on one line whatever it holds.
fn text(text: &str) -> String {
    let mut quoted = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' | ';' => {
                // A bare `;` ends a statement for Hive's command line even inside quotes.
                quoted.push('\\');
                quoted.push(c);
            }
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

fn list<'a>(columns: impl IntoIterator<Item = &'a Column>, between: &str) -> String {
    let columns: Vec<String> = columns
        .into_iter()
        .map(|column| format!("{} {}", identifier(&column.name), quoted(&column.data_type)))
        .collect();
    columns.join(between)
}

/// A type whose struct fields are quoted: Hive takes some of their names for words of its language.
fn quoted(data_type: &str) -> String {
    parse_type(data_type).map_or_else(|_| data_type.to_owned(), |parsed| format!("{parsed:#}"))
}

/// CREATE EXTERNAL TABLE. `table` is quoted already.
#[must_use]
pub fn create(table: &str, spec: &TableSpec) -> String {
    let mut statement = format!("CREATE EXTERNAL TABLE IF NOT EXISTS {table}");
    match &spec.columns {
        Some(columns) => {
            let _ = writeln!(statement, " (\n  {}\n)", list(columns, ",\n  "));
        }
        // Whoever knows the columns adds them.
        None => statement.push_str(" (\n  -- the columns of your records\n)\n"),
    }
    if !spec.keys.is_empty() {
        let keys = list(spec.keys.iter().map(|key| &key.column), ", ");
        let _ = writeln!(statement, "PARTITIONED BY ({keys})");
    }
    statement.push_str(match spec.format {
        TableFormat::Parquet => "STORED AS PARQUET\n",
        TableFormat::Ndjson => {
            "ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'\nSTORED AS TEXTFILE\n"
        }
    });
    let _ = writeln!(statement, "LOCATION {};", text(&spec.location));
    statement
}

/// ALTER TABLE ADD COLUMNS and CHANGE COLUMN, nothing if nothing changed. Not harmless to repeat: Hive has no IF NOT EXISTS here.
#[must_use]
pub fn alter(table: &str, added: &[Column], widened: &[Column], partitioned: bool) -> String {
    let cascade = if partitioned { " CASCADE" } else { "" };
    let mut statements = String::new();
    if !added.is_empty() {
        let _ = writeln!(
            statements,
            "ALTER TABLE {table} ADD COLUMNS ({}){cascade};",
            list(added, ", ")
        );
    }
    for column in widened {
        let name = identifier(&column.name);
        let _ = writeln!(
            statements,
            "ALTER TABLE {table} CHANGE COLUMN {name} {name} {}{cascade};",
            quoted(&column.data_type)
        );
    }
    statements
}

/// ALTER TABLE ADD IF NOT EXISTS PARTITION, harmless to repeat.
#[must_use]
pub fn add_partitions(table: &str, keys: &[&str], partitions: &[Partition]) -> String {
    let mut statements = String::new();
    for some in partitions.chunks(PARTITIONS_PER_STATEMENT) {
        let _ = write!(statements, "ALTER TABLE {table} ADD IF NOT EXISTS");
        for partition in some {
            let values: Vec<String> = keys
                .iter()
                .zip(&partition.values)
                .map(|(key, value)| format!("{}={}", identifier(key), text(value)))
                .collect();
            let _ = write!(
                statements,
                "\n  PARTITION ({}) LOCATION {}",
                values.join(", "),
                text(&partition.location)
            );
        }
        statements.push_str(";\n");
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PartitionKey;

    #[test]
    fn nothing_in_a_name_or_value_ends_a_statement() {
        let spec = TableSpec {
            columns: Some(vec![Column::new("a`b", "int"), Column::new("c", "string")]),
            keys: vec![PartitionKey {
                column: Column::new("dt", "string"),
                made: true,
            }],
            location: "file:///lake/it's\\x".into(),
            format: TableFormat::Parquet,
        };
        assert_eq!(
            create("`d`.`t`", &spec),
            "CREATE EXTERNAL TABLE IF NOT EXISTS `d`.`t` (\n  `a``b` int,\n  `c` string\n)\nPARTITIONED BY (`dt` string)\nSTORED AS PARQUET\nLOCATION 'file:///lake/it\\'s\\\\x';\n"
        );
        let partitions = [Partition {
            values: vec!["x'; DROP TABLE t;\n--".into()],
            location: "file:///lake/x".into(),
        }];
        let statement = add_partitions("`t`", &["dt"], &partitions);
        assert_eq!(
            statement,
            "ALTER TABLE `t` ADD IF NOT EXISTS\n  PARTITION (`dt`='x\\'\\; DROP TABLE t\\;\\n--') LOCATION 'file:///lake/x';\n"
        );
    }

    #[test]
    fn what_a_version_added_is_altered_in() {
        let added = [Column::new("n", "int"), Column::new("m", "array<string>")];
        let widened = [Column::new("geo", "struct<a:int,b:int>")];
        assert_eq!(
            alter("`t`", &added, &widened, true),
            "ALTER TABLE `t` ADD COLUMNS (`n` int, `m` array<string>) CASCADE;\nALTER TABLE `t` CHANGE COLUMN `geo` `geo` struct<`a`:int,`b`:int> CASCADE;\n"
        );
        assert_eq!(alter("`t`", &[], &[], true), "");
    }

    #[test]
    fn many_partitions_are_several_statements() {
        let partitions: Vec<Partition> = (0..101)
            .map(|n| Partition {
                values: vec![n.to_string()],
                location: format!("file:///l/n={n}"),
            })
            .collect();
        let statements = add_partitions("`t`", &["n"], &partitions);
        assert_eq!(statements.matches("ALTER TABLE").count(), 2);
        assert_eq!(statements.matches("PARTITION (").count(), 101);
    }
}
