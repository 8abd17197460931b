//! Partitions that wait, schemas, requests, and the lake of a pipeline.

use std::collections::BTreeMap;
use std::ops::Bound;

use lakeward::journal::{PartitionWork, Request, RequestRow};
use lakeward::protocol::DataFileKind;
use lakeward::segment::BatchNumber;

use super::state::{Done, Pipeline, PipelineId, State, Work};

/// Answered requests are kept for whoever asked and went to sleep.
const ANSWERED_MAX: i64 = 1000;

impl State {
    pub(super) fn set_lake(&mut self, name: &str, lake: &str) -> Done<()> {
        let pipeline = self.pipeline(name)?;
        let old = &pipeline.row.lake;
        if old == lake {
            return Ok(());
        }
        let keys = (pipeline.id, BatchNumber(0))..=(pipeline.id, BatchNumber(u64::MAX));
        if let Some(((_, batch), _)) = self.manifests.rows().range(keys).next() {
            return Err(format!(
                "batch {batch} of `{name}` is not done in lake `{old}`"
            ));
        }
        let waiting = self.count_waiting_partitions(name);
        if waiting > 0 {
            return Err(format!(
                "{waiting} partitions of `{name}` in lake `{old}` wait to be registered"
            ));
        }
        lake.clone_into(&mut self.edit_pipeline(name)?.row.lake);
        Ok(())
    }

    pub(super) fn queue(&mut self, pipeline: &Pipeline, work: &[PartitionWork]) -> Done<()> {
        for one in work {
            if !one.directory.ends_with(&one.partition) {
                return Err(format!(
                    "partition `{}` is not below `{}`",
                    one.partition, one.directory
                ));
            }
            let key = (pipeline.id, one.directory.clone());
            if let Some(known) = self.work.edit(&key) {
                known.schema_version = known.schema_version.max(one.schema_version);
                known.batch = known.batch.max(one.batch);
                continue;
            }
            let new = Work {
                partition: one.partition.clone(),
                schema_version: one.schema_version,
                batch: one.batch,
            };
            self.work.put(key, new);
        }
        Ok(())
    }

    fn waiting(
        &self,
        pipeline: PipelineId,
        after: Option<&str>,
    ) -> impl Iterator<Item = PartitionWork> {
        let from = match after {
            Some(after) => Bound::Excluded((pipeline, after.to_owned())),
            None => Bound::Included((pipeline, String::new())),
        };
        let until = Bound::Excluded((pipeline + 1, String::new()));
        self.work
            .rows()
            .range((from, until))
            .map(|((_, directory), work)| PartitionWork {
                directory: directory.clone(),
                partition: work.partition.clone(),
                schema_version: work.schema_version,
                batch: work.batch,
            })
    }

    pub(super) fn waiting_partitions(
        &self,
        pipeline: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<PartitionWork> {
        match self.find_pipeline(pipeline) {
            Some(pipeline) => self.waiting(pipeline.id, after).take(limit).collect(),
            None => Vec::new(),
        }
    }

    pub(super) fn count_waiting_partitions(&self, pipeline: &str) -> u64 {
        let known = self.find_pipeline(pipeline);
        known.map_or(0, |pipeline| self.waiting(pipeline.id, None).count() as u64)
    }

    pub(super) fn landed_partitions(&self, pipeline: &str) -> Vec<PartitionWork> {
        let Some(pipeline) = self.find_pipeline(pipeline) else {
            return Vec::new();
        };
        let keys =
            (pipeline.id, BatchNumber(0), 0)..=(pipeline.id, pipeline.row.committed, u32::MAX);
        let mut landed: BTreeMap<String, PartitionWork> = BTreeMap::new();
        for ((_, batch, _), file) in self.data_files.rows().range(keys) {
            if file.kind == DataFileKind::Reject {
                continue;
            }
            let directory = file.path.rsplit_once('/').map_or("", |(above, _)| above);
            let known = landed
                .entry(directory.to_owned())
                .or_insert_with(|| PartitionWork {
                    directory: directory.to_owned(),
                    partition: file.partition.clone(),
                    schema_version: file.schema_version,
                    batch: *batch,
                });
            known.schema_version = known.schema_version.max(file.schema_version);
            known.batch = known.batch.max(*batch);
        }
        landed.into_values().collect()
    }

    pub(super) fn registered(&mut self, pipeline: &str, work: &[PartitionWork]) -> Done<()> {
        let pipeline = self.pipeline(pipeline)?.id;
        for one in work {
            let key = (pipeline, one.directory.clone());
            let seen = self
                .work
                .get(&key)
                .is_some_and(|work| work.batch <= one.batch);
            if seen {
                self.work.remove(&key);
            }
        }
        Ok(())
    }

    pub(super) fn schema(&self, pipeline: &str) -> Option<(u32, serde_json::Value)> {
        let pipeline = self.find_pipeline(pipeline)?.id;
        let keys = (pipeline, 0)..=(pipeline, u32::MAX);
        let newest = self.schemas.rows().range(keys).next_back();
        newest.map(|((_, version), schema)| (*version, schema.clone()))
    }

    pub(super) fn schema_version(&self, pipeline: &str, version: u32) -> Option<serde_json::Value> {
        let pipeline = self.find_pipeline(pipeline)?.id;
        self.schemas.get(&(pipeline, version)).cloned()
    }

    pub(super) fn ask(&mut self, request: &Request) -> i64 {
        self.request_ids += 1;
        let id = self.request_ids;
        let row = RequestRow {
            id,
            request: request.clone(),
            answer: None,
        };
        self.requests.put(id, row);
        let old = self.requests.rows().range(..=id - ANSWERED_MAX);
        let old: Vec<i64> = old
            .filter(|(_, row)| row.answer.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in old {
            self.requests.remove(&id);
        }
        id
    }

    /// The first answer stays.
    pub(super) fn answer(&mut self, id: i64, answer: &Result<String, String>) -> Done<()> {
        let Some(row) = self.requests.edit(&id) else {
            return Err(format!("request {id} is not known"));
        };
        row.answer.get_or_insert_with(|| answer.clone());
        Ok(())
    }
}
