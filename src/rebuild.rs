//! `rebuild`: makes a lost or outdated journal again from the lake's manifests.
//!
//! For each pipeline: the claim of its spool names the journal whose manifests are believed. That journal is closed
//! first, by a tombstone at its next number, so that an old agent that is still alive stops there. Then *every* manifest is
//! adopted, also those of the journals that this one was rebuilt from: batches up to the highest that any manifest
//! names as committed are committed, the rest become staged batches that recovery finishes. The new journal's file
//! gets its name, and the claims are moved last. Whatever is killed in between is started over: a tombstone of an unfinished rebuild
//! is harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use tracing::info;

use crate::config::Config;
use crate::crash;
use crate::journal::sqlite::SqliteJournal;
use crate::journal::{Journal, PartitionWork};
use crate::lake::{Created, Lake};
use crate::naming::{self, DataFileName, LakePath};
use crate::pipeline::{Halt, read_claim, write_claim};
use crate::protocol::{BatchState, MANIFEST_FORMAT, Manifest, ManifestBody, Tombstone};
use crate::segment::{BatchNumber, JournalId};
use crate::spool::{Claim, Spool};

/// What a rebuild will believe of one pipeline.
#[derive(Debug, Serialize)]
pub struct Belief {
    pub pipeline: String,
    /// The journal that the claim names; its manifests and those of its predecessors are believed.
    pub journal: JournalId,
    pub predecessors: Vec<JournalId>,
    pub spool: JournalId,
    pub batches: u64,
    pub committed: BatchNumber,
    /// Staged batches that the next run finishes.
    pub staged: u64,
    pub spooled_files: u64,
    pub records: u64,
    pub warnings: Vec<String>,
    #[serde(skip)]
    manifests: Vec<Manifest>,
    #[serde(skip)]
    claim: Claim,
}

/// A pipeline's ports that a rebuild needs.
pub struct Place {
    pub pipeline: String,
    pub lake: Arc<dyn Lake>,
    pub spool: Arc<dyn Spool>,
    pub payload: bool,
    /// Whether its partitions are registered with a catalog.
    pub registers: bool,
    /// Directories in which the configuration lands data and reject files.
    pub roots: Vec<String>,
}

/// Reads the claims and manifests of every pipeline that has any; changes nothing.
pub fn believe(places: &[Place]) -> Result<Vec<Belief>, Halt> {
    let mut beliefs = Vec::new();
    for place in places {
        if let Some(belief) = believe_one(place)? {
            beliefs.push(belief);
        }
    }
    Ok(beliefs)
}

fn believe_one(place: &Place) -> Result<Option<Belief>, Halt> {
    let Some(claim) = read_claim(place.spool.as_ref(), place.lake.as_ref(), &place.pipeline)?
    else {
        return Ok(None);
    };
    if claim.pipeline != place.pipeline {
        return Err(Halt::Stopped(format!(
            "the spool of pipeline `{}` is claimed by pipeline `{}`: give the pipeline its old name, or take the spool over with `lakeward adopt {}`",
            place.pipeline, claim.pipeline, place.pipeline
        )));
    }
    let journals = read_manifests(place)?;
    let chain = chain(&journals, claim.journal);
    let mut newest: BTreeMap<BatchNumber, Manifest> = BTreeMap::new();
    let mut committed = BatchNumber(0);
    for journal in &chain {
        for manifest in journals.get(journal).into_iter().flatten() {
            committed = committed.max(manifest.committed);
            if matches!(manifest.body, ManifestBody::Tombstone(_)) {
                continue;
            }
            match newest.get(&manifest.batch) {
                Some(known)
                    if known.journal == manifest.journal && known.revision >= manifest.revision => {
                }
                Some(known) if known.journal != manifest.journal => {
                    return Err(Halt::Stopped(format!(
                        "batch {} of pipeline `{}` has manifests of journals {} and {}: two journals have written at once; keep the one whose data files are there, and move the other's manifest away",
                        manifest.batch, place.pipeline, known.journal, manifest.journal
                    )));
                }
                _ => {
                    newest.insert(manifest.batch, manifest.clone());
                }
            }
        }
    }
    refuse_gaps(&place.pipeline, newest.keys().copied())?;
    let manifests: Vec<Manifest> = newest.into_values().collect();
    let mut warnings = Vec::new();
    if place.payload {
        warnings.push(
            "journal = \"payload\": bytes that only the lost journal held are lost with it"
                .to_owned(),
        );
    }
    let mut paths = std::collections::HashSet::new();
    let mut records = 0;
    for membership in manifests.iter().filter_map(Manifest::membership) {
        paths.extend(
            membership
                .files
                .iter()
                .map(|file| (file.path.clone(), file.stat.inode)),
        );
        records += membership.segments.iter().map(|s| s.records).sum::<u64>();
    }
    Ok(Some(Belief {
        pipeline: place.pipeline.clone(),
        journal: claim.journal,
        predecessors: chain
            .iter()
            .copied()
            .filter(|id| *id != claim.journal)
            .collect(),
        spool: claim.spool,
        batches: manifests.len() as u64,
        committed,
        staged: manifests.iter().filter(|m| m.batch > committed).count() as u64,
        spooled_files: paths.len() as u64,
        records,
        warnings,
        manifests,
        claim,
    }))
}

/// All manifests of the pipeline, by journal.
fn read_manifests(place: &Place) -> Result<BTreeMap<JournalId, Vec<Manifest>>, Halt> {
    let dir = LakePath::new(&format!(
        "{}/manifests/{}",
        naming::METADATA_DIR,
        place.pipeline
    ))
    .map_err(Halt::Bug)?;
    let mut paths = Vec::new();
    place.lake.list(&dir, &mut |entry| paths.push(entry.path))?;
    paths.sort();
    let mut journals: BTreeMap<JournalId, Vec<Manifest>> = BTreeMap::new();
    for path in paths {
        if naming::parse_manifest_name(path.name()).is_none() {
            continue;
        }
        let text = place.lake.read(&path)?.ok_or_else(|| {
            Halt::Stopped(format!(
                "manifest `{path}` was listed and is gone: run rebuild again"
            ))
        })?;
        let manifest = Manifest::from_json(&text).map_err(|e| {
            Halt::Stopped(format!(
                "manifest `{path}` cannot be believed: {e}; nothing was changed"
            ))
        })?;
        let own = naming::manifest_path(
            &place.pipeline,
            manifest.journal,
            manifest.batch,
            manifest.revision,
        );
        if own != path || manifest.pipeline != place.pipeline {
            return Err(Halt::Stopped(format!(
                "manifest `{path}` says that it is `{own}`: it was moved or forged; nothing was changed"
            )));
        }
        journals.entry(manifest.journal).or_default().push(manifest);
    }
    Ok(journals)
}

/// The journal and all that it was rebuilt from, oldest first.
fn chain(journals: &BTreeMap<JournalId, Vec<Manifest>>, newest: JournalId) -> Vec<JournalId> {
    let mut chain = vec![newest];
    loop {
        let first = chain[0];
        let before = journals.iter().find(|(id, manifests)| {
            !chain.contains(id)
                && manifests.iter().any(|manifest| {
                    matches!(&manifest.body, ManifestBody::Tombstone(t) if t.successor == first && !t.adopted)
                })
        });
        match before {
            Some((id, _)) => chain.insert(0, *id),
            None => return chain,
        }
    }
}

/// Numbers are dense over the whole chain; a gap means that a manifest was taken away.
fn refuse_gaps(pipeline: &str, numbers: impl Iterator<Item = BatchNumber>) -> Result<(), Halt> {
    let mut expected = BatchNumber(1);
    for number in numbers {
        if number != expected {
            return Err(Halt::Stopped(format!(
                "the manifest of batch {expected} of pipeline `{pipeline}` is missing while that of batch {number} is there: somebody took it away; put it back, since its records would land twice"
            )));
        }
        expected = number.next();
    }
    Ok(())
}

/// Data files in the lake that carry a believed journal's name and stand in no manifest: conflicts.
pub fn unknown_data_files(place: &Place, belief: &Belief) -> Result<Vec<LakePath>, Halt> {
    let mut known = std::collections::HashSet::new();
    for membership in belief.manifests.iter().filter_map(Manifest::membership) {
        known.extend(membership.data_files.iter().map(|file| file.path.as_str()));
    }
    let ours = |name: &str| {
        DataFileName::parse(name).is_some_and(|name| {
            name.pipeline == belief.pipeline
                && (name.journal == belief.journal || belief.predecessors.contains(&name.journal))
        })
    };
    // Also where an earlier configuration landed them.
    let mut roots: std::collections::BTreeSet<&str> = known
        .iter()
        .filter_map(|path| path.split('/').next())
        .collect();
    roots.extend(
        place
            .roots
            .iter()
            .filter_map(|root| root.split('/').next())
            .filter(|root| !root.is_empty()),
    );
    let mut unknown = Vec::new();
    for root in roots {
        let root = LakePath::new(root).map_err(Halt::Bug)?;
        place.lake.list(&root, &mut |entry| {
            if ours(entry.path.name()) && !known.contains(entry.path.as_str()) {
                unknown.push(entry.path);
            }
        })?;
    }
    unknown.sort();
    Ok(unknown)
}

/// Partitions of committed batches, all of them: which the catalog knows, only the old journal knew. Those of staged batches come with
/// their commits. A directory in which none of our files stands any more was taken away on purpose, and stays so.
fn unregistered(place: &Place, belief: &Belief) -> Result<Vec<PartitionWork>, Halt> {
    let committed = belief
        .manifests
        .iter()
        .filter(|manifest| manifest.batch <= belief.committed);
    let mut work: BTreeMap<String, PartitionWork> = BTreeMap::new();
    for one in committed.flat_map(crate::pipeline::work_of) {
        let known = work
            .entry(one.directory.clone())
            .or_insert_with(|| one.clone());
        known.schema_version = known.schema_version.max(one.schema_version);
        known.batch = known.batch.max(one.batch);
    }
    let roots: BTreeSet<String> = work
        .keys()
        .filter_map(|directory| directory.split('/').next())
        .filter(|root| !root.is_empty())
        .map(str::to_owned)
        .collect();
    let mut standing = BTreeSet::new();
    for root in roots {
        let root = LakePath::new(&root).map_err(Halt::Stopped)?;
        place.lake.list(&root, &mut |entry| {
            if let Some((directory, name)) = entry.path.as_str().rsplit_once('/')
                && DataFileName::parse(name).is_some_and(|name| name.pipeline == belief.pipeline)
                && work.contains_key(directory)
            {
                standing.insert(directory.to_owned());
            }
        })?;
    }
    work.retain(|directory, _| directory.is_empty() || standing.contains(directory));
    Ok(work.into_values().collect())
}

/// Closes the old journals, adopts all manifests in a new one, and moves the claims.
pub fn rebuild(config: &Config, places: &[Place], beliefs: Vec<Belief>) -> Result<JournalId, Halt> {
    let rebuilding = SqliteJournal::rebuild(&config.agent.state_dir)?;
    let id = rebuilding.id();
    let beliefs = close_and_adopt(config, places, beliefs, &*rebuilding)?;
    let journal = rebuilding.finish()?;
    move_claims(config, places, beliefs, id)?;
    journal.close()?;
    Ok(id)
}

/// The first half: closes the old journals and adopts their manifests in `rebuilding`, which counts for nothing yet.
pub fn close_and_adopt(
    config: &Config,
    places: &[Place],
    mut beliefs: Vec<Belief>,
    rebuilding: &dyn Journal,
) -> Result<Vec<Belief>, Halt> {
    let id = rebuilding.id();
    for belief in &mut beliefs {
        let place = place_of(places, &belief.pipeline)?;
        let tombstone = Tombstone {
            successor: id,
            adopted: false,
        };
        close(
            place.lake.as_ref(),
            &belief.pipeline,
            belief.journal,
            &tombstone,
        )?;
        // What an old agent wrote before it met the tombstone is believed too.
        let again = believe_one(place)?
            .ok_or_else(|| Halt::Stopped("the claim vanished during the rebuild".into()))?;
        *belief = again;
        rebuilding.pipeline(&belief.pipeline, belief.spool, place.lake.identity())?;
        for manifest in &belief.manifests {
            // I1 once: what was staged is adopted too, since it may have landed.
            if manifest.batch > belief.committed && crash::broken("i1-rebuild-forgets-the-staged") {
                continue;
            }
            let state = if manifest.batch <= belief.committed {
                // Its files are retired by the next run all the same, and what it staged is swept.
                BatchState::Done
            } else {
                BatchState::Staged
            };
            rebuilding.adopt(manifest, state)?;
        }
        if place.registers {
            let mut work = unregistered(place, belief)?;
            if let Some(pipeline) = config.pipelines.iter().find(|p| p.name == belief.pipeline) {
                work = crate::pipeline::fitting(pipeline, work)?;
            }
            rebuilding.queue_partitions(&belief.pipeline, &work)?;
        }
        info!(pipeline = %belief.pipeline, batches = belief.batches, "adopted");
    }
    Ok(beliefs)
}

/// The second half, once the new journal has its name.
pub fn move_claims(
    config: &Config,
    places: &[Place],
    beliefs: Vec<Belief>,
    id: JournalId,
) -> Result<(), Halt> {
    for belief in beliefs {
        let place = place_of(places, &belief.pipeline)?;
        let claim = Claim {
            journal: id,
            journal_path: config
                .agent
                .state_dir
                .join("journal.db")
                .display()
                .to_string(),
            directory: None,
            ..belief.claim
        };
        write_claim(place.spool.as_ref(), place.lake.as_ref(), claim)?;
    }
    Ok(())
}

fn place_of<'a>(places: &'a [Place], pipeline: &str) -> Result<&'a Place, Halt> {
    places
        .iter()
        .find(|place| place.pipeline == pipeline)
        .ok_or_else(|| Halt::Bug(format!("no place of pipeline `{pipeline}`")))
}

/// A tombstone at the journal's next free number. A number that is taken meanwhile means that an agent of it is alive: the next
/// one is tried, and who rebuilds reads again afterwards what it wrote.
pub fn close(
    lake: &dyn Lake,
    pipeline: &str,
    journal: JournalId,
    tombstone: &Tombstone,
) -> Result<(), Halt> {
    let mut number = highest(lake, pipeline, journal)?.next();
    for _ in 0..1_000 {
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            pipeline: pipeline.to_owned(),
            journal,
            batch: number,
            revision: 0,
            committed: BatchNumber(0),
            lake: lake.identity().to_owned(),
            body: ManifestBody::Tombstone(tombstone.clone()),
        };
        let path = naming::manifest_path(pipeline, journal, number, 0);
        if lake.create(&path, &manifest.to_json())? == Created::Ours {
            return Ok(());
        }
        number = number.next();
    }
    Err(Halt::Stopped(format!(
        "journal {journal} of pipeline `{pipeline}` cannot be closed: an agent keeps writing; stop it first"
    )))
}

fn highest(lake: &dyn Lake, pipeline: &str, journal: JournalId) -> Result<BatchNumber, Halt> {
    let mut highest = BatchNumber(0);
    lake.list(&naming::manifest_dir(pipeline, journal), &mut |entry| {
        if let Some((batch, _)) = naming::parse_manifest_name(entry.path.name()) {
            highest = highest.max(batch);
        }
    })?;
    Ok(highest)
}
