//! `lakeward files`.

use super::args::Files;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Files) -> anyhow::Result<Exit> {
    anyhow::bail!("`files` is not built yet")
}
