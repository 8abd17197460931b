//! The open batch: what the lanes were given since it was opened, and how it becomes the facts that are staged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Halt;
use crate::channel::{FileEnd, SegmentData};
use crate::format::ReadingSettings;
use crate::journal::{FileRow, StageRequest};
use crate::protocol::{
    DataFile, DataFileKind, Encoding, MANIFEST_FORMAT, Manifest, ManifestBody, ManifestFile,
    ManifestSegment, Membership, RollReason,
};
use crate::segment::{BatchNumber, FileId, JournalId, Segment};
use crate::sink::{
    BatchContext, LaneGauge, LaneResult, RejectsMax, RollSettings, SegmentOutcome, encoder_versions,
};

struct OpenFile {
    row: Arc<FileRow>,
    header: Option<Vec<String>>,
    /// Index into `readings`.
    reading: u32,
    end: Option<FileEnd>,
    put_end: u64,
}

struct OpenSegment {
    file: u32,
    segment: Segment,
}

pub struct OpenBatch {
    pub context: BatchContext,
    /// Of the monotonic clock.
    pub opened: Duration,
    pub fed: Duration,
    /// Lanes that this batch uses.
    pub active: usize,
    pub records: u64,
    pub bytes: u64,
    files: Vec<OpenFile>,
    /// Reading settings of the files, each once, and as JSON.
    readings: Vec<(ReadingSettings, Arc<serde_json::Value>)>,
    index: HashMap<FileId, u32>,
    segments: Vec<OpenSegment>,
}

/// What all batches of the pipeline say of themselves alike.
pub struct BatchFacts {
    pub pipeline: String,
    pub journal: JournalId,
    pub spool: JournalId,
    pub lake: String,
    pub committed: BatchNumber,
    pub path: String,
    pub timezone: String,
    pub format: String,
}

impl OpenBatch {
    pub fn new(context: BatchContext, now: Duration, active: usize) -> Self {
        Self {
            context,
            opened: now,
            fed: now,
            active,
            records: 0,
            bytes: 0,
            files: Vec::new(),
            readings: Vec::new(),
            index: HashMap::new(),
            segments: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Whether anything of this file is in the batch.
    pub fn holds(&self, file: FileId) -> bool {
        self.index.contains_key(&file)
    }

    /// Remembers a segment before its bytes go to a lane.
    pub fn add(&mut self, data: &SegmentData, now: Duration) -> Result<(), Halt> {
        let id = data.segment.file;
        let file = match self.index.get(&id) {
            Some(file) => *file,
            None => self.add_file(data)?,
        };
        let open = &mut self.files[file as usize];
        open.put_end = data.segment.to;
        if data.end.is_some() {
            open.end.clone_from(&data.end);
        }
        self.records += data.segment.records;
        self.bytes += data.segment.bytes();
        self.fed = now;
        self.segments.push(OpenSegment {
            file,
            segment: data.segment.clone(),
        });
        Ok(())
    }

    fn add_file(&mut self, data: &SegmentData) -> Result<u32, Halt> {
        let file = u32::try_from(self.files.len())
            .map_err(|_| Halt::Bug("more than 4 billion files in a batch".into()))?;
        let reading = self.reading(&data.context.settings)?;
        self.files.push(OpenFile {
            row: Arc::clone(&data.row),
            header: data.context.header.as_ref().map(|header| header.to_vec()),
            reading,
            end: None,
            put_end: data.segment.to,
        });
        self.index.insert(data.segment.file, file);
        Ok(file)
    }

    fn reading(&mut self, settings: &ReadingSettings) -> Result<u32, Halt> {
        let known = self
            .readings
            .iter()
            .position(|(known, _)| known == settings);
        let index = if let Some(index) = known {
            index
        } else {
            let json = serde_json::to_value(settings)
                .map_err(|e| Halt::Bug(format!("reading settings: {e}")))?;
            self.readings.push((settings.clone(), Arc::new(json)));
            self.readings.len() - 1
        };
        u32::try_from(index).map_err(|_| Halt::Bug("more than 4 billion reading settings".into()))
    }

    /// Whether the batch is full, old or idle enough. Pure: time and gauges are given.
    pub fn roll_reason(
        &self,
        roll: &RollSettings,
        partitions_max: u64,
        gauge: &LaneGauge,
        now: Duration,
    ) -> Option<RollReason> {
        if self.is_empty() {
            return None;
        }
        if roll.bytes > 0 && gauge.encoded_bytes >= roll.bytes {
            return Some(RollReason::Bytes);
        }
        if roll.records > 0 && self.records >= roll.records {
            return Some(RollReason::Records);
        }
        if partitions_max > 0 && gauge.partitions > partitions_max {
            return Some(RollReason::Partitions);
        }
        if gauge.full {
            return Some(RollReason::Memory);
        }
        if roll
            .age
            .is_some_and(|age| now.saturating_sub(self.opened) >= age)
        {
            return Some(RollReason::Age);
        }
        if roll
            .idle
            .is_some_and(|idle| now.saturating_sub(self.fed) >= idle)
        {
            return Some(RollReason::Idle);
        }
        None
    }

    /// The facts of the batch, once its lanes are closed. `takers`: which lane took each segment.
    pub fn into_stage(
        self,
        facts: BatchFacts,
        takers: &[u32],
        results: Vec<Option<LaneResult>>,
    ) -> Result<StageRequest, Halt> {
        let mut outcomes = Vec::with_capacity(results.len());
        let mut data_files: Vec<DataFile> = Vec::new();
        for result in results {
            let result = result.unwrap_or(LaneResult {
                outcomes: Vec::new(),
                files: Vec::new(),
            });
            outcomes.push(result.outcomes.into_iter());
            data_files.extend(result.files);
        }
        data_files.sort_by_key(|file| file.number);
        let segments = manifest_segments(self.segments, takers, outcomes)?;
        balance(self.context.batch, &segments, &data_files)?;
        let (schema_version, schema) = self.context.schemas.settle();
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            pipeline: facts.pipeline,
            journal: facts.journal,
            batch: self.context.batch,
            revision: 0,
            committed: facts.committed,
            lake: facts.lake,
            body: ManifestBody::Batch(Membership {
                spool: facts.spool,
                readings: self
                    .readings
                    .iter()
                    .map(|(_, json)| (**json).clone())
                    .collect(),
                files: self.files.iter().map(manifest_file).collect(),
                segments,
                data_files,
                encoding: Encoding {
                    schema_version,
                    schema: serde_json::to_value(&*schema)
                        .map_err(|e| Halt::Bug(format!("schema: {e}")))?,
                    path: facts.path,
                    timezone: facts.timezone,
                    tzdb: tzdb_version(),
                    batch_time_ns: self.context.batch_time_ns,
                    zone_of_times: self.context.schemas.settings.timezone.clone(),
                    timestamp_unit: self
                        .context
                        .schemas
                        .settings
                        .timestamp_unit
                        .as_str()
                        .to_owned(),
                    format: facts.format,
                    versions: encoder_versions(),
                },
                lost_files: Vec::new(),
            }),
        };
        Ok(StageRequest {
            manifest,
            files: self
                .files
                .into_iter()
                .map(|open| {
                    let settings = Arc::clone(&self.readings[open.reading as usize].1);
                    file_row(open, settings)
                })
                .collect(),
            schemas: self.context.schemas.fresh(),
        })
    }
}

/// The facts of the segments, each with what its lane says became of it; every lane says one thing for each that it was given.
fn manifest_segments(
    open_segments: Vec<OpenSegment>,
    takers: &[u32],
    mut outcomes: Vec<std::vec::IntoIter<SegmentOutcome>>,
) -> Result<Vec<ManifestSegment>, Halt> {
    let mut segments = Vec::with_capacity(open_segments.len());
    if takers.len() != open_segments.len() {
        return Err(Halt::Bug("the lanes were given other segments".into()));
    }
    for (open, lane) in open_segments.into_iter().zip(takers) {
        let outcome = outcomes
            .get_mut(*lane as usize)
            .and_then(Iterator::next)
            .ok_or_else(|| Halt::Bug("a lane lost a segment".into()))?;
        segments.push(ManifestSegment {
            file: open.file,
            from: open.segment.from,
            to: open.segment.to,
            line: open.segment.line,
            records: open.segment.records,
            rejected: outcome.rejected,
            rejected_bytes: outcome.rejected_bytes,
            skipped_bytes: outcome.skipped_bytes,
            last: open.segment.last,
            digest: open.segment.digest,
            lane: *lane,
        });
    }
    if outcomes.iter_mut().any(|rest| rest.next().is_some()) {
        return Err(Halt::Bug(
            "a lane has more segments than it was given".into(),
        ));
    }
    Ok(segments)
}

/// I9 balanced, before anything is staged: every record that the source framed is in a data file or a reject file.
fn balance(
    batch: BatchNumber,
    segments: &[ManifestSegment],
    files: &[DataFile],
) -> Result<(), Halt> {
    let framed: u64 = segments.iter().map(|segment| segment.records).sum();
    let rejected: u64 = segments.iter().map(|segment| segment.rejected).sum();
    let in_files = |kind: DataFileKind| -> u64 {
        let files = files.iter().filter(|file| file.kind == kind);
        files.map(|file| file.records).sum()
    };
    let (data, rejects) = (in_files(DataFileKind::Data), in_files(DataFileKind::Reject));
    if rejects == rejected && data + rejects == framed {
        return Ok(());
    }
    Err(Halt::Bug(format!(
        "batch {batch} was framed as {framed} records, of which {rejected} were rejected, but its files hold {data} records and {rejects} rejects; nothing was landed: please report this with the spooled files' formats"
    )))
}

/// The time zone database's own version, from the file that distributions ship beside it.
fn tzdb_version() -> String {
    std::fs::read_to_string("/usr/share/zoneinfo/tzdata.zi")
        .ok()
        .and_then(|text| {
            text.lines()
                .next()
                .and_then(|line| line.strip_prefix("# version "))
                .map(str::to_owned)
        })
        .unwrap_or_else(|| "unknown".to_owned())
}

fn manifest_file(open: &OpenFile) -> ManifestFile {
    ManifestFile {
        path: open.row.path.clone(),
        stat: open.row.stat,
        fingerprint: open.end.as_ref().and_then(|end| end.fingerprint),
        reading: open.reading,
        decoded: open.end.as_ref().map(|end| end.decoded),
        torn: open.end.as_ref().and_then(|end| end.torn.clone()),
        header: open.header.clone().or_else(|| open.row.header.clone()),
    }
}

fn file_row(open: OpenFile, settings: Arc<serde_json::Value>) -> FileRow {
    let mut row = (*open.row).clone();
    row.settings = settings;
    row.put_end = open.put_end;
    if open.header.is_some() {
        row.header = open.header;
    }
    if let Some(end) = open.end {
        row.decoded = Some(end.decoded);
        row.fingerprint = end.fingerprint;
        row.torn = end.torn;
    }
    row
}

/// Whether a batch holds more rejects than `rejects_max` lets it.
#[must_use]
pub fn too_many_rejects(limit: RejectsMax, records: u64, rejected: u64) -> bool {
    match limit {
        RejectsMax::Count(most) => rejected > most,
        RejectsMax::Share(share) => rejected as f64 > share * records as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_are_judged_by_count_or_by_share_of_the_batch() {
        assert!(!too_many_rejects(RejectsMax::Count(2), 10, 2));
        assert!(too_many_rejects(RejectsMax::Count(2), 10, 3));
        assert!(too_many_rejects(RejectsMax::Count(0), 10, 1));
        assert!(!too_many_rejects(RejectsMax::Share(1.0), 10, 10));
        assert!(too_many_rejects(RejectsMax::Share(0.1), 10, 2));
        assert!(!too_many_rejects(RejectsMax::Share(0.1), 0, 0));
    }
}
