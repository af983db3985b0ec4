//! The record of the committed object: its sources and the tool chain. One key per line, read by `sources::recorded`.

use crate::{
    sources::{Sources, recorded, sha256},
    toolchain::Versions,
    workspace::{OBJECT, RECORD},
};
use anyhow::{Context as _, Result};
use std::{fmt::Write as _, fs, path::Path};

/// Writes the object and its record.
pub(crate) fn write(root: &Path, object: &[u8], sources: &Sources, versions: &Versions) -> Result<()> {
    let mut text = format!(
        "# Sources and tool chain of tcptrace.bpf.o. `cargo xtask build-ebpf` writes it; do not edit.\n\
         object = \"{}\"\nsources = \"{}\"\nrustc = \"{}\"\nlinker = \"{}\"\nllvm = \"{}\"\npackages = \"{}\"\n\n[files]\n",
        sha256(object),
        sources.digest(),
        versions.rustc,
        versions.linker,
        versions.llvm,
        sources.packages,
    );
    for (path, hash) in &sources.files {
        writeln!(text, "\"{path}\" = \"{hash}\"")?;
    }
    for (path, bytes) in [(OBJECT, object), (RECORD, text.as_bytes())] {
        fs::write(root.join(path), bytes).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

pub(crate) fn read(root: &Path) -> Result<String> {
    fs::read_to_string(root.join(RECORD))
        .with_context(|| format!("cannot read {RECORD}: `cargo xtask build-ebpf` writes it"))
}

/// The tool chain that made the committed object.
pub(crate) fn versions(record: &str) -> Versions {
    let text = |key| recorded(record, key).unwrap_or("unknown").to_owned();
    Versions {
        rustc: text("rustc"),
        linker: text("linker"),
        llvm: text("llvm"),
    }
}
