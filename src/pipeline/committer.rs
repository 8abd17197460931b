//! The committer: takes a staged batch to its end, whatever was done of it before.
//!
//! The same code serves a batch that was staged a moment ago and one that a kill left behind: it observes, asks
//! [`next_step`], performs, and looks again. What it has verified or made durable itself it remembers for this one run
//! only.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tracing::{debug, info, warn};

use super::registrar::Signal;
use super::{Halt, Ports, Tally, start};
use crate::crash;
use crate::journal::{BatchRow, FileRow, matches_copy};
use crate::lake::{self, Created, Landed, Mark};
use crate::naming::{self, LakePath};
use crate::protocol::{
    BatchState, DataFile, DataFileCopy, DataFileKind, Encoding, FinalCopy, Manifest, ManifestBody,
    StagedCopy, Step, invariant, next_step,
};
use crate::segment::{Digest, Digester, Segment};
use crate::sink::{BatchContext, SinkSettings, encode_again};
use crate::source::SegmentReader;
use crate::spool::Retire;
use crate::threads::{self, Alone};

/// Data files of one batch that are landed at the same time.
const LANDING_THREADS: usize = 4;

/// How often a data file is looked at before its pipeline stops: each round performs one step, and a file needs at
/// most verify, encode again, land, look and make durable, with room for answers that were lost.
const ROUNDS_MAX: u32 = 16;

pub struct Committer {
    pub pipeline: String,
    pub ports: Ports,
    pub staging_dir: PathBuf,
    pub sink: Arc<SinkSettings>,
    pub schema: crate::schema::SchemaSettings,
    pub source: crate::source::SourceSettings,
    pub retire: Retire,
    pub memory: u64,
    pub tally: Arc<Tally>,
    /// Highest batch committed, for the manifests of those staged next.
    pub committed: AtomicU64,
    /// Two threads retire at times; each does it alone.
    pub retiring: Alone,
    /// Told of partitions to register, if any are.
    pub registrar: Option<Arc<Signal>>,
}

/// What this run has found out about one data file.
struct Sight {
    staged: StagedCopy,
    landed: Option<FinalCopy>,
}

impl Committer {
    /// Ends a batch: manifest, land, commit. `fresh`: this process staged it, so its staged copies are known to be good
    /// and nothing was landed yet.
    pub fn commit(&self, batch: &BatchRow, fresh: bool) -> Result<(), Halt> {
        if batch.state == BatchState::Staged {
            crash::place("before_manifest");
            let manifest = self.land_all(batch, fresh)?;
            crash::place("before_commit");
            self.record(batch, &manifest)?;
        }
        self.committed.fetch_max(batch.number.0, Ordering::SeqCst);
        self.follow_up(batch)
    }

    pub(super) fn land_all(&self, batch: &BatchRow, fresh: bool) -> Result<Manifest, Halt> {
        let mut manifest = batch.manifest.clone();
        // I4 names-first.
        if !crash::broken("i4-land-before-manifest") {
            self.write_manifests(&manifest)?;
        }
        let files = data_files(&manifest)?.to_vec();
        let (lost, again): (Vec<u32>, Vec<u32>) = self
            .land_files(&manifest, &files, fresh)?
            .into_iter()
            .partition(|number| may_be_lost(&manifest, *number));
        // I7 staging-is-garbage: what is lost of it is made again.
        if again.is_empty() || crash::broken("i7-never-encoded-again") {
            return self.settle_loss(manifest, &lost);
        }
        manifest = self.encode_again(batch, &manifest, &again)?;
        let files = data_files(&manifest)?.to_vec();
        self.write_manifests(&manifest)?;
        let lost = self.land_files(&manifest, &files, false)?;
        if lost.iter().all(|number| may_be_lost(&manifest, *number)) {
            return self.settle_loss(manifest, &lost);
        }
        Err(Halt::NotDone(format!(
            "batch {} of pipeline `{}`: staged copies vanish while they are landed; is something emptying `{}`?",
            batch.number,
            self.pipeline,
            self.staging_dir.display()
        )))
    }

    /// What an operator gave up is known exactly only now, when all else has landed: said in the log and in a revision.
    fn settle_loss(&self, mut manifest: Manifest, lost: &[u32]) -> Result<Manifest, Halt> {
        let ManifestBody::Batch(facts) = &mut manifest.body else {
            return Ok(manifest);
        };
        if facts.lost_files.is_empty() {
            return Ok(manifest);
        }
        let gone = facts
            .data_files
            .iter()
            .filter(|file| lost.contains(&file.number));
        let (records, paths): (Vec<u64>, Vec<&str>) =
            gone.map(|file| (file.records, file.path.as_str())).unzip();
        warn!(pipeline = %self.pipeline, batch = %manifest.batch, records = records.iter().sum::<u64>(), data_files = paths.join(" "), "lost, as an operator accepted");
        if facts.lost_files == lost {
            return Ok(manifest);
        }
        facts.lost_files = lost.to_vec();
        manifest.revision += 1;
        self.ports.journal.revise(&manifest)?;
        self.write_manifest(&manifest)?;
        Ok(manifest)
    }

    /// I4 names-first: durable before the first data file is visible. Revision 0 always comes first, since its dense
    /// number is what a tombstone competes for.
    fn write_manifests(&self, manifest: &Manifest) -> Result<(), Halt> {
        if manifest.revision > 0 {
            self.write_manifest(&manifest.original())?;
        }
        self.write_manifest(manifest)
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), Halt> {
        let path = naming::manifest_path(
            &manifest.pipeline,
            manifest.journal,
            manifest.batch,
            manifest.revision,
        );
        if self.ports.lake.create(&path, &manifest.to_json())? == Created::Ours {
            return Ok(());
        }
        let text = self.ports.lake.read(&path)?.unwrap_or_default();
        match Manifest::from_json(&text) {
            Ok(other) if other.same_batch(manifest) => Ok(()),
            Ok(Manifest {
                body: ManifestBody::Tombstone(tombstone),
                ..
            }) => Err(start::closed(&self.pipeline, manifest.journal, &tombstone)),
            Ok(_) => Err(Halt::Stopped(format!(
                "create manifest `{path}`: one with other segments or names is there, so this journal is older than its lake; run `lakeward rebuild`"
            ))),
            Err(error) => Err(Halt::Stopped(format!(
                "create manifest `{path}`: a damaged or foreign file has the name of this batch's manifest ({error}), so nothing of the batch landed; find out who wrote it, move it away, run again"
            ))),
        }
    }

    /// Lands every file, several at once; answers the numbers of those whose staged copy is lost.
    fn land_files(
        &self,
        manifest: &Manifest,
        files: &[DataFile],
        fresh: bool,
    ) -> Result<Vec<u32>, Halt> {
        let next = AtomicUsize::new(0);
        let count = LANDING_THREADS.min(files.len()).max(1);
        let work = || -> Result<Vec<u32>, Halt> {
            let mut lost = Vec::new();
            while let Some(file) = files.get(next.fetch_add(1, Ordering::SeqCst)) {
                if !self.land_file(manifest, file, fresh).inspect_err(|_| {
                    next.store(files.len(), Ordering::SeqCst);
                })? {
                    lost.push(file.number);
                }
            }
            Ok(lost)
        };
        if count == 1 {
            return work();
        }
        threads::scope(|scope| {
            let handles: Vec<_> = (0..count).map(|_| scope.spawn("land", work)).collect();
            let mut lost = Vec::new();
            let mut first_error = None;
            for handle in handles {
                match handle.join() {
                    Ok(Ok(numbers)) => lost.extend(numbers),
                    Ok(Err(halt)) => first_error = first_error.or(Some(halt)),
                    Err(_) => {
                        first_error =
                            first_error.or(Some(Halt::Bug("a landing thread died".into())));
                    }
                }
            }
            lost.sort_unstable();
            first_error.map_or(Ok(lost), Err)
        })
    }

    /// The loop: observe, [`next_step`], perform. `false`: the staged copy is lost and nothing stands at the final path.
    fn land_file(&self, manifest: &Manifest, file: &DataFile, fresh: bool) -> Result<bool, Halt> {
        let mut path = LakePath::new(&file.path).map_err(Halt::Stopped)?;
        // I1 once: every file of the batch, under the very name that was staged (I8).
        if crash::broken("i1-file-not-landed") && file.number == 1 {
            return Ok(true);
        }
        if crash::broken("i8-lands-under-a-new-name") && !fresh {
            path = renamed(&path)?;
        }
        let staged_path = self.staging_dir.join(&file.staged);
        let mut mark = Mark {
            journal: manifest.journal,
            batch: manifest.batch,
            number: file.number,
            copy: last_copy(file)?,
            copies: file.copies.clone(),
        };
        let mut sight = Sight {
            staged: if fresh {
                StagedCopy::Good
            } else {
                StagedCopy::Unverified
            },
            landed: fresh.then_some(FinalCopy::Absent),
        };
        for _ in 0..ROUNDS_MAX {
            let landed = match sight.landed {
                Some(landed) => landed,
                None => self.look(&path, &mark)?,
            };
            sight.landed = Some(landed);
            match next_step(sight.staged, landed) {
                Step::Done => return Ok(true),
                Step::Conflict => return Err(self.conflict(&path, &mark)),
                Step::EncodeAgain => return Ok(false),
                Step::MakeDurable => {
                    self.ports.lake.make_durable(&path)?;
                    sight.landed = Some(FinalCopy::Durable);
                }
                Step::Verify
                    if crash::broken("i2-staged-copy-not-verified")
                        && staged_path.try_exists().unwrap_or(true) =>
                {
                    sight.staged = StagedCopy::Good;
                }
                Step::Verify => match verify(&staged_path, &file.copies)? {
                    Some(copy) => {
                        mark.copy = copy;
                        sight.staged = StagedCopy::Good;
                    }
                    None => sight.staged = StagedCopy::Lost,
                },
                Step::Land => {
                    debug!(pipeline = %self.pipeline, batch = %manifest.batch, %path, "landing");
                    crash::place("before_land");
                    let landed = match self.ports.lake.land(&staged_path, &path, &mark) {
                        Ok(landed) => landed,
                        Err(_) if !staged_path.try_exists().unwrap_or(true) => Landed::Look,
                        Err(error) => return Err(error.into()),
                    };
                    crash::place("after_land");
                    sight.landed = match landed {
                        Landed::Yes => Some(FinalCopy::Durable),
                        Landed::Look => None,
                    };
                    if landed == Landed::Look {
                        sight.staged = StagedCopy::Unverified;
                    }
                }
            }
        }
        Err(Halt::NotDone(format!(
            "land `{path}`: after {ROUNDS_MAX} rounds the lake still gives no clear answer"
        )))
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<FinalCopy, Halt> {
        Ok(match self.ports.lake.look(path, mark)? {
            lake::Look::Absent => FinalCopy::Absent,
            lake::Look::Ours => FinalCopy::Ours,
            lake::Look::Foreign { .. } => FinalCopy::Foreign,
        })
    }

    fn conflict(&self, path: &LakePath, mark: &Mark) -> Halt {
        let found = match self.ports.lake.look(path, mark) {
            Ok(lake::Look::Foreign { length, found }) => format!("{length} bytes, {found}"),
            Ok(_) => "it has just changed".to_owned(),
            Err(error) => error.to_string(),
        };
        Halt::Stopped(format!(
            "land `{path}`: something else stands there ({found}), ours is {} bytes with digest {}; nothing was touched: find out who wrote it, move it away, run again",
            mark.copy.length, mark.copy.digest
        ))
    }

    /// Encodes lost staged copies again from the batch's segments, adds their digests to the journal and answers the revised
    /// manifest.
    fn encode_again(
        &self,
        batch: &BatchRow,
        manifest: &Manifest,
        numbers: &[u32],
    ) -> Result<Manifest, Halt> {
        let membership = manifest
            .membership()
            .ok_or_else(|| Halt::Bug("a staged tombstone".into()))?;
        warn!(pipeline = %self.pipeline, batch = %batch.number, files = numbers.len(), "staged copies are lost, encoding them again");
        let mut lanes: Vec<u32> = membership
            .data_files
            .iter()
            .filter(|file| numbers.contains(&file.number))
            .map(|file| file.lane)
            .collect();
        lanes.sort_unstable();
        lanes.dedup();
        let mut revised = manifest.clone();
        for lane in lanes {
            let copies = self.encode_lane_again(batch, manifest, lane)?;
            let ManifestBody::Batch(facts) = &mut revised.body else {
                continue;
            };
            for (number, copy) in copies {
                if let Some(file) = facts.data_files.iter_mut().find(|f| f.number == number)
                    && !file.copies.contains(&copy)
                {
                    file.copies.push(copy);
                }
            }
        }
        if revised != *manifest && !crash::broken("i7-new-digests-not-recorded") {
            revised.revision = manifest.revision + 1;
            crash::place("before_revise");
            self.ports.journal.revise(&revised)?;
        }
        Ok(revised)
    }

    fn encode_lane_again(
        &self,
        batch: &BatchRow,
        manifest: &Manifest,
        lane: u32,
    ) -> Result<Vec<(u32, DataFileCopy)>, Halt> {
        let membership = manifest
            .membership()
            .ok_or_else(|| Halt::Bug("a staged tombstone".into()))?;
        let planned: Vec<DataFile> = membership
            .data_files
            .iter()
            .filter(|file| file.lane == lane)
            .cloned()
            .collect();
        self.refuse_other_format(batch, &planned)?;
        let segments: Vec<(FileRow, Segment)> = self.lane_segments(batch, manifest, lane)?;
        for file in &planned {
            remove_if_there(&self.staging_dir.join(&file.staged))?;
        }
        let schema = serde_json::from_value(membership.encoding.schema.clone())
            .map_err(|e| Halt::Stopped(format!("schema of batch {}: {e}", batch.number)))?;
        let mut settings = (*self.sink).clone();
        settings.path.clone_from(&membership.encoding.path);
        settings.timezone.clone_from(&membership.encoding.timezone);
        let context = BatchContext {
            pipeline: manifest.pipeline.clone(),
            journal: manifest.journal,
            batch: manifest.batch,
            batch_time_ns: membership.encoding.batch_time_ns,
            staging_dir: self.staging_dir.clone(),
            write_back: false,
            settings: Arc::new(settings),
            schemas: Arc::new(crate::schema::SchemaRegistry::new(
                self.schema_of(&membership.encoding),
                Some((membership.encoding.schema_version, schema)),
                crate::schema::Schema::default(),
            )),
            numbers: Arc::default(),
        };
        let mut reader = SegmentReader::new(
            Arc::clone(&self.ports.spool),
            Arc::clone(&self.ports.journal),
            &self.source,
        )
        .map_err(|e| Halt::Stopped(e.to_string()))?;
        let mut rest = segments.iter();
        let mut halt: Option<Halt> = None;
        let result = encode_again(
            context,
            lane,
            &planned,
            usize::try_from(self.memory).unwrap_or(usize::MAX),
            &mut || {
                let Some((row, segment)) = rest.next() else {
                    return Ok(None);
                };
                match reader.read(row, segment) {
                    Ok(data) => Ok(Some(data)),
                    Err(error) => {
                        let text = format!(
                            "batch {} of pipeline `{}`: the staged copy is lost and its records cannot be read again: {error}; if the file cannot be had any more, end the batch with `lakeward resolve {} --batch {} --accept-loss`",
                            batch.number, self.pipeline, self.pipeline, batch.number
                        );
                        halt = Some(Halt::Stopped(text.clone()));
                        Err(crate::sink::SinkError::Broken(text))
                    }
                }
            },
        );
        if let Some(halt) = halt {
            return Err(halt);
        }
        result.map_err(super::lanes::halt_of)
    }

    /// The schema's settings as they were when the batch was staged: the configuration may have changed since.
    fn schema_of(&self, encoding: &Encoding) -> crate::schema::SchemaSettings {
        let mut settings = self.schema.clone();
        if !encoding.zone_of_times.is_empty() {
            settings.timezone.clone_from(&encoding.zone_of_times);
        }
        if let Some(unit) = crate::schema::TimestampUnit::parse(&encoding.timestamp_unit) {
            settings.timestamp_unit = unit;
        }
        settings
    }

    /// A data file's name says its format, and its name is staged: it is not encoded again as another one.
    fn refuse_other_format(&self, batch: &BatchRow, planned: &[DataFile]) -> Result<(), Halt> {
        let ending = crate::sink::extension(&self.sink.format);
        let other = planned
            .iter()
            .find(|file| file.kind == DataFileKind::Data && !file.path.ends_with(ending));
        other.map_or(Ok(()), |file| {
            Err(Halt::Stopped(format!(
                "batch {} of pipeline `{}`: the staged copy of `{}` is lost and must be encoded again, but the configuration's format writes `{ending}` now: set the old format again, run `lakeward run --once`, then change it",
                batch.number, self.pipeline, file.path
            )))
        })
    }

    fn lane_segments(
        &self,
        batch: &BatchRow,
        manifest: &Manifest,
        lane: u32,
    ) -> Result<Vec<(FileRow, Segment)>, Halt> {
        let membership = manifest
            .membership()
            .ok_or_else(|| Halt::Bug("a staged tombstone".into()))?;
        let mut segments = Vec::new();
        for facts in membership.segments.iter().filter(|s| s.lane == lane) {
            let id = *batch
                .files
                .get(facts.file as usize)
                .ok_or_else(|| Halt::Bug("a segment of no file".into()))?;
            let row = self.ports.journal.file(id)?.ok_or_else(|| {
                Halt::Stopped(format!(
                    "the journal has no row of file {} of batch {}; run `lakeward rebuild`",
                    id.0, batch.number
                ))
            })?;
            segments.push((
                row,
                Segment {
                    file: id,
                    from: facts.from,
                    to: facts.to,
                    line: facts.line,
                    records: facts.records,
                    last: facts.last,
                    digest: facts.digest,
                },
            ));
        }
        Ok(segments)
    }

    /// The commit: one transaction. I5 and I6 hold by what it is given and by what the journal asserts.
    fn record(&self, batch: &BatchRow, manifest: &Manifest) -> Result<(), Halt> {
        let membership = manifest
            .membership()
            .ok_or_else(|| Halt::Bug("a staged tombstone".into()))?;
        // Of each file, where its last segment ends. One pass: a batch may have 100,000 files.
        let mut ends_at = vec![None; membership.files.len()];
        for segment in &membership.segments {
            if let Some(end) = ends_at.get_mut(segment.file as usize) {
                *end = Some(segment.to);
            }
        }
        let mut targets = Vec::new();
        let mut whole = 0;
        for (index, (file, end)) in membership.files.iter().zip(ends_at).enumerate() {
            let Some(decoded) = file.decoded else {
                continue;
            };
            let ends = end.is_some_and(|to| invariant::may_retire(to, Some(decoded)));
            let Some(id) = batch.files.get(index) else {
                continue;
            };
            if ends {
                whole += 1;
                if self.retire != Retire::Keep {
                    targets.push((*id, self.ports.spool.retire_target(&file.path, 0)));
                }
            }
        }
        let partitions = match &self.registrar {
            Some(_) => super::work_of(manifest),
            None => Vec::new(),
        };
        self.ports
            .journal
            .commit(&self.pipeline, batch.number, &targets, &partitions)?;
        if let Some(registrar) = &self.registrar {
            registrar.work();
        }
        info!(pipeline = %self.pipeline, batch = %batch.number, data_files = membership.data_files.len(), files = membership.files.len(), "committed");
        self.tally.committed(manifest, whole);
        Ok(())
    }
}

pub(super) fn data_files(manifest: &Manifest) -> Result<&[DataFile], Halt> {
    manifest
        .membership()
        .map(|membership| membership.data_files.as_slice())
        .ok_or_else(|| Halt::Bug("a staged tombstone".into()))
}

/// Whether an operator accepted the loss of this data file, should it be lost.
fn may_be_lost(manifest: &Manifest, number: u32) -> bool {
    manifest
        .membership()
        .is_some_and(|membership| membership.lost_files.contains(&number))
}

fn last_copy(file: &DataFile) -> Result<DataFileCopy, Halt> {
    file.copies
        .last()
        .copied()
        .ok_or_else(|| Halt::Bug(format!("`{}` has no digest", file.path)))
}

/// Another name at each attempt, which recovery must never take: for the broken variant of I8 alone.
fn renamed(path: &LakePath) -> Result<LakePath, Halt> {
    let stem = path.as_str().trim_end_matches(".parquet");
    LakePath::new(&format!("{stem}{}.parquet", std::process::id())).map_err(Halt::Bug)
}

/// Which recorded copy the staged file is; `None` if it is gone or none of them.
fn verify(path: &std::path::Path, copies: &[DataFileCopy]) -> Result<Option<DataFileCopy>, Halt> {
    let Some((length, digest)) = digest_file(path)? else {
        return Ok(None);
    };
    Ok(matches_copy(copies, length, digest).then_some(DataFileCopy { length, digest }))
}

/// Length and digest of a local file; `None` if there is none.
pub fn digest_file(path: &std::path::Path) -> Result<Option<(u64, Digest)>, Halt> {
    use std::io::Read;
    let failed = |e: std::io::Error| Halt::Stopped(format!("read `{}`: {e}", path.display()));
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut digester = Digester::default();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            return Ok(Some((length, digester.digest())));
        }
        length += n as u64;
        digester.update(&buffer[..n]);
    }
}

pub(super) fn remove_if_there(path: &std::path::Path) -> Result<(), Halt> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Halt::Stopped(format!("remove `{}`: {e}", path.display()))),
    }
}
