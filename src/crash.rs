//! Named places where a test kills the program, so that each step of the protocol is met and not only hoped for.
//!
//! In a program built with debug assertions `LAKEWARD_CRASH_AT=before_land:3` sends it SIGKILL when it comes to that
//! place for the third time. A simulation decides by itself what befalls it there. In a release build a place is nothing
//! at all.

/// Marks a place; see the module.
#[inline]
pub fn place(name: &str) {
    if cfg!(debug_assertions) {
        if let Some(turns) = crate::threads::turns() {
            return turns.place(name);
        }
        reach(name);
    }
}

/// Whether a test asked for this deliberately wrong variant (`LAKEWARD_BROKEN=name`, several with commas, debug builds only). Each is there for one
/// test, which shows that the check of an invariant can fail.
#[must_use]
#[inline]
pub fn broken(variant: &str) -> bool {
    cfg!(debug_assertions) && wanted_broken(variant)
}

/// Tells a simulation how much of something that is bounded (I11) is held from now on: what no port sees.
#[inline]
pub fn holds(what: &'static str, amount: usize) {
    if cfg!(debug_assertions)
        && let Some(turns) = crate::threads::turns()
    {
        turns.holds(what, amount as u64);
    }
}

fn wanted_broken(variant: &str) -> bool {
    static WANTED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("LAKEWARD_BROKEN").unwrap_or_default());
    match crate::threads::turns() {
        Some(turns) => turns.broken(variant),
        None => WANTED.split(',').any(|wanted| wanted == variant),
    }
}

fn reach(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("LAKEWARD_CRASH_AT").ok()?;
        let (place, times) = text.split_once(':')?;
        Some((place.to_owned(), times.parse().ok()?))
    });
    static REACHED: AtomicU64 = AtomicU64::new(0);

    let Some((place, times)) = WANTED.as_ref() else {
        return;
    };
    if place == name && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *times {
        let own = rustix::process::getpid();
        // Nothing runs after this, as after any kill -9.
        let _killed = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
