//! A running `tcptrace record`: started, waited for until its file is there, stopped or killed.

use crate::{
    clock::poll_until,
    command::{self, Running, Said, tcptrace},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

/// How long loading and attaching may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The process, and its first file.
pub struct Recording {
    running: Running,
    /// Where it writes first.
    pub file: PathBuf,
}

impl Recording {
    /// Starts `tcptrace record -o output` with more `arguments`; `file` is what it makes first. Returns when the file
    /// has its header: from then on everything is seen.
    #[must_use]
    pub fn start(output: &Path, file: &Path, arguments: &[&str]) -> Self {
        let output = output.to_str().expect("a test's path is text");
        let mut all = vec!["record", "-o", output];
        all.extend(arguments);
        let mut running = Running::start(tcptrace(&all));
        let has_begun = poll_until(PATIENCE, || {
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

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Ends it in order, which must succeed.
    pub fn stop(mut self) {
        self.running.signal(Signal::SIGINT);
        let status = self.running.status();
        assert!(status.success(), "{status}: {}", self.running.messages());
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        self.running.signal(Signal::SIGKILL);
        let _signalled = self.running.status();
    }

    /// Waits until it ends by itself, and returns what it said on standard error.
    #[must_use]
    pub fn ending(mut self) -> (ExitStatus, String) {
        let status = self.running.status();
        (status, self.running.messages())
    }
}

/// Runs a command that reads recordings, which must succeed.
#[must_use]
pub fn read(arguments: &[&str], files: &[&Path]) -> Said {
    let mut all: Vec<&str> = arguments.to_vec();
    all.extend(
        files
            .iter()
            .map(|file| file.to_str().expect("a test's path is text")),
    );
    let said = command::run(tcptrace(&all));
    assert_eq!(said.code, Some(0), "{}", said.err);
    said
}

/// What `report --json` says under `summary`, of one run.
#[must_use]
pub fn summary(files: &[&Path]) -> Value {
    let said = read(&["report", "--json"], files);
    let last = said.out.lines().last().expect("a report has lines");
    let line: Value = serde_json::from_str(last).expect("a line is JSON");
    line["summary"].clone()
}
