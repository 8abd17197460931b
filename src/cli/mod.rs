//! The command line program: parse, dispatch, exit code.
//!
//! stdout carries only what was asked for; everything else is a log line on stderr. Each command is a module here with
//! `run(context, args) -> anyhow::Result<Exit>`; an error that is a [`Failure`] or a [`crate::config::ConfigErrors`] knows
//! its exit code, any other is a bug.

pub mod adopt;
pub mod args;
pub mod audit;
pub mod check;
pub mod exit;
pub mod files;
pub mod init;
pub mod logging;
mod memory;
mod ports;
pub mod progress;
pub mod rebuild;
pub mod release;
pub mod resolve;
pub mod run;
pub mod schema;
pub mod status;

use std::io::Write as _;

use clap::Parser as _;

use crate::config::{Config, ConfigErrors};
use args::{Arguments, Command, Global};

pub use exit::{Exit, Failure};
use ports::{Ports, bytes, done, is_alive, print_json, read_journal, request, runtime};

/// What every command gets.
pub struct Context {
    pub global: Global,
    /// Makes the allocator give the system what is free.
    pub give_back: fn(),
}

impl Context {
    /// Loads the configuration and keeps the pipelines that `--pipeline` names, all without one.
    ///
    /// # Errors
    /// A wrong configuration, or a name that it does not have: both exit with 2.
    pub fn config(&self) -> anyhow::Result<Config> {
        let mut config = crate::config::load(&self.global.config)?;
        for name in &self.global.pipelines {
            check_name(&config, name)?;
        }
        if !self.global.pipelines.is_empty() {
            config
                .pipelines
                .retain(|pipeline| self.global.pipelines.contains(&pipeline.name));
        }
        Ok(config)
    }
}

/// # Errors
/// The configuration has no pipeline of this name; said with the nearest that it has.
pub fn check_name(config: &Config, name: &str) -> Result<(), Failure> {
    let mut names = config
        .pipelines
        .iter()
        .map(|pipeline| pipeline.name.as_str());
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let near = crate::config::nearest(name, &mut names).unwrap_or_default();
    Err(Failure::new(
        Exit::Usage,
        format!(
            "there is no pipeline `{}`; the nearest is `{near}`",
            name.escape_debug()
        ),
    ))
}

/// The whole program. clap itself prints help (exit 0) and usage errors (exit 2). `give_back` makes the allocator give the
/// system what is free.
#[must_use]
pub fn main(give_back: fn()) -> Exit {
    let Arguments { global, command } = Arguments::parse();
    logging::install_panic_hook(global.log_format);
    if let Err(message) = logging::start(&global) {
        logging::complain(global.log_format, &message);
        return Exit::Usage;
    }
    run(&Context { global, give_back }, &command)
}

/// Carries out one command and says why it failed.
pub fn run(context: &Context, command: &Command) -> Exit {
    let result = match command {
        Command::Run(args) => run::run(context, args),
        Command::Check(args) => check::run(context, args),
        Command::Status(args) => status::run(context, args),
        Command::Files(args) => files::run(context, args),
        Command::Audit(args) => audit::run(context, args),
        Command::Rebuild(args) => rebuild::run(context, args),
        Command::Adopt(args) => adopt::run(context, args),
        Command::Release(args) => release::run(context, args),
        Command::Resolve(args) => resolve::run(context, args),
        Command::Schema(args) => schema::run(context, args),
        Command::Init(args) => init::run(context, args),
    };
    result.unwrap_or_else(|error| explain(context.global.log_format, &error))
}

fn explain(format: args::LogFormat, error: &anyhow::Error) -> Exit {
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        for line in errors.lines() {
            logging::complain(format, &line);
        }
        return Exit::Usage;
    }
    // The whole chain on one line.
    logging::complain(format, &format!("{error:#}"));
    error
        .downcast_ref::<Failure>()
        .map_or(Exit::Bug, |failure| failure.exit)
}

/// Writes what was asked for to stdout. Whoever closed the pipe (`| head`) has read enough.
///
/// # Errors
/// stdout cannot be written, for instance because a disk is full.
pub fn print(text: &str) -> anyhow::Result<()> {
    let text = crate::config::redact::mask(text);
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| anyhow::anyhow!("write to stdout: {error}")),
    }
}
