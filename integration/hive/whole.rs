//! From the spool by HDFS and the metastore to what Hive shows.

use super::{fresh, more, named, query_by};
use crate::hdfs::Hdfs;
use crate::support::{LakeAt, Site};
use lakeward::catalog::conformance::Patient;
use lakeward::catalog::{Catalog, HiveCatalog};
use lakeward::config::MetastoreAddress;

/// What paths escape, and what a statement would have to.
const DAYS: [&str; 5] = ["2026-11-01", "a b", "x:y/z=1", "100%", "\u{e4}\u{20ac}'s"];

/// Between landing and the end of the queue.
const KILLS: [&str; 6] = [
    "after_land",
    "before_commit",
    "before_done",
    "before_table",
    "before_register",
    "after_register",
];

const PER_FILE: i64 = 400;

/// A file of records; the rows as Hive prints them.
fn file(number: i64) -> (String, Vec<String>) {
    let (mut text, mut rows) = (String::new(), Vec::new());
    for id in number * PER_FILE..(number + 1) * PER_FILE {
        let day = DAYS[usize::try_from(id).expect("small") % DAYS.len()];
        let cents = id * 7 - 5_000;
        let total = format!(
            "{}{}.{:02}",
            if cents < 0 { "-" } else { "" },
            cents.abs() / 100,
            cents.abs() % 100
        );
        // From the fourth file on a column more, in partitions that are registered already too.
        let (extra, shown) = if number >= 3 {
            (format!(",\"extra\":\"x{id}\""), format!("x{id}"))
        } else {
            (String::new(), "NULL".to_owned())
        };
        // Of a range in which Java writes them as Rust does.
        let small = i16::try_from(cents).expect("small");
        let ratio = f32::from(small) / 8.0;
        let weight = f64::from(small) / 10.0;
        text.push_str(&format!(
            "{{\"id\":{id},\"day\":\"{day}\",\"total\":{total},\"ratio\":{ratio:?},\"weight\":{weight:?},\"name\":\"n {id} \u{e9}\"{extra}}}\n"
        ));
        rows.push(format!(
            "{id}\t{day}\t{total}\t{ratio:?}\t{weight:?}\tn {id} \u{e9}\t{shown}"
        ));
    }
    (text, rows)
}

/// Killed in one run after another, each with a file more.
#[track_caller]
fn landed_and_killed(site: &Site) -> Vec<String> {
    let mut expected = Vec::new();
    let mut kills = Vec::new();
    for (number, place) in (0..).zip(KILLS) {
        let (text, rows) = file(number);
        site.drop_file(&format!("f{number}.ndjson"), text.as_bytes());
        expected.extend(rows);
        if site.killed_at(place, 1) {
            kills.push(place);
        }
    }
    assert_eq!(kills, KILLS, "{}", site.log());
    site.expect_drained();
    let status = site.expect_json(0, &["status", "--json"]);
    assert_eq!(status["pipelines"][0]["partitions_waiting"], 0, "{status}");
    expected.sort();
    expected
}

/// `location`: of the lake, as Hive must name it.
#[track_caller]
fn expect_shown(
    hive: &str,
    metastore: &MetastoreAddress,
    table: &str,
    location: &str,
    expected: &[String],
) {
    let catalog = Patient(HiveCatalog::new(&super::settings(
        metastore, "default", table,
    )));
    for day in DAYS {
        let found = catalog
            .partition(&[day.to_owned()])
            .expect("the metastore answers")
            .unwrap_or_else(|| panic!("`{day}` is not registered"));
        let begins = format!("{location}/p/day=");
        assert!(found.starts_with(&begins), "{found}, not {begins}");
    }
    let select = format!("SELECT id, day, total, ratio, weight, name, extra FROM {table}");
    let of_a_day = format!("{select} WHERE day = 'x:y/z=1'");
    let mut found = query_by(hive, &select);
    found.sort();
    assert_eq!(found.len(), expected.len());
    assert_eq!(found, expected);
    let mut found = query_by(hive, &of_a_day);
    found.sort();
    let expected: Vec<&String> = expected
        .iter()
        .filter(|row| row.contains("\tx:y/z=1\t"))
        .collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}

fn chain(hive: &str, hdfs: &str, toml: fn(&Hdfs) -> String, keys: fn(&Hdfs) -> String) {
    let (Some(metastore), Some(hdfs)) = (named(hive), Hdfs::named(hdfs, "hive")) else {
        return;
    };
    let table = fresh("hdfs");
    let schema = "[pipeline.schema]\ncolumns = { total = \"decimal(12,2)\", ratio = \"float\" }\n";
    let keys = format!("create = true\n{}", keys(&hdfs));
    let site = Site::with_lake(
        &toml(&hdfs),
        "",
        &more(schema, &metastore.to_string(), &table, &keys),
    );
    let expected = landed_and_killed(&site);
    let location = format!("{}{}", hdfs.url(), hdfs.root);
    let lake = LakeAt::Hdfs(hdfs);
    let ids = i64::try_from(expected.len()).expect("small");
    site.expect_landed(&lake, 0..ids);
    expect_shown(hive, &metastore, &table, &location, &expected);
}

#[test]
fn from_spool_by_the_oldest_hdfs_to_select_exactly_the_input_comes_out() {
    chain("HIVE", "HDFS_OLD", Hdfs::toml, |_| String::new());
}

/// Nobody tells a gateway's address from the NameNode's, so the location is given.
#[test]
fn from_spool_through_webhdfs_to_select_exactly_the_input_comes_out_of_hive_4() {
    chain("HIVE_NEW", "HDFS_NEW", Hdfs::web_toml, |hdfs| {
        format!("location = \"{}{}/p\"\n", hdfs.url(), hdfs.root)
    });
}
