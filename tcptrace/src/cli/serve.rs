//! The flags of `serve`.

use super::{FilterArgs, TracingArgs};
use crate::{metrics::budget, quantity};
use clap::Args;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// `serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Serve HTTP at this address and port; port 0 is any that is free
    #[arg(long, default_value = "127.0.0.1:9105", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Read options from this TOML file: names as here without the dashes. What is given here takes precedence
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// TLS and passwords, in the form of Prometheus's web configuration file
    #[arg(long, alias = "web.config.file", value_name = "FILE")]
    pub(crate) web_config: Option<PathBuf>,
    /// Maximum number of series; what is less active is counted under "other"
    #[arg(long, default_value_t = budget::DEFAULT, value_name = "COUNT", value_parser = max_series)]
    pub(crate) max_series: usize,
    /// Push metrics to this OpenTelemetry collector as well: http://HOST:4318, or grpc://HOST:4317 (https, grpcs: encrypted)
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
    /// Push at this interval. Default: 60 s
    #[arg(long, value_name = "TIME", value_parser = quantity::time)]
    pub(crate) otlp_interval: Option<Duration>,
    /// Push with this header; may be repeated. OTEL_EXPORTER_OTLP_HEADERS hides it from other users
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) otlp_header: Vec<String>,
    /// Trust these authorities, in PEM, for the collector's certificate, instead of those of the system
    #[arg(long, value_name = "FILE")]
    pub(crate) otlp_ca: Option<PathBuf>,
    /// Push log records as well
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) otlp_logs: Option<OtlpLogs>,
    /// Read the names of Kubernetes' pods from the host's files below this directory
    #[arg(long, default_value = "/", value_name = "DIRECTORY")]
    pub(crate) host_root: PathBuf,
    /// Age from which a CLOSE_WAIT is a leak. Default: 60 s, or derived from the CLOSE_WAITs of the process
    #[arg(long, value_name = "TIME", value_parser = quantity::time_or_zero)]
    pub(crate) older_than: Option<Duration>,
    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = quantity::time)]
    pub(crate) duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
}

/// What `serve` pushes as log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OtlpLogs {
    /// Connections that have ended, as `trace --lifetimes --json` prints them
    Lifetimes,
}

fn max_series(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count >= budget::LEAST);
    count.ok_or_else(|| format!("give a number of {} or more", budget::LEAST))
}
