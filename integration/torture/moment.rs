//! At which steps the batches of a frozen program are: read from its journal, its staging and its lake, by means that are
//! not the program's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
    let moment = Moment::of(var);
    moment
        .and_then(|moment| moment.steps(staging, lake))
        .unwrap_or_default()
}

/// A journal as it was at one moment.
pub struct Moment {
    journal: Connection,
    /// A copy, since whoever opens a database touches it.
    _copy: tempfile::TempDir,
}

impl Moment {
    /// `None` where there is no journal yet, or none that can be read.
    pub fn of(var: &Path) -> Option<Self> {
        let copy = tempfile::tempdir().expect("a directory");
        let at = copy.path().join("journal.db");
        std::fs::copy(var.join("journal.db"), &at).ok()?;
        let wal = copy.path().join("journal.db-wal");
        let _absent = std::fs::copy(var.join("journal.db-wal"), wal);
        Some(Self {
            journal: Connection::open(at).ok()?,
            _copy: copy,
        })
    }

    pub fn steps(&self, staging: &Path, lake: &LakeAt) -> Option<BTreeSet<Step>> {
        let own: i64 = self
            .journal
            .query_row("SELECT id FROM journal", [], |row| row.get(0))
            .ok()?;
        let mut steps = BTreeSet::new();
        let mut known = BTreeSet::new();
        for (pipeline, name, batch, state) in unfinished(&self.journal).ok()? {
            let files = data_files(&self.journal, pipeline, batch).ok()?;
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
        let put: i64 = self
            .journal
            .query_row("SELECT count(*) FROM segment WHERE batch = 0", [], |row| {
                row.get(0)
            })
            .ok()?;
        let is_known = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            known.contains(name.as_ref())
        };
        if put > 0 || !staged_in(staging).iter().all(is_known) {
            steps.insert(Step::Open);
        }
        Some(steps)
    }

    /// I5: files whose checkpoint is not where their committed segments end.
    pub fn not_joined(&self) -> Vec<String> {
        let read = || -> rusqlite::Result<Vec<String>> {
            self.journal
                .prepare(NOT_JOINED)?
                .query_map([], |row| {
                    let path: Vec<u8> = row.get(0)?;
                    let (checkpoint, end): (i64, i64) = (row.get(1)?, row.get(2)?);
                    Ok(format!(
                        "I5: the checkpoint of `{}` is {checkpoint}, its committed segments end at {end}",
                        String::from_utf8_lossy(&path)
                    ))
                })?
                .collect()
        };
        read().unwrap_or_default()
    }
}

/// Files whose segments the journal still has.
const NOT_JOINED: &str = "
    SELECT path, checkpoint, committed FROM (
        SELECT f.path, f.checkpoint, max(CASE WHEN b.state >= 1 THEN s.to_offset ELSE 0 END) AS committed
        FROM file f JOIN segment s ON s.file = f.id
        LEFT JOIN batch b ON b.pipeline = f.pipeline AND b.number = s.batch
        GROUP BY f.id
    ) WHERE checkpoint <> committed";

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

/// Every staged copy, of whatever batch.
pub fn staged_in(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(staged_in(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "staged")
        {
            found.push(path);
        }
    }
    found
}
