//! The hooks there are: program, place, the arguments and fields it relies on, and what it is for.

use tcptrace_common::{Field, kind};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub enum Attach {
    TpBtf,
    Fentry,
    Fexit,
    ClassicTracepoint,
    Cgroup,
}

impl Attach {
    /// The kernel's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
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
#[expect(missing_docs, reason = "described by `lost_without`")]
pub enum Purpose {
    Transitions,
    Timewait,
    Requests,
    Resets,
    Accept,
    Names,
    Cookies,
}

impl Purpose {
    /// Its name in `check` and in headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transitions => "transitions",
            Self::Timewait => "timewait",
            Self::Requests => "requests",
            Self::Resets => "resets",
            Self::Accept => "accept",
            Self::Names => "names",
            Self::Cookies => "cookies",
        }
    }

    /// What a user has with it.
    #[must_use]
    pub const fn gives(self) -> &'static str {
        match self {
            Self::Transitions => "every change of state of a full socket",
            Self::Timewait => "TIME_WAIT and orphaned FIN_WAIT2, with their real ends",
            Self::Requests => "SYN_RECV from the SYN on, abandoned handshakes",
            Self::Resets => "why a connection ended",
            Self::Accept => "the process that accepted, at once",
            Self::Names => "a process's new name, at once, where it runs another program or renames itself",
            Self::Cookies => "an identity for each socket that is made from now on",
        }
    }

    /// What a user loses without it.
    #[must_use]
    pub const fn lost_without(self) -> &'static str {
        match self {
            Self::Transitions => "everything",
            Self::Timewait => "TIME_WAIT is not seen, orphaned FIN_WAIT2 seems to end at once",
            Self::Requests => "SYN_RECV seems to last no time, abandoned handshakes are not seen",
            Self::Resets => "ends by reset have no reason",
            Self::Accept => "an accepted socket's owner is the listener's until better evidence comes",
            Self::Names => {
                "a process that changes its name keeps the old one until something else shows the new"
            }
            Self::Cookies => {
                "a connection is known by its address in the kernel, which its timewait sock does not share"
            }
        }
    }
}

/// One place to attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name of the program in the object.
    pub program: &'static str,
    /// How it is attached.
    pub attach: Attach,
    /// Function or tracepoint.
    pub target: &'static str,
    /// What it serves.
    pub purpose: Purpose,
    /// Leading arguments: the struct that each must point to, "" where any will do.
    pub arguments: &'static [&'static str],
    /// Fields that it reads beyond the required ones.
    pub fields: &'static [Field],
    /// Where the kernel side counts its hits, [`tcptrace_common::Counters::hits`].
    pub counted_as: &'static [u8],
}

const fn hook(
    program: &'static str,
    attach: Attach,
    target: &'static str,
    purpose: Purpose,
    arguments: &'static [&'static str],
    fields: &'static [Field],
    counted_as: &'static [u8],
) -> Hook {
    Hook {
        program,
        attach,
        target,
        purpose,
        arguments,
        fields,
        counted_as,
    }
}

/// `tp_btf/inet_sock_set_state`: the program that reports, then the one that reports what the kernel made the
/// first one skip.
pub const SET_STATE: &[Hook] = &[
    hook(
        "inet_sock_set_state",
        Attach::TpBtf,
        "inet_sock_set_state",
        Purpose::Transitions,
        &["sock"],
        &[],
        &[kind::STATE],
    ),
    hook(
        "inet_sock_set_state_again",
        Attach::TpBtf,
        "inet_sock_set_state",
        Purpose::Transitions,
        &["sock"],
        &[],
        &[],
    ),
];

/// `tracepoint/sock/inet_sock_set_state`.
pub const SET_STATE_CLASSIC: Hook = hook(
    "inet_sock_set_state_classic",
    Attach::ClassicTracepoint,
    "inet_sock_set_state",
    Purpose::Transitions,
    &[],
    &[],
    &[kind::STATE],
);

/// Timewait socks by trampolines.
pub const TIMEWAIT_FENTRY: &[Hook] = &[
    hook(
        "inet_twsk_alloc",
        Attach::Fexit,
        "inet_twsk_alloc",
        Purpose::Timewait,
        &["sock", "", ""],
        &[],
        &[kind::TIMEWAIT_START, kind::TIMEWAIT_FULL],
    ),
    hook(
        "tcp_timewait_state_process_entry",
        Attach::Fentry,
        "tcp_timewait_state_process",
        Purpose::Timewait,
        &["inet_timewait_sock", "sk_buff", "tcphdr"],
        &[],
        &[],
    ),
    hook(
        "tcp_timewait_state_process_exit",
        Attach::Fexit,
        "tcp_timewait_state_process",
        Purpose::Timewait,
        &["inet_timewait_sock", "sk_buff", "tcphdr"],
        &[Field::TwSubstate],
        &[kind::TIMEWAIT_SEGMENT],
    ),
    hook(
        "tw_timer_handler",
        Attach::Fentry,
        "tw_timer_handler",
        Purpose::Timewait,
        &["timer_list"],
        &[Field::TwTimer],
        &[],
    ),
    hook(
        "inet_twsk_kill",
        Attach::Fentry,
        "inet_twsk_kill",
        Purpose::Timewait,
        &["inet_timewait_sock"],
        &[Field::TwSubstate],
        &[kind::TIMEWAIT_END],
    ),
];

const TIMER_FIELDS: &[Field] = &[
    Field::TimerFunction,
    Field::TwTimer,
    Field::ReqTimer,
    Field::TwSubstate,
];

/// Timewait and request socks by the timers that drive them.
pub const TIMERS: &[Hook] = &[
    hook(
        "timer_start",
        Attach::TpBtf,
        "timer_start",
        Purpose::Timewait,
        &["timer_list"],
        TIMER_FIELDS,
        &[kind::TIMEWAIT_TIMER_START, kind::REQUEST_TIMER_START],
    ),
    hook(
        "timer_cancel",
        Attach::TpBtf,
        "timer_cancel",
        Purpose::Timewait,
        &["timer_list"],
        TIMER_FIELDS,
        &[kind::TIMEWAIT_TIMER_CANCEL, kind::REQUEST_TIMER_CANCEL],
    ),
    hook(
        "timer_expire_entry",
        Attach::TpBtf,
        "timer_expire_entry",
        Purpose::Timewait,
        &["timer_list"],
        TIMER_FIELDS,
        &[kind::TIMEWAIT_TIMER_EXPIRE, kind::REQUEST_TIMER_EXPIRE],
    ),
];

/// Segments of timewait socks, for kernels without trampolines.
pub const KFREE_SKB: Hook = hook(
    "kfree_skb",
    Attach::TpBtf,
    "kfree_skb",
    Purpose::Timewait,
    &["sk_buff", "", "", "sock"],
    &[Field::TwSubstate, Field::SkbHead, Field::SkbTransport],
    &[kind::TIMEWAIT_SEGMENT],
);

/// Request socks by trampolines.
pub const REQUESTS_FENTRY: &[Hook] = &[
    hook(
        "inet_csk_reqsk_queue_hash_add",
        Attach::Fentry,
        "inet_csk_reqsk_queue_hash_add",
        Purpose::Requests,
        &["sock", "request_sock"],
        &[],
        &[kind::REQUEST_START],
    ),
    hook(
        "inet_csk_reqsk_queue_drop",
        Attach::Fentry,
        "inet_csk_reqsk_queue_drop",
        Purpose::Requests,
        &["sock", "request_sock"],
        &[],
        &[kind::REQUEST_END],
    ),
    hook(
        "inet_csk_reqsk_queue_drop_and_put",
        Attach::Fentry,
        "inet_csk_reqsk_queue_drop_and_put",
        Purpose::Requests,
        &["sock", "request_sock"],
        &[],
        &[kind::REQUEST_END],
    ),
    hook(
        "reqsk_timer_handler_entry",
        Attach::Fentry,
        "reqsk_timer_handler",
        Purpose::Requests,
        &["timer_list"],
        &[Field::ReqTimer],
        &[kind::REQUEST_TIMER_EXPIRE],
    ),
    hook(
        "reqsk_timer_handler_exit",
        Attach::Fexit,
        "reqsk_timer_handler",
        Purpose::Requests,
        &["timer_list"],
        &[Field::ReqTimer, Field::TimerEntry],
        &[kind::REQUEST_TIMER_START],
    ),
];

/// Why connections end.
pub const RESETS: &[Hook] = &[
    hook(
        "tcp_receive_reset",
        Attach::TpBtf,
        "tcp_receive_reset",
        Purpose::Resets,
        &["sock"],
        &[],
        &[kind::RESET_RECEIVED],
    ),
    hook(
        "tcp_send_reset",
        Attach::TpBtf,
        "tcp_send_reset",
        Purpose::Resets,
        &["sock"],
        &[],
        &[kind::RESET_SENT],
    ),
];

/// Who accepts.
pub const ACCEPT: Hook = hook(
    "inet_csk_accept",
    Attach::Fexit,
    "inet_csk_accept",
    Purpose::Accept,
    &["sock"],
    &[],
    &[kind::ACCEPT],
);

/// What processes are called.
pub const NAMES: Hook = hook(
    "task_rename",
    Attach::TpBtf,
    "task_rename",
    Purpose::Names,
    &["task_struct", ""],
    &[],
    &[kind::TASK_RENAME],
);

/// Gives sockets their cookies, for kernels whose tracing programs may not ask for one (before Linux 5.12).
pub const COOKIES: &[Hook] = &[
    hook(
        "cookie_of_socket",
        Attach::Cgroup,
        "sock_create",
        Purpose::Cookies,
        &[],
        &[],
        &[],
    ),
    hook(
        "cookie_of_child",
        Attach::Cgroup,
        "sock_ops",
        Purpose::Cookies,
        &[],
        &[],
        &[],
    ),
];
