//! The HTTP client below opendal: timeouts by kind of request, refusals in words, and retries of the two kinds of
//! request that may be repeated blindly.
//!
//! opendal's timeout layer has one limit for all, too short for completing a large upload and too long for a look; its
//! retry layer repeats whole operations. Parts of an upload and pages of a listing change nothing when repeated, so
//! they are repeated here, as they were signed (a signature is good for 15 minutes). Whatever else fails goes up to
//! where the protocol knows what it means.
//!
//! Redirects are not followed: a store that redirects is in another region, which has to be configured, and signed
//! requests go nowhere but to the endpoint.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use opendal::{Buffer, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::fault::{Refusal, Silence};
use super::store::Store;
use crate::lake::retry::{Backoff, RetryPolicy};

/// Until a look or a small request is answered.
const ANSWER: Duration = Duration::from_mins(1);
/// Until a large upload is completed: stores put the parts together before they answer.
const COMPLETE: Duration = Duration::from_mins(10);
/// An upload slower than this many bytes a second counts as stalled.
const SLOWEST: u64 = 32 << 10;
/// Until a piece of an object is read.
pub(super) const READ: Duration = Duration::from_mins(5);
/// Until the body of a refusal is read.
const BODY: Duration = Duration::from_secs(30);

pub(super) struct Transport {
    inner: ReqwestTransport,
    store: Arc<Store>,
    policy: RetryPolicy,
}

impl Transport {
    pub fn new(client: reqwest::Client, store: Arc<Store>, policy: RetryPolicy) -> Self {
        Self {
            inner: ReqwestTransport::new(client),
            store,
            policy,
        }
    }

    async fn once(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let limit = limit(&request);
        let endpoint = self.store.endpoint.as_str();
        let response = match tokio::time::timeout(limit, self.inner.fetch(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Silence::because(endpoint, &error).into()),
            Err(_) => return Err(Silence::timeout(endpoint, limit).into()),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await.into())
    }

    async fn refusal(&self, response: Response<HttpBody>) -> Refusal {
        let (head, mut body) = response.into_parts();
        let text = match tokio::time::timeout(BODY, body.to_buffer()).await {
            Ok(Ok(bytes)) => String::from_utf8_lossy(&bytes.to_bytes()).into_owned(),
            _ => String::new(),
        };
        self.store.refusal(&head, &text)
    }

    async fn repeated(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let mut backoff = Backoff::new(self.policy);
        loop {
            let answer = match self.once(request.clone()).await {
                Ok(response) => self.whole(response).await,
                refused => refused,
            };
            match answer {
                Err(error) if error.is_temporary() && backoff.pause(&cause(&error)).await => {
                    tracing::debug!(%error, "repeated");
                }
                answer => return answer,
            }
        }
    }

    /// Reads the body now, so that a body that breaks off is repeated too. Both kinds have small ones.
    async fn whole(&self, response: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
        let (head, mut body) = response.into_parts();
        let bytes = match tokio::time::timeout(ANSWER, body.to_buffer()).await {
            Ok(bytes) => bytes?,
            Err(_) => return Err(Silence::timeout(&self.store.endpoint, ANSWER).into()),
        };
        let length = bytes.len() as u64;
        let stream = futures_util::stream::iter([Ok(bytes)]);
        Ok(Response::from_parts(
            head,
            HttpBody::new(stream, Some(length)),
        ))
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        if !self.store.is_asked_by(request.uri()) {
            // Credential services: what they refuse is for the signer to read.
            return match tokio::time::timeout(ANSWER, self.inner.fetch(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(Silence::timeout("the credential service", ANSWER).into()),
            };
        }
        if may_repeat(&request) {
            self.repeated(request).await
        } else {
            self.once(request).await
        }
    }
}

/// What opendal has wrapped: our own words.
fn cause(error: &opendal::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.message().to_owned(), ToString::to_string)
}

/// Parts of an upload and pages of a listing.
fn may_repeat(request: &Request<Buffer>) -> bool {
    let has = |name: &str| {
        request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair.starts_with(name)))
    };
    match *request.method() {
        Method::PUT => has("partNumber="),
        Method::GET => has("list-type=") || has("prefix="),
        _ => false,
    }
}

fn limit(request: &Request<Buffer>) -> Duration {
    let completes = request.method() == Method::POST
        && request
            .uri()
            .query()
            .is_some_and(|query| query.contains("uploadId="));
    if completes {
        return COMPLETE;
    }
    ANSWER + Duration::from_secs(request.body().len() as u64 / SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, uri: &str, bytes: usize) -> Request<Buffer> {
        Request::builder()
            .method(method)
            .uri(uri)
            .body(Buffer::from(vec![0; bytes]))
            .unwrap()
    }

    #[test]
    fn only_what_changes_nothing_is_repeated() {
        for (method, uri, expected) in [
            (Method::PUT, "http://h/b/k?partNumber=1&uploadId=u", true),
            (Method::GET, "http://h/b?list-type=2&prefix=x", true),
            (Method::PUT, "http://h/b/k", false),
            (Method::POST, "http://h/b/k?uploadId=u", false),
            (Method::POST, "http://h/b/k?uploads", false),
            (Method::DELETE, "http://h/b/k?uploadId=u", false),
        ] {
            assert_eq!(may_repeat(&request(method, uri, 0)), expected, "{uri}");
        }
    }

    #[test]
    fn completing_a_large_upload_may_take_minutes() {
        let complete = request(Method::POST, "http://h/b/k?uploadId=u", 100);
        assert_eq!(limit(&complete), COMPLETE);
        let put = request(Method::PUT, "http://h/b/k", 16 << 20);
        assert_eq!(limit(&put), ANSWER + Duration::from_secs(512));
    }
}
