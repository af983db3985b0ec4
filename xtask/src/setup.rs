//! `cargo xtask setup`: installs the tool chain that compiles the kernel side, or the packages that the tests need, unless
//! they are installed.

use crate::{
    apt, arrow_readers, command, fleet_tools,
    toolchain::{LLVM, Toolchain},
};
use anyhow::{Context as _, Result};
use std::{env, ffi::OsString, path::Path, process::Command};

/// Debian's compiler with `core` for the target, and the build dependencies of bpf-linker.
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

/// Programs that the live tests run or compare with.
const PACKAGES_OF_TESTS: [&str; 18] = [
    "chromium",
    "curl",
    "default-jdk-headless",
    "gcc",
    "golang-go",
    "iproute2",
    "libc6-dev",
    "libhdrhistogram-java",
    "libpython3-dev",
    "nginx-light",
    "nodejs",
    "openssl",
    "postgresql",
    "prometheus",
    "python3",
    "python3-venv",
    "tmux",
    "wrk",
];

/// Compiler, libraries and emulator of another architecture.
const PACKAGES_OF_AARCH64: [&str; 4] = [
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "libstd-rust-web-dev:arm64",
    "qemu-user-static",
];

/// Install the tool chain that compiles the kernel side, unless it is installed
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install the packages that the tests need instead, so that none is ignored
    #[arg(long)]
    tests: bool,
    /// Install what compiles for aarch64 and starts its programs instead
    #[arg(long, conflicts_with = "tests")]
    aarch64: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.tests {
        apt::install(&PACKAGES_OF_TESTS)?;
        arrow_readers::run()?;
        fleet_tools::run()
    } else if args.aarch64 {
        command::run(command::as_root("dpkg")?.args(["--add-architecture", "arm64"]))?;
        apt::install(&PACKAGES)?;
        apt::install(&PACKAGES_OF_AARCH64)
    } else {
        install_toolchain()
    }
}

fn install_toolchain() -> Result<()> {
    if Toolchain::find().is_err() {
        apt::install(&PACKAGES).context(
            "the tool chain cannot be installed from this system's packages (Debian 12 and later have them)\n\
             instead: `rustup toolchain install nightly --component rust-src,llvm-tools`, and bpf-linker 0.13",
        )?;
        if Toolchain::find().is_err() {
            install_linker()?;
        }
    }
    let versions = Toolchain::find()?.versions()?;
    println!("the kernel side can be compiled on this machine with {versions}");
    Ok(())
}

/// Installs bpf-linker, whose build script finds libLLVM by `LLVM_PREFIX`.
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
