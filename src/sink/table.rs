//! The template as a table's partition columns, and the columns that are left for the table itself.

use super::template::{Component, PathTemplate, Piece};
use crate::schema::{DataType, Schema};

impl Component {
    /// The `dt` of `dt={…}`, `dt=v{…}` or `dt=x`.
    fn key(&self) -> Option<&str> {
        let Some(Piece::Literal(text)) = self.pieces.first() else {
            return None;
        };
        text.split_once('=').map(|(key, _)| key)
    }

    /// `x={x}`, `x={x:%Y}`.
    fn is_one_value(&self) -> bool {
        matches!(self.pieces.as_slice(), [Piece::Literal(key), Piece::Value(_)] if key.ends_with('='))
    }
}

impl PathTemplate {
    /// Below the root every directory is a level of partitions.
    fn partitions(&self) -> impl Iterator<Item = (&str, &Component)> {
        let components = &self.components[self.root_length()..];
        components.iter().filter_map(|c| Some((c.key()?, c)))
    }

    /// Names of the partition columns, in the order of the path.
    #[must_use]
    pub fn partition_keys(&self) -> Vec<&str> {
        self.partitions().map(|(key, _)| key).collect()
    }

    /// `dt={…}` is a partition column `dt`: a string, or the type of the column if the component is that column alone.
    #[must_use]
    pub fn partition_columns(&self, schema: &Schema) -> Vec<(String, DataType)> {
        let removed = self.removed();
        let typed = |(key, component): (&str, &Component)| {
            let alone = component.is_one_value() && removed.contains(&key);
            let data_type = alone.then(|| schema.type_of(key)).flatten();
            (key.to_owned(), data_type.unwrap_or(DataType::String))
        };
        self.partitions().map(typed).collect()
    }

    /// Whether the path reads this column, or a field of it.
    #[must_use]
    pub fn reads(&self, column: &str) -> bool {
        let below = |name: &str| {
            name.strip_prefix(column)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.columns().into_iter().any(below)
    }

    /// The columns of a Hive table over what lands: those of the data files, without the ones whose names are partition keys.
    /// Hive has one column of a name, and fills it from the path; see [`Self::hidden_columns`].
    #[must_use]
    pub fn table_columns(&self, schema: &Schema) -> Vec<(String, DataType)> {
        let keys = self.partition_keys();
        let mut columns = schema.landed();
        columns.retain(|(name, _)| !keys.iter().any(|key| key.eq_ignore_ascii_case(name)));
        columns
    }

    /// Columns of the data files that readers of the table do not see, since a partition key has their name: `dt={dt:%Y-%m}`
    /// keeps the day in the file, and shows the month.
    #[must_use]
    pub fn hidden_columns(&self, schema: &Schema) -> Vec<String> {
        let keys = self.partition_keys();
        let removed = self.removed();
        let landed = schema.landed().into_iter().map(|(name, _)| name);
        landed
            .filter(|name| !removed.contains(&name.as_str()))
            .filter(|name| keys.iter().any(|key| key.eq_ignore_ascii_case(name)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Field, parse_type};

    fn schema(columns: &[(&str, &str)]) -> Schema {
        let field = |(name, data_type): &(&str, &str)| Field {
            name: (*name).to_owned(),
            key: (*name).to_owned(),
            data_type: parse_type(data_type).unwrap(),
            folds: false,
        };
        Schema {
            columns: columns.iter().map(field).collect(),
            ..Schema::default()
        }
    }

    fn shown(columns: &[(String, DataType)]) -> Vec<String> {
        let shown = columns.iter().map(|(name, t)| format!("{name} {t}"));
        shown.collect()
    }

    #[test]
    fn every_directory_below_the_root_with_an_equals_sign_is_a_partition_column() {
        let schema = schema(&[
            ("id", "bigint"),
            ("region", "int"),
            ("at", "timestamp"),
            ("dt", "date"),
            ("geo", "struct<lat:double>"),
        ]);
        let template = PathTemplate::parse(
            "t/env=prod/dt={dt:%Y-%m}/region={region}/v=v{id}/kind=a/geo={geo.lat}/{at:%H}",
            "UTC",
        )
        .unwrap();
        assert_eq!(
            shown(&template.partition_columns(&schema)),
            [
                "dt string",
                "region int",
                "v string",
                "kind string",
                "geo string"
            ]
        );
        assert_eq!(
            shown(&template.table_columns(&schema)),
            ["id bigint", "at timestamp", "_rescued string"]
        );
        assert_eq!(template.hidden_columns(&schema), ["dt", "geo"]);
        assert!(template.reads("geo") && template.reads("at") && !template.reads("ge"));
    }
}
