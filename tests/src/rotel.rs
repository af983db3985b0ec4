//! A real OpenTelemetry collector: rotel, in the Python environment of `cargo xtask setup --tests`.

use crate::binary;
use std::{
    env,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Where it listens, on 127.0.0.1 of a network namespace of the test's own.
pub const HTTP: u16 = 4318;
pub const GRPC: u16 = 4317;

/// The reason why it cannot be used, `None` if it can.
#[must_use]
pub fn unmet() -> Option<String> {
    match program() {
        Some(program) if program.exists() => None,
        Some(program) => Some(format!("no {}: `cargo xtask setup --tests`", program.display())),
        None => Some("no target directory: `cargo xtask setup --tests`".to_owned()),
    }
}

/// The program in the environment, in the target directory.
fn program() -> Option<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .or_else(binary::target_directory)?;
    Some(target.join("fleet-tools/rotel-agent"))
}

/// A running collector, which is killed on drop.
pub struct Rotel {
    child: Child,
    folder: TempDir,
}

impl Rotel {
    /// Starts one that writes whatever it takes to its log.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for its log");
        let log = File::create(folder.path().join("log")).expect("the folder is new");
        let child = Command::new(program().expect("the requirement was checked"))
            .args(["start", "--exporter", "blackhole", "--debug-log", "metrics"])
            .args(["--debug-log-verbosity", "detailed"])
            .arg(format!("--otlp-http-endpoint=127.0.0.1:{HTTP}"))
            .arg(format!("--otlp-grpc-endpoint=127.0.0.1:{GRPC}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it is open"))
            .stderr(log)
            .spawn()
            .expect("it can be started");
        Self { child, folder }
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("it is text")
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
