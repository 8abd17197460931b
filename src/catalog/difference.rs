//! What stands between a table as it is and as a pipeline needs it. Pure.
//!
//! | a column of ours | in the table | then |
//! | --- | --- | --- |
//! | `a int` | not there | added |
//! | `a int` | `a int` | nothing |
//! | `a struct<x:int,y:int>` | `a struct<x:int>` | widened |
//! | `a struct<x:int>` | `a struct<x:int,z:int>` | nothing: NULL is read |
//! | `a int` | `a string` | both types are named, the pipeline stops |
//! | – | `b int` | nothing: NULL is read |
//!
//! Names are compared as Hive does, without case.

use super::{Column, Table, TableFormat, TableSpec};
use crate::schema::{DataType, parse_type};

/// What the table lacks, if all else agrees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<Column>,
    /// Structs that got fields, with their whole new type.
    pub widened: Vec<Column>,
    /// What may surprise somebody and hinders nothing.
    pub warnings: Vec<String>,
}

impl Difference {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.widened.is_empty()
    }
}

/// # Errors
/// Each thing that disagrees, in words that name both sides.
pub fn difference(spec: &TableSpec, table: &Table) -> Result<Difference, String> {
    let mut found = Difference::default();
    let mut wrong = Vec::new();
    if let Some(unfit) = &table.unfit {
        wrong.push(unfit.clone());
    }
    if table.format != Some(spec.format) {
        wrong.push(format!(
            "its files are read as {}, and {} lands",
            table.format_name,
            match spec.format {
                TableFormat::Parquet => "Parquet",
                TableFormat::Ndjson => "NDJSON",
            }
        ));
    }
    wrong.extend(keys(spec, table));
    for column in spec.columns.iter().flatten() {
        compare(column, table, &mut found, &mut wrong);
    }
    place(spec, table, &mut found, &mut wrong);
    if wrong.is_empty() {
        return Ok(found);
    }
    Err(wrong.join("; "))
}

fn compare(column: &Column, table: &Table, found: &mut Difference, wrong: &mut Vec<String>) {
    let is_key = table
        .keys
        .iter()
        .any(|key| same_name(&key.name, &column.name));
    if is_key {
        wrong.push(format!(
            "column `{}` lands in the data files and is a partition key of the table",
            column.name
        ));
        return;
    }
    let known = table
        .columns
        .iter()
        .find(|known| same_name(&known.name, &column.name));
    let Some(known) = known else {
        found.added.push(column.clone());
        return;
    };
    match relation(&column.data_type, &known.data_type) {
        Relation::Fits => {}
        Relation::Wider(joined) => found.widened.push(Column::new(&known.name, joined)),
        Relation::Other => wrong.push(format!(
            "column `{}` is `{}` in the table and `{}` in what lands",
            column.name, known.data_type, column.data_type
        )),
    }
}

fn keys(spec: &TableSpec, table: &Table) -> Option<String> {
    let names = |columns: &mut dyn Iterator<Item = &Column>| -> String {
        let names: Vec<String> = columns.map(|key| format!("`{}`", key.name)).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let same = spec.keys.len() == table.keys.len()
        && spec
            .keys
            .iter()
            .zip(&table.keys)
            .all(|(ours, theirs)| same_name(&ours.column.name, &theirs.name));
    if !same {
        return Some(format!(
            "its partition keys are {}, those of `sink.path` {}",
            names(&mut table.keys.iter()),
            names(&mut spec.keys.iter().map(|key| &key.column))
        ));
    }
    let odd = spec.keys.iter().zip(&table.keys).find(|(ours, theirs)| {
        let fits = relation(&ours.column.data_type, &theirs.data_type) == Relation::Fits
            || (ours.made && is_scalar(&theirs.data_type));
        !fits
    });
    odd.map(|(ours, theirs)| {
        format!(
            "partition key `{}` is `{}` in the table and `{}` in what lands",
            ours.column.name, theirs.data_type, ours.column.data_type
        )
    })
}

/// A partition is registered with its own place, wherever the table says that it is; a table without partitions is read where it says.
fn place(spec: &TableSpec, table: &Table, found: &mut Difference, wrong: &mut Vec<String>) {
    if super::same_location(&spec.location, &table.location) {
        return;
    }
    let text = format!(
        "its location is `{}` and files land in `{}`",
        table.location, spec.location
    );
    let path = |location: &str| super::parts(location).2;
    if spec.keys.is_empty() && path(&spec.location) != path(&table.location) {
        wrong.push(format!(
            "{text}, where no reader of it looks; set `hive.location` or `sink.path`, or ALTER TABLE … SET LOCATION"
        ));
    } else {
        found.warnings.push(text);
    }
}

fn same_name(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

fn is_scalar(data_type: &str) -> bool {
    let text = data_type.trim_start().to_ascii_lowercase();
    !["struct", "array", "map", "uniontype"]
        .iter()
        .any(|kind| text.starts_with(kind))
}

#[derive(Debug, PartialEq, Eq)]
enum Relation {
    /// What lands can be read with the table's type.
    Fits,
    /// Once the table has this type.
    Wider(DataType),
    Other,
}

fn relation(ours: &str, theirs: &str) -> Relation {
    let (Ok(ours), Ok(theirs)) = (parse_type(ours), parse_type(theirs)) else {
        return if ours.eq_ignore_ascii_case(theirs) {
            Relation::Fits
        } else {
            Relation::Other
        };
    };
    match join(&ours, &theirs) {
        None => Relation::Other,
        Some(joined) if joined == theirs => Relation::Fits,
        Some(joined) => Relation::Wider(joined),
    }
}

/// The table's type with the fields of ours that it lacks; `None` if they disagree.
fn join(ours: &DataType, theirs: &DataType) -> Option<DataType> {
    match (ours, theirs) {
        (DataType::Array(ours), DataType::Array(theirs)) => {
            Some(DataType::Array(Box::new(join(ours, theirs)?)))
        }
        (DataType::Map(our_key, ours), DataType::Map(their_key, theirs)) => Some(DataType::Map(
            Box::new(join(our_key, their_key)?),
            Box::new(join(ours, theirs)?),
        )),
        (DataType::Struct(ours), DataType::Struct(theirs)) => {
            let mut joined = theirs.clone();
            for field in ours {
                match joined
                    .iter_mut()
                    .find(|known| same_name(&known.name, &field.name))
                {
                    Some(known) => known.data_type = join(&field.data_type, &known.data_type)?,
                    None => joined.push(field.clone()),
                }
            }
            Some(DataType::Struct(joined))
        }
        _ if ours == theirs => Some(theirs.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::PartitionKey;
    use super::*;

    fn columns(text: &[(&str, &str)]) -> Vec<Column> {
        text.iter().map(|(n, t)| Column::new(n, t)).collect()
    }

    fn spec(given: &[(&str, &str)]) -> TableSpec {
        TableSpec {
            columns: Some(columns(given)),
            keys: vec![
                PartitionKey {
                    column: Column::new("dt", "string"),
                    made: true,
                },
                PartitionKey {
                    column: Column::new("region", "string"),
                    made: false,
                },
            ],
            location: "hdfs://nn/lake/orders".into(),
            format: TableFormat::Parquet,
        }
    }

    fn table(given: &[(&str, &str)]) -> Table {
        Table {
            columns: columns(given),
            keys: columns(&[("dt", "date"), ("Region", "string")]),
            location: "hdfs://nn:8020/lake/orders/".into(),
            format: Some(TableFormat::Parquet),
            format_name: "Parquet".into(),
            unfit: None,
        }
    }

    #[test]
    fn columns_and_fields_are_added_and_nothing_else() {
        let ours = spec(&[
            ("Id", "bigint"),
            ("geo", "struct<lat:double,alt:int>"),
            ("tags", "array<struct<a:int,b:string>>"),
            ("new", "decimal(10,2)"),
        ]);
        let theirs = table(&[
            ("tags", "array<struct<a:int>>"),
            ("theirs", "uniontype<int>"),
            ("id", "BIGINT"),
            ("geo", "struct<lat:double,lon:double>"),
        ]);
        let found = difference(&ours, &theirs).unwrap();
        assert_eq!(found.added, columns(&[("new", "decimal(10,2)")]));
        assert_eq!(
            found.widened,
            columns(&[
                ("geo", "struct<lat:double,lon:double,alt:int>"),
                ("tags", "array<struct<a:int,b:string>>"),
            ])
        );
        assert_eq!(found.warnings, [""; 0]);
    }

    #[test]
    fn what_disagrees_is_named_with_both_sides() {
        let ours = spec(&[("id", "bigint"), ("at", "timestamp"), ("dt", "string")]);
        let mut theirs = table(&[("id", "string"), ("at", "timestamp with local time zone")]);
        theirs.keys[1].data_type = "int".into();
        let wrong = difference(&ours, &theirs).unwrap_err();
        for words in [
            "column `id` is `string` in the table and `bigint` in what lands",
            "column `at` is `timestamp with local time zone` in the table and `timestamp`",
            "column `dt` lands in the data files and is a partition key",
            "partition key `region` is `int` in the table and `string`",
        ] {
            assert!(wrong.contains(words), "{words}: {wrong}");
        }
        theirs.keys.swap(0, 1);
        theirs.format = None;
        theirs.format_name = "ORC".into();
        let wrong = difference(&ours, &theirs).unwrap_err();
        assert!(
            wrong.contains("`Region`, `dt`, those of `sink.path` `dt`, `region`"),
            "{wrong}"
        );
        assert!(wrong.contains("read as ORC, and Parquet lands"), "{wrong}");
    }

    #[test]
    fn only_a_table_without_partitions_must_be_where_files_land() {
        let mut ours = spec(&[]);
        let mut theirs = table(&[]);
        theirs.location = "hdfs://nn/elsewhere".into();
        let found = difference(&ours, &theirs).unwrap();
        assert!(found.warnings[0].contains("`hdfs://nn/elsewhere`"));
        ours.keys.clear();
        theirs.keys.clear();
        assert!(
            difference(&ours, &theirs)
                .unwrap_err()
                .contains("no reader")
        );
        theirs.location = "hdfs://nameservice/lake/orders".into();
        assert_eq!(difference(&ours, &theirs).unwrap().warnings.len(), 1);
    }
}
