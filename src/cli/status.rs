//! `lakeward status`.

use super::args::Status;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Status) -> anyhow::Result<Exit> {
    anyhow::bail!("`status` is not built yet")
}
