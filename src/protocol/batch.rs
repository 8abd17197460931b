//! The states of a batch and every legal transition between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `Open` exists only in memory, so it has no value here: the journal first hears of a batch when it is staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchState {
    Staged,
    Committed,
    /// Follow-up work (retiring, emptying staging) is done too.
    Done,
}

/// A transition that no run of the protocol makes: a bug, which stops the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a batch cannot go from {from} to {to}")]
pub struct Illegal {
    pub from: BatchState,
    pub to: BatchState,
}

impl BatchState {
    /// # Errors
    /// Any step but Staged to Committed and Committed to Done.
    pub fn advance(self, to: Self) -> Result<Self, Illegal> {
        match (self, to) {
            (Self::Staged, Self::Committed) | (Self::Committed, Self::Done) => Ok(to),
            (from, to) => Err(Illegal { from, to }),
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Committed => "committed",
            Self::Done => "done",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Staged, Self::Committed, Self::Done]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

impl fmt::Display for BatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RollReason {
    Bytes,
    Records,
    Age,
    Idle,
    Partitions,
    /// The lanes' share of `memory` is used up, by footers of many row groups for instance.
    Memory,
    /// `staging_bytes_max` or `free_bytes_min` is reached.
    Staging,
    /// `channel.payload_bytes_max` is reached.
    Payload,
    /// The spool is drained (`--once`).
    Drained,
    /// A signal or the deadline.
    Stop,
}

impl RollReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Records => "records",
            Self::Age => "age",
            Self::Idle => "idle",
            Self::Partitions => "partitions",
            Self::Memory => "memory",
            Self::Staging => "staging",
            Self::Payload => "payload",
            Self::Drained => "drained",
            Self::Stop => "stop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BatchState::{Committed, Done, Staged};

    #[test]
    fn only_the_two_steps_forward_are_legal() {
        for from in [Staged, Committed, Done] {
            for to in [Staged, Committed, Done] {
                let legal = matches!((from, to), (Staged, Committed) | (Committed, Done));
                assert_eq!(from.advance(to).is_ok(), legal, "{from} to {to}");
            }
        }
    }
}
