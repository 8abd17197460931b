//! The request budget: what a start, a batch, a data file and a directory cost in requests, by kind, counted on the way to real
//! servers. The README's table says the same. Work that grows with the lake (a listing has 1000 entries a page) is one
//! request here, since these lakes are small.

use crate::hdfs::{Hdfs, Wire};
use crate::proxy::{Operations, Proxy};
use crate::support::{LakeAt, S3, Site, runtime};

type Costs = &'static [(&'static str, u32)];

struct Budget {
    /// A run that finds nothing to do: is the lake there, is this journal the newest, what does the lake honour?
    start: Costs,
    /// Its manifest.
    batch: Costs,
    file: Costs,
    /// A file more for each further part or block.
    further: Costs,
    /// That a run lands in, once.
    directory: Costs,
    /// That was not there.
    new_directory: Costs,
    /// With `sink.marker`, where it is there already.
    marker: Costs,
    /// And where it has to be written.
    new_marker: Costs,
}

/// What a run did.
#[derive(Clone, Copy, Default)]
struct Done {
    batches: u32,
    files: u32,
    further: u32,
    directories: u32,
    new_directories: u32,
    markers: u32,
    new_markers: u32,
}

impl Budget {
    fn of(&self, done: Done) -> Operations {
        let mut sum = Operations::new();
        for (costs, times) in [
            (self.start, 1),
            (self.batch, done.batches),
            (self.file, done.files),
            (self.further, done.further),
            (self.directory, done.directories),
            (self.new_directory, done.new_directories),
            (self.marker, done.markers),
            (self.new_marker, done.new_markers),
        ] {
            for (operation, cost) in costs {
                *sum.entry((*operation).to_owned()).or_default() += cost * times;
            }
        }
        sum.retain(|_, count| *count > 0);
        sum
    }
}

/// One data file in each partition of each batch.
const SINK: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n[pipeline.sink]\npath = \"p/day={day}\"\n";
const ROLL: &str = "[pipeline.sink.roll]\nrecords = 50\n";

struct Trial {
    budget: Budget,
    site: Site,
    toml: String,
    lake: LakeAt,
    /// Those since the last call.
    operations: Box<dyn Fn() -> Operations>,
    next: i64,
}

impl Trial {
    fn new(
        budget: Budget,
        toml: &str,
        lake: LakeAt,
        operations: Box<dyn Fn() -> Operations>,
    ) -> Self {
        Self {
            budget,
            site: Site::with_lake(toml, "", ""),
            toml: toml.to_owned(),
            lake,
            operations,
            next: 0,
        }
    }

    fn configure(&self, more: &str) {
        self.site.configure(&self.toml, "", more);
    }

    /// Drops `records` into each of the days.
    fn drop_days(&mut self, days: std::ops::Range<u32>, records: u32) {
        let mut text = String::new();
        for day in days {
            for _ in 0..records {
                let id = self.next;
                text.push_str(&format!(
                    "{{\"id\":{id},\"day\":\"{day}\",\"note\":\"n\"}}\n"
                ));
                self.next += 1;
            }
        }
        let name = format!("f{}.ndjson", self.next);
        self.site.drop_file(&name, text.as_bytes());
    }

    #[track_caller]
    fn run(&self) -> Operations {
        (self.operations)();
        self.site.expect(0, &["run", "--once"]);
        (self.operations)()
    }

    #[track_caller]
    fn expect(&self, what: &str, mut found: Operations, done: Done) {
        println!("{what}: {found:?}");
        let budget = self.budget.of(done);
        // By the clock, for files that are open.
        found.remove("renewLease");
        // Repeated until the NameNode has heard from the DataNode of the last block.
        let completed = found.get_mut("complete");
        if let (Some(found), Some(wanted)) = (completed, budget.get("complete")) {
            let allowed = *wanted..=5 * *wanted;
            assert!(allowed.contains(found), "{what}: {found}, {wanted} files");
            *found = *wanted;
        }
        assert_eq!(found, budget, "{what}");
    }

    #[track_caller]
    fn holds(mut self) {
        self.configure(&format!("{SINK}{ROLL}"));
        // The first run makes what all later ones find.
        self.drop_days(0..1, 1);
        self.site.expect(0, &["run", "--once"]);
        self.expect("a start", self.run(), Done::default());
        let one = Done {
            batches: 1,
            files: 1,
            directories: 1,
            ..Done::default()
        };
        self.drop_days(0..1, 1);
        self.expect("a file", self.run(), one);
        self.drop_days(0..1, 50);
        self.drop_days(0..1, 50);
        let two = Done {
            batches: 2,
            files: 2,
            ..one
        };
        self.expect("two batches", self.run(), two);
        let five = Done {
            files: 5,
            directories: 5,
            ..one
        };
        self.drop_days(0..5, 2);
        let new_directories = 4;
        self.expect(
            "new directories",
            self.run(),
            Done {
                new_directories,
                ..five
            },
        );
        self.drop_days(0..5, 2);
        self.expect("five files", self.run(), five);
        let sink = format!("{SINK}marker = \"_SUCCESS\"\n{ROLL}");
        self.configure(&sink);
        self.drop_days(0..5, 2);
        self.expect(
            "new markers",
            self.run(),
            Done {
                new_markers: 5,
                ..five
            },
        );
        self.drop_days(0..5, 2);
        self.expect("markers", self.run(), Done { markers: 5, ..five });
        self.site.expect_landed(&self.lake, 0..self.next);
    }

    /// One file of several parts or blocks, each of `length` and the last one of what is left.
    #[track_caller]
    fn holds_for_a_large_file(mut self, length: u64) {
        self.configure(
            "[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n",
        );
        self.next = self.site.drop_ids("small.ndjson", 0, 1);
        self.site.expect(0, &["run", "--once"]);
        self.next = self.site.drop_ids("large.ndjson", self.next, 300_000);
        let found = self.run();
        let largest = self.lake.list().into_values().max().expect("files");
        let pieces = largest.div_ceil(length);
        assert!(pieces > 2, "{largest} bytes");
        let done = Done {
            batches: 1,
            files: 1,
            further: u32::try_from(pieces - 1).expect("few"),
            directories: 1,
            ..Done::default()
        };
        self.expect("a large file", found, done);
        self.site.expect_landed(&self.lake, 0..self.next);
    }
}

const S3_BUDGET: Budget = Budget {
    start: &[
        ("ListObjectsV2", 3),
        ("PutObject", 2),
        ("HeadObject", 1),
        ("GetObject", 1),
        ("DeleteObject", 1),
        ("CreateMultipartUpload", 1),
        ("UploadPart", 1),
        ("CompleteMultipartUpload", 1),
        ("AbortMultipartUpload", 1),
    ],
    batch: &[("PutObject", 1)],
    file: &[("PutObject", 1)],
    further: &[],
    directory: &[],
    new_directory: &[],
    marker: &[("PutObject", 1)],
    new_marker: &[("PutObject", 1)],
};

const MULTIPART_BUDGET: Budget = Budget {
    file: &[
        ("CreateMultipartUpload", 1),
        ("UploadPart", 1),
        ("CompleteMultipartUpload", 1),
    ],
    further: &[("UploadPart", 1)],
    ..S3_BUDGET
};

/// As every small file and every data file is written.
const WRITE: Costs = &[
    ("create", 1),
    ("addBlock", 1),
    ("fsync", 1),
    ("complete", 1),
    ("getFileInfo", 1),
    ("rename2", 1),
];

const HDFS_BUDGET: Budget = Budget {
    start: &[
        ("getListing", 4),
        ("getServerDefaults", 2),
        ("create", 2),
        ("addBlock", 1),
        ("fsync", 1),
        ("complete", 2),
        ("getFileInfo", 6),
        ("getBlockLocations", 2),
        ("rename2", 2),
        ("delete", 2),
    ],
    batch: WRITE,
    file: WRITE,
    further: &[("addBlock", 1), ("fsync", 1)],
    directory: &[],
    new_directory: &[("create", 1), ("mkdirs", 1)],
    marker: &[("getFileInfo", 1)],
    new_marker: &[
        ("create", 1),
        ("addBlock", 1),
        ("fsync", 1),
        ("complete", 1),
        ("getFileInfo", 2),
        ("rename2", 1),
    ],
};

/// The first file written tells how long a block is, where nobody else does.
const BLOCKS_BUDGET: Budget = Budget {
    start: &[
        ("getListing", 4),
        ("getServerDefaults", 2),
        ("create", 2),
        ("addBlock", 1),
        ("fsync", 1),
        ("complete", 2),
        ("getFileInfo", 5),
        ("getBlockLocations", 2),
        ("rename2", 2),
        ("delete", 2),
    ],
    ..HDFS_BUDGET
};

const WEB_WRITE: Costs = &[
    ("CREATE", 1),
    ("CREATE at a DataNode", 1),
    ("GETFILESTATUS", 1),
    ("RENAME", 1),
];

const WEB_BUDGET: Budget = Budget {
    start: &[
        ("LISTSTATUS", 4),
        ("MKDIRS", 1),
        ("CREATE", 2),
        ("CREATE at a DataNode", 2),
        ("GETFILESTATUS", 5),
        ("OPEN", 2),
        ("OPEN at a DataNode", 2),
        ("RENAME", 2),
        ("DELETE", 2),
    ],
    batch: WEB_WRITE,
    file: WEB_WRITE,
    further: &[],
    directory: &[("MKDIRS", 1)],
    new_directory: &[],
    marker: &[("GETFILESTATUS", 1)],
    new_marker: &[
        ("CREATE", 1),
        ("CREATE at a DataNode", 1),
        ("GETFILESTATUS", 2),
        ("RENAME", 1),
    ],
};

fn on_s3(test: &str, budget: Budget) -> Option<Trial> {
    let s3 = S3::named("MINIO", test)?;
    let proxy = Proxy::start(&runtime(), &s3.endpoint);
    let mut behind = s3.clone();
    behind.endpoint = proxy.endpoint();
    let operations = Box::new(move || proxy.operations());
    let lake = LakeAt::S3(s3);
    Some(Trial::new(budget, &behind.toml(), lake, operations))
}

fn on_hdfs(name: &str, test: &str, budget: Budget, more: &str) -> Option<Trial> {
    let hdfs = Hdfs::named(name, test)?;
    let wire = Wire::start(hdfs.url());
    let toml = hdfs.toml().replace(hdfs.url(), &wire.name_node());
    let toml = format!("{toml}{more}");
    let operations = Box::new(move || wire.operations());
    let lake = LakeAt::Hdfs(hdfs);
    Some(Trial::new(budget, &toml, lake, operations))
}

fn on_webhdfs(name: &str, test: &str) -> Option<Trial> {
    let hdfs = Hdfs::named(name, test)?;
    let proxy = Proxy::start(&runtime(), hdfs.endpoint());
    let toml = hdfs.web_toml();
    let toml = toml.replace(hdfs.endpoint(), &proxy.endpoint());
    let operations = Box::new(move || proxy.operations());
    let lake = LakeAt::Hdfs(hdfs);
    Some(Trial::new(WEB_BUDGET, &toml, lake, operations))
}

#[test]
fn requests_to_s3_stay_within_the_budget() {
    if let Some(trial) = on_s3("budget", S3_BUDGET) {
        trial.holds();
    }
}

#[test]
fn parts_to_s3_stay_within_the_budget() {
    if let Some(trial) = on_s3("budget-large", MULTIPART_BUDGET) {
        trial.holds_for_a_large_file(8 << 20);
    }
}

#[test]
fn calls_to_hdfs_stay_within_the_budget() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        if let Some(trial) = on_hdfs(name, "budget", HDFS_BUDGET, "") {
            trial.holds();
        }
    }
}

#[test]
fn blocks_on_hdfs_stay_within_the_budget() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        let more = "block_size = \"8MiB\"\n";
        if let Some(trial) = on_hdfs(name, "budget-large", BLOCKS_BUDGET, more) {
            trial.holds_for_a_large_file(8 << 20);
        }
    }
}

#[test]
fn requests_to_webhdfs_stay_within_the_budget() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        if let Some(trial) = on_webhdfs(name, "budget-web") {
            trial.holds();
        }
    }
}
