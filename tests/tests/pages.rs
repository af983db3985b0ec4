//! `report --html` without files: a page of this machine, which has what a recording lacks.

use std::{
    net::{TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};
use tcptrace_tests::{
    by_name,
    clock::poll_until,
    command::{self, tcptrace},
    kernel_table::state_of,
    live::{self, LiveTest, Parallelism},
    netns::Netns,
    state::State,
};

/// Connections that the server does not close.
const LEAKED: usize = 5;

/// Maximum time for the kernel.
const TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let live = |name: &str, body: fn(Netns)| LiveTest::new(name, live::TRACING, move || Netns::run(body));
    let tests = by_name! {
        live => a_page_of_this_machine_has_its_sockets_and_settings;
    };
    live::run(tests, Parallelism::Processors, || Ok(()))
}

fn a_page_of_this_machine_has_its_sockets_and_settings(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let server = listener.local_addr().expect("bound");
    let leaked: Vec<TcpStream> = (0..LEAKED)
        .map(|_| {
            let client = TcpStream::connect(server).expect("it listens");
            let (accepted, from) = listener.accept().expect("it waits");
            drop(client);
            let is_there = poll_until(TIMEOUT, || {
                let state = state_of(server, from).expect("the table can be read");
                (state == Some(State::CloseWait)).then_some(())
            });
            assert!(is_there.is_some(), "the peer has closed");
            accepted
        })
        .collect();
    let inode = netns.inode.to_string();
    let arguments = ["report", "--html", "--duration", "1", "-N", &inode];
    let output = command::run(tcptrace(&arguments));
    assert_eq!(output.code, Some(0), "{output:?}");
    let page = output.out;
    let count = format!("data-state=\"CLOSE_WAIT\">{LEAKED}</td>");
    assert!(page.contains(&count), "{page}");
    assert!(
        page.contains(&format!("settings of network namespace {inode}")),
        "{page}"
    );
    for text in [
        "ipv4.tcp_fin_timeout",
        "State diagram",
        "Connections held longest",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("a recording has no settings"), "{page}");
    let redacted = command::run(tcptrace(&[&arguments[..], &["--redact"]].concat()));
    assert_eq!(redacted.code, Some(0), "{redacted:?}");
    assert!(redacted.out.contains(&count) && redacted.out.contains("host-1"));
    drop(leaked);
}
