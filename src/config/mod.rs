//! The configuration: parsed into the file's shape, then converted once into these validated types.

mod document;
mod error;
mod hive;
mod interpolate;
mod lake;
mod load;
mod nearest;
mod places;
pub mod quantity;
pub mod redact;
mod schema;
mod section;
mod sink;
mod source;
mod template;
#[cfg(test)]
mod tests;
pub mod types;

use std::path::PathBuf;
use std::time::Duration;

use crate::schema::SchemaSettings;
use crate::sink::{RollSettings, SinkSettings};
use crate::source::SourceSettings;

pub use error::{ConfigError, ConfigErrors};
pub use load::{DEFAULT_TOML, load, load_with};
pub use nearest::nearest;

/// A value that must appear in no log, error, report, manifest, journal or page.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the library that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    pub agent: AgentSettings,
    pub pipelines: Vec<PipelineSettings>,
}

#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Absolute.
    pub state_dir: PathBuf,
    /// At least 1: `0` is already replaced by the number of cores.
    pub lanes: usize,
    /// What this process may use of the machine's.
    pub cores: usize,
    pub memory: u64,
    /// 0: no limit.
    pub staging_bytes_max: u64,
    pub free_bytes_min: u64,
    pub stop_after: Duration,
    /// Empty: none.
    pub http: String,
    pub http_public: bool,
}

#[derive(Clone, Debug)]
pub struct PipelineSettings {
    pub name: String,
    pub source: SourceSettings,
    pub schema: SchemaSettings,
    pub sink: SinkSettings,
    pub roll: RollSettings,
    pub lake: LakeSettings,
    pub hive: Option<HiveSettings>,
}

#[derive(Clone, Debug)]
pub enum LakeSettings {
    Fs {
        /// Absolute.
        root: PathBuf,
    },
    S3(S3Settings),
    Hdfs(HdfsSettings),
    WebHdfs(WebHdfsSettings),
}

impl LakeSettings {
    /// The lake's root as Hive's readers name it, without a `/` at its end.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Fs { root } => format!("file://{}", root.display()),
            Self::S3(s3) if s3.root.is_empty() => format!("s3a://{}", s3.bucket),
            Self::S3(s3) => format!("s3a://{}/{}", s3.bucket, s3.root),
            Self::Hdfs(hdfs) => hdfs.location(),
            Self::WebHdfs(web) => format!("hdfs://{}", web.root.trim_end_matches('/')),
        }
    }
}

/// `[pipeline.hive]`, validated.
#[derive(Clone, Debug)]
pub struct HiveSettings {
    /// At least one; tried in turn.
    pub metastores: Vec<MetastoreAddress>,
    pub database: String,
    pub table: String,
    /// Whether the table is made if it is not there.
    pub create: bool,
    /// Whether partitions are registered.
    pub register: bool,
    /// Whether columns that the table lacks are added to it.
    pub widen: bool,
    /// Of the table, without a `/` at its end.
    pub location: String,
    /// As whom the metastore sees us, and the owner of a table that is made.
    pub user: String,
    /// Of one call.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetastoreAddress {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for MetastoreAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "thrift://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "thrift://{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, Debug)]
pub struct S3Settings {
    pub bucket: String,
    /// Key prefix without leading or trailing `/`; empty for the whole bucket.
    pub root: String,
    /// With scheme; credentials inside are refused.
    pub endpoint: String,
    pub region: String,
    pub access_key_id: Option<Secret>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    /// PEM bundle to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    pub conditional_writes: bool,
    /// Options passed to opendal's S3 service as they are, from the allowed list.
    pub options: Vec<(String, Secret)>,
}

/// A directory of HDFS, by the NameNode's own protocol.
#[derive(Clone, Debug)]
pub struct HdfsSettings {
    /// `hdfs://HOST:PORT`, `HOST:PORT` or one name service; empty: `fs.defaultFS` of `hadoop_conf_dir`.
    pub name_nodes: Vec<String>,
    /// `None`: that of HADOOP_CONF_DIR, if it is set.
    pub hadoop_conf_dir: Option<PathBuf>,
    /// Absolute, in HDFS.
    pub root: String,
    /// Under Kerberos, whom to act for.
    pub user: Option<String>,
    pub principal: Option<String>,
    pub keytab: Option<PathBuf>,
    /// A file, or a name such as `KEYRING:persistent:1000`.
    pub ticket_cache: Option<String>,
    pub block_size: Option<u64>,
    pub replication: Option<u32>,
    pub umask: Option<u32>,
    /// Hadoop's, over those of its files.
    pub properties: Vec<(String, String)>,
}

/// The same by WebHDFS.
#[derive(Clone, Debug)]
pub struct WebHdfsSettings {
    /// At least one, with scheme, without a path.
    pub endpoints: Vec<String>,
    pub root: String,
    pub user: Option<String>,
    pub delegation_token: Option<Secret>,
    pub ca_file: Option<PathBuf>,
    pub block_size: Option<u64>,
    pub replication: Option<u32>,
    pub umask: Option<u32>,
}

impl HdfsSettings {
    /// The root as Hive names it: below the NameNode or name service that is given, or that Hadoop's files name. Where none is known,
    /// Hive's servers are left to their own default.
    #[must_use]
    pub fn location(&self) -> String {
        let authority = match &self.name_nodes[..] {
            [one] => {
                let one = one.strip_prefix("hdfs://").unwrap_or(one);
                one.trim_end_matches('/').to_owned()
            }
            _ => crate::lake::hdfs_authority(self).unwrap_or_default(),
        };
        let root = self.root.trim_end_matches('/');
        format!("hdfs://{authority}{root}")
    }
}
