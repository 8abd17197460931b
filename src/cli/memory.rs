//! Holds what the allocator keeps back within the budget.
//!
//! Freed memory stays with the allocator for seconds (`main.rs` says why). On top of what is in use that can come to more than
//! `agent.memory`, most of all where the budget is small; whatever is free then goes back to the system at once.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// Between two looks. Memory of a busy lane grows by some megabytes in it.
const LOOK: Duration = Duration::from_millis(20);

/// Calls `give_back` whenever the process has more memory than `budget`, as long as the process lives.
pub fn keep_within(budget: u64, give_back: fn()) {
    let watcher = std::thread::Builder::new().name("memory".into());
    let started = File::open("/proc/self/status").and_then(|file| {
        watcher.spawn(move || {
            while let Some(resident) = resident(&file) {
                if resident > budget {
                    give_back();
                }
                std::thread::sleep(LOOK);
            }
        })
    });
    if let Err(error) = started {
        tracing::warn!(%error, "nothing watches how much memory is held back");
    }
}

/// Bytes of memory that the process has, by Linux's `proc_pid_status(5)`; `None` where the system does not tell.
fn resident(status: &File) -> Option<u64> {
    let mut text = [0; 4096];
    let length = status.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    static CALLS: AtomicU32 = AtomicU32::new(0);

    #[test]
    fn what_is_beyond_the_budget_is_given_back_again_and_again() {
        keep_within(u64::MAX, || panic!("no process has as much"));
        keep_within(1 << 20, || {
            CALLS.fetch_add(1, Ordering::SeqCst);
        });
        while CALLS.load(Ordering::SeqCst) < 3 {
            std::thread::yield_now();
        }
    }
}
