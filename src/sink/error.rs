//! What can go wrong in a lane.

use std::io;
use std::path::Path;

use crate::format::encode::EncodeError;
use crate::lake::ErrorClass;

#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// No space is left where staging is, or its quota is used up: the batch is given up, nothing is lost.
    #[error("write `{path}`: {message}; free some space, or lower `staging_bytes_max`")]
    StagingFull { path: String, message: String },
    /// Any other failure of the staging directory.
    #[error("{operation} `{path}`: {message}")]
    Staging {
        operation: &'static str,
        path: String,
        message: String,
    },
    /// A value or type that the output format does not have.
    #[error("encode `{file}`: {message}")]
    Encode { file: String, message: String },
    /// The path template or the time zone is wrong.
    #[error("sink path `{template}`: {message}")]
    Path { template: String, message: String },
    /// A file encoded again does not hold the records it held when it was staged: decoder, encoder, schema or time zone
    /// database differ from then.
    #[error(
        "encode `{file}` again: {found}, where {planned} were staged under schema version {schema_version}; \
         this is {versions}: use the version that staged the batch"
    )]
    MembershipDiffers {
        file: String,
        planned: String,
        found: String,
        schema_version: u32,
        versions: String,
    },
    /// Decoder and lane disagree: a bug.
    #[error("{0}")]
    Broken(String),
}

impl SinkError {
    /// What a caller can do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::StagingFull { .. } => ErrorClass::Transient,
            Self::Staging { .. }
            | Self::Encode { .. }
            | Self::Path { .. }
            | Self::MembershipDiffers { .. }
            | Self::Broken(_) => ErrorClass::Permanent,
        }
    }

    pub(super) fn staging(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        let (path, message) = (path.display().to_string(), error.to_string());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::StagingFull { path, message }
            }
            _ => Self::Staging {
                operation,
                path,
                message,
            },
        }
    }

    pub(super) fn encode(path: &Path, error: EncodeError) -> Self {
        match error {
            EncodeError::Io(error) => Self::staging("write", path, &error),
            EncodeError::Refused(message) => Self::Encode {
                file: path.display().to_string(),
                message,
            },
        }
    }
}

/// Program, decoder and encoder by their versions, as a batch records them.
#[must_use]
pub fn encoder_versions() -> String {
    format!(
        "lakeward {}, decoder {}, encoder {}",
        env!("CARGO_PKG_VERSION"),
        crate::format::decode::DECODER_VERSION,
        crate::format::encode::ENCODER_VERSION
    )
}
