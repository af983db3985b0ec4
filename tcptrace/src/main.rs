//! The command.

use clap::Parser as _;
use std::process::ExitCode;
use tcptrace::{cli::Cli, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        0 => log::LevelFilter::Error,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Off)
        .filter_module("tcptrace", level)
        .init();
    run::run(cli)
}
