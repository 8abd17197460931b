//! The lake port against real HDFS, old and new, by the NameNode's protocol and by WebHDFS.

use std::time::Duration;

use lakeward::config::{HdfsSettings, WebHdfsSettings};
use lakeward::lake::conformance::{Suite, mark};
use lakeward::lake::retry::RetryPolicy;
use lakeward::lake::{ErrorClass, Lake, NativeLake, WebLake};
use lakeward::naming::LakePath;

use super::server::{Hdfs, staging};
use crate::support::{block_on, runtime};

fn short() -> RetryPolicy {
    RetryPolicy {
        total: Duration::from_secs(30),
        first: Duration::from_millis(50),
        longest: Duration::from_millis(500),
    }
}

fn native(hdfs: &Hdfs) -> HdfsSettings {
    HdfsSettings {
        name_nodes: vec![hdfs.url().to_owned()],
        hadoop_conf_dir: Some(hdfs.variable("_CONF").into()),
        root: hdfs.root.clone(),
        user: Some(hdfs.user().to_owned()),
        principal: None,
        keytab: None,
        ticket_cache: None,
        block_size: None,
        replication: Some(1),
        umask: None,
        properties: Vec::new(),
    }
}

fn web(hdfs: &Hdfs) -> WebHdfsSettings {
    WebHdfsSettings {
        endpoints: vec![hdfs.endpoint().to_owned()],
        root: hdfs.root.clone(),
        user: Some(hdfs.user().to_owned()),
        delegation_token: None,
        ca_file: None,
        block_size: None,
        replication: Some(1),
        umask: None,
    }
}

fn open_native(settings: &HdfsSettings) -> NativeLake {
    NativeLake::open(settings, runtime(), short()).unwrap()
}

fn open_web(settings: &WebHdfsSettings) -> WebLake {
    WebLake::open(settings, runtime(), short()).unwrap()
}

fn path(text: &str) -> LakePath {
    LakePath::new(text).unwrap()
}

fn keeps_the_contract(lake: &dyn Lake, hdfs: &Hdfs, temporary: &dyn Fn(&LakePath) -> String) {
    let (_dir, staging) = staging();
    let suite = Suite {
        lake,
        dir: path("scratch"),
        staging,
    };
    suite.all();
    suite.lands_large_files();
    suite.aborts_what_was_begun(&|path| begin(hdfs, &temporary(path)));
    assert!(lake.probe().unwrap().conditional_writes);
    let colon = lake.create(&path("t/a:b.json"), b"x").unwrap_err();
    assert_eq!(colon.class, ErrorClass::Permanent, "{colon}");
    let left: Vec<String> = hdfs
        .list()
        .into_keys()
        .filter(|path| path.contains(".tmp") || path.contains("probe"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let open = hdfs.client(&["fsck", &hdfs.root, "-openforwrite"]);
    assert!(!open.contains("OPENFORWRITE"), "{open}");
}

/// A file that its writer left in the middle, as a kill does: open, its lease not over.
fn begin(hdfs: &Hdfs, name: &str) {
    block_on(async {
        let client = hdfs_native::ClientBuilder::new()
            .with_config_dir(hdfs.variable("_CONF"))
            .with_url(hdfs.url())
            .with_user(hdfs.user())
            .build()
            .unwrap();
        let options = hdfs_native::WriteOptions::default().replication(1);
        let mut writer = client.create(name, options).await.unwrap();
        let written = Box::pin(writer.write_bytes(vec![7; 100_000].into()));
        written.await.unwrap();
        writer.hsync().await.unwrap();
    });
}

fn native_keeps_the_contract(name: &str) {
    let Some(hdfs) = Hdfs::named(name, "native") else {
        return;
    };
    let lake = open_native(&native(&hdfs));
    keeps_the_contract(&lake, &hdfs, &|path| lake.temporary_name(path));
    takes_emoji(&lake);
}

fn takes_emoji(lake: &dyn Lake) {
    let (_dir, staging) = staging();
    let dir = path("scratch");
    let suite = Suite { lake, dir, staging };
    suite.takes_emoji();
}

fn web_keeps_the_contract(name: &str) {
    let Some(hdfs) = Hdfs::named(name, "web") else {
        return;
    };
    let lake = open_web(&web(&hdfs));
    keeps_the_contract(&lake, &hdfs, &|path| lake.temporary_name(path));
    if name == "HDFS_NEW" {
        takes_emoji(&lake);
    }
}

#[test]
fn the_oldest_hdfs_keeps_the_contract() {
    native_keeps_the_contract("HDFS_OLD");
}

#[test]
fn the_newest_hdfs_keeps_the_contract() {
    native_keeps_the_contract("HDFS_NEW");
}

#[test]
fn the_oldest_webhdfs_keeps_the_contract() {
    web_keeps_the_contract("HDFS_OLD");
}

#[test]
fn the_newest_webhdfs_keeps_the_contract() {
    web_keeps_the_contract("HDFS_NEW");
}

/// Hive's servers are other users: they read what they are given, and write nothing.
#[test]
fn files_and_directories_get_the_permissions_that_a_user_expects() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        let Some(hdfs) = Hdfs::named(name, "umask") else {
            continue;
        };
        let (_dir, staging) = staging();
        let staged = staging.join("staged");
        std::fs::write(&staged, b"abc").unwrap();
        let land = |lake: &dyn Lake, to: &str| {
            lake.land(&staged, &path(to), &mark(b"abc")).unwrap();
        };
        land(&open_native(&native(&hdfs)), "native/dt=1/a.parquet");
        land(&open_web(&web(&hdfs)), "web/dt=1/a.parquet");
        let mut closed = native(&hdfs);
        closed.umask = Some(0o027);
        land(&open_native(&closed), "closed/dt=1/a.parquet");
        let mut closed = web(&hdfs);
        closed.umask = Some(0o027);
        land(&open_web(&closed), "closed-web/dt=1/a.parquet");
        for (dir, file, files) in [
            ("native", "644", "755"),
            ("web", "644", "755"),
            ("closed", "640", "750"),
            ("closed-web", "640", "750"),
        ] {
            assert_eq!(
                hdfs.status(&format!("{dir}/dt=1/a.parquet"))["permission"],
                file
            );
            assert_eq!(
                hdfs.status(&format!("{dir}/dt=1"))["permission"],
                files,
                "{dir}"
            );
            assert_eq!(hdfs.status(dir)["permission"], files, "{dir}");
        }
    }
}

/// Many blocks, the last one short and the last one full.
#[test]
fn files_of_many_blocks_are_whole() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        let Some(hdfs) = Hdfs::named(name, "blocks") else {
            continue;
        };
        let mut small = native(&hdfs);
        small.block_size = Some(1 << 20);
        let lake = open_native(&small);
        let mut small = web(&hdfs);
        small.block_size = Some(1 << 20);
        let web = open_web(&small);
        let (_dir, staging) = staging();
        for (n, length) in [(8 << 20) + 12_345, 8 << 20, 1 << 20, 1]
            .into_iter()
            .enumerate()
        {
            let contents = lakeward::lake::conformance::bytes(length, n as u64);
            let staged = staging.join("staged");
            std::fs::write(&staged, &contents).unwrap();
            for (lake, dir) in [(&lake as &dyn Lake, "native"), (&web, "web")] {
                let path = path(&format!("{dir}/{n}.parquet"));
                let mark = mark(&contents);
                lake.land(&staged, &path, &mark).unwrap();
                assert_eq!(lake.digest(&path).unwrap(), Some(mark.copy));
                let status = hdfs.status(path.as_str());
                assert_eq!(status["blockSize"], 1 << 20, "{status}");
                assert_eq!(status["replication"], 1, "{status}");
                assert!(hdfs.read(path.as_str()).unwrap() == contents);
            }
        }
    }
}

#[test]
fn a_name_node_that_is_not_there_is_a_passing_fault_and_named() {
    let Some(hdfs) = Hdfs::named("HDFS_OLD", "nobody") else {
        return;
    };
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let policy = RetryPolicy {
        total: Duration::from_millis(300),
        ..short()
    };
    let mut settings = native(&hdfs);
    settings.name_nodes = vec![format!("127.0.0.1:{port}")];
    let native = NativeLake::open(&settings, runtime(), policy).unwrap();
    let mut settings = web(&hdfs);
    settings.endpoints = vec![format!("http://127.0.0.1:{port}")];
    let web = WebLake::open(&settings, runtime(), policy).unwrap();
    for lake in [&native as &dyn Lake, &web] {
        for error in [
            lake.look(&path("a"), &mark(b"x")).unwrap_err(),
            lake.list(&path("a"), &mut |_| {}).unwrap_err(),
        ] {
            assert_eq!(error.class, ErrorClass::Transient, "{error}");
            assert!(error.message.contains("nothing listens at"), "{error}");
        }
    }
}

#[test]
fn the_wrong_port_is_told() {
    let Some(hdfs) = Hdfs::named("HDFS_OLD", "port") else {
        return;
    };
    let policy = RetryPolicy {
        total: Duration::from_millis(300),
        ..short()
    };
    let mut settings = native(&hdfs);
    settings.name_nodes = vec![hdfs.endpoint().replace("http://", "hdfs://")];
    let lake = NativeLake::open(&settings, runtime(), policy).unwrap();
    let error = lake.look(&path("a"), &mark(b"x")).unwrap_err();
    assert!(error.message.contains("the port of its RPC"), "{error}");
    let mut settings = web(&hdfs);
    settings.endpoints = vec![hdfs.url().replace("hdfs://", "http://")];
    let lake = WebLake::open(&settings, runtime(), policy).unwrap();
    let error = lake.look(&path("a"), &mark(b"x")).unwrap_err();
    assert!(error.message.contains("HTTP address"), "{error}");
}

#[test]
fn somebody_without_rights_is_told_what_to_do() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        let Some(hdfs) = Hdfs::named(name, "rights") else {
            continue;
        };
        let mut stranger = native(&hdfs);
        stranger.user = Some("eve".to_owned());
        let mut web_stranger = web(&hdfs);
        web_stranger.user = Some("eve".to_owned());
        for lake in [
            &open_native(&stranger) as &dyn Lake,
            &open_web(&web_stranger),
        ] {
            let error = lake.probe().unwrap_err();
            assert_eq!(error.class, ErrorClass::Permanent, "{error}");
            for word in ["user=eve", "-chmod"] {
                assert!(error.message.contains(word), "{error}");
            }
        }
    }
}
