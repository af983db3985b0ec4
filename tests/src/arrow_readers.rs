//! Third-party readers of tcptrace's files: pyarrow, DuckDB and ClickHouse's engine, in the Python environment of
//! `cargo xtask arrow-readers`. Runs one script at a time.

use crate::{binary, command::Output};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// No compiled modules, which would belong to root in the user's folder.
const WRITES_NOTHING: &str = "-B";

/// The reason why the readers cannot be used, `None` if they can.
#[must_use]
pub fn unmet() -> Option<String> {
    let python = python()?;
    let missing = || {
        format!(
            "no pyarrow, duckdb and chdb in {}: `cargo xtask setup --tests`",
            python.display()
        )
    };
    let script = "import pyarrow, duckdb, chdb, pytz";
    match Command::new(&python)
        .args([WRITES_NOTHING, "-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
    {
        Ok(status) if status.success() => None,
        Ok(_) | Err(_) => Some(missing()),
    }
}

/// Runs `script` with its arguments in `folder`, to its end.
#[must_use]
pub fn run(folder: &Path, script: &str, arguments: &[&str]) -> Output {
    let python = python().expect("the requirement was checked");
    let output = Command::new(python)
        .args([WRITES_NOTHING, "-c", script])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the interpreter can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a script prints text");
    Output {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The interpreter of the environment, in the target directory.
fn python() -> Option<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .or_else(binary::target_directory)?;
    Some(target.join("arrow-readers/bin/python"))
}
