//! The texts of wrong configurations, by snapshot, and the default configuration against the code.

use std::ffi::OsString;
use std::path::Path;

use super::document::{self, Value};
use super::error::Problems;
use super::{Config, ConfigErrors, DEFAULT_TOML, LakeSettings, load_with};

/// A configuration that is right, with `lines` put into `section` ("" for the top).
fn with(section: &str, lines: &str) -> String {
    let parts = [
        ("agent", ""),
        ("lake", ""),
        ("pipeline", "name = \"orders\"\n"),
        ("pipeline.lake", ""),
        ("pipeline.source", "path = \"spool/orders\"\n"),
        ("pipeline.source.csv", ""),
        ("pipeline.channel", ""),
        ("pipeline.schema", ""),
        (
            "pipeline.sink",
            "path = \"orders/dt={created_at:%Y-%m-%d}\"\n",
        ),
        ("pipeline.sink.roll", ""),
        ("pipeline.hive", ""),
    ];
    let mut text = String::new();
    if section.is_empty() {
        text.push_str(lines);
    }
    for (name, own) in parts {
        let given = if name == section { lines } else { "" };
        if own.is_empty() && given.is_empty() {
            continue;
        }
        let header = if name == "pipeline" {
            "[[pipeline]]".to_owned()
        } else {
            format!("[{name}]")
        };
        let first = given.split(['=', ' ']).next().unwrap_or_default();
        let own = if own.starts_with(first) && !first.is_empty() {
            ""
        } else {
            own
        };
        text.push_str(&format!("{header}\n{own}{given}\n"));
    }
    text
}

fn variable(name: &str) -> Option<OsString> {
    match name {
        "ORDER" => Some("upwards".into()),
        "MINIO_ACCESS_KEY" | "MINIO_SECRET_KEY" => Some("minioadmin".into()),
        _ => None,
    }
}

fn load_in(directory: &Path, text: &str) -> Result<Config, ConfigErrors> {
    let path = directory.join("lakeward.toml");
    std::fs::write(&path, text).unwrap();
    load_with(&path, &variable)
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key"), "hunter2-from-the-file\n").unwrap();
    directory
}

/// What a wrong configuration is told, with the directory's name taken out.
fn complaint(text: &str) -> String {
    let directory = directory();
    let errors = match load_in(directory.path(), text) {
        Ok(_) => return "nothing is wrong".to_owned(),
        Err(errors) => errors.to_string(),
    };
    let real = std::fs::canonicalize(directory.path()).unwrap();
    errors
        .replace(&*real.to_string_lossy(), "[dir]")
        .replace(&*directory.path().to_string_lossy(), "[dir]")
}

/// Compares with `snapshots/NAME.snap`; `INSTA_UPDATE=always` writes it.
fn compare(name: &str, text: String) {
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, text);
    });
}

/// The complaints of several configurations, each below what was changed.
fn complaints(cases: &[(&str, &str)]) -> String {
    cases
        .iter()
        .map(|(section, lines)| {
            let text = complaint(&with(section, lines));
            assert_ne!(text, "nothing is wrong", "[{section}] {lines}");
            format!("[{section}] {}\n{text}\n", lines.replace('\n', " ⏎ "))
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn wrong_keys_and_shapes_are_told() {
    compare(
        "keys_and_shapes",
        complaints(&[
            ("", "stat_dir = \"x\"\n"),
            ("agent", "state_dri = \"x\"\n"),
            ("agent", "poll = \"1s\"\n"),
            ("pipeline.source", "read-after = \"1s\"\n"),
            ("pipeline.source", "\"ready after\\n\" = \"1s\"\n"),
            ("pipeline", "sorce = 1\nlake = 5\n"),
            ("agent", "lanes = \"many\"\n"),
            ("agent", "lanes = -1\n"),
            ("agent", "lanes = 99999999999999999999\n"),
            ("agent", "state_dir = 5\n"),
            ("agent", "state_dir = \"\"\n"),
            ("agent", "http_public = \"yes\"\n"),
            ("pipeline.source", "include = \"*\"\n"),
            (
                "pipeline.source",
                "skip_suffixes = [\n  \".tmp\",\n  5,\n]\n",
            ),
            ("pipeline.source", "recursive = 2026-01-01\n"),
        ]),
    );
}

#[test]
fn a_file_that_is_not_whole_is_told() {
    let mut text = String::new();
    for wrong in [
        "",
        "[lake]\nroot = \"lake\n[agent]\n",
        "a = 1\na = 2\n",
        "[[pipeline]]\nname = \"a\"\n",
        "pipeline = 3\n",
        "[pipeline]\nname = \"a\"\n",
        "[[pipeline]]\nname = \"\"\nsource.path = \"\"\nsink.path = \"\"\n",
    ] {
        text.push_str(&format!("{wrong:?}\n{}\n\n", complaint(wrong)));
    }
    compare("not_whole", text);
}

#[test]
fn what_is_nested_too_deeply_is_told_with_its_line() {
    let dots = format!("a = 1\n[x{}]\n", ".y".repeat(200));
    let told = complaint(&dots);
    let place = "lakeward.toml:2: not TOML: keys, arrays or tables are nested too deeply here";
    assert!(told.contains(place), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let directory = directory();
    let missing = load_with(&directory.path().join("none.toml"), &variable).unwrap_err();
    assert!(missing.to_string().ends_with(
        "none.toml: there is no such file; name one with `--config FILE`, or write one with `lakeward init`"
    ));
    let path = directory.path().join("bytes.toml");
    std::fs::write(&path, b"# \xff").unwrap();
    let bytes = load_with(&path, &variable).unwrap_err();
    assert!(
        bytes
            .to_string()
            .ends_with("not UTF-8: the first bad byte is number 3")
    );
}

#[test]
fn wrong_sizes_durations_and_words_are_told() {
    compare(
        "sizes_durations_words",
        complaints(&[
            ("agent", "memory = \"512M\"\n"),
            ("agent", "memory = -1\n"),
            ("agent", "memory = \"9999999TiB\"\n"),
            ("agent", "memory = true\n"),
            ("agent", "stop_after = \"30\"\n"),
            ("agent", "stop_after = 30\n"),
            ("agent", "stop_after = \"400000d\"\n"),
            ("pipeline.source", "poll = \"0s\"\n"),
            ("pipeline.source", "ready_after = \"forever\"\n"),
            ("pipeline.source", "order = \"oldset\"\n"),
            ("pipeline.source", "order = \"${ORDER}\"\n"),
            ("pipeline.source", "format = \"avro\"\n"),
            ("pipeline.source", "type = \"kafka\"\n"),
            ("pipeline.source", "depth_max = 100000\n"),
        ]),
    );
}

#[test]
fn what_cannot_be_replaced_is_told() {
    compare(
        "replacements",
        complaints(&[
            ("pipeline.source", "order = \"${NOWHERE}\"\n"),
            ("pipeline.source", "order = \"${file:none}\"\n"),
            ("pipeline.source", "order = \"${\"\n"),
            ("pipeline.source", "include = [\"${a b}\"]\n"),
            ("pipeline.source", "path = \"${NOWHERE}\"\n"),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\naccess_key_id = \"x\"\nsecret_access_key = \"${file:none}\"\n",
            ),
            ("pipeline.source", "order = \"${file:key}\"\n"),
        ]),
    );
}

#[test]
fn a_wrong_agent_is_told() {
    compare(
        "agent",
        complaints(&[
            ("agent", "http = \"9640\"\n"),
            ("agent", "http = \"0.0.0.0:9640\"\n"),
            ("agent", "http = \"http://me:pw@host:1\"\n"),
        ]),
    );
}

#[test]
fn a_wrong_lake_is_told() {
    compare(
        "lake",
        complaints(&[
            ("lake", "type = \"S3\"\n"),
            ("lake", "type = \"hdfs\"\nname_node = \"hdfs://h:8020\"\n"),
            (
                "lake",
                "type = \"hdfs\"\nname_node = \"http://h:9870\"\nroot = \"/a\"\n",
            ),
            (
                "lake",
                "type = \"hdfs\"\nname_node = \"h\"\nname_nodes = [\"a:8020\", \"b:x\"]\nroot = \"a\"\n",
            ),
            (
                "lake",
                "type = \"hdfs\"\nroot = \"/a\"\nkeytab = \"nowhere.keytab\"\nhadoop_conf_dir = \"nowhere\"\n",
            ),
            (
                "lake",
                "type = \"hdfs\"\nroot = \"/a\"\nticket_cache = \"FILE:/c\"\nprincipal = \"nn/_HOST@R\"\n",
            ),
            (
                "lake",
                "type = \"hdfs\"\nroot = \"/a\"\nticket_cache = \"FILE:/c\"\n",
            ),
            (
                "lake",
                "type = \"hdfs\"\nroot = \"/a\"\nblock_size = 1000\nreplication = \"x\"\numask = \"0999\"\n",
            ),
            (
                "lake",
                "type = \"hdfs\"\nroot = \"/a\"\nhadoop.rpc.protection = \"privacy\"\nappend = true\nendpoint = \"x\"\n",
            ),
            (
                "lake",
                "type = \"hdfs\"\nroot = \"/a\"\nproperties = { hadoop.rpc.protection = \"privacy\", b = [1] }\n",
            ),
            ("lake", "type = \"webhdfs\"\n"),
            (
                "lake",
                "type = \"webhdfs\"\nroot = \"/a\"\nendpoint = \"h:9870\"\nprincipal = \"p\"\n",
            ),
            (
                "lake",
                "type = \"webhdfs\"\nroot = \"/a\"\nendpoints = [\"http://u:topsecret@h:1\"]\nuser = \"u\"\ndelegation_token = \"topsecret\"\n",
            ),
            ("lake", "type = \"fs\"\nname_node = \"hdfs://h:8020\"\n"),
            ("lake", "bucket = \"b\"\n"),
            ("lake", "atomic_write_dir = \"tmp\"\nappend = true\n"),
            ("lake", "type = \"s3\"\n"),
            (
                "lake",
                "type = \"s3\"\nbucket = \"a/b\"\nregion = \"eu-central-1\"\nroot = \"a/../b\"\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nendpoint = \"h:9000\"\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nendpoint = \"http://h:9000/b?x=1\"\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nendpoint = \"http://AKIA:topsecret@h:9000\"\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\nacess_key_id = \"topsecret\"\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\naccess_key_id = \"topsecret\"\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\nsecret_access_key = 12345\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\nenable_write_with_append = true\nallow_anonymous = true\nappend = true\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\ndefault_storage_class = \"GLACIER\"\n",
            ),
            (
                "lake",
                "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\nca_file = \"none.pem\"\nskip_signature = 1\n",
            ),
            ("pipeline.lake", "type = \"s3\"\nbuckets = \"b\"\n"),
        ]),
    );
}

#[test]
fn a_wrong_source_is_told() {
    compare(
        "source",
        complaints(&[
            ("pipeline.source", "retire = \"move\"\n"),
            ("pipeline.source", "retire_dir = \"done\"\n"),
            ("pipeline.source", "retire = \"keep\"\nresent = \"land\"\n"),
            ("pipeline.source", "retire_suffix = \"\"\n"),
            (
                "pipeline.source",
                "retire_suffix = \".done\"\nready_marker = \".done\"\n",
            ),
            ("pipeline.source", "skip_suffixes = [\"a/b\"]\n"),
            ("pipeline.source", "include = [\"[\"]\n"),
            ("pipeline.source", "include = []\n"),
            ("pipeline.source", "exclude = [\"/a\"]\n"),
            ("pipeline.source", "quarantine_dir = \"set-aside\"\n"),
            ("pipeline.source", "quarantine_dir = \".q/../../x\"\n"),
            ("pipeline.source", "charset = \"utf8mb4\"\n"),
            ("pipeline.source", "path_columns = \"(?<a>\"\n"),
            ("pipeline.source", "path_columns = \"([a-z]+)/.*\"\n"),
            ("pipeline.source", "path_columns = '(?<_file>.*)'\n"),
            ("pipeline.source.csv", "header = false\n"),
            (
                "pipeline.source",
                "format = \"csv\"\ncsv = { header = false }\n",
            ),
            (
                "pipeline.source",
                "format = \"csv\"\ncsv = { columns = [\"a\", \"a\"], delimiter = \"||\", quote = \"ä\", comment = \",\" }\n",
            ),
            ("pipeline.channel", "journal = \"both\"\n"),
        ]),
    );
}

#[test]
fn a_wrong_table_is_told() {
    let here = "metastore = \"thrift://h\"\n";
    let with_path = |path: &str| {
        let text = format!("path = \"{path}\"\n[pipeline.hive]\n{here}");
        complaint(&with("pipeline.sink", &text))
    };
    let mut text = complaints(&[
        ("pipeline.hive", "metastore = \"\"\n"),
        ("pipeline.hive", "metastore = []\n"),
        ("pipeline.hive", "metastore = 9083\n"),
        ("pipeline.hive", "table = \"orders\"\n"),
        (
            "pipeline.hive",
            "metastore = [\"thrift://a:9083\", \"http://b\", \"thrift://me:secret@c\", \"thrift://d:99999\"]\n",
        ),
        (
            "pipeline.hive",
            "metastore = \"thrift://h\"\ndatabase = \"a.b\"\ntable = \"my orders\"\n",
        ),
        (
            "pipeline.hive",
            "metastore = \"thrift://h\"\nlocation = \"/lake\"\n",
        ),
        (
            "pipeline.hive",
            "metastore = \"thrift://h\"\nprincipal = \"hive/_HOST@X\"\nkeytab = \"k\"\n",
        ),
        (
            "pipeline.hive",
            "metastore = \"thrift://h\"\nmetastor = \"thrift://h\"\n",
        ),
        ("pipeline.schema", "mode = \"hive\"\n"),
        (
            "pipeline.schema",
            "mode = \"hive\"\ncolumns = { id = \"int\" }\n[pipeline.hive]\nmetastore = \"thrift://h\"\ncreate = true\n",
        ),
        (
            "pipeline.schema",
            "names = \"as-is\"\n[pipeline.hive]\nmetastore = \"thrift://h\"\n",
        ),
        (
            "pipeline.sink",
            "format = \"ndjson\"\n[pipeline.schema]\nmode = \"none\"\n[pipeline.hive]\nmetastore = \"thrift://h\"\ncreate = true\n",
        ),
    ]);
    for path in [
        "o/{at:%Y}",
        "o/dt={at:%Y/%m}",
        "o/at={at:%Y}",
        "o/a={a}/A={b}",
        "o/a={a}/files",
    ] {
        text.push_str(&format!("{path}\n{}\n", with_path(path)));
    }
    compare("hive", text);
}

#[test]
fn a_table_is_where_its_pipeline_lands() {
    let location = |lake: &str, path: &str, hive: &str| {
        let text = format!(
            "[lake]\n{lake}\n[[pipeline]]\nname = \"web-logs\"\n[pipeline.source]\npath = \"spool\"\n[pipeline.sink]\npath = \"{path}\"\n[pipeline.hive]\nmetastore = \"thrift://h\"\n{hive}"
        );
        let directory = directory();
        let config = load_in(directory.path(), &text).unwrap();
        let hive = config.pipelines[0].hive.clone().unwrap();
        assert_eq!(hive.table, "web_logs");
        assert_eq!(hive.metastores[0].to_string(), "thrift://h:9083");
        hive.location
    };
    let s3 = "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\nroot = \"deep/lake\"";
    assert_eq!(
        location("root = \"/lake\"", "v=1/o/dt={d}", ""),
        "file:///lake/v=1/o"
    );
    assert_eq!(location("root = \"/lake\"", "dt={d}", ""), "file:///lake");
    assert_eq!(location(s3, "o/dt={d}", ""), "s3a://b/deep/lake/o");
    assert_eq!(
        location(s3, "o/dt={d}", "location = \"s3://other/o/\"\n"),
        "s3://other/o"
    );
}

#[test]
fn a_wrong_schema_is_told() {
    compare(
        "schema",
        complaints(&[
            ("pipeline.schema", "mode = \"columns\"\n"),
            ("pipeline.schema", "columns = { id = \"number\" }\n"),
            (
                "pipeline.schema",
                "columns = { id = 5, \"\" = \"int\", _rescued = \"string\" }\n",
            ),
            (
                "pipeline.schema",
                "mode = \"none\"\nnew_columns = \"add\"\n",
            ),
            ("pipeline.schema", "timezone = \"Mars/Olympus\"\n"),
            (
                "pipeline.schema",
                "metadata_columns = [\"_file\", \"_file\", \"_offest\"]\n",
            ),
            (
                "pipeline.schema",
                "columns_max = 1\ncolumns = { a = \"int\", b = \"int\" }\n",
            ),
            (
                "pipeline.schema",
                "mode = \"columns\"\ncolumns = { id = \"bigint\" }\n",
            ),
        ]),
    );
}

#[test]
fn a_wrong_sink_is_told() {
    compare(
        "sink",
        complaints(&[
            ("pipeline.sink", "path = \"/orders\"\n"),
            ("pipeline.sink", "path = \"../orders\"\n"),
            ("pipeline.sink", "path = \"a/_b\"\n"),
            ("pipeline.sink", "path = \"a//b\"\n"),
            ("pipeline.sink", "path = \"dt={at\"\n"),
            ("pipeline.sink", "path = \"dt={at:Y}\"\n"),
            ("pipeline.sink", "rejects = \"rejects\"\n"),
            ("pipeline.sink", "rejects = \"_lakeward/rejects\"\n"),
            ("pipeline.sink", "rejects_max = \"101%\"\n"),
            ("pipeline.sink", "rejects_max = true\n"),
            ("pipeline.sink", "marker = \"SUCCESS\"\n"),
            ("pipeline.sink", "marker = \"_done/now\"\n"),
            ("pipeline.sink", "marker = \"..\"\n"),
            ("pipeline.sink", "marker = \"_rejects\"\n"),
            ("pipeline.sink", "compression = \"zstd(40)\"\n"),
            (
                "pipeline.sink",
                "format = \"ndjson\"\ncompression = \"snappy\"\n",
            ),
            ("pipeline.sink", "timezone = \"CEST\"\n"),
            ("pipeline.sink.roll", "byte = 1\nage = \"15\"\n"),
        ]),
    );
}

#[test]
fn directories_that_contain_one_another_are_told() {
    let directory = directory();
    std::os::unix::fs::symlink(".", directory.path().join("link")).unwrap();
    let mut text = complaints(&[
        ("agent", "state_dir = \"spool/orders/state\"\n"),
        ("lake", "root = \".\"\n"),
        ("lake", "root = \"spool/orders\"\n"),
        (
            "pipeline.source",
            "retire = \"move\"\nretire_dir = \"lake/done\"\n",
        ),
        ("pipeline.source", "path = \"lake/../lake/in\"\n"),
    ]);
    let two = "[[pipeline]]\nname = \"a\"\nsource.path = \"s\"\nsink.path = \"a\"\n\
               [[pipeline]]\nname = \"a\"\nsource.path = \"./t/../s\"\nsink.path = \"b\"\n\
               [[pipeline]]\nname = \"C\"\nsource.path = \"s/below\"\nsink.path = \"b\"\n";
    text.push_str(&format!("\n{two}{}\n", complaint(two)));
    compare("directories", text);

    let linked = "[lake]\nroot = \"link/s/lake\"\n[[pipeline]]\nname = \"a\"\nsource.path = \"s\"\nsink.path = \"a\"\n";
    let error = load_in(directory.path(), linked).unwrap_err().to_string();
    assert!(error.contains("lies inside"), "{error}");
}

#[test]
fn hidden_directories_may_lie_inside() {
    let directory = directory();
    let text = "[agent]\nstate_dir = \"s/.state\"\n[lake]\nroot = \"s/.lake\"\n\
                [[pipeline]]\nname = \"a\"\nsink.path = \"a\"\n\
                [pipeline.source]\npath = \"s\"\nretire = \"move\"\nretire_dir = \"s/.done\"\nquarantine_dir = \".aside/q\"\n";
    let config = load_in(directory.path(), text).unwrap();
    let spool = &config.pipelines[0].source.spool;
    assert!(spool.quarantine_dir.ends_with("s/.aside/q"));
    assert!(spool.retire_dir.as_ref().unwrap().is_absolute());
}

#[test]
fn no_secret_is_in_any_message_or_debug_form() {
    let directory = directory();
    let lake = |more: &str| {
        with(
            "lake",
            &format!(
                "type = \"s3\"\nbucket = \"b\"\nregion = \"r\"\naccess_key_id = \"AKIAtopsecret\"\n\
                 secret_access_key = \"${{file:key}}\"\nsession_token = \"topsecret-token\"\n\
                 server_side_encryption_customer_key = \"topsecret-sse\"\n{more}"
            ),
        )
    };
    let config = load_in(directory.path(), &lake("")).unwrap();
    let LakeSettings::S3(settings) = &config.pipelines[0].lake else {
        panic!("an S3 lake");
    };
    assert_eq!(
        settings.secret_access_key.as_ref().unwrap().expose(),
        "hunter2-from-the-file"
    );
    let mut shown = format!("{config:?}");
    for wrong in [
        "endpoint = \"https://topsecret@h\"\n",
        "endpoint = \"https://h/topsecret/?topsecret\"\n",
        "profile = \"unterminated topsecret\n",
        "topsecret = {}\n\"topsecret\"",
    ] {
        let text = lake(wrong);
        if !wrong.starts_with("topsecret") {
            shown.push_str(&load_in(directory.path(), &text).unwrap_err().to_string());
        }
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!shown.contains("topsecret"), "{shown}");
}

#[test]
fn every_default_in_the_file_is_the_codes_own() {
    let directory = directory();
    let commented = load_in(directory.path(), DEFAULT_TOML).unwrap();
    let bare =
        "[[pipeline]]\nname = \"orders\"\nsource.path = \"spool/orders\"\nsink.path = \"orders\"\n";
    let bare = load_in(directory.path(), bare).unwrap();
    assert_eq!(format!("{commented:#?}"), format!("{bare:#?}"));
}

#[test]
fn every_key_of_the_code_is_in_the_default_file_and_no_other() {
    let problems = Problems::default();
    let nothing = |_: &str| None;
    let surroundings = super::interpolate::Surroundings {
        variable: &nothing,
        directory: "/".into(),
    };
    super::load::parse(DEFAULT_TOML, &surroundings, &problems);
    assert!(problems.is_empty());
    let mut written = std::collections::BTreeSet::new();
    keys(
        &document::parse(DEFAULT_TOML, &surroundings, &problems),
        "",
        &mut written,
    );
    let known = problems.known.borrow().clone();
    // `[pipeline.lake]` takes what `[lake]` takes; `[pipeline.hive]` is no default, so it is there as a comment.
    let known: std::collections::BTreeSet<_> = known
        .into_iter()
        .filter(|key| key != "pipeline.lake" && key != "pipeline.hive")
        .collect();
    assert_eq!(known, written);
}

fn keys(table: &document::Table, path: &str, into: &mut std::collections::BTreeSet<String>) {
    for entry in &table.0 {
        let path = document::join(path, &entry.key);
        match &entry.node.value {
            Value::Table(inner) => keys(inner, &path, into),
            Value::Array(items) => {
                for item in items {
                    if let Value::Table(inner) = &item.value {
                        keys(inner, &path, into);
                    }
                }
            }
            _ => {}
        }
        into.insert(path);
    }
}

#[test]
fn every_hive_key_and_its_default_is_said_in_the_default_file() {
    let (_, section) = DEFAULT_TOML.split_once("# [pipeline.hive]\n").unwrap();
    let lines = section.lines().take_while(|line| line.starts_with("# "));
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("# ")).collect();
    let problems = Problems::default();
    let nothing = |_: &str| None;
    let surroundings = super::interpolate::Surroundings {
        variable: &nothing,
        directory: "/".into(),
    };
    let bare = "[[pipeline]]\nname = \"orders\"\nsource.path = \"s\"\nsink.path = \"orders\"\n[pipeline.hive]\n";
    let all = format!("{bare}{}\n", lines.join("\n"));
    let read = super::load::parse(&all, &surroundings, &problems);
    let known = problems.known.borrow().clone();
    let keys = known.iter().filter(|key| key.starts_with("pipeline.hive."));
    assert_eq!(keys.count(), lines.len(), "{lines:?}");
    let little = format!("{bare}metastore = \"thrift://127.0.0.1\"\n");
    let default = super::load::parse(&little, &surroundings, &problems);
    assert!(problems.is_empty());
    let shown = |config: Option<Config>| format!("{:#?}", config.unwrap().pipelines[0].hive);
    assert_eq!(shown(read), shown(default));
}

#[test]
fn every_key_of_a_lake_is_said_in_the_default_file() {
    for (kind, count) in [("s3", 25), ("hdfs", 13), ("webhdfs", 9)] {
        every_key_is_said(kind, count);
    }
}

fn every_key_is_said(kind: &str, count: usize) {
    let problems = Problems::default();
    let nothing = |_: &str| None;
    let surroundings = super::interpolate::Surroundings {
        variable: &nothing,
        directory: "/".into(),
    };
    let text = format!("[lake]\ntype = \"{kind}\"\n");
    super::load::parse(&text, &surroundings, &problems);
    let known = problems.known.borrow();
    let lake: Vec<_> = known
        .iter()
        .filter_map(|key| key.strip_prefix("lake."))
        .collect();
    assert!(lake.len() > count, "{lake:?}");
    for key in lake {
        assert!(
            DEFAULT_TOML.contains(&format!("# {key} ="))
                || DEFAULT_TOML.contains(&format!("\n{key} =")),
            "{key}"
        );
    }
    for (key, _) in super::lake::s3::S3_REFUSED {
        assert!(DEFAULT_TOML.contains(key), "{key}");
    }
}

#[test]
fn the_examples_load() {
    let directory = directory();
    for (name, text) in [
        ("local", include_str!("../../config/examples/local.toml")),
        ("minio", include_str!("../../config/examples/minio.toml")),
        ("csv", include_str!("../../config/examples/csv.toml")),
        ("servers' minio", include_str!("../../config/minio.toml")),
        (
            "servers' hdfs-hive",
            include_str!("../../config/hdfs-hive.toml"),
        ),
    ] {
        if let Err(errors) = load_in(directory.path(), text) {
            panic!("{name}: {errors}");
        }
    }
}

#[test]
fn what_is_written_comes_out_as_it_should() {
    use crate::sink::{Codec, Compat, OutputFormat, RejectsMax};
    use crate::source::Again;
    let directory = directory();
    let text = r#"
[agent]
lanes = "${LANES:-3}"
staging_bytes_max = 0
stop_after = 0
http = "localhost:0"
[lake]
type = "s3"
bucket = "b"
root = "/warehouse/raw/"
region = "cn-north-1"
conditional_writes = false
enable_virtual_host_style = true
[[pipeline]]
name = "a"
source = { path = "s", retire = "keep", format = "tsv", decoded_bytes_max = 0, history = "0s" }
schema.columns = { z = "bigint", a = "string" }
sink = { path = "p", compression = "zstd(6)", compat = "modern", rejects_max = "2.5%", marker = "_SUCCESS", roll = { age = "forever", idle = "5s" } }
[[pipeline]]
name = "b"
lake = { root = "own" }
source.path = "t"
channel = { journal = "payload", payload_bytes_max = "1GiB" }
sink = { path = "p", format = "ndjson", rejects_max = 7 }
"#;
    let config = load_in(directory.path(), text).unwrap();
    assert_eq!(config.agent.lanes, 3);
    assert_eq!(config.agent.staging_bytes_max, 0);
    assert_eq!(config.agent.stop_after, super::quantity::LONGEST);
    let [a, b] = config.pipelines.as_slice() else {
        panic!("two pipelines");
    };
    let LakeSettings::S3(lake) = &a.lake else {
        panic!("an S3 lake");
    };
    assert_eq!(lake.root, "warehouse/raw");
    assert_eq!(lake.endpoint, "https://s3.cn-north-1.amazonaws.com.cn");
    assert!(!lake.conditional_writes);
    assert_eq!(lake.options.len(), 1);
    assert_eq!(lake.options[0].1.expose(), "true");
    assert_eq!(a.source.resent, Again::Quarantine);
    assert_eq!(a.source.history, None);
    assert_eq!(a.source.reading.csv.delimiter, b'\t');
    assert_eq!(
        a.source.reading.decoded_bytes_max,
        super::quantity::NO_LIMIT
    );
    let names: Vec<_> = a
        .schema
        .columns
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["z", "a"]);
    assert_eq!(
        a.sink.format,
        OutputFormat::Parquet {
            compat: Compat::Modern,
            codec: Codec::Zstd(6)
        }
    );
    assert_eq!(a.sink.rejects_max, RejectsMax::Share(0.025));
    assert_eq!(a.sink.rejects, "_rejects/a");
    assert_eq!(a.sink.marker, "_SUCCESS");
    assert_eq!(b.sink.marker, "");
    assert_eq!(
        (a.roll.age, a.roll.idle),
        (None, Some(std::time::Duration::from_secs(5)))
    );
    let LakeSettings::Fs { root } = &b.lake else {
        panic!("a local lake");
    };
    assert_eq!(root, &directory.path().join("own"));
    assert!(b.source.payload);
    assert_eq!(b.source.payload_bytes_max, 1 << 30);
    assert_eq!(b.sink.format, OutputFormat::Ndjson { codec: Codec::Gzip });
    assert_eq!(b.sink.rejects_max, RejectsMax::Count(7));
}

#[test]
fn a_lake_on_hdfs_comes_out_as_it_should() {
    let directory = directory();
    let text = r#"
[lake]
type = "hdfs"
name_nodes = ["a:8020", "b:8020"]
root = "/warehouse/raw/"
principal = "ingest@R"
block_size = "64MiB"
replication = "2"
umask = "027"
[lake.properties]
"hadoop.rpc.protection" = "privacy"
"dfs.client.use.datanode.hostname" = true
[[pipeline]]
name = "a"
source.path = "s"
sink.path = "p"
[[pipeline]]
name = "b"
source.path = "t"
sink.path = "p"
lake = { type = "webhdfs", endpoint = "http://h:9870/", root = "/", delegation_token = "topsecret" }
"#;
    let config = load_in(directory.path(), text).unwrap();
    let LakeSettings::Hdfs(lake) = &config.pipelines[0].lake else {
        panic!("an HDFS lake");
    };
    assert_eq!(lake.name_nodes, ["a:8020", "b:8020"]);
    assert_eq!(lake.root, "/warehouse/raw");
    assert_eq!(lake.block_size, Some(64 << 20));
    assert_eq!((lake.replication, lake.umask), (Some(2), Some(0o027)));
    assert_eq!(lake.properties.len(), 2);
    assert_eq!(lake.properties[1].1, "true");
    assert_eq!(lake.location(), "hdfs:///warehouse/raw");
    let LakeSettings::WebHdfs(lake) = &config.pipelines[1].lake else {
        panic!("a WebHDFS lake");
    };
    assert_eq!(lake.endpoints, ["http://h:9870"]);
    assert_eq!(lake.root, "/");
    assert!(lake.delegation_token.is_some());
}

proptest::proptest! {
    /// Whatever is cut out of a configuration and put into it: it loads, or it is told why not.
    #[test]
    fn a_mangled_file_is_told_and_never_a_panic(
        from in 0..DEFAULT_TOML.len(),
        length in 0..40_usize,
        put in "[ -~äß\\n]{0,12}|\\[\\[?[a-z.]{1,9}\\]?|\\$\\{[a-zA-Z:{}.-]{0,8}\\}?|= ?[-0-9e.]{1,25}",
    ) {
        let mut bytes = DEFAULT_TOML.as_bytes().to_vec();
        bytes.splice(from..(from + length).min(DEFAULT_TOML.len()), put.bytes());
        let text = String::from_utf8_lossy(&bytes);
        let problems = Problems::default();
        let nothing = |_: &str| None;
        let surroundings = super::interpolate::Surroundings {
            variable: &nothing,
            directory: "/nowhere".into(),
        };
        let config = super::load::parse(&text, &surroundings, &problems);
        proptest::prop_assert!(config.is_some() || !problems.is_empty());
    }
}
