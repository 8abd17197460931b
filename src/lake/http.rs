//! The HTTP client of lakes that are spoken to by HTTP.

use std::error::Error;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

/// Certificates are always checked; `ca_file` adds authorities to those of the system. Redirects are not followed.
///
/// # Errors
/// In words.
pub(super) fn client(ca_file: Option<&Path>) -> Result<reqwest::Client, String> {
    build(builder(ca_file)?)
}

/// As [`client`], to be changed before it is made.
pub(super) fn builder(ca_file: Option<&Path>) -> Result<reqwest::ClientBuilder, String> {
    install_crypto();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .tcp_keepalive(Duration::from_secs(30))
        .pool_idle_timeout(Duration::from_mins(1))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("lakeward/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let failed = |what: String| format!("`ca_file` `{}`: {what}", path.display());
        let pem = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|e| failed(format!("it holds no certificates in PEM form ({e})")))?;
        if authorities.is_empty() {
            return Err(failed("it holds no certificates in PEM form".to_owned()));
        }
        builder = builder.tls_certs_merge(authorities);
    }
    Ok(builder)
}

pub(super) fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, String> {
    builder
        .build()
        .map_err(|e| format!("the HTTP client: {}", causes(&e)))
}

/// rustls asks for a process-wide choice of cryptography. Somebody else's earlier choice is as good.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// An error's text and those of its causes.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Percent-encoded but for RFC 3986's unreserved characters and those in `keep`.
pub(super) fn encoded(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_once_and_wholly() {
        assert_eq!(encoded("a b+c=d%/ü~", b"/"), "a%20b%2Bc%3Dd%25/%C3%BC~");
        assert_eq!(encoded("a/b", b""), "a%2Fb");
    }
}
