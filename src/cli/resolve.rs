//! `lakeward resolve`.

use super::args::Resolve;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Resolve) -> anyhow::Result<Exit> {
    anyhow::bail!("`resolve` is not built yet")
}
