//! Reads the file, converts it section by section, checks what lies between sections.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::schema::{Names, SchemaSettings};
use crate::sink::{PathTemplate, SinkSettings};

use super::document::{self, Value};
use super::error::{ConfigErrors, Problems};
use super::interpolate::Surroundings;
use super::section::Section;
use super::{AgentSettings, Config, PipelineSettings};
use super::{hive, lake, places, schema, sink, source};

/// Every key with its default and a comment; what `lakeward init` writes.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// A configuration is written by people.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads and validates a configuration; variables come from the process's environment.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    load_with(path, &|name| std::env::var_os(name))
}

/// As [`load`], with the environment given.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    variable: &dyn Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<Config, ConfigErrors> {
    let problems = Problems::default();
    let config = read(path).and_then(|text| {
        let surroundings = Surroundings {
            variable,
            directory: directory_of(path)?,
        };
        Ok(parse(&text, &surroundings, &problems))
    });
    let config = match config {
        Ok(config) => config,
        Err(message) => {
            problems.add(0, "", message);
            None
        }
    };
    match (problems.into_errors(path), config) {
        (None, Some(config)) => Ok(config),
        (Some(errors), _) => Err(errors),
        // `parse` answers `None` only after a complaint; said rather than trusted.
        (None, None) => Err(ConfigErrors {
            file: path.to_owned(),
            errors: Vec::new(),
        }),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| {
        match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file; name one with `--config FILE`, or write one with `lakeward init`"
                .to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("longer than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "not UTF-8: the first bad byte is number {}",
            error.utf8_error().valid_up_to() + 1
        )
    })
}

/// The directory that relative paths are relative to, absolute.
fn directory_of(path: &Path) -> Result<PathBuf, String> {
    let absolute = std::path::absolute(path)
        .map_err(|error| format!("its directory cannot be told: {error}"))?;
    Ok(absolute
        .parent()
        .map_or_else(|| PathBuf::from("/"), Path::to_owned))
}

/// `None` after a complaint that leaves nothing to go on with.
pub(super) fn parse(
    text: &str,
    surroundings: &Surroundings,
    problems: &Problems,
) -> Option<Config> {
    let table = document::parse(text, surroundings, problems);
    if table.0.is_empty() && !problems.is_empty() {
        return None;
    }
    let mut top = Section::top(&table, problems);
    let directory = &surroundings.directory;
    let (agent, state_line) = agent(&mut top, directory);
    let lake_section = top.section("lake");
    let lake_place = ("lake.root", lake_section.line_of("root"));
    let default_lake = lake::read(lake_section, directory);
    let mut places = places::Places::new(&agent, state_line);
    let mut pipelines: Vec<PipelineSettings> = Vec::new();
    let sections = top.sections("pipeline");
    if sections.is_empty() && !top.has("pipeline") {
        top.problem("pipeline", "missing; at least one `[[pipeline]]` is needed");
    }
    for section in sections {
        let line = section.line();
        let mut lines = places::Lines::new(lake_place);
        let settings = pipeline(section, &default_lake, directory, &mut lines);
        if pipelines.iter().any(|other| other.name == settings.name) {
            problems.add(
                line,
                "pipeline.name",
                format!(
                    "two pipelines are called `{}`; names must differ, as data files and manifests carry them",
                    document::shown(&settings.name)
                ),
            );
        }
        places.add(&settings, &lines);
        pipelines.push(settings);
    }
    top.finish(belongs_in);
    places.check(problems);
    Some(Config { agent, pipelines })
}

/// With the line of `state_dir`.
fn agent(top: &mut Section, directory: &Path) -> (AgentSettings, usize) {
    let mut section = top.section("agent");
    let state_dir = section.converted("state_dir", directory.join("var"), |text| {
        resolve(text, directory)
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let lanes = match section.number("lanes", 0, 0..=4096) {
        0 => cores,
        lanes => lanes as usize,
    };
    let settings = AgentSettings {
        state_dir,
        lanes,
        cores,
        memory: section.size_or_no_limit("memory", 512 << 20),
        staging_bytes_max: section.size("staging_bytes_max", 8 << 30),
        free_bytes_min: section.size("free_bytes_min", 1 << 30),
        stop_after: section
            .duration("stop_after", Some(Duration::from_secs(30)))
            .filter(|duration| !duration.is_zero())
            .unwrap_or(super::quantity::LONGEST),
        http: section.string("http", "").trim().to_owned(),
        http_public: section.boolean("http_public", false),
    };
    check_http(&section, &settings);
    let line = section.line_of("state_dir");
    section.finish(belongs_in);
    (settings, line)
}

/// Only the loopback interface, unless asked for: the page has no password.
fn check_http(section: &Section, settings: &AgentSettings) {
    if settings.http.is_empty() {
        return;
    }
    let address = match settings.http.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => settings.http.clone(),
    };
    match address.parse::<std::net::SocketAddr>() {
        Err(_) => section.problem(
            "http",
            format!(
                "found {}; an address and port such as `127.0.0.1:9640` is allowed, or `\"\"` for none",
                section.found("http")
            ),
        ),
        Ok(address) if !address.ip().is_loopback() && !settings.http_public => section.problem(
            "http",
            format!(
                "`{address}` is reachable from other machines and the page has no password; use a loopback address such as `127.0.0.1:{}`, or say `http_public = true`",
                address.port()
            ),
        ),
        Ok(_) => {}
    }
}

fn pipeline(
    mut section: Section,
    default_lake: &super::LakeSettings,
    directory: &Path,
    lines: &mut places::Lines,
) -> PipelineSettings {
    let name = section.required(
        "name",
        "a name of lower-case letters, digits, `_` and `-` is needed, such as `orders`",
    );
    if !name.is_empty() && !is_name(&name) {
        section.problem(
            "name",
            format!(
                "found {}; 1 to 64 lower-case letters, digits, `_` and `-` are allowed, the first a letter or digit",
                section.found("name")
            ),
        );
    }
    let lake_section = section.section("lake");
    let lake = if lake_section.is_given() {
        lines.lake = ("pipeline.lake.root", lake_section.line_of("root"));
        lake::read(lake_section, directory)
    } else {
        default_lake.clone()
    };
    let source_section = section.section("source");
    let channel_section = section.section("channel");
    lines.spool = source_section.line_of("path");
    lines.retire_dir = source_section.line_of("retire_dir");
    lines.quarantine_dir = source_section.line_of("quarantine_dir");
    let source = source::read(source_section, channel_section, &name, directory);
    let schema_section = section.section("schema");
    let sink_section = section.section("sink");
    let mut schema = schema::read(schema_section, &source);
    let hive_section = section.section("hive");
    let (sink, roll) = sink::read(sink_section, &name, &source, &schema);
    schema.partition_keys = partition_keys(&schema, &sink);
    let hive = hive::read(hive_section, &name, &schema, &sink, &lake);
    section.finish(belongs_in);
    PipelineSettings {
        name,
        source,
        schema,
        sink,
        roll,
        lake,
        hive,
    }
}

/// The partition keys whose names no column may take; none for a path that was complained of.
fn partition_keys(schema: &SchemaSettings, sink: &SinkSettings) -> Vec<String> {
    match PathTemplate::parse(&sink.path, &sink.timezone) {
        Ok(template) if schema.names == Names::Hive => template
            .partition_keys()
            .into_iter()
            .filter(|key| !template.reads(key))
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

fn is_name(name: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 64
        && name.bytes().next().is_some_and(lower)
        && name.bytes().all(|b| lower(b) || b == b'_' || b == b'-')
}

/// A path of the configuration, made absolute.
///
/// # Errors
/// An empty path or one with a NUL, said in words.
pub(super) fn resolve(text: &str, directory: &Path) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a path is needed".to_owned());
    }
    if text.contains('\0') {
        return Err("a path holds no NUL".to_owned());
    }
    std::path::absolute(directory.join(text)).map_err(|error| error.to_string())
}

/// The section in which a key stands in the commented default configuration.
pub(super) fn belongs_in(key: &str) -> Option<String> {
    let problems = Problems::default();
    let surroundings = Surroundings {
        variable: &|_| None,
        directory: PathBuf::new(),
    };
    let table = document::parse(DEFAULT_TOML, &surroundings, &problems);
    find_key(&table, key, "")
}

fn find_key(table: &document::Table, key: &str, path: &str) -> Option<String> {
    if !path.is_empty() && table.get(key).is_some() {
        return Some(format!("`[{path}]`"));
    }
    table.0.iter().find_map(|entry| {
        let path = document::join(path, &entry.key);
        match &entry.node.value {
            Value::Table(inner) => find_key(inner, key, &path),
            Value::Array(items) => items.iter().find_map(|item| match &item.value {
                Value::Table(inner) => find_key(inner, key, &path),
                _ => None,
            }),
            _ => None,
        }
    })
}
