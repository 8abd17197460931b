//! What `check` and the start ask of a store: that all this program needs is allowed, and whether it honours
//! `If-None-Match`, in a PUT and where an upload in parts is completed. A store that ignores it overwrites silently, which only
//! trying shows.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use opendal::Buffer;

use super::fault::{Fault, FaultKind};
use super::{Honours, LakePath, S3Lake, key};
use crate::lake::retry::{Backoff, RetryPolicy};

/// Somebody waits for the answer, so a store that does not answer is given up sooner than while landing.
const PROBE_WITHIN: Duration = Duration::from_secs(20);

impl S3Lake {
    pub(super) async fn probe_store(&self, path: &LakePath) -> Result<Honours, Fault> {
        let contents = Buffer::from(&b"lakeward probes this lake"[..]);
        self.probe_put(path, contents.clone(), false).await?;
        let probed = self.probe_rest(path, contents).await;
        // Removed whatever happened, and a failure to do so is said if there is no other. Repeated, since MinIO for one
        // closes the connection on which it refused a write.
        let key = key(path)?;
        let removed = self
            .retried(async || Ok(self.operator.delete(key).await?))
            .await;
        let honours = probed?;
        match removed {
            Err(fault) if fault.kind != FaultKind::Absent => Err(Fault {
                message: format!("remove the probe: {}", fault.message),
                ..fault
            }),
            _ => Ok(honours),
        }
    }

    async fn probe_rest(&self, path: &LakePath, contents: Buffer) -> Result<Honours, Fault> {
        let read = self.get(path).await?;
        if read.as_deref() != Some(&contents.to_vec()[..]) {
            return Err(Fault::permanent(
                "what was written did not read back: this store cannot hold a lake",
            ));
        }
        if !self.lists(path).await? {
            return Err(Fault::permanent(
                "what was written is not listed: this store cannot hold a lake",
            ));
        }
        let second = Buffer::from(&b"written over it"[..]);
        match self.probe_put(path, second, true).await {
            Ok(()) => Ok(Honours {
                conditional_writes: false,
            }),
            Err(fault) if fault.kind == FaultKind::Condition => Ok(Honours {
                conditional_writes: self.completes_conditionally(path).await?,
            }),
            // A store that knows no such header may also say so.
            Err(fault) if fault.status == Some(501) => Ok(Honours {
                conditional_writes: false,
            }),
            Err(fault) => Err(fault),
        }
    }

    /// Not asked where the configuration does without.
    async fn completes_conditionally(&self, path: &LakePath) -> Result<bool, Fault> {
        if !self.conditional_writes {
            return Ok(true);
        }
        let honours = self.uploads.honours_condition(self, path).await?;
        if honours.is_none() {
            tracing::debug!(
                "whether the store honours a completion's `If-None-Match` cannot be tried"
            );
        }
        Ok(honours.unwrap_or(true))
    }

    async fn lists(&self, path: &LakePath) -> Result<bool, Fault> {
        let (dir, _) = path.as_str().rsplit_once('/').unwrap_or_default();
        let mut lister = self.operator.lister(&format!("{dir}/")).await?;
        while let Some(entry) = lister.next().await {
            if entry?.path() == path.as_str() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn probe_put(
        &self,
        path: &LakePath,
        contents: Buffer,
        if_not_exists: bool,
    ) -> Result<(), Fault> {
        let policy: RetryPolicy = self.policy.within(PROBE_WITHIN);
        let mut backoff = Backoff::new(policy);
        loop {
            let mut options = self.write_options(BTreeMap::new());
            options.if_not_exists = if_not_exists;
            let put = self
                .operator
                .write_options(key(path)?, contents.clone(), options)
                .await
                .map_err(Fault::from);
            match put {
                Err(fault)
                    if fault.kind == FaultKind::Transient
                        && backoff.pause(&self.store.scrub(&fault.message)).await => {}
                Err(fault) if fault.kind == FaultKind::Absent => {
                    return Err(Fault::permanent(format!(
                        "{}: is `endpoint` an S3 store?",
                        fault.message
                    )));
                }
                Ok(_) => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
    }
}
