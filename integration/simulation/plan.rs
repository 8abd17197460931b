//! What a run is about: the files that are dropped and when, how the pipeline is configured, what may go wrong.

use lakeward::spool::Retire;

use super::fates::Weather;
use super::lake::Kind as LakeKind;
use super::world::Chance;

/// Which journal the program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalKind {
    Memory,
    Sqlite,
}

/// How the pipeline is configured. A run may change some of it between two processes.
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
}

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
        }
    }
}

/// Something that happens to the spool from outside.
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
    DropAgain { drop: usize },
    /// A producer appends records to a file that is still in the spool.
    Append { drop: usize },
    /// Another file is renamed over the path of one.
    Replace { drop: usize, records: u64 },
    /// The file is cut short.
    Truncate { drop: usize },
    /// Its name is changed.
    Rename { drop: usize },
    /// The wall clock jumps.
    Jump { seconds: i64 },
    /// A request that was given up arrives.
    Deliver,
    /// Somebody empties staging.
    EmptyStaging,
    /// Somebody else's file appears where a data file is to land.
    Foreign,
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
    pub broken: &'static str,
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
    /// A plan by chance.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5eed);
        let lake = [LakeKind::Local, LakeKind::Hdfs, LakeKind::S3][chance.below(3) as usize];
        let setting = setting(&mut chance, lake);
        let changed = chance.once_in(4).then(|| changed(&mut chance, &setting));
        Self {
            seed,
            lake,
            journal: JournalKind::Memory,
            acts: acts(&mut chance),
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
            broken: "",
            setting,
        }
    }
}

fn setting(chance: &mut Chance, lake: LakeKind) -> Setting {
    let retire = [Retire::Rename, Retire::Move, Retire::Delete, Retire::Keep];
    Setting {
        payload: chance.once_in(4),
        retire: retire[chance.below(4) as usize],
        lanes: 1 + chance.below(2) as usize,
        parquet: chance.once_in(8),
        path: ["t/day={day}", "t"][chance.below(2) as usize],
        roll_records: 3 + chance.below(8),
        segment_bytes: [60, 200, 1000][chance.below(3) as usize],
        weak: lake == LakeKind::S3 && chance.once_in(4),
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
