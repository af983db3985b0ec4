//! The cost of `leaks` without and with stacks, for connections and for system calls unrelated to sockets.

use super::{churn, median::Measurements, programs, tracer::Tracer};
use anyhow::Result;
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Prints a row for each choice of stacks.
pub(super) fn measure(program: &Path, span: Duration, rounds: usize) -> Result<()> {
    let choices: [&[&str]; 3] = [&[], &["--stacks"], &["--stacks=read"]];
    println!("\n`leaks`, in % of the connections per second and of the time of getppid(2) without it\n");
    println!("| options | connections per second | getppid |\n| --- | ---: | ---: |");
    for options in choices {
        let (mut rates, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let rate = churn::run(churn::Kind::ClientCloses, span, 1)?;
            let call = system_call();
            let tracer = leaks(program, options)?;
            rates.push(churn::run(churn::Kind::ClientCloses, span, 1)? / rate * 100.0);
            calls.push(system_call() / call * 100.0);
            tracer.end()?;
        }
        let (rates, calls) = (Measurements::new(rates), Measurements::new(calls));
        println!("| `{}` | {rates} | {calls} |", options.join(" "));
    }
    let tracer = leaks(program, &["--stacks=read"])?;
    println!();
    programs::account(&tracer, || {
        Ok(churn::run(churn::Kind::ClientCloses, span, 1)? * span.as_secs_f64())
    })?;
    tracer.end().map(drop)
}

fn leaks(program: &Path, options: &[&str]) -> Result<Tracer> {
    // No port passes the filter, so that the report at the end is short.
    let mut command = Command::new(program);
    command.args(["leaks", "--duration", "3600", "--localport", "1"]);
    Tracer::start(command.args(options))
}

/// Nanoseconds of the cheapest system call.
fn system_call() -> f64 {
    const CALLS: u32 = 2_000_000;
    let began = Instant::now();
    for _ in 0..CALLS {
        nix::unistd::getppid();
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}
