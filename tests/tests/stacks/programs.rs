//! The programs that leak: compiles, starts and ends them.

use std::{ffi::OsStr, fs, path::PathBuf, process::Command, time::Duration};
use tcptrace_tests::{
    clock::poll_until,
    program::{self, source},
};
use tempfile::TempDir;

/// A virtual machine may take a while to start, and a compiler to compile.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A running program, and its folder.
pub(crate) struct Program {
    running: program::Program,
    /// The ports of a server's two listeners; 0 for a client.
    pub(crate) ports: [u16; 2],
    _folder: Option<TempDir>,
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("the command can be started");
    let result = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {result}");
}

impl Program {
    fn start(command: &mut Command, folder: Option<TempDir>) -> Self {
        let running = program::Program::start(command);
        Self {
            ports: running.ports[..].try_into().expect("two ports"),
            running,
            _folder: folder,
        }
    }

    /// `shop.c`, compiled with these flags.
    pub(crate) fn c(flags: &[&str], arguments: &[impl AsRef<OsStr>]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let program = folder.path().join("shop");
        let mut compiler = Command::new("cc");
        succeed(compiler.args(flags).arg("-o").arg(&program).arg(source("shop.c")));
        Self::start(Command::new(&program).args(arguments), Some(folder))
    }

    /// `OrderClient.java`, run with these options of the virtual machine.
    pub(crate) fn java(options: &[&str], ports: [u16; 2]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut compiler = Command::new("javac");
        succeed(
            compiler
                .arg("-d")
                .arg(folder.path())
                .arg(source("OrderClient.java")),
        );
        let mut java = Command::new("java");
        java.args(options)
            .arg("-cp")
            .arg(folder.path())
            .arg("OrderClient");
        Self::start(java.args(ports.map(|port| port.to_string())), Some(folder))
    }

    /// `shop.go`.
    pub(crate) fn go(ports: [u16; 2]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let program = folder.path().join("shop");
        let mut compiler = Command::new("go");
        compiler
            .env("GOCACHE", folder.path().join("cache"))
            .env("GOFLAGS", "-mod=mod")
            .arg("build")
            .arg("-o")
            .arg(&program)
            .arg(source("shop.go"));
        succeed(&mut compiler);
        let mut shop = Command::new(&program);
        Self::start(shop.args(ports.map(|port| port.to_string())), Some(folder))
    }

    /// `shop.mjs`, run with these options.
    pub(crate) fn node(options: &[&str], ports: [u16; 2]) -> Self {
        let mut node = Command::new("node");
        node.args(options).arg(source("shop.mjs"));
        // With some of these options it writes a log to its working directory.
        let folder = TempDir::new().expect("a temporary folder");
        node.current_dir(folder.path());
        Self::start(node.args(ports.map(|port| port.to_string())), Some(folder))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The file in which its run-time compiler lists what it has compiled.
    fn perf_map(&self) -> PathBuf {
        format!("/tmp/perf-{}.map", self.pid()).into()
    }

    /// Makes a Java program write that file, once it has the methods that open sockets.
    pub(crate) fn write_perf_map(&self) {
        let pid = self.pid().to_string();
        let is_written = poll_until(TIMEOUT, || {
            succeed(Command::new("jcmd").args([&pid, "Compiler.perfmap"]));
            let map = fs::read_to_string(self.perf_map()).unwrap_or_default();
            let names = ["OrderClient.fetch(", "HttpURLConnection.connect("];
            names.iter().all(|name| map.contains(name)).then_some(())
        });
        is_written.expect("the methods are compiled");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Best effort: it may have written none.
        let _ = fs::remove_file(self.perf_map());
    }
}
