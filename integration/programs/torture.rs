//! The torture for as long as one likes; `integration/torture.sh` builds and starts it.
//!
//! ```text
//! ROUNDS=10   rounds of each kind
//! SEED=1      what is decided by chance follows from it; moments do not
//! KILLS=100   of a round over a local lake; a third of it over MinIO
//! ONLY=local  kinds of rounds, with commas between
//! ```

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]
#![allow(dead_code, reason = "what only tests use is here too")]

#[path = "../hdfs/server.rs"]
mod hdfs;
#[path = "../means.rs"]
mod means;
#[path = "../proxy.rs"]
mod proxy;
#[path = "../support.rs"]
mod support;
#[path = "../torture/mod.rs"]
mod torture;

use std::process::ExitCode;

use torture::{Kind, Torture};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

fn main() -> ExitCode {
    let (rounds, seed, kills) = (
        number("ROUNDS", 10),
        number("SEED", 1),
        number("KILLS", 100),
    );
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |kind: &Kind| only.is_empty() || only.split(',').any(|word| word == kind.word());
    let dir = std::env::var("DIR").unwrap_or_else(|_| format!("target/torture/{seed}"));
    let mut torture = Torture::new(dir.as_ref(), seed);
    println!("seed {seed}, {rounds} rounds");
    for number in 0..rounds {
        for kind in Kind::ALL.into_iter().filter(wanted) {
            torture.round(kind, number, kind.share_of(kills));
        }
    }
    torture.totals.print();
    if torture.totals.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
