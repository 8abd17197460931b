//! The data files of a lane: opened, cut at their true encoded size, closed, and counted while they are open.
//!
//! ```text
//! written ──┬── rows in memory × ratio ─────► estimate ≥ data_file_bytes ?  flush the block, look again
//!           └──────────────────────────────► written  ≥ data_file_bytes ?  close
//! ```
//!
//! An encoder's estimate of its block errs to the high side, by more the less of it is compressed yet. What blocks really
//! came to is remembered in terms of their rows' memory, so that a file seldom needs a second small block to reach its
//! size. A file encoded again is cut by the record counts of its plan instead, whatever its bytes come to.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;

use super::error::{SinkError, encoder_versions};
use super::staged::StagedFile;
use super::{BatchContext, OutputFormat, extension};
use crate::crash;
use crate::format::encode::{Encoder, Layout, row_memory};
use crate::naming::DataFileName;
use crate::protocol::{DataFile, DataFileCopy, DataFileKind, MembershipDigester};

/// Handles that a lane keeps open between writes; other files are parked.
const HANDLES_MAX: usize = 200;
/// Rows handed to an encoder at a time: sizes are looked at in between.
const SLICE_ROWS: usize = 8192;

/// A schema version as files of this lane land it.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) layout: Arc<Layout>,
}

/// Where rows go.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// Directory below the lake's root; empty: the root itself.
    pub(super) dir: &'a str,
    pub(super) partition: &'a str,
}

/// A partition's files.
#[derive(Default)]
pub(super) struct Slot {
    /// Rows in the pool.
    pub(super) places: Vec<super::pool::Place>,
    pub(super) file: Option<OpenFile>,
    /// Of a lane that is encoded again: what is still to come, in order.
    pub(super) planned: VecDeque<DataFile>,
}

/// Encoded bytes at which a block (a row group) ends at the latest. Readers take as many of a file at once as they have threads, and
/// memory that a larger one would take has to be cleared by the system first.
const BLOCK_BYTES: u64 = 32 << 20;

pub(super) struct OpenFile {
    encoder: Encoder<StagedFile>,
    number: u32,
    /// Under which name it is kept.
    staged: String,
    path: String,
    membership: MembershipDigester,
    records: u64,
    /// Memory of all its rows before they were encoded, in bytes.
    row_memory: u64,
    version: Version,
    planned: Option<DataFile>,
    counted: Counted,
}

/// What the rows of blocks came to, the last ones above all, and large ones more than small ones.
#[derive(Default)]
struct Learnt {
    row_memory: f64,
    encoded: f64,
}

impl Learnt {
    fn learn(&mut self, row_memory: f64, encoded: u64) {
        self.row_memory = self.row_memory / 2.0 + row_memory;
        self.encoded = self.encoded / 2.0 + encoded as f64;
    }

    /// Encoded bytes in terms of the memory of rows; `None` before the first block.
    fn ratio(&self) -> Option<f64> {
        (self.row_memory > 0.0).then(|| self.encoded / self.row_memory)
    }
}

/// An open file's share of the sums.
#[derive(Clone, Copy, Default)]
struct Counted {
    block: usize,
    lasting: usize,
    encoded: u64,
    handle: usize,
}

/// What opens and closes files, and what they come to together.
pub(super) struct Files {
    pub(super) context: BatchContext,
    lane: u32,
    /// Files are encoded again, by a plan.
    pub(super) again: bool,
    /// Memory of one block at most.
    pub(super) block_max: usize,
    learnt: Learnt,
    done: Vec<DataFile>,
    /// Complete files, as they are written and as they are to be called; removed unless they are released.
    complete: Vec<(PathBuf, PathBuf)>,
    closed_bytes: u64,
    open: Counted,
}

impl Files {
    pub(super) fn new(context: BatchContext, lane: u32, again: bool, block_max: usize) -> Self {
        Self {
            context,
            lane,
            again,
            block_max,
            learnt: Learnt::default(),
            done: Vec::new(),
            complete: Vec::new(),
            closed_bytes: 0,
            open: Counted::default(),
        }
    }

    /// Memory of blocks in progress.
    pub(super) fn block_memory(&self) -> usize {
        self.open.block
    }

    /// Memory that closing files frees.
    pub(super) fn open_memory(&self) -> usize {
        self.open.lasting
    }

    /// Memory that flushing blocks does not free: open files, and what is known of closed ones.
    pub(super) fn lasting_memory(&self) -> usize {
        self.open.lasting + self.done.len() * 512
    }

    /// Written, and what the blocks in progress will come to.
    pub(super) fn encoded_bytes(&self) -> u64 {
        self.closed_bytes + self.open.encoded
    }

    /// Leaves all files in staging under their names; nothing removes them any more.
    pub(super) fn release(mut self) -> Result<Vec<DataFile>, SinkError> {
        for (from, to) in std::mem::take(&mut self.complete) {
            if from != to {
                std::fs::rename(&from, &to).map_err(|e| SinkError::staging("rename", &to, &e))?;
            }
        }
        let mut done = std::mem::take(&mut self.done);
        done.sort_by_key(|file| file.number);
        Ok(done)
    }

    /// Writes rows to the slot's file, and to new ones as it is cut.
    pub(super) fn write(
        &mut self,
        slot: &mut Slot,
        target: Target<'_>,
        version: &Version,
        batch: &RecordBatch,
        origins: &[(u32, u32)],
    ) -> Result<(), SinkError> {
        let row_bytes = (row_memory(batch) / batch.num_rows().max(1)).max(1) as u64;
        let mut from = 0;
        while from < batch.num_rows() {
            self.close_older(slot, target, version)?;
            let file = match slot.file.take() {
                Some(file) => file,
                None => self.open(slot, target, version)?,
            };
            let file = slot.file.insert(file);
            let rows = self.slice(file, row_bytes).min(batch.num_rows() - from);
            file.write(batch, from, &origins[from..from + rows])?;
            file.row_memory += row_bytes * rows as u64;
            from += rows;
            let block = (file.encoder.block_memory(), file.encoder.block_estimate());
            if block.0 > self.block_max || block.1 >= BLOCK_BYTES {
                self.end_block(file)?;
            }
            let complete = self.is_complete(file)?;
            self.count(file);
            if complete {
                self.close(slot, target)?;
            }
        }
        Ok(())
    }

    /// A Parquet file has one schema; NDJSON takes any.
    fn close_older(
        &mut self,
        slot: &mut Slot,
        target: Target<'_>,
        version: &Version,
    ) -> Result<(), SinkError> {
        let Some(file) = &mut slot.file else {
            return Ok(());
        };
        if file.version.number == version.number {
            return Ok(());
        }
        let columns = matches!(self.context.settings.format, OutputFormat::Parquet { .. });
        if columns && file.planned.is_none() {
            return self.close(slot, target);
        }
        if columns {
            return Err(SinkError::Broken(format!(
                "`{}` is encoded again while its schema changes from version {} to {}",
                file.path, file.version.number, version.number
            )));
        }
        file.version = version.clone();
        Ok(())
    }

    fn open(
        &mut self,
        slot: &mut Slot,
        target: Target<'_>,
        version: &Version,
    ) -> Result<OpenFile, SinkError> {
        let planned = match (self.again, slot.planned.pop_front()) {
            (true, None) => {
                return Err(self.differs(target.dir, "no file", "more records", version.number));
            }
            (_, planned) => planned,
        };
        let name = self.name(planned.as_ref());
        let staged_name = match &planned {
            Some(planned) => planned.staged.clone(),
            None => name.staged_name(),
        };
        let path = match &planned {
            Some(planned) => planned.path.clone(),
            None => join(
                target.dir,
                &name.file_name(extension(&self.context.settings.format)),
            ),
        };
        let staged = self.create(&staged_name)?;
        let at = staged.path().to_owned();
        let encoder =
            Encoder::open(&version.layout, staged).map_err(|e| SinkError::encode(&at, e))?;
        Ok(OpenFile {
            encoder,
            number: name.number,
            staged: staged_name,
            path,
            membership: MembershipDigester::default(),
            records: 0,
            row_memory: 0,
            version: version.clone(),
            planned,
            counted: Counted::default(),
        })
    }

    /// The planned number, or the batch's next.
    pub(super) fn name(&self, planned: Option<&DataFile>) -> DataFileName {
        let next = || self.context.numbers.fetch_add(1, Ordering::Relaxed);
        DataFileName {
            pipeline: self.context.pipeline.clone(),
            journal: self.context.journal,
            batch: self.context.batch,
            number: planned.map_or_else(next, |planned| planned.number),
        }
    }

    /// Creates a file in staging. One that is encoded again gets its name only when all of them agreed with their plan, so
    /// good copies that are still there stay until then.
    pub(super) fn create(&self, staged: &str) -> Result<StagedFile, SinkError> {
        let path = self.writing_path(staged);
        if self.again
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(SinkError::staging("remove", &path, &error));
        }
        StagedFile::create(path.clone(), self.context.write_back)
            .map_err(|e| SinkError::staging("create", &path, &e))
    }

    fn writing_path(&self, staged: &str) -> PathBuf {
        let mut path = self.context.staging_dir.join(staged);
        if self.again {
            path.as_mut_os_string().push(".again");
        }
        path
    }

    /// Takes over a complete file, to be released or removed with the others.
    pub(super) fn keep(&mut self, staged: &str, file: &mut StagedFile) -> DataFileCopy {
        let to = self.context.staging_dir.join(staged);
        self.complete.push((file.path().to_owned(), to));
        file.keep()
    }

    /// Rows to write before the file's size is looked at again.
    fn slice(&self, file: &OpenFile, row_bytes: u64) -> usize {
        if let Some(planned) = &file.planned {
            return usize::try_from(planned.records - file.records)
                .unwrap_or(usize::MAX)
                .clamp(1, SLICE_ROWS);
        }
        let target = self.context.settings.data_file_bytes;
        let estimate = self.estimate(file);
        let average = if file.records >= 64 {
            (estimate / file.records).max(1)
        } else {
            // As JSON, with its column's names, a row may take more than in memory.
            4 * row_bytes
        };
        let least = target / 64 / average;
        let rows = (target.saturating_sub(estimate) / average).max(least);
        rows.clamp(1, SLICE_ROWS as u64) as usize
    }

    fn estimate(&self, file: &OpenFile) -> u64 {
        let mut block = file.encoder.block_estimate();
        if file.encoder.estimates_high()
            && let Some(ratio) = self.learnt.ratio()
        {
            block = block.min((file.block_row_memory() * ratio) as u64);
        }
        file.encoder.written() + block
    }

    fn is_complete(&mut self, file: &mut OpenFile) -> Result<bool, SinkError> {
        if let Some(planned) = &file.planned {
            return Ok(file.records == planned.records);
        }
        let target = self.context.settings.data_file_bytes;
        if self.estimate(file) < target {
            return Ok(false);
        }
        self.end_block(file)?;
        Ok(file.encoder.written() >= target)
    }

    /// Flushes the block and learns from what it came to.
    fn end_block(&mut self, file: &mut OpenFile) -> Result<(), SinkError> {
        let (before, rows) = (file.encoder.written(), file.block_row_memory());
        file.flush()?;
        if file.encoder.estimates_high() {
            self.learnt.learn(rows, file.encoder.written() - before);
        }
        Ok(())
    }

    /// Ends the slot's block, if it has one, to free its memory.
    pub(super) fn flush(&mut self, slot: &mut Slot) -> Result<(), SinkError> {
        if let Some(file) = &mut slot.file {
            self.end_block(file)?;
            self.count(file);
        }
        Ok(())
    }

    /// Closes the slot's file, if it has one.
    pub(super) fn close(&mut self, slot: &mut Slot, target: Target<'_>) -> Result<(), SinkError> {
        let Some(mut file) = slot.file.take() else {
            return Ok(());
        };
        let staged_path = self.writing_path(&file.staged);
        let failed = |e| SinkError::encode(&staged_path, e);
        let copy = self.keep(&file.staged, file.encoder.finish().map_err(failed)?);
        self.count(&mut file);
        self.open.lasting -= file.counted.lasting;
        self.open.encoded -= file.counted.encoded;
        self.open.block -= file.counted.block;
        self.closed_bytes += copy.length;
        let data_file = DataFile {
            number: file.number,
            kind: DataFileKind::Data,
            path: file.path,
            staged: file.staged,
            copies: vec![copy],
            records: file.records,
            membership: file.membership.digest(),
            lane: self.lane,
            partition: target.partition.to_owned(),
            schema_version: file.version.number,
        };
        self.finish(data_file, file.planned.as_ref())
    }

    /// Adds a complete file to those done, after it was compared with its plan.
    pub(super) fn finish(
        &mut self,
        file: DataFile,
        planned: Option<&DataFile>,
    ) -> Result<(), SinkError> {
        if let Some(planned) = planned {
            let found = describe(&file);
            let is_other = file.records != planned.records || file.membership != planned.membership;
            // I1 once: equal counts may be other records.
            if is_other && !crash::broken("i1-membership-not-compared") {
                return Err(self.differs(
                    &planned.path,
                    &describe(planned),
                    &found,
                    planned.schema_version,
                ));
            }
        }
        self.done.push(file);
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads as what the files say")]
    pub(super) fn differs(
        &self,
        file: &str,
        planned: &str,
        found: &str,
        schema_version: u32,
    ) -> SinkError {
        SinkError::MembershipDiffers {
            file: file.to_owned(),
            planned: planned.to_owned(),
            found: found.to_owned(),
            schema_version,
            versions: encoder_versions(),
        }
    }

    pub(super) fn lane(&self) -> u32 {
        self.lane
    }

    /// Brings the sums up to date, and parks the file where many are open.
    fn count(&mut self, file: &mut OpenFile) {
        let output = file.encoder.output_mut();
        let others = self.open.handle - file.counted.handle;
        // I11 bounded: partitions take no handles beyond these.
        if output.is_open() && others >= HANDLES_MAX && !crash::broken("i11-handles-kept-open") {
            output.park();
        }
        let now = Counted {
            handle: usize::from(output.is_open()),
            block: file.encoder.block_memory(),
            lasting: file.encoder.lasting_memory(),
            encoded: self.estimate(file),
        };
        let was = std::mem::replace(&mut file.counted, now);
        self.open.handle = self.open.handle + now.handle - was.handle;
        self.open.block = self.open.block + now.block - was.block;
        self.open.lasting = self.open.lasting + now.lasting - was.lasting;
        self.open.encoded = self.open.encoded + now.encoded - was.encoded;
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if crate::threads::is_dying() {
            return;
        }
        for (path, _) in &self.complete {
            // As for a file that was never complete.
            drop(std::fs::remove_file(path));
        }
    }
}

impl OpenFile {
    /// Adds the rows from `from` on that have these origins.
    fn write(
        &mut self,
        batch: &RecordBatch,
        from: usize,
        origins: &[(u32, u32)],
    ) -> Result<(), SinkError> {
        let written = self.encoder.write_rows(batch, from, origins.len());
        self.named(written)?;
        self.membership.extend(origins);
        self.records += origins.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let flushed = self.encoder.flush();
        self.named(flushed)
    }

    fn named(
        &mut self,
        result: Result<(), crate::format::encode::EncodeError>,
    ) -> Result<(), SinkError> {
        result.map_err(|e| SinkError::encode(self.encoder.output_mut().path(), e))
    }

    /// Memory that the rows of the block in progress had, as an average of the file's.
    fn block_row_memory(&self) -> f64 {
        self.row_memory as f64 * self.encoder.block_rows() as f64 / self.records.max(1) as f64
    }

    /// Memory of the block in progress.
    pub(super) fn block_memory(&self) -> usize {
        self.counted.block
    }
}

fn describe(file: &DataFile) -> String {
    format!("{} records, membership {}", file.records, file.membership)
}

/// `dir` and `name`, where `dir` may be empty.
pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}
