//! A spool, a lake and a configuration in a directory of their own, and the real program run over them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::hdfs::Hdfs;

/// The signal number of kill -9.
pub const KILLED: i32 = 9;

/// Below `[pipeline.source]`: a few files make a batch, each of a few data files.
pub const SMALL_BATCHES: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n[pipeline.sink]\npath = \"p/day={day}\"\n[pipeline.sink.roll]\nrecords = 500\n";

pub struct Site {
    dir: tempfile::TempDir,
}

/// Where the data files of a site are read from, by a client that is not Lakeward's own.
pub enum LakeAt {
    Local(PathBuf),
    S3(S3),
    Hdfs(Hdfs),
}

/// An S3 server that `integration/test.sh` has started.
#[derive(Clone)]
pub struct S3 {
    pub endpoint: String,
    pub key: String,
    pub secret: String,
    pub bucket: String,
    /// Prefix of this test's own objects.
    pub root: String,
}

impl S3 {
    /// The server named by `LAKEWARD_TEST_<name>`; `None` if it was left out by hand.
    pub fn named(name: &str, root: &str) -> Option<Self> {
        let left_out = std::env::var("LAKEWARD_TEST_WITHOUT").unwrap_or_default();
        if left_out
            .split(',')
            .any(|out| out.trim().eq_ignore_ascii_case(name))
        {
            return None;
        }
        let get = |suffix: &str| {
            std::env::var(format!("LAKEWARD_TEST_{name}{suffix}")).unwrap_or_else(|_| {
                panic!(
                    "LAKEWARD_TEST_{name}{suffix} is not set: run this test by integration/test.sh"
                )
            })
        };
        Some(Self {
            endpoint: get(""),
            key: get("_KEY"),
            secret: get("_SECRET"),
            bucket: get("_BUCKET"),
            root: format!("{root}-{}", std::process::id()),
        })
    }

    pub fn toml(&self) -> String {
        format!(
            "type = \"s3\"\nbucket = \"{}\"\nroot = \"{}\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
            self.bucket, self.root, self.endpoint, self.key, self.secret
        )
    }

    /// Whether it lists what is there: a server that has just started may not yet.
    pub fn answers(&self) -> bool {
        block_on(async { self.operator().list("").await }).is_ok()
    }

    fn operator(&self) -> opendal::Operator {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
            opendal::HttpTransporter::install_default(
                opendal_http_transport_reqwest::ReqwestTransport::new(reqwest::Client::new()),
            );
        });
        let builder = opendal::services::S3::default()
            .bucket(&self.bucket)
            .root(&format!("/{}", self.root))
            .endpoint(&self.endpoint)
            .region("us-east-1")
            .access_key_id(&self.key)
            .secret_access_key(&self.secret)
            .disable_config_load();
        opendal::Operator::new(builder).expect("an operator")
    }
}

static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> = std::sync::LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new().expect("a runtime")
});

pub fn runtime() -> tokio::runtime::Handle {
    RUNTIME.handle().clone()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

impl LakeAt {
    /// Every object below the root, by path, with its length.
    pub fn list(&self) -> BTreeMap<String, u64> {
        match self {
            Self::Local(root) => {
                let mut found = BTreeMap::new();
                walk(root, root, &mut found);
                found
            }
            Self::Hdfs(hdfs) => hdfs.list(),
            Self::S3(s3) => block_on(async {
                let entries = s3
                    .operator()
                    .list_with("")
                    .recursive(true)
                    .await
                    .expect("list the bucket");
                entries
                    .into_iter()
                    .filter(|entry| entry.metadata().is_file())
                    .map(|entry| (entry.path().to_owned(), entry.metadata().content_length()))
                    .collect()
            }),
        }
    }

    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        match self {
            Self::Local(root) => fs::read(root.join(path)).ok(),
            Self::Hdfs(hdfs) => hdfs.read(path),
            Self::S3(s3) => {
                block_on(async { s3.operator().read(path).await.ok().map(|b| b.to_vec()) })
            }
        }
    }

    /// What a reader sees who skips names that begin with `.` or `_`.
    pub fn visible(&self) -> Vec<String> {
        self.list()
            .into_keys()
            .filter(|path| is_visible(path))
            .collect()
    }

    pub fn holds(&self, path: &str) -> bool {
        match self {
            Self::Local(root) => root.join(path).exists(),
            Self::Hdfs(_) => self.list().contains_key(path),
            Self::S3(s3) => {
                block_on(async { s3.operator().exists(path).await }).expect("an answer")
            }
        }
    }

    /// Holds that every visible file is whole: not empty, of the kind that its name says, read to its end, with a record in it.
    /// Answers how many there are.
    #[track_caller]
    pub fn expect_whole(&self) -> usize {
        let visible = self.visible();
        for path in &visible {
            let bytes = self
                .read(path)
                .unwrap_or_else(|| panic!("`{path}` vanished"));
            assert!(!bytes.is_empty(), "`{path}` is visible and empty");
            let known = [".parquet", ".ndjson", ".ndjson.gz", ".ndjson.zst"];
            let known = known.iter().any(|extension| path.ends_with(extension));
            assert!(known, "`{path}` is visible and no data file by its name");
            assert!(
                !ids_in(path, bytes).is_empty(),
                "`{path}` is visible and holds no record"
            );
        }
        visible.len()
    }

    /// The `id` column of every visible data file, sorted; a file that cannot be read fails the test.
    pub fn ids(&self) -> Vec<i64> {
        let mut ids = Vec::new();
        for path in self.visible() {
            let bytes = self
                .read(&path)
                .unwrap_or_else(|| panic!("`{path}` vanished"));
            ids.extend(ids_in(&path, bytes));
        }
        ids.sort_unstable();
        ids
    }

    /// Lines of all reject files, parsed.
    pub fn rejects(&self) -> Vec<serde_json::Value> {
        let mut rejects = Vec::new();
        for path in self
            .list()
            .into_keys()
            .filter(|path| path.starts_with("_rejects/"))
        {
            let bytes = self
                .read(&path)
                .unwrap_or_else(|| panic!("`{path}` vanished"));
            for line in text_of(&path, &bytes).lines() {
                rejects.push(serde_json::from_str(line).expect("a reject is JSON"));
            }
        }
        rejects
    }
}

/// A reader skips names that begin with `.` or `_`.
pub fn is_visible(path: &str) -> bool {
    !path.split('/').any(|part| part.starts_with(['.', '_']))
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, u64>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, found);
        } else if let (Ok(name), Ok(metadata)) = (path.strip_prefix(root), entry.metadata()) {
            found.insert(name.to_string_lossy().into_owned(), metadata.len());
        }
    }
}

pub fn text_of(path: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    let read = |mut reader: Box<dyn std::io::Read + '_>, text: &mut String| {
        reader
            .read_to_string(text)
            .unwrap_or_else(|e| panic!("I2: `{path}` landed and cannot be read: {e}"))
    };
    let extension = path.rsplit('.').next().unwrap_or("");
    if extension == "gz" {
        read(
            Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            &mut text,
        );
    } else if extension == "zst" {
        read(
            Box::new(zstd::stream::read::Decoder::new(bytes).expect("zstd")),
            &mut text,
        );
    } else {
        read(Box::new(bytes), &mut text);
    }
    text
}

/// The `id`s that a data file holds.
pub fn ids_in(path: &str, bytes: Vec<u8>) -> Vec<i64> {
    let mut ids = Vec::new();
    rows_in(path, bytes, |id, _| ids.push(id));
    ids
}

/// Hands over `id` and `note` of each record of a data file; a note that is not there is empty.
pub fn rows_in(path: &str, bytes: Vec<u8>, mut row: impl FnMut(i64, &str)) {
    if !path.ends_with(".parquet") {
        for line in text_of(path, &bytes).lines() {
            let value: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("`{path}`: {e} in {line}"));
            let id = value["id"]
                .as_i64()
                .unwrap_or_else(|| panic!("`{path}`: no id in {line}"));
            row(id, value["note"].as_str().unwrap_or_default());
        }
        return;
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))
        .unwrap_or_else(|e| panic!("`{path}` is visible and not Parquet: {e}"))
        .build()
        .expect("a reader");
    for batch in reader {
        let batch = batch.unwrap_or_else(|e| panic!("`{path}`: {e}"));
        let ids = batch
            .column_by_name("id")
            .unwrap_or_else(|| panic!("`{path}` has no id"))
            .as_primitive::<Int64Type>();
        assert_eq!(ids.null_count(), 0, "`{path}`");
        let notes = batch
            .column_by_name("note")
            .and_then(|column| column.as_string_opt::<i32>());
        for (at, id) in ids.values().iter().enumerate() {
            row(*id, notes.map_or("", |notes| notes.value(at)));
        }
    }
}

/// Cargo's own for tests; for other programs, which have none, the one that `LAKEWARD_PROGRAM` names.
pub fn program() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_lakeward") {
        Some(program) => program.into(),
        None => std::env::var_os("LAKEWARD_PROGRAM")
            .expect("LAKEWARD_PROGRAM is not set: run this by integration/torture.sh")
            .into(),
    }
}

/// Drops a file as a well-behaved producer does: written under a hidden name, then renamed.
pub fn drop_into(spool: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let hidden = spool.join(format!(".incoming-{}", name.replace('/', "-")));
    let written = fs::write(&hidden, bytes).and_then(|()| fs::rename(&hidden, spool.join(name)));
    if written.is_err() {
        let _absent = fs::remove_file(hidden);
    }
    written
}

impl Site {
    /// One pipeline `p` over `spool`, with a local lake and `ready_after = "0s"`; `more` goes below `[pipeline.source]`.
    pub fn local(more: &str) -> Self {
        Self::with_lake("type = \"fs\"\nroot = \"lake\"\n", "", more)
    }

    /// A directory with nothing in it.
    pub fn empty() -> Self {
        Self {
            dir: tempfile::Builder::new()
                .prefix("lakeward-test-")
                .tempdir()
                .expect("a directory"),
        }
    }

    /// The same in memory where there is such a file system: nothing waits for a disk.
    pub fn in_memory() -> Self {
        tempfile::Builder::new()
            .prefix("lakeward-test-")
            .tempdir_in("/dev/shm")
            .map_or_else(|_| Self::empty(), |dir| Self { dir })
    }

    /// Leaves the directory where it is, for a person to look at.
    pub fn keep(&mut self) -> &Path {
        self.dir.disable_cleanup(true);
        self.dir.path()
    }

    pub fn with_lake(lake: &str, agent: &str, more: &str) -> Self {
        let site = Self::empty();
        fs::create_dir_all(site.path("spool")).expect("a spool");
        site.configure(lake, agent, more);
        site
    }

    pub fn configure(&self, lake: &str, agent: &str, more: &str) {
        let text = format!(
            "[agent]\nstate_dir = \"var\"\nfree_bytes_min = 0\n{agent}\n[lake]\n{lake}\n[[pipeline]]\nname = \"p\"\n[pipeline.source]\npath = \"spool\"\nready_after = \"0s\"\npoll = \"50ms\"\n{more}"
        );
        fs::write(self.path("lakeward.toml"), text).expect("a configuration");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn lake(&self) -> LakeAt {
        LakeAt::Local(self.path("lake"))
    }

    pub fn drop_file(&self, name: &str, bytes: &[u8]) {
        let target = self.path(&format!("spool/{name}"));
        fs::create_dir_all(target.parent().expect("a parent")).expect("directories");
        drop_into(&self.path("spool"), name, bytes).expect("a spooled file");
    }

    /// Drops a file of records `{"id": …}` and answers the id after the last.
    pub fn drop_ids(&self, name: &str, from: i64, count: i64) -> i64 {
        self.drop_file(name, ids_text(from, count).as_bytes());
        from + count
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .current_dir(self.dir.path())
            .args(["--config", "lakeward.toml", "--color", "never"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    pub fn lakeward(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .expect("the program starts")
    }

    /// Runs and demands this exit code.
    #[track_caller]
    pub fn expect(&self, code: i32, arguments: &[&str]) -> Output {
        let output = self.lakeward(arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "lakeward {arguments:?}\n--- stdout\n{}\n--- stderr\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// The journal is lost in mid-batch: refused without it, made again from the lake, and nothing lands twice.
    #[track_caller]
    pub fn expect_rebuilt(&self, lake: &LakeAt) {
        let mut next = self.drop_ids("a.ndjson", 0, 1_500);
        assert!(self.killed_at("before_commit", 1));
        fs::remove_dir_all(self.path("var")).expect("the journal is lost");
        self.expect(4, &["run", "--once"]);
        fs::remove_dir_all(self.path("var")).expect("what the refused run made");
        self.expect(0, &["rebuild", "--yes"]);
        next = self.drop_ids("b.ndjson", next, 100);
        self.expect(0, &["run", "--once"]);
        self.expect_landed(lake, 0..next);
    }

    /// Lands all and registers it. A metastore on a busy machine may take longer than a run waits for it; that is not done
    /// yet, and not wrong.
    #[track_caller]
    pub fn expect_drained(&self) {
        for _ in 0..4 {
            let output = self.lakeward(&["run", "--once"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.code() != Some(75) || !said.contains("the catalog has not answered") {
                assert_eq!(output.status.code(), Some(0), "{said}");
                return;
            }
        }
        self.expect(0, &["run", "--once"]);
    }

    #[track_caller]
    pub fn expect_json(&self, code: i32, arguments: &[&str]) -> serde_json::Value {
        let output = self.expect(code, arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
            panic!(
                "{arguments:?} printed no JSON: {e}\n{}",
                String::from_utf8_lossy(&output.stdout)
            )
        })
    }

    /// Starts the program; its log goes to `log` in the site's directory.
    pub fn spawn(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        self.command(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts")
    }

    /// Runs `run --once` so that it kills itself when it comes to `place` for the `times`th time; whether it did.
    pub fn killed_at(&self, place: &str, times: u32) -> bool {
        let status = self
            .spawn(
                &["run", "--once"],
                &[("LAKEWARD_CRASH_AT", &format!("{place}:{times}"))],
            )
            .wait()
            .expect("the program ends");
        if status.signal() == Some(KILLED) {
            return true;
        }
        assert_eq!(status.code(), Some(0), "{}", self.log());
        false
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// All of these ids and no other landed once, and the audit agrees, against the lake too.
    #[track_caller]
    pub fn expect_landed(&self, lake: &LakeAt, ids: std::ops::Range<i64>) {
        let found = lake.ids();
        let wanted: Vec<i64> = ids.collect();
        if found != wanted {
            let lost: Vec<_> = wanted
                .iter()
                .filter(|id| found.binary_search(id).is_err())
                .take(5)
                .collect();
            let twice: Vec<_> = found
                .windows(2)
                .filter(|w| w[0] == w[1])
                .map(|w| w[0])
                .take(5)
                .collect();
            panic!(
                "{} ids landed, {} were wanted; lost {lost:?}, twice {twice:?}\n{}",
                found.len(),
                wanted.len(),
                self.log()
            );
        }
        let audit = self.expect_json(0, &["audit", "--deep", "--json"]);
        assert_eq!(audit["balanced"], true, "{audit}");
    }
}

pub fn ids_text(from: i64, count: i64) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for id in from..from + count {
        writeln!(
            text,
            "{{\"id\":{id},\"day\":\"2026-10-{:02}\",\"note\":\"record {id} of some length\"}}",
            1 + id % 5
        )
        .expect("writing to a string");
    }
    text
}

/// Looks at a lake as a reader does, and holds I2: no record twice, no part of a file, nothing taken away or changed.
pub struct Reader {
    lake: LakeAt,
    lengths: BTreeMap<String, u64>,
    ids: std::collections::HashSet<i64>,
}

impl Reader {
    pub fn of(lake: LakeAt) -> Self {
        Self {
            lake,
            lengths: BTreeMap::new(),
            ids: std::collections::HashSet::new(),
        }
    }

    /// Panics at what is wrong, once for each.
    pub fn look(&mut self) {
        let found = self.lake.list();
        for (path, length) in &self.lengths {
            assert_eq!(
                found.get(path),
                Some(length),
                "`{path}` was taken away or changed"
            );
        }
        for path in found.into_keys().filter(|path| is_visible(path)) {
            if self.lengths.contains_key(&path) {
                continue;
            }
            let bytes = self.lake.read(&path).expect("a visible file can be read");
            self.lengths.insert(path.clone(), bytes.len() as u64);
            for id in ids_in(&path, bytes) {
                assert!(
                    self.ids.insert(id),
                    "id {id} is seen twice, again in `{path}`"
                );
            }
        }
    }
}

/// Looks at a local lake again and again.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watcher {
    pub fn start(root: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen_stop = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut reader = Reader::of(LakeAt::Local(root));
            let mut looks = 0;
            while !seen_stop.load(Ordering::SeqCst) {
                looks += 1;
                reader.look();
                std::thread::yield_now();
            }
            looks
        });
        Self { stop, thread }
    }

    /// How often it looked.
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the reader saw nothing wrong")
    }
}
