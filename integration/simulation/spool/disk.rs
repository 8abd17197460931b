//! The disk that a spool is on: it outlives processes. Producers, operators and the checker work on it here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lakeward::segment::FileStat;
use lakeward::spool::{Claim, SpoolSettings, place_text};
use rustix::io::Errno;

use super::model::{Maker, Model, NodeId};
use super::{os, std_bytes};
use crate::simulation::world::World;

/// Clones share it. Paths are absolute; what a producer or an operator does must be possible, else the run ends.
#[derive(Clone)]
pub struct SpoolDisk {
    state: Arc<Mutex<State>>,
    world: World,
}

struct State {
    model: Model,
    events: Vec<Event>,
    settings: DiskSettings,
}

#[derive(Clone, Copy)]
struct DiskSettings {
    lacks_rename_new: bool,
    read_bytes_max: usize,
    lie: Option<Lie>,
}

/// A system call that is not what it says: what a spool without that call would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Syncing a directory does nothing.
    DirectorySync,
    /// Syncing a file does nothing.
    FileSync,
    /// A rename replaces what has the name.
    RenameNew,
    /// Everybody gets the lock.
    Lock,
}

/// Lakeward took a name from a file that a producer made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which file, whatever its inode number.
    pub node: NodeId,
    pub path: PathBuf,
    /// `None`: the name was removed, or given to another file.
    pub to: Option<PathBuf>,
    /// As of that moment.
    pub content: Vec<u8>,
    pub stat: FileStat,
}

/// Where a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Spool,
    RetireDir,
    Quarantine,
    Elsewhere,
}

/// A name of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub path: PathBuf,
    pub place: Place,
    pub node: NodeId,
    pub maker: Maker,
    pub inode: u64,
    pub content: Vec<u8>,
}

/// The model, locked.
pub struct Locked<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for Locked<'_> {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.0.model
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Model {
        &mut self.0.model
    }
}

impl Locked<'_> {
    pub(super) fn lacks_rename_new(&self) -> bool {
        self.0.settings.lacks_rename_new
    }

    pub(super) fn lies(&self, lie: Lie) -> bool {
        self.0.settings.lie == Some(lie)
    }

    pub(super) fn record(&mut self, event: Option<Event>) {
        self.0.events.extend(event);
    }
}

impl SpoolDisk {
    /// One volume with nothing on it.
    pub fn new(world: &World) -> Self {
        let state = State {
            model: Model::new(),
            events: Vec::new(),
            settings: DiskSettings {
                lacks_rename_new: false,
                read_bytes_max: usize::MAX,
                lie: None,
            },
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            world: world.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn model(&self) -> Locked<'_> {
        Locked(self.state())
    }

    // What kind of disk it is.

    /// It gives numbers of removed files to new ones.
    pub fn reuse_inodes(&self, reuses: bool) {
        self.model().reuses_inodes = reuses;
    }

    /// As NFS and some FUSE, it cannot rename without replacing, but link.
    pub fn take_rename_new_away(&self) {
        self.state().settings.lacks_rename_new = true;
    }

    pub fn lie(&self, lie: Lie) {
        self.state().settings.lie = Some(lie);
    }

    /// A read answers so many bytes at most, so that others act between two reads of a small file.
    pub fn read_at_most(&self, bytes: usize) {
        self.state().settings.read_bytes_max = bytes;
    }

    pub(super) fn read_bytes_max(&self) -> usize {
        self.state().settings.read_bytes_max
    }

    // What producers and operators do.

    fn act<T>(
        &self,
        what: &str,
        path: &Path,
        act: impl FnOnce(&mut Model) -> Result<T, Errno>,
    ) -> T {
        self.world.note(&format!("{what} {}", place_text(path)));
        act(&mut self.model()).unwrap_or_else(|e| panic!("{what} `{}`: {e}", path.display()))
    }

    /// Makes a directory and those above it.
    pub fn mkdir(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.act("mkdir", path, |model| {
            let mut way: Vec<&Path> = path.ancestors().collect();
            way.reverse();
            for path in way {
                if model.find(path) == Err(Errno::NOENT) {
                    let (at, name) = split(model, path)?;
                    model.make_directory(at, &name)?;
                }
            }
            Ok(())
        });
    }

    /// Puts a new, whole file there, over whatever has the name: another file than any before. `synced`: its content and
    /// its name are durable.
    pub fn drop_file(&self, path: impl AsRef<Path>, content: &[u8], synced: bool) -> NodeId {
        let path = path.as_ref();
        let now = self.world.now_ns();
        self.act("drop", path, |model| {
            let (at, name) = split(model, path)?;
            let temporary = b".producer-writes";
            let node = model.make_file(at, temporary, Maker::Producer, now)?;
            model.file_mut(node)?.content = content.to_vec();
            if synced {
                model.sync_file(node)?;
            }
            model.rename((at, temporary), (at, &name), true)?;
            if synced {
                model.sync_directory(at)?;
            }
            Ok(node)
        })
    }

    fn write(&self, what: &str, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let now = self.world.now_ns();
        self.act(what, path, |model| {
            let node = model.find(path)?;
            let file = model.file_mut(node)?;
            change(&mut file.content);
            file.mtime_ns = now;
            Ok(())
        });
    }

    pub fn append(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        self.write("append", path.as_ref(), |content| {
            content.extend_from_slice(bytes);
        });
    }

    /// Writes over the content in place: the same inode.
    pub fn overwrite(&self, path: impl AsRef<Path>, bytes: &[u8], keeps_mtime: bool) {
        let path = path.as_ref();
        let mtime_ns = self.stat(path).mtime_ns;
        self.write("overwrite", path, |content| {
            content.clear();
            content.extend_from_slice(bytes);
        });
        if keeps_mtime {
            self.touch(path, mtime_ns);
        }
    }

    pub fn truncate(&self, path: impl AsRef<Path>, length: usize) {
        self.write("truncate", path.as_ref(), |content| {
            content.resize(length, 0);
        });
    }

    pub fn touch(&self, path: impl AsRef<Path>, mtime_ns: i64) {
        let path = path.as_ref();
        self.act("touch", path, |model| {
            let node = model.find(path)?;
            model.file_mut(node)?.mtime_ns = mtime_ns;
            Ok(())
        });
    }

    /// Over whatever has the new name.
    pub fn rename(&self, path: impl AsRef<Path>, to: impl AsRef<Path>) {
        let (path, to) = (path.as_ref(), to.as_ref());
        self.act("rename by a producer", path, |model| {
            let (at, name) = split(model, path)?;
            let (to, to_name) = split(model, to)?;
            model.rename((at, &name), (to, &to_name), true)
        });
    }

    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.act("remove", path, |model| {
            let (at, name) = split(model, path)?;
            model.unlink(at, &name)
        });
    }

    /// A symbolic link, which nothing here follows.
    pub fn link(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.act("link", path, |model| {
            let (at, name) = split(model, path)?;
            model.make_link(at, &name).map(|_| ())
        });
    }

    /// Mounts a new, empty volume on a directory, which is made.
    pub fn mount_new(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.mkdir(path);
        self.act("mount anew", path, |model| {
            let at = model.find(path)?;
            model.mount_new(at);
            Ok(())
        });
    }

    /// What is mounted there goes away: an empty directory of another inode and device shows.
    pub fn unmount(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.act("unmount", path, |model| {
            let root = model.find(path)?;
            model.unmount(root);
            Ok(())
        });
    }

    pub fn mount(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.act("mount", path, |model| {
            let at = model.find(path)?;
            model.mount(at);
            Ok(())
        });
    }

    /// Of the volume that the path is on.
    pub fn make_read_only(&self, path: impl AsRef<Path>, read_only: bool) {
        let path = path.as_ref();
        self.act("make read-only", path, |model| {
            let at = model.find(path)?;
            model.set_read_only(at, read_only);
            Ok(())
        });
    }

    pub fn make_unreadable(&self, path: impl AsRef<Path>, unreadable: bool) {
        let path = path.as_ref();
        self.act("make unreadable", path, |model| {
            let node = model.find(path)?;
            model.file_mut(node)?.unreadable = unreadable;
            Ok(())
        });
    }

    // What befalls all of it.

    /// The process that used the disk is no more; nothing else happens to the disk.
    pub fn end_process(&self) {
        self.model().end_process();
    }

    /// Everything written so far is durable.
    pub fn settle(&self) {
        self.act("settle", Path::new("/"), |model| {
            model.settle();
            Ok(())
        });
    }

    /// The power goes and comes again, and with it the process: of what was not synced, anything may be left.
    pub fn power_cut(&self, world: &World) {
        world.note("power cut");
        self.model().cut_power(&mut |bound| world.below(bound));
    }

    /// All that anything later depends on.
    pub fn describe(&self) -> String {
        let state = self.state();
        format!("{:?} {:?}", state.model, state.events)
    }

    // What a checker sees.

    pub fn stat(&self, path: impl AsRef<Path>) -> FileStat {
        let model = self.model();
        let node = model.find(path.as_ref()).expect("it is there");
        model.look(node).expect("it is there").stat
    }

    /// The content of a file; `None` if there is none.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let model = self.model();
        let node = model.find(path.as_ref()).ok()?;
        Some(model.file(node).ok()?.content.clone())
    }

    /// Every name of every file, of unmounted volumes none.
    pub fn files(&self, settings: &SpoolSettings) -> Vec<Standing> {
        let model = self.model();
        let mut standing = Vec::new();
        let mut directories = vec![PathBuf::from("/")];
        let mut known = BTreeSet::new();
        while let Some(directory) = directories.pop() {
            let at = model.find(&directory).expect("it was listed");
            if !known.insert(at) {
                continue;
            }
            for (name, node) in model.list(at).expect("a directory") {
                let path = directory.join(os(&name));
                if let Ok(file) = model.file(node) {
                    standing.push(Standing {
                        place: place_of(settings, &path),
                        path,
                        node,
                        maker: file.maker,
                        inode: model.look(node).expect("it is there").stat.inode,
                        content: file.content.clone(),
                    });
                } else if model.directory(node).is_ok() {
                    directories.push(path);
                }
            }
        }
        standing.sort_by(|a, b| a.path.cmp(&b.path));
        standing
    }

    /// Whether a process holds a lock on anything.
    pub fn is_locked(&self) -> bool {
        !self.model().locks.is_empty()
    }

    /// Whether a file, a directory or a link has this name.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.model().find(path.as_ref()).is_ok()
    }

    /// Whether one of the names in a directory is this file's.
    pub fn stands_in(&self, directory: impl AsRef<Path>, node: NodeId) -> bool {
        let model = self.model();
        let at = model.find(directory.as_ref());
        let names = at.and_then(|at| model.list(at)).unwrap_or_default();
        names.into_iter().any(|(_, other)| other == node)
    }

    pub fn claim(&self, settings: &SpoolSettings) -> Option<Claim> {
        let text = self.read(settings.path.join(".lakeward-claim.json"))?;
        serde_json::from_slice(&text).ok()
    }

    /// What Lakeward removed and renamed since the last call.
    pub fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }
}

fn place_of(settings: &SpoolSettings, path: &Path) -> Place {
    let quarantine = settings.path.join(&settings.quarantine_dir);
    let retire_dir = settings.retire_dir.as_ref();
    if path.starts_with(quarantine) {
        Place::Quarantine
    } else if retire_dir.is_some_and(|retire_dir| path.starts_with(retire_dir)) {
        Place::RetireDir
    } else if path.starts_with(&settings.path) {
        Place::Spool
    } else {
        Place::Elsewhere
    }
}

/// The directory of a path, and its last component.
fn split(model: &Model, path: &Path) -> Result<(NodeId, Vec<u8>), Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL);
    };
    Ok((model.find(parent)?, std_bytes(name).to_vec()))
}
