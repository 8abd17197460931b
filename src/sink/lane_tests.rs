//! What a lane leaves in staging, read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::*;
use crate::channel::SegmentData;
use crate::format::{Compression, CsvSettings, FileContext, InputFormat, ReadingSettings};
use crate::journal::FileRow;
use crate::protocol::{DataFile, DataFileKind, MembershipDigester};
use crate::schema::{
    DataType, Field, Names, NewColumns, Schema, SchemaMode, SchemaRegistry, SchemaSettings,
    TimestampUnit,
};
use crate::segment::{Digest, FileId, FileStat, RelativePath, Segment};

const MEMORY: usize = 64 << 20;

const PARQUET: OutputFormat = OutputFormat::Parquet {
    compat: Compat::Modern,
    codec: Codec::Snappy,
};

fn columns(columns: &[(&str, DataType)]) -> Schema {
    Schema {
        columns: columns
            .iter()
            .map(|(name, data_type)| Field {
                name: (*name).into(),
                key: (*name).into(),
                data_type: data_type.clone(),
                folds: false,
            })
            .collect(),
        path_columns: Vec::new(),
        metadata: Vec::new(),
        raw: false,
    }
}

fn registry(schema: Schema) -> SchemaRegistry {
    let settings = SchemaSettings {
        mode: SchemaMode::Columns,
        columns: Vec::new(),
        new_columns: NewColumns::Rescue,
        names: Names::Hive,
        timezone: "UTC".into(),
        timestamp_unit: TimestampUnit::Auto,
        metadata: Vec::new(),
        columns_max: 2000,
        path_columns: Vec::new(),
        partition_keys: Vec::new(),
    };
    let registry = SchemaRegistry::new(settings, None, schema);
    registry.settle();
    registry
}

fn context(
    dir: &Path,
    schema: Schema,
    path: &str,
    format: OutputFormat,
    bytes: u64,
) -> BatchContext {
    BatchContext {
        pipeline: "orders".into(),
        journal: JournalId(0xabc),
        batch: BatchNumber(7),
        batch_time_ns: 1_795_341_600_000_000_000,
        staging_dir: dir.to_owned(),
        write_back: false,
        settings: Arc::new(SinkSettings {
            path: path.into(),
            timezone: "UTC".into(),
            format,
            data_file_bytes: bytes,
            partitions_max: 1000,
            rejects: "_rejects/orders".into(),
            rejects_max: RejectsMax::Share(1.0),
            marker: String::new(),
        }),
        schemas: Arc::new(registry(schema)),
        numbers: Arc::new(AtomicU32::new(0)),
    }
}

/// The same batch, as another process would know it.
fn again(context: &BatchContext) -> BatchContext {
    BatchContext {
        schemas: Arc::new(registry((*context.schemas.current().1).clone())),
        numbers: Arc::new(AtomicU32::new(1000)),
        ..context.clone()
    }
}

fn segment(name: &str, from: u64, text: &str) -> SegmentData {
    let path = RelativePath::new(name.as_bytes()).unwrap();
    let context = FileContext {
        file: FileId(1),
        path: path.clone(),
        path_columns: Vec::new(),
        header: None,
        settings: ReadingSettings {
            format: InputFormat::Ndjson,
            compression: Compression::None,
            charset: "utf-8".into(),
            csv: CsvSettings {
                header: true,
                delimiter: b',',
                quote: b'"',
                null: String::new(),
                columns: Vec::new(),
                comment: None,
            },
            record_bytes_max: 16 << 20,
            decoded_bytes_max: 1 << 40,
            depth_max: 128,
            segment_bytes: crate::format::frame::SEGMENT_BYTES,
        },
    };
    let stat = FileStat {
        inode: 1,
        device: 1,
        size: 1,
        mtime_ns: 1,
    };
    let row = FileRow::fresh(FileId(1), path, stat, serde_json::Value::Null.into(), 0);
    SegmentData {
        context: Arc::new(context),
        row: Arc::new(row),
        segment: Segment {
            file: FileId(1),
            from,
            to: from + text.len() as u64,
            line: 1,
            records: text.lines().filter(|line| !line.trim().is_empty()).count() as u64,
            last: false,
            digest: Digest::of(text.as_bytes()),
        },
        bytes: Arc::new(text.as_bytes().to_vec().into()),
        end: None,
    }
}

fn run(context: &BatchContext, segments: &[SegmentData], memory: usize) -> LaneResult {
    let mut lane = Lane::open(context.clone(), 3, memory).unwrap();
    for segment in segments {
        lane.take(segment).unwrap();
    }
    lane.close().unwrap()
}

fn run_again(
    context: &BatchContext,
    planned: &[DataFile],
    segments: &[SegmentData],
    memory: usize,
) -> Result<Vec<(u32, crate::protocol::DataFileCopy)>, SinkError> {
    let mut segments = segments.iter();
    encode_again(again(context), 3, planned, memory, &mut || {
        Ok(segments.next().cloned())
    })
}

fn read(dir: &Path, file: &DataFile) -> Vec<RecordBatch> {
    let opened = File::open(dir.join(&file.staged)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(opened).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

fn integers(batches: &[RecordBatch], name: &str) -> Vec<i64> {
    let column = |batch: &RecordBatch| {
        let array = batch
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>()
            .clone();
        array.values().to_vec()
    };
    batches.iter().flat_map(column).collect()
}

/// Of a file of any format.
fn ids(dir: &Path, file: &DataFile) -> Vec<i64> {
    if file.path.ends_with(".parquet") {
        return integers(&read(dir, file), "id");
    }
    let text = gunzip(&dir.join(&file.staged));
    let id = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_i64();
    text.lines().map(|line| id(line).unwrap()).collect()
}

/// Length and digest are those of what stands in staging.
fn assert_staged(dir: &Path, files: &[DataFile]) {
    for file in files {
        let bytes = std::fs::read(dir.join(&file.staged)).unwrap();
        assert_eq!(file.copies.len(), 1);
        assert_eq!(file.copies[0].length, bytes.len() as u64);
        assert_eq!(file.copies[0].digest, Digest::of(&bytes));
    }
    let staged: BTreeSet<_> = files.iter().map(|file| file.staged.clone()).collect();
    let found: BTreeSet<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(staged, found, "nothing else is left in staging");
}

/// Rows that do not compress away: `id` and a text of its own.
fn noise(from: u64, rows: u64, region: impl Fn(u64) -> String) -> String {
    let mut text = String::new();
    for id in from..from + rows {
        let word = Digest::of(&id.to_le_bytes());
        text.push_str(&format!(
            "{{\"id\":{id},\"word\":\"{word}\",\"region\":{}}}\n",
            region(id)
        ));
    }
    text
}

fn noisy() -> Schema {
    columns(&[
        ("id", DataType::BigInt),
        ("word", DataType::String),
        ("region", DataType::String),
    ])
}

fn segments(count: u64, rows: u64, region: impl Fn(u64) -> String + Copy) -> Vec<SegmentData> {
    let mut from = 0;
    (0..count)
        .map(|at| {
            let text = noise(at * rows, rows, region);
            let data = segment("in.json", from, &text);
            from = data.segment.to;
            data
        })
        .collect()
}

#[test]
fn files_end_at_or_soon_after_their_size_in_every_format() {
    let formats = [
        PARQUET,
        OutputFormat::Parquet {
            compat: Compat::Hive,
            codec: Codec::Zstd(1),
        },
        OutputFormat::Ndjson { codec: Codec::None },
        OutputFormat::Ndjson { codec: Codec::Gzip },
        OutputFormat::Ndjson {
            codec: Codec::Zstd(3),
        },
    ];
    for format in formats {
        for size in [64 << 10, 100 << 10, 200 << 10, 350 << 10] {
            let dir = tempfile::tempdir().unwrap();
            let context = context(dir.path(), noisy(), "o", format, size);
            let result = run(&context, &segments(12, 5000, |_| "\"r\"".into()), MEMORY);
            assert_staged(dir.path(), &result.files);
            assert_eq!(
                result.files.iter().map(|file| file.records).sum::<u64>(),
                60_000
            );
            let (_, all_but_last) = result.files.split_last().unwrap();
            assert!(all_but_last.len() >= 2, "{format:?}");
            for file in all_but_last {
                let length = file.copies[0].length;
                assert!(length >= size, "{format:?}: {length} of {size}");
                assert!(length < size + size / 4, "{format:?}: {length} of {size}");
            }
        }
    }
}

#[test]
fn rows_go_to_their_partitions_in_their_order_and_the_partition_column_leaves_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), noisy(), "o/region={region}", PARQUET, 1 << 20);
    let region = |id| match id % 3 {
        0 => "\"eu\"".to_owned(),
        1 => "\"a/b\"".to_owned(),
        _ => "null".to_owned(),
    };
    let result = run(&context, &segments(4, 300, region), MEMORY);
    assert_staged(dir.path(), &result.files);
    let mut partitions = BTreeMap::new();
    for file in &result.files {
        let rows = read(dir.path(), file);
        assert!(rows[0].column_by_name("region").is_none());
        partitions.insert(file.partition.clone(), integers(&rows, "id"));
        let mut membership = MembershipDigester::default();
        for id in &partitions[&file.partition] {
            membership.push((id / 300) as u32, (id % 300) as u32);
        }
        assert_eq!(file.membership, membership.digest());
        assert_eq!(
            file.path,
            format!(
                "o/{}/orders-0000000000000abc-7-{}.parquet",
                file.partition, file.number
            )
        );
        assert_eq!(
            (file.lane, file.kind, file.schema_version),
            (3, DataFileKind::Data, 1)
        );
    }
    let expected = |rest| (0..1200).filter(|id| id % 3 == rest).collect::<Vec<i64>>();
    assert_eq!(partitions["region=eu"], expected(0));
    assert_eq!(partitions["region=a%2Fb"], expected(1));
    assert_eq!(partitions["region=__HIVE_DEFAULT_PARTITION__"], expected(2));
    assert_eq!(partitions.len(), 3);
}

#[test]
fn a_lane_without_records_makes_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), noisy(), "o", PARQUET, 1 << 20);
    let result = run(&context, &[segment("a", 0, "\n\n")], MEMORY);
    assert_eq!((result.files.len(), result.outcomes.len()), (0, 1));
    assert_eq!(result.outcomes[0].skipped_bytes, 2);
    assert_staged(dir.path(), &result.files);
}

#[test]
fn a_lane_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), noisy(), "o/{region}", PARQUET, 64 << 10);
    let mut lane = Lane::open(context, 0, 1 << 20).unwrap();
    for data in segments(8, 5000, |id| format!("\"{}\"", id % 5)) {
        lane.take(&data).unwrap();
    }
    let staged = || std::fs::read_dir(dir.path()).unwrap().count();
    assert!(staged() > 0);
    drop(lane);
    assert_eq!(staged(), 0);
}

#[test]
fn rejects_of_decoding_and_of_paths_stand_in_the_order_of_their_records_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), noisy(), "o/{region}", PARQUET, 1 << 20);
    let long = "x".repeat(201);
    let first = format!(
        "{{\"id\":0,\"region\":\"eu\"}}\n{{\"id\":1,\"region\":\"{long}\"}}\nno json\n\n{{\"id\":3,\"region\":\"eu\"}}\n"
    );
    let second = format!("bad\u{fffd}\n{{\"id\":1,\"region\":\"{long}\"}}\n");
    let data = [
        segment("a.json", 100, &first),
        segment("b.json", 0, &second),
    ];
    let result = run(&context, &data, MEMORY);
    assert_staged(dir.path(), &result.files);
    let rejected: Vec<u64> = result.outcomes.iter().map(|o| o.rejected).collect();
    assert_eq!(rejected, [2, 2]);
    let file = result
        .files
        .iter()
        .find(|f| f.kind == DataFileKind::Reject)
        .unwrap();
    assert_eq!(
        file.path,
        format!(
            "_rejects/orders/orders-0000000000000abc-7-{}.ndjson.gz",
            file.number
        )
    );
    assert_eq!(
        (file.records, file.partition.as_str()),
        (4, "_rejects/orders")
    );
    let mut membership = MembershipDigester::default();
    for (segment, ordinal) in [(0, 1), (0, 2), (1, 0), (1, 1)] {
        membership.push(segment, ordinal);
    }
    assert_eq!(file.membership, membership.digest());
    let text = gunzip(&dir.path().join(&file.staged));
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let first_bad = first.lines().nth(1).unwrap();
    assert_eq!(lines[0]["raw"], first_bad);
    assert_eq!(lines[0]["offset"], 100 + 23);
    assert_eq!(
        (&lines[0]["line"], &lines[0]["file"]),
        (&2.into(), &"a.json".into())
    );
    assert_eq!(lines[0]["bytes"], first_bad.len());
    assert!(lines[0]["reason"].as_str().unwrap().contains("201 bytes"));
    assert_eq!(lines[1]["raw"], "no json");
    assert_eq!(
        (&lines[2]["raw"], &lines[2]["batch"]),
        (&"bad\u{fffd}".into(), &7.into())
    );
    assert_eq!(lines[3]["raw_cut"], false);
    let data: u64 = result
        .files
        .iter()
        .filter(|f| f.kind == DataFileKind::Data)
        .map(|f| f.records)
        .sum();
    assert_eq!(data, 2);
    let again = run_again(
        &context,
        &result.files,
        &segments_of(&data_of(&first, &second)),
        MEMORY,
    )
    .unwrap();
    assert_eq!(again.len(), result.files.len());
}

fn data_of(first: &str, second: &str) -> [(String, String); 2] {
    [
        ("a.json".into(), first.into()),
        ("b.json".into(), second.into()),
    ]
}

fn segments_of(texts: &[(String, String)]) -> Vec<SegmentData> {
    texts
        .iter()
        .map(|(name, text)| segment(name, 100, text))
        .collect()
}

fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(File::open(path).unwrap());
    std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
    text
}

#[test]
fn a_file_encoded_again_by_other_segments_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), noisy(), "o/{region}", PARQUET, 64 << 10);
    let region = |id: u64| format!("\"{}\"", id % 2);
    let taken = segments(3, 3000, region);
    let result = run(&context, &taken, MEMORY);
    let other = |region: fn(u64) -> String| {
        let error = run_again(&context, &result.files, &segments(3, 3000, region), MEMORY);
        let error = error.unwrap_err();
        assert!(
            matches!(&error, SinkError::MembershipDiffers { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("encoder 1"), "{error}");
    };
    other(|id| format!("\"{}\"", (id + 1) % 2));
    other(|id| format!("\"{}\"", id % 3));
    other(|_| "\"0\"".into());
    let fewer = run_again(&context, &result.files, &taken[..2], MEMORY).unwrap_err();
    assert!(
        matches!(fewer, SinkError::MembershipDiffers { .. }),
        "{fewer}"
    );
    // What was staged is untouched by the attempts.
    assert_staged(dir.path(), &result.files);
}

#[test]
fn a_new_schema_version_begins_new_parquet_files_and_rows_that_waited_get_null_columns() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(
        dir.path(),
        columns(&[("id", DataType::BigInt)]),
        "o/{id}",
        PARQUET,
        1 << 30,
    );
    let mut lane = Lane::open(context.clone(), 3, 1 << 20).unwrap();
    let text = |from: u64| {
        let mut text = String::new();
        for id in from..from + 6000 {
            text.push_str(&format!("{{\"id\":{},\"new\":\"{id}\"}}\n", id % 2));
        }
        text
    };
    lane.take(&segment("a", 0, &text(0))).unwrap();
    context.schemas.extend(|schema| {
        schema.columns.push(Field {
            name: "new".into(),
            key: "new".into(),
            data_type: DataType::String,
            folds: false,
        });
    });
    lane.take(&segment("a", 0, &text(6000))).unwrap();
    let result = lane.close().unwrap();
    assert_staged(dir.path(), &result.files);
    let records: u64 = result.files.iter().map(|file| file.records).sum();
    assert_eq!(records, 12_000);
    for file in &result.files {
        let rows = read(dir.path(), file);
        assert_eq!(
            rows[0].column_by_name("new").is_some(),
            file.schema_version == 2
        );
    }
}

#[test]
fn ndjson_keeps_one_file_over_schema_versions_and_raw_records_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let format = OutputFormat::Ndjson { codec: Codec::Gzip };
    let schema = Schema {
        raw: true,
        ..columns(&[("region", DataType::String)])
    };
    let context = context(dir.path(), schema, "o/region={region}", format, 1 << 30);
    let text = "{\"region\" : \"eu\", \"x\":1e3}\n{ \"region\":\"eu\",\"y\":[ ] }\n";
    let result = run(&context, &[segment("a", 0, text)], MEMORY);
    assert_eq!(result.files.len(), 1);
    assert!(result.files[0].path.ends_with(".ndjson.gz"));
    assert_eq!(gunzip(&dir.path().join(&result.files[0].staged)), text);
}

#[test]
fn typed_ndjson_writes_every_column_of_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let format = OutputFormat::Ndjson { codec: Codec::None };
    let schema = columns(&[
        ("id", DataType::BigInt),
        ("at", DataType::Timestamp),
        ("s", DataType::String),
    ]);
    let context = context(dir.path(), schema, "o/dt={at:%Y-%m-%d}", format, 1 << 30);
    let text = "{\"id\":1,\"at\":\"2026-11-22T23:00:00-02:00\",\"s\":\"a\\\"\\n\"}\n{\"id\":2}\n";
    let result = run(&context, &[segment("a", 0, text)], MEMORY);
    let contents: Vec<(String, String)> = result
        .files
        .iter()
        .map(|f| {
            (
                f.partition.clone(),
                std::fs::read_to_string(dir.path().join(&f.staged)).unwrap(),
            )
        })
        .collect();
    assert_eq!(contents[0].0, "dt=2026-11-23");
    assert_eq!(
        contents[0].1,
        "{\"id\":1,\"at\":\"2026-11-23T01:00:00.000000Z\",\"s\":\"a\\\"\\n\",\"_rescued\":null}\n"
    );
    assert_eq!(contents[1].0, "dt=__HIVE_DEFAULT_PARTITION__");
    assert_eq!(
        contents[1].1,
        "{\"id\":2,\"at\":null,\"s\":null,\"_rescued\":null}\n"
    );
}

/// Columns of the widest case that memory is promised for.
fn wide(columns_count: usize) -> Schema {
    let mut fields = vec![("p".to_owned(), DataType::BigInt)];
    fields.extend((1..columns_count).map(|at| {
        let kind = if at % 2 == 0 {
            DataType::BigInt
        } else {
            DataType::String
        };
        (format!("c{at}"), kind)
    }));
    let named: Vec<(&str, DataType)> = fields
        .iter()
        .map(|(n, k)| (n.as_str(), k.clone()))
        .collect();
    columns(&named)
}

fn wide_rows(from: u64, rows: u64, partitions: u64, columns_count: u64) -> String {
    let mut text = String::new();
    for id in from..from + rows {
        text.push_str(&format!("{{\"p\":{}", id % partitions));
        for at in 1..columns_count {
            let value = id.wrapping_mul(at * 2_654_435_761);
            let quote = if at % 2 == 0 { "" } else { "\"" };
            text.push_str(&format!(",\"c{at}\":{quote}{}{quote}", value >> 16));
        }
        text.push_str("}\n");
    }
    text
}

#[test]
fn a_thousand_partitions_of_fifteen_columns_stay_within_the_lanes_memory() {
    for memory in [24 << 20, 48 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let context = context(dir.path(), wide(15), "o/p={p}", PARQUET, 128 << 20);
        let mut lane = Lane::open(context.clone(), 3, memory).unwrap();
        let (mut at, mut full_at) = (0, None);
        while at < 40_000 && full_at.is_none() {
            lane.take(&segment("a", 0, &wide_rows(at, 4000, 1000, 15)))
                .unwrap();
            at += 4000;
            let gauge = lane.gauge();
            assert!(gauge.memory_bytes <= memory as u64, "{gauge:?}");
            assert!(gauge.partitions <= 1000);
            full_at = gauge.full.then_some(at);
        }
        let result = lane.close().unwrap();
        assert_eq!(result.files.len(), 1000);
        assert_eq!(
            result.files.iter().map(|file| file.records).sum::<u64>(),
            at
        );
        assert_staged(dir.path(), &result.files);
    }
}

#[test]
fn one_segment_of_more_partitions_than_fit_memory_is_landed_with_files_closed_early() {
    let dir = tempfile::tempdir().unwrap();
    let memory = 1 << 20;
    let context = context(dir.path(), noisy(), "o/{id}", PARQUET, 1 << 20);
    let mut taken = segments(8, 100, |_| "\"r\"".into());
    let mut lane = Lane::open(context.clone(), 3, memory).unwrap();
    let full_after = taken.iter().position(|segment| {
        lane.take(segment).unwrap();
        lane.gauge().full
    });
    // The last segments may still wait in the decoder; whatever was taken is landed.
    taken.truncate(full_after.map_or(taken.len(), |last| last + 1));
    let partitions = taken.len() * 100;
    let result = lane.close().unwrap();
    assert_staged(dir.path(), &result.files);
    assert_eq!(result.files.len(), partitions);
    let copies = run_again(&context, &result.files, &taken, memory).unwrap();
    assert_eq!(copies.len(), partitions);
}

#[test]
fn a_lane_can_be_moved_to_its_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<Lane>();
}

#[test]
fn a_full_disk_passes_and_other_faults_name_their_file() {
    use crate::format::encode::EncodeError;
    use crate::lake::ErrorClass;
    let path = Path::new("/s/.orders-7-0.staged");
    let full = EncodeError::Io(std::io::ErrorKind::StorageFull.into());
    let error = SinkError::encode(path, full);
    assert_eq!(error.class(), ErrorClass::Transient);
    assert!(
        error.to_string().contains("`/s/.orders-7-0.staged`"),
        "{error}"
    );
    let denied = EncodeError::Io(std::io::ErrorKind::PermissionDenied.into());
    let error = SinkError::encode(path, denied);
    assert_eq!(error.class(), ErrorClass::Permanent);
    assert!(
        error
            .to_string()
            .starts_with("write `/s/.orders-7-0.staged`"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// I1 within the lane: whatever the sizes, partitions and memory, every record is in exactly one file or reject, in
    /// order, and encoding again finds the same members in the same files.
    #[test]
    fn every_record_is_in_one_file_and_encoding_again_agrees(
        partitions in 1_u64..40,
        rows in 1_u64..3000,
        segment_count in 1_u64..5,
        size in 2_000_u64..200_000,
        memory in 1_usize..40,
        bad in 2_u64..500,
        format in prop_oneof![
            Just(PARQUET),
            Just(OutputFormat::Parquet { compat: Compat::Hive, codec: Codec::Gzip }),
            Just(OutputFormat::Ndjson { codec: Codec::Gzip }),
        ],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let context = context(dir.path(), noisy(), "o/r={region}", format, size);
        let region = |id: u64| {
            let value = if id % bad == 1 { "y".repeat(300) } else { (id * id % partitions).to_string() };
            format!("\"{value}\"")
        };
        let taken = segments(segment_count, rows, region);
        let result = run(&context, &taken, memory << 18);
        assert_staged(dir.path(), &result.files);

        let mut seen = BTreeSet::new();
        for file in result.files.iter().filter(|f| f.kind == DataFileKind::Data) {
            let ids = ids(dir.path(), file);
            prop_assert_eq!(ids.len() as u64, file.records);
            prop_assert!(ids.is_sorted());
            seen.extend(ids);
        }
        let rejected: u64 = result.outcomes.iter().map(|o| o.rejected).sum();
        prop_assert_eq!(seen.len() as u64 + rejected, rows * segment_count);

        for file in &result.files {
            std::fs::remove_file(dir.path().join(&file.staged)).unwrap();
        }
        let copies = run_again(&context, &result.files, &taken, 8 << 20).unwrap();
        prop_assert_eq!(copies.len(), result.files.len());
        for (number, copy) in copies {
            let file = result.files.iter().find(|f| f.number == number).unwrap();
            let bytes = std::fs::read(dir.path().join(&file.staged)).unwrap();
            prop_assert_eq!(copy.digest, Digest::of(&bytes));
            if file.kind == DataFileKind::Data {
                let ids = ids(dir.path(), file);
                prop_assert_eq!(ids.len() as u64, file.records);
            }
        }
    }
}
