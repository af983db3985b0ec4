//! What the evidence on a connection means, as one sentence: what it waits for, for how long, and when the kernel gives
//! up.

use super::bytes::human_bytes;
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    plural::counted,
    socket::network::{Network, Timer, TimerPurpose},
};

/// `TCP_RTO_MIN` and `TCP_RTO_MAX` of include/net/tcp.h, between which RFC 6298 doubles the timeout.
const RTO_MIN: Nanos = Nanos::from_millis(200);
const RTO_MAX: Nanos = Nanos::from_secs(120);

/// What the network is doing to a connection in this state; `None` if that is nothing worth a sentence. `retries` is
/// `net.ipv4.tcp_retries2` of its namespace.
pub(crate) fn sentence(network: &Network, state: TcpState, retries: Option<u32>) -> Option<String> {
    let (purpose, expires_in) = match network.timer? {
        Timer::Running { purpose, expires_in } => (purpose, expires_in),
        Timer::Off => {
            let is_silent = state == TcpState::Established && network.in_flight? == 0;
            return is_silent.then(|| {
                "Nothing is in flight and no timer runs: if the peer disappears, this end does not notice."
                    .to_owned()
            });
        }
    };
    let next = human(expires_in);
    let timeouts = network.retransmits.unwrap_or(0);
    let probes = network.probes.unwrap_or(0);
    Some(match purpose {
        TimerPurpose::Retransmit if timeouts > 0 => {
            let what = match network.unacknowledged? {
                0 => "a segment".to_owned(),
                bytes => human_bytes(bytes.into()),
            };
            let wait = Wait::of(network, expires_in)?;
            let end = give_up(network, state, retries, &wait).unwrap_or_default();
            format!(
                "The peer has not acknowledged {what} for about {}: {}, the next retransmission in {next}{end}.",
                human(wait.since_sent),
                counted(timeouts, "timeout"),
            )
        }
        TimerPurpose::Retransmit => format!(
            "{} sent and not acknowledged yet; retransmission in {next}.",
            human_bytes(network.unacknowledged?.into())
        ),
        TimerPurpose::WindowProbe => format!(
            "The peer's window is closed: {} wait, {} unanswered, the next in {next}; as long as the peer answers \
             probes, the kernel does not give up.",
            human_bytes(network.not_sent?.into()),
            counted(probes, "probe"),
        ),
        TimerPurpose::KeepAlive if probes > 0 => format!(
            "The peer has not answered {} of keep-alive; the next in {next}.",
            counted(probes, "probe")
        ),
        TimerPurpose::KeepAlive if state == TcpState::Established => {
            format!("Keep-alive checks the peer in {next}, unless it sends something before.")
        }
        TimerPurpose::KeepAlive => return None,
    })
}

/// How long the first unacknowledged segment has waited, reckoned from the timeout and how often it was doubled.
struct Wait {
    since_sent: Nanos,
    since_retransmitted: Nanos,
    next: Nanos,
}

impl Wait {
    fn of(network: &Network, next: Nanos) -> Option<Self> {
        let (rto, doubled) = (network.rto?, network.backoff?);
        // A timeout at its maximum does not show how often it was reached.
        let first = Nanos((rto.0 >> doubled.min(63)).max(RTO_MIN.0));
        let earlier: u64 = (0..doubled)
            .map(|step| first.0.saturating_mul(1 << step.min(32)).min(RTO_MAX.0))
            .sum();
        let since_sent = Nanos(earlier).plus(rto.since(next));
        Some(Self {
            since_sent,
            since_retransmitted: since_sent.since(first),
            next,
        })
    }

    /// The time left until `limit` after the first retransmission, and the timer's expiry: `retransmits_timed_out` is asked
    /// then, and counts from `retrans_stamp`.
    fn left(&self, limit: Nanos) -> Nanos {
        limit.since(self.since_retransmitted).max(self.next)
    }
}

/// When the kernel gives up. Known for the states in which a program has the socket: `tcp_write_timeout` has other limits
/// for connections that are being made and for those without a socket.
fn give_up(network: &Network, state: TcpState, retries: Option<u32>, wait: &Wait) -> Option<String> {
    if !matches!(state, TcpState::Established | TcpState::CloseWait) {
        return None;
    }
    let user_timeout = network.options.map(|options| options.user_timeout_ms);
    if let Some(limit @ 1..) = user_timeout {
        let limit = Nanos::from_millis(limit.into());
        let left = human(wait.left(limit));
        return Some(format!(
            "; the kernel gives up in about {left}, by TCP_USER_TIMEOUT ({})",
            human(limit)
        ));
    }
    let left = human(wait.left(model_timeout(retries?)));
    let unless = if user_timeout.is_none() {
        ", or after TCP_USER_TIMEOUT if set"
    } else {
        ""
    };
    Some(format!("; the kernel gives up in about {left}{unless}"))
}

/// The time from the first retransmission on after which so many are enough: `tcp_model_timeout`, net/ipv4/tcp_timer.c
/// (Linux 6.18), which reckons with a first timeout of `TCP_RTO_MIN` whatever the real one is. The maximum may be lowered since Linux
/// 6.15 (`tcp_rto_max_ms`), with an earlier end.
fn model_timeout(retries: u32) -> Nanos {
    let doublings = (RTO_MAX.0 / RTO_MIN.0).ilog2();
    let doubled = ((2 << retries.min(doublings)) - 1) * RTO_MIN.0;
    let rest = u64::from(retries.saturating_sub(doublings)) * RTO_MAX.0;
    Nanos(doubled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::network::SocketOptions;

    const RETRIES: Option<u32> = Some(15);

    fn running(purpose: TimerPurpose, expires_ms: u64) -> Timer {
        Timer::Running {
            purpose,
            expires_in: Nanos::from_millis(expires_ms),
        }
    }

    /// Seven timeouts of 200 ms, doubled each time.
    fn stuck() -> Network {
        Network {
            rto: Some(Nanos::from_millis(25_600)),
            backoff: Some(7),
            retransmits: Some(7),
            in_flight: Some(4),
            unacknowledged: Some(5_120),
            timer: Some(running(TimerPurpose::Retransmit, 12_800)),
            ..Network::default()
        }
    }

    fn with_user_timeout(user_timeout_ms: u32) -> Network {
        Network {
            options: Some(SocketOptions {
                user_timeout_ms,
                has_keepalive: false,
                keepalive_time_ms: 0,
                keepalive_interval_ms: 0,
                keepalive_probes: 0,
            }),
            ..stuck()
        }
    }

    #[test]
    fn the_limits_are_those_of_the_documentation() {
        // Documentation/networking/ip-sysctl.rst: 15 is a hypothetical timeout of 924.6 seconds.
        assert_eq!(model_timeout(15), Nanos::from_millis(924_600));
        assert_eq!(model_timeout(3), Nanos::from_millis(3_000));
        assert_eq!(model_timeout(0), RTO_MIN);
    }

    #[test]
    fn a_peer_that_does_not_acknowledge_is_waited_for_until_the_retries_are_used_up() {
        assert_eq!(
            sentence(&stuck(), TcpState::Established, RETRIES).as_deref(),
            Some(
                "The peer has not acknowledged 5.0K for about 38.2s: 7 timeouts, the next retransmission in 12.8s; the \
                 kernel gives up in about 14m46s, or after TCP_USER_TIMEOUT if set."
            )
        );
    }

    #[test]
    fn a_user_timeout_that_is_known_decides() {
        let text = |ms| sentence(&with_user_timeout(ms), TcpState::Established, RETRIES).expect("it waits");
        assert!(
            text(60_000).ends_with("gives up in about 22.0s, by TCP_USER_TIMEOUT (1m00s)."),
            "{}",
            text(60_000)
        );
        // The limit is looked at when the timer expires.
        assert!(
            text(30_000).contains("gives up in about 12.8s"),
            "{}",
            text(30_000)
        );
        assert!(text(0).ends_with("gives up in about 14m46s."), "{}", text(0));
    }

    #[test]
    fn no_end_is_forecast_where_another_limit_applies_or_none_is_known() {
        for (state, retries) in [
            (TcpState::SynSent, RETRIES),
            (TcpState::LastAck, RETRIES),
            (TcpState::Established, None),
        ] {
            let text = sentence(&stuck(), state, retries).expect("it waits");
            assert!(text.ends_with("the next retransmission in 12.8s."), "{text}");
        }
    }

    #[test]
    fn a_timeout_at_its_maximum_is_a_bound_and_no_panic() {
        let network = Network {
            rto: Some(RTO_MAX),
            backoff: Some(u8::MAX),
            ..stuck()
        };
        assert!(sentence(&network, TcpState::Established, RETRIES).is_some());
    }

    #[test]
    fn windows_probes_and_silence_have_their_sentences() {
        let of = |timer, probes, state| {
            let network = Network {
                timer: Some(timer),
                probes: Some(probes),
                not_sent: Some(3_782_144),
                retransmits: Some(0),
                in_flight: Some(0),
                unacknowledged: Some(512),
                ..Network::default()
            };
            sentence(&network, state, RETRIES)
        };
        let texts = [
            of(running(TimerPurpose::WindowProbe, 792), 2, TcpState::Established),
            of(running(TimerPurpose::Retransmit, 200), 0, TcpState::Established),
            of(running(TimerPurpose::KeepAlive, 7_000), 2, TcpState::Established),
            of(running(TimerPurpose::KeepAlive, 77_000), 0, TcpState::Established),
            of(Timer::Off, 0, TcpState::Established),
        ];
        let texts: Vec<String> = texts.into_iter().map(Option::unwrap_or_default).collect();
        insta::assert_snapshot!(texts.join("\n"));
        // The same timer ends an orphaned FIN_WAIT2.
        assert_eq!(
            of(running(TimerPurpose::KeepAlive, 1), 0, TcpState::FinWait2),
            None
        );
        assert_eq!(of(Timer::Off, 0, TcpState::CloseWait), None);
        assert_eq!(
            sentence(&Network::default(), TcpState::Established, RETRIES),
            None
        );
    }
}
