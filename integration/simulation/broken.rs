//! The check is checked: deliberately wrong programs and lakes, each of which the simulation must catch.

use super::driver::{Place, run};
use super::lake::{Kind as LakeKind, Wrong};
use super::plan::{Act, Plan, Power};
use super::search::sampled;

/// One wrong variant.
pub struct Variant {
    /// As `crash::broken` calls it, or the lake's.
    pub name: &'static str,
    /// What it is, in a word of the design.
    pub what: &'static str,
    /// Plans in which it can show.
    pub tune: fn(&mut Plan),
    /// A seed near which it is caught: tests begin there.
    pub near: u64,
}

fn local(plan: &mut Plan) {
    plan.lake = LakeKind::Local;
    plan.setting.weak = false;
    plan.power = Power::OnceIn(2);
}

fn hdfs(plan: &mut Plan) {
    plan.lake = LakeKind::Hdfs;
    plan.setting.weak = false;
}

fn s3(plan: &mut Plan) {
    plan.lake = LakeKind::S3;
    plan.setting.weak = false;
}

fn any(_plan: &mut Plan) {}

/// Staging is emptied a few times while there is something in it.
fn emptied(plan: &mut Plan) {
    for at in [80, 120, 160, 200] {
        plan.acts.push((at + plan.seed % 40, Act::EmptyStaging));
    }
    plan.acts.sort_by_key(|(at, _)| *at);
}

/// Each of two files is replaced once, at any time.
fn replaced(plan: &mut Plan) {
    for (drop, step) in [(0, 13), (1, 29)] {
        let at = 80 + plan.seed * step % 240;
        plan.acts.push((at, Act::Replace { drop, records: 4 }));
    }
    plan.acts.sort_by_key(|(at, _)| *at);
}

/// Somebody else's files appear where ours are to land.
fn foreign(plan: &mut Plan) {
    for at in 0..12 {
        plan.acts.push((60 + at * 7 + plan.seed % 7, Act::Foreign));
    }
    plan.acts.sort_by_key(|(at, _)| *at);
}

/// Every wrong variant that a simulation can show.
pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "i4-land-before-stage",
        what: "land before stage is recorded",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i4-land-before-manifest",
        what: "land before the manifest is written",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i5-checkpoint-at-stage",
        what: "the checkpoint moves in another transaction than the commit",
        tune: any,
        near: 1,
    },
    Variant {
        name: "lake-dirs-not-synced",
        what: "no sync of the directory",
        tune: local,
        near: 1,
    },
    Variant {
        name: "lake-ancestors-not-synced",
        what: "new directories are not synced into those above",
        tune: local,
        near: 1,
    },
    Variant {
        name: "lake-never-made-durable",
        what: "what is only seen is taken for durable",
        tune: local,
        near: 328,
    },
    Variant {
        name: "lake-exists-is-ours",
        what: "\"exists\" taken for \"ours\"",
        tune: foreign,
        near: 1,
    },
    Variant {
        name: "lake-replaces",
        what: "what stands at a final path is replaced",
        tune: any,
        near: 1,
    },
    Variant {
        name: "lake-writes-in-place",
        what: "a data file is written under its final name",
        tune: hdfs,
        near: 1,
    },
    Variant {
        name: "i6-retire-what-is-read",
        what: "retire before commit",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i1-retire-by-path",
        what: "whatever has the path is retired",
        tune: replaced,
        near: 1,
    },
    Variant {
        name: "i1-file-not-landed",
        what: "a data file of the batch does not land",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i2-staged-copy-not-verified",
        what: "a staged copy lands unverified after a restart",
        tune: |plan| {
            hdfs(plan);
            plan.power = Power::Always;
        },
        near: 1,
    },
    Variant {
        name: "i7-never-encoded-again",
        what: "a lost staged copy is not encoded again",
        tune: emptied,
        near: 1,
    },
    Variant {
        name: "i8-lands-under-a-new-name",
        what: "recovery lands under another name",
        tune: any,
        near: 1,
    },
];

/// The lake's wrong variant of this name.
pub fn wrong(name: &str) -> Option<Wrong> {
    Some(match name {
        "lake-exists-is-ours" => Wrong::ExistsIsOurs,
        "lake-failed-look-is-absent" => Wrong::FailedLookIsAbsent,
        "lake-replaces" => Wrong::Replaces,
        "lake-writes-in-place" => Wrong::WritesInPlace,
        "lake-first-page-is-all" => Wrong::FirstPageIsAll,
        _ => return None,
    })
}

/// The first run after `from` that catches it, and what was said.
///
/// # Errors
/// None of so many runs does.
pub fn catch(variant: &Variant, from: u64, runs_max: u64) -> Result<(u64, String), String> {
    let place = Place::new();
    for seed in from + 1..=from + runs_max {
        let mut plan = Plan::of(seed);
        (variant.tune)(&mut plan);
        plan.broken = variant.name;
        let outcome = run(&plan, &place, false);
        if let Some(violation) = outcome.violations.first() {
            return Ok((seed, violation.clone()));
        }
    }
    Err(format!(
        "`{}` ({}) was not caught in {runs_max} runs",
        variant.name, variant.what
    ))
}

/// What the right program is blamed for in the plans of a variant: there must be nothing.
pub fn blamed(variant: &Variant, from: u64, runs: u64) -> Vec<String> {
    sampled(from + 1..from + runs + 1, variant.tune).violations
}
