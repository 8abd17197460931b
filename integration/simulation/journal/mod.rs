//! Simulated journals.
//!
//! | type | is |
//! | --- | --- |
//! | `MemoryStore`, `MemoryJournal` | the whole port in memory, as fast as a hundred thousand runs need |
//! | `FaultyJournal` | any journal (that one, or the real SQLite one in a directory) whose calls the world interferes with |
//! | `Disk` | the state directory of a simulated machine, with a journal of either kind: opened, rebuilt, backed up, lost |
//!
//! The tests run the port's suite on both, and give the memory and the SQLite journal the same calls, of which every answer and all
//! that can be read must be equal.

#[cfg(test)]
mod differential;
pub mod faulty;
pub mod memory;
pub mod store;
#[cfg(test)]
mod tests;

pub use faulty::FaultyJournal;
pub use memory::{MemoryJournal, MemoryStore};
