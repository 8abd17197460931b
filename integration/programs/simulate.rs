//! `make sim`: exhaustive single and double crashes on every lake, then seeds by chance.
//!
//! `SEED=n` shows one seed's run, call by call. `RUNS=n` is how many seeds are run (default 5,000), `FROM=n` the first.
//! `BROKEN=1` shows which run catches each deliberately wrong variant, `ONLY=` one of them; `LIKE=` shows a seed as such a variant's
//! plans are. `LAKE=s3`, `RETIRE=delete`, `JOURNAL=payload` and `POWER=never` leave the other modes out of the exhaustive part (`POWER=later`: the
//! second crash takes the power with it, and `LUCK=n` says what it leaves); `SINGLE=0` and `DOUBLE=0` leave out single faults and double crashes, which take longest.

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../simulation/mod.rs"]
mod simulation;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::broken::{VARIANTS, blamed, catch};
use simulation::driver::run;
use simulation::place::Place;
use simulation::plan::Plan;
use simulation::search::{Mode, Sum, modes, pairs, sampled, singles};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(e) => {
            eprintln!("{name}=`{text}`: {e}");
            std::process::exit(2);
        }
    }
}

fn show(seed: u64) -> ExitCode {
    let mut plan = Plan::of(seed);
    let like = std::env::var("LIKE").unwrap_or_default();
    if let Some(variant) = VARIANTS.iter().find(|variant| variant.name == like) {
        (variant.tune)(&mut plan);
    }
    println!("{plan:#?}");
    let outcome = run(&plan, &Place::new(), true);
    for word in &outcome.words {
        println!("{word}");
    }
    for violation in &outcome.violations {
        println!("VIOLATION {violation}");
    }
    println!(
        "runs 1, distinct 1, crashes {}, violations {}",
        outcome.deaths,
        outcome.violations.len()
    );
    ExitCode::from(u8::from(!outcome.violations.is_empty()))
}

/// Which run catches each wrong variant.
fn show_broken() -> ExitCode {
    let mut missed = 0;
    let only = std::env::var("ONLY").unwrap_or_default();
    for variant in VARIANTS.iter().filter(|v| v.name.contains(&only)) {
        match catch(variant, 0, 1000) {
            Ok((run, said)) => {
                println!("{}: run {run}: {said}", variant.name);
                for violation in blamed(variant, run - 1, 100) {
                    println!("VIOLATION by the right program: {violation}");
                    missed += 1;
                }
            }
            Err(error) => {
                missed += 1;
                println!("MISSED {error}");
            }
        }
    }
    println!("wrong variants {}, missed {missed}", VARIANTS.len());
    ExitCode::from(u8::from(missed > 0))
}

/// Says how far a search is, every half minute.
fn progress(name: &str) -> impl Fn(&Sum) + Sync {
    let start = Instant::now();
    let said = AtomicU64::new(0);
    move |sum| {
        let minutes = start.elapsed().as_secs() / 30;
        if said.fetch_max(minutes, Ordering::Relaxed) < minutes {
            let rate = (sum.runs as f64) / start.elapsed().as_secs_f64();
            println!(
                "… {name}: so far {} runs, {rate:.0} a second, {} violations",
                sum.runs, sum.found
            );
        }
    }
}

fn main() -> ExitCode {
    if let Some(seed) = number("SEED") {
        return show(seed);
    }
    if number("BROKEN") == Some(1) {
        return show_broken();
    }
    let mut modes = modes();
    // For who has not the hours.
    modes.retain(Mode::is_wanted);
    if let Some(luck) = number("LUCK") {
        for mode in &mut modes {
            mode.luck = luck;
        }
    }
    let mut total = Sum::default();
    let mut add = |what: &str, work: &dyn Fn() -> Sum| {
        let start = Instant::now();
        let sum = work();
        println!(
            "{what}: {} runs, {} of them by equal state, {} crashes, {} faults, {} idle, {} violations, {:.0} s",
            sum.runs,
            sum.equal,
            sum.crashes,
            sum.faults,
            sum.idle,
            sum.violations.len(),
            start.elapsed().as_secs_f64()
        );
        for violation in &sum.violations {
            println!("VIOLATION {violation}");
        }
        total.merge(sum);
    };
    if number("SINGLE") != Some(0) {
        add("every fate of every call", &|| singles(&modes));
    }
    if number("DOUBLE") != Some(0) {
        for mode in modes.iter().filter(|mode| mode.is_for_pairs()) {
            let name = format!(
                "every two crashes, {:?}, {:?}, payload {}, power {:?}",
                mode.lake, mode.setting.retire, mode.setting.payload, mode.power
            );
            add(&name, &|| pairs(mode, progress(&name)));
        }
    }
    let from = number("FROM").unwrap_or(1);
    let runs = number("RUNS").unwrap_or(5000);
    add("seeds by chance", &|| sampled(from..from + runs, |_| {}));
    println!("{}", total.line());
    ExitCode::from(u8::from(!total.violations.is_empty()))
}
