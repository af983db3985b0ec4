//! The flags of the commands that write recordings, or read nothing else.

use super::{FilterArgs, LIVE_ONLY, PortArgs, SpanArgs, TracingArgs};
use crate::{completion, event::StateSet, quantity, view::Sort};
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use std::{path::PathBuf, time::Duration};

/// `record`
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Write to this file; replaces it unless it is a recording. With --flight-recorder, write to this directory; with
    /// --rotate, to numbered files, continuing after existing ones
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = quantity::time)]
    pub(crate) duration: Option<Duration>,
    /// Interval of flushes to disk: the most that a crash can lose
    #[arg(long, default_value = "1", value_name = "TIME", value_parser = quantity::time)]
    pub(crate) sync: Duration,
    /// Start a new file after this size, at least 1M, or time: 100M, 2G, 30s, 10m, 1h
    #[arg(long, value_name = "SIZE|TIME")]
    pub(crate) rotate: Option<String>,
    /// Keep this many files; delete older ones, including those of earlier runs
    #[arg(long, value_name = "COUNT", requires = "rotate", value_parser = quantity::count::<usize>)]
    pub(crate) keep: Option<usize>,
    /// Keep only the last minutes, or another time such as 2h, and save them on SIGUSR1
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["rotate", "keep"], value_parser = quantity::minutes)]
    pub(crate) flight_recorder: Option<Duration>,
    /// Also save them when one of these doctor rules has a new finding; "all" for any rule
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RULE",
        add = ArgValueCandidates::new(completion::triggers),
        requires = "flight_recorder"
    )]
    pub(crate) fire_on: Vec<String>,
    /// Write a report to this file at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
}

/// `report`
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Recordings of one or several runs and hosts, or directories of them; with --html, none is this machine
    #[arg(required_unless_present = "html", value_name = "FILE", conflicts_with_all = LIVE_ONLY)]
    pub(crate) files: Vec<PathBuf>,
    /// Write a page for a browser: findings, plots and tables, in one file that loads nothing else
    #[arg(long, conflicts_with_all = ["json", "state", "services"])]
    pub(crate) html: bool,
    /// Write the page to this file instead of standard output; replaces it unless it is a recording or an input
    #[arg(short, long, value_name = "FILE", requires = "html")]
    pub(crate) output: Option<PathBuf>,
    /// Replace addresses and the names of hosts, processes, namespaces and files in the page
    #[arg(long, requires = "html")]
    pub(crate) redact: bool,
    /// Without files, watch this machine for this time
    #[arg(long, default_value = "10", value_name = "TIME", requires = "html", value_parser = quantity::time)]
    pub(crate) duration: Duration,
    /// Sort processes by this column: comm, close_wait, changes_per_second; an unknown name lists all
    #[arg(
        short = 'S',
        long,
        value_enum,
        default_value_t,
        value_name = "NAME",
        hide_possible_values = true
    )]
    pub(crate) sort: Sort,
    /// Only sockets in these states
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE", add = ArgValueCandidates::new(completion::states))]
    pub(crate) state: Vec<StateSet>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) span: SpanArgs,
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
}

/// Output formats of `export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// Apache Parquet with zstd; needs -o
    Parquet,
    /// Comma-separated values
    Csv,
    /// One JSON object per line
    Jsonl,
}

/// `export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Recordings of one or several runs and hosts, or directories of them
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// Write to this file instead of standard output; replaces it unless it is a recording or an input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Only transitions from or to these states, and connections in them at the end
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE", add = ArgValueCandidates::new(completion::states))]
    pub(crate) state: Vec<StateSet>,
    #[command(flatten)]
    pub(crate) span: SpanArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}
