//! Which names a scan visits, and which names retired and quarantined files get. Pure.
//!
//! | name | read |
//! | --- | --- |
//! | begins with `.`, at any level | never: hidden, our own files among them |
//! | ends with one of `skip_suffixes` | never: still being written |
//! | ends with `ready_marker` | never: a marker |
//! | ends with `retire_suffix`, or that and `.` and a number (under `retire = "rename"`) | never: retired |
//! | matches `exclude`, or does not match `include` | no |
//!
//! A name may hold 255 bytes. Where a suffix or a number would make it longer, its beginning is kept and the rest stands
//! as a digest, so that different names stay different.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::segment::RelativePath;
use crate::spool::{DELETE_PREFIX, Retire, SpoolSettings};

/// Linux's limit for one component (`NAME_MAX`), in bytes.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// Patterns without `/` match the base name, the others the path below the spool.
#[derive(Debug)]
struct Patterns {
    names: GlobSet,
    paths: GlobSet,
}

#[derive(Debug)]
pub(super) struct Names {
    include: Patterns,
    exclude: Patterns,
    /// `x/**` in `exclude` shuts out all below `x`, so that `x` need not be entered, nor be readable.
    closed: GlobSet,
    skip_suffixes: Vec<Vec<u8>>,
    marker: Vec<u8>,
    retire: Retire,
    retire_suffix: Vec<u8>,
}

impl Patterns {
    fn new(key: &str, patterns: &[String]) -> Result<Self, String> {
        let mut names = GlobSetBuilder::new();
        let mut paths = GlobSetBuilder::new();
        for pattern in patterns {
            let set = if pattern.contains('/') {
                &mut paths
            } else {
                &mut names
            };
            set.add(glob(key, pattern)?);
        }
        Ok(Self {
            names: build(key, &names)?,
            paths: build(key, &paths)?,
        })
    }

    fn matches(&self, path: &[u8], name: &[u8]) -> bool {
        self.names.is_match_candidate(&Candidate::from_bytes(name))
            || (!self.paths.is_empty()
                && self.paths.is_match_candidate(&Candidate::from_bytes(path)))
    }
}

fn glob(key: &str, pattern: &str) -> Result<globset::Glob, String> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|e| format!("{key}: {e}"))
}

fn build(key: &str, set: &GlobSetBuilder) -> Result<GlobSet, String> {
    set.build().map_err(|e| format!("{key}: {e}"))
}

impl Names {
    pub(super) fn new(settings: &SpoolSettings) -> Result<Self, String> {
        if settings.include.is_empty() {
            return Err("include: it names nothing; [\"*\"] is every file".into());
        }
        let mut closed = GlobSetBuilder::new();
        for pattern in &settings.exclude {
            if let Some(directory) = pattern.strip_suffix("/**").filter(|d| !d.is_empty()) {
                closed.add(glob("exclude", directory)?);
            }
        }
        for suffix in &settings.skip_suffixes {
            plain("skip_suffixes", suffix)?;
        }
        if !settings.ready_marker.is_empty() {
            plain("ready_marker", &settings.ready_marker)?;
        }
        if settings.retire == Retire::Rename {
            plain("retire_suffix", &settings.retire_suffix)?;
        }
        let bytes = |text: &String| text.as_bytes().to_vec();
        Ok(Self {
            include: Patterns::new("include", &settings.include)?,
            exclude: Patterns::new("exclude", &settings.exclude)?,
            closed: build("exclude", &closed)?,
            skip_suffixes: settings.skip_suffixes.iter().map(bytes).collect(),
            marker: bytes(&settings.ready_marker),
            retire: settings.retire,
            retire_suffix: bytes(&settings.retire_suffix),
        })
    }

    /// Whether a file of this name is read, as far as its name tells.
    pub(super) fn is_read(&self, path: &[u8], name: &[u8]) -> bool {
        !name.starts_with(b".")
            && !self.skip_suffixes.iter().any(|s| name.ends_with(s))
            && !self.is_marker(name)
            && !self.is_retired(name)
            && self.include.matches(path, name)
            && !self.exclude.matches(path, name)
    }

    /// Whether anything below this directory may be read.
    pub(super) fn is_entered(&self, path: &[u8], name: &[u8]) -> bool {
        !name.starts_with(b".")
            && (self.closed.is_empty()
                || !self.closed.is_match_candidate(&Candidate::from_bytes(path)))
    }

    fn is_marker(&self, name: &[u8]) -> bool {
        !self.marker.is_empty() && name.ends_with(&self.marker)
    }

    fn is_retired(&self, name: &[u8]) -> bool {
        if self.retire != Retire::Rename {
            return false;
        }
        if name.ends_with(&self.retire_suffix) {
            return true;
        }
        let Some(dot) = name.iter().rposition(|b| *b == b'.') else {
            return false;
        };
        is_number(&name[dot + 1..]) && name[..dot].ends_with(&self.retire_suffix)
    }

    /// The name of a file's marker; `None` where there are no markers or none could have so long a name.
    pub(super) fn marker_of(&self, name: &[u8]) -> Option<Vec<u8>> {
        if self.marker.is_empty() || name.len() + self.marker.len() > NAME_BYTES_MAX {
            return None;
        }
        Some([name, &self.marker].concat())
    }

    pub(super) fn has_marker(&self) -> bool {
        !self.marker.is_empty()
    }

    /// See [`crate::spool::Spool::retire_target`].
    pub(super) fn retire_target(&self, path: &RelativePath, attempt: u32) -> RelativePath {
        match self.retire {
            Retire::Rename => {
                let suffix = [&self.retire_suffix, &number(attempt)[..]].concat();
                renamed(path, &lengthened(path.name(), &suffix))
            }
            Retire::Move => renamed(path, &lengthened(path.name(), &number(attempt))),
            Retire::Delete => {
                let digest = XxHash3_128::oneshot(path.name());
                let name = [DELETE_PREFIX, format!("{digest:032x}-{attempt}").as_bytes()].concat();
                renamed(path, &name)
            }
            Retire::Keep => path.clone(),
        }
    }

    /// See [`crate::spool::Spool::gives_target`].
    pub(super) fn gives_target(&self, path: &RelativePath, target: &RelativePath) -> bool {
        // A number ends it, if it is not the first.
        let digits = target.name().rsplit(|b| !b.is_ascii_digit()).next();
        let attempt = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok());
        self.retire != Retire::Keep
            && [Some(0), attempt]
                .into_iter()
                .flatten()
                .any(|attempt| self.retire_target(path, attempt) == *target)
    }
}

/// A suffix as the configuration may give it.
fn plain(key: &str, suffix: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&suffix.len()) && !suffix.contains(['/', '\0']);
    if fits {
        return Ok(());
    }
    Err(format!(
        "{key}: `{}` cannot end a file's name: 1 to 64 bytes without `/` can",
        suffix.escape_debug()
    ))
}

/// `.n` for the `n`th attempt, nothing for the first.
fn number(attempt: u32) -> Vec<u8> {
    if attempt == 0 {
        return Vec::new();
    }
    format!(".{attempt}").into_bytes()
}

/// Whether these are digits that [`number`] could have written.
fn is_number(digits: &[u8]) -> bool {
    digits.len() <= 10
        && digits.first().is_some_and(|b| (b'1'..=b'9').contains(b))
        && digits.iter().all(u8::is_ascii_digit)
}

/// `name` and `suffix`, within the limit: a name that is too long keeps its beginning, and `~` and a digest of all of it.
pub(super) fn lengthened(name: &[u8], suffix: &[u8]) -> Vec<u8> {
    if name.len() + suffix.len() <= NAME_BYTES_MAX {
        return [name, suffix].concat();
    }
    let digest = format!("~{:016x}", XxHash3_64::oneshot(name));
    let room = NAME_BYTES_MAX.saturating_sub(suffix.len() + digest.len());
    let cut = (0..=room.min(name.len()))
        .rev()
        .find(|at| name.get(*at).is_none_or(|b| b & 0xC0 != 0x80))
        .unwrap_or(0);
    [&name[..cut], digest.as_bytes(), suffix].concat()
}

/// The `attempt`th name for a file that is set aside as it is called.
pub(super) fn numbered(name: &[u8], attempt: u32) -> Vec<u8> {
    lengthened(name, &number(attempt))
}

/// The same directory, another name.
fn renamed(path: &RelativePath, name: &[u8]) -> RelativePath {
    let mut bytes = path.parent().to_vec();
    if !bytes.is_empty() {
        bytes.push(b'/');
    }
    bytes.extend_from_slice(name);
    // A plain name in the place of another keeps a path valid; if it ever did not, the file's own path is a target that
    // is always taken.
    RelativePath::new(&bytes).unwrap_or_else(|_| path.clone())
}
