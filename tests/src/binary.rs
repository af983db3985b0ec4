//! Where the `tcptrace` binary under test is: `TCPTRACE_BIN`, or built here by the cargo that built the test.

use serde_json::Value;
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

const BINARY: &str = "tcptrace";

/// Path of the binary, built at most once in a process.
pub fn path() -> &'static Path {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let path = PATH.get_or_init(|| match env::var_os("TCPTRACE_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => build(),
    });
    path.as_ref().unwrap_or_else(|failure| panic!("{failure}"))
}

/// Whether the binary is optimised for speed: cargo puts what the release profile makes into a folder of that
/// name.
#[must_use]
pub fn is_release_build() -> bool {
    let folder = path().parent();
    folder.is_some_and(|folder| folder.ends_with("release"))
}

fn build() -> Result<PathBuf, String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from(env!("CARGO"))));
    cargo
        .args(["build", "--quiet", "--bin", BINARY])
        // A test beside it makes cargo take the features that its dependencies have in `cargo test`: nothing is built
        // twice.
        .args(["--test", "terminal"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if let Some(directory) = target_directory() {
        cargo.arg("--target-dir").arg(directory);
    }
    let output = cargo
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo could not build tcptrace: {}", output.status));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == BINARY)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo names no executable".to_owned())
}

/// The target directory that this test itself was built in, so that nothing is compiled a second time.
pub(crate) fn target_directory() -> Option<PathBuf> {
    let this_test = env::current_exe().ok()?;
    this_test
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .map(Path::to_path_buf)
}
