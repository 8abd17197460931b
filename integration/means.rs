//! What the tests of faults need and an ordinary temporary directory does not give: disks that are full, a user without
//! rights, a server of one's own that may be stopped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{S3, Site};

/// How long a condition is waited for before a test gives up: far beyond what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `holds`; a condition that never holds fails the test in the words of `what`.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the program behind other programs (`nsenter …`, `setpriv …`) in the site's directory.
pub fn command_behind(site: &Site, before: &[String], arguments: &[&str]) -> Command {
    let plain = site.command(arguments);
    if before.is_empty() {
        return plain;
    }
    let mut command = Command::new(&before[0]);
    command
        .args(&before[1..])
        .args(["sh", "-c", "cd \"$0\" && exec \"$@\""])
        .arg(site.path(""))
        .arg(plain.get_program())
        .args(plain.get_args())
        .stdin(Stdio::null());
    command
}

/// As [`Site::expect`], behind other programs.
#[track_caller]
pub fn expect_behind(site: &Site, before: &[String], code: i32, arguments: &[&str]) -> Output {
    let output = command_behind(site, before, arguments)
        .output()
        .expect("the program starts");
    assert_eq!(
        output.status.code(),
        Some(code),
        "lakeward {arguments:?}\n--- stdout\n{}\n--- stderr\n{}",
        stdout(&output),
        stderr(&output)
    );
    output
}

/// Runs behind a parent that writes down the program's peak memory in KiB, as the kernel counted it.
pub fn run_measured(site: &Site, arguments: &[&str]) -> (Output, u64) {
    let measure = "import resource, subprocess, sys\ncode = subprocess.call(sys.argv[1:])\nopen('peak', 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\nsys.exit(code)";
    let before: Vec<String> = ["python3", "-c", measure].map(str::to_owned).to_vec();
    let mut command = Command::new("sh");
    command
        .args(["-c", "cd \"$0\" && exec \"$@\""])
        .arg(site.path(""))
        .args(&before)
        .arg(crate::support::program())
        .args(arguments);
    let output = command.output().expect("python3");
    let peak = fs::read_to_string(site.path("peak"))
        .expect("a peak")
        .parse::<u64>()
        .expect("a number");
    (output, peak << 10)
}

/// A small file system in memory over a directory. It exists in a mount namespace of its own, which ends with this value:
/// nothing has to be unmounted, whatever becomes of the test.
pub struct Disk {
    holder: Child,
    at: PathBuf,
    in_user_namespace: bool,
}

impl Disk {
    /// Ordinary users may do this where the kernel lets them have user namespaces, root may in any case.
    pub fn mount(at: &Path, bytes: u64) -> Self {
        fs::create_dir_all(at).expect("a mount point");
        for (in_user_namespace, flags) in [(true, "-rm"), (false, "-m")] {
            if let Some(holder) = hold(flags, at, bytes) {
                return Self {
                    holder,
                    at: at.to_owned(),
                    in_user_namespace,
                };
            }
        }
        panic!(
            "no small file system can be mounted: run these tests where `unshare -rm` works (kernel.unprivileged_userns_clone, or an AppArmor profile that allows user namespaces), or as root with CAP_SYS_ADMIN"
        );
    }

    /// What to run the program behind, so that it sees this disk.
    pub fn inside(&self) -> Vec<String> {
        let mut words = vec![
            "nsenter".to_owned(),
            "-t".to_owned(),
            self.holder.id().to_string(),
        ];
        if self.in_user_namespace {
            words.extend(["-U".to_owned(), "--preserve-credentials".to_owned()]);
        }
        words.push("-m".to_owned());
        words
    }

    /// A path as it is seen from outside.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").expect("an absolute path"))
    }

    fn filler(&self) -> PathBuf {
        self.seen(&self.at).join("_filler")
    }

    /// Takes all space but this.
    pub fn leave(&self, bytes: u64) {
        self.free();
        let mut filler = fs::File::create(self.filler()).expect("a filler");
        let free = || {
            let stat = rustix::fs::statvfs(self.seen(&self.at)).expect("a file system");
            stat.f_bavail * stat.f_frsize
        };
        let page = [1_u8; 4096];
        // Whoever else writes there may take the rest.
        while free() > bytes && filler.write_all(&page).is_ok() {}
    }

    pub fn free(&self) {
        let _absent = fs::remove_file(self.filler());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ended = self.holder.kill();
        let _ended = self.holder.wait();
    }
}

/// A process that keeps the namespace alive until its input ends.
fn hold(flags: &str, at: &Path, bytes: u64) -> Option<Child> {
    let mut holder = Command::new("unshare")
        .arg(flags)
        .args([
            "sh",
            "-c",
            "mount -t tmpfs -o \"size=$1,mode=755\" none \"$0\" && echo mounted && exec cat",
        ])
        .arg(at)
        .arg(bytes.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let _read = BufReader::new(holder.stdout.as_mut()?).read_line(&mut line);
    if line == "mounted\n" {
        return Some(holder);
    }
    let _ended = holder.wait();
    None
}

/// What to run the program behind, so that the rights of files hold for it: nothing for an ordinary user, for root without
/// its power over all files.
pub fn without_power() -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let words = [
        "setpriv",
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--",
    ];
    let works = Command::new(words[0])
        .args(&words[1..])
        .arg("true")
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        works,
        "`setpriv` (of util-linux) cannot take root's power away: run these tests as an ordinary user, or as root with CAP_SETPCAP"
    );
    words.map(str::to_owned).to_vec()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// A MinIO that only one test uses, so that it may be stopped, and started with other keys.
pub struct OwnMinio {
    dir: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl OwnMinio {
    pub const KEY: &str = "own-minio-key";

    /// `None` if MinIO was left out by hand.
    pub fn start(secret: &str) -> Option<Self> {
        let left_out = std::env::var("LAKEWARD_TEST_WITHOUT").unwrap_or_default();
        if left_out.split(',').any(|name| name.trim() == "minio") {
            return None;
        }
        let mut minio = Self {
            dir: tempfile::Builder::new()
                .prefix("lakeward-minio-")
                .tempdir()
                .expect("a directory"),
            port: free_port(),
            process: None,
        };
        fs::create_dir_all(minio.dir.path().join("data/lakeward")).expect("a bucket");
        minio.up(secret);
        Some(minio)
    }

    /// The program that `integration/servers/fetch.sh` provides.
    fn program() -> String {
        let servers = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/servers");
        let script = format!(
            "\"{servers}/fetch.sh\" minio >&2 && . \"{servers}/common.sh\" && echo \"$minio\""
        );
        let output = Command::new("bash")
            .args(["-c", &script])
            .output()
            .expect("bash");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    }

    pub fn up(&mut self, secret: &str) {
        self.process = Some(self.begin(secret));
        // It says that it is ready a little before it is.
        let s3 = self.s3(secret);
        let start = Instant::now();
        while !(self.is_ready() && s3.answers()) {
            let ended = self.process.as_mut().map(Child::try_wait);
            // Its port may have been somebody's for a moment.
            if matches!(ended, Some(Ok(Some(_)))) {
                self.process = Some(self.begin(secret));
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited {PATIENCE:?} in vain until MinIO answers; it said\n{}",
                fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn begin(&self, secret: &str) -> Child {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("a log");
        Command::new(Self::program())
            .args([
                "server",
                "--quiet",
                "--address",
                &format!("127.0.0.1:{}", self.port),
            ])
            .arg(self.dir.path().join("data"))
            .env_clear()
            .envs([
                ("HOME", self.dir.path().as_os_str()),
                ("MINIO_ROOT_USER", Self::KEY.as_ref()),
                ("MINIO_ROOT_PASSWORD", secret.as_ref()),
                ("MINIO_BROWSER", "off".as_ref()),
                ("MINIO_UPDATE", "off".as_ref()),
                ("MINIO_CI_CD", "1".as_ref()),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("MinIO starts")
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let asked = write!(
            stream,
            "GET /minio/health/ready HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
        );
        let mut line = String::new();
        asked.is_ok()
            && BufReader::new(stream).read_line(&mut line).is_ok()
            && line.contains(" 200 ")
    }

    /// Where it keeps its buckets.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// As a power cut.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ended = process.kill();
            let _ended = process.wait();
        }
    }

    pub fn s3(&self, secret: &str) -> S3 {
        S3 {
            endpoint: format!("http://127.0.0.1:{}", self.port),
            key: Self::KEY.to_owned(),
            secret: secret.to_owned(),
            bucket: "lakeward".to_owned(),
            root: "lake".to_owned(),
        }
    }
}

impl Drop for OwnMinio {
    fn drop(&mut self) {
        self.down();
    }
}

/// Ends a process by SIGTERM and answers its exit code.
pub fn terminate(child: &mut Child) -> Option<i32> {
    rustix::process::kill_process(
        rustix::process::Pid::from_child(child),
        rustix::process::Signal::TERM,
    )
    .expect("SIGTERM");
    ended(child)
}

/// Its exit code, waited for with patience; killed if it does not end.
pub fn ended(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        if start.elapsed() > PATIENCE {
            let _ended = child.kill();
            let _ended = child.wait();
            panic!("the program did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
