//! Writes the histograms of a running command to a file, on SIGUSR1 or a key of the live view.

use super::{Failure, files, session::Session};
use crate::{
    engine::collector::Collector,
    event::Nanos,
    filter::Filter,
    kernel::clock,
    outfile::{self, Inputs, NotWritten},
    output::hist::{self, Picture, hlog},
    source::cgroups::Cgroups,
    stats::{key::By, report::Report},
};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A request for a dump, or the result of another future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signalled<T> {
    Dump,
    /// The other future completed first.
    Not(T),
}

/// Writes dumps of one run. Each begins with the run, so that the last one has all.
pub(crate) struct Dumper {
    signal: Signal,
    file: Option<PathBuf>,
    filter: Filter,
    cgroups: Cgroups,
    /// Only a filter needs histograms of its own; those of all connections are in the engine.
    collector: Option<Collector>,
}

impl Dumper {
    /// Dumps go to `file`, or each to a new one. The durations are of the connections that `filter` lets pass.
    pub(crate) fn new(session: &Session, filter: &Filter, file: Option<&Path>) -> Result<Self, Failure> {
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
    pub(crate) async fn signalled_or<T>(&mut self, other: impl Future<Output = T>) -> Signalled<T> {
        tokio::select! {
            biased;
            _ = self.signal.recv() => Signalled::Dump,
            came = other => Signalled::Not(came),
        }
    }

    /// Counts the changes of the engine's present batch.
    pub(crate) fn count(&mut self, session: &mut Session) {
        let Self {
            collector, cgroups, ..
        } = self;
        let Some(collector) = collector else { return };
        if collector.asks_for_locations() {
            cgroups.find_locations(&mut session.engine.table.processes, clock::monotonic());
        }
        collector.count(&session.engine);
    }

    /// Writes the histograms so far, and reports where, or the error; the run continues.
    pub(crate) fn write(&self, session: &Session) -> Result<String, String> {
        if let Some(path) = &self.file {
            return self.write_to(path, session);
        }
        let host = session.header().host;
        let wall = session.anchor().wall(clock::monotonic());
        let path = files::new_name(&host, wall, "", "hlog");
        said(outfile::write_new(&path, &self.text(session)))
    }

    /// The same, to this file.
    pub(crate) fn write_to(&self, path: &Path, session: &Session) -> Result<String, String> {
        let written = outfile::write(path, &self.text(session), &Inputs::default());
        said(written.map(|()| path.to_owned()))
    }

    fn text(&self, session: &Session) -> String {
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
        [
            hlog::heading(&hlog::Heading {
                host: &header.host,
                by: report.by,
                start_wall_ns: anchor.wall(session.started),
            }),
            hlog::interval(&picture, Nanos(0), now.since(session.started)),
            hlog::closing(session.lost(), session.engine.table.tally.evicted),
        ]
        .concat()
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

fn said(written: Result<PathBuf, NotWritten>) -> Result<String, String> {
    match written {
        Ok(path) => Ok(format!("histograms written to {}", path.display())),
        Err(error) => Err(error.in_a_line()),
    }
}

fn watched_from(session: &Session) -> Nanos {
    session.engine.stats.watched_from.unwrap_or(session.started)
}
