//! The calls by WebHDFS: the NameNode's HTTP port, or a gateway that speaks the same (HttpFS, Knox).
//!
//! A write is two requests: the NameNode answers the first with the address of a DataNode, which takes the body. When
//! the connection to it breaks, the DataNode closes what it has as if that were all, so only its 201 says that a file is
//! whole.
//!
//! There is no sync over HTTP. Newer DataNodes are asked to sync each block as they close it (`SYNC_BLOCK`); 2.x ones
//! ignore that, and what they closed in the last seconds may be lost if the power of all of them fails at once.
//!
//! RENAME is asked for with an option that gives it the NameNode's newer meaning, which refuses whatever stands there.
//! A gateway that does not know the option answers with a boolean of the older one: `false` for a file that is there, a
//! missing directory and more alike, and `true` also for having moved the file *into* a directory of that name.

mod answer;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::sync::mpsc;

use self::answer::{Answer, ListAnswer, StatusAnswer, host, info, refusal, silence, stalled};
use super::calls::{Calls, Info};
use super::contents::Contents;
use super::fault::{Fault, FaultKind};
use super::land::parent;
use crate::config::{Secret, WebHdfsSettings};
use crate::lake::http::{self, encoded};

const ANSWER: Duration = Duration::from_mins(1);
/// Without a byte going either way.
const STALL: Duration = Duration::from_mins(2);
/// After the last byte of a file: its blocks are closed then.
const CLOSE: Duration = Duration::from_mins(5);
/// Pieces of a file that wait to be sent.
const PIECES: usize = 2;
/// Directories that were made already; beyond it the memory begins anew.
const MADE_MAX: usize = 10_000;

pub struct Web {
    client: reqwest::Client,
    /// With scheme, without a path.
    endpoints: Vec<String>,
    /// The one that answered last.
    current: AtomicUsize,
    user: Option<String>,
    token: Option<Secret>,
    umask: u32,
    replication: Option<u32>,
    block_size: Option<u64>,
    made: Mutex<HashSet<String>>,
}

impl Web {
    /// Asks nothing yet.
    pub(super) fn open(settings: &WebHdfsSettings) -> Result<Self, Fault> {
        // Old DataNodes put the file's name into a header as it is, which only ASCII names survive.
        let client = http::builder(settings.ca_file.as_deref())
            .and_then(|builder| {
                http::build(builder.http1_ignore_invalid_headers_in_responses(true))
            })
            .map_err(Fault::permanent)?;
        Ok(Self {
            client,
            endpoints: settings.endpoints.clone(),
            current: AtomicUsize::new(0),
            user: settings.user.clone(),
            token: settings.delegation_token.clone(),
            umask: settings.umask.unwrap_or(0o022),
            replication: settings.replication,
            block_size: settings.block_size,
            made: Mutex::default(),
        })
    }

    /// `?op=…` and who asks.
    fn query(&self, operation: &str) -> String {
        let mut query = format!("?op={operation}");
        if let Some(token) = &self.token {
            query.push_str(&format!("&delegation={}", encoded(token.expose(), b"")));
        } else if let Some(user) = &self.user {
            query.push_str(&format!("&user.name={}", encoded(user, b"")));
        }
        query
    }

    /// Asks the NameNodes, the one that answered last first. Another one is asked only if this one surely did nothing.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        operation: &str,
        more: &str,
    ) -> Result<Response, Fault> {
        let first = self.current.load(Ordering::Relaxed);
        let mut answer = Err(Fault::permanent("no `endpoint` is given"));
        for n in 0..self.endpoints.len() {
            let index = (first + n) % self.endpoints.len();
            let endpoint = &self.endpoints[index];
            let address = format!(
                "{endpoint}/webhdfs/v1{}{}{more}",
                encoded(path, b"/"),
                self.query(operation)
            );
            let request = self.client.request(method.clone(), address);
            // A PUT without a body must say so.
            let sent = request.header(CONTENT_LENGTH, 0).timeout(ANSWER).send();
            let (result, elsewhere) = match sent.await {
                Ok(response) => {
                    let result = self.checked(endpoint, response).await;
                    let standby =
                        matches!(&result, Err(fault) if fault.message.contains("StandbyException"));
                    (result, standby)
                }
                Err(error) => (Err(silence(endpoint, &error)), error.is_connect()),
            };
            if !elsewhere {
                self.current.store(index, Ordering::Relaxed);
                return result;
            }
            answer = result;
        }
        answer
    }

    /// The answer if it is none of a refusal.
    async fn checked(&self, endpoint: &str, response: Response) -> Result<Response, Fault> {
        let status = response.status();
        if status.is_success() || status == StatusCode::TEMPORARY_REDIRECT {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(refusal(endpoint, status, &body, self.token.is_some()))
    }

    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        operation: &str,
        more: &str,
    ) -> Result<T, Fault> {
        let response = self.ask(method, path, operation, more).await?;
        let host = host(response.url());
        let body = response
            .bytes()
            .await
            .map_err(|error| silence(&host, &error))?;
        serde_json::from_slice(&body).map_err(|_| {
            Fault::permanent(format!(
                "{host} answered what is none of WebHDFS: is this the NameNode's HTTP address?"
            ))
        })
    }

    /// Directories get their own permission only if they are made before the file.
    async fn make_dirs_once(&self, dir: &str) -> Result<(), Fault> {
        let is_made = |made: &HashSet<String>| made.contains(dir);
        if is_made(&self.made.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        self.make_dirs(dir).await?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MADE_MAX {
            made.clear();
        }
        made.insert(dir.to_owned());
        Ok(())
    }

    async fn send(&self, url: Url, contents: &mut Contents) -> Result<(), Fault> {
        let host = host(&url);
        let (pieces, receiver) = mpsc::channel(PIECES);
        let body = futures_util::stream::unfold(receiver, async |mut receiver| {
            let piece: Option<Result<bytes::Bytes, std::io::Error>> = receiver.recv().await;
            piece.map(|piece| (piece, receiver))
        });
        let request = self
            .client
            .put(url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, contents.length())
            .body(Body::wrap_stream(body));
        let (fed, sent) = tokio::join!(feed(contents, pieces), request.send());
        fed?;
        let response = sent.map_err(|error| silence(&host, &error))?;
        let response = self.checked(&host, response).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(());
        }
        Err(Fault::permanent(format!(
            "{host} answered {} to a file, and not 201",
            response.status().as_u16()
        )))
    }

    /// What an answer of the older meaning is worth.
    async fn look_at_rename(&self, done: bool, from: &str, to: &str) -> Result<(), Fault> {
        if !done {
            return Err(Fault {
                kind: FaultKind::Refused,
                message: format!("the gateway did not rename `{from}` and does not say why"),
            });
        }
        if self.info(to).await?.is_some_and(|info| info.is_dir) {
            let name = from.rsplit('/').next().unwrap_or_default();
            self.delete(&format!("{to}/{name}")).await?;
            return Err(Fault {
                kind: FaultKind::Exists,
                message: "a directory stands there".to_owned(),
            });
        }
        Ok(())
    }
}

/// Where the NameNode sends a request to; `None` for a gateway that answers itself.
fn location(response: &Response) -> Result<Option<Url>, Fault> {
    if response.status() != StatusCode::TEMPORARY_REDIRECT {
        return Ok(None);
    }
    let text = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let url = Url::parse(text)
        .map_err(|e| Fault::permanent(format!("the NameNode redirects to no address: {e}")))?;
    let secure = response.url().scheme() == "https";
    if url.scheme() != "https" && (secure || url.scheme() != "http") {
        return Err(Fault::permanent(format!(
            "the NameNode redirects from {} to {}, which would send what is secret in the open: see `dfs.http.policy`",
            response.url().scheme(),
            url.scheme()
        )));
    }
    Ok(Some(url))
}

/// Hands pieces to the request until one of both ends; dropping the sender ends the body.
async fn feed(
    contents: &mut Contents,
    pieces: mpsc::Sender<Result<bytes::Bytes, std::io::Error>>,
) -> Result<(), Fault> {
    loop {
        let piece = match contents.next(u64::MAX) {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(()),
            Err(fault) => {
                let broken = std::io::Error::other("the staged copy cannot be read");
                let _ = pieces.send(Err(broken)).await;
                return Err(fault);
            }
        };
        match tokio::time::timeout(STALL, pieces.send(Ok(piece))).await {
            Ok(Ok(())) => {}
            // The request has ended, and says how.
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                return Err(Fault::transient(format!(
                    "a DataNode has taken nothing for {} s",
                    STALL.as_secs()
                )));
            }
        }
    }
}

impl Calls for Web {
    fn service(&self) -> String {
        let mut endpoints = self.endpoints.clone();
        endpoints.sort_unstable();
        endpoints.join(",")
    }

    async fn info(&self, path: &str) -> Result<Option<Info>, Fault> {
        match self.json(Method::GET, path, "GETFILESTATUS", "").await {
            Ok(StatusAnswer { file_status }) => {
                let name = path.rsplit('/').next().unwrap_or_default();
                Ok(Some(info(name, &file_status)))
            }
            Err(fault) if fault.kind == FaultKind::Absent => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn make_dirs(&self, path: &str) -> Result<(), Fault> {
        let more = format!("&permission={:o}", 0o777 & !self.umask);
        let answer = self.json(Method::PUT, path, "MKDIRS", &more).await;
        match answer {
            Ok(Answer { boolean: true }) => Ok(()),
            Ok(Answer { boolean: false }) => Err(Fault::permanent(format!(
                "the directory `{path}` was not made, and why is not said"
            ))),
            Err(fault) if fault.kind == FaultKind::Exists => Err(Fault::permanent(format!(
                "{}: a file stands where the directory `{path}` is needed",
                fault.message
            ))),
            Err(fault) if fault.kind == FaultKind::Absent => Err(Fault::permanent(fault.message)),
            Err(fault) => Err(fault),
        }
    }

    async fn write(&self, path: &str, contents: &mut Contents) -> Result<(), Fault> {
        self.make_dirs_once(parent(path)).await?;
        let mut more = format!(
            "&overwrite=false&createflag=CREATE,SYNC_BLOCK&permission={:o}",
            0o666 & !self.umask
        );
        if let Some(size) = self.block_size {
            more.push_str(&format!("&blocksize={size}"));
        }
        if let Some(replication) = self.replication {
            more.push_str(&format!("&replication={replication}"));
        }
        let response = self.ask(Method::PUT, path, "CREATE", &more).await?;
        let Some(url) = location(&response)? else {
            return Err(Fault::permanent(format!(
                "{} took a file without redirecting to where its contents go: it is no WebHDFS",
                host(response.url())
            )));
        };
        let limit = CLOSE + Duration::from_millis(contents.length() / 100);
        match tokio::time::timeout(limit, self.send(url, contents)).await {
            Ok(sent) => sent,
            Err(_) => Err(Fault::transient(format!(
                "a DataNode has not taken a file of {} bytes within {} s",
                contents.length(),
                limit.as_secs()
            ))),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        let more = format!("&renameoptions=NONE&destination={}", encoded(to, b"/"));
        let response = self.ask(Method::PUT, from, "RENAME", &more).await?;
        let host = host(response.url());
        let body = response
            .bytes()
            .await
            .map_err(|error| silence(&host, &error))?;
        match serde_json::from_slice::<Answer>(&body) {
            Ok(answer) => self.look_at_rename(answer.boolean, from, to).await,
            Err(_) if body.is_empty() => Ok(()),
            Err(_) => Err(Fault::permanent(format!(
                "{host} answered what is none of WebHDFS to a rename"
            ))),
        }
    }

    async fn delete(&self, path: &str) -> Result<bool, Fault> {
        match self
            .json(Method::DELETE, path, "DELETE", "&recursive=false")
            .await
        {
            Ok(Answer { boolean }) => Ok(boolean),
            Err(fault) if fault.kind == FaultKind::Absent => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    async fn list(&self, dir: &str) -> Result<Option<Vec<Info>>, Fault> {
        let found: Result<ListAnswer, Fault> = self.json(Method::GET, dir, "LISTSTATUS", "").await;
        let found = match found {
            Ok(answer) => answer.file_statuses.file_status,
            Err(fault) if fault.kind == FaultKind::Absent => return Ok(None),
            Err(fault) => return Err(fault),
        };
        // A file lists itself.
        if found.iter().any(|status| status.path_suffix.is_empty()) {
            return Ok(None);
        }
        let infos = found.iter().map(|status| info(&status.path_suffix, status));
        Ok(Some(infos.collect()))
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let Range { start, end } = range;
        let mut left = end - start;
        // Old NameNodes refuse to begin at the end.
        if left == 0 {
            return Ok(true);
        }
        let opened = self
            .ask(Method::GET, path, "OPEN", &format!("&offset={start}"))
            .await;
        let response = match opened {
            Err(fault) if fault.kind == FaultKind::Absent => return Ok(false),
            opened => opened?,
        };
        let mut response = match location(&response)? {
            None => response,
            Some(url) => {
                let host = host(&url);
                let sent = tokio::time::timeout(ANSWER, self.client.get(url).send()).await;
                let response = sent
                    .map_err(|_| stalled(&host, ANSWER))?
                    .map_err(|error| silence(&host, &error))?;
                self.checked(&host, response).await?
            }
        };
        let host = host(response.url());
        while left > 0 {
            let piece = tokio::time::timeout(STALL, response.chunk())
                .await
                .map_err(|_| stalled(&host, STALL))?
                .map_err(|error| silence(&host, &error))?;
            let Some(piece) = piece else {
                return Err(Fault::transient(format!(
                    "{host} ended a file {left} bytes before its end"
                )));
            };
            if piece.len() as u64 > left {
                return Err(Fault::permanent("it was replaced while it was read"));
            }
            left -= piece.len() as u64;
            take(&piece)?;
        }
        Ok(true)
    }
}
