//! `${NAME}`, `${NAME:-default}` and `${file:PATH}` inside strings.
//!
//! Replaced after the TOML was parsed, so that a value can neither end its string nor begin a key. `$${` is a literal
//! `${`; what was put in is not looked at again. What comes out of a file is a secret: it is
//! remembered by [`super::redact`] as soon as it is read.

use std::path::{Path, PathBuf};

/// Where the values come from; replaced in tests.
pub struct Surroundings<'a> {
    /// The value of an environment variable, `None` if it is unset.
    pub variable: &'a dyn Fn(&str) -> Option<std::ffi::OsString>,
    /// What relative paths are relative to: the configuration file's directory, absolute.
    pub directory: PathBuf,
}

/// A secret file is a key or a token, not a data set.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a string became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpolated {
    pub value: String,
    /// Something was replaced, so that `value` is not what stands in the file.
    pub replaced: bool,
}

/// # Errors
/// An unset variable, an unreadable file or a broken `${`, said in words and without any value.
pub fn interpolate(text: &str, surroundings: &Surroundings) -> Result<Interpolated, String> {
    let mut result = Interpolated {
        value: String::with_capacity(text.len()),
        replaced: false,
    };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, tail) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            result.value.push_str(before);
            result.value.push_str("${");
            result.replaced = true;
            rest = &tail[2..];
            continue;
        }
        result.value.push_str(before);
        let end = tail
            .find('}')
            .ok_or_else(|| "`${` has no `}`; write `$${` for a literal `${`".to_owned())?;
        replace(&tail[2..end], surroundings, &mut result)?;
        rest = &tail[end + 1..];
    }
    result.value.push_str(rest);
    Ok(result)
}

fn replace(
    expression: &str,
    surroundings: &Surroundings,
    result: &mut Interpolated,
) -> Result<(), String> {
    result.replaced = true;
    if let Some(path) = expression.strip_prefix("file:") {
        result
            .value
            .push_str(&read_secret(path, &surroundings.directory)?);
        return Ok(());
    }
    let (name, default) = match expression.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression, None),
    };
    if !is_variable_name(name) {
        return Err(format!(
            "`${{{}}}` is neither `${{NAME}}`, `${{NAME:-default}}` nor `${{file:PATH}}`; write `$${{` for a literal `${{`",
            super::document::escaped(expression)
        ));
    }
    // As in a shell, `:-` also stands in for a variable that is set but empty.
    match (surroundings.variable)(name) {
        Some(value) if !(value.is_empty() && default.is_some()) => {
            let value = value
                .into_string()
                .map_err(|_| format!("the environment variable `{name}` does not hold UTF-8"))?;
            result.value.push_str(&value);
        }
        _ => match default {
            Some(default) => result.value.push_str(default),
            None => {
                return Err(format!(
                    "the environment variable `{name}` is not set; set it, or write `${{{name}:-default}}`"
                ));
            }
        },
    }
    Ok(())
}

fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The file's text without the one line end that editors put there.
fn read_secret(path: &str, directory: &Path) -> Result<String, String> {
    use std::io::Read;
    let shown = super::document::escaped(path);
    if path.is_empty() {
        return Err("`${file:}` names no file".to_owned());
    }
    let unreadable = |error: std::io::Error| format!("read `{shown}` for `${{file:…}}`: {error}");
    let path = directory.join(path);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(format!("`{shown}` for `${{file:…}}` is not a regular file"));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "`{shown}` for `${{file:…}}` is longer than {FILE_BYTES_MAX} bytes"
        ));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    super::redact::remember(&text);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Interpolated, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), "s3cr3t\n").unwrap();
        let variable = |name: &str| match name {
            "HOME_DIR" => Some("/h".into()),
            "EMPTY" => Some("".into()),
            "NESTED" => Some("${HOME_DIR}".into()),
            _ => None,
        };
        let surroundings = Surroundings {
            variable: &variable,
            directory: directory.path().to_owned(),
        };
        interpolate(text, &surroundings)
    }

    #[test]
    fn variables_defaults_files_and_literals_are_replaced() {
        for (text, value) in [
            ("plain $ text", "plain $ text"),
            ("${HOME_DIR}/x/${HOME_DIR}", "/h/x//h"),
            ("${UNSET:-d e}", "d e"),
            ("${UNSET:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-d}", "d"),
            ("$${HOME_DIR}", "${HOME_DIR}"),
            ("${NESTED}", "${HOME_DIR}"),
            ("k=${file:key}!", "k=s3cr3t!"),
        ] {
            let result = run(text).unwrap();
            assert_eq!(result.value, value, "{text}");
            assert_eq!(result.replaced, text.contains("${"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error() {
        for (text, said) in [
            ("${UNSET}", "`UNSET` is not set"),
            ("${", "has no `}`"),
            ("${a b}", "is neither"),
            ("${}", "is neither"),
            ("${file:}", "names no file"),
            ("${file:missing}", "read `missing`"),
            ("${file:.}", "not a regular file"),
        ] {
            let error = run(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
