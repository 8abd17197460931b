//! kill -9 and SIGSTOP at moments that nobody chose.

use std::time::{Duration, Instant};

use serde_json::json;

use super::agent::{Agent, Found};
use super::chance::Chance;
use super::ground::Ground;
use super::moment::{Step, steps};
use super::totals::Totals;

/// What else befalls the program while it runs.
pub trait Mayhem {
    /// Something is done, at a moment in the middle of a run; what, in a few words.
    fn strike(&mut self, chance: &mut Chance) -> Option<String>;
    /// It is taken back, at a later moment of the same run or after it.
    fn relent(&mut self) {}
    /// All of it is over for good.
    fn settle(&mut self) {
        self.relent();
    }
    /// How a run may end by itself.
    fn codes(&self) -> &[i32] {
        &[0]
    }
}

/// Nothing but kills.
pub struct Peace;

impl Mayhem for Peace {
    fn strike(&mut self, _: &mut Chance) -> Option<String> {
        None
    }
}

/// Kills until `kills` of them have met a batch.
pub fn kill(
    ground: &Ground,
    kills: u64,
    mayhem: &mut dyn Mayhem,
    chance: &mut Chance,
    totals: &mut Totals,
) {
    let before = totals.kills;
    let patience = Instant::now();
    while totals.kills < before + kills {
        run(ground, mayhem, chance, totals);
        // 300 times what a kill takes.
        if patience.elapsed() > Duration::from_secs(60 + 30 * kills) {
            totals.wrong(format!(
                "{}: {} kills of {kills} met a batch\n{}",
                ground.name,
                totals.kills - before,
                ground.last_words()
            ));
            return;
        }
    }
}

/// One life of the program.
fn run(ground: &Ground, mayhem: &mut dyn Mayhem, chance: &mut Chance, totals: &mut Totals) {
    let arguments: &[&str] = if chance.one_in(2) {
        &["run"]
    } else {
        &["run", "--once"]
    };
    let life = chance.pick(&[60, 100, 150, 200, 500]);
    let early = chance.one_in(4);
    let mut struck = early.then(|| mayhem.strike(chance)).flatten();
    let mut agent = Agent::start(ground, arguments);
    sleep(chance.below(life));
    if !early {
        struck = mayhem.strike(chance);
    }
    if let Some(what) = struck {
        ground.note(json!({"event": "fault", "what": what}));
        totals.fault(&what);
        sleep(chance.below(2 * life));
        if chance.one_in(2) {
            mayhem.relent();
            sleep(chance.below(life));
        }
    }
    if chance.one_in(12) && hold(ground, &mut agent, chance, totals) {
        agent.thaw();
        sleep(chance.below(life));
    }
    match agent.freeze() {
        Found::Ended(code) => {
            if code != Some(0) {
                totals.fault(&format!("runs that ended with {}", code.unwrap_or(-1)));
            }
            ground.note(json!({"event": "ended", "code": code}));
            if !code.is_some_and(|code| mayhem.codes().contains(&code)) {
                totals.wrong(format!(
                    "{}: a run ended with {code:?}\n{}",
                    ground.name,
                    ground.last_words()
                ));
            }
        }
        Found::Frozen => {
            // What it stood before is not changed by that, and can be looked at.
            mayhem.relent();
            let steps = steps(&ground.var, &ground.staging, &ground.lake());
            agent.kill();
            let words: Vec<&str> = steps.iter().map(|step: &Step| step.words()).collect();
            ground.note(json!({"event": "kill", "steps": words}));
            totals.kill(steps);
        }
    }
    mayhem.relent();
}

/// Frozen for long. Meanwhile another agent is refused: the frozen one has not given up its locks. Whether it still lives.
fn hold(ground: &Ground, agent: &mut Agent, chance: &mut Chance, totals: &mut Totals) -> bool {
    if matches!(agent.freeze(), Found::Ended(_)) {
        return false;
    }
    let began = ground.var.join("journal.db").exists();
    let length = chance.pick(&[200, 500, 2_000]);
    ground.note(json!({"event": "stop", "ms": length}));
    totals.fault("stopped and continued");
    sleep(length);
    if began && chance.one_in(2) {
        let code = Agent::start(ground, &["run", "--once"]).wait();
        // Too early for the first to have its lock, and all is landed by the other one.
        if ![Some(5), Some(0)].contains(&code) {
            totals.wrong(format!(
                "{}: beside a frozen agent another ended with {code:?}\n{}",
                ground.name,
                ground.last_words()
            ));
        }
        totals.fault("a second agent beside a stopped one");
    }
    true
}

pub fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
