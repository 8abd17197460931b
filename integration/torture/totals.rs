//! The figures of a run of the torture.

use std::collections::BTreeMap;

use super::checker::Verdict;
use super::moment::Step;

/// So many records of a round are named one by one; all are in its history.
const TOLD_MAX: usize = 20;

#[derive(Default)]
pub struct Totals {
    /// Those that met an open or unfinished batch; no others count.
    pub kills: u64,
    pub idle_kills: u64,
    /// By step. One kill may meet several batches, each at a step of its own.
    pub steps: BTreeMap<Step, u64>,
    /// Everything else that was done to it, by what it was.
    pub faults: BTreeMap<String, u64>,
    pub looks: u64,
    pub records: u64,
    lost: u64,
    duplicated: u64,
    invented: u64,
    wrong: u64,
    /// All that was complained of, in the words in which it was told.
    pub complaints: Vec<String>,
}

impl Totals {
    pub fn kill(&mut self, steps: impl IntoIterator<Item = Step>) {
        let mut met = false;
        for step in steps {
            met = true;
            *self.steps.entry(step).or_default() += 1;
        }
        if met {
            self.kills += 1;
        } else {
            self.idle_kills += 1;
        }
    }

    pub fn fault(&mut self, what: &str) {
        self.faults(what, 1);
    }

    pub fn faults(&mut self, what: &str, count: u64) {
        *self.faults.entry(what.to_owned()).or_default() += count;
    }

    /// Something that is neither lost, duplicated nor invented and must not be: an exit code, a panic, a difference in the audit.
    pub fn wrong(&mut self, what: String) {
        println!("WRONG {what}");
        self.wrong += 1;
        self.complaints.push(format!("WRONG {what}"));
    }

    pub fn take(&mut self, site: &str, verdict: Verdict) {
        self.records += verdict.records;
        for (kind, records, total) in [
            ("LOST", verdict.lost, &mut self.lost),
            ("DUPLICATED", verdict.duplicated, &mut self.duplicated),
            ("INVENTED", verdict.invented, &mut self.invented),
        ] {
            *total += records.len() as u64;
            let more = records.len().saturating_sub(TOLD_MAX);
            for record in records.into_iter().take(TOLD_MAX) {
                self.complaints.push(format!("{kind} {site}: {record}"));
                println!("{kind} {site}: {record}");
            }
            if more > 0 {
                println!("{kind} {site}: {more} more, see the history");
            }
        }
    }

    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.invented + self.wrong == 0
    }

    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.idle_kills += other.idle_kills;
        for (step, count) in other.steps {
            *self.steps.entry(step).or_default() += count;
        }
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.looks += other.looks;
        self.records += other.records;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.invented += other.invented;
        self.wrong += other.wrong;
        self.complaints.extend(other.complaints);
    }

    /// What the counts are of, one line each; the last is the verdict.
    pub fn print(&self) {
        let steps = Step::ALL.map(|step| {
            let count = self.steps.get(&step).copied().unwrap_or(0);
            format!("{} {count}", step.words())
        });
        println!("kills by step: {}", steps.join(", "));
        println!("kills that met no batch, not counted: {}", self.idle_kills);
        for (fault, count) in &self.faults {
            println!("{fault}: {count}");
        }
        println!("records {}, looks of a reader {}", self.records, self.looks);
        if self.wrong > 0 {
            println!("other things that must not be: {}", self.wrong);
        }
        println!(
            "kills {}, lost {}, duplicated {}, invented {}",
            self.kills, self.lost, self.duplicated, self.invented
        );
    }
}
