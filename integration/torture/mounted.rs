//! The file system of [`super::durable`], mounted, so that the real program can be run over it: the kernel asks through
//! `/dev/fuse`, in the format of `linux/fuse.h` (7.31), and is answered here.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::durable::{Answer, Inode, ROOT, Shared, Tree};

/// The kernel sends no more at once than this and its heads.
const WRITE_BYTES_MAX: usize = 128 << 10;
const IN_HEAD: usize = 40;
const OUT_HEAD: usize = 16;

/// Until it is dropped.
pub struct Mounted {
    tree: Shared,
    at: PathBuf,
}

impl Mounted {
    /// Only root may do this.
    pub fn at(at: &Path, tree: Tree) -> std::io::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")?;
        // `mount` hands its own input over to the kernel.
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o"])
            .arg("fd=0,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other")
            .arg("lakeward-torture")
            .arg(at)
            .stdin(Stdio::from(device.try_clone()?))
            .output()?;
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
            return Err(std::io::Error::other(said));
        }
        let tree = Arc::new(Mutex::new(tree));
        let served = Served {
            tree: Arc::clone(&tree),
            device,
        };
        std::thread::spawn(move || served.serve());
        Ok(Self {
            tree,
            at: at.to_owned(),
        })
    }

    pub fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

struct Served {
    tree: Shared,
    device: File,
}

/// What the kernel asks, taken apart.
struct Asked<'a> {
    operation: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

impl Served {
    /// Until it is unmounted.
    fn serve(self) {
        let mut buffer = vec![0; WRITE_BYTES_MAX + 8192];
        loop {
            let length = match (&self.device).read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                // The question was taken back.
                Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => continue,
                Err(_) => return,
            };
            let asked = Asked {
                operation: u32_at(&buffer, 4),
                unique: u64_at(&buffer, 8),
                node: u64_at(&buffer, 16),
                body: &buffer[IN_HEAD..length],
            };
            let Some(answer) = self.answer(&asked) else {
                continue;
            };
            let (error, body) = match answer {
                Ok(body) => (0, body),
                Err(error) => (-error.raw_os_error(), Vec::new()),
            };
            let mut bytes = Vec::with_capacity(OUT_HEAD + body.len());
            put_u32(&mut bytes, (OUT_HEAD + body.len()) as u32);
            bytes.extend(error.to_le_bytes());
            put_u64(&mut bytes, asked.unique);
            bytes.extend(body);
            // Whoever asked may be dead by now.
            let _gone = (&self.device).write(&bytes);
        }
    }

    /// `None` where none is expected.
    fn answer(&self, asked: &Asked<'_>) -> Option<Answer<Vec<u8>>> {
        let mut tree = self.tree.lock().unwrap();
        let (node, body) = (asked.node, asked.body);
        Some(match asked.operation {
            // forget, interrupt, forget many
            2 | 36 | 42 => return None,
            // init
            26 => Ok(begin(body)),
            // look up
            1 => {
                let found = tree.lookup(node, name(body));
                entry(&tree, found)
            }
            // attributes
            3 => attributes(&tree, node),
            4 => set_attributes(&mut tree, node, body),
            // make a directory
            9 => {
                let mode = u32_at(body, 0) & !u32_at(body, 4);
                let made = tree.create(node, name(&body[8..]), mode, true);
                entry(&tree, made)
            }
            // remove a file, a directory
            10 | 11 => tree.remove(node, name(body)).map(|()| Vec::new()),
            // rename, the second with flags: 1 is "never replace"
            12 => rename(&mut tree, node, body, 8, true),
            45 => rename(&mut tree, node, body, 16, u32_at(body, 8) & 1 == 0),
            // link
            13 => {
                let file = u64_at(body, 0);
                let linked = tree.link(file, node, name(&body[8..]));
                entry(&tree, linked.map(|()| file))
            }
            // open a file, a directory
            14 | 27 => tree.inode(node).map(|_| opened()),
            // read
            15 => tree
                .read(node, u64_at(body, 8), u32_at(body, 16) as usize)
                .map(<[u8]>::to_vec),
            // write
            16 => {
                let data = &body[40..40 + u32_at(body, 16) as usize];
                tree.write(node, u64_at(body, 8), data).map(|()| {
                    let mut bytes = Vec::new();
                    put_u32(&mut bytes, data.len() as u32);
                    put_u32(&mut bytes, 0);
                    bytes
                })
            }
            // statistics
            17 => Ok(statistics()),
            // release a file, a directory; flush, which syncs nothing; destroy
            18 | 25 | 29 | 38 => Ok(Vec::new()),
            // sync a file, a directory
            20 | 30 => tree.sync(node).map(|()| Vec::new()),
            // list a directory
            28 => list(&tree, node, u64_at(body, 8), u32_at(body, 16) as usize),
            // create and open
            35 => {
                let mode = u32_at(body, 4) & !u32_at(body, 8);
                let made = tree.create(node, name(&body[16..]), mode, false);
                entry(&tree, made).map(|entry| [entry, opened()].concat())
            }
            _ => Err(Errno::NOSYS),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend(number.to_le_bytes());
}

fn put_u64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend(number.to_le_bytes());
}

/// The name at the beginning, which ends with a zero byte.
fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn begin(body: &[u8]) -> Vec<u8> {
    const ASYNC_READ: u32 = 1;
    const BIG_WRITES: u32 = 1 << 5;
    let mut bytes = Vec::new();
    for number in [
        7,
        31,
        u32_at(body, 8),
        u32_at(body, 12) & (ASYNC_READ | BIG_WRITES),
        0,
        WRITE_BYTES_MAX as u32,
        1,
    ] {
        put_u32(&mut bytes, number);
    }
    bytes.resize(64, 0);
    bytes
}

/// What the kernel knows of the file stays good: nobody changes it but through this kernel. Without that flag each open would
/// throw away the pages that SQLite shares between its connections.
fn opened() -> Vec<u8> {
    const KEEP_CACHE: u32 = 1 << 1;
    let mut bytes = vec![0; 8];
    put_u32(&mut bytes, KEEP_CACHE);
    bytes.resize(16, 0);
    bytes
}

/// Nothing is believed for longer than the moment: all times of validity are 0.
fn entry(tree: &Tree, number: Answer<u64>) -> Answer<Vec<u8>> {
    let number = number?;
    let mut bytes = Vec::new();
    put_u64(&mut bytes, number);
    bytes.resize(40, 0);
    put_inode(&mut bytes, number, tree.inode(number)?);
    Ok(bytes)
}

fn attributes(tree: &Tree, number: u64) -> Answer<Vec<u8>> {
    let mut bytes = vec![0; 16];
    put_inode(&mut bytes, number, tree.inode(number)?);
    Ok(bytes)
}

fn put_inode(bytes: &mut Vec<u8>, number: u64, inode: &Inode) {
    let since = inode.mtime.duration_since(UNIX_EPOCH).unwrap_or_default();
    let kind = if inode.is_dir() { 0o040_000 } else { 0o100_000 };
    for number in [number, inode.length(), inode.length().div_ceil(512)] {
        put_u64(bytes, number);
    }
    for _ in 0..3 {
        put_u64(bytes, since.as_secs());
    }
    for _ in 0..3 {
        put_u32(bytes, since.subsec_nanos());
    }
    for number in [kind | u32::from(inode.mode), inode.links, 0, 0, 0, 4096, 0] {
        put_u32(bytes, number);
    }
}

fn set_attributes(tree: &mut Tree, number: u64, body: &[u8]) -> Answer<Vec<u8>> {
    const MODE: u32 = 1;
    const SIZE: u32 = 1 << 3;
    const MTIME: u32 = 1 << 5;
    const MTIME_NOW: u32 = 1 << 8;
    let valid = u32_at(body, 0);
    if valid & SIZE != 0 {
        tree.truncate(number, u64_at(body, 16))?;
    }
    if valid & MODE != 0 {
        tree.set_mode(number, u32_at(body, 68))?;
    }
    if valid & MTIME_NOW != 0 {
        tree.set_mtime(number, SystemTime::now())?;
    } else if valid & MTIME != 0 {
        let since = Duration::new(u64_at(body, 40), u32_at(body, 60));
        tree.set_mtime(number, UNIX_EPOCH + since)?;
    }
    attributes(tree, number)
}

fn rename(tree: &mut Tree, from: u64, body: &[u8], names: usize, replace: bool) -> Answer<Vec<u8>> {
    let old = name(&body[names..]);
    let new = name(&body[names + old.len() + 1..]);
    tree.rename(from, old, u64_at(body, 0), new, replace)?;
    Ok(Vec::new())
}

/// An entry's place is its inode's number: what comes and goes meanwhile hides no other.
fn list(tree: &Tree, dir: u64, after: u64, length: usize) -> Answer<Vec<u8>> {
    let mut entries: Vec<(u64, &OsStr, u64)> = tree
        .entries(dir)?
        .iter()
        .map(|(name, number)| (number + 2, name.as_os_str(), *number))
        .chain([(1, OsStr::new("."), dir), (2, OsStr::new(".."), ROOT)])
        .filter(|(place, _, _)| *place > after)
        .collect();
    entries.sort_unstable();
    let mut bytes = Vec::new();
    for (place, name, number) in entries {
        if bytes.len() + (24 + name.len()).next_multiple_of(8) > length {
            break;
        }
        put_u64(&mut bytes, number);
        put_u64(&mut bytes, place);
        put_u32(&mut bytes, name.len() as u32);
        put_u32(&mut bytes, if tree.inode(number)?.is_dir() { 4 } else { 8 });
        bytes.extend(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    Ok(bytes)
}

fn statistics() -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..5 {
        put_u64(&mut bytes, 1 << 24);
    }
    for number in [4096, 255, 4096] {
        put_u32(&mut bytes, number);
    }
    bytes.resize(80, 0);
    bytes
}
