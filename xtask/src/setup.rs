//! `cargo xtask setup`: installs the tool chain that compiles the kernel side, or what the tests need. Does nothing
//! where it is there.

use crate::{
    analysts, apt, command,
    toolchain::{LLVM, Toolchain},
};
use anyhow::{Context as _, Result};
use std::{env, ffi::OsString, path::Path, process::Command};

/// Debian's compiler with `core` for the target, and what bpf-linker is built with.
const PACKAGES: [&str; 8] = [
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "g++",
];

const BPF_LINKER: &str = "=0.13.0";

/// What the live tests run, and what they compare with.
const PACKAGES_OF_TESTS: [&str; 13] = [
    "default-jdk-headless",
    "gcc",
    "golang-go",
    "iproute2",
    "libc6-dev",
    "libhdrhistogram-java",
    "nginx-light",
    "nodejs",
    "postgresql",
    "python3",
    "python3-venv",
    "tmux",
    "wrk",
];

/// Install the tool chain that compiles the kernel side, where it is missing
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install what the tests need instead, so that none is ignored
    #[arg(long)]
    tests: bool,
}

/// Installs what is missing.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.tests {
        apt::install(&PACKAGES_OF_TESTS)?;
        analysts::run()
    } else {
        install_toolchain()
    }
}

/// Installs, then looks again.
fn install_toolchain() -> Result<()> {
    if Toolchain::find().is_err() {
        apt::install(&PACKAGES).context(
            "this system's packages do not make the tool chain (Debian 12 and later have them)\n\
             by hand: `rustup toolchain install nightly --component rust-src,llvm-tools`, and bpf-linker 0.13",
        )?;
        if Toolchain::find().is_err() {
            install_linker()?;
        }
    }
    let versions = Toolchain::find()?.versions()?;
    println!("the kernel side can be compiled here, by {versions}");
    Ok(())
}

/// Without `LLVM_PREFIX` its build script does not find libLLVM.
fn install_linker() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let llvm = Path::new("/usr/lib").join(format!("llvm-{LLVM}"));
    command::run(
        Command::new(cargo)
            .args([
                "install",
                "bpf-linker",
                "--version",
                BPF_LINKER,
                "--locked",
                "--force",
            ])
            .args(["--no-default-features", "--features"])
            .arg(format!("llvm-{LLVM}"))
            .env("LLVM_PREFIX", &llvm)
            .env("LLVM_SYS_221_PREFIX", &llvm)
            .env_remove("CARGO_TARGET_DIR"),
    )
}
