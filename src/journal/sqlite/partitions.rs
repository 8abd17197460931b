//! Partitions that wait to be registered.
//!
//! A partition that gets more files while it is being registered keeps its row: what is done is told by the batch that was
//! seen then.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::fault::{Done, refuse};
use super::rows::{self, At};
use crate::journal::PartitionWork;
use crate::segment::BatchNumber;

/// No read transaction is long.
const BATCHES_AT_ONCE: u64 = 1_000;

pub(super) fn queue(conn: &Connection, pipeline: i64, work: &[PartitionWork]) -> Done<()> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO partition_work (pipeline, directory, partition, schema_version, batch) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (pipeline, directory) DO UPDATE SET \
           schema_version = max(schema_version, excluded.schema_version), batch = max(batch, excluded.batch)",
    )?;
    for one in work {
        if !one.directory.ends_with(&one.partition) {
            return refuse(format!(
                "partition `{}` is not below `{}`",
                one.partition, one.directory
            ));
        }
        statement.execute(params![
            pipeline,
            one.directory,
            one.partition,
            one.schema_version,
            one.batch.0
        ])?;
    }
    Ok(())
}

/// Those after `after`, by directory.
pub(super) fn waiting(
    conn: &Connection,
    pipeline: &str,
    after: Option<&str>,
    limit: usize,
) -> Done<Vec<PartitionWork>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(Vec::new());
    };
    let mut statement = conn.prepare_cached(
        "SELECT directory, partition, schema_version, batch FROM partition_work \
         WHERE pipeline = ?1 AND (?2 IS NULL OR directory > ?2) ORDER BY directory LIMIT ?3",
    )?;
    let mut rows = statement.query(params![pipeline.id, after, limit as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let at = At {
            table: "partition_work",
            row: pipeline.id,
        };
        found.push(PartitionWork {
            directory: at.get(row, "directory")?,
            partition: at.get(row, "partition")?,
            schema_version: at.get(row, "schema_version")?,
            batch: BatchNumber(at.get(row, "batch")?),
        });
    }
    Ok(found)
}

pub(super) fn count(conn: &Connection, pipeline: &str) -> Done<u64> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(0);
    };
    Ok(conn
        .prepare_cached("SELECT count(*) FROM partition_work WHERE pipeline = ?1")?
        .query_row([pipeline.id], |row| row.get(0))?)
}

/// Adds the directories of some batches from number `from` on; answers where to go on.
pub(super) fn landed(
    conn: &Connection,
    pipeline: &str,
    from: u64,
    found: &mut BTreeMap<String, PartitionWork>,
) -> Done<Option<u64>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(None);
    };
    let until = from + BATCHES_AT_ONCE;
    let mut statement = conn.prepare_cached(
        "SELECT path, partition, schema_version, batch FROM data_file \
         WHERE pipeline = ?1 AND batch >= ?2 AND batch < ?3 AND batch <= ?4 AND reject = 0",
    )?;
    let mut rows = statement.query(params![pipeline.id, from, until, pipeline.row.committed.0])?;
    while let Some(row) = rows.next()? {
        let at = At {
            table: "data_file",
            row: row.get(3)?,
        };
        let path: String = at.get(row, "path")?;
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let schema_version = at.get(row, "schema_version")?;
        let batch = BatchNumber(at.get(row, "batch")?);
        let partition: String = at.get(row, "partition")?;
        let known = found
            .entry(directory.to_owned())
            .or_insert_with(|| PartitionWork {
                directory: directory.to_owned(),
                partition,
                schema_version,
                batch,
            });
        known.schema_version = known.schema_version.max(schema_version);
        known.batch = known.batch.max(batch);
    }
    Ok((until <= pipeline.row.committed.0).then_some(until))
}

pub(super) fn registered(conn: &Connection, pipeline: &str, work: &[PartitionWork]) -> Done<()> {
    let pipeline = rows::get_pipeline(conn, pipeline)?;
    let mut statement = conn.prepare_cached(
        "DELETE FROM partition_work WHERE pipeline = ?1 AND directory = ?2 AND batch <= ?3",
    )?;
    for one in work {
        statement.execute(params![pipeline.id, one.directory, one.batch.0])?;
    }
    Ok(())
}
