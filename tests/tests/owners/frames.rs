//! The frames of `tcptrace watch -b`: the number of sockets of each process in each state.

use crate::judge::TIMEOUT;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::ChildStdout,
    time::Instant,
};
use tcptrace_tests::command::{Running, tcptrace};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Name of the process.
    pub(crate) comm: String,
    counts: BTreeMap<String, usize>,
}

/// The lines of a frame, by process.
pub(crate) type Frame = BTreeMap<u32, Line>;

pub(crate) struct Frames {
    stdout: BufReader<ChildStdout>,
    _running: Running,
}

impl Line {
    /// The number of sockets in the state with this title; 0 without a column.
    pub(crate) fn count(&self, title: &str) -> usize {
        self.counts.get(title).copied().unwrap_or(0)
    }
}

impl Frames {
    /// Starts it for these processes, with several frames per second.
    pub(crate) fn of(pids: &[u32]) -> Self {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut running = Running::start(tcptrace(&["watch", "-b", "-d", "0.2", "--pid", &pids.join(",")]));
        Self {
            stdout: running.stdout(),
            _running: running,
        }
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Frame {
        let mut frame = Frame::new();
        let mut titles: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            let length = self.stdout.read_line(&mut line).expect("the output is text");
            assert_ne!(length, 0, "the watch has ended");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                // A frame ends with an empty line.
                [] => return frame,
                ["PID", "COMMAND", rest @ ..] => titles = rest.iter().map(|&word| word.to_owned()).collect(),
                [pid, comm, numbers @ ..] => {
                    let Ok(pid) = pid.parse() else { continue };
                    let counts = titles
                        .iter()
                        .zip(numbers)
                        .filter_map(|(title, number)| Some((title.clone(), number.parse().ok()?)));
                    let line = Line {
                        comm: (*comm).to_owned(),
                        counts: counts.collect(),
                    };
                    frame.insert(pid, line);
                }
                [_] => {}
            }
        }
    }

    /// Reads frames until one has an answer.
    pub(crate) fn until(&mut self, has: impl Fn(&Frame) -> bool) -> Frame {
        let begun = Instant::now();
        loop {
            let frame = self.next();
            if has(&frame) {
                return frame;
            }
            assert!(begun.elapsed() < TIMEOUT, "no such frame comes: {frame:?}");
        }
    }
}
