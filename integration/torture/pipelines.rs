//! The pipelines of a round: together they have every way of reading, keeping, writing and retiring, in turn.

use std::io::Write;

use crate::support::Site;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    Ndjson,
    Csv,
    Gzip,
}

#[derive(Clone, Debug)]
pub struct Pipeline {
    pub name: String,
    pub input: Input,
    pub retire: &'static str,
    journal: &'static str,
    output: &'static str,
}

/// `count` pipelines; which kinds meet changes with the round.
pub fn of_round(round: u64, count: u64) -> Vec<Pipeline> {
    let of = |at: u64| Pipeline {
        name: format!("p{at}"),
        input: [Input::Ndjson, Input::Csv, Input::Gzip][((round + at) % 3) as usize],
        retire: ["rename", "move", "delete", "keep"][((round + at) % 4) as usize],
        journal: ["offsets", "payload"][((round / 4 + at) % 2) as usize],
        output: ["parquet", "ndjson"][((round / 2 + at / 2) % 2) as usize],
    };
    (0..count).map(of).collect()
}

/// Writes the configuration and makes the spools; all is below `under`, which is empty or ends with `/`.
pub fn configure(site: &Site, under: &str, lake: &str, pipelines: &[Pipeline]) {
    let mut text = format!(
        "[agent]\nstate_dir = \"{under}var\"\nfree_bytes_min = 0\nlanes = 2\nstop_after = \"2s\"\n[lake]\n{lake}"
    );
    for pipeline in pipelines {
        text.push_str(&pipeline.toml(under));
        let spool = site.path(under).join("spool").join(&pipeline.name);
        std::fs::create_dir_all(spool).expect("a spool");
    }
    std::fs::write(site.path("lakeward.toml"), text).expect("a configuration");
}

impl Pipeline {
    fn toml(&self, under: &str) -> String {
        let Self {
            name,
            retire,
            journal,
            output,
            ..
        } = self;
        let format = if self.input == Input::Csv {
            "csv"
        } else {
            "ndjson"
        };
        let retire_dir = match *retire {
            "move" => format!("retire_dir = \"{under}retired/{name}\"\n"),
            _ => String::new(),
        };
        format!(
            "[[pipeline]]\nname = \"{name}\"\n[pipeline.source]\npath = \"{under}spool/{name}\"\nformat = \"{format}\"\nready_after = \"0s\"\npoll = \"20ms\"\nretire = \"{retire}\"\n{retire_dir}[pipeline.channel]\njournal = \"{journal}\"\n[pipeline.schema]\nmode = \"columns\"\ncolumns = {{ id = \"bigint\", day = \"string\", note = \"string\" }}\n[pipeline.sink]\npath = \"{name}/day={{day}}\"\nformat = \"{output}\"\n[pipeline.sink.roll]\nrecords = 400\nage = \"150ms\"\n"
        )
    }

    pub fn extension(&self) -> &'static str {
        match self.input {
            Input::Ndjson => "ndjson",
            Input::Csv => "csv",
            Input::Gzip => "ndjson.gz",
        }
    }

    /// A file of the records `from..to`, of which those that `is_bad` cannot be decoded: they are to be found among the rejects.
    pub fn file(&self, from: i64, to: i64, is_bad: impl Fn(i64) -> bool) -> Vec<u8> {
        let mut text = String::new();
        if self.input == Input::Csv {
            text.push_str("id,day,note\n");
        }
        for id in from..to {
            let line = match (is_bad(id), self.input) {
                (true, _) => format!("bad-{id}\n"),
                (false, Input::Csv) => format!("{id},{},{}\n", day(id), note(id)),
                (false, _) => format!(
                    "{{\"id\":{id},\"day\":\"{}\",\"note\":\"{}\"}}\n",
                    day(id),
                    note(id)
                ),
            };
            text.push_str(&line);
        }
        if self.input != Input::Gzip {
            return text.into_bytes();
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    }
}

fn day(id: i64) -> String {
    format!("2026-10-{:02}", 1 + id % 3)
}

/// Records from here on are long: 2,000 of them are more than one segment.
pub const LONG: i64 = 1 << 40;

/// By which the checker knows that a record is the one that was dropped.
pub fn note(id: i64) -> String {
    let tail = if id < LONG { "" } else { &LONG_TAIL };
    format!(
        "record {id} of {}{tail}",
        id.wrapping_mul(0x9e37_79b9) & 0xffff_ffff
    )
}

static LONG_TAIL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| " and long".repeat(65));
