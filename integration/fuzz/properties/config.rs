//! Any text as a configuration: it loads, or it is told in which line which key is wrong.

use std::io::Write;

use lakeward::config::load_with;

/// # Panics
/// Where it does not hold.
pub fn hold(input: &[u8]) {
    let mut file = tempfile::Builder::new()
        .prefix("lakeward-")
        .suffix(".toml")
        .tempfile()
        .expect("a file");
    file.write_all(input).expect("written");
    let variable = |name: &str| (name == "SET").then(|| "value".into());
    let Err(wrong) = load_with(file.path(), &variable) else {
        return;
    };
    let lines = input.split(|byte| *byte == b'\n').count();
    assert!(!wrong.errors.is_empty());
    for error in &wrong.errors {
        assert!(!error.message.is_empty(), "{wrong}");
        assert!(error.line <= lines, "{wrong}");
        let whole = error.key.is_empty() && error.message.starts_with("not UTF-8");
        let missing = error.message.contains("missing");
        assert!(error.line > 0 || whole || missing, "no line: {wrong}");
    }
    for line in wrong.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}
