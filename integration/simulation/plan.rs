//! What a run is about: the files that are dropped and when, how the pipeline is configured, what may go wrong.

use lakeward::spool::Retire;

use super::fates::Weather;
pub use super::journal::store::Kind as JournalKind;
use super::lake::Kind as LakeKind;
use super::world::Chance;

/// How the pipeline is configured. A run may change some of it between two processes.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that do not depend on each other"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub payload: bool,
    pub retire: Retire,
    pub lanes: usize,
    pub parquet: bool,
    pub path: &'static str,
    pub roll_records: u64,
    pub segment_bytes: usize,
    /// A store that ignores conditions, and a configuration that accepts it.
    pub weak: bool,
    /// 0: no limit.
    pub payload_bytes_max: u64,
    /// What was retired is forgotten after an hour.
    pub forgets: bool,
    /// Partitions are registered with a catalog.
    pub registers: bool,
    /// Columns from the file's path; none if it is empty.
    pub path_columns: &'static str,
    /// `agent.memory`, as small as one likes.
    pub memory: u64,
    /// 0: no limit.
    pub staging_bytes_max: u64,
}

/// `agent.memory` of most runs.
const MEMORY: u64 = 512 << 20;

impl Setting {
    pub const fn plain() -> Self {
        Self {
            payload: false,
            retire: Retire::Rename,
            lanes: 1,
            parquet: false,
            path: "t/day={day}",
            roll_records: 6,
            segment_bytes: 100,
            weak: false,
            payload_bytes_max: 0,
            forgets: false,
            registers: false,
            path_columns: "",
            memory: MEMORY,
            staging_bytes_max: 0,
        }
    }
}

/// Something that happens from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A new file of so many records, so many of them broken. `synced`: the producer made it durable.
    Drop {
        path: String,
        records: u64,
        broken: u64,
        synced: bool,
    },
    /// A drop's file once more under the same name, after it was retired.
    DropAgain {
        drop: usize,
    },
    /// A producer appends records to a file that is still in the spool.
    Append {
        drop: usize,
    },
    /// Another file is renamed over the path of one.
    Replace {
        drop: usize,
        records: u64,
    },
    /// The file is cut short.
    Truncate {
        drop: usize,
    },
    /// Its name is changed.
    Rename {
        drop: usize,
    },
    /// The wall clock jumps.
    Jump {
        seconds: i64,
    },
    /// A request that was given up arrives.
    Deliver,
    /// Somebody empties staging.
    EmptyStaging,
    /// Somebody else's file appears where a data file is to land.
    Foreign,
    /// The spool's disk goes away, and what is dropped waits for it.
    Unmount,
    Mount,
    /// The spool's disk can be read only, or be written again.
    ReadOnly {
        is: bool,
    },
    /// A second agent starts, on a copy of the first one's journal or on its own.
    Beside {
        copy: bool,
    },
    /// The catalog is away, or there again.
    Catalog {
        away: bool,
    },
    /// The process is told to stop.
    Stop,
    /// The journal is backed up.
    BackUp,
    /// It is gone.
    Lose,
    /// The backup is put back.
    Restore,
    /// An empty lake shows where the real one is.
    HideLake,
    ShowLake,
    /// Bytes that have landed of a file that is not read to its end are changed in place, and it looks as before.
    Overwrite {
        drop: usize,
    },
}

impl Act {
    /// What can happen only while no process runs.
    pub fn is_between_processes(&self) -> bool {
        matches!(
            self,
            Self::BackUp
                | Self::Lose
                | Self::Restore
                | Self::HideLake
                | Self::ShowLake
                | Self::Overwrite { .. }
        )
    }

    /// What cannot happen while the spool's disk is away.
    pub fn is_at_the_spool(&self) -> bool {
        matches!(
            self,
            Self::Drop { .. }
                | Self::DropAgain { .. }
                | Self::Append { .. }
                | Self::Replace { .. }
                | Self::Truncate { .. }
                | Self::Rename { .. }
                | Self::ReadOnly { .. }
                | Self::Overwrite { .. }
        )
    }
}

/// Which deaths of processes take the machine's power with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    Never,
    Always,
    /// All but the first.
    Later,
    /// One in so many.
    OnceIn(u64),
}

/// One run.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that do not depend on each other"
)]
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub lake: LakeKind,
    pub journal: JournalKind,
    pub setting: Setting,
    /// What the second process and all after it are configured with.
    pub changed: Option<Setting>,
    /// What happens before the given call, in order; 0: before the first process.
    pub acts: Vec<(u64, Act)>,
    pub weather: Weather,
    pub power: Power,
    /// See [`super::turns::Schedule`].
    pub switches: u64,
    /// Processes stay up until they are told to stop.
    pub daemon: bool,
    /// Processes that are no daemons have a deadline, as `--once --deadline` gives one, that comes before so many calls.
    pub deadline_calls: Option<u64>,
    /// From the second process on the program is another version, which encodes the same records as other bytes.
    pub upgraded: bool,
    /// The spool's disk gives inode numbers of removed files to new ones.
    pub reuses_inodes: bool,
    /// A read of a spooled file answers no more, so that producers act between two reads of one.
    pub read_bytes_max: usize,
    /// After a death all goes on as its state says, whatever the calls before it were: see [`World::align`](super::world::World::align).
    pub aligned: bool,
    pub bulk: Bulk,
    pub broken: &'static str,
}

/// How large what is dropped is, where bounds are to be met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    /// Blanks at the end of each record: bytes that are read and do not land.
    pub blanks: usize,
    /// Bytes in each record that land.
    pub landing: usize,
    /// What a call takes; 0: the usual.
    pub call_ns: u64,
    /// The program's open files are counted at each call.
    pub counts_handles: bool,
}

/// Drops of a small workload: two files and two batches at least.
pub fn small_drops() -> Vec<(u64, Act)> {
    let drop = |path: &str, records, broken| {
        (
            0,
            Act::Drop {
                path: path.to_owned(),
                records,
                broken,
                synced: true,
            },
        )
    };
    vec![drop("a.ndjson", 7, 0), drop("b.ndjson", 5, 1)]
}

impl Plan {
    /// Whether the spool is on a disk of its own, which can go away.
    pub fn mounts_spool(&self) -> bool {
        self.acts.iter().any(|(_, act)| *act == Act::Unmount)
    }

    /// Nothing befalls it, by itself and from outside: a small workload that an exhaustive search strikes.
    pub fn still(seed: u64, lake: LakeKind, setting: Setting, power: Power) -> Self {
        Self {
            seed,
            lake,
            journal: JournalKind::Memory,
            setting,
            changed: None,
            acts: small_drops(),
            weather: Weather {
                once_in: 1,
                deaths_of_four: 0,
                deaths_left: 0,
                faults_left: 0,
            },
            power,
            switches: 0,
            daemon: false,
            deadline_calls: None,
            upgraded: false,
            reuses_inodes: false,
            read_bytes_max: usize::MAX,
            aligned: true,
            bulk: Bulk::default(),
            broken: "",
        }
    }

    /// A plan by chance.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5eed);
        let lake = [LakeKind::Local, LakeKind::Hdfs, LakeKind::S3][chance.below(3) as usize];
        let mut setting = setting(&mut chance, lake);
        let mut changed = chance.once_in(4).then(|| changed(&mut chance, &setting));
        if let Some(changed) = &mut changed {
            // Numbers of its own: all else stays as it is without it.
            let mut own = Chance::new(seed ^ 0x2e71);
            if own.once_in(2) {
                changed.retire = WAYS_TO_RETIRE[own.below(4) as usize];
            }
        }
        let mut acts = acts(&mut chance);
        if chance.once_in(4) {
            // A table is where it is, and of one format.
            (setting.registers, setting.path, changed) = (true, "t/day={day}", None);
            let at = chance.below(300);
            acts.extend([
                (at, Act::Catalog { away: true }),
                (at + chance.below(300), Act::Catalog { away: false }),
            ]);
            acts.sort_by_key(|(at, _)| *at);
        }
        Self {
            seed,
            lake,
            journal: JournalKind::Memory,
            acts,
            changed,
            weather: Weather {
                once_in: [15, 40, 100][chance.below(3) as usize],
                deaths_of_four: 1 + chance.below(3),
                deaths_left: 1 + chance.below(5) as u32,
                faults_left: 1 + chance.below(10) as u32,
            },
            power: match chance.below(3) {
                0 => Power::Never,
                n => Power::OnceIn(n),
            },
            switches: 1 + chance.below(4),
            daemon: chance.once_in(4),
            deadline_calls: deadline_calls(seed),
            upgraded: chance.once_in(4),
            reuses_inodes: chance.once_in(3),
            read_bytes_max: read_bytes_max(seed),
            aligned: false,
            bulk: Bulk::default(),
            broken: "",
            setting,
        }
    }
}

/// Numbers of its own: all else stays as it is without it.
fn read_bytes_max(seed: u64) -> usize {
    let mut own = Chance::new(seed ^ 0x5407);
    if own.once_in(4) {
        1 + own.below(100) as usize
    } else {
        usize::MAX
    }
}

/// Numbers of its own, likewise.
fn deadline_calls(seed: u64) -> Option<u64> {
    let mut own = Chance::new(seed ^ 0xdead_11e5);
    own.once_in(4).then(|| 50 + own.below(600))
}

const WAYS_TO_RETIRE: [Retire; 4] = [Retire::Rename, Retire::Move, Retire::Delete, Retire::Keep];

fn setting(chance: &mut Chance, lake: LakeKind) -> Setting {
    Setting {
        payload: chance.once_in(4),
        retire: WAYS_TO_RETIRE[chance.below(4) as usize],
        lanes: 1 + chance.below(2) as usize,
        parquet: chance.once_in(8),
        path: ["t/day={day}", "t"][chance.below(2) as usize],
        roll_records: 3 + chance.below(8),
        segment_bytes: [60, 200, 1000][chance.below(3) as usize],
        weak: lake == LakeKind::S3 && chance.once_in(4),
        payload_bytes_max: [0, 0, 300][chance.below(3) as usize],
        forgets: false,
        registers: false,
        path_columns: "",
        memory: MEMORY,
        staging_bytes_max: 0,
    }
}

/// What an operator may change between two runs.
fn changed(chance: &mut Chance, setting: &Setting) -> Setting {
    Setting {
        path: ["u/day={day}", "t", "t/day={day}"][chance.below(3) as usize],
        roll_records: 2 + chance.below(12),
        parquet: chance.once_in(2),
        lanes: 1 + chance.below(3) as usize,
        ..setting.clone()
    }
}

fn acts(chance: &mut Chance) -> Vec<(u64, Act)> {
    let mut acts = Vec::new();
    let drops = 2 + chance.below(4) as usize;
    for number in 0..drops {
        let at = if number < 2 { 0 } else { chance.below(400) };
        let act = Act::Drop {
            path: format!("{}.ndjson", (b'a' + number as u8) as char),
            records: 3 + chance.below(9),
            broken: chance.below(2),
            synced: true,
        };
        acts.push((at, act));
    }
    for _ in 0..chance.below(3) {
        machine(chance, drops, &mut acts);
    }
    for _ in 0..chance.below(4) {
        let drop = chance.below(drops as u64) as usize;
        let act = match chance.below(10) {
            0 => Act::DropAgain { drop },
            1 => Act::Append { drop },
            2 => Act::Replace {
                drop,
                records: 1 + chance.below(6),
            },
            3 => Act::Truncate { drop },
            4 => Act::Rename { drop },
            5 => Act::Jump {
                seconds: [-100_000, -1, 1, 100_000][chance.below(4) as usize],
            },
            6 | 7 => Act::EmptyStaging,
            _ => Act::Deliver,
        };
        acts.push((chance.below(600), act));
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// What befalls the machine, its disks and its journal.
fn machine(chance: &mut Chance, drops: usize, acts: &mut Vec<(u64, Act)>) {
    let at = chance.below(500);
    let later = at + 1 + chance.below(200);
    match chance.below(9) {
        0 => acts.push((at, Act::Lose)),
        1 | 2 => acts.extend([(at, Act::BackUp), (later, Act::Restore)]),
        3 => acts.extend([(at, Act::Unmount), (later, Act::Mount)]),
        4 => acts.extend([
            (at, Act::ReadOnly { is: true }),
            (later, Act::ReadOnly { is: false }),
        ]),
        5 => acts.push((
            at,
            Act::Beside {
                copy: chance.once_in(2),
            },
        )),
        7 => acts.push((at, Act::Stop)),
        6 => acts.extend([(at, Act::HideLake), (later, Act::ShowLake)]),
        _ => acts.push((
            at,
            Act::Overwrite {
                drop: chance.below(drops as u64) as usize,
            },
        )),
    }
}
