//! `cargo xtask fuzz`: runs libFuzzer on the readers of recordings, of histogram logs and of the kernel's records, with a
//! memory limit. Builds fuzz/, which is not part of the workspace, with the stable compiler: of the flags of cargo-fuzz only
//! the instrumentation is needed, since safe code needs no sanitizer.

use crate::{command, workspace};
use anyhow::{Context as _, Result, bail};
use clap::Args as ClapArgs;
use std::{
    env,
    ffi::OsString,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Files of fuzz/fuzz_targets; each has a folder of seeds.
const TARGETS: [&str; 3] = ["recording", "hlog", "records"];

/// Coverage instrumentation for libFuzzer, as in cargo-fuzz.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// Limits of a target's memory and of a single allocation, MiB. The columns of a batch take up to 48, and its body, which is
/// held twice, up to 64.
const MEMORY_LIMIT_MIB: u32 = 512;
const ALLOCATION_LIMIT_MIB: u32 = 128;

/// Time limit for one input, seconds.
const INPUT_TIMEOUT_S: u32 = 20;

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Duration in seconds; all targets run at the same time
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Seed of the random numbers, 0 for a different one in each run
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Targets to run [default: all]
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
}

/// Builds and runs the targets. Inputs that fail remain in fuzz/artifacts, and inputs that add coverage in fuzz/corpus.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let fuzz = root.join("fuzz");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let host = host()?;
    let target = workspace::target(&root).join("fuzz");
    // The workspace's versions; cargo adds the packages that only the fuzzer needs.
    fs::copy(root.join("Cargo.lock"), fuzz.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    // With --target, build scripts and macros are not instrumented.
    command::run(
        Command::new(cargo)
            .current_dir(&fuzz)
            .args(["build", "--release", "--target", &host])
            .arg("--target-dir")
            .arg(&target)
            .env("RUSTFLAGS", FLAGS)
            .env_remove("CARGO_MANIFEST_DIR"),
    )?;
    let programs = target.join(&host).join("release");
    let running: Vec<(&str, Child)> = TARGETS
        .into_iter()
        .filter(|name| args.targets.is_empty() || args.targets.iter().any(|wanted| wanted == name))
        .map(|name| Ok((name, start(&programs.join(name), &fuzz, name, args)?)))
        .collect::<Result<_>>()?;
    let mut failed = Vec::new();
    for (name, child) in running {
        let output = child
            .wait_with_output()
            .with_context(|| format!("cannot wait for {name}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            println!("{name}: {}", summary(&said));
        } else {
            println!("{name}: {}\n{said}", output.status);
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} failed on an input, which is in fuzz/artifacts; its messages are above",
            failed.join(" and ")
        );
    }
    Ok(())
}

/// The last lines of libFuzzer's output, as one line.
fn summary(said: &str) -> String {
    let figure = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("?", str::trim)
    };
    format!(
        "{} inputs, the slowest {} s, {} MB at most",
        figure("stat::number_of_executed_units:"),
        figure("stat::slowest_unit_time_sec:"),
        figure("stat::peak_rss_mb:")
    )
}

fn start(program: &Path, fuzz: &Path, name: &str, args: &Args) -> Result<Child> {
    let found = fuzz.join("corpus").join(name);
    let artifacts = fuzz.join("artifacts").join(name);
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Command::new(program)
        .arg(format!("-max_total_time={}", args.seconds))
        .arg(format!("-seed={}", args.seed))
        .arg(format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"))
        .arg(format!("-malloc_limit_mb={ALLOCATION_LIMIT_MIB}"))
        .arg(format!("-timeout={INPUT_TIMEOUT_S}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-max_len=65536", "-print_final_stats=1", "-verbosity=0"])
        .arg(&found)
        .arg(fuzz.join("seeds").join(name))
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let about = command::output(Command::new(rustc).arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` prints no host")
}
