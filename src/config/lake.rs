//! `[lake]` and `[pipeline.lake]`.
//!
//! Beside Lakeward's own keys, the options are those that opendal 0.59 documents for the service. Refused with their
//! reason are the ones that would break the commit protocol and the ones that opendal itself no longer heeds: a key that
//! does nothing is a trap.

use std::path::Path;

use super::document::{Entry, Text};
use super::load::{belongs_in, resolve};
use super::redact;
use super::section::Section;
use super::{LakeSettings, S3Settings, Secret};

#[derive(Clone, Copy)]
enum Kind {
    Fs,
    S3,
    NotYet(&'static str),
}

/// `None` after a complaint.
pub(super) fn read(mut section: Section, directory: &Path) -> Option<LakeSettings> {
    let kind = section.choice(
        "type",
        Kind::Fs,
        &[
            ("fs", Kind::Fs),
            ("s3", Kind::S3),
            ("hdfs", Kind::NotYet("hdfs")),
            ("webhdfs", Kind::NotYet("webhdfs")),
        ],
    );
    match kind {
        Kind::Fs => Some(fs(section, directory)),
        Kind::S3 => Some(s3(section, directory)),
        Kind::NotYet(name) => {
            section.problem(
                "type",
                format!("`{name}` is not in this version yet; use `fs` or `s3`"),
            );
            None
        }
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
        if is_s3_key(key) {
            return Some("a lake of `type = \"s3\"`".to_owned());
        }
        belongs_in(key)
    });
    LakeSettings::Fs { root }
}

const S3_KEYS: [&str; 7] = [
    "bucket",
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "ca_file",
];

fn is_s3_key(key: &str) -> bool {
    S3_KEYS.contains(&key) || S3_OPTIONS.iter().any(|(name, _)| *name == key)
}

/// Passed on to opendal's S3 service.
const S3_OPTIONS: &[(&str, Shape)] = &[
    ("profile", Shape::Text),
    ("role_arn", Shape::Text),
    ("external_id", Shape::Secret),
    ("role_session_name", Shape::Text),
    ("assume_role_duration_seconds", Shape::Number),
    ("disable_config_load", Shape::Boolean),
    ("disable_ec2_metadata", Shape::Boolean),
    ("skip_signature", Shape::Boolean),
    (
        "server_side_encryption",
        Shape::Words(&["AES256", "aws:kms"]),
    ),
    ("server_side_encryption_aws_kms_key_id", Shape::Text),
    (
        "server_side_encryption_customer_algorithm",
        Shape::Words(&["AES256"]),
    ),
    ("server_side_encryption_customer_key", Shape::Secret),
    ("server_side_encryption_customer_key_md5", Shape::Text),
    (
        "default_storage_class",
        Shape::Words(&[
            "STANDARD",
            "STANDARD_IA",
            "ONEZONE_IA",
            "INTELLIGENT_TIERING",
            "REDUCED_REDUNDANCY",
            "GLACIER_IR",
            "OUTPOSTS",
        ]),
    ),
    ("enable_virtual_host_style", Shape::Boolean),
    ("checksum_algorithm", Shape::Words(&["crc32c", "md5"])),
    ("disable_list_objects_v2", Shape::Boolean),
    ("enable_request_payer", Shape::Boolean),
    ("default_acl", Shape::Text),
];

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Secret,
    Number,
    Boolean,
    Words(&'static [&'static str]),
}

pub(super) const S3_REFUSED: &[(&str, &str)] = &[
    (
        "append",
        "appending replaces the object on most S3 stores, which destroys data",
    ),
    (
        "enable_write_with_append",
        "appending replaces the object on most S3 stores, which destroys data",
    ),
    (
        "disable_write_with_if_match",
        "conditional writes are what keeps a landed file from being overwritten; for a store that ignores them say `conditional_writes = false`",
    ),
    (
        "atomic_write_dir",
        "an S3 object is invisible until its upload is complete",
    ),
    ("disable_stat_with_override", "it no longer does anything"),
    (
        "enable_versioning",
        "it no longer does anything; switch versioning on in the bucket",
    ),
    (
        "allow_anonymous",
        "it is outdated; say `skip_signature = true`",
    ),
    ("batch_max_operations", "it no longer does anything"),
    ("delete_max_size", "it no longer does anything"),
    ("assume_role_session_tags", "it is not in this version yet"),
];

fn s3(mut section: Section, directory: &Path) -> LakeSettings {
    let bucket = section.required("bucket", "the bucket's name is needed");
    if bucket.contains(['/', '\0']) || bucket.contains(char::is_whitespace) {
        section.problem(
            "bucket",
            format!(
                "found {}; a bucket's name without `/` is allowed (a prefix below it is `root`)",
                section.found("bucket")
            ),
        );
    }
    let root = section.converted("root", String::new(), key_prefix);
    let endpoint = endpoint(&mut section);
    let region = region(&mut section, endpoint.is_some());
    let endpoint = endpoint.unwrap_or_else(|| amazon_endpoint(&region));
    let access_key_id = secret(&mut section, "access_key_id", ACCESS_KEY_ID_LENGTH_MIN);
    let secret_access_key = secret(&mut section, "secret_access_key", 0);
    let session_token = secret(&mut section, "session_token", 0);
    for (one, other, there, missing) in [
        (
            &access_key_id,
            &secret_access_key,
            "access_key_id",
            "secret_access_key",
        ),
        (
            &secret_access_key,
            &access_key_id,
            "secret_access_key",
            "access_key_id",
        ),
        (
            &session_token,
            &access_key_id,
            "session_token",
            "access_key_id",
        ),
    ] {
        if one.is_some() && other.is_none() && !section.is_broken(missing) {
            section.problem(there, format!("given without `{missing}`; both are needed, or neither (then the usual places are searched: environment, profile, instance)"));
        }
    }
    let ca_file = ca_file(&mut section, directory);
    let conditional_writes = section.boolean("conditional_writes", true);
    let mut options = Vec::new();
    for (key, shape) in S3_OPTIONS {
        if let Some(value) = option(&mut section, key, *shape) {
            options.push(((*key).to_owned(), value));
        }
    }
    refuse(&mut section, S3_REFUSED);
    section.finish(belongs_in);
    LakeSettings::S3(S3Settings {
        bucket,
        root,
        endpoint,
        region,
        access_key_id,
        secret_access_key,
        session_token,
        ca_file,
        conditional_writes,
        options,
    })
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

fn key_prefix(text: &str) -> Result<String, String> {
    let root = text.trim_matches('/');
    if root.is_empty() {
        return Ok(String::new());
    }
    crate::naming::LakePath::new(root).map_err(|_| {
        "a key prefix such as `warehouse/raw` is allowed, without `//`, `.` or `..`".to_owned()
    })?;
    Ok(root.to_owned())
}

fn endpoint(section: &mut Section) -> Option<String> {
    let text = section.text("endpoint")?;
    if text.value.is_empty() {
        return None;
    }
    match check_endpoint(&text.value) {
        Ok(()) => Some(text.value.trim_end_matches('/').to_owned()),
        Err((message, show)) => {
            let found = if show {
                format!("found {}; ", text.shown())
            } else {
                String::new()
            };
            section.problem("endpoint", format!("{found}{message}"));
            None
        }
    }
}

/// The `bool` tells whether the value may be shown.
fn check_endpoint(text: &str) -> Result<(), (String, bool)> {
    let form = "`http://HOST[:PORT]` or `https://HOST[:PORT]` is allowed";
    if text.contains('@') {
        return Err((
            format!(
                "it has credentials in it (not shown); give them as `access_key_id` and `secret_access_key`; {form}"
            ),
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

fn region(section: &mut Section, has_endpoint: bool) -> String {
    let region = section.string("region", "");
    let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if region.contains(odd) {
        section.problem(
            "region",
            format!(
                "found {}; a region such as `eu-central-1` is allowed",
                section.found("region")
            ),
        );
    }
    if !region.is_empty() {
        return region;
    }
    if !has_endpoint && !section.has("endpoint") {
        section.problem(
            "region",
            "missing; give the bucket's region such as `eu-central-1`, or the `endpoint` of another S3 store",
        );
    }
    "us-east-1".to_owned()
}

fn amazon_endpoint(region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://s3.{region}.{domain}")
}

/// Amazon's have 20 letters. Shorter ones are those of test servers (`admin`, `minioadmin`) and would blot out ordinary
/// words in the logs; their type still keeps them out of every message of ours.
const ACCESS_KEY_ID_LENGTH_MIN: usize = 16;

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

fn option(section: &mut Section, key: &'static str, shape: Shape) -> Option<Secret> {
    if !section.has(key) {
        // Asked for all the same, so that it is among the known ones.
        section.get(key);
        return None;
    }
    let value = match shape {
        Shape::Text => section.text(key)?.value.clone(),
        Shape::Secret => return secret(section, key, 0),
        Shape::Number => section.number(key, 3600, 900..=43_200).to_string(),
        Shape::Boolean => section.boolean(key, false).to_string(),
        Shape::Words(words) => section.converted(key, String::new(), |text| {
            if words.contains(&text) {
                return Ok(text.to_owned());
            }
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            Err(format!("allowed is one of {}", words.join(", ")))
        }),
    };
    Some(Secret::new(value)).filter(|value| !value.expose().is_empty())
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
