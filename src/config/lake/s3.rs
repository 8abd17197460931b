//! A lake on S3. Beside Lakeward's own keys, the options are those that opendal 0.59 documents for the service; those that
//! it no longer heeds are refused.

use std::path::Path;

use super::super::load::belongs_in;
use super::super::section::Section;
use super::super::{S3Settings, Secret};
use super::{ca_file, check_endpoint, refuse, secret};

const S3_KEYS: [&str; 7] = [
    "bucket",
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "ca_file",
];

pub(super) fn is_key(key: &str) -> bool {
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

pub(in crate::config) const S3_REFUSED: &[(&str, &str)] = &[
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

pub(super) fn read(mut section: Section, directory: &Path) -> S3Settings {
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
    S3Settings {
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
    match check_endpoint(&text.value, "`access_key_id` and `secret_access_key`") {
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_options_are_those_that_the_lake_passes_on() {
        let mut named: Vec<_> = super::S3_OPTIONS.iter().map(|(name, _)| *name).collect();
        let mut passed = crate::lake::S3_OPTIONS.to_vec();
        named.sort_unstable();
        passed.sort_unstable();
        assert_eq!(named, passed);
    }
}
