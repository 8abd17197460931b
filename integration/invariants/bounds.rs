//! I10 to I12: when to stop, how much to hold, and who may work here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use super::{
    COLUMNS, Ended, Trial, Verdict, batch_per_segment, holds_and_can_fail, once, small_batches,
};
use crate::support::ids_text;

/// The check of I10: a file that changed is set aside whole, with both states of it in the reason.
fn set_aside(trial: &Trial, name: &str, words: &[String]) -> Verdict {
    let file = trial.file(name);
    if file["state"] != "quarantined" {
        return Err(format!("I10: `{name}` changed and is {}", file["state"]));
    }
    let reason = file["reason"].as_str().unwrap_or_default();
    if let Some(missing) = words.iter().find(|word| !reason.contains(*word)) {
        return Err(format!("I10: `{name}`: {reason:?} does not say {missing}"));
    }
    if !trial
        .site
        .path(&format!("spool/.quarantine/{name}"))
        .exists()
    {
        return Err(format!("I10: `{name}` does not stand in quarantine"));
    }
    Ok(())
}

#[test]
fn i10_a_file_that_changed_before_it_was_retired_is_quarantined() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            trial.drop_small_files(2);
            trial.killed_at("before_retire:1");
            let path = trial.site.path("spool/f0.ndjson");
            let before = fs::metadata(&path).expect("it stands").len();
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .expect("a producer goes on");
            file.write_all(ids_text(9_000, 10).as_bytes())
                .expect("written");
            let after = fs::metadata(&path).expect("it stands").len();
            let ended = trial.run();
            set_aside(
                &trial,
                "f0.ndjson",
                &[
                    format!("{before} bytes"),
                    format!("{after} bytes"),
                    "fingerprint".into(),
                ],
            )?;
            if ended != Ended::With(3) {
                return Err(format!("I10: it ended with {ended:?}"));
            }
            once(&trial, &(0..600))
        },
        &[("i1-retire-by-path", "changed and is \"retired\"")],
    );
}

/// Other bytes under what was journaled, and a time that tells nothing: only the digest does.
#[test]
fn i10_a_file_that_changed_under_its_checkpoint_is_quarantined() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &batch_per_segment());
            trial.drop_large_file(11_000);
            trial.killed_at("before_commit:1");
            let path = trial.site.path("spool/large.ndjson");
            let modified = fs::metadata(&path)
                .and_then(|found| found.modified())
                .expect("a time");
            let file = fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .expect("it can be written");
            std::os::unix::fs::FileExt::write_at(&file, b"N", 500).expect("written");
            file.set_modified(modified).expect("a time");
            trial.run();
            set_aside(&trial, "large.ndjson", &["digest".into()])
        },
        &[("i10-digests-not-compared", "changed and is \"retired\"")],
    );
}

/// What cannot be right stops its pipeline and no other: `q` goes on landing after `p` has met a conflict.
#[test]
fn i10_a_conflict_stops_its_own_pipeline_only() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(
                variant,
                "retire = \"keep\"\n[pipeline.sink]\npath = \"p\"\n",
            );
            let config = trial.site.path("lakeward.toml");
            let mut text = fs::read_to_string(&config).expect("a configuration");
            text.push_str("[[pipeline]]\nname = \"q\"\n[pipeline.source]\npath = \"spool_q\"\nready_after = \"0s\"\npoll = \"50ms\"\n[pipeline.sink]\npath = \"q\"\n[pipeline.sink.roll]\nage = \"100ms\"\n");
            fs::write(&config, text).expect("a configuration");
            fs::create_dir(trial.site.path("spool_q")).expect("a spool");
            // A claim that is none: nobody can tell whose this spool is.
            fs::write(trial.site.path("spool/.lakeward-claim.json"), "{}").expect("written");
            let mut agent = trial.spawn(&["run"], "");
            until(&trial, "p halts", || trial.site.log().contains("halted"));
            // Who has just been told to stop may still take a file that is there already: the second one counts.
            let verdict = [(1, 0), (2, 10)].into_iter().try_for_each(|(files, id)| {
                let path = trial.site.path(&format!("spool_q/{files}.ndjson"));
                fs::write(path, ids_text(id, 10)).expect("a file of the other");
                lands_in_q(&trial, &mut agent, files)
            });
            let _ended = agent.kill();
            agent.wait().expect("it ends");
            verdict
        },
        &[("i10-one-halt-stops-all", "stopped too")],
    );
}

/// `q` has landed so many files before the agent ends.
fn lands_in_q(trial: &Trial, agent: &mut Child, files: usize) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let lake = trial.site.lake().visible();
        if lake.iter().filter(|path| path.starts_with("q/")).count() >= files {
            return Ok(());
        }
        if let Some(status) = agent.try_wait().expect("it can be asked") {
            return Err(format!("I10: the other pipeline stopped too: {status}"));
        }
        if start.elapsed() > Duration::from_secs(20) {
            return Err("I10: the other pipeline lands nothing".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn until(trial: &Trial, what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not in time: {what}\n{}",
            trial.site.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The most that a process was seen to hold.
#[derive(Debug, Default)]
struct Peak {
    memory: u64,
    handles: usize,
    staging: u64,
}

fn watch(trial: &Trial, mut child: Child) -> Peak {
    let mut peak = Peak::default();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    while child.try_wait().expect("it can be asked").is_none() {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kibibytes =
            line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak.memory = peak.memory.max(kibibytes.unwrap_or(0) << 10);
        let handles = fs::read_dir(process.join("fd")).map_or(0, Iterator::count);
        peak.handles = peak.handles.max(handles);
        let staged = trial
            .staged_copies()
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|found| found.len())
            .sum();
        peak.staging = peak.staging.max(staged);
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{peak:?}");
    peak
}

const MIB: u64 = 1 << 20;

/// What the program may need beside its budget.
const BESIDE: u64 = 64 * MIB;

/// The check of I11: memory, handles and staging are under bounds that no input moves.
fn bounded(peak: &Peak, memory: u64, staging: u64) -> Verdict {
    if peak.memory > memory + BESIDE {
        return Err(format!(
            "I11: {} MiB of memory, the budget is {} MiB",
            peak.memory / MIB,
            memory / MIB
        ));
    }
    if peak.handles > 300 {
        return Err(format!("I11: {} open files", peak.handles));
    }
    // Space is looked at once a second, and two batches may wait to land: what is written meanwhile comes on top.
    if peak.staging > staging + 64 * MIB {
        return Err(format!(
            "I11: {} MiB in staging, the bound is {} MiB",
            peak.staging / MIB,
            staging / MIB
        ));
    }
    Ok(())
}

#[test]
fn i11_memory_is_bounded_whatever_the_size_of_a_file() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, "");
            let memory = 32 * MIB;
            // A sink that is slower than the source, so that a channel without bound holds most of the file.
            trial.site.configure(
                "type = \"fs\"\nroot = \"lake\"\n",
                "memory = \"32MiB\"\nlanes = 1\n",
                &format!("{COLUMNS}[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"gzip\"\n"),
            );
            trial.drop_large_file(400_000);
            bounded(
                &watch(&trial, trial.spawn(&["run", "--once"], "")),
                memory,
                16 * MIB,
            )
        },
        &[("i11-channel-without-bound", "of memory")],
    );
}

#[test]
fn i11_open_files_are_bounded_whatever_the_partitions() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, "");
            trial.site.configure(
                "type = \"fs\"\nroot = \"lake\"\n",
                "memory = \"64MiB\"\nlanes = 1\n",
                &format!("{COLUMNS}[pipeline.sink]\npath = \"p/part={{day}}\"\n"),
            );
            let note = "n".repeat(3000);
            let mut text = String::new();
            for id in 0..12_000 {
                let day = id % 500;
                text += &format!("{{\"id\":{id},\"day\":\"d{day}\",\"note\":\"{note}\"}}\n");
            }
            trial.site.drop_file("a.ndjson", text.as_bytes());
            bounded(
                &watch(&trial, trial.spawn(&["run", "--once"], "")),
                64 * MIB,
                16 * MIB,
            )
        },
        &[("i11-handles-kept-open", "open files")],
    );
}

/// Nothing is compressed, and by itself the batch would not end.
#[test]
fn i11_staging_is_bounded_whatever_the_backlog() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, "");
            trial.site.configure(
                "type = \"fs\"\nroot = \"lake\"\n",
                "staging_bytes_max = \"4MiB\"\nlanes = 1\n",
                &format!("{COLUMNS}[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n"),
            );
            trial.drop_large_file(200_000);
            bounded(
                &watch(&trial, trial.spawn(&["run", "--once"], "")),
                512 * MIB,
                4 * MIB,
            )
        },
        &[("i11-staging-without-bound", "in staging")],
    );
}

/// The check of I12 for a second agent: it is refused with this exit code, for this reason.
fn refused(output: &std::process::Output, code: i32, words: &str) -> Verdict {
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(code) && text.contains(words) {
        return Ok(());
    }
    Err(format!(
        "I12: a second agent ended with {:?} and was not refused with {code} ({words}): {text}",
        output.status.code()
    ))
}

/// A live agent, and what a second one, started beside it, is told.
fn beside(trial: &Trial, second: impl FnOnce() -> std::process::Output) -> std::process::Output {
    let mut agent = trial.spawn(&["run"], "");
    until(trial, "the first agent lands", || {
        !trial.site.lake().visible().is_empty()
    });
    let output = second();
    agent.kill().expect("kill -9");
    agent.wait().expect("it ends");
    output
}

impl Trial {
    /// The same program with another configuration, as a second agent.
    fn second(&self, config: &str) -> std::process::Output {
        fs::write(self.site.path("second.toml"), config).expect("a configuration");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lakeward"));
        command
            .current_dir(self.site.path(""))
            .env("LAKEWARD_BROKEN", &self.variant);
        command.args([
            "--config",
            "second.toml",
            "--color",
            "never",
            "run",
            "--once",
        ]);
        command.output().expect("the program starts")
    }
}

/// Batches of any age end soon, so that a daemon lands what it has.
fn soon() -> String {
    format!("{COLUMNS}[pipeline.sink]\npath = \"p\"\n[pipeline.sink.roll]\nage = \"50ms\"\n")
}

/// A lake of its own, with the same manifests, so that staging is another directory.
fn elsewhere(trial: &Trial, config: &str) -> String {
    let lakes = ["lake", "lake2"].map(|lake| trial.site.path(lake));
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args(&lakes)
        .status();
    assert!(copied.expect("cp starts").success(), "a copy of the lake");
    config.replace("\"lake\"", "\"lake2\"")
}

/// Another spool and another pipeline: only the journal is shared.
#[test]
fn i12_a_journal_has_one_agent() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &soon());
            trial.drop_small_files(1);
            fs::create_dir(trial.site.path("spool2")).expect("a spool");
            let config = trial
                .config()
                .replace("\"spool\"", "\"spool2\"")
                .replace("name = \"p\"", "name = \"q\"")
                .replace("\"lake\"", "\"lake2\"");
            let output = beside(&trial, || trial.second(&config));
            refused(&output, 5, "journal")
        },
        &[("i12-journal-not-locked", "was not refused")],
    );
}

/// A copy of the journal has the same id, so the claim lets it pass: only the spool's lock does not.
#[test]
fn i12_a_spool_has_one_agent() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &soon());
            trial.drop_small_files(1);
            assert_eq!(trial.run(), Ended::With(0), "{}", trial.site.log());
            copy_files(&trial.site.path("var"), &trial.site.path("var2"));
            let config = trial.config().replace("\"var\"", "\"var2\"");
            let config = elsewhere(&trial, &config);
            let output = beside(&trial, || {
                until(&trial, "the first agent has the spool", || {
                    trial.site.log().matches("started").count() >= 2
                });
                trial.second(&config)
            });
            refused(&output, 5, "spool")
        },
        &[("i12-spool-not-locked", "was not refused")],
    );
}

/// A copy of the journal has the same id, and on one local lake the same staging directory. Another spool and another pipeline:
/// nothing else is shared.
#[test]
fn i12_a_staging_directory_has_one_process() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &soon());
            trial.drop_small_files(1);
            assert_eq!(trial.run(), Ended::With(0), "{}", trial.site.log());
            copy_files(&trial.site.path("var"), &trial.site.path("var2"));
            fs::create_dir(trial.site.path("spool2")).expect("a spool");
            let config = trial.config().replace("\"spool\"", "\"spool2\"");
            let config = config
                .replace("name = \"p\"", "name = \"q\"")
                .replace("\"var\"", "\"var2\"");
            let output = beside(&trial, || {
                until(&trial, "the first agent has staging", || {
                    trial.site.log().matches("started").count() >= 2
                });
                trial.second(&config)
            });
            refused(&output, 5, "staging")
        },
        &[("i12-staging-not-locked", "was not refused")],
    );
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

/// Another journal over a spool whose files are landed and not yet committed would land them again.
#[test]
fn i12_a_spool_has_one_journal() {
    holds_and_can_fail(
        |variant| {
            let trial = Trial::new(variant, &small_batches());
            let wanted = trial.drop_small_files(2);
            trial.killed_at("before_commit:1");
            let output = trial.second(&trial.config().replace("\"var\"", "\"var2\""));
            trial.run();
            once(&trial, &wanted).map_err(|violation| format!("I12: {violation}"))?;
            refused(&output, 4, "lakeward adopt p")
        },
        &[("i12-claim-not-compared", "landed twice")],
    );
}
