//! Runs `tcptrace` for its exit status and its output, without parsing events.

use crate::{binary, clock::poll_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Maximum run time on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(3);

/// The output and exit status of a run.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; `None` if a signal ended the process.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The command with its arguments, in a locale of UTF-8, which may be changed before it runs.
#[must_use]
pub fn tcptrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::path());
    command
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the command until it exits by itself.
#[must_use]
pub fn run(mut command: Command) -> Output {
    let child = command.spawn().expect("the command can be started");
    let (status, out, err) = Running(child).output();
    Output {
        code: status.code(),
        out,
        err,
    }
}

/// A running command.
pub struct Running(Child);

impl Running {
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("the command can be started"))
    }

    /// Takes its standard output, once.
    pub fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().expect("stdout is piped, and taken once"))
    }

    /// Takes its standard error, once.
    pub fn stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().expect("stderr is piped, and taken once")
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        // It has not been waited for, so its id cannot be that of another process.
        let pid = i32::try_from(self.0.id()).expect("process ids fit i32");
        kill(Pid::from_raw(pid), signal).expect("our own child takes a signal");
    }

    /// Whether it has exited.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_some()
    }

    /// Its standard error, complete: may be called once, after it has exited.
    pub fn messages(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut text).expect("the output is text");
        }
        text
    }

    /// Its standard error, line by line while it runs; takes it, once.
    pub fn lines_of_messages(&mut self) -> Receiver<String> {
        let stderr = BufReader::new(self.stderr());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        receiver
    }

    /// Waits for its exit, with a timeout.
    pub fn status(&mut self) -> ExitStatus {
        poll_until(TIMEOUT, || self.0.try_wait().expect("our own child"))
            .unwrap_or_else(|| panic!("tcptrace has not ended within {TIMEOUT:?}"))
    }

    /// Waits for its exit and returns its output.
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

/// Reads a pipe to its end on another thread, so that the writer never blocks.
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
            // Best effort: it may have exited.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Reads the first line, after which the command is known to run.
pub fn first_line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the output is text");
    line
}

/// Reads the remaining lines.
#[must_use]
pub fn rest_of(stdout: BufReader<ChildStdout>) -> Vec<String> {
    stdout
        .lines()
        .map(|line| line.expect("the output is text"))
        .collect()
}
