//! `trace` of recordings: the changes in the forms of a live run.

use super::{CONNECTIONS, Folder, LEAKED, PIDS, tcptrace};
use serde_json::Value;

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
