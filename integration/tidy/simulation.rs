//! The simulation proves something about the program only as long as it runs the program: ports are simulated, nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use super::source::collect;
use super::{refuse, root, text};

/// The traits of ports, and how threads take turns.
const PORTS: [&str; 8] = [
    // The port below HDFS's lake.
    "Calls",
    "Catalog",
    "Lake",
    "Journal",
    "FileSystem",
    "SpooledFile",
    "Clock",
    "Turns",
];

/// What would be a part of the program, had the simulation one.
const PARTS: [&str; 9] = [
    "Committer",
    "Source",
    "Channel",
    "Sink",
    "Lane",
    "Lanes",
    "Coordinator",
    "OpenBatch",
    "Registrar",
];

fn sources(dir: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    collect(&root().join(dir), &mut paths);
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    paths
        .iter()
        .map(|path| (name(path), text(&name(path))))
        .collect()
}

/// `impl … Trait for Type` and `struct Name` of a file, by the words before `for` and after `struct` or `enum`.
fn words_before(line: &str, word: &str) -> Option<String> {
    let (before, _) = line.split_once(word)?;
    let name = before.rsplit([' ', ':', '>']).next()?;
    Some(name.split('<').next()?.to_owned())
}

#[test]
fn the_simulation_has_no_committer_source_channel_or_sink_of_its_own() {
    let traits: BTreeSet<String> = sources("src")
        .iter()
        // What a suite wants to be given is no part of the program.
        .filter(|(path, _)| !path.contains("conformance"))
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.trim_start().strip_prefix("pub trait "))
        .filter_map(|rest| rest.split([':', ' ', '<', '{']).next())
        .map(str::to_owned)
        .collect();
    for port in PORTS {
        assert!(traits.contains(port), "no port `{port}`");
    }
    let mut wrong = Vec::new();
    let mut simulated = BTreeSet::new();
    for (path, text) in sources("integration/simulation") {
        for line in text.lines().map(str::trim_start) {
            let implemented = line
                .strip_prefix("impl")
                .and_then(|_| words_before(line, " for "));
            if let Some(name) = implemented.filter(|name| traits.contains(name)) {
                if !PORTS.contains(&name.as_str()) {
                    wrong.push(format!("{path}: `{name}` is no port, and has an own one"));
                }
                simulated.insert(name);
            }
            let made = ["struct ", "enum "].iter().find_map(|kind| {
                let (_, rest) = line.split_once(kind)?;
                rest.split(['<', ' ', '(', ';', '{']).next()
            });
            if let Some(name) = made.filter(|name| PARTS.contains(name)) {
                wrong.push(format!("{path}: a `{name}` of its own"));
            }
        }
    }
    for needed in ["Lake", "Journal", "FileSystem", "Clock", "Turns"] {
        if !simulated.contains(needed) {
            wrong.push(format!("`{needed}` is not simulated"));
        }
    }
    if !text("integration/simulation/driver.rs").contains("pipeline.run()") {
        wrong.push("the driver does not run the program's own pipeline".into());
    }
    refuse(wrong);
}
