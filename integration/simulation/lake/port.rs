//! What the three clients share: calls of the world, faults, retries, names that are the same in every run, staged files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub use lakeward::lake::hdfs::FaultKind;
use lakeward::lake::{Created, Entry, ErrorClass, Honours, LakeError, Landed, Look, Mark};
use lakeward::naming::LakePath;
use lakeward::protocol::DataFileCopy;
use lakeward::segment::{Digest, JournalId};

use super::super::world::{Lost, Part, Shape, World};
use super::{LakeStore, Options, lock};

#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub message: String,
}

impl Fault {
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Permanent, message)
    }

    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Transient, message)
    }
}

impl From<Lost> for Fault {
    fn from(_: Lost) -> Self {
        Self::transient("the simulated world answered nothing")
    }
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        let message = match kind {
            FaultKind::Absent => "there is none of this name",
            FaultKind::Exists => "something has this name",
            FaultKind::Refused => "it was refused",
            FaultKind::Transient => "the file is somebody else's at the moment",
            FaultKind::Permanent => "that cannot be done",
        };
        Self::new(kind, message)
    }
}

/// A number that the server gave out; 0 where there is nothing to say.
pub type Answer = Result<u64, FaultKind>;

/// A server, which may get a request after whoever sent it has given it up.
pub trait Server {
    type Request;

    fn perform(&mut self, request: Self::Request) -> Answer;
    fn in_words(request: &Self::Request) -> String;
    /// Requests on their way.
    fn late(&mut self) -> &mut Vec<Self::Request>;

    /// One of them arrives; answers what it was and what came of it.
    fn deliver(&mut self, chosen: usize) -> String {
        let request = self.late().remove(chosen);
        let said = Self::in_words(&request);
        match self.perform(request) {
            Ok(_) => said,
            Err(kind) => format!("{said}: {kind:?}"),
        }
    }
}

/// What one kind of lake does. What all do alike is [`SimLake`](super::SimLake)'s.
pub trait OfKind: Send + Sync {
    fn port(&self) -> &Port;
    fn identity(&self) -> &str;
    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, Fault>;

    fn ensure(&self, path: &LakePath, contents: &[u8]) -> Result<(), Fault> {
        self.create(path, contents).map(|_| ())
    }

    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, Fault>;
    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault>;
    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, Fault>;
    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), Fault>;
    fn probe(&self, path: &LakePath) -> Result<Honours, Fault>;

    fn make_durable(&self, _path: &LakePath) -> Result<(), Fault> {
        Ok(())
    }

    /// What earlier attempts at the path left.
    fn remove_left(&self, _path: &LakePath) -> Result<u64, Fault> {
        Ok(0)
    }

    fn staging_dir(&self, _journal: JournalId) -> Option<PathBuf> {
        None
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// Replaces ids that the outside drew by numbers in the order in which they were first seen.
#[derive(Default)]
pub struct Subjects {
    ids: Mutex<Vec<String>>,
    /// Of temporary names: those of a later process must differ too.
    attempts: AtomicU64,
}

const ID_DIGITS: usize = 16;

impl Subjects {
    pub fn subject(&self, text: &str) -> String {
        let mut subject = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let run = rest.bytes().take_while(|b| is_hex(*b)).count();
            if run == ID_DIGITS {
                subject.push_str(&format!("#{}", self.number(&rest[..run])));
            } else {
                subject.push_str(&rest[..run]);
            }
            rest = &rest[run..];
            let other = rest.bytes().take_while(|b| !is_hex(*b)).count();
            subject.push_str(&rest[..other]);
            rest = &rest[other..];
        }
        subject
    }

    /// What later names depend on.
    pub fn describe(&self) -> String {
        format!("{:?} {:?}", lock(&self.ids), self.attempts)
    }

    fn number(&self, id: &str) -> usize {
        let mut ids = lock(&self.ids);
        if let Some(at) = ids.iter().position(|known| known == id) {
            return at;
        }
        ids.push(id.to_owned());
        ids.len() - 1
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// A client's side of the world.
pub struct Port {
    pub world: World,
    pub options: Options,
    subjects: Arc<Subjects>,
}

impl Port {
    pub fn new(world: World, store: &LakeStore) -> Self {
        Self {
            world,
            options: store.options.clone(),
            subjects: Arc::clone(&store.subjects),
        }
    }

    /// Something that changes nothing.
    pub fn look<T>(
        &self,
        operation: &str,
        subject: &str,
        read: impl FnOnce() -> T,
    ) -> Result<T, Fault> {
        self.turn(operation, subject, Shape::Look, |part| {
            (part != Part::None).then(read)
        })
    }

    /// Something that is done wholly or not at all, here.
    pub fn atomic<T>(
        &self,
        operation: &str,
        subject: &str,
        act: impl FnOnce() -> T,
    ) -> Result<T, Fault> {
        self.turn(operation, subject, Shape::Atomic, |part| {
            (part == Part::All).then(act)
        })
    }

    /// Does what the world says; `act` answers nothing where not all of it was done, and then nothing is what the caller learns.
    pub fn turn<T>(
        &self,
        operation: &str,
        subject: &str,
        shape: Shape,
        act: impl FnOnce(Part) -> Option<T>,
    ) -> Result<T, Fault> {
        let turn = self
            .world
            .call(operation, &self.subjects.subject(subject), shape);
        let answer = act(turn.part());
        turn.end()?;
        Ok(answer.ok_or(Lost)?)
    }

    /// Asks a server for something that it does wholly or not at all.
    pub fn request<S: Server>(
        &self,
        operation: &str,
        subject: &str,
        server: &Mutex<S>,
        request: S::Request,
    ) -> Result<u64, Fault> {
        let answer = self.turn(operation, subject, Shape::Remote, |part| match part {
            Part::All => Some(lock(server).perform(request)),
            Part::Late => {
                lock(server).late().push(request);
                None
            }
            Part::None | Part::Half => None,
        })?;
        Ok(answer?)
    }

    /// Repeats what met a passing fault, as often as the options allow.
    pub fn retried<T>(&self, attempt: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
        let mut backoff = self.backoff();
        loop {
            match attempt() {
                Err(fault) if fault.kind == FaultKind::Transient && backoff.pause() => {}
                answer => return answer,
            }
        }
    }

    pub fn backoff(&self) -> Backoff<'_> {
        Backoff {
            world: &self.world,
            left: self.options.tries.saturating_sub(1),
            next_ns: 200_000_000,
        }
    }

    /// 64 bits for a temporary name that no attempt had before.
    pub fn attempt(&self) -> u64 {
        self.subjects.attempts.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn identity(&self, default: &str) -> String {
        match self.options.identity.as_str() {
            "" => default.to_owned(),
            given => given.to_owned(),
        }
    }

    pub fn probe_path(&self) -> Result<LakePath, LakeError> {
        let path = format!("_lakeward/probe/{:016x}", self.attempt());
        LakePath::new(&path).map_err(|message| error("probe", &path, Fault::permanent(message)))
    }
}

/// The pauses between the tries of one operation.
pub struct Backoff<'a> {
    world: &'a World,
    left: u32,
    next_ns: u64,
}

impl Backoff<'_> {
    /// Lets time pass; `false` if there are no more tries, or nobody to try.
    pub fn pause(&mut self) -> bool {
        if self.left == 0 || self.world.is_dead() {
            return false;
        }
        self.left -= 1;
        self.world.pass(self.next_ns);
        self.next_ns *= 2;
        true
    }
}

pub fn error(operation: &'static str, path: &str, fault: Fault) -> LakeError {
    let class = match fault.kind {
        FaultKind::Transient => ErrorClass::Transient,
        _ => ErrorClass::Permanent,
    };
    LakeError::new(class, operation, path, fault.message)
}

/// A staged file's bytes, of the recorded length.
pub fn staged(path: &Path, copy: DataFileCopy) -> Result<Vec<u8>, Fault> {
    let name = path.display();
    let bytes = std::fs::read(path)
        .map_err(|e| Fault::permanent(format!("the staged copy `{name}`: {e}")))?;
    if bytes.len() as u64 != copy.length {
        return Err(Fault::permanent(format!(
            "the staged copy `{name}` has {} bytes and not the recorded {}",
            bytes.len(),
            copy.length
        )));
    }
    Ok(bytes)
}

/// Whether these are the recorded bytes.
pub fn check_digest(bytes: &[u8], mark: &Mark) -> Result<(), Fault> {
    if Digest::of(bytes) == mark.copy.digest {
        return Ok(());
    }
    Err(Fault::permanent(
        "the staged copy has another digest than the recorded one: it was damaged or changed",
    ))
}

pub fn copy_of(bytes: &[u8]) -> DataFileCopy {
    DataFileCopy {
        length: bytes.len() as u64,
        digest: Digest::of(bytes),
    }
}

/// Writes a downloaded file.
pub fn save(bytes: &[u8], to: &Path) -> Result<(), Fault> {
    std::fs::write(to, bytes)
        .map_err(|e| Fault::permanent(format!("write `{}`: {e}", to.display())))
}
