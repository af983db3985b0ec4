//! A running `tcptrace record`, from the header of its file until it is stopped or killed.

use crate::{
    clock::poll_until,
    command::{self, Output, Running, tcptrace},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

/// Maximum time to load and attach on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The process and its first file.
pub struct Recording {
    running: Running,
    /// Path of the first file.
    pub file: PathBuf,
}

impl Recording {
    /// Starts `tcptrace record -o output` with additional `arguments`; `file` is the first file that it creates.
    /// Returns when the file has its header: from then on everything is recorded.
    #[must_use]
    pub fn start(output: &Path, file: &Path, arguments: &[&str]) -> Self {
        let output = output.to_str().expect("a test's path is text");
        let mut all = vec!["record", "-o", output];
        all.extend(arguments);
        let mut running = Running::start(tcptrace(&all));
        let has_begun = poll_until(TIMEOUT, || {
            assert!(
                !running.has_ended(),
                "tcptrace record has ended: {}",
                running.messages()
            );
            fs::metadata(file).is_ok_and(|file| file.len() > 0).then_some(())
        });
        assert!(has_begun.is_some(), "{} has not come", file.display());
        Self {
            running,
            file: file.to_owned(),
        }
    }

    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Stops it, which must succeed.
    pub fn stop(mut self) {
        self.running.signal(Signal::SIGINT);
        let status = self.running.status();
        assert!(status.success(), "{status}: {}", self.running.messages());
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.running.signal(Signal::SIGKILL);
        let _signalled = self.running.status();
    }

    pub fn has_ended(&mut self) -> bool {
        self.running.has_ended()
    }

    /// Waits until it exits by itself, and returns its standard error.
    #[must_use]
    pub fn ending(mut self) -> (ExitStatus, String) {
        let status = self.running.status();
        (status, self.running.messages())
    }
}

/// Runs a command that reads recordings, which must succeed.
#[must_use]
pub fn read(arguments: &[&str], files: &[impl AsRef<Path>]) -> Output {
    let text = |file| Path::to_str(file).expect("a test's path is text");
    let mut all: Vec<&str> = arguments.to_vec();
    all.extend(files.iter().map(|file| text(file.as_ref())));
    let result = command::run(tcptrace(&all));
    assert_eq!(result.code, Some(0), "{}", result.err);
    result
}

/// The `summary` of `report --json` for one run.
#[must_use]
pub fn summary(files: &[impl AsRef<Path>]) -> Value {
    let result = read(&["report", "--json"], files);
    let last = result.out.lines().last().expect("a report has lines");
    let line: Value = serde_json::from_str(last).expect("a line is JSON");
    line["summary"].clone()
}
