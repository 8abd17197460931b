//! `lakeward check`: probes spool and lake and shows what waiting files would become; lands nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::args::Check;
use super::run::exit_of;
use super::{Context, Exit, Ports};
use crate::catalog::{Catalog, ErrorClass, difference};
use crate::channel::SegmentData;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, PipelineSettings};
use crate::format::FileContext;
use crate::format::decode::Inference;
use crate::journal::sqlite::SqliteJournal;
use crate::journal::{FileRow, Journal};
use crate::naming;
use crate::pipeline::{Halt, registry, schema_settings, spec};
use crate::protocol::DataFileKind;
use crate::schema::{Schema, SchemaMode, SchemaRegistry};
use crate::segment::{BatchNumber, FileStat, JournalId, Segment};
use crate::sink::{BatchContext, Codec, Compat, Lane, OutputFormat, PathTemplate};
use crate::source::{SampleLimits, Source};

/// Partitions shown at most.
const PARTITIONS_SHOWN: usize = 20;
/// Records decoded of each waiting file, and bytes of all.
const SAMPLE_RECORDS: u64 = 1_000;
const SAMPLE_BYTES: u64 = 64 << 20;
const LANE_MEMORY: usize = 128 << 20;

#[derive(Serialize)]
struct Checked {
    name: String,
    /// Spooled files that wait.
    files: u64,
    /// Of them, those that are not ready yet (`ready_after`, `ready_marker`).
    unready: u64,
    schema: Value,
    partitions: Vec<String>,
    /// Of the records decoded.
    rejects: u64,
    records: u64,
    /// `ok`, or what is wrong with it.
    lake: String,
    /// The same of the catalog, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog: Option<String>,
    warnings: Vec<String>,
    /// What would stop a run.
    errors: Vec<String>,
}

pub fn run(context: &Context, args: &Check) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let runtime = super::runtime()?;
    let mut exit = Exit::Done;
    let mut checked = Vec::new();
    for pipeline in &config.pipelines {
        let (words, own) = check(&config, pipeline, args, &runtime);
        exit = exit.worst(own);
        checked.push(words);
    }
    if args.json {
        super::print_json(&json!({ "pipelines": checked }))?;
    } else {
        super::print(&text(&checked))?;
    }
    Ok(exit)
}

fn check(
    config: &Config,
    pipeline: &PipelineSettings,
    args: &Check,
    runtime: &tokio::runtime::Runtime,
) -> (Checked, Exit) {
    let mut words = Checked {
        name: pipeline.name.clone(),
        files: 0,
        unready: 0,
        schema: Value::Null,
        partitions: Vec::new(),
        rejects: 0,
        records: 0,
        lake: "ok".to_owned(),
        catalog: None,
        warnings: warnings(pipeline),
        errors: Vec::new(),
    };
    let mut exit = Exit::Done;
    if let Err(halt) = check_lake(pipeline, args, runtime) {
        words.lake = halt.to_string();
        exit = exit.worst(exit_of(&halt));
    }
    let catalog = pipeline.hive.as_ref().map(crate::catalog::open);
    match sample(config, pipeline, catalog.as_deref(), &mut words) {
        Ok(()) => {}
        Err(halt) => {
            words.errors.push(halt.to_string());
            exit = exit.worst(exit_of(&halt));
        }
    }
    (words, exit)
}

fn check_lake(
    pipeline: &PipelineSettings,
    args: &Check,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Halt> {
    let lake = crate::lake::open(&pipeline.lake, runtime.handle().clone())?;
    if args.no_write {
        let dir = naming::manifest_dir(&pipeline.name, JournalId(0));
        lake.list(&dir, &mut |_| ())?;
        return Ok(());
    }
    crate::pipeline::probe(lake.as_ref(), &pipeline.lake)
}

/// Decodes the first records of what waits in a directory of its own, which is removed again.
fn sample(
    config: &Config,
    pipeline: &PipelineSettings,
    catalog: Option<&dyn Catalog>,
    words: &mut Checked,
) -> Result<(), Halt> {
    let scratch = Scratch::make()?;
    let journal = journal(config, &scratch.0)?;
    let spool = Ports::spool(pipeline).map_err(|e| Halt::Stopped(e.to_string()))?;
    if let Some(claim) = spool.claim()?
        && claim.pipeline != pipeline.name
    {
        words.errors.push(format!(
            "the spool is claimed by pipeline `{}` of journal `{}`",
            claim.pipeline, claim.journal_path
        ));
    }
    let now = SystemClock::default().now_ns();
    spool.scan(now, &mut |found| {
        words.files += 1;
        words.unready += u64::from(!found.ready);
        ControlFlow::Continue(())
    })?;
    let mut source = Source::new(
        pipeline.source.clone(),
        spool,
        Arc::clone(&journal),
        Arc::new(SystemClock::default()),
        pipeline.name.clone(),
    )
    .map_err(|e| Halt::Stopped(e.to_string()))?;
    let journaled = journal.schema(&pipeline.name)?;
    let settings = schema_settings(pipeline, catalog, journaled.is_some())?;
    let schemas = Arc::new(registry(&settings, &pipeline.sink, journaled)?);
    infer(pipeline, &schemas, &mut source)?;
    let (_, schema) = schemas.current();
    let template =
        PathTemplate::parse(&pipeline.sink.path, &pipeline.sink.timezone).map_err(Halt::Stopped)?;
    if let Err(message) = template.check(&schema) {
        words.errors.push(message);
    }
    for name in template.missing(&schema) {
        words.warnings.push(format!(
            "the path names column `{name}`, which no record has so far: it becomes `{}`",
            crate::sink::DEFAULT_PARTITION
        ));
    }
    for name in template.hidden_columns(&schema) {
        words.warnings.push(format!(
            "the path has a partition key `{name}` and the data files a column of that name: readers of the table see the key's value only; give the key another name"
        ));
    }
    let columns: Vec<_> = schema
        .landed()
        .into_iter()
        .map(|(name, data_type)| json!({ "name": name, "type": data_type.to_string() }))
        .collect();
    words.schema = Value::Array(columns);
    let table = match catalog {
        Some(catalog) => check_table(pipeline, catalog, &template, &schema, words),
        None => Ok(()),
    };
    decode(pipeline, schemas, &mut source, &scratch.0, words)?;
    table
}

/// What the catalog says, and what a run would do about the table.
fn check_table(
    pipeline: &PipelineSettings,
    catalog: &dyn Catalog,
    template: &PathTemplate,
    schema: &Schema,
    words: &mut Checked,
) -> Result<(), Halt> {
    let Some(settings) = &pipeline.hive else {
        return Ok(());
    };
    if !settings.register {
        words.catalog = Some("not asked: `hive.register` is false".to_owned());
        return Ok(());
    }
    let wanted = spec(template, schema, &pipeline.sink.format, &settings.location);
    let table = match catalog.table() {
        Ok(Some(table)) => table,
        Ok(None) if settings.create => {
            words.catalog = Some(format!("ok; a run makes table `{}`", catalog.identity()));
            return Ok(());
        }
        Ok(None) => {
            words.catalog = Some(format!(
                "there is no table `{}`: set `hive.create = true`, or make it with what `lakeward schema --ddl` prints",
                catalog.identity()
            ));
            return Err(Halt::Stopped("the catalog has no such table".to_owned()));
        }
        Err(error) => {
            words.catalog = Some(error.to_string());
            return Err(match error.class {
                ErrorClass::Transient => Halt::NotDone("the catalog cannot be asked".to_owned()),
                ErrorClass::Permanent => Halt::Stopped("the catalog cannot be used".to_owned()),
            });
        }
    };
    match difference(&wanted, &table) {
        Ok(found) => {
            words
                .warnings
                .extend(found.warnings.iter().map(|w| format!("the table: {w}")));
            let added: Vec<String> = found
                .added
                .iter()
                .chain(&found.widened)
                .map(|column| format!("`{} {}`", column.name, column.data_type))
                .collect();
            words.catalog = Some(match (added.is_empty(), settings.widen) {
                (true, _) => "ok".to_owned(),
                (false, true) => format!("ok; a run adds {} to the table", added.join(", ")),
                (false, false) => format!(
                    "ok; the table lacks {}, and `hive.widen` is false",
                    added.join(", ")
                ),
            });
            Ok(())
        }
        Err(wrong) => {
            words.catalog = Some(format!("table `{}`: {wrong}", catalog.identity()));
            Err(Halt::Stopped(
                "the table disagrees with what lands".to_owned(),
            ))
        }
    }
}

/// Files that are not ready yet are what a person has just dropped to see what would become of it.
fn everything() -> SampleLimits {
    SampleLimits {
        unready: true,
        ..SampleLimits::default()
    }
}

fn infer(
    pipeline: &PipelineSettings,
    schemas: &SchemaRegistry,
    source: &mut Source,
) -> Result<(), Halt> {
    if schemas.current().0 > 0 || pipeline.schema.mode != SchemaMode::Infer {
        return Ok(());
    }
    let mut inference = Inference::new(&pipeline.schema);
    source
        .sample(everything(), &mut |context, segment, bytes| {
            inference.observe(context, segment, bytes);
            ControlFlow::Continue(())
        })
        .map_err(|e| Halt::NotDone(e.to_string()))?;
    schemas.extend(|schema| inference.finish(schema));
    Ok(())
}

fn decode(
    pipeline: &PipelineSettings,
    schemas: Arc<SchemaRegistry>,
    source: &mut Source,
    scratch: &Path,
    words: &mut Checked,
) -> Result<(), Halt> {
    let failed = |e: crate::sink::SinkError| Halt::Stopped(e.to_string());
    let context = BatchContext {
        pipeline: pipeline.name.clone(),
        journal: JournalId(0),
        batch: BatchNumber(0),
        batch_time_ns: SystemClock::default().now_ns(),
        staging_dir: scratch.to_owned(),
        write_back: false,
        settings: Arc::new(pipeline.sink.clone()),
        schemas,
        numbers: Arc::default(),
    };
    let mut lane = Lane::open(context, 0, LANE_MEMORY).map_err(failed)?;
    let mut halt = None;
    let limits = SampleLimits {
        records: SAMPLE_RECORDS,
        bytes_in_all: SAMPLE_BYTES,
        ..everything()
    };
    source
        .sample(limits, &mut |context, segment, bytes| {
            words.records += segment.records;
            match lane.take(&segment_data(context, segment, bytes)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    halt = Some(failed(error));
                    ControlFlow::Break(())
                }
            }
        })
        .map_err(|e| Halt::NotDone(e.to_string()))?;
    if let Some(halt) = halt {
        return Err(halt);
    }
    let result = lane.close().map_err(failed)?;
    words.rejects = result.outcomes.iter().map(|outcome| outcome.rejected).sum();
    let partitions: BTreeSet<String> = result
        .files
        .into_iter()
        .filter(|file| file.kind == DataFileKind::Data)
        .map(|file| file.partition)
        .collect();
    words.partitions = partitions.into_iter().collect();
    Ok(())
}

fn segment_data(context: &FileContext, segment: &Segment, bytes: &[u8]) -> SegmentData {
    let stat = FileStat {
        inode: 0,
        device: 0,
        size: 0,
        mtime_ns: 0,
    };
    SegmentData {
        context: Arc::new(context.clone()),
        row: Arc::new(FileRow::fresh(
            context.file,
            context.path.clone(),
            stat,
            Arc::new(Value::Null),
            0,
        )),
        segment: segment.clone(),
        bytes: Arc::new(bytes.to_vec().into()),
        end: None,
    }
}

/// What is allowed and may surprise a reader.
fn warnings(pipeline: &PipelineSettings) -> Vec<String> {
    let mut warnings = Vec::new();
    if let OutputFormat::Parquet {
        compat: Compat::Hive,
        codec: codec @ (Codec::Zstd(_) | Codec::Lz4),
    } = pipeline.sink.format
    {
        let name = if codec == Codec::Lz4 { "lz4" } else { "zstd" };
        warnings.push(format!(
            "`sink.compression = \"{name}\"` needs a recent Hive: Hive 2 and 3 as installed do not read it; snappy and gzip are read everywhere"
        ));
    }
    if pipeline.source.spool.ready_after.is_zero() && pipeline.source.spool.ready_marker.is_empty()
    {
        warnings.push(
            "`source.ready_after = \"0s\"` trusts that every file is renamed into the spool when it is complete".to_owned(),
        );
    }
    warnings
}

/// The pipeline's journal for reading, or an empty one in the scratch directory before the first run.
fn journal(config: &Config, scratch: &Path) -> Result<Arc<dyn Journal>, Halt> {
    if let Some(journal) = SqliteJournal::read(&config.agent.state_dir)? {
        return Ok(Arc::new(journal));
    }
    Ok(Arc::new(SqliteJournal::open(&scratch.join("journal"))?))
}

/// A private directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, Halt> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path =
            std::env::temp_dir().join(format!("lakeward-check-{}", crate::pipeline::random_id()?));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| Halt::Stopped(format!("make `{}`: {e}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is private and in the temporary directory.
        let _kept = std::fs::remove_dir_all(&self.0);
    }
}

fn text(checked: &[Checked]) -> String {
    let mut text = String::new();
    for words in checked {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", words.name);
        let _ = writeln!(text, "  lake        {}", words.lake);
        if let Some(catalog) = &words.catalog {
            let _ = writeln!(text, "  catalog     {catalog}");
        }
        let unready = match words.unready {
            0 => String::new(),
            n => format!(", {n} of them not ready yet"),
        };
        let _ = writeln!(text, "  files       {} waiting{unready}", words.files);
        let _ = writeln!(
            text,
            "  records     {} decoded, {} rejects among them",
            words.records, words.rejects
        );
        for column in words.schema.as_array().into_iter().flatten() {
            let _ = writeln!(
                text,
                "  column      {}  {}",
                column["name"].as_str().unwrap_or(""),
                column["type"].as_str().unwrap_or("")
            );
        }
        for partition in words.partitions.iter().take(PARTITIONS_SHOWN) {
            let _ = writeln!(text, "  partition   {partition}");
        }
        if words.partitions.len() > PARTITIONS_SHOWN {
            let more = words.partitions.len() - PARTITIONS_SHOWN;
            let _ = writeln!(text, "  partition   and {more} more");
        }
        for warning in &words.warnings {
            let _ = writeln!(text, "  warning     {warning}");
        }
        for error in &words.errors {
            let _ = writeln!(text, "  error       {error}");
        }
    }
    text
}
