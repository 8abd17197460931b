//! The schema: Hive types, fields, versions that only add.
//!
//! Pure: Arrow and Parquet types are made from these under `format`.

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
    /// Groups of `source.path_columns`.
    pub path_columns: Vec<String>,
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
