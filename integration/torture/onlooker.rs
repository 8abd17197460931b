//! A reader who looks at the lake at moments that nobody chose, while the program is killed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::chance::Chance;
use super::ground::Lake;
use super::totals::Totals;
use crate::support::Reader;

/// Keeps the reader from looking: while the server is down there is nothing to be seen.
#[derive(Clone, Default)]
pub struct Pause {
    wanted: Arc<AtomicBool>,
    looking: Arc<Mutex<()>>,
}

impl Pause {
    /// Comes back when nobody looks any more.
    pub fn begin(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        drop(self.looking.lock().unwrap());
    }

    pub fn end(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }
}

pub struct Onlooker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Option<String>)>,
}

impl Onlooker {
    pub fn start(lake: &Lake, pause: Pause, mut chance: Chance) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, lake) = (Arc::clone(&stop), lake.open());
        let thread = std::thread::spawn(move || {
            let mut reader = Reader::of(lake);
            let mut looks = 0;
            while !seen.load(Ordering::SeqCst) {
                let looking = pause.looking.lock().unwrap();
                if !pause.wanted.load(Ordering::SeqCst) {
                    if let Err(wrong) = try_look(&mut reader) {
                        return (looks, Some(wrong));
                    }
                    looks += 1;
                }
                drop(looking);
                std::thread::sleep(Duration::from_millis(chance.below(60)));
            }
            (looks, None)
        });
        Self { stop, thread }
    }

    pub fn end(self, totals: &mut Totals) {
        self.stop.store(true, Ordering::SeqCst);
        let (looks, wrong) = self.thread.join().expect("the reader ends");
        totals.looks += looks;
        if let Some(wrong) = wrong {
            totals.wrong(format!("seen by a reader: {wrong}"));
        }
    }
}

/// A look, or what was wrong.
pub fn try_look(reader: &mut Reader) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| reader.look())).map_err(|panic| words(panic.as_ref()))
}

/// What a panic said.
pub fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}
