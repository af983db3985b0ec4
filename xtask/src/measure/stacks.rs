//! `cargo xtask measure`: the cost of tracing during a flood of loopback connections: connections per second with and
//! without it, records lost by buffer size, and the run time of each program by the kernel's statistics.

use crate::{command, workspace};
use anyhow::{Context as _, Result};
use nix::sys::socket::{self, Backlog};
use std::{
    env, fs,
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Measure the cost of tracing on this machine
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Duration of each flood in seconds
    #[arg(long, default_value = "4")]
    seconds: u64,
    /// Number of measurements of each pair of rates
    #[arg(long, default_value = "3")]
    rounds: u32,
    /// Buffer sizes
    #[arg(long, value_delimiter = ',', default_value = "256K,1M,4M,8M,16M")]
    buffers: Vec<String>,
    /// Measure the cost of --stacks instead
    #[arg(long)]
    stacks: bool,
}

/// The environment variable with the path of the program to measure, instead of a release build.
const BINARY: &str = "TCPTRACE_BIN";

/// The sysctl that enables the kernel's statistics of BPF programs.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Number of destinations: one would run out of ephemeral ports.
const DESTINATIONS: u8 = 32;

/// Measures and prints.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = match env::var_os(BINARY) {
        Some(path) => path.into(),
        None => release()?,
    };
    let span = Duration::from_secs(args.seconds);
    if args.stacks {
        return stacks(&program, span, args.rounds);
    }
    println!(
        "connections a second, untraced and traced, {} s each",
        args.seconds
    );
    for _ in 0..args.rounds {
        let alone = flood(span, 1)?;
        let tracer = Tracer::start(&program, "8M")?;
        let beside = flood(span, 1)?;
        let told = tracer.stop()?;
        println!(
            "  {alone:>8} {beside:>8}  {:>5.1} %  lost {}",
            percent(beside, alone),
            told.number("lost")
        );
    }
    println!("records lost by buffer size, with two busy threads per core");
    for buffer in &args.buffers {
        let tracer = Tracer::start(&program, buffer)?;
        let rate = flood(span, thread::available_parallelism()?.get())?;
        let told = tracer.stop()?;
        println!(
            "  {buffer:>5}: {:>8} of {:>9} records at {rate} connections/s",
            told.number("lost"),
            told.number("events") + told.number("lost"),
        );
    }
    with_account(|| {
        let tracer = Tracer::start(&program, "8M")?;
        flood(span, 1)?;
        account_of(&tracer.child)?;
        tracer.stop().map(drop)
    })
}

/// Measures the cost of `leaks` without and with stacks, for connections and for system calls unrelated to sockets.
fn stacks(program: &Path, span: Duration, rounds: u32) -> Result<()> {
    let ways: [&[&str]; 3] = [&[], &["--stacks"], &["--stacks=read"]];
    println!("connections per second and ns per getppid(2), alone and with `leaks` and …, {span:?} each");
    for _ in 0..rounds {
        print!("  nothing: {:>6} {:>4}", flood(span, 1)?, system_call()?);
        for more in ways {
            let child = leaks(program, more)?;
            print!("  {more:?}: {:>6} {:>4}", flood(span, 1)?, system_call()?);
            let said = end(child)?;
            if let Some(lost) = said.lines().find(|line| line.contains("lost")) {
                print!(" ({lost})");
            }
        }
        println!();
    }
    with_account(|| {
        let child = leaks(program, &["--stacks=read"])?;
        flood(span, 1)?;
        account_of(&child)?;
        end(child).map(drop)
    })
}

/// Starts `leaks` and waits until all its programs are attached.
fn leaks(program: &Path, more: &[&str]) -> Result<Child> {
    // No port passes the filter, so that the report at the end is short.
    let child = Command::new(program)
        .args(["leaks", "--duration", "3600", "--localport", "1"])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the tracer")?;
    let links = || -> Result<usize> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", child.id()))?.flatten();
        let texts = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok());
        Ok(texts.filter(|text| text.contains("link_type:")).count())
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut before = 0;
    loop {
        thread::sleep(Duration::from_secs(1));
        let now = links()?;
        if now > 0 && now == before {
            return Ok(child);
        }
        anyhow::ensure!(Instant::now() < deadline, "the tracer did not attach within 20 s");
        before = now;
    }
}

/// Sends SIGINT and returns its standard error.
fn end(child: Child) -> Result<String> {
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Duration of the cheapest system call in nanoseconds.
fn system_call() -> Result<u64> {
    const CALLS: u32 = 2_000_000;
    let began = Instant::now();
    for _ in 0..CALLS {
        nix::unistd::getppid();
    }
    Ok(u64::try_from(began.elapsed().as_nanos())? / u64::from(CALLS))
}

fn release() -> Result<PathBuf> {
    let root = workspace::root()?;
    command::run(Command::new(env!("CARGO")).current_dir(&root).args([
        "build",
        "--release",
        "-p",
        "tcptrace",
    ]))?;
    Ok(workspace::target(&root).join("release/tcptrace"))
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
    let ratio = part as f64 / whole.max(1) as f64;
    ratio * 100.0
}

/// Runs `body` with the kernel's statistics of BPF programs enabled.
fn with_account(body: impl FnOnce() -> Result<()>) -> Result<()> {
    println!(
        "nanoseconds per run, by the kernel's statistics (bpf_stats_enabled), whose overhead is included"
    );
    fs::write(STATS, "1").with_context(|| format!("cannot enable {STATS}"))?;
    let result = body();
    fs::write(STATS, "0").with_context(|| format!("cannot disable {STATS}"))?;
    result
}

/// Prints the kernel's statistics of a process's programs.
fn account_of(child: &Child) -> Result<()> {
    for descriptor in fs::read_dir(format!("/proc/{}/fdinfo", child.id()))?.flatten() {
        let info = fs::read_to_string(descriptor.path()).unwrap_or_default();
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        if let (Some(time_ns), Some(runs), Some(id)) =
            (field("run_time_ns:"), field("run_cnt:"), field("prog_id:"))
            && runs > 0
        {
            println!("  program {id}: {:>5} ns, {runs} runs", time_ns / runs);
        }
    }
    Ok(())
}

/// A running tracer, of whose output only the summary is kept.
struct Tracer {
    child: Child,
    output: tempfile::NamedTempFile,
}

/// A summary line.
struct Summary(String);

impl Summary {
    /// The first number with this key.
    fn number(&self, name: &str) -> u64 {
        let key = format!("\"{name}\":");
        let digits = self.0.split_once(&key).map_or("", |(_, rest)| rest);
        digits
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }
}

impl Tracer {
    fn start(program: &Path, buffer: &str) -> Result<Self> {
        let output = tempfile::NamedTempFile::new()?;
        // No state passes the filter, so that only header and summary are written.
        let mut child = Command::new(program)
            .args([
                "trace",
                "--json",
                "--buffer",
                buffer,
                "--localport",
                "1",
                "--remoteport",
                "1",
            ])
            .stdout(Stdio::from(output.reopen()?))
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the tracer")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !fs::read_to_string(output.path())?.contains("header") {
            anyhow::ensure!(
                child.try_wait()?.is_none(),
                "the tracer ended: run it by hand to see why"
            );
            anyhow::ensure!(Instant::now() < deadline, "the tracer did not start within 10 s");
            thread::yield_now();
        }
        Ok(Self { child, output })
    }

    fn stop(mut self) -> Result<Summary> {
        Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()?;
        self.child.wait()?;
        let mut text = String::new();
        self.output.reopen()?.read_to_string(&mut text)?;
        let summary = text.lines().last().unwrap_or_default().to_owned();
        anyhow::ensure!(summary.contains("summary"), "the tracer ended without a summary");
        Ok(Summary(summary))
    }
}

/// Opens and closes connections for `span` with this many clients, and returns the rate per second.
fn flood(span: Duration, clients: usize) -> Result<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // With the standard library's backlog of 128 a busy machine drops SYNs, and the flood waits for retransmissions.
    socket::listen(&listener, Backlog::new(4096)?)?;
    let port = listener.local_addr()?.port();
    let began = Instant::now();
    thread::scope(|scope| {
        let accepting = Arc::clone(&stop);
        let server = scope.spawn(move || {
            while !accepting.load(Ordering::Relaxed) {
                drop(listener.accept());
            }
        });
        for _ in 0..clients {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            scope.spawn(move || {
                for destination in (1..=DESTINATIONS).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let address = Ipv4Addr::new(127, 0, 0, destination);
                    if TcpStream::connect((address, port)).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        thread::sleep(span);
        stop.store(true, Ordering::Relaxed);
        // One more connection, to wake the server from accept.
        while !server.is_finished() {
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        }
    });
    Ok(count.load(Ordering::Relaxed) * 1_000 / u64::try_from(began.elapsed().as_millis())?.max(1))
}
