//! Where a round takes place: a directory, a lake, what the program runs behind, and how it all ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use serde_json::json;

use super::agent::Agent;
use super::chance::Chance;
use super::checker::{Verdict, check};
use super::history::History;
use super::pipelines::{self, Pipeline};
use super::producer::{Producer, Spool};
use super::totals::Totals;
use crate::means::command_behind;
use crate::support::{LakeAt, S3, Site};

/// The lake as a reader reaches it, not as the program does.
#[derive(Clone)]
pub enum Lake {
    Local(PathBuf),
    S3(S3),
}

pub struct Ground {
    /// For the history.
    pub name: String,
    pub site: Site,
    pub lake: Lake,
    /// `nsenter …`, `setpriv …`: what the program runs behind.
    pub before: Vec<String>,
    /// What the program finds in its environment besides ours.
    pub environment: Vec<(&'static str, &'static str)>,
    pub pipelines: Vec<Pipeline>,
    pub history: Arc<History>,
    /// As they are seen from here.
    pub var: PathBuf,
    pub staging: PathBuf,
    /// Of all pipelines.
    pub spools: PathBuf,
    /// Where something is wrong, the directory is left for a person to look at.
    pub kept: bool,
}

impl Ground {
    pub fn local(name: &str, pipelines: Vec<Pipeline>, history: &Arc<History>) -> Self {
        Self::local_in(Site::empty(), "", name, pipelines, history)
    }

    /// All of it below `under`, a directory of the site: empty or with a `/` at its end.
    pub fn local_in(
        site: Site,
        under: &str,
        name: &str,
        pipelines: Vec<Pipeline>,
        history: &Arc<History>,
    ) -> Self {
        let lake = format!("type = \"fs\"\nroot = \"{under}lake\"\n");
        pipelines::configure(&site, under, &lake, &pipelines);
        let base = site.path(under);
        Self {
            name: name.to_owned(),
            lake: Lake::Local(base.join("lake")),
            before: Vec::new(),
            environment: Vec::new(),
            pipelines,
            history: Arc::clone(history),
            var: base.join("var"),
            spools: base.join("spool"),
            staging: base.join("lake/_lakeward/staging"),
            kept: true,
            site,
        }
    }

    /// The program reaches the store under `s3`, a reader under `direct`.
    pub fn s3(
        name: &str,
        pipelines: Vec<Pipeline>,
        history: &Arc<History>,
        s3: &S3,
        direct: S3,
    ) -> Self {
        let site = Site::empty();
        pipelines::configure(&site, "", &s3.toml(), &pipelines);
        Self {
            name: name.to_owned(),
            lake: Lake::S3(direct),
            before: Vec::new(),
            environment: Vec::new(),
            pipelines,
            history: Arc::clone(history),
            var: site.path("var"),
            spools: site.path("spool"),
            staging: site.path("var/staging"),
            kept: true,
            site,
        }
    }

    pub fn lake(&self) -> LakeAt {
        self.lake.open()
    }

    pub fn producer(&self, ids: &Arc<AtomicI64>, chance: Chance) -> Producer {
        let spools = self.pipelines.iter().map(|pipeline| Spool {
            dir: self.spools.join(&pipeline.name),
            pipeline: pipeline.clone(),
        });
        Producer::new(&self.name, spools.collect(), &self.history, ids, chance)
    }

    pub fn note(&self, mut fact: serde_json::Value) {
        fact["site"] = self.name.as_str().into();
        self.history.add(fact);
    }

    /// All faults are over: everything lands, and the whole lake is compared with all that was dropped.
    /// Whether all is well.
    pub fn end(&mut self, totals: &mut Totals) -> bool {
        let agent = Agent::start(self, &["run", "--once"]);
        // Where something was wrong already, the verdict is wanted more than the end.
        let code = if totals.is_clean() {
            agent.wait()
        } else {
            agent.wait_for(Duration::from_secs(10))
        };
        if code != Some(0) {
            totals.wrong(format!(
                "{}: without any fault `run --once` ended with {code:?}\n{}",
                self.name,
                self.last_words()
            ));
        }
        let verdict = check(&self.history, &self.name, &self.lake());
        self.note(json!({
            "event": "checked", "records": verdict.records, "lost": verdict.lost,
            "duplicated": verdict.duplicated, "invented": verdict.invented,
        }));
        let audit = command_behind(&self.site, &self.before, &["audit", "--deep"])
            .envs(self.environment.iter().copied())
            .output()
            .expect("the program starts");
        if audit.status.code() != Some(0) {
            let said = String::from_utf8_lossy(&audit.stdout).into_owned();
            totals.wrong(format!("{}: the audit does not agree\n{said}", self.name));
        }
        if self.panicked() {
            totals.wrong(format!("{}: the program met a bug, see its log", self.name));
        }
        let clean = verdict.is_clean() && audit.status.success() && code == Some(0);
        totals.take(&self.name, verdict);
        if !clean && self.kept {
            println!("kept for you to look at: {}", self.site.keep().display());
        }
        clean
    }

    pub fn last_words(&self) -> String {
        let log = self.site.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn panicked(&self) -> bool {
        let log = self.site.log();
        log.contains("bug at") || log.contains("panicked")
    }
}

impl Lake {
    pub fn open(&self) -> LakeAt {
        match self {
            Self::Local(root) => LakeAt::Local(root.clone()),
            Self::S3(s3) => LakeAt::S3(s3.clone()),
        }
    }
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty() && self.invented.is_empty()
    }
}
