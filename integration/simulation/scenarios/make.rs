//! What a rig is made of, and another one beside it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use lakeward::config::PipelineSettings;

use super::super::checker::{Checker, Dropped};
use super::super::fates::Kind as NoFate;
use super::super::journal::store::{Disk as JournalDisk, Kind as JournalKind};
use super::super::lake::{Kind, LakeStore, Options};
use super::super::place::{Place, RETIRED, SPOOL, SimClock, small_lake};
use super::super::plan::Setting;
use super::super::spool::SpoolDisk;
use super::super::world::World;
use super::cues::Scripted;
use super::rig::{Rig, lock};

/// What a rig is to be made of.
pub struct Make {
    kind: Kind,
    seed: u64,
    setting: Setting,
    options: Options,
    broken: &'static str,
}

impl Make {
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            seed: 1,
            setting: Setting::plain(),
            options: small_lake(Options::default()),
            broken: "",
        }
    }

    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    pub fn broken(self, broken: &'static str) -> Self {
        Self { broken, ..self }
    }

    pub fn set(mut self, set: impl FnOnce(&mut Setting)) -> Self {
        set(&mut self.setting);
        self
    }

    pub fn options(mut self, set: impl FnOnce(&mut Options)) -> Self {
        set(&mut self.options);
        self
    }

    pub fn build(self) -> Arc<Rig> {
        let world = World::new(self.seed, Box::new(NoFate));
        let place = Place::new();
        place.clear();
        let options = Options {
            staging: place.staging(),
            ..self.options
        };
        let lake = LakeStore::new(self.kind, options);
        let disk = SpoolDisk::new(&world);
        for dir in [SPOOL, RETIRED] {
            disk.mkdir(dir);
        }
        disk.settle();
        let seen = Seen {
            checker: Checker::new(Arc::clone(&lake), false),
            drops: Vec::new(),
            disk: disk.clone(),
        };
        let rig = Rig {
            life: Mutex::new(Life {
                setting: self.setting,
                text: Arc::new(|text| text),
                tweak: Arc::new(|_| ()),
                lake: Arc::clone(&lake),
            }),
            broken: self.broken,
            kind: self.kind,
            spool: SPOOL,
            place,
            clock: Arc::new(SimClock(world.clone())),
            world,
            lake,
            disk,
            store: JournalDisk::new(JournalKind::Memory),
            seen: Arc::new(Mutex::new(seen)),
            script: Arc::default(),
            journals: Arc::default(),
            others_live: AtomicBool::new(false),
            is_upgraded: AtomicBool::new(false),
        };
        Arc::new(rig.wired())
    }
}

/// What the next process is configured with.
pub struct Life {
    pub setting: Setting,
    pub text: Arc<dyn Fn(String) -> String + Send + Sync>,
    pub tweak: Arc<dyn Fn(&mut PipelineSettings) + Send + Sync>,
    pub lake: Arc<LakeStore>,
}

/// What others see: the reader of the lake, and who drops files.
pub struct Seen {
    pub checker: Checker,
    pub drops: Vec<Dropped>,
    pub disk: SpoolDisk,
}

impl Seen {
    pub fn look(&mut self) {
        self.checker.look();
        for event in self.disk.events() {
            let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
            if event
                .to
                .is_some_and(|to| text(&to).contains("/.quarantine/"))
            {
                continue;
            }
            // Of files that were sent again, the first.
            let dropped = self.drops.iter().find(|d| d.bytes == event.content);
            if let Some(dropped) = dropped.filter(|d| !d.touched).cloned() {
                self.checker.left_the_spool(&dropped);
            }
        }
    }
}

impl Rig {
    fn wired(self) -> Self {
        let seen = Arc::clone(&self.seen);
        self.world
            .watch(Some(Arc::new(move |_| lock(&seen).look())));
        let script = Arc::clone(&self.script);
        self.world.before(Some(Arc::new(move |operation, subject| {
            script.told(operation, subject);
        })));
        self.world
            .fates(Box::new(Scripted(Arc::clone(&self.script))));
        self
    }

    /// Another agent, elsewhere: the same lake and disk, a journal and staging of its own, this one's configuration.
    pub fn beside(&self, spool: &'static str) -> Arc<Self> {
        let world = World::new(99, Box::new(NoFate));
        world.jump(self.world.now_ns() - world.now_ns());
        let place = Place::new();
        place.clear();
        if self.disk.read(spool).is_none() && spool != self.spool {
            self.disk.mkdir(spool);
            self.disk.settle();
        }
        let life = lock(&self.life);
        let rig = Self {
            life: Mutex::new(Life {
                setting: life.setting.clone(),
                text: Arc::clone(&life.text),
                tweak: Arc::clone(&life.tweak),
                lake: Arc::clone(&self.lake),
            }),
            broken: self.broken,
            kind: self.kind,
            spool,
            place,
            clock: Arc::new(SimClock(world.clone())),
            world,
            lake: Arc::clone(&self.lake),
            disk: self.disk.clone(),
            store: JournalDisk::new(JournalKind::Memory),
            seen: Arc::clone(&self.seen),
            script: Arc::default(),
            journals: Arc::clone(&self.journals),
            others_live: AtomicBool::new(false),
            is_upgraded: AtomicBool::new(false),
        };
        drop(life);
        Arc::new(rig.wired())
    }
}
