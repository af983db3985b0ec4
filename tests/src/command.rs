//! A run of `tcptrace` for its exit status and its words, not for its events.

use crate::{binary, clock::poll_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long a run may take to end on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a run said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The command with its arguments, to be changed before it runs.
#[must_use]
pub fn tcptrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::path());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the command to its end, which must come by itself.
#[must_use]
pub fn run(mut command: Command) -> Said {
    let child = command.spawn().expect("the command can be started");
    let (status, out, err) = Running(child).output();
    Said {
        code: status.code(),
        out,
        err,
    }
}

/// A run that has not ended.
pub struct Running(Child);

impl Running {
    /// Starts the command.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("the command can be started"))
    }

    /// Its standard output, once.
    pub fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().expect("stdout is piped, and taken once"))
    }

    /// Its standard error, once.
    pub fn stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().expect("stderr is piped, and taken once")
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // It has not been waited for, so that its id cannot be another process's.
        let pid = i32::try_from(self.0.id()).expect("process ids fit i32");
        kill(Pid::from_raw(pid), signal).expect("our own child takes a signal");
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_some()
    }

    /// What it has written to standard error; to be asked after its end, and once.
    pub fn messages(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut text).expect("the output is text");
        }
        text
    }

    /// Waits for its end, which must come soon.
    pub fn status(&mut self) -> ExitStatus {
        poll_until(PATIENCE, || self.0.try_wait().expect("our own child"))
            .unwrap_or_else(|| panic!("tcptrace has not ended within {PATIENCE:?}"))
    }

    /// Waits for its end and reads what it says.
    fn output(mut self) -> (ExitStatus, String, String) {
        let out = self.0.stdout.take().map(read_aside);
        let err = self.0.stderr.take().map(read_aside);
        let status = self.status();
        let [out, err] = [out, err].map(|reader| match reader {
            Some(reader) => reader.join().expect("a reader only reads"),
            None => String::new(),
        });
        (status, out, err)
    }
}

/// Reads a pipe to its end on another thread, so that whoever fills it never waits.
fn read_aside(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("the output is text");
        text
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            // Best effort: it may have ended in between.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Reads the first line, which tells that the command works.
pub fn first_line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the output is text");
    line
}

/// Reads the lines that are left, to the end.
#[must_use]
pub fn rest_of(stdout: BufReader<ChildStdout>) -> Vec<String> {
    stdout
        .lines()
        .map(|line| line.expect("the output is text"))
        .collect()
}
