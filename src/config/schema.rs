//! `[pipeline.schema]`.

use crate::format::InputFormat;
use crate::schema::{
    DataType, Metadata, Names, NewColumns, SchemaMode, SchemaSettings, TimestampUnit, fold_name,
};
use crate::source::SourceSettings;

use super::document::{Value, join};
use super::load::belongs_in;
use super::nearest::nearest;
use super::section::Section;
use super::types::parse_column_type;

/// Names that Lakeward gives to columns of its own.
pub(super) const OWN_COLUMNS: [&str; 5] =
    ["_rescued", "_file", "_offset", "_batch", "_ingested_at"];

pub(super) fn read(mut section: Section, source: &SourceSettings) -> SchemaSettings {
    let mode = section.choice(
        "mode",
        SchemaMode::Infer,
        &[
            ("infer", SchemaMode::Infer),
            ("columns", SchemaMode::Columns),
            ("hive", SchemaMode::Hive),
            ("none", SchemaMode::None),
        ],
    );
    let columns = columns(&mut section);
    let new_columns = new_columns(&mut section, mode);
    let names = section.choice(
        "names",
        Names::Hive,
        &[("hive", Names::Hive), ("as-is", Names::AsIs)],
    );
    let timezone = timezone(&mut section);
    let timestamp_unit = section.choice(
        "timestamp_unit",
        TimestampUnit::Auto,
        &[
            ("auto", TimestampUnit::Auto),
            ("s", TimestampUnit::Seconds),
            ("ms", TimestampUnit::Millis),
            ("us", TimestampUnit::Micros),
            ("ns", TimestampUnit::Nanos),
        ],
    );
    let metadata = metadata(&mut section);
    let columns_max = match section.number("columns_max", 2000, 0..=1_000_000) {
        0 => usize::MAX / 2,
        number => number as usize,
    };
    let settings = SchemaSettings {
        mode,
        columns,
        new_columns,
        names,
        timezone,
        timestamp_unit,
        metadata,
        columns_max,
        path_columns: path_columns(&section, source, names),
        partition_keys: Vec::new(),
    };
    check(&section, &settings, source);
    section.finish(belongs_in);
    settings
}

fn check(section: &Section, settings: &SchemaSettings, source: &SourceSettings) {
    match settings.mode {
        SchemaMode::Columns if settings.columns.is_empty() => {
            section.problem(
                "columns",
                "missing; `mode = \"columns\"` needs at least one column",
            );
        }
        SchemaMode::Hive if !settings.columns.is_empty() => {
            section.problem(
                "columns",
                "given, but `mode = \"hive\"` takes them from the table of `[pipeline.hive]`",
            );
        }
        SchemaMode::None => {
            if source.reading.format != InputFormat::Ndjson {
                section.problem(
                    "mode",
                    "`none` lands each line as it is and needs `format = \"ndjson\"` in the source",
                );
            }
            for key in ["columns", "new_columns", "metadata_columns"] {
                let given = match key {
                    "columns" => !settings.columns.is_empty(),
                    "new_columns" => section.has(key) && !section.is_empty_text(key),
                    _ => !settings.metadata.is_empty(),
                };
                if given {
                    section.problem(key, "given, but `mode = \"none\"` lands each line byte for byte and knows no columns");
                }
            }
        }
        _ => {}
    }
    if settings.columns.len() > settings.columns_max {
        section.problem(
            "columns",
            format!(
                "found {} columns; `columns_max` allows {}",
                settings.columns.len(),
                settings.columns_max
            ),
        );
    }
}

fn columns(section: &mut Section) -> Vec<(String, DataType)> {
    let mut columns: Vec<(String, DataType)> = Vec::new();
    for entry in section.section("columns").given() {
        let name = &entry.key;
        let key = join("columns", name);
        let complain = |message: String| section.problem_at(entry.node.line, &key, message);
        if name.is_empty() || OWN_COLUMNS.contains(&name.as_str()) {
            complain("the name is empty or that of a column of Lakeward's own (`_rescued`, `_file`, `_offset`, `_batch`, `_ingested_at`); choose another".to_owned());
            continue;
        }
        if matches!(entry.node.value, Value::Broken) {
            continue;
        }
        let Value::Text(text) = &entry.node.value else {
            complain(format!(
                "found {}; a type in quotes is allowed, such as `\"bigint\"`",
                entry.node.value.found()
            ));
            continue;
        };
        match parse_column_type(&text.value) {
            Ok(data_type) => columns.push((name.clone(), data_type)),
            Err(message) => complain(format!("found {}; {message}", text.shown())),
        }
    }
    columns
}

/// The groups of `source.path_columns` as they land.
fn path_columns(section: &Section, source: &SourceSettings, names: Names) -> Vec<String> {
    let groups = super::source::groups(&source.path_columns);
    if names == Names::AsIs {
        return groups;
    }
    let mut folded: Vec<String> = Vec::new();
    for group in groups {
        let name = fold_name(&group);
        // One that has such a name as it stands was complained of with the pattern.
        let own = name != group && OWN_COLUMNS.contains(&name.as_str());
        if own || folded.contains(&name) {
            let other = if own {
                "a column of Lakeward's own"
            } else {
                "another group"
            };
            section.problem(
                "names",
                format!(
                    "`hive` folds group `{group}` of `source.path_columns` to `{name}`, which is {other}; choose another name for the group, or `names = \"as-is\"`"
                ),
            );
        }
        folded.push(name);
    }
    folded
}

fn new_columns(section: &mut Section, mode: SchemaMode) -> NewColumns {
    let default = match mode {
        SchemaMode::Infer => NewColumns::Add,
        SchemaMode::Columns | SchemaMode::Hive | SchemaMode::None => NewColumns::Rescue,
    };
    section.choice(
        "new_columns",
        default,
        &[
            ("add", NewColumns::Add),
            ("rescue", NewColumns::Rescue),
            ("reject", NewColumns::Reject),
            ("", default),
        ],
    )
}

fn metadata(section: &mut Section) -> Vec<Metadata> {
    let known = [
        ("_file", Metadata::File),
        ("_offset", Metadata::Offset),
        ("_batch", Metadata::Batch),
        ("_ingested_at", Metadata::IngestedAt),
    ];
    let mut metadata = Vec::new();
    for text in section.texts("metadata_columns").unwrap_or_default() {
        match known.iter().find(|(name, _)| *name == text.value) {
            Some((_, column)) if !metadata.contains(column) => metadata.push(*column),
            Some(_) => section.problem("metadata_columns", format!("found {} twice", text.shown())),
            None => {
                let near = nearest(&text.value, known.map(|(name, _)| name)).unwrap_or_default();
                section.problem(
                    "metadata_columns",
                    format!("found {}; allowed are `_file`, `_offset`, `_batch`, `_ingested_at`; the nearest is `{near}`", text.shown()),
                );
            }
        }
    }
    metadata
}

/// An IANA time zone that this machine knows.
pub(super) fn timezone(section: &mut Section) -> String {
    section.converted("timezone", "UTC".to_owned(), |name| {
        jiff::tz::TimeZone::get(name)
            .map(|_| name.to_owned())
            .map_err(|_| "an IANA time zone known to this machine is allowed, such as `UTC` or `Europe/Berlin`".to_owned())
    })
}
