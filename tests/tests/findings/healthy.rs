//! Healthy programs under load: no findings.

use crate::doctor::Diagnosis;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tcptrace_tests::{clock::poll_until, live, netns::Netns, nginx};

const PORT: u16 = 8080;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A child process, which a signal stops in order.
struct Ours(Child, Signal);

impl Drop for Ours {
    fn drop(&mut self) {
        // It has not been waited for, so its id cannot be that of another process.
        let pid = i32::try_from(self.0.id()).expect("process ids fit i32");
        let _ = kill(Pid::from_raw(pid), self.1);
        let _ = self.0.wait();
    }
}

fn nothing_is_found(netns: Netns) {
    let diagnosis = Diagnosis::of(netns, &["--duration", "60"]);
    assert!(diagnosis.findings.is_empty(), "{diagnosis:#?}");
    assert_eq!(diagnosis.code, Some(0));
}

pub(crate) fn nginx_with_keep_alive(netns: Netns) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = format!("server {{ listen 127.0.0.1:{PORT}; location / {{ return 200 served; }} }}");
    let nginx = nginx::start(folder.path(), &server);
    let _nginx = Ours(nginx, Signal::SIGTERM);
    poll_until(TIMEOUT, || TcpStream::connect(("127.0.0.1", PORT)).ok()).expect("it listens");
    let load = Command::new("wrk")
        .args(["-t", "2", "-c", "64", "-d", "75"])
        .arg(format!("http://127.0.0.1:{PORT}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("wrk can be started");
    let _load = Ours(load, Signal::SIGKILL);
    nothing_is_found(netns);
}

/// As the user `nobody`: PostgreSQL refuses to run as root.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .current_dir("/");
    command
}

fn succeeds(command: &mut Command) {
    let status = command.status().expect("it can be started");
    assert!(status.success(), "{command:?} ended with {status}");
}

pub(crate) fn postgresql_under_pgbench(netns: Netns) {
    let programs: PathBuf = live::postgresql().expect("it was asked for");
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("a folder of our own");
    let data = folder.path().join("data");
    succeeds(
        as_nobody(&programs.join("initdb"))
            .args(["--auth=trust", "--no-sync", "--username=bench", "-D"])
            .arg(&data),
    );
    let server = as_nobody(&programs.join("postgres"))
        .arg("-D")
        .arg(&data)
        .args([
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "port=5432",
        ])
        .args(["-c", "unix_socket_directories="])
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be started");
    let _server = Ours(server, Signal::SIGINT);
    let to_server = ["-h", "127.0.0.1", "-p", "5432", "-U", "bench"];
    let made = poll_until(TIMEOUT, || {
        let mut pgbench = as_nobody(&programs.join("pgbench"));
        pgbench
            .args(to_server)
            .args(["-i", "-q", "postgres"])
            .stderr(Stdio::null());
        pgbench.status().ok()?.success().then_some(())
    });
    made.expect("the server takes connections");
    let load = as_nobody(&programs.join("pgbench"))
        .args(to_server)
        .args(["-c", "8", "-T", "75", "postgres"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be started");
    let _load = Ours(load, Signal::SIGKILL);
    nothing_is_found(netns);
}
