//! Why connections end.

use super::*;

fn failed(old: TcpState, error: u32) -> Input {
    state_event(old, TcpState::Close, error, false, false)
}

/// Why a connection in `known` ends by `inputs`.
fn why(known: TcpState, inputs: &[(u64, Input)]) -> Option<EndReason> {
    let outcomes = run(&mut ConnectionState::new(known, Since::at(at(0))), inputs);
    assert_eq!(
        path(&outcomes).last().map(|(state, _)| *state),
        Some(TcpState::Close)
    );
    reason(&outcomes)
}

#[test]
fn a_reset_from_long_before_explains_no_end() {
    let orderly = |first: u64, reset| {
        [
            (first, reset),
            (1_000, failed(LastAck, 0)),
            (1_003, Input::Release),
        ]
    };
    for reset in [
        Input::from(EventData::ResetSent(None)),
        Input::from(EventData::ResetReceived),
        Input::from(EventData::TimewaitFull),
    ] {
        assert_eq!(why(LastAck, &orderly(10, reset)), None);
        assert!(why(LastAck, &orderly(1_000, reset)).is_some());
    }
    // The answer to a SYN-ACK that fits no SYN, and then the handshake.
    let handshake = [
        (5, Input::from(EventData::ResetSent(None))),
        (5, event_of(SynSent, Established)),
        (5, failed(Established, 0)),
        (8, Input::Release),
    ];
    assert_eq!(why(SynSent, &handshake), None);
    assert_eq!(
        why(
            SynSent,
            &[
                (5, Input::from(EventData::ResetSent(None))),
                (5, failed(SynSent, 0))
            ]
        ),
        None
    );
}

#[test]
fn an_error_explains_the_end_that_it_makes_and_no_orderly_one() {
    const REFUSED: u32 = 111;
    const NO_PROTOCOL: u32 = 92;
    const HOST_UNREACHABLE: u32 = 113;
    for (error, kind) in [
        (REFUSED, NetworkError::Port),
        (NO_PROTOCOL, NetworkError::Protocol),
        (HOST_UNREACHABLE, NetworkError::Host),
    ] {
        let unreachable = Some(EndReason::Unreachable(kind));
        assert_eq!(why(SynSent, &[(5, failed(SynSent, error))]), unreachable);
        // An ICMP error, and then nobody answered.
        for state in [Established, FinWait1, CloseWait, SynRecv] {
            assert_eq!(
                why(state, &[(5, failed(state, error)), (8, Input::Release)]),
                unreachable
            );
        }
        // What is not acknowledged has an error still; an old one (IP_RECVERR) is not reported of an orderly end.
        assert_eq!(why(LastAck, &[(5, failed(LastAck, error))]), unreachable);
        assert_eq!(why(LastAck, &[(5, failed(LastAck, 0))]), None);
        // Or it closed without reading everything.
        let aborted = [
            (5, failed(Established, error)),
            (5, Input::from(EventData::ResetSent(None))),
        ];
        assert_eq!(why(Established, &aborted), Some(EndReason::ResetSent));
    }
    let refused = [
        (5, Input::from(EventData::ResetReceived)),
        (5, failed(SynSent, REFUSED)),
    ];
    assert_eq!(why(SynSent, &refused), Some(EndReason::ResetReceived));
    let mut state = ConnectionState::new(SynSent, Since::at(at(0)));
    let outcome = step(&mut state, failed(SynSent, REFUSED), at(5), lossy(at(4)));
    assert_eq!(reason(&[outcome]), None, "the RST may have been lost");
}

#[test]
fn a_connect_ends_as_the_kernel_s_evidence_shows() {
    const TIMED_OUT: u32 = 110;
    let given_up = |error| Input::Event {
        data: EventData::State {
            old: SynSent,
            new: TcpState::Close,
            error,
            fin_received: false,
            is_orphan: false,
            bytes: Bytes::default(),
            path: PathStats::default(),
        },
        otherwise: Some(EndReason::Cancelled),
        polled: None,
    };
    let why = |inputs: &[(u64, Input)]| why(SynSent, inputs);
    assert_eq!(why(&[(2_000, given_up(0))]), Some(EndReason::Cancelled));
    assert_eq!(why(&[(2_000, given_up(TIMED_OUT))]), Some(EndReason::Timeout));
    for (error, kind) in [
        (13, NetworkError::Access),
        (64, NetworkError::HostIsolated),
        (71, NetworkError::Parameter),
        (92, NetworkError::Protocol),
        (95, NetworkError::SourceRoute),
        (101, NetworkError::Network),
        (111, NetworkError::Port),
        (112, NetworkError::HostUnknown),
        (113, NetworkError::Host),
    ] {
        let reason = why(&[(2_000, given_up(error))]);
        assert_eq!(reason, Some(EndReason::Unreachable(kind)));
    }
    let reset = [(5, Input::from(EventData::ResetReceived)), (5, given_up(111))];
    assert_eq!(why(&reset), Some(EndReason::ResetReceived));
    // A RST of ours, long before or in the same moment, is no answer to the program.
    let after_a_reset = [(5, Input::from(EventData::ResetSent(None))), (900, given_up(0))];
    assert_eq!(why(&after_a_reset), Some(EndReason::Cancelled));
}

#[test]
fn a_socket_that_was_destroyed_is_not_one_that_was_reset() {
    const ABORTED: u32 = 103;
    for state in [
        SynSent,
        Established,
        CloseWait,
        FinWait1,
        FinWait2,
        Closing,
        LastAck,
    ] {
        let inputs = [
            (5, Input::from(EventData::ResetSent(None))),
            (5, failed(state, ABORTED)),
        ];
        assert_eq!(why(state, &inputs), Some(EndReason::Destroyed));
        assert_eq!(why(state, &inputs[1..]), Some(EndReason::Destroyed));
    }
}
