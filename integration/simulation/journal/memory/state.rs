//! What is durable: the tables, and what all calls ask of them.

use lakeward::journal::{FileRange, FileRow, FileState, PipelineRow, RequestRow};
use lakeward::protocol::{BatchState, DataFile, Manifest};
use lakeward::segment::{BatchNumber, FileId, JournalId, RelativePath};

use super::table::Table;

/// Inside a transaction: the text of a refusal, which takes the whole of it back.
pub(super) type Done<T> = Result<T, String>;

/// SQLite's integers are signed.
const NUMBER_MAX: u64 = i64::MAX as u64;

pub(super) type PipelineId = u32;
pub(super) type BatchKey = (PipelineId, BatchNumber);
/// File, from, to, and the batch, 0 for none.
pub(super) type SegmentKey = (FileId, u64, u64, BatchNumber);

pub(super) const NO_BATCH: BatchNumber = BatchNumber(0);

#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) id: PipelineId,
    pub(super) row: PipelineRow,
    pub(super) payload_bytes: u64,
}

#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) pipeline: PipelineId,
    pub(super) row: FileRow,
    /// End of the last segment that is in a batch.
    pub(super) staged_end: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) pipeline: PipelineId,
    pub(super) file: FileId,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) state: BatchState,
    /// Segments that refer to it.
    pub(super) ranges: u64,
}

/// Of a batch that is not done.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) files: Vec<FileId>,
    pub(super) manifest: Manifest,
}

#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) partition: String,
    pub(super) schema_version: u32,
    pub(super) batch: BatchNumber,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) id: JournalId,
    /// File ids up to here were given out, though pruned rows no longer show them.
    pub(super) file_ids: i64,
    /// The last id of a request.
    pub(super) request_ids: i64,
    pub(super) pipelines: Table<String, Pipeline>,
    pub(super) files: Table<FileId, File>,
    pub(super) paths: Table<(PipelineId, RelativePath, FileId), ()>,
    pub(super) segments: Table<SegmentKey, FileRange>,
    /// By put.
    pub(super) payloads: Table<i64, Payload>,
    pub(super) puts: Table<(FileId, u64, u64), i64>,
    pub(super) batches: Table<BatchKey, Batch>,
    pub(super) manifests: Table<BatchKey, Kept>,
    pub(super) data_files: Table<(PipelineId, BatchNumber, u32), DataFile>,
    pub(super) schemas: Table<(PipelineId, u32), serde_json::Value>,
    pub(super) requests: Table<i64, RequestRow>,
    pub(super) said: Table<String, serde_json::Value>,
    pub(super) work: Table<(PipelineId, String), Work>,
}

impl State {
    pub(super) fn new(id: JournalId) -> Self {
        Self {
            id,
            file_ids: 0,
            request_ids: 0,
            pipelines: Table::default(),
            files: Table::default(),
            paths: Table::default(),
            segments: Table::default(),
            payloads: Table::default(),
            puts: Table::default(),
            batches: Table::default(),
            manifests: Table::default(),
            data_files: Table::default(),
            schemas: Table::default(),
            requests: Table::default(),
            said: Table::default(),
            work: Table::default(),
        }
    }

    /// Runs `change` wholly or not at all.
    pub(super) fn transaction<T>(&mut self, change: impl FnOnce(&mut Self) -> Done<T>) -> Done<T> {
        let (file_ids, request_ids) = (self.file_ids, self.request_ids);
        let done = change(self);
        let keep = done.is_ok();
        if !keep {
            (self.file_ids, self.request_ids) = (file_ids, request_ids);
        }
        macro_rules! end {
            ($($table:ident)*) => {$(if keep { self.$table.keep() } else { self.$table.take_back() })*};
        }
        end!(pipelines files paths segments payloads puts batches manifests data_files schemas requests said work);
        done
    }

    pub(super) fn find_pipeline(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.rows().get(name)
    }

    /// A copy, since what follows changes the tables.
    pub(super) fn pipeline(&self, name: &str) -> Done<Pipeline> {
        self.find_pipeline(name)
            .cloned()
            .ok_or_else(|| format!("pipeline `{name}` is not known"))
    }

    pub(super) fn make_pipeline(&mut self, name: &str, spool: JournalId, lake: &str) {
        let id = self.pipelines.rows().len() as PipelineId + 1;
        let row = PipelineRow {
            name: name.to_owned(),
            spool,
            lake: lake.to_owned(),
            staged: BatchNumber(0),
            committed: BatchNumber(0),
            committed_ns: None,
        };
        let pipeline = Pipeline {
            id,
            row,
            payload_bytes: 0,
        };
        self.pipelines.put(name.to_owned(), pipeline);
    }

    pub(super) fn edit_pipeline(&mut self, name: &str) -> Done<&mut Pipeline> {
        self.pipelines
            .edit(&name.to_owned())
            .ok_or_else(|| format!("pipeline `{name}` is not known"))
    }

    pub(super) fn known_file(&self, id: FileId) -> Done<&File> {
        self.files
            .get(&id)
            .ok_or_else(|| format!("file {} is not known", id.0))
    }

    /// Changes a row that is there, which must make sense afterwards.
    pub(super) fn edit_file(&mut self, id: FileId, change: impl FnOnce(&mut File)) -> Done<()> {
        let Some(file) = self.files.edit(&id) else {
            return Err(format!("file {} is not known", id.0));
        };
        change(file);
        let row = &file.row;
        let ordered = row.checkpoint <= file.staged_end
            && file.staged_end <= row.put_end
            && row.decoded.is_none_or(|end| row.put_end <= end);
        if ordered {
            return Ok(());
        }
        Err(format!(
            "`{}`: its journaled segments end at {} and its size is {:?}",
            row.path, row.put_end, row.decoded
        ))
    }

    /// Ids of the rows with this path, newest first.
    pub(super) fn at_path<'s>(
        &'s self,
        pipeline: PipelineId,
        path: &RelativePath,
    ) -> impl Iterator<Item = &'s File> {
        let from = (pipeline, path.clone(), FileId(i64::MIN));
        let to = (pipeline, path.clone(), FileId(i64::MAX));
        self.paths
            .rows()
            .range(from..=to)
            .rev()
            .filter_map(|((.., id), ())| self.files.get(id))
    }

    pub(super) fn of_pipeline(
        &self,
        pipeline: PipelineId,
    ) -> impl DoubleEndedIterator<Item = &File> {
        self.files
            .rows()
            .values()
            .filter(move |file| file.pipeline == pipeline)
    }

    /// A row that does not exist yet. Counts begin at 0, except what a skipped file skipped.
    pub(super) fn insert_file(
        &mut self,
        pipeline: PipelineId,
        row: &FileRow,
        fresh: Fresh,
        now_ns: i64,
    ) -> Done<()> {
        for number in [row.stat.size, fresh.end, row.decoded.unwrap_or(0)] {
            fits(number)?;
        }
        let row = FileRow {
            state: fresh.state,
            put_end: fresh.end,
            checkpoint: fresh.checkpoint,
            records: 0,
            rejected: 0,
            rejected_bytes: 0,
            skipped_bytes: if row.skipped { row.skipped_bytes } else { 0 },
            changed_ns: now_ns,
            ..row.clone()
        };
        let id = row.id;
        self.paths.put((pipeline, row.path.clone(), id), ());
        let file = File {
            pipeline,
            row,
            staged_end: fresh.staged_end,
        };
        self.files.put(id, file);
        Ok(())
    }

    /// Segments of a file from this offset on, in order.
    pub(super) fn segments_from(
        &self,
        file: FileId,
        from: u64,
    ) -> impl Iterator<Item = &FileRange> {
        let keys = (file, from, 0, NO_BATCH)..=(file, u64::MAX, u64::MAX, BatchNumber(u64::MAX));
        self.segments.rows().range(keys).map(|(_, range)| range)
    }

    pub(super) fn insert_segment(&mut self, range: FileRange) -> Done<()> {
        let segment = &range.segment;
        for number in [segment.from, segment.to, segment.line, segment.records] {
            fits(number)?;
        }
        for number in [range.rejected, range.rejected_bytes, range.skipped_bytes] {
            fits(number)?;
        }
        let key = (range.file, segment.from, segment.to, range.batch);
        if self.segments.has(&key) {
            return Err("this very segment is there: constraint failed".into());
        }
        self.segments.put(key, range);
        Ok(())
    }

    /// A second row for a file that is journaled and not retired would land it twice.
    pub(super) fn refuse_twin(&self, pipeline: PipelineId, row: &FileRow) -> Done<()> {
        let twins = self.at_path(pipeline, &row.path).filter(|file| {
            let alive = matches!(file.row.state, FileState::Reading | FileState::Committed);
            alive && file.row.id != row.id && file.row.stat.untouched(&row.stat)
        });
        match twins.last() {
            None => Ok(()),
            Some(twin) => Err(format!(
                "`{}`: this very file is journaled as file {} and not retired",
                row.path, twin.row.id.0
            )),
        }
    }
}

/// Where a new row begins.
#[derive(Clone, Copy)]
pub(super) struct Fresh {
    pub(super) state: FileState,
    pub(super) end: u64,
    pub(super) staged_end: u64,
    pub(super) checkpoint: u64,
}

impl Fresh {
    pub(super) fn empty(state: FileState) -> Self {
        Self {
            state,
            end: 0,
            staged_end: 0,
            checkpoint: 0,
        }
    }
}

pub(super) fn fits(number: u64) -> Done<()> {
    if number <= NUMBER_MAX {
        return Ok(());
    }
    Err(format!("a number is beyond {NUMBER_MAX}"))
}
