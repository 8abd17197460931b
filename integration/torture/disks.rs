//! Disks that fill up or become read-only under the program, and rights that are taken away, each given back later.

use std::fs::{Permissions, metadata, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::chance::Chance;
use super::ground::{Ground, Lake};
use super::killing::Mayhem;
use crate::means::Disk;

/// What the small disk is under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Journal,
    Spool,
    Lake,
    /// Of a remote lake: that of a local one is on the lake's own disk.
    Staging,
    /// Another one than the spool's: what is retired is copied there.
    Archive,
}

impl Place {
    pub const ALL: [Self; 5] = [
        Self::Journal,
        Self::Spool,
        Self::Lake,
        Self::Staging,
        Self::Archive,
    ];

    fn path(self) -> &'static str {
        match self {
            Self::Journal => "var",
            Self::Spool => "spool",
            Self::Lake => "lake",
            Self::Staging => "var/staging",
            Self::Archive => "retired",
        }
    }

    /// Room for all of a round.
    fn bytes(self) -> u64 {
        match self {
            Self::Lake => 128 << 20,
            _ => 64 << 20,
        }
    }
}

/// A small disk that is full or read-only at times.
pub struct Narrow {
    disk: Disk,
    place: Place,
    at: PathBuf,
    read_only: bool,
}

impl Narrow {
    /// Puts the disk under a ground that was not used yet.
    pub fn under(ground: &mut Ground, place: Place) -> Self {
        let at = ground.site.path(place.path());
        let disk = Disk::mount(&at, place.bytes());
        let seen = disk.seen(&at);
        ground.before = disk.inside();
        match place {
            Place::Journal => ground.var = seen,
            Place::Spool => {
                for pipeline in &ground.pipelines {
                    std::fs::create_dir(seen.join(&pipeline.name)).expect("a spool");
                }
                ground.spools = seen;
            }
            Place::Lake => {
                ground.staging = seen.join("_lakeward/staging");
                ground.lake = Lake::Local(seen);
            }
            Place::Staging => ground.staging = seen,
            Place::Archive => {}
        }
        Self {
            disk,
            place,
            at,
            read_only: false,
        }
    }

    /// Not possible while something is open for writing there.
    fn remount(&self, how: &str) -> bool {
        let words = self.disk.inside();
        Command::new(&words[0])
            .args(&words[1..])
            .args(["mount", "-o", how])
            .arg(&self.at)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Mayhem for Narrow {
    fn strike(&mut self, chance: &mut Chance) -> Option<String> {
        if chance.one_in(3) && self.remount("remount,ro") {
            self.read_only = true;
            return Some(format!("read-only disk under {:?}", self.place));
        }
        self.disk.leave(chance.pick(&[0, 4, 64, 300]) << 10);
        Some(format!("full disk under {:?}", self.place))
    }

    fn relent(&mut self) {
        if self.read_only {
            assert!(self.remount("remount,rw"), "the disk stays read-only");
            self.read_only = false;
        }
        self.disk.free();
    }

    fn codes(&self) -> &[i32] {
        &[0, 4, 75]
    }
}

/// Rights that are taken away from directories and files. The program runs without root's power over them; what tortures
/// it runs with it.
pub struct Rights {
    places: Vec<PathBuf>,
    spools: Vec<PathBuf>,
    taken: Option<(PathBuf, Permissions)>,
}

impl Rights {
    pub fn over(ground: &Ground) -> Self {
        let mut places: Vec<PathBuf> = ["lake", "lake/_lakeward", "var", "retired"]
            .map(|name| ground.site.path(name))
            .into();
        places.push(ground.staging.clone());
        let spools = ground.pipelines.iter().map(|pipeline| {
            places.push(ground.site.path(&format!("lake/{}", pipeline.name)));
            ground.spools.join(&pipeline.name)
        });
        let spools: Vec<PathBuf> = spools.collect();
        places.extend(spools.iter().cloned());
        Self {
            places,
            spools,
            taken: None,
        }
    }

    fn take(&mut self, path: &Path, mode: u32) -> bool {
        let Ok(found) = metadata(path) else {
            return false;
        };
        let taken = set_permissions(path, Permissions::from_mode(mode)).is_ok();
        self.taken = taken.then(|| (path.to_owned(), found.permissions()));
        taken
    }
}

impl Mayhem for Rights {
    fn strike(&mut self, chance: &mut Chance) -> Option<String> {
        let mode = chance.pick(&[0o555, 0o000]);
        if chance.one_in(4) {
            let spool = self.spools[chance.below(self.spools.len() as u64) as usize].clone();
            let file = std::fs::read_dir(spool)
                .ok()?
                .flatten()
                .find(|entry| entry.file_name().as_encoded_bytes().first() != Some(&b'.'))?;
            return self
                .take(&file.path(), 0o000)
                .then(|| "a spooled file that may not be read".to_owned());
        }
        let path = self.places[chance.below(self.places.len() as u64) as usize].clone();
        let what = path.file_name().unwrap_or_default().to_string_lossy();
        self.take(&path, mode)
            .then(|| format!("mode {mode:03o} of {what}"))
    }

    fn relent(&mut self) {
        if let Some((path, permissions)) = self.taken.take() {
            // A file may have been retired meanwhile, with the mode that it has.
            let _gone = set_permissions(path, permissions);
        }
    }

    fn codes(&self) -> &[i32] {
        &[0, 4, 75]
    }
}
