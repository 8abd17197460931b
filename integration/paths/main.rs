//! What the hot paths cost, each by itself, on the same small input each time.
//!
//! ```console
//! $ cargo bench --bench paths                    # wall time
//! $ cargo bench --bench paths -- decode          # of one
//! $ make bench-check                             # instructions, against those that are committed
//! ```
//!
//! For `make bench-check` this program is run under callgrind as `paths count NAME TIMES`: it makes its input and goes the path
//! so many times. What another time adds is what the path costs, without the program's start and the input.

mod input;
mod work;

use work::PATHS;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["names"] => {
            for (name, _) in PATHS {
                println!("{name}");
            }
        }
        ["count", name, times] => count(name, times.parse().expect("a number of times")),
        _ => divan::main(),
    }
}

fn count(name: &str, times: usize) {
    let (_, path) = PATHS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a path that `names` lists");
    let mut go = path(times);
    for _ in 0..times {
        go();
    }
}

#[divan::bench(args = PATHS.iter().map(|(name, _)| *name), sample_count = 30, sample_size = 1)]
fn paths(bencher: divan::Bencher, name: &str) {
    let (_, path) = PATHS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a known path");
    bencher.with_inputs(|| path(1)).bench_local_refs(|go| go());
}
