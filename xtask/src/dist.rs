//! `cargo xtask dist`: what is published, in target/dist: for each architecture a static binary, a .deb and an .rpm with
//! manual pages, completions and the unit of the flight recorder, and checksums. The same commit gives the same bytes.

use crate::{command, workspace};
use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The architecture that manual pages and completions are written on.
const HOST: &str = "x86_64";

/// Other architectures, which are compiled here for.
const OTHERS: [&str; 1] = ["aarch64"];

/// A target that is named, so that flags for it do not apply to build scripts.
fn target_of(architecture: &str) -> String {
    format!("{architecture}-unknown-linux-gnu")
}

/// Make static binaries and packages in target/dist
#[derive(clap::Args)]
pub(crate) struct Args {
    /// For x86_64 alone
    #[arg(long)]
    host_only: bool,
}

/// What makes packages, with the versions that are known to work.
const PACKAGERS: [(&str, &str); 2] = [("cargo-deb", "^3"), ("cargo-generate-rpm", "^0.20")];

/// Names of the completions' files by shell, as each shell looks for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "tcptrace"),
    ("zsh", "_tcptrace"),
    ("fish", "tcptrace.fish"),
];

/// Makes everything.
pub(crate) fn run(args: &Args) -> Result<()> {
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
    let binary = build(&root, &target, HOST)?;
    pages(&binary, &dist)?;
    completions(&binary, &dist)?;
    for (program, version) in PACKAGERS {
        if command::find(program).is_none() {
            command::run(cargo(&root).args(["install", "--locked", program, "--version", version]))?;
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    fs::write(dist.join("changelog"), debian_changelog(version, &epoch)?)?;
    date(&root, &epoch)?;
    package(&root, &dist, &binary, HOST, &epoch)?;
    if !args.host_only {
        for architecture in OTHERS {
            let binary = build(&root, &target, architecture)?;
            package(&root, &dist, &binary, architecture, &epoch)?;
        }
    }
    checksums(&dist)
}

fn package(root: &Path, dist: &Path, binary: &Path, architecture: &str, epoch: &str) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    fs::copy(
        binary,
        dist.join(format!("tcptrace-{version}-{architecture}-linux")),
    )?;
    let output = dist.to_str().context("the path of the repository is not UTF-8")?;
    let target = target_of(architecture);
    let packages = ["-p", "tcptrace", "--target", &target];
    command::run(
        cargo(root)
            .args(["deb", "--no-build", "--no-strip", "--output", output])
            .args(packages)
            .env("SOURCE_DATE_EPOCH", epoch),
    )?;
    command::run(
        cargo(root)
            .args(["generate-rpm", "--output", output, "--source-date", epoch])
            .args(packages),
    )
}

/// What packages contain of the repository beside the binary.
const PACKAGED: [&str; 4] = ["CHANGELOG.md", "LICENSE-*", "docs/*.md", "tcptrace/packaging"];

/// Dates the packaged files to the commit. An .rpm keeps the times of older files, which are those of the checkout.
fn date(root: &Path, epoch: &str) -> Result<()> {
    let files = command::output(
        Command::new("git")
            .current_dir(root)
            .args(["ls-files", "--"])
            .args(PACKAGED),
    )?;
    command::run(
        Command::new("touch")
            .current_dir(root)
            .arg(format!("--date=@{epoch}"))
            .args(files.lines()),
    )
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

/// The cargo that compiles for a target: that of the tool chain in use or, where this lacks the target's library, Debian's.
fn cargo_for(root: &Path, target: &str) -> Result<Command> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = command::output(Command::new(rustc).args(["--print", "sysroot"]))?;
    if Path::new(&sysroot).join("lib/rustlib").join(target).exists() {
        return Ok(cargo(root));
    }
    if Path::new("/usr/lib/rustlib").join(target).exists() {
        let mut command = Command::new("/usr/bin/cargo");
        command.current_dir(root).env("RUSTC", "/usr/bin/rustc");
        return Ok(command);
    }
    bail!(
        "nothing compiles for {target}\n\
         what to do: `rustup target add {target}`, or on Debian `cargo xtask setup --aarch64`; or add --host-only"
    )
}

/// Compiles the static binary.
fn build(root: &Path, folder: &Path, architecture: &str) -> Result<PathBuf> {
    let target = target_of(architecture);
    // Paths of this machine are in panic messages and line tables.
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")))?;
    let flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/tcptrace --remap-path-prefix={home}=/cargo",
        root.display()
    );
    command::run(
        cargo_for(root, &target)?
            .args(["build", "--locked", "--release", "-p", "tcptrace", "--target"])
            .arg(&target)
            .env("RUSTFLAGS", flags)
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
            .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
                "aarch64-linux-gnu-gcc",
            ),
    )?;
    Ok(folder.join(target).join("release/tcptrace"))
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
