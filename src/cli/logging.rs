//! Logs and panics on stderr.
//!
//! Every line passes [`redact::mask`], so that a secret that some library quoted does not get out, and steps around the
//! progress bar. Text or JSON; one line per event.

use std::io::{IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::args::{Color, Global, LogFormat};
use super::progress;
use crate::config::redact;

/// Names the filter, as `RUST_LOG` does elsewhere.
pub const FILTER_VARIABLE: &str = "LAKEWARD_LOG";

/// Starts logging for the rest of the process.
///
/// # Errors
/// `LAKEWARD_LOG` is no filter.
pub fn start(global: &Global) -> Result<(), String> {
    let filter = filter(global)?;
    let colored = colored(global.color);
    progress::allow_bar(!global.quiet && global.log_format == LogFormat::Text);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Stderr);
    // A second start (in tests) keeps the first.
    let _ = match global.log_format {
        LogFormat::Text => builder.with_ansi(colored).with_target(false).try_init(),
        LogFormat::Json => builder
            .json()
            .with_ansi(false)
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
    Ok(())
}

fn filter(global: &Global) -> Result<EnvFilter, String> {
    let given = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let text = if given.is_empty() {
        // Other libraries speak only when something is wrong.
        match (global.quiet, global.verbose) {
            (true, _) => "warn,hdfs_native=error",
            // hdfs-native warns of what is repeated, by it or by us.
            (false, 0) => "warn,hdfs_native=error,lakeward=info",
            (false, 1) => "warn,lakeward=debug",
            (false, _) => "info,lakeward=trace",
        }
        .to_owned()
    } else {
        given
    };
    EnvFilter::try_new(&text).map_err(|error| {
        format!(
            "{FILTER_VARIABLE} is `{}`, which is no filter such as `debug` or `warn,lakeward=trace`: {error}",
            text.escape_debug()
        )
    })
}

fn colored(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            !refused && std::io::stderr().is_terminal()
        }
    }
}

/// Says a panic in one line and ends the process with 1: the journal makes that as safe as kill -9, and a process that
/// lost one of its threads would only hang.
pub fn install_panic_hook(format: LogFormat) {
    std::panic::set_hook(Box::new(move |info| {
        let location = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let message = info
            .payload_as_str()
            .unwrap_or("no message")
            .replace(char::is_control, " ");
        let line = panic_line(format, &location, &message);
        // Not through the log: the panic may have come out of it.
        let _ = std::io::stderr().write_all(line.as_bytes());
        std::process::exit(i32::from(super::Exit::Bug.code()));
    }));
}

/// Says why the program ends, on a line of its own: as a compiler would in text, as a log line in JSON.
pub fn complain(format: LogFormat, message: &str) {
    let message = redact::mask(message);
    let line = match format {
        LogFormat::Text => format!("error: {message}\n"),
        LogFormat::Json => {
            let line = serde_json::json!({"timestamp": jiff::Timestamp::now().to_string(), "level": "ERROR", "message": message});
            format!("{line}\n")
        }
    };
    // A closed stderr is no reason to end otherwise.
    let _ = progress::aside(|| std::io::stderr().write_all(line.as_bytes()));
}

fn panic_line(format: LogFormat, location: &str, message: &str) -> String {
    let message = redact::mask(message);
    match format {
        LogFormat::Text => format!("ERROR bug at {location}: {message}\n"),
        LogFormat::Json => {
            let line = serde_json::json!({"level": "ERROR", "message": format!("bug: {message}"), "at": location});
            format!("{line}\n")
        }
    }
}

/// stderr without secrets.
#[derive(Clone, Copy)]
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Stderr {
    /// tracing hands over an event as one buffer, so that no secret is cut in two.
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(buffer);
        let masked = redact::mask(&text);
        progress::aside(|| std::io::stderr().write_all(masked.as_bytes()))?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_without_secrets() {
        redact::remember("pa55-of-the-panic");
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = panic_line(format, "src/x.rs:1:2", "bad key pa55-of-the-panic");
            assert!(!line.contains("pa55"), "{line}");
            assert_eq!(line.matches('\n').count(), 1);
        }
    }
}
