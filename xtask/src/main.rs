//! The chores of this repository that cargo has no word for: `cargo xtask --help` lists them.

mod analysts;
mod apt;
mod btf;
mod build_ebpf;
mod check_ebpf;
mod command;
mod compile;
mod demo;
mod demo_client;
mod demo_server;
mod fuzz;
mod measure;
mod pictures;
mod provenance;
mod setup;
#[path = "../../tcptrace/bpf/sources.rs"]
mod sources;
mod svg;
mod test;
mod toolchain;
mod vm_test;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Chores of the tcptrace repository
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all tests, those on the running kernel as root
    Test,
    /// Install the tool chain that compiles the kernel side, or what the tests need
    Setup(setup::Args),
    /// Make the Python environment of the tests that read recordings by other tools
    Analysts,
    /// Compile the kernel side and write tcptrace/bpf
    BuildEbpf,
    /// Compile the kernel side anew and compare it with tcptrace/bpf
    CheckEbpf,
    /// Run the live tests in guests with other kernels
    VmTest(vm_test::Args),
    /// Feed the readers of files and of the kernel's records with bytes that a fuzzer makes up
    Fuzz(fuzz::Args),
    /// Watch a small service that leaks, on this machine
    Demo(demo::Args),
    /// Measure what tracing costs on this machine, beside a flood of loopback connections
    Measure(measure::Args),
    /// Make the pictures of the live view anew
    Pictures(pictures::Args),
    #[command(hide = true)]
    DemoServer(demo_server::Args),
    #[command(hide = true)]
    DemoClient(demo_client::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test => test::run(),
        Task::Setup(args) => setup::run(&args),
        Task::Analysts => analysts::run(),
        Task::BuildEbpf => build_ebpf::run(),
        Task::CheckEbpf => check_ebpf::run(),
        Task::VmTest(args) => vm_test::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Measure(args) => measure::run(&args),
        Task::Pictures(args) => pictures::run(&args),
        Task::DemoServer(args) => demo_server::run(&args),
        Task::DemoClient(args) => demo_client::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
