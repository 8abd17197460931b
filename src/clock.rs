//! The clock port. Only the shell reads clocks; what decides takes time as an argument.

use std::time::Duration;

pub trait Clock: Send + Sync {
    /// Nanoseconds since 1970 by the wall clock, which may jump.
    fn now_ns(&self) -> i64;
    /// Time since an arbitrary start, which never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> i64 {
        i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
