//! What the evidence on a connection means, as one sentence: what it waits for, for how long, and when the kernel gives
//! up.

use super::bytes::human_bytes;
use crate::{
    duration::human,
    event::TcpState,
    plural::counted,
    socket::{
        network::{Network, Timer, TimerPurpose},
        patience::{self, End, Limit, Limits},
    },
};

/// What the network is doing to a connection; `None` if that is nothing worth a sentence. `limits` are those of its
/// namespace.
pub(crate) fn sentence(
    network: &Network,
    state: TcpState,
    is_orphan: bool,
    limits: &Limits,
) -> Option<String> {
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
    let end = patience::end(network, state, Some(is_orphan), limits);
    let gives_up = end.map(gives_up);
    let or_nothing = || gives_up.as_deref().unwrap_or_default();
    Some(match purpose {
        TimerPurpose::Retransmit if timeouts > 0 => {
            let what = match network.unacknowledged? {
                0 => "a segment".to_owned(),
                bytes => human_bytes(bytes.into()),
            };
            format!(
                "The peer has not acknowledged {what} for about {}: {}, the next retransmission in {next}{}.",
                human(patience::unacknowledged_for(network, limits)?),
                counted(timeouts, "timeout"),
                or_nothing(),
            )
        }
        TimerPurpose::Retransmit => format!(
            "{} sent and not acknowledged yet; retransmission in {next}.",
            human_bytes(network.unacknowledged?.into())
        ),
        TimerPurpose::WindowProbe if network.cannot_send() => format!(
            "Nothing can be sent, although the peer's window is open: no route, a link that is down, or a full queue of \
             this host; {} wait, {} in a row failed, the next in {next}{}.",
            human_bytes(network.not_sent?.into()),
            counted(probes, "attempt"),
            or_nothing(),
        ),
        TimerPurpose::WindowProbe => format!(
            "The peer's window is closed: {} wait, {} unanswered, the next in {next}{}.",
            human_bytes(network.not_sent?.into()),
            counted(probes, "probe"),
            match gives_up.as_deref() {
                Some(end) => end,
                None if is_orphan => "",
                None if network.options.is_some() =>
                    "; as long as the peer answers probes, the kernel does not give up",
                None =>
                    "; as long as the peer answers probes, the kernel does not give up, or only after TCP_USER_TIMEOUT if set",
            },
        ),
        TimerPurpose::KeepAlive if probes > 0 => format!(
            "The peer has not answered {} of keep-alive; the next in {next}{}.",
            counted(probes, "probe"),
            or_nothing(),
        ),
        TimerPurpose::KeepAlive if state == TcpState::Established => {
            format!("Keep-alive checks the peer in {next}, unless it sends something before.")
        }
        TimerPurpose::KeepAlive => return None,
    })
}

fn gives_up(end: End) -> String {
    let left = human(end.left);
    match end.by {
        Limit::UserTimeout(limit) => {
            format!(
                "; the kernel gives up in about {left}, by TCP_USER_TIMEOUT ({})",
                human(limit)
            )
        }
        by if !by.is_certain() => {
            format!("; the kernel gives up in about {left}, or after TCP_USER_TIMEOUT if set")
        }
        Limit::Retries { .. } | Limit::OrphanRetries { .. } | Limit::KeepAlive => {
            format!("; the kernel gives up in about {left}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Nanos,
        socket::network::{Network, SocketOptions},
    };

    const LIMITS: Limits = Limits {
        retries: Some(15),
        orphan_retries: Some(0),
        keepalive_time_s: None,
        keepalive_interval_s: None,
        keepalive_probes: None,
        rto_max_ms: None,
    };

    fn running(purpose: TimerPurpose, expires_ms: u64) -> Timer {
        Timer::Running {
            purpose,
            expires_in: Nanos::from_millis(expires_ms),
        }
    }

    fn said(network: Network, state: TcpState) -> Option<String> {
        sentence(&network, state, false, &LIMITS)
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
                rto_max_ms: None,
                has_keepalive: false,
                keepalive_time_ms: 0,
                keepalive_interval_ms: 0,
                keepalive_probes: 0,
                port_range: None,
            }),
            ..stuck()
        }
    }

    #[test]
    fn a_peer_that_does_not_acknowledge_is_waited_for_until_the_retries_are_used_up() {
        assert_eq!(
            said(stuck(), TcpState::Established).as_deref(),
            Some(
                "The peer has not acknowledged 5.0K for about 38.2s: 7 timeouts, the next retransmission in 12.8s; the \
                 kernel gives up in about 14m46s, or after TCP_USER_TIMEOUT if set."
            )
        );
    }

    #[test]
    fn a_user_timeout_that_is_known_decides() {
        let text = |ms| said(with_user_timeout(ms), TcpState::Established).expect("it waits");
        let end = "gives up in about 22.0s, by TCP_USER_TIMEOUT (1m00s).";
        assert!(text(60_000).ends_with(end), "{}", text(60_000));
        assert!(text(0).ends_with("gives up in about 14m46s."), "{}", text(0));
    }

    #[test]
    fn an_orphan_may_have_a_user_timeout_too() {
        let text = sentence(&stuck(), TcpState::LastAck, true, &LIMITS).expect("it waits");
        assert!(text.ends_with(", or after TCP_USER_TIMEOUT if set."), "{text}");
    }

    #[test]
    fn no_end_is_forecast_where_another_limit_applies() {
        let text = said(stuck(), TcpState::SynSent).expect("it waits");
        assert!(text.ends_with("the next retransmission in 12.8s."), "{text}");
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
                rto: Some(Nanos::from_millis(200)),
                backoff: Some(3),
                ..Network::default()
            };
            said(network, state)
        };
        let texts = [
            of(running(TimerPurpose::WindowProbe, 792), 0, TcpState::Established),
            of(running(TimerPurpose::WindowProbe, 792), 2, TcpState::Established),
            of(running(TimerPurpose::Retransmit, 200), 0, TcpState::Established),
            of(running(TimerPurpose::KeepAlive, 7_000), 2, TcpState::Established),
            of(running(TimerPurpose::KeepAlive, 77_000), 0, TcpState::Established),
            of(Timer::Off, 0, TcpState::Established),
        ];
        let network = Network {
            timer: Some(running(TimerPurpose::WindowProbe, 5_000)),
            probes: Some(5),
            not_sent: Some(100),
            send_window: Some(65_536),
            mss: Some(1_448),
            rto: Some(Nanos::from_millis(200)),
            backoff: Some(5),
            ..Network::default()
        };
        let unsent = said(network, TcpState::Established);
        let texts = texts.into_iter().chain([unsent]);
        let texts: Vec<String> = texts.map(Option::unwrap_or_default).collect();
        insta::assert_snapshot!(texts.join("\n"));
        // The same timer ends an orphaned FIN_WAIT2.
        assert_eq!(
            of(running(TimerPurpose::KeepAlive, 1), 0, TcpState::FinWait2),
            None
        );
        assert_eq!(of(Timer::Off, 0, TcpState::CloseWait), None);
        assert_eq!(said(Network::default(), TcpState::Established), None);
    }
}
