//! An S3 store: objects, uploads that are open, and requests that arrive late.

use std::collections::{BTreeMap, BTreeSet};

use super::port::{Answer, FaultKind, Server};
use super::{Deed, Log, Options};

/// What a store answers when an upload that it completed is to be completed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondComplete {
    /// As the first time (AWS, moto).
    Done,
    /// 412 if it was asked for a condition (MinIO, SeaweedFS), else as [`Self::Absent`].
    Condition,
    /// 404, no such upload (MinIO without a condition).
    Absent,
}

pub type Metadata = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub enum Request {
    Put {
        key: String,
        bytes: Vec<u8>,
        metadata: Metadata,
        if_absent: bool,
    },
    Begin {
        key: String,
        metadata: Metadata,
    },
    Part {
        upload: u64,
        number: u32,
        bytes: Vec<u8>,
    },
    Complete {
        upload: u64,
        if_absent: bool,
    },
    Abort {
        upload: u64,
    },
    Delete {
        key: String,
    },
}

#[derive(Clone, Debug)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub metadata: Metadata,
    /// New for each write.
    pub etag: u64,
}

#[derive(Debug)]
struct Upload {
    key: String,
    metadata: Metadata,
    parts: BTreeMap<u32, Vec<u8>>,
}

#[derive(Debug)]
pub struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<u64, Upload>,
    completed: BTreeSet<u64>,
    next: u64,
    late: Vec<Request>,
    honours_put: bool,
    honours_complete: bool,
    second_complete: SecondComplete,
    drops_metadata: bool,
    pub log: Log,
}

impl Server for Bucket {
    type Request = Request;

    fn perform(&mut self, request: Request) -> Answer {
        match request {
            Request::Put {
                key,
                bytes,
                metadata,
                if_absent,
            } => {
                if if_absent && self.honours_put && self.objects.contains_key(&key) {
                    return Err(FaultKind::Exists);
                }
                self.store(&key, bytes, metadata);
                Ok(0)
            }
            Request::Begin { key, metadata } => {
                let id = self.new_number();
                let upload = Upload {
                    key,
                    metadata,
                    parts: BTreeMap::new(),
                };
                self.uploads.insert(id, upload);
                Ok(id)
            }
            Request::Part {
                upload,
                number,
                bytes,
            } => {
                let open = self.uploads.get_mut(&upload).ok_or(FaultKind::Absent)?;
                open.parts.insert(number, bytes);
                Ok(0)
            }
            Request::Complete { upload, if_absent } => self.complete(upload, if_absent),
            Request::Abort { upload } => match self.uploads.remove(&upload) {
                Some(_) => Ok(0),
                None => Err(FaultKind::Absent),
            },
            Request::Delete { key } => {
                if self.objects.remove(&key).is_some() {
                    self.log.tell(&key, Deed::Deleted);
                }
                Ok(0)
            }
        }
    }

    fn in_words(request: &Request) -> String {
        match request {
            Request::Put { key, .. } => format!("put {key}"),
            Request::Begin { key, .. } => format!("begin upload {key}"),
            Request::Part { upload, number, .. } => format!("part {number} of upload {upload}"),
            Request::Complete { upload, .. } => format!("complete upload {upload}"),
            Request::Abort { upload } => format!("abort upload {upload}"),
            Request::Delete { key } => format!("delete {key}"),
        }
    }

    fn late(&mut self) -> &mut Vec<Request> {
        &mut self.late
    }
}

impl Bucket {
    pub fn new(options: &Options) -> Self {
        Self {
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            completed: BTreeSet::new(),
            next: 1,
            late: Vec::new(),
            honours_put: options.honours_conditions,
            honours_complete: options.honours_conditions && options.honours_on_complete,
            second_complete: options.second_complete,
            drops_metadata: options.drops_metadata,
            log: Log::default(),
        }
    }

    fn complete(&mut self, id: u64, if_absent: bool) -> Answer {
        let Some(upload) = self.uploads.get(&id) else {
            return match self.second_complete {
                SecondComplete::Done if self.completed.contains(&id) => Ok(0),
                SecondComplete::Condition if if_absent && self.completed.contains(&id) => {
                    Err(FaultKind::Exists)
                }
                _ => Err(FaultKind::Absent),
            };
        };
        // Refused, it stays open.
        if if_absent && self.honours_complete && self.objects.contains_key(&upload.key) {
            return Err(FaultKind::Exists);
        }
        if let Some(upload) = self.uploads.remove(&id) {
            let bytes = upload.parts.into_values().flatten().collect();
            self.store(&upload.key, bytes, upload.metadata);
            self.completed.insert(id);
        }
        Ok(0)
    }

    fn store(&mut self, key: &str, bytes: Vec<u8>, metadata: Metadata) {
        let deed = match self.objects.get(key) {
            None => Deed::Written,
            Some(old) => Deed::Replaced {
                same_bytes: old.bytes == bytes,
            },
        };
        let etag = self.new_number();
        let metadata = if self.drops_metadata {
            Metadata::new()
        } else {
            metadata
        };
        let object = Object {
            bytes,
            metadata,
            etag,
        };
        self.objects.insert(key.to_owned(), object);
        self.log.tell(key, deed);
    }

    fn new_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub fn object(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Keys that begin with `prefix` and come after `after`, with their lengths, at most `most`.
    pub fn list(&self, prefix: &str, after: &str, most: usize) -> Vec<(String, u64)> {
        self.objects
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| key.as_str() > after)
            .take(most)
            .map(|(key, object)| (key.clone(), object.bytes.len() as u64))
            .collect()
    }

    /// Open uploads to exactly this key with ids above `after`, at most `most`.
    pub fn uploads_to(&self, key: &str, after: u64, most: usize) -> Vec<u64> {
        self.uploads
            .iter()
            .filter(|(id, upload)| **id > after && upload.key == key)
            .map(|(id, _)| *id)
            .take(most)
            .collect()
    }

    pub fn uploads(&self) -> usize {
        self.uploads.len()
    }

    pub fn visible(&self) -> BTreeMap<String, Vec<u8>> {
        self.objects
            .iter()
            .map(|(key, object)| (key.clone(), object.bytes.clone()))
            .collect()
    }

    pub fn take_away(&mut self, path: &str) -> bool {
        self.log.version += 1;
        self.objects.remove(path).is_some()
    }

    pub fn put_foreign(&mut self, path: &str, bytes: &[u8]) {
        self.log.version += 1;
        let object = Object {
            bytes: bytes.to_vec(),
            metadata: Metadata::new(),
            etag: self.new_number(),
        };
        self.objects.insert(path.to_owned(), object);
    }
}
