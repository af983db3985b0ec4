//! Kubernetes' and the Prometheus operator's published schemas, in the Python environment of `cargo xtask setup --tests`.

use crate::{binary, program};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The reason why manifests cannot be validated, `None` if they can.
#[must_use]
pub fn unmet() -> Option<String> {
    match program("kubernetes-validate") {
        Some(program) if program.exists() => None,
        Some(program) => Some(format!("no {}: `cargo xtask setup --tests`", program.display())),
        None => Some("no target directory: `cargo xtask setup --tests`".to_owned()),
    }
}

/// Validates the resources of a file strictly, by the schemas of a version. Returns what is wrong.
pub fn validate(manifest: &Path, version: &str) -> Result<(), String> {
    let mut command = Command::new(program("kubernetes-validate").expect("the requirement was checked"));
    succeeds(
        command
            .args(["--strict", "--kubernetes-version", version])
            .arg(manifest),
    )
}

/// The same of a PodMonitor, by the schema of the Prometheus operator.
pub fn validate_pod_monitor(manifest: &Path) -> Result<(), String> {
    let mut command = Command::new(program("python").expect("the requirement was checked"));
    succeeds(command.arg(program::source("pod_monitor.py")).arg(manifest))
}

/// Returns what the command prints if it fails.
fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().expect("it can be started");
    let text = [output.stdout, output.stderr].concat();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&text).into_owned())
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .or_else(binary::target_directory)?;
    Some(target.join("fleet-tools/bin").join(name))
}
