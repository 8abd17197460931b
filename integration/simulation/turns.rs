//! Lets the threads of one simulated process take turns: exactly one goes on at a time, and the seed says which.
//!
//! A thread gives its turn away at every call of a port ([`Turns::pass`]) and wherever it waits. One that waits is given a turn to look
//! again only after something has changed or its time is up; when nobody can go on, the clock moves to the next moment at
//! which somebody can.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lakeward::threads::{self, Turns};

use super::world::{Death, World};

/// How a simulated process ended.
#[derive(Debug)]
pub enum Ended<T> {
    Returned(T),
    /// Killed by a fate.
    Died,
    /// Everybody waits for somebody.
    Stuck,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Runnable,
    /// Looked when so many changes had been made; until this moment at most.
    Waiting {
        seen: u64,
        until: Option<u64>,
    },
    Ended,
}

struct Slot {
    status: Status,
    turn: Arc<Condvar>,
}

impl State {
    /// Beside the first.
    fn has_threads(&self) -> bool {
        let mut others = self.slots.iter().skip(1);
        others.any(|slot| slot.status != Status::Ended)
    }
}

struct State {
    slots: Vec<Slot>,
    current: usize,
    changes: u64,
    stuck: bool,
}

/// The threads of one process.
pub struct Schedule {
    world: World,
    state: Mutex<State>,
    /// A thread has ended.
    ended: Condvar,
    /// A thread that could go on is made to wait once in so many turns; 0: never.
    switches: u64,
    /// What the program is asked to do otherwise than it should.
    switched: [&'static str; 2],
}

impl Schedule {
    pub fn new(world: World, switches: u64, switched: [&'static str; 2]) -> Arc<Self> {
        Arc::new(Self {
            world,
            state: Mutex::new(State {
                slots: vec![Slot {
                    status: Status::Runnable,
                    turn: Arc::default(),
                }],
                current: 0,
                changes: 0,
                stuck: false,
            }),
            ended: Condvar::new(),
            switches,
            switched,
        })
    }

    /// Runs `process` and all threads that it starts to the end.
    pub fn run<T>(self: &Arc<Self>, process: impl FnOnce() -> T) -> Ended<T> {
        let turns: Arc<dyn Turns> = Arc::clone(self) as Arc<dyn Turns>;
        threads::enter(Some(turns));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(process));
        threads::enter(None);
        self.end_others();
        let stuck = self.state().stuck;
        match ended {
            Ok(value) => Ended::Returned(value),
            Err(_) if stuck => Ended::Stuck,
            Err(payload) if payload.is::<Death>() => Ended::Died,
            // A panic of the program, or of a check: a thread's own is told by the pipeline, which then ends in `Bug`.
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }

    /// A process ends with all its threads: also with one that nobody waited for.
    fn end_others(&self) {
        if !self.state().has_threads() {
            return;
        }
        self.world.end_process();
        self.release();
        let mut state = self.state();
        while state.has_threads() {
            let woken = self.ended.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turn to somebody who can go on, this thread perhaps, and waits for the next own one.
    fn switch<'a>(&'a self, mut state: MutexGuard<'a, State>, own: usize, stay: bool) {
        if self.world.is_dead() {
            drop(state);
            unwind();
        }
        let Some(next) = self.choose(&mut state, own, stay) else {
            state.stuck = true;
            drop(state);
            self.world.end_process();
            self.release();
            unwind();
        };
        state.current = next;
        if next == own {
            return;
        }
        state.slots[next].turn.notify_one();
        self.await_turn(state, own);
    }

    fn await_turn<'a>(&'a self, mut state: MutexGuard<'a, State>, own: usize) {
        let turn = Arc::clone(&state.slots[own].turn);
        while state.current != own && !self.world.is_dead() {
            state = turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        if self.world.is_dead() {
            unwind();
        }
    }

    fn choose(&self, state: &mut State, own: usize, stay: bool) -> Option<usize> {
        if stay && (self.switches == 0 || self.world.below(self.switches) != 0) {
            return Some(own);
        }
        loop {
            let now = self.world.elapsed_ns();
            let able: Vec<usize> = (0..state.slots.len())
                .filter(|n| match state.slots[*n].status {
                    Status::Runnable => true,
                    Status::Ended => false,
                    Status::Waiting { seen, until } => {
                        seen != state.changes || until.is_some_and(|until| until <= now)
                    }
                })
                .collect();
            if !able.is_empty() {
                let at = if self.switches == 0 {
                    // Round and round, beginning after the own one.
                    able.iter().position(|n| *n > own).unwrap_or(0)
                } else {
                    self.world.below(able.len() as u64) as usize
                };
                return Some(able[at]);
            }
            let next = state
                .slots
                .iter()
                .filter_map(|slot| match slot.status {
                    Status::Waiting { until, .. } => until,
                    _ => None,
                })
                .min()?;
            self.world.pass(next.saturating_sub(now).max(1));
        }
    }

    /// Everybody wakes up, to unwind.
    fn release(&self) {
        for slot in &self.state().slots {
            slot.turn.notify_all();
        }
    }

    fn own(&self) -> usize {
        self.state().current
    }
}

fn unwind() -> ! {
    std::panic::resume_unwind(Box::new(Death))
}

impl Turns for Schedule {
    fn pass(&self) {
        let own = self.own();
        self.switch(self.state(), own, true);
    }

    fn wait(&self, ready: &mut dyn FnMut() -> bool, timeout: Option<Duration>) -> bool {
        if self.world.is_dead() {
            unwind();
        }
        let own = self.own();
        let until = timeout.map(|timeout| {
            self.world
                .elapsed_ns()
                .saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
        });
        loop {
            if ready() {
                return true;
            }
            if until.is_some_and(|until| until <= self.world.elapsed_ns()) {
                return false;
            }
            let mut state = self.state();
            state.slots[own].status = Status::Waiting {
                seen: state.changes,
                until,
            };
            self.switch(state, own, false);
            self.state().slots[own].status = Status::Runnable;
        }
    }

    fn changed(&self) {
        self.state().changes += 1;
        if self.world.is_dead() {
            self.release();
        }
    }

    fn announce(&self, _name: &str) -> usize {
        let mut state = self.state();
        state.slots.push(Slot {
            status: Status::Runnable,
            turn: Arc::default(),
        });
        state.slots.len() - 1
    }

    fn begin(&self, number: usize) {
        self.await_turn(self.state(), number);
    }

    fn end(&self, number: usize) {
        let mut state = self.state();
        state.slots[number].status = Status::Ended;
        state.changes += 1;
        self.ended.notify_all();
        if self.world.is_dead() {
            drop(state);
            self.release();
            return;
        }
        if let Some(next) = self.choose(&mut state, number, false) {
            state.current = next;
            state.slots[next].turn.notify_one();
        } else {
            state.stuck = true;
            drop(state);
            self.world.end_process();
            self.release();
        }
    }

    fn is_dying(&self) -> bool {
        self.world.is_dead()
    }

    fn place(&self, name: &str) {
        self.world.place(name);
    }

    fn broken(&self, variant: &str) -> bool {
        self.switched.contains(&variant)
    }

    fn holds(&self, what: &'static str, amount: u64) {
        self.world.holds(what, amount);
    }

    fn random(&self) -> u64 {
        self.world.bits()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.world.elapsed_ns())
    }
}
