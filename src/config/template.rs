//! The path template of a sink, as far as it can be judged without a schema.

/// Says what is wrong with `sink.path`.
///
/// # Errors
/// What is allowed, in words, without the template.
pub(super) fn check(path: &str, _timezone: &str) -> Result<(), String> {
    if path.starts_with('/') {
        return Err(
            "a path below the lake's root is allowed; it does not begin with `/`".to_owned(),
        );
    }
    for component in components(path)? {
        if component.is_empty() {
            return Err(
                "`//` and a `/` at the end are not allowed: every directory needs a name"
                    .to_owned(),
            );
        }
        if component == "." || component == ".." {
            return Err(format!(
                "`{component}` is not allowed: the path stays below the lake's root"
            ));
        }
        if component.starts_with(['.', '_']) {
            return Err(
                "a directory that begins with `.` or `_` is not allowed: readers would skip it"
                    .to_owned(),
            );
        }
        if component.contains(|c: char| c.is_control()) {
            return Err("control characters are not allowed".to_owned());
        }
    }
    Ok(())
}

/// Splits at `/` outside of `{…}`.
fn components(path: &str) -> Result<Vec<&str>, String> {
    let mut components = Vec::new();
    let mut start = 0;
    let mut open: Option<usize> = None;
    for (at, c) in path.char_indices() {
        match (c, open) {
            ('{', None) => open = Some(at),
            ('{', Some(_)) => return Err("`{` inside of `{…}` is not allowed".to_owned()),
            ('}', Some(from)) => {
                check_placeholder(&path[from + 1..at])?;
                open = None;
            }
            ('}', None) => return Err("`}` has no `{`".to_owned()),
            ('/', None) => {
                components.push(&path[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if open.is_some() {
        return Err("`{` has no `}`".to_owned());
    }
    components.push(&path[start..]);
    Ok(components)
}

fn check_placeholder(text: &str) -> Result<(), String> {
    let (column, format) = match text.split_once(':') {
        Some((column, format)) => (column, Some(format)),
        None => (text, None),
    };
    if column.is_empty() || column.split('.').any(str::is_empty) {
        return Err(
            "`{…}` needs a column such as `{region}`, `{geo.country}` or `{created_at:%Y-%m-%d}`"
                .to_owned(),
        );
    }
    match format {
        None => Ok(()),
        Some(format) => check_time_format(format),
    }
}

fn check_time_format(format: &str) -> Result<(), String> {
    let example = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    if format.contains('%') && jiff::fmt::strtime::format(format, &example).is_ok() {
        return Ok(());
    }
    Err(format!(
        "after `:` a time is written by `%Y`, `%m`, `%d`, `%H` and the like; `{}` is not understood",
        super::document::shown(format)
    ))
}

/// The columns that a path names, of a struct's field the struct. Only for a path that [`check`] let pass.
pub(super) fn columns(path: &str) -> impl Iterator<Item = &str> {
    path.split('{')
        .skip(1)
        .filter_map(|rest| rest.split(['}', ':', '.']).next())
}

/// A name as Hive folds it, near enough to compare.
pub(super) fn folded(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_stay_below_the_root_and_visible_pass() {
        for path in [
            "orders",
            "orders/dt={created_at:%Y-%m-%d}/region={region}",
            "{a.b}/{_file}",
            "a/{t:%Y/%m}",
            "x={x}_y",
        ] {
            assert_eq!(check(path, "UTC"), Ok(()), "{path}");
        }
    }

    #[test]
    fn templates_that_climb_hide_or_break_are_refused() {
        for path in [
            "/orders", "a//b", "a/", "../a", "a/..", "./a", "_a", "a/.b", "{", "}", "{}", "{a",
            "a}", "{{a}}", "{a:}", "{a:Y}", "{a:%!}", "{a..b}", "a\u{7}",
        ] {
            assert!(check(path, "UTC").is_err(), "{path}");
        }
    }
}
