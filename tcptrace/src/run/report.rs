//! `tcptrace report`: what was true in recordings.

use super::{Failure, confine, playback, print};
use crate::{cli::ReportArgs, options, outfile::Inputs, output::report as report_output, report};
use std::ops::ControlFlow;

/// Reads the recordings and prints their report.
///
/// # Errors
/// Wrong flags, recordings that give nothing, an output that cannot be written.
pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let span = options::recording::span(&args.span)?;
    let filter = options::recording::filter(&args.filter, &args.state)?;
    confine::replay(&args.files, []);
    let mut reports = Vec::new();
    for mut run in playback::open(&args.files)? {
        let played = playback::play(&mut run, span, &mut |_, _| ControlFlow::Continue(()))?;
        let mut report = report::build(
            &run.origin,
            &played.replay.engine,
            &played.replay.ledger,
            played.beginning,
            played.end,
            &filter,
            args.sort,
        );
        report.remarks = played.remarks(&run);
        reports.push(report);
    }
    let text = if args.json {
        report_output::json(&reports)
    } else {
        report_output::text(&reports)
    };
    print(&text, &Inputs::of(&args.files))?;
    Ok(())
}
