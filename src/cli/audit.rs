//! `lakeward audit`.

use super::args::Audit;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Audit) -> anyhow::Result<Exit> {
    anyhow::bail!("`audit` is not built yet")
}
