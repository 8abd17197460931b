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

pub struct Onlooker {
    stop: Arc<AtomicBool>,
    /// Whoever holds it keeps the reader from looking: while the server is down there is nothing to be seen.
    pub pause: Arc<Mutex<()>>,
    thread: JoinHandle<(u64, Option<String>)>,
}

impl Onlooker {
    pub fn start(lake: &Lake, mut chance: Chance) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pause = Arc::new(Mutex::new(()));
        let (seen, paused, lake) = (Arc::clone(&stop), Arc::clone(&pause), lake.open());
        let thread = std::thread::spawn(move || {
            let mut reader = Reader::of(lake);
            let mut looks = 0;
            while !seen.load(Ordering::SeqCst) {
                {
                    let _looking = paused.lock().unwrap();
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| reader.look())) {
                        return (looks, Some(words(panic.as_ref())));
                    }
                }
                looks += 1;
                std::thread::sleep(Duration::from_millis(chance.below(60)));
            }
            (looks, None)
        });
        Self {
            stop,
            pause,
            thread,
        }
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

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}
