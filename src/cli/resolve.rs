//! `lakeward resolve`: ends a batch whose staged copies and spooled files are both gone.

use super::args::Resolve;
use super::{Context, Exit};
use crate::journal::Request;
use crate::segment::BatchNumber;

pub fn run(context: &Context, args: &Resolve) -> anyhow::Result<Exit> {
    let config = context.config()?;
    super::check_name(&config, &args.name)?;
    super::request(
        &config,
        &[Request::Resolve {
            pipeline: args.name.clone(),
            batch: BatchNumber(args.batch),
        }],
    )
}
