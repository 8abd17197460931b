//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::quantity::{DURATION_FORM, LONGEST, parse_duration};

const EXIT_CODES: &str = "\
Exit codes:
  0   all that was asked for is done
  1   a bug, or something nobody foresaw
  2   the command line or the configuration is wrong
  3   done, but whole files were quarantined
  4   stopped: the lake, the spool or the journal failed for good, a conflict, or rejects beyond rejects_max
  5   a live agent holds the lock of this journal or this spool
  75  not done yet: a passing fault, the deadline or a signal; run again

Environment: LAKEWARD_LOG filters the log (`debug`, `lakeward::sink=trace`), NO_COLOR switches colours off.";

/// Lands files from spool directories in a data lake, exactly once.
#[derive(Debug, Parser)]
#[command(name = "lakeward", version, after_help = EXIT_CODES, propagate_version = true, infer_subcommands = false)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands take.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The configuration.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "lakeward.toml"
    )]
    pub config: PathBuf,
    /// Only this pipeline; may be given several times.
    #[arg(long = "pipeline", global = true, value_name = "NAME")]
    pub pipelines: Vec<String>,
    /// Say more on stderr; twice: everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what went wrong.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// How to log to stderr.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub log_format: LogFormat,
    /// When to use colours.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Land what the spools hold, and go on until stopped.
    Run(Run),
    /// Validate the configuration, probe spool and lake, show what waiting files would become; lands nothing.
    Check(Check),
    /// Show pipelines, backlog, open batch, last commit, and what each waits for.
    Status(Status),
    /// Show what became of each spooled file.
    Files(Files),
    /// Draw up the balance of every spooled file.
    Audit(Audit),
    /// Make a lost or outdated journal again from the lake's manifests.
    Rebuild(Rebuild),
    /// Take over, on purpose, a spool that belongs to another journal.
    ///
    /// The other journal's memory does not come with it: whatever the configuration makes readable lands, whether or not it
    /// has landed. Files that were renamed stay out by their suffix alone, so leave `retire` and `retire_suffix` as they
    /// were, or put the old suffix into `skip_suffixes`. Where the journal is lost, `rebuild` brings its memory back.
    Adopt(Adopt),
    /// Let a quarantined file go on at its checkpoint, or count as new.
    Release(Release),
    /// End a batch whose staged copy and spooled file are both gone.
    Resolve(Resolve),
    /// Show the current schema.
    Schema(Schema),
    /// Write a commented configuration.
    Init(Init),
}

#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Drain the spools, land everything, exit.
    #[arg(long)]
    pub once: bool,
    /// Take in nothing more after so long (`50m`), land what is staged, exit with 75 unless drained.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub deadline: Option<Duration>,
    /// Wait so long for the journal's lock (`10m`) instead of exiting with 5 at once.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Write a report of the run as JSON, also on failure.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct Check {
    /// Do not write the probe object into the lake.
    #[arg(long)]
    pub no_write: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Files {
    /// Only these spooled files.
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Audit {
    /// Read the lake itself, not only the journal.
    #[arg(long)]
    pub deep: bool,
    /// Count a landed file that is gone as an imbalance.
    #[arg(long)]
    pub strict: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Rebuild {
    /// Do it; without this only what it would believe is shown.
    #[arg(long)]
    pub yes: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Adopt {
    /// The pipeline whose spool to take over.
    #[arg(value_name = "PIPELINE")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
pub struct Release {
    /// The quarantined files, by their paths below the spool.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<OsString>,
    /// Land the file from its beginning, as a new one: what was committed of it lands again.
    #[arg(long)]
    pub as_new: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Resolve {
    /// The pipeline of the batch.
    #[arg(value_name = "PIPELINE")]
    pub name: String,
    /// The batch's number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub batch: u64,
    /// Say that the records named in the message are lost.
    #[arg(long, required = true)]
    pub accept_loss: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Schema {
    /// Only this pipeline.
    #[arg(value_name = "PIPELINE")]
    pub name: Option<String>,
    /// Print Hive's CREATE EXTERNAL TABLE.
    #[arg(long, conflicts_with = "json")]
    pub ddl: bool,
    /// With --ddl: ALTER TABLE for what was added since this version of the schema, instead of CREATE.
    #[arg(long, value_name = "VERSION", requires = "ddl")]
    pub since: Option<u32>,
    /// With --ddl: ALTER TABLE ADD IF NOT EXISTS PARTITION for all that landed, too.
    #[arg(long, requires = "ddl")]
    pub partitions: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Init {
    /// Where to write `lakeward.toml`; made if missing.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .map(|duration| duration.unwrap_or(LONGEST))
        .map_err(|_| format!("allowed is {DURATION_FORM}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_parses() {
        for line in [
            "run",
            "run --once --pipeline a --pipeline b --deadline 50m --wait 10m --report out.json",
            "--pipeline a run --once",
            "check --no-write --json",
            "status --json",
            "files a b --json",
            "audit --deep --strict --json",
            "rebuild --yes --json",
            "adopt orders",
            "adopt orders --pipeline orders",
            "release a b --as-new",
            "resolve orders --batch 7 --accept-loss",
            "schema",
            "schema orders --ddl",
            "schema --json",
            "init",
            "init dir",
            "--config x.toml -v --log-format json --color never status",
            "status --config x.toml -q --log-format text --color always",
        ] {
            let words = std::iter::once("lakeward").chain(line.split(' '));
            if let Err(error) = Arguments::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_wrong_command_line_exits_with_2() {
        for line in [
            "",
            "walk",
            "run --deadline 50",
            "run -v -q",
            "resolve orders --batch 7",
            "resolve orders --batch 0 --accept-loss",
            "release",
            "schema --ddl --json",
            "status --color sometimes",
        ] {
            let words =
                std::iter::once("lakeward").chain(line.split(' ').filter(|w| !w.is_empty()));
            let error = Arguments::try_parse_from(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
