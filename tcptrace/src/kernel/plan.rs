//! From facts to what should be attached. Pure: it asks nobody, and every case is in a table test.

use super::hook::{self, Hook, Purpose};

/// What the user wants to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Preference {
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
pub enum SocketReader {
    /// By netlink (sock_diag), as ss does.
    #[default]
    Netlink,
    /// By the BPF iterator over TCP sockets, which corrupts the reference counts of sockets on many kernels
    /// (CVE-2026-74714).
    Iterator,
}

impl SocketReader {
    /// Its word in `check` and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Netlink => "netlink",
            Self::Iterator => "iterator",
        }
    }

    /// Why it is used.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Netlink => {
                "safe on every kernel: sock_diag takes no reference on a socket that is being freed"
            }
            Self::Iterator => "--sockets iterator asks for it",
        }
    }

    /// What it may do to this host.
    #[must_use]
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Netlink => None,
            Self::Iterator => Some(
                "--sockets iterator: on kernels with the fault of CVE-2026-74714 (most from 5.15 on that have no fix of 2026) \
                 reading sockets this way beside new connections corrupts the kernel's memory and may crash this host; \
                 leave it out to read them by netlink",
            ),
        }
    }
}

/// What a plan depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Kernel BTF can be read.
    pub has_btf: bool,
    /// fentry and fexit programs load.
    pub has_trampolines: bool,
    /// Both timer handlers' addresses are known.
    pub knows_timer_handlers: bool,
    /// Tracing programs may ask for a socket's cookie (Linux 5.12).
    pub has_cookie: bool,
    /// The tracepoint of dropped segments names the socket that they were for (Linux 6.11).
    pub names_receiver: bool,
}

/// How a purpose is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
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

impl Way {
    /// Its word in headers and in `check`.
    #[must_use]
    pub const fn name(self) -> &'static str {
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
    #[must_use]
    pub const fn is_by_timers(self) -> bool {
        matches!(self, Self::Timers | Self::PolledTimers)
    }

    /// What it does not tell as exactly as the others.
    #[must_use]
    pub const fn limit(self) -> Option<&'static str> {
        match self {
            Self::PolledTimers => Some(
                "this kernel does not name the socket of a dropped segment (before Linux 6.11): when a late FIN led to TIME_WAIT is found by looking again and again and told as not exact, and which kind of segment ended a timewait sock early is not known",
            ),
            Self::Cgroup => Some(
                "this kernel's tracing programs may not ask for a socket's cookie (before Linux 5.12): a socket from before the tracer is known by its address in the kernel, and its TIME_WAIT is not told",
            ),
            Self::TpBtf | Self::Fentry | Self::Timers | Self::Classic | Self::Missing(_) => None,
        }
    }
}

/// What to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How each purpose is served, most important first.
    pub ways: Vec<(Purpose, Way)>,
    /// The hooks, in the order to attach them.
    pub hooks: Vec<Hook>,
}

/// Why a purpose is not served whose hooks have not fired where they must have.
pub const SILENT: &str = "its hooks are attached and do not fire on this kernel";

const NO_BTF: &str = "this kernel has no BTF";
const NOT_ASKED: &str = "--hooks leaves it out";
const NO_TRAMPOLINES: &str = "this kernel refuses fentry and fexit programs";
const NO_HANDLERS: &str =
    "/proc/kallsyms hides the timer handlers (kernel.kptr_restrict, or CAP_SYSLOG is missing)";

/// Decides.
#[must_use]
pub fn plan(abilities: Abilities, preference: Preference) -> Plan {
    let hidden = hidden_states(abilities, preference);
    let accept = match hidden {
        Way::Fentry => Way::Fentry,
        Way::Timers | Way::PolledTimers if abilities.has_trampolines => Way::Missing(NOT_ASKED),
        Way::Missing(reason) => Way::Missing(reason),
        Way::Timers | Way::PolledTimers | Way::TpBtf | Way::Classic | Way::Cgroup => {
            Way::Missing(NO_TRAMPOLINES)
        }
    };
    compose(abilities, preference, hidden, accept)
}

/// The plan to go on with where `silent`'s hooks for the hidden states attach and do not fire; `None` where there is
/// none that the user allows.
#[must_use]
pub fn fallback(abilities: Abilities, preference: Preference, silent: Way) -> Option<Plan> {
    let timers = hidden_states(abilities, Preference::Timers);
    // The trampoline that tells who accepts is another one, and stays.
    (silent == Way::Fentry && preference == Preference::Auto && timers.is_by_timers())
        .then(|| compose(abilities, preference, timers, Way::Fentry))
}

fn compose(abilities: Abilities, preference: Preference, hidden: Way, accept: Way) -> Plan {
    let classic = !abilities.has_btf || preference == Preference::Tracepoint;
    let transitions = if classic { Way::Classic } else { Way::TpBtf };
    // By typed tracepoints, for which the plain one stands in where there is no BTF.
    let resets = match (classic, abilities.has_btf) {
        (false, _) => Way::TpBtf,
        (true, true) => Way::Missing(NOT_ASKED),
        (true, false) => Way::Missing(NO_BTF),
    };
    let mut hooks = if classic {
        vec![hook::SET_STATE_CLASSIC]
    } else {
        hook::SET_STATE.to_vec()
    };
    match hidden {
        Way::Fentry => {
            hooks.extend_from_slice(hook::TIMEWAIT_FENTRY);
            hooks.extend_from_slice(hook::REQUESTS_FENTRY);
        }
        Way::Timers => {
            hooks.extend_from_slice(hook::TIMERS);
            hooks.push(hook::KFREE_SKB);
        }
        Way::PolledTimers => hooks.extend_from_slice(hook::TIMERS),
        Way::TpBtf | Way::Classic | Way::Cgroup | Way::Missing(_) => {}
    }
    if accept == Way::Fentry {
        hooks.push(hook::ACCEPT);
    }
    if resets == Way::TpBtf {
        hooks.extend_from_slice(hook::RESETS);
        hooks.push(hook::NAMES);
    }
    let mut ways = vec![
        (Purpose::Transitions, transitions),
        (Purpose::Timewait, hidden),
        (Purpose::Requests, hidden),
        (Purpose::Resets, resets),
        (Purpose::Accept, accept),
        (Purpose::Names, resets),
    ];
    if !classic && !abilities.has_cookie {
        ways.push((Purpose::Cookies, Way::Cgroup));
        hooks.extend_from_slice(hook::COOKIES);
    }
    Plan { ways, hooks }
}

fn hidden_states(abilities: Abilities, preference: Preference) -> Way {
    let fentry = if abilities.has_trampolines {
        Way::Fentry
    } else {
        Way::Missing(NO_TRAMPOLINES)
    };
    let timers = match (abilities.knows_timer_handlers, abilities.names_receiver) {
        (true, true) => Way::Timers,
        (true, false) => Way::PolledTimers,
        (false, _) => Way::Missing(NO_HANDLERS),
    };
    match preference {
        _ if !abilities.has_btf => Way::Missing(NO_BTF),
        Preference::Tracepoint => Way::Missing(NOT_ASKED),
        Preference::Fentry => fentry,
        Preference::Timers => timers,
        Preference::Auto if abilities.has_trampolines => fentry,
        Preference::Auto => timers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities = Abilities {
        has_btf: true,
        has_trampolines: true,
        knows_timer_handlers: true,
        has_cookie: true,
        names_receiver: true,
    };

    fn ways(abilities: Abilities, preference: Preference) -> Vec<&'static str> {
        let plan = plan(abilities, preference);
        plan.ways.iter().map(|(_, way)| way.name()).collect()
    }

    #[test]
    fn the_plan_follows_from_the_facts() {
        let hardened = Abilities {
            has_trampolines: false,
            ..ALL
        };
        let hidden = Abilities {
            has_trampolines: false,
            knows_timer_handlers: false,
            ..ALL
        };
        let no_btf = Abilities {
            has_btf: false,
            has_trampolines: false,
            ..ALL
        };
        let table: [(Abilities, Preference, [&str; 6]); 8] = [
            (
                ALL,
                Preference::Auto,
                ["tp_btf", "fentry", "fentry", "tp_btf", "fentry", "tp_btf"],
            ),
            (
                ALL,
                Preference::Fentry,
                ["tp_btf", "fentry", "fentry", "tp_btf", "fentry", "tp_btf"],
            ),
            (
                ALL,
                Preference::Timers,
                ["tp_btf", "timers", "timers", "tp_btf", "missing", "tp_btf"],
            ),
            (
                ALL,
                Preference::Tracepoint,
                [
                    "tracepoint",
                    "missing",
                    "missing",
                    "missing",
                    "missing",
                    "missing",
                ],
            ),
            (
                hardened,
                Preference::Auto,
                ["tp_btf", "timers", "timers", "tp_btf", "missing", "tp_btf"],
            ),
            (
                hardened,
                Preference::Fentry,
                ["tp_btf", "missing", "missing", "tp_btf", "missing", "tp_btf"],
            ),
            (
                hidden,
                Preference::Auto,
                ["tp_btf", "missing", "missing", "tp_btf", "missing", "tp_btf"],
            ),
            (
                no_btf,
                Preference::Auto,
                [
                    "tracepoint",
                    "missing",
                    "missing",
                    "missing",
                    "missing",
                    "missing",
                ],
            ),
        ];
        for (abilities, preference, expected) in table {
            assert_eq!(
                ways(abilities, preference),
                expected,
                "{abilities:?} {preference:?}"
            );
        }
    }

    #[test]
    fn timewait_socks_are_looked_at_where_a_late_fin_shows_in_no_hook() {
        let older = Abilities {
            names_receiver: false,
            ..ALL
        };
        let plan = plan(older, Preference::Timers);
        assert!(plan.ways.contains(&(Purpose::Timewait, Way::PolledTimers)));
        assert!(!plan.hooks.contains(&hook::KFREE_SKB));
        assert!(
            super::plan(ALL, Preference::Timers)
                .hooks
                .contains(&hook::KFREE_SKB)
        );
    }

    #[test]
    fn silent_trampolines_give_way_to_the_timers_where_the_user_leaves_the_choice() {
        let no_handlers = Abilities {
            knows_timer_handlers: false,
            ..ALL
        };
        let older = Abilities {
            names_receiver: false,
            ..ALL
        };
        let table = [
            (ALL, Preference::Auto, Way::Fentry, Some(Way::Timers)),
            (older, Preference::Auto, Way::Fentry, Some(Way::PolledTimers)),
            (no_handlers, Preference::Auto, Way::Fentry, None),
            (ALL, Preference::Fentry, Way::Fentry, None),
            (ALL, Preference::Auto, Way::Timers, None),
            (ALL, Preference::Timers, Way::Timers, None),
        ];
        for (abilities, preference, silent, expected) in table {
            let plan = fallback(abilities, preference, silent);
            let way = plan.as_ref().map(|plan| plan.ways[1].1);
            assert_eq!(way, expected, "{abilities:?} {preference:?} {silent:?}");
            if let Some(plan) = plan {
                assert!(plan.hooks.contains(&hook::ACCEPT));
                assert!(!plan.hooks.contains(&hook::TIMEWAIT_FENTRY[0]));
            }
        }
    }

    #[test]
    fn sockets_get_their_cookies_where_nobody_else_can_ask_for_one() {
        let older = Abilities {
            has_cookie: false,
            ..ALL
        };
        let asks = |abilities, preference| plan(abilities, preference).hooks.contains(&hook::COOKIES[0]);
        assert!(asks(older, Preference::Auto));
        assert!(asks(older, Preference::Timers));
        assert!(!asks(older, Preference::Tracepoint));
        assert!(!asks(ALL, Preference::Auto));
    }
}
