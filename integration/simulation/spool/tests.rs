//! What the simulated disk itself must do, and what the spool's own code makes of it when it is killed anywhere.

mod disk;
mod kills;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lakeward::segment::{FileStat, RelativePath};
use lakeward::spool::conformance::{self, Hands};
use lakeward::spool::{Order, Retire, Spool, SpoolSettings};

use super::disk::{Lie, Standing};
use super::{SimSpool, SpoolDisk, open, os};
use crate::simulation::world::{Chance, Fate, Fates, Shape, World};

/// Nothing befalls anything.
struct Plain;

impl Fates for Plain {
    fn fate(&mut self, _: u64, _: Shape, _: &mut Chance) -> Fate {
        Fate::PLAIN
    }
}

fn plain() -> World {
    World::new(1, Box::new(Plain))
}

fn settings_in(directory: &Path) -> SpoolSettings {
    SpoolSettings {
        pipeline: "orders".into(),
        path: directory.join("spool"),
        recursive: false,
        include: vec!["*".into()],
        exclude: Vec::new(),
        skip_suffixes: vec![".tmp".into(), ".part".into()],
        order: Order::Name,
        ready_after: Duration::ZERO,
        ready_marker: String::new(),
        retire: Retire::Rename,
        retire_suffix: ".COMPLETED".into(),
        retire_dir: Some(directory.join("new/archive")),
        quarantine_dir: ".quarantine".into(),
    }
}

fn path(name: &str) -> RelativePath {
    RelativePath::new(name.as_bytes()).expect("a path")
}

/// A producer and an operator.
struct DiskHands {
    disk: SpoolDisk,
    world: World,
    /// Where archives are, if not beside the spool.
    elsewhere: Option<PathBuf>,
}

impl DiskHands {
    fn new() -> Self {
        let world = plain();
        Self {
            disk: SpoolDisk::new(&world),
            world,
            elsewhere: None,
        }
    }

    fn with_archive_elsewhere() -> Self {
        let hands = Self::new();
        hands.disk.mount_new("/elsewhere");
        Self {
            elsewhere: Some("/elsewhere".into()),
            ..hands
        }
    }

    fn run(&self) {
        let make = |settings| {
            Box::new(open(&self.disk, &self.world, settings).expect("settings")) as Box<dyn Spool>
        };
        conformance::run(&make, self);
    }
}

impl Hands for DiskHands {
    fn settings(&self) -> SpoolSettings {
        let name = self.world.bits().to_string();
        let mut settings = settings_in(&Path::new("/data").join(&name));
        if let Some(elsewhere) = &self.elsewhere {
            settings.retire_dir = Some(elsewhere.join(name).join("archive"));
        }
        self.disk.mkdir(&settings.path);
        settings
    }

    fn drop_file(&self, settings: &SpoolSettings, path: &[u8], content: &[u8], mtime_ns: i64) {
        let path = settings.path.join(os(path));
        self.disk.mkdir(path.parent().expect("below the spool"));
        self.disk.drop_file(&path, content, false);
        self.disk.touch(&path, mtime_ns);
    }

    fn append(&self, settings: &SpoolSettings, path: &[u8], content: &[u8], mtime_ns: i64) {
        let path = settings.path.join(os(path));
        self.disk.append(&path, content);
        self.disk.touch(&path, mtime_ns);
    }

    fn remove(&self, settings: &SpoolSettings, path: &[u8]) {
        self.disk.remove(settings.path.join(os(path)));
    }

    fn read(&self, settings: &SpoolSettings, path: &[u8]) -> Option<Vec<u8>> {
        self.disk.read(settings.path.join(os(path)))
    }

    fn read_retired(&self, settings: &SpoolSettings, path: &[u8]) -> Option<Vec<u8>> {
        self.disk.read(settings.retire_dir.as_ref()?.join(os(path)))
    }

    fn link(&self, settings: &SpoolSettings, path: &[u8], _target: &[u8]) {
        self.disk.link(settings.path.join(os(path)));
    }
}

#[test]
fn the_simulated_spool_keeps_every_promise_of_the_port() {
    DiskHands::new().run();
}

#[test]
fn the_simulated_spool_keeps_every_promise_without_a_rename_that_does_not_replace() {
    let hands = DiskHands::new();
    hands.disk.take_rename_new_away();
    hands.run();
}

#[test]
fn the_simulated_spool_keeps_every_promise_with_an_archive_on_another_file_system() {
    DiskHands::with_archive_elsewhere().run();
}

#[test]
#[should_panic(expected = "is_none()")]
fn a_lock_that_everybody_gets_breaks_a_promise() {
    let hands = DiskHands::new();
    hands.disk.lie(Lie::Lock);
    hands.run();
}

/// A disk with the spool `/data/spool` and a file `a` in it, durable.
struct Bench {
    disk: SpoolDisk,
    settings: SpoolSettings,
    stat: FileStat,
}

const CONTENT: &[u8] = b"{\"n\":1}\n{\"n\":2}\n";

impl Bench {
    fn new(change: impl FnOnce(&mut SpoolSettings)) -> Self {
        let mut settings = settings_in(Path::new("/data"));
        change(&mut settings);
        let disk = SpoolDisk::new(&plain());
        disk.mkdir(&settings.path);
        disk.mount_new("/elsewhere");
        disk.settle();
        let a = settings.path.join("a");
        disk.drop_file(&a, CONTENT, true);
        if !settings.ready_marker.is_empty() {
            disk.drop_file(settings.path.join("a.done"), b"", true);
        }
        let stat = disk.stat(&a);
        Self {
            disk,
            settings,
            stat,
        }
    }

    fn spool(&self, world: &World) -> SimSpool {
        open(&self.disk, world, self.settings.clone()).expect("settings")
    }

    fn files(&self) -> Vec<Standing> {
        self.disk.files(&self.settings)
    }

    /// Where the content stands, whole.
    fn places(&self) -> Vec<String> {
        let files = self.files();
        let whole = files.iter().filter(|file| file.content == CONTENT);
        whole.map(|file| file.path.display().to_string()).collect()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.settings.path.join(name)
    }
}
