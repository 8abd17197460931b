//! What an operator does, as the program's messages say.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lakeward::clock::Clock;
use lakeward::config::Config;
use lakeward::journal::Request;
use lakeward::pipeline::Halt;
use lakeward::segment::JournalId;
use lakeward::sink::PathTemplate;
use lakeward::spool::Retire;
use lakeward::{operator, rebuild};

use super::acts::lock;
use super::driver::{Run, said};
use super::journal::store::Disk as JournalDisk;
use super::lake::SimLake;
use super::place::{PIPELINE, SPOOL};
use super::plan::Setting;
use super::spool;
use super::turns::Ended;
use super::world::World;

pub(super) type End = Ended<Result<(), Halt>>;

impl Run<'_> {
    /// The changed configuration, unless the program wants the old one once more.
    pub(super) fn next_setting(&self, ended: &End) -> &Setting {
        let wants_old = said(ended).is_some_and(|said| {
            said.contains("set the old format again") || said.contains("membership")
        });
        match &self.plan.changed {
            Some(changed) if !wants_old => changed,
            _ => &self.plan.setting,
        }
    }

    /// Does what the message says at once, where there is one that says something; `false` if there is nothing to do.
    pub(super) fn heed(&self, ended: &End, setting: &Setting) -> bool {
        let Some(said) = said(ended) else {
            return false;
        };
        if said.contains("is it mounted") {
            return self.show_lake();
        }
        if said.contains("so the disk is perhaps not mounted") && lock(&self.stage).unmounted {
            self.world.note("an operator mounts the spool");
            lock(&self.stage).mount();
            return true;
        }
        if said.contains("lakeward rebuild") {
            return self.mend_journal(&said, setting);
        }
        // The first start was on what stood in the place of a spool that was not mounted, or its claim could not be made durable
        // since the disk was read-only, and a power cut took it.
        if said.contains("lakeward adopt") && !lock(&self.stage).unmounted {
            self.world.note("an operator adopts the spool");
            let ended = self.process(|| self.adopt(setting));
            let _ended_sound = self.end_process(&ended);
            return true;
        }
        false
    }

    /// The journal is lost, old, or was given up.
    fn mend_journal(&self, said: &str, setting: &Setting) -> bool {
        // Who sees that nothing of a lake would be believed mounts it first.
        self.show_lake();
        // What a journal that knew the spool would go on with, nobody can give up so.
        let may_adopt = said.contains("lakeward adopt") && self.journal_is_new();
        let ended = if may_adopt && self.world.below(4) == 0 {
            self.world.note("an operator adopts the spool");
            self.process(|| self.adopt(setting))
        } else {
            self.world.note("an operator rebuilds the journal");
            self.process(|| self.rebuild(setting))
        };
        let _ended_sound = self.end_process(&ended);
        true
    }

    fn journal_is_new(&self) -> bool {
        let journal = self.journal.read(Arc::clone(&self.clock));
        journal.is_none_or(|journal| journal.pipelines().is_ok_and(|rows| rows.is_empty()))
    }

    fn rebuild(&self, setting: &Setting) -> Result<(), Halt> {
        let config = self.config(setting);
        self.made.fetch_add(1, Ordering::SeqCst);
        let spool = spool::open(
            &self.disk,
            &self.world,
            config.pipelines[0].source.spool.clone(),
        )?;
        let place = rebuild::Place {
            pipeline: PIPELINE.into(),
            lake: Arc::new(SimLake::new(&self.lake, self.world.clone())),
            spool: Arc::new(spool),
            payload: setting.payload,
            registers: setting.registers,
            roots: roots(&config),
        };
        rebuild_journal(
            &config,
            place,
            &self.journal,
            &self.world,
            &self.clock,
            self.fresh(),
        )
    }

    /// First the disk settles: a file that was retired and comes back by a power cut is nobody's to know after this.
    fn adopt(&self, setting: &Setting) -> Result<(), Halt> {
        let config = self.config(setting);
        let spool = spool::open(
            &self.disk,
            &self.world,
            config.pipelines[0].source.spool.clone(),
        )?;
        let journal = self.open_journal()?;
        {
            let mut stage = lock(&self.stage);
            self.disk.settle();
            let mut spooled = stage.spooled();
            // Renamed files are known by their names alone then, and another way to retire leaves these to be read.
            if setting.retire != Retire::Rename {
                spooled.extend(stage.renamed());
            }
            stage.checker.taken_over(&spooled);
        }
        let place = operator::Place {
            pipeline: PIPELINE.into(),
            root: SPOOL.into(),
            spool: Arc::new(spool),
            lake: Arc::new(SimLake::new(&self.lake, self.world.clone())),
            journal_path: String::new(),
        };
        let request = Request::Adopt {
            pipeline: PIPELINE.into(),
        };
        operator::carry_out(journal.as_ref(), &[place], &request)?;
        Ok(())
    }

    /// Moves away what stands where ours is to land.
    pub(super) fn move_foreign(&self, ended: &End) -> bool {
        if !said(ended).is_some_and(|said| said.contains("something else stands there")) {
            return false;
        }
        let mut stage = lock(&self.stage);
        let foreign = std::mem::take(&mut stage.checker.foreign);
        self.world.note("an operator moves away what is foreign");
        foreign.iter().any(|path| self.lake.take_away(path))
    }

    /// Gives up what cannot be had any more; `false` if the message does not say so.
    pub(super) fn accept_loss(&self, ended: &End) -> bool {
        // Only where somebody did change or take away what was needed.
        let touched = lock(&self.stage).drops.iter().any(|d| d.touched);
        if !touched || !said(ended).is_some_and(|said| said.contains("--accept-loss")) {
            return false;
        }
        let Ok(journal) = self.open_journal() else {
            return false;
        };
        let unfinished = journal.unfinished(PIPELINE).unwrap_or_default();
        let Some(batch) = unfinished.first() else {
            return false;
        };
        self.world.note("an operator accepts the loss");
        {
            let mut stage = lock(&self.stage);
            let drops = stage.drops.clone();
            stage.checker.given_up(&batch.manifest, &drops);
        }
        let request = Request::Resolve {
            pipeline: PIPELINE.into(),
            batch: batch.number,
        };
        operator::carry_out(journal.as_ref(), &[], &request).is_ok()
    }
}

/// Where data and reject files may be, as the program's own command finds it.
pub(super) fn roots(config: &Config) -> Vec<String> {
    let sink = &config.pipelines[0].sink;
    let template = PathTemplate::parse(&sink.path, &sink.timezone).expect("a template");
    vec![template.root(), sink.rejects.clone()]
}

/// `lakeward rebuild --yes`.
pub(super) fn rebuild_journal(
    config: &Config,
    place: rebuild::Place,
    journal: &JournalDisk,
    world: &World,
    clock: &Arc<dyn Clock>,
    fresh: JournalId,
) -> Result<(), Halt> {
    let places = [place];
    let beliefs = rebuild::believe(&places)?;
    for belief in &beliefs {
        let unknown = rebuild::unknown_data_files(&places[0], belief)?;
        if !unknown.is_empty() {
            return Err(Halt::Stopped(format!("in no manifest: {unknown:?}")));
        }
    }
    let rebuilding = journal.rebuild(world, Arc::clone(clock), fresh)?;
    let beliefs = rebuild::close_and_adopt(config, &places, beliefs, rebuilding.journal())?;
    let _made = rebuilding.finish()?;
    rebuild::move_claims(config, &places, beliefs, fresh)
}
