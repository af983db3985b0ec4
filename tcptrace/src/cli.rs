//! The flags, as clap parses them. `options` validates them together.

mod examples;
mod groups;
mod recordings;
mod serve;

pub(crate) use groups::{FilterArgs, OutputArgs, PortArgs, SocketArgs, SpanArgs, TracingArgs};
pub(crate) use recordings::{ExportArgs, ExportFormat, RecordArgs, ReportArgs};
pub(crate) use serve::{OtlpLogs, ServeArgs};

use crate::{
    completion::{self, Shell},
    event::StateSet,
    findings::Level,
    kernel::{plan::Preference, stacks::Wanted as Stacks},
    quantity,
    stats::key::By,
    view::Sort,
};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use std::{path::PathBuf, time::Duration};

/// Trace TCP states: which process leaks CLOSE_WAIT, how long TIME_WAIT lasts, and who created it.
#[derive(Debug, Parser)]
#[command(
    name = "tcptrace",
    version,
    max_term_width = 100,
    after_help = examples::PROGRAM,
    propagate_version = true
)]
pub struct Cli {
    /// The command to run
    #[command(subcommand)]
    pub(crate) command: Command,
    /// More detail: the verifier's log, messages of the kernel side (-vv)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Whether text has colours.
    #[command(flatten)]
    pub color: colorchoice_clap::Color,
}

impl Cli {
    /// The definition of the command line. A value that begins like a negative number reaches its parser, which names what
    /// is allowed.
    #[must_use]
    pub fn definition() -> clap::Command {
        fn with_negative_numbers(command: clap::Command) -> clap::Command {
            command
                .mut_args(|arg| {
                    let has_value = arg.get_action().takes_values() && !arg.is_positional();
                    arg.allow_negative_numbers(has_value)
                })
                .mut_subcommands(with_negative_numbers)
        }
        with_negative_numbers(Self::command())
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show processes and their sockets live: interactive on a terminal, periodic frames elsewhere
    #[command(after_help = examples::MORE, after_long_help = examples::WATCH)]
    Watch(WatchArgs),
    /// Print every state transition, as it happens or from recordings
    #[command(after_help = examples::MORE, after_long_help = examples::TRACE)]
    Trace(TraceArgs),
    /// List the sockets that exist now, with the age of their state and their owner
    #[command(after_help = examples::MORE, after_long_help = examples::SNAPSHOT)]
    Snapshot(SnapshotArgs),
    /// Measure the time spent in each state, live or in recordings
    #[command(after_help = examples::MORE, after_long_help = examples::HIST)]
    Hist(HistArgs),
    /// Find the processes that leak sockets, and why; exits 3 if any is found
    #[command(after_help = examples::MORE, after_long_help = examples::LEAKS)]
    Leaks(LeaksArgs),
    /// Report findings with evidence and remedies, settings included; exits 3 if there are any
    #[command(after_help = examples::MORE, after_long_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Record everything to a file, for report, export and other tools
    #[command(after_help = examples::MORE_OPTIONS, after_long_help = examples::RECORD)]
    Record(RecordArgs),
    /// Report the state of a recording, at its end or at any moment
    #[command(after_help = examples::MORE, after_long_help = examples::REPORT)]
    Report(ReportArgs),
    /// Convert recordings to a table for other tools
    #[command(after_help = examples::MORE, after_long_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Serve metrics for Prometheus
    #[command(after_help = examples::MORE, after_long_help = examples::SERVE)]
    Serve(ServeArgs),
    /// Check what the kernel and the privileges of this process support
    #[command(after_long_help = examples::CHECK)]
    Check(CheckArgs),
    /// Print the manual page of tcptrace or of one of its commands, in roff
    #[command(after_help = examples::MAN)]
    Man(ManArgs),
    /// Print the script that makes a shell complete commands, options and values
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
}

impl Command {
    /// The files that it reads, if it is a command that does, and the endings of their names: of a directory, it reads
    /// those with the first that any has.
    pub(crate) const fn files(&mut self) -> Option<(&mut Vec<PathBuf>, &'static [&'static str])> {
        match self {
            Self::Watch(args) => Some((&mut args.files, &["arrows"])),
            Self::Trace(args) => Some((&mut args.files, &["arrows"])),
            Self::Hist(args) => Some((&mut args.files, &["arrows", "hlog"])),
            Self::Leaks(args) => Some((&mut args.files, &["arrows"])),
            Self::Doctor(args) => Some((&mut args.files, &["arrows"])),
            Self::Report(args) => Some((&mut args.files, &["arrows"])),
            Self::Export(args) => Some((&mut args.files, &["arrows"])),
            Self::Snapshot(_)
            | Self::Record(_)
            | Self::Serve(_)
            | Self::Check(_)
            | Self::Man(_)
            | Self::Completions(_) => None,
        }
    }
}

/// `watch`
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Replay these recordings, or all in these directories, instead of watching this machine
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Replay speed: 1 is real time, 10 ten times as fast, 0 without waiting
    #[arg(long, default_value = "1", value_name = "FACTOR", requires = "files", value_parser = quantity::factor)]
    pub(crate) speed: f64,
    /// Time between frames
    #[arg(short = 'd', long, default_value = "1", value_name = "TIME", value_parser = quantity::time)]
    pub(crate) delay: Duration,
    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = quantity::time, conflicts_with = "files")]
    pub(crate) duration: Option<Duration>,
    /// Stop after this many frames
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = quantity::count::<u64>)]
    pub(crate) count: Option<u64>,
    /// Print frames even if standard output is a terminal
    #[arg(short = 'b', long)]
    pub(crate) batch: bool,
    /// Print frames as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print these columns of frames, in this order: pid,comm,close_wait,oldest; an unknown name lists all
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        conflicts_with = "json",
        hide_short_help = true
    )]
    pub(crate) columns: Vec<String>,
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
    /// Write histograms to this file, as an HdrHistogram log, on SIGUSR1 or D in the live view; by default to a new
    /// tcptrace-HOST-TIME.hlog
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub(crate) dump: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
}

/// `trace`
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Print the changes of these recordings, or of all in these directories, instead of this machine's
    #[arg(value_name = "FILE", conflicts_with_all = LIVE_ONLY, conflicts_with = "audit")]
    pub(crate) files: Vec<PathBuf>,
    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = quantity::time)]
    pub(crate) duration: Option<Duration>,
    /// Stop after this many lines
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = quantity::count::<u64>)]
    pub(crate) count: Option<u64>,
    /// Only transitions from or to these states
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE", add = ArgValueCandidates::new(completion::states))]
    pub(crate) state: Vec<StateSet>,
    /// Print one line per connection when it ends instead: owner, time in every state, bytes, reason
    #[arg(long)]
    pub(crate) lifetimes: bool,
    /// Print these columns, in this order, as text or with --csv: time,pid,old,new,dwell_ns; an unknown name lists all.
    /// Lines are in the order of time; to sort them otherwise, give --csv to sort(1)
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        conflicts_with = "json",
        hide_short_help = true
    )]
    pub(crate) columns: Vec<String>,
    /// Compare the table with the kernel's at the end, and show the differences
    #[arg(long)]
    pub(crate) audit: bool,
    /// Times of text
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "FORM",
        hide_short_help = true
    )]
    pub(crate) time: TimeForm,
    #[command(flatten)]
    pub(crate) span: SpanArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
}

/// How text shows wall times. JSON and CSV have UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TimeForm {
    /// Time of day in the time zone of this host
    #[default]
    Local,
    /// Time of day in UTC
    Utc,
    /// Seconds since 1970
    Epoch,
}

/// `snapshot`
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// Only sockets in these states
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE", add = ArgValueCandidates::new(completion::states))]
    pub(crate) state: Vec<StateSet>,
    /// Print these columns, in this order, as text or with --csv: state,local_port,rtt_ns; an unknown name lists all
    #[arg(long, value_delimiter = ',', value_name = "NAME", conflicts_with = "json")]
    pub columns: Vec<String>,
    /// Sort by this column, numbers from the largest: age_ns, recv_q, rtt_ns; an unknown name lists all
    #[arg(short = 'S', long, value_name = "NAME")]
    pub sort: Option<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) sockets: SocketArgs,
}

/// Output formats of `hist`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HistFormat {
    /// Tables and bars
    Text,
    /// One JSON object per line, as --json
    Json,
    /// Comma-separated values, as --csv
    Csv,
    /// HdrHistogram log, which HistogramLogProcessor and `hist` itself read
    Hlog,
    /// HdrHistogram percentile distribution, for its plotter: all states combined; with -o, also one file per state
    Hgrm,
}

/// Options that do not apply to files.
const LIVE_ONLY: [&str; 6] = [
    "duration",
    "hooks",
    "sockets",
    "buffer",
    "max_connections",
    "all_protocols",
];

/// `hist`
#[derive(Debug, Args)]
pub(crate) struct HistArgs {
    /// Read these recordings and .hlog files, of one or several hosts, instead of tracing; of a directory, its recordings
    /// or, if it has none, its .hlog files
    #[arg(value_name = "FILE", conflicts_with_all = LIVE_ONLY)]
    pub(crate) files: Vec<PathBuf>,
    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = quantity::time)]
    pub(crate) duration: Option<Duration>,
    /// Group by
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) by: By,
    /// Maximum number of groups in text output; -w shows all
    #[arg(long, default_value = "10", value_name = "COUNT", value_parser = quantity::count::<usize>, hide_short_help = true)]
    pub(crate) top: usize,
    /// Output format
    #[arg(long, value_enum, value_name = "FORM", conflicts_with_all = ["json", "csv"])]
    pub(crate) format: Option<HistFormat>,
    /// Interval of --format hlog
    #[arg(long, value_name = "TIME", value_parser = quantity::time, hide_short_help = true)]
    pub(crate) interval: Option<Duration>,
    /// Only these states, without lifetimes of connections
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE", add = ArgValueCandidates::new(completion::states))]
    pub(crate) state: Vec<StateSet>,
    #[command(flatten)]
    pub(crate) span: SpanArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
}

/// `leaks`
#[derive(Debug, Args)]
pub(crate) struct LeaksArgs {
    /// Evaluate the end of these recordings, or of all in these directories, instead of this machine
    #[arg(value_name = "FILE", conflicts_with_all = ["duration", "once", "stacks"])]
    pub(crate) files: Vec<PathBuf>,
    /// Watch for this time to see growth and how long CLOSE_WAITs of a process usually last
    #[arg(long, default_value = "10", value_name = "TIME", conflicts_with = "once", value_parser = quantity::time)]
    pub(crate) duration: Duration,
    /// Take one snapshot without tracing
    #[arg(long)]
    pub(crate) once: bool,
    /// Age from which a CLOSE_WAIT is a leak. Default: 60 s, or derived from the CLOSE_WAITs of the process
    /// that end while it is watched
    #[arg(long, value_name = "TIME", value_parser = quantity::time_or_zero)]
    pub(crate) older_than: Option<Duration>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Record the call stacks that open sockets, and show those of leaked ones; with =read, also the stacks that last
    /// read them
    #[arg(
        long,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "open",
        value_name = "WHAT",
        conflicts_with = "once"
    )]
    pub(crate) stacks: Option<Stacks>,
    /// List all sockets of each process and whole stacks, not only the ten oldest and the innermost frames
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
}

/// `doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Evaluate the end of these recordings, or of all in these directories, instead of this machine
    #[arg(value_name = "FILE", conflicts_with_all = ["duration", "once"])]
    pub(crate) files: Vec<PathBuf>,
    /// Watch for this time
    #[arg(long, default_value = "10", value_name = "TIME", conflicts_with = "once", value_parser = quantity::time)]
    pub(crate) duration: Duration,
    /// Take one snapshot without tracing: growth is not detected
    #[arg(long)]
    pub(crate) once: bool,
    /// Exit with status 3 only for findings of this level or above
    #[arg(long, value_enum, default_value = "note", value_name = "LEVEL")]
    pub(crate) fail_on: Level,
    /// Print the documentation of a rule and exit
    #[arg(long, value_name = "RULE", add = ArgValueCandidates::new(completion::rule_names))]
    pub(crate) explain: Option<String>,
    /// Show all settings, not only those that should be changed
    #[arg(long)]
    pub(crate) settings: bool,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
}

/// `man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Command to describe, instead of tcptrace as a whole
    #[arg(value_name = "COMMAND", conflicts_with = "directory")]
    pub name: Option<String>,
    /// Write all pages to this directory instead
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Hooks to try
    #[arg(long, value_enum, default_value_t, value_name = "MECHANISM")]
    pub(crate) hooks: Preference,
    #[command(flatten)]
    pub(crate) sockets: SocketArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_that_is_wrong_gets_the_answer_what_is_allowed() {
        let numbers = ["TIME", "COUNT", "PORT", "PID", "FACTOR", "MINUTES"];
        // Moments, which are read together.
        let moments = ["at", "from", "to"];
        let mut count = 0;
        for command in Cli::definition().get_subcommands() {
            let is_number = |arg: &&clap::Arg| {
                let names = arg.get_value_names().unwrap_or_default();
                names.iter().any(|name| numbers.contains(&name.as_str()))
                    && !moments.contains(&arg.get_id().as_str())
            };
            for arg in command.get_arguments().filter(is_number) {
                let flag = format!("--{}", arg.get_long().expect("numbers have long flags"));
                for value in ["x", "-5", "1e"] {
                    let line = ["tcptrace", command.get_name(), &flag, value];
                    let error = Cli::definition().try_get_matches_from(line).expect_err(&flag);
                    let error = error.to_string();
                    assert!(
                        error.contains("give ") && error.contains(&format!("'{value}'")),
                        "{line:?}: {error}"
                    );
                }
                count += 1;
            }
        }
        assert!(count > 40, "{count} numeric flags");
    }
}
