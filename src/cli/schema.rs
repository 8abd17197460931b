//! `lakeward schema`: the current schema, as a table, JSON, or Hive's DDL.

use std::fmt::Write as _;

use serde_json::json;

use super::args::Schema as Args;
use super::{Context, Exit, Failure};
use crate::catalog::{Table, TableSpec, ddl, difference};
use crate::config::PipelineSettings;
use crate::journal::Journal;
use crate::pipeline::TablePlace;
use crate::schema::Schema;
use crate::sink::PathTemplate;

pub fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let config = context.config()?;
    if let Some(name) = &args.name {
        super::check_name(&config, name)?;
    }
    let journal = super::read_journal(&config)?;
    let wanted =
        |pipeline: &&PipelineSettings| args.name.as_ref().is_none_or(|name| *name == pipeline.name);
    let mut shown = Vec::new();
    let mut text = String::new();
    for pipeline in config.pipelines.iter().filter(wanted) {
        let (version, schema) = current(journal.as_deref(), pipeline)?;
        if args.ddl {
            text.push_str(&ddl(args, journal.as_deref(), pipeline, version, &schema)?);
            continue;
        }
        let columns: Vec<_> = schema
            .landed()
            .into_iter()
            .map(|(name, data_type)| json!({ "name": name, "type": data_type.to_string() }))
            .collect();
        shown.push(json!({ "name": pipeline.name, "version": version, "columns": columns }));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: version {version}", pipeline.name);
        for (name, data_type) in schema.landed() {
            let _ = writeln!(text, "  {name}  {data_type}");
        }
    }
    if args.json {
        super::print_json(&json!({ "pipelines": shown }))?;
    } else {
        super::print(&text)?;
    }
    Ok(Exit::Done)
}

/// The journal's newest version, or before the first batch what the configuration gives (version 0).
fn current(
    journal: Option<&dyn Journal>,
    pipeline: &PipelineSettings,
) -> anyhow::Result<(u32, Schema)> {
    let journaled = match journal {
        Some(journal) => super::done(journal.schema(&pipeline.name).map_err(Into::into))?,
        None => None,
    };
    let registry = super::done(crate::pipeline::registry(
        &pipeline.schema,
        &pipeline.sink,
        journaled,
    ))?;
    let (version, schema) = registry.current();
    Ok((version, (*schema).clone()))
}

/// Hive's statements for one pipeline: its table, what was added since a version, its partitions.
fn ddl(
    args: &Args,
    journal: Option<&dyn Journal>,
    pipeline: &PipelineSettings,
    version: u32,
    schema: &Schema,
) -> anyhow::Result<String> {
    let template = PathTemplate::parse(&pipeline.sink.path, &pipeline.sink.timezone)
        .map_err(|message| Failure::new(Exit::Usage, message))?;
    let table = table_name(pipeline);
    let wanted = spec_of(pipeline, &template, schema);
    let mut text = match args.since {
        None => ddl::create(&table, &wanted),
        Some(since) => altered(journal, pipeline, &template, &wanted, since, version)?,
    };
    if args.partitions {
        text.push_str(&partitions(journal, pipeline, &template, &wanted)?);
    } else if !wanted.keys.is_empty() && args.since.is_none() {
        let _ = writeln!(
            text,
            "-- after each run: MSCK REPAIR TABLE {table}; or what `lakeward schema --ddl --partitions` prints"
        );
    }
    Ok(text)
}

/// Quoted. Where no table is configured, as one would be called by default.
fn table_name(pipeline: &PipelineSettings) -> String {
    match &pipeline.hive {
        Some(hive) => format!(
            "{}.{}",
            ddl::identifier(&hive.database),
            ddl::identifier(&hive.table)
        ),
        None => ddl::identifier(&pipeline.name.replace('-', "_")),
    }
}

fn spec_of(pipeline: &PipelineSettings, template: &PathTemplate, schema: &Schema) -> TableSpec {
    let location = match &pipeline.hive {
        Some(hive) => hive.location.clone(),
        None => format!("{}/{}", pipeline.lake.location(), template.root())
            .trim_end_matches('/')
            .to_owned(),
    };
    crate::pipeline::spec(template, schema, &pipeline.sink.format, &location)
}

fn altered(
    journal: Option<&dyn Journal>,
    pipeline: &PipelineSettings,
    template: &PathTemplate,
    wanted: &TableSpec,
    since: u32,
    version: u32,
) -> anyhow::Result<String> {
    let old = match journal {
        Some(journal) => super::done(
            journal
                .schema_version(&pipeline.name, since)
                .map_err(Into::into),
        )?,
        None => None,
    };
    let Some(old) = old else {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "pipeline `{}` has no schema version {since}; the newest is {version}",
                pipeline.name
            ),
        )
        .into());
    };
    let old: Schema = serde_json::from_value(old)?;
    let before = spec_of(pipeline, template, &old);
    let stood = Table {
        columns: before.columns.unwrap_or_default(),
        keys: before.keys.into_iter().map(|key| key.column).collect(),
        location: before.location,
        format: Some(before.format),
        format_name: String::new(),
        unfit: None,
    };
    let found = difference(wanted, &stood).map_err(|wrong| Failure::new(Exit::Stopped, wrong))?;
    Ok(ddl::alter(
        &table_name(pipeline),
        &found.added,
        &found.widened,
        !wanted.keys.is_empty(),
    ))
}

/// All that committed batches landed in, as far as the journal remembers (`source.history`).
fn partitions(
    journal: Option<&dyn Journal>,
    pipeline: &PipelineSettings,
    template: &PathTemplate,
    wanted: &TableSpec,
) -> anyhow::Result<String> {
    let keys = template
        .table_keys()
        .map_err(|message| Failure::new(Exit::Usage, message))?;
    let (Some(journal), false) = (journal, keys.is_empty()) else {
        return Ok(String::new());
    };
    let place = TablePlace::new(wanted, template, &pipeline.lake);
    let mut partitions = Vec::new();
    let mut text = String::new();
    for work in super::done(
        journal
            .landed_partitions(&pipeline.name)
            .map_err(Into::into),
    )? {
        match place.partition(&work) {
            Ok(partition) => partitions.extend(partition),
            Err(why) => {
                let _ = writeln!(
                    text,
                    "-- left out: {}: {}",
                    work.directory.escape_debug(),
                    why.escape_debug()
                );
            }
        }
    }
    text.push_str(&ddl::add_partitions(
        &table_name(pipeline),
        &keys,
        &partitions,
    ));
    Ok(text)
}
