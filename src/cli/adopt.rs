//! `lakeward adopt`.

use super::args::Adopt;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Adopt) -> anyhow::Result<Exit> {
    anyhow::bail!("`adopt` is not built yet")
}
