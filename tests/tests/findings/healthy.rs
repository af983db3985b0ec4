//! Healthy programs under load: nothing is found.

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
use tcptrace_tests::{clock::poll_until, live, netns::Netns};

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of ours, ended by a signal that it takes for a wish.
struct Ours(Child, Signal);

impl Drop for Ours {
    fn drop(&mut self) {
        // It has not been waited for, so that its id cannot be another process's.
        let pid = i32::try_from(self.0.id()).expect("process ids fit i32");
        let _ = kill(Pid::from_raw(pid), self.1);
        let _ = self.0.wait();
    }
}

fn nothing_is_found(netns: Netns) {
    let diagnosis = Diagnosis::of(netns, &["--duration", "10"]);
    assert!(diagnosis.findings.is_empty(), "{diagnosis:#?}");
    assert_eq!(diagnosis.code, Some(0));
}

pub(crate) fn nginx_with_keep_alive(netns: Netns) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path().display();
    let configuration = format!(
        "daemon off;\nuser root;\nworker_processes 2;\npid {at}/pid;\nerror_log {at}/errors;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  \
         fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  \
         server {{ listen 127.0.0.1:{PORT}; location / {{ return 200 served; }} }}\n}}\n"
    );
    let path = folder.path().join("nginx.conf");
    fs::write(&path, configuration).expect("a folder of our own");
    let nginx = Command::new("nginx")
        .arg("-c")
        .arg(&path)
        .arg("-p")
        .arg(folder.path())
        .stdin(Stdio::null())
        .spawn()
        .expect("nginx can be started");
    let _nginx = Ours(nginx, Signal::SIGTERM);
    poll_until(PATIENCE, || TcpStream::connect(("127.0.0.1", PORT)).ok()).expect("it listens");
    let load = Command::new("wrk")
        .args(["-t", "2", "-c", "64", "-d", "60"])
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
    let made = poll_until(PATIENCE, || {
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
        .args(["-c", "8", "-T", "20", "postgres"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be started");
    let _load = Ours(load, Signal::SIGKILL);
    nothing_is_found(netns);
}
