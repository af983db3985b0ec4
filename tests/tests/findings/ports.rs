//! Local ports that run out: towards one destination, in a program's own range, and of an address that sockets are bound to.

use crate::doctor::{Diagnosis, figure};
use nix::errno::Errno;
use serde_json::Value;
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use tcptrace_tests::{clock::linger, host, netns::Netns};

/// `IP_BIND_ADDRESS_NO_PORT` of linux/in.h.
const IP_BIND_ADDRESS_NO_PORT: libc::c_int = 24;

const LOOPBACK: &str = "127.0.0.1:0";

/// A listener whose port is in none of the ranges below.
fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(LOOPBACK).expect("loopback");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn limit_ports(netns: Netns, range: &str) {
    netns
        .set("ipv4/ip_local_port_range", range)
        .expect("a namespace takes its sysctls");
}

pub(crate) fn a_client_runs_out_of_ports(netns: Netns) {
    // The listener's port is not one of them.
    let (listener, address) = bind();
    for (name, value) in [
        ("ipv4/ip_local_port_range", "20000 20049"),
        ("ipv4/ip_local_reserved_ports", "20000-20009"),
        ("ipv4/tcp_tw_reuse", "0"),
    ] {
        netns.set(name, value).expect("a namespace takes its sysctls");
    }
    let is_done = AtomicBool::new(false);
    let diagnosis = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                match TcpStream::connect(address) {
                    Ok(client) => {
                        let (server, _) = listener.accept().expect("it waits");
                        drop(client);
                        drop(server);
                    }
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(Errno::EADDRNOTAVAIL as i32));
                        linger(Duration::from_millis(100));
                    }
                }
            }
        });
        let diagnosis = Diagnosis::of(netns, &["--duration", "4"]);
        is_done.store(true, Ordering::Relaxed);
        diagnosis
    });
    let ports = diagnosis.finding("ephemeral-ports");
    assert_eq!(ports["level"], "critical", "{ports:#}");
    assert_eq!(ports["subject"]["port"], address.port(), "{ports:#}");
    assert!((figure(ports, "ports_in_use") - 40.0).abs() < 0.1, "{ports:#}");
    assert!(figure(ports, "connects_without_free_port") >= 10.0, "{ports:#}");
    assert!(
        (figure(ports, "pid") - f64::from(process::id())).abs() < 0.1,
        "{ports:#}"
    );
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
    let reuse = diagnosis
        .settings
        .iter()
        .find(|setting| setting["setting"] == "net.ipv4.tcp_tw_reuse")
        .expect("it is listed");
    assert_ne!(reuse["change"], Value::Null, "{reuse:#}");
}

/// Nothing of the host's ports is short, but the program's ten are.
pub(crate) fn a_program_s_own_range_is_used_up(netns: Netns) {
    let (listener, address) = bind();
    limit_ports(netns, "20000 20499");
    let [low, high] = [20_100, 20_109];
    let mut kept = Vec::new();
    for _ in 0..10 {
        let socket = host::socket(address).expect("a socket");
        host::set_local_port_range(&socket, low, high).expect("the range is valid");
        host::connect(&socket, address).expect("a port is free");
        kept.push((socket, listener.accept().expect("it waits")));
    }
    let diagnosis = Diagnosis::of(netns, &["--once"]);
    let ports = diagnosis.finding("ephemeral-ports");
    assert_eq!(ports["level"], "critical", "{ports:#}");
    assert!((figure(ports, "own_port_range") - 10.0).abs() < 0.1, "{ports:#}");
    assert!(figure(ports, "ports_left").abs() < 0.1, "{ports:#}");
    assert!(
        (figure(ports, "ports_of_process") - 10.0).abs() < 0.1,
        "{ports:#}"
    );
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}

/// Nine connections to two destinations, from sockets that were bound to an address.
fn bound_to_an_address(netns: Netns, binds_late: bool) -> Diagnosis {
    let destinations = [bind(), bind()];
    limit_ports(netns, "20000 20009");
    let _kept: Vec<_> = (0..9)
        .map(|number: usize| {
            let (listener, address) = &destinations[number % 2];
            let socket = host::socket(*address).expect("a socket");
            socket.set_reuse_address(false).expect("an option");
            if binds_late {
                host::set_ip_option(&socket, IP_BIND_ADDRESS_NO_PORT, 1).expect("an option");
            }
            let any: SocketAddr = LOOPBACK.parse().expect("an address");
            socket.bind(&any.into()).expect("a port is free");
            host::connect(&socket, *address).expect("a port is free");
            (socket, listener.accept().expect("it waits"))
        })
        .collect();
    Diagnosis::of(netns, &["--once"])
}

pub(crate) fn ports_are_bound_for_all_destinations(netns: Netns) {
    let diagnosis = bound_to_an_address(netns, false);
    let ports = diagnosis.finding("ephemeral-ports");
    assert_eq!(ports["level"], "warning", "{ports:#}");
    assert_eq!(ports["subject"]["kind"], "netns", "{ports:#}");
    assert!((figure(ports, "ports_in_use") - 9.0).abs() < 0.1, "{ports:#}");
    assert!(
        (figure(ports, "bound_before_connect") - 9.0).abs() < 0.1,
        "{ports:#}"
    );
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}

pub(crate) fn sockets_that_bind_late_take_no_port_for_all_destinations(netns: Netns) {
    let diagnosis = bound_to_an_address(netns, true);
    assert_eq!(diagnosis.findings, Vec::<Value>::new());
}

/// On loopback, `connect` reuses a TIME_WAIT that is older than a second.
pub(crate) fn reuse_of_time_wait_is_counted(netns: Netns) {
    let (listener, address) = bind();
    limit_ports(netns, "20000 20009");
    let is_done = AtomicBool::new(false);
    let diagnosis = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                if let Ok(client) = TcpStream::connect(address) {
                    let (server, _) = listener.accept().expect("it waits");
                    drop(client);
                    drop(server);
                }
                linger(Duration::from_millis(20));
            }
        });
        let diagnosis = Diagnosis::of(netns, &["--duration", "5"]);
        is_done.store(true, Ordering::Relaxed);
        diagnosis
    });
    let ports = diagnosis.finding("ephemeral-ports");
    assert_eq!(ports["level"], "critical", "{ports:#}");
    assert!(figure(ports, "time_waits_reused") >= 10.0, "{ports:#}");
}
