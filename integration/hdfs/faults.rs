//! NameNodes and DataNodes that are killed, safe mode, quotas, rights: each on a cluster of the test's own, and each
//! ends with the fault gone and everything landed once.

use std::process::Child;
use std::time::Duration;

use super::server::{Hdfs, Node};
use super::whole::nothing_left;
use crate::means::{stderr, terminate, wait_until};
use crate::support::{LakeAt, SMALL_BATCHES, Site};

/// Plain text in one file of many small blocks, so that a write takes its time.
pub const ONE_LARGE_FILE: &str = "[pipeline.schema]\nmode = \"columns\"\ncolumns = { id = \"bigint\", day = \"string\", note = \"string\" }\n[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n[pipeline.sink.roll]\nbytes = 0\n";

pub struct Trial {
    pub site: Site,
    lake: LakeAt,
    next: i64,
}

impl Trial {
    fn new(hdfs: Hdfs, more_lake: &str, more: &str) -> Self {
        let toml = format!("{}{more_lake}", hdfs.toml());
        Self::with_toml(hdfs, &toml, more)
    }

    pub fn with_toml(hdfs: Hdfs, toml: &str, more: &str) -> Self {
        Self {
            site: Site::with_lake(toml, "", more),
            lake: LakeAt::Hdfs(hdfs),
            next: 0,
        }
    }

    pub fn hdfs(&self) -> &Hdfs {
        let LakeAt::Hdfs(hdfs) = &self.lake else {
            unreachable!()
        };
        hdfs
    }

    pub fn drop_files(&mut self, files: usize, records: i64) {
        for _ in 0..files {
            let name = format!("f{}.ndjson", self.next);
            self.next = self.site.drop_ids(&name, self.next, records);
        }
    }

    pub fn all_landed(&self) {
        self.site.expect(0, &["run", "--once"]);
        self.site.expect_landed(&self.lake, 0..self.next);
        nothing_left(self.hdfs());
    }

    /// Waits until a temporary file has blocks: its writer is in the middle.
    pub fn wait_for_a_write(&self) {
        wait_until("a file is being written", || {
            let found = self.hdfs().list();
            found
                .iter()
                .any(|(path, length)| path.starts_with("p/.") && *length > 2 << 20)
        });
    }

    pub fn run_once(&self) -> Child {
        self.site.spawn(&["run", "--once"], &[])
    }

    pub fn ends_well(&self, agent: &mut Child) {
        let mut code = None;
        wait_long_until("the run ends", || {
            code = agent.try_wait().unwrap();
            code.is_some()
        });
        let code = code.and_then(|status| status.code());
        assert_eq!(code, Some(0), "{}", self.site.log());
    }
}

fn wait_long_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..420 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("waited 7 minutes in vain until {what}");
}

/// Waits until the log says one of these.
pub fn wait_for_words(site: &Site, words: &[&str]) {
    wait_until(&format!("the log says {words:?}"), || {
        let log = site.log();
        words.iter().any(|word| log.contains(word))
    });
}

fn name_node_killed_in_mid_write(name: &str) {
    let Some(hdfs) = Hdfs::own(name, "mid-write") else {
        return;
    };
    let mut trial = Trial::new(hdfs, "block_size = \"1MiB\"\n", ONE_LARGE_FILE);
    trial.drop_files(1, 1_500_000);
    for _ in 0..2 {
        let mut agent = trial.run_once();
        trial.wait_for_a_write();
        trial.hdfs().kill(Node::Name);
        std::thread::sleep(Duration::from_secs(4));
        trial.hdfs().start(Node::Name);
        trial.ends_well(&mut agent);
        trial.drop_files(1, 1_500_000);
    }
    trial.all_landed();
}

#[test]
fn the_oldest_name_node_killed_in_mid_write_loses_nothing() {
    name_node_killed_in_mid_write("HDFS_OLD");
}

#[test]
fn the_newest_name_node_killed_in_mid_write_loses_nothing() {
    name_node_killed_in_mid_write("HDFS_NEW");
}

#[test]
fn a_data_node_killed_in_mid_write_loses_nothing() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        let Some(hdfs) = Hdfs::own(name, "data-node") else {
            continue;
        };
        let mut trial = Trial::new(hdfs, "block_size = \"1MiB\"\n", ONE_LARGE_FILE);
        trial.drop_files(1, 1_500_000);
        let mut agent = trial.run_once();
        trial.wait_for_a_write();
        trial.hdfs().kill(Node::Data);
        std::thread::sleep(Duration::from_secs(4));
        trial.hdfs().start(Node::Data);
        trial.ends_well(&mut agent);
        trial.all_landed();
    }
}

#[test]
fn a_name_node_killed_between_land_and_commit_loses_nothing() {
    let Some(hdfs) = Hdfs::own("HDFS_OLD", "commit") else {
        return;
    };
    let mut trial = Trial::new(hdfs, "", SMALL_BATCHES);
    for place in ["after_land", "before_commit"] {
        trial.drop_files(3, 300);
        assert!(trial.site.killed_at(place, 1));
        trial.hdfs().kill(Node::Name);
        // Away for longer than somebody who waits for an answer is made to wait.
        let away = trial
            .site
            .expect(75, &["run", "--once", "--deadline", "5s"]);
        let said = stderr(&away);
        let words = ["nothing listens at 127.0.0.1:", "no answer from HDFS yet"];
        assert!(words.iter().any(|words| said.contains(words)), "{said}");
        trial.hdfs().start(Node::Name);
        trial.site.expect(0, &["run", "--once"]);
    }
    trial.all_landed();
}

#[test]
fn safe_mode_is_waited_for() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        let Some(hdfs) = Hdfs::own(name, "safe-mode") else {
            continue;
        };
        let mut trial = Trial::new(hdfs, "", SMALL_BATCHES);
        trial.drop_files(3, 300);
        let mut agent = trial.site.spawn(&["run"], &[]);
        wait_for_words(&trial.site, &[" committed "]);
        let said = trial.hdfs().client(&["dfsadmin", "-safemode", "enter"]);
        assert!(said.contains("ON"), "{said}");
        trial.drop_files(3, 300);
        wait_for_words(&trial.site, &["safe mode"]);
        let said = trial.hdfs().client(&["dfsadmin", "-safemode", "leave"]);
        assert!(said.contains("OFF"), "{said}");
        wait_until("all of it landed", || {
            trial.site.expect_json(0, &["status", "--json"])["pipelines"][0]["backlog_files"] == 0
        });
        assert_eq!(terminate(&mut agent), Some(0), "{}", trial.site.log());
        trial.all_landed();
    }
}

#[test]
fn quotas_and_rights_end_a_run_and_the_next_one_lands_all() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        let Some(hdfs) = Hdfs::own(name, "quota") else {
            continue;
        };
        let root = hdfs.root.clone();
        let mut trial = Trial::new(hdfs, "", SMALL_BATCHES);
        trial.drop_files(2, 300);
        trial.site.expect(0, &["run", "--once"]);
        let stops = |trial: &Trial, words: &[&str]| {
            let said = stderr(&trial.site.expect(4, &["run", "--once"]));
            for word in words {
                assert!(said.contains(word), "{said}");
            }
            let said = stderr(&trial.site.expect(4, &["run", "--once"]));
            assert!(said.contains(words[0]), "again: {said}");
        };
        // Names.
        trial
            .hdfs()
            .client(&["dfsadmin", "-setQuota", "1", &format!("{root}/p")]);
        trial.drop_files(2, 300);
        stops(&trial, &["NSQuotaExceededException", "raise its quota"]);
        trial
            .hdfs()
            .client(&["dfsadmin", "-clrQuota", &format!("{root}/p")]);
        trial.site.expect(0, &["run", "--once"]);
        // Space.
        let space = format!("{root}/p");
        trial
            .hdfs()
            .client(&["dfsadmin", "-setSpaceQuota", "1", &space]);
        trial.drop_files(2, 300);
        stops(&trial, &["DSQuotaExceededException", "raise its quota"]);
        trial.hdfs().client(&["dfsadmin", "-clrSpaceQuota", &space]);
        trial.site.expect(0, &["run", "--once"]);
        trial.all_landed();
    }
}

/// The superuser may do anything, so this agent is somebody else.
#[test]
fn rights_taken_away_end_a_run_and_given_back_the_next_one_lands_all() {
    for name in ["HDFS_OLD", "HDFS_NEW"] {
        let Some(hdfs) = Hdfs::named(name, "rights-given") else {
            continue;
        };
        let root = hdfs.root.clone();
        let toml = hdfs
            .toml()
            .replace(&format!("user = \"{}\"", hdfs.user()), "user = \"ingest\"");
        let own = |hdfs: &Hdfs, owner: &str| {
            hdfs.web("PUT", &root, "SETOWNER", &format!("&owner={owner}"));
        };
        own(&hdfs, "ingest");
        let mut trial = Trial::new(hdfs, "", SMALL_BATCHES);
        trial.site.configure(&toml, "", SMALL_BATCHES);
        trial.drop_files(2, 300);
        trial.site.expect(0, &["run", "--once"]);
        assert_eq!(trial.hdfs().status("p")["owner"], "ingest");
        trial.hdfs().web(
            "PUT",
            &format!("{root}/p"),
            "SETPERMISSION",
            "&permission=555",
        );
        trial.drop_files(1, 300);
        // Into partitions that are new, whose directories may not be made.
        let name = "g.ndjson";
        let text = crate::support::ids_text(trial.next, 10).replace("2026-10", "2027-01");
        trial.site.drop_file(name, text.as_bytes());
        trial.next += 10;
        let said = stderr(&trial.site.expect(4, &["run", "--once"]));
        for word in ["user=ingest", "-chmod", "/p"] {
            assert!(said.contains(word), "{said}");
        }
        trial.hdfs().web(
            "PUT",
            &format!("{root}/p"),
            "SETPERMISSION",
            "&permission=755",
        );
        trial.all_landed();
    }
}
