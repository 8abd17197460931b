//! A second agent on the same spool and lake, with a journal and staging of its own.

use std::path::PathBuf;
use std::sync::Arc;

use lakeward::config::Config;
use lakeward::pipeline::{Halt, Ports};
use lakeward::segment::JournalId;

use super::acts::Beside;
use super::driver::{once, pipeline_of};
use super::fates::Kind as NoFate;
use super::journal::store::{Disk as JournalDisk, Kind};
use super::lake::{LakeStore, SimLake};
use super::place::SimClock;
use super::spool::{self, SpoolDisk};
use super::turns::{Ended, Schedule};
use super::world::World;

/// The id of its own journal.
const OTHER_JOURNAL: JournalId = JournalId(0x07e4_0000_0000_0001);

/// What a second agent finds.
#[derive(Clone)]
pub struct Elsewhere {
    pub config: Config,
    pub lake: Arc<LakeStore>,
    pub disk: SpoolDisk,
    /// The first one's.
    pub journal: Arc<JournalDisk>,
    pub staging: PathBuf,
    pub now_ns: i64,
    pub broken: &'static str,
}

impl Elsewhere {
    pub fn beside(self) -> Beside {
        Arc::new(move |copy| {
            let other = self.clone();
            // The first one's threads take turns on the calling thread.
            let ended = std::thread::spawn(move || other.run(copy)).join();
            match ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ended::Returned(Err(Halt::Bug(text))) => Some(format!("a bug: {text}")),
                Ended::Returned(Err(_)) => None,
                other => Some(format!("{other:?}")),
            }
        })
    }

    fn run(&self, copy: bool) -> Ended<Result<(), Halt>> {
        let world = World::new(2, Box::new(NoFate));
        world.jump(self.now_ns - world.now_ns());
        let journal = match (&*self.journal, copy) {
            (JournalDisk::Memory(store), true) => {
                let disk = JournalDisk::new(Kind::Memory);
                if let JournalDisk::Memory(other) = &disk {
                    other.restore(&store.snapshot());
                }
                disk
            }
            _ => JournalDisk::new(Kind::Memory),
        };
        Schedule::new(world.clone(), 0, [self.broken, ""]).run(|| self.land(&world, &journal))
    }

    fn land(&self, world: &World, journal: &JournalDisk) -> Result<(), Halt> {
        let clock = Arc::new(SimClock(world.clone()));
        let settings = self.config.pipelines[0].source.spool.clone();
        let ports = Ports {
            journal: journal.open(world, Arc::clone(&clock) as _, OTHER_JOURNAL)?,
            clock,
            lake: Arc::new(SimLake::new(&self.lake, world.clone())),
            spool: Arc::new(spool::open(&self.disk, world, settings)?),
            catalog: None,
        };
        pipeline_of(&self.config, ports, once(), self.staging.clone()).run()
    }
}
