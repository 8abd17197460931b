//! A table of the file while it is being converted: gives out values by key, notes what is wrong, and knows in the end
//! which keys nobody asked for.

use std::time::Duration;

use super::document::{Entry, Table, Text, Value, join, shown};
use super::error::Problems;
use super::nearest::nearest;
use super::quantity::{DURATION_FORM, SIZE_FORM, parse_duration, parse_size};

/// A section that is absent reads as an empty one.
pub struct Section<'a> {
    /// Dotted, empty for the file's top.
    path: String,
    table: Option<&'a Table>,
    /// Of its header, or of what it would stand in.
    line: usize,
    asked: Vec<&'static str>,
    refused: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    #[must_use]
    pub fn top(table: &'a Table, problems: &'a Problems) -> Self {
        Self {
            path: String::new(),
            table: Some(table),
            line: 0,
            asked: Vec::new(),
            refused: Vec::new(),
            problems,
        }
    }

    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    #[must_use]
    pub fn is_given(&self) -> bool {
        self.table.is_some()
    }

    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.get(key).is_some())
    }

    /// The keys that are given, with their lines.
    pub fn given(&self) -> impl Iterator<Item = &'a Entry> {
        self.table.into_iter().flat_map(|table| table.0.iter())
    }

    /// Says that something is wrong with a key, given or not.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.problems
            .add(self.line_of(key), &join(&self.path, key), message);
    }

    /// As [`Self::problem`], for something below a key that has a line of its own.
    pub fn problem_at(&self, line: usize, key: &str, message: impl Into<String>) {
        let path = format!("{}.{key}", self.path);
        self.problems.add(line, path.trim_matches('.'), message);
    }

    /// Whether a key is given as `""`, which means its default.
    #[must_use]
    pub fn is_empty_text(&self, key: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(
            |entry| matches!(&entry.node.value, Value::Text(text) if text.value.is_empty()),
        )
    }

    /// What a message may say of a key's value.
    #[must_use]
    pub fn found(&self, key: &str) -> String {
        self.table
            .and_then(|table| table.get(key))
            .map_or_else(|| "nothing".to_owned(), |entry| entry.node.value.found())
    }

    fn wrong(&self, entry: &Entry, allowed: &str) {
        self.problems.add(
            entry.node.line,
            &join(&self.path, &entry.key),
            format!("found {}; {allowed}", entry.node.value.found()),
        );
    }

    /// `None` also if its value was complained of already.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.asked.push(key);
        self.table?
            .get(key)
            .filter(|entry| !matches!(entry.node.value, Value::Broken))
    }

    /// Whether the value was complained of already.
    #[must_use]
    pub fn is_broken(&self, key: &str) -> bool {
        self.table
            .and_then(|table| table.get(key))
            .is_some_and(|entry| matches!(entry.node.value, Value::Broken))
    }

    /// Marks a key as known though it is refused, so that [`Self::finish`] does not complain again.
    pub fn refused(&mut self, key: &'static str) {
        self.refused.push(key);
    }

    /// The line of a key's value; the section's own if it is not given.
    #[must_use]
    pub fn line_of(&self, key: &str) -> usize {
        self.table
            .and_then(|table| table.get(key))
            .map_or(self.line, |entry| entry.node.line)
    }

    /// A section below this one.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        let entry = self.get(key);
        let table = match entry.map(|entry| &entry.node.value) {
            Some(Value::Table(table)) => Some(table),
            _ => None,
        };
        if let (Some(entry), None) = (entry, table) {
            self.wrong(
                entry,
                &format!("a table `[{}]` is allowed", join(&self.path, key)),
            );
        }
        Section {
            path: join(&self.path, key),
            table,
            line: entry.map_or(self.line, |entry| entry.line),
            asked: Vec::new(),
            refused: Vec::new(),
            problems: self.problems,
        }
    }

    /// The sections of a list of tables, `[[key]]`.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let path = join(&self.path, key);
        let Some(entry) = self.get(key) else {
            return Vec::new();
        };
        let Value::Array(items) = &entry.node.value else {
            self.wrong(entry, &format!("tables `[[{path}]]` are allowed"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            let Value::Table(table) = &item.value else {
                self.wrong(entry, &format!("tables `[[{path}]]` are allowed"));
                continue;
            };
            sections.push(Section {
                path: path.clone(),
                table: Some(table),
                line: item.line,
                asked: Vec::new(),
                refused: Vec::new(),
                problems: self.problems,
            });
        }
        sections
    }

    /// A string, if given.
    pub fn text(&mut self, key: &'static str) -> Option<&'a Text> {
        let entry = self.get(key)?;
        if let Value::Text(text) = &entry.node.value {
            return Some(text);
        }
        self.wrong(entry, "a string is allowed");
        None
    }

    pub fn string(&mut self, key: &'static str, default: &str) -> String {
        self.text(key)
            .map_or_else(|| default.to_owned(), |text| text.value.clone())
    }

    /// A string that must be given and not empty; empty after a complaint.
    pub fn required(&mut self, key: &'static str, what: &str) -> String {
        if !self.has(key) {
            self.problem(key, format!("missing; {what}"));
        }
        let value = self.string(key, "");
        if self.has(key)
            && value.is_empty()
            && matches!(self.get(key).map(|e| &e.node.value), Some(Value::Text(_)))
        {
            self.problem(key, format!("empty; {what}"));
        }
        value
    }

    /// A string whose conversion may fail; the default after a complaint. `convert` says what is allowed, not what was found.
    pub fn converted<T>(
        &mut self,
        key: &'static str,
        default: T,
        convert: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        convert(&text.value).unwrap_or_else(|message| {
            self.problem(key, format!("found {}; {message}", text.shown()));
            default
        })
    }

    pub fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.get(key) else {
            return default;
        };
        match &entry.node.value {
            Value::Boolean(value) => *value,
            // `"${DRY:-true}"` cannot be written without quotes.
            Value::Text(text) if text.value == "true" => true,
            Value::Text(text) if text.value == "false" => false,
            _ => {
                self.wrong(entry, "`true` or `false` is allowed");
                default
            }
        }
    }

    /// A whole number of `range`, also as a string, since `"${LANES:-4}"` cannot be written without quotes.
    pub fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let Some(entry) = self.get(key) else {
            return default;
        };
        let number = match &entry.node.value {
            Value::Integer(Some(number)) => u64::try_from(*number).ok(),
            Value::Text(text) => text.value.trim().parse().ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return number;
        }
        let allowed = if *range.end() >= super::quantity::NO_LIMIT {
            format!("a whole number from {} on is allowed", range.start())
        } else {
            format!(
                "a whole number from {} to {} is allowed",
                range.start(),
                range.end()
            )
        };
        self.wrong(entry, &allowed);
        default
    }

    /// A size in bytes.
    pub fn size(&mut self, key: &'static str, default: u64) -> u64 {
        let Some(entry) = self.get(key) else {
            return default;
        };
        match &entry.node.value {
            Value::Integer(Some(number)) if *number >= 0 => *number as u64,
            Value::Text(text) => parse_size(&text.value).unwrap_or_else(|message| {
                self.problem(key, format!("found {}; {message}", text.shown()));
                default
            }),
            _ => {
                self.wrong(entry, &format!("allowed are {SIZE_FORM}"));
                default
            }
        }
    }

    /// As [`Self::size`]; 0 becomes a limit that nothing reaches.
    pub fn size_or_no_limit(&mut self, key: &'static str, default: u64) -> u64 {
        match self.size(key, default) {
            0 => super::quantity::NO_LIMIT,
            size => size,
        }
    }

    /// `None`: for ever.
    pub fn duration(&mut self, key: &'static str, default: Option<Duration>) -> Option<Duration> {
        let Some(entry) = self.get(key) else {
            return default;
        };
        match &entry.node.value {
            Value::Integer(Some(0)) => Some(Duration::ZERO),
            Value::Text(text) => parse_duration(&text.value).unwrap_or_else(|message| {
                self.problem(key, format!("found {}; {message}", text.shown()));
                default
            }),
            _ => {
                self.wrong(entry, &format!("allowed is {DURATION_FORM}"));
                default
            }
        }
    }

    /// One word of several.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        allowed: &[(&'static str, T)],
    ) -> T {
        self.converted(key, default, |word| choose(word, allowed))
    }

    /// A list of strings.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<&'a Text>> {
        let entry = self.get(key)?;
        let Value::Array(items) = &entry.node.value else {
            self.wrong(entry, "a list of strings is allowed");
            return None;
        };
        if items.iter().any(|item| matches!(item.value, Value::Broken)) {
            return None;
        }
        let mut texts = Vec::new();
        for item in items {
            if let Value::Text(text) = &item.value {
                texts.push(text);
            } else {
                self.problems.add(
                    item.line,
                    &join(&self.path, key),
                    format!(
                        "found {} in the list; a list of strings is allowed",
                        item.value.found()
                    ),
                );
            }
        }
        Some(texts)
    }

    pub fn strings(&mut self, key: &'static str, default: &[&str]) -> Vec<String> {
        self.texts(key).map_or_else(
            || default.iter().map(|text| (*text).to_owned()).collect(),
            |texts| texts.iter().map(|text| text.value.clone()).collect(),
        )
    }

    /// Complains of every key that nobody asked for. `elsewhere` knows where a key belongs instead.
    pub fn finish(self, elsewhere: impl Fn(&str) -> Option<String>) {
        let asked = &self.asked;
        #[cfg(test)]
        self.problems.know(&self.path, asked);
        for entry in self.given() {
            let key = entry.key.as_str();
            if asked.contains(&key) || self.refused.contains(&key) {
                continue;
            }
            let near = nearest(&entry.key, asked.iter().copied()).unwrap_or_default();
            let mut message = format!("unknown key; the nearest known one is `{near}`");
            if let Some(place) = elsewhere(&entry.key) {
                message.push_str(&format!("; `{}` belongs in {place}", shown(&entry.key)));
            }
            self.problems
                .add(entry.line, &join(&self.path, &entry.key), message);
        }
    }
}

/// # Errors
/// The words that are allowed, without the one that was found.
pub fn choose<T: Copy>(word: &str, allowed: &[(&'static str, T)]) -> Result<T, String> {
    if let Some((_, value)) = allowed.iter().find(|(name, _)| *name == word) {
        return Ok(*value);
    }
    let words: Vec<String> = allowed
        .iter()
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    Err(format!("allowed is one of {}", words.join(", ")))
}
