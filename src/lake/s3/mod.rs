//! A lake in a bucket of an S3 store.
//!
//! A data file is put under its final name directly: a PUT, or a multipart upload of which nothing is visible before
//! it is completed. Both carry `If-None-Match: *`, so that nothing is written over, and the data file's identity as
//! metadata of the object. So an answer that was lost, a 412, a 404 for the upload all mean the same: look.
//!
//! ```text
//! answer to a put           what is known                       land answers
//! 2xx                       it is there, durable                Yes
//! 412                       something is there                  Look
//! lost, 5xx, 409, 404       nothing: look, if absent put again  Yes, Look, or an error when the time is over
//! 4xx                       refused                             an error
//! ```
//!
//! A request that was given up on may still arrive, after any later look. With the condition it is then refused, or it
//! is the one that wins and carries our digest. Without (`conditional_writes = false`) it may write over the same
//! bytes again: that promise is weaker, and the README says so.
//!
//! opendal's rename, copy and append are not used: S3 has none of them in a form that the protocol could stand on.

mod fault;
mod land;
mod operator;
mod probe;
mod store;
mod transport;
mod uploads;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::{Buffer, Metadata, Operator};
use tokio::runtime::Handle;

pub use self::operator::ALLOWED_OPTIONS;

use self::fault::{Fault, FaultKind};
use self::store::Store;
use self::uploads::Uploads;
use super::retry::{Backoff, RetryPolicy};
use super::{
    Created, Entry, ErrorClass, Honours, Lake, LakeError, Landed, Look, Mark,
    SMALL_OBJECT_BYTES_MAX,
};
use crate::config::S3Settings;
use crate::naming::LakePath;
use crate::protocol::DataFileCopy;
use crate::segment::{Digest, Digester, JournalId};

/// How much of an object is read by one request.
const READ_BYTES: u64 = 8 << 20;
/// So many entries of a listing are fetched before they are shown.
const LIST_ENTRIES: usize = 1000;

/// Names of the metadata that an object carries.
const META_JOURNAL: &str = "lakeward-journal";
const META_BATCH: &str = "lakeward-batch";
const META_NUMBER: &str = "lakeward-number";
const META_DIGEST: &str = "lakeward-digest";
const META_LENGTH: &str = "lakeward-length";

/// A bucket, or what is below a prefix of it, as a lake.
pub struct S3Lake {
    runtime: Handle,
    operator: Operator,
    uploads: Uploads,
    store: Arc<Store>,
    policy: RetryPolicy,
    conditional_writes: bool,
    identity: String,
    /// A 404 to a HEAD has no body that would tell a missing bucket from a missing object, so the bucket is asked for
    /// once.
    bucket_seen: AtomicBool,
}

impl S3Lake {
    /// `policy` bounds the retries of each call. See [`super::open`] for `runtime`.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn open(
        settings: &S3Settings,
        runtime: Handle,
        policy: RetryPolicy,
    ) -> Result<Self, LakeError> {
        let store = Arc::new(Store::new(settings));
        let identity = match settings.root.as_str() {
            "" => format!("s3 {}/{}", store.endpoint, store.bucket),
            root => format!("s3 {}/{}/{root}", store.endpoint, store.bucket),
        };
        let opened = operator::open(settings, &store, policy).map_err(|fault| {
            let message = store.scrub(&fault.message);
            LakeError::new(ErrorClass::Permanent, "open the lake", &identity, message)
        })?;
        Ok(Self {
            runtime,
            operator: opened.operator,
            uploads: opened.uploads,
            store,
            policy,
            conditional_writes: settings.conditional_writes,
            identity,
            bucket_seen: AtomicBool::new(false),
        })
    }

    /// Begins an upload and leaves it: what a kill in the middle of one leaves, for tests.
    ///
    /// # Errors
    /// It may or may not have begun.
    #[doc(hidden)]
    pub fn begin_upload(&self, path: &LakePath) -> Result<(), LakeError> {
        self.run("begin an upload to", path, self.uploads.begin(path))
    }

    /// Runs a call of the port to its end, on the calling thread.
    fn run<T>(
        &self,
        operation: &'static str,
        path: &LakePath,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, LakeError> {
        self.runtime
            .block_on(work)
            .map_err(|fault| self.error(operation, path, &fault))
    }

    fn error(&self, operation: &'static str, path: &LakePath, fault: &Fault) -> LakeError {
        let class = match fault.kind {
            FaultKind::Transient => ErrorClass::Transient,
            _ => ErrorClass::Permanent,
        };
        let message = self.store.scrub(&fault.message);
        LakeError::new(class, operation, path.as_str(), message)
    }

    /// Repeats `attempt` while what it meets is passing. Only for what may be repeated blindly.
    async fn retried<T>(&self, attempt: impl AsyncFn() -> Result<T, Fault>) -> Result<T, Fault> {
        let mut backoff = Backoff::new(self.policy);
        loop {
            match attempt().await {
                Err(fault)
                    if fault.kind == FaultKind::Transient
                        && backoff.pause(&self.store.scrub(&fault.message)).await =>
                {
                    tracing::debug!(error = %self.store.scrub(&fault.message), "repeated");
                }
                answer => return answer,
            }
        }
    }

    /// Length and metadata of an object, `None` if there is none.
    async fn head(&self, path: &LakePath) -> Result<Option<Metadata>, Fault> {
        let key = key(path)?;
        let found = self
            .retried(async || Ok(self.operator.stat(key).await?))
            .await;
        match found {
            Ok(metadata) => {
                self.bucket_seen.store(true, Ordering::Relaxed);
                Ok(Some(metadata))
            }
            Err(fault) if fault.kind == FaultKind::Absent => {
                self.see_bucket().await?;
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// That nothing is in a bucket that is not there proves nothing.
    async fn see_bucket(&self) -> Result<(), Fault> {
        if self.bucket_seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let options = ListOptions {
            limit: Some(1),
            ..ListOptions::default()
        };
        let mut lister = self.operator.lister_options("/", options).await?;
        if let Some(Err(error)) = lister.next().await {
            let fault = Fault::from(error);
            // Keys that may not list say at least that there is a bucket which they may not list.
            if fault.status != Some(403) {
                return Err(fault);
            }
        }
        self.bucket_seen.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// One PUT, repeated while its answer is lost. `Condition` if something has the name already.
    async fn put(
        &self,
        path: &LakePath,
        contents: Buffer,
        metadata: BTreeMap<String, String>,
    ) -> Result<(), Fault> {
        let key = key(path)?;
        let put = async || {
            let options = self.write_options(metadata.clone());
            self.operator
                .write_options(key, contents.clone(), options)
                .await?;
            Ok(())
        };
        let answer = self.retried(put).await;
        match answer {
            Err(fault) if fault.kind == FaultKind::Absent => Err(Fault::permanent(fault.message)),
            answer => answer,
        }
    }

    fn write_options(&self, metadata: BTreeMap<String, String>) -> WriteOptions {
        WriteOptions {
            if_not_exists: self.conditional_writes,
            user_metadata: (!metadata.is_empty()).then(|| metadata.into_iter().collect()),
            ..WriteOptions::default()
        }
    }

    async fn create_object(&self, path: &LakePath, contents: &[u8]) -> Result<Created, Fault> {
        let compared = |found: &[u8]| {
            if found == contents {
                Created::Ours
            } else {
                Created::Other
            }
        };
        if !self.conditional_writes
            && let Some(found) = self.get(path).await?
        {
            return Ok(compared(&found));
        }
        let buffer = Buffer::from(contents.to_vec());
        match self.put(path, buffer, BTreeMap::new()).await {
            Ok(()) if self.conditional_writes => return Ok(Created::Ours),
            Ok(()) => {}
            Err(fault) if fault.kind == FaultKind::Condition => {}
            Err(fault) => return Err(fault),
        }
        match self.get(path).await? {
            Some(found) => Ok(compared(&found)),
            None => Err(Fault {
                kind: FaultKind::Transient,
                status: None,
                message: "it was refused as existing, and then it was not there".to_owned(),
            }),
        }
    }

    async fn ensure_object(&self, path: &LakePath, contents: &[u8]) -> Result<(), Fault> {
        if !self.conditional_writes && self.head(path).await?.is_some() {
            return Ok(());
        }
        let buffer = Buffer::from(contents.to_vec());
        match self.put(path, buffer, BTreeMap::new()).await {
            Err(fault) if fault.kind != FaultKind::Condition => Err(fault),
            _ => Ok(()),
        }
    }

    /// The whole of a small object.
    async fn get(&self, path: &LakePath) -> Result<Option<Vec<u8>>, Fault> {
        let Some(metadata) = self.head(path).await? else {
            return Ok(None);
        };
        if metadata.content_length() > SMALL_OBJECT_BYTES_MAX {
            return Err(Fault::permanent(format!(
                "it is longer than {SMALL_OBJECT_BYTES_MAX} bytes, which none of Lakeward's own is"
            )));
        }
        let mut contents = Vec::new();
        let found = self
            .stream(path, &metadata, &mut |bytes| {
                contents.extend_from_slice(bytes);
                Ok(())
            })
            .await?;
        Ok(found.then_some(contents))
    }

    /// Reads an object piece by piece; `false` if it is gone.
    async fn stream(
        &self,
        path: &LakePath,
        metadata: &Metadata,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let key = key(path)?;
        let length = metadata.content_length();
        let mut from = 0;
        while from < length {
            let to = length.min(from + READ_BYTES);
            let piece = self
                .retried(async || {
                    let options = ReadOptions {
                        range: (from..to).into(),
                        if_match: metadata.etag().map(str::to_owned),
                        ..ReadOptions::default()
                    };
                    let read = self.operator.read_options(key, options);
                    match tokio::time::timeout(transport::READ, read).await {
                        Ok(bytes) => Ok(bytes?),
                        Err(_) => Err(self.stalled()),
                    }
                })
                .await;
            let piece = match piece {
                Ok(piece) => piece,
                Err(fault) if fault.kind == FaultKind::Absent => return Ok(false),
                Err(fault) if fault.kind == FaultKind::Condition => {
                    return Err(Fault::permanent("it was replaced while it was read"));
                }
                Err(fault) => return Err(fault),
            };
            if piece.len() as u64 != to - from {
                return Err(Fault::permanent(format!(
                    "the store sent {} bytes where {} were asked for",
                    piece.len(),
                    to - from
                )));
            }
            for bytes in piece {
                take(&bytes)?;
            }
            from = to;
        }
        Ok(true)
    }

    fn stalled(&self) -> Fault {
        (&fault::Silence::timeout(&self.store.endpoint, transport::READ)).into()
    }

    async fn digest_object(
        &self,
        path: &LakePath,
        metadata: &Metadata,
    ) -> Result<Option<DataFileCopy>, Fault> {
        let mut digester = Digester::default();
        let found = self
            .stream(path, metadata, &mut |bytes| {
                digester.update(bytes);
                Ok(())
            })
            .await?;
        Ok(found.then(|| DataFileCopy {
            length: metadata.content_length(),
            digest: digester.digest(),
        }))
    }

    async fn look_at(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        let Some(metadata) = self.head(path).await? else {
            return Ok(Look::Absent);
        };
        let length = metadata.content_length();
        let marks = marks(&metadata);
        if let Some(digest) = marks
            .get(META_DIGEST)
            .and_then(|d| d.parse::<Digest>().ok())
        {
            if mark.copies.contains(&DataFileCopy { length, digest }) {
                return Ok(Look::Ours);
            }
            let found = format!("an object that says of itself {}", in_words(&marks));
            return Ok(Look::Foreign { length, found });
        }
        let etag = metadata.etag().unwrap_or("none");
        if !mark.copies.iter().any(|copy| copy.length == length) {
            let found = format!("an object without Lakeward's metadata, etag {etag}");
            return Ok(Look::Foreign { length, found });
        }
        // A store that drops metadata, or somebody's copy of our file: the bytes decide.
        match self.digest_object(path, &metadata).await? {
            None => Ok(Look::Absent),
            Some(copy) if mark.copies.contains(&copy) => Ok(Look::Ours),
            Some(copy) => Ok(Look::Foreign {
                length,
                found: format!("digest {}, etag {etag}", copy.digest),
            }),
        }
    }

    /// The next entries of a listing; fewer than [`LIST_ENTRIES`] at its end.
    async fn next_entries(&self, lister: &mut opendal::Lister) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        while entries.len() < LIST_ENTRIES {
            let Some(entry) = lister.next().await else {
                break;
            };
            let entry = entry?;
            // Markers of directories, and keys that no lake path can name and so none of ours.
            let Ok(path) = LakePath::new(entry.path()) else {
                continue;
            };
            entries.push(Entry {
                path,
                length: entry.metadata().content_length(),
            });
        }
        Ok(entries)
    }
}

/// The name that opendal is asked for. It trims white space off both ends, which would be another object.
fn key(path: &LakePath) -> Result<&str, Fault> {
    let key = path.as_str();
    if key.trim() == key {
        return Ok(key);
    }
    Err(Fault::permanent(
        "an object's name may not begin or end with white space",
    ))
}

/// Lakeward's own metadata of an object, by lower-case name.
fn marks(metadata: &Metadata) -> BTreeMap<String, String> {
    let mut marks = BTreeMap::new();
    if let Some(user) = metadata.user_metadata() {
        for (name, value) in user {
            marks.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    marks
}

fn in_words(marks: &BTreeMap<String, String>) -> String {
    let of = |name: &str| marks.get(name).map_or("none", String::as_str);
    format!(
        "journal {}, batch {}, file {}, digest {}",
        of(META_JOURNAL),
        of(META_BATCH),
        of(META_NUMBER),
        of(META_DIGEST)
    )
}

/// What an object is marked with.
fn metadata_of(mark: &Mark) -> BTreeMap<String, String> {
    BTreeMap::from([
        (META_JOURNAL.to_owned(), mark.journal.to_string()),
        (META_BATCH.to_owned(), mark.batch.to_string()),
        (META_NUMBER.to_owned(), mark.number.to_string()),
        (META_DIGEST.to_owned(), mark.copy.digest.to_string()),
        (META_LENGTH.to_owned(), mark.copy.length.to_string()),
    ])
}

impl Lake for S3Lake {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, LakeError> {
        self.run("create", path, self.create_object(path, contents))
    }

    fn ensure(&self, path: &LakePath, contents: &[u8]) -> Result<(), LakeError> {
        self.run("create", path, self.ensure_object(path, contents))
    }

    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, LakeError> {
        self.run("read", path, self.get(path))
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, LakeError> {
        self.run("look at", path, self.look_at(path, mark))
    }

    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, LakeError> {
        self.run("land", path, self.land_file(staged, path, mark))
    }

    fn make_durable(&self, _path: &LakePath) -> Result<(), LakeError> {
        Ok(())
    }

    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), LakeError> {
        let prefix = format!("{dir}/");
        let mut lister = self.run("list", dir, async {
            key(dir)?;
            let options = ListOptions {
                recursive: true,
                ..ListOptions::default()
            };
            Ok(self.operator.lister_options(&prefix, options).await?)
        })?;
        loop {
            // Shown outside the runtime, so that `visit` may call the lake itself.
            let entries = self.run("list", dir, self.next_entries(&mut lister))?;
            let more = entries.len() == LIST_ENTRIES;
            entries.into_iter().for_each(&mut *visit);
            if !more {
                return Ok(());
            }
        }
    }

    fn digest(&self, path: &LakePath) -> Result<Option<DataFileCopy>, LakeError> {
        self.run("read", path, async {
            match self.head(path).await? {
                Some(metadata) => self.digest_object(path, &metadata).await,
                None => Ok(None),
            }
        })
    }

    fn download(&self, path: &LakePath, to: &Path) -> Result<bool, LakeError> {
        let local = |e: std::io::Error| Fault::permanent(format!("write `{}`: {e}", to.display()));
        self.run("download", path, async {
            let Some(metadata) = self.head(path).await? else {
                return Ok(false);
            };
            let mut file = File::create(to).map_err(local)?;
            self.stream(path, &metadata, &mut |bytes| {
                file.write_all(bytes).map_err(local)
            })
            .await
        })
    }

    fn probe(&self) -> Result<Honours, LakeError> {
        let path = super::probe_path()?;
        self.run("probe", &path, self.probe_store(&path))
    }

    fn abort_uploads(&self, path: &LakePath) -> Result<u64, LakeError> {
        self.run("abort uploads to", path, self.uploads.abort(self, path))
    }

    fn staging_dir(&self, _journal: JournalId) -> Option<PathBuf> {
        None
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}
