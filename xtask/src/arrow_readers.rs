//! `cargo xtask arrow-readers`: a Python environment with the Arrow and Parquet readers to which the tests compare recordings
//! and exports. It is below the target directory, and only those tests use it.

use crate::{command, workspace};
use anyhow::{Context as _, Result};
use std::process::Command;

/// The versions that the tests were written for.
const PACKAGES: [&str; 4] = ["pyarrow==26.0.1", "duckdb==2.0.0", "chdb==4.4.0", "pytz"];

/// Creates or updates the environment.
pub(crate) fn run() -> Result<()> {
    let folder = workspace::target(&workspace::root()?).join("arrow-readers");
    let python = folder.join("bin/python");
    if !python.exists() {
        command::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("Python cannot create an environment: on Debian, `apt-get install python3-venv`")?;
    }
    command::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES),
    )?;
    println!("pyarrow, DuckDB and chdb are in {}", folder.display());
    Ok(())
}
