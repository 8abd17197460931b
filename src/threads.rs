//! Threads that wait for one another. Everything in a pipeline that blocks does it here, and so a simulation can let a pipeline's
//! threads take turns: one goes on, from one wait to the next, while all others stand still.
//!
//! Where no simulation has been [entered](enter), these are the standard library's threads, mutexes and condition variables.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Decides which of a simulation's threads goes on.
///
/// When the process that is simulated dies, [`Turns::pass`], [`Turns::wait`], [`Turns::begin`] and [`Turns::place`] unwind the thread
/// that calls them.
pub trait Turns: Send + Sync {
    /// Others may go on; comes back at this thread's next turn.
    fn pass(&self);
    /// Others go on until `ready` says so or `timeout` has passed by the simulated clock; says whether it is ready. `ready` is asked again
    /// after something was [changed](Turns::changed).
    fn wait(&self, ready: &mut dyn FnMut() -> bool, timeout: Option<Duration>) -> bool;
    /// Something that others may wait for has changed.
    fn changed(&self);
    /// The calling thread is about to start another, which gets this number.
    fn announce(&self, name: &str) -> usize;
    /// The first word of that thread: waits for its first turn.
    fn begin(&self, number: usize);
    /// Its last.
    fn end(&self, number: usize);
    /// The process is dying: threads unwind, and nothing that they still do counts.
    fn is_dying(&self) -> bool;
    /// A place of [`crate::crash`] was reached.
    fn place(&self, name: &str);
    /// Whether this deliberately wrong variant is asked for.
    fn broken(&self, variant: &str) -> bool;
    /// How much of something that is bounded (I11) is held from now on.
    fn holds(&self, what: &'static str, amount: u64);
    /// What the kernel's random bits are.
    fn random(&self) -> u64;
    /// By the simulated clock, which no jump of the wall clock moves.
    fn elapsed(&self) -> Duration;
}

thread_local! {
    static TURNS: RefCell<Option<Arc<dyn Turns>>> = const { RefCell::new(None) };
}

/// The calling thread, and all that it starts, take turns from here on; `None`: not any more.
pub fn enter(turns: Option<Arc<dyn Turns>>) {
    TURNS.with(|own| *own.borrow_mut() = turns);
}

/// The simulation that the calling thread is in.
pub fn turns() -> Option<Arc<dyn Turns>> {
    TURNS.with(|own| own.borrow().clone())
}

/// A moment, to measure time from.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    Real(Instant),
    Simulated(Duration),
}

impl Moment {
    #[must_use]
    pub fn now() -> Self {
        match turns() {
            Some(turns) => Self::Simulated(turns.elapsed()),
            None => Self::Real(Instant::now()),
        }
    }

    #[must_use]
    pub fn elapsed(self) -> Duration {
        match self {
            Self::Real(since) => since.elapsed(),
            Self::Simulated(since) => turns()
                .map_or(Duration::ZERO, |turns| turns.elapsed())
                .saturating_sub(since),
        }
    }
}

/// The process dies in a simulation: destructors leave what a killed process would leave.
#[must_use]
pub fn is_dying() -> bool {
    turns().is_some_and(|turns| turns.is_dying())
}

/// A value that several threads share, and whose changes they wait for. A simulation switches threads only where one waits, so
/// a guard must not be held over a call that may wait.
#[derive(Default)]
pub struct Monitor<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Monitor<T> {
    pub fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            changed: Condvar::new(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever waits looks again.
    pub fn changed(&self) {
        self.changed.notify_all();
        if let Some(turns) = turns() {
            turns.changed();
        }
    }

    /// Waits while `still` says so, `timeout` at most.
    pub fn wait_while(
        &self,
        timeout: Option<Duration>,
        mut still: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'_, T> {
        if let Some(turns) = turns() {
            turns.wait(&mut || !still(&mut self.lock()), timeout);
            return self.lock();
        }
        let end = timeout.map(|timeout| Instant::now() + timeout);
        let mut value = self.lock();
        while still(&mut value) {
            value = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return value,
                Some(left) => {
                    self.changed
                        .wait_timeout(value, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .changed
                    .wait(value)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
        value
    }
}

/// Lets time pass.
pub fn pause(time: Duration) {
    drop(Monitor::new(()).wait_while(Some(time), |()| true));
}

/// Lets one thread at a time do something that takes long.
#[derive(Default)]
pub struct Alone(Monitor<bool>);

impl Alone {
    pub fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Held<'a>(&'a Monitor<bool>);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                *self.0.lock() = false;
                self.0.changed();
            }
        }
        *self.0.wait_while(None, |held| *held) = true;
        let _held = Held(&self.0);
        work()
    }
}

struct Queued<T> {
    items: std::collections::VecDeque<T>,
    closed: bool,
}

/// A queue between threads, bounded by a number of items.
pub struct Queue<T> {
    monitor: Monitor<Queued<T>>,
    items_max: usize,
}

impl<T> Queue<T> {
    /// `items_max`: of items that wait; whoever adds more waits.
    #[must_use]
    pub fn new(items_max: usize) -> Self {
        Self {
            monitor: Monitor::new(Queued {
                items: std::collections::VecDeque::new(),
                closed: false,
            }),
            items_max,
        }
    }

    /// # Errors
    /// The queue is closed; the item comes back.
    pub fn send(&self, item: T) -> Result<(), T> {
        let mut queued = self.monitor.wait_while(None, |queued| {
            !queued.closed && queued.items.len() >= self.items_max
        });
        if queued.closed {
            return Err(item);
        }
        queued.items.push_back(item);
        drop(queued);
        self.monitor.changed();
        Ok(())
    }

    /// The next item; `None` once the queue is closed and empty.
    pub fn receive(&self) -> Option<T> {
        let mut queued = self
            .monitor
            .wait_while(None, |queued| !queued.closed && queued.items.is_empty());
        let item = queued.items.pop_front();
        drop(queued);
        self.monitor.changed();
        item
    }

    /// The next item if there is one now.
    pub fn try_receive(&self) -> Option<T> {
        let item = self.monitor.lock().items.pop_front();
        if item.is_some() {
            self.monitor.changed();
        }
        item
    }

    /// Nothing more is taken; what waits can still be received.
    pub fn close(&self) {
        self.monitor.lock().closed = true;
        self.monitor.changed();
    }
}

/// A thread of a [`scope`].
pub struct Scoped<'scope, T> {
    handle: std::thread::ScopedJoinHandle<'scope, T>,
    ended: Ended,
}

impl<T> Scoped<'_, T> {
    pub fn is_finished(&self) -> bool {
        match &self.ended.0 {
            Some(ended) => *ended.lock(),
            None => self.handle.is_finished(),
        }
    }

    /// # Errors
    /// What the thread panicked with.
    pub fn join(self) -> std::thread::Result<T> {
        self.ended.wait();
        self.handle.join()
    }
}

/// A thread of its own.
pub struct Own<T> {
    handle: std::thread::JoinHandle<T>,
    ended: Ended,
}

impl<T> Own<T> {
    pub fn is_finished(&self) -> bool {
        match &self.ended.0 {
            Some(ended) => *ended.lock(),
            None => self.handle.is_finished(),
        }
    }

    /// # Errors
    /// What the thread panicked with.
    pub fn join(self) -> std::thread::Result<T> {
        self.ended.wait();
        self.handle.join()
    }
}

/// Starts a thread.
///
/// # Errors
/// The system has no room for one more.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<Own<T>> {
    let (body, ended) = taking_turns(name, body);
    let handle = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)?;
    Ok(Own { handle, ended })
}

/// As [`std::thread::scope`]; each thread has to be joined by its handle.
pub fn scope<'env, T>(work: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> T) -> T {
    std::thread::scope(|inner| work(&Scope { inner }))
}

/// Where threads are started that borrow.
pub struct Scope<'scope, 'env> {
    inner: &'scope std::thread::Scope<'scope, 'env>,
}

impl<'scope> Scope<'scope, '_> {
    /// # Panics
    /// The system has no room for one more.
    pub fn spawn<T: Send + 'scope>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'scope,
    ) -> Scoped<'scope, T> {
        let (body, ended) = taking_turns(name, body);
        Scoped {
            handle: self.inner.spawn(body),
            ended,
        }
    }
}

/// Whether a thread of a simulation has ended.
#[derive(Clone, Default)]
struct Ended(Option<Arc<Monitor<bool>>>);

impl Ended {
    /// Lets the others go on until it has. Nothing outside a simulation, and nothing while its process dies: then all threads end.
    fn wait(&self) {
        if let Some(ended) = self.0.as_ref().filter(|_| !is_dying()) {
            drop(ended.wait_while(None, |ended| !*ended));
        }
    }
}

/// The body with the words that a simulation wants before and after it.
fn taking_turns<T, B: FnOnce() -> T>(
    name: &str,
    body: B,
) -> (impl FnOnce() -> T + use<T, B>, Ended) {
    struct Last(Arc<dyn Turns>, usize, Arc<Monitor<bool>>);
    impl Drop for Last {
        fn drop(&mut self) {
            *self.2.lock() = true;
            self.0.changed();
            self.0.end(self.1);
        }
    }
    let simulated = turns().map(|turns| {
        let number = turns.announce(name);
        (turns, number, Arc::new(Monitor::new(false)))
    });
    let ended = Ended(simulated.as_ref().map(|(_, _, ended)| Arc::clone(ended)));
    let body = move || {
        let last = simulated.map(|(turns, number, ended)| {
            enter(Some(Arc::clone(&turns)));
            Last(turns, number, ended)
        });
        // Also where it never begins, what it holds goes before its last word.
        let body = body;
        if let Some(Last(turns, number, _)) = &last {
            turns.begin(*number);
        }
        body()
    };
    (body, ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_bounded_and_its_rest_is_received_after_it_was_closed() {
        let queue = Arc::new(Queue::new(1));
        queue.send(1).unwrap();
        let sender = {
            let queue = Arc::clone(&queue);
            spawn("sender", move || (queue.send(2), queue.send(3))).unwrap()
        };
        assert_eq!(queue.receive(), Some(1));
        assert_eq!(queue.receive(), Some(2));
        assert_eq!(sender.join().unwrap(), (Ok(()), Ok(())));
        queue.close();
        assert_eq!(queue.send(4), Err(4));
        assert_eq!(queue.receive(), Some(3));
        assert_eq!(queue.receive(), None);
    }

    #[test]
    fn a_wait_ends_with_its_time() {
        let monitor = Monitor::new(0);
        let start = Instant::now();
        let value = monitor.wait_while(Some(Duration::from_millis(20)), |value| *value == 0);
        assert_eq!(*value, 0);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn one_at_a_time_is_alone() {
        let alone = Alone::default();
        let inside = Mutex::new(0);
        scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn("worker", || {
                        for _ in 0..200 {
                            alone.with(|| {
                                *inside.try_lock().unwrap() += 1;
                            });
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        });
        assert_eq!(*inside.lock().unwrap(), 800);
    }

    #[test]
    fn a_thread_that_panics_is_told_of_by_its_join() {
        let thread = spawn("panics", || {
            std::panic::resume_unwind(Box::new("on purpose"))
        })
        .unwrap();
        let thread: Own<()> = thread;
        assert!(thread.join().is_err());
    }
}
