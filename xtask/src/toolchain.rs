//! Finds the programs that compile the kernel side, and their versions.

use crate::command;
use anyhow::{Result, bail};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The target that the kernel side is compiled for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// LLVM's major version, in the names of Debian packages and their programs.
pub(crate) const LLVM: &str = "22";

/// A complete tool chain.
pub(crate) struct Toolchain {
    /// cargo itself, not rustup's proxy.
    pub(crate) cargo: PathBuf,
    /// rustc itself.
    pub(crate) rustc: PathBuf,
    /// The folder with rustc's libraries.
    pub(crate) sysroot: PathBuf,
    /// Whether `core` must be compiled from source.
    pub(crate) builds_core: bool,
    pub(crate) linker: PathBuf,
    pub(crate) objcopy: PathBuf,
}

/// The versions that identify a tool chain.
#[derive(PartialEq, Eq)]
pub(crate) struct Versions {
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// `bpf-linker --version`.
    pub(crate) linker: String,
    /// LLVM's version, from `llvm-objcopy --version`.
    pub(crate) llvm: String,
}

impl Toolchain {
    /// Finds rustup's nightly with the sources of `core`, else Debian's packages. The error lists what is missing.
    pub(crate) fn find() -> Result<Self> {
        let compiler = rustup_nightly().or_else(debian);
        let linker = command::find("bpf-linker").filter(|linker| answers(linker));
        let objcopy = compiler
            .as_ref()
            .and_then(|compiler| llvm_objcopy(&compiler.sysroot));
        match (compiler, linker, objcopy) {
            (Some(compiler), Some(linker), Some(objcopy)) => Ok(Self {
                cargo: compiler.cargo,
                rustc: compiler.rustc,
                sysroot: compiler.sysroot,
                builds_core: compiler.builds_core,
                linker,
                objcopy,
            }),
            (compiler, linker, objcopy) => {
                let mut missing = Vec::new();
                if compiler.is_none() {
                    missing.push(format!(
                        "a rustc with `core` for {TARGET}, or a nightly one with rust-src"
                    ));
                }
                if linker.is_none() {
                    missing.push("bpf-linker".to_owned());
                }
                if objcopy.is_none() {
                    missing.push("llvm-objcopy".to_owned());
                }
                bail!(
                    "the kernel side cannot be compiled on this machine, missing: {}\n\
                     `cargo build` and `cargo test` do not need this; `cargo xtask setup` installs it",
                    missing.join("; ")
                )
            }
        }
    }

    /// Runs each program for its version.
    pub(crate) fn versions(&self) -> Result<Versions> {
        let objcopy = command::output(Command::new(&self.objcopy).arg("--version"))?;
        let llvm = objcopy
            .split_once("version ")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        Ok(Versions {
            rustc: command::output(Command::new(&self.rustc).arg("--version"))?,
            linker: command::output(Command::new(&self.linker).arg("--version"))?,
            llvm: llvm.unwrap_or("unknown").to_owned(),
        })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, LLVM {}", self.rustc, self.linker, self.llvm)
    }
}

struct Compiler {
    cargo: PathBuf,
    rustc: PathBuf,
    sysroot: PathBuf,
    builds_core: bool,
}

/// rustup's nightly, without rustup's proxies, which would obey the override that this process runs under.
fn rustup_nightly() -> Option<Compiler> {
    let which = |program| {
        let mut rustup = Command::new("rustup");
        rustup
            .args(["which", "--toolchain", "nightly", program])
            .env("RUSTUP_AUTO_INSTALL", "0");
        command::output(&mut rustup).ok().map(PathBuf::from)
    };
    let rustc = which("rustc")?;
    let sysroot = rustc.parent()?.parent()?.to_owned();
    let has_source = sysroot.join("lib/rustlib/src/rust/library/core").is_dir();
    has_source.then_some(Compiler {
        cargo: which("cargo")?,
        rustc,
        sysroot,
        builds_core: true,
    })
}

fn debian() -> Option<Compiler> {
    let compiler = Compiler {
        cargo: PathBuf::from("/usr/bin/cargo"),
        rustc: PathBuf::from("/usr/bin/rustc"),
        sysroot: PathBuf::from("/usr"),
        builds_core: false,
    };
    let mut libraries = fs::read_dir(compiler.sysroot.join("lib/rustlib").join(TARGET).join("lib")).ok()?;
    let has_core = libraries
        .any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore")));
    (has_core && answers(&compiler.cargo) && answers(&compiler.rustc)).then_some(compiler)
}

/// llvm-objcopy of rustup's component llvm-tools, of Debian, or in PATH.
fn llvm_objcopy(sysroot: &Path) -> Option<PathBuf> {
    let of_rustup = || {
        let hosts = fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
        hosts
            .flatten()
            .map(|host| host.path().join("bin/llvm-objcopy"))
            .find(|file| file.is_file())
    };
    command::find(&format!("llvm-objcopy-{LLVM}"))
        .or_else(|| command::find("llvm-objcopy"))
        .or_else(of_rustup)
}

/// Whether the program runs: the library that it is linked to may have been removed.
fn answers(program: &Path) -> bool {
    command::output(Command::new(program).arg("--version")).is_ok()
}
