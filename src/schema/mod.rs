//! The schema: Hive types, fields, versions that only add.
//!
//! Pure: Arrow and Parquet types are made from these under `format`.

mod hive;
mod names;
mod observed;

pub use hive::parse_type;
pub use names::{Taken, fold_name, group_value};
pub use observed::{Kinds, Observed, TYPE_DEPTH_MAX, Widening};

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A Hive type. `Varchar` and `Char` are strings whose longer values are rescued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Float,
    Double,
    /// Precision 1 to 38, scale 0 to precision.
    Decimal(u8, u8),
    String,
    Varchar(u32),
    Char(u32),
    Binary,
    Date,
    /// An instant, microseconds in UTC.
    Timestamp,
    Struct(Vec<Field>),
    Array(Box<DataType>),
    Map(Box<DataType>, Box<DataType>),
}

/// A column, or a field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// As landed (folded to Hive's form if `names = "hive"`).
    pub name: String,
    /// The key in the input, byte for byte as it is decoded.
    pub key: String,
    pub data_type: DataType,
    /// Given by its folded name, so it also takes keys that fold to that and are no other field's: `Flight Date` lands in a given
    /// `flight_date`. Inferred fields take their own key alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folds: bool,
}

/// What a column holds that no record brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metadata {
    File,
    Offset,
    Batch,
    IngestedAt,
}

/// The columns of a version, in their order of landing: data columns, path columns (strings), `_rescued`, metadata
/// columns. Later versions append data columns before `_rescued`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    pub columns: Vec<Field>,
    /// Names of the groups of `path_columns`; landed as strings unless a column of the same name is given.
    pub path_columns: Vec<String>,
    pub metadata: Vec<Metadata>,
    /// `schema.mode = "none"`: records land byte for byte; `columns` are then only those that paths name.
    #[serde(default)]
    pub raw: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaMode {
    Infer,
    Columns,
    /// As the table in the catalog has them.
    Hive,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewColumns {
    Add,
    Rescue,
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Hive,
    AsIs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampUnit {
    Auto,
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl TimestampUnit {
    /// As the configuration names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::Nanos => "ns",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Auto,
            Self::Seconds,
            Self::Millis,
            Self::Micros,
            Self::Nanos,
        ]
        .into_iter()
        .find(|unit| unit.as_str() == text)
    }
}

/// `[pipeline.schema]`, validated.
#[derive(Clone, Debug)]
pub struct SchemaSettings {
    pub mode: SchemaMode,
    /// Name and type, in the order given; with `Infer` hints.
    pub columns: Vec<(String, DataType)>,
    pub new_columns: NewColumns,
    pub names: Names,
    /// IANA name, of times without an offset.
    pub timezone: String,
    pub timestamp_unit: TimestampUnit,
    pub metadata: Vec<Metadata>,
    pub columns_max: usize,
    /// Groups of `source.path_columns`, as they land.
    pub path_columns: Vec<String>,
    /// With `names = "hive"` the partition keys of `sink.path` that are not a column it reads: Hive has no column beside a
    /// partition key of its name, so none may take one.
    pub partition_keys: Vec<String>,
}

/// The pipeline's schema while it runs: shared by its lanes, only ever added to.
pub struct SchemaRegistry {
    pub settings: SchemaSettings,
    state: Mutex<State>,
}

struct State {
    version: u32,
    schema: Arc<Schema>,
    /// Versions made here and not yet journaled.
    fresh: Vec<(u32, serde_json::Value)>,
}

impl SchemaRegistry {
    /// `journaled`: the newest version in the journal. Without one the registry starts at version 0 with `first`,
    /// which becomes version 1 with the first [`Self::extend`] or [`Self::settle`].
    #[must_use]
    pub fn new(settings: SchemaSettings, journaled: Option<(u32, Schema)>, first: Schema) -> Self {
        let (version, schema) = journaled.unwrap_or((0, first));
        Self {
            settings,
            state: Mutex::new(State {
                version,
                schema: Arc::new(schema),
                fresh: Vec::new(),
            }),
        }
    }

    #[must_use]
    pub fn current(&self) -> (u32, Arc<Schema>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.version, Arc::clone(&state.schema))
    }

    /// Lets `widen` add to the newest schema under the lock; a changed result becomes the next version. Answers the version
    /// that holds then.
    pub fn extend(&self, widen: impl FnOnce(&mut Schema)) -> (u32, Arc<Schema>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut schema = (*state.schema).clone();
        widen(&mut schema);
        if schema != *state.schema || state.version == 0 {
            state.version += 1;
            let json = serde_json::to_value(&schema).unwrap_or_default();
            let version = state.version;
            state.fresh.push((version, json));
            state.schema = Arc::new(schema);
        }
        (state.version, Arc::clone(&state.schema))
    }

    /// Makes sure that there is a version 1.
    pub fn settle(&self) -> (u32, Arc<Schema>) {
        self.extend(|_| ())
    }

    /// The versions not yet journaled, for a stage request; forgotten by [`Self::journaled`] once that answered `Ok`.
    #[must_use]
    pub fn fresh(&self) -> Vec<(u32, serde_json::Value)> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fresh
            .clone()
    }

    pub fn journaled(&self, up_to: u32) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fresh
            .retain(|(version, _)| *version > up_to);
    }
}

/// The column of what did not fit its own: NULL, or a JSON object `{"key": value}`.
pub const RESCUED: &str = "_rescued";

/// The column of a raw schema that holds the records byte for byte.
pub const RAW: &str = "_raw";

impl Metadata {
    pub const ALL: [Self; 4] = [Self::File, Self::Offset, Self::Batch, Self::IngestedAt];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "_file",
            Self::Offset => "_offset",
            Self::Batch => "_batch",
            Self::IngestedAt => "_ingested_at",
        }
    }

    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::File => DataType::String,
            Self::Offset | Self::Batch => DataType::BigInt,
            Self::IngestedAt => DataType::Timestamp,
        }
    }
}

impl DataType {
    /// How many fields that are no structs it holds, itself included: what `columns_max` counts.
    #[must_use]
    pub fn leaves(&self) -> usize {
        match self {
            Self::Struct(fields) => fields.iter().map(|f| f.data_type.leaves()).sum(),
            Self::Array(element) => element.leaves(),
            Self::Map(key, value) => key.leaves() + value.leaves(),
            _ => 1,
        }
    }

    fn folded(&self, names: Names) -> Self {
        match self {
            Self::Struct(fields) => Self::Struct(folded_fields(
                fields.iter().map(|f| (f.key.as_str(), &f.data_type)),
                names,
                Taken::default(),
            )),
            Self::Array(element) => Self::Array(Box::new(element.folded(names))),
            Self::Map(key, value) => {
                Self::Map(Box::new(key.folded(names)), Box::new(value.folded(names)))
            }
            other => other.clone(),
        }
    }
}

fn folded_fields<'a>(
    given: impl Iterator<Item = (&'a str, &'a DataType)>,
    names: Names,
    mut taken: Taken,
) -> Vec<Field> {
    given
        .map(|(key, data_type)| {
            let name = taken.name(key, names);
            Field {
                folds: names == Names::Hive && name == key,
                name,
                key: key.to_owned(),
                data_type: data_type.folded(names),
            }
        })
        .collect()
}

/// The schema before anything was inferred: the columns given, or none. With `mode = "none"` a raw one, to whose
/// `columns` the caller adds those that the path template names.
#[must_use]
pub fn first_schema(settings: &SchemaSettings) -> Schema {
    let raw = settings.mode == SchemaMode::None;
    let given = settings.columns.iter().map(|(key, t)| (key.as_str(), t));
    Schema {
        columns: folded_fields(
            given,
            settings.names,
            Taken::reserved(&settings.partition_keys),
        ),
        path_columns: settings.path_columns.clone(),
        metadata: settings.metadata.clone(),
        raw,
    }
}

impl Schema {
    /// The data column of this landed name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Field> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The type of what a path template may name: `region`, `geo.lat`, a path column, `_file`. A dot inside a column's own name
    /// wins over one that leads into a struct.
    #[must_use]
    pub fn type_of(&self, path: &str) -> Option<DataType> {
        if let Some(column) = self.column(path) {
            return Some(column.data_type.clone());
        }
        if self.path_columns.iter().any(|name| name == path) {
            return Some(DataType::String);
        }
        if let Some(metadata) = Metadata::ALL.iter().find(|m| m.name() == path) {
            return Some(metadata.data_type());
        }
        let (name, rest) = path.split_once('.')?;
        let mut data_type = &self.column(name)?.data_type;
        for part in rest.split('.') {
            let DataType::Struct(fields) = data_type else {
                return None;
            };
            data_type = &fields.iter().find(|f| f.name == part)?.data_type;
        }
        Some(data_type.clone())
    }

    /// The path columns that land as columns of their own: those that no data column's name shadows.
    pub fn landed_path_columns(&self) -> impl Iterator<Item = &str> {
        self.path_columns
            .iter()
            .map(String::as_str)
            .filter(|name| self.column(name).is_none())
    }

    /// Every landed column, name and type, in the order of landing.
    #[must_use]
    pub fn landed(&self) -> Vec<(String, DataType)> {
        let mut landed = Vec::new();
        if self.raw {
            landed.push((RAW.to_owned(), DataType::Binary));
        }
        for column in &self.columns {
            landed.push((column.name.clone(), column.data_type.clone()));
        }
        for name in self.landed_path_columns() {
            landed.push((name.to_owned(), DataType::String));
        }
        if !self.raw {
            landed.push((RESCUED.to_owned(), DataType::String));
        }
        for metadata in &self.metadata {
            landed.push((metadata.name().to_owned(), metadata.data_type()));
        }
        landed
    }

    /// How many leaves the data columns hold: what `columns_max` counts.
    #[must_use]
    pub fn leaves(&self) -> usize {
        self.columns.iter().map(|c| c.data_type.leaves()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(columns: &[(&str, &str)]) -> SchemaSettings {
        SchemaSettings {
            mode: SchemaMode::Columns,
            columns: columns
                .iter()
                .map(|(name, t)| ((*name).to_owned(), parse_type(t).unwrap()))
                .collect(),
            new_columns: NewColumns::Rescue,
            names: Names::Hive,
            timezone: "UTC".into(),
            timestamp_unit: TimestampUnit::Auto,
            metadata: vec![Metadata::File],
            columns_max: 2000,
            path_columns: vec!["region".into(), "day".into()],
            partition_keys: vec!["dt".into()],
        }
    }

    #[test]
    fn given_columns_are_folded_and_keep_their_keys() {
        let schema = first_schema(&settings(&[
            ("createdAt", "timestamp"),
            ("CREATEDAT", "string"),
            ("geo", "struct<Lat:double,LAT:int>"),
            ("_file", "string"),
            ("day", "int"),
            ("DT", "string"),
        ]));
        let names: Vec<_> = schema
            .landed()
            .into_iter()
            .map(|(n, t)| format!("{n} {t}"))
            .collect();
        assert_eq!(
            names,
            [
                "createdat timestamp",
                "createdat_2 string",
                "geo struct<lat:double,lat_2:int>",
                "_file_2 string",
                "day int",
                "dt_2 string",
                "region string",
                "_rescued string",
                "_file string",
            ]
        );
        let folds: Vec<bool> = schema.columns.iter().map(|column| column.folds).collect();
        assert_eq!(folds, [false, false, true, false, true, false]);
        assert_eq!(schema.type_of("geo.lat_2"), Some(DataType::Int));
        assert_eq!(schema.type_of("geo.x"), None);
        assert_eq!(schema.type_of("region"), Some(DataType::String));
    }
}
