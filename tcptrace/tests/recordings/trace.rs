//! `trace` of recordings: the changes in the forms of a live run.

use super::{
    BEGAN, CONNECTIONS, Folder, LEAKED, PIDS, SECOND, bounded, event, origin, rows, task, tcptrace, text,
};
use serde_json::Value;
use std::path::Path;
use tcptrace::{
    event::{
        Nanos, Task,
        TcpState::{Close, CloseWait, Established, LastAck, SynSent},
    },
    record::{entry::Entry, write::Writer},
};

/// Transitions of a process: three of each connection, and two more of those that are closed.
const TRANSITIONS: u64 = CONNECTIONS * 3 + (CONNECTIONS - LEAKED) * 2;

fn count(text: &str) -> u64 {
    text.lines().count() as u64
}

#[test]
fn each_recording_has_a_header_its_transitions_and_a_summary() {
    let folder = Folder::new();
    let lines: Vec<Value> = tcptrace(&["trace", "--json"], &folder.two_hosts())
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let hosts: Vec<&Value> = lines
        .iter()
        .map(|line| &line["header"]["host"])
        .filter(|host| !host.is_null())
        .collect();
    assert_eq!(hosts, ["web1", "web2"]);
    let printed: Vec<&Value> = lines
        .iter()
        .map(|line| &line["summary"]["printed"])
        .filter(|printed| !printed.is_null())
        .collect();
    assert_eq!(printed, [2 * TRANSITIONS, 2 * TRANSITIONS]);
    let of_wait = |line: &&Value| line["old"] == "CLOSE_WAIT" && line["dwell_exact"] == true;
    let waited: Vec<&Value> = lines
        .iter()
        .filter(of_wait)
        .map(|line| &line["dwell_ns"])
        .collect();
    assert_eq!(waited.len() as u64, 4 * (CONNECTIONS - LEAKED));
    assert_eq!(lines.len() as u64, 4 * TRANSITIONS + 4);
}

#[test]
fn filters_columns_and_spans_are_those_of_a_live_run() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let files = [file];
    let trace = |flags: &[&str]| tcptrace(&[&["trace", "-H", "--csv"], flags].concat(), &files);
    let pid = PIDS[0].to_string();
    // Each process is of a user with the same number.
    for flag in ["-p", "-u"] {
        assert_eq!(count(&trace(&[flag, &pid])), TRANSITIONS, "{flag}");
    }
    assert_eq!(count(&trace(&["-n", "3"])), 3);
    assert_eq!(count(&trace(&["-s", "listen"])), 0);
    // A connection that begins was not in CLOSE.
    assert_eq!(count(&trace(&["-s", "close"])), 2 * (CONNECTIONS - LEAKED));
    let later = count(&trace(&["--from", "+5.5s"]));
    assert!((1..2 * TRANSITIONS).contains(&later), "{later}");
    let ended = trace(&["--lifetimes", "--columns", "pid,close_wait_ns", "-p", &pid]);
    assert_eq!(count(&ended), CONNECTIONS - LEAKED);
    assert!(ended.lines().all(|line| line == "4001,1000000000"), "{ended}");
    let text = tcptrace(
        &["trace", "-n", "1", "--time", "epoch", "--columns", "time,new"],
        &files,
    );
    assert_eq!(
        text.lines().collect::<Vec<_>>()[..],
        ["TIME            NEW", "1795303600.000000 SYN_SENT"]
    );
}

/// A recording of a client that connects at the beginning, and is closed by its peer in second 40, by another
/// task and after these entries.
fn of_one_client(folder: &Folder, task: Task, before: &[Entry]) -> [String; 1] {
    let path = folder.file("one.arrows");
    let mut writer = Writer::create(Path::new(&path), &origin(1)).expect("a new file");
    let steps = [
        (1, Close, SynSent, 0),
        (2, SynSent, Established, 30_001),
        (40 * SECOND, Established, CloseWait, 30_001),
        (80_000 * SECOND, CloseWait, LastAck, 30_001),
    ];
    let events = steps.map(|(after, old, new, port)| {
        let mut event = event(1, BEGAN + after, old, new, task);
        event.endpoints.local_port = port;
        Entry::Event(event)
    });
    for entry in before.iter().chain(&events) {
        writer.push(entry).expect("there is room");
    }
    writer.flush().expect("there is room");
    [path]
}

fn lines_of(files: &[String], flags: &[&str]) -> Vec<String> {
    let printed = tcptrace(&[&["trace", "--time", "utc"], flags].concat(), files);
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn the_first_change_of_a_connect_has_the_port_that_came_later() {
    let folder = Folder::new();
    let files = of_one_client(&folder, task(PIDS[0]), &[]);
    let lines = lines_of(&files, &["-L", "30001", "--csv", "--columns", "local_port,new"]);
    assert_eq!(lines[1], "30001,SYN_SENT", "{lines:?}");
    let exported = tcptrace(&["export", "--format", "csv", "-L", "30001"], &files);
    let of_client = exported.lines().filter(|line| line.contains(",SYN_SENT,"));
    assert_eq!(of_client.count(), 2, "{exported}");
}

#[test]
fn lines_of_recordings_have_their_day() {
    let folder = Folder::new();
    let files = of_one_client(&folder, task(PIDS[0]), &[]);
    for flags in [&["-H"][..], &["-H", "--columns", "time,new"]] {
        let lines = lines_of(&files, flags);
        let days: Vec<usize> = (0..lines.len())
            .filter(|place| lines[*place].starts_with("2026-11-2") && lines[*place].len() == 10)
            .collect();
        assert_eq!(days, [0, 4], "{lines:?}");
    }
    let without = lines_of(&files, &["-H", "--columns", "old,new"]);
    assert_eq!(without.len(), 4, "{without:?}");
}

#[test]
fn lines_of_several_hosts_name_them_in_tables() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    let table = tcptrace(&["trace", "--csv", "-n", "50"], &files);
    assert!(table.starts_with("host,time,"), "{table}");
    let lines = tcptrace(&["trace", "--csv", "-H", "--columns", "host,new"], &files);
    for host in ["web1", "web2"] {
        let of_host = lines.lines().filter(|line| line.starts_with(host));
        assert_eq!(of_host.count() as u64, 2 * TRANSITIONS, "{host}");
    }
}

#[test]
fn losses_are_those_of_the_span() {
    let folder = Folder::new();
    let lost = |after: u64, total| Entry::Lost {
        time: Nanos(BEGAN + after),
        total,
    };
    let files = of_one_client(&folder, task(PIDS[0]), &[lost(0, 7)]);
    let summary = |flags: &[&str]| {
        let lines = rows(&tcptrace(&[&["trace", "--json"], flags].concat(), &files));
        let losses = lines.iter().filter(|line| !line["loss"].is_null()).count();
        (
            losses,
            lines.last().expect("a summary")["summary"]["lost"].as_u64(),
        )
    };
    assert_eq!(summary(&[]), (1, Some(7)));
    assert_eq!(summary(&["--from", "+10s"]), (0, Some(0)));
    // Without a column for the reason, a table has a comment.
    let table = lines_of(&files, &["--csv", "--columns", "pid,new"]);
    assert!(table.contains(&"# lost 7 dropped 0".to_owned()), "{table:?}");
}

#[test]
fn what_is_not_in_a_recording_prints_nothing() {
    let folder = Folder::new();
    let anonymous = Task {
        uid: None,
        ..task(PIDS[0])
    };
    let files = of_one_client(&folder, anonymous, &[]);
    for (flags, wanted) in [
        (["--from", "+200000s"], "--at, --from, --to: "),
        (["-p", "77"], "-p: "),
        (["-c", "nobody"], "-c: "),
        (["-u", "33"], "has no user IDs"),
    ] {
        for form in [&["--json"][..], &["--csv"], &[]] {
            let output = bounded(&[&["trace"], &flags[..], form].concat(), &files);
            let (out, error) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(2), "{flags:?}: {out}{error}");
            assert!(
                error.contains(wanted) && !error.contains(" changes in "),
                "{flags:?}: {error}"
            );
            assert_eq!(out, "", "{flags:?}");
        }
    }
}
