//! `cargo xtask arrow-readers`: a Python environment with the Arrow and Parquet readers to which the tests compare recordings
//! and exports. It is below the target directory, and only those tests use it.

use crate::python;
use anyhow::Result;

/// The versions that the tests were written for.
const PACKAGES: [&str; 4] = ["pyarrow==26.0.1", "duckdb==2.0.0", "chdb==4.4.0", "pytz"];

/// Creates or updates the environment.
pub(crate) fn run() -> Result<()> {
    let folder = python::environment("arrow-readers", &PACKAGES)?;
    println!("pyarrow, DuckDB and chdb are in {}", folder.display());
    Ok(())
}
