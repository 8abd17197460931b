//! HDFS: the program's own lake over simulated calls of a NameNode and its DataNodes.

use std::future::ready;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use lakeward::lake::hdfs::{Calls, Contents, Fault as HdfsFault, FaultKind, HdfsLake, Info};
use lakeward::lake::retry::RetryPolicy;
use lakeward::lake::{Created, Entry, ErrorClass, Honours, Lake, LakeError, Landed, Look, Mark};
use lakeward::naming::LakePath;
use tokio::runtime::{Handle, Runtime};

use super::super::world::{Part, Shape};
use super::in_turns::InTurns;
use super::namenode::{NameNode, Request};
use super::port::{Fault, OfKind, Port, Server};
use super::{Wrong, lock};

/// The first pause after a passing fault; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

pub struct Client {
    port: Arc<Port>,
    identity: String,
    lake: HdfsLake<Simulated>,
}

/// The NameNode and its DataNodes, as one process asks them.
struct Simulated {
    port: Arc<Port>,
    names: Arc<Mutex<NameNode>>,
    holder: u64,
}

/// Nothing runs there: whatever is simulated answers at once.
fn nobody() -> Handle {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
    });
    RUNTIME.handle().clone()
}

impl Client {
    pub fn new(port: Port, names: Arc<Mutex<NameNode>>) -> Self {
        let port = Arc::new(port);
        let holder = lock(&names).new_holder();
        let calls = Simulated {
            port: Arc::clone(&port),
            names,
            holder,
        };
        Self {
            identity: port.identity("hdfs simulated/lake"),
            lake: HdfsLake::new("hdfs", calls, "/", nobody(), policy(port.options.tries)),
            port,
        }
    }

    fn ask<T>(
        &self,
        ask: impl FnOnce(&HdfsLake<Simulated>) -> Result<T, LakeError>,
    ) -> Result<T, Fault> {
        let _turns = InTurns::enter(&self.port);
        ask(&self.lake).map_err(|error| match error.class {
            ErrorClass::Transient => Fault::transient(error.message),
            ErrorClass::Permanent => Fault::permanent(error.message),
        })
    }
}

/// So many tries, roughly: the pauses are jittered.
pub fn policy(tries: u32) -> RetryPolicy {
    RetryPolicy {
        total: FIRST_PAUSE * ((1 << tries.saturating_sub(1)) - 1),
        first: FIRST_PAUSE,
        longest: Duration::from_secs(15),
    }
}

impl From<Fault> for HdfsFault {
    fn from(fault: Fault) -> Self {
        Self {
            kind: fault.kind,
            message: fault.message,
        }
    }
}

/// The lake's root is the NameNode's.
fn plain(path: &str) -> &str {
    path.trim_start_matches('/')
}

impl Simulated {
    /// The servers, whose clock is their own.
    fn names<T>(&self, ask: impl FnOnce(&mut NameNode) -> T) -> T {
        let now_ms = self.port.world.elapsed_ns() / 1_000_000;
        let mut names = lock(&self.names);
        names.now_ms = now_ms;
        ask(&mut names)
    }

    fn request(&self, operation: &str, subject: &str, request: Request) -> Result<u64, Fault> {
        self.names(|_| ());
        self.port.request(operation, subject, &self.names, request)
    }

    fn write_all(&self, path: &str, contents: &mut Contents) -> Result<(), HdfsFault> {
        let create = Request::Create {
            path: path.to_owned(),
            holder: self.holder,
        };
        let file = self.request("create", path, create)?;
        while let Some(block) = contents.next(self.port.options.block_bytes as u64)? {
            self.write_block(path, file, &block)?;
        }
        self.request("close", path, Request::Close { file })?;
        Ok(())
    }

    fn write_block(&self, path: &str, file: u64, block: &[u8]) -> Result<(), Fault> {
        let write = |bytes: &[u8]| Request::Write {
            file,
            bytes: bytes.to_vec(),
        };
        let answer =
            self.port
                .turn("write block", path, Shape::RemoteParts, |part| match part {
                    Part::All => Some(self.names(|names| names.perform(write(block)))),
                    Part::Half => {
                        let half = &block[..block.len() / 2];
                        let _nobody_hears = self.names(|names| names.perform(write(half)));
                        None
                    }
                    Part::Late => {
                        self.names(|names| names.late().push(write(block)));
                        None
                    }
                    Part::None => None,
                })?;
        answer?;
        Ok(())
    }

    fn rename_now(&self, from: &str, to: &str) -> Result<(), Fault> {
        if self.port.options.wrong == Some(Wrong::Replaces) {
            self.request("delete", to, Request::Delete(to.to_owned()))?;
        }
        let rename = Request::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        self.request("rename", to, rename)?;
        Ok(())
    }

    /// Page by page; a page that fails, fails it all.
    fn list_all(&self, dir: &str) -> Result<Option<Vec<Info>>, Fault> {
        let most = self.port.options.page;
        let mut found: Vec<Info> = Vec::new();
        loop {
            let after = found.last().map(|info| info.name.clone());
            let page = self.port.look("list page", dir, || {
                self.names(|names| {
                    let is_there = names.info(dir).is_some_and(|info| info.is_dir);
                    is_there.then(|| names.list(dir, after.as_deref(), most))
                })
            })?;
            let Some(page) = page else {
                return Ok(None);
            };
            let more = page.len() == most && self.port.options.wrong != Some(Wrong::FirstPageIsAll);
            found.extend(page);
            if !more {
                return Ok(Some(found));
            }
        }
    }
}

impl Calls for Simulated {
    fn service(&self) -> String {
        "simulated/lake".to_owned()
    }

    fn info(&self, path: &str) -> impl Future<Output = Result<Option<Info>, HdfsFault>> {
        let path = plain(path);
        let found = self
            .port
            .look("get info", path, || self.names(|names| names.info(path)));
        ready(found.map_err(HdfsFault::from))
    }

    fn make_dirs(&self, path: &str) -> impl Future<Output = Result<(), HdfsFault>> {
        let path = plain(path);
        let made = self.request("mkdirs", path, Request::MakeDirs(path.to_owned()));
        ready(made.map(|_| ()).map_err(HdfsFault::from))
    }

    fn write(
        &self,
        path: &str,
        contents: &mut Contents,
    ) -> impl Future<Output = Result<(), HdfsFault>> {
        ready(self.write_all(plain(path), contents))
    }

    fn rename(&self, from: &str, to: &str) -> impl Future<Output = Result<(), HdfsFault>> {
        ready(
            self.rename_now(plain(from), plain(to))
                .map_err(HdfsFault::from),
        )
    }

    fn delete(&self, path: &str) -> impl Future<Output = Result<bool, HdfsFault>> {
        let path = plain(path);
        let deleted = self.request("delete", path, Request::Delete(path.to_owned()));
        ready(deleted.map(|count| count > 0).map_err(HdfsFault::from))
    }

    fn list(&self, dir: &str) -> impl Future<Output = Result<Option<Vec<Info>>, HdfsFault>> {
        ready(self.list_all(plain(dir)).map_err(HdfsFault::from))
    }

    fn read(
        &self,
        path: &str,
        range: Range<u64>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), HdfsFault>,
    ) -> impl Future<Output = Result<bool, HdfsFault>> {
        let path = plain(path);
        let read = self
            .port
            .look("read", path, || self.names(|names| names.read(path)))
            .map_err(HdfsFault::from);
        ready(read.and_then(|found| {
            let Some(bytes) = found else {
                return Ok(false);
            };
            let to = bytes.len().min(range.end as usize);
            let from = to.min(range.start as usize);
            take(&bytes[from..to])?;
            Ok(true)
        }))
    }
}

impl OfKind for Client {
    fn port(&self) -> &Port {
        &self.port
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, Fault> {
        self.ask(|lake| lake.create(path, contents))
    }

    fn ensure(&self, path: &LakePath, contents: &[u8]) -> Result<(), Fault> {
        self.ask(|lake| lake.ensure(path, contents))
    }

    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, Fault> {
        self.ask(|lake| lake.read(path))
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, Fault> {
        self.ask(|lake| lake.look(path, mark))
    }

    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, Fault> {
        self.ask(|lake| lake.land(staged, path, mark))
    }

    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), Fault> {
        self.ask(|lake| lake.list(dir, visit))
    }

    fn probe(&self, _path: &LakePath) -> Result<Honours, Fault> {
        if self.port.options.short_probe {
            return self.port.look("probe", "", || Honours {
                conditional_writes: true,
            });
        }
        self.ask(Lake::probe)
    }

    fn remove_left(&self, path: &LakePath) -> Result<u64, Fault> {
        self.ask(|lake| lake.abort_uploads(path))
    }
}
