//! `cargo xtask check-ebpf`: checks that the committed object is compiled from its sources. With the recorded tool chain it
//! must be identical byte for byte; with another one, the fresh object must pass the live tests.

use crate::{
    compile, provenance,
    sources::{Sources, sha256},
    test,
    toolchain::Toolchain,
    workspace::{self, OBJECT},
};
use anyhow::{Context as _, Result, bail};
use std::{ffi::OsStr, fs};

/// Compiles in a temporary folder, and compares or tests the object.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let record = provenance::read(&root)?;
    let changed = Sources::read(&root)?.changed_since(&record);
    if !changed.is_empty() {
        bail!(
            "changed since {OBJECT} was compiled: {}\nrun `cargo xtask build-ebpf`",
            changed.join(", ")
        );
    }
    let committed = fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    let toolchain = Toolchain::find()?;
    let (installed, recorded) = (toolchain.versions()?, provenance::versions(&record));
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let fresh = compile::object(&toolchain, &root, folder.path())?;

    if fresh == committed {
        println!("{OBJECT} is identical to what its sources compile to with {installed}");
        return Ok(());
    }
    if installed == recorded {
        let kept = folder.keep().join("tcptrace.bpf.o");
        bail!(
            "{OBJECT} differs from what its sources compile to with the recorded tool chain ({installed})\n\
             committed {}, fresh {} in {}\n\
             run `cargo xtask build-ebpf` and commit what it writes",
            sha256(&committed),
            sha256(&fresh),
            kept.display()
        );
    }
    println!(
        "{OBJECT} was compiled with {recorded}, this machine has {installed}: the bytes differ, testing the fresh object"
    );
    let object = folder.path().join("tcptrace.bpf.o");
    // Only tests that need no installed package: this command leaves the machine as it is.
    test::with([
        ("TCPTRACE_BPF_OBJECT", object.as_os_str()),
        ("TCPTRACE_REQUIRE_LIVE", OsStr::new("kernel")),
    ])?;
    println!("the fresh object passes the live tests");
    Ok(())
}
