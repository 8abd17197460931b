//! At which steps the batches of a frozen program are: read from its journal, its staging and its lake, by means that are
//! not the program's own.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use crate::support::LakeAt;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Data files are being written to staging, or segments are in the journal, and no batch has them.
    Open,
    Staged,
    ManifestWritten,
    PartlyLanded,
    LandedNotCommitted,
    CommittedNotRetired,
}

impl Step {
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Staged,
        Self::ManifestWritten,
        Self::PartlyLanded,
        Self::LandedNotCommitted,
        Self::CommittedNotRetired,
    ];

    pub fn words(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Staged => "staged",
            Self::ManifestWritten => "manifest written",
            Self::PartlyLanded => "partly landed",
            Self::LandedNotCommitted => "landed and not committed",
            Self::CommittedNotRetired => "committed and not retired",
        }
    }
}

/// The steps of all batches that are not done. The program must stand still.
pub fn steps(var: &Path, staging: &Path, lake: &LakeAt) -> BTreeSet<Step> {
    try_steps(var, staging, lake).unwrap_or_default()
}

/// `None` where there is no journal yet, or none that can be read.
fn try_steps(var: &Path, staging: &Path, lake: &LakeAt) -> Option<BTreeSet<Step>> {
    // A copy, since whoever opens a database touches it.
    let copy = tempfile::tempdir().expect("a directory");
    let at = copy.path().join("journal.db");
    std::fs::copy(var.join("journal.db"), &at).ok()?;
    let wal = copy.path().join("journal.db-wal");
    let _absent = std::fs::copy(var.join("journal.db-wal"), wal);
    let journal = Connection::open(at).ok()?;
    let own: i64 = journal
        .query_row("SELECT id FROM journal", [], |row| row.get(0))
        .ok()?;
    let mut steps = BTreeSet::new();
    let mut known = BTreeSet::new();
    for (pipeline, name, batch, state) in unfinished(&journal).ok()? {
        let files = data_files(&journal, pipeline, batch).ok()?;
        if state == 1 {
            steps.insert(Step::CommittedNotRetired);
        } else {
            let manifest = format!("_lakeward/manifests/{name}/{own:016x}/{batch}.json");
            let landed = files.iter().filter(|(path, _)| lake.holds(path)).count();
            steps.insert(match (lake.holds(&manifest), landed) {
                (false, _) => Step::Staged,
                (true, landed) if landed == files.len() => Step::LandedNotCommitted,
                (true, 0) => Step::ManifestWritten,
                (true, _) => Step::PartlyLanded,
            });
        }
        known.extend(files.into_iter().map(|(_, staged)| staged));
    }
    let put: i64 = journal
        .query_row("SELECT count(*) FROM segment WHERE batch = 0", [], |row| {
            row.get(0)
        })
        .ok()?;
    let mut found = BTreeSet::new();
    staged_in(staging, &mut found);
    if put > 0 || found.iter().any(|name| !known.contains(name)) {
        steps.insert(Step::Open);
    }
    Some(steps)
}

fn unfinished(journal: &Connection) -> rusqlite::Result<Vec<(i64, String, i64, i64)>> {
    journal
        .prepare("SELECT p.id, p.name, b.number, b.state FROM batch b JOIN pipeline p ON p.id = b.pipeline WHERE b.state < 2")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect()
}

/// Final path and staged name of each.
fn data_files(
    journal: &Connection,
    pipeline: i64,
    batch: i64,
) -> rusqlite::Result<Vec<(String, String)>> {
    journal
        .prepare("SELECT path, staged FROM data_file WHERE pipeline = ?1 AND batch = ?2")?
        .query_map([pipeline, batch], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn staged_in(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            staged_in(&entry.path(), found);
        } else if let Ok(name) = entry.file_name().into_string()
            && name.ends_with(".staged")
        {
            found.insert(name);
        }
    }
}
