//! A simulation that breaks everything: the real protocol, committer, source, channel and sink on simulated ports.

pub mod lake;
pub mod turns;
pub mod world;
