//! What all simulated ports share: one seed, one trace, and the fate of each call.
//!
//! A port asks [`World::call`] before it does anything, does as much of it as the answer says, and ends with [`Turn::end`]:
//!
//! ```text
//! let turn = world.call("land", path, Shape::Remote);
//! match turn.part() { Part::None => {} Part::Half => …, Part::All => …, Part::Late => … }
//! turn.end().map_err(|Lost| …)?;      // a passing error, or the end of the process
//! ```
//!
//! The end of a process is an unwinding: from then on every call of that process does nothing ([`Part::None`]) and fails, so destructors
//! cannot change the world after its death. No lock may be held across [`World::call`] and [`Turn::end`]: another thread of the process may
//! go on there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lakeward::threads;

/// When a run begins, in nanoseconds since 1970.
const START_NS: i64 = 1_764_000_000_000_000_000;

/// What a call takes by the simulated clock, unless said otherwise.
const CALL_NS: u64 = 200_000;

/// What kind of thing a call is, which says what can befall it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Changes nothing.
    Look,
    /// Is done wholly or not at all.
    Atomic,
    /// Has parts, so it may be done halfway.
    Parts,
    /// Asked of a server in one request: done wholly or not at all, its answer may be lost, or it may arrive after its caller gave it up.
    Remote,
    /// Several requests to a server: any of them may have been the last.
    RemoteParts,
}

/// How much of a call is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    None,
    Half,
    All,
    /// None of it now; the request is on its way and is done when the world delivers it. Only of [`Shape::Remote`] and [`Shape::RemoteParts`].
    Late,
}

/// What its caller learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    Answer,
    /// A passing error: the answer was lost, or there is none.
    Lost,
    /// The process ends here.
    Death,
}

/// What befalls one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fate {
    pub part: Part,
    pub ending: Ending,
}

impl Fate {
    pub const PLAIN: Self = Self {
        part: Part::All,
        ending: Ending::Answer,
    };
}

/// The answer did not come.
#[derive(Clone, Copy, Debug)]
pub struct Lost;

/// What the process unwinds with when it ends by a fate.
pub struct Death;

/// Decides what befalls the calls of a run.
pub trait Fates: Send {
    /// `number`: of the call in this run, from 0.
    fn fate(&mut self, number: u64, shape: Shape, chance: &mut Chance) -> Fate;
}

/// Pseudo-random numbers (`SplitMix64`, Steele, Lea and Flood 2014): the same seed, the same numbers.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.bits() % bound }
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Looked at before each call: what others do meanwhile, and whether the invariants hold.
pub type Watch = Arc<dyn Fn(&World) + Send + Sync>;

/// Told of each call, by operation and subject, before its fate is asked for: scripts act there.
pub type Before = Arc<dyn Fn(&str, &str) + Send + Sync>;

struct State {
    seed: u64,
    chance: Chance,
    fates: Box<dyn Fates>,
    calls: u64,
    shapes: Vec<Shape>,
    /// What happened since the run began, as words; kept only if `keeps_words`.
    words: Vec<String>,
    keeps_words: bool,
    hash: u64,
    dead: bool,
    deaths: u64,
    faults: u64,
    now_ns: i64,
    elapsed_ns: u64,
    call_ns: u64,
    /// The most that the program said it held, by what.
    held: BTreeMap<&'static str, u64>,
    watch: Option<Watch>,
    before: Option<Before>,
}

/// One run's world; clones share it.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

/// One call under way.
#[must_use]
pub struct Turn {
    world: World,
    fate: Fate,
}

impl World {
    pub fn new(seed: u64, fates: Box<dyn Fates>) -> Self {
        Self(Arc::new(Mutex::new(State {
            seed,
            chance: Chance::new(seed),
            fates,
            calls: 0,
            shapes: Vec::new(),
            words: Vec::new(),
            keeps_words: false,
            hash: 0,
            dead: false,
            deaths: 0,
            faults: 0,
            now_ns: START_NS,
            elapsed_ns: 0,
            call_ns: CALL_NS,
            held: BTreeMap::new(),
            watch: None,
            before: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A port is called. `subject` must be the same in every run of the seed (no random id of the outside, no address).
    pub fn call(&self, operation: &str, subject: &str, shape: Shape) -> Turn {
        self.let_others();
        self.tell_before(operation, subject);
        let fate = {
            let mut state = self.state();
            if state.dead {
                Fate {
                    part: Part::None,
                    ending: Ending::Lost,
                }
            } else {
                let number = state.calls;
                state.calls += 1;
                state.shapes.push(shape);
                let State { fates, chance, .. } = &mut *state;
                let fate = fates.fate(number, shape, chance);
                state.note(operation, subject, fate);
                fate
            }
        };
        let turn = Turn {
            world: self.clone(),
            fate,
        };
        if fate.ending == Ending::Death && fate.part == Part::None {
            turn.die();
        }
        turn
    }

    /// Other threads and the rest of the world go on.
    fn let_others(&self) {
        if self.is_dead() {
            return;
        }
        if let Some(turns) = threads::turns() {
            turns.pass();
        }
        let watch = self.state().watch.clone();
        if let Some(watch) = watch {
            watch(self);
        }
        // No call is over in no time.
        let call_ns = self.state().call_ns;
        self.pass(call_ns);
    }

    fn tell_before(&self, operation: &str, subject: &str) {
        let before = {
            let state = self.state();
            state.before.clone().filter(|_| !state.dead)
        };
        if let Some(before) = before {
            before(operation, subject);
        }
    }

    /// A place of the program that is no port was reached: the process may end there.
    pub fn place(&self, name: &str) {
        let turn = self.call("place", name, Shape::Atomic);
        // Nothing is done there that could fail.
        let _passed = turn.end();
    }

    pub fn watch(&self, watch: Option<Watch>) {
        self.state().watch = watch;
    }

    pub fn before(&self, before: Option<Before>) {
        self.state().before = before;
    }

    /// The time that so many calls take.
    pub fn calls_take(&self, calls: u64) -> Duration {
        Duration::from_nanos(self.state().call_ns * calls)
    }

    /// Each call takes so long from here on.
    pub fn take_longer(&self, call_ns: u64) {
        self.state().call_ns = call_ns;
    }

    /// The program says how much of something it holds.
    pub fn holds(&self, what: &'static str, amount: u64) {
        let mut state = self.state();
        if !state.dead {
            let most = state.held.entry(what).or_default();
            *most = amount.max(*most);
        }
    }

    /// The most that was held of it since the last time.
    pub fn take_held(&self, what: &str) -> u64 {
        self.state().held.remove(what).unwrap_or(0)
    }

    /// A number in `0..bound` from the run's seed.
    pub fn below(&self, bound: u64) -> u64 {
        self.state().chance.below(bound)
    }

    pub fn bits(&self) -> u64 {
        self.state().chance.bits()
    }

    /// Nanoseconds since 1970 by the simulated wall clock.
    pub fn now_ns(&self) -> i64 {
        self.state().now_ns
    }

    pub fn elapsed_ns(&self) -> u64 {
        self.state().elapsed_ns
    }

    /// Time goes on; the wall clock with it.
    pub fn pass(&self, ns: u64) {
        let mut state = self.state();
        state.elapsed_ns += ns;
        state.now_ns = state.now_ns.saturating_add_unsigned(ns);
    }

    /// The wall clock alone jumps.
    pub fn jump(&self, ns: i64) {
        let mut state = self.state();
        state.now_ns = state.now_ns.saturating_add(ns);
    }

    /// What comes now depends on the deaths so far, and no more on how many calls and numbers there were: the same state goes on the same
    /// way, however a run came to it.
    pub fn align(&self) {
        const LIFE_NS: u64 = 3_600_000_000_000;
        let mut state = self.state();
        let lives = LIFE_NS * state.deaths;
        state.elapsed_ns = lives;
        state.now_ns = START_NS.saturating_add_unsigned(lives);
        state.chance = Chance::new(state.seed ^ lives);
    }

    /// Something happened that is no call.
    pub fn note(&self, what: &str) {
        self.state().note("world", what, Fate::PLAIN);
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// The process ends, whatever it was doing.
    pub fn end_process(&self) {
        self.state().dead = true;
    }

    /// The next process begins.
    pub fn revive(&self) {
        self.state().dead = false;
    }

    /// Other fates from here on.
    pub fn fates(&self, fates: Box<dyn Fates>) {
        self.state().fates = fates;
    }

    /// Of all calls so far.
    pub fn take_shapes(&self) -> Vec<Shape> {
        std::mem::take(&mut self.state().shapes)
    }

    pub fn keep_words(&self) {
        self.state().keeps_words = true;
    }

    pub fn take_words(&self) -> Vec<String> {
        std::mem::take(&mut self.state().words)
    }

    /// Of all that happened so far: equal in runs that went alike.
    pub fn trace(&self) -> u64 {
        self.state().hash
    }

    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    pub fn deaths(&self) -> u64 {
        self.state().deaths
    }

    pub fn faults(&self) -> u64 {
        self.state().faults
    }
}

impl State {
    fn note(&mut self, operation: &str, subject: &str, fate: Fate) {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.hash, operation, subject, fate).hash(&mut hasher);
        self.hash = hasher.finish();
        self.faults += u64::from(fate != Fate::PLAIN);
        if self.keeps_words {
            let fate = if fate == Fate::PLAIN {
                String::new()
            } else {
                format!(" [{:?}, {:?}]", fate.part, fate.ending)
            };
            self.words.push(format!("{operation} {subject}{fate}"));
        }
    }
}

impl Turn {
    pub fn part(&self) -> Part {
        self.fate.part
    }

    /// # Errors
    /// The caller is to be told of a passing error.
    pub fn end(self) -> Result<(), Lost> {
        match self.fate.ending {
            Ending::Answer => Ok(()),
            Ending::Lost => Err(Lost),
            Ending::Death => self.die(),
        }
    }

    fn die(self) -> ! {
        {
            let mut state = self.world.state();
            state.dead = true;
            state.deaths += 1;
        }
        if let Some(turns) = threads::turns() {
            turns.changed();
        }
        std::panic::resume_unwind(Box::new(Death))
    }
}
