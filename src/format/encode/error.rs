//! What can go wrong while encoding: the output, or a value.

use std::io;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The output could not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A type or value has no encoding, or a library refused: running again will not help.
    #[error("{0}")]
    Refused(String),
}

impl From<ParquetError> for EncodeError {
    fn from(error: ParquetError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<ArrowError> for EncodeError {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, inner) => Self::Io(inner),
            other => Self::Refused(other.to_string()),
        }
    }
}
