//! What became of a request, as far as can be told: the store's refusals and the network's silences, classed once.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use opendal::ErrorKind;

/// What a caller can make of a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// 404: no such object, or no such upload. A missing bucket is not this.
    Absent,
    /// 412: something has this name already.
    Condition,
    /// Timeouts, lost connections, 5xx, 429, conflicts of concurrent requests. Whether it took effect is unknown.
    Transient,
    Permanent,
}

#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub kind: FaultKind,
    /// The status, where the store answered.
    pub status: Option<u16>,
    pub message: String,
}

impl Fault {
    pub fn permanent(message: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Permanent,
            status: None,
            message: message.into(),
        }
    }
}

impl From<opendal::Error> for Fault {
    fn from(error: opendal::Error) -> Self {
        let mut source = StdError::source(&error);
        while let Some(cause) = source {
            if let Some(refusal) = cause.downcast_ref::<Refusal>() {
                return refusal.into();
            }
            if let Some(silence) = cause.downcast_ref::<Silence>() {
                return silence.into();
            }
            source = cause.source();
        }
        let kind = match error.kind() {
            ErrorKind::NotFound => FaultKind::Absent,
            ErrorKind::ConditionNotMatch => FaultKind::Condition,
            ErrorKind::RateLimited | ErrorKind::Conflict => FaultKind::Transient,
            _ if error.is_temporary() => FaultKind::Transient,
            _ => FaultKind::Permanent,
        };
        Self {
            kind,
            status: None,
            message: with_causes(&error),
        }
    }
}

/// opendal's message and those of its causes, without its contexts (which repeat whole responses).
fn with_causes(error: &opendal::Error) -> String {
    let mut text = error.message().to_owned();
    let mut source = StdError::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Codes of passing faults, whatever status they come with: requests that met in the store, a store that is asked too
/// much, and bodies that were damaged on their way and may arrive the next time.
const PASSING_CODES: [&str; 7] = [
    "ConditionalRequestConflict",
    "OperationAborted",
    "SlowDown",
    "RequestTimeout",
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
];

/// An answer other than 2xx.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub status: u16,
    /// The store's code, `NoSuchBucket`; empty for answers without a body.
    pub code: String,
    /// The store's own words.
    pub message: String,
    /// What to mend.
    pub advice: String,
}

impl Refusal {
    pub fn kind(&self) -> FaultKind {
        match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket") => FaultKind::Permanent,
            (404, _) => FaultKind::Absent,
            (412, _) | (_, "PreconditionFailed") => FaultKind::Condition,
            (_, code) if PASSING_CODES.contains(&code) => FaultKind::Transient,
            (408 | 425 | 429 | 499, _) => FaultKind::Transient,
            (501 | 505, _) => FaultKind::Permanent,
            (status, _) if status >= 500 => FaultKind::Transient,
            _ => FaultKind::Permanent,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, " ({})", self.message)?;
        }
        if !self.advice.is_empty() {
            write!(f, ": {}", self.advice)?;
        }
        Ok(())
    }
}

impl StdError for Refusal {}

impl From<&Refusal> for Fault {
    fn from(refusal: &Refusal) -> Self {
        Self {
            kind: refusal.kind(),
            status: Some(refusal.status),
            message: refusal.to_string(),
        }
    }
}

impl From<Refusal> for opendal::Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind() {
            FaultKind::Absent => ErrorKind::NotFound,
            FaultKind::Condition => ErrorKind::ConditionNotMatch,
            FaultKind::Transient | FaultKind::Permanent if refusal.status == 403 => {
                ErrorKind::PermissionDenied
            }
            FaultKind::Transient | FaultKind::Permanent => ErrorKind::Unexpected,
        };
        let transient = refusal.kind() == FaultKind::Transient;
        Self::new(kind, "refused")
            .with_temporary(transient)
            .set_source(refusal)
    }
}

/// No answer.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    pub transient: bool,
    pub message: String,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Silence {}

impl Silence {
    pub fn timeout(endpoint: &str, limit: std::time::Duration) -> Self {
        Self {
            transient: true,
            message: format!("no answer from {endpoint} within {} s", limit.as_secs()),
        }
    }

    /// Says what broke below HTTP.
    pub fn because(endpoint: &str, error: &opendal::Error) -> Self {
        let mut innermost = error.message().to_owned();
        let mut names = String::new();
        let mut source = StdError::source(error);
        while let Some(cause) = source {
            if let Some(silence) = low_level(endpoint, cause) {
                return silence;
            }
            innermost = cause.to_string();
            names.push_str(&innermost);
            source = cause.source();
        }
        let message = if names.contains("dns error") {
            format!(
                "the host of {endpoint} cannot be found ({innermost}): is the name right, does DNS answer?"
            )
        } else {
            format!("no answer from {endpoint}: {innermost}")
        };
        Self {
            transient: true,
            message,
        }
    }
}

impl From<&Silence> for Fault {
    fn from(silence: &Silence) -> Self {
        Self {
            kind: if silence.transient {
                FaultKind::Transient
            } else {
                FaultKind::Permanent
            },
            status: None,
            message: silence.message.clone(),
        }
    }
}

impl From<Silence> for opendal::Error {
    fn from(silence: Silence) -> Self {
        Self::new(ErrorKind::Unexpected, "no answer")
            .with_temporary(silence.transient)
            .set_source(silence)
    }
}

/// An `io::Error` hides what it wraps from `source`, so it is asked for it.
fn low_level(endpoint: &str, cause: &(dyn StdError + 'static)) -> Option<Silence> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls_in_words(endpoint, tls));
    }
    let io = cause.downcast_ref::<io::Error>()?;
    if let Some(inner) = io.get_ref()
        && let Some(silence) = low_level(endpoint, inner)
    {
        return Some(silence);
    }
    let message = match io.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "nothing listens at {endpoint} (connection refused): is the server running, is the port right?"
        ),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("there is no route to {endpoint} ({io})")
        }
        _ => return None,
    };
    Some(Silence {
        transient: true,
        message,
    })
}

fn tls_in_words(endpoint: &str, tls: &rustls::Error) -> Silence {
    let message = match tls {
        rustls::Error::InvalidCertificate(reason) => format!(
            "the certificate of {endpoint} is not trusted ({reason}): name the file with its authority as `ca_file`, \
             or check the host's name and this machine's clock"
        ),
        rustls::Error::InvalidMessage(_) => {
            format!("{endpoint} does not speak TLS ({tls}): is it an http:// endpoint?")
        }
        _ => format!("TLS with {endpoint} failed: {tls}"),
    };
    Silence {
        transient: false,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal {
            status,
            code: code.to_owned(),
            message: String::new(),
            advice: String::new(),
        }
    }

    #[test]
    fn a_missing_bucket_is_not_an_absent_object() {
        assert_eq!(refusal(404, "NoSuchBucket").kind(), FaultKind::Permanent);
        assert_eq!(refusal(404, "NoSuchKey").kind(), FaultKind::Absent);
        assert_eq!(refusal(404, "").kind(), FaultKind::Absent);
    }

    #[test]
    fn a_conflict_of_concurrent_writes_is_tried_again_and_a_refused_key_is_not() {
        assert_eq!(
            refusal(409, "ConditionalRequestConflict").kind(),
            FaultKind::Transient
        );
        for status in [429, 500, 502, 503, 504, 507] {
            assert_eq!(refusal(status, "").kind(), FaultKind::Transient, "{status}");
        }
        for status in [301, 307, 400, 401, 403, 405, 409, 501] {
            assert_eq!(refusal(status, "").kind(), FaultKind::Permanent, "{status}");
        }
    }

    #[test]
    fn a_refusal_keeps_its_kind_on_the_way_through_opendal() {
        for (status, kind) in [
            (404, FaultKind::Absent),
            (412, FaultKind::Condition),
            (503, FaultKind::Transient),
            (403, FaultKind::Permanent),
        ] {
            let fault = Fault::from(opendal::Error::from(refusal(status, "")));
            assert_eq!((fault.kind, fault.status), (kind, Some(status)));
        }
    }
}
