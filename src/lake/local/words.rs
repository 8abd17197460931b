//! What the system's errors mean for a lake on a local disk, and what to do about them.

use std::io;

use rustix::io::Errno;

use crate::lake::{ErrorClass, LakeError};

/// A [`LakeError`] out of an I/O error. `io::Error`s that carry no number keep their own text.
pub(super) fn error(operation: &'static str, path: &str, error: &io::Error) -> LakeError {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    let Some(number) = number else {
        return LakeError::new(ErrorClass::Permanent, operation, path, error.to_string());
    };
    let (class, advice) = meaning(number);
    let message = match advice {
        "" => plain(error),
        advice => format!("{}: {advice}", plain(error)),
    };
    LakeError::new(class, operation, path, message)
}

/// Class and advice for an error number.
fn meaning(number: Errno) -> (ErrorClass, &'static str) {
    use ErrorClass::{Permanent, Transient};
    match number {
        Errno::NOSPC => (
            Transient,
            "the disk is full, or out of inodes: free some space",
        ),
        Errno::DQUOT => (Transient, "disk full: the quota of this user is used up"),
        Errno::MFILE | Errno::NFILE => (
            Transient,
            "too many open files: raise the limit (`ulimit -n`, LimitNOFILE)",
        ),
        Errno::INTR
        | Errno::AGAIN
        | Errno::BUSY
        | Errno::NOMEM
        | Errno::STALE
        | Errno::TIMEDOUT
        | Errno::HOSTDOWN
        | Errno::NOLCK => (Transient, ""),
        Errno::ACCESS | Errno::PERM => (
            Permanent,
            "this user may not do that here: give it read, write and search permission on the lake's directories",
        ),
        Errno::ROFS => (
            Permanent,
            "the file system is mounted read-only: after a fault of the disk, perhaps (see the kernel's log)",
        ),
        Errno::NOTDIR => (
            Permanent,
            "a part of this path is no directory (in `_lakeward` a symbolic link counts as none): move it away",
        ),
        Errno::LOOP => (
            Permanent,
            "a part of this path is a symbolic link, which is not followed here",
        ),
        Errno::NAMETOOLONG => (Permanent, "a name is limited to 255 bytes"),
        Errno::IO => (
            Permanent,
            "the disk failed: what was written may be lost, look at the kernel's log before going on",
        ),
        Errno::XDEV => (
            Permanent,
            "the lake's `_lakeward/staging` and this directory are on different file systems, and a file is only \
             renamed within one: no part of the lake may be a mount or a link to elsewhere",
        ),
        _ => (Permanent, ""),
    }
}

/// The system's text as lower-case words, without Rust's "(os error 13)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .split_once(" (os error")
        .map_or(text.as_str(), |(words, _)| words);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_may_pass_and_a_forbidden_one_does_not() {
        let full = error("land", "a/b", &Errno::NOSPC.into());
        assert_eq!(full.class, ErrorClass::Transient);
        assert!(full.message.contains("disk is full"), "{full}");
        assert!(
            error("land", "a", &Errno::DQUOT.into())
                .message
                .contains("disk full")
        );
        let denied = error("land", "a/b", &Errno::ACCESS.into());
        assert_eq!(denied.class, ErrorClass::Permanent);
        assert!(
            denied
                .to_string()
                .starts_with("land `a/b`: permission denied: "),
            "{denied}"
        );
        for number in [Errno::ROFS, Errno::NOTDIR, Errno::IO, Errno::XDEV] {
            assert_eq!(
                error("land", "a", &number.into()).class,
                ErrorClass::Permanent
            );
        }
    }
}
