//! What the program's own lakes ask of the simulation they run in, beside their ports: names, pauses, wrong variants.

use std::sync::Arc;
use std::time::Duration;

use lakeward::threads::{self, Turns};

use super::Wrong;
use super::port::Port;

/// Until it is dropped the calling thread's bits are the lake's own, the same in every run of the same calls; whatever else is asked is
/// asked of the simulation that the thread is in, if it is in one.
pub struct InTurns {
    outer: Option<Arc<dyn Turns>>,
}

struct OfLake {
    outer: Option<Arc<dyn Turns>>,
    port: Arc<Port>,
}

impl InTurns {
    pub fn enter(port: &Arc<Port>) -> Self {
        let outer = threads::turns();
        threads::enter(Some(Arc::new(OfLake {
            outer: outer.clone(),
            port: Arc::clone(port),
        })));
        Self { outer }
    }
}

impl Drop for InTurns {
    fn drop(&mut self) {
        threads::enter(self.outer.take());
    }
}

impl Turns for OfLake {
    fn pass(&self) {
        if let Some(outer) = &self.outer {
            outer.pass();
        }
    }

    fn wait(&self, ready: &mut dyn FnMut() -> bool, timeout: Option<Duration>) -> bool {
        if let Some(outer) = &self.outer {
            return outer.wait(ready, timeout);
        }
        let time = timeout.unwrap_or_default().as_nanos();
        self.port
            .world
            .pass(u64::try_from(time).unwrap_or(u64::MAX));
        ready()
    }

    fn changed(&self) {
        if let Some(outer) = &self.outer {
            outer.changed();
        }
    }

    fn announce(&self, name: &str) -> usize {
        self.outer.as_ref().map_or(0, |outer| outer.announce(name))
    }

    fn begin(&self, number: usize) {
        if let Some(outer) = &self.outer {
            outer.begin(number);
        }
    }

    fn end(&self, number: usize) {
        if let Some(outer) = &self.outer {
            outer.end(number);
        }
    }

    fn holds(&self, what: &'static str, amount: u64) {
        if let Some(outer) = &self.outer {
            outer.holds(what, amount);
        }
    }

    fn is_dying(&self) -> bool {
        self.port.world.is_dead()
    }

    /// The calls are places enough.
    fn place(&self, _name: &str) {}

    fn broken(&self, variant: &str) -> bool {
        let options = &self.port.options;
        match variant {
            "lake-shared-temporary-name" => options.shared_temporary_name,
            "lake-writes-in-place" => options.wrong == Some(Wrong::WritesInPlace),
            _ => false,
        }
    }

    fn random(&self) -> u64 {
        self.port.attempt()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.port.world.elapsed_ns())
    }
}
