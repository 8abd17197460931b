//! Two NameNodes, one active: failed over, killed, frozen in the middle of a write.

use super::faults::{ONE_LARGE_FILE, Trial};
use super::server::{Hdfs, Node};
use crate::support::{SMALL_BATCHES, Site};

/// By hosts alone, without Hadoop's files.
fn by_hosts(hdfs: &Hdfs) -> String {
    let hosts: Vec<String> = hdfs
        .variable("_NAME_NODES")
        .split(',')
        .map(|host| format!("\"{host}\""))
        .collect();
    format!(
        "type = \"hdfs\"\nname_nodes = [{}]\nroot = \"{}\"\nuser = \"{}\"\nreplication = 1\n",
        hosts.join(", "),
        hdfs.root,
        hdfs.user()
    )
}

/// By the name service of Hadoop's files.
fn by_service(hdfs: &Hdfs) -> String {
    format!(
        "type = \"hdfs\"\nname_node = \"{}\"\nhadoop_conf_dir = \"{}\"\nroot = \"{}\"\nuser = \"{}\"\n",
        hdfs.url(),
        hdfs.variable("_CONF"),
        hdfs.root,
        hdfs.user()
    )
}

fn web(hdfs: &Hdfs) -> String {
    format!(
        "type = \"webhdfs\"\nendpoints = [\"{}\", \"{}\"]\nroot = \"{}\"\nuser = \"{}\"\n",
        hdfs.variable("_WEB"),
        hdfs.variable("_NAMENODE2_WEB"),
        hdfs.root,
        hdfs.user()
    )
}

#[test]
fn either_of_two_name_nodes_lands_all_whichever_is_active() {
    let Some(hdfs) = Hdfs::own("HDFS_HA", "pair") else {
        return;
    };
    let tomls = [by_hosts(&hdfs), by_service(&hdfs), web(&hdfs)];
    let mut trial = Trial::with_toml(hdfs, &tomls[0], SMALL_BATCHES);
    trial.drop_files(2, 300);
    trial.site.expect(0, &["run", "--once"]);
    trial.hdfs().fail_over(Node::Name2);
    trial.drop_files(2, 300);
    trial.all_landed();
    // The other ways to say the same, now that the first one is on standby.
    for toml in &tomls[1..] {
        let site = Site::with_lake(toml, "", SMALL_BATCHES);
        site.drop_ids("a.ndjson", 0, 10);
        site.expect(0, &["check"]);
    }
}

#[test]
fn the_active_name_node_killed_in_mid_write_loses_nothing() {
    let Some(hdfs) = Hdfs::own("HDFS_HA", "killed") else {
        return;
    };
    let toml = format!("{}block_size = \"1MiB\"\n", by_hosts(&hdfs));
    let mut trial = Trial::with_toml(hdfs, &toml, ONE_LARGE_FILE);
    trial.drop_files(1, 1_500_000);
    let mut agent = trial.run_once();
    trial.wait_for_a_write();
    trial.hdfs().kill(Node::Name);
    trial.hdfs().fail_over(Node::Name2);
    trial.ends_well(&mut agent);
    trial.all_landed();
}

/// One that hangs answers nothing and refuses nothing: it is given up, and the other one asked.
#[test]
fn a_frozen_name_node_is_given_up_for_the_other() {
    let Some(hdfs) = Hdfs::own("HDFS_HA", "frozen") else {
        return;
    };
    let toml = by_hosts(&hdfs);
    let mut trial = Trial::with_toml(hdfs, &toml, SMALL_BATCHES);
    trial.drop_files(2, 300);
    trial.site.expect(0, &["run", "--once"]);
    trial
        .hdfs()
        .signal(Node::Name, rustix::process::Signal::STOP);
    trial.hdfs().fail_over(Node::Name2);
    trial.drop_files(2, 300);
    let mut agent = trial.run_once();
    trial.ends_well(&mut agent);
    // DataNodes ask it too when somebody reads by HTTP, and would wait for it longer than that somebody.
    trial.hdfs().kill(Node::Name);
    trial.all_landed();
}
