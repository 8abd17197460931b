//! The sink: lanes that turn segments into staged data files.
//!
//! A lane is one worker thread; lanes share nothing but the schema's registry and the counter of data files. Whatever
//! a lane writes is garbage until its batch is staged.

mod error;
mod files;
mod keys;
mod lane;
#[cfg(test)]
mod lane_tests;
mod locate;
mod partition;
mod pool;
mod rejects;
mod staged;
mod table;
mod template;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub use crate::format::decode::SegmentOutcome;
pub use crate::format::encode::{Codec, Compat, OutputFormat, extension};
pub use error::{SinkError, encoder_versions};
pub use keys::partition_values;
pub use lane::{Lane, encode_again};
pub use template::{DEFAULT_PARTITION, PathTemplate, VALUE_BYTES_MAX};

use crate::protocol::DataFile;
use crate::segment::{BatchNumber, JournalId};

/// How many rejects a batch may hold before it is not staged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectsMax {
    Count(u64),
    /// 0.0 to 1.0 of the batch's records.
    Share(f64),
}

/// `[pipeline.sink]` without `roll`, validated.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// The path template as written.
    pub path: String,
    /// IANA name, in which paths write dates.
    pub timezone: String,
    pub format: OutputFormat,
    pub data_file_bytes: u64,
    pub partitions_max: u64,
    /// Directory of reject files below the lake's root; begins with `.` or `_`.
    pub rejects: String,
    pub rejects_max: RejectsMax,
    /// Name of the file that is written in each directory in which a batch landed; begins with `.` or `_`. Empty: none.
    pub marker: String,
}

/// `[pipeline.sink.roll]`; 0 and `None` mean no limit.
#[derive(Clone, Debug)]
pub struct RollSettings {
    pub bytes: u64,
    pub records: u64,
    pub age: Option<std::time::Duration>,
    pub idle: Option<std::time::Duration>,
}

/// What the lanes of one batch have in common.
#[derive(Clone)]
pub struct BatchContext {
    pub pipeline: String,
    pub journal: JournalId,
    pub batch: BatchNumber,
    /// `_ingested_at` of all records of the batch; nanoseconds since 1970.
    pub batch_time_ns: i64,
    pub staging_dir: PathBuf,
    /// Staged files will be synced where they lie, so they may go to the disk while they grow.
    pub write_back: bool,
    pub settings: Arc<SinkSettings>,
    pub schemas: Arc<crate::schema::SchemaRegistry>,
    /// The next data file's number.
    pub numbers: Arc<AtomicU32>,
}

/// How full a lane is; what rolling is decided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneGauge {
    /// Encoded: written to staging plus an estimate of what is still buffered.
    pub encoded_bytes: u64,
    pub records: u64,
    pub rejected: u64,
    pub partitions: u64,
    /// Everything the lane holds in memory: pool, row groups in progress, footers to come.
    pub memory_bytes: u64,
    /// The lane cannot stay within its memory by flushing: the batch must end.
    pub full: bool,
}

/// What a lane leaves when its batch is rolled: closed staged files, which whoever lands them checks or syncs.
#[derive(Debug)]
pub struct LaneResult {
    /// One per segment taken, in order.
    pub outcomes: Vec<SegmentOutcome>,
    pub files: Vec<DataFile>,
}
