//! Decides what to attach, from what the kernel supports. Pure; every case is in a table test.

use super::hook::{self, Feature, Hook};

/// What the user wants to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preference {
    /// The best that works.
    #[default]
    Auto,
    /// Trampolines (fentry, fexit) for the hidden states.
    Fentry,
    /// The kernel's timers for the hidden states.
    Timers,
    /// The transitions alone, from the classic tracepoint.
    Tracepoint,
}

/// How the user wants the sockets that exist to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SocketReader {
    /// By netlink (sock_diag), as ss does.
    #[default]
    Netlink,
    /// By the BPF iterator over TCP sockets, which corrupts the reference counts of sockets on many kernels
    /// (CVE-2026-74714).
    Iterator,
}

impl SocketReader {
    /// Its word in `check` and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Netlink => "netlink",
            Self::Iterator => "iterator",
        }
    }

    /// Why it is used.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Netlink => {
                "safe on every kernel: sock_diag takes no reference to a socket that is being freed"
            }
            Self::Iterator => "requested by --sockets iterator",
        }
    }

    /// What it may do to this host.
    pub(crate) const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Netlink => None,
            Self::Iterator => Some(
                "--sockets iterator: on kernels with CVE-2026-74714 (most from 5.15 on without a fix from 2026), reading sockets this way while connections are created corrupts kernel memory and may crash this host; omit it to read them by netlink",
            ),
        }
    }
}

/// What a plan depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// Kernel BTF can be read.
    pub(crate) has_btf: bool,
    /// fentry and fexit programs load.
    pub(crate) has_trampolines: bool,
    /// Both timer handlers' addresses are known.
    pub(crate) knows_timer_handlers: bool,
    /// Tracing programs may ask for a socket's cookie (Linux 5.12).
    pub(crate) has_cookie: bool,
    /// The tracepoint of dropped segments names the socket that they were for (Linux 6.11).
    pub(crate) names_receiver: bool,
}

/// How a purpose is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// By typed tracepoints.
    TpBtf,
    /// By trampolines.
    Fentry,
    /// By the timers.
    Timers,
    /// By the timers, and by looking at the timewait socks in FIN_WAIT2 again and again: a FIN that comes for one
    /// may move no timer.
    PolledTimers,
    /// By the classic tracepoint.
    Classic,
    /// By programs of the root cgroup.
    Cgroup,
    /// Not at all, for this reason.
    Missing(&'static str),
}

impl Mechanism {
    /// Its word in headers and in `check`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::Fentry => "fentry",
            Self::Timers => "timers",
            Self::PolledTimers => "timers+poll",
            Self::Classic => "tracepoint",
            Self::Cgroup => "cgroup",
            Self::Missing(_) => "missing",
        }
    }

    /// Whether the timers' hooks serve it.
    pub(crate) const fn is_by_timers(self) -> bool {
        matches!(self, Self::Timers | Self::PolledTimers)
    }

    /// What it reports less exactly than other mechanisms.
    pub(crate) const fn limit(self) -> Option<&'static str> {
        match self {
            Self::PolledTimers => Some(
                "this kernel does not report the socket of a dropped segment (before Linux 6.11): the transition to TIME_WAIT by a late FIN is found by polling, with a lower bound as its time, and which segment ended a TIME_WAIT early is unknown",
            ),
            Self::Cgroup => Some(
                "this kernel's tracing programs cannot read a socket's cookie (before Linux 5.12): sockets from before the tracer are identified by their address, and their TIME_WAIT is not reported",
            ),
            Self::TpBtf | Self::Fentry | Self::Timers | Self::Classic | Self::Missing(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The mechanism of each feature, most important first.
    pub(crate) mechanisms: Vec<(Feature, Mechanism)>,
    /// The hooks, in the order to attach them.
    pub(crate) hooks: Vec<Hook>,
}

/// The reason for a missing feature whose hooks never fired although they should have.
pub(crate) const SILENT: &str = "its hooks attached but never fire on this kernel";

const NO_BTF: &str = "this kernel has no BTF";
const NOT_ASKED: &str = "disabled by --hooks";
const NO_TRAMPOLINES: &str = "this kernel rejects fentry and fexit programs";
const NO_HANDLERS: &str =
    "/proc/kallsyms hides the timer handlers (kernel.kptr_restrict, or CAP_SYSLOG is missing)";

/// Decides which hooks to attach. Pure.
pub(crate) fn plan(abilities: Abilities, preference: Preference) -> Plan {
    let hidden = hidden_states(abilities, preference);
    let accept = match hidden {
        Mechanism::Fentry => Mechanism::Fentry,
        _ if !abilities.has_btf => Mechanism::Missing(NO_BTF),
        _ if abilities.has_trampolines || preference == Preference::Tracepoint => {
            Mechanism::Missing(NOT_ASKED)
        }
        Mechanism::Missing(_)
        | Mechanism::Timers
        | Mechanism::PolledTimers
        | Mechanism::TpBtf
        | Mechanism::Classic
        | Mechanism::Cgroup => Mechanism::Missing(NO_TRAMPOLINES),
    };
    compose(abilities, preference, hidden, accept)
}

/// The plan to go on with where `silent`'s hooks for the hidden states attach and do not fire; `None` where there is
/// none that the user allows.
pub(crate) fn fallback(abilities: Abilities, preference: Preference, silent: Mechanism) -> Option<Plan> {
    let timers = hidden_states(abilities, Preference::Timers);
    // The trampoline on accept is independent of these, and stays.
    (silent == Mechanism::Fentry && preference == Preference::Auto && timers.is_by_timers())
        .then(|| compose(abilities, preference, timers, Mechanism::Fentry))
}

fn compose(abilities: Abilities, preference: Preference, hidden: Mechanism, accept: Mechanism) -> Plan {
    let classic = !abilities.has_btf || preference == Preference::Tracepoint;
    let transitions = if classic {
        Mechanism::Classic
    } else {
        Mechanism::TpBtf
    };
    // By typed tracepoints; the classic one replaces them without BTF.
    let resets = match (classic, abilities.has_btf) {
        (false, _) => Mechanism::TpBtf,
        (true, true) => Mechanism::Missing(NOT_ASKED),
        (true, false) => Mechanism::Missing(NO_BTF),
    };
    let mut hooks = if classic {
        vec![hook::SET_STATE_CLASSIC]
    } else {
        hook::SET_STATE.to_vec()
    };
    match hidden {
        Mechanism::Fentry => {
            hooks.extend_from_slice(hook::TIMEWAIT_FENTRY);
            hooks.extend_from_slice(hook::REQUESTS_FENTRY);
        }
        Mechanism::Timers => {
            hooks.extend_from_slice(hook::TIMERS);
            hooks.push(hook::KFREE_SKB);
        }
        Mechanism::PolledTimers => hooks.extend_from_slice(hook::TIMERS),
        Mechanism::TpBtf | Mechanism::Classic | Mechanism::Cgroup | Mechanism::Missing(_) => {}
    }
    if accept == Mechanism::Fentry {
        hooks.push(hook::ACCEPT);
    }
    if resets == Mechanism::TpBtf {
        hooks.extend_from_slice(hook::RESETS);
        hooks.push(hook::NAMES);
    }
    let mut mechanisms = vec![
        (Feature::Transitions, transitions),
        (Feature::Timewait, hidden),
        (Feature::Requests, hidden),
        (Feature::Resets, resets),
        (Feature::Accept, accept),
        (Feature::Names, resets),
    ];
    if !classic && !abilities.has_cookie {
        mechanisms.push((Feature::Cookies, Mechanism::Cgroup));
        hooks.extend_from_slice(hook::COOKIES);
    }
    Plan { mechanisms, hooks }
}

fn hidden_states(abilities: Abilities, preference: Preference) -> Mechanism {
    let fentry = if abilities.has_trampolines {
        Mechanism::Fentry
    } else {
        Mechanism::Missing(NO_TRAMPOLINES)
    };
    let timers = match (abilities.knows_timer_handlers, abilities.names_receiver) {
        (true, true) => Mechanism::Timers,
        (true, false) => Mechanism::PolledTimers,
        (false, _) => Mechanism::Missing(NO_HANDLERS),
    };
    match preference {
        _ if !abilities.has_btf => Mechanism::Missing(NO_BTF),
        Preference::Tracepoint => Mechanism::Missing(NOT_ASKED),
        Preference::Fentry => fentry,
        Preference::Timers => timers,
        Preference::Auto if abilities.has_trampolines => fentry,
        Preference::Auto => timers,
    }
}

#[cfg(test)]
mod tests;
