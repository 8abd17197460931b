//! The client of an S3 lake: the requests of `lake/s3/`, in its order, with its answers to each fault.

use std::path::Path;
use std::sync::{Arc, Mutex};

use lakeward::lake::{Created, Entry, Honours, Landed, Look, Mark};
use lakeward::naming::LakePath;
use lakeward::protocol::DataFileCopy;
use lakeward::segment::Digest;

use super::bucket::{Bucket, Metadata, Object, Request};
use super::port::{Fault, FaultKind, OfKind, Port, check_digest, copy_of, staged};
use super::{Wrong, lock};

const META_DIGEST: &str = "lakeward-digest";

pub struct Client {
    port: Port,
    bucket: Arc<Mutex<Bucket>>,
    identity: String,
}

impl Client {
    pub fn new(port: Port, bucket: Arc<Mutex<Bucket>>) -> Self {
        Self {
            identity: port.identity("s3 http://simulated/lake"),
            port,
            bucket,
        }
    }

    fn bucket<T>(&self, ask: impl FnOnce(&mut Bucket) -> T) -> T {
        ask(&mut lock(&self.bucket))
    }

    fn conditional(&self) -> bool {
        self.port.options.conditional_writes
    }

    fn is_wrong(&self, wrong: Wrong) -> bool {
        self.port.options.wrong == Some(wrong)
    }

    fn request(&self, operation: &str, subject: &str, request: Request) -> Result<u64, Fault> {
        self.port.request(operation, subject, &self.bucket, request)
    }

    /// What a HEAD tells: the object, of which only length, metadata and etag may be used.
    fn head(&self, path: &LakePath) -> Result<Option<Object>, Fault> {
        let key = key(path)?;
        self.port.retried(|| {
            self.port.look("head", key, || {
                self.bucket(|bucket| bucket.object(key).cloned())
            })
        })
    }

    /// The bytes of an object that was looked at; `None` if it is gone.
    fn bytes(&self, path: &LakePath, head: &Object) -> Result<Option<Vec<u8>>, Fault> {
        let key = path.as_str();
        let found = self.port.retried(|| {
            self.port.look("get", key, || {
                self.bucket(|bucket| bucket.object(key).cloned())
            })
        })?;
        match found {
            None => Ok(None),
            Some(object) if object.etag != head.etag => {
                Err(Fault::permanent("it was replaced while it was read"))
            }
            Some(object) => Ok(Some(object.bytes)),
        }
    }

    fn get(&self, path: &LakePath) -> Result<Option<Vec<u8>>, Fault> {
        match self.head(path)? {
            Some(head) => self.bytes(path, &head),
            None => Ok(None),
        }
    }

    fn put_once(
        &self,
        path: &LakePath,
        bytes: &[u8],
        metadata: &Metadata,
        if_absent: bool,
    ) -> Result<(), Fault> {
        let if_absent = if_absent && !self.is_wrong(Wrong::Replaces);
        let request = Request::Put {
            key: key(path)?.to_owned(),
            bytes: bytes.to_vec(),
            metadata: metadata.clone(),
            if_absent,
        };
        self.request("put", path.as_str(), request).map(|_| ())
    }

    fn try_create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, Fault> {
        let compared = |found: &[u8]| {
            if found == contents {
                Created::Ours
            } else {
                Created::Other
            }
        };
        if !self.conditional()
            && let Some(found) = self.get(path)?
        {
            return Ok(compared(&found));
        }
        let none = Metadata::new();
        let put = || self.put_once(path, contents, &none, self.conditional());
        match self.port.retried(put) {
            Ok(()) if self.conditional() => return Ok(Created::Ours),
            Ok(()) => {}
            Err(fault) if fault.kind == FaultKind::Exists => {}
            Err(fault) => return Err(fault),
        }
        match self.get(path)? {
            Some(found) => Ok(compared(&found)),
            None => Err(Fault::transient(
                "it was refused as existing, and then it was not there",
            )),
        }
    }

    fn try_land(&self, from: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, Fault> {
        let contents = staged(from, mark.copy)?;
        let mut backoff = self.port.backoff();
        let mut look_first = !self.conditional();
        loop {
            if look_first && self.head(path)?.is_some() {
                return Ok(Landed::Look);
            }
            match self.upload(&contents, path, mark) {
                Ok(()) => return Ok(Landed::Yes),
                Err(fault) if fault.kind == FaultKind::Exists => return Ok(Landed::Look),
                Err(fault) if fault.kind == FaultKind::Permanent => return Err(fault),
                Err(fault) => {
                    if !backoff.pause() {
                        return Err(Fault::transient(fault.message));
                    }
                }
            }
            look_first = true;
        }
    }

    fn upload(&self, contents: &[u8], path: &LakePath, mark: &Mark) -> Result<(), Fault> {
        if contents.len() < self.port.options.multipart_bytes {
            check_digest(contents, mark)?;
            return self.put_once(path, contents, &metadata_of(mark), self.conditional());
        }
        let request = Request::Begin {
            key: key(path)?.to_owned(),
            metadata: metadata_of(mark),
        };
        let upload = self.request("begin upload", path.as_str(), request)?;
        let uploaded = self.send_and_complete(upload, contents, path, mark);
        if uploaded.is_err() {
            self.abort(upload, path);
        }
        uploaded
    }

    fn send_and_complete(
        &self,
        upload: u64,
        contents: &[u8],
        path: &LakePath,
        mark: &Mark,
    ) -> Result<(), Fault> {
        for (number, bytes) in (1..).zip(contents.chunks(self.port.options.part_bytes)) {
            let part = Request::Part {
                upload,
                number,
                bytes: bytes.to_vec(),
            };
            self.request("put part", path.as_str(), part)?;
        }
        check_digest(contents, mark)?;
        if !self.conditional() && self.head(path)?.is_some() {
            return Err(FaultKind::Exists.into());
        }
        // Completing again is harmless: it is there already, unknown, or answered anew.
        self.port.retried(|| {
            let complete = Request::Complete {
                upload,
                if_absent: self.conditional() && !self.is_wrong(Wrong::Replaces),
            };
            self.request("complete upload", path.as_str(), complete)
                .map(|_| ())
        })
    }

    /// Best effort: what is left of an upload is invisible.
    fn abort(&self, upload: u64, path: &LakePath) {
        let _left_behind = self.port.retried(|| self.abort_one(upload, path));
    }

    fn abort_one(&self, upload: u64, path: &LakePath) -> Result<(), Fault> {
        match self.request("abort upload", path.as_str(), Request::Abort { upload }) {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind == FaultKind::Absent => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    fn try_abort_uploads(&self, path: &LakePath) -> Result<u64, Fault> {
        let key = key(path)?;
        let most = self.port.options.page;
        let mut aborted = 0;
        let mut after = 0;
        loop {
            let page = self.port.retried(|| {
                self.port.look("list uploads", key, || {
                    self.bucket(|bucket| bucket.uploads_to(key, after, most))
                })
            })?;
            for upload in &page {
                self.port.retried(|| self.abort_one(*upload, path))?;
                aborted += 1;
            }
            match page.last() {
                Some(last) if page.len() == most => after = *last,
                _ => return Ok(aborted),
            }
        }
    }

    fn try_look(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        let Some(head) = self.head(path)? else {
            return Ok(Look::Absent);
        };
        let length = head.bytes.len() as u64;
        let foreign = |found: String| Ok(Look::Foreign { length, found });
        let digest = head
            .metadata
            .get(META_DIGEST)
            .and_then(|digest| digest.parse::<Digest>().ok());
        if let Some(digest) = digest {
            if mark.copies.contains(&DataFileCopy { length, digest }) {
                return Ok(Look::Ours);
            }
            return foreign(format!("an object that says of itself {:?}", head.metadata));
        }
        if !mark.copies.iter().any(|copy| copy.length == length) {
            return foreign("an object without Lakeward's metadata".to_owned());
        }
        match self.bytes(path, &head)?.as_deref().map(copy_of) {
            None => Ok(Look::Absent),
            Some(copy) if mark.copies.contains(&copy) => Ok(Look::Ours),
            Some(copy) => foreign(format!("digest {}", copy.digest)),
        }
    }

    fn try_probe(&self, path: &LakePath) -> Result<Honours, Fault> {
        if self.port.options.short_probe {
            let conditional_writes = self.port.options.honours_conditions;
            return self
                .port
                .look("probe", "", || Honours { conditional_writes });
        }
        self.probe_put(path, PROBE, false)?;
        let probed = self.probe_rest(path);
        let removed = self.port.retried(|| {
            let key = path.as_str().to_owned();
            self.request("delete", path.as_str(), Request::Delete { key })
        });
        let honours = probed?;
        removed?;
        Ok(honours)
    }

    fn probe_rest(&self, path: &LakePath) -> Result<Honours, Fault> {
        if self.get(path)?.as_deref() != Some(PROBE) {
            return Err(Fault::permanent("what was written did not read back"));
        }
        let dir = path.as_str().rsplit_once('/').map_or("", |(dir, _)| dir);
        let mut listed = false;
        self.list_pages(&format!("{dir}/"), &mut |key, _| {
            listed |= key == path.as_str();
        })?;
        if !listed {
            return Err(Fault::permanent("what was written is not listed"));
        }
        match self.probe_put(path, b"written over it", true) {
            Ok(()) => Ok(Honours {
                conditional_writes: false,
            }),
            Err(fault) if fault.kind == FaultKind::Exists => Ok(Honours {
                conditional_writes: true,
            }),
            Err(fault) => Err(fault),
        }
    }

    fn probe_put(&self, path: &LakePath, bytes: &[u8], if_absent: bool) -> Result<(), Fault> {
        let none = Metadata::new();
        self.port
            .retried(|| self.put_once(path, bytes, &none, if_absent))
    }

    /// Page by page; one that fails, fails the listing.
    fn list_pages(&self, prefix: &str, show: &mut dyn FnMut(&str, u64)) -> Result<(), Fault> {
        let most = self.port.options.page;
        let mut after = String::new();
        loop {
            let page = self.port.look("list page", prefix, || {
                self.bucket(|bucket| bucket.list(prefix, &after, most))
            })?;
            for (key, length) in &page {
                show(key, *length);
            }
            match page.last() {
                Some((last, _)) if page.len() == most && !self.is_wrong(Wrong::FirstPageIsAll) => {
                    after.clone_from(last);
                }
                _ => return Ok(()),
            }
        }
    }
}

const PROBE: &[u8] = b"lakeward probes this lake";

/// opendal trims white space off both ends, which would be another object.
fn key(path: &LakePath) -> Result<&str, Fault> {
    let key = path.as_str();
    if key.trim() == key {
        return Ok(key);
    }
    Err(Fault::permanent(
        "an object's name may not begin or end with white space",
    ))
}

fn metadata_of(mark: &Mark) -> Metadata {
    Metadata::from([
        ("lakeward-journal".to_owned(), mark.journal.to_string()),
        ("lakeward-batch".to_owned(), mark.batch.to_string()),
        ("lakeward-number".to_owned(), mark.number.to_string()),
        (META_DIGEST.to_owned(), mark.copy.digest.to_string()),
        ("lakeward-length".to_owned(), mark.copy.length.to_string()),
    ])
}

impl OfKind for Client {
    fn port(&self) -> &Port {
        &self.port
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, Fault> {
        self.try_create(path, contents)
    }

    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, Fault> {
        self.get(path)
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        self.try_look(path, mark)
    }

    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, Fault> {
        self.try_land(staged, path, mark)
    }

    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), Fault> {
        self.list_pages(&format!("{dir}/"), &mut |key: &str, length: u64| {
            if let Ok(path) = LakePath::new(key) {
                visit(Entry { path, length });
            }
        })
    }

    fn probe(&self, path: &LakePath) -> Result<Honours, Fault> {
        self.try_probe(path)
    }

    fn remove_left(&self, path: &LakePath) -> Result<u64, Fault> {
        self.try_abort_uploads(path)
    }
}
