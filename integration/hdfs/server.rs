//! An HDFS that `integration/test.sh` has started, or one of a test's own that may be killed; and what it holds, read by
//! WebHDFS with a client that is not Lakeward's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::block_on;

/// By its variables, `LAKEWARD_TEST_<name>…`.
pub struct Hdfs {
    name: String,
    variables: BTreeMap<String, String>,
    /// Of this test's own files.
    pub root: String,
    /// Of a pair of NameNodes.
    second_is_active: AtomicBool,
    /// Where a server of its own lives; it is stopped at the end.
    own: Option<tempfile::TempDir>,
}

#[derive(Clone, Copy, Debug)]
pub enum Node {
    Name,
    Name2,
    Data,
}

impl Hdfs {
    /// `None` if it was left out by hand.
    pub fn named(name: &str, test: &str) -> Option<Self> {
        let left_out = std::env::var("LAKEWARD_TEST_WITHOUT").unwrap_or_default();
        if left_out
            .split(',')
            .any(|out| out.trim().eq_ignore_ascii_case(name))
        {
            return None;
        }
        let hdfs = Self::with(name, test, std::env::vars().collect(), None);
        hdfs.make_root();
        Some(hdfs)
    }

    /// Started for this test alone.
    pub fn own(name: &str, test: &str) -> Option<Self> {
        Self::named(name, test)?;
        let dir = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/servers/start.sh");
        let out = dir.path().join("exports");
        let status = Command::new("bash")
            .arg(script)
            .arg(dir.path().join("servers"))
            .env("LAKEWARD_TEST_ONLY", name.to_ascii_lowercase())
            // The others' would be taken for already running ones.
            .env_remove(format!("LAKEWARD_TEST_{name}"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out).unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "{name} does not start");
        let exports = std::fs::read_to_string(out).unwrap();
        let variables = exports.lines().filter_map(exported).collect();
        let hdfs = Self::with(name, test, variables, Some(dir));
        hdfs.make_root();
        Some(hdfs)
    }

    fn with(
        name: &str,
        test: &str,
        variables: BTreeMap<String, String>,
        own: Option<tempfile::TempDir>,
    ) -> Self {
        let run = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        Self {
            name: name.to_owned(),
            variables,
            root: format!("/lakeward-tests/{run}/{test}"),
            second_is_active: AtomicBool::new(false),
            own,
        }
    }

    fn make_root(&self) {
        // WebHDFS is not for everybody there.
        if self.name == "HDFS_KERBEROS" {
            self.client(&["dfs", "-mkdir", "-p", &self.root]);
            self.client(&["dfs", "-chmod", "775", &self.root]);
            return;
        }
        let made = self.web("PUT", &self.root, "MKDIRS", "");
        assert_eq!(made["boolean"], true, "{made}");
    }

    pub fn variable(&self, suffix: &str) -> &str {
        let name = format!("LAKEWARD_TEST_{}{suffix}", self.name);
        self.variables.get(&name).unwrap_or_else(|| {
            panic!("{name} is not set: run integration/test.sh, which starts the servers")
        })
    }

    pub fn url(&self) -> &str {
        self.variable("")
    }

    pub fn endpoint(&self) -> &str {
        if self.second_is_active.load(Ordering::SeqCst) {
            return self.variable("_NAMENODE2_WEB");
        }
        self.variable("_WEB")
    }

    /// Makes this NameNode of a pair the active one.
    pub fn fail_over(&self, to: Node) {
        let to_second = matches!(to, Node::Name2);
        let output = Command::new(self.variable("_FAILOVER"))
            .arg(if to_second { "nn2" } else { "nn1" })
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        self.second_is_active.store(to_second, Ordering::SeqCst);
    }

    /// The superuser.
    pub fn user(&self) -> &str {
        self.variable("_USER")
    }

    pub fn toml(&self) -> String {
        format!(
            "type = \"hdfs\"\nname_node = \"{}\"\nroot = \"{}\"\nuser = \"{}\"\n",
            self.url(),
            self.root,
            self.user()
        )
    }

    pub fn web_toml(&self) -> String {
        format!(
            "type = \"webhdfs\"\nendpoint = \"{}\"\nroot = \"{}\"\nuser = \"{}\"\n",
            self.endpoint(),
            self.root,
            self.user()
        )
    }

    fn address(&self, path: &str, operation: &str, more: &str) -> reqwest::Url {
        // Jetty takes a bare `;` for something else.
        let mut encoded = String::new();
        for byte in path.bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        let (endpoint, user) = (self.endpoint(), self.user());
        let text = format!("{endpoint}/webhdfs/v1{encoded}?op={operation}&user.name={user}{more}");
        reqwest::Url::parse(&text).unwrap()
    }

    /// As the superuser.
    pub fn web(&self, method: &str, path: &str, operation: &str, more: &str) -> Value {
        let url = self.address(path, operation, more);
        let method = method.parse().unwrap();
        let (_, body) = ask(method, url).unwrap();
        if body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&body).unwrap()
    }

    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        if self.name == "HDFS_KERBEROS" {
            let output = Command::new(self.variable("_CLIENT"))
                .args(["dfs", "-cat", &format!("{}/{path}", self.root)])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            return output.status.success().then_some(output.stdout);
        }
        let url = self.address(&format!("{}/{path}", self.root), "OPEN", "");
        let (found, body) = ask(reqwest::Method::GET, url).ok()?;
        found.then_some(body)
    }

    /// Every file below the root, by path, with its length.
    pub fn list(&self) -> BTreeMap<String, u64> {
        if self.name == "HDFS_KERBEROS" {
            return self.list_by_client();
        }
        let mut found = BTreeMap::new();
        let mut dirs = vec![String::new()];
        while let Some(dir) = dirs.pop() {
            let whole = format!("{}/{dir}", self.root);
            let answer = self.web("GET", whole.trim_end_matches('/'), "LISTSTATUS", "");
            let Some(entries) = answer["FileStatuses"]["FileStatus"].as_array() else {
                continue;
            };
            for entry in entries {
                let name = entry["pathSuffix"].as_str().unwrap();
                let path = format!("{dir}/{name}").trim_start_matches('/').to_owned();
                if entry["type"] == "DIRECTORY" {
                    dirs.push(path);
                } else {
                    found.insert(path, entry["length"].as_u64().unwrap());
                }
            }
        }
        found
    }

    fn list_by_client(&self) -> BTreeMap<String, u64> {
        let listed = self.client(&["dfs", "-ls", "-R", &self.root]);
        let entry = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let path = words.last()?.strip_prefix(&self.root)?;
            let is_file = line.starts_with('-');
            is_file.then(|| (path[1..].to_owned(), words[4].parse().unwrap()))
        };
        listed.lines().filter_map(entry).collect()
    }

    pub fn status(&self, path: &str) -> Value {
        let answer = self.web("GET", &format!("{}/{path}", self.root), "GETFILESTATUS", "");
        answer["FileStatus"].clone()
    }

    /// Runs the official client.
    pub fn client(&self, arguments: &[&str]) -> String {
        let output = Command::new(self.variable("_CLIENT"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    /// Sends a signal to a server.
    pub fn signal(&self, node: Node, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(node), signal).unwrap();
    }

    fn pid(&self, node: Node) -> rustix::process::Pid {
        let file = self.variable(&format!("_{}_PID_FILE", node.word()));
        let text = std::fs::read_to_string(file).unwrap();
        rustix::process::Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    /// kill -9.
    pub fn kill(&self, node: Node) {
        let pid = self.pid(node);
        self.signal(node, rustix::process::Signal::KILL);
        let end = Instant::now() + Duration::from_secs(20);
        while rustix::process::test_kill_process(pid).is_ok() {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            if stat.is_ok_and(|stat| stat.contains(") Z ")) {
                break;
            }
            assert!(Instant::now() < end, "{node:?} does not die");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Again, after [`Self::kill`]; back when it answers.
    pub fn start(&self, node: Node) {
        let line = self.variable(&format!("_{}_START", node.word()));
        let status = Command::new("bash")
            .args(["-c", &format!("{line} --wait")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{node:?} does not start again");
    }
}

impl Node {
    fn word(self) -> &'static str {
        match self {
            Self::Name => "NAMENODE",
            Self::Name2 => "NAMENODE2",
            Self::Data => "DATANODE",
        }
    }
}

impl Drop for Hdfs {
    fn drop(&mut self) {
        let Some(dir) = &self.own else {
            return;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/servers/stop.sh");
        let _stopped = Command::new("bash")
            .arg(script)
            .arg(dir.path().join("servers"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
    }
}

/// `export NAME=VALUE`.
fn exported(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    // As `printf %q` writes it.
    let value = value.trim_matches(['\'', '"']).replace('\\', "");
    Some((name.to_owned(), value))
}

/// Of new connections only: servers are killed and come back.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let builder = reqwest::Client::builder().timeout(Duration::from_mins(1));
    builder.pool_max_idle_per_host(0).build().unwrap()
});

/// Whether it answered 2xx, and its body. Redirects are followed.
fn ask(method: reqwest::Method, url: reqwest::Url) -> reqwest::Result<(bool, Vec<u8>)> {
    block_on(async {
        let answer = CLIENT.request(method, url).body("").send().await?;
        let found = answer.status().is_success();
        Ok((found, answer.bytes().await?.to_vec()))
    })
}

/// A directory for what a test stages.
pub fn staging() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}
