//! What of the model is durable: what a sync makes so, and what a power cut leaves.

use std::collections::BTreeSet;

use rustix::io::Errno;

use super::{Body, Edit, File, Model, NodeId, Operation};

impl Model {
    pub fn sync_file(&mut self, id: NodeId) -> Result<(), Errno> {
        let file = self.file_mut(id)?;
        file.synced = Some((file.content.clone(), file.mtime_ns));
        Ok(())
    }

    /// The power could have gone in the middle: half of what was written is on the disk.
    pub fn sync_file_half(&mut self, id: NodeId) -> Result<(), Errno> {
        let file = self.file_mut(id)?;
        let half = file.content.len() / 2;
        let (mut content, mtime_ns) = file.synced.take().unwrap_or((Vec::new(), file.mtime_ns));
        let behind = content.split_off(content.len().min(half));
        content = [&file.content[..half], &behind].concat();
        file.synced = Some((content, mtime_ns));
        Ok(())
    }

    pub fn sync_directory(&mut self, at: NodeId) -> Result<(), Errno> {
        self.sync_some(at, usize::MAX)
    }

    /// Half of the directory's changes, the older ones.
    pub fn sync_directory_half(&mut self, at: NodeId) -> Result<(), Errno> {
        let count = self.touching(at).len();
        self.sync_some(at, count / 2)
    }

    fn sync_some(&mut self, at: NodeId, most: usize) -> Result<(), Errno> {
        self.names(at)?;
        for index in self.touching(at).into_iter().take(most) {
            self.force_after(index);
            let mut removes = false;
            for edit in 0..self.pending[index].edits.len() {
                let of_this = &self.pending[index].edits[edit];
                if of_this.directory == at {
                    removes |= of_this.is.is_none();
                    self.force_edit(index, edit);
                }
            }
            // A rename never leaves a file without any name.
            if removes {
                for edit in 0..self.pending[index].edits.len() {
                    let Edit { directory, is, .. } = self.pending[index].edits[edit];
                    if is.is_some() {
                        self.force_edit(index, edit);
                        self.force_way(directory);
                    }
                }
            }
        }
        self.forget();
        Ok(())
    }

    fn touching(&self, at: NodeId) -> Vec<usize> {
        let touches = |operation: &Operation| {
            let mut edits = operation.edits.iter();
            edits.any(|edit| edit.directory == at && !edit.durable)
        };
        let all = self.pending.iter().enumerate();
        all.filter(|(_, operation)| touches(operation))
            .map(|(index, _)| index)
            .collect()
    }

    /// An inode's number is durably another file's only where it was durably freed.
    fn force_after(&mut self, index: usize) {
        let Some(number) = self.pending[index].after else {
            return;
        };
        let Some(before) = self.pending.iter().position(|op| op.number == number) else {
            return;
        };
        self.force_after(before);
        for edit in 0..self.pending[before].edits.len() {
            self.force_edit(before, edit);
        }
    }

    /// What is renamed into a new directory is found there.
    fn force_way(&mut self, directory: NodeId) {
        for index in 0..self.pending.len() {
            for edit in 0..self.pending[index].edits.len() {
                let of_this = &self.pending[index].edits[edit];
                if of_this.is == Some(directory) && !of_this.durable {
                    let above = of_this.directory;
                    self.force_after(index);
                    self.force_edit(index, edit);
                    self.force_way(above);
                }
            }
        }
    }

    fn force_edit(&mut self, index: usize, edit: usize) {
        let Edit {
            directory,
            ref name,
            is,
            durable,
            ..
        } = self.pending[index].edits[edit];
        if durable {
            return;
        }
        let name = name.clone();
        for operation in &mut self.pending[..=index] {
            for edit in &mut operation.edits {
                edit.durable |= edit.directory == directory && edit.name == name;
            }
        }
        let names = &mut self.names_mut(directory).durable;
        match is {
            Some(node) => names.insert(name, node),
            None => names.remove(&name),
        };
    }

    /// Everything is written back, as it is after some minutes without a power cut.
    pub fn settle(&mut self) {
        self.pending.clear();
        for node in self.nodes.values_mut() {
            match &mut node.body {
                Body::File(file) => file.synced = Some((file.content.clone(), file.mtime_ns)),
                Body::Directory(names) => names.durable = names.now.clone(),
                Body::Link => {}
            }
        }
        self.forget();
    }

    /// The power goes and comes again. `below(n)` is a chance in `0..n`.
    pub fn cut_power(&mut self, below: &mut dyn FnMut(u64) -> u64) {
        self.decide_names(below);
        self.end_process();
        for node in self.nodes.values_mut() {
            match &mut node.body {
                Body::File(file) => file.decide_content(below),
                Body::Directory(names) => names.now = names.durable.clone(),
                Body::Link => {}
            }
        }
        if below(2) == 0 {
            for volume in &mut self.volumes {
                volume.device += 16;
            }
        }
        self.forget();
    }

    fn decide_names(&mut self, below: &mut dyn FnMut(u64) -> u64) {
        let mode = below(3);
        // In one directory nothing lasts that came after something that did not: file systems log in order.
        let mut lost: BTreeSet<NodeId> = BTreeSet::new();
        let mut lost_operations = BTreeSet::new();
        for index in 0..self.pending.len() {
            let operation = &self.pending[index];
            let mut edits = operation.edits.iter();
            let stands_on_lost = operation
                .after
                .is_some_and(|number| lost_operations.contains(&number))
                || edits.any(|edit| {
                    lost.contains(&edit.directory) && (!edit.durable || edit.is.is_some())
                });
            let keeps = !stands_on_lost && (mode == 1 || (mode == 2 && below(2) == 0));
            if keeps {
                for edit in 0..self.pending[index].edits.len() {
                    self.force_edit(index, edit);
                }
                continue;
            }
            lost_operations.insert(operation.number);
            for edit in operation.edits.iter().filter(|edit| !edit.durable) {
                lost.insert(edit.directory);
                lost.extend(edit.is);
            }
        }
        self.pending.clear();
    }

    /// Drops what nothing leads to any more.
    fn forget(&mut self) {
        self.pending
            .retain(|operation| operation.edits.iter().any(|edit| !edit.durable));
        let mut kept: BTreeSet<NodeId> = self.volumes.iter().map(|volume| volume.root).collect();
        for node in self.nodes.values() {
            if let Body::Directory(names) = &node.body {
                kept.extend(names.now.values().chain(names.durable.values()));
            }
        }
        for edit in self.pending.iter().flat_map(|operation| &operation.edits) {
            kept.extend(edit.was.iter().chain(&edit.is));
        }
        self.nodes.retain(|id, node| {
            kept.contains(id) || matches!(&node.body, Body::File(file) if file.opens > 0)
        });
    }
}

impl File {
    fn decide_content(&mut self, below: &mut dyn FnMut(u64) -> u64) {
        let is_durable = self.synced.as_ref().is_some_and(|(content, mtime_ns)| {
            *content == self.content && *mtime_ns == self.mtime_ns
        });
        if !is_durable {
            let (old, old_mtime_ns) = self.synced.take().unwrap_or((Vec::new(), self.mtime_ns));
            match below(4) {
                0 => {
                    self.content = old;
                    self.mtime_ns = old_mtime_ns;
                }
                1 => {}
                2 => self.tear(&old, below),
                _ => self.zero(&old),
            }
        }
        self.synced = Some((self.content.clone(), self.mtime_ns));
    }

    /// The beginning is as written, behind it stands what stood there.
    fn tear(&mut self, old: &[u8], below: &mut dyn FnMut(u64) -> u64) {
        let at = below(self.content.len() as u64 + 1) as usize;
        self.content.truncate(at);
        self.content.extend_from_slice(old.get(at..).unwrap_or(&[]));
    }

    /// The length is as written, what was added is zeros.
    fn zero(&mut self, old: &[u8]) {
        let from = old.len().min(self.content.len());
        self.content[from..].fill(0);
    }
}
