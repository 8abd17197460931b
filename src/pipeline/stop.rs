//! The wish to stop, shared by everything that waits.

use std::time::{Duration, Instant};

use crate::threads::Monitor;

#[derive(Default)]
struct State {
    reason: Option<String>,
    deadline: Option<Instant>,
}

#[derive(Default)]
pub struct Stop(Monitor<State>);

impl State {
    fn reason(&self) -> Option<String> {
        if self.reason.is_some() {
            return self.reason.clone();
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Some("the deadline came".to_owned()),
            _ => None,
        }
    }
}

impl Stop {
    /// The first reason stays.
    pub fn set(&self, reason: &str) {
        let mut state = self.0.lock();
        if state.reason.is_none() {
            state.reason = Some(reason.to_owned());
        }
        drop(state);
        self.0.changed();
    }

    /// From this moment on the wish holds by itself.
    pub fn set_deadline(&self, deadline: Instant) {
        self.0.lock().deadline = Some(deadline);
    }

    #[must_use]
    pub fn is_set(&self) -> bool {
        self.reason().is_some()
    }

    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.lock().reason()
    }

    /// Waits; true as soon as the wish holds.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = self.0.lock().deadline;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(timeout, |left| left.min(timeout));
        self.0
            .wait_while(Some(timeout), |state| state.reason().is_none())
            .reason()
            .is_some()
    }
}
