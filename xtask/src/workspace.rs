//! Paths in the checkout.

use anyhow::{Context as _, Result};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The committed object, relative to the root.
pub(crate) const OBJECT: &str = "tcptrace/bpf/tcptrace.bpf.o";

/// The record of the object, relative to the root.
pub(crate) const RECORD: &str = "tcptrace/bpf/tcptrace.bpf.toml";

/// The root of the checkout.
pub(crate) fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .context("not started by cargo, so the checkout is unknown: run it as `cargo xtask …`")?;
    Path::new(&package)
        .parent()
        .map(Path::to_owned)
        .context("xtask is not in a workspace")
}

/// The target directory.
pub(crate) fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}
