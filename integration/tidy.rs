//! The house rules that a compiler does not check: who may use whom, who names which crate, whose licences are fine, and that
//! what the documents name is there.
//!
//! `src/` is read as text, without comments, strings and tests. A rule's exceptions stand beside it, each with its reason;
//! one that is not needed any more fails too.

mod licences;
mod simulation;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};
use lakeward::cli::args::Arguments;

use source::{collect, names, names_crate, sources, used_modules};

/// The layers of ARCHITECTURE.md, lowest first: a module uses only its own layer and those below.
const LAYERS: [&[&str]; 5] = [
    &["segment", "protocol", "naming", "schema", "record"],
    // `crash` is no room: it marks places for tests. `threads` is how all that waits waits.
    &[
        "clock", "lake", "journal", "spool", "format", "catalog", "crash", "threads",
    ],
    &["channel", "source", "sink"],
    &[
        "pipeline", "agent", "rebuild", "operator", "audit", "status",
    ],
    &["config", "cli", "web"],
];

/// Uses of a higher layer that are meant: the user, the used, and why.
const UPWARD: [(&str, &str, &str); 5] = [
    (
        "catalog",
        "config",
        "settings types are shared by all layers",
    ),
    (
        "lake",
        "config",
        "settings types are shared by all layers, and secrets with them",
    ),
    ("agent", "config", "settings types are shared by all layers"),
    (
        "pipeline",
        "config",
        "settings types are shared by all layers",
    ),
    (
        "rebuild",
        "config",
        "settings types are shared by all layers",
    ),
];

/// Modules of one layer that must not know each other.
const STRANGERS: [(&str, &str); 2] = [("source", "sink"), ("sink", "source")];

/// Crates that only these modules name.
const ROOMS: [(&str, &[&str]); 20] = [
    ("thrift", &["catalog"]),
    ("opendal", &["lake"]),
    ("hdfs_native", &["lake"]),
    ("opendal_http_transport_reqwest", &["lake"]),
    ("reqwest", &["lake"]),
    ("reqsign_aws_v4", &["lake"]),
    ("reqsign_core", &["lake"]),
    ("rusqlite", &["journal"]),
    ("parquet", &["format"]),
    // The sink hands record batches from decoder to encoder.
    ("arrow", &["format", "sink"]),
    ("encoding_rs", &["format"]),
    ("flate2", &["format", "sink"]),
    ("liblzma", &["format"]),
    ("lz4_flex", &["format"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("anyhow", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("axum", &["web"]),
    // What waits: uploads, HTTP, signals. The agent passes the runtime on.
    ("tokio", &["lake", "agent", "cli", "web"]),
];

/// What the pure layer must not name.
const IMPURE: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant",
    "SystemTime",
    "tokio",
    "tracing",
    "rustix",
    "crash",
];

/// Words that no code outside tests may hold, and where they are meant.
const FORBIDDEN: [(&str, &[&str]); 8] = [
    (".unwrap()", &[]),
    ("panic!", &[]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
    ("println!", &[]),
    ("eprintln!", &[]),
    // A panic ends the program with its own exit code, and a second signal at once.
    ("process::exit", &["cli/logging.rs", "cli/run.rs"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn refuse(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_module_uses_only_its_own_layer_and_those_below() {
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for source in sources() {
        let Some(own) = layer(&source.module) else {
            let outside = ["lib", "main", "allocator"].contains(&source.module.as_str());
            if !outside {
                wrong.push(format!(
                    "`{}` is in no layer: add it to ARCHITECTURE.md and here",
                    source.path
                ));
            }
            continue;
        };
        for used in used_modules(&source.code) {
            if STRANGERS.contains(&(source.module.as_str(), used.as_str())) {
                wrong.push(format!(
                    "`{}` uses `{used}`: they meet only in `channel`",
                    source.path
                ));
            }
            if layer(&used).is_none_or(|layer| layer <= own) {
                continue;
            }
            let meant = UPWARD
                .iter()
                .position(|(user, above, _)| *user == source.module && *above == used);
            match meant {
                Some(index) => {
                    needed.insert(index);
                }
                None => wrong.push(format!(
                    "`{}` uses `{used}`, which is in a higher layer",
                    source.path
                )),
            }
        }
    }
    for (index, (user, used, _)) in UPWARD.iter().enumerate() {
        if !needed.contains(&index) {
            wrong.push(format!(
                "the exception of `{user}` for `{used}` is not needed"
            ));
        }
    }
    refuse(wrong);
}

#[test]
fn modules_do_not_use_each_other_in_a_circle() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let mut used = used_modules(&source.code);
        used.remove(&source.module);
        // Settings types, which all layers share.
        used.remove("config");
        uses.entry(source.module).or_default().extend(used);
    }
    let mut left: BTreeSet<String> = uses.keys().cloned().collect();
    while let Some(free) = left
        .iter()
        .find(|module| uses[*module].iter().all(|used| !left.contains(used)))
        .cloned()
    {
        left.remove(&free);
    }
    assert!(
        left.is_empty(),
        "these use each other in a circle: {left:?}"
    );
}

#[test]
fn each_outside_crate_is_named_in_its_own_room() {
    let sources = sources();
    let mut wrong = Vec::new();
    for (name, rooms) in ROOMS {
        let users: BTreeSet<&str> = sources
            .iter()
            .filter(|source| names_crate(&source.code, name))
            .map(|source| source.module.as_str())
            .collect();
        for user in &users {
            if !rooms.contains(user) {
                wrong.push(format!(
                    "`{user}` names `{name}`, which belongs in {rooms:?}"
                ));
            }
        }
        for room in rooms.iter().filter(|room| !users.contains(**room)) {
            wrong.push(format!("`{name}` is not named in `{room}` any more"));
        }
    }
    refuse(wrong);
}

#[test]
fn the_lowest_layer_is_pure() {
    let mut wrong = Vec::new();
    for source in sources() {
        if layer(&source.module) != Some(0) {
            continue;
        }
        for word in IMPURE {
            if names(&source.code, word) {
                wrong.push(format!("`{}` names `{word}`", source.path));
            }
        }
    }
    refuse(wrong);
}

#[test]
fn nothing_outside_tests_unwraps_panics_or_prints() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (word, meant) in FORBIDDEN {
            if names(&source.code, word) && !meant.contains(&source.path.as_str()) {
                wrong.push(format!("`{}` holds `{word}`", source.path));
            }
        }
    }
    refuse(wrong);
}

/// Every switch and place for tests is used by one, and each invariant is cited where it is kept and tested by its id.
#[test]
fn every_switch_has_its_test_and_every_invariant_its_place() {
    let mut tests = String::new();
    let mut paths = Vec::new();
    collect(&root().join("integration"), &mut paths);
    collect(&root().join("src"), &mut paths);
    for path in paths {
        let whole = fs::read_to_string(&path).expect("text");
        if path.starts_with(root().join("integration")) || !whole.contains("crash::") {
            tests.push_str(&whole);
        }
    }
    let sources = sources();
    let mut wrong = Vec::new();
    for source in &sources {
        for call in ["crash::broken(\"", "crash::place(\""] {
            for (at, _) in source.whole.match_indices(call) {
                let name = source.whole[at + call.len()..]
                    .split('"')
                    .next()
                    .unwrap_or_default();
                if !tests.contains(&format!("\"{name}\"")) && !tests.contains(&format!("\"{name}:"))
                {
                    wrong.push(format!("`{}`: no test uses `{name}`", source.path));
                }
            }
        }
    }
    for id in 1..=12 {
        if !sources
            .iter()
            .any(|source| names(&source.whole, &format!("I{id}")))
        {
            wrong.push(format!("I{id} is cited nowhere in src"));
        }
        if !tests.contains(&format!("fn i{id}_")) {
            wrong.push(format!("I{id} has no test of its own"));
        }
    }
    refuse(wrong);
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The rows of the table that begins with this heading, cell by cell.
fn table<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(heading));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let table: Vec<_> = rows
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!table.is_empty(), "there is a table {heading:?}");
    table
}

#[test]
fn architecture_names_every_room_and_every_room_is_there() {
    let text = text("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    let stands = |name: &str| {
        let name = name.trim_end_matches('/');
        ["", "src/"]
            .iter()
            .any(|dir| root().join(dir).join(name).exists())
    };
    for (number, row) in table(&text, "| layer | modules").iter().enumerate() {
        let named = quoted(row[1]);
        for module in &named {
            if !stands(module) && !stands(&format!("{module}.rs")) {
                wrong.push(format!("`{module}` is named as a module and is none"));
            }
        }
        for module in LAYERS[number].iter().filter(|module| **module != "crash") {
            if !named.contains(module) {
                wrong.push(format!("`{module}` is not named in layer {number}"));
            }
        }
    }
    for row in table(&text, "| if you want to change") {
        for path in quoted(row[1]) {
            if !stands(path) {
                wrong.push(format!("`{path}` is named and is not there"));
            }
        }
    }
    for name in quoted(&text) {
        let path = name.replace("::", "/");
        let is_path = name.contains("::") && !name.contains(' ')
            || Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "rs")
            || name.ends_with('/');
        let found = stands(&path)
            || stands(&format!("{path}.rs"))
            || path.rsplit_once('/').is_some_and(|(module, item)| {
                let mut paths = Vec::new();
                let dir = root().join("src").join(module);
                if dir.is_dir() {
                    collect(&dir, &mut paths);
                }
                paths.push(root().join("src").join(format!("{module}.rs")));
                paths
                    .iter()
                    .filter_map(|path| fs::read_to_string(path).ok())
                    .any(|code| code.contains(&format!("fn {item}(")))
            });
        if is_path && !found {
            wrong.push(format!("`{name}` is named and is not there"));
        }
    }
    refuse(wrong);
}

#[test]
fn every_make_target_that_is_named_is_there() {
    let makefile = text("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '.', '#']))
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target.trim())
        .collect();
    let mut wrong = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", ".ci/run"] {
        let text = text(document);
        for part in text.split("make ").skip(1) {
            let name: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '-')
                .collect();
            let before = &text[..text.len()
                - text
                    .len()
                    .min(text.rfind(part).map_or(0, |at| text.len() - at))];
            let before = before.trim_end_matches("make ");
            let is_command =
                before.ends_with('`') || before.ends_with("$ ") || before.ends_with('\n');
            if is_command && !targets.contains(name.as_str()) {
                wrong.push(format!("{document} names `make {name}`"));
            }
        }
    }
    assert!(targets.contains("check") && targets.contains("test"));
    refuse(wrong);
}

/// Whole commands of the README parse; of those in running text the subcommand is there.
#[test]
fn every_command_that_the_readme_names_is_one() {
    let text = text("README.md");
    let mut wrong = Vec::new();
    let mut whole = 0;
    for line in text.lines() {
        let command = line
            .split_once("$ ")
            .map(|(_, command)| command)
            .filter(|command| command.starts_with("lakeward"))
            .or_else(|| line.strip_prefix("ExecStart=/usr/local/bin/"))
            .or_else(|| line.split_once("  lakeward  ").map(|(_, command)| command));
        let Some(command) = command else { continue };
        whole += 1;
        let command = command.split('#').next().unwrap_or_default();
        if let Err(error) = Arguments::try_parse_from(command.split_whitespace()) {
            wrong.push(format!("{command}: {error}"));
        }
    }
    assert!(whole >= 6, "the README shows commands");
    let known = Arguments::command();
    for command in quoted(&text) {
        let Some(rest) = command.strip_prefix("lakeward ") else {
            continue;
        };
        let name = rest
            .split_whitespace()
            .find(|word| !word.starts_with('-'))
            .unwrap_or_default();
        if known.find_subcommand(name).is_none() {
            wrong.push(format!("`{command}` is no command"));
        }
    }
    refuse(wrong);
}
