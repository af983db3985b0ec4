//! The hooks of `--stacks`: which to attach on this kernel, and the buffer of their records.

use super::{
    btf::Btf,
    hook::{Hook, stacks as hooks},
    programs::Programs,
    refusal::Refusal,
};
use aya::maps::{MapData, RingBuf};

/// The calls whose stacks are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Wanted {
    /// Of the connect or accept that made each socket
    Open,
    /// Of that, and of the last read of each socket
    Read,
}

/// Size of the buffer of stacks, which take 2.6 KiB each; it is drained every 20 ms.
pub(super) const BUFFER_BYTES: u32 = 16 << 20;

pub(crate) struct Stacks {
    /// The ring buffer of stack records.
    pub(crate) ring: RingBuf<MapData>,
    /// What is not recorded, and why: a sentence each.
    pub(crate) limitations: Vec<String>,
}

/// Attaches the requested hooks. Returns what, other than `connect`, is not available: a sentence each. Fails if this
/// kernel cannot give stacks at all.
pub(super) fn attach(
    programs: &mut Programs,
    types: Option<&Btf>,
    has_trampolines: bool,
    wanted: Wanted,
) -> Result<Vec<String>, Refusal> {
    let no = |error: &str| Refusal::System {
        action: "record stacks".to_owned(),
        error: error.to_owned(),
    };
    let types = types.ok_or_else(|| no("this kernel has no BTF"))?;
    // The function behind the helper, which exists if the helper does.
    if types.function("bpf_task_pt_regs").is_none() {
        return Err(no(
            "tracing programs cannot read a task's registers on this kernel (before Linux 5.15)",
        ));
    }
    programs.attach(&hooks::CONNECT, Some(types))?;
    let mut limitations = Vec::new();
    let mut also = |programs: &mut Programs, hooks: &[&Hook], lost: &str| {
        let mut cause = String::new();
        for hook in hooks {
            match programs.attach(hook, Some(types)) {
                Ok(()) => {
                    log::info!("stacks: {} {}", hook.attach.name(), hook.target);
                    return;
                }
                Err(refusal) => {
                    log::info!("{}", refusal.explain(true));
                    cause = refusal.cause();
                }
            }
        }
        limitations.push(format!("{lost}: {cause}"));
    };
    let by_syscall: &[&Hook] = &[&hooks::ACCEPT_SYSCALL];
    let by_trampoline: &[&Hook] = &[&hooks::ACCEPT, &hooks::ACCEPT_SYSCALL];
    let accept = if has_trampolines {
        by_trampoline
    } else {
        by_syscall
    };
    also(programs, accept, "call stacks of accept are not recorded");
    match wanted {
        Wanted::Open => {}
        Wanted::Read => also(programs, &[&hooks::READ], "call stacks of reads are not recorded"),
    }
    Ok(limitations)
}
