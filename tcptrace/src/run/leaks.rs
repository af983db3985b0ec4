//! `tcptrace leaks`: processes that do not close sockets, and why.

use super::{
    Answer, Failure, messages,
    observe::{self, Observed, Request},
    print,
    recordings::{self, Coverage},
    services, show,
};
use crate::{
    cli::LeaksArgs,
    event::Nanos,
    findings::leak,
    kernel::loader::Settings,
    options,
    outfile::Inputs,
    output::leaks as output,
    stacks::{call_sites::CallSites, names},
};

/// How many sockets of a process are listed, the oldest first.
const SOCKETS: usize = 10;

/// Looks, watches or plays recordings, and prints.
pub(crate) fn run(args: &LeaksArgs, verbose: u8) -> Result<Answer, Failure> {
    let inputs = Inputs::of(&args.files);
    let ports = services(&args.ports, !args.json)?;
    let (mut is_found, mut is_all_seen) = (false, true);
    let mut coverage = Coverage::default();
    for seen in seen(args, verbose, &mut coverage)? {
        for limitation in &seen.limitations {
            messages::tell(limitation);
        }
        let leaks = leak::leaks(&seen.scene);
        is_found |= !leaks.is_empty();
        // Where nothing matched, nothing was evaluated.
        is_all_seen &= seen.scene.unseen.is_empty() && seen.remarks.is_empty() && seen.scene.has_matched();
        let call_sites = seen.stacks.as_ref().map(|book| {
            let find = |leak| CallSites::find(leak, &seen.scene, book, names::of);
            leaks.iter().map(find).collect::<Vec<_>>()
        });
        let is_wanted = if args.json {
            let lines = output::json(
                &leaks,
                call_sites.as_deref(),
                &seen.scene,
                seen.lost,
                &seen.remarks,
            );
            print(&lines, &inputs)?
        } else {
            recordings::print_remarks(&seen.remarks);
            let limit = if args.all { usize::MAX } else { SOCKETS };
            let text = output::text(&leaks, call_sites.as_deref(), &seen.scene, seen.lost, limit);
            show(&ports.apply(&text), &inputs)?
        };
        if !is_wanted {
            break;
        }
    }
    coverage.end()?;
    Ok(Answer::of(is_found, is_all_seen))
}

fn seen(args: &LeaksArgs, verbose: u8, coverage: &mut Coverage) -> Result<Vec<Observed>, Failure> {
    let older_than = args
        .older_than
        .map(|age| Nanos(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)));
    if !args.files.is_empty() {
        let filter = options::recording::filter(&args.filter, &[])?;
        return observe::recorded(&args.files, &filter, older_than, coverage);
    }
    let filter = options::filter(&args.filter, &[])?;
    options::require_present(&filter)?;
    let settings = Settings {
        stacks: args.stacks,
        ..options::settings(&args.tracing, verbose)?
    };
    let request = Request {
        filter: &filter,
        sysctls: &[],
        older_than,
    };
    let seen = if args.once {
        observe::once(&request, settings.sockets)?
    } else {
        observe::during(&request, &settings, args.tracing.max_connections, args.duration)?
    };
    Ok(vec![seen])
}
