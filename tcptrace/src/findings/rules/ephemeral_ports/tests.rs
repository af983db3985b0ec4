//! The rule on scenes of its own.

use super::*;
use crate::{
    event::{Nanos, TcpState},
    findings::{
        evaluate_by,
        fixture::{NETNS, key, rendered, scene, socket},
        history::{Destination, OfDestination, destination as destination_of},
        scene::Socket,
    },
    socket::{Flow, SockKind, network::PortRange},
};

/// Where the first socket of the scene goes.
fn destination(scene: &Scene) -> Destination {
    let first = &scene.sockets[0];
    destination_of(first.netns, &first.endpoints)
}

/// A client whose range has 100 ports, 10 of them reserved.
fn narrow() -> Scene {
    let mut scene = scene();
    scene.set("ipv4.ip_local_port_range", "40000 40099");
    scene.set("ipv4.ip_local_reserved_ports", "40000-40009");
    scene.set("ipv4.tcp_tw_reuse", "2");
    scene
}

fn add_time_waits(scene: &mut Scene, count: u16, remote: &str) {
    for index in 0..count {
        let local = format!("10.0.0.1:{}", 40_010 + index);
        let left = Socket {
            kind: SockKind::Timewait,
            ..socket(TcpState::TimeWait, &local, remote, 30, None)
        };
        scene.add(1, &left);
    }
}

fn evaluated(scene: &Scene) -> Vec<Finding> {
    evaluate_by(&[&RULE], scene)
}

#[test]
fn ports_that_are_nearly_gone_are_reported() {
    let mut scene = narrow();
    add_time_waits(&mut scene, 72, "10.0.0.9:443");
    let owner = scene.process_at(5, "client");
    let mut of = OfDestination {
        connects: 40,
        reused: 3,
        process: Some(key(5)),
        ..OfDestination::default()
    };
    for second in 0..10 {
        of.in_use.push(Nanos::from_secs(second), 30 + 4 * second);
    }
    let wanted = destination(&scene);
    scene.history.by_destination.insert(wanted, of);
    scene.sockets[0].owner = Some(crate::findings::scene::Owner {
        process: owner,
        is_guess: false,
    });
    let findings = evaluated(&scene);
    insta::assert_snapshot!(rendered(&findings[0]));
    assert_eq!(findings.len(), 1);
}

#[test]
fn just_below_four_fifths_nothing_is_said() {
    let mut scene = narrow();
    add_time_waits(&mut scene, 71, "10.0.0.9:443");
    assert_eq!(evaluated(&scene), []);
}

#[test]
fn a_failed_connect_is_critical() {
    let mut scene = narrow();
    let wanted = Destination {
        netns: NETNS,
        local: "10.0.0.1".parse().unwrap(),
        remote: "10.0.0.9".parse().unwrap(),
        port: 443,
    };
    let of = OfDestination {
        connects: 3,
        without_port: 3,
        ..OfDestination::default()
    };
    scene.history.by_destination.insert(wanted, of);
    let findings = evaluated(&scene);
    assert_eq!(findings[0].level, Level::Critical);
    assert_eq!(
        findings[0].title,
        "connect failed 3 times because no port was free"
    );
}

#[test]
fn time_waits_that_connect_may_reuse_are_no_trouble() {
    let mut scene = narrow();
    scene.set("ipv4.tcp_tw_reuse", "1");
    add_time_waits(&mut scene, 90, "10.0.0.9:443");
    assert_eq!(evaluated(&scene), []);
    scene.set("ipv4.tcp_timestamps", "0");
    assert_eq!(evaluated(&scene).len(), 1);
}

fn bound(scene: &mut Scene, count: u16, destinations: u16) {
    for index in 0..count {
        let connected = socket(
            TcpState::Established,
            &format!("10.0.0.1:{}", 40_010 + index),
            &format!("10.0.1.{}:443", index % destinations),
            9,
            None,
        );
        scene.add(1, &connected);
    }
}

#[test]
fn ports_bound_before_connect_are_taken_for_all_destinations() {
    let mut scene = narrow();
    bound(&mut scene, 90, 10);
    let findings = evaluated(&scene);
    assert_eq!(findings.len(), 1);
    insta::assert_snapshot!(rendered(&findings[0]));
}

#[test]
fn ports_that_connect_has_chosen_are_shared_between_destinations() {
    let mut scene = narrow();
    bound(&mut scene, 45, 10);
    bound(&mut scene, 90, 9);
    assert_eq!(evaluated(&scene), []);
}

#[test]
fn a_program_s_own_range_is_not_the_host_s() {
    let mut scene = narrow();
    for index in 0..11 {
        let connected = socket(
            TcpState::Established,
            &format!("10.0.0.1:{}", 40_020 + index),
            "10.0.0.9:443",
            9,
            None,
        );
        scene.add(1, &connected);
    }
    let wanted = destination(&scene);
    let mut of = OfDestination {
        connects: 30,
        without_port: 19,
        ..OfDestination::default()
    };
    of.in_use.push(Nanos::from_secs(1), 11);
    scene.history.by_destination.insert(wanted, of.clone());
    insta::assert_snapshot!(rendered(&evaluated(&scene)[0]));
    // They were all taken a moment ago.
    of.in_use.push(Nanos::from_secs(2), 90);
    scene.history.by_destination.insert(wanted, of);
    assert_eq!(
        evaluated(&scene)[0].title,
        "connect failed 19 times because no port was free"
    );
}

#[test]
fn many_destinations_and_a_server_s_own_port_are_no_trouble() {
    let mut scene = narrow();
    for host in 1..=90 {
        add_time_waits(&mut scene, 1, &format!("10.0.1.{host}:443"));
    }
    let listener = socket(TcpState::Listen, "10.0.0.1:40050", "0.0.0.0:0", 0, None);
    scene.add(1, &listener);
    let served = socket(TcpState::Established, "10.0.0.1:40050", "10.0.2.1:5000", 9, None);
    scene.add(200, &served);
    assert_eq!(evaluated(&scene), []);
}

/// So many connections to one destination, from the ports from 40,020 on.
fn connect(scene: &mut Scene, count: u16, range: Option<PortRange>) {
    for index in 0..count {
        let connected = Socket {
            is_orphan: Some(false),
            ..socket(
                TcpState::Established,
                &format!("10.0.0.1:{}", 40_020 + index),
                "10.0.0.9:443",
                9,
                None,
            )
        };
        scene.add(1, &connected);
        if let Some(range) = range {
            scene.port_ranges.insert(scene.sockets.len() as u64, range);
        }
    }
}

#[test]
fn a_range_that_the_program_sets_is_what_its_ports_are_counted_against() {
    let range = PortRange {
        low: 40_020,
        high: 40_031,
    };
    let mut scene = narrow();
    connect(&mut scene, 9, Some(range));
    assert_eq!(evaluated(&scene), []);
    let mut scene = narrow();
    connect(&mut scene, 10, Some(range));
    insta::assert_snapshot!(rendered(&evaluated(&scene)[0]));
    // Where one socket has no range, the host's counts; and an end that is outside of it does not limit.
    scene.port_ranges.remove(&1);
    assert_eq!(evaluated(&scene), []);
    // Of one that is closing, no options can be read.
    scene.sockets[0].is_orphan = Some(true);
    assert_eq!(evaluated(&scene).len(), 1);
    let mut scene = narrow();
    let unlimited = PortRange { low: 0, high: 1_000 };
    connect(&mut scene, 10, Some(unlimited));
    assert_eq!(evaluated(&scene), []);
}

#[test]
fn a_port_with_a_listener_is_not_free() {
    let mut scene = narrow();
    add_time_waits(&mut scene, 71, "10.0.0.9:443");
    assert_eq!(evaluated(&scene), []);
    for port in 40_090..40_092 {
        let local = format!("0.0.0.0:{port}");
        scene.add(1, &socket(TcpState::Listen, &local, "0.0.0.0:0", 0, None));
    }
    // 71 of 88.
    assert_eq!(evaluated(&scene).len(), 1);
}

#[test]
fn sockets_that_bind_late_leave_the_choice_to_connect() {
    let late = |binds_late| {
        let mut scene = narrow();
        bound(&mut scene, 90, 10);
        for socket in &mut scene.sockets {
            socket.flow = Flow {
                binds_late,
                ..Flow::default()
            };
        }
        evaluated(&scene)
    };
    assert_eq!(late(Some(true)), []);
    let early = &late(Some(false))[0];
    assert!(
        early
            .evidence
            .iter()
            .any(|evidence| evidence.name == "bound_before_connect"),
        "{early:#?}"
    );
}
