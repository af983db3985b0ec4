//! The path of the `tcptrace` binary under test: `TCPTRACE_BIN`, or built by the cargo that runs the test. If no cargo
//! runs the test, or if it runs as root for a user who built it, the binary next to it is used and nothing is compiled.

use nix::unistd::geteuid;
use serde_json::Value;
use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

const BINARY: &str = "tcptrace";

/// The path of the binary, which is built at most once per process.
pub fn path() -> &'static Path {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let path = PATH.get_or_init(|| match env::var_os("TCPTRACE_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => match env::var_os("CARGO").filter(|_| owns_the_products()) {
            Some(cargo) => build(&cargo),
            None => beside(),
        },
    });
    path.as_ref().unwrap_or_else(|failure| panic!("{failure}"))
}

/// Whether the binary is in cargo's folder for the release profile.
#[must_use]
pub fn is_release_build() -> bool {
    let folder = path().parent();
    folder.is_some_and(|folder| folder.ends_with("release"))
}

/// Whether this user compiled the test.
fn owns_the_products() -> bool {
    let owner = env::current_exe().and_then(fs::metadata);
    owner.is_ok_and(|program| program.uid() == geteuid().as_raw())
}

/// The binary of the same build: tests are in a folder below it.
fn beside() -> Result<PathBuf, String> {
    let this_test = env::current_exe().map_err(|error| format!("a process has a program: {error}"))?;
    let binary = this_test
        .ancestors()
        .skip(2)
        .map(|folder| folder.join(BINARY))
        .next();
    binary.filter(|binary| binary.is_file()).ok_or_else(|| {
        format!(
            "no {BINARY} was built beside {}: `cargo xtask test` builds both, TCPTRACE_BIN names another",
            this_test.display()
        )
    })
}

fn build(cargo: &OsStr) -> Result<PathBuf, String> {
    let mut cargo = Command::new(cargo);
    cargo
        .args(["build", "--quiet", "--bin", BINARY])
        // With a test, cargo enables the same features as `cargo test`, so that nothing is built twice.
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

/// The target directory that this test was built in.
pub(crate) fn target_directory() -> Option<PathBuf> {
    let this_test = env::current_exe().ok()?;
    this_test
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .map(Path::to_path_buf)
}
