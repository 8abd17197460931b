//! The path template of a sink, as far as it can be judged without a schema.

use crate::schema::fold_name;

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

/// The path with its names as Hive folds them: columns (of `{geo.Lat}` each part), and partition keys, which Hive keeps in
/// lower case and looks for as such when it repairs a table. Other directories and time formats stay as they are. Only for a
/// path that [`check`] let pass.
pub(super) fn hive_names(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    let mut begins = true;
    while !rest.is_empty() {
        let (piece, after) = if rest.starts_with('{') {
            rest.split_at(rest.find('}').map_or(rest.len(), |at| at + 1))
        } else if let Some(after) = rest.strip_prefix('/') {
            out.push('/');
            (begins, rest) = (true, after);
            continue;
        } else {
            rest.split_at(rest.find(['{', '/']).unwrap_or(rest.len()))
        };
        if let Some(inner) = piece.strip_prefix('{') {
            let end = inner.find([':', '}']).unwrap_or(inner.len());
            let parts: Vec<String> = inner[..end].split('.').map(fold_name).collect();
            out.push('{');
            out.push_str(&parts.join("."));
            out.push_str(&inner[end..]);
        } else {
            match piece.split_once('=') {
                Some((key, value)) if begins && after.starts_with('{') => {
                    out.push_str(&fold_name(key));
                    out.push('=');
                    out.push_str(value);
                }
                _ => out.push_str(piece),
            }
        }
        (begins, rest) = (false, after);
    }
    out
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
    fn columns_and_partition_keys_are_folded_and_nothing_else() {
        for (path, folded) in [
            (
                "Lake/Env=Prod/Dt={createdAt:%Y-%B}/Region={Region}",
                "Lake/Env=Prod/dt={createdat:%Y-%B}/region={region}",
            ),
            ("T/{Geo.Lat}-X={B}", "T/{geo.lat}-X={b}"),
            (
                "Event-Date=V{at:%Y/M%m}/{_file}",
                "event_date=V{at:%Y/M%m}/{_file}",
            ),
            ("A", "A"),
        ] {
            assert_eq!(hive_names(path), folded);
            assert_eq!(hive_names(folded), folded);
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
