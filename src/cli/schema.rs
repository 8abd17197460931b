//! `lakeward schema`.

use super::args::Schema;
use super::{Context, Exit};

pub fn run(_context: &Context, _args: &Schema) -> anyhow::Result<Exit> {
    anyhow::bail!("`schema` is not built yet")
}
