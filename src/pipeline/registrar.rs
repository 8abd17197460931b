//! Registers partitions with the catalog: follow-up work of commits that is journaled with them, on a thread of its own.
//!
//! ```text
//! commit ─► journal's queue ─► look at the table ─► make it, add columns ─► add partitions ─► take them off the queue
//!                ▲                        └── away: wait longer and longer, land and retire meanwhile
//!                └── a kill at any point: the queue still holds them, and all of it is harmless to repeat
//! ```
//!
//! The table is looked at in every round, since somebody else may have changed it, and it is made and widened from the journal's
//! schema only: one that was inferred and never staged may come out otherwise next time.
//!
//! What cannot be right (columns that disagree, a database that is not there) stops the pipeline. What the catalog refuses about
//! one partition keeps that one waiting and no other.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::said::Said;
use super::table::{self, Prepared};
use super::{Halt, Pipeline};
use crate::catalog::{Altered, Catalog, CatalogError, ErrorClass, Registered, difference};
use crate::config::HiveSettings;
use crate::crash;
use crate::journal::PartitionWork;
use crate::schema::Schema;
use crate::threads::{self, Monitor};

/// Partitions taken from the queue at once.
const TAKEN_AT_ONCE: usize = 100;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long a drained `--once` run waits for a catalog that does nothing. One slow change of a table took 33 s.
const PATIENCE: Duration = Duration::from_mins(1);

/// And how long one that is told to stop.
const HASTE: Duration = Duration::from_secs(3);

/// How often the end of a pipeline looks whether its registrar got on.
const TICK: Duration = Duration::from_millis(50);

/// How the rest of the pipeline and its registrar talk.
#[derive(Default)]
pub struct Signal(Monitor<State>);

#[derive(Default)]
struct State {
    /// The lake is the one that the queue is about.
    open: bool,
    /// Since the last round began.
    work: bool,
    end: Option<End>,
    halt: Option<Halt>,
    /// When the catalog last did something for us, by the clock that only goes forth.
    progress: Option<Duration>,
    /// The registrar's thread is over.
    over: bool,
}

/// What is to become of what still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Tried for a while.
    Drain,
    /// Left for the next run, unless the catalog answers at once.
    Soon,
}

impl Signal {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock());
        self.0.changed();
    }

    /// A commit has queued something.
    pub(super) fn work(&self) {
        self.change(|state| state.work = true);
    }

    /// Lets the registrar begin.
    fn open(&self) {
        self.change(|state| (state.open, state.work) = (true, true));
    }

    fn is_open(&self) -> bool {
        self.0.lock().open
    }

    fn end(&self, end: End) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// Why the pipeline must stop.
    pub(super) fn halt(&self) -> Option<Halt> {
        self.0.lock().halt.clone()
    }

    /// Waits for work, an end, or until `pause` is over; without one as long as it takes. Answers the end.
    fn wait(&self, pause: Option<Duration>) -> Option<End> {
        let mut state = self.0.wait_while(pause, |state| {
            // While the catalog is away, new work is no reason to ask again.
            let has_work = state.open && state.work && pause.is_none();
            state.end.is_none() && !has_work
        });
        state.work = false;
        state.end
    }
}

/// What keeps a round from its end.
enum Trouble {
    Catalog(CatalogError),
    Halt(Halt),
}

impl From<CatalogError> for Trouble {
    fn from(error: CatalogError) -> Self {
        match error.class {
            ErrorClass::Transient => Self::Catalog(error),
            ErrorClass::Permanent => Self::Halt(Halt::Stopped(error.to_string())),
        }
    }
}

impl From<crate::journal::JournalError> for Trouble {
    fn from(error: crate::journal::JournalError) -> Self {
        Self::Halt(error.into())
    }
}

/// A registrar at work. It is not waited for beyond reason: what it has begun goes on in the catalog, and what it has not taken off
/// the queue the next run finds there.
pub(super) struct Registering {
    pipeline: Arc<Pipeline>,
    signal: Arc<Signal>,
    thread: Option<threads::Own<Result<(), Halt>>>,
}

/// Begins with what waits since the last run, once the pipeline is found to be ours and its lake the one that it landed in.
pub(super) fn begin(pipeline: &Pipeline, signal: &Signal) -> Result<(), Halt> {
    table::refuse_other_keys(pipeline.ports.journal.as_ref(), &pipeline.settings)?;
    signal.open();
    Ok(())
}

/// At work from [`begin`] on.
pub(super) fn spawn(
    pipeline: &Arc<Pipeline>,
    catalog: &Arc<dyn Catalog>,
    settings: &HiveSettings,
    signal: &Arc<Signal>,
) -> Result<Registering, Halt> {
    let mut registrar = Registrar {
        pipeline: Arc::clone(pipeline),
        catalog: Arc::clone(catalog),
        settings: settings.clone(),
        signal: Arc::clone(signal),
        said: Said::default(),
        refused: None,
    };
    let over = Over(Arc::clone(signal));
    let thread = threads::spawn("registrar", move || {
        let _over = over;
        registrar.run()
    })
    .map_err(|e| Halt::Stopped(format!("start a thread: {e}")))?;
    Ok(Registering {
        pipeline: Arc::clone(pipeline),
        signal: Arc::clone(signal),
        thread: Some(thread),
    })
}

/// Says that the registrar's thread is over, however it ends.
struct Over(Arc<Signal>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.change(|state| state.over = true);
    }
}

impl Registering {
    pub(super) fn end(mut self, end: End) -> Result<(), Halt> {
        self.signal.end(end);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let clock = &self.pipeline.ports.clock;
        let began = clock.elapsed();
        while !thread.is_finished() {
            let still = self.signal.0.lock().progress.unwrap_or(began).max(began);
            let stopping = end == End::Soon || self.pipeline.stopping();
            let limit = if stopping { HASTE } else { PATIENCE + HASTE };
            if clock.elapsed().saturating_sub(still) > limit {
                return self.abandoned(end);
            }
            let goes_on = |state: &mut State| !state.over;
            if self.signal.0.wait_while(Some(TICK), goes_on).over {
                break;
            }
        }
        thread
            .join()
            .unwrap_or_else(|_| Err(Halt::Bug("the registrar's thread died".into())))
    }

    fn abandoned(&self, end: End) -> Result<(), Halt> {
        if end == End::Soon {
            return Ok(());
        }
        Err(Halt::NotDone(format!(
            "all of pipeline `{}` has landed, and the catalog has not answered whether it registered its partitions; the next run asks again",
            self.pipeline.settings.name
        )))
    }
}

/// A pipeline that dies does not leave its registrar waiting.
impl Drop for Registering {
    fn drop(&mut self) {
        self.signal.end(End::Soon);
    }
}

struct Registrar {
    pipeline: Arc<Pipeline>,
    catalog: Arc<dyn Catalog>,
    settings: HiveSettings,
    signal: Arc<Signal>,
    /// Warnings are said once.
    said: Said,
    /// Of the last round: why the catalog would not have some partition.
    refused: Option<String>,
}

impl Registrar {
    fn now(&self) -> Duration {
        self.pipeline.ports.clock.elapsed()
    }

    fn name(&self) -> &str {
        &self.pipeline.settings.name
    }

    /// Until the pipeline ends. An error says what is left that this run must answer for.
    fn run(&mut self) -> Result<(), Halt> {
        let mut failures = 0_u32;
        let end = loop {
            let pause = (failures > 0).then(|| pause_after(failures));
            if let Some(end) = self.signal.wait(pause) {
                break end;
            }
            match self.round() {
                Ok(refused) => {
                    if failures > 0 && refused == 0 {
                        info!(
                            pipeline = self.name(),
                            "the catalog has all partitions again"
                        );
                    }
                    failures = if refused > 0 { failures + 1 } else { 0 };
                }
                Err(Trouble::Halt(halt)) => {
                    self.signal.change(|state| state.halt = Some(halt.clone()));
                    return Err(halt);
                }
                Err(Trouble::Catalog(error)) => {
                    failures += 1;
                    self.waits(&error, failures);
                }
            }
        };
        match end {
            End::Drain => self.drain(),
            End::Soon if failures == 0 && self.signal.is_open() => {
                // What it leaves, the next run finds in the journal.
                let _left = self.round();
                Ok(())
            }
            End::Soon => Ok(()),
        }
    }

    /// What waits when a `--once` run has drained its spool.
    fn drain(&mut self) -> Result<(), Halt> {
        let until = self.now() + PATIENCE;
        let mut failures = 0;
        let reason = loop {
            let reason = match self.round() {
                Ok(0) => return Ok(()),
                Ok(refused) => {
                    let why = self.refused.clone().unwrap_or_default();
                    return Err(Halt::Stopped(format!(
                        "all of pipeline `{}` has landed, and the catalog refuses {refused} partitions: {why}; what is landed stays, mend the cause and run again",
                        self.name()
                    )));
                }
                Err(Trouble::Halt(halt)) => return Err(halt),
                Err(Trouble::Catalog(error)) => error,
            };
            failures += 1;
            self.waits(&reason, failures);
            let pause = pause_after(failures);
            if self.now() + pause > until || self.pipeline.orders.stop.wait(pause) {
                break reason;
            }
        };
        let waiting = self.count()?;
        Err(Halt::NotDone(format!(
            "all of pipeline `{}` has landed, and {waiting} partitions wait to be registered: {reason}; the next run registers them",
            self.name()
        )))
    }

    fn waits(&self, error: &CatalogError, failures: u32) {
        self.pipeline.tally.catalog_waits(&error.to_string());
        let pause_seconds = pause_after(failures).as_secs();
        if failures == 1 {
            warn!(pipeline = self.name(), %error, pause_seconds, "partitions wait for the catalog; landing goes on");
        } else {
            debug!(pipeline = self.name(), %error, failures, pause_seconds, "partitions still wait for the catalog");
        }
    }

    fn count(&self) -> Result<u64, Halt> {
        let waiting = self
            .pipeline
            .ports
            .journal
            .count_waiting_partitions(self.name())?;
        self.pipeline.tally.set_partitions_waiting(waiting);
        Ok(waiting)
    }

    /// Everything on the queue, once. Answers how many the catalog refused, which stay there.
    fn round(&mut self) -> Result<u64, Trouble> {
        let journal = Arc::clone(&self.pipeline.ports.journal);
        let mut table: Option<Prepared> = None;
        let mut after: Option<String> = None;
        let mut refused = 0;
        self.refused = None;
        loop {
            let work = journal.waiting_partitions(self.name(), after.as_deref(), TAKEN_AT_ONCE)?;
            let Some(last) = work.last() else { break };
            after = Some(last.directory.clone());
            let prepared = match table.take() {
                Some(prepared) => prepared,
                None => self.prepare()?,
            };
            refused += self.register(&prepared, &work)?;
            table = Some(prepared);
        }
        self.count().map_err(Trouble::Halt)?;
        self.pipeline
            .tally
            .catalog_waits(self.refused.as_deref().unwrap_or_default());
        Ok(refused)
    }

    /// The table, made and widened to the newest schema that the journal holds.
    fn prepare(&mut self) -> Result<Prepared, Trouble> {
        let prepared = self.spec_of_journal()?;
        crash::place("before_table");
        let table = match self.catalog.table()? {
            Some(table) => table,
            None if self.settings.create => {
                info!(
                    pipeline = self.name(),
                    catalog = self.catalog.identity(),
                    "making the table"
                );
                self.catalog.create(&prepared.spec)?;
                crash::place("after_table");
                self.catalog.table()?.ok_or_else(|| self.vanished())?
            }
            None => return Err(Trouble::Halt(self.missing())),
        };
        let found = difference(&prepared.spec, &table)
            .map_err(|wrong| Trouble::Halt(disagrees(self.catalog.as_ref(), &wrong)))?;
        for warning in &found.warnings {
            self.say_once(warning);
        }
        if found.is_empty() {
            return Ok(prepared);
        }
        if !self.settings.widen {
            let names: Vec<&str> = found
                .added
                .iter()
                .chain(&found.widened)
                .map(|column| column.name.as_str())
                .collect();
            self.say_once(&format!(
                "the table lacks what lands in columns `{}`, and `hive.widen` is false: readers do not see it",
                names.join("`, `")
            ));
            return Ok(prepared);
        }
        self.widen(&found)?;
        crash::place("after_columns");
        Ok(prepared)
    }

    fn widen(&mut self, found: &crate::catalog::Difference) -> Result<(), Trouble> {
        if !found.added.is_empty() {
            let names: Vec<&str> = found.added.iter().map(|c| c.name.as_str()).collect();
            info!(
                pipeline = self.name(),
                columns = names.join(" "),
                "adding columns to the table"
            );
            if let Altered::Refused(why) = self.catalog.alter(&found.added, &[])? {
                return Err(Trouble::Halt(Halt::Stopped(format!(
                    "add columns `{}` to `{}`: the catalog refuses: {why}",
                    names.join("`, `"),
                    self.catalog.identity()
                ))));
            }
        }
        for column in &found.widened {
            if let Altered::Refused(why) = self.catalog.alter(&[], std::slice::from_ref(column))? {
                self.say_once(&format!(
                    "the new fields of column `{}` land and are not seen through the table, whose type the catalog does not let change ({why}): a metastore does with `hive.metastore.disallow.incompatible.col.type.changes=false`; the type would be `{}`",
                    column.name, column.data_type
                ));
            }
        }
        Ok(())
    }

    fn spec_of_journal(&self) -> Result<Prepared, Trouble> {
        let journaled = self.pipeline.ports.journal.schema(self.name())?;
        let schema: Schema = match journaled {
            Some((_, json)) => serde_json::from_value(json).map_err(|e| {
                Trouble::Halt(Halt::Stopped(format!(
                    "the schema in the journal cannot be read: {e}; run `lakeward rebuild`"
                )))
            })?,
            None => Schema::default(),
        };
        Prepared::new(&self.pipeline.settings, &self.settings, &schema).map_err(Trouble::Halt)
    }

    /// Answers how many were refused.
    fn register(&mut self, table: &Prepared, work: &[PartitionWork]) -> Result<u64, Trouble> {
        let mut partitions = Vec::new();
        let mut of_partitions = Vec::new();
        let mut done = Vec::new();
        for one in work {
            match table.place.partition(one) {
                Ok(Some(partition)) => {
                    partitions.push(partition);
                    of_partitions.push(one.clone());
                }
                // The table itself, which is ready.
                Ok(None) => done.push(one.clone()),
                Err(why) => return Err(Trouble::Halt(table::other_keys(self.name(), &why))),
            }
        }
        crash::place("before_register");
        let registered = self.catalog.add_partitions(&partitions)?;
        crash::place("after_register");
        let mut refused = 0;
        for ((one, partition), outcome) in of_partitions.into_iter().zip(partitions).zip(registered)
        {
            match outcome {
                Registered::Yes => done.push(one),
                Registered::Elsewhere(place) => {
                    self.say_once(&format!(
                        "partition `{}` is registered at `{place}` and its files land at `{}`, where readers of the table do not look; it is left as it is",
                        one.partition, partition.location
                    ));
                    done.push(one);
                }
                Registered::Refused(why) => {
                    refused += 1;
                    self.say_once(&format!(
                        "partition `{}`: the catalog refuses: {why}",
                        one.partition
                    ));
                    self.refused = Some(format!("partition `{}`: {why}", one.partition));
                }
            }
        }
        self.pipeline.ports.journal.registered(self.name(), &done)?;
        crash::place("after_registered");
        let now = self.now();
        self.signal.change(|state| state.progress = Some(now));
        self.pipeline.tally.registered(done.len() as u64);
        debug!(
            pipeline = self.name(),
            partitions = done.len(),
            "registered"
        );
        Ok(refused)
    }

    fn say_once(&mut self, text: &str) {
        if self.said.is_new(text) {
            warn!(pipeline = %self.pipeline.settings.name, catalog = self.catalog.identity(), "{text}");
        }
    }

    fn vanished(&self) -> CatalogError {
        CatalogError {
            class: ErrorClass::Transient,
            operation: "create table",
            subject: self.catalog.identity().to_owned(),
            message: "it was made and is gone again".to_owned(),
        }
    }

    fn missing(&self) -> Halt {
        missing(self.catalog.as_ref())
    }
}

fn missing(catalog: &dyn Catalog) -> Halt {
    Halt::Stopped(format!(
        "there is no table `{}`: set `hive.create = true`, or make it with what `lakeward schema --ddl` prints",
        catalog.identity()
    ))
}

fn disagrees(catalog: &dyn Catalog, wrong: &str) -> Halt {
    Halt::Stopped(format!(
        "table `{}` disagrees with what lands: {wrong}; what is landed stays: alter the table, set another `hive.table`, or give these columns in `schema.columns`",
        catalog.identity()
    ))
}

/// Jitter is not needed: the pauses of many agents begin at their own commits.
fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(LONGEST_PAUSE)
}

/// Before anything lands: whether the table that is there could ever show it. One that is made later, or a catalog that is away,
/// is no reason to wait.
pub(super) fn check(pipeline: &Pipeline, schema: &Schema) -> Result<(), Halt> {
    let (Some(catalog), Some(settings)) = (&pipeline.ports.catalog, &pipeline.settings.hive) else {
        return Ok(());
    };
    if !settings.register {
        // Somebody else sees to the table, in his own time; the metastore may be one that cannot be talked to.
        return Ok(());
    }
    let prepared = Prepared::new(&pipeline.settings, settings, schema)?;
    match catalog.table() {
        Ok(Some(table)) => difference(&prepared.spec, &table)
            .map(drop)
            .map_err(|wrong| disagrees(catalog.as_ref(), &wrong)),
        Ok(None) if settings.create => Ok(()),
        Ok(None) => Err(missing(catalog.as_ref())),
        Err(error) if error.class == ErrorClass::Permanent => Err(Halt::Stopped(error.to_string())),
        Err(error) => {
            warn!(pipeline = %pipeline.settings.name, %error, "the catalog is away; landing begins without it");
            Ok(())
        }
    }
}
