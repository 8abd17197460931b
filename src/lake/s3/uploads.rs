//! Uploads that were begun and never completed: invisible, but paid for.
//!
//! opendal neither lists uploads nor names theirs, so they are found by two signed requests of our own. Only uploads to
//! one exact key are asked for: MinIO lists no others, and nobody else's upload is ours to abort.

use std::sync::Arc;

use http::{HeaderName, Method, Request, Response};
use opendal::{Buffer, HttpTransporter};
use reqsign_aws_v4::{
    Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider,
};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use serde::Deserialize;

use super::fault::{Fault, FaultKind};
use super::store::Store;
use super::{LakePath, S3Lake};
use crate::config::S3Settings;
use crate::lake::http::encoded;

/// Pages of a listing; a store that never ends it is not followed for ever.
const PAGES_MAX: usize = 1000;

pub(super) struct Uploads {
    store: Arc<Store>,
    transport: HttpTransporter,
    /// Above the lake's root; empty or ending in `/`.
    prefix: String,
    virtual_host: bool,
    /// Of encryption, which only opendal's requests carry: a store may refuse others.
    needs_headers: bool,
    signing: Signing,
}

enum Signing {
    Signed(Box<Signer<Credential>>),
    /// `skip_signature`.
    Open,
    /// Credentials that only opendal can get; says which.
    Unable(&'static str),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Page {
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
    upload: Vec<Upload>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Upload {
    key: String,
    upload_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    upload_id: String,
}

impl Uploads {
    pub fn new(settings: &S3Settings, store: Arc<Store>, transport: HttpTransporter) -> Self {
        let prefix = match settings.root.trim_matches('/') {
            "" => String::new(),
            root => format!("{root}/"),
        };
        let signing = signing(settings, &transport);
        Self {
            store,
            transport,
            prefix,
            virtual_host: option(settings, "enable_virtual_host_style") == Some("true"),
            needs_headers: settings
                .options
                .iter()
                .any(|(name, _)| name.starts_with("server_side_encryption")),
            signing,
        }
    }

    /// Aborts all uploads to `path` and says how many there were.
    pub async fn abort(&self, lake: &S3Lake, path: &LakePath) -> Result<u64, Fault> {
        if let Signing::Unable(why) = self.signing {
            tracing::warn!(%path, why, "unfinished uploads cannot be listed");
            return Ok(0);
        }
        let key = format!("{}{path}", self.prefix);
        let mut aborted = 0;
        let mut markers = (String::new(), String::new());
        for _ in 0..PAGES_MAX {
            let page = match lake.retried(async || self.list(&key, &markers).await).await {
                Ok(page) => page,
                Err(fault) if matches!(fault.status, Some(405 | 501)) => {
                    tracing::warn!(%path, error = %fault.message, "this store does not list unfinished uploads");
                    return Ok(aborted);
                }
                Err(fault) => return Err(fault),
            };
            for upload in page.upload.iter().filter(|upload| upload.key == key) {
                lake.retried(async || self.abort_one(&key, &upload.upload_id).await)
                    .await?;
                aborted += 1;
            }
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if !page.is_truncated || next == markers {
                break;
            }
            markers = next;
        }
        Ok(aborted)
    }

    /// Begins an upload that nobody goes on with.
    pub async fn begin(&self, path: &LakePath) -> Result<(), Fault> {
        let key = format!("{}{path}", self.prefix);
        self.send(Method::POST, &key, "uploads=").await.map(|_| ())
    }

    /// Whether a completion with `If-None-Match: *` is refused over the object at `path`; `None` where that cannot be tried with
    /// requests of our own. MinIO before May 2025, for one, honoured the condition of a PUT and ignored a completion's.
    pub async fn honours_condition(
        &self,
        lake: &S3Lake,
        path: &LakePath,
    ) -> Result<Option<bool>, Fault> {
        if matches!(self.signing, Signing::Unable(_)) || self.needs_headers {
            return Ok(None);
        }
        let key = format!("{}{path}", self.prefix);
        let begun = lake
            .retried(async || self.send(Method::POST, &key, "uploads=").await)
            .await?;
        let begun: Begun = quick_xml::de::from_str(&begun)
            .map_err(|e| Fault::permanent(format!("the answer to a begun upload: {e}")))?;
        let id = encoded(&begun.upload_id, b"");
        let honours = self.complete_over(lake, &key, &id).await;
        if !matches!(honours, Ok(false)) {
            lake.retried(async || self.abort_one(&key, &begun.upload_id).await)
                .await?;
        }
        honours.map(Some)
    }

    /// Of an upload with one small part.
    async fn complete_over(&self, lake: &S3Lake, key: &str, id: &str) -> Result<bool, Fault> {
        let query = format!("partNumber=1&uploadId={id}");
        let part = lake
            .retried(async || {
                let body = Buffer::from(&b"completed over it"[..]);
                self.ask(Method::PUT, key, &query, &[], body).await
            })
            .await?;
        let tag = part.headers().get(http::header::ETAG);
        let tag = tag.and_then(|tag| tag.to_str().ok()).ok_or_else(|| {
            Fault::permanent("a part of an upload was taken without an ETag: this is no S3 store")
        })?;
        let parts = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            quick_xml::escape::escape(tag)
        );
        let query = format!("uploadId={id}");
        let completed = lake
            .retried(async || {
                let body = Buffer::from(parts.clone());
                let condition = [(http::header::IF_NONE_MATCH, "*")];
                self.ask(Method::POST, key, &query, &condition, body).await
            })
            .await;
        match completed {
            // A store may begin to answer before it knows, and say the fault in the body.
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let body = text(&body);
                if !body.contains("<Error>") {
                    return Ok(false);
                }
                let fault = Fault::from(&self.store.refusal(&head, &body));
                (fault.kind == FaultKind::Condition)
                    .then_some(true)
                    .ok_or(fault)
            }
            Err(fault) if fault.kind == FaultKind::Condition => Ok(true),
            // Completed by a request whose answer was lost, or a store that knows no such header.
            Err(fault) if fault.kind == FaultKind::Absent || fault.status == Some(501) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    async fn list(&self, key: &str, markers: &(String, String)) -> Result<Page, Fault> {
        let mut query = format!("uploads=&prefix={}", encoded(key, b""));
        if !markers.0.is_empty() {
            query.push_str(&format!("&key-marker={}", encoded(&markers.0, b"")));
            query.push_str(&format!("&upload-id-marker={}", encoded(&markers.1, b"")));
        }
        let body = self.send(Method::GET, "", &query).await?;
        quick_xml::de::from_str(&body)
            .map_err(|e| Fault::permanent(format!("the list of unfinished uploads: {e}")))
    }

    async fn abort_one(&self, key: &str, id: &str) -> Result<(), Fault> {
        let query = format!("uploadId={}", encoded(id, b""));
        match self.send(Method::DELETE, key, &query).await {
            Ok(_) => Ok(()),
            // Completed or aborted meanwhile.
            Err(fault) if fault.kind == FaultKind::Absent => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn send(&self, method: Method, key: &str, query: &str) -> Result<String, Fault> {
        let answer = self.ask(method, key, query, &[], Buffer::new()).await?;
        Ok(text(answer.body()))
    }

    async fn ask(
        &self,
        method: Method,
        key: &str,
        query: &str,
        headers: &[(HeaderName, &str)],
        body: Buffer,
    ) -> Result<Response<Buffer>, Fault> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url(key, query))
            .header(http::header::CONTENT_LENGTH, body.len());
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request
            .body(body)
            .map_err(|e| Fault::permanent(format!("a request that cannot be made: {e}")))?;
        let (mut head, body) = request.into_parts();
        if let Signing::Signed(signer) = &self.signing {
            signer
                .sign(&mut head, None)
                .await
                .map_err(|e| Fault::permanent(format!("no credentials to sign with: {e}")))?;
            head.headers.remove(http::header::HOST);
        }
        Ok(self.transport.send(Request::from_parts(head, body)).await?)
    }

    fn url(&self, key: &str, query: &str) -> String {
        let Store {
            endpoint, bucket, ..
        } = &*self.store;
        let key = encoded(key, b"/");
        match endpoint.split_once("://") {
            Some((scheme, host)) if self.virtual_host => {
                format!("{scheme}://{bucket}.{host}/{key}?{query}")
            }
            _ if key.is_empty() => format!("{endpoint}/{bucket}?{query}"),
            _ => format!("{endpoint}/{bucket}/{key}?{query}"),
        }
    }
}

fn text(body: &Buffer) -> String {
    String::from_utf8_lossy(&body.to_bytes()).into_owned()
}

fn option<'a>(settings: &'a S3Settings, name: &str) -> Option<&'a str> {
    settings
        .options
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.expose())
}

/// The same credentials as opendal's, found in the same order.
fn signing(settings: &S3Settings, transport: &HttpTransporter) -> Signing {
    let is_on = |name| option(settings, name) == Some("true");
    if is_on("skip_signature") {
        return Signing::Open;
    }
    if option(settings, "role_arn").is_some() {
        return Signing::Unable("`role_arn` is used");
    }
    if settings.bucket.ends_with("--x-s3") {
        return Signing::Unable("a directory bucket signs by sessions");
    }
    let mut provider = DefaultCredentialProvider::builder();
    if is_on("disable_config_load") {
        provider = provider.no_env().no_profile();
    } else if let Some(profile) = option(settings, "profile").filter(|name| !name.is_empty()) {
        provider = provider.with_profile(profile);
    }
    if is_on("disable_ec2_metadata") {
        provider = provider.no_imds();
    }
    let mut chain = ProvideCredentialChain::new().push(provider.build());
    if let (Some(id), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) {
        let fixed = StaticCredentialProvider::new(id.expose(), secret.expose());
        chain = chain.push_front(match &settings.session_token {
            Some(token) => fixed.with_session_token(token.expose()),
            None => fixed,
        });
    }
    let context = Context::new()
        .with_file_read(TokioFileRead)
        .with_http_send(transport.clone())
        .with_env(OsEnv);
    let signer = RequestSigner::new("s3", &settings.region);
    Signing::Signed(Box::new(Signer::new(context, chain, signer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_uploads_is_read_with_and_without_uploads() {
        let xml = "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Bucket>b</Bucket><NextKeyMarker>k&amp;1</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>\
            <IsTruncated>true</IsTruncated><Upload><Key>k&amp;1</Key><UploadId>u1</UploadId><Owner><ID>x</ID></Owner>\
            </Upload><Upload><Key>k2</Key><UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>";
        let page: Page = quick_xml::de::from_str(xml).unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.next_key_marker, "k&1");
        assert_eq!(page.upload.len(), 2);
        assert_eq!(page.upload[0].key, "k&1");
        let empty = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
        let page: Page = quick_xml::de::from_str(empty).unwrap();
        assert!(page.upload.is_empty());
    }
}
