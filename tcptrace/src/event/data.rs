//! What a hook reported, as a value and as the numbers in records and recordings.

use super::{ResetReason, TcpState};
use std::num::NonZeroU32;
use tcptrace_common::{EndCause, EventKind, TimerStep, flag};

/// What a hook reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventData {
    /// A full socket's transition, `old` = `new` if only the file descriptor was closed.
    State {
        /// The state that was left.
        old: TcpState,
        /// The state that was entered.
        new: TcpState,
        /// `sk_err`, an errno or 0.
        error: u32,
        /// Whether the peer's FIN has come.
        fin_received: bool,
        /// Whether no process holds the socket.
        is_orphan: bool,
        /// What it has carried, where `new` is CLOSE; else nothing.
        bytes: Bytes,
        /// What the network did to it until then, where `new` is CLOSE; else nothing.
        path: PathStats,
    },
    /// The peer reset the socket.
    ResetReceived,
    /// A reset was sent for it, for this reason if the kernel specifies one.
    ResetSent(Option<ResetReason>),
    /// A timewait sock was made, in this substate.
    TimewaitStart(TcpState),
    /// No timewait sock could be made: the table is full.
    TimewaitFull,
    /// A timewait sock handled a segment.
    TimewaitSegment {
        /// Substate afterwards.
        substate: TcpState,
        /// Whether the segment was a RST.
        is_reset: bool,
    },
    /// A timewait sock ended.
    TimewaitEnd {
        /// Its last substate.
        substate: TcpState,
        /// What ended it.
        cause: EndCause,
    },
    /// A timewait sock's timer.
    TimewaitTimer {
        /// What happened to it.
        step: TimerStep,
        /// The substate at that time.
        substate: TcpState,
    },
    /// A request sock was queued: a SYN arrived at the listener with this cookie (0: unknown).
    RequestStart {
        /// The listener's cookie.
        listener: u64,
    },
    /// A request sock was dropped because of a segment.
    RequestEnd,
    /// A request sock's timer.
    RequestTimer {
        /// What happened to it.
        step: TimerStep,
        /// The listener's cookie.
        listener: u64,
    },
    /// `accept` returned the socket to the running task.
    Accept,
    /// The task has another name from now on. About no socket.
    #[default]
    TaskRename,
}

/// What an event is about, by which the table finds its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSubject {
    /// A full socket that a listener has just made.
    Child,
    /// A full socket, from one state to another.
    Transition,
    /// A request sock.
    Request,
    /// A connection that is known, whatever stands for it.
    Connection,
    /// No socket, but the task.
    Task,
}

/// What the owner of a socket did, of which the event is a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerAct {
    /// `connect`.
    Connect,
    /// `listen`.
    Listen,
    /// `accept`.
    Accept,
    /// `close` or `shutdown`.
    Close,
}

/// What a connection has carried, as the kernel counts (RFC 4898, tcpEStatsAppHCThruOctetsAcked and -Received).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Acknowledged by the peer; SYN and FIN count as one each.
    pub acked: u64,
    /// Received in order; a FIN counts as one.
    pub received: u64,
}

/// What the network did to a connection (RFC 4898, tcpEStatsPath).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathStats {
    /// Segments retransmitted since the connection was made; `None` if the kernel does not report it.
    pub retransmits_total: Option<u32>,
    /// Smoothed round-trip time, microseconds times 8; `None` if it was never measured.
    pub srtt: Option<NonZeroU32>,
}

impl PathStats {
    /// Smoothed round-trip time, microseconds, as `tcp_info` has it.
    pub(crate) fn rtt_us(self) -> Option<u32> {
        self.srtt.map(|srtt| srtt.get() >> 3)
    }

    /// The same in nanoseconds, as outputs have it.
    pub(crate) fn rtt_ns(self) -> Option<u64> {
        self.rtt_us().map(|us| u64::from(us) * 1_000)
    }
}

/// The numbers of an event's data: a record has them from the kernel side, a recording as columns. What a kind does not
/// use is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawData {
    /// An [`EventKind`].
    pub kind: u8,
    /// State before.
    pub old: u8,
    /// State after; for a timewait sock its substate.
    pub new: u8,
    /// `sk_err`.
    pub error: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// A [`TimerStep`] or an [`EndCause`].
    pub detail: u8,
    /// The listener's cookie.
    pub listener: u64,
    /// What the socket has carried.
    pub bytes: Bytes,
    /// `total_retrans`, if [`flag::RETRANSMITS`] is set.
    pub retransmits_total: u32,
    /// `srtt_us`, or 0.
    pub srtt: u32,
    /// The reason for a reset, or 0.
    pub reset_reason: u16,
}

/// A number that means nothing to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What it should be.
    pub what: &'static str,
    /// The value found.
    pub value: u8,
}

impl EventData {
    #[inline(always)]
    pub(crate) const fn subject(&self) -> EventSubject {
        match self {
            Self::State {
                old: TcpState::Listen,
                new: TcpState::SynRecv,
                ..
            } => EventSubject::Child,
            Self::State { .. } => EventSubject::Transition,
            Self::RequestStart { .. } | Self::RequestEnd | Self::RequestTimer { .. } => EventSubject::Request,
            Self::TimewaitTimer { .. }
            | Self::TimewaitStart(_)
            | Self::TimewaitSegment { .. }
            | Self::TimewaitEnd { .. }
            | Self::TimewaitFull
            | Self::ResetReceived
            | Self::ResetSent(_)
            | Self::Accept => EventSubject::Connection,
            Self::TaskRename => EventSubject::Task,
        }
    }

    /// The state that the socket was in after it, where it shows one.
    pub(crate) const fn state_after(&self) -> Option<TcpState> {
        match self {
            Self::State { new, .. } => Some(*new),
            Self::TimewaitStart(substate)
            | Self::TimewaitSegment { substate, .. }
            | Self::TimewaitTimer { substate, .. } => Some(*substate),
            Self::RequestStart { .. }
            | Self::RequestTimer {
                step: TimerStep::Start,
                ..
            } => Some(TcpState::SynRecv),
            // The end of a sock, and what moves none to another state.
            _ => None,
        }
    }

    /// What its owner did, where the running task is the owner. In softirq that is anybody.
    #[inline(always)]
    pub(crate) const fn owner_act(&self) -> Option<OwnerAct> {
        match self {
            Self::State {
                new: TcpState::SynSent,
                ..
            } => Some(OwnerAct::Connect),
            Self::State {
                new: TcpState::Listen,
                ..
            } => Some(OwnerAct::Listen),
            Self::State { .. } => Some(OwnerAct::Close),
            Self::Accept => Some(OwnerAct::Accept),
            // Only these are made by system calls of the owner.
            _ => None,
        }
    }

    /// From its raw. Fails if one that the kind uses is not known.
    #[inline(always)]
    pub(crate) fn from_raw(raw: &RawData) -> Result<Self, Unknown> {
        let unknown = |what| move |value| Unknown { what, value };
        let kind = EventKind::try_from(raw.kind).map_err(unknown("record kind"))?;
        let state = |value| {
            TcpState::from_kernel(value).ok_or(Unknown {
                what: "TCP state",
                value,
            })
        };
        let step = || TimerStep::try_from(raw.detail).map_err(unknown("step of a timer"));
        let RawData { listener, .. } = *raw;
        let has = |bit| raw.flags & bit != 0;
        Ok(match kind {
            EventKind::State => Self::State {
                old: state(raw.old)?,
                new: state(raw.new)?,
                error: raw.error,
                fin_received: has(flag::FIN_RECEIVED),
                is_orphan: has(flag::ORPHAN),
                bytes: raw.bytes,
                path: PathStats {
                    retransmits_total: has(flag::RETRANSMITS).then_some(raw.retransmits_total),
                    srtt: NonZeroU32::new(raw.srtt),
                },
            },
            EventKind::ResetReceived => Self::ResetReceived,
            EventKind::ResetSent => Self::ResetSent(ResetReason::from_kernel(raw.reset_reason)),
            EventKind::TimewaitStart => Self::TimewaitStart(state(raw.new)?),
            EventKind::TimewaitFull => Self::TimewaitFull,
            EventKind::TimewaitSegment => Self::TimewaitSegment {
                substate: state(raw.new)?,
                is_reset: has(flag::RESET),
            },
            EventKind::TimewaitEnd => Self::TimewaitEnd {
                substate: state(raw.new)?,
                cause: EndCause::try_from(raw.detail).map_err(unknown("end of a sock"))?,
            },
            EventKind::TimewaitTimer => Self::TimewaitTimer {
                step: step()?,
                substate: state(raw.new)?,
            },
            EventKind::RequestStart => Self::RequestStart { listener },
            EventKind::RequestEnd => Self::RequestEnd,
            EventKind::RequestTimer => Self::RequestTimer {
                step: step()?,
                listener,
            },
            EventKind::Accept => Self::Accept,
            EventKind::TaskRename => Self::TaskRename,
        })
    }

    /// Encodes the event as numbers; the inverse of decoding.
    pub(crate) fn raw(&self) -> RawData {
        let of = |kind: EventKind| RawData {
            kind: kind as u8,
            ..RawData::default()
        };
        let set = |is_set, bit| if is_set { bit } else { 0 };
        match *self {
            Self::State {
                old,
                new,
                error,
                fin_received,
                is_orphan,
                bytes,
                path:
                    PathStats {
                        retransmits_total,
                        srtt,
                    },
            } => RawData {
                old: old as u8,
                new: new as u8,
                error,
                flags: set(fin_received, flag::FIN_RECEIVED)
                    | set(is_orphan, flag::ORPHAN)
                    | set(retransmits_total.is_some(), flag::RETRANSMITS),
                bytes,
                retransmits_total: retransmits_total.unwrap_or_default(),
                srtt: srtt.map_or(0, NonZeroU32::get),
                ..of(EventKind::State)
            },
            Self::ResetReceived => of(EventKind::ResetReceived),
            Self::ResetSent(reason) => RawData {
                reset_reason: ResetReason::number(reason),
                ..of(EventKind::ResetSent)
            },
            Self::TimewaitStart(substate) => RawData {
                new: substate as u8,
                ..of(EventKind::TimewaitStart)
            },
            Self::TimewaitFull => of(EventKind::TimewaitFull),
            Self::TimewaitSegment { substate, is_reset } => RawData {
                new: substate as u8,
                flags: set(is_reset, flag::RESET),
                ..of(EventKind::TimewaitSegment)
            },
            Self::TimewaitEnd { substate, cause } => RawData {
                new: substate as u8,
                detail: cause as u8,
                ..of(EventKind::TimewaitEnd)
            },
            Self::TimewaitTimer { step, substate } => RawData {
                new: substate as u8,
                detail: step as u8,
                ..of(EventKind::TimewaitTimer)
            },
            Self::RequestStart { listener } => RawData {
                listener,
                ..of(EventKind::RequestStart)
            },
            Self::RequestEnd => of(EventKind::RequestEnd),
            Self::RequestTimer { step, listener } => RawData {
                detail: step as u8,
                listener,
                ..of(EventKind::RequestTimer)
            },
            Self::Accept => of(EventKind::Accept),
            Self::TaskRename => of(EventKind::TaskRename),
        }
    }
}
