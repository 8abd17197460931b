//! What a script says of a process's calls: which of them is struck, and what happens just before one.

use std::sync::{Arc, Mutex};

use super::super::fates::all;
use super::super::world::{Chance, Fate, Fates, Shape};
use super::rig::lock;

/// What happens at a call: the first of an operation, after `left` others, whose subject holds a text.
pub struct Cue {
    pub operation: String,
    pub subject: String,
    pub left: u32,
    pub what: What,
}

pub enum What {
    Strike(Fate),
    Do(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
pub struct Script {
    pub cues: Mutex<Vec<Cue>>,
    /// Of the call that is about to be made.
    next: Mutex<Option<Fate>>,
}

impl Script {
    pub fn told(&self, operation: &str, subject: &str) {
        let mut due = Vec::new();
        lock(&self.cues).retain_mut(|cue| {
            if cue.operation != operation || !subject.contains(&cue.subject) {
                return true;
            }
            if cue.left > 0 {
                cue.left -= 1;
                return true;
            }
            due.push(std::mem::replace(&mut cue.what, What::Do(Box::new(|| ()))));
            false
        });
        for what in due {
            match what {
                What::Do(act) => act(),
                What::Strike(fate) => *lock(&self.next) = Some(fate),
            }
        }
    }
}

/// Strikes as the script says.
pub struct Scripted(pub Arc<Script>);

impl Fates for Scripted {
    fn fate(&mut self, _number: u64, shape: Shape, _chance: &mut Chance) -> Fate {
        let Some(fate) = lock(&self.0.next).take() else {
            return Fate::PLAIN;
        };
        assert!(all(shape).contains(&fate), "{fate:?} of {shape:?}");
        fate
    }
}
