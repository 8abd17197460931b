//! The hot paths. Each is made ready for so many times, and then gone once per call.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arrow::array::RecordBatch;
use lakeward::format::decode::{DecodeContext, Decoder, Inference, arrow_schema};
use lakeward::format::encode::{Encoder, Layout};
use lakeward::format::frame::Framer;
use lakeward::journal::Journal;
use lakeward::journal::conformance::{LAKE, PIPELINE, SPOOL, request, row};
use lakeward::journal::sqlite::SqliteJournal;
use lakeward::segment::{BatchNumber, JournalId};
use lakeward::sink::{BatchContext, Codec, Compat, Lane, OutputFormat, RejectsMax, SinkSettings};

use crate::input;

/// One time along a path.
pub type Go = Box<dyn FnMut()>;

/// Its name, and what makes it ready for so many times.
pub type Path = (&'static str, fn(usize) -> Go);

pub const PATHS: &[Path] = &[
    ("frame", frame),
    ("infer", infer),
    ("decode", decode),
    ("encode_parquet_zstd", encode_parquet_zstd),
    ("encode_parquet_hive_snappy", encode_parquet_hive_snappy),
    ("encode_ndjson_zstd", encode_ndjson_zstd),
    ("lane", lane),
    ("lane_partitioned", lane_partitioned),
    ("journal_stage", journal_stage),
    ("journal_commit", journal_commit),
];

/// Bytes into segments, digests and all.
fn frame(_: usize) -> Go {
    let events = input::events();
    Box::new(move || {
        let mut framer = Framer::new(&input::reading(), 0, events.len() as u64);
        let mut segments = 0;
        for chunk in events.chunks(256 << 10) {
            framer.push(chunk);
            while framer.pop().is_some() {
                segments += 1;
            }
        }
        framer.finish(false);
        black_box(segments);
    })
}

/// The first pass over records whose schema is to be found.
fn infer(_: usize) -> Go {
    let segments = input::segments();
    let settings = input::schema();
    Box::new(move || {
        let mut inference = Inference::new(&settings);
        for data in &segments {
            inference.observe(&data.context, &data.segment, &data.bytes);
        }
        black_box(inference.records());
    })
}

fn decoder() -> Decoder {
    let context = DecodeContext {
        batch: BatchNumber(1),
        batch_time_ns: 0,
    };
    Decoder::new(input::registry(), context)
}

fn decode(_: usize) -> Go {
    let segments = input::segments();
    let mut decoder = decoder();
    Box::new(move || {
        for (at, data) in segments.iter().enumerate() {
            decoder.decode(
                at as u32,
                &data.context,
                &data.segment,
                &data.bytes,
                &mut |reject| panic!("{}", reject.reason),
            );
        }
        black_box(decoder.take());
    })
}

fn encode_parquet_zstd(_: usize) -> Go {
    encode(OutputFormat::Parquet {
        compat: Compat::Modern,
        codec: Codec::Zstd(1),
    })
}

fn encode_parquet_hive_snappy(_: usize) -> Go {
    encode(OutputFormat::Parquet {
        compat: Compat::Hive,
        codec: Codec::Snappy,
    })
}

fn encode_ndjson_zstd(_: usize) -> Go {
    encode(OutputFormat::Ndjson {
        codec: Codec::Zstd(1),
    })
}

/// Rows that are decoded already.
fn encode(format: OutputFormat) -> Go {
    let mut decoder = decoder();
    for (at, data) in input::segments().iter().enumerate() {
        decoder.decode(
            at as u32,
            &data.context,
            &data.segment,
            &data.bytes,
            &mut |reject| panic!("{}", reject.reason),
        );
    }
    let decoded = decoder.take();
    let layout =
        Layout::new(format, arrow_schema(&decoded.schema), &[], false).expect("a layout of these");
    Box::new(move || {
        let mut encoder = Encoder::open(&layout, Vec::new()).expect("an encoder");
        for batch in slices(&decoded.batch) {
            encoder.write(&batch).expect("rows are encoded");
        }
        black_box(encoder.finish().expect("the file ends").len());
    })
}

/// Rows as a lane hands them over.
fn slices(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    const ROWS: usize = 8192;
    (0..batch.num_rows())
        .step_by(ROWS)
        .map(|from| batch.slice(from, ROWS.min(batch.num_rows() - from)))
}

fn lane(_: usize) -> Go {
    through_lane("all")
}

fn lane_partitioned(_: usize) -> Go {
    through_lane("all/day={created_at:%Y-%m-%d}/region={region}")
}

/// Segments to staged files.
fn through_lane(path: &str) -> Go {
    let segments = input::segments();
    let staging = tempfile::tempdir().expect("a directory");
    let settings = Arc::new(SinkSettings {
        path: path.to_owned(),
        timezone: "UTC".into(),
        format: OutputFormat::Parquet {
            compat: Compat::Modern,
            codec: Codec::Zstd(1),
        },
        data_file_bytes: 128 << 20,
        partitions_max: 1000,
        rejects: "_rejects".into(),
        rejects_max: RejectsMax::Count(0),
        marker: String::new(),
    });
    let schemas = input::registry();
    let mut batch = 0;
    Box::new(move || {
        batch += 1;
        let context = BatchContext {
            pipeline: "events".into(),
            journal: JournalId(1),
            batch: BatchNumber(batch),
            batch_time_ns: 0,
            staging_dir: staging.path().to_owned(),
            write_back: false,
            settings: Arc::clone(&settings),
            schemas: Arc::clone(&schemas),
            numbers: Arc::new(AtomicU32::new(0)),
        };
        let mut lane = Lane::open(context, 0, 128 << 20).expect("a lane");
        for data in &segments {
            lane.take(data).expect("a segment is taken");
        }
        black_box(lane.close().expect("the lane is closed").files.len());
    })
}

/// Files of one batch.
const FILES: usize = 1000;

fn journal() -> (tempfile::TempDir, SqliteJournal) {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = SqliteJournal::open(dir.path()).expect("a journal");
    journal.pipeline(PIPELINE, SPOOL, LAKE).expect("a pipeline");
    (dir, journal)
}

/// A batch of many small files, each of one segment.
fn batch(journal: &SqliteJournal, number: u64) -> lakeward::journal::StageRequest {
    let rows: Vec<_> = (0..FILES)
        .map(|at| row(journal, &format!("{number}/{at:05}.ndjson"), 1000))
        .collect();
    let parts: Vec<_> = rows.iter().map(|row| (row, 0, 1000)).collect();
    request(journal, number, &parts)
}

fn journal_stage(times: usize) -> Go {
    let (dir, journal) = journal();
    let mut batches: Vec<_> = (1..=times as u64).map(|n| batch(&journal, n)).collect();
    batches.reverse();
    Box::new(move || {
        let _dir = &dir;
        let batch = batches.pop().expect("as many as were asked for");
        journal.stage(batch).expect("the batch is staged");
    })
}

/// The commit, and what follows when the files were retired.
fn journal_commit(times: usize) -> Go {
    let (dir, journal) = journal();
    let mut staged = Vec::new();
    for number in 1..=times as u64 {
        let batch = batch(&journal, number);
        staged.push((
            number,
            batch.files.iter().map(|row| row.id).collect::<Vec<_>>(),
        ));
        journal.stage(batch).expect("the batch is staged");
    }
    staged.reverse();
    Box::new(move || {
        let _dir = &dir;
        let (number, files) = staged.pop().expect("as many as were asked for");
        let number = BatchNumber(number);
        let committed = journal.commit(PIPELINE, number, &[], &[]);
        committed.expect("the batch is committed");
        journal.done(PIPELINE, number).expect("the batch is done");
        journal.retired(&files).expect("the files are retired");
    })
}
