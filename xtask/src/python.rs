//! Environments of Python below the target directory, each with the packages of one purpose.

use crate::{command, workspace};
use anyhow::{Context as _, Result};
use std::{path::PathBuf, process::Command};

/// Creates or updates the environment of this name, and returns its directory.
pub(crate) fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = workspace::target(&workspace::root()?).join(name);
    let python = folder.join("bin/python");
    if !python.exists() {
        command::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("Python cannot create an environment: on Debian, `apt-get install python3-venv`")?;
    }
    command::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages),
    )?;
    Ok(folder)
}
