//! kill -9 and SIGSTOP at moments that nobody chose, and at the rarer ones that are waited for.

use std::time::{Duration, Instant};

use serde_json::json;

use super::agent::{Agent, Found};
use super::aim::Aim;
use super::chance::Chance;
use super::ground::Ground;
use super::moment::{Step, staged_in};
use super::survey::Survey;
use super::totals::Totals;

/// So many lives in a row without any progress, though files wait: it hangs.
const IDLE_MAX: u64 = 40;
/// A sign that is waited for comes within this, or nothing waits to be landed.
const AIM_MAX: Duration = Duration::from_millis(600);

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
    /// One life in so many is stopped for long, and after one in so many kills staging is spoilt.
    fn seldom(&self) -> u64 {
        12
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

/// Kills until `kills` of them have met a batch, or something is wrong: what follows that is its consequence.
pub fn kill(
    ground: &Ground,
    kills: u64,
    mayhem: &mut dyn Mayhem,
    chance: &mut Chance,
    totals: &mut Totals,
) {
    let before = totals.kills;
    let patience = Instant::now();
    let mut survey = Survey::default();
    let (mut progress, mut idle) = ((0, 0), 0);
    while totals.kills < before + kills && totals.is_clean() {
        // A machine that is busy with other things gives a life less than it seems to have.
        run(ground, 1 + idle / 5, &mut survey, mayhem, chance, totals);
        let now = (totals.kills, survey.records());
        idle = if now == progress { idle + 1 } else { 0 };
        progress = now;
        if idle == IDLE_MAX {
            totals.wrong(format!(
                "{}: it was started {idle} times, and no batch was met and nothing landed\n{}",
                ground.name,
                ground.last_words()
            ));
        }
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
fn run(
    ground: &Ground,
    times_longer: u64,
    survey: &mut Survey,
    mayhem: &mut dyn Mayhem,
    chance: &mut Chance,
    totals: &mut Totals,
) {
    let arguments: &[&str] = if chance.one_in(2) {
        &["run"]
    } else {
        &["run", "--once"]
    };
    let life = times_longer * chance.pick(&[60, 100, 150, 200, 500]);
    let early = chance.one_in(4);
    let mut struck = early.then(|| mayhem.strike(chance)).flatten();
    let aim = chance.one_in(2).then(|| Aim::at(ground, chance));
    let mut agent = Agent::start(ground, arguments);
    sleep(chance.below(life));
    if !early {
        struck = mayhem.strike(chance);
    }
    if let Some(what) = struck.clone() {
        ground.note(json!({"event": "fault", "what": what}));
        totals.fault(&what);
        sleep(chance.below(2 * life));
        if chance.one_in(2) {
            mayhem.relent();
            sleep(chance.below(life));
            struck = None;
        }
    }
    let codes: &[i32] = match struck {
        Some(_) => mayhem.codes(),
        None => &[],
    };
    if chance.one_in(mayhem.seldom()) && hold(ground, &mut agent, codes, chance, totals) {
        agent.thaw();
        sleep(chance.below(life));
    }
    if let Some(aim) = aim {
        aim.wait(&mut agent, AIM_MAX);
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
            let found = survey.look(ground);
            agent.kill();
            let words: Vec<&str> = found.steps.iter().map(|step: &Step| step.words()).collect();
            ground.note(json!({"event": "kill", "steps": words}));
            totals.kill(found.steps);
            for wrong in found.wrong {
                totals.wrong(format!("{}: {wrong}", ground.name));
            }
            if chance.one_in(mayhem.seldom()) {
                spoil_staging(ground, chance, totals);
            }
        }
    }
    mayhem.relent();
}

/// I7: staging is garbage. Of what a killed program left there some is gone, or is what a power cut leaves: its length and
/// other bytes.
fn spoil_staging(ground: &Ground, chance: &mut Chance, totals: &mut Totals) {
    let damage = chance.one_in(2);
    for path in staged_in(&ground.staging) {
        let spoilt = if damage {
            std::fs::metadata(&path)
                .and_then(|found| std::fs::write(&path, vec![0; found.len() as usize]))
        } else {
            std::fs::remove_file(&path)
        };
        if spoilt.is_ok() && chance.one_in(2) {
            break;
        }
    }
    let what = if damage { "damaged" } else { "removed" };
    ground.note(json!({"event": "fault", "what": what}));
    totals.fault(&format!("staged copies {what} between two lives"));
}

/// Frozen for long. Meanwhile another agent is refused, if the frozen one has its locks already. Whether it still lives.
fn hold(
    ground: &Ground,
    agent: &mut Agent,
    codes: &[i32],
    chance: &mut Chance,
    totals: &mut Totals,
) -> bool {
    if matches!(agent.freeze(), Found::Ended(_)) {
        return false;
    }
    let began = ground.var.join("journal.db").exists();
    let locked = is_locked(&ground.var.join("journal.lock"));
    let length = chance.pick(&[200, 500, 2_000]);
    ground.note(json!({"event": "stop", "ms": length}));
    totals.fault("stopped and continued");
    sleep(length);
    if began && chance.one_in(2) {
        let code = Agent::start(ground, &["run", "--once"]).wait();
        // Too early for the first to have its lock, and all is landed by the other one.
        let early = !locked && code == Some(0);
        if !early && code != Some(5) && !code.is_some_and(|code| code != 0 && codes.contains(&code))
        {
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

/// By somebody else.
fn is_locked(path: &std::path::Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else {
        return false;
    };
    matches!(
        file.try_lock_shared(),
        Err(std::fs::TryLockError::WouldBlock)
    )
}

pub fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
