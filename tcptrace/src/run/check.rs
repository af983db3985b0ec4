//! `tcptrace check`: what this kernel and these privileges can do, hook by hook.

use super::{
    Failure,
    confine::{self, Extras},
    print,
};
use crate::{
    cli::CheckArgs,
    kernel::{
        loader::{Kernel, Settings},
        plan::Way,
        probe,
    },
    outfile::Inputs,
    privileges::{Held, capabilities, list},
    source::snapshot::{self, Reader, Wanted},
};
use std::fmt::Write as _;

/// Attaches everything once and says what came of it.
///
/// # Errors
/// Where nothing can be traced at all.
pub fn run(args: &CheckArgs, verbose: u8) -> Result<(), Failure> {
    let facts = probe::look(probe::Handlers::Wanted);
    if !print(&system(&facts), &Inputs::default())? {
        return Ok(());
    }
    let settings = Settings {
        sockets: args.sockets.sockets,
        debug: verbose >= 2,
        ..Settings::least(args.hooks)
    };
    let (mut kernel, _ring) = Kernel::attach(&settings)?;
    let held = confine::live([], Extras::default());
    let mut text = String::new();
    for part in &kernel.attached {
        let purpose = part.purpose;
        let _ = writeln!(
            text,
            "\n{} by {}: {}",
            purpose.name(),
            part.way.name(),
            purpose.gives()
        );
        if let Way::Missing(reason) = part.way {
            let _ = writeln!(
                text,
                "  missing: {reason}\n  without it: {}",
                purpose.lost_without()
            );
        }
        if let Some(limit) = part.way.limit() {
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
    let reader = args.sockets.sockets;
    let read = snapshot::sockets(Reader::new(reader, &mut kernel), Wanted::default())?;
    let holders = snapshot::holders(&mut kernel);
    let _ = writeln!(
        text,
        "\nsockets by {}: those that are there already ({})",
        reader.name(),
        reader.reason()
    );
    if let Some(warning) = reader.warning() {
        let _ = writeln!(text, "  WARNING: {warning}");
    }
    let _ = writeln!(
        text,
        "  {} sockets in {} network namespaces",
        read.rows.len(),
        read.covered.len()
    );
    for (netns, why) in &read.failures {
        let _ = writeln!(text, "  NOT read: network namespace {netns}: {why}");
    }
    let _ = writeln!(text, "\nholders: who has which socket open");
    let _ = writeln!(
        text,
        "  {:<10} {:<34} {}",
        "iter",
        "task_file",
        holders.map_or_else(
            |refusal| format!("NOT available: {}", refusal.cause()),
            |found| format!("{} open TCP sockets", found.holders.len())
        )
    );
    text.push_str(&privileges(&held));
    print(&text, &Inputs::default())?;
    Ok(())
}

/// What every command that traces goes on with once it has attached.
fn privileges(held: &Held) -> String {
    let answer = |is_so| if is_so { "yes" } else { "NO" };
    let mut text = format!(
        "\nprivileges after attaching\n  capabilities kept: {}\n",
        list(&held.capabilities)
    );
    if let Some(scout) = &held.scout {
        let _ = writeln!(
            text,
            "  in the one thread that looks into other processes: {}",
            list(scout)
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
        "all that are needed".to_owned()
    } else {
        format!("{} missing", missing.len())
    };
    for need in missing {
        let _ = write!(capabilities, "\n  {} is missing: {}", need.capability, need.lost);
    }
    format!(
        "tcptrace {} on {}, Linux {} {}\ncapabilities: {capabilities}\nBTF: {btf}\ntimer handlers: {handlers}\n",
        env!("CARGO_PKG_VERSION"),
        facts.host,
        facts.release,
        facts.machine,
    )
}
