//! Where tests stop the work halfway, as a kill would, and take abilities away from the file system.
//!
//! In the program itself nothing of this exists: [`Faults`] is empty there and its calls do nothing.

use crate::spool::SpoolError;

#[derive(Debug, Default)]
pub(super) struct Faults {
    #[cfg(test)]
    killed_at: std::sync::Mutex<Option<&'static str>>,
    #[cfg(test)]
    lacks_noreplace: std::sync::atomic::AtomicBool,
    #[cfg(test)]
    syncs: std::sync::atomic::AtomicUsize,
    #[cfg(test)]
    hook: Hook,
}

/// What a test does at a point while the work goes on, as a producer would.
#[cfg(test)]
#[derive(Default)]
struct Hook(std::sync::Mutex<Option<Action>>);

#[cfg(test)]
type Action = (&'static str, Box<dyn FnOnce() + Send>);

#[cfg(test)]
impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

#[cfg(not(test))]
#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "tests have the other half"
)]
impl Faults {
    pub(super) fn point(&self, _name: &'static str) -> Result<(), SpoolError> {
        Ok(())
    }

    pub(super) fn lacks_noreplace(&self) -> bool {
        false
    }

    pub(super) fn synced(&self) {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{Faults, SpoolError};

    impl Faults {
        /// Fails once at the point that was set, leaving everything as it stands, as a kill does.
        pub(in super::super) fn point(&self, name: &'static str) -> Result<(), SpoolError> {
            let action = self.hook.0.lock().unwrap().take_if(|(at, _)| *at == name);
            if let Some((_, action)) = action {
                action();
            }
            let killed = self.killed_at.lock().unwrap().take_if(|at| *at == name);
            if killed.is_none() {
                return Ok(());
            }
            Err(SpoolError {
                operation: "test",
                path: name.into(),
                message: "killed here".into(),
                unavailable: false,
            })
        }

        pub(in super::super) fn lacks_noreplace(&self) -> bool {
            self.lacks_noreplace.load(Ordering::Relaxed)
        }

        pub(in super::super) fn synced(&self) {
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }

        pub(in super::super) fn kill_at(&self, name: &'static str) {
            *self.killed_at.lock().unwrap() = Some(name);
        }

        pub(in super::super) fn act_at(
            &self,
            name: &'static str,
            action: impl FnOnce() + Send + 'static,
        ) {
            *self.hook.0.lock().unwrap() = Some((name, Box::new(action)));
        }

        pub(in super::super) fn take_noreplace_away(&self) {
            self.lacks_noreplace.store(true, Ordering::Relaxed);
        }

        pub(in super::super) fn syncs(&self) -> usize {
            self.syncs.load(Ordering::Relaxed)
        }
    }
}
