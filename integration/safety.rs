//! The *Safety* promises, each tried on the real program: secrets, rights, links, names of any bytes, bombs, forged manifests.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

use crate::means::{
    OwnMinio, command_behind, expect_behind, free_port, run_measured, stderr, stdout,
};
use crate::support::{Site, ids_text};

const PLAIN: &str = "[pipeline.sink]\npath = \"p\"\n";

// ---------------------------------------------------------------- secrets

/// With characters that JSON, URLs and shells write otherwise; its core stays as it is in every form.
const SECRET: &str = "/+s3cretM4rker0123456789=\"x";
const CORE: &[u8] = b"s3cretM4rker";

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(CORE.len()).any(|window| window == CORE)
}

/// Every command of the program, each with its forms of output.
const COMMANDS: &[&[&str]] = &[
    &[
        "run",
        "--once",
        "-v",
        "-v",
        "--report",
        "report.json",
        "--deadline",
        "4s",
    ],
    &[
        "run",
        "--once",
        "-v",
        "-v",
        "--log-format",
        "json",
        "--report",
        "report2.json",
        "--deadline",
        "4s",
    ],
    &["check", "-v", "-v"],
    &["check", "--json"],
    &["check", "--no-write"],
    &["status", "-v", "-v"],
    &["status", "--json"],
    &["files"],
    &["files", "--json"],
    &["files", "absent"],
    &["audit", "--deep", "-v", "-v"],
    &["audit", "--deep", "--json"],
    &["rebuild", "-v", "-v"],
    &["rebuild", "--json"],
    &["adopt", "p", "-v", "-v"],
    &["release", "a.ndjson"],
    &["resolve", "p", "--batch", "1", "--accept-loss"],
    &["schema"],
    &["schema", "--ddl"],
    &["schema", "--json"],
    &["init"],
];

/// Those that speak with the lake: enough where it fails.
const ASKING: &[&[&str]] = &[
    &[
        "run",
        "--once",
        "-v",
        "-v",
        "--report",
        "report.json",
        "--deadline",
        "2s",
    ],
    &["run", "--once", "--log-format", "json", "--deadline", "2s"],
    &["check", "-v", "-v"],
    &["check", "--json"],
    &["rebuild", "--json"],
    &["adopt", "p", "-v", "-v"],
    &["status", "--json"],
    &["schema", "--ddl"],
];

/// Runs every command and looks for the secret in all that it said and in all that it left in the site's directory.
fn nothing_tells_the_secret(site: &Site, what: &str, commands: &[&[&str]]) {
    // Whoever waits for a server that is not there has said all by then.
    let before: Vec<String> = ["timeout", "5"].map(str::to_owned).to_vec();
    for arguments in commands {
        let output = command_behind(site, &before, arguments)
            .env("LAKE_SECRET", SECRET)
            .output()
            .expect("it starts");
        for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            assert!(
                !holds_secret(bytes),
                "{what}: {arguments:?}: {stream}: {}",
                String::from_utf8_lossy(bytes)
            );
        }
        let code = output.status.code();
        assert!(
            code.is_some_and(|code| code != 1),
            "{what}: {arguments:?} ended with {code:?}: {}",
            stderr(&output)
        );
    }
    no_file_tells_the_secret(&site.path(""), what);
}

fn no_file_tells_the_secret(dir: &Path, what: &str) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            no_file_tells_the_secret(&path, what);
        } else if name != "lakeward.toml" && name != "secret.txt" {
            let bytes = fs::read(&path).unwrap_or_default();
            assert!(
                !holds_secret(&bytes),
                "{what}: `{}` holds the secret",
                path.display()
            );
        }
    }
}

fn lake_toml(endpoint: &str, bucket: &str, secret: &str, more: &str) -> String {
    format!(
        "type = \"s3\"\nbucket = \"{bucket}\"\nroot = \"lake\"\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{secret}\"\n{more}",
        OwnMinio::KEY
    )
}

#[test]
fn a_secret_is_told_by_no_command_and_on_no_failing_path() {
    let Some(minio) = OwnMinio::start(SECRET) else {
        return;
    };
    let endpoint = minio.s3(SECRET).endpoint;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for (what, lake) in [
        (
            "works, by a file",
            lake_toml(&endpoint, "lakeward", "${file:secret.txt}", ""),
        ),
        (
            "works, by the environment",
            lake_toml(&endpoint, "lakeward", "${LAKE_SECRET}", ""),
        ),
        (
            "wrong key",
            lake_toml(&endpoint, "lakeward", "${LAKE_SECRET}wrong", ""),
        ),
        (
            "no bucket",
            lake_toml(&endpoint, "absent", "${file:secret.txt}", ""),
        ),
        (
            "refused connection",
            lake_toml(&nobody, "lakeward", "${file:secret.txt}", ""),
        ),
        (
            "session token",
            lake_toml(
                &endpoint,
                "lakeward",
                "${file:secret.txt}",
                "session_token = \"token-${LAKE_SECRET}\"\n",
            ),
        ),
        (
            "in a URL",
            lake_toml(
                "http://user:${LAKE_SECRET}@127.0.0.1:1",
                "lakeward",
                "x",
                "",
            ),
        ),
        (
            "in a path of a URL",
            lake_toml("http://127.0.0.1:1/${file:secret.txt}", "lakeward", "x", ""),
        ),
        (
            "key id",
            lake_toml(&endpoint, "lakeward", "x", "").replace(OwnMinio::KEY, "${file:secret.txt}"),
        ),
        (
            "unknown key",
            lake_toml(
                &endpoint,
                "lakeward",
                "x",
                "secret_acces_key = \"${file:secret.txt}\"\n",
            ),
        ),
        (
            "wrong shape",
            lake_toml(
                &endpoint,
                "lakeward",
                "x",
                "server_side_encryption = \"${file:secret.txt}\"\n",
            ),
        ),
        (
            "encryption key",
            lake_toml(
                &endpoint,
                "lakeward",
                "${file:secret.txt}",
                "server_side_encryption_customer_algorithm = \"AES256\"\nserver_side_encryption_customer_key = \"${file:secret.txt}\"\n",
            ),
        ),
    ] {
        let site = Site::with_lake(&lake, "stop_after = \"1s\"\n", PLAIN);
        fs::write(site.path("secret.txt"), format!("{SECRET}\n")).unwrap();
        site.drop_ids("a.ndjson", 0, 10);
        nothing_tells_the_secret(
            &site,
            what,
            if what.starts_with("works") {
                COMMANDS
            } else {
                ASKING
            },
        );
    }
    // Manifests, data files and their metadata as the store keeps them.
    let data = minio.data().join("lakeward");
    assert!(data.join("lake/p").exists(), "nothing was landed");
    no_file_tells_the_secret(&data, "the store");
}

#[test]
fn a_secret_in_the_state_of_a_running_agent_is_told_by_nobody() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let site = Site::with_lake(
        &lake_toml(&nobody, "lakeward", "${file:secret.txt}", ""),
        "",
        PLAIN,
    );
    fs::write(site.path("secret.txt"), SECRET).unwrap();
    site.drop_ids("a.ndjson", 0, 10);
    let mut agent = site.spawn(&["run", "-v", "-v"], &[]);
    crate::means::wait_until("it tries", || site.log().contains("nothing listens"));
    for arguments in [&["status"][..], &["status", "--json"], &["files"]] {
        let output = site.expect(0, arguments);
        assert!(!holds_secret(&output.stdout) && !holds_secret(&output.stderr));
    }
    let maps = fs::read(format!("/proc/{}/cmdline", agent.id())).unwrap();
    assert!(!holds_secret(&maps));
    agent.kill().unwrap();
    agent.wait().unwrap();
    // The journal and its log as a kill leaves them.
    assert!(site.path("var/journal.db").exists());
    no_file_tells_the_secret(&site.path(""), "after a kill");
}

// ---------------------------------------------------------------- rights

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path)
        .unwrap_or_else(|e| panic!("`{}`: {e}", path.display()))
        .permissions()
        .mode()
        & 0o777
}

#[test]
fn state_and_staging_are_private_and_landed_files_follow_the_umask() {
    for (umask, file, dir) in [
        ("022", 0o644, 0o755),
        ("027", 0o640, 0o750),
        ("077", 0o600, 0o700),
    ] {
        let site = Site::local(PLAIN);
        let end = site.drop_file_and_reject("a.ndjson");
        let before: Vec<String> = ["sh", "-c", "umask \"$0\"; exec \"$@\"", umask]
            .map(str::to_owned)
            .to_vec();
        let mut killed = command_behind(&site, &before, &["run", "--once"]);
        killed.env("LAKEWARD_CRASH_AT", "before_commit:1");
        killed.output().unwrap();
        assert_eq!(mode(&site.path("var")), 0o700, "{umask}");
        for entry in fs::read_dir(site.path("var")).unwrap().flatten() {
            if entry.path().is_file() {
                assert_eq!(
                    mode(&entry.path()),
                    0o600,
                    "{umask}: {}",
                    entry.path().display()
                );
            }
        }
        let staging = site.path("lake/_lakeward/staging");
        for entry in fs::read_dir(&staging).unwrap().flatten() {
            assert_eq!(
                mode(&entry.path()),
                0o700,
                "{umask}: {}",
                entry.path().display()
            );
        }
        expect_behind(&site, &before, 0, &["run", "--once"]);
        let lake = site.lake();
        let landed: Vec<String> = lake
            .list()
            .into_keys()
            .filter(|path| !path.starts_with("_lakeward/"))
            .collect();
        assert_eq!(landed.len(), 2, "{landed:?}");
        for path in landed {
            assert_eq!(
                mode(&site.path("lake").join(&path)),
                file,
                "{umask}: {path}"
            );
            assert_eq!(
                mode(site.path("lake").join(&path).parent().unwrap()),
                dir,
                "{umask}: {path}"
            );
        }
        assert_eq!(lake.ids().len() as i64, end);
    }
}

impl Site {
    fn drop_file_and_reject(&self, name: &str) -> i64 {
        self.drop_file(name, format!("{}x\n", ids_text(0, 5)).as_bytes());
        5
    }
}

#[test]
fn staging_of_a_remote_lake_is_private_too() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let site = Site::with_lake(
        &lake_toml(&nobody, "lakeward", "x", ""),
        "stop_after = \"1s\"\n",
        PLAIN,
    );
    fs::create_dir(site.path("var")).unwrap();
    fs::set_permissions(site.path("var"), fs::Permissions::from_mode(0o755)).unwrap();
    site.expect(75, &["run", "--once", "--deadline", "1s"]);
    assert_eq!(mode(&site.path("var")), 0o700);
}

// ---------------------------------------------------------------- links

#[test]
fn no_link_below_the_spool_is_followed() {
    let site = Site::local(&format!("recursive = true\n{PLAIN}"));
    fs::create_dir(site.path("outside")).unwrap();
    fs::write(site.path("outside/x.ndjson"), ids_text(100, 5)).unwrap();
    symlink(site.path("outside"), site.path("spool/dir")).unwrap();
    symlink(site.path("outside/x.ndjson"), site.path("spool/x.ndjson")).unwrap();
    symlink("/dev/zero", site.path("spool/zero")).unwrap();
    let end = site.drop_ids("a.ndjson", 0, 5);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
    assert!(site.path("outside/x.ndjson").exists());
}

#[test]
fn a_linked_quarantine_dir_or_retire_dir_is_refused_and_nothing_goes_through_it() {
    let site = Site::local(PLAIN);
    fs::create_dir(site.path("outside")).unwrap();
    symlink(site.path("outside"), site.path("spool/.quarantine")).unwrap();
    let end = site.drop_ids("a.ndjson", 0, 5);
    site.drop_file("torn.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
    let output = site.lakeward(&["run", "--once"]);
    assert!(
        matches!(output.status.code(), Some(4 | 75)),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("link"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(site.path("outside")).unwrap().count(), 0);
    fs::remove_file(site.path("spool/.quarantine")).unwrap();
    site.expect(3, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);

    let site = Site::local(&format!(
        "retire = \"move\"\nretire_dir = \"done\"\n{PLAIN}"
    ));
    fs::create_dir(site.path("outside")).unwrap();
    symlink(site.path("outside"), site.path("done")).unwrap();
    let end = site.drop_ids("a.ndjson", 0, 5);
    let output = site.lakeward(&["run", "--once"]);
    assert!(
        matches!(output.status.code(), Some(2 | 4)),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("link"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(site.path("outside")).unwrap().count(), 0);
    fs::remove_file(site.path("done")).unwrap();
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
    assert!(site.path("done/a.ndjson").exists());
}

// ---------------------------------------------------------------- names

const NAMES: &[&[u8]] = &[
    b"new\nline.ndjson",
    b"esc\x1b[31mred.ndjson",
    b"latin\xe9\xff.ndjson",
    b"back\\slash \\x41.ndjson",
    b"quote'\"`$(x).ndjson",
    b"\xe2\x80\xaertl.ndjson",
    b"-dash",
];

/// The bytes that `\xNN` and `\\` stand for.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut at, mut out) = (0, Vec::new());
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
        } else if bytes[at + 1] == b'\\' {
            out.push(b'\\');
            at += 2;
        } else {
            assert_eq!(bytes[at + 1], b'x', "{text}");
            out.push(u8::from_str_radix(&text[at + 2..at + 4], 16).expect("an escape"));
            at += 4;
        }
    }
    out
}

#[track_caller]
fn no_raw_control(output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        assert!(
            !bytes.contains(&0x1b),
            "{}",
            String::from_utf8_lossy(bytes).escape_debug()
        );
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        assert!(
            !text.contains("new\nline") && !text.contains('\u{202e}'),
            "{}",
            text.escape_debug()
        );
    }
}

#[test]
fn names_of_any_bytes_are_escaped_in_text_and_lossless_in_json() {
    let site = Site::local(PLAIN);
    for (n, name) in NAMES.iter().enumerate() {
        let mut text = ids_text(n as i64, 1);
        text.push_str("no record\n");
        fs::write(site.path("spool").join(OsStr::from_bytes(name)), text).unwrap();
    }
    no_raw_control(&site.expect(0, &["files"]));
    no_raw_control(&site.expect(0, &["check"]));
    no_raw_control(&site.expect(0, &["run", "--once", "-v", "-v"]));
    for (arguments, list) in [
        (["files", "--json"], None),
        (["audit", "--json"], Some("files")),
    ] {
        no_raw_control(&site.expect(0, &arguments));
        let json = site.expect_json(0, &arguments);
        let rows = list
            .map_or(&json, |list| &json[list])
            .as_array()
            .unwrap()
            .clone();
        let mut found: Vec<Vec<u8>> = rows
            .iter()
            .map(|row| unescaped(row["path"].as_str().unwrap()))
            .collect();
        found.sort();
        let mut wanted: Vec<Vec<u8>> = NAMES.iter().map(|name| name.to_vec()).collect();
        wanted.sort();
        assert_eq!(found, wanted, "{arguments:?}");
    }
    let mut rejected: Vec<Vec<u8>> = site
        .lake()
        .rejects()
        .iter()
        .map(|reject| unescaped(reject["file"].as_str().unwrap()))
        .collect();
    rejected.sort();
    let mut wanted: Vec<Vec<u8>> = NAMES.iter().map(|name| name.to_vec()).collect();
    wanted.sort();
    assert_eq!(rejected, wanted);
    site.expect_landed(&site.lake(), 0..NAMES.len() as i64);
    for name in NAMES {
        let retired = [name, &b".COMPLETED"[..]].concat();
        assert!(
            site.path("spool")
                .join(OsStr::from_bytes(&retired))
                .exists(),
            "{}",
            name.escape_ascii()
        );
    }
}

#[test]
fn quarantined_names_of_any_bytes_are_found_again_by_release() {
    let site = Site::local(PLAIN);
    for (n, name) in NAMES.iter().enumerate() {
        fs::write(
            site.path("spool").join(OsStr::from_bytes(name)),
            ids_text(n as i64, 1),
        )
        .unwrap();
    }
    assert!(site.killed_at("before_retire", 1));
    for name in NAMES {
        let path = site.path("spool").join(OsStr::from_bytes(name));
        fs::OpenOptions::new()
            .append(true)
            .open(path)
            .unwrap()
            .write_all(b"\n")
            .unwrap();
    }
    no_raw_control(&site.expect(3, &["run", "--once"]));
    no_raw_control(&site.expect(0, &["files"]));
    for name in NAMES {
        let mut command = site.command(&["release", "--"]);
        let output = command.arg(OsStr::from_bytes(name)).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}: {}",
            name.escape_ascii(),
            stderr(&output)
        );
        no_raw_control(&output);
    }
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..NAMES.len() as i64);
}

#[test]
fn identifiers_in_ddl_are_quoted() {
    let site = Site::local(&format!("[pipeline.schema]\nnames = \"as-is\"\n{PLAIN}"));
    site.drop_file("a", b"{\"id\":0,\"a`b\":1,\"x) drop table y; --\":2}\n");
    site.expect(0, &["run", "--once"]);
    let ddl = stdout(&site.expect(0, &["schema", "--ddl"]));
    assert!(
        ddl.contains("`a``b` bigint") && ddl.contains("`x) drop table y; --` bigint"),
        "{ddl}"
    );
}

// ---------------------------------------------------------------- bombs

/// The default budget and 64 MiB.
const PEAK_MAX: u64 = (512 + 64) << 20;

#[track_caller]
fn bounded(site: &Site, codes: &[i32]) {
    let (output, peak) = run_measured(site, &["run", "--once"]);
    let code = output.status.code().unwrap_or(-1);
    assert!(codes.contains(&code), "{code}: {}", stderr(&output));
    assert!(
        peak < PEAK_MAX,
        "{} MiB at the peak: {}",
        peak >> 20,
        stderr(&output)
    );
}

fn zstd_of_zeros(bytes: usize, window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.long_distance_matching(window_log > 27).unwrap();
    let block = vec![0_u8; 1 << 20];
    for _ in 0..bytes >> 20 {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn compression_bombs_are_bounded_in_memory() {
    let site = Site::local(PLAIN);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let block = vec![b'['; 1 << 20];
    for _ in 0..640 {
        gzip.write_all(&block).unwrap();
    }
    site.drop_file("bomb.gz", &gzip.finish().unwrap());
    site.drop_file("bomb.zst", &zstd_of_zeros(640 << 20, 21));
    site.drop_file("window.zst", &zstd_of_zeros(8 << 20, 31));
    let end = site.drop_ids("good.ndjson", 0, 10);
    bounded(&site, &[0, 3]);
    site.expect_landed(&site.lake(), 0..end);
    // Two records that are far too long, and a window that is too large.
    let files = site.expect_json(0, &["files", "window.zst", "--json"]);
    assert_eq!(files[0]["state"], "quarantined", "{files}");
}

#[test]
fn decoded_bytes_max_sets_a_bomb_aside() {
    let site = Site::local(&format!("decoded_bytes_max = \"8MiB\"\n{PLAIN}"));
    site.drop_file("bomb.zst", &zstd_of_zeros(64 << 20, 21));
    let end = site.drop_ids("good.ndjson", 0, 10);
    bounded(&site, &[3]);
    site.expect_landed(&site.lake(), 0..end);
    let files = site.expect_json(0, &["files", "bomb.zst", "--json"]);
    assert!(
        files[0]["reason"]
            .as_str()
            .unwrap()
            .contains("decoded_bytes_max"),
        "{files}"
    );
}

#[test]
fn nesting_and_column_bombs_are_rejects() {
    for format in ["ndjson", "json"] {
        let site = Site::local(&format!("format = \"{format}\"\n{PLAIN}"));
        let deep = 2_000_000;
        let mut text = b"{\"id\":0}\n".to_vec();
        text.extend(b"{\"id\":9,\"a\":");
        text.extend(b"[".repeat(deep));
        text.extend(b"]".repeat(deep));
        text.extend(b"}\n");
        text.extend(b"{\"a\":".repeat(100_000));
        text.extend(b"1");
        text.extend(b"}".repeat(100_000));
        text.extend(b"\n");
        text.extend(format!("{{\"id\":7,\"n\":{}}}\n", "9".repeat(1_000_000)).bytes());
        site.drop_file("deep", &text);
        bounded(&site, &[0]);
        let ids = site.lake().ids();
        assert!(ids.contains(&0) && !ids.contains(&9), "{format}: {ids:?}");
        assert!(site.lake().rejects().len() >= 2, "{format}");
    }
    let site = Site::local(PLAIN);
    let keys: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":{n}")).collect();
    site.drop_file(
        "wide",
        format!("{{\"id\":0,{}}}\n", keys.join(",")).as_bytes(),
    );
    bounded(&site, &[0]);
    assert_eq!(site.lake().ids(), [0]);
}

// ---------------------------------------------------------------- forged manifests

#[test]
fn forged_manifests_are_refused_and_nothing_is_changed() {
    let site = Site::local(PLAIN);
    site.drop_ids("a.ndjson", 0, 10);
    site.expect(0, &["run", "--once"]);
    let manifest = site
        .lake()
        .list()
        .into_keys()
        .find(|path| path.starts_with("_lakeward/manifests/"))
        .unwrap();
    let path = site.path("lake").join(&manifest);
    let honest = fs::read_to_string(&path).unwrap();
    let value: serde_json::Value = serde_json::from_str(&honest).unwrap();
    let landed = value["body"]["batch"]["data_files"][0]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    let staged = value["body"]["batch"]["data_files"][0]["staged"]
        .as_str()
        .unwrap()
        .to_owned();
    let journal = value["journal"].as_str().unwrap().to_owned();
    fs::remove_dir_all(site.path("var")).unwrap();
    let forgeries = [
        honest.replace(&landed, "../../evil.parquet"),
        honest.replace(&landed, "/etc/evil.parquet"),
        honest.replace(&landed, "p/../../evil.parquet"),
        honest.replace(&landed, "_lakeward/manifests/p/evil.parquet"),
        honest.replace(&staged, "../evil"),
        honest.replace(&staged, "/tmp/evil"),
        honest.replace("\"a.ndjson\"", "\"../a.ndjson\""),
        honest.replace("\"a.ndjson\"", "\"/etc/passwd\""),
        honest.replacen(&journal, "00000000deadbeef", 1),
        honest.replacen("\"pipeline\":\"p\"", "\"pipeline\":\"q\"", 1),
        honest.replacen("\"batch\":1", "\"batch\":2", 1),
        honest.replacen("\"format\":1", "\"format\":2", 1),
        honest.replacen("\"file\":0", "\"file\":7", 1),
        honest[..honest.len() / 2].to_owned(),
    ];
    for forged in forgeries {
        assert_ne!(forged, honest);
        fs::write(&path, &forged).unwrap();
        let before = site.lake().list();
        let refused = site.lakeward(&["rebuild", "--yes"]);
        assert_eq!(
            refused.status.code(),
            Some(4),
            "{forged}\n{}",
            stderr(&refused)
        );
        assert!(
            stderr(&refused).contains("manifest"),
            "{}",
            stderr(&refused)
        );
        assert_eq!(site.lake().list(), before, "{forged}");
        assert!(!site.path("var/journal.db").exists(), "{forged}");
        assert!(!site.path("evil").exists() && !site.path("evil.parquet").exists());
    }
    fs::write(&path, &honest).unwrap();
    site.expect(0, &["rebuild", "--yes"]);
    let end = site.drop_ids("b.ndjson", 10, 10);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
}

// ---------------------------------------------------------------- directories within directories

#[test]
fn directories_may_not_contain_one_another() {
    for (lake, agent, source) in [
        ("type = \"fs\"\nroot = \"spool/lake\"\n", "", ""),
        ("type = \"fs\"\nroot = \".\"\n", "", ""),
        ("type = \"fs\"\nroot = \"var/lake\"\n", "", ""),
        (
            "type = \"fs\"\nroot = \"lake\"\n",
            "",
            "retire = \"move\"\nretire_dir = \"spool/done\"\n",
        ),
        (
            "type = \"fs\"\nroot = \"lake\"\n",
            "",
            "retire = \"move\"\nretire_dir = \"lake/done\"\n",
        ),
        (
            "type = \"fs\"\nroot = \"lake\"\n",
            "",
            "quarantine_dir = \"lake/bad\"\n",
        ),
        ("type = \"fs\"\nroot = \"link/lake\"\n", "", ""),
    ] {
        let site = Site::with_lake(lake, agent, &format!("{source}{PLAIN}"));
        symlink("spool", site.path("link")).unwrap();
        let refused = site.expect(2, &["run", "--once"]);
        let text = stderr(&refused);
        assert!(
            text.contains("lakeward.toml:") && (text.contains("inside") || text.contains("hidden")),
            "{text}"
        );
        assert!(!site.path("var").exists(), "{lake}");
    }
    let site = Site::local(PLAIN);
    let mut text = fs::read_to_string(site.path("lakeward.toml")).unwrap();
    text.push_str("[[pipeline]]\nname = \"q\"\n[pipeline.source]\npath = \"./spool\"\n[pipeline.sink]\npath = \"q\"\n");
    fs::write(site.path("lakeward.toml"), text).unwrap();
    let refused = site.expect(2, &["run", "--once"]);
    assert!(
        stderr(&refused).contains("two pipelines may not share a spool"),
        "{}",
        stderr(&refused)
    );
}
