//! What ends an episode, and what a source cannot begin with.

use crate::channel::Closed;
use crate::journal::JournalError;
use crate::spool::SpoolError;

/// A configuration that a source cannot work with, or a source that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("`path_columns` is no regular expression: {0}")]
    PathColumns(#[from] regex::Error),
    #[error("{0}")]
    Charset(String),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why an episode ends before its time.
#[derive(Debug)]
pub(super) enum Stop {
    /// The other end is gone, or was told that all it has is tainted.
    Closed,
    Failed {
        message: String,
        transient: bool,
    },
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        let transient = matches!(
            error,
            JournalError::Fatal { full: true, .. } | JournalError::Locked { .. }
        );
        Self::Failed {
            message: error.to_string(),
            transient,
        }
    }
}

impl From<SpoolError> for Stop {
    fn from(error: SpoolError) -> Self {
        Self::Failed {
            message: error.to_string(),
            transient: true,
        }
    }
}
