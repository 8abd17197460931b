//! `src/` as text: which modules and crates a file names, comments, strings and tests aside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{LAYERS, root};

/// One file of `src/`.
pub(super) struct Source {
    /// Below `src/`.
    pub(super) path: String,
    pub(super) module: String,
    /// Without comments, strings and tests.
    pub(super) code: String,
    /// As it stands.
    pub(super) whole: String,
}

pub(super) fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join("src"), &mut paths);
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for path in paths {
        let name = path.strip_prefix(root().join("src")).expect("below src");
        let name = name.to_string_lossy().into_owned();
        files.insert(name, fs::read_to_string(&path).expect("source text"));
    }
    let tests = test_files(&files);
    let mut sources = Vec::new();
    for (path, whole) in files {
        if tests
            .iter()
            .any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")))
        {
            continue;
        }
        let module = path.split('/').next().unwrap_or_default();
        sources.push(Source {
            module: module.trim_end_matches(".rs").to_owned(),
            code: without_tests(&bare(&whole)),
            path,
            whole,
        });
    }
    assert!(sources.len() > 50, "src is read");
    sources
}

pub(super) fn collect(dir: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// Modules that are only for tests, as paths without `.rs`: declared so, or a suite that says of itself that it is a test.
fn test_files(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut tests = Vec::new();
    for (path, whole) in files {
        if whole.contains("reason = \"the suite is a test") {
            tests.push(path.trim_end_matches(".rs").to_owned());
        }
        let dir = match path.rsplit_once('/') {
            Some((dir, "mod.rs")) => format!("{dir}/"),
            _ if path == "lib.rs" || path == "main.rs" => String::new(),
            _ => format!("{}/", path.trim_end_matches(".rs")),
        };
        let mut lines = whole.lines();
        while let Some(line) = lines.next() {
            if line.trim() != "#[cfg(test)]" {
                continue;
            }
            let declared = lines.next().unwrap_or_default().trim();
            let declared = declared
                .trim_start_matches("pub ")
                .trim_start_matches("pub(super) ");
            if let Some(name) = declared
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'))
            {
                tests.push(format!("{dir}{name}"));
            }
        }
    }
    tests
}

/// The code without comments, and with empty strings.
fn bare(whole: &str) -> String {
    let mut code = String::with_capacity(whole.len());
    let mut rest = whole;
    while let Some(first) = rest.chars().next() {
        let word_before = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            code.push_str("\"\"");
            string_length(rest)
        } else if !word_before && raw_string(rest).is_some() {
            code.push_str("\"\"");
            raw_string(rest).unwrap_or(1)
        } else if let Some(length) = char_length(rest) {
            code.push_str("' '");
            length
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

fn string_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The length of a raw string at the beginning of `text`, with or without `b`.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)? + end.len();
    Some(text.len() - body.len() + length)
}

/// The length of a character literal; a lifetime is none.
fn char_length(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if let Some(escaped) = body.strip_prefix('\\') {
        let from = escaped.chars().next()?.len_utf8();
        return escaped[from..].find('\'').map(|end| from + end + 3);
    }
    let one = body.chars().next()?.len_utf8();
    body[one..].starts_with('\'').then_some(one + 2)
}

/// Cuts out items marked `#[cfg(test)]` that have a body.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = match (item.find(';'), item.find('{')) {
            (Some(semicolon), Some(brace)) if semicolon < brace => semicolon + 1,
            (_, Some(brace)) => brace + block_length(&item[brace..]),
            (Some(semicolon), None) => semicolon + 1,
            (None, None) => item.len(),
        };
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

fn block_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Where `word` stands as a whole path segment or word of the code.
pub(super) fn names(code: &str, word: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    while let Some(at) = code[from..].find(word) {
        let (start, end) = (from + at, from + at + word.len());
        let before = code[..start].chars().next_back();
        let after = code[end..].chars().next();
        let begins = !word.starts_with(of_word) || !before.is_some_and(of_word);
        let ends = !word.ends_with(of_word) || !after.is_some_and(of_word);
        if begins && ends {
            return true;
        }
        from = start + 1;
    }
    false
}

/// Whether the code names this crate: `name::` that is not a part of a longer path, or `use name`.
pub(super) fn names_crate(code: &str, name: &str) -> bool {
    let pattern = format!("{name}::");
    let mut from = 0;
    while let Some(at) = code[from..].find(&pattern) {
        let start = from + at;
        let before = code[..start].trim_end();
        let part = code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if !part || before.ends_with("use ::") {
            return true;
        }
        from = start + 1;
    }
    false
}

/// Modules of this crate that the code names by `crate::`.
pub(super) fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = &rest[..=block_length(rest).min(group.len())];
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (c.is_alphanumeric() || c == '_') {
                    word.push(c);
                } else if !word.is_empty() {
                    used.insert(std::mem::take(&mut word));
                }
            }
        } else {
            used.insert(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }
    let known: BTreeSet<&str> = LAYERS
        .iter()
        .flat_map(|layer| layer.iter().copied())
        .collect();
    used.retain(|module| known.contains(module.as_str()));
    used
}
