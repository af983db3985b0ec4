//! The flight recorder: it keeps the latest files, and saves them when it is asked to or a rule finds something.

use crate::{TIMEOUT, Traffic, await_part, folder, parts};
use nix::sys::signal::Signal;
use socket2::Socket;
use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use tcptrace_tests::{
    clock::poll_until,
    command::{self, tcptrace},
    netns::Netns,
    recording::{self, Recording},
};

pub(crate) fn the_flight_recorder_starts_again_in_its_folder_after_a_kill(_netns: Netns) {
    let folder = folder();
    let ring = folder.path().join("ring");
    let part = |number: u32| ring.join(format!("ring-{number:06}.arrows"));
    let arguments = ["--flight-recorder", "0.2", "--sync", "0.1"];
    let run = Recording::start(&ring, &part(0), &arguments);
    await_part(&ring, "ring", 1);
    run.kill();
    // Like a unit that restarts.
    let run = Recording::start(&ring, &part(2), &arguments);
    let second = command::run(tcptrace(
        &[&["record", "-o", ring.to_str().expect("text")][..], &arguments].concat(),
    ));
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.err.contains("another process is recording there"),
        "{second:?}"
    );
    run.signal(Signal::SIGUSR1);
    let first_saved = saved(&ring);
    let kept: Vec<PathBuf> = parts(&first_saved);
    let names: Vec<&str> = kept
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert!(
        names.starts_with(&["ring-000000.arrows", "ring-000001.arrows", "ring-000002.arrows"]),
        "the minutes before the kill are saved too: {names:?}"
    );
    let turned = poll_until(TIMEOUT, || (!part(1).exists()).then_some(()));
    assert!(turned.is_some(), "old files are not counted");
    run.stop();
    assert!(parts(&ring).len() <= 6);
    let report = recording::read(&["report"], &kept).out;
    assert_eq!(report.matches("recorded by tcptrace").count(), 2, "{report}");
}

pub(crate) fn the_flight_recorder_saves_its_ring_when_asked(_netns: Netns) {
    let folder = folder();
    let ring = folder.path().join("ring");
    let run = Recording::start(
        &ring,
        &ring.join("ring-000000.arrows"),
        &["--flight-recorder", "0.05"],
    );
    let stop = Traffic::start();
    let turned = poll_until(TIMEOUT, || {
        (!ring.join("ring-000000.arrows").exists()).then_some(())
    });
    assert!(turned.is_some(), "the ring keeps everything");
    run.signal(Signal::SIGUSR1);
    let saved = saved(&ring);
    stop.stop();
    run.stop();
    assert!(parts(&ring).len() <= 5);
    let all = parts(&saved);
    let summary = recording::summary(&all);
    println!("{} files saved: {summary}", all.len());
    assert_eq!(
        (&summary["gaps"], &summary["remarks"]),
        (&0.into(), &serde_json::json!([]))
    );
    assert!(summary["changes"].as_u64() > Some(0), "{summary}");
}

pub(crate) fn the_flight_recorder_fires_when_a_rule_finds_something_new(_netns: Netns) {
    const RESET: usize = 12;
    let folder = folder();
    let ring = folder.path().join("ring");
    let arguments = ["--flight-recorder", "10", "--fire-on", "reset-not-closed"];
    let run = Recording::start(&ring, &ring.join("ring-000000.arrows"), &arguments);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let address = listener.local_addr().expect("bound");
    let kept: Vec<TcpStream> = (0..RESET)
        .map(|_| {
            let client = TcpStream::connect(address).expect("it listens");
            let (server, _) = listener.accept().expect("it waits");
            let server = Socket::from(server);
            server.set_linger(Some(Duration::ZERO)).expect("a socket");
            client
        })
        .collect();
    let mut client = TcpStream::connect(address).expect("it listens");
    let unread = listener.accept().expect("it waits");
    client.write_all(b"unread").expect("it is open");
    let saved = saved(&ring);
    let findings = poll_until(TIMEOUT, || fs::read_to_string(saved.join("findings.txt")).ok());
    let findings = findings.expect("the findings are written");
    let me = std::process::id().to_string();
    assert!(
        findings.contains("reset-not-closed") && findings.contains(&me),
        "{findings}"
    );
    // What it found persists at the next evaluation.
    thread::sleep(Duration::from_secs(12));
    run.stop();
    let port = client.local_addr().expect("bound").port();
    drop((kept, client, unread));
    let exported = recording::read(&["export", "--format", "jsonl"], &parts(&saved)).out;
    let of_client = exported
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .find(|row| row["local_port"] == port && row["new"].is_null())
        .expect("it is open when the ring is saved");
    assert!(
        of_client["network"].is_string() && of_client["network_age_ns"].as_u64() < Some(2_000_000_000),
        "a saved ring ends with a snapshot: {of_client}"
    );
    assert_eq!(folders(&ring), [saved.as_path()]);
    assert!(recording::summary(&parts(&saved))["changes"].as_u64() >= Some(2 * RESET as u64));
    let report = recording::read(&["report"], &parts(&ring)).out;
    assert!(
        report.contains("the flight recorder fired: reset-not-closed"),
        "{report}"
    );
}

/// The folder of the files that the ring saved first.
fn saved(ring: &Path) -> PathBuf {
    let saved = poll_until(TIMEOUT, || {
        let whole = |folder: &PathBuf| folder.join("states.hlog").exists();
        folders(ring).into_iter().find(whole)
    });
    saved.expect("the ring is saved")
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).expect("it is there");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect()
}
