//! `tcptrace report --html`: the page of recordings, or of a session that watches this machine.

use super::of_played;
use crate::{
    cli::ReportArgs,
    event::Nanos,
    filter::Filter,
    findings::{history::History, settings},
    kernel::clock,
    options,
    outfile::Inputs,
    output::{html, sink::Sink},
    record::{
        origin::Origin,
        run_stats::{Beginning, Ending, RunStats},
    },
    report::{
        self,
        gatherer::{Gatherer, Lost},
        page::{Host, Page},
    },
    run::{
        Failure, confine, is_wanted,
        observe::{Observer, Request, recorded},
        record::command_line,
        recordings::{self, Coverage},
        runtime,
        session::Session,
        signals, stream,
    },
    source::sysctl_files,
    unseen::{self, Unseen},
};
use std::ops::ControlFlow;

/// Reads the recordings or watches, and writes the page.
pub(super) fn run(args: &ReportArgs, verbose: u8) -> Result<(), Failure> {
    if !args.files.is_empty() {
        return of_recordings(args);
    }
    options::recording::refuse_span(&args.span)?;
    let sink = Sink::open(args.output.as_deref(), &Inputs::default())?;
    let host = watched(args, verbose)?;
    write(sink, vec![host], args.redact)
}

fn write(sink: Sink, hosts: Vec<Host>, redact: bool) -> Result<(), Failure> {
    let text = html::page(&Page::new(hosts, redact));
    is_wanted(stream(sink, 0)?.finish(&text, signals::patience())).map(drop)
}

fn of_recordings(args: &ReportArgs) -> Result<(), Failure> {
    let span = options::recording::span(&args.span)?;
    let filter = options::recording::filter(&args.filter, &[])?;
    let sink = Sink::open(args.output.as_deref(), &Inputs::of(&args.files))?;
    confine::replay(&args.files, args.output.as_deref());
    let mut hosts = Vec::new();
    let mut coverage = Coverage::default();
    let runs = recordings::open(&args.files)?;
    let most_parts = Host::most_parts(runs.len());
    for mut run in runs {
        let mut history = History::of(&filter);
        let mut gatherer = None;
        let played = recordings::play(&mut run, span, &filter, &mut |replay| {
            recorded::count(&mut history, replay);
            let (engine, stats) = (&replay.engine, &replay.run_stats);
            gatherer
                .get_or_insert_with(|| Gatherer::of_span(&filter, engine, &replay.beginning))
                .count(engine, stats.latest, Lost::of(stats.lost, stats.gaps));
            ControlFlow::Continue(())
        })?;
        let Some(played) = coverage.of(played) else {
            continue;
        };
        let report = of_played(&played, &run, &filter, args.sort, &mut coverage);
        let scene = recorded::scene(&run, &played, history, &filter, None);
        let engine = &played.replay.engine;
        let gatherer =
            gatherer.unwrap_or_else(|| Gatherer::of_span(&filter, engine, &played.replay.beginning));
        hosts.push(Host::new(report, scene, gatherer, engine, &filter, most_parts));
    }
    coverage.begin()?;
    write(sink, hosts, args.redact)?;
    coverage.end()
}

/// Watches for as long as requested, or until a signal.
fn watched(args: &ReportArgs, verbose: u8) -> Result<Host, Failure> {
    let filter = options::filter(&args.filter, &[])?;
    options::require_present(&filter)?;
    let settings = options::settings(&args.tracing, verbose)?;
    let names = settings::names();
    let request = Request {
        filter: &filter,
        sysctls: &names,
        older_than: None,
    };
    runtime()?.block_on(async {
        let output = args.output.as_deref();
        let (mut session, mut observer) =
            Observer::start(&settings, args.tracing.max_connections, &filter, output)?;
        let began = Nanos(session.anchor().mono_ns);
        let watched_from = session.engine.stats.watched_from.unwrap_or(session.started);
        let mut gatherer = Gatherer::new(&filter, began, watched_from, lost(&session));
        session.announce("watching", Some(args.duration));
        observer
            .watch(&mut session, |session| {
                gatherer.count(&session.engine, clock::monotonic(), lost(session));
            })
            .await?;
        let mut scene = observer.scene(&mut session, &request)?;
        scene.configured = sysctl_files::read();
        let end = clock::monotonic();
        gatherer.count(&session.engine, end, lost(&session));
        let report = report_of(&session, &filter, args, end)?;
        let most_parts = Host::most_parts(1);
        Ok(Host::new(
            report,
            scene,
            gatherer,
            &session.engine,
            &filter,
            most_parts,
        ))
    })
}

fn lost(session: &Session) -> Lost {
    Lost::of(session.lost(), 0)
}

/// The report of a session, as that of its recording would be.
fn report_of(
    session: &Session,
    filter: &Filter,
    args: &ReportArgs,
    end: Nanos,
) -> Result<report::Report, Failure> {
    let unseen: Vec<Unseen> = session.unseen();
    let origin = Origin::new(
        &session.header(),
        unseen::texts(&unseen),
        &command_line(),
        args.tracing.max_connections,
        session.engine.reset_reasons.clone(),
    );
    let mut run_stats = RunStats::new(session.anchor());
    run_stats.latest = end;
    run_stats.events = session.summary(0)?.events;
    run_stats.lost = session.lost();
    run_stats.scans = session.scan_cost();
    run_stats.ending = Ending::Stopped;
    Ok(report::build(
        &origin,
        &session.engine,
        &run_stats,
        Beginning::of_run(&run_stats),
        end,
        filter,
        args.sort,
    ))
}
