//! Closing: which side is first, which segments carry what, the time of each step, and whether the program keeps its
//! descriptor.

use crate::script::{Case, HOLD, Script, Session};
use nix::sys::socket::{setsockopt, sockopt};
use std::time::Duration;
use tcptrace_tests::{
    clock::linger,
    peer::{Family, Flags, Unreachable},
    state::State,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("the_side_that_connected_closes_first", |script| {
        let connection = script.connected();
        vec![closed_first(connection, HOLD)]
    }),
    Case::new("the_side_that_accepted_closes_first", |script| {
        let connection = script.accepted();
        vec![closed_first(connection, HOLD)]
    }),
    Case::new("fin_wait2_lasts_as_long_as_the_peer_takes", |script| {
        let connection = script.connected();
        vec![closed_first(connection, Duration::from_secs(1))]
    }),
    Case::new("the_peer_closes_first", |script| {
        let connection = script.connected();
        vec![closed_second(connection)]
    }),
    Case::new("the_peer_that_connected_closes_first", |script| {
        let connection = script.accepted();
        vec![closed_second(connection)]
    }),
    Case::new("an_error_of_long_ago_is_no_end", |script| {
        let mut connection = script.connected_with(|socket| {
            // From now on network errors are reported to the program, and end nothing.
            match script.family {
                Family::V4 => setsockopt(socket, sockopt::Ipv4RecvErr, &true),
                Family::V6 => setsockopt(socket, sockopt::Ipv6RecvErr, &true),
            }
            .expect("a socket can keep its errors");
        });
        linger(HOLD);
        connection.write(b"request");
        let request = connection.expect_data();
        connection.refuse(&request, Unreachable::Host);
        vec![closed_second(connection)]
    }),
    Case::new("both_close_at_once", both_close_at_once),
    Case::new("fin_and_ack_in_one_segment", fin_and_ack_in_one_segment),
    Case::new(
        "a_kept_descriptor_holds_fin_wait2_in_a_full_sock",
        kept_descriptor,
    ),
    Case::new("a_kept_descriptor_is_not_bound_by_the_fin_timeout", |script| {
        let mut connection = script.in_fin_wait2(Session::shut);
        linger(Duration::from_millis(2500));
        connection.still(State::FinWait2);
        connection.send(Flags::FIN_ACK);
        connection.now(State::TimeWait);
        vec![connection]
    })
    .with(&[("ipv4/tcp_fin_timeout", "1")]),
    Case::new("giving_up_the_descriptor_does_not_restart_fin_wait1", |script| {
        let mut connection = script.connected();
        linger(HOLD);
        connection.shut();
        connection.now(State::FinWait1);
        connection.expect(Flags::FIN_ACK);
        give_up_the_descriptor(&mut connection, State::FinWait1);
        connection.send(Flags::ACK);
        connection.now(State::FinWait2);
        linger(HOLD);
        connection.send(Flags::FIN_ACK);
        connection.now(State::TimeWait);
        vec![connection]
    }),
    Case::new("giving_up_the_descriptor_does_not_restart_fin_wait2", |script| {
        let mut connection = script.in_fin_wait2(Session::shut);
        give_up_the_descriptor(&mut connection, State::FinWait2);
        connection.send(Flags::FIN_ACK);
        connection.now(State::TimeWait);
        vec![connection]
    }),
    Case::new("giving_up_the_descriptor_does_not_restart_closing", |script| {
        let mut connection = script.connected();
        connection.shut();
        connection.now(State::FinWait1);
        linger(HOLD);
        connection.send(Flags::FIN_ACK);
        connection.now(State::Closing);
        connection.expect(Flags::FIN_ACK);
        give_up_the_descriptor(&mut connection, State::Closing);
        connection.send(Flags::ACK);
        connection.now(State::TimeWait);
        vec![connection]
    }),
    Case::new("giving_up_the_descriptor_does_not_restart_last_ack", |script| {
        let mut connection = script.connected();
        connection.send(Flags::FIN_ACK);
        connection.now(State::CloseWait);
        linger(HOLD);
        connection.shut();
        connection.now(State::LastAck);
        connection.expect(Flags::FIN_ACK);
        give_up_the_descriptor(&mut connection, State::LastAck);
        connection.send(Flags::ACK);
        connection.ended(None);
        vec![connection]
    }),
];

/// The program closes, the peer acknowledges, and closes `wait` later.
pub(crate) fn closed_first(mut connection: Session, wait: Duration) -> Session {
    connection.reach_fin_wait2(Session::close);
    linger(wait);
    connection.send(Flags::FIN_ACK);
    connection.now(State::TimeWait);
    connection
}

fn closed_second(mut connection: Session) -> Session {
    linger(HOLD);
    close_to_last_ack(&mut connection);
    connection.expect(Flags::FIN_ACK);
    linger(HOLD);
    connection.send(Flags::ACK);
    connection.ended(None);
    connection
}

/// The peer closes, and then the program.
pub(crate) fn close_to_last_ack(connection: &mut Session) {
    connection.send(Flags::FIN_ACK);
    connection.now(State::CloseWait);
    linger(HOLD);
    connection.close();
    connection.now(State::LastAck);
}

fn both_close_at_once(script: &mut Script) -> Vec<Session> {
    let mut connection = script.connected();
    connection.reach_closing();
    connection.expect(Flags::FIN_ACK);
    linger(HOLD);
    connection.send(Flags::ACK);
    connection.now(State::TimeWait);
    vec![connection]
}

fn fin_and_ack_in_one_segment(script: &mut Script) -> Vec<Session> {
    let mut connection = script.connected();
    connection.reach_time_wait_at_once();
    vec![connection]
}

fn kept_descriptor(script: &mut Script) -> Vec<Session> {
    let mut connection = script.in_fin_wait2(Session::shut);
    linger(HOLD);
    connection.send(Flags::FIN_ACK);
    connection.now(State::TimeWait);
    connection.close();
    connection.still(State::TimeWait);
    vec![connection]
}

fn give_up_the_descriptor(connection: &mut Session, state: State) {
    linger(HOLD);
    connection.close();
    connection.still(state);
    linger(HOLD);
}
