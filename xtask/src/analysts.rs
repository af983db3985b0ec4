//! `cargo xtask analysts`: a Python environment with the readers that the tests ask about recordings and exports. It
//! lies in the folder of build products, and nothing but those tests uses it.

use crate::{command, workspace};
use anyhow::{Context as _, Result};
use std::process::Command;

/// What the tests were written against.
const PACKAGES: [&str; 4] = ["pyarrow==26.0.1", "duckdb==2.0.0", "chdb==4.4.0", "pytz"];

/// Makes the environment, or brings it up to date.
pub(crate) fn run() -> Result<()> {
    let folder = workspace::target(&workspace::root()?).join("analysts");
    let python = folder.join("bin/python");
    if !python.exists() {
        command::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("Python cannot make an environment: on Debian, `apt-get install python3-venv`")?;
    }
    command::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES),
    )?;
    println!("pyarrow, DuckDB and chdb are in {}", folder.display());
    Ok(())
}
