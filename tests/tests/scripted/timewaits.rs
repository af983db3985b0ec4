//! How long TIME_WAIT lasts, what prolongs it, and what happens if the kernel has no room for it.

use crate::{
    closes::closed_first,
    script::{Case, HOLD, PEER_PORT, Script, Session},
};
use std::{net::SocketAddr, time::Duration};
use tcptrace_tests::{clock::linger, host, peer::Flags, state::State};

/// `TCP_TIMEWAIT_LEN`.
const SHORTEST: Duration = Duration::from_mins(1);
/// One bucket of the kernel's timer wheel more: 512 jiffies at 250 Hz.
const LONGEST: Duration = Duration::from_millis(62_100);

pub(crate) const CASES: &[Case] = &[
    Case::new("it_expires_after_a_minute", |script| {
        let connection = script.connected();
        let mut connection = closed_first(connection, Duration::from_secs(1));
        connection.runs_out(SHORTEST, LONGEST, "timewait-expired");
        vec![connection]
    }),
    Case::new("it_expires_after_a_minute_where_the_peer_connected", |script| {
        let connection = script.accepted();
        let mut connection = closed_first(connection, HOLD);
        connection.runs_out(SHORTEST, LONGEST, "timewait-expired");
        vec![connection]
    }),
    Case::new("a_fin_at_once_starts_the_minute_again", |script| {
        vec![fin_again(script, Duration::from_millis(500))]
    }),
    Case::new("a_fin_later_starts_the_minute_again", |script| {
        vec![fin_again(script, Duration::from_secs(5))]
    }),
    Case::new("rfc1337_ignores_a_reset", |script| {
        let connection = script.connected();
        let mut connection = closed_first(connection, HOLD);
        let entered = connection.last;
        linger(HOLD);
        connection.send(Flags::RST);
        connection.still(State::TimeWait);
        connection.last = entered;
        connection.runs_out(SHORTEST, LONGEST, "timewait-expired");
        vec![connection]
    })
    .with(&[("ipv4/tcp_rfc1337", "1")]),
    Case::new("it_ends_with_its_namespace", |script| {
        let connection = script.connected();
        vec![closed_first(connection, HOLD)]
    })
    .outlived(),
    Case::new("a_full_table_ends_a_closed_descriptor_at_once", |script| {
        let connection = script.connected();
        vec![closed_over_a_full_table(connection)]
    })
    .with(&[("ipv4/tcp_max_tw_buckets", "0")]),
    Case::new("a_full_table_ends_a_kept_descriptor_at_the_fin", |script| {
        let mut connection = script.in_fin_wait2(Session::shut);
        linger(HOLD);
        connection.send(Flags::FIN_ACK);
        connection.ended(Some("timewait-overflow"));
        vec![connection]
    })
    .with(&[("ipv4/tcp_max_tw_buckets", "0")]),
    Case::new("a_table_of_one_takes_the_first_only", |script| {
        let first = script.connected().named("first");
        let first = closed_first(first, HOLD);
        let remote = SocketAddr::new(script.family.peer(), PEER_PORT + 1);
        let socket = host::socket(remote).expect("a socket");
        let mut second = Session::of_connect(&script.peer, socket.into(), remote).named("second");
        second.complete_connect();
        let second = closed_over_a_full_table(second);
        first.still(State::TimeWait);
        vec![first, second]
    })
    .with(&[("ipv4/tcp_max_tw_buckets", "1")]),
];

fn fin_again(script: &Script, wait: Duration) -> Session {
    let connection = script.connected();
    let mut connection = closed_first(connection, HOLD);
    linger(wait);
    let mut fin = connection.wire.segment(Flags::FIN_ACK);
    fin.seq = fin.seq.wrapping_sub(1);
    connection.transmit(&fin);
    connection.still(State::TimeWait);
    connection.runs_out(SHORTEST, LONGEST, "timewait-expired");
    connection
}

fn closed_over_a_full_table(mut connection: Session) -> Session {
    linger(HOLD);
    connection.close();
    connection.now(State::FinWait1);
    connection.expect(Flags::FIN_ACK);
    linger(HOLD);
    connection.send(Flags::ACK);
    connection.passed(State::FinWait2);
    connection.ended(Some("timewait-overflow"));
    connection
}
