//! Calls to a metastore: Thrift's binary protocol over TCP, one connection, several servers to turn to.
//!
//! ```text
//! call ─► connection (kept) ─► answer | exception | unknown method
//!            │ cut, refused, too late
//!            └─► the next server, once each ─► lost: whether it was done is unknown
//! ```
//!
//! A call that was lost is sent again, to the same server if its connection had only grown old and else to the next: every call
//! that is made here is harmless to repeat. A call has one time limit for all of it, so that a server that drips bytes
//! cannot hold anybody up for ever.
//!
//! Not here: SASL (Kerberos), TLS and HTTP. A server that wants one of them answers something that is no Thrift message, which is
//! told apart and said.

use std::io::{BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TInputProtocol, TMessageIdentifier, TMessageType,
    TOutputProtocol,
};
use thrift::{ProtocolErrorKind, TConfiguration};

use super::value::{Struct, Value, read_struct, write_struct};
use crate::config::MetastoreAddress;

/// A server that is there answers sooner; one that is not shall not hold up its neighbour.
const CONNECT: Duration = Duration::from_secs(10);

/// All of one answer, and one text in it.
const ANSWER_BYTES_MAX: u64 = 512 << 20;
const TEXT_BYTES_MAX: usize = 64 << 20;

/// The exceptions that a metastore's methods declare, as far as they matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exception {
    AlreadyExists,
    InvalidObject,
    InvalidOperation,
    NoSuchObject,
    /// Anything from a database that cannot be reached to a permission that is missing.
    Meta,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Raised(Exception, String),
    UnknownMethod,
    /// The server failed inside, or could not be reached at all or any more; whether it was done is unknown.
    Lost(String),
    /// What answers is no metastore that can be talked to.
    Foreign(String),
}

pub(super) struct Client {
    servers: Vec<MetastoreAddress>,
    user: String,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// The server that is tried first.
    next: usize,
}

struct Connection {
    stream: TcpStream,
    sequence: i32,
    /// Answered before: a failure may only mean that the server has closed it for its age.
    old: bool,
}

/// What went wrong with one attempt.
enum Broken {
    /// The connection is as good as before.
    Answered(Fault),
    /// It is not used again.
    Cut(Fault),
}

impl Client {
    pub(super) fn new(servers: Vec<MetastoreAddress>, user: String, timeout: Duration) -> Self {
        Self {
            servers,
            user,
            timeout,
            state: Mutex::default(),
        }
    }

    /// The result's field 0, `None` for a method that answers nothing. `raises`: which field of the result is which
    /// exception.
    pub(super) fn call(
        &self,
        method: &'static str,
        arguments: &Struct,
        raises: &[(i16, Exception)],
    ) -> Result<Option<Value>, Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        let mut tried = 0;
        while tried < self.servers.len() {
            let at = state.next % self.servers.len();
            let mut connection = match state.connection.take() {
                Some(connection) => connection,
                None => match self.connect(&self.servers[at]) {
                    Ok(connection) => connection,
                    Err(fault) => {
                        tried += 1;
                        state.next = at + 1;
                        last = Some(worse(last, fault));
                        continue;
                    }
                },
            };
            let old = connection.old;
            match connection.call(method, arguments, raises, self.timeout) {
                Ok(value) => {
                    connection.old = true;
                    state.connection = Some(connection);
                    return Ok(value);
                }
                Err(Broken::Answered(fault)) => {
                    connection.old = true;
                    state.connection = Some(connection);
                    return Err(fault);
                }
                Err(Broken::Cut(fault)) => {
                    // An old connection says nothing about its server.
                    if !old {
                        tried += 1;
                        state.next = at + 1;
                    }
                    last = Some(worse(last, fault));
                }
            }
        }
        Err(last.unwrap_or_else(|| Fault::Lost("no metastore is configured".to_owned())))
    }

    /// Says who calls, as a metastore without Kerberos believes it. One that does not want to know is left in ignorance.
    fn connect(&self, server: &MetastoreAddress) -> Result<Connection, Fault> {
        let lost = |message: String| Fault::Lost(format!("`{server}`: {message}"));
        let addresses = (server.host.as_str(), server.port)
            .to_socket_addrs()
            .map_err(|e| lost(e.to_string()))?;
        let mut failed = "its name has no address".to_owned();
        let limit = CONNECT.min(self.timeout);
        for address in addresses {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(stream) => {
                    let _faster = stream.set_nodelay(true);
                    let mut connection = Connection {
                        stream,
                        sequence: 0,
                        old: false,
                    };
                    self.introduce(&mut connection)
                        .map_err(|fault| located(fault, server))?;
                    return Ok(connection);
                }
                Err(error) => failed = error.to_string(),
            }
        }
        Err(lost(failed))
    }

    fn introduce(&self, connection: &mut Connection) -> Result<(), Fault> {
        if self.user.is_empty() {
            return Ok(());
        }
        let arguments = Struct::default()
            .with(1, Value::text(&self.user))
            .with(2, Value::texts([self.user.as_str()]));
        let raises = [(1, Exception::Meta)];
        match connection.call("set_ugi", &arguments, &raises, self.timeout) {
            Ok(_) | Err(Broken::Answered(_)) => Ok(()),
            Err(Broken::Cut(fault)) => Err(fault),
        }
    }
}

/// Of several servers' faults the one that a person can mend.
fn worse(last: Option<Fault>, fault: Fault) -> Fault {
    match (last, fault) {
        (Some(Fault::Foreign(text)), _) => Fault::Foreign(text),
        (Some(Fault::Lost(before)), Fault::Lost(text)) if text != before => {
            Fault::Lost(format!("{before}; {text}"))
        }
        (_, fault) => fault,
    }
}

fn located(fault: Fault, server: &MetastoreAddress) -> Fault {
    match fault {
        Fault::Lost(text) => Fault::Lost(format!("`{server}`: {text}")),
        Fault::Foreign(text) => Fault::Foreign(format!("`{server}`: {text}")),
        other => other,
    }
}

impl Connection {
    fn call(
        &mut self,
        method: &'static str,
        arguments: &Struct,
        raises: &[(i16, Exception)],
        timeout: Duration,
    ) -> Result<Option<Value>, Broken> {
        let end = Instant::now() + timeout;
        self.sequence = self.sequence.wrapping_add(1);
        self.send(method, arguments, timeout)
            .map_err(|error| Broken::Cut(lost(&error)))?;
        let (kind, result) = self.receive(method, end).map_err(Broken::Cut)?;
        if kind == TMessageType::Exception {
            return Err(application(method, &result));
        }
        for (id, exception) in raises {
            if let Some(raised) = result.inner(*id) {
                return Err(Broken::Answered(Fault::Raised(*exception, raised.text(1))));
            }
        }
        if let Some((id, Value::Struct(raised))) = result.0.iter().find(|(id, _)| *id != 0) {
            return Err(Broken::Answered(Fault::Raised(
                Exception::Meta,
                format!("{method} raised exception {id}: {}", raised.text(1)),
            )));
        }
        Ok(result.get(0).cloned())
    }

    fn send(&mut self, method: &str, arguments: &Struct, timeout: Duration) -> thrift::Result<()> {
        let mut message = Vec::new();
        let mut output = TBinaryOutputProtocol::new(&mut message, true);
        output.write_message_begin(&TMessageIdentifier::new(
            method,
            TMessageType::Call,
            self.sequence,
        ))?;
        write_struct(&mut output, arguments)?;
        output.write_message_end()?;
        self.stream.set_write_timeout(Some(timeout))?;
        Ok(self.stream.write_all(&message)?)
    }

    fn receive(&mut self, method: &str, end: Instant) -> Result<(TMessageType, Struct), Fault> {
        let limited = Limited {
            stream: &mut self.stream,
            end,
            left: ANSWER_BYTES_MAX,
        };
        let limits = TConfiguration::builder()
            .max_string_size(Some(TEXT_BYTES_MAX))
            .build()
            .map_err(|error| lost(&error))?;
        let reader = BufReader::with_capacity(64 << 10, limited);
        let mut input = TBinaryInputProtocol::with_config(reader, true, limits);
        let head = input.read_message_begin().map_err(|error| match error {
            thrift::Error::Protocol(error) if error.kind == ProtocolErrorKind::BadVersion => {
                Fault::Foreign(
                    "what answers there speaks no plain Thrift; a metastore that wants Kerberos (SASL), TLS or HTTP cannot be talked to: let `lakeward schema --ddl` make the statements for Hive's own client"
                        .to_owned(),
                )
            }
            error => lost(&error),
        })?;
        let result = read_struct(&mut input).map_err(|error| lost(&error))?;
        input.read_message_end().map_err(|error| lost(&error))?;
        let own = head.name == method || head.message_type == TMessageType::Exception;
        if !own || head.sequence_number != self.sequence || !input.transport.buffer().is_empty() {
            return Err(Fault::Lost(format!(
                "the answer to another call came (`{}`, number {})",
                head.name.escape_debug(),
                head.sequence_number
            )));
        }
        Ok((head.message_type, result))
    }
}

fn lost(error: &thrift::Error) -> Fault {
    Fault::Lost(match error {
        thrift::Error::Transport(error) => match error.kind {
            thrift::TransportErrorKind::EndOfFile => {
                "the connection was closed before the answer came".to_owned()
            }
            _ => error.message.clone(),
        },
        thrift::Error::Protocol(error) => format!("no good answer: {}", error.message),
        other => other.to_string(),
    })
}

/// `TApplicationException`: a message and one of its kinds, of which 1 is a method that this server has not.
fn application(method: &str, raised: &Struct) -> Broken {
    match raised.get(2) {
        Some(Value::I32(1)) => Broken::Answered(Fault::UnknownMethod),
        _ => Broken::Answered(Fault::Lost(format!(
            "{method} failed inside the metastore: {}",
            raised.text(1)
        ))),
    }
}

/// A stream that ends at a time and at a length.
struct Limited<'a> {
    stream: &'a mut TcpStream,
    end: Instant,
    left: u64,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use std::io::{Error, ErrorKind};

        let late = || Error::new(ErrorKind::TimedOut, "no answer came in time");
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        if self.left == 0 {
            return Err(Error::new(
                ErrorKind::InvalidData,
                format!("an answer of more than {ANSWER_BYTES_MAX} bytes"),
            ));
        }
        self.stream.set_read_timeout(Some(left))?;
        let room = buffer.len().min(self.left as usize);
        let count = match self.stream.read(&mut buffer[..room]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
            other => other?,
        };
        self.left -= count as u64;
        Ok(count)
    }
}
