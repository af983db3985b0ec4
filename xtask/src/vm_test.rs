//! `cargo xtask vm-test [KERNEL…]`: runs the live tests in guests with other kernels, with every mechanism that each
//! supports, and prints a table of the results. The guests run under qemu's emulation, which needs no privileges.

mod boot;
mod image;
mod kernels;
mod table;

use crate::{command, workspace};
use anyhow::{Context as _, Result, bail};
use kernels::{Fetched, KERNELS, Kernel};
use std::{
    env,
    ffi::OsString,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};
use table::{Row, Verdict};

/// The test programs that a guest runs. The flood needs the speed of a machine that is not emulated.
const TESTS: [&str; 7] = [
    "transitions",
    "scripted",
    "silent_hooks",
    "classic",
    "owners",
    "ends",
    "network",
];

/// The program that takes snapshots in a guest during a flood of connections.
const FLOOD: &str = "kernel_log";

/// The program under test.
const TRACER: &str = "tcptrace";

/// The program that runs the test programs while all mechanisms trace, and compares their reports.
const DRIVER: &str = "compare_mechanisms";

/// The name of this machine's kernel on the command line and in the table.
const HOST: &str = "host";

/// Run the live tests in guests with other kernels
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels to test: 5.10, 6.1, 6.12, 6.12.100, 7.2, or host for this machine's [default: all]
    kernels: Vec<String>,
}

/// Builds the programs, fetches and boots the kernels, and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let known = |name: &String| name == HOST || KERNELS.iter().any(|kernel| kernel.name == name);
    if let Some(unknown) = args.kernels.iter().find(|name| !known(name)) {
        bail!("unknown kernel {unknown}: `cargo xtask vm-test --help` lists them");
    }
    let is_wanted = |name: &str| args.kernels.is_empty() || args.kernels.iter().any(|kernel| kernel == name);

    let root = workspace::root()?;
    let folder = workspace::target(&root).join("vm-test");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let wanted: Vec<_> = KERNELS.iter().filter(|kernel| is_wanted(kernel.name)).collect();
    // The downloads wait for the network while the compiler works.
    let (programs, fetched) = thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            if !wanted.is_empty() {
                boot::install_qemu()?;
            }
            kernels::fetch(&wanted, &folder)
        });
        let programs = Programs::build(&root);
        (programs, fetching.join().expect("fetching does not panic"))
    });
    let (programs, fetched) = (programs?, fetched?);
    let mut rows = Vec::new();
    if is_wanted(HOST) {
        rows.push(on_this_machine(&programs, &folder)?);
    }
    rows.extend(in_guests(&fetched, &programs, &folder)?);
    println!("\n{}", table::table(&rows));
    println!("{} kernels in {} s", rows.len(), begun.elapsed().as_secs());
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| row.has_failed())
        .map(Row::to_string)
        .collect();
    if !failed.is_empty() {
        bail!(
            "{} of {} kernels failed (their output is in {}):\n{}",
            failed.len(),
            rows.len(),
            folder.display(),
            failed.join("\n")
        );
    }
    Ok(())
}

/// The programs that run in a guest.
pub(crate) struct Programs {
    tracer: PathBuf,
    driver: PathBuf,
    /// The programs that the driver runs.
    tests: Vec<PathBuf>,
    flood: PathBuf,
}

impl Programs {
    fn build(root: &Path) -> Result<Self> {
        let built = static_executables(root)?;
        let find = |name: &str| {
            let found = built.iter().find(|(target, _)| target == name);
            found
                .map(|(_, path)| path.clone())
                .with_context(|| format!("cargo built no program {name}"))
        };
        Ok(Self {
            tracer: find(TRACER)?,
            driver: find(DRIVER)?,
            tests: TESTS.iter().map(|name| find(name)).collect::<Result<_>>()?,
            flood: find(FLOOD)?,
        })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.tracer, &self.driver, &self.flood]
            .into_iter()
            .chain(&self.tests)
            .map(PathBuf::as_path)
    }
}

/// The target triple of this machine.
fn host_target() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("--version").arg("--verbose"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("`rustc --version --verbose` prints no host")?
        .to_owned())
}

/// Builds statically linked programs; returns each target's name and file. With --target, the flags do not apply to build
/// scripts and macros.
fn static_executables(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let messages = command::output(
        Command::new(cargo)
            .current_dir(root)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .args(["build", "--quiet", "--target", &host_target()?])
            .args(["--package", "tcptrace", "--package", "tcptrace-tests"])
            .args(["--bin", TRACER, "--bin", DRIVER])
            .args(TESTS.iter().chain([&FLOOD]).flat_map(|test| ["--test", test]))
            .arg("--message-format=json-render-diagnostics"),
    )?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    Ok(messages
        .filter_map(|message| {
            let executable = message["executable"].as_str()?;
            let target = message["target"]["name"].as_str()?;
            Some((target.to_owned(), PathBuf::from(executable)))
        })
        .collect())
}

/// Boots every guest, one at a time for each processor.
fn in_guests(kernels: &[(&Kernel, Fetched)], programs: &Programs, folder: &Path) -> Result<Vec<Row>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((kernel, fetched)) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((kernel.name, in_guest(kernel, fetched, programs, folder)));
        }
        done
    };
    let at_once = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut done: Vec<(&str, Result<Row>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let results = workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker ends"));
        results.collect()
    });
    done.sort_by_key(|(name, _)| kernels.iter().position(|(kernel, _)| kernel.name == *name));
    done.into_iter().map(|(_, row)| row).collect()
}

fn in_guest(kernel: &Kernel, fetched: &Fetched, programs: &Programs, folder: &Path) -> Result<Row> {
    let files = match fetched {
        Fetched::Kernel(files) => files,
        Fetched::Absent(reason) if kernel.is_required => bail!("Linux {}: {reason}", kernel.name),
        Fetched::Absent(reason) => {
            return Ok(Row::new(
                kernel.name,
                String::new(),
                Verdict::Skipped(reason.clone()),
            ));
        }
    };
    let initramfs = folder.join(format!("{}.cpio", kernel.name));
    image::write(&initramfs, files, programs, kernel.task)?;
    let console = folder.join(format!("{}.log", kernel.name));
    let verdict = boot::run(&files.image, &initramfs, &console, kernel.task)?;
    Ok(Row::new(kernel.name, files.release.clone(), verdict))
}

fn on_this_machine(programs: &Programs, folder: &Path) -> Result<Row> {
    let release = command::output(Command::new("uname").arg("-r"))?;
    let output = command::as_root("env")?
        .arg(format!("TCPTRACE_BIN={}", programs.tracer.display()))
        .arg(&programs.driver)
        .args(&programs.tests)
        .output()
        .context("cannot run the tests on this machine")?;
    // Kept, as a guest's console is.
    fs::write(folder.join("host.log"), &output.stdout)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Row::new(HOST, release, Verdict::of_output(&text)))
}
