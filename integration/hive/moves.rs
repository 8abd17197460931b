//! What is changed in the configuration while partitions wait to be registered.

use super::{COLUMNS, Gate, Hive, fresh, metastore, more, rustix_kill, wait};
use crate::support::Site;
use lakeward::catalog::Catalog;

/// A pipeline of which everything has landed and nothing is registered, and the gate to its metastore, shut.
fn waiting(name: &str) -> Option<(Hive, Gate)> {
    let metastore = metastore()?;
    let gate = Gate::new(&metastore, false);
    let hive = Hive::through(
        &metastore,
        &gate.address(),
        name,
        COLUMNS,
        "create = true\n",
    );
    // Enough for a batch.
    hive.site.drop_ids("a.ndjson", 0, 600);
    let mut agent = hive.site.spawn(&["run"], &[]);
    let retired = hive.site.path("spool/a.ndjson.COMPLETED");
    wait(&hive.site, "it is landed and retired", || {
        retired.exists() && hive.waiting() > 0
    });
    rustix_kill(agent.id(), "TERM");
    assert_eq!(agent.wait().expect("it ends").code(), Some(0));
    Some((hive, gate))
}

impl Hive {
    fn configuration(&self) -> String {
        std::fs::read_to_string(self.site.path("lakeward.toml")).expect("a configuration")
    }

    /// Answers what was there before.
    fn change(&self, changes: &[(&str, &str)]) -> String {
        let before = self.configuration();
        let mut text = before.clone();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}: {text}");
            text = text.replace(from, to);
        }
        self.configure(&text);
        before
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.site.path("lakeward.toml"), text).expect("a configuration");
    }

    #[track_caller]
    fn run(&self, code: i32) -> String {
        let output = self.site.expect(code, &["run", "--once"]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn location(&self, day: &str) -> String {
        let found = self.catalog.partition(&[day.to_owned()]);
        found
            .expect("the metastore answers")
            .unwrap_or_else(|| panic!("`{day}` is not registered\n{}", self.site.log()))
    }
}

const OTHER_LAKE: [(&str, &str); 1] = [("root = \"lake\"", "root = \"pond\"")];

#[test]
fn a_lake_is_not_changed_while_partitions_wait() {
    let Some((hive, gate)) = waiting("moved") else {
        return;
    };
    gate.set_open(true);
    let before = hive.change(&OTHER_LAKE);
    let said = hive.run(4);
    for words in ["5 partitions in", "set the old lake again", "wait to be"] {
        assert!(said.contains(words), "{said}");
    }
    // Not even the table was made, whose location would be the new lake's.
    assert_eq!(hive.catalog.table().expect("the metastore answers"), None);
    hive.configure(&before);
    hive.run(0);
    hive.expect_registered();
    hive.change(&OTHER_LAKE);
    hive.site
        .drop_file("b.ndjson", b"{\"id\":600,\"day\":\"new\"}\n");
    hive.run(0);
    assert!(hive.location("new").ends_with("/pond/p/day=new"));
    assert!(
        hive.location("2026-10-01")
            .ends_with("/lake/p/day=2026-10-01")
    );
}

#[test]
fn where_nothing_is_registered_a_changed_lake_gives_up_what_waits() {
    let Some((hive, gate)) = waiting("given_up") else {
        return;
    };
    hive.change(&OTHER_LAKE);
    hive.change(&[("create = true", "create = true\nregister = false")]);
    let said = hive.run(0);
    assert!(said.contains("given up"), "{said}");
    assert_eq!(hive.waiting(), 0);
    gate.set_open(true);
    hive.change(&[("register = false", "register = true")]);
    hive.run(0);
    assert_eq!(hive.catalog.table().expect("the metastore answers"), None);
}

#[test]
fn a_changed_path_moves_no_partition_that_waits() {
    let Some((hive, gate)) = waiting("path") else {
        return;
    };
    gate.set_open(true);
    let before = hive.change(&[("p/day={day}", "p/day={day}/about={note}")]);
    let said = hive.run(4);
    for words in ["`p/day=2026-10-01`", "`day`, `about`", "`hive.table`"] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(hive.catalog.table().expect("the metastore answers"), None);
    hive.configure(&before);
    hive.change(&[("p/day={day}", "q/r/day={day}")]);
    hive.site
        .drop_file("b.ndjson", b"{\"id\":600,\"day\":\"new\"}\n");
    hive.run(0);
    assert!(hive.location("new").ends_with("/lake/q/r/day=new"));
    assert!(
        hive.location("2026-10-01")
            .ends_with("/lake/p/day=2026-10-01")
    );
    assert_eq!(hive.waiting(), 0);
}

/// As before a metastore that wants Kerberos: nobody listens there.
#[test]
fn without_registering_no_metastore_is_needed() {
    let keys = "register = false\n";
    let site = Site::local(&more(COLUMNS, "thrift://127.0.0.1:1", &fresh("off"), keys));
    let next = site.drop_ids("a.ndjson", 0, 100);
    let checked = site.expect(0, &["check"]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(text.contains("`hive.register` is false"), "{text}");
    site.expect_drained();
    site.expect_landed(&site.lake(), 0..next);
}
