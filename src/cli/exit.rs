//! The exit codes: what a caller (cron, systemd, Airflow) may conclude, in one place.

use std::process::ExitCode;

/// Of several pipelines the worst decides, see [`Exit::worst`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// All that was asked for is done.
    Done,
    /// A bug, or something nobody foresaw.
    Bug,
    /// The command line or the configuration is wrong; nothing was started.
    Usage,
    /// Done, but whole files were quarantined.
    Quarantined,
    /// The lake, the spool or the journal failed for good, a conflict, or rejects beyond `rejects_max`. Running again is
    /// safe, but somebody has to look first.
    Stopped,
    /// A live agent holds the lock of this journal or this spool.
    Locked,
    /// A passing fault outlasted its retries, or the deadline or a signal came first: run again.
    NotDone,
}

impl Exit {
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Quarantined => 3,
            Self::Stopped => 4,
            Self::Locked => 5,
            Self::NotDone => 75,
        }
    }

    /// The worse of two, in the order 1, 4, 5, 75, 3, 0. `Usage` stops everything before the start, so it is above all.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if other.severity() > self.severity() {
            other
        } else {
            self
        }
    }

    fn severity(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Quarantined => 1,
            Self::NotDone => 2,
            Self::Locked => 3,
            Self::Stopped => 4,
            Self::Bug => 5,
            Self::Usage => 6,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that knows the code to exit with; for commands that find out early why they cannot go on.
#[derive(Clone, Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_pipelines_decides() {
        let from_worst = [
            Exit::Usage,
            Exit::Bug,
            Exit::Stopped,
            Exit::Locked,
            Exit::NotDone,
            Exit::Quarantined,
            Exit::Done,
        ];
        assert_eq!(from_worst.map(Exit::code), [2, 1, 4, 5, 75, 3, 0]);
        for (place, worse) in from_worst.iter().enumerate() {
            for better in &from_worst[place..] {
                assert_eq!(worse.worst(*better), *worse);
                assert_eq!(better.worst(*worse), *worse);
            }
        }
    }
}
