//! Processor time with little or no traffic, and the time until a command answers.

use super::{churn, growth, median::Measurements, tracer::Tracer};
use crate::netns::in_namespace;
use anyhow::{Context as _, Result};
use nix::pty::{Winsize, openpty};
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Duration of each measurement of processor time.
const SPAN: Duration = Duration::from_secs(20);

/// Connections per second of little traffic: each has some ten transitions.
const RATE: u32 = 5;

/// Sockets that the live view shows.
const SOCKETS: usize = 250;

/// Prints the tables.
pub(super) fn measure(program: &Path, rounds: usize) -> Result<()> {
    println!("\nProcessor time with little traffic, in % of a CPU over {SPAN:?}\n");
    println!("| command | traffic | CPU |\n| --- | --- | ---: |");
    let batch = Tracer::start(Command::new(program).args(["watch", "-b"]))?;
    println!("| `watch -b` | none | {:.2} |", share(&batch, sleep)?);
    let busy = share(&batch, || in_namespace(little_traffic))?;
    println!("| `watch -b` | {RATE} connections/s | {busy:.2} |");
    batch.end()?;
    let view = in_namespace(|| live_view(program))?;
    println!("| `watch` | {SOCKETS} idle connections | {view:.2} |");

    println!("\nTime until a command answers: median of {rounds} (smallest–largest)\n");
    println!("| command | time |\n| --- | ---: |");
    let mut times = Vec::new();
    for _ in 0..rounds {
        times.push(until_first_line(program)?.as_secs_f64() * 1e3);
    }
    println!(
        "| `trace --json`, until its first line | {} ms |",
        Measurements::new(times)
    );
    let mut ss = Command::new("ss");
    let shares = growth::shares(rounds, Command::new(program).arg("snapshot"), ss.arg("-tanp"))?;
    println!("| `snapshot` of few sockets, of `ss -tanp` | {shares} % |");
    Ok(())
}

/// CPU time of `tracer` during `body`, which takes `SPAN`, in percent of a CPU.
fn share(tracer: &Tracer, body: impl FnOnce() -> Result<()>) -> Result<f64> {
    let (began, before) = (Instant::now(), tracer.cpu_time()?);
    body()?;
    let used = tracer.cpu_time()? - before;
    Ok(used / began.elapsed().as_secs_f64() * 100.0)
}

#[expect(clippy::unnecessary_wraps, reason = "other traffic can fail")]
fn sleep() -> Result<()> {
    thread::sleep(SPAN);
    Ok(())
}

fn little_traffic() -> Result<()> {
    let listener = churn::listener()?;
    let port = listener.local_addr()?.port();
    let began = Instant::now();
    while began.elapsed() < SPAN {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?);
        drop(listener.accept()?);
        thread::sleep(Duration::from_secs(1) / RATE);
    }
    Ok(())
}

/// The live view on a pseudoterminal, beside connections between this process and itself.
fn live_view(program: &Path) -> Result<f64> {
    let listener = churn::listener()?;
    let port = listener.local_addr()?.port();
    let mut kept = Vec::new();
    for _ in 0..SOCKETS / 2 {
        kept.push((
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))?,
            listener.accept()?,
        ));
    }
    let size = Winsize {
        ws_row: 50,
        ws_col: 160,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(&size, None).context("cannot make a pseudoterminal")?;
    let mut screen = File::from(terminal.master);
    // Ends with an error when the last descriptor of the other side is closed.
    let drain = thread::spawn(move || io::copy(&mut screen, &mut io::sink()));
    let input: Stdio = terminal.slave.try_clone()?.into();
    let mut command = Command::new(program);
    let tracer = Tracer::start_on(command.arg("watch"), input, terminal.slave.into())?;
    let share = share(&tracer, sleep)?;
    tracer.end()?;
    drop(command);
    let _closed = drain.join();
    Ok(share)
}

fn until_first_line(program: &Path) -> Result<Duration> {
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["trace", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().context("it has a pipe")?;
    BufReader::new(output).read_line(&mut line)?;
    let took = began.elapsed();
    child.kill()?;
    child.wait()?;
    anyhow::ensure!(!line.is_empty(), "`trace --json` printed nothing");
    Ok(took)
}
