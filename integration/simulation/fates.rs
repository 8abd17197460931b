//! What befalls the calls of a run: nothing, what a script says, or what chance says.

use super::world::{Chance, Ending, Fate, Fates, Part, Shape};

/// Nothing ever goes wrong.
pub struct Kind;

impl Fates for Kind {
    fn fate(&mut self, _number: u64, _shape: Shape, _chance: &mut Chance) -> Fate {
        Fate::PLAIN
    }
}

/// The fates at given calls, all others plain.
pub struct Script(pub Vec<(u64, Fate)>);

impl Fates for Script {
    fn fate(&mut self, number: u64, shape: Shape, _chance: &mut Chance) -> Fate {
        let at = self.0.iter().find(|(at, _)| *at == number);
        at.map_or(Fate::PLAIN, |(_, fate)| fitting(shape, *fate))
    }
}

/// Faults and deaths by chance, up to a number of each: what goes on for ever is a broken machine and proves nothing.
#[derive(Clone, Debug)]
pub struct Weather {
    /// A call is struck once in so many.
    pub once_in: u64,
    /// Of those that are struck, this share of four is a death.
    pub deaths_of_four: u64,
    pub deaths_left: u32,
    pub faults_left: u32,
}

impl Fates for Weather {
    fn fate(&mut self, _number: u64, shape: Shape, chance: &mut Chance) -> Fate {
        if !chance.once_in(self.once_in) {
            return Fate::PLAIN;
        }
        let death = chance.below(4) < self.deaths_of_four;
        let left = if death {
            &mut self.deaths_left
        } else {
            &mut self.faults_left
        };
        if *left == 0 {
            return Fate::PLAIN;
        }
        *left -= 1;
        let all = all(shape);
        let fates: Vec<Fate> = all
            .into_iter()
            .filter(|fate| (fate.ending == Ending::Death) == death)
            .collect();
        fates[chance.below(fates.len() as u64) as usize]
    }
}

/// All that can befall a call of this shape, beside nothing.
pub fn all(shape: Shape) -> Vec<Fate> {
    let parts: &[Part] = match shape {
        // Nothing is done there that could be halved.
        Shape::Look => &[Part::None],
        Shape::Atomic => &[Part::None, Part::All],
        Shape::Parts => &[Part::None, Part::Half, Part::All],
        Shape::Remote => &[Part::None, Part::All, Part::Late],
        Shape::RemoteParts => &[Part::None, Part::Half, Part::All, Part::Late],
    };
    parts
        .iter()
        .flat_map(|part| {
            [Ending::Lost, Ending::Death].map(|ending| Fate {
                part: *part,
                ending,
            })
        })
        .collect()
}

/// The fate if the shape can have it, otherwise the nearest that it can.
fn fitting(shape: Shape, fate: Fate) -> Fate {
    if fate == Fate::PLAIN || all(shape).contains(&fate) {
        return fate;
    }
    Fate {
        part: Part::None,
        ..fate
    }
}
