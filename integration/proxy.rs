//! A proxy between a lake and its store that loses what it is told to lose, or does with each exchange what it is told by chance.
//!
//! It passes every request on as it is, over a connection of its own, and so knows when the store has done the work:
//! only then is an answer lost, as it is lost when a network breaks at the worst moment. It counts them by operation, too,
//! and stands before a NameNode as well: where that sends a client on to a DataNode, the way leads through the proxy.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// What a request is, by method and query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Put,
    Begin,
    Part,
    Complete,
    Abort,
    Head,
    Get,
    List,
    Other,
}

/// What becomes of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passed,
    /// The connection breaks before the store hears of it.
    Cut,
    /// The store gets half of it.
    HalfSent,
    /// The store gets it so late, whatever has become of whoever sent it.
    SentLate(Duration),
    /// Done twice; the second answer is given.
    Repeated,
    /// Done and not answered.
    Unanswered,
    /// Done, and half of the answer is given.
    HalfAnswered,
    /// Done, and answered so late.
    AnsweredLate(Duration),
    /// Done, and answered after a later request was.
    Overtaken,
    /// Done, and answered with this status all the same.
    Denied(u16),
    /// Answered with this status; the store does not hear of it.
    Refused(u16),
}

type Decide = Box<dyn FnMut(Kind) -> Fate + Send>;

#[derive(Default)]
struct State {
    down: bool,
    /// So many answers of a kind are still to be lost, after the work.
    answers: HashMap<Kind, u32>,
    /// So many requests of a kind are still to be lost, before the work.
    requests: HashMap<Kind, u32>,
    /// So many bodies of a kind are still to be damaged on their way.
    bodies: HashMap<Kind, u32>,
    seen: HashMap<Kind, u32>,
    operations: Operations,
    /// Where the NameNode sent a client last.
    data_node: Option<String>,
    decide: Option<Decide>,
    /// Exchanges that are not over, for the client or for the store.
    under_way: usize,
    /// How many were answered.
    answered: u64,
}

/// Requests by operation, as S3's and WebHDFS's manuals name them.
pub type Operations = BTreeMap<String, u32>;

/// Ends when it is dropped.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// `endpoint`: `http://host:port`.
    pub fn start(runtime: &Handle, endpoint: &str) -> Self {
        let upstream = endpoint.strip_prefix("http://").unwrap().to_owned();
        let state = Arc::<Mutex<State>>::default();
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = runtime.spawn(serve(listener, upstream, Arc::clone(&state)));
        Self { port, state, task }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next `count` requests of this kind are done and not answered.
    pub fn lose_answers(&self, kind: Kind, count: u32) {
        self.state.lock().unwrap().answers.insert(kind, count);
    }

    /// The next `count` requests of this kind never reach the store.
    pub fn lose_requests(&self, kind: Kind, count: u32) {
        self.state.lock().unwrap().requests.insert(kind, count);
    }

    /// The last byte of the next `count` requests of this kind is changed on its way.
    pub fn damage_bodies(&self, kind: Kind, count: u32) {
        self.state.lock().unwrap().bodies.insert(kind, count);
    }

    /// While it is down every connection breaks.
    pub fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// From now on the fate of each exchange is asked of this.
    pub fn decide(&self, decide: impl FnMut(Kind) -> Fate + Send + 'static) {
        self.state.lock().unwrap().decide = Some(Box::new(decide));
    }

    /// From now on all is passed.
    pub fn relent(&self) {
        self.state.lock().unwrap().decide = None;
    }

    /// Whether no exchange is under way any more, late ones included.
    pub fn is_quiet(&self) -> bool {
        self.state.lock().unwrap().under_way == 0
    }

    pub fn seen(&self, kind: Kind) -> u32 {
        let state = self.state.lock().unwrap();
        state.seen.get(&kind).copied().unwrap_or(0)
    }

    /// Those since the last call.
    pub fn operations(&self) -> Operations {
        std::mem::take(&mut self.state.lock().unwrap().operations)
    }
}

async fn serve(listener: TcpListener, upstream: String, state: Arc<Mutex<State>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (upstream, state) = (upstream.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            state.lock().unwrap().under_way += 1;
            // A connection that breaks is what this is for.
            let _ = exchange(client, &upstream, &state).await;
            state.lock().unwrap().under_way -= 1;
        });
    }
}

async fn exchange(
    mut client: TcpStream,
    upstream: &str,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    if state.lock().unwrap().down {
        return Ok(());
    }
    let mut request = read_request(&mut client).await?;
    let line = request_line(&request);
    let kind = kind(&line);
    let (lost, fate) = {
        let mut state = state.lock().unwrap();
        *state.seen.entry(kind).or_default() += 1;
        *state.operations.entry(operation(&line)).or_default() += 1;
        if take_one(&mut state.bodies, kind)
            && let Some(last) = request.last_mut()
        {
            *last ^= 1;
        }
        let lost = state.down || take_one(&mut state.requests, kind);
        let fate = state.decide.as_mut().map(|decide| decide(kind));
        (lost, fate.unwrap_or(Fate::Passed))
    };
    match fate {
        _ if lost => return Ok(()),
        Fate::Cut => return Ok(()),
        Fate::Refused(status) => return answer_with(&mut client, status).await,
        Fate::HalfSent => {
            let mut server = TcpStream::connect(upstream).await?;
            return server.write_all(&request[..request.len() / 2]).await;
        }
        Fate::SentLate(delay) => tokio::time::sleep(delay).await,
        Fate::Repeated => {
            ask(upstream, &request).await?;
        }
        _ => {}
    }
    let data_node = state.lock().unwrap().data_node.clone();
    let address = match &data_node {
        Some(data_node) if for_data_node(&line) => data_node,
        _ => upstream,
    };
    let mut answer = ask(address, &request).await?;
    let own = client.local_addr()?.to_string();
    if let Some(data_node) = redirect_here(&mut answer, &own) {
        state.lock().unwrap().data_node = Some(data_node);
    }
    let lost = {
        let mut state = state.lock().unwrap();
        state.down || take_one(&mut state.answers, kind)
    };
    match fate {
        _ if lost => return Ok(()),
        Fate::Unanswered => return Ok(()),
        Fate::Denied(status) => return answer_with(&mut client, status).await,
        Fate::HalfAnswered => return client.write_all(&answer[..answer.len() / 2]).await,
        Fate::AnsweredLate(delay) => tokio::time::sleep(delay).await,
        Fate::Overtaken => overtaken(state).await,
        _ => {}
    }
    client.write_all(&answer).await?;
    client.shutdown().await?;
    state.lock().unwrap().answered += 1;
    Ok(())
}

async fn ask(upstream: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    let written = server.write_all(request).await;
    let mut answer = Vec::new();
    let read = server.read_to_end(&mut answer).await;
    // A server that says 412 before it has read the body resets the connection after its answer.
    if answer.is_empty() {
        written.and(read)?;
    }
    Ok(answer)
}

/// Until another exchange was answered, or none came for long.
async fn overtaken(state: &Mutex<State>) {
    let before = state.lock().unwrap().answered;
    for _ in 0..200 {
        if state.lock().unwrap().answered > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn answer_with(client: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let code = match status {
        412 => "PreconditionFailed",
        503 => "SlowDown",
        _ => "InternalError",
    };
    let body = format!("<Error><Code>{code}</Code><Message>by the proxy</Message></Error>");
    let answer = format!(
        "HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

fn take_one(counts: &mut HashMap<Kind, u32>, kind: Kind) -> bool {
    match counts.get_mut(&kind) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

/// Head and body, with a header that asks the store to close the connection after its answer.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let head = loop {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |value| value.trim().parse().unwrap());
    while bytes.len() < head + 4 + length {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let close = b"\r\nconnection: close";
    bytes.splice(head..head, close.iter().copied());
    Ok(bytes)
}

fn request_line(request: &[u8]) -> String {
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

/// What WebHDFS adds to an address of a DataNode.
fn for_data_node(line: &str) -> bool {
    line.contains("namenoderpcaddress=")
}

/// Replaces the DataNode in a redirect; answers which it was.
fn redirect_here(answer: &mut Vec<u8>, own: &str) -> Option<String> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    if head.split(' ').nth(1) != Some("307") {
        return None;
    }
    let from = head.find("\r\nLocation: http://")? + "\r\nLocation: http://".len();
    let to = from + head[from..].find('/')?;
    let data_node = head[from..to].to_owned();
    answer.splice(from..to, own.bytes());
    Some(data_node)
}

fn kind(line: &str) -> Kind {
    let has = |name: &str| line.contains(name);
    match line.split(' ').next().unwrap_or_default() {
        "PUT" if has("partNumber=") => Kind::Part,
        "PUT" => Kind::Put,
        "POST" if has("uploadId=") => Kind::Complete,
        "POST" if has("uploads") => Kind::Begin,
        "DELETE" if has("uploadId=") => Kind::Abort,
        "HEAD" => Kind::Head,
        "GET" if has("list-type=") || has("uploads") => Kind::List,
        "GET" => Kind::Get,
        _ => Kind::Other,
    }
}

fn operation(line: &str) -> String {
    if let Some((_, query)) = line.split_once("?op=") {
        let operation = query.split(['&', ' ']).next().unwrap_or_default();
        let at = if for_data_node(line) {
            " at a DataNode"
        } else {
            ""
        };
        return format!("{operation}{at}");
    }
    let name = match kind(line) {
        Kind::Put => "PutObject",
        Kind::Begin => "CreateMultipartUpload",
        Kind::Part => "UploadPart",
        Kind::Complete => "CompleteMultipartUpload",
        Kind::Abort => "AbortMultipartUpload",
        Kind::Head => "HeadObject",
        Kind::Get => "GetObject",
        Kind::List if line.contains("uploads") => "ListMultipartUploads",
        Kind::List => "ListObjectsV2",
        Kind::Other if line.starts_with("DELETE ") => "DeleteObject",
        Kind::Other => line,
    };
    name.to_owned()
}
