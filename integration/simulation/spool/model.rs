//! A file system in memory: what it shows now, and what of it is durable.
//!
//! ```text
//! names of a directory     every change is an operation of one or two edits (a rename: one name goes, one comes)
//!   fsync of a directory   its edits are durable, not the directory's own name; but what a rename brings elsewhere, and the way
//!                          there, is durable before the old name is durably gone
//! content of a file        durable as of the last fsync of the file, whatever its name
//! power cut                of each operation not synced: done or not done, but in each directory in order;
//!                          of each content not synced: the old, the new, a part of the new, or zeros
//! ```
//!
//! Nothing here has a clock or chance of its own, and no order but that of names and numbers.

mod durable;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use lakeward::segment::FileStat;
use lakeward::spool::local::system::Look;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::std_bytes;

/// Linux's limit for one component, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The first number that is given to a file.
const FIRST_INODE: u64 = 11;

/// A file, directory or link for ever; inode numbers may be given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(u64);

/// Who made a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Producer,
    Lakeward,
}

#[derive(Debug)]
pub struct File {
    pub maker: Maker,
    pub content: Vec<u8>,
    pub mtime_ns: i64,
    /// Opening it answers EACCES.
    pub unreadable: bool,
    /// As of the last fsync; `None` before the first.
    synced: Option<(Vec<u8>, i64)>,
    /// A file that is open keeps its number and content when its last name goes.
    opens: u32,
}

#[derive(Debug, Default)]
struct Names {
    now: BTreeMap<Vec<u8>, NodeId>,
    durable: BTreeMap<Vec<u8>, NodeId>,
}

#[derive(Debug)]
enum Body {
    File(File),
    Directory(Names),
    Link,
}

#[derive(Debug)]
struct Node {
    volume: usize,
    inode: u64,
    body: Body,
}

#[derive(Debug)]
struct Volume {
    root: NodeId,
    device: u64,
    next_inode: u64,
    read_only: bool,
}

/// One change of one name.
#[derive(Debug)]
struct Edit {
    directory: NodeId,
    name: Vec<u8>,
    was: Option<NodeId>,
    is: Option<NodeId>,
    durable: bool,
}

#[derive(Debug)]
struct Operation {
    number: u64,
    edits: Vec<Edit>,
    /// It gives an inode number that this operation freed.
    after: Option<u64>,
}

#[derive(Debug)]
pub struct Model {
    nodes: BTreeMap<NodeId, Node>,
    next_node: u64,
    volumes: Vec<Volume>,
    /// Directories that something is mounted on, and the volume.
    mounts: BTreeMap<NodeId, usize>,
    unmounted: BTreeMap<NodeId, usize>,
    /// Operations with an edit that is not durable, oldest first.
    pending: Vec<Operation>,
    next_operation: u64,
    /// Who holds a lock on the node.
    pub locks: BTreeMap<NodeId, u64>,
    pub next_lock: u64,
    /// Handles of former processes count nowhere.
    pub process: u64,
    pub reuses_inodes: bool,
}

impl Model {
    pub fn new() -> Self {
        let mut model = Self {
            nodes: BTreeMap::new(),
            next_node: 0,
            volumes: Vec::new(),
            mounts: BTreeMap::new(),
            unmounted: BTreeMap::new(),
            pending: Vec::new(),
            next_operation: 0,
            locks: BTreeMap::new(),
            next_lock: 0,
            process: 0,
            reuses_inodes: false,
        };
        model.add_volume();
        model
    }

    fn add_volume(&mut self) -> usize {
        let volume = self.volumes.len();
        let root = self.add_node(volume, 2, Body::Directory(Names::default()));
        self.volumes.push(Volume {
            root,
            device: 100 + volume as u64,
            next_inode: FIRST_INODE,
            read_only: false,
        });
        volume
    }

    fn add_node(&mut self, volume: usize, inode: u64, body: Body) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let node = Node {
            volume,
            inode,
            body,
        };
        self.nodes.insert(id, node);
        id
    }

    // What is there.

    fn node(&self, id: NodeId) -> Result<&Node, Errno> {
        self.nodes.get(&id).ok_or(Errno::IO)
    }

    fn names(&self, at: NodeId) -> Result<&Names, Errno> {
        match &self.node(at)?.body {
            Body::Directory(names) => Ok(names),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn names_mut(&mut self, at: NodeId) -> &mut Names {
        match self.nodes.get_mut(&at).map(|node| &mut node.body) {
            Some(Body::Directory(names)) => names,
            _ => panic!("{at:?} is no directory"),
        }
    }

    pub fn file(&self, id: NodeId) -> Result<&File, Errno> {
        match &self.node(id)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) => Err(Errno::ISDIR),
            Body::Link => Err(Errno::LOOP),
        }
    }

    pub fn file_mut(&mut self, id: NodeId) -> Result<&mut File, Errno> {
        match self.nodes.get_mut(&id).map(|node| &mut node.body) {
            Some(Body::File(file)) => Ok(file),
            Some(_) => Err(Errno::ISDIR),
            None => Err(Errno::IO),
        }
    }

    /// What has a name in a directory; on a mount point, what is mounted there.
    pub fn child(&self, at: NodeId, name: &[u8]) -> Result<NodeId, Errno> {
        let names = self.names(at)?;
        if name.len() > NAME_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let child = *names.now.get(name).ok_or(Errno::NOENT)?;
        let mounted = self.mounts.get(&child);
        Ok(mounted.map_or(child, |volume| self.volumes[*volume].root))
    }

    /// What has this absolute path. No link is followed.
    pub fn find(&self, path: &Path) -> Result<NodeId, Errno> {
        let mut at = self.volumes[0].root;
        for component in path.components() {
            match component {
                Component::RootDir => {}
                Component::Normal(name) => at = self.child(at, std_bytes(name))?,
                _ => return Err(Errno::INVAL),
            }
        }
        Ok(at)
    }

    /// The same node, if it is a directory.
    pub fn directory(&self, at: NodeId) -> Result<NodeId, Errno> {
        self.names(at).map(|_| at)
    }

    pub fn look(&self, id: NodeId) -> Result<Look, Errno> {
        let node = self.node(id)?;
        let (kind, size, mtime_ns) = match &node.body {
            Body::File(file) => (
                FileType::RegularFile,
                file.content.len() as u64,
                file.mtime_ns,
            ),
            Body::Directory(_) => (FileType::Directory, 0, 0),
            Body::Link => (FileType::Symlink, 0, 0),
        };
        let stat = FileStat {
            inode: node.inode,
            device: self.volumes[node.volume].device,
            size,
            mtime_ns,
        };
        Ok(Look { kind, stat })
    }

    /// The id of the file system, which lasts where the device's number does not.
    pub fn system_id(&self, at: NodeId) -> Result<u64, Errno> {
        Ok(7000 + self.node(at)?.volume as u64)
    }

    pub fn list(&self, at: NodeId) -> Result<Vec<(Vec<u8>, NodeId)>, Errno> {
        let names = self.names(at)?.now.keys();
        names
            .map(|name| Ok((name.clone(), self.child(at, name)?)))
            .collect()
    }

    pub fn may_write(&self, at: NodeId) -> Result<(), Errno> {
        let volume = self.node(at)?.volume;
        if self.volumes[volume].read_only {
            return Err(Errno::ROFS);
        }
        Ok(())
    }

    // What changes names.

    fn edit(&mut self, changes: Vec<(NodeId, Vec<u8>, Option<NodeId>)>, after: Option<u64>) {
        let mut edits = Vec::new();
        for (directory, name, is) in changes {
            let now = &mut self.names_mut(directory).now;
            let was = match is {
                Some(node) => now.insert(name.clone(), node),
                None => now.remove(&name),
            };
            edits.push(Edit {
                directory,
                name,
                was,
                is,
                durable: false,
            });
        }
        self.pending.push(Operation {
            number: self.next_operation,
            edits,
            after,
        });
        self.next_operation += 1;
    }

    /// A name that is free; else why not.
    fn free(&self, at: NodeId, name: &[u8]) -> Result<(), Errno> {
        match self.child(at, name) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => Err(Errno::EXIST),
            Err(errno) => Err(errno),
        }
    }

    fn make(&mut self, at: NodeId, name: &[u8], body: Body) -> Result<NodeId, Errno> {
        self.free(at, name)?;
        self.may_write(at)?;
        let volume = self.node(at)?.volume;
        let (inode, after) = self.number(volume);
        let id = self.add_node(volume, inode, body);
        self.edit(vec![(at, name.to_vec(), Some(id))], after);
        Ok(id)
    }

    /// A number for a new inode, and the operation that freed it if that is not durable.
    fn number(&mut self, volume: usize) -> (u64, Option<u64>) {
        let next = self.volumes[volume].next_inode;
        if self.reuses_inodes {
            let taken = self.taken(volume);
            if let Some(free) = (FIRST_INODE..next).find(|inode| !taken.contains(inode)) {
                return (free, self.freed_by(volume, free));
            }
        }
        self.volumes[volume].next_inode += 1;
        (next, None)
    }

    /// Numbers of what has a name or is open.
    fn taken(&self, volume: usize) -> BTreeSet<u64> {
        let mut taken = BTreeSet::new();
        for node in self.nodes.values().filter(|node| node.volume == volume) {
            match &node.body {
                Body::Directory(names) => {
                    taken.insert(node.inode);
                    taken.extend(names.now.values().map(|id| self.nodes[id].inode));
                }
                Body::File(file) if file.opens > 0 => {
                    taken.insert(node.inode);
                }
                _ => {}
            }
        }
        taken
    }

    fn freed_by(&self, volume: usize, inode: u64) -> Option<u64> {
        let freed = |edit: &Edit| {
            let was = edit.was.and_then(|id| self.nodes.get(&id));
            was.is_some_and(|node| node.volume == volume && node.inode == inode)
        };
        let last = self.pending.iter().rev();
        last.into_iter()
            .find(|operation| operation.edits.iter().any(freed))
            .map(|operation| operation.number)
    }

    pub fn make_directory(&mut self, at: NodeId, name: &[u8]) -> Result<NodeId, Errno> {
        self.make(at, name, Body::Directory(Names::default()))
    }

    pub fn make_link(&mut self, at: NodeId, name: &[u8]) -> Result<NodeId, Errno> {
        self.make(at, name, Body::Link)
    }

    pub fn make_file(
        &mut self,
        at: NodeId,
        name: &[u8],
        maker: Maker,
        mtime_ns: i64,
    ) -> Result<NodeId, Errno> {
        let file = File {
            maker,
            content: Vec::new(),
            mtime_ns,
            unreadable: false,
            synced: None,
            opens: 0,
        };
        self.make(at, name, Body::File(file))
    }

    pub fn unlink(&mut self, at: NodeId, name: &[u8]) -> Result<(), Errno> {
        let node = self.child(at, name)?;
        if self.names(node).is_ok() {
            return Err(Errno::ISDIR);
        }
        self.may_write(at)?;
        self.edit(vec![(at, name.to_vec(), None)], None);
        Ok(())
    }

    pub fn rename(
        &mut self,
        (at, name): (NodeId, &[u8]),
        (to, to_name): (NodeId, &[u8]),
        replaces: bool,
    ) -> Result<(), Errno> {
        let node = self.movable((at, name), to)?;
        if !replaces {
            self.free(to, to_name)?;
        }
        let changes = vec![
            (at, name.to_vec(), None),
            (to, to_name.to_vec(), Some(node)),
        ];
        self.edit(changes, None);
        Ok(())
    }

    pub fn link(
        &mut self,
        from: (NodeId, &[u8]),
        (to, to_name): (NodeId, &[u8]),
    ) -> Result<(), Errno> {
        let node = self.movable(from, to)?;
        self.free(to, to_name)?;
        self.edit(vec![(to, to_name.to_vec(), Some(node))], None);
        Ok(())
    }

    fn movable(&self, (at, name): (NodeId, &[u8]), to: NodeId) -> Result<NodeId, Errno> {
        if self.node(at)?.volume != self.node(to)?.volume {
            return Err(Errno::XDEV);
        }
        let node = self.child(at, name)?;
        self.may_write(at)?;
        Ok(node)
    }

    // What opens.

    pub fn opened(&mut self, id: NodeId) {
        if let Ok(file) = self.file_mut(id) {
            file.opens += 1;
        }
    }

    pub fn closed(&mut self, id: NodeId, process: u64) {
        if process != self.process {
            return;
        }
        if let Ok(file) = self.file_mut(id) {
            file.opens -= 1;
        }
    }

    /// The process ended: its locks and open files are no more.
    pub fn end_process(&mut self) {
        self.process += 1;
        self.locks.clear();
        for node in self.nodes.values_mut() {
            if let Body::File(file) = &mut node.body {
                file.opens = 0;
            }
        }
    }

    // Mounts.

    /// Mounts a new volume on a directory.
    pub fn mount_new(&mut self, at: NodeId) {
        let volume = self.add_volume();
        self.mounts.insert(at, volume);
    }

    /// The mount point whose volume has this root.
    fn mount_point(&self, root: NodeId) -> Option<NodeId> {
        let mut mounts = self.mounts.iter();
        mounts
            .find(|(_, volume)| self.volumes[**volume].root == root)
            .map(|(at, _)| *at)
    }

    /// What is mounted at this root goes; the directory below shows.
    pub fn unmount(&mut self, root: NodeId) {
        let at = self.mount_point(root).expect("something is mounted here");
        let volume = self.mounts.remove(&at).expect("it was found");
        self.unmounted.insert(at, volume);
    }

    /// What was mounted on this directory comes back.
    pub fn mount(&mut self, at: NodeId) {
        let volume = self.unmounted.remove(&at).expect("it was unmounted here");
        self.mounts.insert(at, volume);
    }

    pub fn set_read_only(&mut self, at: NodeId, read_only: bool) {
        let volume = self.node(at).expect("it is there").volume;
        self.volumes[volume].read_only = read_only;
    }
}
