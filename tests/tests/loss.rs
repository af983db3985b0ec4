//! A flood of connections with a tiny buffer: events are lost, every output reports it, the events of a connection are
//! still consistent with no invented times, and after the flood the table is the kernel's.

use nix::sys::signal::Signal;
use std::{
    collections::HashMap,
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};
use tcptrace_tests::{
    clock::{monotonic_ns, nanoseconds, poll_until},
    command::{self, Running, tcptrace},
    event::Event,
    host,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    path::SLACK,
    ss,
    state::State::{
        self, Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
        TimeWait,
    },
    tracer::Tracer,
};

/// Connections per client.
const CONNECTIONS: usize = 8_000;
const CLIENTS: usize = 3;
/// Maximum time of the repair after the flood.
const TIMEOUT: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let mut requirements = live::TRACING.to_vec();
    requirements.push(Requirement::Ss);
    let tests = vec![
        LiveTest::new(
            "a_lossy_flood_leaves_a_true_table_and_honest_times::16K",
            &requirements,
            || a_lossy_flood_leaves_a_true_table_and_honest_times("16K"),
        ),
        LiveTest::new(
            "a_lossy_flood_leaves_a_true_table_and_honest_times::64K",
            &requirements,
            || a_lossy_flood_leaves_a_true_table_and_honest_times("64K"),
        ),
        LiveTest::new("watch_shows_the_loss", &requirements, watch_shows_the_loss),
        LiveTest::new(
            "a_namespace_that_goes_away_unseen_is_retired_within_a_second",
            &requirements,
            a_namespace_that_goes_away_unseen_is_retired_within_a_second,
        ),
    ];
    live::run(tests, Parallelism::One, || Ok(()))
}

fn a_lossy_flood_leaves_a_true_table_and_honest_times(buffer: &str) {
    Netns::run(|netns| {
        let inode = netns.inode.to_string();
        let tracer = Tracer::start(&["--audit", "--buffer", buffer, "--netns", &inode]);
        flood(netns);
        let listed = ss::list().expect("ss lists sockets");
        // The tracer has read everything when it reports something newer.
        let after_the_flood = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let its_end = after_the_flood.local_addr().expect("bound");
        tracer.wait_until(netns, TIMEOUT, |events| {
            let reported = |event: &&Event| event.new == Listen && event.endpoints().0 == its_end;
            events.iter().rev().find(reported).map(drop)
        });
        let ending = tracer.stop();
        let events = tracer.events(netns);
        let summary = &ending.summary;
        println!(
            "--buffer {buffer}: {} reported, lost {}, by {}, audit {}",
            events.len(),
            summary["lost"],
            summary["lost_by"],
            summary["audit"]
        );
        assert!(ending.status.success(), "{}", ending.messages);
        assert!(summary["lost"].as_u64() > Some(0), "{summary}");
        assert_eq!(summary["audit"]["differences"], 0, "{summary}");
        assert_eq!(summary["audit"]["unread_namespaces"], 0, "{summary}");
        let time_waits = listed.iter().filter(|socket| socket.state == TimeWait).count();
        assert!(
            summary["audit"]["compared"].as_u64() > Some(0) && time_waits > 0,
            "{time_waits} in TIME_WAIT: {summary}"
        );
        each_story_is_consistent(&events);
    });
}

fn watch_shows_the_loss() {
    Netns::run(|netns| {
        let inode = netns.inode.to_string();
        let mut watch = Running::start(tcptrace(&[
            "watch", "-b", "-d", "0.5", "--buffer", "16K", "--netns", &inode,
        ]));
        let mut stdout = watch.stdout();
        assert!(command::first_line(&mut stdout).starts_with("watched "));
        flood(netns);
        let lost = poll_until(TIMEOUT, || {
            let line = command::first_line(&mut stdout);
            let (_, lost) = line.strip_prefix("watched ")?.split_once("  lost ")?;
            let lost: u64 = lost.split_whitespace().next()?.parse().expect("a number");
            (lost > 0).then_some(lost)
        });
        assert!(lost.is_some(), "no frame shows a loss");
        println!("watch shows {lost:?} lost");
    });
}

/// Stops the tracer until its buffer is full, so that the end of the listener, and of its namespace, is lost.
fn a_namespace_that_goes_away_unseen_is_retired_within_a_second() {
    const CONNECTIONS: usize = 300;
    let tracer = Tracer::start(&["--buffer", "16K"]);
    let gone = Netns::run(|netns| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let server = listener.local_addr().expect("bound");
        let reported = tracer.wait_until(netns, TIMEOUT, |events| {
            events.iter().find(|event| event.new == Listen).map(drop)
        });
        assert!(reported.is_some(), "the listener is not reported");
        tracer.signal(Signal::SIGSTOP);
        for _ in 0..CONNECTIONS {
            let client = TcpStream::connect(server).expect("the listener takes a connection");
            drop((client, listener.accept().expect("a client connects")));
        }
        netns
    });
    let resumed_ns = monotonic_ns();
    tracer.signal(Signal::SIGCONT);
    let retired = tracer.wait_until(gone, TIMEOUT, |events| {
        let is_end = |event: &&Event| event.old == Listen && event.new == Close;
        events.iter().find(is_end).cloned()
    });
    let end = retired.expect("the listener is gone, and its namespace");
    assert_eq!(end.reason.as_deref(), Some("unseen"), "{end}");
    let took = Duration::from_nanos(end.mono_ns.saturating_sub(resumed_ns));
    println!("retired after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(tracer.stop().summary["lost"].as_u64() > Some(0));
}

/// One connection at a time for each client, closed by the client and then by the server.
fn flood(netns: Netns) {
    // No queue ever overflows: a dropped SYN would delay the clients.
    let queue = i32::try_from(CONNECTIONS).expect("a queue's length");
    for name in ["core/somaxconn", "ipv4/tcp_max_syn_backlog"] {
        netns
            .set(name, &CONNECTIONS.to_string())
            .expect("a namespace takes its sysctls");
    }
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let listener = host::listen((Ipv4Addr::LOCALHOST, 0).into(), queue).expect("loopback");
            let server = listener.local_addr().expect("bound");
            scope.spawn(move || {
                for _ in 0..CONNECTIONS {
                    let (mut connection, _) = listener.accept().expect("a client connects");
                    let _end = connection.read(&mut [0]).expect("the client closes in order");
                }
            });
            scope.spawn(move || {
                for _ in 0..CONNECTIONS {
                    drop(TcpStream::connect(server).expect("the listener takes a connection"));
                }
            });
        }
    });
}

/// Each event begins in the state where the one before ended, not earlier, and its dwell time is exact only if it is
/// the time between the two and no event can be missing in between.
fn each_story_is_consistent(events: &[Event]) {
    let mut last: HashMap<(u64, u32), &Event> = HashMap::new();
    let mut exact = 0;
    let mut faults = Vec::new();
    for event in events.iter().filter(|event| event.cookie != 0) {
        let before = last.insert((event.cookie, event.incarnation), event);
        exact += usize::from(event.dwell_exact);
        faults.extend(fault_of(event, before));
    }
    println!("{exact} exact dwells in {} events", events.len());
    let shown = faults[..faults.len().min(10)].join("\n");
    assert!(faults.is_empty(), "{} faults:\n{shown}", faults.len());
}

fn fault_of(event: &Event, before: Option<&Event>) -> Option<String> {
    // A RST leads from every state to CLOSE: a closed listener sends some to its last connections.
    let is_reset = event.new == Close && event.reason.as_deref() == Some("reset-received");
    if event.dwell_exact && !is_reset && !is_a_transition(event.old, event.new) {
        return Some(format!("called exact, and events are missing: {event}"));
    }
    let before = before?;
    if before.new != event.old {
        return Some(format!("{before}\n  and then {event}"));
    }
    let Some(elapsed) = event.mono_ns.checked_sub(before.mono_ns) else {
        return Some(format!("{before}\n  and then, earlier, {event}"));
    };
    let dwell = event.dwell_ns.filter(|_| event.dwell_exact)?;
    let slack = nanoseconds(SLACK);
    // The state that a repair finds may have begun earlier, by the kernel's timestamp of a timewait sock.
    let was_found = !before.dwell_exact && dwell + slack >= elapsed;
    (!was_found && dwell.abs_diff(elapsed) > slack)
        .then_some(format!("{before}\n  and {elapsed} ns later {event}"))
}

/// Whether a connection of the flood can change from one state to the other without any in between: all of them close
/// in order, and the client's socket ends in TIME_WAIT.
fn is_a_transition(old: State, new: State) -> bool {
    match old {
        Close => matches!(new, Listen | SynSent),
        Listen => matches!(new, Close | SynRecv),
        SynSent | SynRecv => matches!(new, Established),
        Established => matches!(new, FinWait1 | CloseWait),
        FinWait1 => matches!(new, FinWait2),
        FinWait2 => matches!(new, TimeWait),
        CloseWait => matches!(new, LastAck),
        Closing => false,
        LastAck | TimeWait => matches!(new, Close),
    }
}
