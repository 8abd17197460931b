//! Adopting: a closed journal's manifests become rows of this one.

use std::sync::Arc;

use lakeward::journal::{FileRow, FileState};
use lakeward::protocol::{BatchState, Manifest, ManifestFile, ManifestSegment, Membership};
use lakeward::segment::FileId;

use super::batches::{by_file, joined_end, no_batch, range_of};
use super::state::{Done, File, Fresh, Pipeline, State};

impl State {
    /// `fresh` is the first of as many new file ids as the manifest has files.
    pub(super) fn adopt(
        &mut self,
        now_ns: i64,
        manifest: &Manifest,
        state: BatchState,
        fresh: i64,
    ) -> Done<()> {
        let membership = manifest.membership().ok_or_else(no_batch)?;
        let pipeline = self.pipeline_for(manifest, membership)?;
        may_adopt(&pipeline, manifest, state)?;
        let mut files = Vec::with_capacity(membership.files.len());
        for ((file, segments), fresh) in membership
            .files
            .iter()
            .zip(by_file(membership)?)
            .zip(fresh..)
        {
            let adopted = Adopted {
                now_ns,
                pipeline: &pipeline,
                manifest,
                state,
                file,
                segments: &segments,
            };
            files.push(self.adopt_file(&adopted, FileId(fresh))?);
        }
        self.adopt_schema(&pipeline, membership)?;
        self.insert_batch(&pipeline, manifest.clone(), state, files)?;
        if state != BatchState::Staged {
            let row = &mut self.edit_pipeline(&manifest.pipeline)?.row;
            row.committed = manifest.batch;
            row.committed_ns = Some(membership.encoding.batch_time_ns);
        }
        Ok(())
    }

    fn pipeline_for(&mut self, manifest: &Manifest, membership: &Membership) -> Done<Pipeline> {
        match self.pipelines.edit(&manifest.pipeline) {
            Some(known) => known.row.lake.clone_from(&manifest.lake),
            None => self.make_pipeline(&manifest.pipeline, membership.spool, &manifest.lake),
        }
        let pipeline = self.pipeline(&manifest.pipeline)?;
        if pipeline.row.spool != membership.spool {
            return Err(format!(
                "the manifest of batch {} names spool {}, the journal {}",
                manifest.batch, membership.spool, pipeline.row.spool
            ));
        }
        Ok(pipeline)
    }

    fn adopt_file(&mut self, adopted: &Adopted<'_>, fresh: FileId) -> Done<FileId> {
        let Adopted { file, segments, .. } = adopted;
        let from = segments.first().map(|segment| segment.from);
        let known = self.continued(adopted.pipeline, file, from);
        let begin = known.map_or(from.unwrap_or(0), |known| known.staged_end);
        let released = known.is_some_and(|known| !known.row.stat.untouched(&file.stat));
        let decoded = match known {
            Some(known) if !released => file.decoded.or(known.row.decoded),
            _ => file.decoded,
        };
        let end = joined_end(&file.path, begin, decoded, segments)?;
        let id = match known.map(|known| (known.row.id, known.row.checkpoint)) {
            Some((_, checkpoint)) if adopted.is_committed() && checkpoint != begin => {
                return Err(format!(
                    "I5: `{}`: batch {} is said to be committed from {begin}, the checkpoint is {checkpoint}",
                    file.path, adopted.manifest.batch
                ));
            }
            Some((id, _)) => id,
            None => {
                let fresh_row = Fresh {
                    state: FileState::Reading,
                    end: begin,
                    staged_end: begin,
                    checkpoint: begin,
                };
                let row = adopted.row(fresh);
                self.insert_file(adopted.pipeline.id, &row, fresh_row, adopted.now_ns)?;
                fresh
            }
        };
        for segment in *segments {
            self.insert_segment(range_of(id, adopted.manifest.batch, segment))?;
        }
        self.edit_file(id, |known| adopted.advance(known, released, end))?;
        Ok(id)
    }

    /// The row that these segments continue: by path and identity, or (a file that was released with a new identity) by path and offset.
    fn continued(
        &self,
        pipeline: &Pipeline,
        file: &ManifestFile,
        from: Option<u64>,
    ) -> Option<&File> {
        let goes_on = |known: &File| {
            from.is_none_or(|from| known.staged_end == from)
                && known.row.state != FileState::Retired
        };
        let same = self
            .at_path(pipeline.id, &file.path)
            .find(|known| known.row.stat.untouched(&file.stat) && goes_on(known));
        let newest = || self.at_path(pipeline.id, &file.path).next();
        same.or_else(|| {
            newest().filter(|newest| from.is_some_and(|from| from > 0) && goes_on(newest))
        })
    }

    fn adopt_schema(&mut self, pipeline: &Pipeline, membership: &Membership) -> Done<()> {
        let encoding = &membership.encoding;
        let newest = self.schema(&pipeline.row.name);
        if newest.is_some_and(|(version, _)| version >= encoding.schema_version) {
            return Ok(());
        }
        self.insert_schema(pipeline, encoding.schema_version, &encoding.schema)
    }
}

/// A file of a manifest, on its way into a journal.
struct Adopted<'a> {
    now_ns: i64,
    pipeline: &'a Pipeline,
    manifest: &'a Manifest,
    state: BatchState,
    file: &'a ManifestFile,
    segments: &'a [&'a ManifestSegment],
}

impl Adopted<'_> {
    fn is_committed(&self) -> bool {
        self.state != BatchState::Staged
    }

    /// What the manifest says of the file, with nothing of it committed yet.
    fn row(&self, id: FileId) -> FileRow {
        let file = self.file;
        let readings = self.manifest.membership().map(|m| &m.readings);
        let settings = readings.and_then(|readings| readings.get(file.reading as usize));
        let settings = Arc::new(settings.cloned().unwrap_or_default());
        FileRow {
            header: file.header.clone(),
            decoded: file.decoded,
            fingerprint: file.fingerprint,
            torn: file.torn.clone(),
            ..FileRow::fresh(id, file.path.clone(), file.stat, settings, 0)
        }
    }

    fn advance(&self, known: &mut File, released: bool, end: u64) {
        let (file, row) = (self.file, &mut known.row);
        row.stat = file.stat;
        if released {
            // What was known of its end no longer holds.
            row.decoded = None;
            row.fingerprint = None;
            row.torn = None;
            row.state = FileState::Reading;
        }
        row.decoded = file.decoded.or(row.decoded);
        row.fingerprint = file.fingerprint.or(row.fingerprint);
        if file.torn.is_some() {
            row.torn.clone_from(&file.torn);
        }
        row.put_end = end;
        known.staged_end = end;
        if !self.is_committed() {
            return;
        }
        let sum = |count: fn(&ManifestSegment) -> u64| {
            self.segments.iter().map(|s| count(s)).sum::<u64>()
        };
        row.checkpoint = end;
        row.records += sum(|s| s.records);
        row.rejected += sum(|s| s.rejected);
        row.rejected_bytes += sum(|s| s.rejected_bytes);
        row.skipped_bytes += sum(|s| s.skipped_bytes);
        row.changed_ns = self.now_ns;
        let whole = row.decoded == Some(end) && row.torn.is_none();
        if row.state == FileState::Reading && whole {
            row.state = FileState::Committed;
        }
    }
}

fn may_adopt(pipeline: &Pipeline, manifest: &Manifest, state: BatchState) -> Done<()> {
    let (staged, committed) = (pipeline.row.staged, pipeline.row.committed);
    let dense = staged.0 == 0 || manifest.batch == staged.next();
    if !dense || manifest.batch.0 == 0 {
        return Err(format!(
            "the manifest of batch {} where {} is next",
            manifest.batch,
            staged.next()
        ));
    }
    if state != BatchState::Staged && committed != staged {
        return Err(format!(
            "batch {} is said to be committed and {staged} before it is not",
            manifest.batch
        ));
    }
    Ok(())
}
