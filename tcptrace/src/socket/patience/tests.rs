//! How long is waited, and until when, on evidence as the kernel reports it.

use super::*;

const LIMITS: Limits = Limits {
    retries: Some(15),
    orphan_retries: Some(0),
    keepalive_time_s: Some(7_200),
    keepalive_interval_s: Some(75),
    keepalive_probes: Some(9),
    rto_max_ms: None,
};

const OPTIONS: SocketOptions = SocketOptions {
    user_timeout_ms: 0,
    rto_max_ms: None,
    has_keepalive: false,
    keepalive_time_ms: 0,
    keepalive_interval_ms: 0,
    keepalive_probes: 0,
    port_range: None,
};

fn running(purpose: TimerPurpose, expires_ms: u64) -> Timer {
    Timer::Running {
        purpose,
        expires_in: Nanos::from_millis(expires_ms),
    }
}

/// Timeouts that began with `first_ms` and were doubled so many times, the next of them in `expires_ms`.
fn retransmitting(first_ms: u64, doublings: u8, expires_ms: u64) -> Network {
    Network {
        rto: Some(Nanos::from_millis(first_ms << doublings)),
        backoff: Some(doublings),
        retransmits: Some(doublings),
        timer: Some(running(TimerPurpose::Retransmit, expires_ms)),
        ..Network::default()
    }
}

fn probing(doublings: u8, unanswered: u8, expires_ms: u64) -> Network {
    Network {
        rto: Some(RTO_MIN),
        backoff: Some(doublings),
        probes: Some(unanswered),
        timer: Some(running(TimerPurpose::WindowProbe, expires_ms)),
        ..Network::default()
    }
}

fn left_ms(network: &Network, state: TcpState, is_orphan: Option<bool>, limits: &Limits) -> Option<u64> {
    end(network, state, is_orphan, limits).map(|end| end.left.0 / 1_000_000)
}

#[test]
fn the_limits_are_those_of_the_documentation() {
    // Documentation/networking/ip-sysctl.rst: 15 is a hypothetical timeout of 924.6 seconds.
    assert_eq!(model_timeout(15, RTO_MAX), Nanos::from_millis(924_600));
    assert_eq!(model_timeout(3, RTO_MAX), Nanos::from_millis(3_000));
    assert_eq!(model_timeout(0, RTO_MAX), RTO_MIN);
}

#[test]
fn the_end_is_an_expiry_of_the_timer_and_not_the_limit_itself() {
    let limits = |retries| Limits {
        retries: Some(retries),
        ..LIMITS
    };
    // Retransmitted at 0, 408, 1,224 and 2,856 ms; the limit of 3 s is checked at 6,120 ms.
    let network = retransmitting(204, 1, 408);
    let left = |retries| left_ms(&network, TcpState::Established, None, &limits(retries));
    assert_eq!(left(3), Some(6_120));
    // The limit of 25.4 s is checked at 25.7 s.
    assert_eq!(left(6), Some(25_704));
    // Timers run late, so that one due at 25.2 s does not miss it.
    let exact = retransmitting(200, 1, 400);
    assert_eq!(
        left_ms(&exact, TcpState::Established, None, &limits(6)),
        Some(25_200)
    );
    // The same end, seen later.
    let later = retransmitting(204, 5, 1_000);
    assert_eq!(
        left_ms(&later, TcpState::Established, None, &limits(6)),
        Some(25_704 - 408 * 31 + 1_000)
    );
}

#[test]
fn what_has_passed_is_the_sum_of_the_timeouts() {
    let network = retransmitting(200, 7, 12_800);
    assert_eq!(
        unacknowledged_for(&network, &LIMITS),
        Some(Nanos::from_millis(38_200))
    );
    let unsent = Network {
        retransmits: Some(0),
        ..network
    };
    assert_eq!(unacknowledged_for(&unsent, &LIMITS), None);
}

#[test]
fn doublings_that_icmp_errors_take_back_keep_the_interval() {
    // Measured on a host whose neighbour does not answer ARP: tcp_retries2 6, 12.3 s after the first retransmission.
    let network = Network {
        retransmits: Some(8),
        recoveries: Some(Recoveries {
            count: 1,
            total: Nanos::from_millis(12_300),
        }),
        ..retransmitting(204, 4, 3_028)
    };
    let limits = Limits {
        retries: Some(6),
        ..LIMITS
    };
    let left = |network: &Network| left_ms(network, TcpState::Established, None, &limits);
    assert_eq!(left(&network), Some(3_028 + 4 * 3_264));
    assert_eq!(
        unacknowledged_for(&network, &LIMITS),
        Some(Nanos::from_millis(12_504))
    );
    // Of an older kernel: four timeouts as long as the present one.
    let older = Network {
        recoveries: None,
        ..network
    };
    let computed = 204 * 15 + 4 * 3_264 + 3_264 - 3_028;
    assert_eq!(
        unacknowledged_for(&older, &LIMITS),
        Some(Nanos::from_millis(computed))
    );
    // Where there were other recoveries, their sum is a bound.
    let second = Network {
        recoveries: Some(Recoveries {
            count: 2,
            total: Nanos::from_millis(13_000),
        }),
        ..network
    };
    assert_eq!(
        unacknowledged_for(&second, &LIMITS),
        Some(Nanos::from_millis(13_204))
    );
}

#[test]
fn a_user_timeout_ends_it_exactly_and_shortens_the_timer() {
    let of = |network: Network, user_timeout_ms| Network {
        options: Some(SocketOptions {
            user_timeout_ms,
            ..OPTIONS
        }),
        ..network
    };
    let left = |network: &Network| left_ms(network, TcpState::CloseWait, None, &LIMITS);
    // The last retransmission was 2,800 ms after the first, and 1,000 ms of its timeout have passed.
    assert_eq!(left(&of(retransmitting(200, 4, 2_200), 10_000)), Some(6_200));
    // The timer was set to the 200 ms that were left.
    assert_eq!(left(&of(retransmitting(200, 4, 150), 3_000)), Some(150));
    // Window probes: 400 + 800 ms after the first one.
    assert_eq!(left(&of(probing(3, 0, 1_600), 10_000)), Some(8_800));
}

#[test]
fn an_orphan_has_its_own_limit() {
    let network = retransmitting(200, 4, 3_200);
    let left = |is_orphan| left_ms(&network, TcpState::FinWait1, is_orphan, &LIMITS);
    // 8 retries are 102.2 s; 2,800 ms have passed, and 102,000 ms is an expiry.
    assert_eq!(left(Some(true)), Some(102_000 - 2_800));
    assert!(left(Some(false)) > Some(900_000));
    assert_eq!(left(None), None);
    let by = |network: &Network| {
        let end = end(network, TcpState::LastAck, Some(true), &LIMITS)?;
        Some((end.by.name(), end.by.is_certain()))
    };
    assert_eq!(by(&network), Some(("tcp_orphan_retries", false)));
    let known = Network {
        options: Some(OPTIONS),
        ..network
    };
    assert_eq!(by(&known), Some(("tcp_orphan_retries", true)));
}

#[test]
fn an_orphan_whose_timeout_is_at_its_maximum_has_no_retries_left_by_default() {
    let limits = |orphan_retries| Limits {
        orphan_retries: Some(orphan_retries),
        rto_max_ms: Some(1_000),
        ..LIMITS
    };
    let left =
        |network: &Network, retries| left_ms(network, TcpState::FinWait1, Some(true), &limits(retries));
    // Retransmitted at 0, 400, 1,200 and 2,200 ms.
    assert_eq!(left(&retransmitting(200, 1, 400), 0), Some(2_200));
    // 8 retries are 7.4 s: at 8,200 ms.
    assert_eq!(left(&retransmitting(200, 1, 400), 8), Some(8_200));
}

#[test]
fn an_orphan_is_given_up_although_its_probes_are_answered() {
    let limits = |orphan_retries, retries, rto_max_ms| Limits {
        orphan_retries: Some(orphan_retries),
        retries: Some(retries),
        rto_max_ms,
        ..LIMITS
    };
    let left = |limits| left_ms(&probing(0, 0, 200), TcpState::FinWait1, Some(true), &limits);
    // Measured on Linux 6.18 from close on: 2.3 s, 7.4 s, and no end within a minute.
    assert_eq!(left(limits(0, 15, Some(1_000))), Some(2_400));
    assert_eq!(left(limits(8, 15, Some(1_000))), Some(7_400));
    assert_eq!(left(limits(0, 3, None)), None);
    // By default at the first expiry after 120 s.
    assert_eq!(left(limits(0, 15, None)), Some(102_200 + 102_400 + 120_000));
    // With a user timeout, what comes first.
    let timed = |user_timeout_ms| {
        let network = Network {
            options: Some(SocketOptions {
                user_timeout_ms,
                ..OPTIONS
            }),
            ..probing(0, 0, 200)
        };
        let end = end(
            &network,
            TcpState::FinWait1,
            Some(true),
            &limits(0, 15, Some(1_000)),
        );
        end.map(|end| (end.by.name(), end.left.0 / 1_000_000))
    };
    assert_eq!(timed(3_600_000), Some(("tcp_orphan_retries", 2_400)));
    assert_eq!(timed(1_500), Some(("TCP_USER_TIMEOUT", 1_500)));
    // Without answers the number of probes ends it.
    let silent = left_ms(&probing(1, 1, 400), TcpState::FinWait1, Some(true), &LIMITS);
    assert_eq!(
        silent,
        Some(400 + 800 + 1_600 + 3_200 + 6_400 + 12_800 + 25_600 + 51_200)
    );
}

#[test]
fn doublings_of_an_earlier_segment_are_not_this_one_s() {
    // Three doublings outlived a recovery: this segment's first timeout was 1.6 s.
    let network = Network {
        retransmits: Some(2),
        ..retransmitting(200, 5, 6_400)
    };
    assert_eq!(
        unacknowledged_for(&network, &LIMITS),
        Some(Nanos::from_millis(1_600 + 3_200))
    );
}

#[test]
fn a_peer_that_answers_probes_is_waited_for_without_end() {
    let left = |network: &Network| left_ms(network, TcpState::Established, None, &LIMITS);
    assert_eq!(left(&probing(5, 0, 1_000)), None);
    let limits = Limits {
        retries: Some(6),
        ..LIMITS
    };
    // Two more probes; the timeout is doubled as often as there are retries.
    assert_eq!(
        left_ms(&probing(5, 4, 1_000), TcpState::Established, None, &limits),
        Some(1_000 + 12_800 + 12_800)
    );
}

#[test]
fn keep_alive_ends_by_the_number_of_its_probes_or_by_the_user_timeout() {
    let of = |probes, options| Network {
        probes: Some(probes),
        options,
        timer: Some(running(TimerPurpose::KeepAlive, 4_000)),
        ..Network::default()
    };
    let own = SocketOptions {
        has_keepalive: true,
        keepalive_time_ms: 10_000,
        keepalive_interval_ms: 5_000,
        keepalive_probes: 3,
        ..OPTIONS
    };
    let left = |network: &Network| left_ms(network, TcpState::Established, None, &LIMITS);
    assert_eq!(left(&of(1, Some(own))), Some(14_000));
    assert_eq!(left(&of(1, Some(OPTIONS))), Some(4_000 + 8 * 75_000));
    let timed = SocketOptions {
        user_timeout_ms: 21_000,
        ..own
    };
    // At 15 s it has not passed, at 20 s neither; at 25 s it has.
    assert_eq!(left(&of(1, Some(timed))), Some(14_000));
    // Idle, and options unknown.
    assert_eq!(left(&of(0, Some(own))), None);
    assert_eq!(left(&of(1, None)), None);
}

#[test]
fn nothing_is_forecast_where_another_limit_applies_or_none_is_known() {
    let network = retransmitting(200, 4, 100);
    for state in [TcpState::SynSent, TcpState::SynRecv, TcpState::FinWait2] {
        assert_eq!(end(&network, state, Some(false), &LIMITS), None);
    }
    assert_eq!(
        end(&network, TcpState::Established, None, &Limits::default()),
        None
    );
    let most = Network {
        rto: Some(RTO_MAX),
        backoff: Some(u8::MAX),
        ..network
    };
    assert!(end(&most, TcpState::Established, None, &LIMITS).is_some());
    assert_eq!(
        end(&Network::default(), TcpState::Established, None, &LIMITS),
        None
    );
}

#[test]
fn a_lower_maximum_of_the_timeout_ends_a_connection_sooner() {
    // 200 ms is doubled twice, to 800 ms; every timeout after that is 1 s.
    let limits = Limits {
        rto_max_ms: Some(1_000),
        ..LIMITS
    };
    let network = Network {
        rto: Some(Nanos::from_secs(1)),
        ..retransmitting(200, 4, 1_000)
    };
    let left = |limits| end(&network, TcpState::Established, None, limits).map(|end| end.left);
    assert_eq!(left(&limits), Some(Nanos::from_secs(12)));
    assert!(left(&LIMITS) > Some(Nanos::from_secs(900)));
    // What the socket has counts, whatever the setting is by now.
    let of_socket = |rto_max_ms| Network {
        options: Some(SocketOptions {
            rto_max_ms,
            ..OPTIONS
        }),
        ..network
    };
    let left =
        |network: &Network, limits| end(network, TcpState::Established, None, limits).map(|end| end.left);
    assert_eq!(left(&of_socket(Some(1_000)), &LIMITS), Some(Nanos::from_secs(12)));
    assert!(left(&of_socket(Some(120_000)), &limits) > Some(Nanos::from_secs(900)));
    assert_eq!(left(&of_socket(None), &limits), Some(Nanos::from_secs(12)));
}
