//! `lakeward init`: writes the commented configuration, never over an existing file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::args::Init;
use super::{Context, Exit, Failure};

pub fn run(context: &Context, args: &Init) -> anyhow::Result<Exit> {
    let path = target(&context.global.config, args.dir.as_deref());
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).with_context(|| format!("make `{}`", dir.display()))?;
    }
    write(&path)?;
    super::print(&format!("wrote `{}`\n", path.display()))?;
    Ok(Exit::Done)
}

fn target(config: &Path, dir: Option<&Path>) -> PathBuf {
    match dir {
        Some(dir) => dir.join("lakeward.toml"),
        None => config.to_owned(),
    }
}

fn write(path: &Path) -> anyhow::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match made {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let message = format!(
                "`{}` is there already and is not overwritten; name another directory, or remove it first",
                path.display()
            );
            return Err(Failure::new(Exit::Usage, message).into());
        }
        Err(error) => return Err(error).with_context(|| format!("make `{}`", path.display())),
    };
    let written = file
        .write_all(crate::config::DEFAULT_TOML.as_bytes())
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Ours, made just now: half a configuration is worse than none.
        let _ = std::fs::remove_file(path);
        return Err(error).with_context(|| format!("write `{}`", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_loads_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = target(Path::new("lakeward.toml"), Some(dir.path()));
        write(&path).unwrap();
        crate::config::load(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let error = write(&path).unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, Exit::Usage);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
