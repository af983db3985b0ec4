//! Kubernetes' published schemas, in the Python environment of `cargo xtask setup --tests`.

use crate::binary;
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The reason why manifests cannot be validated, `None` if they can.
#[must_use]
pub fn unmet() -> Option<String> {
    match program() {
        Some(program) if program.exists() => None,
        Some(program) => Some(format!("no {}: `cargo xtask setup --tests`", program.display())),
        None => Some("no target directory: `cargo xtask setup --tests`".to_owned()),
    }
}

/// Validates the resources of a file strictly, by the schemas of a version. Returns what is wrong.
pub fn validate(manifest: &Path, version: &str) -> Result<(), String> {
    let output = Command::new(program().expect("the requirement was checked"))
        .args(["--strict", "--kubernetes-version", version])
        .arg(manifest)
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    let text = [output.stdout, output.stderr].concat();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&text).into_owned())
    }
}

fn program() -> Option<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .or_else(binary::target_directory)?;
    Some(target.join("fleet-tools/bin/kubernetes-validate"))
}
