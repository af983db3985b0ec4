//! Writes the histograms of a run that goes on to a file, on SIGUSR1. What a key of the terminal view or another
//! command needs is [`Dumper::write`].

use super::{Failure, session::Session};
use crate::{
    connection::table::Change,
    event::Nanos,
    filter::Filter,
    kernel::clock,
    output::{
        hist::{self, Picture, hlog},
        json::rfc3339,
    },
    source::cgroups::Cgroups,
    stats::{collector::Collector, key::By, report::Report},
};
use anyhow::Context as _;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether a dump was asked for, or what else came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled<T> {
    /// SIGUSR1.
    Dump,
    /// Something else.
    Not(T),
}

/// Writes dumps of one run. Each begins with the run, so that the last one has all.
pub struct Dumper {
    signal: Signal,
    file: Option<PathBuf>,
    filter: Filter,
    cgroups: Cgroups,
    /// Only a filter needs histograms of its own; those of everybody are in the engine.
    collector: Option<Collector>,
}

impl Dumper {
    /// Dumps go to `file`, or each to a new one. The durations are of the connections that `filter` lets pass.
    ///
    /// # Errors
    /// Where the signal cannot be waited for.
    pub fn new(session: &Session, filter: &Filter, file: Option<&Path>) -> Result<Self, Failure> {
        let all = Filter {
            states: filter.states.clone(),
            ..Filter::default()
        };
        let watched_from = watched_from(session);
        Ok(Self {
            signal: signal(SignalKind::user_defined1()).context("cannot wait for SIGUSR1")?,
            file: file.map(Path::to_owned),
            filter: filter.clone(),
            cgroups: Cgroups::of_this_host(),
            collector: (*filter != all).then(|| Collector::new(filter, By::State, watched_from)),
        })
    }

    /// Waits for SIGUSR1 or `other`, whatever comes first.
    pub async fn signalled_or<T>(&mut self, other: impl Future<Output = T>) -> Signalled<T> {
        tokio::select! {
            biased;
            _ = self.signal.recv() => Signalled::Dump,
            came = other => Signalled::Not(came),
        }
    }

    /// Takes a change, to be counted by [`Self::sort`].
    pub fn take(&mut self, change: &Change) {
        if let Some(collector) = &mut self.collector {
            collector.take(change);
        }
    }

    /// Counts the changes taken.
    pub fn sort(&mut self, session: &mut Session) {
        let Self {
            collector,
            filter,
            cgroups,
            ..
        } = self;
        let Some(collector) = collector else { return };
        if filter.asks_for_places() && collector.has_taken() {
            let now = clock::monotonic();
            session.engine.table.processes.place_all(now, &mut |process| {
                cgroups.place(process.key, process.cgroup, now)
            });
        }
        collector.sort(&session.engine);
    }

    /// Writes all that is known now, and says where. A file that cannot be written is said too, and the run goes on.
    pub fn write(&self, session: &Session) {
        let host = session.header().host;
        let path = self
            .file
            .clone()
            .unwrap_or_else(|| new_name(&host, session.anchor().wall(clock::monotonic())));
        self.write_to(&path, session);
    }

    /// The same, to this file.
    pub fn write_to(&self, path: &Path, session: &Session) {
        let now = clock::monotonic();
        let report = self.report(session, now);
        let header = session.header();
        let anchor = session.anchor();
        let picture = Picture {
            report: &report,
            measures: &hist::measures(&self.filter.states),
            watched: None,
            top: 0,
        };
        let text = [
            hlog::heading(&hlog::Heading {
                host: &header.host,
                by: report.by,
                start_wall_ns: anchor.wall(session.started),
            }),
            hlog::interval(&picture, Nanos(0), now.since(session.started)),
            hlog::closing(session.lost(), session.engine.table.tally.evicted),
        ]
        .concat();
        match write_whole(path, &text) {
            Ok(()) => eprintln!("tcptrace: histograms written to {}", path.display()),
            Err(error) => eprintln!("tcptrace: cannot write histograms to {}: {error}", path.display()),
        }
    }

    fn report(&self, session: &Session, now: Nanos) -> Report {
        let engine = &session.engine;
        let mut report = if let Some(collector) = &self.collector {
            collector.report(engine, now)
        } else {
            let mut everybody = Report::of_totals(&engine.stats.totals, By::State);
            everybody.take_open(engine, now, watched_from(session), &Filter::default());
            everybody
        };
        report.sort();
        report
    }
}

fn watched_from(session: &Session) -> Nanos {
    session.engine.stats.watched_from.unwrap_or(session.started)
}

/// `tcptrace-HOST-20261122T015400Z.hlog` in the working directory.
fn new_name(host: &str, wall_ns: u64) -> PathBuf {
    let time: String = rfc3339(wall_ns)
        .chars()
        .take_while(|c| *c != '.')
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let host: String = host
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    PathBuf::from(format!("tcptrace-{host}-{time}Z.hlog"))
}

/// Writes beside and renames, so that a reader never sees half of it, and a link that somebody has put there is not
/// followed. Readable by its owner alone: it may name processes and addresses.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_named_after_host_and_time() {
        assert_eq!(
            new_name("web/1", 1_795_300_000_000_000_000),
            Path::new("tcptrace-web-1-20261121T222640Z.hlog")
        );
    }
}
