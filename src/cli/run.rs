//! `lakeward run`.

use super::args::Run;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Run) -> anyhow::Result<Exit> {
    anyhow::bail!("`run` is not built yet")
}
