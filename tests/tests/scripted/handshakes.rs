//! Opening, and failing to: by which side, how slowly, and the states between the SYN and ESTABLISHED.

use crate::script::{Case, HOLD, SERVICE, Script, Session};
use std::{net::SocketAddr, time::Duration};
use tcptrace_tests::{
    clock::linger,
    host,
    peer::{Conversation, Flags, Segment},
    state::State,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("syn_recv_lasts_from_the_syn_to_the_ack", |script| {
        let mut connection = script.dialled();
        linger(Duration::from_millis(500));
        connection.send(Flags::ACK);
        connection.now(State::Established);
        script.accept(&mut connection);
        vec![connection]
    }),
    Case::new("a_connection_that_is_never_accepted_is_established", |script| {
        let mut connection = script.dialled();
        linger(HOLD);
        connection.send(Flags::ACK);
        connection.now(State::Established);
        linger(HOLD);
        connection.send(Flags::FIN_ACK);
        connection.now(State::CloseWait);
        vec![reset_by_the_listener_s_close(script, connection)]
    }),
    Case::new("both_open_at_once", |script| {
        let mut connection = script.connecting(|_| ());
        linger(HOLD);
        connection.send(Flags::SYN);
        connection.now(State::SynRecv);
        connection.expect(Flags::SYN_ACK);
        linger(HOLD);
        connection.send(Flags::ACK);
        connection.now(State::Established);
        vec![connection]
    }),
    Case::new(
        "a_connect_that_is_given_up_long_after_it_sent_a_reset",
        |script| {
            let mut connection = script.connecting(|_| ());
            answered_wrongly(script, &mut connection);
            linger(Duration::from_millis(700));
            connection.close();
            connection.ended(Some("cancelled"));
            vec![connection]
        },
    ),
    Case::new("a_syn_whose_ack_never_comes", |script| {
        let mut connection = script.dialled();
        // The first retransmission after 1 s, and 2 s for the response to it.
        connection.runs_out(
            Duration::from_secs(3),
            Duration::from_millis(3100),
            "handshake-abandoned",
        );
        vec![connection]
    })
    .with(&[("ipv4/tcp_synack_retries", "1")]),
    Case::new("a_handshake_that_the_peer_resets", |script| {
        let mut connection = script.dialled();
        linger(HOLD);
        connection.send(Flags::RST);
        connection.ended(Some("handshake-reset"));
        vec![connection]
    }),
    Case::new("a_listener_closed_over_a_handshake", |script| {
        let mut connection = script.dialled();
        linger(HOLD);
        script.close_listener();
        connection.still(State::SynRecv);
        // The request sock detects it at its next timer (`reqsk_timer_handler`).
        connection.runs_out(
            Duration::from_secs(1),
            Duration::from_millis(1100),
            "handshake-abandoned",
        );
        vec![connection]
    }),
    Case::new("a_listener_closed_over_an_unaccepted_connection", |script| {
        let mut connection = script.dialled();
        connection.send(Flags::ACK);
        connection.now(State::Established);
        vec![reset_by_the_listener_s_close(script, connection)]
    }),
    Case::new("deferred_accept_stays_in_syn_recv_past_the_ack", |script| {
        script.listen(|listener| {
            host::set_tcp_option(listener, libc::TCP_DEFER_ACCEPT, 5).expect("accepting can be deferred");
        });
        let mut connection = script.dialled();
        linger(HOLD);
        connection.send(Flags::ACK);
        connection.still(State::SynRecv);
        linger(HOLD);
        connection.send_data(b"request");
        connection.now(State::Established);
        script.accept(&mut connection);
        vec![connection]
    }),
    Case::new("a_syn_cookie_has_no_syn_recv", |script| {
        script.listen(|_| ());
        let mut connection = Session::of_peer(script.conversation());
        connection.send(Flags::SYN);
        connection.expect(Flags::SYN_ACK);
        linger(HOLD);
        connection.send(Flags::ACK);
        connection.passed(State::SynRecv);
        connection.now(State::Established);
        script.accept(&mut connection);
        vec![connection]
    })
    .with(&[("ipv4/tcp_syncookies", "2")]),
    Case::new("fast_open_holds_syn_recv_in_a_full_sock", fast_open).with(&[("ipv4/tcp_fastopen", "2")]),
    Case::new("a_syn_to_a_closed_port_is_no_connection", |script| {
        let mut wire = script.conversation();
        wire.send(Flags::SYN);
        wire.expect(Flags::RST_ACK);
        // The listener's event comes after any event of the SYN.
        script.listen(|_| ());
        Vec::new()
    }),
];

fn fast_open(script: &mut Script) -> Vec<Session> {
    script.listen(|listener| {
        host::set_tcp_option(listener, libc::TCP_FASTOPEN, 5).expect("a listener can take Fast Open");
    });
    let service = SocketAddr::new(script.family.host(), SERVICE);
    let mut asking = Session::of_peer(Conversation::new(&script.peer, 5001, service)).named("cookie request");
    let mut request = asking.wire.segment(Flags::SYN);
    request.options.fast_open = Some(Vec::new());
    asking.transmit(&request);
    asking.now(State::SynRecv);
    let cookie = asking.expect(Flags::SYN_ACK).options.fast_open;
    linger(HOLD);
    asking.send(Flags::RST);
    asking.ended(Some("handshake-reset"));

    let mut connection = Session::of_peer(script.conversation());
    let mut opening = Segment {
        payload: b"request".to_vec(),
        ..connection.wire.segment(Flags::SYN)
    };
    opening.options.fast_open = Some(cookie.expect("the kernel gives a Fast Open cookie"));
    connection.transmit(&opening);
    connection.now(State::SynRecv);
    script.accept(&mut connection);
    let answer = connection.expect(Flags::SYN_ACK);
    assert_eq!(
        answer.ack,
        opening.seq.wrapping_add(opening.length()),
        "the data is acknowledged with the SYN"
    );
    // Longer than a tracer could take for the duration of a handshake.
    linger(Duration::from_millis(700));
    connection.send(Flags::ACK);
    connection.now(State::Established);
    vec![asking, connection]
}

/// The peer acknowledges what was never sent: the kernel responds with a RST, and continues.
fn answered_wrongly(script: &Script, connection: &mut Session) {
    linger(HOLD);
    let right = connection.wire.segment(Flags::SYN_ACK);
    script.peer.transmit(&Segment {
        ack: right.ack.wrapping_add(1_000),
        ..right
    });
    connection.wire.expect_reset();
    connection.still(State::SynSent);
}

/// No process will accept the connection any more: the kernel resets it.
fn reset_by_the_listener_s_close(script: &mut Script, mut connection: Session) -> Session {
    linger(HOLD);
    connection.last = script.close_listener().expect("the case listens");
    connection.wire.expect_reset();
    connection.ended(Some("reset-sent"));
    connection
}
