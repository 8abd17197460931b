//! `lakeward audit`.

use std::fmt::Write as _;

use super::args::Audit as Args;
use super::{Context, Exit, Failure, Ports};
use crate::audit::{Audit, audit_journal, audit_lake};

pub fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let journal = super::read_journal(&config)?.ok_or_else(|| {
        Failure::new(
            Exit::Stopped,
            format!(
                "there is no journal in `{}` yet; `lakeward run` makes one",
                config.agent.state_dir.display()
            ),
        )
    })?;
    let runtime = super::runtime()?;
    let mut audit = Audit::default();
    let scratch = Scratch::make(&config.agent.state_dir)?;
    for pipeline in &config.pipelines {
        let whole = pipeline.source.history.is_none();
        super::done(audit_journal(
            journal.as_ref(),
            &pipeline.name,
            whole,
            &mut audit,
        ))?;
        if args.deep {
            let lake = Ports::lake(pipeline, &runtime)?;
            super::done(audit_lake(
                journal.as_ref(),
                &pipeline.name,
                lake.as_ref(),
                &scratch.0,
                &mut audit,
            ))?;
        }
    }
    audit.balanced = audit.conflicts.is_empty() && (!args.strict || audit.gone.is_empty());
    if args.json {
        super::print_json(&audit)?;
    } else {
        super::print(&text(&audit, args.deep))?;
    }
    Ok(if audit.balanced {
        Exit::Done
    } else {
        Exit::Stopped
    })
}

/// A directory for downloads, removed at the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn make(state_dir: &std::path::Path) -> anyhow::Result<Self> {
        let path = state_dir.join(format!("audit-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|e| Failure::new(Exit::Stopped, format!("make `{}`: {e}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is a copy of a landed file in a private directory.
        let _kept = std::fs::remove_dir_all(&self.0);
    }
}

fn text(audit: &Audit, deep: bool) -> String {
    let sum =
        |read: fn(&crate::audit::FileBalance) -> u64| -> u64 { audit.files.iter().map(read).sum() };
    let mut text = format!(
        "{} files, {} bytes = {} landed + {} rejected + {} skipped + {} quarantined + {} waiting; {} records landed\n",
        audit.files.len(),
        sum(|f| f.bytes),
        sum(|f| f.landed),
        sum(|f| f.rejected),
        sum(|f| f.skipped),
        sum(|f| f.quarantined),
        sum(|f| f.waiting),
        sum(|f| f.records),
    );
    // Writing to a string does not fail.
    if deep {
        let _ = writeln!(
            text,
            "{} data files looked at in the lake",
            audit.data_files
        );
    }
    for gone in &audit.gone {
        let _ = writeln!(text, "gone: {gone}");
    }
    for conflict in &audit.conflicts {
        let _ = writeln!(text, "imbalance: {conflict}");
    }
    text.push_str(if audit.balanced {
        "balanced\n"
    } else {
        "NOT balanced\n"
    });
    text
}
