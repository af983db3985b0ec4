//! An OpenTelemetry collector, and the published schemas of Kubernetes and the Prometheus operator with their validators: for
//! the tests of what a fleet needs, in a Python environment below the target directory.

use crate::python;
use anyhow::Result;
use std::{fs, os::unix::fs::PermissionsExt as _};

/// The versions that the tests were written for.
const PACKAGES: [&str; 3] = [
    "rotel==0.0.1a15",
    "kubernetes-validate==1.37.0",
    "cloudcoil-models-prometheus-operator==0.80.1.0",
];

/// Creates or updates the environment.
pub(crate) fn run() -> Result<()> {
    let folder = python::environment("fleet-tools", &PACKAGES)?;
    for library in fs::read_dir(folder.join("lib"))? {
        let collector = library?.path().join("site-packages/rotel/rotel-agent");
        if collector.exists() {
            fs::set_permissions(&collector, fs::Permissions::from_mode(0o755))?;
            // Where the tests find it, whatever Python's version is.
            fs::copy(&collector, folder.join("rotel-agent"))?;
        }
    }
    println!(
        "rotel, kubernetes-validate and models of the Prometheus operator are in {}",
        folder.display()
    );
    Ok(())
}
