//! The real program broken for real: `make torture` for hours, the same in short among the tests.
//!
//! A **round** is a place with a few pipelines of different kinds, where a producer drops files, a reader looks, and the
//! program is killed again and again while other things befall it. Then all faults end, one run drains the spools, and
//! the whole lake is compared with the history of what was dropped.

mod agent;
mod aim;
mod chance;
mod checker;
mod copied;
mod disks;
mod durable;
mod ground;
mod history;
mod killing;
mod moment;
mod onlooker;
mod pipelines;
mod power;
mod producer;
mod recorded;
mod round;
mod store;
mod strace;
mod survey;
mod totals;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong;

pub use round::{Kind, Torture};
