//! Compiles nothing: refuses to embed a kernel object that is not the one its sources make. In a published crate
//! the sources are not there, and only the object itself is checked against its record.

#[path = "bpf/sources.rs"]
mod sources;

use sources::{INPUTS, Sources, recorded, sha256};
use std::{env, fs, path::Path};

const REMEDY: &str =
    "run `cargo xtask build-ebpf` (and `cargo xtask setup` before it, where the compiler is missing)";

fn main() {
    if let Err(lines) = check() {
        for line in lines {
            println!("cargo::error={line}");
        }
    }
}

fn check() -> Result<(), Vec<String>> {
    println!("cargo::rerun-if-changed=bpf");
    let object = fs::read("bpf/tcptrace.bpf.o").map_err(|error| missing("tcptrace.bpf.o", &error))?;
    let record =
        fs::read_to_string("bpf/tcptrace.bpf.toml").map_err(|error| missing("tcptrace.bpf.toml", &error))?;
    if recorded(&record, "object") != Some(&sha256(&object)) {
        return Err(vec![
            "bpf/tcptrace.bpf.o is not the object that bpf/tcptrace.bpf.toml records".to_owned(),
            "one of the two was changed, or merged, without the other".to_owned(),
            REMEDY.to_owned(),
        ]);
    }
    let Some(workspace) = workspace() else {
        return Ok(());
    };
    for input in INPUTS {
        println!("cargo::rerun-if-changed=../{input}");
    }
    let sources = Sources::read(&workspace).map_err(|error| {
        vec![
            "cannot read the sources of the kernel side".to_owned(),
            error.to_string(),
        ]
    })?;
    let changed = sources.changed_since(&record);
    if changed.is_empty() {
        return Ok(());
    }
    Err(vec![
        format!(
            "the kernel side was changed after bpf/tcptrace.bpf.o was compiled: {}",
            changed.join(", ")
        ),
        "a build now would embed a program that is not the one in the tree".to_owned(),
        REMEDY.to_owned(),
    ])
}

/// The workspace, where this package lies in one with the kernel side beside it.
fn workspace() -> Option<std::path::PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR")?;
    let workspace = Path::new(&package).parent()?;
    workspace
        .join("tcptrace-ebpf/src")
        .is_dir()
        .then(|| workspace.to_owned())
}

fn missing(name: &str, error: &std::io::Error) -> Vec<String> {
    vec![
        format!("cannot read bpf/{name}: {error}"),
        "it holds the kernel side".to_owned(),
        REMEDY.to_owned(),
    ]
}
