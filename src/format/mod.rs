//! The format port: bytes to records to bytes. Arrow and Parquet are named below here and in the sink's hand-over only.
//!
//! ```text
//! spooled file ─ decompress ─ charset ─ frame ─► segments ─ decode ─► RecordBatch ─ encode ─► data file
//! ```

pub mod charset;
mod count;
pub mod decode;
pub mod decompress;
pub mod encode;
pub mod frame;
mod lz4_frame;

use std::sync::Arc;

pub use count::count_records;

use serde::{Deserialize, Serialize};

use crate::segment::{FileId, RelativePath};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputFormat {
    Ndjson,
    Json,
    Csv,
    Tsv,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// By magic bytes, at the file's first segment; the journal then holds what was found.
    Auto,
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
    Lz4,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvSettings {
    pub header: bool,
    /// One byte.
    pub delimiter: u8,
    pub quote: u8,
    /// Text that means NULL, beside the empty unquoted field.
    pub null: String,
    /// Without a header: the columns' names.
    pub columns: Vec<String>,
    /// First byte of lines to skip; `None`: no comments.
    pub comment: Option<u8>,
}

/// What a file's offsets mean: fixed in the journal at its first segment, so that a changed configuration does not
/// change how a half-read file goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadingSettings {
    pub format: InputFormat,
    pub compression: Compression,
    /// A label of the WHATWG encoding standard.
    pub charset: String,
    pub csv: CsvSettings,
    pub record_bytes_max: u64,
    pub decoded_bytes_max: u64,
    pub depth_max: u32,
    /// What segments are cut at. No key of the configuration: only simulations cut smaller ones.
    #[serde(default = "segment_bytes", skip_serializing_if = "is_segment_bytes")]
    pub segment_bytes: usize,
}

fn segment_bytes() -> usize {
    frame::SEGMENT_BYTES
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_segment_bytes(bytes: &usize) -> bool {
    *bytes == frame::SEGMENT_BYTES
}

/// What the decoder needs to know of the file that a segment is of.
#[derive(Clone, Debug, PartialEq)]
pub struct FileContext {
    pub file: FileId,
    pub path: RelativePath,
    /// Column name and value, out of `path_columns`.
    pub path_columns: Vec<(String, Option<String>)>,
    /// CSV: the columns' names, from the header or the configuration. Kept with the file, as a later segment has no header.
    pub header: Option<Arc<[String]>>,
    pub settings: ReadingSettings,
}
