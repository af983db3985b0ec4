//! `tcptrace doctor`: findings of all rules, and which settings would help.

use super::{
    Answer, Failure, messages,
    observe::{self, Observed, Request},
    print, recordings, services, show,
};
use crate::{
    cli::DoctorArgs,
    findings::{self, settings},
    options,
    outfile::Inputs,
    output::doctor as output,
    source::sysctl_files,
};

/// Looks, watches or plays recordings, evaluates, and prints. What is not as bad as asked for is not found.
pub(crate) fn run(args: &DoctorArgs, verbose: u8) -> Result<Answer, Failure> {
    let inputs = Inputs::of(&args.files);
    if let Some(id) = &args.explain {
        let rule = options::rule("--explain", id)?;
        show(&rule.page(), &inputs)?;
        return Ok(Answer::Nothing);
    }
    let ports = services(&args.ports, !args.json)?;
    let (mut is_found, mut is_all_seen) = (false, true);
    let mut coverage = recordings::Coverage::default();
    for seen in seen(args, verbose, &mut coverage)? {
        for limitation in &seen.limitations {
            messages::tell(limitation);
        }
        let findings = findings::evaluate(&seen.scene);
        // Where nothing matched, nothing was evaluated.
        is_all_seen &= seen.scene.unseen.is_empty() && seen.remarks.is_empty() && seen.scene.has_matched();
        is_found |= findings.iter().any(|finding| finding.level >= args.fail_on);
        let is_wanted = if args.json {
            let lines = output::json(&findings, &seen.scene, seen.lost, &seen.remarks);
            print(&lines, &inputs)?
        } else {
            let text = output::text(&findings, &seen.scene, seen.lost, &seen.remarks, args.settings);
            show(&ports.apply(&text), &inputs)?
        };
        if !is_wanted {
            break;
        }
    }
    coverage.end()?;
    Ok(Answer::of(is_found, is_all_seen))
}

fn seen(
    args: &DoctorArgs,
    verbose: u8,
    coverage: &mut recordings::Coverage,
) -> Result<Vec<Observed>, Failure> {
    if !args.files.is_empty() {
        let filter = options::recording::filter(&args.filter, &[])?;
        return observe::recorded(&args.files, &filter, None, coverage);
    }
    let filter = options::filter(&args.filter, &[])?;
    options::require_present(&filter)?;
    let settings = options::settings(&args.tracing, verbose)?;
    let duration = args.duration;
    let names = settings::names();
    let request = Request {
        filter: &filter,
        sysctls: &names,
        older_than: None,
    };
    let mut seen = if args.once {
        observe::once(&request, settings.sockets)?
    } else {
        observe::during(&request, &settings, args.tracing.max_connections, duration)?
    };
    seen.scene.configured = sysctl_files::read();
    Ok(vec![seen])
}
