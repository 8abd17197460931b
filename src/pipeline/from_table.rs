//! `schema.mode = "hive"`: the columns are those of the table in the catalog.
//!
//! The journal's schema holds what was found first; a column that the table has since got is added to it at the next start. One whose type
//! was changed there stops the pipeline, as any table that disagrees. While the catalog is away the journal's schema
//! does.

use tracing::warn;

use super::Halt;
use crate::catalog::{Catalog, ErrorClass, Table};
use crate::config::PipelineSettings;
use crate::schema::{
    DataType, Field, Metadata, RESCUED, Schema, SchemaMode, SchemaSettings, parse_type,
};
use crate::sink::PathTemplate;

/// The settings with the table's columns for those that are given; in other modes as they are. `journaled`: there is a schema to
/// fall back on.
pub fn schema_settings(
    pipeline: &PipelineSettings,
    catalog: Option<&dyn Catalog>,
    journaled: bool,
) -> Result<SchemaSettings, Halt> {
    let mut settings = pipeline.schema.clone();
    let (SchemaMode::Hive, Some(catalog)) = (settings.mode, catalog) else {
        return Ok(settings);
    };
    let table = match catalog.table() {
        Ok(Some(table)) => table,
        Ok(None) => {
            return Err(Halt::Stopped(format!(
                "there is no table `{}`, from which `schema.mode = \"hive\"` takes the columns: make it, or choose another mode",
                catalog.identity()
            )));
        }
        Err(error) if error.class == ErrorClass::Transient && journaled => {
            warn!(pipeline = %pipeline.name, %error, "the catalog is away; the columns are those of the journal");
            return Ok(settings);
        }
        Err(error) if error.class == ErrorClass::Transient => {
            return Err(Halt::NotDone(error.to_string()));
        }
        Err(error) => return Err(Halt::Stopped(error.to_string())),
    };
    let template =
        PathTemplate::parse(&pipeline.sink.path, &pipeline.sink.timezone).map_err(Halt::Stopped)?;
    settings.columns = columns(&table, &template.removed())
        .map_err(|wrong| Halt::Stopped(format!("table `{}`: {wrong}", catalog.identity())))?;
    Ok(settings)
}

/// Without Lakeward's own, and with those partition keys that are columns of the records.
fn columns(table: &Table, removed: &[&str]) -> Result<Vec<(String, DataType)>, String> {
    let own = |name: &str| {
        name == RESCUED || Metadata::ALL.iter().any(|metadata| metadata.name() == name)
    };
    let keys = table
        .keys
        .iter()
        .filter(|key| removed.contains(&key.name.as_str()));
    let mut columns = Vec::new();
    for column in table.columns.iter().chain(keys) {
        let name = column.name.to_lowercase();
        if own(&name) {
            continue;
        }
        let data_type = parse_type(&column.data_type)
            .map_err(|why| format!("column `{name}` cannot be landed: {why}"))?;
        columns.push((name, data_type));
    }
    if columns.is_empty() {
        return Err("it has no column that could be landed".to_owned());
    }
    Ok(columns)
}

/// Adds the columns that the table got since the schema was journaled.
pub(super) fn add_new(schema: &mut Schema, settings: &SchemaSettings) {
    for (name, data_type) in &settings.columns {
        if schema.column(name).is_none() {
            schema.columns.push(Field {
                name: name.clone(),
                key: name.clone(),
                data_type: data_type.clone(),
                folds: true,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Column;

    #[test]
    fn own_columns_are_left_out_and_keys_of_records_come_in() {
        let table = Table {
            columns: [
                ("Id", "bigint"),
                ("_rescued", "string"),
                ("_file", "string"),
            ]
            .map(|(n, t)| Column::new(n, t))
            .to_vec(),
            keys: [("dt", "string"), ("region", "varchar(3)")]
                .map(|(n, t)| Column::new(n, t))
                .to_vec(),
            location: String::new(),
            format: None,
            format_name: String::new(),
            unfit: None,
        };
        let found = columns(&table, &["region"]).unwrap();
        assert_eq!(
            found,
            [
                ("id".to_owned(), DataType::BigInt),
                ("region".to_owned(), DataType::Varchar(3))
            ]
        );
        let mut odd = table;
        odd.columns[0].data_type = "uniontype<int>".into();
        assert!(
            columns(&odd, &[])
                .unwrap_err()
                .contains("column `id` cannot be landed")
        );
        odd.columns.remove(0);
        assert!(columns(&odd, &[]).is_err());
    }
}
