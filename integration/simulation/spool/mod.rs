//! A simulated spool: the local spool's own code on a file system in memory.
//!
//! Only the system calls are simulated ([`SimSystem`]), so every step between two of them is the program's: what a scan visits, what
//! a retire looks at again, when a claim is written. A [`SpoolDisk`] outlives the processes that use it.

pub mod disk;
pub mod model;
pub mod system;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lakeward::spool::local::LocalSpool;
use lakeward::spool::{SpoolError, SpoolSettings};

pub use disk::SpoolDisk;
pub use system::SimSystem;

use super::world::World;

pub type SimSpool = LocalSpool<SimSystem>;

/// A process begins to use the disk.
///
/// # Errors
/// Settings that the program refuses.
pub fn open(
    disk: &SpoolDisk,
    world: &World,
    settings: SpoolSettings,
) -> Result<SimSpool, SpoolError> {
    LocalSpool::on(SimSystem::new(disk, world), settings)
}

fn os(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn std_bytes(name: &OsStr) -> &[u8] {
    name.as_bytes()
}
