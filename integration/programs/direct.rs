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

const SEGMENT_BYTES: usize = 4 << 20;

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
    let mut file = std::fs::File::open(input)?;
    let (mut rest, mut offset, mut inferred) = (Vec::new(), 0, false);
    loop {
        let mut bytes = std::mem::take(&mut rest);
        let from = bytes.len();
        bytes.resize(SEGMENT_BYTES, 0);
        let mut filled = from;
        while filled < bytes.len() {
            let n = file.read(&mut bytes[filled..])?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        bytes.truncate(filled);
        let last = filled < SEGMENT_BYTES;
        let end = if last {
            filled
        } else {
            memchr::memrchr(b'\n', &bytes).map_or(filled, |at| at + 1)
        };
        rest = bytes.split_off(end);
        let segment = Segment {
            file: FileId(1),
            from: offset,
            to: offset + bytes.len() as u64,
            line: 1,
            records: memchr::memchr_iter(b'\n', &bytes).count() as u64,
            last,
            digest: Digest(0),
        };
        if !inferred {
            let mut inference = Inference::new(&pipeline.schema);
            inference.observe(&context, &segment, &bytes);
            schemas.extend(|schema| inference.finish(schema));
            inferred = true;
        }
        offset = segment.to;
        lane.take(&SegmentData {
            context: Arc::clone(&context),
            row: Arc::clone(&row),
            segment,
            bytes: Arc::new(bytes),
            end: None,
        })?;
        if last {
            break;
        }
    }
    let result = lane.close()?;
    for file in &result.files {
        std::fs::File::open(std::path::Path::new(output).join(&file.staged))?.sync_all()?;
    }
    let records: u64 = result.files.iter().map(|file| file.records).sum();
    println!("{records}");
    Ok(())
}

fn row() -> FileRow {
    let path = RelativePath::new(b"input.ndjson").expect("a plain name");
    let stat = FileStat {
        inode: 1,
        device: 1,
        size: 0,
        mtime_ns: 0,
    };
    FileRow::fresh(FileId(1), path, stat, serde_json::Value::Null, 0)
}
