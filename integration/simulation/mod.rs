//! A simulation that breaks everything: the real protocol, committer, source, channel and sink on simulated ports.
//!
//! ```text
//! world.rs      one seed, one trace, the fate of each call          turns.rs   one thread at a time
//! lake/ spool/ journal/   the ports, each an honest model           fates.rs   what can befall a call
//! plan.rs       what a run is about                                 driver.rs  one run: lives, deaths, the quiet end
//! acts.rs       what others do while a process runs                 between.rs what happens while none does
//! operator.rs   what a person does, as the messages say             beside.rs  a second agent
//! catalog.rs    a metastore
//! place.rs      where the machine has what, the configuration       broken.rs  wrong programs, each of which must be caught
//! checker.rs    what a reader sees at every step and at the end     search.rs  many runs
//! ledger.rs     what the journal says between two processes
//! scenarios/    what once broke the protocol, each by name
//! ```

pub mod acts;
pub mod beside;
pub mod between;
pub mod broken;
pub mod catalog;
pub mod checker;
pub mod driver;
pub mod fates;
pub mod journal;
pub mod lake;
pub mod ledger;
pub mod operator;
pub mod place;
pub mod plan;
pub mod records;
#[cfg(test)]
mod scenarios;
pub mod search;
pub mod spool;
#[cfg(test)]
mod tests;
pub mod turns;
pub mod world;
