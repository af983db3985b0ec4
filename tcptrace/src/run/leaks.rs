//! `tcptrace leaks`: processes that do not close sockets, and why.

use super::{
    Answer, Failure, messages,
    observe::{self, Request},
    print, show,
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

/// Looks or watches, and prints.
pub(crate) fn run(args: &LeaksArgs, verbose: u8) -> Result<Answer, Failure> {
    let filter = options::filter(&args.filter, &[])?;
    options::require_present(&filter)?;
    let settings = Settings {
        stacks: args.stacks,
        ..options::settings(&args.tracing, verbose)?
    };
    let older_than = args
        .older_than
        .map(|age| Nanos(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)));
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
    for limitation in &seen.limitations {
        messages::tell(limitation);
    }
    let leaks = leak::leaks(&seen.scene);
    let call_sites = seen.stacks.as_ref().map(|book| {
        let find = |leak| CallSites::find(leak, &seen.scene, book, names::of);
        leaks.iter().map(find).collect::<Vec<_>>()
    });
    if args.json {
        let lines = output::json(&leaks, call_sites.as_deref(), &seen.scene, seen.lost);
        print(&lines, &Inputs::default())?;
    } else {
        let limit = if args.wide { usize::MAX } else { SOCKETS };
        let text = output::text(&leaks, call_sites.as_deref(), &seen.scene, seen.lost, limit);
        show(&text, &Inputs::default())?;
    }
    Ok(Answer::of(!leaks.is_empty(), seen.scene.unseen.is_empty()))
}
