//! The yardstick of the race: the same decoder, encoder and threads, writing synced data files, with no journal, digest of
//! segments, staging, manifest or commit. `direct CONFIG OUTPUT_DIR INPUT.ndjson...`: as Lakeward has it, one thread reads and as many as the
//! configuration has lanes write. With `--alone` before these there is no thread that reads: each lane takes the next input and reads it itself.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use lakeward::channel::{Channel, Received, SegmentData, SourceEvent};
use lakeward::config::{AgentSettings, PipelineSettings, load};
use lakeward::format::{FileContext, decode::Inference};
use lakeward::journal::FileRow;
use lakeward::schema::{self, SchemaRegistry};
use lakeward::segment::{BatchNumber, Digest, FileId, FileStat, JournalId, RelativePath, Segment};
use lakeward::sink::{BatchContext, Lane};

#[path = "../../src/allocator.rs"]
#[expect(dead_code, reason = "nothing is given back here: there is no budget")]
mod allocator;

const SEGMENT_BYTES: usize = 1 << 20;
/// As Lakeward's.
const CHANNEL_BYTES: usize = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    allocator::set_up();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let alone = arguments.first().is_some_and(|first| first == "--alone");
    arguments.drain(..usize::from(alone));
    let (config, output, inputs) = (&arguments[0], &arguments[1], &arguments[2..]);
    let config = load(Path::new(config))?;
    std::fs::create_dir_all(output)?;
    let records = write(&config.agent, &config.pipelines[0], output, inputs, alone)?;
    println!("{records}");
    Ok(())
}

/// Writes what the inputs hold; answers how many records.
fn write(
    agent: &AgentSettings,
    pipeline: &PipelineSettings,
    output: &str,
    inputs: &[String],
    alone: bool,
) -> Result<u64, Failure> {
    let first = schema::first_schema(&pipeline.schema);
    let schemas = Arc::new(SchemaRegistry::new(pipeline.schema.clone(), None, first));
    infer(agent, pipeline, &schemas, inputs)?;
    let batch = BatchContext {
        pipeline: "direct".into(),
        journal: JournalId(1),
        batch: BatchNumber(1),
        batch_time_ns: 0,
        staging_dir: output.into(),
        write_back: true,
        settings: Arc::new(pipeline.sink.clone()),
        schemas,
        numbers: Arc::new(AtomicU32::new(0)),
    };
    let lanes = agent.lanes.max(1);
    let memory = agent.memory as usize / 2 / lanes;
    let (batch, next, channel) = (&batch, &AtomicUsize::new(0), &Channel::new(CHANNEL_BYTES));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..lanes)
            .map(|number| {
                scope.spawn(move || {
                    let mut lane = Lane::open(batch.clone(), number as u32, memory)?;
                    if alone {
                        read(pipeline, inputs, next, &mut |data| Ok(lane.take(&data)?))?;
                    } else {
                        or_close(channel, take_all(&mut lane, channel))?;
                    }
                    close(lane, output)
                })
            })
            .collect();
        let sent = if alone {
            Ok(())
        } else {
            or_close(channel, send_all(channel, lanes, pipeline, inputs, next))
        };
        let records = threads.into_iter().try_fold(0, |sum, lane| {
            Ok::<_, Failure>(sum + lane.join().expect("a lane's thread")?)
        })?;
        sent?;
        Ok(records)
    })
}

/// The first pass is part of landing anything, so it is paid for here too, by the same threads.
fn infer(
    agent: &AgentSettings,
    pipeline: &PipelineSettings,
    schemas: &SchemaRegistry,
    inputs: &[String],
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let mut parts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..agent.lanes.max(1))
            .map(|_| scope.spawn(|| observe(pipeline, inputs, &next)))
            .collect();
        threads
            .into_iter()
            .try_fold(Vec::new(), |mut parts, thread| {
                parts.extend(thread.join().expect("a sampling thread")?);
                Ok::<_, Failure>(parts)
            })
    })?;
    parts.sort_by_key(|(number, _)| *number);
    let mut inference = Inference::new(&pipeline.schema);
    for (_, part) in parts {
        inference.merge(part);
    }
    schemas.extend(|schema| inference.finish(schema));
    Ok(())
}

/// What the beginnings of inputs hold, as long as there is a next one.
fn observe(
    pipeline: &PipelineSettings,
    inputs: &[String],
    next: &AtomicUsize,
) -> Result<Vec<(usize, Inference)>, Failure> {
    let mut parts = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(input) = inputs.get(number) else {
            return Ok(parts);
        };
        let mut inference = Inference::new(&pipeline.schema);
        let context = context(pipeline, number)?;
        let mut pieces = Pieces::open(input, number)?;
        while let Some((segment, bytes)) = pieces.next()? {
            inference.observe(&context, &segment, &bytes);
            if inference.records() >= 100_000 || segment.to >= 64 << 20 {
                break;
            }
        }
        parts.push((number, inference));
    }
}

/// Hands over what the inputs hold, and to each lane that there is no more.
fn send_all(
    channel: &Channel,
    lanes: usize,
    pipeline: &PipelineSettings,
    inputs: &[String],
    next: &AtomicUsize,
) -> Result<(), Failure> {
    let send = |event| channel.send(event).map_err(|_| "a lane has failed");
    read(pipeline, inputs, next, &mut |data| {
        Ok(send(SourceEvent::Segment(data))?)
    })?;
    for _ in 0..lanes {
        send(SourceEvent::Drained)?;
    }
    Ok(())
}

/// What fails ends the other threads too.
fn or_close<T>(channel: &Channel, result: Result<T, Failure>) -> Result<T, Failure> {
    if result.is_err() {
        channel.close();
    }
    result
}

/// Takes segments until there is no more.
fn take_all(lane: &mut Lane, channel: &Channel) -> Result<(), Failure> {
    loop {
        match channel.receive(Duration::from_mins(1)) {
            Received::Event(SourceEvent::Segment(data)) => lane.take(&data)?,
            // Closed: another thread has failed, and says why.
            Received::Event(_) | Received::Closed => return Ok(()),
            Received::TimedOut => {}
        }
    }
}

/// Gives `take` what inputs hold as long as there is a next one.
fn read(
    pipeline: &PipelineSettings,
    inputs: &[String],
    next: &AtomicUsize,
    take: &mut dyn FnMut(SegmentData) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let row = Arc::new(row());
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(input) = inputs.get(number) else {
            return Ok(());
        };
        let context = Arc::new(context(pipeline, number)?);
        let mut pieces = Pieces::open(input, number)?;
        while let Some((segment, bytes)) = pieces.next()? {
            take(SegmentData {
                context: Arc::clone(&context),
                row: Arc::clone(&row),
                segment,
                bytes: Arc::new(bytes.into()),
                end: None,
            })?;
        }
    }
}

/// Ends a lane's files and syncs them; answers how many records they hold.
fn close(lane: Lane, output: &str) -> Result<u64, Failure> {
    let result = lane.close()?;
    for file in &result.files {
        std::fs::File::open(Path::new(output).join(&file.staged))?.sync_all()?;
    }
    Ok(result.files.iter().map(|file| file.records).sum())
}

fn context(pipeline: &PipelineSettings, number: usize) -> Result<FileContext, Failure> {
    Ok(FileContext {
        file: FileId(number as i64 + 1),
        path: RelativePath::new(b"input.ndjson")?,
        path_columns: Vec::new(),
        header: None,
        settings: pipeline.source.reading.clone(),
    })
}

/// An NDJSON file in pieces of whole lines.
struct Pieces {
    id: FileId,
    file: std::fs::File,
    rest: Vec<u8>,
    offset: u64,
    ended: bool,
}

impl Pieces {
    fn open(path: &str, number: usize) -> std::io::Result<Self> {
        Ok(Self {
            id: FileId(number as i64 + 1),
            file: std::fs::File::open(path)?,
            rest: Vec::new(),
            offset: 0,
            ended: false,
        })
    }

    fn next(&mut self) -> std::io::Result<Option<(Segment, Vec<u8>)>> {
        if self.ended {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.rest);
        let mut filled = bytes.len();
        bytes.resize(SEGMENT_BYTES, 0);
        while filled < bytes.len() {
            let n = self.file.read(&mut bytes[filled..])?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        bytes.truncate(filled);
        self.ended = filled < SEGMENT_BYTES;
        let end = match memchr::memrchr(b'\n', &bytes) {
            Some(at) if !self.ended => at + 1,
            _ => filled,
        };
        self.rest = bytes.split_off(end);
        let segment = Segment {
            file: self.id,
            from: self.offset,
            to: self.offset + bytes.len() as u64,
            line: 1,
            records: memchr::memchr_iter(b'\n', &bytes).count() as u64,
            last: self.ended,
            digest: Digest(0),
        };
        self.offset = segment.to;
        Ok(Some((segment, bytes)))
    }
}

fn row() -> FileRow {
    let path = RelativePath::new(b"input.ndjson").expect("a plain name");
    let stat = FileStat {
        inode: 1,
        device: 1,
        size: 0,
        mtime_ns: 0,
    };
    FileRow::fresh(FileId(1), path, stat, serde_json::Value::Null.into(), 0)
}
