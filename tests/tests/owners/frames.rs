//! The frames of `tcptrace watch -b`, as far as they tell who has how many sockets in which state.

use crate::judge::PATIENCE;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::ChildStdout,
    time::Instant,
};
use tcptrace_tests::command::{Running, tcptrace};

/// A line of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Name of the process.
    pub(crate) comm: String,
    counts: BTreeMap<String, usize>,
}

/// A frame: its lines by process.
pub(crate) type Frame = BTreeMap<u32, Line>;

/// A running `watch`.
pub(crate) struct Frames {
    stdout: BufReader<ChildStdout>,
    _running: Running,
}

impl Line {
    /// How many sockets are in the state with this title; a state without a column has none.
    pub(crate) fn count(&self, title: &str) -> usize {
        self.counts.get(title).copied().unwrap_or(0)
    }
}

impl Frames {
    /// Watches these processes, several times a second.
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

    /// Takes frames until one has it.
    pub(crate) fn until(&mut self, has: impl Fn(&Frame) -> bool) -> Frame {
        let begun = Instant::now();
        loop {
            let frame = self.next();
            if has(&frame) {
                return frame;
            }
            assert!(begun.elapsed() < PATIENCE, "no such frame comes: {frame:?}");
        }
    }
}
