//! The source: finds ready files, reads, decompresses and frames them, puts segments into the channel.

use std::time::Duration;

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
