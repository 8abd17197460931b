//! Between a lake and its NameNode, to count what is asked for: every byte is passed on, and the names of the calls are read
//! on their way, which stand in the open where nothing is wrapped by Kerberos.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::proxy::Operations;
use crate::support::{block_on, runtime};

/// `hrpc`, a version, a class of service, how to log in.
const GREETING_BYTES: usize = 7;

/// Ends when it is dropped.
pub struct Wire {
    port: u16,
    calls: Arc<Mutex<Operations>>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// `name_node`: `hdfs://host:port`.
    pub fn start(name_node: &str) -> Self {
        let upstream = name_node.strip_prefix("hdfs://").unwrap().to_owned();
        let calls = Arc::<Mutex<Operations>>::default();
        let listener = block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = runtime().spawn(serve(listener, upstream, Arc::clone(&calls)));
        Self { port, calls, task }
    }

    pub fn name_node(&self) -> String {
        format!("hdfs://127.0.0.1:{}", self.port)
    }

    /// Calls by method, those since the last time.
    pub fn operations(&self) -> Operations {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

async fn serve(listener: TcpListener, upstream: String, calls: Arc<Mutex<Operations>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (upstream, calls) = (upstream.clone(), Arc::clone(&calls));
        tokio::spawn(async move {
            // A connection ends by being cut, like any other.
            let _ = pass(client, &upstream, &calls).await;
        });
    }
}

async fn pass(
    mut client: TcpStream,
    upstream: &str,
    calls: &Mutex<Operations>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    let (mut requests, mut to_client) = client.split();
    let (mut answers, mut to_server) = server.split();
    let asking = async {
        let mut unread = Vec::new();
        let mut greeted = false;
        let mut piece = vec![0; 64 << 10];
        loop {
            let length = requests.read(&mut piece).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            unread.extend_from_slice(&piece[..length]);
            if !greeted && unread.len() >= GREETING_BYTES {
                unread.drain(..GREETING_BYTES);
                greeted = true;
            }
            // Counted before it is passed on, and so before it can be answered.
            while greeted && let Some(frame) = next_frame(&mut unread) {
                if let Some(method) = method(&frame) {
                    *calls.lock().unwrap().entry(method).or_default() += 1;
                }
            }
            to_server.write_all(&piece[..length]).await?;
        }
    };
    let answering = async {
        tokio::io::copy(&mut answers, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(asking, answering).map(|_| ())
}

/// A length in four bytes, and so many bytes.
fn next_frame(unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(unread.get(..4)?.try_into().unwrap()) as usize;
    let frame = unread.get(4..4 + length)?.to_vec();
    unread.drain(..4 + length);
    Some(frame)
}

/// The call's name; what only opens a connection has none.
fn method(frame: &[u8]) -> Option<String> {
    // Of every request, then of a call, whose first field is the name.
    let (_, rest) = counted(frame)?;
    let (header, _) = counted(rest)?;
    let (name, _) = counted(header.strip_prefix(&[0x0a])?)?;
    String::from_utf8(name.to_vec()).ok()
}

/// So many bytes as the number before them says, and what is behind them.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0;
    for (n, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return bytes[n + 1..].split_at_checked(length);
        }
    }
    None
}
