//! The catalog port: the one table in which a pipeline's partitions are registered, so that readers see them.
//!
//! Every method is "make it so", as in the lake: calling it again after any error, kill or lost answer is harmless, and a
//! failed look is an error and never "absent". A catalog holds names only. What has landed is safe without it, so
//! nothing that it answers may undo a batch or keep a spooled file from being retired.
//!
//! The types are texts in Hive's syntax, which the Glue catalog speaks too; what a catalog does with a table's format is its own
//! affair. Deliberately not here: dropping, narrowing or retyping anything, statistics, and locks.

pub mod conformance;
pub mod ddl;
mod difference;
mod hive;

use std::sync::Arc;

pub use difference::{Difference, difference};
pub use hive::HiveCatalog;

use crate::config::HiveSettings;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// A passing fault: not reached, cut, busy. Whether it was done is unknown; calling again may help and does no harm.
    Transient,
    /// Calling again will not help before somebody mends something.
    Permanent,
}

/// `operation` `subject`: `message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} `{subject}`: {message}")]
pub struct CatalogError {
    pub class: ErrorClass,
    /// `look at table`, `add columns to`, …
    pub operation: &'static str,
    pub subject: String,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, CatalogError>;

/// A column or a partition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// In Hive's syntax, `struct<lat:double>`.
    pub data_type: String,
}

impl Column {
    #[must_use]
    pub fn new(name: &str, data_type: impl ToString) -> Self {
        Self {
            name: name.to_owned(),
            data_type: data_type.to_string(),
        }
    }
}

/// What the files of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    Parquet,
    Ndjson,
}

/// The table as a pipeline needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Without partition keys. `None` where records land as they are and nobody knows their columns.
    pub columns: Option<Vec<Column>>,
    pub keys: Vec<PartitionKey>,
    /// As the catalog's readers name it, without a `/` at its end: `hdfs://nn:8020/lake/orders`.
    pub location: String,
    pub format: TableFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionKey {
    pub column: Column,
    /// The path alone makes its values (`dt={at:%Y-%m-%d}`), so a table may give it another type that is no struct, list or map.
    pub made: bool,
}

/// A table as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub keys: Vec<Column>,
    pub location: String,
    /// What a reader would use; `None` for something that is none of ours.
    pub format: Option<TableFormat>,
    /// As the catalog names it, for messages.
    pub format_name: String,
    /// Why no program may add files to it at all (a view, a transactional table), in words.
    pub unfit: Option<String>,
}

/// A directory of data files, by the values of the table's partition keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// In the order of the keys, as they are and not as a path escapes them.
    pub values: Vec<String>,
    pub location: String,
}

/// What became of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// There now, at this location. Also if it was there before, or an earlier attempt whose answer was lost made it.
    Yes,
    /// There already, at another location, where it stays.
    Elsewhere(String),
    /// The catalog will have none of it, whatever is tried again: why.
    Refused(String),
}

/// What was done about columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Altered {
    Yes,
    /// The catalog lets no such change through (as a metastore does for fields of a struct, by default): why. Nothing was changed.
    Refused(String),
}

pub trait Catalog: Send + Sync {
    /// Type, place and table, for people: `default.orders` at `thrift://h:9083`.
    fn identity(&self) -> &str;

    /// The table as it stands; `None` if its database is there and it is not.
    ///
    /// # Errors
    /// Permanent if there is no such database.
    fn table(&self) -> Result<Option<Table>>;

    /// Makes the table if there is none. `Ok` also if one is there already, whatever it looks like: look.
    ///
    /// # Errors
    /// Whether it exists now is then unknown.
    fn create(&self, spec: &TableSpec) -> Result<()>;

    /// Appends those of `columns` that the table lacks, and lets those in `widened` have the type given, in the table and in all its
    /// partitions. Others keep name, type and place.
    ///
    /// Somebody who changes the table at the same moment may undo this: look again before it matters.
    ///
    /// # Errors
    /// Whether it was done is then unknown.
    fn alter(&self, added: &[Column], widened: &[Column]) -> Result<Altered>;

    /// Registers partitions, and says of each, in order, what became of it.
    ///
    /// # Errors
    /// Some of them may be registered then.
    fn add_partitions(&self, partitions: &[Partition]) -> Result<Vec<Registered>>;

    /// Location of a partition, `None` if there is none.
    ///
    /// # Errors
    /// Then it may or may not be there.
    fn partition(&self, values: &[String]) -> Result<Option<String>>;
}

/// The catalog that `settings` describe. Nothing is asked of it yet.
#[must_use]
pub fn open(settings: &HiveSettings) -> Arc<dyn Catalog> {
    Arc::new(HiveCatalog::new(settings))
}

/// Whether two locations are the same place. Schemes of one store (`s3`, `s3a`, `s3n`), `file:/x` and `file:///x`, HDFS's default port and
/// slashes at the end do not matter. `hdfs:///x` leaves the host to whoever reads it, so it may be any.
#[must_use]
pub fn same_location(one: &str, other: &str) -> bool {
    let ((scheme, host, path), (other_scheme, other_host, other_path)) = (parts(one), parts(other));
    let any_host = host.is_empty() || other_host.is_empty();
    scheme == other_scheme && path == other_path && (host == other_host || any_host)
}

/// Scheme, authority and path.
fn parts(location: &str) -> (String, String, String) {
    let (scheme, rest) = location.split_once(":/").unwrap_or(("", location));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "s3" | "s3n" => "s3a".to_owned(),
        other => other.to_owned(),
    };
    let (authority, path) = match rest.strip_prefix('/') {
        Some(rest) if location.contains(":/") => {
            rest.split_at(rest.find('/').unwrap_or(rest.len()))
        }
        _ => ("", rest),
    };
    let authority = authority.to_ascii_lowercase();
    let authority = match authority.strip_suffix(":8020") {
        Some(host) if scheme == "hdfs" => host.to_owned(),
        _ => authority,
    };
    (scheme, authority, path.trim_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::same_location;

    #[test]
    fn a_location_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("file:/lake/o", "file:///lake/o/"),
            ("hdfs://NN:8020/lake", "hdfs://nn/lake"),
            ("s3://b/o", "s3a://b/o"),
            ("s3a://b", "s3a://b/"),
            ("/lake", "/lake/"),
            ("hdfs:///lake/o", "hdfs://nn:8020/lake/o"),
            ("hdfs://service/lake/o", "hdfs:/lake/o/"),
        ] {
            assert!(same_location(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("file:/lake/o", "file:/lake/p"),
            ("hdfs://nn:9000/lake", "hdfs://nn/lake"),
            ("s3a://b/o", "s3a://b/O"),
            ("hdfs://nn/o", "s3a://nn/o"),
            ("file:/lake/o", "/lake/o"),
            ("hdfs:///lake/o", "hdfs://nn:8020/lake/p"),
            ("hdfs:///lake/o", "s3a://lake/o"),
            ("hdfs:///lake/o", "/lake/o"),
        ] {
            assert!(!same_location(one, other), "{one} {other}");
        }
    }
}
