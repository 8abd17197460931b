//! The template as a table's partition columns, for Hive's DDL.

use super::template::{PathTemplate, Piece};
use crate::schema::{DataType, Schema};

impl PathTemplate {
    /// `dt={…}` is a partition column `dt`: a string, or the type of the column if the component is that column alone.
    #[must_use]
    pub fn partition_columns(&self, schema: &Schema) -> Vec<(String, DataType)> {
        let removed = self.removed();
        let mut columns = Vec::new();
        for component in &self.components {
            let [Piece::Literal(key), rest @ ..] = component.pieces.as_slice() else {
                continue;
            };
            let Some(name) = key.strip_suffix('=') else {
                continue;
            };
            if rest.is_empty() || name.contains('=') {
                continue;
            }
            let data_type = if removed.contains(&name) {
                schema.type_of(name).unwrap_or(DataType::String)
            } else {
                DataType::String
            };
            columns.push((name.to_owned(), data_type));
        }
        columns
    }
}
