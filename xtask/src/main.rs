//! Development tasks beyond cargo's own commands: `cargo xtask --help` lists them.

mod apt;
mod arrow_readers;
mod browser;
mod btf;
mod build_ebpf;
mod check_ebpf;
mod command;
mod compile;
mod dashboard;
mod demo;
mod demo_client;
mod demo_page;
mod demo_server;
mod dist;
mod fleet_tools;
mod fuzz;
mod measure;
mod netns;
mod pictures;
mod provenance;
mod python;
mod setup;
#[path = "../../tcptrace/bpf/sources.rs"]
mod sources;
mod test;
mod toolchain;
mod vm_test;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Development tasks of the tcptrace repository
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
    /// Install the tool chain that compiles the kernel side, or the packages that the tests need
    Setup(setup::Args),
    /// Create the Python environment of the tests that read recordings with other tools
    ArrowReaders,
    /// Compile the kernel side and write tcptrace/bpf
    BuildEbpf,
    /// Compile the kernel side and compare it with tcptrace/bpf
    CheckEbpf,
    /// Run the live tests in guests with other kernels
    VmTest(vm_test::Args),
    /// Fuzz the readers of files and of the kernel's records
    Fuzz(fuzz::Args),
    /// Run tcptrace next to a small service that leaks sockets
    Demo(demo::Args),
    Dist(dist::Args),
    /// Measure the cost of tracing on this machine during a flood of loopback connections
    Measure(measure::Args),
    /// Update the pictures of the live view, and the page of the demo with its picture; or the dashboard's
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
        Task::ArrowReaders => arrow_readers::run(),
        Task::BuildEbpf => build_ebpf::run(),
        Task::CheckEbpf => check_ebpf::run(),
        Task::VmTest(args) => vm_test::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Dist(args) => dist::run(&args),
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
