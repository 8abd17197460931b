//! `lakeward release`: a quarantined file goes on, or counts as new.

use std::os::unix::ffi::OsStrExt as _;

use super::args::Release;
use super::{Context, Exit, Failure};
use crate::journal::{FileRow, FileState, Journal, Request};
use crate::segment::RelativePath;

pub fn run(context: &Context, args: &Release) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let journal = super::read_journal(&config)?.ok_or_else(|| {
        Failure::new(
            Exit::Stopped,
            "there is no journal yet, so nothing is quarantined",
        )
    })?;
    let mut requests = Vec::new();
    for path in &args.paths {
        let path = RelativePath::new(path.as_bytes())
            .map_err(|message| Failure::new(Exit::Usage, message))?;
        let names = config
            .pipelines
            .iter()
            .map(|pipeline| pipeline.name.as_str());
        let row = find(journal.as_ref(), names, &path)?;
        requests.push(Request::Release {
            file: row.id,
            as_new: args.as_new,
        });
    }
    drop(journal);
    super::request(&config, &requests)
}

fn find<'a>(
    journal: &dyn Journal,
    pipelines: impl Iterator<Item = &'a str>,
    path: &RelativePath,
) -> anyhow::Result<FileRow> {
    let mut found = Vec::new();
    for pipeline in pipelines {
        let row = super::done(journal.file_at(pipeline, path).map_err(Into::into))?;
        found.extend(row.map(|row| (pipeline.to_owned(), row)));
    }
    found.retain(|(_, row)| {
        row.state == FileState::Quarantined || crate::operator::aside(row).is_some()
    });
    match found.len() {
        1 => Ok(found.remove(0).1),
        0 => Err(Failure::new(
            Exit::Stopped,
            format!("`{path}` is not quarantined; `lakeward files` shows what is, with paths that count from the spool"),
        )
        .into()),
        _ => {
            let names: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
            Err(Failure::new(
                Exit::Usage,
                format!(
                    "`{path}` is quarantined in the pipelines {}: name one with --pipeline",
                    names.join(", ")
                ),
            )
            .into())
        }
    }
}
