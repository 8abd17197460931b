//! `lakeward schema`: the current schema, as a table, JSON, or Hive's DDL.

use std::fmt::Write as _;

use serde_json::json;

use super::args::Schema as Args;
use super::{Context, Exit, Failure, Ports};
use crate::config::{Config, PipelineSettings};
use crate::journal::Journal;
use crate::schema::Schema;
use crate::sink::{OutputFormat, PathTemplate};

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
            text.push_str(&ddl(&config, pipeline, &schema)?);
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

/// Hive's CREATE EXTERNAL TABLE; every identifier quoted, every string escaped.
fn ddl(config: &Config, pipeline: &PipelineSettings, schema: &Schema) -> anyhow::Result<String> {
    let template = PathTemplate::parse(&pipeline.sink.path, &pipeline.sink.timezone)
        .map_err(|message| Failure::new(Exit::Usage, message))?;
    let partitions = template.partition_columns(schema);
    let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
    let columns: Vec<String> = template
        .table_columns(schema)
        .into_iter()
        .map(|(name, data_type)| format!("  {} {data_type:#}", quote(&name)))
        .collect();
    let mut text = format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {} (\n{}\n)\n",
        quote(&pipeline.name.replace('-', "_")),
        columns.join(",\n")
    );
    if !partitions.is_empty() {
        let keys: Vec<String> = partitions
            .iter()
            .map(|(name, data_type)| format!("{} {data_type}", quote(name)))
            .collect();
        let _ = writeln!(text, "PARTITIONED BY ({})", keys.join(", "));
    }
    text.push_str(match pipeline.sink.format {
        OutputFormat::Parquet { .. } => "STORED AS PARQUET\n",
        OutputFormat::Ndjson { .. } => {
            "ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'\nSTORED AS TEXTFILE\n"
        }
    });
    let root = Ports::location(config, pipeline);
    let location = format!("{root}/{}", template.root());
    let _ = writeln!(
        text,
        "LOCATION '{}';",
        location
            .trim_end_matches('/')
            .replace('\\', "\\\\")
            .replace('\'', "\\'")
    );
    if !partitions.is_empty() {
        let _ = writeln!(
            text,
            "-- after each run: MSCK REPAIR TABLE {};",
            quote(&pipeline.name.replace('-', "_"))
        );
    }
    Ok(text)
}
