//! `cargo xtask demo`: starts a server on loopback that leaks sockets, bounded in number and time, its clients, and
//! `tcptrace watch`.

use crate::{command, demo_client::Role, workspace};
use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    unistd::Pid,
};
use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Exit status of `timeout` when the time has elapsed.
const TIMED_OUT: i32 = 124;

/// Maximum time until `watch` exits after a signal.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Duration in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Arguments for `tcptrace watch`
    #[arg(last = true)]
    watch: Vec<OsString>,
}

/// Builds tcptrace, runs it with the server and the clients, and ends them all.
pub(crate) fn run(args: &Args) -> Result<()> {
    let tcptrace = build(&workspace::root()?)?;
    let mut watch = watch_command(&tcptrace, args)?;

    catch_signals()?;
    let seconds = args.seconds;
    let (server, port) = start_server(seconds)?;
    let short = start_client(Role::Short, port, seconds)?;
    let stuck = start_client(Role::Stuck, port, seconds)?;
    println!(
        "leaky-server ({}, port {port}) does not close its sockets (CLOSE_WAIT), short-client ({}) opens and closes \
         connections (TIME_WAIT), stuck-reader ({}) never reads; ends in {seconds} s, or with Ctrl-C",
        server.0.id(),
        short.0.id(),
        stuck.0.id()
    );
    let mut watch = Part(watch.spawn().context("cannot start tcptrace")?);
    let status = wait(&mut watch.0)?;
    if status.success() || status.code() == Some(TIMED_OUT) || INTERRUPTED.load(Ordering::Relaxed) {
        return Ok(());
    }
    bail!("`tcptrace watch` exited with {status}; its messages are above")
}

/// Builds tcptrace and returns the path of the program.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    command::run(Command::new(cargo).current_dir(root).args([
        "build",
        "--release",
        "--package",
        "tcptrace",
    ]))?;
    Ok(workspace::target(root).join("release/tcptrace"))
}

/// `timeout` runs inside of `sudo`, since this user cannot signal root's process.
fn watch_command(tcptrace: &Path, args: &Args) -> Result<Command> {
    let mut command = command::as_root("timeout")?;
    command
        .args(["--foreground", "--signal=INT", "--kill-after=5"])
        .arg(args.seconds.to_string())
        .arg(tcptrace)
        .arg("watch")
        .args(&args.watch);
    Ok(command)
}

/// A process of the demo, which is killed on drop.
pub(crate) struct Part(pub(crate) Child);

impl Drop for Part {
    fn drop(&mut self) {
        // Both fail only if the process has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn start_server(seconds: u64) -> Result<(Part, u16)> {
    let mut child = this_program("demo-server", seconds)?
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the demo's server")?;
    let stdout = child.stdout.take();
    let server = Part(child);
    let mut line = String::new();
    BufReader::new(stdout.context("the demo's server has no output")?).read_line(&mut line)?;
    let port = line
        .trim()
        .parse()
        .context("the demo's server did not print its port; its messages are above")?;
    Ok((server, port))
}

pub(crate) fn start_client(role: Role, port: u16, seconds: u64) -> Result<Part> {
    let child = this_program("demo-client", seconds)?
        .arg(format!("--role={}", role.name()))
        .arg(format!("--port={port}"))
        .spawn()
        .context("cannot start the demo's client")?;
    Ok(Part(child))
}

fn this_program(task: &str, seconds: u64) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("cannot find this program's own file")?);
    command
        .arg(task)
        .arg(format!("--seconds={seconds}"))
        .stdin(Stdio::null());
    Ok(command)
}

/// Waits until `watch` exits, or until its time to exit after a signal has elapsed. The terminal sends Ctrl-C to every
/// process of the demo; a signal to this process alone is forwarded.
fn wait(watch: &mut Child) -> Result<ExitStatus> {
    let mut told = None;
    loop {
        if let Some(status) = watch.try_wait()? {
            return Ok(status);
        }
        match told {
            None if INTERRUPTED.load(Ordering::Relaxed) => {
                told = Some(Instant::now());
                // Not permitted if the process is sudo: then the terminal or `timeout` ends it.
                let _ = nix::sys::signal::kill(Pid::from_raw(watch.id().cast_signed()), Signal::SIGTERM);
            }
            Some(at) if at.elapsed() > EXIT_TIMEOUT => {
                watch
                    .kill()
                    .context("`tcptrace watch` does not end; end it by hand")?;
                return Ok(watch.wait()?);
            }
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn catch_signals() -> Result<()> {
    extern "C" fn note(_: nix::libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic, which is safe in a signal handler.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot catch {signal}"))?;
    }
    Ok(())
}
