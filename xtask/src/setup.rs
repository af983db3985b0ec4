//! `cargo xtask setup`: installs the tool chain that compiles the kernel side, where it is missing. Does nothing
//! where it is there.

use crate::{
    command,
    toolchain::{LLVM, Toolchain},
};
use anyhow::{Context as _, Result, bail};
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

/// Installs, then looks again.
pub(crate) fn run() -> Result<()> {
    if Toolchain::find().is_err() {
        install_packages()?;
        if Toolchain::find().is_err() {
            install_linker()?;
        }
    }
    let versions = Toolchain::find()?.versions()?;
    println!("the kernel side can be compiled here, by {versions}");
    Ok(())
}

fn install_packages() -> Result<()> {
    if command::find("apt-get").is_none() {
        bail!(
            "only Debian's packages can be installed by this command, and there is no apt-get\n\
             by hand: `rustup toolchain install nightly --component rust-src,llvm-tools`, and bpf-linker 0.13"
        );
    }
    if PACKAGES.iter().all(|package| is_installed(package)) {
        return Ok(());
    }
    let apt_get = || -> Result<Command> {
        let mut command = command::as_root("env")?;
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        Ok(command)
    };
    command::run(apt_get()?.arg("update"))?;
    command::run(
        apt_get()?
            .args(["install", "-y", "--no-install-recommends"])
            .args(PACKAGES),
    )
    .context(
        "this system's packages do not make the tool chain (Debian 12 and later have them)\n\
         by hand: `rustup toolchain install nightly --component rust-src,llvm-tools`, and bpf-linker 0.13",
    )
}

fn is_installed(package: &str) -> bool {
    let status = command::output(Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]));
    status.is_ok_and(|status| status == "install ok installed")
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
