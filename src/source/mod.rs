//! The source: finds ready files, reads, decompresses and frames them, puts segments into the channel.
//!
//! ```text
//!          scan                 consider                    read
//! spool ────────► ready files ──────────► new, resumed ───────────► segments ─► (journal, payload mode) ─► channel
//!                                  │
//!                                  ├─ known and untouched: nothing
//!                                  ├─ sent again, same content: skipped (retired by the pipeline)
//!                                  └─ changed, perhaps landed: quarantined, never guessed (I10)
//! ```
//!
//! A run of [`Source::run`] is an *episode*: what was handed out in it and not staged counts for nothing once it is over,
//! and the next one begins from the journal. Within an episode nothing is handed out twice: the source remembers what
//! it handed out until the journal knows it.
//!
//! What can go wrong: a file that cannot be read is counted, warned of once a scan and tried again, and stops no other; a spool that
//! cannot be read ends the episode, and nothing is concluded from files that were not seen; a file that changed is
//! quarantined, here if nothing of it was handed out, otherwise by the pipeline ([`crate::channel::SourceEvent::Tainted`]).
//!
//! The source retires nothing and moves no checkpoint.

mod backlog;
mod error;
mod intake;
mod likeness;
mod outlet;
mod path_columns;
mod reading;
mod renamed;
mod run;
mod sample;
mod seen;
mod segment_reader;
mod stream;
#[cfg(test)]
mod testing;
mod verify;

use std::time::Duration;

pub use backlog::Backlog;
pub use error::SourceError;
pub use intake::fingerprint_now;
pub use run::Source;
pub use sample::{SampleLimits, Survey, Visit};
pub use segment_reader::{ReadError, SegmentReader};
pub use verify::verify_beginning;

use crate::format::ReadingSettings;
use crate::spool::SpoolSettings;

/// What to do with a file whose content was landed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Land,
    Skip,
    Quarantine,
}

/// `[pipeline.source]` and `[pipeline.channel]`, validated.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    pub spool: SpoolSettings,
    pub resent: Again,
    pub same_content: Again,
    pub poll: Duration,
    pub reading: ReadingSettings,
    /// A regular expression with named groups on the path below the spool; empty: none.
    pub path_columns: String,
    /// `None`: for ever.
    pub history: Option<Duration>,
    /// The journal holds the bytes of segments until they are committed.
    pub payload: bool,
    pub payload_bytes_max: u64,
}
