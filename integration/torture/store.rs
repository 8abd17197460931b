//! A MinIO that is killed and started again, behind a proxy that spoils exchanges.

use std::time::Duration;

use super::chance::Chance;
use super::killing::{Mayhem, sleep};
use super::onlooker::Pause;
use crate::means::OwnMinio;
use crate::proxy::{Fate, Kind, Proxy};

pub const SECRET: &str = "own-minio-secret";

/// Each in turn; those with a time are drawn anew.
const FATES: [&str; 13] = [
    "requests cut",
    "requests halved",
    "requests delayed",
    "requests repeated",
    "answers lost after the work",
    "answers halved",
    "answers delayed",
    "answers overtaken by later ones",
    "500 without the work",
    "503 without the work",
    "500 after the work",
    "503 after the work",
    "412 without the work",
];

pub struct Storm<'a> {
    pub minio: &'a mut OwnMinio,
    pub proxy: &'a Proxy,
    pub pause: Pause,
    down: bool,
}

impl<'a> Storm<'a> {
    pub fn new(minio: &'a mut OwnMinio, proxy: &'a Proxy, pause: Pause) -> Self {
        Self {
            minio,
            proxy,
            pause,
            down: false,
        }
    }
}

impl Mayhem for Storm<'_> {
    fn strike(&mut self, chance: &mut Chance) -> Option<String> {
        if chance.one_in(10) {
            self.pause.begin();
            self.minio.down();
            self.down = true;
            return Some("MinIO killed and started again".to_owned());
        }
        let what = chance.pick(&FATES);
        let share = chance.pick(&[1, 2, 4, 10]);
        let mut own = chance.fork();
        self.proxy.decide(move |kind| {
            if own.one_in(share) {
                fate(what, kind, &mut own)
            } else {
                Fate::Passed
            }
        });
        Some(what.to_owned())
    }

    fn relent(&mut self) {
        self.proxy.relent();
        if self.down {
            self.minio.up(SECRET);
            self.pause.end();
            self.down = false;
        }
    }

    /// All that was delayed has arrived.
    fn settle(&mut self) {
        self.relent();
        while !self.proxy.is_quiet() {
            sleep(10);
        }
    }

    /// A store that lies about its work may look like one that cannot be used; to run again is safe.
    fn codes(&self) -> &[i32] {
        &[0, 4, 75]
    }
}

fn fate(what: &str, kind: Kind, chance: &mut Chance) -> Fate {
    let writes = matches!(kind, Kind::Put | Kind::Complete);
    let time = Duration::from_millis(chance.below(1_500));
    match what {
        "requests cut" => Fate::Cut,
        "requests halved" => Fate::HalfSent,
        "requests delayed" => Fate::SentLate(time),
        "requests repeated" => Fate::Repeated,
        "answers lost after the work" => Fate::Unanswered,
        "answers halved" => Fate::HalfAnswered,
        "answers delayed" => Fate::AnsweredLate(time),
        "answers overtaken by later ones" => Fate::Overtaken,
        "500 without the work" => Fate::Refused(500),
        "503 without the work" => Fate::Refused(503),
        "500 after the work" => Fate::Denied(500),
        "503 after the work" => Fate::Denied(503),
        // Only what has a condition can fail to meet it.
        "412 without the work" if writes => Fate::Refused(412),
        _ => Fate::Passed,
    }
}
