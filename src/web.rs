//! `/metrics` (Prometheus text), `/healthz`: GET and HEAD only, foreign `Host` headers refused, no record contents.
//!
//! Bound to loopback unless `http_public` says otherwise, which the configuration has checked already.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::agent::Tallies;

#[derive(Clone)]
struct Site {
    tallies: Tallies,
    /// Hosts that may be asked for; `None`: any (`http_public`).
    hosts: Option<Arc<Vec<String>>>,
}

/// Binds `address` (`127.0.0.1:9640`) and answers in the background for as long as the runtime lives.
pub async fn serve(address: &str, public: bool, tallies: Tallies) -> Result<(), String> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("agent.http: bind `{address}`: {e}"))?;
    let port = listener
        .local_addr()
        .map_err(|e| format!("agent.http: `{address}`: {e}"))?
        .port();
    let hosts = (!public).then(|| {
        let mut hosts = vec![address.to_owned()];
        for name in ["localhost", "127.0.0.1", "[::1]"] {
            hosts.push(name.to_owned());
            hosts.push(format!("{name}:{port}"));
        }
        Arc::new(hosts)
    });
    tracing::info!(%address, port, "serving /metrics and /healthz");
    let site = Site { tallies, hosts };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .layer(middleware::from_fn_with_state(site.clone(), guard))
        .with_state(site);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "the metrics page ended");
        }
    });
    Ok(())
}

async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("");
    if let Some(hosts) = &site.hosts
        && !hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "this host is not served here\n",
        )
            .into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// 200 while every pipeline runs; 503 with the names of those that have ended.
async fn healthz(State(site): State<Site>) -> Response {
    let ended: Vec<String> = site
        .tallies
        .iter()
        .map(|tally| tally.report())
        .filter(|report| !report.exit_reason.is_empty())
        .map(|report| report.name)
        .collect();
    if ended.is_empty() {
        return "ok\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("ended: {}\n", ended.join(", ")),
    )
        .into_response()
}

async fn metrics(State(site): State<Site>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        exposition(&site.tallies),
    )
        .into_response()
}

type Read = fn(&crate::pipeline::PipelineReport) -> u64;
type Look = fn(&crate::pipeline::Tally) -> u64;

/// The Prometheus text format, version 0.0.4.
fn exposition(tallies: &Tallies) -> String {
    let reports: Vec<_> = tallies
        .iter()
        .map(|tally| (tally, tally.report()))
        .collect();
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, values: Vec<(String, u64)>| {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP lakeward_{name} {help}\n# TYPE lakeward_{name} {kind}"
        );
        for (labels, value) in values {
            let _ = writeln!(text, "lakeward_{name}{{{labels}}} {value}");
        }
    };
    let counters: [(&str, &str, Read); 8] = [
        ("files_total", "Spooled files committed whole", |r| r.files),
        ("files_quarantined_total", "Spooled files set aside", |r| {
            r.files_quarantined
        }),
        ("records_read_total", "Records of committed segments", |r| {
            r.records_read
        }),
        (
            "records_landed_total",
            "Records in landed data files",
            |r| r.records_landed,
        ),
        (
            "records_rejected_total",
            "Records in landed reject files",
            |r| r.records_rejected,
        ),
        (
            "bytes_read_total",
            "Decompressed bytes of committed segments",
            |r| r.bytes_read,
        ),
        ("bytes_landed_total", "Bytes of landed data files", |r| {
            r.bytes_landed
        }),
        ("batches_total", "Batches committed", |r| r.batches),
    ];
    let label = |name: &str| format!("pipeline=\"{name}\"");
    for (name, help, read) in counters {
        let values = reports
            .iter()
            .map(|(_, r)| (label(&r.name), read(r)))
            .collect();
        family(name, "counter", help, values);
    }
    let rolls = reports
        .iter()
        .flat_map(|(_, r)| {
            r.roll_reasons
                .iter()
                .map(|(reason, n)| (format!("pipeline=\"{}\",reason=\"{reason}\"", r.name), *n))
        })
        .collect();
    family("rolls_total", "counter", "Batches ended, by reason", rolls);
    let gauges: [(&str, &str, Look); 3] = [
        (
            "partitions_waiting",
            "Landed partitions that the catalog does not know yet",
            |t| t.partitions_waiting.load(Ordering::Relaxed),
        ),
        ("open_batch_records", "Records in the open batch", |t| {
            t.open_batch_records.load(Ordering::Relaxed)
        }),
        ("open_batch_bytes", "Encoded bytes of the open batch", |t| {
            t.open_batch_bytes.load(Ordering::Relaxed)
        }),
    ];
    for (name, help, read) in gauges {
        let values = reports
            .iter()
            .map(|(t, r)| (label(&r.name), read(t)))
            .collect();
        family(name, "gauge", help, values);
    }
    let registered = reports
        .iter()
        .map(|(t, r)| {
            let count = t.partitions_registered.load(Ordering::Relaxed);
            (label(&r.name), count)
        })
        .collect();
    family(
        "partitions_registered_total",
        "counter",
        "Partitions registered with the catalog, again or new",
        registered,
    );
    let waiting = reports
        .iter()
        .map(|(_, r)| (label(&r.name), r.files_waiting))
        .collect();
    family("files_waiting", "gauge", "Spooled files that wait", waiting);
    let up = reports
        .iter()
        .map(|(_, r)| (label(&r.name), u64::from(r.exit_reason.is_empty())))
        .collect();
    family("pipeline_up", "gauge", "1 while the pipeline runs", up);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Tally;

    #[test]
    fn every_family_names_its_pipeline() {
        let tallies: Tallies = Arc::new(vec![Arc::new(Tally::new("orders", false))]);
        let text = exposition(&tallies);
        assert!(text.contains("lakeward_records_landed_total{pipeline=\"orders\"} 0\n"));
        assert!(text.contains("lakeward_pipeline_up{pipeline=\"orders\"} 1\n"));
        assert_eq!(
            text.matches("# TYPE ").count(),
            text.matches("# HELP ").count()
        );
    }
}
