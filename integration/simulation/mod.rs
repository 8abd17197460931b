//! A simulation that breaks everything: the real protocol, committer, source, channel and sink on simulated ports.

pub mod journal;
pub mod world;
