//! Every name that Lakeward gives in a lake, made and read back here and nowhere else.
//!
//! ```text
//! <path>/<pipeline>-<journal id>-<batch>-<n>.parquet          a data file, unique by construction
//! <rejects>/<pipeline>-<journal id>-<batch>-<n>.ndjson.gz     a reject file, `<rejects>` begins with `.` or `_`
//! _lakeward/manifests/<pipeline>/<journal id>/<batch>.json    a manifest; revision r: <batch>.<r>.json
//! _lakeward/claims/<pipeline>.json                            claim of a spool that cannot be written
//! _lakeward/staging/<journal id>/                             staging of a local lake
//! _lakeward/probe/                                            what `check` and the start-up probe write
//! ```
//!
//! Names are parsed from the right, since a pipeline's name may hold `-` and digits.

use std::fmt;

use crate::segment::{BatchNumber, JournalId};

/// The hidden directory that holds all that is the lake's own.
pub const METADATA_DIR: &str = "_lakeward";

/// A path below the lake's root: `/` between components, none of them empty, `.` or `..`, no NUL, no `\`-free escape
/// to elsewhere. May be used as a key of an object store as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LakePath(String);

impl LakePath {
    /// # Errors
    /// An empty, absolute or climbing path, said in words.
    pub fn new(path: &str) -> Result<Self, String> {
        let bad = path.contains('\0')
            || path
                .split('/')
                .any(|part| part.is_empty() || part == "." || part == "..");
        if bad {
            return Err(format!(
                "`{}` is not a path below the lake's root",
                path.escape_debug()
            ));
        }
        Ok(Self(path.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// # Errors
    /// As [`Self::new`].
    pub fn join(&self, name: &str) -> Result<Self, String> {
        Self::new(&format!("{}/{name}", self.0))
    }

    /// The last component.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Whether a reader that skips names beginning with `.` or `_` skips this one.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.0.split('/').any(|part| part.starts_with(['.', '_']))
    }
}

impl fmt::Display for LakePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether Hive escapes this byte of a partition's value in a directory's or partition's name, as `%XX`.
#[must_use]
pub fn hive_escapes(byte: u8) -> bool {
    byte < b' '
        || matches!(
            byte,
            b'"' | b'#'
                | b'%'
                | b'\''
                | b'*'
                | b'/'
                | b':'
                | b'='
                | b'?'
                | b'\\'
                | 0x7f
                | b'{'
                | b'['
                | b']'
                | b'^'
        )
}

/// What a data file's final name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFileName {
    pub pipeline: String,
    pub journal: JournalId,
    pub batch: BatchNumber,
    pub number: u32,
}

impl DataFileName {
    /// `<pipeline>-<journal id>-<batch>-<n>` and `extension`, which begins with a dot.
    #[must_use]
    pub fn file_name(&self, extension: &str) -> String {
        format!(
            "{}-{}-{}-{}{extension}",
            self.pipeline, self.journal, self.batch, self.number
        )
    }

    /// The name of the staged copy: it never ends in a data file's extension.
    #[must_use]
    pub fn staged_name(&self) -> String {
        format!(".{}-{}-{}.staged", self.pipeline, self.batch, self.number)
    }

    /// Reads a file name back, from the right; `None` for a name that is not of this form.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let stem = [".parquet", ".ndjson", ".ndjson.gz", ".ndjson.zst"]
            .iter()
            .find_map(|extension| name.strip_suffix(extension))?;
        let mut parts = stem.rsplitn(4, '-');
        let number = number_of(parts.next()?)?;
        let batch = BatchNumber(number_of(parts.next()?)?);
        let journal = parts.next()?.parse().ok()?;
        let pipeline = parts.next()?.to_owned();
        Some(Self {
            pipeline,
            journal,
            batch,
            number,
        })
    }
}

/// `_lakeward/manifests/<pipeline>/<journal id>`.
#[must_use]
pub fn manifest_dir(pipeline: &str, journal: JournalId) -> LakePath {
    LakePath(format!("{METADATA_DIR}/manifests/{pipeline}/{journal}"))
}

/// `<batch>.json`, of a revision above 0 `<batch>.<r>.json`.
#[must_use]
pub fn manifest_path(
    pipeline: &str,
    journal: JournalId,
    batch: BatchNumber,
    revision: u32,
) -> LakePath {
    let dir = manifest_dir(pipeline, journal);
    if revision == 0 {
        LakePath(format!("{dir}/{batch}.json"))
    } else {
        LakePath(format!("{dir}/{batch}.{revision}.json"))
    }
}

/// Batch and revision of a manifest's file name; `None` for anything else.
#[must_use]
pub fn parse_manifest_name(name: &str) -> Option<(BatchNumber, u32)> {
    let stem = name.strip_suffix(".json")?;
    let (batch, revision) = match stem.split_once('.') {
        Some((batch, revision)) => (batch, number_of(revision).filter(|number| *number > 0)?),
        None => (stem, 0),
    };
    Some((BatchNumber(number_of(batch)?), revision))
}

/// A number in the one form that is printed: `+7` and `007` would be other names of the same file.
fn number_of<N: std::str::FromStr + fmt::Display>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// `_lakeward/claims/<pipeline>.json`.
#[must_use]
pub fn claim_path(pipeline: &str) -> LakePath {
    LakePath(format!("{METADATA_DIR}/claims/{pipeline}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_file_name_is_read_back_though_the_pipeline_has_dashes_and_digits() {
        let name = DataFileName {
            pipeline: "orders-2-7".into(),
            journal: JournalId(0xdead_beef),
            batch: BatchNumber(42),
            number: 3,
        };
        for extension in [".parquet", ".ndjson", ".ndjson.gz", ".ndjson.zst"] {
            assert_eq!(
                DataFileName::parse(&name.file_name(extension)),
                Some(name.clone())
            );
        }
        assert_eq!(DataFileName::parse("part-0.parquet"), None);
        // Other ways to write the same numbers.
        for same in ["+42-3", "042-3", "42-+3", "42-03"] {
            let other = format!("orders-2-7-00000000deadbeef-{same}.parquet");
            assert_eq!(DataFileName::parse(&other), None, "{other}");
        }
        assert_eq!(DataFileName::parse(&name.staged_name()), None);
    }

    #[test]
    fn a_path_out_of_the_lake_is_refused() {
        for path in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0"] {
            assert!(LakePath::new(path).is_err(), "{path}");
        }
    }

    #[test]
    fn manifest_names_are_read_back() {
        let path = manifest_path("p", JournalId(1), BatchNumber(7), 2);
        assert_eq!(parse_manifest_name(path.name()), Some((BatchNumber(7), 2)));
        let path = manifest_path("p", JournalId(1), BatchNumber(7), 0);
        assert_eq!(parse_manifest_name(path.name()), Some((BatchNumber(7), 0)));
    }
}
