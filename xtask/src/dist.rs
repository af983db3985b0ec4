//! `cargo xtask dist`: what is published, in target/dist: a static binary, a .deb and an .rpm with manual pages,
//! completions and the unit of the flight recorder, and their checksums. The same commit gives the same bytes.

use crate::{command, workspace};
use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A target that names itself, so that flags for it do not apply to build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What makes packages, with the versions that are known to work.
const PACKAGERS: [(&str, &str); 2] = [("cargo-deb", "^3"), ("cargo-generate-rpm", "^0.20")];

/// Names of the completions' files by shell, as each shell looks for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "tcptrace"),
    ("zsh", "_tcptrace"),
    ("fish", "tcptrace.fish"),
];

/// Makes everything.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let target = workspace::target(&root);
    let dist = target.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    fs::create_dir_all(&dist)?;
    let epoch = command::output(
        Command::new("git")
            .current_dir(&root)
            .args(["log", "-1", "--format=%ct"]),
    )?;
    let binary = build(&root, &target)?;
    pages(&binary, &dist)?;
    completions(&binary, &dist)?;
    for (program, version) in PACKAGERS {
        if command::find(program).is_none() {
            command::run(cargo(&root).args(["install", "--locked", program, "--version", version]))?;
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    fs::write(dist.join("changelog"), debian_changelog(version, &epoch)?)?;
    let name = dist.join(format!("tcptrace-{version}-x86_64-linux"));
    fs::copy(&binary, &name)?;
    let output = dist.to_str().context("the path of the repository is not UTF-8")?;
    let packages = ["-p", "tcptrace", "--target", TARGET];
    command::run(
        cargo(&root)
            .args(["deb", "--no-build", "--no-strip", "--output", output])
            .args(packages)
            .env("SOURCE_DATE_EPOCH", &epoch),
    )?;
    command::run(
        cargo(&root)
            .args(["generate-rpm", "--output", output, "--source-date", &epoch])
            .args(packages),
    )?;
    checksums(&dist)
}

/// The changelog in Debian's form, with the one entry that a package of the project itself needs.
fn debian_changelog(version: &str, epoch: &str) -> Result<String> {
    let date = command::output(
        Command::new("date")
            .args(["-u", "-R", "-d"])
            .arg(format!("@{epoch}")),
    )?;
    Ok(format!(
        "tcptrace-ebpf ({version}) stable; urgency=medium\n\n  * Release {version}: see CHANGELOG.md in its repository.\n\n \
         -- The tcptrace developers <maintainers@users.noreply.github.com>  {date}\n"
    ))
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Compiles the static binary.
fn build(root: &Path, target: &Path) -> Result<PathBuf> {
    // Paths of this machine are in panic messages and line tables.
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")))?;
    let flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/tcptrace --remap-path-prefix={home}=/cargo",
        root.display()
    );
    command::run(
        cargo(root)
            .args([
                "build",
                "--locked",
                "--release",
                "-p",
                "tcptrace",
                "--target",
                TARGET,
            ])
            .env("RUSTFLAGS", flags)
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
    )?;
    Ok(target.join(TARGET).join("release/tcptrace"))
}

/// Writes the manual pages, compressed.
fn pages(binary: &Path, dist: &Path) -> Result<()> {
    let folder = dist.join("man");
    fs::create_dir(&folder)?;
    command::run(Command::new(binary).args(["man", "--directory"]).arg(&folder))?;
    for page in fs::read_dir(&folder)? {
        // Without name and time, so that the same page gives the same bytes.
        command::run(Command::new("gzip").args(["-9", "-n"]).arg(page?.path()))?;
    }
    Ok(())
}

fn completions(binary: &Path, dist: &Path) -> Result<()> {
    let folder = dist.join("completions");
    fs::create_dir(&folder)?;
    for (shell, file) in COMPLETIONS {
        let script = command::output(Command::new(binary).args(["completions", shell]))?;
        fs::write(folder.join(file), script + "\n")?;
    }
    Ok(())
}

/// Writes SHA256SUMS, for `sha256sum --check`.
fn checksums(dist: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(dist)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "changelog"))
        .collect();
    files.sort();
    let mut sums = String::new();
    for file in files {
        let name = file.file_name().context("a file has a name")?.to_string_lossy();
        let mut digest = String::new();
        for byte in Sha256::digest(fs::read(&file)?) {
            write!(digest, "{byte:02x}")?;
        }
        writeln!(sums, "{digest}  {name}")?;
    }
    fs::write(dist.join("SHA256SUMS"), &sums)?;
    print!("{sums}");
    Ok(())
}
