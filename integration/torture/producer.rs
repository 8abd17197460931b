//! Drops files into the spools while the program is killed, and writes down which records are in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::chance::Chance;
use super::history::History;
use super::pipelines::{LONG, Pipeline};
use crate::support::drop_into;

/// Of a spool: beyond these the producer waits, so that a round ends.
const WAITING_MAX: usize = 20;
/// How many names a producer uses again and again where a retired file leaves its name.
const NAMES: u64 = 12;

/// Where a producer drops its files.
#[derive(Clone)]
pub struct Spool {
    pub pipeline: Pipeline,
    pub dir: std::path::PathBuf,
}

pub struct Producer {
    pub site: String,
    pub spools: Vec<Spool>,
    pub history: Arc<History>,
    pub chance: Chance,
    /// Sync what is dropped: only then can it be asked for after a power cut.
    pub durable: bool,
    /// Given out so far, over all sites: no record is there twice.
    pub ids: Arc<AtomicI64>,
    /// Some of several segments, and so of several batches.
    pub long_files: bool,
    files: u64,
}

/// A producer at work.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Producer>,
}

impl Producer {
    pub fn new(
        site: &str,
        spools: Vec<Spool>,
        history: &Arc<History>,
        ids: &Arc<AtomicI64>,
        chance: Chance,
    ) -> Self {
        Self {
            site: site.to_owned(),
            spools,
            history: Arc::clone(history),
            chance,
            durable: false,
            ids: Arc::clone(ids),
            long_files: false,
            files: 0,
        }
    }

    pub fn start(mut self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::SeqCst) {
                self.drop_one();
                let pause = self.chance.pick(&[2, 10, 20, 60]);
                std::thread::sleep(Duration::from_millis(pause));
            }
            self
        });
        Running { stop, thread }
    }

    /// Drops a file somewhere, unless enough is waiting there or the disk will not have it.
    pub fn drop_one(&mut self) {
        let at = self.chance.below(self.spools.len() as u64) as usize;
        let spool = self.spools[at].clone();
        let pipeline = &spool.pipeline;
        let long = self.long_files && self.chance.one_in(40);
        let records = if long {
            4_000
        } else {
            self.chance.pick(&[1, 3, 20, 50, 100, 200, 500])
        };
        let again = self.chance.below(NAMES);
        let bad = self.chance.one_in(3);
        let Ok(entries) = std::fs::read_dir(&spool.dir) else {
            return;
        };
        let waiting = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                name.as_encoded_bytes()
                    .ends_with(pipeline.extension().as_bytes())
            })
            .count();
        // Under `keep` all files ever dropped are there: a larger number, and no more to come.
        let max = if pipeline.retire == "keep" {
            8 * WAITING_MAX
        } else {
            WAITING_MAX
        };
        if waiting >= max {
            return;
        }
        let name = match pipeline.retire {
            // Both leave the name free, and a name that is free may be used again.
            "move" | "delete" => format!("again-{again}.{}", pipeline.extension()),
            _ => format!("f{}.{}", self.files, pipeline.extension()),
        };
        if spool.dir.join(&name).exists() {
            return;
        }
        self.files += 1;
        let from = self.ids.fetch_add(records, Ordering::SeqCst) + if long { LONG } else { 0 };
        let to = from + records;
        let bytes = pipeline.file(from, to, |id| bad && is_bad(id));
        let dropped = if self.durable {
            drop_durably(&spool.dir, &name, &bytes)
        } else {
            drop_into(&spool.dir, &name, &bytes)
        };
        // What is not dropped is asked for by nobody.
        if dropped.is_ok() {
            self.history.add(json!({
                "site": self.site, "event": "dropped", "pipeline": pipeline.name, "file": name,
                "from": from, "to": to,
                "bad": (from..to).filter(|id| bad && is_bad(*id)).collect::<Vec<_>>(),
            }));
        }
    }
}

fn is_bad(id: i64) -> bool {
    id % 97 == 0
}

fn drop_durably(spool: &std::path::Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let hidden = spool.join(format!(".incoming-{name}"));
    let mut file = std::fs::File::create(&hidden)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&hidden, spool.join(name))?;
    std::fs::File::open(spool)?.sync_all()
}

impl Running {
    pub fn end(self) -> Producer {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the producer ends")
    }
}
