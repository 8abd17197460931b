//! HDFS under Kerberos, with privacy on calls and blocks: keytab, ticket cache, tickets that run out, strangers.

use std::process::Command;
use std::time::Duration;

use super::server::Hdfs;
use crate::means::{stderr, terminate, wait_until};
use crate::support::{LakeAt, SMALL_BATCHES, Site};

struct Secured {
    site: Site,
    hdfs: Hdfs,
    cache: String,
}

impl Secured {
    fn new(test: &str, who: &str, more: &str) -> Option<Self> {
        let hdfs = Hdfs::named("HDFS_KERBEROS", test)?;
        let toml = format!(
            "type = \"hdfs\"\nname_node = \"{}\"\nhadoop_conf_dir = \"{}\"\nroot = \"{}\"\n{more}",
            hdfs.url(),
            hdfs.variable("_CONF"),
            hdfs.root
        );
        let toml = toml
            .replace("PRINCIPAL", hdfs.variable(&format!("{who}_PRINCIPAL")))
            .replace("KEYTAB", hdfs.variable(&format!("{who}_KEYTAB")));
        let more = format!("{SMALL_BATCHES}age = \"1s\"\n");
        let site = Site::with_lake(&toml, "", &more);
        let cache = format!("FILE:{}", site.path("cache").display());
        Some(Self { site, hdfs, cache })
    }

    fn environment(&self) -> [(&str, &str); 2] {
        let conf = self.hdfs.variable("_KRB5_CONF");
        [("KRB5_CONFIG", conf), ("KRB5CCNAME", &self.cache)]
    }

    #[track_caller]
    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self
            .site
            .command(arguments)
            .envs(self.environment())
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {said}");
        said
    }

    fn kinit(&self, who: &str) {
        let status = Command::new("kinit")
            .args(["-k", "-t", self.hdfs.variable(&format!("{who}_KEYTAB"))])
            .arg(self.hdfs.variable(&format!("{who}_PRINCIPAL")))
            .envs(self.environment())
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn landed(self, end: i64) {
        self.expect(0, &["run", "--once"]);
        self.expect(0, &["audit", "--deep"]);
        let wanted: Vec<i64> = (0..end).collect();
        assert_eq!(LakeAt::Hdfs(self.hdfs).ids(), wanted);
    }
}

const BY_KEYTAB: &str = "principal = \"PRINCIPAL\"\nkeytab = \"KEYTAB\"\n";

#[test]
fn with_a_keytab_all_lands() {
    let Some(secured) = Secured::new("keytab", "", BY_KEYTAB) else {
        return;
    };
    let end = secured.site.drop_ids("a.ndjson", 0, 300);
    secured.expect(0, &["check"]);
    secured.landed(end);
}

#[test]
fn with_the_ticket_of_kinit_all_lands_and_without_one_it_is_said() {
    let Some(secured) = Secured::new("ticket", "", "") else {
        return;
    };
    let end = secured.site.drop_ids("a.ndjson", 0, 300);
    let said = secured.expect(4, &["run", "--once"]);
    assert!(said.contains("kinit"), "{said}");
    secured.kinit("");
    secured.landed(end);
}

/// Tickets live 30 seconds: a daemon that runs for longer gets new ones from its keytab.
#[test]
fn a_run_that_outlives_its_tickets_goes_on() {
    let Some(secured) = Secured::new("outlived", "_SHORT", BY_KEYTAB) else {
        return;
    };
    let mut next = 0;
    let mut agent = secured.site.spawn(&["run"], &secured.environment());
    for round in 0..5 {
        next = secured
            .site
            .drop_ids(&format!("f{round}.ndjson"), next, 100);
        wait_until("it is committed", || {
            secured.site.log().matches(" committed ").count() > round
        });
        std::thread::sleep(Duration::from_secs(15));
    }
    assert_eq!(terminate(&mut agent), Some(0), "{}", secured.site.log());
    secured.landed(next);
}

#[test]
fn an_expired_ticket_and_a_stranger_are_told_what_to_do() {
    let Some(secured) = Secured::new("stranger", "_STRANGER", BY_KEYTAB) else {
        return;
    };
    secured.site.drop_ids("a.ndjson", 0, 10);
    let said = secured.expect(4, &["run", "--once"]);
    assert!(
        said.contains("user=stranger") && said.contains("-chmod"),
        "{said}"
    );
    let Some(secured) = Secured::new("expired", "", "") else {
        return;
    };
    secured.kinit("_SHORT");
    std::thread::sleep(Duration::from_secs(35));
    secured.site.drop_ids("a.ndjson", 0, 10);
    let said = secured.expect(4, &["run", "--once"]);
    assert!(said.contains("kinit"), "{said}");
}
