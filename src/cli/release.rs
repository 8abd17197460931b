//! `lakeward release`.

use super::args::Release;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Release) -> anyhow::Result<Exit> {
    anyhow::bail!("`release` is not built yet")
}
