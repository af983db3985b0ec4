//! `tcptrace check`: what this kernel and these privileges support, hook by hook.

use super::{
    Failure,
    confine::{self, Extras},
    show,
};
use crate::{
    cli::CheckArgs,
    kernel::{
        loader::{Kernel, Settings},
        plan::{Mechanism, SocketReader},
        probe,
        refusal::Refusal,
    },
    outfile::Inputs,
    plural::counted,
    privileges::{Held, capabilities, list},
    socket::scan::ScanMechanism,
    source::{
        sight,
        snapshot::{self, Reader, Wanted},
    },
    unseen::Unseen,
};
use std::fmt::Write as _;

/// Attaches everything once and says what came of it. Where nothing can be traced, it goes on with what can be seen
/// without. Fails if nothing can be traced, after all has been said.
pub(crate) fn run(args: &CheckArgs, verbose: u8) -> Result<(), Failure> {
    let facts = probe::look(probe::LoadFor::Tracing);
    if !show(&system(&facts), &Inputs::default())? {
        return Ok(());
    }
    let settings = Settings {
        sockets: args.sockets.sockets,
        debug: verbose >= 2,
        ..Settings::least(args.hooks)
    };
    let mut kernel = Kernel::attach(&settings).map(|(kernel, _)| kernel);
    let held = confine::live([], Extras::default());
    let mut text = match &kernel {
        Ok(kernel) => hooks(kernel),
        Err(refusal) => format!("\ntracing: NOT possible: {}\n", refusal.cause()),
    };
    text.push_str(&sockets(args.sockets.sockets, &mut kernel)?);
    text.push_str(&privileges(&held, capabilities::in_user_namespace()));
    show(&text, &Inputs::default())?;
    kernel.map(drop).map_err(Failure::from)
}

/// Which part is traced by which hooks.
fn hooks(kernel: &Kernel) -> String {
    let mut text = String::new();
    for part in &kernel.attached {
        let feature = part.feature;
        let name = feature.name();
        let _ = if let Mechanism::Missing(reason) = part.mechanism {
            writeln!(
                text,
                "\n{name}: missing: {reason}\n  without it: {}",
                feature.lost_without()
            )
        } else {
            writeln!(text, "\n{name} by {}: {}", part.mechanism.name(), feature.gives())
        };
        if let Some(limit) = part.mechanism.limit() {
            let _ = writeln!(text, "  less exact: {limit}");
        }
        for (hook, failure) in &part.hooks {
            let verdict = failure
                .as_ref()
                .map_or_else(|| "attached".to_owned(), |why| format!("NOT attached: {why}"));
            let _ = writeln!(
                text,
                "  {:<10} {:<34} {verdict}",
                hook.attach.name(),
                hook.program
            );
        }
    }
    text
}

/// Existing sockets, their holders, and what cannot be seen of both.
fn sockets(reader: SocketReader, kernel: &mut Result<Kernel, Refusal>) -> Result<String, Failure> {
    let mut read = snapshot::sockets(Reader::without_session(reader, kernel)?, Wanted::default())?;
    let by_iterator = snapshot::open_holder_iterator(kernel).and_then(snapshot::read_holders);
    let cause = by_iterator.as_ref().err().map(Refusal::cause);
    let scan = by_iterator.unwrap_or_else(|_| snapshot::holders_by_proc(&read.rows));
    let keepers = scan.keepers();
    let missed = read.missed(&keepers, None);
    if !missed.is_empty() {
        let wanted = Wanted {
            keepers: &keepers,
            ..Wanted::of(&missed)
        };
        read.add(snapshot::sockets(
            Reader::without_session(reader, kernel)?,
            wanted,
        )?);
    }
    let mut text = format!("\nexisting sockets by {} ({})\n", reader.name(), reader.reason());
    if let Some(warning) = reader.warning() {
        let _ = writeln!(text, "  WARNING: {warning}");
    }
    let _ = writeln!(
        text,
        "  {} in {}",
        counted(read.rows.len(), "socket"),
        counted(read.covered.len(), "network namespace")
    );
    text.push_str("\nholders: the processes that have sockets open\n");
    let mut holders = |by: &str, from: &str, verdict: &str| {
        let _ = writeln!(text, "  {by:<10} {from:<34} {verdict}");
    };
    if let Some(cause) = &cause {
        holders("iter", "task_file", &format!("NOT available: {cause}"));
    }
    let found = counted(scan.holders.len(), "open TCP socket");
    match scan.mechanism {
        ScanMechanism::Iterator => holders("iter", "task_file", &found),
        ScanMechanism::Proc => holders("/proc", "PID/fd", &found),
    }
    let mut unseen = sight::of_sockets(&read, None);
    unseen.extend(sight::of_holders(&scan));
    text.push_str("\nvisibility: the sockets and processes of this machine that can be seen\n");
    if unseen.is_empty() {
        text.push_str("  everything\n");
    }
    for Unseen { text: sentence, .. } in unseen {
        let _ = writeln!(text, "  NOT seen: {sentence}");
    }
    Ok(text)
}

/// What every command that traces goes on with once it has attached. What is held in a user namespace alone allows nothing
/// of what it is for.
fn privileges(held: &Held, in_user_namespace: bool) -> String {
    let answer = |is_so| if is_so { "yes" } else { "NO" };
    let kept = |names: &[String]| match list(names) {
        all if in_user_namespace && !names.is_empty() => format!("{all}, only in this user namespace"),
        all => all,
    };
    let mut text = format!(
        "\nprivileges after attaching\n  capabilities kept: {}\n",
        kept(&held.capabilities)
    );
    if let Some(scout) = &held.scout {
        let _ = writeln!(
            text,
            "  in the scout thread, which inspects other processes: {}",
            kept(scout)
        );
    }
    let _ = writeln!(
        text,
        "  no_new_privs: {}\n  {}",
        answer(held.no_new_privileges),
        held.landlock
    );
    text
}

fn system(facts: &probe::Facts) -> String {
    let btf = match &facts.btf {
        Ok(_) => "yes".to_owned(),
        Err(refusal) => format!("no ({})", refusal.cause()),
    };
    let handlers = if facts.handlers.timewait != 0 && facts.handlers.request != 0 {
        "known"
    } else {
        "hidden (kernel.kptr_restrict, or not in /proc/kallsyms)"
    };
    let missing = capabilities::missing();
    let mut capabilities = if missing.is_empty() {
        "all required ones are held".to_owned()
    } else if capabilities::in_user_namespace() {
        "none outside of this user namespace".to_owned()
    } else {
        format!("{} missing", missing.len())
    };
    for need in missing {
        let why = capabilities::why_not(need.capability);
        let _ = write!(capabilities, "\n  {why}: {}", need.lost);
    }
    format!(
        "tcptrace {} on {}, Linux {} {}\ncapabilities: {capabilities}\nBTF: {btf}\ntimer handlers: {handlers}\n",
        env!("CARGO_PKG_VERSION"),
        facts.host,
        facts.release,
        facts.machine,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privileges::Landlock;

    #[test]
    fn what_is_held_in_a_user_namespace_alone_is_reported_as_such() {
        let held = |capabilities: &[&str]| Held {
            capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
            scout: None,
            no_new_privileges: true,
            landlock: Landlock::NotInKernel,
            failures: Vec::new(),
        };
        let line = |held: &Held, in_user_namespace| {
            let text = privileges(held, in_user_namespace);
            text.lines().nth(2).unwrap().trim().to_owned()
        };
        let some = held(&["BPF", "PERFMON"]);
        assert_eq!(line(&some, false), "capabilities kept: BPF PERFMON");
        assert_eq!(
            line(&some, true),
            "capabilities kept: BPF PERFMON, only in this user namespace"
        );
        assert_eq!(line(&held(&[]), true), "capabilities kept: none");
    }
}
