//! Events as `make bench` has them, in segments; few enough that all paths together take a minute under callgrind.

use std::fmt::Write;
use std::sync::Arc;

use lakeward::channel::SegmentData;
use lakeward::format::{Compression, CsvSettings, FileContext, InputFormat, ReadingSettings};
use lakeward::journal::FileRow;
use lakeward::schema::{
    Names, NewColumns, SchemaMode, SchemaRegistry, SchemaSettings, TimestampUnit, first_schema,
    parse_type,
};
use lakeward::segment::{Digest, FileId, FileStat, RelativePath, Segment};

/// Bytes of NDJSON.
pub const BYTES: usize = 2 << 20;
const SEGMENT_BYTES: usize = 256 << 10;

/// Numbers that look random (`xorshift64*`), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

const WORDS: [&str; 8] = [
    "harbour",
    "\\\"quoted\\\"",
    "naïve",
    "line\\nbreak",
    "granite",
    "C:\\\\temp",
    "of",
    "signal",
];

pub fn events() -> Vec<u8> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut out = String::with_capacity(BYTES + 1024);
    let mut id = 0;
    while out.len() < BYTES {
        event(&mut random, id, &mut out).expect("writing to a string");
        id += 1;
    }
    out.into_bytes()
}

fn event(random: &mut Random, id: u64, out: &mut String) -> std::fmt::Result {
    write!(
        out,
        r#"{{"id":{id},"created_at":"2026-10-{:02}T{:02}:{:02}:{:02}.{:03}Z","region":"{}","shop":"s{:03}","user_id":{},"session":"{:012x}{:012x}","amount":{}.{:02},"quantity":{},"ok":{},"message":""#,
        1 + id / 400 % 28,
        random.below(24),
        random.below(60),
        random.below(60),
        random.below(1000),
        random.pick(&["eu-north", "eu-west", "us-east", "ap-south"]),
        random.below(500),
        random.below(5_000_000),
        random.below(1 << 48),
        random.below(1 << 48),
        random.below(1000),
        random.below(100),
        1 + random.below(9),
        random.below(10) != 0,
    )?;
    for n in 0..14 + random.below(8) {
        out.push_str(if n > 0 { " " } else { "" });
        out.push_str(random.pick(&WORDS));
    }
    write!(
        out,
        r#"","device":{{"os":"{}","width":{},"dpi":{}.5}},"tags":["#,
        random.pick(&["android", "ios", "linux"]),
        320 + random.below(2000),
        100 + random.below(300),
    )?;
    for n in 0..random.below(4) {
        out.push_str(if n > 0 { "," } else { "" });
        write!(out, "\"{}\"", random.pick(&["new", "sale", "vip"]))?;
    }
    out.push_str("]}\n");
    Ok(())
}

pub fn reading() -> ReadingSettings {
    ReadingSettings {
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
        decoded_bytes_max: 0,
        depth_max: 128,
        segment_bytes: SEGMENT_BYTES,
    }
}

pub fn schema() -> SchemaSettings {
    let columns = [
        ("id", "bigint"),
        ("created_at", "timestamp"),
        ("region", "string"),
        ("shop", "string"),
        ("user_id", "bigint"),
        ("session", "string"),
        ("amount", "double"),
        ("quantity", "bigint"),
        ("ok", "boolean"),
        ("message", "string"),
        ("device", "struct<os:string,width:bigint,dpi:double>"),
        ("tags", "array<string>"),
    ];
    SchemaSettings {
        mode: SchemaMode::Columns,
        columns: columns
            .iter()
            .map(|(name, t)| ((*name).to_owned(), parse_type(t).expect("a type")))
            .collect(),
        new_columns: NewColumns::Rescue,
        names: Names::Hive,
        timezone: "UTC".into(),
        timestamp_unit: TimestampUnit::Auto,
        metadata: Vec::new(),
        columns_max: 2000,
        path_columns: Vec::new(),
        partition_keys: Vec::new(),
    }
}

pub fn registry() -> Arc<SchemaRegistry> {
    let settings = schema();
    let first = first_schema(&settings);
    let registry = SchemaRegistry::new(settings, None, first);
    registry.settle();
    Arc::new(registry)
}

/// The events as segments of one file, cut at whole lines.
pub fn segments() -> Vec<SegmentData> {
    let path = RelativePath::new(b"events.ndjson").expect("a path");
    let context = Arc::new(FileContext {
        file: FileId(1),
        path: path.clone(),
        path_columns: Vec::new(),
        header: None,
        settings: reading(),
    });
    let stat = FileStat {
        inode: 1,
        device: 1,
        size: BYTES as u64,
        mtime_ns: 1,
    };
    let row = FileRow::fresh(FileId(1), path, stat, serde_json::Value::Null.into(), 0);
    let row = Arc::new(row);
    let events = events();
    let mut segments = Vec::new();
    let mut rest = &events[..];
    while !rest.is_empty() {
        let end = match rest.get(..SEGMENT_BYTES) {
            Some(start) => start
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1),
            None => rest.len(),
        };
        let (bytes, after) = rest.split_at(end);
        let from = (events.len() - rest.len()) as u64;
        rest = after;
        segments.push(SegmentData {
            context: Arc::clone(&context),
            row: Arc::clone(&row),
            segment: Segment {
                file: FileId(1),
                from,
                to: from + bytes.len() as u64,
                line: 1,
                records: memchr::memchr_iter(b'\n', bytes).count() as u64,
                last: after.is_empty(),
                digest: Digest::of(bytes),
            },
            bytes: Arc::new(bytes.to_vec().into()),
            end: None,
        });
    }
    segments
}
