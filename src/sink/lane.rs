//! A lane: segments in, staged data files out.
//!
//! ```text
//! segment ─ decode ─► rows ─ partition ─► pool ─ interleave ─► one file per partition ─► staging
//!                       └ all of one partition ──────────────►
//! ```
//!
//! Memory is a budget: decoded rows, the pool, the encoders' blocks in progress and the footers of open files are counted
//! as they grow. What can be flushed is flushed; when what cannot be (footers, names) takes too much, the lane says that
//! it is full and its batch ends. Rows of a partition keep their order, from which its files' memberships follow.
//!
//! The lane writes garbage: nothing it makes counts before its batch is staged. Any error ends the batch, whose staged
//! files are removed with the lane.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use jiff::tz::TimeZone;

use super::error::SinkError;
use super::files::{Files, Slot, Target, Version};
use super::locate;
use super::partition::{Assigned, Keyer, Reading, RowFiles};
use super::pool::{Place, Pool};
use super::rejects::Rejects;
use super::staged::raise_open_files;
use super::{BatchContext, LaneGauge, LaneResult, OutputFormat, PathTemplate, SegmentOutcome};
use crate::channel::SegmentData;
use crate::format::decode::{DecodeContext, DecodedBatch, Decoder, arrow_schema};
use crate::format::encode::{Layout, RAW_COLUMN, row_memory, widen};
use crate::protocol::{DataFile, DataFileCopy, DataFileKind};
use crate::schema::Schema;

/// One worker's part of a batch.
pub struct Lane {
    files: Files,
    decoder: Decoder,
    keyer: Keyer,
    /// By partition.
    slots: Vec<Slot>,
    /// Partitions with a block in progress.
    blocks: BTreeSet<u32>,
    pool: Pool,
    rejects: Rejects,
    outcomes: Vec<SegmentOutcome>,
    /// Segments with rows in the decoder, from this index on.
    held: Vec<SegmentData>,
    held_from: u32,
    held_bytes: usize,
    version: Option<Landed>,
    removed: Vec<String>,
    budget: Budget,
    records: u64,
    /// Memory of the rows that went to files.
    encoded_from: u64,
}

/// A schema version, and which of its columns land.
struct Landed {
    version: Version,
    columns: Vec<usize>,
}

/// A lane's memory and what of it may be used for what.
#[derive(Clone, Copy)]
struct Budget {
    memory: usize,
}

impl Budget {
    /// Decoded bytes at which rows leave the decoder, however few they are.
    fn decoded(self) -> usize {
        (self.memory / 16).clamp(64 << 10, 2 << 20)
    }

    /// Whether rows should leave the decoder: what is written while the processor's cache still holds it is written faster, and
    /// so are many rows of a column at once.
    fn is_enough(self, bytes: usize, rows: usize) -> bool {
        const ROWS: usize = 2048;
        let most = self.decoded();
        bytes >= most || (rows >= ROWS && bytes >= most / 4)
    }

    /// Bytes of rows that are copied together at a time.
    fn copied(self) -> usize {
        (self.memory / 32).clamp(64 << 10, 4 << 20)
    }

    /// Whether so many partitions cannot all have blocks in progress: then there is a large pool and few blocks.
    fn is_crowded(self, partitions: usize, leaves: usize) -> bool {
        const LEAF: usize = 100 << 10;
        partitions.saturating_mul(leaves).saturating_mul(LEAF) > self.memory * 2 / 5
    }

    /// `lasting`: bytes that open files hold; what they leave of their share is the pool's while it is large.
    fn pool(self, crowded: bool, lasting: usize) -> usize {
        /// What a lane takes beside what it counts.
        const UNCOUNTED: usize = 24 << 20;
        if crowded {
            let left = (self.memory * 3 / 4).saturating_sub(lasting + UNCOUNTED);
            left.max(self.memory * 3 / 8)
        } else {
            self.memory / 4
        }
    }

    fn blocks(self, crowded: bool) -> usize {
        if crowded {
            self.memory / 8
        } else {
            self.memory * 2 / 5
        }
    }

    fn lasting(self) -> usize {
        self.memory * 3 / 8
    }
}

impl Lane {
    /// `memory`: bytes that the lane may hold.
    ///
    /// # Errors
    /// The path template or a time zone is wrong.
    pub fn open(context: BatchContext, lane: u32, memory: usize) -> Result<Self, SinkError> {
        Self::start(context, lane, memory, None)
    }

    fn start(
        context: BatchContext,
        lane: u32,
        memory: usize,
        planned: Option<&[DataFile]>,
    ) -> Result<Self, SinkError> {
        raise_open_files();
        let template = template(&context)?;
        let budget = Budget { memory };
        let reading = reading(&context)?;
        let removed = template.removed().into_iter().map(str::to_owned).collect();
        let keyer = Keyer::new(template, &reading, context.batch.0, context.batch_time_ns);
        let decoder = Decoder::new(
            Arc::clone(&context.schemas),
            DecodeContext {
                batch: context.batch,
                batch_time_ns: context.batch_time_ns,
            },
        );
        let mut lane = Self {
            files: Files::new(context, lane, planned.is_some(), budget.blocks(false)),
            decoder,
            keyer,
            slots: Vec::new(),
            blocks: BTreeSet::new(),
            pool: Pool::default(),
            rejects: Rejects::default(),
            outcomes: Vec::new(),
            held: Vec::new(),
            held_from: 0,
            held_bytes: 0,
            version: None,
            removed,
            budget,
            records: 0,
            encoded_from: 0,
        };
        lane.plan(planned.unwrap_or_default())?;
        Ok(lane)
    }

    /// Gives each partition the files it had, in their order.
    fn plan(&mut self, planned: &[DataFile]) -> Result<(), SinkError> {
        let mut planned: Vec<&DataFile> = planned
            .iter()
            .filter(|file| file.lane == self.files.lane())
            .collect();
        planned.sort_by_key(|file| file.number);
        let mut rejects = None;
        for file in planned {
            if file.kind == DataFileKind::Reject {
                rejects = Some(file.clone());
                continue;
            }
            if file.records == 0 {
                return Err(SinkError::Broken(format!(
                    "`{}` is planned without records",
                    file.path
                )));
            }
            let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let partition = self.keyer.intern_path(dir.to_owned());
            self.slot(partition).planned.push_back(file.clone());
        }
        self.rejects = Rejects::planned(rejects);
        Ok(())
    }

    fn slot(&mut self, partition: u32) -> &mut Slot {
        let partition = partition as usize;
        if self.slots.len() <= partition {
            self.slots.resize_with(partition + 1, Slot::default);
        }
        &mut self.slots[partition]
    }

    /// Decodes a segment and takes its records in. They may stay in memory until later segments or [`Self::close`].
    ///
    /// # Errors
    /// The batch must be given up.
    pub fn take(&mut self, data: &SegmentData) -> Result<(), SinkError> {
        let index = self.outcomes.len() as u32;
        let rejects = &mut self.rejects;
        let outcome = self.decoder.decode_shared(
            index,
            &data.context,
            &data.segment,
            &data.bytes,
            &mut |reject| rejects.push(reject),
        );
        self.records += data.segment.records;
        self.outcomes.push(outcome);
        self.held_bytes += data.bytes.len() + 512;
        self.held.push(data.clone());
        if self.is_ready() {
            self.drain()?;
        }
        Ok(())
    }

    /// Whether rows must leave the decoder: there are enough of them, or so many that they might be one partition more
    /// than a batch may have.
    fn is_ready(&self) -> bool {
        let enough = self.budget.decoded();
        let partitions_max = usize::try_from(self.files.context.settings.partitions_max);
        let spare = match partitions_max {
            Ok(max) if max > 0 && self.keyer.is_partitioned() => {
                max.saturating_sub(self.keyer.partitions())
            }
            _ => usize::MAX,
        };
        self.budget
            .is_enough(self.decoder.bytes(), self.decoder.rows())
            || self.decoder.rows() > spare
            || self.held_bytes >= 2 * enough
            || self.rejects.waiting_bytes() >= enough
    }

    /// How full the lane is.
    #[must_use]
    pub fn gauge(&self) -> LaneGauge {
        let lasting = self.lasting_memory();
        let layout = self.version.as_ref();
        let memory = lasting
            + layout.map_or(0, |landed| landed.version.layout.memory())
            + self.files.block_memory()
            + self.pool.bytes()
            + self.decoder.bytes()
            + self.held_bytes
            + self.rejects.memory();
        LaneGauge {
            encoded_bytes: self.files.encoded_bytes() + self.waiting_encoded(),
            records: self.records,
            rejected: self.rejects.records(),
            partitions: self.keyer.partitions() as u64,
            memory_bytes: memory as u64,
            full: lasting > self.budget.lasting() || memory > self.budget.memory,
        }
    }

    fn lasting_memory(&self) -> usize {
        self.files.lasting_memory() + self.keyer.memory() + self.outcomes.len() * 32
    }

    /// What pool and decoder will come to, at the ratio so far.
    fn waiting_encoded(&self) -> u64 {
        const AT_FIRST: f64 = 0.2;
        let waiting = (self.pool.bytes() + self.decoder.bytes()) as f64;
        let ratio = if self.encoded_from == 0 {
            AT_FIRST
        } else {
            (self.files.encoded_bytes() as f64 / self.encoded_from as f64).min(1.0)
        };
        (waiting * ratio) as u64
    }

    /// Ends the lane's part of the batch: all files closed, digests, lengths and memberships known.
    ///
    /// # Errors
    /// The batch must be given up.
    pub fn close(mut self) -> Result<LaneResult, SinkError> {
        self.drain()?;
        for partition in 0..self.slots.len() as u32 {
            self.write_pooled(partition)?;
            self.close_slot(partition)?;
        }
        self.rejects.close(&mut self.files)?;
        Ok(LaneResult {
            outcomes: self.outcomes,
            files: self.files.release()?,
        })
    }

    fn close_slot(&mut self, partition: u32) -> Result<(), SinkError> {
        let slot = &mut self.slots[partition as usize];
        let target = target(&self.keyer, partition);
        self.files.close(slot, target)?;
        self.blocks.remove(&partition);
        if let Some(planned) = slot.planned.front() {
            return Err(self.files.differs(
                &planned.path,
                &format!("{} records", planned.records),
                "fewer",
                planned.schema_version,
            ));
        }
        Ok(())
    }

    /// Takes the rows out of the decoder and brings them, and the rejects of the same segments, on their way.
    fn drain(&mut self) -> Result<(), SinkError> {
        if self.decoder.rows() > 0 {
            let decoded = self.decoder.take();
            self.place(decoded)?;
        }
        self.rejects.write(&self.files)?;
        self.held_from = self.outcomes.len() as u32;
        self.held.clear();
        self.held_bytes = 0;
        self.keep_budget()
    }

    fn place(&mut self, decoded: DecodedBatch) -> Result<(), SinkError> {
        if decoded.origins.len() != decoded.batch.num_rows() {
            return Err(SinkError::Broken(format!(
                "{} rows were decoded with {} origins",
                decoded.batch.num_rows(),
                decoded.origins.len()
            )));
        }
        self.renew_version(decoded.version, &decoded.schema)?;
        let assigned = self.assign(&decoded)?;
        let batch = self.landing(&decoded.batch)?;
        let first = assigned.first().copied().flatten();
        let together = first.filter(|_| assigned.iter().all(|to| *to == first));
        if let Some(partition) = together
            && (self.pool.rows() == 0 || !self.is_crowded())
        {
            // What waits of it came before.
            self.write_pooled(partition)?;
            return self.write(partition, &batch, &decoded.origins);
        }
        self.pool_rows(&batch, decoded.origins, &assigned);
        Ok(())
    }

    /// Partition of each row; rows without one become rejects.
    fn assign(&mut self, decoded: &DecodedBatch) -> Result<Vec<Option<u32>>, SinkError> {
        let (held, from) = (&self.held, self.held_from);
        let file = |segment: u32| {
            let data = held.get(segment.wrapping_sub(from) as usize);
            data.map(|data| data.context.path.escaped())
                .unwrap_or_default()
        };
        let rows = RowFiles {
            origins: &decoded.origins,
            file: &file,
        };
        let mut assigned = Vec::with_capacity(decoded.origins.len());
        let mut rejected: Vec<(u32, u32, Arc<str>)> = Vec::new();
        self.keyer
            .assign(&decoded.batch, &rows, |row, to| match to {
                Assigned::Partition(partition) => assigned.push(Some(partition)),
                Assigned::Reject(reason) => {
                    let (segment, ordinal) = decoded.origins[row];
                    rejected.push((segment, ordinal, reason));
                    assigned.push(None);
                }
            });
        self.reject(rejected)?;
        Ok(assigned)
    }

    fn reject(&mut self, rejected: Vec<(u32, u32, Arc<str>)>) -> Result<(), SinkError> {
        let mut by_segment: HashMap<u32, Vec<(u32, Arc<str>)>> = HashMap::new();
        for (segment, ordinal, reason) in rejected {
            by_segment
                .entry(segment)
                .or_default()
                .push((ordinal, reason));
        }
        for (segment, ordinals) in by_segment {
            let data = self
                .held
                .get(segment.wrapping_sub(self.held_from) as usize)
                .ok_or_else(|| SinkError::Broken(format!("segment {segment} is not held")))?;
            let schemas = &self.files.context.schemas;
            let outcome = &mut self.outcomes[segment as usize];
            for reject in locate::rejects(schemas, segment, data, &ordinals)? {
                outcome.rejected += 1;
                outcome.rejected_bytes += reject.bytes;
                self.rejects.push(reject);
            }
        }
        Ok(())
    }

    /// Makes the newest schema version known the one to land, for rows in the pool too.
    fn renew_version(&mut self, number: u32, schema: &Schema) -> Result<(), SinkError> {
        if self
            .version
            .as_ref()
            .is_some_and(|landed| landed.version.number >= number)
        {
            return Ok(());
        }
        let landed = self.landed(number, schema)?;
        self.pool
            .widen(&landed.version.layout.schema)
            .map_err(|e| self.refused(e))?;
        self.version = Some(landed);
        Ok(())
    }

    fn landed(&self, number: u32, schema: &Schema) -> Result<Landed, SinkError> {
        let context = &self.files.context;
        let decoded = arrow_schema(schema);
        let raw = schema.raw && matches!(context.settings.format, OutputFormat::Ndjson { .. });
        let lands = |name: &String| {
            if raw {
                name == RAW_COLUMN
            } else {
                !self.removed.contains(name)
            }
        };
        let columns: Vec<usize> = (0..decoded.fields().len())
            .filter(|at| lands(decoded.field(*at).name()))
            .collect();
        let landing = Arc::new(
            decoded
                .project(&columns)
                .map_err(|e| self.refused(e.into()))?,
        );
        let metadata = [
            ("lakeward.pipeline", context.pipeline.clone()),
            ("lakeward.journal", context.journal.to_string()),
            ("lakeward.batch", context.batch.to_string()),
            ("lakeward.schema_version", number.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        let layout = Layout::new(context.settings.format, landing, &metadata, raw)
            .map_err(|e| self.refused(e))?;
        let layout = match &self.version {
            Some(older) => layout.share(&older.version.layout),
            None => layout,
        };
        Ok(Landed {
            version: Version { number, layout },
            columns,
        })
    }

    /// The columns that land, in the newest version.
    fn landing(&self, batch: &RecordBatch) -> Result<RecordBatch, SinkError> {
        let landed = self.known_version()?;
        let schema = &landed.version.layout.schema;
        let columns = batch.schema_ref().fields().iter();
        let kept: Vec<usize> = columns
            .enumerate()
            .filter(|(_, field)| schema.field_with_name(field.name()).is_ok())
            .map(|(at, _)| at)
            .collect();
        let kept = if kept.len() == landed.columns.len() {
            &landed.columns
        } else {
            &kept
        };
        let projected = batch.project(kept).map_err(|e| self.refused(e.into()))?;
        widen(&projected, schema).map_err(|e| self.refused(e))
    }

    fn known_version(&self) -> Result<&Landed, SinkError> {
        self.version
            .as_ref()
            .ok_or_else(|| SinkError::Broken("rows came without a schema version".into()))
    }

    fn refused(&self, error: crate::format::encode::EncodeError) -> SinkError {
        SinkError::encode(&self.files.context.staging_dir, error)
    }

    fn pool_rows(
        &mut self,
        batch: &RecordBatch,
        origins: Vec<(u32, u32)>,
        assigned: &[Option<u32>],
    ) {
        let rows = assigned.iter().flatten().count();
        if rows == 0 {
            return;
        }
        let at = self.pool.push(batch.clone(), origins, rows);
        for (row, partition) in assigned.iter().enumerate() {
            if let Some(partition) = partition {
                let place: Place = (at, row as u32);
                self.slot(*partition).places.push(place);
            }
        }
    }

    fn write(
        &mut self,
        partition: u32,
        batch: &RecordBatch,
        origins: &[(u32, u32)],
    ) -> Result<(), SinkError> {
        let version = self.known_version()?.version.clone();
        self.slot(partition);
        let slot = &mut self.slots[partition as usize];
        let target = target(&self.keyer, partition);
        self.files.write(slot, target, &version, batch, origins)?;
        self.encoded_from += row_memory(batch) as u64;
        if slot
            .file
            .as_ref()
            .is_some_and(|file| file.block_memory() > 0)
        {
            self.blocks.insert(partition);
        } else {
            self.blocks.remove(&partition);
        }
        Ok(())
    }

    /// Brings a partition's rows from the pool to its file.
    fn write_pooled(&mut self, partition: u32) -> Result<(), SinkError> {
        let places = std::mem::take(&mut self.slot(partition).places);
        let step = self.pool.rows_in(self.budget.copied());
        for places in places.chunks(step) {
            let taken = self.pool.take(places);
            let (batch, origins) = taken.map_err(|e| self.refused(e))?;
            self.write(partition, &batch, &origins)?;
        }
        Ok(())
    }

    fn is_crowded(&self) -> bool {
        let leaves = self
            .version
            .as_ref()
            .map_or(1, |landed| landed.version.layout.leaves);
        self.budget.is_crowded(self.keyer.partitions(), leaves)
    }

    fn keep_budget(&mut self) -> Result<(), SinkError> {
        let crowded = self.is_crowded();
        self.files.block_max = self.budget.blocks(crowded);
        let pool_max = self.budget.pool(crowded, self.lasting_memory());
        if self.pool.bytes() > pool_max {
            self.empty_pool()?;
        }
        self.limit_blocks()
    }

    /// Partitions with a block in progress first, so that none of them is flushed before it got its rows.
    fn empty_pool(&mut self) -> Result<(), SinkError> {
        let first: Vec<u32> = self.blocks.iter().copied().collect();
        for partition in first {
            self.write_pooled(partition)?;
            self.limit_blocks()?;
        }
        for partition in 0..self.slots.len() as u32 {
            if !self.slots[partition as usize].places.is_empty() {
                self.write_pooled(partition)?;
                self.limit_blocks()?;
                self.limit_files(partition)?;
            }
        }
        Ok(())
    }

    /// Closes the partition's file where open files take too much already: one segment alone can bring any number of
    /// partitions. The lane is full then. Files encoded again end where they ended.
    fn limit_files(&mut self, partition: u32) -> Result<(), SinkError> {
        if self.files.again || self.files.open_memory() <= self.budget.lasting() {
            return Ok(());
        }
        self.close_slot(partition)
    }

    /// Flushes the largest blocks until the rest is within the budget.
    fn limit_blocks(&mut self) -> Result<(), SinkError> {
        while self.files.block_memory() > self.files.block_max {
            let memory = |partition: &u32| {
                let file = self.slots[*partition as usize].file.as_ref();
                file.map_or(0, super::files::OpenFile::block_memory)
            };
            let Some(largest) = self.blocks.iter().copied().max_by_key(memory) else {
                return Ok(());
            };
            self.files.flush(&mut self.slots[largest as usize])?;
            self.blocks.remove(&largest);
        }
        Ok(())
    }
}

fn target(keyer: &Keyer, partition: u32) -> Target<'_> {
    Target {
        dir: keyer.path(partition),
        partition: keyer.partition(partition),
    }
}

fn template(context: &BatchContext) -> Result<Arc<PathTemplate>, SinkError> {
    let settings = &context.settings;
    PathTemplate::parse(&settings.path, &settings.timezone)
        .map(Arc::new)
        .map_err(|message| SinkError::Path {
            template: settings.path.clone(),
            message,
        })
}

fn reading(context: &BatchContext) -> Result<Reading, SinkError> {
    let schema = &context.schemas.settings;
    let zone = TimeZone::get(&schema.timezone).map_err(|e| SinkError::Path {
        template: context.settings.path.clone(),
        message: format!(
            "time zone `{}` of the schema is not known: {e}",
            schema.timezone
        ),
    })?;
    Ok(Reading {
        zone,
        unit: schema.timestamp_unit,
    })
}

/// Encodes a lane's files again, from all of its segments in their order: each partition's files are cut where they were.
/// `planned` are all files of the lane; what is there of them in staging is replaced as each is complete.
///
/// # Errors
/// [`SinkError::MembershipDiffers`] if a file would hold other records than it was staged with.
pub fn encode_again(
    context: BatchContext,
    lane: u32,
    planned: &[DataFile],
    memory: usize,
    segments: &mut dyn FnMut() -> Result<Option<SegmentData>, SinkError>,
) -> Result<Vec<(u32, DataFileCopy)>, SinkError> {
    let mut encoding = Lane::start(context, lane, memory, Some(planned))?;
    while let Some(data) = segments()? {
        encoding.take(&data)?;
    }
    let result = encoding.close()?;
    Ok(result
        .files
        .into_iter()
        .filter_map(|file| Some((file.number, *file.copies.first()?)))
        .collect())
}
