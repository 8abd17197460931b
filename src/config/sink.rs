//! `[pipeline.sink]` and `[pipeline.sink.roll]`.

use std::time::Duration;

use crate::schema::{Names, NewColumns, SchemaMode, SchemaSettings};
use crate::sink::{Codec, Compat, OutputFormat, RejectsMax, RollSettings, SinkSettings};
use crate::source::SourceSettings;

use super::load::belongs_in;
use super::quantity::NO_LIMIT;
use super::section::Section;
use super::template;

pub(super) fn read(
    mut section: Section,
    pipeline: &str,
    source: &SourceSettings,
    schema: &SchemaSettings,
) -> (SinkSettings, RollSettings) {
    let path = section.required(
        "path",
        "the path below the lake's root is needed, such as `orders/dt={created_at:%Y-%m-%d}`",
    );
    let timezone = super::schema::timezone(&mut section);
    if !path.is_empty()
        && let Err(message) = template::check(&path, &timezone)
    {
        section.problem(
            "path",
            format!("found {}; {message}", section.found("path")),
        );
    }
    check_columns(&section, &path, source, schema);
    // With `mode = "none"` the path names keys of the input, which are nobody's columns.
    let path = if schema.names == Names::Hive && schema.mode != SchemaMode::None {
        template::hive_names(&path)
    } else {
        path
    };
    let format = format(&mut section);
    if schema.mode == SchemaMode::None && !matches!(format, OutputFormat::Ndjson { .. }) {
        section.problem("format", "`schema.mode = \"none\"` lands each line as it is and needs `format = \"ndjson\"` here");
    }
    let data_file_bytes = section.size_or_no_limit("data_file_bytes", 128 << 20);
    let partitions_max = match section.number("partitions_max", 1000, 0..=NO_LIMIT) {
        0 => NO_LIMIT,
        number => number,
    };
    let rejects = rejects(&mut section, pipeline);
    let rejects_max = rejects_max(&mut section);
    let marker = marker(&mut section, &rejects);
    let roll = roll(section.section("roll"));
    section.finish(belongs_in);
    let sink = SinkSettings {
        path,
        timezone,
        format,
        data_file_bytes,
        partitions_max,
        rejects,
        rejects_max,
        marker,
    };
    (sink, roll)
}

/// Where the columns are given, a path that names another one would put everything under the default partition.
fn check_columns(section: &Section, path: &str, source: &SourceSettings, schema: &SchemaSettings) {
    let open = schema.mode != SchemaMode::Columns || schema.new_columns == NewColumns::Add;
    // No columns at all were complained of already.
    if open || schema.columns.is_empty() {
        return;
    }
    let groups = super::source::groups(&source.path_columns);
    for column in template::columns(path) {
        let wanted = template::folded(column);
        let known = schema
            .columns
            .iter()
            .map(|(name, _)| name)
            .chain(&groups)
            .map(|name| template::folded(name));
        let own = ["_file", "_offset", "_batch", "_ingested_at"].contains(&column);
        let mut known = known.collect::<Vec<_>>().into_iter();
        // A collision of names gets `_2`, `_3`.
        if !own && !known.any(|name| wanted.starts_with(&name)) {
            section.problem(
                "path",
                format!(
                    "found {}; `{}` is no column of `schema.columns`, and `schema.new_columns` adds none",
                    section.found("path"),
                    super::document::shown(column)
                ),
            );
        }
    }
}

fn format(section: &mut Section) -> OutputFormat {
    let parquet = section.choice("format", true, &[("parquet", true), ("ndjson", false)]);
    let compat = section.choice(
        "compat",
        Compat::Hive,
        &[("hive", Compat::Hive), ("modern", Compat::Modern)],
    );
    if parquet {
        let codec = section.converted("compression", Codec::Snappy, parquet_codec);
        OutputFormat::Parquet { compat, codec }
    } else {
        let codec = section.converted("compression", Codec::Gzip, ndjson_codec);
        OutputFormat::Ndjson { codec }
    }
}

/// Level 1 costs about as much as snappy and is a third smaller; higher ones buy little on logs.
const ZSTD_LEVEL: i32 = 1;

fn parquet_codec(text: &str) -> Result<Codec, String> {
    match text {
        "" | "snappy" => Ok(Codec::Snappy),
        "none" => Ok(Codec::None),
        "gzip" => Ok(Codec::Gzip),
        "lz4" => Ok(Codec::Lz4),
        _ => zstd(text).ok_or_else(|| {
            "for Parquet `snappy`, `none`, `gzip`, `zstd`, `zstd(1)` to `zstd(22)` and `lz4` are allowed".to_owned()
        }),
    }
}

fn ndjson_codec(text: &str) -> Result<Codec, String> {
    match text {
        "" | "gzip" => Ok(Codec::Gzip),
        "none" => Ok(Codec::None),
        _ => zstd(text).ok_or_else(|| {
            "for NDJSON `gzip`, `none`, `zstd` and `zstd(1)` to `zstd(22)` are allowed".to_owned()
        }),
    }
}

fn zstd(text: &str) -> Option<Codec> {
    if text == "zstd" {
        return Some(Codec::Zstd(ZSTD_LEVEL));
    }
    let level = text.strip_prefix("zstd(")?.strip_suffix(')')?.trim();
    let level: i32 = level.parse().ok()?;
    (1..=22).contains(&level).then_some(Codec::Zstd(level))
}

fn rejects(section: &mut Section, pipeline: &str) -> String {
    section.converted("rejects", format!("_rejects/{pipeline}"), |text| {
        let allowed = "a path below the lake's root that begins with `.` or `_` is allowed, such as `_rejects/orders`, so that readers skip it";
        let path = text.trim_end_matches('/');
        if !path.starts_with(['.', '_']) || crate::naming::LakePath::new(path).is_err() {
            return Err(allowed.to_owned());
        }
        if path.split('/').next() == Some(crate::naming::METADATA_DIR) {
            return Err("`_lakeward` holds the lake's own files; choose another".to_owned());
        }
        if path.contains(['{', '}']) {
            return Err("columns cannot be named here".to_owned());
        }
        Ok(path.to_owned())
    })
}

fn marker(section: &mut Section, rejects: &str) -> String {
    section.converted("marker", String::new(), |name| {
        if name.is_empty() {
            return Ok(String::new());
        }
        let odd = |c: char| c.is_control() || "/\\:{}".contains(c);
        if !name.starts_with(['.', '_'])
            || name.contains(odd)
            || crate::naming::LakePath::new(name).is_err()
        {
            return Err("a file's name that begins with `.` or `_` is allowed, such as `_SUCCESS`, so that readers skip it, or `\"\"` for none".to_owned());
        }
        let taken = [crate::naming::METADATA_DIR, rejects.split('/').next().unwrap_or(rejects)];
        if taken.contains(&name) {
            return Err("a directory of the lake has this name; choose another".to_owned());
        }
        Ok(name.to_owned())
    })
}

fn rejects_max(section: &mut Section) -> RejectsMax {
    let everything = RejectsMax::Share(1.0);
    let allowed =
        "a count such as `100`, or a share of the batch's records from `0%` to `100%`, is allowed";
    let Some(entry) = section.get("rejects_max") else {
        return everything;
    };
    match &entry.node.value {
        super::document::Value::Integer(Some(number)) if *number >= 0 => {
            RejectsMax::Count(*number as u64)
        }
        super::document::Value::Text(_) => section.converted("rejects_max", everything, |text| {
            let text = text.trim();
            let max = match text.strip_suffix('%') {
                Some(share) => share
                    .trim_end()
                    .parse::<f64>()
                    .ok()
                    .filter(|share| (0.0..=100.0).contains(share))
                    .map(|share| RejectsMax::Share(share / 100.0)),
                None => text.parse().ok().map(RejectsMax::Count),
            };
            max.ok_or_else(|| allowed.to_owned())
        }),
        other => {
            section.problem("rejects_max", format!("found {}; {allowed}", other.found()));
            everything
        }
    }
}

fn roll(mut section: Section) -> RollSettings {
    let some = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
    let roll = RollSettings {
        bytes: section.size("bytes", 1 << 30),
        records: section.number("records", 0, 0..=NO_LIMIT),
        age: some(section.duration("age", Some(Duration::from_mins(15)))),
        idle: some(section.duration("idle", Some(Duration::ZERO))),
    };
    section.finish(belongs_in);
    roll
}
