//! The program under `strace`: every call to the kernel but those that can neither change a file nor say where the next write
//! goes, taken apart.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Calls that change no file, make none durable and give out no descriptor of a file. All others are recorded, and what is
/// recorded must be understood.
const HARMLESS: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "eventfd2",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "flock",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getrandom",
    "getrusage",
    "gettid",
    "getuid",
    "lstat",
    "madvise",
    "membarrier",
    "mprotect",
    "munmap",
    "nanosleep",
    "newfstatat",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "readlink",
    "readlinkat",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "socketpair",
    "stat",
    "statfs",
    "statx",
    "sysinfo",
    "tgkill",
    "timerfd_create",
    "uname",
];

/// The descriptor that stands for the directory in which the program was started.
pub const AT_CWD: i64 = -100;
const NEVER: i64 = -1;
/// No write is longer.
const STRING_BYTES_MAX: usize = 64 << 20;

/// Whether somebody said by hand that there is none.
pub fn is_left_out() -> bool {
    std::env::var("LAKEWARD_TEST_WITHOUT")
        .is_ok_and(|names| names.split(',').any(|name| name.trim() == "strace"))
}

/// A call that has ended.
#[derive(Debug)]
pub struct Call {
    /// Lines of the log.
    pub begin: usize,
    pub end: usize,
    pub name: String,
    arguments: String,
    /// Negative if it failed, or if the process ended before it did: then it is taken not to have worked, which shows in what
    /// the run left if it is wrong.
    pub result: i64,
    /// Of a descriptor that it gave out.
    pub result_path: Option<String>,
}

/// Runs a program, with its exit code and all that it asked of the kernel; `log` is written on the way.
pub fn record(plain: &Command, log: &Path) -> (Option<i32>, Result<Vec<Call>, String>) {
    let envs = plain
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let said = std::fs::File::create(log.with_extension("said")).expect("a file");
    let status = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-qq",
            "--seccomp-bpf",
            "-e",
            "signal=none",
            "-e",
            "raw=read",
            "-s",
        ])
        .arg(STRING_BYTES_MAX.to_string())
        // Those with a question mark need not exist on every machine.
        .args(["-e", &format!("trace=!?{}", HARMLESS.join(",?")), "-o"])
        .arg(log)
        .arg(plain.get_program())
        .args(plain.get_args())
        .envs(envs)
        .current_dir(plain.get_current_dir().expect("a directory"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .status()
        .expect("strace: install it, or set LAKEWARD_TEST_WITHOUT=strace");
    let text = std::fs::read_to_string(log).unwrap_or_default();
    (status.code(), parse(&text))
}

/// The calls of a record, in the order in which they ended.
pub fn parse(text: &str) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    let mut begun: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let (thread, said) = line.split_once(' ').ok_or_else(|| strange(line))?;
        let said = said.trim_start();
        if said.starts_with("+++ ") || said.starts_with("--- ") {
            continue;
        }
        if let Some(beginning) = said.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, (at, beginning));
        } else if let Some(resumed) = said.strip_prefix("<... ") {
            let (begin, beginning) = begun.remove(thread).ok_or_else(|| strange(line))?;
            let (_, ending) = resumed
                .split_once(" resumed>")
                .ok_or_else(|| strange(line))?;
            calls.push(Call::parse(begin, at, &format!("{beginning}{ending}"))?);
        } else {
            calls.push(Call::parse(at, at, said)?);
        }
    }
    // Whoever was still at it when the process ended.
    let lines = text.lines().count();
    for (begin, beginning) in begun.into_values() {
        calls.push(Call::parse(begin, lines, &format!("{beginning}) = ?"))?);
    }
    Ok(calls)
}

impl Call {
    fn parse(begin: usize, end: usize, text: &str) -> Result<Self, String> {
        let parts = || {
            let (call, result) = text.rsplit_once(" = ")?;
            let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
            let (number, path) = match result.split_once('<') {
                Some((number, path)) => (number, Some(path.strip_suffix('>')?)),
                None => (result.split(' ').next()?, None),
            };
            Some((name, arguments, number, path))
        };
        let (name, arguments, result, path) = parts().ok_or_else(|| strange(text))?;
        Ok(Self {
            begin,
            end,
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result: match result {
                "?" => NEVER,
                result => number(result).ok_or_else(|| strange(text))?,
            },
            result_path: path.map(ToOwned::to_owned),
        })
    }

    pub fn has_failed(&self) -> bool {
        self.result < 0
    }

    /// In short, for a person.
    pub fn words(&self) -> String {
        shortened(&format!(
            "{}({}) = {}",
            self.name, self.arguments, self.result
        ))
    }

    /// The arguments, split where a comma is not in a text, a path or brackets.
    pub fn arguments(&self) -> Vec<&str> {
        let text = self.arguments.as_str();
        let (mut found, mut from, mut depth) = (Vec::new(), 0, 0);
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' | b'[' | b'(' | b'<' => depth += 1,
                b'}' | b']' | b')' | b'>' => depth -= 1,
                b',' if depth == 0 => {
                    found.push(text[from..at].trim());
                    from = at + 1;
                }
                _ => {}
            }
        }
        found.push(text[from..].trim());
        found
    }

    pub fn argument(&self, at: usize) -> Result<&str, String> {
        self.arguments()
            .get(at)
            .copied()
            .ok_or_else(|| strange(&self.words()))
    }

    pub fn number(&self, at: usize) -> Result<i64, String> {
        number(self.argument(at)?).ok_or_else(|| strange(&self.words()))
    }

    /// A mode is octal.
    pub fn mode(&self, at: usize) -> Result<u32, String> {
        u32::from_str_radix(self.argument(at)?, 8).map_err(|_| strange(&self.words()))
    }

    /// A descriptor, and the path under which the kernel knows it: none for what has no name any more.
    pub fn descriptor(&self, at: usize) -> Result<(i64, Option<&str>), String> {
        let text = self.argument(at)?;
        let (number, path) = text.split_once('<').unwrap_or((text, ""));
        let number = match number {
            "AT_FDCWD" => Some(AT_CWD),
            number => self::number(number),
        };
        let number = number.ok_or_else(|| strange(&self.words()))?;
        Ok((
            number,
            path.strip_suffix('>').filter(|path| path.starts_with('/')),
        ))
    }

    /// A text or a path, with `strace`'s escapes undone.
    pub fn bytes(&self, at: usize) -> Result<Vec<u8>, String> {
        let quoted = self.argument(at)?;
        let text = quoted
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .ok_or_else(|| strange(&self.words()))?;
        unescaped(text.as_bytes()).ok_or_else(|| strange(&self.words()))
    }
}

/// `strace` writes what is not printable as C does, with no more octal digits than are needed.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        let digits = rest
            .iter()
            .take(3)
            .take_while(|byte| (b'0'..b'8').contains(*byte))
            .count();
        rest = if digits > 0 { &rest[digits..] } else { after };
        bytes.push(match kind {
            b'0'..b'8' => {
                let octal = &text[text.len() - rest.len() - digits..text.len() - rest.len()];
                u8::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok()?
            }
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b'"' | b'\\' => kind,
            _ => return None,
        });
    }
    Some(bytes)
}

fn number(text: &str) -> Option<i64> {
    if let Some(hex) = text.strip_prefix("0x") {
        // An address may have its highest bit set, and an error of a raw call is a number close to it.
        return u64::from_str_radix(hex, 16).ok().map(u64::cast_signed);
    }
    text.parse().ok()
}

fn strange(text: &str) -> String {
    format!("not understood: {}", shortened(text))
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_taken_apart() {
        let line = r#"pwrite64(12</x, y/a b>, "\0\18\"),\n\377", 6, 512) = 6"#;
        let call = Call::parse(3, 4, line).unwrap();
        assert_eq!(call.name, "pwrite64");
        assert_eq!(call.descriptor(0), Ok((12, Some("/x, y/a b"))));
        assert_eq!(call.bytes(1).unwrap(), b"\0\x018\"),\n\xff");
        assert_eq!((call.number(2), call.number(3)), (Ok(6), Ok(512)));
        let failed = Call::parse(
            0,
            0,
            r#"unlink("/a") = -1 ENOENT (No such file or directory)"#,
        );
        assert!(failed.unwrap().has_failed());
        let opened = Call::parse(0, 0, r#"open("/a", O_RDONLY) = 3</a>"#).unwrap();
        assert_eq!(
            (opened.result, opened.result_path.as_deref()),
            (3, Some("/a"))
        );
        let ended = Call::parse(0, 0, "read(0x3, 0x7f00, 0x20) = ?");
        assert!(ended.unwrap().has_failed());
        let record = "1 read(0x3, 0x7f00, 0x20 <unfinished ...>\n2 futex(0x7f00 <unfinished ...>\n1 <... read resumed>) = ?\n";
        assert_eq!(parse(record).unwrap().len(), 2);
        // `...` behind a text: not all of it was recorded.
        let cut = Call::parse(0, 0, r#"write(3</a>, "ab"..., 5) = 5"#).unwrap();
        assert!(cut.bytes(1).is_err());
    }
}
