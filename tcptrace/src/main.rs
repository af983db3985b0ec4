//! The `tcptrace` binary.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use clap::FromArgMatches as _;
use std::process::ExitCode;
use tcptrace::{
    cli::Cli,
    run::{self, messages},
};

fn main() -> ExitCode {
    run::manual::answer_shell();
    let cli = match Cli::definition()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => return run::explain(error),
    };
    cli.color.write_global();
    let level = match cli.verbose {
        0 => log::LevelFilter::Error,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Off)
        .filter_module("tcptrace", level)
        .target(env_logger::Target::Pipe(Box::new(messages::Writer)))
        .init();
    run::run(cli)
}
