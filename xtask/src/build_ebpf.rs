//! `cargo xtask build-ebpf`: compiles the kernel side and writes the object that `cargo build` embeds.

use crate::{
    compile, provenance,
    sources::Sources,
    toolchain::Toolchain,
    workspace::{self, OBJECT},
};
use anyhow::{Result, bail};

/// Compiles the object and writes it with its record.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let toolchain = Toolchain::find()?;
    let versions = toolchain.versions()?;
    let sources = Sources::read(&root)?;
    let object = compile::object(&toolchain, &root, &workspace::target(&root).join("ebpf"))?;
    if Sources::read(&root)?.digest() != sources.digest() {
        bail!("the sources changed during compilation, nothing was written: run it again");
    }
    provenance::write(&root, &object, &sources, &versions)?;
    println!("{OBJECT}: {} bytes, by {versions}", object.len());
    Ok(())
}
