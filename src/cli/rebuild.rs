//! `lakeward rebuild`.

use super::args::Rebuild;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Rebuild) -> anyhow::Result<Exit> {
    anyhow::bail!("`rebuild` is not built yet")
}
