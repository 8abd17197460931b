//! `sink.marker`: a hidden file that tells a scheduler that a directory has got data, in each in which a batch landed some.
//!
//! Follow-up work: after the commit and before the batch is `Done`, so that a kill repeats it, and after retiring, which it cannot hold
//! up. It is created only where none is, whoever wrote that: harmless to repeat, and one that was taken away comes back with
//! the next batch that lands there. It does not say that no more will come: only the producer knows.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::Halt;
use super::committer::Committer;
use crate::crash;
use crate::journal::{BatchRow, PartitionWork};
use crate::naming::LakePath;
use crate::threads;

/// Markers written at once.
const THREADS: usize = 4;

impl Committer {
    pub(super) fn write_markers(&self, batch: &BatchRow) -> Result<(), Halt> {
        if self.sink.marker.is_empty() {
            return Ok(());
        }
        let landed = super::work_of(&batch.manifest);
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), Halt> {
            while let Some(one) = landed.get(next.fetch_add(1, Ordering::SeqCst)) {
                self.write_marker(one).inspect_err(|_| {
                    next.store(landed.len(), Ordering::SeqCst);
                })?;
            }
            Ok(())
        };
        threads::scope(|scope| {
            let count = THREADS.min(landed.len());
            let handles: Vec<_> = (0..count).map(|_| scope.spawn("marker", work)).collect();
            let mut first_error = None;
            for handle in handles {
                let died = || Err(Halt::Bug("a thread that writes markers died".into()));
                if let Err(halt) = handle.join().unwrap_or_else(|_| died()) {
                    first_error = first_error.or(Some(halt));
                }
            }
            first_error.map_or(Ok(()), Err)
        })
    }

    fn write_marker(&self, landed: &PartitionWork) -> Result<(), Halt> {
        let path = format!("{}/{}", landed.directory, self.sink.marker);
        let path = LakePath::new(path.trim_start_matches('/')).map_err(Halt::Bug)?;
        // Whose it is, for people: one that says otherwise does as well.
        let text = json!({
            "pipeline": self.pipeline,
            "journal": self.ports.journal.id(),
            "batch": landed.batch,
        });
        crash::place("before_marker");
        self.ports
            .lake
            .ensure(&path, format!("{text}\n").as_bytes())?;
        crash::place("after_marker");
        Ok(())
    }
}
