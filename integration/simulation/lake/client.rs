//! One process's client of a lake, of whatever kind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lakeward::lake::{Created, Entry, Honours, Lake, LakeError, Landed, Look, Mark};
use lakeward::naming::LakePath;
use lakeward::protocol::DataFileCopy;
use lakeward::segment::JournalId;

use super::super::world::World;
use super::port::{Fault, OfKind, Port, copy_of, error, save};
use super::{Held, LakeStore, Wrong, hdfs, local, s3};

/// One process's client of a lake.
pub struct SimLake {
    client: Box<dyn OfKind>,
    wrong: Option<Wrong>,
}

impl SimLake {
    pub fn new(store: &Arc<LakeStore>, world: World) -> Self {
        let port = Port::new(world, store);
        let client: Box<dyn OfKind> = match &store.held() {
            Held::Local(disk) => Box::new(local::Client::new(port, Arc::clone(disk))),
            Held::Hdfs(names) => Box::new(hdfs::Client::new(port, Arc::clone(names))),
            Held::S3(bucket) => Box::new(s3::Client::new(port, Arc::clone(bucket))),
        };
        let wrong = store.options.wrong;
        Self { client, wrong }
    }

    /// The answer, or for [`Wrong::FailedLookIsAbsent`] what it takes an error for.
    fn or_absent<T>(&self, answer: Result<T, LakeError>, absent: T) -> Result<T, LakeError> {
        match answer {
            Err(_) if self.wrong == Some(Wrong::FailedLookIsAbsent) => Ok(absent),
            answer => answer,
        }
    }
}

impl Lake for SimLake {
    fn identity(&self) -> &str {
        self.client.identity()
    }

    fn create(&self, path: &LakePath, contents: &[u8]) -> Result<Created, LakeError> {
        let answer = self.client.create(path, contents);
        answer.map_err(failed("create", path))
    }

    fn ensure(&self, path: &LakePath, contents: &[u8]) -> Result<(), LakeError> {
        let answer = self.client.ensure(path, contents);
        answer.map_err(failed("create", path))
    }

    fn read(&self, path: &LakePath) -> Result<Option<Vec<u8>>, LakeError> {
        let answer = self.client.read(path).map_err(failed("read", path));
        self.or_absent(answer, None)
    }

    fn look(&self, path: &LakePath, mark: &Mark) -> Result<Look, LakeError> {
        let answer = self.client.look(path, mark);
        let look = self.or_absent(answer.map_err(failed("look at", path)), Look::Absent)?;
        match look {
            Look::Foreign { .. } if self.wrong == Some(Wrong::ExistsIsOurs) => Ok(Look::Ours),
            look => Ok(look),
        }
    }

    fn land(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Result<Landed, LakeError> {
        let answer = self.client.land(staged, path, mark);
        answer.map_err(failed("land", path))
    }

    fn make_durable(&self, path: &LakePath) -> Result<(), LakeError> {
        let answer = self.client.make_durable(path);
        answer.map_err(failed("make durable", path))
    }

    fn list(&self, dir: &LakePath, visit: &mut dyn FnMut(Entry)) -> Result<(), LakeError> {
        let answer = self.client.list(dir, visit);
        self.or_absent(answer.map_err(failed("list", dir)), ())
    }

    fn digest(&self, path: &LakePath) -> Result<Option<DataFileCopy>, LakeError> {
        let found = self.client.read(path).map_err(failed("read", path))?;
        Ok(found.as_deref().map(copy_of))
    }

    fn download(&self, path: &LakePath, to: &Path) -> Result<bool, LakeError> {
        let found = self.client.read(path).map_err(failed("download", path))?;
        let Some(bytes) = found else {
            return Ok(false);
        };
        save(&bytes, to).map_err(failed("download", path))?;
        Ok(true)
    }

    fn probe(&self) -> Result<Honours, LakeError> {
        let path = self.client.port().probe_path()?;
        self.client.probe(&path).map_err(failed("probe", &path))
    }

    fn abort_uploads(&self, path: &LakePath) -> Result<u64, LakeError> {
        let answer = self.client.remove_left(path);
        answer.map_err(failed("remove what was left of", path))
    }

    fn staging_dir(&self, journal: JournalId) -> Option<PathBuf> {
        self.client.staging_dir(journal)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.client.free_bytes()
    }
}

fn failed(operation: &'static str, path: &LakePath) -> impl Fn(Fault) -> LakeError {
    move |fault| error(operation, path.as_str(), fault)
}
