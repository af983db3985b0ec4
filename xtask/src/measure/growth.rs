//! How memory, background work and snapshots grow with the number of sockets.

use super::{churn, median::Measurements, tracer::Tracer};
use crate::netns::in_namespace;
use anyhow::{Context as _, Result};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Numbers of sockets in TIME_WAIT. The largest is the default of `--max-connections`.
const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];

/// Prints a row for each size.
pub(super) fn measure(program: &Path) -> Result<()> {
    println!(
        "\nBy the number of sockets in TIME_WAIT: memory of `trace`, its CPU time in the 5 s after, and `snapshot`\n"
    );
    println!("| connections | memory | CPU | snapshot, of `ss -tan` |\n| ---: | ---: | ---: | ---: |");
    for size in SIZES {
        in_namespace(|| {
            for (name, value) in [
                ("ipv4/tcp_max_tw_buckets", "2000000"),
                ("ipv4/ip_local_port_range", "1024 65535"),
                // On loopback the kernel reuses the port of a TIME_WAIT after a second.
                ("ipv4/tcp_tw_reuse", "0"),
            ] {
                fs::write(format!("/proc/sys/net/{name}"), value).context(name)?;
            }
            let tracer = Tracer::counting(program)?;
            let clients = thread::available_parallelism()?.get();
            churn::run_here(churn::Kind::ClientCloses, Duration::from_mins(2), size, clients)?;
            let memory = tracer.resident_kib()? / 1024;
            let before = tracer.cpu_time()?;
            thread::sleep(Duration::from_secs(5));
            let share = (tracer.cpu_time()? - before) / 5.0 * 100.0;
            let snapshots = shares(3, &mut snapshot(program), Command::new("ss").arg("-tan"))?;
            println!("| {size} | {memory} MiB | {share:.1} % | {snapshots} % |");
            tracer.stop()?;
            Ok(())
        })?;
    }
    Ok(())
}

fn snapshot(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("snapshot");
    command
}

/// Run time of `ours` in percent of that of `theirs`, in turns.
pub(super) fn shares(rounds: usize, ours: &mut Command, theirs: &mut Command) -> Result<Measurements> {
    let mut shares = Vec::new();
    for _ in 0..rounds {
        let (theirs, ours) = (run_time(theirs)?, run_time(ours)?);
        shares.push(ours.as_secs_f64() / theirs.as_secs_f64() * 100.0);
    }
    Ok(Measurements::new(shares))
}

fn run_time(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let took = began.elapsed();
    // 4: something could not be read.
    anyhow::ensure!(
        matches!(status.code(), Some(0 | 4)),
        "{command:?} failed: {status}"
    );
    Ok(took)
}
