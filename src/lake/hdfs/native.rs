//! The calls by the NameNode's own protocol, with `hdfs_native`'s client.
//!
//! The client waits for a NameNode's answer for ever, so each wait has a limit here, and a client whose NameNode fell
//! silent is replaced by one that asks the next NameNode first. There are two: one that gives up soon, so that what is
//! repeated, and what is logged of it, is decided in one place; and one for writing, that sits out the restart of a
//! NameNode in the middle of a file.
//!
//! A lease lasts as long as its client renews it, which it does for every open file. Kerberos tickets are taken from
//! cache or keytab anew for every connection.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use hdfs_native::client::FileStatus;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use tokio::runtime::Handle;

use super::calls::{Calls, Info};
use super::contents::Contents;
use super::fault::{Fault, FaultKind};
use super::site::{NameNodes, Site};
use crate::config::HdfsSettings;

/// A NameNode answers in milliseconds, or is away.
const ANSWER: Duration = Duration::from_mins(1);
/// For a new file; the client waits for a NameNode that is starting again.
const CREATE: Duration = Duration::from_mins(2);
/// Within a write the client itself waits for NameNodes and replaces DataNodes.
const WRITE: Duration = Duration::from_secs(90);
/// For the next piece of a file; the client tries other DataNodes meanwhile.
const READ: Duration = Duration::from_mins(2);
/// After so long it is said that an answer is missing.
const SILENCE: Duration = Duration::from_secs(5);
/// The name of the NameNodes that were given as hosts.
const OWN_SERVICE: &str = "lakeward";
/// A directory without files, so that the client reads none itself.
const NO_DIRECTORY: &str = "/dev/null";
/// What hdfs-native says of a file that cannot be synced; nothing was done then.
const NOT_SYNCED: &str = "not supported for erasure-coded files";

const ATTEMPTS: &str = "dfs.client.failover.max.attempts";
const SLEEP_BASE: &str = "dfs.client.failover.sleep.base.millis";
const SLEEP_MAX: &str = "dfs.client.failover.sleep.max.millis";
const AUTHENTICATION: &str = "hadoop.security.authentication";

pub struct Native {
    plan: Plan,
    clients: RwLock<Clients>,
    umask: u32,
    replication: Option<u32>,
    /// The configured one, or the NameNode's own once a file was made.
    block_size: OnceLock<u64>,
}

struct Clients {
    asks: Client,
    writes: Client,
    /// How many there were before: whoever met a silence replaces only the client that was silent.
    age: usize,
}

/// All that a client is made of.
struct Plan {
    name_nodes: NameNodes,
    properties: HashMap<String, String>,
    user: Option<String>,
    principal: Option<String>,
    keytab: Option<PathBuf>,
    ticket_cache: Option<String>,
    runtime: Handle,
}

impl Native {
    /// Asks nothing yet.
    pub(super) fn open(settings: &HdfsSettings, runtime: &Handle) -> Result<Self, Fault> {
        let mut site = Site::of(settings)?;
        let has_ticket = settings.principal.is_some() || settings.ticket_cache.is_some();
        if has_ticket {
            site.set_default(AUTHENTICATION, "kerberos");
        }
        let plan = Plan {
            name_nodes: site.name_nodes(&settings.name_nodes)?,
            properties: site
                .all()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            user: settings.user.clone(),
            principal: settings.principal.clone(),
            keytab: settings.keytab.clone(),
            ticket_cache: settings.ticket_cache.clone(),
            runtime: runtime.clone(),
        };
        let block_size = OnceLock::new();
        if let Some(size) = site.block_size(settings.block_size)? {
            let _new = block_size.set(size);
        }
        Ok(Self {
            clients: RwLock::new(plan.clients(0)?),
            umask: site.umask(settings.umask)?,
            replication: site.replication(settings.replication),
            block_size,
            plan,
        })
    }

    fn client(&self) -> (Client, usize) {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        (clients.asks.clone(), clients.age)
    }

    fn writer(&self) -> (Client, usize) {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        (clients.writes.clone(), clients.age)
    }

    /// One call, waited for no longer than `limit`.
    async fn answer<T>(
        &self,
        limit: Duration,
        age: usize,
        call: impl Future<Output = hdfs_native::Result<T>>,
    ) -> Result<T, Fault> {
        // In a box, since the client's futures are large and this one is part of many.
        let mut call = Box::pin(call);
        if let Ok(answer) = tokio::time::timeout(SILENCE, &mut call).await {
            return answer.map_err(|error| self.fault(&error));
        }
        // The client tries again by itself and says nothing of it.
        let hosts = self.plan.name_nodes.hosts.join(", ");
        tracing::warn!(name_node = %hosts, seconds = SILENCE.as_secs(), "no answer from HDFS yet, still waiting");
        if let Ok(answer) = tokio::time::timeout(limit.saturating_sub(SILENCE), call).await {
            return answer.map_err(|error| self.fault(&error));
        }
        self.replace(age);
        Err(Fault::transient(format!(
            "no answer from {} within {} s",
            self.plan.name_nodes.hosts.join(", "),
            limit.as_secs()
        )))
    }

    fn replace(&self, age: usize) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if clients.age == age
            && let Ok(new) = self.plan.clients(age + 1)
        {
            *clients = new;
        }
    }

    fn fault(&self, error: &HdfsError) -> Fault {
        fault(error, &self.plan.name_nodes.hosts)
    }

    async fn write_and_close(
        &self,
        writer: &mut FileWriter,
        age: usize,
        block_size: u64,
        contents: &mut Contents,
    ) -> Result<(), Fault> {
        let mut synced = true;
        let mut in_block = 0;
        while let Some(piece) = contents.next(block_size - in_block)? {
            in_block += piece.len() as u64;
            let call = Box::pin(writer.write_bytes(piece));
            self.answer(WRITE, age, call).await?;
            // A sync covers the block that is being written and none before it.
            if in_block == block_size {
                synced = synced && self.sync(writer, age).await?;
                in_block = 0;
            }
        }
        if in_block > 0 && synced {
            synced = self.sync(writer, age).await?;
        }
        if !synced {
            tracing::debug!("an erasure-coded file is closed without a sync");
        }
        let call = Box::pin(writer.close());
        self.answer(WRITE, age, call).await
    }

    /// `false` for an erasure-coded file, which HDFS cannot sync.
    async fn sync(&self, writer: &mut FileWriter, age: usize) -> Result<bool, Fault> {
        match self.answer(WRITE, age, Box::pin(writer.hsync())).await {
            Err(fault) if fault.message.contains(NOT_SYNCED) => Ok(false),
            answer => answer.map(|()| true),
        }
    }
}

impl Plan {
    /// The clients that begin with another NameNode each time.
    fn clients(&self, age: usize) -> Result<Clients, Fault> {
        let rounds = 2 * self.name_nodes.hosts.len();
        Ok(Clients {
            asks: self.client(age, rounds, 200, 1000)?,
            writes: self.client(age, 15, 500, 5000)?,
            age,
        })
    }

    fn client(
        &self,
        age: usize,
        attempts: usize,
        sleep: u64,
        longest: u64,
    ) -> Result<Client, Fault> {
        let mut properties = self.properties.clone();
        for (name, value) in [
            (ATTEMPTS, attempts as u64),
            (SLEEP_BASE, sleep),
            (SLEEP_MAX, longest),
        ] {
            properties
                .entry(name.to_owned())
                .or_insert_with(|| value.to_string());
        }
        let NameNodes { service, hosts } = &self.name_nodes;
        let url = match (service, &hosts[..]) {
            (None, [host]) => format!("hdfs://{host}"),
            (service, hosts) => {
                let service = service.as_deref().unwrap_or(OWN_SERVICE);
                let mut ids = Vec::new();
                for (n, host) in hosts.iter().enumerate() {
                    let id = format!("nn{n}");
                    properties.insert(
                        format!("dfs.namenode.rpc-address.{service}.{id}"),
                        host.clone(),
                    );
                    ids.push(id);
                }
                ids.rotate_left(age % hosts.len());
                properties.insert(format!("dfs.ha.namenodes.{service}"), ids.join(","));
                // An observer may not have heard of the last changes yet, and a look must not miss them.
                properties.remove(&format!("dfs.client.failover.proxy.provider.{service}"));
                format!("hdfs://{service}")
            }
        };
        let mut builder = ClientBuilder::new()
            .with_config_dir(NO_DIRECTORY)
            .with_config(properties)
            .with_url(url)
            .with_io_runtime(self.runtime.clone());
        if let Some(user) = &self.user {
            builder = builder.with_user(user);
        }
        if let Some(principal) = &self.principal {
            builder = builder.with_kerberos_principal(principal);
        }
        if let Some(keytab) = &self.keytab {
            builder = builder.with_kerberos_keytab(format!("FILE:{}", keytab.display()));
        }
        if let Some(cache) = &self.ticket_cache {
            builder = builder.with_kerberos_cache(cache);
        }
        builder.build().map_err(|error| fault(&error, hosts))
    }
}

impl Calls for Native {
    fn service(&self) -> String {
        let NameNodes { service, hosts } = &self.plan.name_nodes;
        service.clone().unwrap_or_else(|| {
            let mut hosts = hosts.clone();
            hosts.sort_unstable();
            hosts.join(",")
        })
    }

    async fn info(&self, path: &str) -> Result<Option<Info>, Fault> {
        let (client, age) = self.client();
        let found = self.answer(ANSWER, age, client.get_file_info(path)).await;
        absent_as_none(found.map(|status| info(&status)))
    }

    async fn make_dirs(&self, path: &str) -> Result<(), Fault> {
        let (client, age) = self.client();
        let call = client.mkdirs(path, 0o777 & !self.umask, true);
        match self.answer(ANSWER, age, call).await {
            Err(fault) if fault.kind == FaultKind::Exists => Err(Fault::permanent(format!(
                "{}: a file stands where the directory `{path}` is needed",
                fault.message
            ))),
            Err(fault) if fault.kind == FaultKind::Absent => Err(Fault::permanent(fault.message)),
            answer => answer,
        }
    }

    async fn write(&self, path: &str, contents: &mut Contents) -> Result<(), Fault> {
        let (client, age) = self.writer();
        let options = WriteOptions {
            block_size: self.block_size.get().copied(),
            replication: self.replication,
            permission: 0o666 & !self.umask,
            overwrite: false,
            create_parent: false,
        };
        let mut writer = self
            .answer(CREATE, age, client.create(path, options))
            .await?;
        let block_size = if let Some(size) = self.block_size.get() {
            *size
        } else {
            let call = client.get_file_info(path);
            let status = self.answer(ANSWER, age, call).await?;
            let size = status.blocksize.filter(|size| *size > 0).ok_or_else(|| {
                Fault::permanent("the NameNode names no block size: set `block_size`")
            })?;
            *self.block_size.get_or_init(|| size)
        };
        self.write_and_close(&mut writer, age, block_size, contents)
            .await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        let (client, age) = self.client();
        self.answer(ANSWER, age, client.rename(from, to, false))
            .await
    }

    async fn delete(&self, path: &str) -> Result<bool, Fault> {
        let (client, age) = self.client();
        let gone = self.answer(ANSWER, age, client.delete(path, false)).await;
        Ok(absent_as_none(gone)?.unwrap_or(false))
    }

    async fn list(&self, dir: &str) -> Result<Option<Vec<Info>>, Fault> {
        let (client, age) = self.client();
        let entries = client.list_status_iter(dir, false);
        let mut found = Vec::new();
        loop {
            let next = async { entries.next().await.transpose() };
            match self.answer(ANSWER, age, next).await {
                Ok(None) => return Ok(Some(found)),
                // A file lists itself.
                Ok(Some(status)) if status.path == dir => return Ok(None),
                Ok(Some(status)) => found.push(info(&status)),
                Err(fault) if fault.kind == FaultKind::Absent => return Ok(None),
                Err(fault) => return Err(fault),
            }
        }
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let (client, age) = self.client();
        let opened = self.answer(ANSWER, age, client.read(path)).await;
        let Some(reader) = absent_as_none(opened)? else {
            return Ok(false);
        };
        let Range { start, end } = range;
        if reader.file_length() as u64 != end {
            return Err(Fault::permanent("it was replaced while it was read"));
        }
        let mut left = end - start;
        let pieces = reader.read_range_stream(start as usize, left as usize);
        let mut pieces = std::pin::pin!(pieces);
        while left > 0 {
            let next = async { pieces.next().await.transpose() };
            let Some(bytes) = self.answer(READ, age, next).await? else {
                return Err(Fault::transient(format!(
                    "{left} bytes at its end are missing"
                )));
            };
            left = left.saturating_sub(bytes.len() as u64);
            take(&bytes)?;
        }
        Ok(true)
    }
}

fn absent_as_none<T>(found: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(fault) if fault.kind == FaultKind::Absent => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn info(status: &FileStatus) -> Info {
    Info {
        name: status
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned(),
        length: status.length as u64,
        is_dir: status.isdir,
        modified_ms: status.modification_time,
    }
}

/// What the client's errors mean.
fn fault(error: &HdfsError, hosts: &[String]) -> Fault {
    let kind = match error {
        HdfsError::RPCError(class, said) | HdfsError::FatalRPCError(class, said) => {
            return Fault::remote(class, said);
        }
        HdfsError::AlreadyExists(said) => {
            return Fault::remote("FileAlreadyExistsException", said);
        }
        HdfsError::FileNotFound(_) => FaultKind::Absent,
        HdfsError::IOError(error) => return silence(error, hosts),
        HdfsError::GSSAPIError(_, _, said) | HdfsError::SASLError(said) => return kerberos(said),
        HdfsError::NoSASLMechanism => {
            return Fault::permanent(
                "the NameNode offers no way to log in that is known here: it wants Kerberos or a delegation token, perhaps; set `principal` with `keytab` or `ticket_cache`",
            );
        }
        HdfsError::OperationFailed(said) if said.contains("libgssapi") => {
            return Fault::permanent(
                "the system's Kerberos library `libgssapi_krb5.so.2` cannot be loaded: install it (Debian: libgssapi-krb5-2, Red Hat: krb5-libs)",
            );
        }
        HdfsError::DataTransferError(_)
        | HdfsError::ChecksumError
        | HdfsError::BlocksNotFound(_)
        | HdfsError::InvalidRPCResponse(_) => FaultKind::Transient,
        HdfsError::OperationFailed(said) if !said.contains(NOT_SYNCED) => FaultKind::Transient,
        _ => FaultKind::Permanent,
    };
    Fault {
        kind,
        message: error.to_string(),
    }
}

fn silence(error: &std::io::Error, hosts: &[String]) -> Fault {
    let hosts = hosts.join(", ");
    let text = error.to_string();
    Fault::transient(match error.kind() {
        ErrorKind::ConnectionRefused => format!(
            "nothing listens at {hosts} (connection refused): is the NameNode running, is this the port of its RPC?"
        ),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => {
            format!(
                "the connection to {hosts} was closed in the middle ({text}): was the NameNode stopped, is this the port of its RPC?"
            )
        }
        _ if text.contains("failed to lookup address") => {
            format!(
                "a host of {hosts} cannot be found ({text}): is the name right, does DNS answer?"
            )
        }
        _ => format!("no answer from {hosts}: {text}"),
    })
}

fn kerberos(said: &str) -> Fault {
    let said = said.trim();
    let lower = said.to_ascii_lowercase();
    if lower.contains("cannot contact any kdc") || lower.contains("cannot resolve network address")
    {
        return Fault::transient(format!(
            "Kerberos: {said}: does the KDC run, is it the one of krb5.conf?"
        ));
    }
    let advice = if lower.contains("expired") {
        "the ticket has expired: run `kinit` again, or give a `keytab`, from which tickets are renewed without anybody"
    } else if lower.contains("no credentials")
        || lower.contains("no_cred")
        || lower.contains("no kerberos credentials")
    {
        "there is no ticket: run `kinit` as the user that runs Lakeward, or give `principal` with `keytab` or `ticket_cache`"
    } else if lower.contains("clock skew") {
        "this machine's clock and the KDC's differ too much: set the clock"
    } else if lower.contains("not found in kerberos database") {
        "`principal`, or the NameNode's own, is not known to the KDC"
    } else if lower.contains("keytab") || lower.contains("preauthentication failed") {
        "is `principal` in `keytab`, and the keytab readable and of the newest key?"
    } else {
        "are `principal`, `keytab` or `ticket_cache`, krb5.conf and `hadoop.rpc.protection` those of the cluster?"
    };
    Fault::permanent(format!("Kerberos: {said}: {advice}"))
}
