//! Readers that stall: lines and frames that they miss are counted, and a run ends all the same.

use crate::{HUGE, TIMEOUT, ended_by};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::Signal,
};
use serde::Deserialize;
use serde_json::Value;
use socket2::SockRef;
use std::{
    fs,
    io::{self, PipeReader, PipeWriter, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    clock::poll_until,
    command::{self, Running, tcptrace},
    netns::Netns,
};

/// A full pipe, whose reader reads nothing.
fn stalled() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe can be had");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("our own pipe");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("our own pipe");
    (reader, writer)
}

pub(super) fn unread_messages_do_not_block_the_end_of_a_run() {
    let (_reader, writer) = stalled();
    let mut command = tcptrace(&["trace", "--json", "-v"]);
    command.stderr(writer);
    let mut run = Running::start(command);
    let mut stdout = run.stdout();
    assert!(command::first_line(&mut stdout).starts_with("{\"header\""));
    assert_eq!(ended_by(&mut run, Signal::SIGTERM), Some(0));
    let lines = command::rest_of(stdout);
    assert!(lines.last().is_some_and(|line| line.starts_with("{\"summary\"")));
}

/// Connections that are opened and closed until the run prints this on standard error.
fn connect_until(messages: &Receiver<String>, text: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback takes a listener");
    let address = listener.local_addr().expect("a listener has an address");
    let deadline = Instant::now() + TIMEOUT;
    while !messages.try_iter().any(|line| line.contains(text)) {
        assert!(Instant::now() < deadline, "no message contains {text:?}");
        for _ in 0..20 {
            let client = TcpStream::connect(address).expect("the listener takes a connection");
            // No TIME_WAIT keeps a port.
            SockRef::from(&client)
                .set_linger(Some(Duration::ZERO))
                .expect("a TCP socket lingers");
            drop(client);
            drop(listener.accept().expect("it waits"));
        }
    }
}

pub(super) fn a_reader_that_stalls_costs_lines_that_are_counted_where_they_are_missing() {
    Netns::run(|netns| {
        let inode = netns.inode.to_string();
        let mut run = Running::start(tcptrace(&["trace", "--json", "--netns", &inode]));
        let mut stdout = run.stdout();
        let messages = run.lines_of_messages();
        assert!(command::first_line(&mut stdout).starts_with("{\"header\""));
        connect_until(&messages, "lines were dropped");
        let mut printed = 0;
        let mut lost = 0;
        let dropped = loop {
            let line = command::first_line(&mut stdout);
            if let Some(found) = loss_of(&line) {
                lost += found.lost;
                if found.dropped > 0 {
                    break found.dropped;
                }
            } else {
                printed += 1;
            }
        };
        // It continues from here.
        drop(TcpListener::bind("127.0.0.1:0").expect("loopback takes a listener"));
        printed += 1;
        assert!(command::first_line(&mut stdout).contains("\"mono_ns\""));
        run.signal(Signal::SIGTERM);
        let lines = command::rest_of(stdout);
        assert_eq!(run.status().code(), Some(0));
        let (summary, lines) = lines.split_last().expect("at least the summary");
        for line in lines {
            match loss_of(line) {
                Some(found) => lost += found.lost,
                None => printed += 1,
            }
        }
        let summary: Value = serde_json::from_str(summary).expect("JSON");
        let summary = &summary["summary"];
        assert_eq!(summary["dropped"], dropped, "{summary}");
        assert_eq!(summary["printed"], printed, "{summary}");
        assert_eq!(summary["lost"], lost, "{summary}");
        assert!(summary["usage"]["cpu_ns"].as_u64() > Some(0), "{summary}");
        assert!(
            summary["usage"]["peak_memory_bytes"].as_u64() > Some(1 << 20),
            "{summary}"
        );
    });
}

#[derive(Deserialize)]
struct LossLine {
    loss: Loss,
}

#[derive(Deserialize)]
struct Loss {
    lost: u64,
    dropped: u64,
}

fn loss_of(line: &str) -> Option<Loss> {
    if !line.starts_with("{\"loss\"") {
        return None;
    }
    let line: LossLine = serde_json::from_str(line).expect("JSON");
    Some(line.loss)
}

pub(super) fn a_reader_that_stalls_costs_frames_that_are_counted() {
    let mut run = Running::start(tcptrace(&["watch", "-b", "-d", "0.001"]));
    let mut stdout = run.stdout();
    let messages = run.lines_of_messages();
    let reported = messages.iter().any(|line| line.contains("frames dropped"));
    assert!(reported, "it has ended");
    while !command::first_line(&mut stdout).contains("frames dropped: the reader is too slow") {}
    run.signal(Signal::SIGTERM);
    let last = command::rest_of(stdout);
    assert!(last.iter().any(|line| line.contains("watched")));
    assert_eq!(run.status().code(), Some(0));
}

pub(super) fn a_reader_that_takes_nothing_does_not_keep_a_run_from_ending() {
    let runs: [(&[&str], bool); 7] = [
        (&["trace"], true),
        (&["trace", "--json", "--lifetimes"], true),
        (&["watch", "-b"], true),
        (&["hist"], false),
        (&["hist", "--format", "hlog", "--interval", "0.1"], true),
        (&["doctor", "--duration", HUGE], false),
        (&["leaks", "--duration", HUGE], false),
    ];
    for (arguments, writes_before_its_end) in runs {
        let (_reader, writer) = stalled();
        let mut command = tcptrace(arguments);
        command.stdout(writer);
        let mut run = Running::start(command);
        if writes_before_its_end {
            poll_until(TIMEOUT, || is_writing(&run).then_some(())).expect("it writes");
        }
        let asked = Instant::now();
        assert_eq!(ended_by(&mut run, Signal::SIGTERM), Some(1), "{arguments:?}");
        assert!(asked.elapsed() < TIMEOUT, "{arguments:?}");
        assert!(
            run.messages().contains("bytes of the output were not written"),
            "{arguments:?}"
        );
    }
}

/// Whether the thread that writes the output is blocked by its reader.
fn is_writing(run: &Running) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", run.id())) else {
        return false;
    };
    tasks.flatten().any(|task| {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let number = read("syscall")
            .split(' ')
            .next()
            .and_then(|word| word.parse().ok());
        read("comm").trim() == "output" && number == Some(libc::SYS_write)
    })
}

pub(super) fn losses_of_the_kernel_s_buffer_are_reported_where_they_happen() {
    Netns::run(|netns| {
        let inode = netns.inode.to_string();
        let mut run = Running::start(tcptrace(&["trace", "--csv", "--buffer", "4K", "--netns", &inode]));
        let mut stdout = run.stdout();
        let messages = run.lines_of_messages();
        let titles = command::first_line(&mut stdout);
        let read = thread::spawn(move || command::rest_of(stdout));
        connect_until(&messages, "records were lost in the kernel");
        run.signal(Signal::SIGTERM);
        assert_eq!(run.status().code(), Some(0));
        let lines = read.join().expect("it only reads");
        let commas = titles.matches(',').count();
        assert!(lines.iter().all(|line| line.matches(',').count() == commas));
        let reason = titles.split(',').position(|title| title == "reason");
        let reason = reason.expect("it has such a column");
        let is_loss = |line: &String| {
            line.split(',')
                .nth(reason)
                .is_some_and(|text| text.starts_with("lost "))
        };
        assert!(lines.iter().any(is_loss), "{lines:?}");
    });
}
