//! States that the kernel ends because nobody answers.

use crate::script::{Case, HOLD, Script, Session};
use socket2::TcpKeepalive;
use std::time::Duration;
use tcptrace_tests::{clock::linger, host, peer::Flags, state::State};

pub(crate) const CASES: &[Case] = &[
    Case::new("connect_times_out", |script| {
        let mut connection = script.connecting(|socket| {
            host::set_tcp_option(socket, libc::TCP_SYNCNT, 1).expect("TCP_SYNCNT can be set");
        });
        // Kernels from 6.5 add four retries of a second each (`tcp_syn_linear_timeouts`).
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
        connection.close();
        connection.now(State::FinWait1);
        connection.send(Flags::FIN_ACK);
        connection.now(State::Closing);
        vec![orphan_times_out(connection)]
    })
    .with(&[("ipv4/tcp_orphan_retries", "1")]),
    Case::new("last_ack_times_out", |script| {
        let mut connection = script.connected();
        connection.send(Flags::FIN_ACK);
        connection.now(State::CloseWait);
        linger(HOLD);
        connection.close();
        connection.now(State::LastAck);
        vec![orphan_times_out(connection)]
    })
    .with(&[("ipv4/tcp_orphan_retries", "1")]),
    Case::new("fin_wait2_of_a_closed_descriptor_times_out", |script| {
        let mut connection = orphan_in_fin_wait2(script);
        connection.runs_out(Duration::from_secs(2), Duration::from_millis(2100), "fin-timeout");
        vec![connection]
    })
    .with(&[("ipv4/tcp_fin_timeout", "2")]),
    Case::new("fin_wait2_times_out_through_both_of_its_timers", |script| {
        let mut connection = orphan_in_fin_wait2(script);
        // Beyond 60 s the rest is waited for in the full sock first, then once more in a timewait sock
        // (`tcp_rcv_state_process` and `tcp_keepalive_timer`): 3 s and 3 s.
        connection.runs_out(Duration::from_secs(6), Duration::from_millis(6300), "fin-timeout");
        vec![connection]
    })
    .with(&[("ipv4/tcp_fin_timeout", "63")]),
];

fn orphan_in_fin_wait2(script: &Script) -> Session {
    let mut connection = script.connected();
    connection.close();
    connection.now(State::FinWait1);
    connection.expect(Flags::FIN_ACK);
    linger(HOLD);
    connection.send(Flags::ACK);
    connection.now(State::FinWait2);
    connection
}

/// The FIN is sent once more and then no more, each after a retransmission timeout of 200 ms or more.
fn orphan_times_out(mut connection: Session) -> Session {
    connection.runs_out(Duration::from_millis(200), Duration::from_secs(5), "timeout");
    connection
}
