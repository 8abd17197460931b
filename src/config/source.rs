//! `[pipeline.source]` and `[pipeline.channel]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::format::charset::Transcoder;
use crate::format::{Compression, CsvSettings, InputFormat, ReadingSettings};
use crate::source::{Again, SourceSettings};
use crate::spool::{Order, Retire, SpoolSettings};

use super::load::{belongs_in, resolve};
use super::quantity::{LONGEST, NO_LIMIT};
use super::section::Section;

/// Nesting is decoded by recursion, and a thread's stack is finite: what `depth_max = 0` means.
const DEPTH_CEILING: u64 = 1024;

const AGAIN: &[(&str, Again)] = &[
    ("skip", Again::Skip),
    ("land", Again::Land),
    ("quarantine", Again::Quarantine),
];

pub(super) fn read(
    mut section: Section,
    channel: Section,
    pipeline: &str,
    directory: &Path,
) -> SourceSettings {
    section.choice("type", (), &[("spooldir", ())]);
    let spool = spool(&mut section, pipeline, directory);
    let default = if spool.retire == Retire::Keep {
        Again::Quarantine
    } else {
        Again::Skip
    };
    let resent = section.choice("resent", default, AGAIN);
    if spool.retire == Retire::Keep && resent != Again::Quarantine {
        section.problem(
            "resent",
            "with `retire = \"keep\"` a re-sent file cannot be told from a restored one and is always quarantined; say `quarantine`, or leave the key out",
        );
    }
    let same_content = section.choice("same_content", Again::Land, AGAIN);
    let history = section
        .duration("history", None)
        .filter(|duration| !duration.is_zero());
    let poll = poll(&mut section);
    let path_columns = section.string("path_columns", "");
    check_path_columns(&section, &path_columns);
    let reading = reading(&mut section);
    section.finish(belongs_in);
    let (payload, payload_bytes_max) = read_channel(channel);
    SourceSettings {
        spool,
        resent,
        same_content,
        poll,
        reading,
        path_columns,
        history,
        payload,
        payload_bytes_max,
    }
}

fn read_channel(mut section: Section) -> (bool, u64) {
    let payload = section.choice("journal", false, &[("offsets", false), ("payload", true)]);
    let bytes = section.size_or_no_limit("payload_bytes_max", 10 << 30);
    section.finish(belongs_in);
    (payload, bytes)
}

fn poll(section: &mut Section) -> Duration {
    let poll = section
        .duration("poll", Some(Duration::from_secs(1)))
        .unwrap_or_else(|| {
            section.problem("poll", "with `forever` nothing would ever be found");
            LONGEST
        });
    let least = Duration::from_millis(10);
    if poll < least {
        section.problem(
            "poll",
            "found less than `10ms`; that would only heat the machine",
        );
        return least;
    }
    poll
}

fn spool(section: &mut Section, pipeline: &str, directory: &Path) -> SpoolSettings {
    let written = section.required("path", "the spool directory is needed");
    let path = resolve(&written, directory).unwrap_or_else(|message| {
        if !written.is_empty() {
            section.problem("path", message);
        }
        PathBuf::new()
    });
    let recursive = section.boolean("recursive", false);
    let include = globs(section, "include").unwrap_or_else(|| vec!["*".to_owned()]);
    if include.is_empty() {
        section.problem(
            "include",
            "found an empty list; at least one glob is needed, `[\"*\"]` takes every file",
        );
    }
    let exclude = globs(section, "exclude").unwrap_or_default();
    let skip_suffixes = skip_suffixes(section);
    let order = section.choice(
        "order",
        Order::Oldest,
        &[
            ("oldest", Order::Oldest),
            ("newest", Order::Newest),
            ("name", Order::Name),
        ],
    );
    let ready_after = section
        .duration("ready_after", Some(Duration::from_secs(10)))
        .unwrap_or_else(|| {
            section.problem("ready_after", "with `forever` no file would ever be ready");
            Duration::ZERO
        });
    let ready_marker = section.string("ready_marker", "");
    if !ready_marker.is_empty() {
        check_suffix(section, "ready_marker", &ready_marker);
    }
    let retire = section.choice(
        "retire",
        Retire::Rename,
        &[
            ("rename", Retire::Rename),
            ("move", Retire::Move),
            ("delete", Retire::Delete),
            ("keep", Retire::Keep),
        ],
    );
    let retire_suffix = section.string("retire_suffix", ".COMPLETED");
    check_suffix(section, "retire_suffix", &retire_suffix);
    if retire_suffix == ready_marker && !ready_marker.is_empty() {
        section.problem(
            "retire_suffix",
            "it is also `ready_marker`; the two must differ",
        );
    }
    let retire_dir = retire_dir(section, retire, directory);
    let quarantine_dir = quarantine_dir(section, &path);
    SpoolSettings {
        pipeline: pipeline.to_owned(),
        path,
        recursive,
        include,
        exclude,
        skip_suffixes,
        order,
        ready_after,
        ready_marker,
        retire,
        retire_suffix,
        retire_dir,
        quarantine_dir,
    }
}

fn retire_dir(section: &mut Section, retire: Retire, directory: &Path) -> Option<PathBuf> {
    let dir = section.converted("retire_dir", None, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        resolve(text, directory).map(Some)
    });
    match (retire, &dir) {
        (Retire::Move, None) if !section.is_broken("retire_dir") => section.problem(
            "retire_dir",
            "missing; `retire = \"move\"` needs the directory to move retired files to",
        ),
        (Retire::Rename | Retire::Delete | Retire::Keep, Some(_)) => section.problem(
            "retire_dir",
            "given, but only `retire = \"move\"` moves files there",
        ),
        _ => {}
    }
    dir
}

/// Relative: below the spool, where it must be hidden, so that it is not taken for input.
fn quarantine_dir(section: &mut Section, spool: &Path) -> PathBuf {
    section.converted("quarantine_dir", spool.join(".quarantine"), |text| {
        if Path::new(text).is_absolute() {
            return resolve(text, spool);
        }
        let hidden = text.starts_with('.')
            && !text
                .split('/')
                .any(|part| part.is_empty() || part == "." || part == "..");
        if !hidden {
            return Err("an absolute path is allowed, or a hidden directory below the spool such as `.quarantine`".to_owned());
        }
        resolve(text, spool)
    })
}

const SUFFIX_FORM: &str =
    "the end of a file's name such as `.tmp` is allowed, not empty and without `/`";

fn is_suffix(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '\0'])
}

fn check_suffix(section: &Section, key: &str, suffix: &str) {
    if !is_suffix(suffix) {
        let found = section.found(key);
        section.problem(key, format!("found {found}; {SUFFIX_FORM}"));
    }
}

fn skip_suffixes(section: &mut Section) -> Vec<String> {
    let key = "skip_suffixes";
    let Some(texts) = section.texts(key) else {
        return [".tmp", ".part", ".inprogress"].map(str::to_owned).into();
    };
    for text in texts.iter().filter(|text| !is_suffix(&text.value)) {
        section.problem(key, format!("found {}; {SUFFIX_FORM}", text.shown()));
    }
    texts.iter().map(|text| text.value.clone()).collect()
}

/// The globs of a list; the wrong ones are complained of.
fn globs(section: &mut Section, key: &'static str) -> Option<Vec<String>> {
    let texts = section.texts(key)?;
    for text in &texts {
        let glob = &text.value;
        let compiled = globset::GlobBuilder::new(glob)
            .literal_separator(true)
            .build();
        if let Err(error) = compiled {
            section.problem(
                key,
                format!(
                    "found {}; a glob is allowed such as `*.json` or `**/2026-*`: {}",
                    text.shown(),
                    error.kind()
                ),
            );
        } else if glob.is_empty() || glob.starts_with('/') {
            section.problem(
                key,
                format!(
                    "found {}; a glob on the path below the spool is allowed, not empty and not beginning with `/`",
                    text.shown()
                ),
            );
        }
    }
    Some(texts.iter().map(|text| text.value.clone()).collect())
}

fn check_path_columns(section: &Section, pattern: &str) {
    if pattern.is_empty() {
        return;
    }
    match regex::Regex::new(pattern) {
        Err(error) => {
            // The library draws an arrow under the pattern over several lines; its last line says what is wrong.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            section.problem(
                "path_columns",
                format!(
                    "not a regular expression: {}",
                    last.trim_start_matches("error: ")
                ),
            );
        }
        Ok(regex) if regex.capture_names().flatten().next().is_none() => section.problem(
            "path_columns",
            "it has no named group; each `(?<name>…)` becomes a column",
        ),
        Ok(regex) => {
            let own = regex
                .capture_names()
                .flatten()
                .find(|name| super::schema::OWN_COLUMNS.contains(name));
            if let Some(name) = own {
                section.problem(
                    "path_columns",
                    format!("its group `{name}` has the name of a column of Lakeward's own; choose another"),
                );
            }
        }
    }
}

/// The names of the groups of a pattern that [`check_path_columns`] let pass.
pub(super) fn groups(pattern: &str) -> Vec<String> {
    if pattern.is_empty() {
        return Vec::new();
    }
    regex::Regex::new(pattern).map_or_else(
        |_| Vec::new(),
        |regex| regex.capture_names().flatten().map(str::to_owned).collect(),
    )
}

fn reading(section: &mut Section) -> ReadingSettings {
    let format = section.choice(
        "format",
        InputFormat::Ndjson,
        &[
            ("ndjson", InputFormat::Ndjson),
            ("json", InputFormat::Json),
            ("csv", InputFormat::Csv),
            ("tsv", InputFormat::Tsv),
            ("text", InputFormat::Text),
        ],
    );
    let compression = section.choice(
        "compression",
        Compression::Auto,
        &[
            ("auto", Compression::Auto),
            ("none", Compression::None),
            ("gzip", Compression::Gzip),
            ("zstd", Compression::Zstd),
            ("bzip2", Compression::Bzip2),
            ("xz", Compression::Xz),
            ("lz4", Compression::Lz4),
        ],
    );
    let charset = section.converted("charset", "utf-8".to_owned(), |label| {
        // Asked of the one who will decode: it knows fewer labels than the standard, whose "replacement" decodes nothing.
        Transcoder::new(label)
            .map(|_| label.trim().to_ascii_lowercase())
            .map_err(|_| {
                "a label of the WHATWG encoding standard is allowed, such as `utf-8`, `windows-1252`, `utf-16le`, `shift_jis`".to_owned()
            })
    });
    let record_bytes_max = section.size_or_no_limit("record_bytes_max", 16 << 20);
    let decoded_bytes_max = section.size_or_no_limit("decoded_bytes_max", 1 << 40);
    let depth_max = match section.number("depth_max", 128, 0..=DEPTH_CEILING) {
        0 => DEPTH_CEILING as u32,
        depth => depth as u32,
    };
    let csv = csv(section.section("csv"), format);
    ReadingSettings {
        format,
        compression,
        charset,
        csv,
        record_bytes_max: record_bytes_max.min(NO_LIMIT),
        decoded_bytes_max,
        depth_max,
        segment_bytes: crate::format::frame::SEGMENT_BYTES,
    }
}

fn csv(mut section: Section, format: InputFormat) -> CsvSettings {
    let tabular = matches!(format, InputFormat::Csv | InputFormat::Tsv);
    let delimiter = if format == InputFormat::Tsv {
        b'\t'
    } else {
        b','
    };
    let settings = CsvSettings {
        header: section.boolean("header", true),
        delimiter: byte(&mut section, "delimiter", Some(delimiter)).unwrap_or(delimiter),
        quote: byte(&mut section, "quote", Some(b'"')).unwrap_or(b'"'),
        null: section.string("null", ""),
        columns: section.strings("columns", &[]),
        comment: optional_byte(&mut section, "comment"),
    };
    if tabular {
        check_csv(&section, &settings);
    } else if settings != no_csv() {
        section.problem_at(
            section.line(),
            "",
            "these settings are heeded with `format = \"csv\"` and `format = \"tsv\"` only",
        );
    }
    section.finish(belongs_in);
    settings
}

/// The defaults, which may stand in the file whatever the format.
fn no_csv() -> CsvSettings {
    CsvSettings {
        header: true,
        delimiter: b',',
        quote: b'"',
        null: String::new(),
        columns: Vec::new(),
        comment: None,
    }
}

fn check_csv(section: &Section, settings: &CsvSettings) {
    if settings.header && !settings.columns.is_empty() {
        section.problem("columns", "given, but the names come from the header; say `header = false`, or leave `columns` out");
    }
    if !settings.header && settings.columns.is_empty() {
        section.problem("columns", "missing; without a header the names of the columns are needed, in the order of the fields");
    }
    let mut seen = std::collections::HashSet::new();
    for name in &settings.columns {
        if name.is_empty() || !seen.insert(name) {
            section.problem(
                "columns",
                "found a name twice, or an empty one; each column needs a name of its own",
            );
        }
    }
    if settings.delimiter == settings.quote {
        section.problem("delimiter", "it is also `quote`; the two must differ");
    }
    if settings.comment == Some(settings.delimiter) || settings.comment == Some(settings.quote) {
        section.problem(
            "comment",
            "it is also `delimiter` or `quote`; they must differ",
        );
    }
}

fn byte(section: &mut Section, key: &'static str, default: Option<u8>) -> Option<u8> {
    section.converted(key, default, |text| single_byte(text).map(Some))
}

fn optional_byte(section: &mut Section, key: &'static str) -> Option<u8> {
    section.converted(key, None, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        single_byte(text).map(Some)
    })
}

/// What splits records cannot also split fields, and a byte of a multi-byte letter would match inside others.
fn single_byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !b"\n\r\0".contains(byte) => Ok(*byte),
        _ => Err("a single ASCII character is allowed, not a line end".to_owned()),
    }
}
