//! Lands files in a data lake, exactly once.
//!
//! ```text
//! spooled file -> source -> channel (journal) -> lanes -> staging -> lake
//! ```

pub mod agent;
pub mod audit;
pub mod catalog;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod config;
mod crash;
pub mod format;
pub mod journal;
pub mod lake;
pub mod naming;
pub mod operator;
pub mod pipeline;
pub mod protocol;
pub mod rebuild;
pub mod record;
pub mod schema;
pub mod segment;
pub mod sink;
pub mod source;
pub mod spool;
pub mod status;
pub mod threads;
pub mod web;
