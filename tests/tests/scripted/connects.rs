//! How a `connect` ends without a connection: by an answer, by an ICMP error, by the program itself, or before a SYN.

use crate::script::{Case, HOLD, PEER_PORT, Script, Session, step, this_process};
use nix::errno::Errno;
use std::{
    net::{Shutdown, SocketAddr},
    time::Duration,
};
use tcptrace_tests::{
    clock::{Moment, linger},
    host,
    path::Path,
    peer::{Family, Flags, Unreachable},
    state::State,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_lost_syn_is_answered_the_second_time", |script| {
        let mut connection = script.connecting(|_| ());
        connection.expect(Flags::SYN);
        connection.send(Flags::SYN_ACK);
        connection.now(State::Established);
        vec![connection]
    }),
    Case::new("a_reset_is_a_refusal", |script| {
        let mut connection = script.connecting(|_| ());
        linger(HOLD);
        connection.send(Flags::RST_ACK);
        connection.ended(Some("reset-received"));
        vec![connection]
    }),
    Case::new("the_network_is_unreachable", |script| {
        let reason = "unreachable (ENETUNREACH)";
        unreachable(script, Unreachable::Network, reason, reason)
    }),
    Case::new("the_host_is_unreachable", |script| {
        let reason = "unreachable (EHOSTUNREACH)";
        unreachable(script, Unreachable::Host, reason, reason)
    }),
    Case::new("the_port_is_unreachable", |script| {
        let reason = "unreachable (ECONNREFUSED)";
        unreachable(script, Unreachable::Port, reason, reason)
    }),
    Case::new("a_firewall_prohibits_it", |script| {
        unreachable(
            script,
            Unreachable::Prohibited,
            "unreachable (EHOSTUNREACH)",
            "unreachable (EACCES)",
        )
    }),
    Case::new("a_descriptor_is_closed_before_the_answer", |script| {
        let mut connection = script.connecting(|_| ());
        linger(HOLD);
        connection.close();
        connection.ended(Some("cancelled"));
        vec![connection]
    }),
    Case::new("a_blocking_connect_has_a_timeout_of_its_own", |script| {
        let timeout = Duration::from_millis(500);
        let mut connection = script.connecting(|socket| {
            socket.set_nonblocking(false).expect("a socket can block");
            socket
                .set_write_timeout(Some(timeout))
                .expect("SO_SNDTIMEO limits connect");
        });
        connection.close();
        connection.ended(Some("cancelled"));
        vec![connection]
    }),
    Case::new("a_shutdown_cancels_it", |script| {
        let mut connection = script.connecting(|_| ());
        linger(HOLD);
        let (result, moment) = Moment::of(|| connection.socket().shutdown(Shutdown::Both));
        result.expect("a connecting socket can be shut down");
        connection.last = moment;
        connection.ended(Some("cancelled"));
        vec![connection]
    }),
    Case::new("a_disconnect_cancels_it", |script| {
        let mut connection = script.connecting(|_| ());
        linger(HOLD);
        let (result, moment) = Moment::of(|| host::disconnect(connection.socket()));
        result.expect("a connecting socket can be disconnected");
        connection.last = moment;
        connection.ended(Some("cancelled"));
        vec![connection]
    }),
    Case::new("no_port_is_free", no_port).with(&[("ipv4/ip_local_port_range", "20000 20001")]),
];

fn unreachable(
    script: &mut Script,
    what: Unreachable,
    reason_v4: &'static str,
    reason_v6: &'static str,
) -> Vec<Session> {
    let mut connection = script.connecting(|_| ());
    let syn = connection.expect(Flags::SYN);
    connection.refuse(&syn, what);
    connection.ended(Some(match script.family {
        Family::V4 => reason_v4,
        Family::V6 => reason_v6,
    }));
    vec![connection]
}

/// Two connections occupy both ports of the range.
fn no_port(script: &mut Script) -> Vec<Session> {
    let both: Vec<Session> = (1..=2)
        .map(|number| script.connected().named(&number.to_string()))
        .collect();
    let remote = SocketAddr::new(script.family.peer(), PEER_PORT);
    let socket = host::socket(remote).expect("a socket");
    let (result, moment) = Moment::of(|| host::connect(&socket, remote));
    let error = result.expect_err("there is no third port");
    assert_eq!(error.raw_os_error(), Some(Errno::EADDRNOTAVAIL as i32));
    script.reported.push(Path {
        name: "third".to_owned(),
        local: SocketAddr::new(script.family.host(), 0),
        remote,
        start: State::Close,
        steps: vec![
            step(State::SynSent, moment, None),
            step(State::Close, moment, Some("no-port")),
        ],
        maker: this_process(),
    });
    both
}
