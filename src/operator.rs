//! What an operator decides: `release` a quarantined file, `resolve` a batch whose records are gone, `adopt` a spool.
//!
//! Beside a running agent these are requests that its one writer carries out; without one the command takes the lock and
//! carries them out itself, by the same functions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::info;

use crate::format::ReadingSettings;
use crate::journal::{BatchRow, FileRow, FileState, Journal, Request};
use crate::lake::Lake;
use crate::pipeline::{Halt, random_id, read_claim, write_claim};
use crate::protocol::{BatchState, Manifest, ManifestBody, Tombstone};
use crate::segment::{BatchNumber, FileStat};
use crate::spool::{Claim, OpenedFile, Spool, SpooledFile};

/// A pipeline's spool and lake.
pub struct Place {
    pub pipeline: String,
    /// The spool's directory.
    pub root: PathBuf,
    pub spool: Arc<dyn Spool>,
    pub lake: Arc<dyn Lake>,
    /// The journal's path, for a claim.
    pub journal_path: String,
}

/// Carries out a request; answers what was done, in words.
pub fn carry_out(
    journal: &dyn Journal,
    spools: &[Place],
    request: &Request,
) -> Result<String, Halt> {
    match request {
        Request::Release { file, as_new } => {
            let row = journal
                .file(*file)?
                .ok_or_else(|| Halt::Stopped(format!("the journal has no file {}", file.0)))?;
            release(journal, spools, &row, *as_new)
        }
        Request::Resolve { pipeline, batch } => resolve(journal, pipeline, *batch),
        Request::Adopt { pipeline } => {
            let place = spools
                .iter()
                .find(|place| place.pipeline == *pipeline)
                .ok_or_else(|| {
                    Halt::Stopped(format!(
                        "adopt: the agent that holds the journal has no pipeline `{pipeline}`"
                    ))
                })?;
            adopt(journal, place)
        }
    }
}

/// Takes over, on purpose, a spool that belongs to another journal. That journal is closed for the pipeline first, so that an
/// agent of it that comes to life again stops there.
fn adopt(journal: &dyn Journal, place: &Place) -> Result<String, Halt> {
    let (spool, lake) = (place.spool.as_ref(), place.lake.as_ref());
    let before = read_claim(spool, lake, &place.pipeline)?;
    let known = journal
        .pipelines()?
        .into_iter()
        .find(|row| row.name == place.pipeline);
    // A spool that was first met unmounted may have a claim of this journal from before, and the journal know another spool.
    let ours = |claim: &Claim| {
        claim.journal == journal.id()
            && claim.pipeline == place.pipeline
            && known.as_ref().is_none_or(|row| row.spool == claim.spool)
    };
    if before.as_ref().is_some_and(ours) {
        return Ok(format!(
            "spool `{}` belongs to journal {} already",
            place.root.display(),
            journal.id()
        ));
    }
    let _alone = spool.lock()?.ok_or_else(|| {
        Halt::Locked(format!(
            "spool `{}` is in use by a live agent: stop it first",
            place.root.display()
        ))
    })?;
    if let Some(claim) = &before
        && claim.journal != journal.id()
    {
        let tombstone = Tombstone {
            successor: journal.id(),
            adopted: true,
        };
        crate::rebuild::close(lake, &claim.pipeline, claim.journal, &tombstone)?;
    }
    let spool_id = match (&known, &before) {
        (Some(row), _) => row.spool,
        (None, Some(claim)) => claim.spool,
        (None, None) => random_id()?,
    };
    write_claim(
        spool,
        lake,
        Claim {
            spool: spool_id,
            pipeline: place.pipeline.clone(),
            journal: journal.id(),
            journal_path: place.journal_path.clone(),
            directory: None,
        },
    )?;
    let was = before.map_or_else(
        || "had no claim".to_owned(),
        |claim| {
            format!(
                "belonged to journal {} (`{}`)",
                claim.journal, claim.journal_path
            )
        },
    );
    Ok(format!(
        "spool `{}` {was}; it belongs to journal {} now. Files that the other journal had begun land from their beginning.",
        place.root.display(),
        journal.id()
    ))
}

/// The quarantined file goes on at its checkpoint if its beginning is unchanged, or its content counts as new.
///
/// The journal comes first, the file's way back into the spool second: seen in the spool before the journal allows it, it
/// would be quarantined again. A kill in between is mended by the same command.
fn release(
    journal: &dyn Journal,
    spools: &[Place],
    row: &FileRow,
    as_new: bool,
) -> Result<String, Halt> {
    let place_of_file = spool_of(journal, spools, row)?;
    let (spool, root) = (&place_of_file.spool, &place_of_file.root);
    let aside = aside(row);
    if row.state != FileState::Quarantined && aside.is_none() {
        return Err(Halt::Stopped(format!(
            "release `{}`: it is not quarantined",
            row.path
        )));
    }
    let home = spool.stat(&row.path)?;
    if aside.is_none() && home.is_none() {
        return Err(Halt::Stopped(format!(
            "release `{}`: the file is neither in the spool nor in quarantine; drop it again first",
            row.path
        )));
    }
    if as_new {
        journal.forget(row.id, "released as new")?;
        if let (Some(aside), None) = (&aside, home) {
            move_back(aside, root, row)?;
        }
        return Ok(format!(
            "`{}` counts as new: all of it lands, what was committed of it ({} bytes) a second time",
            row.path, row.checkpoint
        ));
    }
    if row.state != FileState::Quarantined {
        if let (Some(aside), None) = (&aside, home) {
            move_back(aside, root, row)?;
        }
        return Ok(format!(
            "`{}` goes on at offset {}",
            row.path, row.checkpoint
        ));
    }
    let (file, stat) = open_released(spool.as_ref(), row, aside.as_deref(), home)?;
    let settings: ReadingSettings = serde_json::from_value((*row.settings).clone())
        .map_err(|e| Halt::Stopped(format!("reading settings of `{}`: {e}", row.path)))?;
    let ranges: Vec<_> = journal
        .ranges(row.id)?
        .into_iter()
        .map(|range| range.segment)
        .collect();
    crate::source::verify_beginning(file, &settings, &ranges).map_err(|why| {
        Halt::Stopped(format!(
            "release `{}`: {why}, so it cannot go on at offset {}; put the file back as it was, or let all of it land as a new one with `lakeward release --as-new`",
            row.path, row.checkpoint
        ))
    })?;
    journal.release(row.id, &stat, &row.path)?;
    if let (Some(aside), None) = (&aside, home) {
        move_back(aside, root, row)?;
    }
    info!(path = %row.path, checkpoint = row.checkpoint, "released");
    Ok(format!(
        "`{}` goes on at offset {}",
        row.path, row.checkpoint
    ))
}

/// Where the file stands that was set aside: also after a release that was killed before it was moved back.
#[must_use]
pub fn aside(row: &FileRow) -> Option<PathBuf> {
    let place = crate::spool::place_of(row.quarantined_to.as_ref()?)?;
    place.symlink_metadata().is_ok().then_some(place)
}

fn spool_of<'a>(
    journal: &dyn Journal,
    spools: &'a [Place],
    row: &FileRow,
) -> Result<&'a Place, Halt> {
    for place in spools {
        let mut found = false;
        journal.visit_files(&place.pipeline, &mut |other| found |= other.id == row.id)?;
        if found {
            return Ok(place);
        }
    }
    Err(Halt::Stopped(format!(
        "release `{}`: no pipeline of the configuration has this file",
        row.path
    )))
}

fn open_released(
    spool: &dyn Spool,
    row: &FileRow,
    aside: Option<&Path>,
    home: Option<FileStat>,
) -> Result<OpenedFile, Halt> {
    if home.is_some() {
        return spool.open(&row.path)?.ok_or_else(|| {
            Halt::Stopped(format!("release `{}`: it is no regular file", row.path))
        });
    }
    let path = aside.ok_or_else(|| Halt::Bug("nothing to release".into()))?;
    let failed = |e: std::io::Error| {
        Halt::Stopped(format!(
            "release `{}`: open `{}`: {e}",
            row.path,
            path.display()
        ))
    };
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::CLOEXEC
        | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::File::from(
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|e| failed(e.into()))?,
    );
    let stat = file.stat().map_err(failed)?;
    Ok((Box::new(file), stat))
}

fn move_back(aside: &Path, root: &Path, row: &FileRow) -> Result<(), Halt> {
    crate::crash::place("before_move_back");
    let home = root.join(row.path.as_path());
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        aside,
        rustix::fs::CWD,
        &home,
        rustix::fs::RenameFlags::NOREPLACE,
    )
    .map_err(|e| {
        Halt::Stopped(format!(
            "release `{}`: move `{}` to `{}`: {e}; move it there by hand, the journal lets it go on",
            row.path,
            aside.display(),
            home.display()
        ))
    })?;
    let mut note = aside.as_os_str().to_owned();
    note.push(".reason.json");
    // The note is for people; one that stays behind misleads nobody for long.
    let _kept = std::fs::remove_file(note);
    Ok(())
}

/// Data files of a staged batch that cannot be encoded again are given up; all others still land. What is lost is said in the
/// answer and in a manifest revision.
fn resolve(journal: &dyn Journal, pipeline: &str, batch: BatchNumber) -> Result<String, Halt> {
    let unfinished = journal.unfinished(pipeline)?;
    let row = unfinished
        .iter()
        .find(|row| row.number == batch && row.state == BatchState::Staged)
        .ok_or_else(|| {
            Halt::Stopped(format!(
                "resolve: pipeline `{pipeline}` has no staged batch {batch}; it waits for {}",
                words(&unfinished)
            ))
        })?;
    let mut revised: Manifest = row.manifest.clone();
    revised.revision += 1;
    let ManifestBody::Batch(membership) = &mut revised.body else {
        return Err(Halt::Bug("a staged tombstone".into()));
    };
    membership.lost_files = membership
        .data_files
        .iter()
        .map(|file| file.number)
        .collect();
    let records: u64 = membership.data_files.iter().map(|file| file.records).sum();
    let files: Vec<String> = membership
        .files
        .iter()
        .map(|file| file.path.to_string())
        .collect();
    journal.revise(&revised)?;
    Ok(format!(
        "batch {batch} of pipeline `{pipeline}` ends with the next run; of its {} data files with {records} records, those that neither stand in the lake nor in staging are lost; its records came from {}",
        row.manifest.membership().map_or(0, |m| m.data_files.len()),
        files.join(", ")
    ))
}

fn words(unfinished: &[BatchRow]) -> String {
    if unfinished.is_empty() {
        return "no batch at all".to_owned();
    }
    let numbers: Vec<String> = unfinished
        .iter()
        .map(|row| format!("{} ({})", row.number, row.state))
        .collect();
    format!("batches {}", numbers.join(", "))
}
