//! How often, and for how long, a request that met a passing fault is sent again.
//!
//! The waiting times grow exponentially and are jittered, so that many agents that lost the same store do not return
//! to it in step. What counts as passing is decided where the fault is understood, not here.

use std::time::Duration;

use super::wait;
use crate::threads::Moment;

/// The limits of one operation's retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// No attempt begins later than this after the first one failed.
    pub total: Duration,
    /// The first pause; each next one is twice as long.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    /// Two minutes outlast the restart of a server and the usual failover.
    fn default() -> Self {
        Self {
            total: Duration::from_mins(2),
            first: Duration::from_millis(200),
            longest: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    /// The same pauses, within at most `total`.
    #[must_use]
    pub fn within(self, total: Duration) -> Self {
        Self {
            total: self.total.min(total),
            ..self
        }
    }
}

/// Shorter disturbances are nobody's concern.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// The pauses of one operation. Time counts from its first failure: an upload of half an hour that breaks at its end has
/// not used up its retries by taking long.
pub struct Backoff {
    policy: RetryPolicy,
    failed: Option<Moment>,
    next: Duration,
    said: bool,
    over: bool,
}

impl Backoff {
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            failed: None,
            next: policy.first,
            said: false,
            over: false,
        }
    }

    /// Waits before the next attempt; `false`, at once and from then on, if the time is over. `fault` is what is waited for:
    /// whoever reads the log learns of it long before the time is over.
    pub async fn pause(&mut self, fault: &(dyn std::fmt::Display + Sync)) -> bool {
        let pause = jittered(self.next, super::random());
        let waited = self.failed.get_or_insert_with(Moment::now).elapsed();
        // By chance a shorter pause would fit the next time: whoever was told that it is over has given up already.
        self.over |= waited + pause > self.policy.total;
        if self.over {
            return false;
        }
        if !self.said && waited + pause >= SILENCE_MAX {
            self.said = true;
            let seconds = self.policy.total.saturating_sub(waited).as_secs();
            tracing::warn!(%fault, for_seconds = seconds, "the lake does not do what it should, still trying");
        }
        self.next = (self.next * 2).min(self.policy.longest);
        wait::pause(pause).await;
        true
    }
}

/// Between half of `pause` and all of it.
fn jittered(pause: Duration, random: u64) -> Duration {
    let share = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_keeps_between_half_and_all_of_the_pause() {
        let pause = Duration::from_secs(8);
        assert_eq!(jittered(pause, 0), Duration::from_secs(4));
        assert_eq!(jittered(pause, u64::MAX), pause);
    }

    #[tokio::test]
    async fn no_pause_begins_that_would_outlast_the_total_time() {
        let mut backoff = Backoff::new(RetryPolicy {
            total: Duration::ZERO,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(1),
        });
        assert!(!backoff.pause(&"a fault").await);
    }

    #[tokio::test]
    async fn an_operation_that_was_given_up_stays_given_up() {
        // Every second pause would fit by chance; here each of 64 operations asks a hundred times after it was told.
        let policy = RetryPolicy {
            total: Duration::from_micros(7500),
            first: Duration::from_millis(10),
            longest: Duration::from_millis(10),
        };
        let mut given_up = 0;
        for _ in 0..64 {
            let mut backoff = Backoff::new(policy);
            if !backoff.pause(&"a fault").await {
                given_up += 1;
                for _ in 0..100 {
                    assert!(!backoff.pause(&"a fault").await);
                }
            }
        }
        assert!(given_up > 0);
    }
}
