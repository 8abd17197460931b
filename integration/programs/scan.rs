//! One scan of a spool, for `make bench`: `scan CONFIG` says how many files the first pipeline's spool shows.

use lakeward::clock::{Clock, SystemClock};
use lakeward::config::load;
use lakeward::spool::Spool;
use lakeward::spool::local::LocalSpool;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("scan CONFIG")?;
    let config = load(std::path::Path::new(&path))?;
    let spool = LocalSpool::new(config.pipelines[0].source.spool.clone())?;
    let mut files = 0_u64;
    spool.scan(SystemClock::default().now_ns(), &mut |_| {
        files += 1;
        std::ops::ControlFlow::Continue(())
    })?;
    println!("{files}");
    Ok(())
}
