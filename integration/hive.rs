//! The Hive metastore: the catalog's suite, and the real program with a real metastore, killed, cut off and beside another program.

mod moves;
mod whole;

use std::collections::BTreeSet;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lakeward::catalog::conformance::{Patient, Suite};
use lakeward::catalog::{Catalog, Column, HiveCatalog, Table};
use lakeward::config::{HiveSettings, MetastoreAddress};

use crate::support::{LakeAt, Site, ids_text};

/// `None` if it was left out by hand.
fn metastore() -> Option<MetastoreAddress> {
    named("HIVE")
}

fn named(name: &str) -> Option<MetastoreAddress> {
    let left_out = std::env::var("LAKEWARD_TEST_WITHOUT").unwrap_or_default();
    if left_out
        .split(',')
        .any(|out| out.trim().eq_ignore_ascii_case(name))
    {
        return None;
    }
    let address = std::env::var(format!("LAKEWARD_TEST_{name}")).unwrap_or_else(|_| {
        panic!("LAKEWARD_TEST_{name} is not set: run this test by integration/test.sh")
    });
    let (host, port) = address
        .strip_prefix("thrift://")
        .and_then(|rest| rest.split_once(':'))
        .expect("thrift://host:port");
    Some(MetastoreAddress {
        host: host.to_owned(),
        port: port.parse().expect("a port"),
    })
}

/// A table name that no other test and no earlier run has.
fn fresh(name: &str) -> String {
    let id = lakeward::pipeline::random_id().expect("random bits");
    format!("t_{id}_{name}").to_lowercase()
}

fn settings(metastore: &MetastoreAddress, database: &str, table: &str) -> HiveSettings {
    HiveSettings {
        metastores: vec![metastore.clone()],
        database: database.into(),
        table: table.into(),
        create: true,
        register: true,
        widen: true,
        location: String::new(),
        user: "lakeward-test".into(),
        timeout: Duration::from_mins(1),
    }
}

#[test]
fn the_suite_of_the_port_passes() {
    suite(metastore());
}

#[test]
fn the_suite_of_the_port_passes_on_hive_4() {
    suite(named("HIVE_NEW"));
}

fn suite(metastore: Option<MetastoreAddress>) {
    let Some(metastore) = metastore else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let prefix = fresh("");
    Suite {
        open: &|table| {
            let settings = settings(&metastore, "default", &format!("{prefix}{table}"));
            Box::new(Patient(HiveCatalog::new(&settings)))
        },
        lost: &|| {
            let settings = settings(&metastore, "no_such_database", "t");
            Box::new(Patient(HiveCatalog::new(&settings)))
        },
        location: format!("file://{}", dir.path().display()),
    }
    .all();
}

/// A site whose pipeline registers in a table of its own.
struct Hive {
    site: Site,
    catalog: Patient<HiveCatalog>,
    table: String,
}

const COLUMNS: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n";

fn more(schema: &str, metastore: &str, table: &str, keys: &str) -> String {
    format!(
        "{schema}[pipeline.sink]\npath = \"p/day={{day}}\"\n[pipeline.sink.roll]\nrecords = 500\n[pipeline.hive]\nmetastore = \"{metastore}\"\ntable = \"{table}\"\n{keys}"
    )
}

impl Hive {
    fn new(name: &str) -> Option<Self> {
        let metastore = metastore()?;
        let through = metastore.to_string();
        Some(Self::through(
            &metastore,
            &through,
            name,
            COLUMNS,
            "create = true\n",
        ))
    }

    /// `through`: the address that the program is given.
    fn through(
        metastore: &MetastoreAddress,
        through: &str,
        name: &str,
        schema: &str,
        keys: &str,
    ) -> Self {
        let table = fresh(name);
        Self {
            site: Site::local(&more(schema, through, &table, keys)),
            catalog: Patient(HiveCatalog::new(&settings(metastore, "default", &table))),
            table,
        }
    }

    fn stands(&self) -> Table {
        self.catalog
            .table()
            .expect("the metastore answers")
            .expect("there is a table")
    }

    fn has(&self, day: &str) -> bool {
        match self.catalog.partition(&[day.to_owned()]) {
            Ok(Some(location)) => {
                let own = self.site.path(&format!("lake/p/day={day}"));
                assert!(
                    location
                        .trim_start_matches("file:")
                        .trim_start_matches("//")
                        == own.to_str().expect("UTF-8"),
                    "{location}"
                );
                true
            }
            Ok(None) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Every directory with a visible file is a partition of the table.
    #[track_caller]
    fn expect_registered(&self) {
        let days = days(&self.site.lake());
        assert!(!days.is_empty());
        for day in &days {
            assert!(
                self.has(day),
                "`{day}` is not registered\n{}",
                self.site.log()
            );
        }
        let status = self.site.expect_json(0, &["status", "--json"]);
        assert_eq!(status["pipelines"][0]["partitions_waiting"], 0, "{status}");
    }

    fn waiting(&self) -> u64 {
        let status = self.site.expect_json(0, &["status", "--json"]);
        status["pipelines"][0]["partitions_waiting"]
            .as_u64()
            .expect("a count")
    }
}

fn days(lake: &LakeAt) -> BTreeSet<String> {
    lake.visible()
        .iter()
        .filter_map(|path| path.strip_prefix("p/day="))
        .filter_map(|rest| rest.split_once('/'))
        .map(|(day, _)| day.to_owned())
        .collect()
}

#[test]
fn what_landed_is_registered() {
    let Some(hive) = Hive::new("plain") else {
        return;
    };
    let next = hive.site.drop_ids("a.ndjson", 0, 1200);
    hive.site.expect_drained();
    hive.site.expect_landed(&hive.site.lake(), 0..next);
    hive.expect_registered();
    let table = hive.stands();
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|c| format!("{} {}", c.name, c.data_type))
        .collect();
    assert_eq!(columns, ["id bigint", "note string", "_rescued string"]);
    assert_eq!(table.keys, [Column::new("day", "string")]);
}

/// The steps from the table to the end of the queue, and those of the commit around it.
const PLACES: [&str; 9] = [
    "before_commit",
    "before_retire",
    "before_done",
    "before_table",
    "after_table",
    "after_columns",
    "before_register",
    "after_register",
    "after_registered",
];

#[test]
fn killed_at_each_step_no_partition_is_lost() {
    let Some(metastore) = metastore() else { return };
    let mut kills = Vec::new();
    for place in PLACES {
        let hive = Hive::through(
            &metastore,
            &metastore.to_string(),
            "kill",
            COLUMNS,
            "create = true\n",
        );
        if place == "after_columns" {
            // A table that lacks a column is there already.
            hive.catalog
                .create(&narrow(&hive))
                .expect("a table is made");
        }
        let mut next = 0;
        let mut count = 0;
        for times in 1..=2 {
            for _ in 0..3 {
                next = hive.site.drop_ids(&format!("f{next}.ndjson"), next, 300);
            }
            count += u32::from(hive.site.killed_at(place, times));
        }
        assert!(count > 0, "{place} was never met\n{}", hive.site.log());
        kills.push(format!("{place} {count}"));
        hive.site.expect_drained();
        hive.site.expect_landed(&hive.site.lake(), 0..next);
        hive.expect_registered();
        assert_eq!(hive.stands().columns.len(), 3);
        // Again is the same.
        hive.site.expect_drained();
        hive.expect_registered();
    }
    println!("kills: {}", kills.join(", "));
}

fn narrow(hive: &Hive) -> lakeward::catalog::TableSpec {
    lakeward::catalog::TableSpec {
        columns: Some(vec![Column::new("id", "bigint")]),
        keys: vec![lakeward::catalog::PartitionKey {
            column: Column::new("day", "string"),
            made: false,
        }],
        location: format!("file://{}/p", hive.site.path("lake").display()),
        format: lakeward::catalog::TableFormat::Parquet,
    }
}

/// Passes connections on to the metastore while it is open, and cuts them when it is shut.
struct Gate {
    port: u16,
    open: Arc<AtomicBool>,
    through: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gate {
    fn new(metastore: &MetastoreAddress, open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let gate = Self {
            port: listener.local_addr().expect("an address").port(),
            open: Arc::new(AtomicBool::new(open)),
            through: Arc::default(),
        };
        let (open, through) = (Arc::clone(&gate.open), Arc::clone(&gate.through));
        let behind = (metastore.host.clone(), metastore.port);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect((behind.0.as_str(), behind.1)) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (
                        from.try_clone().expect("a clone"),
                        to.try_clone().expect("a clone"),
                    );
                    std::thread::spawn(move || {
                        let _end = std::io::copy(&mut from, &mut to);
                        let _end = to.shutdown(Shutdown::Both);
                    });
                }
                through.lock().expect("no panic").extend([client, server]);
            }
        });
        gate
    }

    fn address(&self) -> String {
        format!("thrift://127.0.0.1:{}", self.port)
    }

    fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
        if !open {
            for stream in self.through.lock().expect("no panic").drain(..) {
                let _gone = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

#[test]
fn while_the_metastore_is_away_all_goes_on_and_afterwards_all_is_registered() {
    let Some(metastore) = metastore() else { return };
    let gate = Gate::new(&metastore, false);
    let hive = Hive::through(
        &metastore,
        &gate.address(),
        "away",
        COLUMNS,
        "create = true\n",
    );
    let mut agent = hive.site.spawn(&["run"], &[]);
    let mut next = 0;
    for n in 0..4 {
        next = hive.site.drop_ids(&format!("f{n}.ndjson"), next, 600);
    }
    let site = &hive.site;
    let retired = || {
        std::fs::read_dir(site.path("spool"))
            .expect("the spool")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".COMPLETED"))
            .count()
    };
    wait(site, "all files are landed and retired", || retired() == 4);
    assert!(hive.waiting() > 0, "{}", site.log());
    wait(site, "what it waits for is said", || {
        let status = site.expect_json(0, &["status", "--json"]);
        let said = status["pipelines"][0]["catalog"].as_str().expect("text");
        said.contains("add partitions to") || said.contains("look at table")
    });
    gate.set_open(true);
    wait(site, "all is registered", || hive.waiting() == 0);
    // Away again, in the middle of a life.
    gate.set_open(false);
    next = site.drop_file_of(next);
    wait(site, "it is retired", || retired() == 5);
    assert!(hive.waiting() > 0, "{}", site.log());
    gate.set_open(true);
    wait(site, "all is registered again", || hive.waiting() == 0);
    rustix_kill(agent.id(), "TERM");
    assert_eq!(agent.wait().expect("it ends").code(), Some(0));
    site.expect_landed(&site.lake(), 0..next);
    hive.expect_registered();
}

impl Site {
    fn drop_file_of(&self, from: i64) -> i64 {
        self.drop_file("later.ndjson", ids_text(from, 600).as_bytes());
        from + 600
    }
}

fn rustix_kill(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status()
        .expect("kill");
    assert!(status.success());
}

#[track_caller]
fn wait(site: &Site, what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < Duration::from_mins(2),
            "never: {what}\n{}",
            site.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_run_that_cannot_register_says_that_it_is_not_done() {
    let Some(metastore) = metastore() else { return };
    let gate = Gate::new(&metastore, false);
    let hive = Hive::through(
        &metastore,
        &gate.address(),
        "once",
        COLUMNS,
        "create = true\n",
    );
    let next = hive.site.drop_ids("a.ndjson", 0, 600);
    let began = Instant::now();
    let output = hive.site.expect(75, &["run", "--once"]);
    assert!(began.elapsed() < Duration::from_mins(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("wait to be registered"), "{text}");
    hive.site.expect_landed(&hive.site.lake(), 0..next);
    assert!(hive.waiting() > 0);
    gate.set_open(true);
    // Nothing waits in the spool, and the queue is drained all the same.
    hive.site.expect_drained();
    hive.expect_registered();
}

#[test]
fn columns_come_with_the_records_that_need_them() {
    let Some(metastore) = metastore() else { return };
    let hive = Hive::through(
        &metastore,
        &metastore.to_string(),
        "wide",
        "",
        "create = true\n",
    );
    hive.site
        .drop_file("a.ndjson", b"{\"id\":1,\"day\":\"a\"}\n");
    hive.site.expect_drained();
    assert_eq!(hive.stands().columns.len(), 2);
    hive.site.drop_file(
        "b.ndjson",
        b"{\"id\":2,\"day\":\"a\",\"total\":1.5,\"geo\":{\"lat\":1.0}}\n",
    );
    hive.site.expect_drained();
    let columns: Vec<String> = hive
        .stands()
        .columns
        .iter()
        .map(|c| format!("{} {}", c.name, c.data_type))
        .collect();
    assert_eq!(
        columns,
        [
            "id bigint",
            "_rescued string",
            "total double",
            "geo struct<lat:double>"
        ]
    );
    // A metastore does not let a struct's type change, by default: said, and nothing is held up.
    hive.site.drop_file(
        "c.ndjson",
        b"{\"id\":3,\"day\":\"b\",\"geo\":{\"lon\":2.0}}\n",
    );
    let output = hive.site.expect(0, &["run", "--once"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("struct<lat:double,lon:double>"), "{text}");
    hive.expect_registered();
}

#[test]
fn a_table_that_disagrees_stops_the_pipeline_with_both_types() {
    let Some(hive) = Hive::new("wrong") else {
        return;
    };
    let mut other = narrow(&hive);
    other.columns = Some(vec![
        Column::new("id", "string"),
        Column::new("note", "string"),
    ]);
    hive.catalog.create(&other).expect("a table is made");
    hive.site.drop_ids("a.ndjson", 0, 10);
    let output = hive.site.expect(4, &["run", "--once"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("column `id` is `string` in the table and `bigint` in what lands"),
        "{text}"
    );
    // Nothing landed in vain.
    assert_eq!(hive.site.lake().visible(), [""; 0]);
    let checked = hive.site.lakeward(&["check"]);
    assert_eq!(checked.status.code(), Some(4));
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        text.contains("column `id` is `string` in the table"),
        "{text}"
    );
}

#[test]
fn without_leave_to_make_the_table_its_absence_stops_the_pipeline() {
    let Some(metastore) = metastore() else { return };
    let hive = Hive::through(&metastore, &metastore.to_string(), "none", COLUMNS, "");
    hive.site.drop_ids("a.ndjson", 0, 10);
    let output = hive.site.expect(4, &["run", "--once"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("hive.create = true"), "{text}");
}

#[test]
fn two_programs_register_in_one_table() {
    let Some(metastore) = metastore() else { return };
    let one = Hive::through(
        &metastore,
        &metastore.to_string(),
        "two",
        "",
        "create = true\n",
    );
    let root = one.site.path("lake").display().to_string();
    let other = Site::with_lake(
        &format!("type = \"fs\"\nroot = \"{root}\"\n"),
        "",
        &more("", &metastore.to_string(), &one.table, "create = true\n"),
    );
    let mut expected = BTreeSet::from(["id".to_owned(), "_rescued".to_owned()]);
    for round in 0..4 {
        let record = |site: &str, n: i64| {
            format!("{{\"id\":{n},\"day\":\"{site}{round}\",\"{site}_{round}\":1}}\n")
        };
        one.site.drop_file(
            &format!("{round}.ndjson"),
            record("a", round * 2).as_bytes(),
        );
        other.drop_file(
            &format!("{round}.ndjson"),
            record("b", round * 2 + 1).as_bytes(),
        );
        let mut runs = [
            one.site.spawn(&["run", "--once"], &[]),
            other.spawn(&["run", "--once"], &[]),
        ];
        for (run, site) in runs.iter_mut().zip([&one.site, &other]) {
            match run.wait().expect("it ends").code() {
                Some(75) => site.expect_drained(),
                code => assert_eq!(code, Some(0), "{}\n{}", one.site.log(), other.log()),
            }
        }
        expected.extend([format!("a_{round}"), format!("b_{round}")]);
        for day in [format!("a{round}"), format!("b{round}")] {
            assert!(one.has(&day), "{day}");
        }
    }
    // Whoever comes last finds what the other's alter has undone.
    one.site
        .drop_file("end.ndjson", b"{\"id\":8,\"day\":\"a9\"}\n");
    other.drop_file("end.ndjson", b"{\"id\":9,\"day\":\"b9\"}\n");
    one.site.expect_drained();
    other.expect_drained();
    let columns: BTreeSet<String> = one.stands().columns.into_iter().map(|c| c.name).collect();
    assert_eq!(columns, expected);
    assert_eq!(one.site.lake().ids(), (0..10).collect::<Vec<_>>());
}

#[test]
fn after_a_rebuild_all_that_stands_is_registered_again() {
    let Some(hive) = Hive::new("rebuilt") else {
        return;
    };
    hive.site.drop_ids("a.ndjson", 0, 1200);
    hive.site.expect_drained();
    // What a later manifest names as committed is believed to be.
    for later in ["b", "c"] {
        let record = format!("{{\"id\":1,\"day\":\"{later}\"}}\n");
        hive.site
            .drop_file(&format!("{later}.ndjson"), record.as_bytes());
        hive.site.expect_drained();
    }
    // One partition was dropped with its files, on purpose; it must not come back.
    std::fs::remove_dir_all(hive.site.path("lake/p/day=2026-10-03")).expect("dropped");
    std::fs::remove_dir_all(hive.site.path("var")).expect("the journal is lost");
    let text = std::fs::read_to_string(hive.site.path("lakeward.toml")).expect("a configuration");
    let table = fresh("rebuilt_again");
    std::fs::write(
        hive.site.path("lakeward.toml"),
        text.replace(&hive.table, &table),
    )
    .expect("a configuration");
    hive.site.expect(0, &["rebuild", "--yes"]);
    hive.site.expect_drained();
    let metastore = metastore().expect("a metastore");
    let hive = Hive {
        catalog: Patient(HiveCatalog::new(&settings(&metastore, "default", &table))),
        ..hive
    };
    hive.expect_registered();
    assert!(!hive.has("2026-10-03"));
    assert!(hive.has("2026-10-01"));
}

#[test]
fn the_columns_are_taken_from_the_table() {
    let Some(metastore) = metastore() else { return };
    let hive = Hive::through(
        &metastore,
        &metastore.to_string(),
        "taken",
        "[pipeline.schema]\nmode = \"hive\"\n",
        "",
    );
    let mut spec = narrow(&hive);
    spec.columns = Some(vec![
        Column::new("id", "bigint"),
        Column::new("amount", "decimal(10,2)"),
        Column::new("geo", "struct<lat:double>"),
    ]);
    hive.catalog.create(&spec).expect("a table is made");
    hive.site.drop_file(
        "a.ndjson",
        b"{\"ID\":1,\"day\":\"a\",\"Amount\":1.25,\"geo\":{\"Lat\":2.5},\"more\":true}\n",
    );
    hive.site.expect_drained();
    let shown = hive.site.expect_json(0, &["schema", "--json"]);
    let columns: Vec<String> = shown["pipelines"][0]["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|c| {
            format!(
                "{} {}",
                c["name"].as_str().unwrap(),
                c["type"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        columns,
        [
            "id bigint",
            "amount decimal(10,2)",
            "geo struct<lat:double>",
            "day string",
            "_rescued string"
        ]
    );
    assert_eq!(hive.site.lake().ids(), [1]);
    hive.expect_registered();
    // A column that the table gets later is landed from the next start on.
    hive.catalog
        .alter(&[Column::new("more", "boolean")], &[])
        .expect("altered");
    hive.site
        .drop_file("b.ndjson", b"{\"id\":2,\"day\":\"a\",\"more\":true}\n");
    hive.site.expect_drained();
    let shown = hive.site.expect_json(0, &["schema", "--json"]);
    assert!(shown.to_string().contains("more"), "{shown}");
}

/// Runs SQL in Hive and answers its lines.
fn query(sql: &str) -> Vec<String> {
    query_by("HIVE", sql)
}

fn query_by(name: &str, sql: &str) -> Vec<String> {
    let client = std::env::var(format!("LAKEWARD_TEST_{name}_CLIENT")).unwrap_or_else(|_| {
        panic!("LAKEWARD_TEST_{name}_CLIENT is not set: run this test by integration/test.sh")
    });
    let output = Command::new(client)
        .args(["-e", sql])
        .output()
        .expect("Hive's client starts");
    assert!(
        output.status.success(),
        "{sql}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn from_spool_to_select_exactly_the_input_comes_out() {
    chain("HIVE", "");
}

#[test]
fn from_spool_to_select_exactly_the_input_comes_out_of_hive_4() {
    chain(
        "HIVE_NEW",
        "[pipeline.schema]\ncolumns = { total = \"decimal(12,2)\" }\n",
    );
}

fn chain(name: &str, schema: &str) {
    let Some(metastore) = named(name) else { return };
    let hive = Hive::through(
        &metastore,
        &metastore.to_string(),
        "chain",
        schema,
        "create = true\n",
    );
    let mut expected = Vec::new();
    let mut next = 0;
    for file in 0..5 {
        let mut text = String::new();
        for id in next..next + 200 {
            let day = format!("2026-11-{:02}", id % 7 + 1);
            let total = f64::from(id) / 4.0;
            // From the third file on a column more, also in partitions that are there already.
            let extra = if file >= 2 {
                format!(",\"extra\":\"x{id}\"")
            } else {
                String::new()
            };
            text.push_str(&format!(
                "{{\"id\":{id},\"day\":\"{day}\",\"total\":{total:?},\"name\":\"n {id} \u{e9}\"{extra}}}\n"
            ));
            let extra = if file >= 2 {
                format!("x{id}")
            } else {
                "NULL".to_owned()
            };
            let total = if schema.is_empty() {
                format!("{total:?}")
            } else {
                format!("{total:.2}")
            };
            expected.push(format!("{id}\t{day}\t{total}\tn {id} \u{e9}\t{extra}"));
        }
        next += 200;
        hive.site
            .drop_file(&format!("f{file}.ndjson"), text.as_bytes());
        if file == 1 || file == 3 {
            hive.site.killed_at("before_register", 1);
        }
    }
    hive.site.expect_drained();
    let mut found = query_by(
        name,
        &format!("SELECT id, day, total, name, extra FROM {}", hive.table),
    );
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let of_a_day = query_by(
        name,
        &format!("SELECT id FROM {} WHERE day = '2026-11-03'", hive.table),
    );
    assert_eq!(of_a_day.len(), (0..1000).filter(|id| id % 7 == 2).count());
}

#[test]
fn the_printed_statements_do_what_the_program_would() {
    let Some(metastore) = metastore() else { return };
    let table = fresh("ddl");
    let site = Site::local(&format!(
        "[pipeline.sink]\npath = \"p/day={{day}}\"\n[pipeline.hive]\nmetastore = \"{metastore}\"\ntable = \"{table}\"\ncreate = true\nregister = false\n"
    ));
    site.drop_file(
        "a.ndjson",
        "{\"id\":1,\"day\":\"it's; a %day\",\"Two Words\":1}\n".as_bytes(),
    );
    site.expect_drained();
    let printed =
        |arguments: &[&str]| String::from_utf8(site.expect(0, arguments).stdout).expect("UTF-8");
    let first = printed(&["schema", "--ddl", "--partitions"]);
    query(&first);
    let select = format!("SELECT id, day, two_words FROM {table}");
    assert_eq!(query(&select), ["1\tit's; a %day\t1"]);
    site.drop_file("b.ndjson", b"{\"id\":2,\"day\":\"b\",\"three\":\"3\"}\n");
    site.expect_drained();
    query(&printed(&[
        "schema",
        "--ddl",
        "--since",
        "1",
        "--partitions",
    ]));
    let mut found = query(&format!("SELECT id, day, two_words, three FROM {table}"));
    found.sort();
    assert_eq!(found, ["1\tit's; a %day\t1\tNULL", "2\tb\tNULL\t3"]);
}
