//! What befalls a machine while no process runs: its power, its journal, its lake's mount, a file that somebody changes unseen.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lakeward::journal::FileState;

use lakeward::segment::Digest;

use super::acts::{lock, place};
use super::driver::Run;
use super::lake::{Kind as LakeKind, tear_directory};
use super::place::PIPELINE;
use super::plan::{Act, Power};
use super::records::ids_in;

impl Run<'_> {
    /// All that waited for the end of the process.
    pub(super) fn befall(&self) {
        loop {
            let act = lock(&self.stage).between.pop_front();
            let Some(act) = act else { return };
            lock(&self.stage).forget_payloads();
            self.world.note(&format!("{act:?}"));
            match act {
                Act::BackUp => {
                    *self.backup.lock().expect("one thread") = Some(self.journal.backup());
                }
                // Whoever sets a machine up again mounts what belongs to it.
                Act::Lose => {
                    self.show_lake();
                    self.journal.lose();
                    self.made.fetch_add(1, Ordering::SeqCst);
                }
                Act::Restore => {
                    self.show_lake();
                    self.made.fetch_add(1, Ordering::SeqCst);
                    if let Some(backup) = &*self.backup.lock().expect("one thread") {
                        self.journal.restore(backup);
                    }
                }
                Act::HideLake => self.hide_lake(),
                Act::ShowLake => {
                    self.show_lake();
                }
                Act::Overwrite { drop } => self.overwrite(drop),
                _ => {}
            }
        }
    }

    /// Nobody can tell an empty lake from one that is not there before something was committed to it.
    fn hide_lake(&self) {
        let committed = self
            .journal
            .read(Arc::clone(&self.clock))
            .and_then(|journal| journal.pipelines().ok())
            .is_some_and(|rows| rows.iter().any(|row| row.committed.0 > 0));
        let mut stage = lock(&self.stage);
        if committed && !stage.checker.is_hidden() {
            stage.checker.look();
            self.lake.hide();
            self.place.hide_staging(true);
            stage.checker.hide(true);
        }
    }

    /// Also what an operator does who is asked whether it is mounted.
    pub(super) fn show_lake(&self) -> bool {
        let mut stage = lock(&self.stage);
        if !stage.checker.is_hidden() {
            return false;
        }
        stage.checker.look();
        self.lake.show();
        self.place.hide_staging(false);
        stage.checker.hide(false);
        true
    }

    /// Only of a file of which some has landed and some was not read yet: what was read to its end is nowhere compared again.
    fn overwrite(&self, drop: usize) {
        let mut stage = lock(&self.stage);
        let Some(path) = stage.standing(drop) else {
            return;
        };
        let Some(journal) = self.journal.read(Arc::clone(&self.clock)) else {
            return;
        };
        let rows = journal.files_in(PIPELINE, &[FileState::Reading]);
        let stat = self.disk.stat(place(&path));
        let is_half = rows.unwrap_or_default().iter().any(|row| {
            row.path.to_string() == path
                && row.stat == stat
                && row.checkpoint > 0
                && row.decoded.is_none()
        });
        if !is_half {
            return;
        }
        let before = &stage.drops[drop].bytes;
        let mut text = before.clone();
        let at = before.windows(6).position(|part| part == b"\"id\":\"");
        let Some(at) = at else { return };
        text[at + 6] = b'X';
        self.disk.overwrite(place(&path), &text, true);
        stage.drops[drop].touched = true;
        let first = ids_in(&text).swap_remove(0);
        stage.drops[drop].more.push(first);
    }

    /// For a search that knows which states it has been in: where the power never goes, durable or not makes no difference.
    pub(super) fn align(&self) {
        if self.plan.power == Power::Never {
            self.lake.settle();
            self.disk.settle();
        }
        self.world.align();
    }

    /// A digest of all that a later process finds, and of all that decides what befalls it.
    pub(super) fn state(&self) -> Option<u128> {
        let mut text = format!(
            "{} {:?} {} {}",
            self.world.deaths(),
            self.made,
            self.lake.describe(),
            self.disk.describe()
        );
        text += &self.journal.describe()?;
        let mut bytes = text.into_bytes();
        for (name, contents) in self.place.staged() {
            bytes.extend(name.as_encoded_bytes());
            bytes.extend(contents);
        }
        Some(Digest::of(&bytes).0)
    }

    /// A process died, and perhaps the machine with it.
    pub(super) fn lose_power(&self) {
        let cut = match self.plan.power {
            Power::Never => false,
            Power::Always => true,
            Power::Later => self.world.deaths() > 1,
            Power::OnceIn(often) => self.world.below(often) == 0,
        };
        if cut {
            self.world.note("the power goes");
            self.lake.power_cut(&self.world);
            self.disk.power_cut(&self.world);
            if self.plan.lake != LakeKind::Local {
                tear_directory(&self.world, &self.place.staging());
            }
        }
    }
}
