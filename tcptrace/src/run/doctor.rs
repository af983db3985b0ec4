//! `tcptrace doctor`: what is wrong, by all rules, and which settings would help.

use super::{
    Failure, confine, messages, playback, print,
    watching::{self, Request, Seen},
};
use crate::{
    cli::DoctorArgs,
    findings::{self, gather, history::History, scene::Scene, settings},
    options,
    outfile::Inputs,
    output::doctor as output,
    source::sysctl_files,
};
use std::ops::ControlFlow;

/// Looks, watches or plays recordings, judges, and prints. Whether anything as bad as asked for was found.
///
/// # Errors
/// Wrong flags, a kernel that refuses, recordings that give nothing, an output that cannot be written.
pub fn run(args: &DoctorArgs, verbose: u8) -> Result<bool, Failure> {
    let inputs = Inputs::of(&args.files);
    if let Some(id) = &args.explain {
        let rule = options::rule("--explain", id)?;
        print(&rule.page(), &inputs)?;
        return Ok(false);
    }
    let mut is_found = false;
    for seen in seen(args, verbose)? {
        for shortfall in &seen.shortfalls {
            messages::tell(shortfall);
        }
        let findings = findings::judge(&seen.scene);
        is_found |= findings.iter().any(|finding| finding.level >= args.fail_on);
        let text = if args.json {
            output::json(&findings, &seen.scene, seen.lost, &seen.remarks)
        } else {
            output::text(&findings, &seen.scene, seen.lost, &seen.remarks)
        };
        if !print(&text, &inputs)? {
            break;
        }
    }
    Ok(is_found)
}

fn seen(args: &DoctorArgs, verbose: u8) -> Result<Vec<Seen>, Failure> {
    if !args.files.is_empty() {
        return recorded(args);
    }
    let filter = options::filter(&args.filter, &[])?;
    let settings = options::settings(&args.tracing, verbose)?;
    let duration = options::seconds("--duration", args.duration)?;
    let names = settings::names();
    let request = Request {
        filter: &filter,
        sysctls: &names,
        older_than: None,
    };
    let mut seen = if args.once {
        watching::look(&request, settings.sockets)?
    } else {
        watching::watch(&request, &settings, args.tracing.max_connections, duration)?
    };
    seen.scene.configured = sysctl_files::read();
    Ok(vec![seen])
}

/// The end of each run. Queues, descriptors, settings and counters are in no recording.
fn recorded(args: &DoctorArgs) -> Result<Vec<Seen>, Failure> {
    let span = options::recording::Span::default();
    let filter = options::recording::filter(&args.filter, &[])?;
    confine::replay(&args.files, []);
    let mut all = Vec::new();
    for mut run in playback::open(&args.files)? {
        let mut history = History::default();
        let played = playback::play(&mut run, span, &mut |change, replay| {
            history.take(change);
            history.sort(&replay.engine, change.time);
            ControlFlow::Continue(())
        })?;
        let gathered = gather::of_engine(&played.replay.engine, played.end, &filter);
        let ledger = &played.replay.ledger;
        let mut remarks = played.remarks(&run);
        if ledger.gaps > 0 {
            remarks.push(format!(
                "the recording has {} gaps, {} entries are known to be missing",
                ledger.gaps, ledger.missing
            ));
        }
        all.push(Seen {
            scene: Scene {
                watched: played.end.since(played.beginning.time),
                sockets: gathered.sockets,
                processes: gathered.processes,
                history,
                ..Scene::default()
            },
            lost: ledger.lost,
            shortfalls: vec![
                "queues, descriptors, settings and counters are in no recording: rules on them are silent"
                    .to_owned(),
            ],
            remarks,
            stacks: None,
        });
    }
    Ok(all)
}
