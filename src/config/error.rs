//! What is wrong with a configuration: file, line, key, what was found, what is allowed.
//!
//! All of it is collected, so that one run of `lakeward check` names every mistake. No text here may carry a secret:
//! whoever makes a message shows values through [`super::document::Text::shown`].

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// From 1; 0 if it concerns the file as a whole.
    pub line: usize,
    /// Dotted, `pipeline.source.poll`; empty if it concerns no key.
    pub key: String,
    /// What was found and what is allowed.
    pub message: String,
}

/// Every mistake that one reading of the file found, in the order of the lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    pub file: PathBuf,
    pub errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The text of each mistake, one line each: `lakeward.toml:12: pipeline.source.poll: …`.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        use super::document::escaped;
        let file = escaped(&self.file.to_string_lossy());
        self.errors.iter().map(move |error| {
            let mut text = file.clone();
            if error.line > 0 {
                text.push_str(&format!(":{}", error.line));
            }
            if !error.key.is_empty() {
                text.push_str(&format!(": {}", error.key));
            }
            // Messages quote what was found, whatever that is.
            format!("{text}: {}", escaped(&error.message))
        })
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.lines().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The mistakes found so far. Shared by all sections that are being read, hence the cell.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<ConfigError>>,
    /// The dotted keys that were asked for, so that a test can hold them against `config/default.toml`.
    #[cfg(test)]
    pub known: RefCell<std::collections::BTreeSet<String>>,
}

impl Problems {
    pub fn add(&self, line: usize, key: &str, message: impl Into<String>) {
        self.found.borrow_mut().push(ConfigError {
            line,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    #[cfg(test)]
    pub fn know(&self, section: &str, keys: &[&str]) {
        let mut known = self.known.borrow_mut();
        known.extend(keys.iter().map(|key| super::document::join(section, key)));
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// `None` if nothing is wrong.
    #[must_use]
    pub fn into_errors(self, file: &Path) -> Option<ConfigErrors> {
        let mut errors = self.found.into_inner();
        if errors.is_empty() {
            return None;
        }
        errors.sort_by_key(|error| error.line);
        errors.dedup();
        Some(ConfigErrors {
            file: file.to_owned(),
            errors,
        })
    }
}
