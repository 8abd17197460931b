//! Batches: staged, revised, committed, done.

use std::collections::HashMap;

use lakeward::journal::{BatchRow, FileRange, FileRow, FileState, PartitionWork, StageRequest};
use lakeward::protocol::{BatchState, DataFile, Manifest, ManifestSegment, Membership, invariant};
use lakeward::segment::{BatchNumber, FileId, RelativePath, Segment};
use lakeward::threads;

use super::state::{Batch, BatchKey, Done, File, Fresh, Kept, NO_BATCH, Pipeline, State, fits};

/// I5 joined.
pub(super) fn joined(
    path: &RelativePath,
    begin: u64,
    segments: impl IntoIterator<Item = (u64, u64)>,
    word: &str,
) -> Done<u64> {
    invariant::joined(begin, segments).map_err(|(expected, found)| {
        format!("I5: `{path}`: a segment begins at {found} where {expected} is {word}")
    })
}

/// I5 joined, and the end told by the last segment.
pub(super) fn joined_end(
    path: &RelativePath,
    begin: u64,
    decoded: Option<u64>,
    segments: &[&ManifestSegment],
) -> Done<u64> {
    let places = segments.iter().map(|segment| (segment.from, segment.to));
    let end = joined(path, begin, places, "staged")?;
    let whole = segments.iter().any(|segment| segment.last);
    if whole && decoded != Some(end) || decoded.is_some_and(|decoded| end > decoded) {
        return Err(format!(
            "`{path}`: its segments end at {end} and its size is {decoded:?}"
        ));
    }
    Ok(end)
}

/// The batch's segments by file, each file's in the order of their offsets.
pub(super) fn by_file(membership: &Membership) -> Done<Vec<Vec<&ManifestSegment>>> {
    let mut files = vec![Vec::new(); membership.files.len()];
    for segment in &membership.segments {
        let of_file: Option<&mut Vec<_>> = files.get_mut(segment.file as usize);
        let Some(of_file) = of_file else {
            return Err("a segment names a file that the manifest does not have".into());
        };
        of_file.push(segment);
    }
    for of_file in &mut files {
        of_file.sort_by_key(|segment| (segment.from, segment.to));
    }
    Ok(files)
}

pub(super) fn range_of(file: FileId, batch: BatchNumber, segment: &ManifestSegment) -> FileRange {
    FileRange {
        file,
        batch,
        segment: Segment {
            file,
            from: segment.from,
            to: segment.to,
            line: segment.line,
            records: segment.records,
            last: segment.last,
            digest: segment.digest,
        },
        rejected: if is_broken("i9-rejects-not-counted") {
            0
        } else {
            segment.rejected
        },
        rejected_bytes: segment.rejected_bytes,
        skipped_bytes: segment.skipped_bytes,
        lane: segment.lane,
    }
}

pub(super) fn no_batch() -> String {
    "a tombstone is no batch".into()
}

impl File {
    /// What a later segment tells of the file.
    pub(super) fn learn(&mut self, row: &FileRow) {
        self.row.decoded = row.decoded.or(self.row.decoded);
        self.row.fingerprint = row.fingerprint.or(self.row.fingerprint);
        if row.torn.is_some() {
            self.row.torn.clone_from(&row.torn);
        }
        if self.row.header.is_none() {
            self.row.header.clone_from(&row.header);
        }
    }
}

impl State {
    pub(super) fn stage(&mut self, now_ns: i64, request: StageRequest) -> Done<()> {
        let manifest = &request.manifest;
        let pipeline = self.pipeline(&manifest.pipeline)?;
        let membership = self.may_stage(&pipeline, &request)?;
        for (row, segments) in request.files.iter().zip(by_file(membership)?) {
            self.stage_file(now_ns, &pipeline, manifest.batch, row, &segments)?;
        }
        for (version, schema) in &request.schemas {
            self.insert_schema(&pipeline, *version, schema)?;
        }
        let files: Vec<FileId> = request.files.iter().map(|row| row.id).collect();
        if is_broken("i5-checkpoint-at-stage") {
            for id in &files {
                self.edit_file(*id, |file| file.row.checkpoint = file.staged_end)?;
            }
        }
        self.insert_batch(&pipeline, request.manifest, BatchState::Staged, files)
    }

    fn may_stage<'r>(
        &self,
        pipeline: &Pipeline,
        request: &'r StageRequest,
    ) -> Done<&'r Membership> {
        let manifest = &request.manifest;
        let membership = manifest.membership().ok_or_else(no_batch)?;
        let row = &pipeline.row;
        let next = row.staged.next();
        if manifest.batch != next {
            return Err(format!("batch {} where {next} is next", manifest.batch));
        }
        if manifest.journal != self.id {
            return Err(format!(
                "the manifest names journal {} and this is {}",
                manifest.journal, self.id
            ));
        }
        if manifest.committed > row.committed {
            return Err(format!(
                "the manifest says that batch {} is committed, and {} is",
                manifest.committed, row.committed
            ));
        }
        if manifest.lake != row.lake {
            return Err(format!(
                "the manifest names lake `{}`, the journal `{}`",
                manifest.lake, row.lake
            ));
        }
        if membership.spool != row.spool {
            return Err(format!(
                "the manifest names spool {}, the journal {}",
                membership.spool, row.spool
            ));
        }
        let paths = request.files.iter().map(|row| &row.path);
        if !paths.eq(membership.files.iter().map(|file| &file.path)) {
            return Err("the rows are not those of the manifest's files".into());
        }
        Ok(membership)
    }

    fn stage_file(
        &mut self,
        now_ns: i64,
        pipeline: &Pipeline,
        batch: BatchNumber,
        row: &FileRow,
        segments: &[&ManifestSegment],
    ) -> Done<()> {
        let Some(known) = self.files.get(&row.id) else {
            let end = joined_end(&row.path, 0, row.decoded, segments)?;
            self.refuse_twin(pipeline.id, row)?;
            let fresh = Fresh {
                end,
                staged_end: end,
                ..Fresh::empty(FileState::Reading)
            };
            self.insert_file(pipeline.id, row, fresh, now_ns)?;
            for segment in segments {
                self.insert_segment(range_of(row.id, batch, segment))?;
            }
            return Ok(());
        };
        may_go_on(pipeline, known, row)?;
        let decoded = row.decoded.or(known.row.decoded);
        let end = joined_end(&row.path, known.staged_end, decoded, segments)?;
        let put_end = known.row.put_end;
        if decoded.is_some_and(|decoded| put_end > decoded) {
            return Err(format!(
                "`{}`: its journaled segments end at {put_end} and its size is {decoded:?}",
                row.path
            ));
        }
        for segment in segments {
            let journaled = segment.from < put_end || segment.from == segment.to;
            if journaled && self.attach(row.id, batch, segment)? {
                continue;
            }
            if segment.from < put_end {
                return Err(format!(
                    "`{}`: the journaled segment at {} is another one",
                    row.path, segment.from
                ));
            }
            self.insert_segment(range_of(row.id, batch, segment))?;
        }
        self.edit_file(row.id, |file| {
            file.staged_end = end;
            file.row.put_end = put_end.max(end);
            file.learn(row);
        })
    }

    /// Puts a segment that is journaled with its payload into the batch, if there is that very segment.
    fn attach(
        &mut self,
        file: FileId,
        batch: BatchNumber,
        segment: &ManifestSegment,
    ) -> Done<bool> {
        let key = (file, segment.from, segment.to, NO_BATCH);
        let same = self.segments.get(&key).is_some_and(|range| {
            range.segment.digest == segment.digest && range.segment.records == segment.records
        });
        if !same {
            return Ok(false);
        }
        let Some(range) = self.segments.remove(&key) else {
            return Ok(false);
        };
        self.insert_segment(FileRange {
            segment: range.segment,
            ..range_of(file, batch, segment)
        })?;
        Ok(true)
    }

    pub(super) fn insert_schema(
        &mut self,
        pipeline: &Pipeline,
        version: u32,
        schema: &serde_json::Value,
    ) -> Done<()> {
        let key = (pipeline.id, version);
        // Texts: one whose columns stand in another order is another.
        let text = serde_json::Value::to_string;
        match self.schemas.get(&key).map(text) {
            Some(known) if known == text(schema) => {}
            Some(_) => return Err(format!("schema version {version} is journaled otherwise")),
            None => self.schemas.put(key, schema.clone()),
        }
        Ok(())
    }

    /// The batch's own rows; its manifest unless it is done.
    pub(super) fn insert_batch(
        &mut self,
        pipeline: &Pipeline,
        manifest: Manifest,
        state: BatchState,
        files: Vec<FileId>,
    ) -> Done<()> {
        let membership = manifest.membership().ok_or_else(no_batch)?;
        let number = manifest.batch;
        fits(number.0)?;
        let key = (pipeline.id, number);
        let ranges = membership.segments.len() as u64;
        self.batches.put(key, Batch { state, ranges });
        self.put_data_files(key, &membership.data_files);
        self.edit_pipeline(&pipeline.row.name)?.row.staged = number;
        if state != BatchState::Done {
            self.manifests.put(key, Kept { files, manifest });
        }
        Ok(())
    }

    fn put_data_files(&mut self, (pipeline, batch): BatchKey, files: &[DataFile]) {
        for file in files {
            self.data_files
                .put((pipeline, batch, file.number), file.clone());
        }
    }

    pub(super) fn drop_data_files(&mut self, (pipeline, batch): BatchKey) {
        let keys = (pipeline, batch, 0)..=(pipeline, batch, u32::MAX);
        let gone: Vec<_> = self
            .data_files
            .rows()
            .range(keys)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.data_files.remove(&key);
        }
    }

    pub(super) fn data_files_of(&self, pipeline: &str, batch: BatchNumber) -> Done<Vec<DataFile>> {
        let pipeline = self.pipeline(pipeline)?.id;
        let keys = (pipeline, batch, 0)..=(pipeline, batch, u32::MAX);
        let files = self.data_files.rows().range(keys);
        Ok(files.map(|(_, file)| file.clone()).collect())
    }

    pub(super) fn unfinished(&self, pipeline: &str) -> Vec<BatchRow> {
        let Some(pipeline) = self.find_pipeline(pipeline) else {
            return Vec::new();
        };
        let keys = (pipeline.id, BatchNumber(0))..=(pipeline.id, BatchNumber(u64::MAX));
        let kept = self.manifests.rows().range(keys);
        kept.filter_map(|(key, kept)| {
            Some(BatchRow {
                number: key.1,
                state: self.batches.get(key)?.state,
                manifest: kept.manifest.clone(),
                files: kept.files.clone(),
            })
        })
        .collect()
    }

    pub(super) fn commit(
        &mut self,
        now_ns: i64,
        pipeline: &str,
        batch: BatchNumber,
        targets: &[(FileId, RelativePath)],
        work: &[PartitionWork],
    ) -> Done<()> {
        let pipeline = self.pipeline(pipeline)?;
        if batch.0 > 0 && batch <= pipeline.row.committed {
            return Ok(());
        }
        let key = (pipeline.id, batch);
        let after = (pipeline.id, pipeline.row.committed.next());
        let until = (pipeline.id, BatchNumber(u64::MAX));
        let lowest = self.batches.rows().range(after..=until).next();
        match lowest {
            None => return Err(format!("batch {batch} is not staged")),
            Some((lowest, found)) if *lowest != key || found.state != BatchState::Staged => {
                return Err(format!(
                    "batch {batch} where {} is the lowest staged",
                    lowest.1
                ));
            }
            Some(_) => {}
        }
        let targets: HashMap<FileId, &RelativePath> =
            targets.iter().map(|(id, target)| (*id, target)).collect();
        let files = self.manifests.get(&key).map(|kept| kept.files.clone());
        let mut freed = 0;
        for file in files.unwrap_or_default() {
            freed += self.commit_file(now_ns, batch, file, targets.get(&file).copied())?;
        }
        if let Some(batch) = self.batches.edit(&key) {
            batch.state = BatchState::Committed;
        }
        let stored = self.edit_pipeline(&pipeline.row.name)?;
        stored.row.committed = batch;
        stored.row.committed_ns = Some(now_ns);
        stored.payload_bytes -= freed;
        self.queue(&pipeline, work)
    }

    /// Answers the bytes of payloads that were dropped.
    fn commit_file(
        &mut self,
        now_ns: i64,
        batch: BatchNumber,
        id: FileId,
        target: Option<&RelativePath>,
    ) -> Done<u64> {
        let Some(known) = self.files.get(&id) else {
            return Err(format!("file {} of batch {batch} is not known", id.0));
        };
        let checkpoint = known.row.checkpoint;
        let (own, others): (Vec<FileRange>, Vec<FileRange>) = self
            .segments_from(id, checkpoint)
            .cloned()
            .partition(|range| range.batch == batch);
        let places = || {
            own.iter()
                .map(|range| (range.segment.from, range.segment.to))
        };
        let end = invariant::joined(checkpoint, places()).map_err(|(expected, found)| {
            format!(
                "I5: file {}: a segment of batch {batch} begins at {found}, its checkpoint is {expected}",
                id.0
            )
        })?;
        // An empty last segment may be in a later batch, or wait for one.
        let more = others.iter().any(|range| {
            range.segment.from >= end && (range.batch == NO_BATCH || range.batch > batch)
        });
        let freed = places()
            .map(|(from, to)| self.drop_payload(id, from, to))
            .sum();
        let sum = |count: fn(&FileRange) -> u64| own.iter().map(count).sum::<u64>();
        self.edit_file(id, |file| {
            let row = &mut file.row;
            row.checkpoint = end;
            row.records += sum(|range| range.segment.records);
            row.rejected += sum(|range| range.rejected);
            row.rejected_bytes += sum(|range| range.rejected_bytes);
            row.skipped_bytes += sum(|range| range.skipped_bytes);
            let whole = row.decoded == Some(end) && row.torn.is_none() && !more;
            if row.state == FileState::Reading && whole {
                row.state = FileState::Committed;
                row.changed_ns = now_ns;
                if let Some(target) = target {
                    row.retire_target = Some(target.clone());
                }
            }
        })?;
        Ok(freed)
    }

    pub(super) fn done(&mut self, pipeline: &str, batch: BatchNumber) -> Done<()> {
        let pipeline = self.pipeline(pipeline)?;
        let key = (pipeline.id, batch);
        match self.batches.edit(&key) {
            None if batch.0 > 0 && batch <= pipeline.row.committed => return Ok(()),
            None => return Err(format!("batch {batch} is not staged")),
            Some(found) => {
                if found.state == BatchState::Done {
                    return Ok(());
                }
                let illegal = found.state.advance(BatchState::Done).err();
                if let Some(illegal) = illegal {
                    return Err(format!("batch {batch}: {illegal}"));
                }
                found.state = BatchState::Done;
            }
        }
        self.manifests.remove(&key);
        self.loosen(&pipeline, batch, 0);
        Ok(())
    }

    pub(super) fn revise(&mut self, manifest: &Manifest) -> Done<()> {
        let pipeline = self.pipeline(&manifest.pipeline)?;
        let key = (pipeline.id, manifest.batch);
        let staged = self
            .batches
            .get(&key)
            .is_some_and(|batch| batch.state == BatchState::Staged);
        let Some(kept) = self.manifests.get(&key).filter(|_| staged) else {
            return Err(format!("batch {} is not staged", manifest.batch));
        };
        if kept.manifest == *manifest {
            return Ok(());
        }
        let old = kept.manifest.clone();
        let files = kept.files.clone();
        let (before, after) = may_revise(&old, manifest)?;
        for (a, b) in before.segments.iter().zip(&after.segments) {
            if a == b {
                continue;
            }
            let Some(id) = files.get(b.file as usize) else {
                return Err("a segment names a file that the manifest does not have".into());
            };
            let range = self.segments.edit(&(*id, b.from, b.to, manifest.batch));
            if let Some(range) = range {
                range.rejected = b.rejected;
                range.rejected_bytes = b.rejected_bytes;
                range.skipped_bytes = b.skipped_bytes;
            }
        }
        self.drop_data_files(key);
        self.put_data_files(key, &after.data_files);
        let manifest = manifest.clone();
        self.manifests.put(key, Kept { files, manifest });
        Ok(())
    }
}

fn may_go_on(pipeline: &Pipeline, known: &File, row: &FileRow) -> Done<()> {
    let same = known.pipeline == pipeline.id
        && known.row.path == row.path
        && known.row.stat.untouched(&row.stat);
    if !same {
        return Err(format!(
            "`{}`: file {} is journaled with another pipeline, path or identity",
            row.path, row.id.0
        ));
    }
    if known.row.state != FileState::Reading {
        return Err(format!(
            "`{}`: file {} is not being read any more",
            row.path, row.id.0
        ));
    }
    if known.row.settings != row.settings {
        return Err(format!(
            "`{}`: its reading settings are fixed, and these are others",
            row.path
        ));
    }
    Ok(())
}

/// A revision adds copies; only one that accepts a loss may drop data files and count records otherwise.
fn may_revise<'m>(old: &'m Manifest, new: &'m Manifest) -> Done<(&'m Membership, &'m Membership)> {
    let (Some(before), Some(after)) = (old.membership(), new.membership()) else {
        return Err(no_batch());
    };
    if new.revision != old.revision + 1 {
        return Err(format!("revision {} after {}", new.revision, old.revision));
    }
    let same = if after.lost_files.len() > before.lost_files.len() {
        let place =
            |s: &ManifestSegment| (s.file, s.from, s.to, s.records, s.last, s.digest, s.lane);
        let paths = |m: &Membership| -> Vec<_> { m.files.iter().map(|f| f.path.clone()).collect() };
        new.journal == old.journal
            && paths(before) == paths(after)
            && before
                .segments
                .iter()
                .map(place)
                .eq(after.segments.iter().map(place))
    } else {
        new.same_batch(old)
    };
    if !same {
        return Err(format!(
            "revision {} has other facts than batch {}",
            new.revision, new.batch
        ));
    }
    for file in &after.data_files {
        let known = before.data_files.iter().rfind(|f| f.number == file.number);
        let Some(known) = known else {
            return Err(format!("revision {} has a new data file", new.revision));
        };
        let kept = known.path == file.path && known.copies.iter().all(|c| file.copies.contains(c));
        if !kept {
            return Err(format!(
                "revision {} forgets a copy of `{}`",
                new.revision, known.path
            ));
        }
    }
    Ok((before, after))
}

/// As `lakeward::crash::broken` says it of the journal that users have.
fn is_broken(variant: &str) -> bool {
    threads::turns().is_some_and(|turns| turns.broken(variant))
}
