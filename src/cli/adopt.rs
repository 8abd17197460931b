//! `lakeward adopt`: takes over, on purpose, a spool that belongs to another journal.

use super::args::Adopt;
use super::{Context, Exit};
use crate::journal::Request;

pub fn run(context: &Context, args: &Adopt) -> anyhow::Result<Exit> {
    let config = context.config()?;
    super::check_name(&config, &args.name)?;
    super::request(
        &config,
        &[Request::Adopt {
            pipeline: args.name.clone(),
        }],
    )
}
