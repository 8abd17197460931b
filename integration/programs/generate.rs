//! Makes sample input, the same for the same arguments:
//! `generate events|csv|wide|small|demo DIR [--bytes N] [--parts N] [--partitions N] [--files N] [--seed N]`.
//!
//! ```text
//! events   NDJSON of about --bytes in --parts files (1): records of 400 to 500 bytes, numbered from 0, of --partitions shops (500)
//! csv      the same without array and nesting, quoted where it must be
//! wide     NDJSON of 200 columns, `part` one of --partitions
//! small    --files NDJSON files of about 1 KB each, records numbered over all of them
//! demo     a varied little spool: plain and compressed NDJSON, CSV, a few broken lines
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A small generator of numbers that look random (`xorshift64*`), so that every run makes the same bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

const REGIONS: [&str; 6] = [
    "eu-north", "eu-west", "us-east", "us-west", "ap-south", "sa-east",
];
const ACTIONS: [&str; 8] = [
    "view",
    "click",
    "add_to_cart",
    "remove",
    "checkout",
    "pay",
    "refund",
    "search",
];
const WORDS: [&str; 16] = [
    "quiet",
    "harbour",
    "ledger",
    "\\\"quoted\\\"",
    "naïve",
    "river",
    "line\\nbreak",
    "tab\\tstop",
    "granite",
    "lantern",
    "orchard",
    "violet",
    "C:\\\\temp",
    "mönch",
    "signal",
    "drift",
];

/// Columns of the wide records.
const COLUMNS: u64 = 200;
const SHOPS: u64 = 500;

fn event(random: &mut Random, id: u64, shops: u64, out: &mut String) {
    use std::fmt::Write;
    let second = id % 86_400;
    let day = 1 + (id / 7_919) % 28;
    out.clear();
    let written = write!(
        out,
        r#"{{"id":{id},"created_at":"2026-10-{day:02}T{:02}:{:02}:{:02}.{:03}Z","region":"{}","shop":"s{:03}","action":"{}","user_id":{},"session":"{:016x}{:08x}","amount":{}.{:02},"quantity":{},"ok":{},"message":""#,
        second / 3600,
        second / 60 % 60,
        second % 60,
        random.below(1000),
        random.pick(&REGIONS),
        random.below(shops),
        random.pick(&ACTIONS),
        random.below(5_000_000),
        random.next(),
        random.next() as u32,
        random.below(1000),
        random.below(100),
        1 + random.below(9),
        random.below(10) != 0,
    );
    written.expect("writing to a string");
    for n in 0..14 + random.below(8) {
        if n > 0 {
            out.push(' ');
        }
        out.push_str(random.pick(&WORDS));
    }
    write!(
        out,
        r#"","device":{{"os":"{}","model":"m{}","width":{},"dpi":{}.5}},"tags":["#,
        random.pick(&["android", "ios", "linux", "windows"]),
        random.below(300),
        320 + random.below(2000),
        100 + random.below(300),
    )
    .expect("writing to a string");
    for n in 0..random.below(4) {
        if n > 0 {
            out.push(',');
        }
        write!(
            out,
            "\"{}\"",
            random.pick(&["new", "sale", "vip", "gift", "beta"])
        )
        .expect("writing to a string");
    }
    out.push_str("]}\n");
}

const CSV_HEADER: &str = "id,created_at,region,shop,action,user_id,session,amount,quantity,ok,message,os,model,width,dpi\n";

fn csv_row(random: &mut Random, id: u64, _: u64, out: &mut String) {
    use std::fmt::Write;
    let second = id % 86_400;
    out.clear();
    write!(
        out,
        "{id},2026-10-{:02} {:02}:{:02}:{:02}.{:03},{},s{:03},{},{},{:016x}{:08x},{}.{:02},{},{},\"",
        1 + (id / 7_919) % 28,
        second / 3600,
        second / 60 % 60,
        second % 60,
        random.below(1000),
        random.pick(&REGIONS),
        random.below(SHOPS),
        random.pick(&ACTIONS),
        random.below(5_000_000),
        random.next(),
        random.next() as u32,
        random.below(1000),
        random.below(100),
        1 + random.below(9),
        random.below(10) != 0,
    )
    .expect("writing to a string");
    for n in 0..14 + random.below(8) {
        if n > 0 {
            out.push_str(if n % 5 == 0 { ", " } else { " " });
        }
        match random.pick(&WORDS) {
            word if word.starts_with('\\') => out.push_str("\"\"quoted\"\""),
            word => out.push_str(word),
        }
    }
    writeln!(
        out,
        "\",{},m{},{},{}.5",
        random.pick(&["android", "ios", "linux", "windows"]),
        random.below(300),
        320 + random.below(2000),
        100 + random.below(300),
    )
    .expect("writing to a string");
}

fn wide_record(random: &mut Random, id: u64, parts: u64, out: &mut String) {
    use std::fmt::Write;
    out.clear();
    let start = write!(
        out,
        r#"{{"id":{id},"created_at":"2026-10-{:02}T10:{:02}:{:02}Z","part":"p{:03}""#,
        1 + id % 28,
        id / 60 % 60,
        id % 60,
        random.below(parts),
    );
    start.expect("writing to a string");
    for n in 3..COLUMNS {
        let value = match n % 5 {
            0 => write!(out, r#","c{n:03}":{}"#, random.below(1 << (n % 40))),
            1 => write!(
                out,
                r#","c{n:03}":{}.{:03}"#,
                random.below(10_000),
                random.below(1000)
            ),
            2 => write!(
                out,
                r#","c{n:03}":"{}-{}""#,
                random.pick(&ACTIONS),
                random.below(1000)
            ),
            3 => write!(out, r#","c{n:03}":{}"#, random.below(2) == 0),
            _ if random.below(3) == 0 => write!(out, r#","c{n:03}":null"#),
            _ => write!(out, r#","c{n:03}":"{}""#, random.pick(&REGIONS)),
        };
        value.expect("writing to a string");
    }
    out.push_str("}\n");
}

/// A record's text: of which number, with how many partitions.
type Make = fn(&mut Random, u64, u64, &mut String);

/// What one run is asked to make.
struct Asked {
    bytes: u64,
    parts: u64,
    partitions: u64,
    files: u64,
    seed: u64,
}

/// `name.end`, or `name-00.end` and so on, each beginning with `header`.
fn parts(dir: &Path, name: &str, header: &str, make: Make, asked: &Asked) -> io::Result<()> {
    let mut random = Random(asked.seed | 1);
    let (stem, end) = name.split_once('.').expect("a name with an ending");
    let (mut line, mut id) = (String::new(), 0);
    for part in 0..asked.parts {
        let path = match asked.parts {
            1 => dir.join(name),
            _ => dir.join(format!("{stem}-{part:02}.{end}")),
        };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(header.as_bytes())?;
        let mut written = header.len() as u64;
        while written < asked.bytes / asked.parts {
            make(&mut random, id, asked.partitions, &mut line);
            file.write_all(line.as_bytes())?;
            written += line.len() as u64;
            id += 1;
        }
        file.flush()?;
    }
    println!("{id}");
    Ok(())
}

fn small(dir: &Path, files: u64, seed: u64) -> io::Result<()> {
    let mut random = Random(seed | 1);
    let (mut line, mut text, mut id) = (String::new(), String::new(), 0);
    for n in 0..files {
        text.clear();
        while text.len() < 700 {
            event(&mut random, id, SHOPS, &mut line);
            text.push_str(&line);
            id += 1;
        }
        fs::write(dir.join(format!("{n:07}.ndjson")), &text)?;
    }
    println!("{id}");
    Ok(())
}

fn lines(random: &mut Random, from: u64, count: u64) -> Vec<u8> {
    let (mut line, mut text) = (String::new(), Vec::new());
    for id in from..from + count {
        event(random, id, SHOPS, &mut line);
        text.extend_from_slice(line.as_bytes());
    }
    text
}

fn demo(dir: &Path, seed: u64) -> io::Result<()> {
    let mut random = Random(seed | 1);
    let (events, readings) = (dir.join("events"), dir.join("readings"));
    fs::create_dir_all(&events)?;
    fs::create_dir_all(&readings)?;
    fs::write(events.join("monday.ndjson"), lines(&mut random, 0, 20_000))?;
    let mut gzip = flate2::write::GzEncoder::new(
        File::create(events.join("tuesday.ndjson.gz"))?,
        flate2::Compression::new(6),
    );
    gzip.write_all(&lines(&mut random, 20_000, 20_000))?;
    gzip.finish()?;
    let zstd = zstd::stream::encode_all(&lines(&mut random, 40_000, 20_000)[..], 3)?;
    fs::write(events.join("wednesday.ndjson.zst"), zstd)?;
    let mut broken = lines(&mut random, 60_000, 50);
    broken.extend_from_slice(
        b"{\"id\": 60050, \"created_at\": \"2026-10-01T00:00:00Z\", \"region\": \n",
    );
    broken.extend_from_slice(b"this line is no JSON at all\n");
    broken.extend_from_slice(b"{\"id\":\"not a number\",\"created_at\":\"2026-10-02T00:00:00Z\",\"region\":\"eu-west\"}\n");
    broken.extend_from_slice(&lines(&mut random, 60_052, 50));
    fs::write(events.join("thursday-with-broken-lines.ndjson"), broken)?;
    for n in 0..200 {
        fs::write(
            events.join(format!("tiny-{n:03}.ndjson")),
            lines(&mut random, 70_000 + n * 2, 2),
        )?;
    }
    let mut csv = String::from("station,measured_at,temperature,comment\r\n");
    for n in 0..5_000 {
        let comment = if n % 997 == 0 {
            "\"two\nlines, \"\"quoted\"\"\""
        } else {
            "ok"
        };
        csv.push_str(&format!(
            "st-{:02},2026-10-{:02} 0{}:30:00,{}.{},{comment}\r\n",
            random.below(20),
            1 + random.below(28),
            random.below(10),
            random.below(30),
            random.below(10)
        ));
    }
    fs::write(readings.join("stations.csv"), csv)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    let dir = PathBuf::from(arguments.next().unwrap_or_default());
    let mut asked = Asked {
        bytes: 100 << 20,
        parts: 1,
        partitions: SHOPS,
        files: 1000,
        seed: 1,
    };
    while let Some(name) = arguments.next() {
        let value: u64 = arguments
            .next()
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| io::Error::other(format!("`{name}` takes a number")))?;
        match name.as_str() {
            "--bytes" => asked.bytes = value,
            "--parts" => asked.parts = value.max(1),
            "--partitions" => asked.partitions = value.max(1),
            "--files" => asked.files = value,
            "--seed" => asked.seed = value,
            _ => {
                return Err(io::Error::other(format!(
                    "`{name}` is not known: --bytes, --parts, --partitions, --files, --seed are"
                )));
            }
        }
    }
    fs::create_dir_all(&dir)?;
    match kind.as_str() {
        "events" => parts(&dir, "events.ndjson", "", event, &asked),
        "csv" => parts(&dir, "events.csv", CSV_HEADER, csv_row, &asked),
        "wide" => parts(&dir, "wide.ndjson", "", wide_record, &asked),
        "small" => small(&dir, asked.files, asked.seed),
        "demo" => demo(&dir, asked.seed),
        _ => Err(io::Error::other(format!(
            "`{kind}` is not known: events, csv, wide, small, demo are"
        ))),
    }
}
