//! The wish to stop, shared by everything that waits.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    reason: Option<String>,
    deadline: Option<Instant>,
}

#[derive(Default)]
pub struct Stop {
    state: Mutex<State>,
    changed: Condvar,
}

impl Stop {
    /// The first reason stays.
    pub fn set(&self, reason: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reason.is_none() {
            state.reason = Some(reason.to_owned());
        }
        self.changed.notify_all();
    }

    /// From this moment on the wish holds by itself.
    pub fn set_deadline(&self, deadline: Instant) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .deadline = Some(deadline);
    }

    #[must_use]
    pub fn is_set(&self) -> bool {
        self.reason().is_some()
    }

    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reason.is_some() {
            return state.reason.clone();
        }
        match state.deadline {
            Some(deadline) if Instant::now() >= deadline => Some("the deadline came".to_owned()),
            _ => None,
        }
    }

    /// Waits; true as soon as the wish holds.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        loop {
            if self.is_set() {
                return true;
            }
            let now = Instant::now();
            if now >= end {
                return false;
            }
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let until = state.deadline.map_or(end, |deadline| deadline.min(end));
            if state.reason.is_none() && until > now {
                let _unused = self
                    .changed
                    .wait_timeout(state, until - now)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
