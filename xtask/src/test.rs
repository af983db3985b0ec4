//! `cargo xtask test`: all tests, including those on the running kernel. cargo builds and runs them as this user; only the
//! programs of the live tests run as root, with sudo. All programs run even if one fails; the last lines list the failures.

use crate::{apt, command};
use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;
use std::{
    env,
    ffi::{OsStr, OsString},
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

/// A cargo runner that runs the programs of the live tests with sudo and their environment variables, and others directly.
const RUNNER: &str = "target.'cfg(unix)'.runner = ['sh', '-c', '''
if [ \"$CARGO_PKG_NAME\" = tcptrace-tests ]; then
    exec sudo --preserve-env=TCPTRACE_BIN,TCPTRACE_BPF_OBJECT,TCPTRACE_REQUIRE_LIVE,RUST_BACKTRACE \"$0\" \"$@\"
fi
exec \"$0\" \"$@\"''']";

/// Installs iproute2 if it is missing, and runs the tests.
pub(crate) fn run() -> Result<()> {
    if command::find("ss").is_none() {
        apt::install(&["iproute2"]).context("most live tests compare with `ss`, which is not installed")?;
    }
    with([])
}

/// Runs the tests with these environment variables.
pub(crate) fn with<const N: usize>(variables: [(&str, &OsStr); N]) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo
        .args(["test", "--no-fail-fast"])
        .envs(variables)
        .stdout(Stdio::piped());
    if !geteuid().is_root() {
        if command::find("sudo").is_some() {
            cargo.args(["--config", RUNNER]);
        } else {
            println!("sudo is not installed, and live tests need root: they are ignored");
        }
    }
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line.context("cannot read the output of the tests")?;
        println!("{line}");
        tally.read(&line);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    println!(
        "\ntotal: {} passed, {} failed, {} ignored",
        tally.passed, tally.failed, tally.ignored
    );
    for name in &tally.failures {
        println!("    {name} failed");
    }
    if !status.success() {
        bail!("tests failed; they are listed above");
    }
    Ok(())
}

/// The sum of libtest's results.
#[derive(Default, Debug, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
    listed: Vec<String>,
}

impl Tally {
    /// A program lists the failed tests before its result: after the last `failures:`, indented.
    fn read(&mut self, line: &str) {
        if line == "failures:" {
            self.listed.clear();
        } else if let Some(name) = line.strip_prefix("    ") {
            self.listed.push(name.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let count = |word: &str| {
                let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
                let counts = counts.split("; ").filter_map(|count| count.split_once(' '));
                let mut counts = counts.filter(|(_, kind)| *kind == word);
                counts
                    .next()
                    .and_then(|(number, _)| number.parse().ok())
                    .unwrap_or(0)
            };
            self.passed += count("passed");
            self.ignored += count("ignored");
            let failed = count("failed");
            self.failed += failed;
            if failed > 0 {
                self.failures.append(&mut self.listed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_listed_whatever_they_print() {
        let printed = "running 2 tests
test a ... 
    a says something
FAILED
test b ... ok

failures:

---- a ----
    it quotes
failures:
    x


failures:
    a

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 27.69s

running 3 tests
    indented
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let mut tally = Tally::default();
        printed.lines().for_each(|line| tally.read(line));
        assert_eq!((tally.passed, tally.failed, tally.ignored), (3, 1, 1));
        assert_eq!(tally.failures, ["a"]);
    }
}
