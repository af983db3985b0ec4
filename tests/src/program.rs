//! The programs in `tests/programs`, which print the ports of their listeners as their first line.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running program, which is killed on drop.
pub struct Program {
    child: Child,
    pub ports: Vec<u16>,
}

impl Program {
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let ports = line.split_whitespace().map(|port| port.parse().expect("a port"));
        Self {
            ports: ports.collect(),
            child,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Best effort: it may have exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Path of a file in `tests/programs`.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}
