//! The program: started, frozen, thawed and killed from outside.

use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::ground::Ground;
use crate::means::command_behind;

/// Within this whatever waits in a round can be landed many times.
const PATIENCE: Duration = Duration::from_mins(3);

pub struct Agent {
    child: Child,
}

/// How a program that was to be frozen was found.
pub enum Found {
    Frozen,
    /// It had ended before, with this exit code.
    Ended(Option<i32>),
}

impl Agent {
    pub fn start(ground: &Ground, arguments: &[&str]) -> Self {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(ground.site.path("log"))
            .expect("a log");
        let child = command_behind(&ground.site, &ground.before, arguments)
            .envs(ground.environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Self { child }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// SIGSTOP, and back when all its threads stand still.
    pub fn freeze(&mut self) -> Found {
        self.signal(Signal::STOP);
        loop {
            match self.state() {
                Some('T') => return Found::Frozen,
                Some('Z') | None => {
                    let status = self.child.wait().expect("a child");
                    return Found::Ended(status.code());
                }
                _ => std::thread::yield_now(),
            }
        }
    }

    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    pub fn kill(mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }

    /// Its exit code. One that does not end is killed after long.
    pub fn wait(self) -> Option<i32> {
        self.wait_for(PATIENCE)
    }

    pub fn wait_for(mut self, patience: Duration) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.ended() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        None
    }

    fn signal(&self, signal: Signal) {
        let _ended = kill_process(Pid::from_child(&self.child), signal);
    }

    /// As `/proc` says it; a process is `T` only when no thread of it runs any more.
    fn state(&self) -> Option<char> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let mut states = tasks.flatten().filter_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            stat.rsplit(')').next()?.trim_start().chars().next()
        });
        let first = states.next()?;
        let differs = states.find(|state| *state != 'T');
        Some(if first == 'T' {
            differs.unwrap_or('T')
        } else {
            first
        })
    }
}
