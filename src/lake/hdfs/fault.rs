//! What became of a call, as far as can be told: Hadoop's exceptions and the network's silences, classed once.
//!
//! Hadoop names a fault by a Java class and says the rest in prose, over both wires. What is not listed here lasts: an
//! exception that a NameNode throws twice on the same question it throws for ever.

use std::fmt;

/// What a caller can make of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No such file, or no such directory above it.
    Absent,
    /// Something has this name already.
    Exists,
    /// It was not done, and why is not said.
    Refused,
    /// Passes by itself. Whether the call took effect is unknown.
    Transient,
    Permanent,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// So much of Hadoop's own words is repeated.
const MESSAGE_CHARS_MAX: usize = 300;

/// Exceptions by the last part of their class, and what to do about them.
const KNOWN: &[(&str, FaultKind, &str)] = {
    use FaultKind::{Absent, Exists, Permanent, Transient};
    &[
        ("FileNotFoundException", Absent, ""),
        ("FileAlreadyExistsException", Exists, ""),
        ("AlreadyBeingCreatedException", Exists, ""),
        (
            "SafeModeException",
            Transient,
            "the NameNode is in safe mode and changes nothing: it leaves it by itself when enough blocks are reported, or by `hdfs dfsadmin -safemode leave`",
        ),
        (
            "StandbyException",
            Transient,
            "this NameNode is on standby: give both, as `name_nodes` or by the name service in `hadoop_conf_dir`, or wait for the failover",
        ),
        ("ObserverRetryOnActiveException", Transient, ""),
        (
            "RetriableException",
            Transient,
            "the NameNode asks to be asked again later",
        ),
        (
            "RecoveryInProgressException",
            Transient,
            "the lease of this file is being recovered",
        ),
        ("NotReplicatedYetException", Transient, ""),
        (
            "LeaseExpiredException",
            Transient,
            "somebody removed or took over the file while it was written",
        ),
        ("SocketTimeoutException", Transient, ""),
        ("ConnectException", Transient, ""),
        ("EOFException", Transient, ""),
        ("NoRouteToHostException", Transient, ""),
        ("ClosedChannelException", Transient, ""),
        (
            "NSQuotaExceededException",
            Permanent,
            "the directory may hold no more names: raise its quota (`hdfs dfsadmin -setQuota`) or remove files",
        ),
        (
            "DSQuotaExceededException",
            Permanent,
            "the directory's space is used up, counting every replica: raise its quota (`hdfs dfsadmin -setSpaceQuota`) or remove files",
        ),
        (
            "QuotaByStorageTypeExceededException",
            Permanent,
            "the directory's space on this type of storage is used up: raise its quota or remove files",
        ),
        (
            "AuthorizationException",
            Permanent,
            "this user may not use the cluster, or not act for that `user`: allow it (`hadoop.proxyuser.…`), or leave `user` out",
        ),
        (
            "SaslException",
            Permanent,
            "NameNode and client do not agree on who is who: are `principal` and `hadoop.rpc.protection` those of the cluster?",
        ),
        (
            "GSSException",
            Permanent,
            "the NameNode does not accept the Kerberos ticket: is it for this realm, is the clock right?",
        ),
        (
            "InvalidToken",
            Permanent,
            "the delegation token is not valid, or not any more: get a new one",
        ),
        (
            "ParentNotDirectoryException",
            Permanent,
            "a file stands where a directory is needed: move it away, or change `root` or `sink.path`",
        ),
        (
            "PathComponentTooLongException",
            Permanent,
            "a name is limited (`dfs.namenode.fs-limits.max-component-length`, usually to 255 bytes): shorten `sink.path`",
        ),
        (
            "MaxDirectoryItemsExceededException",
            Permanent,
            "the directory is full (`dfs.namenode.fs-limits.max-directory-items`): land in more partitions",
        ),
        (
            "InvalidPathException",
            Permanent,
            "HDFS does not allow this name",
        ),
        (
            "UnresolvedPathException",
            Permanent,
            "a symbolic link of HDFS is in the way, and is not followed",
        ),
    ]
};

/// Faults that Hadoop throws as a plain `IOException`, by what they say.
const SAID: &[(&str, FaultKind, &str)] = {
    use FaultKind::{Permanent, Transient};
    &[
        (
            "could only be replicated to",
            Transient,
            "no DataNode takes the block: are they running, are their disks full?",
        ),
        (
            "could only be written to",
            Transient,
            "no DataNode takes the block: are they running, are their disks full?",
        ),
        ("not started", Transient, "the NameNode is starting"),
        (
            "Unable to close file",
            Transient,
            "the DataNodes have not reported the last block",
        ),
        (
            "Requested replication factor",
            Permanent,
            "set `replication` to what the cluster allows",
        ),
        (
            "Specified block size is less than configured minimum",
            Permanent,
            "set `block_size` to at least `dfs.namenode.fs-limits.min-block-size`",
        ),
    ]
};

impl Fault {
    pub fn permanent(message: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Permanent,
            message: message.into(),
        }
    }

    pub fn transient(message: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Transient,
            message: message.into(),
        }
    }

    /// What Hadoop answered: `class` is Java's, with or without its package, `said` may go on with a stack trace.
    pub fn remote(class: &str, said: &str) -> Self {
        let simple = class.rsplit(['.', '$']).next().unwrap_or(class);
        let said = first_line(said);
        let (kind, advice) = sort(simple, &said);
        let mut message = format!("HDFS answered {simple}");
        if !said.is_empty() {
            message.push_str(&format!(" ({said})"));
        }
        if !advice.is_empty() {
            message.push_str(&format!(": {advice}"));
        }
        Self { kind, message }
    }
}

fn sort(simple: &str, said: &str) -> (FaultKind, &'static str) {
    if simple == "AccessControlException" {
        return (FaultKind::Permanent, denied(said));
    }
    // A RemoteException's own text may begin with the class that it wraps.
    if simple == "RetriableException" && said.contains("SafeModeException") {
        return sort("SafeModeException", said);
    }
    let said = SAID.iter().find(|(words, ..)| said.contains(words));
    let known = KNOWN.iter().find(|(name, ..)| *name == simple);
    match known.or(said) {
        Some((_, kind, advice)) => (*kind, advice),
        None => (FaultKind::Permanent, ""),
    }
}

/// Hadoop has one class for "you may not" and "I do not know who you are".
fn denied(said: &str) -> &'static str {
    if said.contains("authentication is not enabled") || said.contains("Authentication is required")
    {
        "the cluster wants Kerberos: set `principal` with `keytab` or `ticket_cache`, or `hadoop.security.authentication` in `[lake.properties]`"
    } else if said.contains("uperuser privilege") {
        "only HDFS's superuser may do that"
    } else {
        "the user may not do that here: give it the right to write below `root` (`hdfs dfs -chown`, `-chmod` or `-setfacl`), or set `user` or `principal` to one that has it"
    }
}

/// The first line of a Java message, without the class it may begin with.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let mut shown: String = line.chars().take(MESSAGE_CHARS_MAX).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(class: &str, said: &str) -> FaultKind {
        Fault::remote(class, said).kind
    }

    #[test]
    fn what_passes_is_waited_for_and_what_lasts_is_not() {
        for class in [
            "org.apache.hadoop.hdfs.server.namenode.SafeModeException",
            "org.apache.hadoop.ipc.StandbyException",
            "org.apache.hadoop.ipc.RetriableException",
            "org.apache.hadoop.hdfs.protocol.RecoveryInProgressException",
        ] {
            assert_eq!(kind(class, ""), FaultKind::Transient, "{class}");
        }
        for class in [
            "org.apache.hadoop.security.AccessControlException",
            "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException",
            "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException",
            "org.apache.hadoop.security.token.SecretManager$InvalidToken",
            "java.lang.NullPointerException",
            "java.io.IOException",
        ] {
            assert_eq!(kind(class, ""), FaultKind::Permanent, "{class}");
        }
    }

    #[test]
    fn a_plain_exception_is_told_by_its_words() {
        let said = "File /a could only be replicated to 0 nodes instead of minReplication (=1).  There are 0 datanode(s) running and no node(s) are excluded in this operation.\n\tat org.apache…";
        let fault = Fault::remote("java.io.IOException", said);
        assert_eq!(fault.kind, FaultKind::Transient);
        assert!(fault.message.contains("are they running"), "{fault}");
        assert!(!fault.message.contains("\tat"), "{fault}");
    }

    #[test]
    fn a_stranger_is_told_from_somebody_without_rights() {
        let class = "org.apache.hadoop.security.AccessControlException";
        let stranger = Fault::remote(
            class,
            "SIMPLE authentication is not enabled.  Available:[TOKEN, KERBEROS]",
        );
        assert!(stranger.message.contains("`principal`"), "{stranger}");
        let denied = Fault::remote(
            class,
            "Permission denied: user=eve, access=WRITE, inode=\"/lake\":hdfs:supergroup:drwxr-xr-x",
        );
        assert!(denied.message.contains("-chmod"), "{denied}");
    }
}
