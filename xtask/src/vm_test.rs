//! `cargo xtask vm-test [KERNEL…]`: the live tests in guests with other kernels, by every plan that each allows, and
//! one table of what came of it. The guests run under qemu's own emulation, which needs no privileges.

mod boot;
mod image;
mod kernels;
mod table;

use crate::{command, workspace};
use anyhow::{Context as _, Result, bail};
use kernels::{Fetched, KERNELS};
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};
use table::{Row, Verdict};

/// The test programs that a guest runs. The flood measures a machine's speed, which an emulated one does not have.
const TESTS: [&str; 3] = ["transitions", "scripted", "silent_hooks"];

/// The program that runs them under all plans at once, and compares.
const DRIVER: &str = "plans";

/// The name of this machine's own kernel on the command line and in the table.
const HOST: &str = "host";

/// Run the live tests in guests with other kernels
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which: 5.10, 6.1, 6.12, 7.2, or host for this machine's own [default: all]
    kernels: Vec<String>,
}

/// Fetches, builds, boots, and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let known = |name: &String| name == HOST || KERNELS.iter().any(|kernel| kernel.name == name);
    if let Some(unknown) = args.kernels.iter().find(|name| !known(name)) {
        bail!("no kernel {unknown} is known here; `cargo xtask vm-test --help` lists them");
    }
    let is_wanted = |name: &str| args.kernels.is_empty() || args.kernels.iter().any(|kernel| kernel == name);

    let root = workspace::root()?;
    let folder = workspace::target(&root).join("vm-test");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let programs = Programs::build(&root)?;
    let mut rows = Vec::new();
    if is_wanted(HOST) {
        rows.push(on_this_machine(&programs, &folder)?);
    }
    let wanted: Vec<_> = KERNELS.iter().filter(|kernel| is_wanted(kernel.name)).collect();
    if !wanted.is_empty() {
        boot::install_qemu()?;
    }
    for (kernel, fetched) in kernels::fetch(&wanted, &folder)? {
        match fetched {
            Fetched::Kernel(files) => {
                let initramfs = folder.join(format!("{}.cpio", kernel.name));
                image::write(&initramfs, &files, &programs)?;
                let verdict = boot::run(
                    &files.image,
                    &initramfs,
                    &folder.join(format!("{}.log", kernel.name)),
                )?;
                rows.push(Row::new(kernel.name, files.release, verdict));
            }
            Fetched::Absent(reason) if kernel.is_required => bail!("Linux {}: {reason}", kernel.name),
            Fetched::Absent(reason) => {
                rows.push(Row::new(kernel.name, String::new(), Verdict::Skipped(reason)));
            }
        }
    }
    let failed = rows.iter().filter(|row| row.has_failed()).count();
    println!("\n{}", table::table(&rows));
    println!("{} kernels in {} s", rows.len(), begun.elapsed().as_secs());
    if failed > 0 {
        bail!(
            "{failed} of {} kernels failed; what they said is above",
            rows.len()
        );
    }
    Ok(())
}

/// The programs that run in a guest, as the host's own tests use them.
pub(crate) struct Programs {
    /// `tcptrace`.
    tracer: PathBuf,
    /// The driver, then the tests.
    tests: Vec<PathBuf>,
}

impl Programs {
    fn build(root: &Path) -> Result<Self> {
        let tracer = executables(root, &["build", "--package", "tcptrace", "--bin", "tcptrace"])?;
        let tests = executables(root, &["test", "--package", "tcptrace-tests", "--no-run"])?;
        let find = |list: &[(String, PathBuf)], name: &str| {
            let found = list.iter().find(|(target, _)| target == name);
            found
                .map(|(_, path)| path.clone())
                .with_context(|| format!("cargo built no program {name}"))
        };
        Ok(Self {
            tracer: find(&tracer, "tcptrace")?,
            tests: std::iter::once(find(&tests, DRIVER))
                .chain(TESTS.map(|name| find(&tests, name)))
                .collect::<Result<_>>()?,
        })
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.tracer)
            .chain(&self.tests)
            .map(PathBuf::as_path)
    }
}

/// What cargo says it built: target and file.
fn executables(root: &Path, arguments: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let messages = command::output(
        Command::new(cargo)
            .current_dir(root)
            .args(arguments)
            .args(["--quiet", "--message-format=json-render-diagnostics"]),
    )?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    Ok(messages
        .filter_map(|message| {
            let executable = message["executable"].as_str()?;
            let target = message["target"]["name"].as_str()?;
            // A program's own unit tests have its name.
            let is_unit_test = message["target"]["kind"][0] != "test" && message["profile"]["test"] == true;
            if is_unit_test {
                return None;
            }
            Some((target.to_owned(), PathBuf::from(executable)))
        })
        .collect())
}

fn on_this_machine(programs: &Programs, folder: &Path) -> Result<Row> {
    let release = command::output(Command::new("uname").arg("-r"))?;
    let [driver, tests @ ..] = programs.tests.as_slice() else {
        bail!("there are no tests");
    };
    let output = command::as_root("env")?
        .arg(format!("TCPTRACE_BIN={}", programs.tracer.display()))
        .arg(driver)
        .args(tests)
        .output()
        .context("cannot run the tests on this machine")?;
    // Kept like a guest's console.
    fs::write(folder.join("host.log"), &output.stdout)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Row::new(HOST, release, Verdict::of_output(&text)))
}
