//! Installs Debian packages.

use crate::command;
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// Installs the packages that are missing, as root.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if command::find("apt-get").is_none() {
        bail!("apt-get is not installed, and this command can only install Debian packages; missing: {list}");
    }
    let apt_get = || -> Result<Command> {
        let mut command = command::as_root("env")?;
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        Ok(command)
    };
    command::run(apt_get()?.arg("update"))?;
    command::run(
        apt_get()?
            .args(["install", "-y", "--no-install-recommends"])
            .args(&missing),
    )
    .with_context(|| format!("cannot install {list}"))
}

fn is_installed(package: &str) -> bool {
    let status = command::output(Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]));
    status.is_ok_and(|status| status == "install ok installed")
}
