//! Lands files in a data lake, exactly once.
//!
//! ```text
//! spooled file -> source -> channel (journal) -> lanes -> staging -> lake
//! ```

pub mod channel;
pub mod clock;
pub mod config;
pub mod format;
pub mod journal;
pub mod lake;
pub mod naming;
pub mod protocol;
pub mod record;
pub mod schema;
pub mod segment;
pub mod sink;
pub mod source;
pub mod spool;
