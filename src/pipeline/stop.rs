//! The wish to stop, shared by everything that waits.

use std::time::Duration;

use crate::threads::{Moment, Monitor};

#[derive(Default)]
struct State {
    reason: Option<String>,
    /// From when on, and how long until the wish holds.
    deadline: Option<(Moment, Duration)>,
}

#[derive(Default)]
pub struct Stop(Monitor<State>);

impl State {
    fn reason(&self) -> Option<String> {
        if self.reason.is_some() {
            return self.reason.clone();
        }
        (self.left() == Some(Duration::ZERO)).then(|| "the deadline came".to_owned())
    }

    /// Until the deadline; `None`: there is none.
    fn left(&self) -> Option<Duration> {
        let (since, after) = self.deadline?;
        Some(after.saturating_sub(since.elapsed()))
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

    /// After this time the wish holds by itself.
    pub fn set_deadline(&self, after: Duration) {
        self.0.lock().deadline = Some((Moment::now(), after));
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
        let timeout = self
            .0
            .lock()
            .left()
            .map_or(timeout, |left| left.min(timeout));
        self.0
            .wait_while(Some(timeout), |state| state.reason().is_none())
            .reason()
            .is_some()
    }
}
