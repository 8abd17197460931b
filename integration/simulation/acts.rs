//! What others do while a process runs: producers, somebody at the machine, a second agent; and the reader who looks on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lakeward::clock::Clock;
use lakeward::pipeline::Stop;

use super::catalog::Metastore;
use super::checker::{Checker, Dropped};
use super::journal::store::Disk as JournalDisk;
use super::lake::LakeStore;
use super::place::{PIPELINE, QUARANTINE, SPOOL};
use super::plan::{Act, Bulk, Setting};
use super::records::{self, dropped};
use super::spool::SpoolDisk;
use super::spool::model::NodeId;
use super::world::World;

/// Runs a second agent to its end, on a copy of the first one's journal or on one of its own; answers how it ended if it was not refused.
pub type Beside = Arc<dyn Fn(bool) -> Option<String> + Send + Sync>;

/// What outlives a process, and who looks at it.
pub struct Stage {
    pub world: World,
    pub lake: Arc<LakeStore>,
    pub disk: SpoolDisk,
    pub metastore: Arc<Metastore>,
    pub journal: Arc<JournalDisk>,
    pub clock: Arc<dyn Clock>,
    pub checker: Checker,
    pub drops: Vec<Dropped>,
    /// Those that were dropped a second time.
    pub again: BTreeSet<usize>,
    /// Files that left the spool in this process, with their contents.
    gone: BTreeMap<NodeId, Vec<u8>>,
    /// Those that were not as they had been dropped.
    changed: BTreeMap<NodeId, Vec<u8>>,
    acts: VecDeque<(u64, Act)>,
    /// Due, and waiting for the end of the process.
    pub between: VecDeque<Act>,
    /// Waiting for the spool's disk, which is away or cannot be written.
    waiting: Vec<Act>,
    pub unmounted: bool,
    read_only: bool,
    /// How a running process is told to stop, and before which call.
    pub stop: Option<(u64, Arc<Stop>)>,
    pub beside: Option<Beside>,
    pub staging: PathBuf,
    /// What the process that runs may hold.
    bounds: Bounds,
    payload_bytes: u64,
    bulk: Bulk,
}

/// I11, as the configuration promises it.
#[derive(Default)]
struct Bounds {
    /// 0: none, or not to be held.
    payload_bytes: u64,
    channel_bytes: u64,
    /// 0: not to be held.
    staging_bytes: u64,
    handles: usize,
}

/// What may be staged beyond `staging_bytes_max`: it is looked at once a second, and what channel and lanes hold by then is staged, too.
const STAGED_BEYOND: u64 = 8 << 20;

/// Files that a lane keeps open, and that landing opens.
const HANDLES_OF_LANE: usize = 200;
const HANDLES_BESIDE: usize = 16;

/// Shared by the driver and what the world asks before each call.
pub type Shared = Arc<Mutex<Stage>>;

pub fn lock(stage: &Shared) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a stage is made of.
pub struct Props {
    pub world: World,
    pub lake: Arc<LakeStore>,
    pub disk: SpoolDisk,
    pub journal: Arc<JournalDisk>,
    pub clock: Arc<dyn Clock>,
    pub staging: PathBuf,
    /// The store ignores conditions.
    pub weak: bool,
    pub bulk: Bulk,
}

impl Stage {
    pub fn new(props: Props, acts: &[(u64, Act)]) -> Self {
        Self {
            checker: Checker::new(Arc::clone(&props.lake), props.weak),
            world: props.world,
            lake: props.lake,
            disk: props.disk,
            metastore: Arc::default(),
            journal: props.journal,
            clock: props.clock,
            drops: Vec::new(),
            again: BTreeSet::new(),
            gone: BTreeMap::new(),
            changed: BTreeMap::new(),
            acts: acts.iter().cloned().collect(),
            between: VecDeque::new(),
            waiting: Vec::new(),
            unmounted: false,
            read_only: false,
            stop: None,
            beside: None,
            staging: props.staging,
            bounds: Bounds::default(),
            payload_bytes: 0,
            bulk: props.bulk,
        }
    }

    /// Before each call of the program: what others do meanwhile, and what a reader sees.
    pub fn step(&mut self, world: &World) {
        while let Some((at, _)) = self.acts.front() {
            if *at > world.calls() {
                break;
            }
            if let Some((_, act)) = self.acts.pop_front() {
                self.act(act);
            }
        }
        if self
            .stop
            .as_ref()
            .is_some_and(|(at, _)| *at <= world.calls())
        {
            self.tell_to_stop();
        }
        self.checker.look();
        self.checker.look_at_catalog(&self.metastore.registered());
        self.hold_payloads();
        self.hold_bounds();
        self.see_who_left();
    }

    fn see_who_left(&mut self) {
        for event in self.disk.events() {
            let to = event.to.as_deref();
            let back = |to: &Path| self.drops.iter().any(|d| to == Path::new(&place(&d.path)));
            if to.is_some_and(|to| to.starts_with(QUARANTINE) || back(to)) {
                self.gone.remove(&event.node);
                self.changed.remove(&event.node);
            } else {
                self.gone.insert(event.node, event.content);
            }
        }
    }

    /// What the process that begins is configured with.
    pub fn bind(&mut self, setting: &Setting) {
        let payload = if setting.payload {
            setting.payload_bytes_max
        } else {
            0
        };
        self.bounds = Bounds {
            payload_bytes: payload,
            // One segment is always let in.
            channel_bytes: (1 << 20) + 2 * setting.segment_bytes as u64,
            staging_bytes: setting.staging_bytes_max,
            handles: setting.lanes * HANDLES_OF_LANE + HANDLES_BESIDE,
        };
    }

    /// I11: neither the channel, nor staging, nor the open files grow with what waits.
    fn hold_bounds(&mut self) {
        let mut exceeded = Vec::new();
        let mut hold = |what: &str, held: u64, most: u64| {
            if held > most {
                exceeded.push(format!("I11: {what} {held}, and {most} are allowed"));
            }
        };
        let channel = self.world.take_held("channel");
        hold("bytes in the channel:", channel, self.bounds.channel_bytes);
        if self.bounds.staging_bytes > 0 {
            let most = self.bounds.staging_bytes + STAGED_BEYOND;
            hold("bytes in staging:", bytes_in(&self.staging), most);
        }
        if self.bulk.counts_handles {
            let most = self.bounds.handles as u64;
            hold("open files:", open_below(&self.staging), most);
        }
        if self.checker.violations.is_empty() {
            self.checker.violations.extend(exceeded);
        }
    }

    /// I11: nothing is put where there is no room. One call lies between two looks at most.
    fn hold_payloads(&mut self) {
        let most = self.bounds.payload_bytes;
        if most == 0 || !self.journal.is_in_memory() {
            return;
        }
        let Some(journal) = self.journal.read(Arc::clone(&self.clock)) else {
            return;
        };
        let (held, before) = (
            journal.payload_bytes(PIPELINE).unwrap_or(0),
            self.payload_bytes,
        );
        if held > before && before >= most {
            self.checker.violations.push(format!(
                "I11: {} bytes of payload were put into a journal that held {before}, and {most} are allowed",
                held - before
            ));
        }
        self.payload_bytes = held;
    }

    /// The journal is another one.
    pub fn forget_payloads(&mut self) {
        self.payload_bytes = 0;
    }

    fn tell_to_stop(&mut self) {
        if let Some((_, stop)) = self.stop.take() {
            self.world.note("the process is told to stop");
            stop.set("SIGTERM");
        }
    }

    /// A process ended: what left the spool has left it. Before that it may have been put back, if somebody replaced it at that moment.
    pub fn judge_gone(&mut self) {
        for (node, content) in std::mem::take(&mut self.gone) {
            // A power cut may have left it there and in the spool.
            if !self.disk.stands_in(QUARANTINE, node) {
                self.left(node, content);
            }
        }
    }

    /// All has happened.
    pub fn is_over(&self) -> bool {
        self.acts.is_empty() && self.between.is_empty() && self.waiting.is_empty()
    }

    /// What had not happened yet when all was drained.
    pub fn do_rest(&mut self) {
        while let Some((_, act)) = self.acts.pop_front() {
            self.act(act);
        }
    }

    fn left(&mut self, node: NodeId, bytes: Vec<u8>) {
        // One that was sent again is skipped on the word of the first; one that was changed has other bytes.
        let dropped = self.drops.iter().rev().find(|d| d.bytes == bytes);
        let Some(dropped) = dropped else {
            self.changed.insert(node, bytes);
            return;
        };
        if !dropped.cut {
            let before = self.checker.violations.len();
            self.checker.left_the_spool(dropped);
            if self.checker.violations.len() > before {
                self.world.note("VIOLATION here");
            }
        }
    }

    /// I10: what was changed and left the spool all the same, other than into quarantine, landed as it was when it left.
    pub fn judge_changed(&mut self) {
        for (node, content) in std::mem::take(&mut self.changed) {
            if !self.disk.stands_in(QUARANTINE, node) {
                self.checker.changed_left(&content);
            }
        }
    }

    fn act(&mut self, act: Act) {
        let is_read_only = self.read_only && !matches!(act, Act::ReadOnly { .. });
        if (self.unmounted || is_read_only) && act.is_at_the_spool() {
            self.waiting.push(act);
            return;
        }
        if act.is_between_processes() {
            self.between.push_back(act);
            return;
        }
        self.world.note(&format!("{act:?}"));
        match act {
            Act::Drop {
                path,
                records,
                broken,
                synced,
            } => self.drop_new(&path, records, broken, synced, false),
            Act::DropAgain { drop } => self.drop_again(drop),
            Act::Append { drop } => {
                if let Some(path) = self.standing(drop) {
                    let more = records::line(drop, 1000);
                    self.disk.append(place(&path), more.as_bytes());
                    self.drops[drop].touched = true;
                    self.drops[drop].more.push(format!("{drop}-1000"));
                }
            }
            Act::Replace { drop, records } => {
                if let Some(path) = self.standing(drop) {
                    self.drops[drop].touched = true;
                    self.drop_new(&path, records, 0, true, true);
                }
            }
            Act::Truncate { drop } => {
                if let Some(path) = self.standing(drop) {
                    self.drops[drop].touched = true;
                    // Before it is durable, a cut may be undone by a power cut.
                    self.drops[drop].cut = true;
                    let length = self.drops[drop].bytes.len() / 2;
                    self.disk.truncate(place(&path), length);
                }
            }
            Act::Rename { drop } => {
                // One whose cut was undone by a power cut has changed, too.
                let standing = self.standing(drop).filter(|_| !self.drops[drop].cut);
                if let Some(path) = standing {
                    let to = format!("z-{path}");
                    self.drops[drop].touched = true;
                    self.drops[drop].path.clone_from(&to);
                    self.disk.rename(place(&path), place(&to));
                }
            }
            Act::Jump { seconds } => self.world.jump(seconds * 1_000_000_000),
            Act::Deliver => {
                self.lake.deliver(&self.world);
            }
            Act::EmptyStaging => empty(&self.staging),
            Act::Foreign => self.put_foreign(),
            Act::Unmount => self.unmount(),
            Act::Mount => self.mount(),
            Act::ReadOnly { is } => {
                self.disk.make_read_only(SPOOL, is);
                self.read_only = is;
                self.do_what_waited();
            }
            Act::Beside { copy } => self.start_another(copy),
            Act::Catalog { away } => self.metastore.go(away),
            Act::Stop => self.tell_to_stop(),
            Act::BackUp
            | Act::Lose
            | Act::Restore
            | Act::HideLake
            | Act::ShowLake
            | Act::Overwrite { .. } => {}
        }
    }

    fn unmount(&mut self) {
        // A spool without a claim is taken for a new one, whatever was there.
        let claimed = || self.disk.read(place(".lakeward-claim.json")).is_some();
        if !self.unmounted && claimed() {
            self.disk.unmount(SPOOL);
            self.unmounted = true;
        }
    }

    /// Also what an operator does who is told that it is not mounted.
    pub fn mount(&mut self) {
        if self.unmounted {
            self.disk.mount(SPOOL);
            self.unmounted = false;
            self.do_what_waited();
        }
    }

    fn do_what_waited(&mut self) {
        for act in std::mem::take(&mut self.waiting) {
            self.act(act);
        }
    }

    /// I12: while an agent has the spool, or another journal its claim, nobody else lands anything.
    fn start_another(&mut self, copy: bool) {
        let Some(beside) = self.beside.clone() else {
            return;
        };
        // A copy of the journal is kept off by the lock alone; another journal by the claim, too.
        let kept_off = self.disk.is_locked()
            || (!copy && self.disk.read(place(".lakeward-claim.json")).is_some());
        if self.unmounted || !kept_off {
            return;
        }
        let before = self.lake.data_files();
        if let Some(ended) = beside(copy) {
            self.checker.violations.push(format!(
                "I12: a second agent was not refused, and ended with {ended}"
            ));
        } else if self.lake.data_files() != before {
            let landed = "I12: a second agent landed beside the first".to_owned();
            self.checker.violations.push(landed);
        }
    }

    fn drop_again(&mut self, drop: usize) {
        // What somebody changed was another file, of which a part may have landed.
        let Some(dropped) = self.drops.get(drop).filter(|d| !d.touched).cloned() else {
            return;
        };
        if self.disk.read(place(&dropped.path)).is_none() {
            self.again.insert(drop);
            self.checker.sent_again(&dropped);
            self.disk
                .drop_file(place(&dropped.path), &dropped.bytes, true);
        }
    }

    /// Somebody else's file takes the name of a data file that has not landed yet, nor with the very last call.
    fn put_foreign(&mut self) {
        self.checker.look();
        if let Some(path) = self.checker.not_landed() {
            self.lake.put_foreign(&path, b"somebody else's\n");
            self.checker.foreign.insert(path);
        }
    }

    fn drop_new(&mut self, path: &str, records: u64, broken: u64, synced: bool, touched: bool) {
        let mut dropped = Dropped {
            touched,
            ..dropped(self.drops.len(), path, records, broken)
        };
        let Bulk {
            landing, blanks, ..
        } = self.bulk;
        records::enlarge(&mut dropped, landing, blanks);
        self.disk.drop_file(place(path), &dropped.bytes, synced);
        self.drops.push(dropped);
    }

    /// The path of a drop whose file stands in the spool as it was dropped. One that was renamed is left alone, since renamed *and* changed
    /// it counts as new, and so is an equal drop: changed or renamed it is another file that shares records.
    pub fn standing(&self, drop: usize) -> Option<String> {
        let dropped = self.drops.get(drop)?;
        if dropped.path.starts_with("z-") || self.again.contains(&drop) {
            return None;
        }
        let content = self.disk.read(place(&dropped.path))?;
        (content == dropped.bytes).then(|| dropped.path.clone())
    }

    /// The contents of the files that stand in the spool.
    /// A power cut may have taken back what a producer renamed.
    pub fn spooled(&self) -> Vec<Vec<u8>> {
        let names = self.drops.iter().flat_map(|dropped| {
            let before = dropped.path.strip_prefix("z-");
            before.into_iter().chain([dropped.path.as_str()])
        });
        let names: BTreeSet<&str> = names.collect();
        let read = |name: &str| self.disk.read(place(name));
        names.into_iter().filter_map(read).collect()
    }

    /// Contents of what was renamed in the spool when it had landed.
    pub fn renamed(&self) -> Vec<Vec<u8>> {
        let paths: BTreeSet<&String> = self.drops.iter().map(|dropped| &dropped.path).collect();
        let names = paths.into_iter().flat_map(|path| {
            let first = place(&format!("{path}.COMPLETED"));
            let others = (1..=9).map(|n| place(&format!("{path}.COMPLETED.{n}")));
            std::iter::once(first).chain(others).collect::<Vec<_>>()
        });
        names.filter_map(|name| self.disk.read(name)).collect()
    }
}

pub fn place(path: &str) -> String {
    format!("{SPOOL}/{path}")
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let lengths = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    lengths.sum()
}

/// Files below a directory that this process has open, as Linux tells (`proc_pid_fd(5)`).
fn open_below(dir: &Path) -> u64 {
    let handles = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let places = handles.filter_map(|handle| std::fs::read_link(handle.ok()?.path()).ok());
    places.filter(|place| place.starts_with(dir)).count() as u64
}

pub fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let _gone = std::fs::remove_file(entry.path());
    }
}
