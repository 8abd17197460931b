//! Where a simulated machine has what, and how its program is configured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lakeward::clock::Clock;
use lakeward::config::{Config, load};
use lakeward::spool::Retire;

use super::lake::{Kind as LakeKind, Options};
use super::plan::Setting;
use super::world::World;

pub const PIPELINE: &str = "sim";
pub const SPOOL: &str = "/spool";
/// Where `retire = "move"` puts files.
pub const RETIRED: &str = "/retired";
pub const QUARANTINE: &str = "/spool/.quarantine";

/// Where a run keeps what has to be real files: staging. On memory, where there is such a place.
pub struct Place {
    pub(super) dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        Self {
            dir: dir.expect("a directory"),
        }
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.dir.path().join("staging")
    }

    /// Names and contents of what is staged.
    pub(super) fn staged(&self) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let entries = std::fs::read_dir(self.staging()).expect("a directory");
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.expect("an entry");
            (
                entry.file_name(),
                std::fs::read(entry.path()).expect("a file"),
            )
        };
        let mut staged: Vec<_> = entries.map(read).collect();
        staged.sort();
        staged
    }

    pub(super) fn clear(&self) {
        for dir in [self.staging(), self.other_staging()] {
            let _absent = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).expect("a directory");
        }
    }

    /// The staging of a local lake is in the lake: it goes and comes with it.
    pub(super) fn hide_staging(&self, hide: bool) {
        let aside = self.dir.path().join("staging-aside");
        let (from, to) = if hide {
            (self.staging(), aside)
        } else {
            (aside, self.staging())
        };
        let _absent = std::fs::remove_dir_all(&to);
        std::fs::rename(&from, &to).expect("a directory");
        std::fs::create_dir_all(self.staging()).expect("a directory");
    }

    /// Of a second agent.
    pub(super) fn other_staging(&self) -> PathBuf {
        self.dir.path().join("staging-elsewhere")
    }
}

/// The simulated clock.
pub(super) struct SimClock(pub(super) World);

impl Clock for SimClock {
    fn now_ns(&self) -> i64 {
        self.0.now_ns()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.elapsed_ns())
    }
}

/// A lake whose limits are so small that small files have several blocks, parts and pages.
pub fn small_lake(base: Options) -> Options {
    Options {
        identity: "simulated".into(),
        short_probe: true,
        page: 3,
        block_bytes: 150,
        multipart_bytes: 150,
        part_bytes: 100,
        ..base
    }
}

/// What the program reads of a configuration, put where the simulated spool is.
pub fn configured(place: &Place, text: &str, setting: &Setting, spool: &str) -> Config {
    let path = place.dir.path().join("lakeward.toml");
    std::fs::write(&path, text).expect("a configuration");
    let mut config = load(&path).expect("a configuration");
    // Smaller than a configuration may say, so that little fills it.
    config.agent.memory = setting.memory;
    // Not those of this machine, so that it is the same run on every one.
    config.agent.cores = setting.lanes;
    if setting.staging_bytes_max > 0 {
        config.agent.staging_bytes_max = setting.staging_bytes_max;
    }
    let source = &mut config.pipelines[0].source;
    source.reading.segment_bytes = setting.segment_bytes;
    source.spool.path = spool.into();
    source.spool.quarantine_dir = ".quarantine".into();
    source.spool.retire_dir = (setting.retire == Retire::Move).then(|| RETIRED.into());
    config
}

pub(super) fn toml(setting: &Setting, lake: LakeKind) -> String {
    let lake = match lake {
        LakeKind::Local => "type = \"fs\"\nroot = \"lake\"".to_owned(),
        LakeKind::Hdfs => {
            "type = \"hdfs\"\nname_node = \"hdfs://127.0.0.1:1\"\nroot = \"/lake\"".to_owned()
        }
        LakeKind::S3 => format!(
            "type = \"s3\"\nbucket = \"b\"\nendpoint = \"http://127.0.0.1:1\"\nconditional_writes = {}",
            !setting.weak
        ),
    };
    let (retire, more) = match setting.retire {
        Retire::Rename => ("rename", ""),
        Retire::Move => ("move", "retire_dir = \"retired\"\n"),
        Retire::Delete => ("delete", ""),
        Retire::Keep => ("keep", ""),
    };
    let (format, compression) = if setting.parquet {
        ("parquet", "zstd")
    } else {
        ("ndjson", "none")
    };
    let journal = match (setting.payload, setting.payload_bytes_max) {
        (false, _) => "\"offsets\"".to_owned(),
        (true, 0) => "\"payload\"".to_owned(),
        (true, most) => format!("\"payload\"\npayload_bytes_max = {most}"),
    };
    let history = if setting.forgets {
        "history = \"1h\"\n"
    } else {
        ""
    };
    let columns = match setting.path_columns {
        "" => String::new(),
        pattern => format!("path_columns = '{pattern}'\n"),
    };
    let hive = if setting.registers {
        "[pipeline.hive]\nmetastore = \"thrift://127.0.0.1:1\"\ncreate = true\n"
    } else {
        ""
    };
    let (lanes, path, records) = (setting.lanes, setting.path, setting.roll_records);
    format!(
        r#"
[agent]
state_dir = "state"
lanes = {lanes}
free_bytes_min = 0
[lake]
{lake}
[[pipeline]]
name = "{PIPELINE}"
[pipeline.source]
path = "spool"
order = "name"
{history}{columns}ready_after = "0s"
retire = "{retire}"
{more}[pipeline.channel]
journal = {journal}
[pipeline.schema]
columns = {{ id = "string", day = "string" }}
[pipeline.sink]
path = "{path}"
format = "{format}"
compression = "{compression}"
rejects_max = 1000
[pipeline.sink.roll]
records = {records}
{hive}"#
    )
}
