//! `cargo xtask measure`: what tracing costs on this machine, next to other tracers. Prints the tables of
//! `docs/performance.md`; what is compared is measured in turns, in one run.

mod churn;
mod empty_program;
mod growth;
mod idle;
mod median;
mod programs;
mod rates;
mod stacks;
mod tracer;

use crate::{command, workspace};
use anyhow::Result;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};
use tracer::Tracer;

/// Measure the cost of tracing on this machine
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum, default_values = ["rates", "programs", "losses", "growth", "idle"])]
    what: Vec<What>,
    /// Duration of each churn of connections in seconds
    #[arg(long, default_value = "4")]
    seconds: u64,
    /// Number of rounds
    #[arg(long, default_value = "5")]
    rounds: usize,
    /// Duration of the churn in which no record may be lost
    #[arg(long, default_value = "60")]
    loss_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Connections per second, untraced and with each tracer
    Rates,
    /// Run time of each kernel program
    Programs,
    /// Records lost when every CPU is busy
    Losses,
    /// Memory, processor time and snapshots by the number of sockets
    Growth,
    /// Processor time with little or no traffic
    Idle,
    /// `leaks` with and without --stacks
    Stacks,
}

/// The environment variable with the path of the program to measure, instead of a release build.
const BINARY: &str = "TCPTRACE_BIN";

/// Measures and prints.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = match env::var_os(BINARY) {
        Some(path) => path.into(),
        None => release()?,
    };
    let span = Duration::from_secs(args.seconds);
    for what in &args.what {
        match what {
            What::Rates => rates::measure(&program, span, args.rounds)?,
            What::Programs => programs::measure(&program, span)?,
            What::Losses => losses(&program, Duration::from_secs(args.loss_seconds))?,
            What::Growth => growth::measure(&program)?,
            What::Idle => idle::measure(&program, args.rounds)?,
            What::Stacks => stacks::measure(&program, span, args.rounds)?,
        }
    }
    Ok(())
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

/// Fails if a record is lost in a churn of two clients per CPU, with the default buffer.
fn losses(program: &Path, span: Duration) -> Result<()> {
    println!("\nRecords lost with the default buffer and two clients per CPU, in {span:?}:\n");
    let clients = thread::available_parallelism()?.get() * 2;
    let tracer = Tracer::counting(program)?;
    let rate = churn::run(churn::Kind::ClientCloses, span, clients)?;
    let summary = tracer.stop()?;
    let (lost, events) = (summary.number("lost")?, summary.number("events")?);
    println!("{lost} of {} at {rate:.0} connections/s", events + lost);
    anyhow::ensure!(lost == 0, "{lost} records were lost");
    Ok(())
}
