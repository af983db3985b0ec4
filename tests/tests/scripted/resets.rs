//! Each state ended by a reset, received or sent.

use crate::{
    closes::closed_first,
    script::{Case, HOLD, Session},
};
use std::time::Duration;
use tcptrace_tests::{clock::linger, host, peer::Flags, state::State};

pub(crate) const CASES: &[Case] = &[
    Case::new("established_is_reset", |script| {
        let connection = script.connected();
        vec![reset(connection)]
    }),
    Case::new("an_accepted_connection_is_reset", |script| {
        let connection = script.accepted();
        vec![reset(connection)]
    }),
    Case::new("a_reset_out_of_the_window_ends_nothing", |script| {
        let mut connection = script.connected();
        linger(HOLD);
        let mut segment = connection.wire.segment(Flags::RST);
        segment.seq = segment.seq.wrapping_sub(1_000_000);
        connection.transmit(&segment);
        connection.still(State::Established);
        vec![reset(connection)]
    }),
    Case::new("fin_wait1_is_reset", |script| {
        let mut connection = script.connected();
        connection.close();
        connection.now(State::FinWait1);
        connection.expect(Flags::FIN_ACK);
        vec![reset(connection)]
    }),
    Case::new("fin_wait2_of_a_kept_descriptor_is_reset", |script| {
        let connection = script.in_fin_wait2(Session::shut);
        vec![reset(connection)]
    }),
    Case::new("fin_wait2_of_a_closed_descriptor_is_reset", |script| {
        let connection = script.in_fin_wait2(Session::close);
        vec![reset(connection)]
    }),
    Case::new("closing_is_reset", |script| {
        let mut connection = script.connected();
        connection.close();
        connection.now(State::FinWait1);
        connection.send(Flags::FIN_ACK);
        connection.now(State::Closing);
        vec![reset(connection)]
    }),
    Case::new("close_wait_is_reset", |script| {
        let mut connection = script.connected();
        connection.send(Flags::FIN_ACK);
        connection.now(State::CloseWait);
        vec![reset(connection)]
    }),
    Case::new("last_ack_is_reset", |script| {
        let mut connection = script.connected();
        connection.send(Flags::FIN_ACK);
        connection.now(State::CloseWait);
        connection.close();
        connection.now(State::LastAck);
        connection.expect(Flags::FIN_ACK);
        vec![reset(connection)]
    }),
    Case::new("time_wait_is_reset", |script| {
        let connection = script.connected();
        let mut connection = closed_first(connection, HOLD);
        linger(HOLD);
        connection.send(Flags::RST);
        connection.ended(Some("timewait-reset"));
        vec![connection]
    }),
    Case::new("linger_of_zero_resets", |script| {
        let connection = script.connected_with(|socket| {
            socket
                .set_linger(Some(Duration::ZERO))
                .expect("a socket can linger");
        });
        vec![reset_by_close(connection)]
    }),
    Case::new("closing_with_unread_data_resets", |script| {
        let mut connection = script.connected();
        connection.send_data(b"unread");
        connection.expect(Flags::ACK);
        vec![reset_by_close(connection)]
    }),
    Case::new("closing_close_wait_with_unread_data_resets", |script| {
        let mut connection = script.connected();
        connection.send_data(b"unread");
        connection.send(Flags::FIN_ACK);
        connection.now(State::CloseWait);
        vec![reset_by_close(connection)]
    }),
    Case::new("negative_linger2_resets_fin_wait2", |script| {
        let connection = script.in_fin_wait2(Session::shut);
        host::set_tcp_option(connection.socket(), libc::TCP_LINGER2, -1).expect("TCP_LINGER2 can be set");
        vec![reset_by_close(connection)]
    }),
    Case::new("data_after_close_resets_fin_wait1", |script| {
        let mut connection = script.connected();
        connection.close();
        connection.now(State::FinWait1);
        vec![reset_by_data(connection)]
    }),
    Case::new("data_after_close_resets_fin_wait2", |script| {
        let connection = script.in_fin_wait2(Session::close);
        vec![reset_by_data(connection)]
    }),
];

fn reset(mut connection: Session) -> Session {
    linger(HOLD);
    connection.send(Flags::RST);
    connection.ended(Some("reset-received"));
    connection
}

fn reset_by_close(mut connection: Session) -> Session {
    linger(HOLD);
    connection.close();
    connection.wire.expect_reset();
    connection.ended(Some("reset-sent"));
    connection
}

fn reset_by_data(mut connection: Session) -> Session {
    linger(HOLD);
    connection.send_data(b"too late");
    connection.wire.expect_reset();
    connection.ended(Some("reset-sent"));
    connection
}
