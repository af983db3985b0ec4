//! Where the `tcptrace` binary under test is: `TCPTRACE_BIN`, or built by the cargo that runs the test. A test that no
//! cargo runs, or that runs as root for a user who built it, takes what was built beside it and compiles nothing.

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

/// Path of the binary, built at most once in a process.
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

/// Whether the binary is optimised for speed: cargo puts what the release profile makes into a folder of that
/// name.
#[must_use]
pub fn is_release_build() -> bool {
    let folder = path().parent();
    folder.is_some_and(|folder| folder.ends_with("release"))
}

/// Whether what is compiled here belongs to the user who compiled the test.
fn owns_the_products() -> bool {
    let owner = env::current_exe().and_then(fs::metadata);
    owner.is_ok_and(|program| program.uid() == geteuid().as_raw())
}

/// The binary of the same build: tests lie in a folder below it.
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
