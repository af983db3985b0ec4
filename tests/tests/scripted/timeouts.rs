//! States that the kernel ends because the peer does not respond.

use crate::{
    closes::close_to_last_ack,
    script::{Case, HOLD, Session},
};
use socket2::TcpKeepalive;
use std::time::Duration;
use tcptrace_tests::{
    clock::linger,
    host,
    peer::{Flags, Unreachable},
    state::State,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("connect_times_out", |script| {
        let mut connection = script.connecting(|socket| {
            host::set_tcp_option(socket, libc::TCP_SYNCNT, 1).expect("TCP_SYNCNT can be set");
        });
        // Kernels from 6.5 add four retransmissions at intervals of a second (`tcp_syn_linear_timeouts`).
        connection.runs_out(Duration::from_secs(3), Duration::from_secs(8), "timeout");
        vec![connection]
    }),
    Case::new("keep_alive_times_out", |script| {
        let second = Duration::from_secs(1);
        let keepalive = TcpKeepalive::new()
            .with_time(second)
            .with_interval(second)
            .with_retries(1);
        let mut connection = script.connected_with(|socket| {
            socket
                .set_tcp_keepalive(&keepalive)
                .expect("a socket can be kept alive");
        });
        connection.runs_out(Duration::from_secs(2), Duration::from_millis(2300), "timeout");
        vec![connection]
    }),
    Case::new("unacknowledged_data_times_out", |script| {
        let mut connection = script.connected_with(|socket| {
            socket
                .set_tcp_user_timeout(Some(Duration::from_secs(1)))
                .expect("TCP_USER_TIMEOUT can be set");
        });
        linger(HOLD);
        connection.write(b"request");
        connection.runs_out(Duration::from_secs(1), Duration::from_secs(3), "timeout");
        vec![connection]
    }),
    Case::new("fin_wait1_times_out", |script| {
        let mut connection = script.connected();
        connection.close();
        connection.now(State::FinWait1);
        vec![orphan_times_out(connection)]
    })
    .with(&[("ipv4/tcp_orphan_retries", "1")]),
    Case::new("closing_times_out", |script| {
        let mut connection = script.connected();
        connection.reach_closing();
        vec![orphan_times_out(connection)]
    })
    .with(&[("ipv4/tcp_orphan_retries", "1")]),
    Case::new("last_ack_times_out", |script| {
        let mut connection = script.connected();
        close_to_last_ack(&mut connection);
        vec![orphan_times_out(connection)]
    })
    .with(&[("ipv4/tcp_orphan_retries", "1")]),
    Case::new("fin_wait1_is_unreachable", |script| {
        let mut connection = script.connected();
        connection.close();
        connection.now(State::FinWait1);
        vec![orphan_is_unreachable(connection)]
    })
    .with(&[("ipv4/tcp_orphan_retries", "1")]),
    Case::new("last_ack_is_unreachable", |script| {
        let mut connection = script.connected();
        close_to_last_ack(&mut connection);
        vec![orphan_is_unreachable(connection)]
    })
    .with(&[("ipv4/tcp_orphan_retries", "1")]),
    Case::new("fin_wait2_of_a_closed_descriptor_times_out", |script| {
        let mut connection = script.in_fin_wait2(Session::close);
        connection.runs_out(Duration::from_secs(2), Duration::from_millis(2100), "fin-timeout");
        vec![connection]
    })
    .with(&[("ipv4/tcp_fin_timeout", "2")]),
    Case::new("fin_wait2_times_out_through_both_of_its_timers", |script| {
        let mut connection = script.in_fin_wait2(Session::close);
        // The time beyond 60 s passes in the full sock first, then again in a timewait sock (`tcp_rcv_state_process`
        // and `tcp_keepalive_timer`): 3 s and 3 s.
        connection.runs_out(Duration::from_secs(6), Duration::from_millis(6300), "fin-timeout");
        vec![connection]
    })
    .with(&[("ipv4/tcp_fin_timeout", "63")]),
];

/// The FIN gets an ICMP error in response, and is retransmitted nevertheless.
fn orphan_is_unreachable(mut connection: Session) -> Session {
    let fin = connection.expect(Flags::FIN_ACK);
    connection.refuse(&fin, Unreachable::Host);
    connection.runs_out(
        Duration::from_millis(200),
        Duration::from_secs(5),
        "unreachable (EHOSTUNREACH)",
    );
    connection
}

/// The FIN is retransmitted once, each time after a retransmission timeout of 200 ms or more.
fn orphan_times_out(mut connection: Session) -> Session {
    connection.runs_out(Duration::from_millis(200), Duration::from_secs(5), "timeout");
    connection
}
