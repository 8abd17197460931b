//! Names of files that are being written: `.NAME.<16 hex digits>.tmp`, new for each attempt.
//!
//! They begin with a dot, so that no reader looks at them, and end in no data file's extension. NAME tells which final
//! name they were meant for, so that what a kill left can be found without listing more than one directory.

use crate::crash;
use crate::segment::Digest;

/// HDFS limits a name to 255 bytes; a longer final name is stood for by its digest.
const NAME_BYTES_MAX: usize = 230;
const DIGITS: usize = 16;

/// A new temporary name in the directory of `path`, an absolute one.
pub(super) fn beside(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    within(dir, name)
}

/// A new temporary name for `name` in another directory.
pub(super) fn within(dir: &str, name: &str) -> String {
    let attempt = if crash::broken("lake-shared-temporary-name") {
        0
    } else {
        crate::lake::random()
    };
    format!("{dir}/.{}.{attempt:016x}.tmp", stem(name))
}

fn stem(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        name.to_owned()
    } else {
        Digest::of(name.as_bytes()).to_string()
    }
}

/// Whether `candidate` is a temporary name, for whatever final one.
pub(super) fn is_one(candidate: &str) -> bool {
    stem_of(candidate).is_some()
}

/// Whether `candidate` is a temporary name for exactly `name`.
pub(super) fn is_for(candidate: &str, name: &str) -> bool {
    stem_of(candidate) == Some(&stem(name))
}

fn stem_of(candidate: &str) -> Option<&str> {
    let middle = candidate.strip_prefix('.')?.strip_suffix(".tmp")?;
    let (stem, digits) = middle.rsplit_once('.')?;
    let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (digits.len() == DIGITS && digits.bytes().all(hexadecimal) && !stem.is_empty()).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_is_hidden_and_found_by_its_final_one_alone() {
        let one = beside("/lake/dt=1/a.parquet");
        let name = one.strip_prefix("/lake/dt=1/").unwrap();
        assert!(name.starts_with('.') && is_one(name), "{name}");
        assert!(is_for(name, "a.parquet"));
        for other in ["a.parquet.gz", "a", "parquet", ".a.parquet"] {
            assert!(!is_for(name, other), "{other}");
        }
        assert_ne!(one, beside("/lake/dt=1/a.parquet"));
        assert!(!is_one(".a.parquet.tmp"));
        assert!(!is_one("a.parquet"));
    }

    #[test]
    fn the_longest_final_name_still_has_a_temporary_one() {
        let name = "n".repeat(255);
        let temporary = beside(&format!("/{name}"));
        assert!(temporary.len() <= 256, "{temporary}");
        assert!(is_for(&temporary[1..], &name));
        assert!(!is_for(&temporary[1..], &"m".repeat(255)));
    }
}
