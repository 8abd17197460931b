//! What `check` and the start ask of HDFS: that all this program needs is allowed, and that a rename replaces nothing.

use std::time::Duration;

use super::calls::Calls;
use super::fault::{Fault, FaultKind};
use super::land::parent;
use super::{Created, HdfsLake, Honours, LakePath, temporary};

/// Somebody waits for the answer, so a cluster that does not answer is given up sooner than while landing.
const PROBE_WITHIN: Duration = Duration::from_secs(20);
/// A small file is written in seconds: a temporary one that is so much older is a kill's.
const LEFT_MS: u64 = 24 * 3600 * 1000;

impl<C: Calls> HdfsLake<C> {
    pub(super) async fn probe_lake(&self, path: &LakePath) -> Result<Honours, Fault> {
        let policy = self.policy.within(PROBE_WITHIN);
        let contents = b"lakeward probes this lake";
        if self.create_within(path, contents, policy).await? != Created::Ours {
            return Err(Fault::permanent("somebody else writes this name"));
        }
        let full = self.full(path)?;
        let probed = self.probe_rest(path, &full, contents).await;
        // Removed whatever happened, and a failure to do so is said if there is no other.
        let removed = self
            .retried(async || self.calls.delete(&full).await)
            .await
            .map_err(|fault| Fault {
                message: format!("remove the probe: {}", fault.message),
                ..fault
            });
        let honours = probed?;
        removed?;
        Ok(honours)
    }

    async fn probe_rest(
        &self,
        path: &LakePath,
        full: &str,
        contents: &[u8],
    ) -> Result<Honours, Fault> {
        if self.get(full).await?.as_deref() != Some(contents) {
            return Err(Fault::permanent(
                "what was written did not read back: this cannot hold a lake",
            ));
        }
        let dir = parent(full);
        let listed = self
            .retried(async || self.calls.list(dir).await)
            .await?
            .unwrap_or_default();
        let Some(info) = listed.iter().find(|info| info.name == path.name()) else {
            return Err(Fault::permanent(
                "what was written is not listed: this cannot hold a lake",
            ));
        };
        self.remove_old(info.modified_ms).await?;
        // Without a byte: a file without blocks costs no DataNode anything, nor a wait for what it reports.
        let second = self.create_file(path, b"").await?;
        Ok(Honours {
            conditional_writes: second == Created::Other
                && self.get(full).await?.as_deref() == Some(contents),
        })
    }

    /// What kills left where small files are written: told by age, since others may be writing there at this moment. Both
    /// times are the NameNode's.
    async fn remove_old(&self, now_ms: u64) -> Result<(), Fault> {
        let dir = self.temporary_dir();
        let found = self
            .retried(async || self.calls.list(&dir).await)
            .await?
            .unwrap_or_default();
        for info in found {
            let old = info.modified_ms.saturating_add(LEFT_MS) < now_ms;
            if !info.is_dir && temporary::is_one(&info.name) && old {
                match self.calls.delete(&format!("{dir}/{}", info.name)).await {
                    Err(fault) if fault.kind != FaultKind::Transient => {
                        tracing::warn!(name = %info.name, error = %fault, "an old temporary file could not be removed");
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
