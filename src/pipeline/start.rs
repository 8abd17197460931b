//! Before anything is read: is this our spool, is this our lake, is this journal the newest?
//!
//! | found | answer |
//! | --- | --- |
//! | the spool is locked | locked (5) |
//! | no manifest at all, and the journal has committed batches there | the lake is not there (an unmounted disk): stop |
//! | no claim, and the journal never saw the pipeline | claim it |
//! | no claim, and the journal knows one | the spool is not there (an unmounted disk): stop |
//! | a claim of another journal or pipeline | stop, both names, `rebuild` or `adopt` |
//! | a manifest of ours past the journal's last batch | the journal is an old copy: stop, `rebuild` |
//! | a tombstone of ours | the journal was closed by a rebuild: stop |

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use tracing::info;

use super::{Halt, Pipeline, Ports};
use crate::config::LakeSettings;
use crate::crash;
use crate::journal::PipelineRow;
use crate::lake::Lake;
use crate::naming::{self, LakePath};
use crate::protocol::{Manifest, ManifestBody, Tombstone};
use crate::segment::{BatchNumber, JournalId};
use crate::spool::{Claim, Spool};

/// What holds while the pipeline runs.
pub struct Started {
    pub row: PipelineRow,
    _spool_lock: Box<dyn Send + Sync>,
}

pub fn start(pipeline: &Pipeline) -> Result<Started, Halt> {
    let ports = &pipeline.ports;
    let name = pipeline.settings.name.as_str();
    let lock = ports.spool.lock()?.ok_or_else(|| {
        Halt::Locked(format!(
            "spool `{}` of pipeline `{name}` is in use by another live agent",
            pipeline.settings.source.spool.path.display()
        ))
    })?;
    let known = known_row(ports, name)?;
    if let Some(row) = &known {
        refuse_absent_lake(ports, row)?;
    }
    let claim = claim(pipeline, known.as_ref())?;
    check_lake(pipeline, known.as_ref())?;
    probe(ports.lake.as_ref(), &pipeline.settings.lake)?;
    let row = ports
        .journal
        .pipeline(name, claim.spool, ports.lake.identity())?;
    if row.spool != claim.spool {
        return Err(Halt::Stopped(format!(
            "pipeline `{name}` has read spool {} and is now given spool {} at `{}`: set the old path again, give this spool to a pipeline of another name, or take it over with `lakeward adopt {name}`",
            row.spool,
            claim.spool,
            pipeline.settings.source.spool.path.display()
        )));
    }
    refuse_foreign_manifests(ports, name, row.staged)?;
    Ok(Started {
        row,
        _spool_lock: lock,
    })
}

/// What the lake says it honours, tried. A store that ignores conditions is refused unless the configuration accepts the weaker promise.
pub fn probe(lake: &dyn Lake, settings: &LakeSettings) -> Result<(), Halt> {
    let honours = lake.probe()?;
    let does_without = matches!(settings, LakeSettings::S3(s3) if !s3.conditional_writes);
    if !does_without && !honours.conditional_writes {
        return Err(Halt::Stopped(format!(
            "the store of lake `{}` ignores `If-None-Match`: two agents, or a request that comes late, could write over a landed file; use a store that honours it, or set `lake.conditional_writes = false` and accept that Lakeward then looks before it puts, which is a weaker promise (see the README)",
            lake.identity()
        )));
    }
    Ok(())
}

fn known_row(ports: &Ports, name: &str) -> Result<Option<PipelineRow>, Halt> {
    Ok(ports
        .journal
        .pipelines()?
        .into_iter()
        .find(|row| row.name == name))
}

fn claim(pipeline: &Pipeline, known: Option<&PipelineRow>) -> Result<Claim, Halt> {
    let ports = &pipeline.ports;
    let name = pipeline.settings.name.as_str();
    let spool_path = pipeline.settings.source.spool.path.display();
    let Some(claim) = read_claim(ports.spool.as_ref(), ports.lake.as_ref(), name)? else {
        if let Some(row) = known {
            return Err(Halt::Stopped(format!(
                "`{spool_path}` is not spool {} that journal {} knows for pipeline `{name}`: its claim `.lakeward-claim.json` is missing, so the disk is perhaps not mounted; mount it, or, if the directory was made anew on purpose, take it over with `lakeward adopt {name}`",
                row.spool,
                ports.journal.id()
            )));
        }
        let claim = Claim {
            spool: random_id()?,
            pipeline: name.to_owned(),
            journal: ports.journal.id(),
            journal_path: pipeline
                .agent
                .state_dir
                .join("journal.db")
                .display()
                .to_string(),
            directory: None,
        };
        write_claim(ports.spool.as_ref(), ports.lake.as_ref(), claim.clone())?;
        info!(pipeline = name, spool = %claim.spool, "claimed the spool");
        return Ok(claim);
    };
    // I12 alone: one spool, one journal.
    if (claim.journal != ports.journal.id() || claim.pipeline != name)
        && !crash::broken("i12-claim-not-compared")
    {
        return Err(Halt::Stopped(format!(
            "spool `{spool_path}` belongs to journal {} (`{}`, pipeline `{}`), not to journal {} of pipeline `{name}`: if that journal is lost or outdated, run `lakeward rebuild`; if its agent shall read this spool no more, run `lakeward adopt {name}` here",
            claim.journal,
            claim.journal_path,
            claim.pipeline,
            ports.journal.id()
        )));
    }
    // One that is merely seen may be another run's whose rename was not durable yet; once the journal knows the pipeline, a claim that
    // is gone means a disk that is not there.
    if known.is_none() && claim.directory.is_none() {
        ports.spool.write_claim(&claim)?;
    }
    Ok(claim)
}

/// A mount point without its disk is an empty directory: what would land there is gone as soon as the disk comes back,
/// and the spooled files are retired by then.
fn refuse_absent_lake(ports: &Ports, row: &PipelineRow) -> Result<(), Halt> {
    let lake = ports.lake.as_ref();
    // A staged batch may have been killed before its manifest; a committed one has it for good.
    if row.committed.0 == 0 || row.lake != lake.identity() {
        return Ok(());
    }
    let own = naming::manifest_dir(&row.name, ports.journal.id());
    // A rebuilt journal has none of its own yet; those that it was rebuilt from do.
    let all = LakePath::new(&format!("{}/manifests/{}", naming::METADATA_DIR, row.name))
        .map_err(Halt::Bug)?;
    for dir in [&own, &all] {
        let mut found = false;
        lake.list(dir, &mut |_| found = true)?;
        if found {
            return Ok(());
        }
    }
    Err(Halt::Stopped(format!(
        "lake `{}` holds no manifest of pipeline `{}`, of which journal {} has committed {} batches there: is it mounted, and is it the right root or bucket? If it was emptied on purpose, say so by an empty file `{own}/emptied` in it",
        lake.identity(),
        row.name,
        ports.journal.id(),
        row.committed
    )))
}

/// Leaves word in a new lake that this journal's earlier batches are in another one, see [`refuse_absent_lake`].
fn note_move(ports: &Ports, row: &PipelineRow) -> Result<(), Halt> {
    let own = naming::manifest_dir(&row.name, ports.journal.id());
    let path = LakePath::new(&format!("{own}/moved-after-{}", row.staged)).map_err(Halt::Bug)?;
    let text = format!("batches up to {} are in lake `{}`\n", row.staged, row.lake);
    // One that is there, from a move to and fro, says the same.
    ports.lake.create(&path, text.as_bytes())?;
    Ok(())
}

fn check_lake(pipeline: &Pipeline, known: Option<&PipelineRow>) -> Result<(), Halt> {
    let Some(row) = known else { return Ok(()) };
    let ports = &pipeline.ports;
    let name = pipeline.settings.name.as_str();
    if row.lake == ports.lake.identity() {
        return Ok(());
    }
    if let Some(batch) = ports.journal.unfinished(name)?.first() {
        return Err(Halt::Stopped(format!(
            "the lake of pipeline `{name}` is now `{}`, but its batch {} is staged for `{}` and not done: set the old lake again, run `lakeward run --once`, then change it",
            ports.lake.identity(),
            batch.number,
            row.lake
        )));
    }
    super::table::settle_waiting(
        ports.journal.as_ref(),
        &pipeline.settings,
        &row.lake,
        ports.lake.identity(),
    )?;
    if row.committed.0 > 0 {
        note_move(ports, row)?;
    }
    ports.journal.set_lake(name, ports.lake.identity())?;
    info!(pipeline = name, from = %row.lake, to = ports.lake.identity(), "the lake changed");
    Ok(())
}

/// I12 and finding 9: a manifest of this journal past its last staged batch, or a revision of a batch that it does not know (the
/// journal has each first), or a tombstone, means that this journal is not the newest.
fn refuse_foreign_manifests(
    ports: &Ports,
    pipeline: &str,
    staged: BatchNumber,
) -> Result<(), Halt> {
    let journal = ports.journal.id();
    let unfinished = ports.journal.unfinished(pipeline)?;
    let is_past = |batch: BatchNumber, revision: u32| {
        let known = unfinished.iter().find(|row| row.number == batch);
        batch > staged || known.is_some_and(|row| revision > row.manifest.revision)
    };
    let dir = naming::manifest_dir(pipeline, journal);
    let mut past: Vec<(BatchNumber, u32, LakePath)> = Vec::new();
    ports.lake.list(&dir, &mut |entry| {
        if let Some((batch, revision)) = naming::parse_manifest_name(entry.path.name())
            && is_past(batch, revision)
        {
            past.push((batch, revision, entry.path));
        }
    })?;
    past.sort();
    let Some((batch, revision, path)) = past.into_iter().next() else {
        return Ok(());
    };
    let text = ports.lake.read(&path)?.unwrap_or_default();
    match Manifest::from_json(&text).map(|manifest| manifest.body) {
        Ok(ManifestBody::Tombstone(tombstone)) => Err(closed(pipeline, journal, &tombstone)),
        _ if batch <= staged => Err(Halt::Stopped(format!(
            "journal {journal} does not know revision {revision} of batch {batch} of pipeline `{pipeline}`, whose manifest the lake holds (`{path}`): this journal is an old copy; run `lakeward rebuild`"
        ))),
        _ => Err(Halt::Stopped(format!(
            "journal {journal} knows pipeline `{pipeline}` up to batch {staged}, but the lake holds its manifest of batch {batch} (`{path}`): this journal is an old copy; run `lakeward rebuild`"
        ))),
    }
}

pub(super) fn closed(pipeline: &str, journal: JournalId, tombstone: &Tombstone) -> Halt {
    let successor = tombstone.successor;
    Halt::Stopped(if tombstone.adopted {
        format!(
            "the spool of pipeline `{pipeline}` was given to journal {successor} by `lakeward adopt`, and journal {journal} is closed for this pipeline: stop this agent for good, or give the pipeline another name and a spool of its own"
        )
    } else {
        format!(
            "journal {journal} of pipeline `{pipeline}` was closed by a rebuild; journal {successor} has taken over: stop this agent for good, or remove its state directory and run `lakeward rebuild`"
        )
    })
}

/// The claim, from the spool or, where the spool cannot be written, from the lake.
pub fn read_claim(
    spool: &dyn Spool,
    lake: &dyn Lake,
    pipeline: &str,
) -> Result<Option<Claim>, Halt> {
    if let Some(claim) = spool.claim()? {
        return Ok(Some(claim));
    }
    let directory = spool.directory()?;
    for (_, path) in lake_claims(lake, pipeline)?.into_iter().rev() {
        let text = lake.read(&path)?.unwrap_or_default();
        let claim: Claim = serde_json::from_slice(&text).map_err(|e| {
            Halt::Stopped(format!(
                "claim `{path}` in the lake cannot be read ({e}): look at it, and remove it if it is not a claim"
            ))
        })?;
        // That of another directory is another agent's, whose pipeline has the same name; or this spool is not there.
        if claim.directory == Some(directory) {
            return Ok(Some(claim));
        }
    }
    Ok(None)
}

/// Writes a claim into the spool or, where that cannot be written, as the next numbered claim into the lake.
pub fn write_claim(spool: &dyn Spool, lake: &dyn Lake, mut claim: Claim) -> Result<(), Halt> {
    if spool.write_claim(&claim)? {
        return Ok(());
    }
    claim.directory = Some(spool.directory()?);
    let number = lake_claims(lake, &claim.pipeline)?
        .last()
        .map_or(0, |(number, _)| number + 1);
    let path = lake_claim_path(&claim.pipeline, number)?;
    let text = serde_json::to_vec_pretty(&claim).map_err(|e| Halt::Bug(e.to_string()))?;
    match lake.create(&path, &text)? {
        crate::lake::Created::Ours => Ok(()),
        crate::lake::Created::Other => Err(Halt::Locked(format!(
            "claim `{path}` in the lake was made by another agent at this moment"
        ))),
    }
}

fn lake_claim_path(pipeline: &str, number: u64) -> Result<LakePath, Halt> {
    let path = if number == 0 {
        naming::claim_path(pipeline).to_string()
    } else {
        format!("{}/claims/{pipeline}.{number}.json", naming::METADATA_DIR)
    };
    LakePath::new(&path).map_err(Halt::Bug)
}

/// Claims in the lake are created and never overwritten: of those for one directory the highest number holds. By number.
fn lake_claims(lake: &dyn Lake, pipeline: &str) -> Result<Vec<(u64, LakePath)>, Halt> {
    let dir = LakePath::new(&format!("{}/claims", naming::METADATA_DIR)).map_err(Halt::Bug)?;
    let mut claims: Vec<(u64, LakePath)> = Vec::new();
    lake.list(&dir, &mut |entry| {
        let Some(rest) = entry
            .path
            .name()
            .strip_prefix(pipeline)
            .and_then(|rest| rest.strip_suffix(".json"))
        else {
            return;
        };
        let number = match rest.strip_prefix('.') {
            None if rest.is_empty() => 0,
            Some(digits) => match digits.parse() {
                Ok(number) => number,
                Err(_) => return,
            },
            None => return,
        };
        claims.push((number, entry.path));
    })?;
    claims.sort_unstable_by_key(|(number, _)| *number);
    Ok(claims)
}

/// 64 bits from the kernel.
pub fn random_id() -> Result<JournalId, Halt> {
    if let Some(turns) = crate::threads::turns() {
        return Ok(JournalId(turns.random()));
    }
    let mut bytes = [0_u8; 8];
    let mut random = std::fs::File::open("/dev/urandom")
        .map_err(|e| Halt::Stopped(format!("random bytes from the kernel: {e}")))?;
    std::io::Read::read_exact(&mut random, &mut bytes)
        .map_err(|e| Halt::Stopped(format!("random bytes from the kernel: {e}")))?;
    Ok(JournalId(u64::from_le_bytes(bytes)))
}

pub fn make_staging(dir: &Path) -> Result<(), Halt> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Halt::Stopped(format!("make staging directory `{}`: {e}", dir.display())))
}
