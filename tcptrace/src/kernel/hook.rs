//! The hooks: program, attach target, the arguments and fields that it relies on, and its feature.

pub(crate) mod stacks;

use Argument::{Any, Number, To};
use std::fmt;
use tcptrace_common::{EventKind, Field, Hit, TimerStep};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attach {
    TpBtf,
    Fentry,
    Fexit,
    ClassicTracepoint,
    Cgroup,
}

impl Attach {
    /// The kernel's word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::ClassicTracepoint => "tracepoint",
            Self::Cgroup => "cgroup",
        }
    }
}

/// What the hooks serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Feature {
    Transitions,
    Timewait,
    Requests,
    Resets,
    Accept,
    Names,
    Cookies,
    Stacks,
}

impl Feature {
    /// Its name in `check` and in headers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Transitions => "transitions",
            Self::Timewait => "timewait",
            Self::Requests => "requests",
            Self::Resets => "resets",
            Self::Accept => "accept",
            Self::Names => "names",
            Self::Cookies => "cookies",
            Self::Stacks => "stacks",
        }
    }

    /// What a user has with it.
    pub(crate) const fn gives(self) -> &'static str {
        match self {
            Self::Transitions => "every state transition of a full socket",
            Self::Timewait => "TIME_WAIT and orphaned FIN_WAIT2, with their real end",
            Self::Requests => "SYN_RECV from the SYN on, and abandoned handshakes",
            Self::Resets => "the reason why a connection ended",
            Self::Accept => "the process that accepted a connection, immediately",
            Self::Names => "the new name of a process, immediately after exec or a change of name",
            Self::Cookies => "a cookie for each new socket",
            Self::Stacks => "the call stacks that open sockets",
        }
    }

    /// What a user loses without it.
    pub(crate) const fn lost_without(self) -> &'static str {
        match self {
            Self::Transitions => "everything",
            Self::Timewait => "TIME_WAIT is not reported, and orphaned FIN_WAIT2 appears to end immediately",
            Self::Requests => "SYN_RECV appears to last no time, and abandoned handshakes are not reported",
            Self::Resets => "connections that end by a reset have no reason",
            Self::Accept => {
                "the owner of an accepted socket is the listener's owner until there is better evidence"
            }
            Self::Names => {
                "a process keeps its old name after exec or a change of name, until another event shows the new one"
            }
            Self::Cookies => {
                "connections are identified by the address of their socket, which TIME_WAIT does not share"
            }
            Self::Stacks => "the call stacks that open sockets are unknown",
        }
    }
}

/// What an argument or a return value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// Anything: it is not read.
    Any,
    /// A pointer to the struct of this name.
    To(&'static str),
    /// An integer or an enum of this many bytes.
    Number(u32),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("argument"),
            Self::To(name) => write!(f, "pointer to struct {name}"),
            Self::Number(bytes) => write!(f, "number of {bytes} bytes"),
        }
    }
}

/// A return value. A program finds it after the arguments, so it depends on how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Returns {
    /// What it must be.
    pub(crate) what: Argument,
    /// Fewest arguments after which the program finds it.
    pub(crate) least: usize,
    /// Most arguments after which it does.
    pub(crate) most: usize,
}

/// One place to attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Name of the program in the object.
    pub(crate) program: &'static str,
    pub(crate) attach: Attach,
    /// Function or tracepoint.
    pub(crate) target: &'static str,
    pub(crate) feature: Feature,
    /// Leading arguments.
    pub(crate) arguments: &'static [Argument],
    /// What it returns, where the program reads that.
    pub(crate) returns: Option<Returns>,
    /// Fields that it reads beyond the required ones.
    pub(crate) fields: &'static [Field],
    /// Where the kernel side counts its hits, [`tcptrace_common::Counters::hits`].
    pub(crate) counted_as: &'static [Hit],
}

const fn hook(
    program: &'static str,
    attach: Attach,
    target: &'static str,
    feature: Feature,
    arguments: &'static [Argument],
    fields: &'static [Field],
    counted_as: &'static [Hit],
) -> Hook {
    Hook {
        program,
        attach,
        target,
        feature,
        arguments,
        returns: None,
        fields,
        counted_as,
    }
}

/// How many arguments a program can look behind for a return value, `returned` in the kernel side.
const COUNTED: (usize, usize) = (2, 6);

const fn returning(hook: Hook, what: Argument, (least, most): (usize, usize)) -> Hook {
    Hook {
        returns: Some(Returns { what, least, most }),
        ..hook
    }
}

/// `tp_btf/inet_sock_set_state`: the program that reports, then the one that reports what the kernel made the
/// first one skip.
pub(crate) const SET_STATE: &[Hook] = &[
    hook(
        "inet_sock_set_state",
        Attach::TpBtf,
        "inet_sock_set_state",
        Feature::Transitions,
        &[To("sock"), Number(4), Number(4)],
        &[],
        &[Hit::of(EventKind::State)],
    ),
    hook(
        "inet_sock_set_state_again",
        Attach::TpBtf,
        "inet_sock_set_state",
        Feature::Transitions,
        &[To("sock"), Number(4), Number(4)],
        &[],
        &[],
    ),
];

/// `tracepoint/sock/inet_sock_set_state`.
pub(crate) const SET_STATE_CLASSIC: Hook = hook(
    "inet_sock_set_state_classic",
    Attach::ClassicTracepoint,
    "inet_sock_set_state",
    Feature::Transitions,
    &[],
    &[],
    &[Hit::of(EventKind::State)],
);

/// Timewait socks by trampolines.
pub(crate) const TIMEWAIT_FENTRY: &[Hook] = &[
    returning(
        hook(
            "inet_twsk_alloc",
            Attach::Fexit,
            "inet_twsk_alloc",
            Feature::Timewait,
            &[To("sock"), Any, Number(4)],
            &[],
            &[
                Hit::of(EventKind::TimewaitStart),
                Hit::of(EventKind::TimewaitFull),
            ],
        ),
        To("inet_timewait_sock"),
        (3, 3),
    ),
    hook(
        "tcp_timewait_state_process_entry",
        Attach::Fentry,
        "tcp_timewait_state_process",
        Feature::Timewait,
        &[To("inet_timewait_sock"), To("sk_buff"), To("tcphdr")],
        &[],
        &[],
    ),
    returning(
        hook(
            "tcp_timewait_state_process_exit",
            Attach::Fexit,
            "tcp_timewait_state_process",
            Feature::Timewait,
            &[To("inet_timewait_sock"), To("sk_buff"), To("tcphdr")],
            &[Field::TwSubstate],
            &[Hit::of(EventKind::TimewaitSegment)],
        ),
        Number(4),
        COUNTED,
    ),
    hook(
        "tw_timer_handler",
        Attach::Fentry,
        "tw_timer_handler",
        Feature::Timewait,
        &[To("timer_list")],
        &[Field::TwTimer],
        &[],
    ),
    hook(
        "inet_twsk_kill",
        Attach::Fentry,
        "inet_twsk_kill",
        Feature::Timewait,
        &[To("inet_timewait_sock")],
        &[Field::TwSubstate],
        &[Hit::of(EventKind::TimewaitEnd)],
    ),
];

const TIMER_FIELDS: &[Field] = &[
    Field::TimerFunction,
    Field::TwTimer,
    Field::ReqTimer,
    Field::TwSubstate,
];

/// Timewait and request socks by the timers that drive them.
pub(crate) const TIMERS: &[Hook] = &[
    hook(
        "timer_start",
        Attach::TpBtf,
        "timer_start",
        Feature::Timewait,
        &[To("timer_list")],
        TIMER_FIELDS,
        &[
            Hit::timer(EventKind::TimewaitTimer, TimerStep::Start),
            Hit::timer(EventKind::RequestTimer, TimerStep::Start),
        ],
    ),
    hook(
        "timer_cancel",
        Attach::TpBtf,
        "timer_cancel",
        Feature::Timewait,
        &[To("timer_list")],
        TIMER_FIELDS,
        &[
            Hit::timer(EventKind::TimewaitTimer, TimerStep::Cancel),
            Hit::timer(EventKind::RequestTimer, TimerStep::Cancel),
        ],
    ),
    hook(
        "timer_expire_entry",
        Attach::TpBtf,
        "timer_expire_entry",
        Feature::Timewait,
        &[To("timer_list")],
        TIMER_FIELDS,
        &[
            Hit::timer(EventKind::TimewaitTimer, TimerStep::Expire),
            Hit::timer(EventKind::RequestTimer, TimerStep::Expire),
        ],
    ),
];

/// Segments of timewait socks, for kernels without trampolines.
pub(crate) const KFREE_SKB: Hook = hook(
    "kfree_skb",
    Attach::TpBtf,
    "kfree_skb",
    Feature::Timewait,
    &[To("sk_buff"), Any, Any, To("sock")],
    &[Field::TwSubstate, Field::SkbHead, Field::SkbTransport],
    &[Hit::of(EventKind::TimewaitSegment)],
);

/// Request socks by trampolines.
pub(crate) const REQUESTS_FENTRY: &[Hook] = &[
    hook(
        "inet_csk_reqsk_queue_hash_add",
        Attach::Fentry,
        "inet_csk_reqsk_queue_hash_add",
        Feature::Requests,
        &[To("sock"), To("request_sock")],
        &[],
        &[Hit::of(EventKind::RequestStart)],
    ),
    hook(
        "inet_csk_reqsk_queue_drop",
        Attach::Fentry,
        "inet_csk_reqsk_queue_drop",
        Feature::Requests,
        &[To("sock"), To("request_sock")],
        &[],
        &[Hit::of(EventKind::RequestEnd)],
    ),
    hook(
        "inet_csk_reqsk_queue_drop_and_put",
        Attach::Fentry,
        "inet_csk_reqsk_queue_drop_and_put",
        Feature::Requests,
        &[To("sock"), To("request_sock")],
        &[],
        &[Hit::of(EventKind::RequestEnd)],
    ),
    hook(
        "reqsk_timer_handler_entry",
        Attach::Fentry,
        "reqsk_timer_handler",
        Feature::Requests,
        &[To("timer_list")],
        &[Field::ReqTimer],
        &[Hit::timer(EventKind::RequestTimer, TimerStep::Expire)],
    ),
    hook(
        "reqsk_timer_handler_exit",
        Attach::Fexit,
        "reqsk_timer_handler",
        Feature::Requests,
        &[To("timer_list")],
        &[Field::ReqTimer, Field::TimerEntry],
        &[Hit::timer(EventKind::RequestTimer, TimerStep::Start)],
    ),
];

/// Why connections end.
pub(crate) const RESETS: &[Hook] = &[
    hook(
        "tcp_receive_reset",
        Attach::TpBtf,
        "tcp_receive_reset",
        Feature::Resets,
        &[To("sock")],
        &[],
        &[Hit::of(EventKind::ResetReceived)],
    ),
    hook(
        "tcp_send_reset",
        Attach::TpBtf,
        "tcp_send_reset",
        Feature::Resets,
        &[To("sock")],
        &[],
        &[Hit::of(EventKind::ResetSent)],
    ),
];

pub(crate) const ACCEPT: Hook = returning(
    hook(
        "inet_csk_accept",
        Attach::Fexit,
        "inet_csk_accept",
        Feature::Accept,
        &[To("sock")],
        &[],
        &[Hit::of(EventKind::Accept)],
    ),
    To("sock"),
    COUNTED,
);

/// What processes are called.
pub(crate) const NAMES: Hook = hook(
    "task_rename",
    Attach::TpBtf,
    "task_rename",
    Feature::Names,
    &[To("task_struct"), Any],
    &[],
    &[Hit::of(EventKind::TaskRename)],
);

/// Gives sockets their cookies, for kernels whose tracing programs may not ask for one (before Linux 5.12).
pub(crate) const COOKIES: &[Hook] = &[
    hook(
        "cookie_of_socket",
        Attach::Cgroup,
        "sock_create",
        Feature::Cookies,
        &[],
        &[],
        &[],
    ),
    hook(
        "cookie_of_child",
        Attach::Cgroup,
        "sock_ops",
        Feature::Cookies,
        &[],
        &[],
        &[],
    ),
];

/// What snapshots are read through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing {
    /// Name of the program in the object.
    pub(crate) program: &'static str,
    /// What the kernel calls it.
    pub(crate) target: &'static str,
}

/// The TCP sockets of a network namespace.
pub(crate) const SOCKETS: Listing = Listing {
    program: "iter_tcp",
    target: "tcp",
};

pub(crate) const OPEN_FILES: Listing = Listing {
    program: "iter_task_file",
    target: "task_file",
};

/// Every BPF iterator, of sockets and of open files.
pub(crate) const ITERATORS: [Listing; 2] = [SOCKETS, OPEN_FILES];

/// Every hook of every plan, and those of `--stacks`.
pub(crate) fn all() -> impl Iterator<Item = &'static Hook> {
    let lists = [
        SET_STATE,
        TIMEWAIT_FENTRY,
        TIMERS,
        REQUESTS_FENTRY,
        RESETS,
        COOKIES,
    ];
    let single = [&SET_STATE_CLASSIC, &KFREE_SKB, &ACCEPT, &NAMES];
    lists.into_iter().flatten().chain(single).chain(&stacks::ALL)
}
