//! Which store this is, and what its refusals mean.
//!
//! No secret leaves this module: whatever is said of the store goes through [`Store::scrub`].

use http::{Uri, response};

use super::fault::Refusal;
use crate::config::{S3Settings, redact};

/// So much of a store's own words is repeated.
const MESSAGE_CHARS_MAX: usize = 300;

pub(super) struct Store {
    /// With scheme, without a trailing `/`.
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    access_key_id: Option<String>,
    secrets: Vec<String>,
}

impl Store {
    pub fn new(settings: &S3Settings) -> Self {
        let secrets = [&settings.secret_access_key, &settings.session_token]
            .into_iter()
            .flatten()
            .chain(
                settings
                    .options
                    .iter()
                    .filter(|(name, _)| name.contains("customer_key"))
                    .map(|(_, value)| value),
            )
            .map(|secret| secret.expose().to_owned())
            .filter(|secret| !secret.is_empty())
            .collect();
        Self {
            endpoint: endpoint(settings),
            bucket: settings.bucket.clone(),
            region: settings.region.clone(),
            access_key_id: settings
                .access_key_id
                .as_ref()
                // For messages only; one that came by `${file:…}` counts as a secret.
                .map(|id| redact::mask(id.expose()).into_owned()),
            secrets,
        }
    }

    /// Whether this request goes to the store, and not to a service that hands out credentials.
    pub fn is_asked_by(&self, uri: &Uri) -> bool {
        let Ok(endpoint) = self.endpoint.parse::<Uri>() else {
            return false;
        };
        match (endpoint.host(), uri.host()) {
            (Some(ours), Some(asked)) => {
                endpoint.port_u16() == uri.port_u16()
                    && (asked == ours || asked.strip_suffix(ours).is_some_and(|b| b.ends_with('.')))
            }
            _ => false,
        }
    }

    /// `message` without any of the store's secrets.
    pub fn scrub(&self, message: &str) -> String {
        self.secrets
            .iter()
            .fold(redact::mask(message).into_owned(), |text, secret| {
                text.replace(secret, "…")
            })
    }

    pub fn refusal(&self, head: &response::Parts, body: &str) -> Refusal {
        let status = head.status.as_u16();
        let code = element(body, "Code").unwrap_or_default();
        let message = element(body, "Message").unwrap_or_else(|| plain_text(body));
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let region = element(body, "Region")
            .or_else(|| header("x-amz-bucket-region").map(str::to_owned))
            .filter(|region| *region != self.region);
        let advice = self.advice(status, &code, region.as_deref(), header("date"));
        Refusal {
            status,
            code: self.scrub(&code),
            message: self.scrub(&shortened(&message)),
            advice,
        }
    }

    /// What to mend.
    fn advice(&self, status: u16, code: &str, region: Option<&str>, date: Option<&str>) -> String {
        let Self { bucket, .. } = self;
        let key = match &self.access_key_id {
            Some(id) => format!("access key id `{id}`"),
            None => "access key from the environment".to_owned(),
        };
        if let Some(region) = region
            && matches!(status, 301 | 307 | 400 | 403)
        {
            let configured = &self.region;
            return format!(
                "the bucket `{bucket}` is in the region `{region}` and not in `{configured}`: set `region` (and \
                 `endpoint`) to it"
            );
        }
        match (status, code) {
            (_, "InvalidAccessKeyId") => format!("the {key} is not known to this store"),
            (_, "SignatureDoesNotMatch") => format!(
                "the secret access key does not belong to the {key}, or something between alters the requests"
            ),
            (_, "RequestTimeTooSkewed" | "RequestExpired") => format!(
                "this machine's clock and the store's differ too much (the store says {}): set the clock",
                date.unwrap_or("nothing of its own")
            ),
            (_, "ExpiredToken" | "InvalidToken" | "InvalidTokenId" | "TokenRefreshRequired") => {
                "the session token is not valid, or not any more: get a new one, and the keys that belong to it".to_owned()
            }
            (_, "NoSuchBucket") => {
                format!(
                    "there is no bucket `{bucket}` at this endpoint: make it, or mend `bucket` or `endpoint`"
                )
            }
            (_, "InvalidBucketName") => format!("`{bucket}` cannot be a bucket's name"),
            (301 | 302 | 307 | 308, _) => format!(
                "the store redirects to elsewhere: is `{bucket}` in another region, or `endpoint` not the store itself?"
            ),
            (401 | 403, _) => format!(
                "the {key} may not do that in the bucket `{bucket}`, or is wrong: it needs permission to list the \
                 bucket, to get, put and delete objects, and to list and abort multipart uploads"
            ),
            (_, "KeyTooLongError") => {
                "an object's name is limited to 1024 bytes: shorten `path`".to_owned()
            }
            (507, _) | (_, "XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage") => {
                "the store is full".to_owned()
            }
            _ => String::new(),
        }
    }
}

/// The endpoint as requests name it.
fn endpoint(settings: &S3Settings) -> String {
    match settings.endpoint.trim_end_matches('/') {
        "" | "https://s3.amazonaws.com" => format!("https://s3.{}.amazonaws.com", settings.region),
        endpoint => endpoint.to_owned(),
    }
}

/// The text of the first element of this name. Errors of stores are flat; a parser would refuse the many that are not
/// well-formed.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), Into::into);
    Some(text.trim().to_owned())
}

/// What a server that is no S3 store says in a few words; nothing of its pages.
fn plain_text(body: &str) -> String {
    let text = body.trim();
    if text.starts_with(['<', '{']) {
        return String::new();
    }
    text.to_owned()
}

fn shortened(message: &str) -> String {
    let message = message.replace(char::is_control, " ");
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn store() -> Store {
        Store::new(&S3Settings {
            bucket: "lake".into(),
            root: String::new(),
            endpoint: "http://127.0.0.1:9000/".into(),
            region: "us-east-1".into(),
            access_key_id: Some(Secret::new("AKID".into())),
            secret_access_key: Some(Secret::new("very-secret".into())),
            session_token: Some(Secret::new("a-token".into())),
            ca_file: None,
            conditional_writes: true,
            options: Vec::new(),
        })
    }

    fn refused(status: u16, body: &str) -> String {
        let (head, ()) = http::Response::builder()
            .status(status)
            .body(())
            .unwrap()
            .into_parts();
        store().refusal(&head, body).to_string()
    }

    #[test]
    fn refusals_say_what_to_mend() {
        for (status, code, words) in [
            (403, "InvalidAccessKeyId", "`AKID` is not known"),
            (
                403,
                "SignatureDoesNotMatch",
                "does not belong to the access key id `AKID`",
            ),
            (404, "NoSuchBucket", "there is no bucket `lake`"),
            (403, "RequestTimeTooSkewed", "set the clock"),
            (403, "", "permission"),
            (301, "PermanentRedirect", "another region"),
        ] {
            let text = refused(status, &format!("<Error><Code>{code}</Code></Error>"));
            assert!(text.contains(words), "{text}");
        }
        let body =
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        assert!(refused(400, body).contains("in the region `eu-west-1` and not in `us-east-1`"));
    }

    #[test]
    fn a_secret_that_a_store_echoes_is_not_repeated() {
        let body = "<Error><Code>X</Code><Message>very-secret &amp; a-token</Message></Error>";
        let text = refused(400, body);
        assert!(text.contains("(… & …)"), "{text}");
    }

    #[test]
    fn requests_to_credential_services_are_told_from_those_to_the_store() {
        let store = store();
        for (uri, ours) in [
            ("http://127.0.0.1:9000/lake/k", true),
            ("http://lake.127.0.0.1:9000/k", true),
            ("http://169.254.169.254/latest", false),
            ("http://127.0.0.1:9001/lake/k", false),
            ("http://x127.0.0.1:9000/lake/k", false),
        ] {
            assert_eq!(store.is_asked_by(&uri.parse().unwrap()), ours, "{uri}");
        }
    }
}
