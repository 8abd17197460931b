//! No directory of the configuration may contain another: a spool inside the lake would be listed as data, a lake inside
//! the spool would be landed, a state directory inside either would be both.
//!
//! Allowed are the hidden ones that the one around them never looks into: below a spool what begins with `.`, below a
//! lake what begins with `.` or `_`. Compared are the real directories: links are followed as far as the path exists.

use std::path::{Component, Path, PathBuf};

use super::document::{shown, shown_path};
use super::error::Problems;
use super::{AgentSettings, LakeSettings, PipelineSettings};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    State,
    Spool,
    RetireDir,
    QuarantineDir,
    Lake,
}

struct Place {
    kind: Kind,
    /// Empty: the agent's.
    pipeline: String,
    key: &'static str,
    line: usize,
    /// As configured, absolute.
    path: PathBuf,
    /// With links followed.
    real: PathBuf,
}

/// Where in the file a pipeline's directories are named.
pub(super) struct Lines {
    pub spool: usize,
    pub retire_dir: usize,
    pub quarantine_dir: usize,
    /// The key too: a pipeline may have a lake of its own.
    pub lake: (&'static str, usize),
}

impl Lines {
    pub fn new(lake: (&'static str, usize)) -> Self {
        Self {
            spool: 0,
            retire_dir: 0,
            quarantine_dir: 0,
            lake,
        }
    }
}

/// The directories collected so far.
pub(super) struct Places(Vec<Place>);

impl Places {
    pub fn new(agent: &AgentSettings, line: usize) -> Self {
        let mut places = Self(Vec::new());
        places.push(Kind::State, "", ("agent.state_dir", line), &agent.state_dir);
        places
    }

    pub fn add(&mut self, pipeline: &PipelineSettings, lines: &Lines) {
        let name = &pipeline.name;
        let spool = &pipeline.source.spool;
        let key = ("pipeline.source.path", lines.spool);
        self.push(Kind::Spool, name, key, &spool.path);
        if let Some(dir) = &spool.retire_dir {
            let key = ("pipeline.source.retire_dir", lines.retire_dir);
            self.push(Kind::RetireDir, name, key, dir);
        }
        let key = ("pipeline.source.quarantine_dir", lines.quarantine_dir);
        self.push(Kind::QuarantineDir, name, key, &spool.quarantine_dir);
        if let LakeSettings::Fs { root } = &pipeline.lake {
            self.push(Kind::Lake, name, lines.lake, root);
        }
    }

    fn push(&mut self, kind: Kind, pipeline: &str, key: (&'static str, usize), path: &Path) {
        // A missing path was complained of already, and what is below it is not absolute either.
        if !path.is_absolute() {
            return;
        }
        self.0.push(Place {
            kind,
            pipeline: pipeline.to_owned(),
            key: key.0,
            line: key.1,
            path: path.to_owned(),
            real: real(path),
        });
    }

    pub fn check(&self, problems: &Problems) {
        for (number, one) in self.0.iter().enumerate() {
            for other in &self.0[number + 1..] {
                if let Some(message) = clash(one, other) {
                    let place = if one.line > other.line { one } else { other };
                    problems.add(place.line, place.key, message);
                }
            }
        }
    }
}

fn clash(one: &Place, other: &Place) -> Option<String> {
    if one.kind == other.kind && one.kind != Kind::Spool {
        // Pipelines may share a lake, and names in the others are never overwritten.
        return None;
    }
    if one.real == other.real {
        if one.kind == other.kind {
            return Some(format!(
                "`{}` is also the spool of pipeline `{}`; two pipelines may not share a spool",
                shown_path(&other.path),
                shown(&one.pipeline)
            ));
        }
        return Some(format!(
            "{} and {} are the same directory; each needs its own",
            describe(other),
            describe(one)
        ));
    }
    let (outer, inner) = if inside(&one.real, &other.real) {
        (one, other)
    } else if inside(&other.real, &one.real) {
        (other, one)
    } else {
        return None;
    };
    if is_hidden(outer, inner) {
        return None;
    }
    Some(format!(
        "{} lies inside {}; they may not contain one another, except below a hidden directory",
        describe(inner),
        describe(outer)
    ))
}

fn describe(place: &Place) -> String {
    let mut text = format!("`{}` (`{}`)", place.key, shown_path(&place.path));
    if !place.pipeline.is_empty() {
        text.push_str(&format!(" of `{}`", shown(&place.pipeline)));
    }
    text
}

fn inside(outer: &Path, inner: &Path) -> bool {
    inner.starts_with(outer)
}

/// Whether whoever walks `outer` skips `inner`.
fn is_hidden(outer: &Place, inner: &Place) -> bool {
    let Ok(below) = inner.real.strip_prefix(&outer.real) else {
        return false;
    };
    below.components().any(|component| {
        let name = component.as_os_str().as_encoded_bytes();
        match outer.kind {
            Kind::Spool => name.starts_with(b"."),
            Kind::Lake => name.starts_with(b".") || name.starts_with(b"_"),
            Kind::State | Kind::RetireDir | Kind::QuarantineDir => false,
        }
    })
}

/// The path with the links of its existing part followed and `..` of the rest taken by name.
fn real(path: &Path) -> PathBuf {
    let mut rest: Vec<&std::ffi::OsStr> = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(found) = std::fs::canonicalize(existing) {
            let mut found = found;
            found.extend(rest.iter().rev());
            return without_dots(&found);
        }
        match (existing.parent(), existing.components().next_back()) {
            (Some(parent), Some(last)) => {
                rest.push(last.as_os_str());
                existing = parent;
            }
            _ => return without_dots(path),
        }
    }
}

fn without_dots(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}
