//! `cargo xtask fuzz`: feeds the readers of recordings, of logs of histograms and of the kernel's records with bytes that
//! libFuzzer makes up, within little memory. Builds fuzz/, which is no part of the workspace, with the stable compiler:
//! of what cargo-fuzz passes to it only the instrumentation is needed, since safe code has no use for a sanitizer.

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

/// Each a file of fuzz/fuzz_targets, with a folder of seeds.
const TARGETS: [&str; 3] = ["recording", "hlog", "records"];

/// Coverage that libFuzzer is led by, as cargo-fuzz asks for it.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// What a target may take in all, and at once, in MiB. A batch of a recording takes up to 48, and its file as much.
const MOST_MEMORY: u32 = 512;
const MOST_AT_ONCE: u32 = 128;

/// How long one input may take: a hostile one must not cost more than an honest one of its length.
const SECONDS_AN_INPUT: u32 = 20;

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// How long each target is fed; all of them are at the same time
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// What the bytes are made from, 0 for other ones in each run: of the same number, the same sources and as many inputs
    /// come the same bytes
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Which of them, all unless named
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
}

/// Builds and feeds them. Inputs that fail are left in fuzz/artifacts, what was found on the way in fuzz/corpus.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let fuzz = root.join("fuzz");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let host = host()?;
    let target = workspace::target(&root).join("fuzz");
    // The same versions as everywhere, and what only the fuzzer needs.
    fs::copy(root.join("Cargo.lock"), fuzz.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    // A target is named so that build scripts and macros are not instrumented.
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
            "{} failed on an input, which is in fuzz/artifacts; its own words are above",
            failed.join(" and ")
        );
    }
    Ok(())
}

/// What libFuzzer ends with, in a line.
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
        .arg(format!("-rss_limit_mb={MOST_MEMORY}"))
        .arg(format!("-malloc_limit_mb={MOST_AT_ONCE}"))
        .arg(format!("-timeout={SECONDS_AN_INPUT}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-max_len=65536", "-print_final_stats=1", "-verbosity=0"])
        .arg(&found)
        .arg(fuzz.join("seeds").join(name))
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// The triple that the compiler makes programs for.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let about = command::output(Command::new(rustc).arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("`rustc -vV` does not say which host it is on")
}
