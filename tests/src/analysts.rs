//! Other people's readers of what tcptrace writes: pyarrow, DuckDB and ClickHouse's engine, in a Python environment of
//! their own that `cargo xtask analysts` makes. Runs one script in it at a time.

use crate::{binary, command::Said};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// No compiled modules beside the user's own, which root would then own.
const WRITES_NOTHING: &str = "-B";

/// Why they cannot be asked here, `None` where they can.
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
pub fn ask(folder: &Path, script: &str, arguments: &[&str]) -> Said {
    let python = python().expect("the requirement was checked");
    let output = Command::new(python)
        .args([WRITES_NOTHING, "-c", script])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the interpreter can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a script prints text");
    Said {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The environment's interpreter: in the folder of build products.
fn python() -> Option<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .or_else(binary::target_directory)?;
    Some(target.join("analysts/bin/python"))
}
