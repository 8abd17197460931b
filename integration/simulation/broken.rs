//! The check is checked: deliberately wrong programs and lakes, each of which the simulation must catch.

use lakeward::spool::Retire;

use super::driver::run;
use super::lake::{Kind as LakeKind, Wrong};
use super::place::Place;
use super::plan::{Act, Plan, Power, Setting};
use super::search::sampled;

/// One wrong variant.
pub struct Variant {
    /// As `crash::broken` calls it, or the lake's.
    pub name: &'static str,
    /// The invariant of the design that it breaks.
    pub invariant: u8,
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

fn add(plan: &mut Plan, acts: impl IntoIterator<Item = (u64, Act)>) {
    plan.acts.extend(acts);
    plan.acts.sort_by_key(|(at, _)| *at);
}

/// Answers are lost, and nobody dies.
fn answers_lost(plan: &mut Plan) {
    plan.weather.once_in = 10;
    plan.weather.deaths_of_four = 0;
    plan.weather.faults_left = 30;
}

/// Bytes of a half-read file change unseen: small segments and batches, a long file, early deaths.
fn overwritten(plan: &mut Plan) {
    long_file(plan);
    let first = 60 + plan.seed * 7 % 200;
    add(
        plan,
        (0..20).map(|n| (first + n, Act::Overwrite { drop: 0 })),
    );
}

fn long_file(plan: &mut Plan) {
    plan.setting.segment_bytes = 60;
    plan.setting.roll_records = 3;
    plan.setting.payload = false;
    plan.weather.once_in = 40;
    plan.weather.deaths_of_four = 4;
    if let Some((_, Act::Drop { records, .. })) = plan.acts.first_mut() {
        *records = 60;
    }
}

/// Appended to at any time, so also between commit and retiring.
fn appended(plan: &mut Plan) {
    plan.setting.retire = Retire::Rename;
    let at = 60 + plan.seed * 13 % 200;
    add(
        plan,
        [
            (at, Act::Append { drop: 0 }),
            (at + 20, Act::Append { drop: 1 }),
        ],
    );
}

/// The journal is lost in mid-work.
fn lost(plan: &mut Plan) {
    let at = 60 + plan.seed * 7 % 200;
    add(plan, [(at, Act::Lose)]);
}

/// The payloads of what was dropped first fill the journal when more arrives.
fn payload(plan: &mut Plan) {
    plan.setting.payload = true;
    plan.setting.payload_bytes_max = 1;
    plan.changed = None;
    plan.setting.roll_records = 50;
    plan.weather.once_in = 1000;
    add(
        plan,
        (0..10).map(|n| {
            let path = format!("n{n}.ndjson");
            let act = Act::Drop {
                path,
                records: 3,
                broken: 0,
                synced: true,
            };
            (60 + n * 12, act)
        }),
    );
}

/// Nothing but what fills the program: one long file, and the others that are dropped.
fn filled(plan: &mut Plan, records: u64) {
    local(plan);
    plan.setting.payload = false;
    plan.setting.parquet = false;
    plan.setting.registers = false;
    plan.setting.lanes = 1;
    plan.changed = None;
    plan.weather.once_in = 1000;
    plan.acts.retain(|(_, act)| matches!(act, Act::Drop { .. }));
    if let Some((_, Act::Drop { records: all, .. })) = plan.acts.first_mut() {
        *all = records;
    }
}

/// The committer is slower than the source: a batch for each record, and records of which nearly nothing lands.
fn read_ahead(plan: &mut Plan) {
    filled(plan, 60);
    plan.setting.memory = 32 << 20;
    plan.setting.segment_bytes = 100_000;
    plan.setting.roll_records = 1;
    plan.bulk.blanks = 150_000;
}

/// Each record has a partition of its own, and memory is for a part of them.
fn many_partitions(plan: &mut Plan) {
    filled(plan, 600);
    plan.setting.path = "t/k={id}";
    plan.setting.memory = 3 << 20;
    plan.setting.segment_bytes = 30_000;
    plan.setting.roll_records = 10_000;
    plan.bulk.landing = 2_000;
    plan.bulk.counts_handles = true;
}

/// A batch that would not end by itself, while time goes by.
fn staged_much(plan: &mut Plan) {
    filled(plan, 1000);
    plan.setting.path = "t";
    plan.setting.memory = 4 << 20;
    plan.setting.staging_bytes_max = 100_000;
    plan.setting.segment_bytes = 100_000;
    plan.setting.roll_records = 10_000;
    plan.bulk.landing = 20_000;
    plan.bulk.call_ns = 200_000_000;
}

/// Second agents on copies of the journal start all the time.
fn copied(plan: &mut Plan) {
    add(
        plan,
        (0..6).map(|n| (60 + n * 37, Act::Beside { copy: true })),
    );
}

/// What was retired is forgotten, and the power goes often.
fn forgotten(plan: &mut Plan) {
    plan.setting.retire = Retire::Rename;
    plan.setting.forgets = true;
    // What is sent again after it was forgotten lands again.
    plan.acts.retain(|(_, act)| matches!(act, Act::Drop { .. }));
    plan.changed = None;
    plan.power = Power::Always;
    plan.weather.once_in = 40;
    plan.weather.deaths_of_four = 4;
    plan.weather.deaths_left = 8;
    add(
        plan,
        (0..6).map(|n| (150 + n * 100, Act::Jump { seconds: 7200 })),
    );
}

/// What staging lost is decoded otherwise the second time: another letter of the file's name is its partition.
fn decoded_otherwise(plan: &mut Plan) {
    emptied(plan);
    let old = Setting {
        path: "t/src={src}",
        path_columns: "^(?<src>.)",
        payload: false,
        roll_records: 50,
        ..plan.setting.clone()
    };
    plan.changed = Some(Setting {
        path_columns: "^.(?<src>.)",
        ..old.clone()
    });
    plan.setting = old;
    plan.weather.once_in = 30;
    plan.weather.deaths_of_four = 4;
    plan.weather.deaths_left = 6;
    let mut names = ["01.ndjson", "10.ndjson"].into_iter();
    plan.acts.retain_mut(|(_, act)| match act {
        Act::Drop { path, .. } => {
            let name = names.next();
            if let Some(name) = name {
                name.clone_into(path);
            }
            name.is_some()
        }
        _ => matches!(act, Act::EmptyStaging),
    });
}

/// Another version of the program encodes lost copies again.
fn upgraded(plan: &mut Plan) {
    emptied(plan);
    plan.upgraded = true;
    plan.weather.once_in = 30;
    plan.weather.deaths_of_four = 4;
}

/// Listings have several pages: many small batches.
fn many_batches(plan: &mut Plan) {
    s3(plan);
    plan.setting.roll_records = 2;
    lost(plan);
}

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
        invariant: 4,
        what: "land before stage is recorded",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i4-land-before-manifest",
        invariant: 4,
        what: "land before the manifest is written",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i5-checkpoint-at-stage",
        invariant: 5,
        what: "the checkpoint moves in another transaction than the commit",
        tune: any,
        near: 1,
    },
    Variant {
        name: "lake-dirs-not-synced",
        invariant: 1,
        what: "no sync of the directory",
        tune: local,
        near: 1,
    },
    Variant {
        name: "lake-ancestors-not-synced",
        invariant: 1,
        what: "new directories are not synced into those above",
        tune: local,
        near: 1,
    },
    Variant {
        name: "lake-never-made-durable",
        invariant: 1,
        what: "what is only seen is taken for durable",
        tune: local,
        near: 69,
    },
    Variant {
        name: "lake-exists-is-ours",
        invariant: 10,
        what: "\"exists\" taken for \"ours\"",
        tune: foreign,
        near: 1,
    },
    Variant {
        name: "lake-replaces",
        invariant: 3,
        what: "what stands at a final path is replaced",
        tune: any,
        near: 1,
    },
    Variant {
        name: "lake-writes-in-place",
        invariant: 2,
        what: "a data file is written under its final name",
        tune: hdfs,
        near: 1,
    },
    Variant {
        name: "i6-retire-what-is-read",
        invariant: 6,
        what: "retire before commit",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i1-retire-by-path",
        invariant: 1,
        what: "whatever has the path is retired",
        tune: replaced,
        near: 1,
    },
    Variant {
        name: "i1-file-not-landed",
        invariant: 1,
        what: "a data file of the batch does not land",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i2-staged-copy-not-verified",
        invariant: 2,
        what: "a staged copy lands unverified after a restart",
        tune: |plan| {
            hdfs(plan);
            plan.power = Power::Always;
        },
        near: 1,
    },
    Variant {
        name: "i7-never-encoded-again",
        invariant: 7,
        what: "a lost staged copy is not encoded again",
        tune: emptied,
        near: 1,
    },
    Variant {
        name: "i8-lands-under-a-new-name",
        invariant: 8,
        what: "recovery lands under another name",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i1-membership-not-compared",
        invariant: 1,
        what: "what is encoded again is landed whatever came out",
        tune: decoded_otherwise,
        near: 1,
    },
    Variant {
        name: "i1-retired-before-synced",
        invariant: 1,
        what: "a file's row says that it is retired before that is durable",
        tune: forgotten,
        near: 1,
    },
    Variant {
        name: "i1-rebuild-forgets-the-staged",
        invariant: 1,
        what: "a rebuild adopts what was committed alone",
        tune: lost,
        near: 1,
    },
    Variant {
        name: "i7-new-digests-not-recorded",
        invariant: 7,
        what: "other bytes for the same rows land unrecorded",
        tune: upgraded,
        near: 1,
    },
    Variant {
        name: "i9-rejects-not-counted",
        invariant: 9,
        what: "rejects are not counted",
        tune: any,
        near: 1,
    },
    Variant {
        name: "i10-digests-not-compared",
        invariant: 10,
        what: "a half-read file whose landed bytes changed is read on",
        tune: overwritten,
        near: 1,
    },
    Variant {
        name: "i10-changed-is-retired",
        invariant: 10,
        what: "a file that changed after it was read is retired as if it had not",
        tune: appended,
        near: 1,
    },
    Variant {
        name: "i11-payload-without-bound",
        invariant: 11,
        what: "payloads are journaled where there is no room",
        tune: payload,
        near: 1,
    },
    Variant {
        name: "i11-channel-without-bound",
        invariant: 11,
        what: "the source reads ahead without end",
        tune: read_ahead,
        near: 1,
    },
    Variant {
        name: "i11-handles-kept-open",
        invariant: 11,
        what: "a handle for each partition",
        tune: many_partitions,
        near: 1,
    },
    Variant {
        name: "i11-staging-without-bound",
        invariant: 11,
        what: "intake goes on whatever staging holds",
        tune: staged_much,
        near: 1,
    },
    Variant {
        name: "i12-claim-not-compared",
        invariant: 12,
        what: "a spool that belongs to another journal is read",
        tune: lost,
        near: 1,
    },
    Variant {
        name: "i12-spool-not-locked",
        invariant: 12,
        what: "two agents on one spool, with copies of one journal",
        tune: copied,
        near: 1,
    },
    Variant {
        name: "lake-first-page-is-all",
        invariant: 12,
        what: "the first page of a listing is taken for all of it",
        tune: many_batches,
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
