//! How long a socket has waited for its peer, and when the kernel gives the peer up, computed from the evidence on the
//! socket. The formulas are those of net/ipv4/tcp_timer.c (Linux 6.18). Pure.

use super::network::{Network, Recoveries, SocketOptions, Timer, TimerPurpose};
use crate::event::{Nanos, TcpState};

/// `TCP_RTO_MIN` and `TCP_RTO_MAX` of include/net/tcp.h, between which RFC 6298 doubles the timeout.
const RTO_MIN: Nanos = Nanos::from_millis(200);
pub(crate) const RTO_MAX: Nanos = Nanos::from_secs(120);

/// What `tcp_orphan_retries` of 0 means while the timeout is below its maximum (`tcp_orphan_retries()`).
const ORPHAN_RETRIES: u32 = 8;

/// Timers run late by at least one part in this many, on average: the timer wheel rounds up (kernel/time/timer.c).
const LATE: u64 = 64;

/// The settings of a network namespace that decide how long its sockets wait; `None` where one is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `net.ipv4.tcp_retries2`.
    pub retries: Option<u32>,
    /// `net.ipv4.tcp_orphan_retries`; 0 stands for 8 until the timeout has reached its maximum, and for none from then on.
    pub orphan_retries: Option<u32>,
    /// `net.ipv4.tcp_keepalive_time`, seconds.
    pub keepalive_time_s: Option<u32>,
    /// `net.ipv4.tcp_keepalive_intvl`, seconds.
    pub keepalive_interval_s: Option<u32>,
    /// `net.ipv4.tcp_keepalive_probes`.
    pub keepalive_probes: Option<u32>,
    /// `net.ipv4.tcp_rto_max_ms`, since Linux 6.15.
    pub rto_max_ms: Option<u32>,
}

impl Limits {
    /// These limits for one socket: it keeps the longest timeout that it was created with or that the program set.
    fn of_socket(self, network: &Network) -> Self {
        let own = network.options.and_then(|options| options.rto_max_ms);
        Self {
            rto_max_ms: own.or(self.rto_max_ms),
            ..self
        }
    }

    /// The longest timeout: `TCP_RTO_MAX` where no setting is known.
    fn rto_max(&self) -> Nanos {
        self.rto_max_ms
            .map_or(RTO_MAX, |ms| Nanos::from_millis(ms.into()))
    }

    /// A timeout after so many doublings.
    fn doubled(&self, first: Nanos, times: u32) -> Nanos {
        Nanos(first.0.saturating_mul(1 << times.min(32)).min(self.rto_max().0))
    }
}

/// When the kernel ends a connection whose peer stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The time left, counted from when the evidence was read.
    pub left: Nanos,
    /// What sets the limit.
    pub by: Limit,
}

/// What ends a connection whose peer stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `TCP_USER_TIMEOUT` of the socket.
    UserTimeout(Nanos),
    /// `tcp_retries2`; an earlier `TCP_USER_TIMEOUT` is possible where the socket's options are not known.
    Retries {
        /// Whether the options are known, and no such timeout is set.
        is_certain: bool,
    },
    /// `tcp_orphan_retries`: no process has the socket any more. An earlier end as above is possible.
    OrphanRetries {
        /// As above.
        is_certain: bool,
    },
    /// The number of keep-alive probes.
    KeepAlive,
}

impl Limit {
    /// The option or setting, as its documentation spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserTimeout(_) => "TCP_USER_TIMEOUT",
            Self::Retries { .. } => "tcp_retries2",
            Self::OrphanRetries { .. } => "tcp_orphan_retries",
            Self::KeepAlive => "the number of keep-alive probes",
        }
    }

    /// Whether nothing that is not known ends it earlier.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        match self {
            Self::Retries { is_certain } | Self::OrphanRetries { is_certain } => is_certain,
            Self::UserTimeout(_) | Self::KeepAlive => true,
        }
    }
}

/// How long ago the first unacknowledged segment was sent, at least; `None` unless it has been retransmitted.
#[must_use]
pub fn unacknowledged_for(network: &Network, limits: &Limits) -> Option<Nanos> {
    Some(Retransmission::of(network, &limits.of_socket(network))?.since_sent)
}

/// When the kernel gives up the peer of a socket in this state, if it stays silent. `None` where it does not wait for an
/// answer, where the peer answers and no limit applies, or where what decides is not known. `is_orphan` is whether no
/// process has the socket.
#[must_use]
pub fn end(network: &Network, state: TcpState, is_orphan: Option<bool>, limits: &Limits) -> Option<End> {
    let is_orphan = match state {
        // Without a process it has not been accepted, and is no orphan of `close`.
        TcpState::Established | TcpState::CloseWait => false,
        TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => is_orphan?,
        TcpState::Close
        | TcpState::Listen
        | TcpState::SynSent
        | TcpState::SynRecv
        | TcpState::FinWait2
        | TcpState::TimeWait => return None,
    };
    let Some(Timer::Running { purpose, expires_in }) = network.timer else {
        return None;
    };
    let limits = &limits.of_socket(network);
    match purpose {
        TimerPurpose::Retransmit => Retransmission::of(network, limits)?.end(network, is_orphan, limits),
        TimerPurpose::WindowProbe => end_of_probing(network, expires_in, is_orphan, limits),
        TimerPurpose::KeepAlive => end_by_keepalive(network, expires_in, limits),
    }
}

/// `TCP_USER_TIMEOUT`, where it is known to be set.
fn user_timeout(network: &Network) -> Option<Nanos> {
    let ms = network.options?.user_timeout_ms;
    (ms > 0).then_some(Nanos::from_millis(ms.into()))
}

/// How many retransmissions or probes a socket without user timeout has when a timer of this length expires, and what sets
/// the number.
fn retries(network: &Network, is_orphan: bool, timeout: Nanos, limits: &Limits) -> Option<(u32, Limit)> {
    let is_certain = network.options.is_some();
    if !is_orphan {
        return Some((limits.retries?, Limit::Retries { is_certain }));
    }
    let retries = match limits.orphan_retries? {
        0 if timeout < limits.rto_max() => ORPHAN_RETRIES,
        set => set,
    };
    Some((retries, Limit::OrphanRetries { is_certain }))
}

/// Where the retransmissions of the first unacknowledged segment are: as the kernel reports it, else computed from the
/// timeout and how often it was doubled.
struct Retransmission {
    since_sent: Nanos,
    /// `retransmits_timed_out` counts from here (`retrans_stamp`).
    since_retransmitted: Nanos,
    /// Whether the kernel reports that time.
    is_measured: bool,
    expires_in: Nanos,
    rto: Nanos,
    /// Whether errors take doublings back.
    is_reverted: bool,
}

impl Retransmission {
    fn of(network: &Network, limits: &Limits) -> Option<Self> {
        let Some(Timer::Running {
            purpose: TimerPurpose::Retransmit,
            expires_in,
        }) = network.timer
        else {
            return None;
        };
        network.retransmits.filter(|timeouts| *timeouts > 0)?;
        let (rto, doublings) = (network.rto?, network.backoff?);
        if rto == Nanos(0) {
            return None;
        }
        let first = Nanos(rto.0 >> doublings.min(63));
        // A timeout at its maximum does not show how often it was reached.
        let first = if rto >= limits.rto_max() {
            first.max(RTO_MIN)
        } else {
            first
        };
        // Doublings outlive a recovery until a round trip is measured (`tcp_ack_update_rtt`): only the last ones are this
        // segment's.
        let before = doublings.saturating_sub(network.retransmits?);
        let earlier = Nanos(
            (before..doublings)
                .map(|times| limits.doubled(first, times.into()).0)
                .sum(),
        );
        let first = limits.doubled(first, before.into());
        // An ICMP error takes a doubling back (`tcp_ld_RTO_revert`, RFC 6069): so many timeouts were as long as this one.
        let reverted = network.retransmits?.saturating_sub(doublings);
        let earlier = earlier.plus(Nanos(rto.0.saturating_mul(reverted.into())));
        // A user timeout that is nearer shortens the timer (`tcp_clamp_rto_to_user_timeout`).
        let armed = user_timeout(network).map_or(rto, |limit| rto.min(limit.since(earlier.since(first))));
        let computed = earlier.plus(armed.since(expires_in)).since(first);
        let (since_retransmitted, is_measured) = match network.recoveries {
            Some(Recoveries { count: 1, total }) => (total, true),
            Some(Recoveries { total, .. }) if reverted > 0 => (computed.min(total), false),
            Some(_) | None => (computed, false),
        };
        Some(Self {
            since_sent: since_retransmitted.plus(first),
            since_retransmitted,
            is_measured,
            expires_in,
            rto,
            is_reverted: reverted > 0,
        })
    }

    fn end(&self, network: &Network, is_orphan: bool, limits: &Limits) -> Option<End> {
        if let Some(limit) = user_timeout(network) {
            return Some(End {
                left: limit.since(self.since_retransmitted).max(self.expires_in),
                by: Limit::UserTimeout(limit),
            });
        }
        // The limit is checked when the timer expires.
        let mut expiry = self.since_retransmitted.plus(self.expires_in);
        let mut rto = self.rto;
        loop {
            let (retries, by) = retries(network, is_orphan, rto, limits)?;
            if expiry.plus(self.lateness(expiry)) >= model_timeout(retries, limits.rto_max()) {
                return Some(End {
                    left: expiry.since(self.since_retransmitted),
                    by,
                });
            }
            // Where doublings are taken back, they go on to be.
            rto = limits.doubled(rto, u32::from(!self.is_reverted));
            expiry = expiry.plus(rto);
        }
    }

    /// How late an expiry is that was computed with timers that are on time; a timer that an error sets anew is not late.
    fn lateness(&self, expiry: Nanos) -> Nanos {
        let computed = if self.is_measured {
            expiry.since(self.since_retransmitted)
        } else {
            expiry
        };
        Nanos(if self.is_reverted { 0 } else { computed.0 / LATE })
    }
}

/// More retries than `tcp_retries2` takes since Linux 5.14 are taken for as many: it was not limited before.
const MOST_RETRIES: u32 = 255;

/// The time from the first retransmission on after which so many are enough: `tcp_model_timeout`, which assumes a first
/// timeout of `TCP_RTO_MIN` whatever the real one is.
fn model_timeout(retries: u32, rto_max: Nanos) -> Nanos {
    let doublings = (rto_max.0 / RTO_MIN.0).max(1).ilog2();
    let doubled = ((2 << retries.min(doublings)) - 1) * RTO_MIN.0;
    let rest = u64::from(retries.min(MOST_RETRIES).saturating_sub(doublings)) * rto_max.0;
    Nanos(doubled + rest)
}

/// The end of a socket that probes the closed window of its peer (`tcp_probe_timer`). A peer that answers is waited for
/// without limit, unless no process has the socket any more, or the program has set a user timeout: what comes first ends
/// the connection.
fn end_of_probing(network: &Network, expires_in: Nanos, is_orphan: bool, limits: &Limits) -> Option<End> {
    let (rto, doublings) = (network.rto?.max(RTO_MIN), u32::from(network.backoff?));
    let by_timeout = user_timeout(network).map(|limit| {
        // The time counts from the first probe (`icsk_probes_tstamp`), after which the timeout has been doubled once.
        let earlier = Nanos((1..doublings).map(|times| limits.doubled(rto, times).0).sum());
        let armed = limits.doubled(rto, doublings).min(limit.since(earlier));
        let elapsed = earlier.plus(armed.since(expires_in));
        End {
            left: limit.since(elapsed).max(expires_in),
            by: Limit::UserTimeout(limit),
        }
    });
    let by_probes = end_by_probes(network, expires_in, is_orphan, limits);
    by_timeout.into_iter().chain(by_probes).min_by_key(|end| end.left)
}

/// The end of such a socket by the number of its probes, whatever the user timeout.
fn end_by_probes(network: &Network, expires_in: Nanos, is_orphan: bool, limits: &Limits) -> Option<End> {
    let (rto, doublings) = (network.rto?.max(RTO_MIN), u32::from(network.backoff?));
    let mut unanswered = u32::from(network.probes?);
    let is_answered = unanswered == 0;
    if is_answered && !is_orphan {
        return None;
    }
    let (mut doublings, mut left) = (doublings, expires_in);
    loop {
        let timeout = limits.doubled(rto, doublings);
        let (retries, by) = retries(network, is_orphan, timeout, limits)?;
        // Once the timeout is at its maximum, an answer does not keep an orphan.
        let is_given_up = is_orphan && timeout >= limits.rto_max() && doublings >= retries;
        if is_given_up || unanswered >= retries {
            return Some(End { left, by });
        }
        // `tcp_send_probe0` doubles the timeout this often at most.
        let can_double = doublings < limits.retries?;
        if is_answered && !can_double {
            return None;
        }
        doublings += u32::from(can_double);
        unanswered += u32::from(!is_answered);
        left = left.plus(limits.doubled(rto, doublings));
    }
}

/// The end of an idle connection whose peer does not answer keep-alive (`tcp_keepalive_timer`).
fn end_by_keepalive(network: &Network, expires_in: Nanos, limits: &Limits) -> Option<End> {
    let unanswered = u32::from(network.probes.filter(|probes| *probes > 0)?);
    let options: SocketOptions = network.options?;
    let seconds = |own_ms: u32, setting: Option<u32>| match own_ms {
        0 => Some(Nanos::from_secs(setting?.into())),
        ms => Some(Nanos::from_millis(ms.into())),
    };
    let interval = seconds(options.keepalive_interval_ms, limits.keepalive_interval_s)?;
    let (more, by) = if let Some(limit) = user_timeout(network) {
        // It takes the place of the number of probes.
        let time = seconds(options.keepalive_time_ms, limits.keepalive_time_s)?;
        let elapsed = time.0 + interval.0 * u64::from(unanswered);
        let more = limit.0.saturating_sub(elapsed).div_ceil(interval.0.max(1));
        (more, Limit::UserTimeout(limit))
    } else {
        let probes = match options.keepalive_probes {
            0 => limits.keepalive_probes?,
            own => own.into(),
        };
        (u64::from(probes.saturating_sub(unanswered)), Limit::KeepAlive)
    };
    Some(End {
        left: expires_in.plus(Nanos(interval.0.saturating_mul(more))),
        by,
    })
}

#[cfg(test)]
mod tests;
