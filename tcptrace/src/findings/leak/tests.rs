use super::*;
use crate::{
    findings::{
        fixture::{scene, socket},
        scene::Owner,
    },
    socket::Flow,
};

fn half_closed(seconds: u64, owner: usize) -> Socket {
    let end = "10.0.0.1:80";
    socket(TcpState::CloseWait, end, "10.0.0.2:4000", seconds, Some(owner))
}

fn reset(seconds: Option<u64>, owner: usize) -> Socket {
    Socket {
        state: TcpState::Close,
        age: seconds.map(|seconds| Age::Exact(Nanos::from_secs(seconds))),
        quiet: None,
        left_close_wait: true,
        ..half_closed(0, owner)
    }
}

#[test]
fn all_who_have_the_sockets_open_are_counted_and_some_named() {
    let mut scene = scene();
    let owner = scene.process_at(1, "gunicorn");
    let workers: Vec<usize> = (2..8).map(|pid| scene.process_at(pid, "worker")).collect();
    let alone = half_closed(70, owner);
    let shared = Socket {
        sharers: workers,
        ..half_closed(70, owner)
    };
    scene.add(1, &alone);
    assert_eq!(leaks(&scene)[0].shared(), None);
    scene.add(3, &shared);
    let leaks = leaks(&scene);
    assert_eq!(leaks.len(), 1);
    let words = "also open in worker (2), worker (3), worker (4), worker (5) and 2 more";
    assert_eq!(leaks[0].shared().as_deref(), Some(words));
}

#[test]
fn a_socket_that_was_inherited_is_distinguished_from_one_that_nobody_reads() {
    let mut scene = scene();
    let helper = scene.process_at(7, "sleep");
    let server = scene.process_at(5, "cgi-server");
    let inherited = Socket {
        unread: Some(1),
        accepted_by: Some(server),
        ..half_closed(70, helper)
    };
    scene.add(1, &inherited);
    let leaks = leaks(&scene);
    assert_eq!(leaks[0].verdicts(), [(Verdict::Inherited, 1)]);
    assert_eq!(leaks[0].accepted_by.map(|process| process.key.pid), Some(5));
    // What it reads it was given on purpose.
    let read = Socket {
        unread: Some(0),
        ..inherited
    };
    assert_eq!(Verdict::on(&read, true), Verdict::ReadAll);
}

#[test]
fn answers_to_keep_alive_do_not_hide_a_leak() {
    let mut scene = scene();
    let owner = scene.process_at(7, "go-svc");
    let probed = Socket {
        quiet: Some(Nanos::from_secs(2)),
        flow: Flow {
            sent_ms: Some(70_000),
            ..Flow::default()
        },
        ..half_closed(70, owner)
    };
    scene.add(3, &probed);
    assert_eq!(leaks(&scene)[0].sockets.len(), 3);
    let streaming = Socket {
        flow: Flow {
            sent_ms: Some(500),
            ..Flow::default()
        },
        ..probed
    };
    scene.sockets.clear();
    scene.add(3, &streaming);
    assert_eq!(leaks(&scene), []);
}

#[test]
fn what_a_reset_ended_in_close_wait_is_the_same_leak() {
    let mut scene = scene();
    let owner = scene.process_at(7, "go-svc");
    scene.add(2, &half_closed(70, owner));
    scene.add(3, &reset(Some(80), owner));
    // Just now, and nobody knows when.
    scene.add(1, &reset(Some(1), owner));
    scene.add(9, &reset(None, owner));
    let before = |seconds| Socket {
        age: Some(Age::AtLeast(Nanos::from_secs(seconds))),
        ..reset(None, owner)
    };
    let all = leaks(&scene);
    assert_eq!((all[0].sockets.len(), all[0].reset()), (5, 3));
    scene.add(1, &reset(None, owner));
    let all = leaks(&scene);
    assert_eq!((all[0].sockets.len(), all[0].reset()), (15, 13));
    // Since before a watch that was shorter than the threshold.
    scene.sockets.clear();
    scene.add(1, &before(10));
    scene.add(1, &before(3));
    assert_eq!(leaks(&scene)[0].reset(), 1);
}

#[test]
fn a_listener_s_owner_is_a_guess_for_what_no_process_has_open() {
    let mut scene = scene();
    let owner = scene.process_at(7, "acceptor");
    let in_flight = Socket {
        owner: Some(Owner {
            process: owner,
            is_guess: true,
        }),
        is_unheld: true,
        fds: Vec::new(),
        ..half_closed(70, owner)
    };
    scene.add(6, &in_flight);
    scene.add(2, &half_closed(70, owner));
    let all = leaks(&scene);
    let listed: Vec<_> = all
        .iter()
        .map(|leak| (leak.subject().to_string(), leak.verdicts()))
        .collect();
    assert_eq!(
        listed,
        [
            ("acceptor? (7)".to_owned(), vec![(Verdict::NoHolder, 6)]),
            ("acceptor (7)".to_owned(), vec![(Verdict::ReadAll, 2)]),
        ]
    );
    // Of what waits in the accept queue the listener's owner is sure.
    let waiting = Socket {
        is_orphan: Some(true),
        is_unheld: false,
        ..in_flight
    };
    scene.sockets.clear();
    scene.add(6, &waiting);
    assert_eq!(leaks(&scene)[0].subject().to_string(), "acceptor (7)");
}
