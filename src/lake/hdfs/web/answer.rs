//! What WebHDFS answers, and what became of a request that it did not answer.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::ANSWER;
use crate::config::redact;
use crate::lake::hdfs::calls::Info;
use crate::lake::hdfs::fault::Fault;

#[derive(Deserialize)]
pub(super) struct Refusal {
    #[serde(rename = "RemoteException")]
    pub remote: Exception,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exception {
    #[serde(rename = "exception")]
    pub class: String,
    #[serde(default)]
    pub java_class_name: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StatusAnswer {
    pub file_status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListAnswer {
    pub file_statuses: Statuses,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statuses {
    pub file_status: Vec<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(default)]
    pub path_suffix: String,
    pub length: u64,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub modification_time: u64,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    pub boolean: bool,
}

/// What an answer other than 2xx means.
pub(super) fn refusal(endpoint: &str, status: StatusCode, body: &[u8], has_token: bool) -> Fault {
    if let Ok(Refusal { remote }) = serde_json::from_slice(body) {
        let class = match remote.java_class_name.as_str() {
            "" => &remote.class,
            class => class,
        };
        let mut fault = Fault::remote(class, &remote.message);
        fault.message = redact::mask(&fault.message).into_owned();
        return fault;
    }
    let number = status.as_u16();
    match number {
        401 => Fault::permanent(format!(
            "{endpoint} wants to know who asks (401): this program does no SPNEGO over HTTP; give a `delegation_token`, or use `type = \"hdfs\"`, which speaks Kerberos"
        )),
        403 if has_token => Fault::permanent(format!(
            "{endpoint} answered 403: is `delegation_token` valid still?"
        )),
        404 => Fault::permanent(format!(
            "{endpoint} answered 404 and not as WebHDFS does: is this the NameNode's HTTP address, is `dfs.webhdfs.enabled` true?"
        )),
        408 | 429 | 500..=599 if number != 501 => {
            Fault::transient(format!("{endpoint} answered {number}"))
        }
        _ => Fault::permanent(format!(
            "{endpoint} answered {number}, which WebHDFS does not: is this the NameNode's HTTP address?"
        )),
    }
}

pub(super) fn info(name: &str, status: &Status) -> Info {
    Info {
        name: name.to_owned(),
        length: status.length,
        is_dir: status.kind == "DIRECTORY",
        modified_ms: status.modification_time,
    }
}

/// Whom a message names: an address' query may hold a token.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

pub(super) fn stalled(host: &str, limit: Duration) -> Fault {
    Fault::transient(format!(
        "no answer from {host} within {} s",
        limit.as_secs()
    ))
}

/// What broke below HTTP. reqwest's own text would quote the address.
pub(super) fn silence(host: &str, error: &reqwest::Error) -> Fault {
    if error.is_timeout() && !error.is_connect() {
        return stalled(host, ANSWER);
    }
    let mut innermost = error.to_string();
    let mut source = std::error::Error::source(error);
    if source.is_some() || error.url().is_some() {
        "the request failed".clone_into(&mut innermost);
    }
    while let Some(cause) = source {
        if let Some(tls) = tls(cause) {
            return Fault::permanent(format!(
                "TLS with {host} failed ({tls}): name the file with its authority as `ca_file`, or is it an http:// address?"
            ));
        }
        innermost = cause.to_string();
        source = cause.source();
    }
    let lower = innermost.to_ascii_lowercase();
    if lower.contains("invalid http header") {
        return Fault::permanent(format!(
            "{host} answered what is no HTTP: Hadoop 2 does so for names with emoji or certain other letters; use `type = \"hdfs\"`, or plain names in `sink.path`"
        ));
    }
    Fault::transient(if lower.contains("connection refused") {
        format!(
            "nothing listens at {host} (connection refused): is the server running, is the port right?"
        )
    } else if lower.contains("lookup address") || lower.contains("dns error") {
        format!(
            "the host of {host} cannot be found ({innermost}): does DNS answer? (a DataNode's name must be known here too)"
        )
    } else {
        format!("no answer from {host}: {innermost}")
    })
}

/// An `io::Error` hides what it wraps from `source`, so it is asked for it.
fn tls<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = cause.downcast_ref() {
        return Some(tls);
    }
    let inner = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls(inner)
}
