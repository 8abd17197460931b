//! A recorded run, done again on a [`Tree`], change by change.
//!
//! Threads call at the same time, and the record tells of each call only when it began and when it had ended. A call is
//! taken to have worked when it had ended, or earlier where another could not have had its answer otherwise. A sync covers what had
//! ended before it began. A call that is under way when the power goes may have worked or not.
//!
//! Whatever is not understood is an error, never left out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::chance::Chance;
use super::durable::{Manner, ROOT, Tree};
use super::strace::{AT_CWD, Call};

/// A file that the program has open, perhaps under several descriptors.
struct Open {
    inode: u64,
    position: u64,
    appends: bool,
}

/// Where a path leads.
enum Place {
    /// An open directory, or the one that the tree stands for.
    Itself(u64),
    Inside(u64, OsString),
    Outside(PathBuf),
}

/// Syncs that do nothing: a disk that lies, or a program that does not sync what it should.
#[derive(Clone, Copy, Debug)]
pub struct Deaf {
    pub to_files: bool,
    pub to_dirs: bool,
    /// Of the disk; empty for all of it.
    pub below: &'static str,
}

pub struct Recorded<'a> {
    pub tree: Tree,
    pub deaf: Option<Deaf>,
    root: &'a Path,
    /// The directory in which the program was started.
    start: &'a Path,
    calls: &'a [Call],
    /// Begins and ends in their order: line, whether it is an end, number of the call.
    moments: Vec<(usize, bool, usize)>,
    next: usize,
    under_way: Vec<usize>,
    /// Of those under way: they have worked already.
    early: Vec<usize>,
    /// What the syncs under way cover.
    syncs: BTreeMap<usize, (u64, u64)>,
    descriptors: BTreeMap<i64, usize>,
    opens: Vec<Open>,
}

/// What a moment was.
#[derive(PartialEq, Eq, Debug)]
enum Worked {
    /// A change or a sync: the power may go before and after it.
    Disk,
    Otherwise,
}

impl<'a> Recorded<'a> {
    /// `tree` is what was in the directory `root` before.
    pub fn new(tree: Tree, root: &'a Path, start: &'a Path, calls: &'a [Call]) -> Self {
        let mut moments: Vec<_> = (0..)
            .zip(calls)
            .flat_map(|(number, call)| [(call.begin, false, number), (call.end, true, number)])
            .collect();
        moments.sort_unstable();
        Self {
            tree,
            deaf: None,
            root,
            start,
            calls,
            moments,
            next: 0,
            under_way: Vec::new(),
            early: Vec::new(),
            syncs: BTreeMap::new(),
            descriptors: BTreeMap::new(),
            opens: Vec::new(),
        }
    }

    /// Goes on until something on the disk has changed or was synced, and says what; `None` at the end.
    pub fn step(&mut self) -> Result<Option<String>, String> {
        while let Some(&(_, is_end, number)) = self.moments.get(self.next) {
            self.next += 1;
            let calls = self.calls;
            let call = &calls[number];
            let worked = if is_end {
                self.end(number)
            } else {
                self.begin(number).map(|()| Worked::Otherwise)
            };
            if worked.map_err(|error| format!("{error}, at {}", call.words()))? == Worked::Disk {
                return Ok(Some(call.words()));
            }
        }
        Ok(None)
    }

    /// What is left if the power goes now. By chance, some of what was under way has worked.
    pub fn after_cut(&mut self, manner: Manner, chance: &mut Chance) -> Tree {
        if manner != Manner::Chance || self.under_way.is_empty() {
            return self.tree.after_cut(manner, chance);
        }
        let before = self.tree.clone();
        let opens = self.opens.len();
        let descriptors = self.descriptors.clone();
        let positions: Vec<u64> = self.opens.iter().map(|open| open.position).collect();
        for number in self.under_way.clone() {
            if !self.early.contains(&number)
                && !self.syncs.contains_key(&number)
                && chance.one_in(2)
            {
                // Where it could not have worked yet it has not.
                let _worked = self.perform(number);
            }
        }
        let left = self.tree.after_cut(manner, chance);
        self.tree = before;
        self.descriptors = descriptors;
        self.opens.truncate(opens);
        for (open, position) in self.opens.iter_mut().zip(positions) {
            open.position = position;
        }
        left
    }

    fn begin(&mut self, number: usize) -> Result<(), String> {
        let calls = self.calls;
        let call = &calls[number];
        match call.name.as_str() {
            // The kernel may give the number out again before this has ended.
            "close" => drop(self.descriptors.remove(&call.descriptor(0)?.0)),
            "fsync" | "fdatasync" if !call.has_failed() => {
                if let Some(open) = self.open_at(call, 0)?
                    && let inode = self.opens[open].inode
                    && !self.is_unheard(inode, call.descriptor(0)?.1)
                {
                    self.syncs.insert(number, (inode, self.tree.now()));
                }
            }
            _ => {}
        }
        self.under_way.push(number);
        Ok(())
    }

    fn is_unheard(&self, inode: u64, path: Option<&str>) -> bool {
        self.deaf.is_some_and(|deaf| {
            let is_below =
                path.is_some_and(|path| Path::new(path).starts_with(self.root.join(deaf.below)));
            is_below
                && if self.tree.is_dir(inode) {
                    deaf.to_dirs
                } else {
                    deaf.to_files
                }
        })
    }

    fn end(&mut self, number: usize) -> Result<Worked, String> {
        self.under_way.retain(|other| *other != number);
        if let Some((inode, began)) = self.syncs.remove(&number) {
            self.tree.sync(inode, began)?;
            return Ok(Worked::Disk);
        }
        if let Some(at) = self.early.iter().position(|early| *early == number) {
            self.early.remove(at);
            return Ok(Worked::Otherwise);
        }
        let error = match self.perform(number) {
            Ok(worked) => return Ok(worked),
            Err(error) => error,
        };
        for other in self.under_way.clone() {
            if !self.early.contains(&other)
                && !self.syncs.contains_key(&other)
                && self.perform(other) == Ok(Worked::Disk)
            {
                self.early.push(other);
                if let Ok(worked) = self.perform(number) {
                    return Ok(worked);
                }
            }
        }
        Err(error)
    }

    /// All of it or, with an error, nothing.
    fn perform(&mut self, number: usize) -> Result<Worked, String> {
        let calls = self.calls;
        let call = &calls[number];
        if call.has_failed() {
            return Ok(Worked::Otherwise);
        }
        match call.name.as_str() {
            "openat" => self.open(call, Some(0), 1, call.argument(2)?, 3),
            "open" => self.open(call, None, 0, call.argument(1)?, 2),
            "dup" => self.duplicate(call),
            "fcntl" => match call.argument(1)? {
                "F_DUPFD" | "F_DUPFD_CLOEXEC" => self.duplicate(call),
                "F_GETFD" | "F_SETFD" | "F_GETFL" | "F_SETLK" | "F_SETLKW" | "F_GETLK"
                | "F_OFD_SETLK" | "F_OFD_SETLKW" | "F_OFD_GETLK" => Ok(Worked::Otherwise),
                _ => self.only_elsewhere(call),
            },
            "read" => {
                // Raw, so that what was read is not in the record.
                if let Some(open) = self.descriptors.get(&call.number(0)?) {
                    self.opens[*open].position += call.result.unsigned_abs();
                }
                Ok(Worked::Otherwise)
            }
            "lseek" => {
                if let Some(open) = self.open_at(call, 0)? {
                    self.opens[open].position = call.result.unsigned_abs();
                }
                Ok(Worked::Otherwise)
            }
            "write" => self.write(call, None),
            "pwrite64" => self.write(call, Some(call.number(3)?.unsigned_abs())),
            "ftruncate" => match self.open_at(call, 0)? {
                Some(open) => {
                    let length = call.number(1)?.unsigned_abs();
                    self.tree.truncate(self.opens[open].inode, length)?;
                    Ok(Worked::Disk)
                }
                None => self.only_elsewhere(call),
            },
            "mkdir" => self.make_dir(call, self.place(call, None, 0)?, call.mode(1)?),
            "mkdirat" => self.make_dir(call, self.place(call, Some(0), 1)?, call.mode(2)?),
            "unlink" | "rmdir" => self.remove(call, self.place(call, None, 0)?),
            "unlinkat" => self.remove(call, self.place(call, Some(0), 1)?),
            "rename" => {
                let (from, to) = (self.place(call, None, 0)?, self.place(call, None, 1)?);
                self.rename(call, from, to, true)
            }
            "renameat" | "renameat2" => {
                let replaces = match call.arguments().get(4) {
                    None | Some(&"0") => true,
                    Some(&"RENAME_NOREPLACE") => false,
                    Some(_) => return Err("not understood".to_owned()),
                };
                let (from, to) = (self.place(call, Some(0), 1)?, self.place(call, Some(2), 3)?);
                self.rename(call, from, to, replaces)
            }
            "fchmod" => match self.open_at(call, 0)? {
                Some(open) => {
                    self.tree.set_mode(self.opens[open].inode, call.mode(1)?)?;
                    Ok(Worked::Otherwise)
                }
                None => self.only_elsewhere(call),
            },
            "mmap" => map(call),
            // No new process, whose descriptors would be its own.
            "clone3" | "clone" if call.words().contains("CLONE_FILES") => Ok(Worked::Otherwise),
            "execve" if number == 0 => Ok(Worked::Otherwise),
            // Owners are not held; the others work when they begin or when they have ended.
            "fchown" | "close" | "fsync" | "fdatasync" => Ok(Worked::Otherwise),
            "ioctl" => self.only_elsewhere(call),
            _ => Err("not understood".to_owned()),
        }
    }

    // ------------------------------------------------------------ calls

    fn open(
        &mut self,
        call: &Call,
        dir: Option<usize>,
        path: usize,
        flags: &str,
        mode: usize,
    ) -> Result<Worked, String> {
        let has = |flag| flags.split('|').any(|other| other == flag);
        if has("O_TMPFILE") {
            return Err("not understood".to_owned());
        }
        let writes = has("O_WRONLY") || has("O_RDWR") || has("O_CREAT");
        let mut worked = Worked::Otherwise;
        let inode = match self.place(call, dir, path)? {
            Place::Outside(path) => {
                let is_ours = call
                    .result_path
                    .as_ref()
                    .is_some_and(|path| Path::new(path).starts_with(self.root));
                if is_ours || writes && !path.starts_with("/dev") {
                    return Err("opened by a way that is not understood".to_owned());
                }
                return Ok(Worked::Otherwise);
            }
            Place::Itself(dir) => dir,
            Place::Inside(dir, name) => match self.tree.find(dir, &name) {
                None if has("O_CREAT") => {
                    worked = Worked::Disk;
                    // The usual umask.
                    self.tree
                        .add_file(dir, &name, Vec::new(), call.mode(mode)? & !0o022)?
                }
                None => return Err("what was opened is not there".to_owned()),
                Some(inode) => {
                    if has("O_TRUNC") && self.tree.length(inode)? > 0 {
                        worked = Worked::Disk;
                        self.tree.truncate(inode, 0)?;
                    }
                    inode
                }
            },
        };
        self.descriptors.insert(call.result, self.opens.len());
        self.opens.push(Open {
            inode,
            position: 0,
            appends: has("O_APPEND"),
        });
        Ok(worked)
    }

    fn duplicate(&mut self, call: &Call) -> Result<Worked, String> {
        if let Some(open) = self.open_at(call, 0)? {
            self.descriptors.insert(call.result, open);
        }
        Ok(Worked::Otherwise)
    }

    fn write(&mut self, call: &Call, at: Option<u64>) -> Result<Worked, String> {
        let Some(open) = self.open_at(call, 0)? else {
            // To a terminal, a log, another thread.
            return Ok(Worked::Otherwise);
        };
        let bytes = call.bytes(1)?;
        let written = bytes
            .get(..call.result as usize)
            .ok_or("more was written than was given")?;
        let open = &mut self.opens[open];
        let to = match at {
            Some(at) => at,
            None if open.appends => self.tree.length(open.inode)? as u64,
            None => open.position,
        };
        self.tree.write(open.inode, to, written)?;
        if at.is_none() {
            open.position = to + written.len() as u64;
        }
        Ok(Worked::Disk)
    }

    fn make_dir(&mut self, call: &Call, place: Place, mode: u32) -> Result<Worked, String> {
        match place {
            Place::Inside(dir, name) => {
                self.tree.add_dir(dir, &name, mode & !0o022)?;
                Ok(Worked::Disk)
            }
            _ => self.only_elsewhere(call),
        }
    }

    fn remove(&mut self, call: &Call, place: Place) -> Result<Worked, String> {
        match place {
            Place::Inside(dir, name) => {
                self.tree.remove(dir, &name)?;
                Ok(Worked::Disk)
            }
            _ => self.only_elsewhere(call),
        }
    }

    fn rename(
        &mut self,
        call: &Call,
        from: Place,
        to: Place,
        replaces: bool,
    ) -> Result<Worked, String> {
        match (from, to) {
            (Place::Inside(from, name), Place::Inside(to, to_name)) => {
                self.tree.rename((from, &name), (to, &to_name), replaces)?;
                Ok(Worked::Disk)
            }
            _ => self.only_elsewhere(call),
        }
    }

    /// Fine where it concerns a descriptor of something else. A path of something else is none of the program's business.
    fn only_elsewhere(&self, call: &Call) -> Result<Worked, String> {
        match call.descriptor(0) {
            Ok((number, path))
                if number >= 0
                    && !self.descriptors.contains_key(&number)
                    && !path.is_some_and(|path| Path::new(path).starts_with(self.root)) =>
            {
                Ok(Worked::Otherwise)
            }
            _ => Err("not understood".to_owned()),
        }
    }

    // ------------------------------------------------------------ descriptors and paths

    /// The open file of a descriptor, if it is of this disk. The kernel's own word for it must agree.
    fn open_at(&self, call: &Call, at: usize) -> Result<Option<usize>, String> {
        let (number, path) = call.descriptor(at)?;
        let open = self.descriptors.get(&number).copied();
        let below = path.map(|path| Path::new(path).strip_prefix(self.root));
        let named = match below {
            Some(Ok(below)) => self.tree.follow(ROOT, below),
            _ => None,
        };
        match (open, below) {
            (None, Some(Err(_)) | None) => Ok(None),
            // It has lost its name, or has got another while this was under way.
            (Some(open), None | Some(Ok(_)))
                if named.is_none_or(|named| named == self.opens[open].inode) =>
            {
                Ok(Some(open))
            }
            _ => Err(format!("descriptor {number} is another file")),
        }
    }

    fn place(&self, call: &Call, dir: Option<usize>, path: usize) -> Result<Place, String> {
        let path = PathBuf::from(OsString::from_vec(call.bytes(path)?));
        let relative = |from: u64, path: &Path| -> Result<Place, String> {
            let mut names = Vec::new();
            for part in path.components() {
                match part {
                    Component::CurDir => {}
                    Component::Normal(name) => names.push(name),
                    _ => return Err("a path that leads up".to_owned()),
                }
            }
            let Some((name, above)) = names.split_last() else {
                return Ok(Place::Itself(from));
            };
            let above: PathBuf = above.iter().collect();
            let dir = self
                .tree
                .follow(from, &above)
                .ok_or("its directory is not there")?;
            Ok(Place::Inside(dir, (*name).to_owned()))
        };
        let mut base = self.start.to_owned();
        if let Some(dir) = dir.filter(|_| path.is_relative()) {
            let (number, known) = call.descriptor(dir)?;
            if let Some(open) = self.descriptors.get(&number) {
                return relative(self.opens[*open].inode, &path);
            }
            if number != AT_CWD {
                base = PathBuf::from(known.ok_or("a directory that is not understood")?);
            }
        }
        let whole = base.join(&path);
        match whole.strip_prefix(self.root) {
            Ok(below) => relative(ROOT, below),
            Err(_) => Ok(Place::Outside(whole)),
        }
    }
}

/// Only SQLite's shared memory, which no power cut leaves, is written by memory.
fn map(call: &Call) -> Result<Worked, String> {
    if call.argument(3)?.contains("MAP_SHARED")
        && call.argument(2)?.contains("PROT_WRITE")
        && let (0.., path) = call.descriptor(4)?
        && !path.is_some_and(|path| path.ends_with("-shm"))
    {
        return Err("a file is written by memory".to_owned());
    }
    Ok(Worked::Otherwise)
}

#[cfg(test)]
mod tests {
    use super::super::durable::Seen;
    use super::super::strace;
    use super::*;
    use std::ffi::OsStr;

    /// What is left of file `a`, which holds `old`, if nothing that was not synced is kept, after each step of a record.
    fn left(record: &str) -> Result<String, String> {
        let mut tree = Tree::default();
        tree.add_file(ROOT, OsStr::new("a"), b"old".to_vec(), 0o644)?;
        tree.sync_all();
        let calls = strace::parse(record)?;
        let mut run = Recorded::new(tree, Path::new("/d"), Path::new("/"), &calls);
        let mut left = Vec::new();
        while run.step()?.is_some() {
            let tree = run.after_cut(Manner::Nothing, &mut Chance::of(1));
            let found = tree.find(ROOT, OsStr::new("a"));
            left.push(match found.map(|found| tree.see(found)) {
                Some(Ok(Seen::File(bytes))) => String::from_utf8_lossy(bytes).into_owned(),
                _ => "gone".to_owned(),
            });
        }
        Ok(left.join(" "))
    }

    const OPEN: &str = "1 openat(AT_FDCWD</>, \"d/a\", O_RDWR) = 3</d/a>\n";

    #[test]
    fn what_was_written_before_a_sync_began_is_kept() {
        let record = format!("{OPEN}1 write(3</d/a>, \"new\", 3) = 3\n1 fsync(3</d/a>) = 0\n");
        assert_eq!(left(&record).unwrap(), "old new");
    }

    #[test]
    fn what_was_under_way_when_a_sync_began_is_not_kept_by_it() {
        let record = format!(
            "{OPEN}1 pwrite64(3</d/a>, \"new\", 3, 0 <unfinished ...>\n2 fsync(3</d/a> <unfinished ...>\n\
             1 <... pwrite64 resumed>) = 3\n2 <... fsync resumed>) = 0\n2 fdatasync(3</d/a>) = 0\n"
        );
        assert_eq!(left(&record).unwrap(), "old old new");
    }

    #[test]
    fn a_new_name_is_kept_by_a_sync_of_its_directory_alone() {
        let record = "1 rename(\"/d/a\", \"/d/b\") = 0\n1 open(\"/d/b\", O_RDONLY) = 3</d/b>\n1 fsync(3</d/b>) = 0\n\
             1 openat(AT_FDCWD</>, \"/d\", O_RDONLY) = 4</d>\n1 fsync(4</d>) = 0\n";
        assert_eq!(left(record).unwrap(), "old old gone");
    }

    #[test]
    fn what_another_thread_has_seen_has_happened() {
        let record = "1 rename(\"/d/a\", \"/d/b\" <unfinished ...>\n2 open(\"/d/b\", O_RDONLY) = 3</d/b>\n\
                      1 <... rename resumed>) = 0\n";
        assert_eq!(left(record).unwrap(), "");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in [
            "1 fallocate(3</d/a>, 0, 0, 4096) = 0",
            "1 ioctl(3</d/a>, FICLONE, 4</d/b>) = 0",
            "1 writev(3</d/a>, [{iov_base=\"x\", iov_len=1}], 1) = 1",
            "1 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</d/a>, 0) = 0x7f0000000000",
            "1 rename(\"/d/a\", \"/elsewhere\") = 0",
            "1 unlink(\"/d/none\") = 0",
            "1 fork() = 7",
        ] {
            let error = left(&format!("{OPEN}{line}\n"));
            assert!(error.is_err(), "{line}: {error:?}");
        }
    }
}
