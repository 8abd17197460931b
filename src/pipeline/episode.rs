//! One episode: from what the journal says until the spool is drained, somebody wants an end, or memory can no longer be
//! trusted.
//!
//! ```text
//!  source thread ──channel──► coordinator (this thread) ──► lanes' threads
//!                                   │ roll: close, stage
//!                                   ▼
//!                             committer thread: manifest, land, commit, follow-up work
//! ```
//!
//! The next batch is encoded while the last one lands; one more waits between them, so staging is bounded by three
//! batches. Batches commit in the order in which they were staged.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::batch::{BatchFacts, OpenBatch, too_many_rejects};
use super::committer::Committer;
use super::lanes::Lanes;
use super::registrar::Signal;
use super::{Halt, Pipeline, Started};
use crate::channel::{Channel, Received, SegmentData, SourceEvent};
use crate::crash;
use crate::format::decode::Inference;
use crate::format::{Compression, FileContext};
use crate::journal::{BatchRow, FileRow, PipelineRow};
use crate::protocol::{BatchState, RollReason};
use crate::schema::{Schema, SchemaMode, SchemaRegistry, SchemaSettings};
use crate::segment::{BatchNumber, Segment};
use crate::sink::{BatchContext, OutputFormat, SinkSettings};
use crate::source::{Backlog, Source, Survey};
use crate::threads::{self, Queue};

/// How an episode ended well.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// `--once`: nothing is left.
    Drained,
    /// A signal or the deadline, after what was staged had landed.
    Stopped,
    /// `--once`: files wait for what this episode has committed (a name used again, a twin); the next episode takes them.
    Deferred,
    /// The next episode shall begin with what the journal says.
    Rewind,
}

const TICK: Duration = Duration::from_millis(100);
/// Bytes that may wait between source and lanes: one large segment, or many small ones. What waits longer has left the processor's
/// cache when it is decoded.
const CHANNEL_BYTES: usize = 1 << 20;
/// What a small budget feels of the program's code, journal and threads.
const PROGRAM_BYTES: u64 = 20 << 20;

/// How long intake may wait for disk space with `--once`.
const SPACE_PATIENCE: Duration = Duration::from_secs(20);

/// How often a daemon whose spool is drained prunes and truncates the journal's log.
const HOUSEKEEPING: Duration = Duration::from_mins(10);

pub fn run(
    pipeline: &Pipeline,
    started: &Started,
    registrar: Option<&Arc<Signal>>,
) -> Result<Ended, Halt> {
    let committer = Arc::new(committer(pipeline, started, registrar)?);
    recover(pipeline, &committer)?;
    if let Some(registrar) = registrar {
        super::registrar::begin(pipeline, registrar)?;
    }
    let schemas = schemas(pipeline)?;
    let channel = Channel::new(CHANNEL_BYTES);
    let mut source = source(pipeline)?;
    infer(pipeline, &schemas, &mut source)?;
    super::registrar::check(pipeline, &schemas.current().1)?;
    let backlog = source.backlog();
    let seen_backlog = Arc::clone(&backlog);
    // Whatever can fail comes before the source's thread, which only ends when the channel is closed.
    let lanes = Lanes::start(&pipeline.agent, &pipeline.settings.name)?;
    let next = row(pipeline, started)?.staged.next();
    let staged = Queue::new(1);
    threads::scope(|scope| {
        // Whatever ends this, the two threads learn of it.
        let _over = Over(&channel, &staged);
        let source_channel = channel.clone();
        let once = pipeline.orders.once;
        let reading = scope.spawn("source", move || source.run(&source_channel, once));
        let landing = scope.spawn("committer", || land_staged(&committer, &staged));
        let mut coordinator = Coordinator {
            pipeline,
            started,
            committer: Arc::clone(&committer),
            schemas,
            channel: channel.clone(),
            lanes,
            open: None,
            staged: &staged,
            next,
            partitions: 1,
            ratio: 6.0,
            backlog,
            kept_house: Duration::ZERO,
            space_since: None,
            space_looked: None,
        };
        let ended = coordinator.run(|| landing.is_finished());
        channel.close();
        staged.close();
        drop(coordinator);
        let landed = join(landing.join());
        let read = join(reading.join().map(Ok));
        count_source(pipeline, &seen_backlog);
        landed.and(read).and(ended)
    })
}

/// Whoever would add to the queue learns that nobody takes from it any more.
struct Closes<'a>(&'a Queue<BatchRow>);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Ends an episode for its threads.
struct Over<'a>(&'a Channel, &'a Queue<BatchRow>);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.close();
        self.1.close();
    }
}

/// What the source decided by itself goes into the report.
fn count_source(pipeline: &Pipeline, backlog: &Backlog) {
    pipeline.tally.add_source(
        backlog.quarantined(),
        backlog.resent() + backlog.same_content(),
        backlog.waiting().0 + backlog.unready(),
    );
    let (unreadable, first) = backlog.unreadable();
    pipeline.tally.set_unreadable((unreadable > 0).then(|| {
        format!(
            "{unreadable} spooled files could not be read, the first: {}",
            first.unwrap_or_default()
        )
    }));
}

fn join<T>(result: std::thread::Result<Result<T, Halt>>) -> Result<T, Halt> {
    result.unwrap_or_else(|_| Err(Halt::Bug("a thread of the pipeline died".into())))
}

/// What the channel, the source and the program itself leave, shared by the lanes that a batch uses.
fn lane_memory(pipeline: &Pipeline, active: usize) -> usize {
    let others = (pipeline.memory / 4 + PROGRAM_BYTES).min(pipeline.memory / 2);
    let rest = pipeline.memory - others;
    usize::try_from(rest / active.max(1) as u64).unwrap_or(usize::MAX)
}

fn committer(
    pipeline: &Pipeline,
    started: &Started,
    registrar: Option<&Arc<Signal>>,
) -> Result<Committer, Halt> {
    let row = row(pipeline, started)?;
    Ok(Committer {
        pipeline: pipeline.settings.name.clone(),
        ports: pipeline.ports.clone(),
        staging_dir: pipeline.staging_dir.clone(),
        sink: Arc::new(pipeline.settings.sink.clone()),
        schema: pipeline.settings.schema.clone(),
        source: pipeline.settings.source.clone(),
        retire: pipeline.settings.source.spool.retire,
        memory: pipeline.memory / 2,
        tally: Arc::clone(&pipeline.tally),
        committed: row.committed.0.into(),
        retiring: threads::Alone::default(),
        registrar: registrar.cloned(),
    })
}

fn row(pipeline: &Pipeline, started: &Started) -> Result<PipelineRow, Halt> {
    Ok(pipeline.ports.journal.pipeline(
        &pipeline.settings.name,
        started.row.spool,
        pipeline.ports.lake.identity(),
    )?)
}

fn source(pipeline: &Pipeline) -> Result<Source, Halt> {
    Source::new(
        pipeline.settings.source.clone(),
        Arc::clone(&pipeline.ports.spool),
        Arc::clone(&pipeline.ports.journal),
        Arc::clone(&pipeline.ports.clock),
        pipeline.settings.name.clone(),
    )
    .map_err(|e| Halt::Stopped(e.to_string()))
}

/// Ends what earlier runs left: unfinished batches in order, follow-up work, then staging that no batch knows.
fn recover(pipeline: &Pipeline, committer: &Committer) -> Result<(), Halt> {
    let unfinished = pipeline.ports.journal.unfinished(&pipeline.settings.name)?;
    for batch in &unfinished {
        info!(pipeline = %pipeline.settings.name, batch = %batch.number, state = %batch.state, "recovering");
        committer.commit(batch, false)?;
        abort_leftover_uploads(pipeline, batch);
    }
    committer.finish_quarantines()?;
    committer.retire_committed()?;
    committer.finish_deletes()?;
    committer.set_torn_aside()?;
    prune(pipeline)?;
    sweep_staging(pipeline)
}

/// Forgets files that were retired longer ago than `history`.
fn prune(pipeline: &Pipeline) -> Result<(), Halt> {
    let Some(history) = pipeline.settings.source.history else {
        return Ok(());
    };
    let history = i64::try_from(history.as_nanos()).unwrap_or(i64::MAX);
    let before = pipeline.ports.clock.now_ns().saturating_sub(history);
    let forgotten = pipeline
        .ports
        .journal
        .prune(&pipeline.settings.name, before)?;
    if forgotten > 0 {
        info!(pipeline = %pipeline.settings.name, forgotten, "forgot files older than `source.history`");
    }
    Ok(())
}

/// Uploads that a kill left behind keep their parts for ever on some stores. Not being able to is no reason to stop.
fn abort_leftover_uploads(pipeline: &Pipeline, batch: &BatchRow) {
    let Some(membership) = batch.manifest.membership() else {
        return;
    };
    for file in &membership.data_files {
        let Ok(path) = crate::naming::LakePath::new(&file.path) else {
            continue;
        };
        match pipeline.ports.lake.abort_uploads(&path) {
            Ok(0) => {}
            Ok(count) => info!(%path, count, "aborted uploads left behind"),
            Err(error) => warn!(%error, "uploads left behind could not be aborted"),
        }
    }
}

/// I7 staging-is-garbage: nothing staged by an unfinished batch is left at this point.
fn sweep_staging(pipeline: &Pipeline) -> Result<(), Halt> {
    let dir = &pipeline.staging_dir;
    let prefix = format!(".{}-", pipeline.settings.name);
    let failed = |e: std::io::Error| Halt::Stopped(format!("sweep `{}`: {e}", dir.display()));
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if is_staged_by(&name.to_string_lossy(), &prefix) {
            super::committer::remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// `.<pipeline>-<batch>-<n>.staged`, or that and `.again` while it is encoded again; where another pipeline's name may begin with ours and a dash.
fn is_staged_by(name: &str, prefix: &str) -> bool {
    name.strip_suffix(".again")
        .unwrap_or(name)
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(".staged"))
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

/// The registry with the journal's newest version, or with the first schema that the configuration gives.
pub fn registry(
    settings: &SchemaSettings,
    sink: &SinkSettings,
    journaled: Option<(u32, serde_json::Value)>,
) -> Result<SchemaRegistry, Halt> {
    let journaled = match journaled {
        Some((version, json)) => {
            let schema: Schema = serde_json::from_value(json).map_err(|e| {
                Halt::Stopped(format!(
                    "schema version {version} in the journal cannot be read: {e}; run `lakeward rebuild`"
                ))
            })?;
            Some((version, schema))
        }
        None => None,
    };
    let template = crate::sink::PathTemplate::parse(&sink.path, &sink.timezone)
        .map_err(|e| Halt::Stopped(format!("path template: {e}")))?;
    let first = first_schema(settings, &template);
    Ok(SchemaRegistry::new(settings.clone(), journaled, first))
}

/// With `mode = "none"` records land byte for byte, and only what the path names is read out of them, as text.
#[must_use]
pub fn first_schema(settings: &SchemaSettings, template: &crate::sink::PathTemplate) -> Schema {
    let mut schema = crate::schema::first_schema(settings);
    if !schema.raw {
        return schema;
    }
    for name in template.columns() {
        let column = name.split('.').next().unwrap_or(name);
        let known = schema.column(column).is_some()
            || schema.path_columns.iter().any(|path| path == column)
            || column.starts_with('_');
        if !known {
            schema.columns.push(crate::schema::Field {
                name: name.to_owned(),
                key: name.to_owned(),
                data_type: crate::schema::DataType::String,
                folds: false,
            });
        }
    }
    schema
}

fn schemas(pipeline: &Pipeline) -> Result<Arc<SchemaRegistry>, Halt> {
    let journaled = pipeline.ports.journal.schema(&pipeline.settings.name)?;
    let settings = super::schema_settings(
        &pipeline.settings,
        pipeline.ports.catalog.as_deref(),
        journaled.is_some(),
    )?;
    let schemas = registry(&settings, &pipeline.settings.sink, journaled)?;
    if settings.mode == SchemaMode::Hive && schemas.current().0 > 0 {
        schemas.extend(|schema| super::from_table::add_new(schema, &settings));
    }
    Ok(Arc::new(schemas))
}

/// The first pass over what waits, once in a pipeline's life, before anything is encoded.
fn infer(pipeline: &Pipeline, schemas: &SchemaRegistry, source: &mut Source) -> Result<(), Halt> {
    if schemas.current().0 > 0 {
        return Ok(());
    }
    if pipeline.settings.schema.mode == SchemaMode::Infer {
        let first_pass = FirstPass(pipeline);
        let mut inference = first_pass.begin();
        source
            .survey(
                crate::source::SampleLimits::default(),
                first_pass.threads(),
                &first_pass,
                &mut |part| inference.merge(part),
            )
            .map_err(|e| Halt::NotDone(e.to_string()))?;
        if inference.records() == 0 {
            // Nothing to learn from yet: columns are added as records come.
            return Ok(());
        }
        info!(pipeline = %pipeline.settings.name, records = inference.records(), "inferred the schema");
        schemas.extend(|schema| inference.finish(schema));
    } else {
        schemas.settle();
    }
    let (_, schema) = schemas.current();
    crate::sink::PathTemplate::parse(
        &pipeline.settings.sink.path,
        &pipeline.settings.sink.timezone,
    )
    .and_then(|template| template.check(&schema))
    .map_err(Halt::Stopped)
}

/// Looks at what waits for the first time.
struct FirstPass<'a>(&'a Pipeline);

impl FirstPass<'_> {
    /// As many as there will be lanes, whose memory it uses, as far as each may hold a decompressor of the largest window.
    fn threads(&self) -> usize {
        const EACH: u64 = 128 << 20;
        let room = usize::try_from(self.0.memory / EACH).unwrap_or(usize::MAX);
        self.0.agent.lanes.min(room).max(1)
    }
}

impl Survey for FirstPass<'_> {
    type Part = Inference;

    fn begin(&self) -> Inference {
        Inference::new(&self.0.settings.schema)
    }

    fn visit(
        &self,
        inference: &mut Inference,
        context: &FileContext,
        segment: &Segment,
        bytes: &[u8],
    ) -> ControlFlow<()> {
        inference.observe(context, segment, bytes);
        if self.0.stopping() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Lands what is staged, batch by batch. Once it fails nothing more is taken.
fn land_staged(committer: &Committer, staged: &Queue<BatchRow>) -> Result<(), Halt> {
    let _over = Closes(staged);
    while let Some(batch) = staged.receive() {
        committer.commit(&batch, true)?;
    }
    Ok(())
}

struct Coordinator<'a> {
    pipeline: &'a Pipeline,
    started: &'a Started,
    committer: Arc<Committer>,
    schemas: Arc<SchemaRegistry>,
    channel: Channel,
    lanes: Lanes,
    open: Option<OpenBatch>,
    /// Closed when the episode ends, which ends the committer's thread.
    staged: &'a Queue<BatchRow>,
    next: BatchNumber,
    /// Of the last batch: partitions open at its end, decoded bytes per encoded byte.
    partitions: u64,
    ratio: f64,
    backlog: Arc<Backlog>,
    kept_house: Duration,
    space_since: Option<Duration>,
    space_looked: Option<Duration>,
}

impl Coordinator<'_> {
    fn run(&mut self, landing_ended: impl Fn() -> bool) -> Result<Ended, Halt> {
        loop {
            if self.pipeline.stopping() {
                return self.stop();
            }
            if self.pipeline.orders.rewind.load(Ordering::SeqCst) {
                return Ok(Ended::Rewind);
            }
            if let Some(halt) = self.committer.registrar.as_ref().and_then(|r| r.halt()) {
                return Err(halt);
            }
            if landing_ended() {
                // Its own error is reported where its thread is joined.
                return Ok(Ended::Rewind);
            }
            if self.short_of_space()? {
                continue;
            }
            match self.channel.receive(TICK) {
                Received::Event(SourceEvent::Segment(data)) => self.take(data)?,
                Received::Event(SourceEvent::Drained) => {
                    self.retire_skipped()?;
                    if self.pipeline.orders.once {
                        self.roll(RollReason::Drained)?;
                        if self.backlog.deferred() > 0 {
                            return Ok(Ended::Deferred);
                        }
                        self.pipeline.tally.set_drained();
                        return Ok(Ended::Drained);
                    }
                    self.pipeline.tally.waits_for("files");
                    self.keep_house()?;
                }
                Received::Event(SourceEvent::Tainted { row, reason }) => {
                    return self.tainted(&row, &reason);
                }
                Received::Event(SourceEvent::Failed { message, transient }) => {
                    return Err(if transient {
                        Halt::NotDone(message)
                    } else {
                        Halt::Stopped(message)
                    });
                }
                Received::TimedOut => {}
                Received::Closed => {
                    return Err(Halt::Bug("the source ended without a word".into()));
                }
            }
            self.lanes.poll()?;
            self.roll_if_due()?;
        }
    }

    fn keep_house(&mut self) -> Result<(), Halt> {
        let now = self.now();
        if self.open.is_some() || now.saturating_sub(self.kept_house) < HOUSEKEEPING {
            return Ok(());
        }
        self.kept_house = now;
        prune(self.pipeline)?;
        Ok(self.pipeline.ports.journal.tidy()?)
    }

    /// Files that `resent` or `same_content` skipped are in no batch, so no commit retires them.
    fn retire_skipped(&self) -> Result<(), Halt> {
        if self.committer.retire == crate::spool::Retire::Keep {
            return Ok(());
        }
        self.committer.retire_committed()
    }

    fn now(&self) -> Duration {
        self.pipeline.ports.clock.elapsed()
    }

    fn take(&mut self, data: SegmentData) -> Result<(), Halt> {
        if self.open.is_none() {
            self.open = Some(self.open_batch(&data));
        }
        let now = self.now();
        let Some(open) = self.open.as_mut() else {
            return Err(Halt::Bug("no batch is open".into()));
        };
        self.pipeline
            .tally
            .took(data.segment.records, data.segment.bytes());
        open.add(&data, now)?;
        self.lanes.give(data, open.active, || {
            let memory = lane_memory(self.pipeline, open.active);
            (open.context.clone(), memory)
        })
    }

    fn open_batch(&self, first: &SegmentData) -> OpenBatch {
        let context = BatchContext {
            pipeline: self.pipeline.settings.name.clone(),
            journal: self.pipeline.ports.journal.id(),
            batch: self.next,
            batch_time_ns: self.pipeline.ports.clock.now_ns(),
            staging_dir: self.pipeline.staging_dir.clone(),
            write_back: self.pipeline.write_back,
            settings: Arc::clone(&self.committer.sink),
            schemas: Arc::clone(&self.schemas),
            numbers: Arc::default(),
        };
        self.pipeline.tally.waits_for("");
        OpenBatch::new(context, self.now(), self.active_lanes(first))
    }

    /// One lane more for each share of the backlog that fills a good part of a file in every partition.
    fn active_lanes(&self, first: &SegmentData) -> usize {
        // What logs come to, more or less; the backlog is what stands on disk.
        const UNPACKED: u64 = 5;
        let backlog = match first.context.settings.compression {
            Compression::None => self.backlog_bytes(),
            _ => self.backlog_bytes().saturating_mul(UNPACKED),
        };
        let sink = &self.committer.sink;
        let per_lane = (sink.data_file_bytes / 4).max(1 << 20) as f64
            * self.partitions.max(1) as f64
            * self.ratio;
        let lanes = (backlog as f64 / per_lane).ceil() as usize;
        lanes.clamp(1, self.lanes.count())
    }

    fn backlog_bytes(&self) -> u64 {
        self.backlog.waiting().1
    }

    fn roll_if_due(&mut self) -> Result<(), Halt> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let gauge = self.lanes.gauge();
        let tally = &self.pipeline.tally;
        tally
            .open_batch_records
            .store(open.records, Ordering::Relaxed);
        tally
            .open_batch_bytes
            .store(gauge.encoded_bytes, Ordering::Relaxed);
        let reason = open.roll_reason(
            &self.pipeline.settings.roll,
            self.committer.sink.partitions_max,
            &gauge,
            self.now(),
        );
        let full = self.backlog.payload_full() && !open.is_empty();
        match reason.or(full.then_some(RollReason::Payload)) {
            Some(reason) => self.roll(reason),
            None => Ok(()),
        }
    }

    /// Ends the open batch: its lanes close their files, one transaction stages it, the committer takes it over.
    fn roll(&mut self, reason: RollReason) -> Result<(), Halt> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        if open.is_empty() {
            return Ok(());
        }
        let gauge = self.lanes.gauge();
        let (takers, results) = self.lanes.close()?;
        self.refuse_too_many_rejects(&open, &results)?;
        self.learn(&open, &results, gauge.partitions);
        let facts = self.facts();
        let request = open.into_stage(facts, &takers, results)?;
        let number = request.manifest.batch;
        let files = request.files.iter().map(|row| row.id).collect();
        let manifest = request.manifest.clone();
        let newest = request.schemas.last().map(|(version, _)| *version);
        info!(pipeline = %self.pipeline.settings.name, batch = %number, reason = reason.as_str(), "rolled");
        if crash::broken("i4-land-before-stage") {
            let early = BatchRow {
                number,
                state: BatchState::Staged,
                manifest: manifest.clone(),
                files: Vec::new(),
            };
            self.committer.land_all(&early, true)?;
        }
        crash::place("before_stage");
        self.pipeline.ports.journal.stage(request)?;
        if let Some(newest) = newest {
            self.schemas.journaled(newest);
        }
        self.pipeline.tally.rolled(reason);
        self.pipeline
            .tally
            .open_batch_records
            .store(0, Ordering::Relaxed);
        self.pipeline
            .tally
            .open_batch_bytes
            .store(0, Ordering::Relaxed);
        self.next = number.next();
        let batch = BatchRow {
            number,
            state: BatchState::Staged,
            manifest,
            files,
        };
        // If the committer has ended, the loop notices it next; the batch is staged and recovery takes it up.
        let _ended = self.staged.send(batch);
        Ok(())
    }

    fn facts(&self) -> BatchFacts {
        BatchFacts {
            pipeline: self.pipeline.settings.name.clone(),
            journal: self.pipeline.ports.journal.id(),
            spool: self.started.row.spool,
            lake: self.pipeline.ports.lake.identity().to_owned(),
            committed: BatchNumber(self.committer.committed.load(Ordering::SeqCst)),
            path: self.committer.sink.path.clone(),
            timezone: self.committer.sink.timezone.clone(),
            format: format_words(&self.committer.sink.format),
        }
    }

    fn refuse_too_many_rejects(
        &self,
        open: &OpenBatch,
        results: &[Option<crate::sink::LaneResult>],
    ) -> Result<(), Halt> {
        let rejected: u64 = results
            .iter()
            .flatten()
            .flat_map(|result| &result.outcomes)
            .map(|outcome| outcome.rejected)
            .sum();
        if !too_many_rejects(self.committer.sink.rejects_max, open.records, rejected) {
            return Ok(());
        }
        Err(Halt::Stopped(format!(
            "pipeline `{}`: {rejected} of the {} records of batch {} cannot be decoded, more than `sink.rejects_max` lets land; nothing of the batch landed: see what is wrong with `lakeward check`, mend the files or the schema, or raise `rejects_max`",
            self.pipeline.settings.name, open.records, open.context.batch
        )))
    }

    fn learn(
        &mut self,
        open: &OpenBatch,
        results: &[Option<crate::sink::LaneResult>],
        partitions: u64,
    ) {
        let encoded: u64 = results
            .iter()
            .flatten()
            .flat_map(|result| &result.files)
            .filter_map(|file| file.copies.last())
            .map(|copy| copy.length)
            .sum();
        if encoded > 0 && open.bytes > 0 {
            self.ratio = (open.bytes as f64 / encoded as f64).clamp(1.0, 100.0);
        }
        self.partitions = partitions.max(1);
    }

    /// Takes in nothing more; what lanes hold is staged and lands if it can in time.
    fn stop(&mut self) -> Result<Ended, Halt> {
        self.channel.close();
        self.roll(RollReason::Stop)?;
        Ok(Ended::Stopped)
    }

    /// I10 never guess: the open batch is given up, since what it holds of this file is not to be trusted.
    fn tainted(&mut self, row: &Arc<FileRow>, reason: &str) -> Result<Ended, Halt> {
        self.channel.close();
        if let Some(open) = &self.open
            && open.holds(row.id)
        {
            warn!(pipeline = %self.pipeline.settings.name, path = %row.path, files = open.files(), "the open batch is given up and read again without this file");
        }
        self.committer.quarantine(row, reason)?;
        Ok(Ended::Rewind)
    }

    /// Intake waits below `free_bytes_min` and beyond `staging_bytes_max`; an open batch is rolled so that it can land and make room.
    fn short_of_space(&mut self) -> Result<bool, Halt> {
        let now = self.now();
        if self
            .space_looked
            .is_some_and(|looked| now.saturating_sub(looked) < Duration::from_secs(1))
        {
            return Ok(false);
        }
        let Some(shortage) = self.shortage()? else {
            self.space_looked = Some(now);
            self.space_since = None;
            return Ok(false);
        };
        self.pipeline.tally.waits_for(&shortage);
        if self.space_since.is_none() {
            warn!(pipeline = %self.pipeline.settings.name, %shortage, "intake waits");
            self.space_since = Some(now);
            self.lanes.poll()?;
            self.roll(RollReason::Staging)?;
        }
        let waited = now.saturating_sub(self.space_since.unwrap_or(now));
        if self.pipeline.orders.once && waited > SPACE_PATIENCE {
            return Err(Halt::NotDone(shortage));
        }
        let _stop = self.pipeline.orders.stop.wait(TICK);
        Ok(true)
    }

    fn shortage(&self) -> Result<Option<String>, Halt> {
        let agent = &self.pipeline.agent;
        if agent.free_bytes_min > 0 {
            let state_free = free_bytes(&agent.state_dir)?;
            if state_free < agent.free_bytes_min {
                return Ok(Some(format!(
                    "disk space: `{}` has {state_free} bytes free, `agent.free_bytes_min` is {}",
                    agent.state_dir.display(),
                    agent.free_bytes_min
                )));
            }
            if let Some(free) = self.pipeline.ports.lake.free_bytes()
                && free < agent.free_bytes_min
            {
                return Ok(Some(format!(
                    "disk space: the lake has {free} bytes free, `agent.free_bytes_min` is {}",
                    agent.free_bytes_min
                )));
            }
        }
        // I11 bounded.
        if agent.staging_bytes_max > 0 && !crash::broken("i11-staging-without-bound") {
            let staged = staged_bytes(&self.pipeline.staging_dir)?;
            if staged > agent.staging_bytes_max {
                return Ok(Some(format!(
                    "staging: `{}` holds {staged} bytes, `agent.staging_bytes_max` is {}",
                    self.pipeline.staging_dir.display(),
                    agent.staging_bytes_max
                )));
            }
        }
        Ok(None)
    }
}

fn free_bytes(dir: &std::path::Path) -> Result<u64, Halt> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|e| Halt::Stopped(format!("free space of `{}`: {e}", dir.display())))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn staged_bytes(dir: &std::path::Path) -> Result<u64, Halt> {
    let failed = |e: std::io::Error| Halt::Stopped(format!("look at `{}`: {e}", dir.display()));
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        // A file that was landed meanwhile counts no more.
        if let Ok(metadata) = entry.map_err(failed)?.metadata() {
            sum += metadata.len();
        }
    }
    Ok(sum)
}

fn format_words(format: &OutputFormat) -> String {
    match format {
        OutputFormat::Parquet { compat, codec } => {
            format!("parquet {compat:?} {codec:?}").to_lowercase()
        }
        OutputFormat::Ndjson { codec } => format!("ndjson {codec:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_staged_by;

    #[test]
    fn another_pipelines_staged_files_are_not_swept() {
        assert!(is_staged_by(".orders-12-3.staged", ".orders-"));
        assert!(is_staged_by(".orders-12-3.staged.again", ".orders-"));
        assert!(!is_staged_by(".orders-eu-12-3.staged", ".orders-"));
        assert!(!is_staged_by(".orders-12-3.parquet", ".orders-"));
    }
}
