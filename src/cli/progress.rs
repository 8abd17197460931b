//! How far long work has come: a bar on a terminal, otherwise a log line every few seconds.
//!
//! Workers only add to counters; a thread of its own reads them, so that showing costs the work nothing.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

/// What the work has done so far. Read without locks, so the counts of one moment need not agree exactly.
#[derive(Debug, Default)]
pub struct Counters {
    /// Spooled files read to their end.
    pub files: AtomicU64,
    pub files_total: AtomicU64,
    /// Bytes of spooled files, as they lie on disk.
    pub bytes: AtomicU64,
    /// What waits and what was read, together; 0: unknown. May grow.
    pub bytes_total: AtomicU64,
    pub records: AtomicU64,
}

impl Counters {
    fn seen(&self) -> Seen {
        Seen {
            files: self.files.load(Relaxed),
            files_total: self.files_total.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            bytes_total: self.bytes_total.load(Relaxed),
            records: self.records.load(Relaxed),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    files: u64,
    files_total: u64,
    bytes: u64,
    bytes_total: u64,
    records: u64,
}

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

static BAR_ALLOWED: AtomicBool = AtomicBool::new(false);
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether a bar may be drawn at all; said by logging (not with `-q`, not with JSON).
pub(super) fn allow_bar(allowed: bool) {
    BAR_ALLOWED.store(allowed, Relaxed);
}

/// Writes to stderr beside the bar instead of through it.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    let bar = BAR
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .cloned();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Shows progress until it is dropped.
pub struct Progress {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Without a thread (a machine at its limits) nothing is shown, and the work goes on.
    #[must_use]
    pub fn start(counters: Arc<Counters>) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let seen_stop = Arc::clone(&stop);
        let with_bar = BAR_ALLOWED.load(Relaxed) && std::io::stderr().is_terminal();
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || {
                if with_bar {
                    show_bar(&counters, &seen_stop);
                } else {
                    show_lines(&counters, &seen_stop);
                }
            })
            .ok();
        Self { stop, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let (stopped, changed) = &*self.stop;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `true` once the work is over.
fn wait(stop: &(Mutex<bool>, Condvar), time: Duration) -> bool {
    let (stopped, changed) = stop;
    let guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
    let (guard, _) = changed
        .wait_timeout_while(guard, time, |stopped| !*stopped)
        .unwrap_or_else(PoisonError::into_inner);
    *guard
}

fn show_bar(counters: &Counters, stop: &(Mutex<bool>, Condvar)) {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}") {
        bar.set_style(style);
    }
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
    let start = Instant::now();
    while !wait(stop, BAR_EVERY) {
        let seen = counters.seen();
        bar.set_length(seen.bytes_total.max(seen.bytes));
        bar.set_position(seen.bytes);
        bar.set_message(line(seen, start.elapsed()));
    }
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = None;
    bar.finish_and_clear();
}

fn show_lines(counters: &Counters, stop: &(Mutex<bool>, Condvar)) {
    let start = Instant::now();
    let mut last = Seen::default();
    while !wait(stop, LINE_EVERY) {
        let seen = counters.seen();
        // A daemon whose spool is empty has nothing to say.
        if seen == last {
            continue;
        }
        last = seen;
        let elapsed = start.elapsed();
        tracing::info!(
            files = seen.files,
            bytes = seen.bytes,
            records = seen.records,
            bytes_per_second = rate(seen, elapsed),
            seconds_left = left(seen, elapsed).map(|left| left.as_secs()),
            "progress"
        );
    }
}

fn line(seen: Seen, elapsed: Duration) -> String {
    let mut text = if seen.files_total > 0 {
        format!("{}/{} files", seen.files, seen.files_total)
    } else {
        format!("{} files", seen.files)
    };
    text.push_str(&format!(", {}", HumanBytes(seen.bytes)));
    if seen.bytes_total > 0 {
        text.push_str(&format!(" of {}", HumanBytes(seen.bytes_total)));
    }
    text.push_str(&format!(
        ", {} records, {}/s",
        HumanCount(seen.records),
        HumanBytes(rate(seen, elapsed))
    ));
    if let Some(left) = left(seen, elapsed) {
        text.push_str(&format!(", {} left", clock(left)));
    }
    text
}

fn rate(seen: Seen, elapsed: Duration) -> u64 {
    let seconds = elapsed.as_secs_f64();
    if seconds <= 0.0 {
        return 0;
    }
    (seen.bytes as f64 / seconds) as u64
}

/// `None` while nothing can be said.
fn left(seen: Seen, elapsed: Duration) -> Option<Duration> {
    if seen.bytes == 0 || seen.bytes_total < seen.bytes {
        return None;
    }
    let seconds =
        elapsed.as_secs_f64() * (seen.bytes_total - seen.bytes) as f64 / seen.bytes as f64;
    Duration::try_from_secs_f64(seconds.ceil()).ok()
}

/// `1:02:03`, `2:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_files_bytes_records_rate_and_time_left() {
        let seen = Seen {
            files: 3,
            files_total: 12,
            bytes: 1 << 20,
            bytes_total: 4 << 20,
            records: 12_345,
        };
        assert_eq!(
            line(seen, Duration::from_secs(10)),
            "3/12 files, 1.00 MiB of 4.00 MiB, 12,345 records, 102.40 KiB/s, 0:30 left"
        );
    }

    #[test]
    fn nothing_is_promised_before_anything_is_known() {
        assert_eq!(
            line(Seen::default(), Duration::ZERO),
            "0 files, 0 B, 0 records, 0 B/s"
        );
    }

    #[test]
    fn dropping_ends_it_at_once() {
        let progress = Progress::start(Arc::new(Counters::default()));
        let start = Instant::now();
        drop(progress);
        assert!(start.elapsed() < LINE_EVERY);
    }
}
