//! The lake port against real S3 stores: its contract, what their refusals are called, and answers that are lost.

use std::path::PathBuf;
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use lakeward::config::{S3Settings, Secret};
use lakeward::lake::conformance::{Suite, bytes, mark};
use lakeward::lake::retry::RetryPolicy;
use lakeward::lake::{Created, ErrorClass, Lake, LakeError, Landed, Look, Mark, S3Lake};
use lakeward::naming::LakePath;
use tokio::runtime::{Handle, Runtime};

use crate::proxy::{Kind, Proxy};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

fn runtime() -> Handle {
    RUNTIME.handle().clone()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run integration/test.sh, which starts the servers")
    })
}

/// A server of `integration/test.sh`, with a prefix that nobody else uses as root.
fn server(name: &str, root: &str) -> S3Settings {
    let variable = |suffix: &str| variable(&format!("LAKEWARD_TEST_{name}{suffix}"));
    let run = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    S3Settings {
        bucket: variable("_BUCKET"),
        root: format!("lake tests/{run}/{root}"),
        endpoint: variable(""),
        region: "us-east-1".to_owned(),
        access_key_id: Some(Secret::new(variable("_KEY"))),
        secret_access_key: Some(Secret::new(variable("_SECRET"))),
        session_token: None,
        ca_file: None,
        conditional_writes: true,
        options: Vec::new(),
    }
}

/// The weak store's switches are the whole store's: who needs it to behave holds this for reading, who sets a switch for
/// writing.
static WEAK: RwLock<()> = RwLock::new(());

fn weak_behaves() -> RwLockReadGuard<'static, ()> {
    WEAK.read().unwrap_or_else(PoisonError::into_inner)
}

fn short() -> RetryPolicy {
    RetryPolicy {
        total: Duration::from_secs(30),
        first: Duration::from_millis(50),
        longest: Duration::from_millis(500),
    }
}

fn open(settings: &S3Settings) -> S3Lake {
    S3Lake::open(settings, runtime(), short()).unwrap()
}

fn path(text: &str) -> LakePath {
    LakePath::new(text).unwrap()
}

fn keeps_the_contract(settings: &S3Settings) {
    let staging = tempfile::tempdir().unwrap();
    let lake = open(settings);
    let suite = Suite {
        lake: &lake,
        dir: path("scratch"),
        staging: staging.path().to_owned(),
    };
    suite.all();
    suite.takes_colons();
    suite.takes_emoji();
    suite.lands_large_files();
    suite.aborts_what_was_begun(&|path| lake.begin_upload(path).unwrap());
    assert_eq!(
        lake.probe().unwrap().conditional_writes,
        settings.conditional_writes
    );
}

#[test]
fn minio_keeps_the_contract() {
    keeps_the_contract(&server("MINIO", "contract"));
}

#[test]
fn seaweedfs_keeps_the_contract() {
    keeps_the_contract(&server("SEAWEEDFS", "contract"));
}

#[test]
fn the_weak_store_keeps_the_contract_while_it_behaves() {
    let _weak = weak_behaves();
    keeps_the_contract(&server("WEAK", "contract"));
}

#[test]
fn what_a_store_refuses_is_said_in_words_that_tell_what_to_mend() {
    for name in ["MINIO", "SEAWEEDFS"] {
        let good = server(name, "refusals");
        let refused = |change: &dyn Fn(&mut S3Settings)| -> LakeError {
            let mut settings = good.clone();
            change(&mut settings);
            let error = open(&settings).probe().unwrap_err();
            assert!(!error.to_string().contains("sup3r"), "{error}");
            error
        };
        let secret = refused(&|s| s.secret_access_key = Some(Secret::new("sup3r-s3cret".into())));
        assert!(
            secret.message.contains("secret access key does not belong"),
            "{secret}"
        );
        let key = refused(&|s| s.access_key_id = Some(Secret::new("NOBODY".into())));
        assert!(key.message.contains("`NOBODY` is not known"), "{key}");
        let bucket = refused(&|s| s.bucket = "no-such-bucket".into());
        assert!(
            bucket
                .message
                .contains("there is no bucket `no-such-bucket`"),
            "{bucket}"
        );
        for error in [secret, key, bucket] {
            assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        }
    }
}

#[test]
fn a_missing_bucket_is_not_taken_for_an_empty_lake() {
    let _weak = weak_behaves();
    for name in STORES {
        let mut settings = server(name, "");
        settings.bucket = "no-such-bucket".into();
        let lake = open(&settings);
        let looked = lake.look(&path("a"), &mark(b"x")).unwrap_err();
        assert!(looked.message.contains("no bucket"), "{looked}");
        lake.read(&path("a")).unwrap_err();
        lake.list(&path("a"), &mut |_| {}).unwrap_err();
        lake.digest(&path("a")).unwrap_err();
    }
}

#[test]
fn a_server_that_is_not_there_is_a_passing_fault_and_named() {
    let mut settings = server("MINIO", "nobody");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    settings.endpoint = format!("http://127.0.0.1:{port}");
    let policy = RetryPolicy {
        total: Duration::from_millis(300),
        ..short()
    };
    let lake = S3Lake::open(&settings, runtime(), policy).unwrap();
    for error in [
        lake.probe().unwrap_err(),
        lake.look(&path("a"), &mark(b"x")).unwrap_err(),
        lake.list(&path("a"), &mut |_| {}).unwrap_err(),
    ] {
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        assert!(
            error
                .message
                .contains("nothing listens at http://127.0.0.1"),
            "{error}"
        );
    }
}

#[test]
fn https_to_a_server_without_tls_is_permanent_and_said() {
    let mut settings = server("MINIO", "tls");
    settings.endpoint = settings.endpoint.replace("http://", "https://");
    let error = open(&settings).probe().unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
    assert!(error.message.contains("does not speak TLS"), "{error}");
}

/// Steers the weak store.
fn control(settings: &S3Settings, switches: &str) {
    let (url, body) = (
        format!("{}/_control", settings.endpoint),
        switches.to_owned(),
    );
    RUNTIME.block_on(async move {
        let answer = reqwest::Client::new()
            .post(url)
            .body(body)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    });
}

#[test]
fn a_store_that_ignores_conditions_is_found_out_and_used_only_on_request() {
    let _weak = WEAK.write().unwrap_or_else(PoisonError::into_inner);
    let mut settings = server("WEAK", "ignores");
    let lake = open(&settings);
    lake.probe().unwrap();
    control(&settings, r#"{"ignore_conditions": true}"#);
    let probed = lake.probe();
    settings.conditional_writes = false;
    let staging = tempfile::tempdir().unwrap();
    let weak = open(&settings);
    let suite = Suite {
        lake: &weak,
        dir: path("scratch"),
        staging: staging.path().to_owned(),
    };
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        suite.creates_only_what_is_not_there();
        suite.lands_once_and_then_sees_its_own();
        suite.lands_large_files();
        suite.never_lands_over_anything();
        suite.tells_foreign_files_from_its_own();
    }));
    control(&settings, r#"{"ignore_conditions": false}"#);
    assert!(!probed.unwrap().conditional_writes);
    checked.unwrap();
}

/// A lake behind a proxy, and a staged file.
struct Lossy {
    proxy: Proxy,
    lake: S3Lake,
    direct: S3Lake,
    staged: PathBuf,
    mark: Mark,
    path: LakePath,
    _staging: tempfile::TempDir,
}

impl Lossy {
    fn new(name: &str, root: &str, length: usize) -> Self {
        let direct = server(name, root);
        let proxy = Proxy::start(&runtime(), &direct.endpoint);
        let mut settings = direct.clone();
        settings.endpoint = proxy.endpoint();
        let staging = tempfile::tempdir().unwrap();
        let contents = bytes(length, 11);
        let staged = staging.path().join("staged");
        std::fs::write(&staged, &contents).unwrap();
        Self {
            proxy,
            lake: open(&settings),
            direct: open(&direct),
            staged,
            mark: mark(&contents),
            path: path("t/dt=1/file.parquet"),
            _staging: staging,
        }
    }

    fn land(&self) -> Result<Landed, LakeError> {
        self.lake.land(&self.staged, &self.path, &self.mark)
    }

    /// One object, whole and ours, and no upload left.
    fn landed_once(&self) {
        let look = self.lake.look(&self.path, &self.mark).unwrap();
        assert_eq!(look, Look::Ours);
        assert_eq!(
            self.direct.digest(&self.path).unwrap(),
            Some(self.mark.copy)
        );
        let mut found = 0;
        self.direct.list(&path("t"), &mut |_| found += 1).unwrap();
        assert_eq!(found, 1);
        assert_eq!(self.direct.abort_uploads(&self.path).unwrap(), 0);
    }
}

const STORES: [&str; 3] = ["MINIO", "SEAWEEDFS", "WEAK"];
const SMALL: usize = 100_000;
const LARGE: usize = (20 << 20) + 3;

#[test]
fn a_put_whose_answer_was_lost_lands_once() {
    let _weak = weak_behaves();
    for name in STORES {
        let lossy = Lossy::new(name, "put", SMALL);
        lossy.proxy.lose_answers(Kind::Put, 1);
        assert_eq!(lossy.land().unwrap(), Landed::Look, "{name}");
        lossy.landed_once();
    }
}

#[test]
fn a_completion_whose_answer_was_lost_lands_once() {
    let _weak = weak_behaves();
    for name in STORES {
        let lossy = Lossy::new(name, "complete", LARGE);
        lossy.proxy.lose_answers(Kind::Complete, 1);
        assert_ne!(lossy.proxy.seen(Kind::Complete), 1);
        lossy.land().unwrap();
        assert!(lossy.proxy.seen(Kind::Complete) > 1, "{name}");
        lossy.landed_once();
    }
}

#[test]
fn lost_parts_and_lost_beginnings_are_made_up_for() {
    let _weak = weak_behaves();
    for name in STORES {
        let lossy = Lossy::new(name, "parts", LARGE);
        lossy.proxy.lose_answers(Kind::Part, 1);
        lossy.proxy.lose_requests(Kind::Part, 1);
        lossy.proxy.lose_requests(Kind::Begin, 1);
        assert_eq!(lossy.land().unwrap(), Landed::Yes, "{name}");
        lossy.landed_once();
    }
}

#[test]
fn an_upload_begun_without_our_knowing_is_aborted_later() {
    let _weak = weak_behaves();
    for name in STORES {
        let lossy = Lossy::new(name, "begun", LARGE);
        lossy.proxy.lose_answers(Kind::Begin, 1);
        assert_eq!(lossy.land().unwrap(), Landed::Yes, "{name}");
        assert_eq!(
            lossy.direct.abort_uploads(&lossy.path).unwrap(),
            1,
            "{name}"
        );
        lossy.landed_once();
    }
}

#[test]
fn a_manifest_whose_answer_was_lost_is_still_ours() {
    let _weak = weak_behaves();
    for name in STORES {
        let lossy = Lossy::new(name, "manifest", SMALL);
        lossy.proxy.lose_answers(Kind::Put, 1);
        lossy.proxy.lose_answers(Kind::Head, 1);
        lossy.proxy.lose_answers(Kind::Get, 1);
        let manifest = path("t/1.json");
        assert_eq!(
            lossy.lake.create(&manifest, b"facts").unwrap(),
            Created::Ours
        );
        assert_eq!(
            lossy.lake.create(&manifest, b"others").unwrap(),
            Created::Other
        );
        assert_eq!(lossy.direct.read(&manifest).unwrap().unwrap(), b"facts");
    }
}

#[test]
fn what_a_connection_damaged_is_refused_and_sent_again() {
    // The weak store checks no CRC32C.
    for name in ["MINIO", "SEAWEEDFS"] {
        for (kind, length) in [(Kind::Put, SMALL), (Kind::Part, LARGE)] {
            let lossy = Lossy::new(name, &format!("damage-{length}"), length);
            lossy.proxy.damage_bodies(kind, 1);
            assert_eq!(lossy.land().unwrap(), Landed::Yes, "{name}");
            lossy.landed_once();
        }
    }
}

#[test]
fn a_listing_that_breaks_off_goes_on() {
    let _weak = weak_behaves();
    for name in STORES {
        let lossy = Lossy::new(name, "listing", SMALL);
        for n in 0..3 {
            lossy.direct.create(&path(&format!("t/{n}")), b"x").unwrap();
        }
        lossy.proxy.lose_answers(Kind::List, 2);
        let mut found = 0;
        lossy.lake.list(&path("t"), &mut |_| found += 1).unwrap();
        assert_eq!(found, 3, "{name}");
    }
}

#[test]
fn a_store_that_is_down_for_five_seconds_is_waited_for() {
    for (name, length) in [("MINIO", SMALL), ("MINIO", LARGE), ("SEAWEEDFS", LARGE)] {
        let lossy = Lossy::new(name, &format!("down-{length}"), length);
        lossy.proxy.set_down(true);
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(5));
                lossy.proxy.set_down(false);
            });
            lossy.land().unwrap();
        });
        assert!(began.elapsed() > Duration::from_secs(5));
        lossy.landed_once();
    }
}

#[test]
fn a_store_that_stays_down_is_a_passing_fault() {
    let lossy = Lossy::new("MINIO", "away", SMALL);
    lossy.proxy.set_down(true);
    let mut settings = server("MINIO", "away");
    settings.endpoint = lossy.proxy.endpoint();
    let policy = RetryPolicy {
        total: Duration::from_millis(300),
        ..short()
    };
    let lake = S3Lake::open(&settings, runtime(), policy).unwrap();
    for error in [
        lake.land(&lossy.staged, &lossy.path, &lossy.mark)
            .unwrap_err(),
        lake.create(&lossy.path, b"x").unwrap_err(),
        lake.look(&lossy.path, &lossy.mark).unwrap_err(),
    ] {
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
    }
}

#[test]
fn a_staged_copy_that_was_damaged_is_never_made_visible() {
    for length in [SMALL, LARGE] {
        let lossy = Lossy::new("SEAWEEDFS", &format!("damaged-{length}"), length);
        let mut contents = std::fs::read(&lossy.staged).unwrap();
        contents[length / 2] ^= 1;
        std::fs::write(&lossy.staged, contents).unwrap();
        let error = lossy.land().unwrap_err();
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(error.message.contains("damaged"), "{error}");
        assert_eq!(
            lossy.direct.look(&lossy.path, &lossy.mark).unwrap(),
            Look::Absent
        );
        assert_eq!(lossy.direct.abort_uploads(&lossy.path).unwrap(), 0);
    }
}

#[test]
fn an_upload_whose_abort_is_lost_is_aborted_again() {
    let _weak = weak_behaves();
    for name in STORES {
        let lossy = Lossy::new(name, "abort", LARGE);
        lossy.direct.create(&lossy.path, b"something else").unwrap();
        lossy.proxy.lose_requests(Kind::Abort, 1);
        assert_eq!(lossy.land().unwrap(), Landed::Look, "{name}");
        assert_eq!(lossy.direct.abort_uploads(&lossy.path).unwrap(), 0);
        lossy.proxy.lose_answers(Kind::Abort, 1);
        assert_eq!(lossy.land().unwrap(), Landed::Look, "{name}");
        assert_eq!(lossy.direct.abort_uploads(&lossy.path).unwrap(), 0);
    }
}
