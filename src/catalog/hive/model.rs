//! Tables and partitions as the metastore's Thrift structs.
//!
//! Field ids are those of `hive_metastore.thrift`, which has only ever added some: an id means the same in 2.3 and in 4.

use super::value::{Struct, Value};
use crate::catalog::{Column, Partition, Table, TableFormat, TableSpec};

/// Field ids of `Table`.
mod table {
    pub const NAME: i16 = 1;
    pub const DATABASE: i16 = 2;
    pub const OWNER: i16 = 3;
    pub const CREATE_TIME: i16 = 4;
    pub const LAST_ACCESS_TIME: i16 = 5;
    pub const RETENTION: i16 = 6;
    pub const STORAGE: i16 = 7;
    pub const KEYS: i16 = 8;
    pub const PARAMETERS: i16 = 9;
    pub const KIND: i16 = 12;
}

/// Of `StorageDescriptor`.
mod storage {
    pub const COLUMNS: i16 = 1;
    pub const LOCATION: i16 = 2;
    pub const INPUT_FORMAT: i16 = 3;
    pub const OUTPUT_FORMAT: i16 = 4;
    pub const COMPRESSED: i16 = 5;
    pub const BUCKETS: i16 = 6;
    pub const SERDE: i16 = 7;
    pub const BUCKET_COLUMNS: i16 = 8;
    pub const SORT_COLUMNS: i16 = 9;
    pub const PARAMETERS: i16 = 10;
}

/// Of `SerDeInfo`.
mod serde {
    pub const NAME: i16 = 1;
    pub const LIBRARY: i16 = 2;
    pub const PARAMETERS: i16 = 3;
}

/// Of `Partition`.
mod partition {
    pub const VALUES: i16 = 1;
    pub const DATABASE: i16 = 2;
    pub const TABLE: i16 = 3;
    pub const CREATE_TIME: i16 = 4;
    pub const LAST_ACCESS_TIME: i16 = 5;
    pub const STORAGE: i16 = 6;
    pub const PARAMETERS: i16 = 7;
}

/// Of `FieldSchema`.
mod field {
    pub const NAME: i16 = 1;
    pub const TYPE: i16 = 2;
}

/// Input format, output format and SerDe.
struct Classes(&'static str, &'static str, &'static str);

fn classes(format: TableFormat) -> Classes {
    match format {
        TableFormat::Parquet => Classes(
            "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        ),
        TableFormat::Ndjson => Classes(
            "org.apache.hadoop.mapred.TextInputFormat",
            "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
            "org.apache.hive.hcatalog.data.JsonSerDe",
        ),
    }
}

fn field_struct(column: &Column) -> Struct {
    Struct::default()
        .with(field::NAME, Value::text(&column.name.to_lowercase()))
        .with(field::TYPE, Value::text(&column.data_type))
}

fn column(field: &Struct) -> Column {
    Column {
        name: field.text(field::NAME),
        data_type: field.text(field::TYPE),
    }
}

fn columns(fields: &Struct, id: i16) -> Vec<Column> {
    fields.structs(id).map(column).collect()
}

pub(super) fn table_struct(database: &str, name: &str, owner: &str, spec: &TableSpec) -> Struct {
    let Classes(input, output, library) = classes(spec.format);
    let serde = Struct::default()
        .with(serde::NAME, Value::text(name))
        .with(serde::LIBRARY, Value::text(library))
        .with(
            serde::PARAMETERS,
            Value::map([("serialization.format", "1")]),
        );
    let own = spec.columns.as_deref().unwrap_or_default();
    let storage = Struct::default()
        .with(
            storage::COLUMNS,
            Value::structs(own.iter().map(field_struct)),
        )
        .with(storage::LOCATION, Value::text(&spec.location))
        .with(storage::INPUT_FORMAT, Value::text(input))
        .with(storage::OUTPUT_FORMAT, Value::text(output))
        .with(storage::COMPRESSED, Value::Bool(false))
        .with(storage::BUCKETS, Value::I32(-1))
        .with(storage::SERDE, Value::Struct(serde))
        .with(storage::BUCKET_COLUMNS, Value::texts([]))
        .with(storage::SORT_COLUMNS, Value::structs([]))
        .with(storage::PARAMETERS, Value::map([]));
    let keys = spec.keys.iter().map(|key| field_struct(&key.column));
    Struct::default()
        .with(table::NAME, Value::text(name))
        .with(table::DATABASE, Value::text(database))
        .with(table::OWNER, Value::text(owner))
        .with(table::CREATE_TIME, Value::I32(0))
        .with(table::LAST_ACCESS_TIME, Value::I32(0))
        .with(table::RETENTION, Value::I32(0))
        .with(table::STORAGE, Value::Struct(storage))
        .with(table::KEYS, Value::structs(keys))
        .with(
            table::PARAMETERS,
            Value::map([("EXTERNAL", "TRUE"), ("created_by", "lakeward")]),
        )
        .with(table::KIND, Value::text("EXTERNAL_TABLE"))
}

pub(super) fn table(fields: &Struct) -> Table {
    let empty = Struct::default();
    let sd = fields.inner(table::STORAGE).unwrap_or(&empty);
    let library = sd
        .inner(storage::SERDE)
        .map(|serde| serde.text(serde::LIBRARY))
        .unwrap_or_default();
    let input = sd.text(storage::INPUT_FORMAT);
    Table {
        columns: columns(sd, storage::COLUMNS),
        keys: columns(fields, table::KEYS),
        location: sd.text(storage::LOCATION),
        format: format(&input, &library),
        format_name: format!("`{input}` with `{library}`"),
        unfit: unfit(fields),
    }
}

/// By the classes' own names, as many packages have been their home.
fn format(input: &str, library: &str) -> Option<TableFormat> {
    let own = |class: &str| {
        class
            .rsplit('.')
            .next()
            .unwrap_or(class)
            .to_ascii_lowercase()
    };
    let (input, library) = (own(input), own(library));
    if input.contains("parquet") && library.contains("parquet") {
        Some(TableFormat::Parquet)
    } else if input.contains("text") && library.contains("json") {
        Some(TableFormat::Ndjson)
    } else {
        None
    }
}

fn unfit(fields: &Struct) -> Option<String> {
    let kind = fields.text(table::KIND);
    if kind.contains("VIEW") {
        return Some(format!("it is a view (`{kind}`)"));
    }
    let acid = fields.entry(table::PARAMETERS, "transactional")?;
    acid.eq_ignore_ascii_case("true").then(|| {
        "it is a transactional table, whose readers see no files but Hive's own; make an external one"
            .to_owned()
    })
}

/// Whether anything had to be changed. The columns that stand there keep name, comment and place.
pub(super) fn alter(fields: &mut Struct, added: &[Column], widened: &[Column]) -> bool {
    let Some(sd) = fields.inner_mut(table::STORAGE) else {
        return false;
    };
    let mut columns: Vec<Struct> = sd.structs(storage::COLUMNS).cloned().collect();
    let mut changed = false;
    for wide in widened {
        let same = |field: &&mut Struct| {
            field.text(field::NAME).to_lowercase() == wide.name.to_lowercase()
        };
        if let Some(field) = columns.iter_mut().find(same)
            && !field
                .text(field::TYPE)
                .eq_ignore_ascii_case(&wide.data_type)
        {
            field.set(field::TYPE, Value::text(&wide.data_type));
            changed = true;
        }
    }
    for new in added {
        let there = columns
            .iter()
            .any(|field| field.text(field::NAME).to_lowercase() == new.name.to_lowercase());
        if !there {
            columns.push(field_struct(new));
            changed = true;
        }
    }
    sd.set(storage::COLUMNS, Value::structs(columns));
    changed
}

/// The table's own storage with another location: a partition is read as it says itself.
pub(super) fn partition_struct(
    database: &str,
    name: &str,
    of: &Struct,
    partition: &Partition,
) -> Struct {
    let mut sd = of.inner(table::STORAGE).cloned().unwrap_or_default();
    sd.set(storage::LOCATION, Value::text(&partition.location));
    Struct::default()
        .with(
            partition::VALUES,
            Value::texts(partition.values.iter().map(String::as_str)),
        )
        .with(partition::DATABASE, Value::text(database))
        .with(partition::TABLE, Value::text(name))
        .with(partition::CREATE_TIME, Value::I32(0))
        .with(partition::LAST_ACCESS_TIME, Value::I32(0))
        .with(partition::STORAGE, Value::Struct(sd))
        // Else the metastore lists the partition's files to count them.
        .with(
            partition::PARAMETERS,
            Value::map([("DO_NOT_UPDATE_STATS", "true")]),
        )
}

/// `dt=2026-11-22/region=a%3Ab`, as the metastore calls a partition.
pub(super) fn partition_name(keys: &[String], values: &[String]) -> String {
    let pairs: Vec<String> = keys
        .iter()
        .zip(values)
        .map(|(key, value)| format!("{}={}", escaped(&key.to_lowercase()), escaped(value)))
        .collect();
    pairs.join("/")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && crate::naming::hive_escapes(c as u8) {
            escaped.push_str(&format!("%{:02X}", c as u32));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

pub(super) fn partition_values(of: &Struct) -> Vec<String> {
    of.texts(partition::VALUES)
}

pub(super) fn partition_location(of: &Struct) -> String {
    of.inner(partition::STORAGE)
        .map(|sd| sd.text(storage::LOCATION))
        .unwrap_or_default()
}
