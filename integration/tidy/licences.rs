//! Licences of all dependencies that are built here, and where they come from.

use std::process::Command;

use super::{refuse, root};

/// A licence that everybody may use, alone or in an expression.
const LICENCES: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Licences that are fine for what these crates are used for, and for no other.
const LICENCES_OF: [(&str, &str); 0] = [];

/// Whether one may use what is licensed so. `/` is how old manifests write `OR`.
fn is_allowed(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let allowed = any_of(&words, &mut at, allowed);
    allowed && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut any = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        any |= all_of(words, at, allowed);
    }
    any
}

fn all_of(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut all = one_licence(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        all &= one_licence(words, at, allowed);
    }
    all
}

fn one_licence(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let inner = any_of(words, at, allowed);
        *at += 1;
        return inner && words.get(*at - 1) == Some(&")");
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return allowed(&format!("{word} WITH {exception}"));
    }
    allowed(word)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed =
        |name: &str| ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].contains(&name);
    for (expression, fine) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND Apache-2.0", true),
        ("GPL-3.0 OR MIT AND GPL-2.0", false),
        (
            "GPL-2.0 WITH Classpath-exception OR Apache-2.0 WITH LLVM-exception",
            true,
        ),
        ("MIT MIT", false),
        ("(MIT", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), fine, "{expression:?}");
    }
}

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The platform that cargo builds for here: others' crates need not have been fetched.
fn platform() -> String {
    let version = String::from_utf8(cargo(&["-vV"])).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("cargo names its host").to_owned()
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let platform = platform();
    let metadata = cargo(&[
        "metadata",
        "--locked",
        "--offline",
        "--format-version",
        "1",
        "--filter-platform",
        &platform,
    ]);
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "all dependencies are listed");
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let licence = package["license"].as_str().unwrap_or_default();
        let allowed = |one: &str| LICENCES.contains(&one) || LICENCES_OF.contains(&(name, one));
        if !is_allowed(licence, &allowed) {
            wrong.push(format!("`{name}` is licensed {licence:?}"));
        }
        let source = package["source"].as_str().unwrap_or("registry+ (our own)");
        if !source.starts_with("registry+") {
            wrong.push(format!("`{name}` comes from {source}, not from a registry"));
        }
    }
    refuse(wrong);
}
