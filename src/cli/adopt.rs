//! `lakeward adopt`: takes over, on purpose, a spool that belongs to another journal.

use super::args::Adopt;
use super::{Context, Exit, Failure, Ports};
use crate::journal::Journal as _;
use crate::pipeline::{Stop, read_claim, write_claim};
use crate::spool::Claim;

pub fn run(context: &Context, args: &Adopt) -> anyhow::Result<Exit> {
    let config = context.config()?;
    super::check_name(&config, &args.name)?;
    let Some(pipeline) = config.pipelines.iter().find(|p| p.name == args.name) else {
        return Ok(Exit::Done);
    };
    let runtime = super::runtime()?;
    let journal = super::done(crate::agent::open_journal(
        &config.agent,
        None,
        &Stop::default(),
    ))?;
    let spool = Ports::spool(pipeline)?;
    let lake = Ports::lake(pipeline, &runtime)?;
    let _lock = super::done(spool.lock().map_err(Into::into))?.ok_or_else(|| {
        Failure::new(
            Exit::Locked,
            format!(
                "spool `{}` is in use by a live agent: stop it first",
                pipeline.source.spool.path.display()
            ),
        )
    })?;
    let before = super::done(read_claim(spool.as_ref(), lake.as_ref(), &args.name))?;
    if let Some(claim) = &before
        && claim.journal != journal.id()
    {
        // The other agent stops there, should it come to life again.
        super::done(crate::rebuild::close_foreign(
            lake.as_ref(),
            &claim.pipeline,
            claim.journal,
            journal.id(),
        ))?;
    }
    let known = super::done(journal.pipelines().map_err(Into::into))?
        .into_iter()
        .find(|row| row.name == args.name);
    let spool_id = match (&known, &before) {
        (Some(row), _) => row.spool,
        (None, Some(claim)) => claim.spool,
        (None, None) => super::done(crate::pipeline::random_id())?,
    };
    let claim = Claim {
        spool: spool_id,
        pipeline: args.name.clone(),
        journal: journal.id(),
        journal_path: config
            .agent
            .state_dir
            .join("journal.db")
            .display()
            .to_string(),
        directory: None,
    };
    super::done(write_claim(spool.as_ref(), lake.as_ref(), claim))?;
    let was = before.map_or_else(
        || "had no claim".to_owned(),
        |claim| {
            format!(
                "belonged to journal {} (`{}`)",
                claim.journal, claim.journal_path
            )
        },
    );
    super::print(&format!(
        "spool `{}` {was}; it belongs to journal {} now. Files that the other journal had begun land from their beginning.\n",
        pipeline.source.spool.path.display(),
        journal.id()
    ))?;
    super::done(journal.close().map_err(Into::into))?;
    Ok(Exit::Done)
}
