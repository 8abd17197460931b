//! Files: found, set aside, skipped, released, retired, forgotten.

use std::collections::BTreeMap;

use lakeward::journal::{FileRange, FileRow, FileState};
use lakeward::segment::{BatchNumber, FileId, FileStat, RelativePath};

use super::state::{Done, Fresh, NO_BATCH, Pipeline, State, fits};
use lakeward::protocol::BatchState;

impl State {
    pub(super) fn file_at(&self, pipeline: &str, path: &RelativePath) -> Option<FileRow> {
        let pipeline = self.find_pipeline(pipeline)?;
        let newest = self.at_path(pipeline.id, path).next()?;
        Some(newest.row.clone())
    }

    pub(super) fn files_of_size(&self, pipeline: &str, size: u64) -> Done<Vec<FileRow>> {
        let Some(pipeline) = self.find_pipeline(pipeline) else {
            return Ok(Vec::new());
        };
        fits(size)?;
        let fit = |row: &FileRow| row.stat.size == size && row.state != FileState::Quarantined;
        let rows = self.of_pipeline(pipeline.id).map(|file| &file.row).rev();
        Ok(rows.filter(|row| fit(row)).take(100).cloned().collect())
    }

    pub(super) fn files_in(&self, pipeline: &str, states: &[FileState]) -> Vec<FileRow> {
        let Some(pipeline) = self.find_pipeline(pipeline) else {
            return Vec::new();
        };
        let rows = self.of_pipeline(pipeline.id).map(|file| &file.row);
        rows.filter(|row| states.contains(&row.state))
            .cloned()
            .collect()
    }

    pub(super) fn page(&self, pipeline: &str, after: FileId, most: usize) -> Vec<FileRow> {
        let Some(pipeline) = self.find_pipeline(pipeline) else {
            return Vec::new();
        };
        let ids = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let files = self.files.rows().range(ids).map(|(_, file)| file);
        files
            .filter(|file| file.pipeline == pipeline.id)
            .take(most)
            .map(|file| file.row.clone())
            .collect()
    }

    pub(super) fn ranges(&self, file: FileId) -> Vec<FileRange> {
        self.segments_from(file, 0)
            .filter(|range| range.batch != NO_BATCH)
            .cloned()
            .collect()
    }

    pub(super) fn quarantine(
        &mut self,
        now_ns: i64,
        pipeline: &str,
        row: &FileRow,
        reason: &str,
    ) -> Done<()> {
        let pipeline = self.pipeline(pipeline)?;
        let Some(known) = self.files.get(&row.id) else {
            let aside = FileRow {
                reason: Some(reason.to_owned()),
                skipped: false,
                ..row.clone()
            };
            let fresh = Fresh::empty(FileState::Quarantined);
            return self.insert_file(pipeline.id, &aside, fresh, now_ns);
        };
        if known.pipeline != pipeline.id || known.row.path != row.path {
            return Err(format!(
                "`{}`: file {} is journaled with another pipeline or path",
                row.path, row.id.0
            ));
        }
        match known.row.state {
            FileState::Quarantined => return Ok(()),
            FileState::Retired => return Err(format!("`{}` is retired", row.path)),
            FileState::Reading | FileState::Committed => {}
        }
        self.drop_waiting(&pipeline, row.id)?;
        self.edit_file(row.id, |file| {
            file.row.state = FileState::Quarantined;
            file.row.reason = Some(reason.to_owned());
            file.row.put_end = file.staged_end;
            file.row.quarantined_to = None;
            file.row.changed_ns = now_ns;
        })
    }

    pub(super) fn quarantined_to(&mut self, file: FileId, place: &str) -> Done<()> {
        let aside = |state: &Self| {
            state
                .files
                .get(&file)?
                .row
                .state
                .eq(&FileState::Quarantined)
                .then_some(())
        };
        if aside(self).is_none() {
            return Err(format!("file {} is not quarantined", file.0));
        }
        self.edit_file(file, |file| {
            file.row.quarantined_to = Some(place.to_owned());
        })
    }

    pub(super) fn skip(&mut self, now_ns: i64, pipeline: &str, files: &[FileRow]) -> Done<()> {
        let pipeline = self.pipeline(pipeline)?;
        for row in files {
            if let Some(known) = self.files.get(&row.id) {
                if known.row.skipped && known.row.path == row.path {
                    continue;
                }
                return Err(format!("`{}`: file {} is journaled", row.path, row.id.0));
            }
            let skipped = FileRow {
                skipped: true,
                ..row.clone()
            };
            let fresh = Fresh::empty(FileState::Committed);
            self.insert_file(pipeline.id, &skipped, fresh, now_ns)?;
        }
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        now_ns: i64,
        id: FileId,
        stat: &FileStat,
        path: &RelativePath,
    ) -> Done<()> {
        let known = self.known_file(id)?;
        let row = &known.row;
        let released =
            row.state == FileState::Reading && row.path == *path && row.stat.untouched(stat);
        if released {
            return Ok(());
        }
        if row.state != FileState::Quarantined {
            return Err(format!("`{}` is not quarantined", row.path));
        }
        fits(stat.size)?;
        let (pipeline, old) = (known.pipeline, row.path.clone());
        let again = FileRow {
            path: path.clone(),
            stat: *stat,
            ..row.clone()
        };
        self.refuse_twin(pipeline, &again)?;
        self.paths.remove(&(pipeline, old, id));
        self.paths.put((pipeline, path.clone(), id), ());
        self.edit_file(id, |file| {
            file.row = FileRow {
                state: FileState::Reading,
                put_end: file.staged_end,
                decoded: None,
                fingerprint: None,
                torn: None,
                reason: None,
                retire_target: None,
                changed_ns: now_ns,
                ..again
            };
        })
    }

    pub(super) fn forget(&mut self, now_ns: i64, id: FileId, reason: &str) -> Done<()> {
        let known = self.known_file(id)?;
        match known.row.state {
            FileState::Quarantined => {}
            FileState::Retired => return Ok(()),
            FileState::Reading | FileState::Committed => {
                return Err(format!("`{}` is not quarantined", known.row.path));
            }
        }
        self.edit_file(id, |file| {
            file.row.state = FileState::Retired;
            file.row.reason = Some(reason.to_owned());
            file.row.fingerprint = None;
            file.row.stat.inode = 0;
            file.row.changed_ns = now_ns;
        })
    }

    pub(super) fn set_retire_target(&mut self, id: FileId, target: &RelativePath) -> Done<()> {
        let state = self.files.get(&id).map(|file| file.row.state);
        if state != Some(FileState::Committed) {
            return Err(format!("file {} has no retiring before it", id.0));
        }
        self.edit_file(id, |file| file.row.retire_target = Some(target.clone()))
    }

    pub(super) fn retired(&mut self, now_ns: i64, files: &[FileId]) -> Done<()> {
        for id in files {
            let row = &self.known_file(*id)?.row;
            let whole = row.decoded == Some(row.checkpoint);
            match row.state {
                FileState::Retired => {}
                FileState::Committed if whole || row.skipped => self.edit_file(*id, |file| {
                    file.row.state = FileState::Retired;
                    file.row.changed_ns = now_ns;
                })?,
                state => {
                    return Err(format!(
                        "I6: `{}` is {state:?}, its checkpoint {}{} its end",
                        row.path,
                        row.checkpoint,
                        if whole { " at" } else { " not at" }
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn prune(&mut self, pipeline: &str, before_ns: i64) -> Done<u64> {
        let pipeline = self.pipeline(pipeline)?;
        let newest = self.files.rows().last_key_value();
        let newest = newest.map_or(0, |(id, _)| id.0);
        let old: Vec<FileId> = self
            .of_pipeline(pipeline.id)
            .filter(|file| {
                file.row.state == FileState::Retired
                    && file.row.changed_ns < before_ns
                    && !self.in_flight(&pipeline, file.row.id)
            })
            .map(|file| file.row.id)
            .collect();
        self.file_ids = self.file_ids.max(newest);
        let mut loosened: BTreeMap<BatchNumber, u64> = BTreeMap::new();
        for id in &old {
            for key in self.segment_keys(*id) {
                *loosened.entry(key.3).or_default() += 1;
                self.segments.remove(&key);
            }
            if let Some(file) = self.files.remove(id) {
                self.paths.remove(&(pipeline.id, file.row.path, *id));
            }
        }
        for (batch, count) in loosened {
            self.loosen(&pipeline, batch, count);
        }
        Ok(old.len() as u64)
    }

    /// Whether a batch that is not committed holds some of it.
    fn in_flight(&self, pipeline: &Pipeline, file: FileId) -> bool {
        self.segments_from(file, 0)
            .any(|range| range.batch == NO_BATCH || range.batch > pipeline.row.committed)
    }

    fn segment_keys(&self, file: FileId) -> Vec<super::state::SegmentKey> {
        self.segments_from(file, 0)
            .map(|range| (file, range.segment.from, range.segment.to, range.batch))
            .collect()
    }

    /// Data files of a batch that is done are forgotten with the last row that refers to it.
    pub(super) fn loosen(&mut self, pipeline: &Pipeline, number: BatchNumber, count: u64) {
        let key = (pipeline.id, number);
        let Some(batch) = self.batches.edit(&key) else {
            return;
        };
        batch.ranges = batch.ranges.saturating_sub(count);
        if batch.ranges > 0 || batch.state != BatchState::Done {
            return;
        }
        self.batches.remove(&key);
        self.drop_data_files(key);
    }
}
