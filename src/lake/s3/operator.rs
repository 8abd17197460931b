//! Makes opendal's operator out of the settings: the client with its certificates, the options, the signer.

use std::sync::Arc;

use opendal::services::S3Config;
use opendal::{Configurator, HttpTransporter, OperationContext, Operator};

use super::fault::Fault;
use super::store::Store;
use super::transport::Transport;
use super::uploads::Uploads;
use crate::config::{S3Settings, Secret};
use crate::lake::http;
use crate::lake::retry::RetryPolicy;

/// opendal's options that are passed through: all that it documents for S3 but what has keys of its own here, what is
/// deprecated, and what would break the protocol (appending).
pub const ALLOWED_OPTIONS: &[&str] = &[
    "assume_role_duration_seconds",
    "checksum_algorithm",
    "default_acl",
    "default_storage_class",
    "disable_config_load",
    "disable_ec2_metadata",
    "disable_list_objects_v2",
    "enable_request_payer",
    "enable_virtual_host_style",
    "external_id",
    "profile",
    "role_arn",
    "role_session_name",
    "server_side_encryption",
    "server_side_encryption_aws_kms_key_id",
    "server_side_encryption_customer_algorithm",
    "server_side_encryption_customer_key",
    "server_side_encryption_customer_key_md5",
    "skip_signature",
];

const CHECKSUM: &str = "checksum_algorithm";

pub(super) struct Opened {
    pub operator: Operator,
    pub uploads: Uploads,
}

pub(super) fn open(
    settings: &S3Settings,
    store: &Arc<Store>,
    policy: RetryPolicy,
) -> Result<Opened, Fault> {
    check(settings)?;
    let client = http::client(settings.ca_file.as_deref()).map_err(Fault::permanent)?;
    let transport = HttpTransporter::new(Transport::new(client, Arc::clone(store), policy));
    let builder = config(settings, store)?.into_builder();
    let operator = Operator::new(builder)?
        .with_context(OperationContext::new().with_http_transport(transport.clone()));
    let uploads = Uploads::new(settings, Arc::clone(store), transport);
    Ok(Opened { operator, uploads })
}

fn check(settings: &S3Settings) -> Result<(), Fault> {
    let endpoint = &settings.endpoint;
    if !endpoint.is_empty() && !endpoint.starts_with("http://") && !endpoint.starts_with("https://")
    {
        return Err(Fault::permanent(format!(
            "`endpoint` must begin with http:// or https://, not `{endpoint}`"
        )));
    }
    if settings.access_key_id.is_some() != settings.secret_access_key.is_some() {
        return Err(Fault::permanent(
            "`access_key_id` and `secret_access_key` belong together: give both, or neither to take them from the \
             environment",
        ));
    }
    for (name, _) in &settings.options {
        if !ALLOWED_OPTIONS.contains(&name.as_str()) {
            return Err(Fault::permanent(format!(
                "`{name}` is no option that is passed to S3; these are: {}",
                ALLOWED_OPTIONS.join(", ")
            )));
        }
    }
    Ok(())
}

fn config(settings: &S3Settings, store: &Store) -> Result<S3Config, Fault> {
    let mut options: Vec<(String, String)> = settings
        .options
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    // The signature does not cover the body, so without a checksum a store cannot tell what a plain HTTP connection,
    // or a proxy, did to it. `none` is for stores that refuse the header.
    match options.iter().find(|(name, _)| name == CHECKSUM) {
        None => options.push((CHECKSUM.to_owned(), "crc32c".to_owned())),
        Some((_, value)) if value == "none" => options.retain(|(name, _)| name != CHECKSUM),
        Some(_) => {}
    }
    let own = [
        ("bucket", Some(settings.bucket.as_str())),
        ("root", Some(settings.root.as_str())),
        ("endpoint", Some(store.endpoint.as_str())),
        ("region", Some(settings.region.as_str())),
        (
            "access_key_id",
            settings.access_key_id.as_ref().map(Secret::expose),
        ),
        (
            "secret_access_key",
            settings.secret_access_key.as_ref().map(Secret::expose),
        ),
        (
            "session_token",
            settings.session_token.as_ref().map(Secret::expose),
        ),
    ];
    for (name, value) in own {
        if let Some(value) = value {
            options.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(S3Config::from_iter(options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> S3Settings {
        S3Settings {
            bucket: "lake".into(),
            root: "a/b".into(),
            endpoint: "http://127.0.0.1:9".into(),
            region: "us-east-1".into(),
            access_key_id: Some(Secret::new("AKID".into())),
            secret_access_key: Some(Secret::new("very-secret".into())),
            session_token: None,
            ca_file: None,
            conditional_writes: true,
            options: Vec::new(),
        }
    }

    fn opened(settings: &S3Settings) -> Result<Opened, String> {
        let store = Arc::new(Store::new(settings));
        open(settings, &store, RetryPolicy::default()).map_err(|fault| fault.message)
    }

    fn refused(change: impl FnOnce(&mut S3Settings)) -> String {
        let mut settings = settings();
        change(&mut settings);
        opened(&settings).err().unwrap()
    }

    #[test]
    fn every_allowed_option_is_one_that_opendal_knows() {
        for name in ALLOWED_OPTIONS {
            let value = match *name {
                "checksum_algorithm" => "none",
                "assume_role_duration_seconds" => "3600",
                name if name.starts_with("disable_") || name.starts_with("enable_") => "true",
                "skip_signature" => "true",
                _ => "text",
            };
            let mut settings = settings();
            settings.options = vec![((*name).to_owned(), Secret::new(value.to_owned()))];
            assert_eq!(opened(&settings).err(), None, "{name}");
            // opendal ignores what it does not know, so a name that it dropped is only seen in its own form.
            let known = serde_json::to_value(S3Config::default()).unwrap();
            assert!(known.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_in_words() {
        let append = |s: &mut S3Settings| {
            s.options = vec![(
                "enable_write_with_append".into(),
                Secret::new("true".into()),
            )];
        };
        assert!(refused(append).contains("`enable_write_with_append` is no option"));
        assert!(refused(|s| s.secret_access_key = None).contains("belong together"));
        assert!(refused(|s| s.endpoint = "127.0.0.1:9000".into()).contains("http://"));
        let missing = refused(|s| s.ca_file = Some("/nowhere/ca.pem".into()));
        assert!(missing.contains("`ca_file` `/nowhere/ca.pem`"), "{missing}");
    }

    #[test]
    fn a_file_of_authorities_without_any_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"not a certificate").unwrap();
        let message = refused(|s| s.ca_file = Some(file.path().to_owned()));
        assert!(message.contains("no certificates"), "{message}");
    }
}
