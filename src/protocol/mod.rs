//! Decides, and does nothing: a batch's facts, its states, and the one policy that says what comes next.
//!
//! Live work and recovery are the same loop: observe, ask [`next_step`], perform, record. Landing is an observation and
//! never a stored state, because a crash can always fall between "visible" and "written down".

mod batch;
pub mod invariant;
mod manifest;
mod step;

pub use batch::{BatchState, Illegal, RollReason};
pub use manifest::{
    DataFile, DataFileCopy, DataFileKind, Encoding, MANIFEST_FORMAT, Manifest, ManifestBody,
    ManifestFile, ManifestSegment, ManifestText, Membership, MembershipDigester, Tombstone,
};
pub use step::{FinalCopy, StagedCopy, Step, next_step};
