//! `tcptrace report`: the state of recordings at a moment, as text, JSON or a page.

mod html;

use super::{
    Failure, confine, print,
    recordings::{self, Coverage, Played},
    services, show,
};
use crate::{
    cli::ReportArgs,
    filter::Filter,
    options,
    outfile::Inputs,
    output::report as report_output,
    record::runs::Run,
    report::{self, Report},
    view::Sort,
};
use std::ops::ControlFlow;

/// Reads the recordings and prints their report.
pub(crate) fn run(args: &ReportArgs, verbose: u8) -> Result<(), Failure> {
    if args.html {
        return html::run(args, verbose);
    }
    let span = options::recording::span(&args.span)?;
    let filter = options::recording::filter(&args.filter, &args.state)?;
    let ports = services(&args.ports, !args.json)?;
    confine::replay(&args.files, []);
    let mut reports = Vec::new();
    let mut coverage = Coverage::default();
    for mut run in recordings::open(&args.files)? {
        let played = recordings::play(&mut run, span, &filter, &mut |_| ControlFlow::Continue(()))?;
        let Some(played) = coverage.of(played) else {
            continue;
        };
        reports.push(of_played(&played, &run, &filter, args.sort, &mut coverage));
    }
    coverage.begin()?;
    let inputs = Inputs::of(&args.files);
    if args.json {
        print(&report_output::json(&reports), &inputs)?;
    } else {
        show(&ports.apply(&report_output::text(&reports)), &inputs)?;
    }
    coverage.end()
}

/// The report of what was played of a run. Notes in `coverage` whether that has what the filter selects.
fn of_played(played: &Played, run: &Run, filter: &Filter, sort: Sort, coverage: &mut Coverage) -> Report {
    let replay = &played.replay;
    let mut report = report::build(
        &run.origin,
        &replay.engine,
        &replay.run_stats,
        replay.beginning,
        played.end,
        filter,
        sort,
    );
    report.is_whole = played.is_to_end();
    report.is_ended |= run.is_whole();
    report.remarks = played.remarks(run);
    let is_there = !report.view.processes.is_empty() || !played.is_to_end();
    coverage.look_for(filter, replay, is_there, run);
    report
}
