//! `[lake]` and `[pipeline.lake]`.
//!
//! A key that would break the commit protocol, or that does nothing, is refused with the reason: it would be a trap.

mod hdfs;
pub(super) mod s3;

use std::path::Path;

use super::document::{Entry, Text};
use super::load::{belongs_in, resolve};
use super::redact;
use super::section::Section;
use super::{LakeSettings, Secret};

#[derive(Clone, Copy)]
enum Kind {
    Fs,
    S3,
    Hdfs,
    WebHdfs,
}

pub(super) fn read(mut section: Section, directory: &Path) -> LakeSettings {
    let kind = section.choice(
        "type",
        Kind::Fs,
        &[
            ("fs", Kind::Fs),
            ("s3", Kind::S3),
            ("hdfs", Kind::Hdfs),
            ("webhdfs", Kind::WebHdfs),
        ],
    );
    match kind {
        Kind::Fs => fs(section, directory),
        Kind::S3 => LakeSettings::S3(s3::read(section, directory)),
        Kind::Hdfs => LakeSettings::Hdfs(hdfs::read_native(section, directory)),
        Kind::WebHdfs => LakeSettings::WebHdfs(hdfs::read_web(section, directory)),
    }
}

fn fs(mut section: Section, directory: &Path) -> LakeSettings {
    let root = section.converted("root", directory.join("lake"), |text| {
        resolve(text, directory)
    });
    // Renaming without replacing is what a local lake does in any case.
    section.boolean("conditional_writes", true);
    refuse(
        &mut section,
        &[
            (
                "atomic_write_dir",
                "its temporary names would lie in the lake and its rename replaces files; data files are staged in `_lakeward/staging` instead",
            ),
            ("append", "a landed file is never written to again"),
        ],
    );
    section.finish(|key| {
        if s3::is_key(key) {
            return Some("a lake of `type = \"s3\"`".to_owned());
        }
        if hdfs::is_key(key) {
            return Some("a lake of `type = \"hdfs\"` or `\"webhdfs\"`".to_owned());
        }
        belongs_in(key)
    });
    LakeSettings::Fs { root }
}

/// Complains of the keys that are known and refused; `finish` then has nothing left to say of them.
fn refuse(section: &mut Section, refused: &[(&'static str, &str)]) {
    for (key, reason) in refused {
        if section.has(key) {
            section.refused(key);
            section.problem(key, format!("this option is not allowed: {reason}"));
        }
    }
}

/// The `bool` tells whether the value may be shown.
/// Credentials are given by the keys `instead`.
fn check_endpoint(text: &str, instead: &str) -> Result<(), (String, bool)> {
    let form = "`http://HOST[:PORT]` or `https://HOST[:PORT]` is allowed";
    if text.contains('@') {
        return Err((
            format!("it has credentials in it (not shown); give them as {instead}; {form}"),
            false,
        ));
    }
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or_else(|| (form.to_owned(), true))?;
    let host = host.trim_end_matches('/');
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#\\".contains(c);
    if host.is_empty() || host.contains(odd) {
        // A query may carry a signature.
        return Err((form.to_owned(), !text.contains('?')));
    }
    Ok(())
}

/// A secret string; an empty one counts as not given. One of `length_min` bytes is also searched for in the logs.
fn secret(section: &mut Section, key: &'static str, length_min: usize) -> Option<Secret> {
    let value = &secret_text(section, key)?.value;
    if value.is_empty() {
        return None;
    }
    if value.len() >= length_min {
        redact::remember(value);
    }
    Some(Secret::new(value.clone()))
}

/// As [`Section::text`], without showing what was found instead of a string.
fn secret_text<'a>(section: &mut Section<'a>, key: &'static str) -> Option<&'a Text> {
    let entry = section.get(key)?;
    let text = as_text(entry);
    if text.is_none() {
        section.problem(
            key,
            "found something that is no string (not shown); a string is allowed",
        );
    }
    text
}

fn as_text(entry: &Entry) -> Option<&Text> {
    match &entry.node.value {
        super::document::Value::Text(text) => Some(text),
        _ => None,
    }
}

fn ca_file(section: &mut Section, directory: &Path) -> Option<std::path::PathBuf> {
    section.converted("ca_file", None, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        let path = resolve(text, directory)?;
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(path)),
            Ok(_) => {
                Err("a file of PEM certificates is allowed; this is no regular file".to_owned())
            }
            Err(error) => Err(format!(
                "a file of PEM certificates is allowed; this one cannot be read: {error}"
            )),
        }
    })
}
