//! The table that a pipeline's settings and schema make, and where its partitions are.
//!
//! A partition is told by its directory below the lake's root, which stays as it was landed. What may change between the commit and the
//! registration:
//!
//! | changed | then |
//! | --- | --- |
//! | the lake | refused at the start while partitions wait, see `start` |
//! | `sink.path`, with the same keys | the directory is where it was, and so is the partition |
//! | `sink.path`, with other keys | refused while partitions wait that have no values for them |
//! | `hive.table` | they are registered in the new one, at their own places |

use super::Halt;
use crate::catalog::{Partition, TableFormat, TableSpec};
use crate::config::{HiveSettings, LakeSettings, PipelineSettings};
use crate::journal::{Journal, PartitionWork};
use crate::schema::Schema;
use crate::sink::{OutputFormat, PathTemplate, partition_values};

/// Taken from the queue at once.
const PAGE: usize = 1_000;

/// What a table must be, and where its partitions are.
pub(super) struct Prepared {
    pub spec: TableSpec,
    pub place: TablePlace,
}

impl Prepared {
    pub fn new(
        pipeline: &PipelineSettings,
        settings: &HiveSettings,
        schema: &Schema,
    ) -> Result<Self, Halt> {
        let template = template(pipeline)?;
        let spec = spec(&template, schema, &pipeline.sink.format, &settings.location);
        Ok(Self {
            place: TablePlace::new(&spec, &template, &pipeline.lake),
            spec,
        })
    }
}

/// Where a table's partitions are.
pub struct TablePlace {
    keys: Vec<String>,
    /// Of the table.
    location: String,
    /// The template's.
    root: String,
    /// Of the lake, named as the table is.
    lake: String,
}

impl TablePlace {
    #[must_use]
    pub fn new(spec: &TableSpec, template: &PathTemplate, lake: &LakeSettings) -> Self {
        let keys = spec.keys.iter().map(|key| key.column.name.clone());
        let root = template.root();
        let named = spec.location.strip_suffix(root.as_str());
        let lake = match named.map(|lake| (lake, lake.strip_suffix('/'))) {
            Some((lake, None)) if root.is_empty() => lake.to_owned(),
            Some((_, Some(lake))) => lake.to_owned(),
            _ => lake.location(),
        };
        Self {
            keys: keys.collect(),
            location: spec.location.clone(),
            root,
            lake,
        }
    }

    /// `None`: the table has no partitions and needs no more.
    ///
    /// # Errors
    /// The directory gives no values for the table's keys: it was landed under another template.
    pub fn partition(&self, work: &PartitionWork) -> Result<Option<Partition>, String> {
        let values = values(work, &self.keys)?;
        if self.keys.is_empty() {
            return Ok(None);
        }
        let own_root = work
            .directory
            .strip_suffix(&work.partition)
            .map(|root| root.trim_end_matches('/'));
        let location = if own_root == Some(self.root.as_str()) {
            format!("{}/{}", self.location, work.partition)
        } else {
            // Landed under an earlier template.
            format!("{}/{}", self.lake, work.directory)
        };
        Ok(Some(Partition { values, location }))
    }
}

/// The table that a template and a schema make.
#[must_use]
pub fn spec(
    template: &PathTemplate,
    schema: &Schema,
    format: &OutputFormat,
    location: &str,
) -> TableSpec {
    let columns = template
        .table_columns(schema)
        .into_iter()
        .map(|(name, data_type)| crate::catalog::Column::new(&name, data_type))
        .collect();
    TableSpec {
        columns: (!schema.raw).then_some(columns),
        keys: template.registered_keys(schema),
        location: location.to_owned(),
        format: match format {
            OutputFormat::Parquet { .. } => TableFormat::Parquet,
            OutputFormat::Ndjson { .. } => TableFormat::Ndjson,
        },
    }
}

fn template(pipeline: &PipelineSettings) -> Result<PathTemplate, Halt> {
    PathTemplate::parse(&pipeline.sink.path, &pipeline.sink.timezone)
        .map_err(|e| Halt::Stopped(format!("path template: {e}")))
}

/// The values of a table's keys in a directory's name, in their order.
fn values<K: AsRef<str>>(work: &PartitionWork, keys: &[K]) -> Result<Vec<String>, String> {
    let pairs = partition_values(&work.partition).unwrap_or_default();
    let fits = pairs.len() == keys.len()
        && pairs
            .iter()
            .zip(keys)
            .all(|((name, _), key)| name.eq_ignore_ascii_case(key.as_ref()));
    if fits {
        return Ok(pairs.into_iter().map(|(_, value)| value).collect());
    }
    let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    Err(if keys.is_empty() {
        format!(
            "`{}` is a partition, and `sink.path` has no keys now",
            work.partition
        )
    } else {
        format!(
            "`{}` gives no values for the keys `{}`, which `sink.path` has now",
            work.directory,
            keys.join("`, `")
        )
    })
}

/// Without those that were landed under a path with other keys, which are no partitions of the table that is configured now.
///
/// # Errors
/// The path's own fault.
pub fn fitting(
    pipeline: &PipelineSettings,
    work: Vec<PartitionWork>,
) -> Result<Vec<PartitionWork>, Halt> {
    let template = template(pipeline)?;
    let keys = template.table_keys().map_err(Halt::Stopped)?;
    let found = work.len();
    let fitting: Vec<PartitionWork> = work
        .into_iter()
        .filter(|one| values(one, &keys).is_ok())
        .collect();
    if fitting.len() < found {
        tracing::warn!(
            pipeline = pipeline.name,
            left_out = found - fitting.len(),
            "partitions of an earlier `sink.path` with other keys are not registered again"
        );
    }
    Ok(fitting)
}

/// What waits for a table with other keys would never get into this one: it is for whoever changed the path to say what shall become
/// of it.
pub(super) fn refuse_other_keys(
    journal: &dyn Journal,
    pipeline: &PipelineSettings,
) -> Result<(), Halt> {
    let template = template(pipeline)?;
    let keys = template.table_keys().map_err(Halt::Stopped)?;
    let mut after: Option<String> = None;
    loop {
        let work = journal.waiting_partitions(&pipeline.name, after.as_deref(), PAGE)?;
        let Some(last) = work.last() else {
            return Ok(());
        };
        after = Some(last.directory.clone());
        for one in &work {
            values(one, &keys).map_err(|why| other_keys(&pipeline.name, &why))?;
        }
    }
}

pub(super) fn other_keys(pipeline: &str, why: &str) -> Halt {
    Halt::Stopped(format!(
        "partitions of pipeline `{pipeline}` wait to be registered that its table cannot have: {why}; set the old `sink.path` and `hive.table` again, run `lakeward run --once`, then change them"
    ))
}

/// Before the lake is changed: partitions on the queue are told by their directories in the old one. Where nobody registers any more, they
/// are given up.
pub(super) fn settle_waiting(
    journal: &dyn Journal,
    pipeline: &PipelineSettings,
    old: &str,
    new: &str,
) -> Result<(), Halt> {
    let name = pipeline.name.as_str();
    let waiting = journal.count_waiting_partitions(name)?;
    if waiting == 0 {
        return Ok(());
    }
    if pipeline.hive.as_ref().is_some_and(|hive| hive.register) {
        return Err(Halt::Stopped(format!(
            "the lake of pipeline `{name}` is now `{new}`, but {waiting} partitions in `{old}` wait to be registered: set the old lake again, run `lakeward run --once` until `lakeward status` says that none waits, then change it; or, if nobody needs them registered, change it once with `hive.register = false`"
        )));
    }
    loop {
        let work = journal.waiting_partitions(name, None, PAGE)?;
        if work.is_empty() {
            break;
        }
        journal.registered(name, &work)?;
    }
    tracing::warn!(
        pipeline = name,
        waiting,
        lake = old,
        "partitions of the old lake were never registered, and are given up since nothing is registered now"
    );
    Ok(())
}

/// The directories in which a batch landed data files, each once, as work for the queue.
#[must_use]
pub fn work_of(manifest: &crate::protocol::Manifest) -> Vec<PartitionWork> {
    let Some(membership) = manifest.membership() else {
        return Vec::new();
    };
    let mut found: std::collections::BTreeMap<String, PartitionWork> =
        std::collections::BTreeMap::new();
    let data = membership.data_files.iter().filter(|file| {
        file.kind == crate::protocol::DataFileKind::Data
            && !membership.lost_files.contains(&file.number)
    });
    for file in data {
        let directory = file
            .path
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        let work = found
            .entry(directory.to_owned())
            .or_insert_with(|| PartitionWork {
                directory: directory.to_owned(),
                partition: file.partition.clone(),
                schema_version: 0,
                batch: manifest.batch,
            });
        work.schema_version = work.schema_version.max(file.schema_version);
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Column, PartitionKey};
    use crate::segment::BatchNumber;

    fn work(directory: &str, partition: &str) -> PartitionWork {
        PartitionWork {
            directory: directory.into(),
            partition: partition.into(),
            schema_version: 1,
            batch: BatchNumber(1),
        }
    }

    fn place(path: &str, location: &str) -> TablePlace {
        let template = PathTemplate::parse(path, "UTC").unwrap();
        let keys = template.table_keys().unwrap();
        let spec = TableSpec {
            columns: None,
            keys: keys
                .iter()
                .map(|key| PartitionKey {
                    column: Column::new(key, "string"),
                    made: true,
                })
                .collect(),
            location: location.into(),
            format: TableFormat::Parquet,
        };
        let lake = LakeSettings::Fs {
            root: "/lake".into(),
        };
        TablePlace::new(&spec, &template, &lake)
    }

    #[test]
    fn a_directory_stays_where_it_was_landed() {
        for (path, location, directory, expected) in [
            (
                "o/dt={a}",
                "file:///lake/o",
                "o/dt=1",
                "file:///lake/o/dt=1",
            ),
            // Of an earlier path, in the same lake, however readers name that.
            (
                "o/dt={a}",
                "file:///lake/o",
                "p/q/dt=1",
                "file:///lake/p/q/dt=1",
            ),
            ("o/dt={a}", "hdfs://ns/x/o", "p/dt=1", "hdfs://ns/x/p/dt=1"),
            ("o/dt={a}", "hdfs://ns/x/o", "dt=1", "hdfs://ns/x/dt=1"),
            ("dt={a}", "hdfs://ns/x", "dt=1", "hdfs://ns/x/dt=1"),
            ("dt={a}", "hdfs://ns/x", "p/dt=1", "hdfs://ns/x/p/dt=1"),
            // The table is named in a way that says nothing of the lake.
            ("o/dt={a}", "hdfs://ns/foo", "o/dt=1", "hdfs://ns/foo/dt=1"),
            ("o/dt={a}", "hdfs://ns/foo", "p/dt=1", "file:///lake/p/dt=1"),
        ] {
            let found = place(path, location).partition(&work(directory, "dt=1"));
            let found = found.unwrap().unwrap();
            assert_eq!(found.location, expected, "{path} {directory}");
            assert_eq!(found.values, ["1"]);
        }
    }

    #[test]
    fn a_directory_of_other_keys_is_none_of_the_table() {
        let now = place("o/dt={a}", "file:///lake/o");
        for (directory, partition) in [("o", ""), ("o/day=1", "day=1"), ("o/dt=1/x=2", "dt=1/x=2")]
        {
            let why = now.partition(&work(directory, partition)).unwrap_err();
            assert!(why.contains(directory) && why.contains("`dt`"), "{why}");
        }
        assert!(now.partition(&work("o/DT=1", "DT=1")).is_ok());
        let none = place("o", "file:///lake/o");
        assert_eq!(none.partition(&work("o", "")), Ok(None));
        assert!(none.partition(&work("o/dt=1", "dt=1")).is_err());
    }
}
