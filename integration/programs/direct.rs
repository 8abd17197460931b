//! The yardstick of `make bench`: the same decoder, encoder and one thread, writing one synced Parquet file, with no journal,
//! digest of segments, channel, manifest or commit. `direct INPUT.ndjson OUTPUT_DIR`.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use lakeward::channel::SegmentData;
use lakeward::config::load;
use lakeward::format::{FileContext, decode::Inference};
use lakeward::journal::FileRow;
use lakeward::schema::{self, SchemaRegistry};
use lakeward::segment::{BatchNumber, Digest, FileId, FileStat, JournalId, RelativePath, Segment};
use lakeward::sink::{BatchContext, Lane};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEGMENT_BYTES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let (config, input, output) = (&arguments[1], &arguments[2], &arguments[3]);
    let config = load(std::path::Path::new(config))?;
    let pipeline = &config.pipelines[0];
    let context = Arc::new(FileContext {
        file: FileId(1),
        path: RelativePath::new(b"input.ndjson")?,
        path_columns: Vec::new(),
        header: None,
        settings: pipeline.source.reading.clone(),
    });
    let first = schema::first_schema(&pipeline.schema);
    let schemas = Arc::new(SchemaRegistry::new(pipeline.schema.clone(), None, first));
    std::fs::create_dir_all(output)?;
    let mut lane = Lane::open(
        BatchContext {
            pipeline: "direct".into(),
            journal: JournalId(1),
            batch: BatchNumber(1),
            batch_time_ns: 0,
            staging_dir: output.into(),
            settings: Arc::new(pipeline.sink.clone()),
            schemas: Arc::clone(&schemas),
            numbers: Arc::new(AtomicU32::new(0)),
        },
        0,
        config.agent.memory as usize / 2,
    )?;
    let row = Arc::new(row());
    // The first pass is part of landing anything, so it is paid for here too.
    let mut inference = Inference::new(&pipeline.schema);
    let mut pieces = Pieces::open(input)?;
    while let Some((segment, bytes)) = pieces.next()? {
        inference.observe(&context, &segment, &bytes);
        if inference.records() >= 100_000 || segment.to >= 64 << 20 {
            break;
        }
    }
    schemas.extend(|schema| inference.finish(schema));
    let mut pieces = Pieces::open(input)?;
    while let Some((segment, bytes)) = pieces.next()? {
        lane.take(&SegmentData {
            context: Arc::clone(&context),
            row: Arc::clone(&row),
            segment,
            bytes: Arc::new(bytes),
            end: None,
        })?;
    }
    let result = lane.close()?;
    for file in &result.files {
        std::fs::File::open(std::path::Path::new(output).join(&file.staged))?.sync_all()?;
    }
    let records: u64 = result.files.iter().map(|file| file.records).sum();
    println!("{records}");
    Ok(())
}

/// An NDJSON file in pieces of whole lines.
struct Pieces {
    file: std::fs::File,
    rest: Vec<u8>,
    offset: u64,
    ended: bool,
}

impl Pieces {
    fn open(path: &str) -> std::io::Result<Self> {
        Ok(Self {
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
            file: FileId(1),
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
