//! Recordings of two hosts, read together by the command: every row names its host, and processes are selected
//! by where they ran, though nothing of this machine knows them. Needs no privileges.

mod files;
mod hostile;
mod losses;
mod pages;
mod trace;
mod verdicts;

use nix::sys::resource::{Resource, setrlimit};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output},
};
use tcptrace::{
    event::{
        Bytes, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, SockRef, Task,
        TcpState::{self, Close, CloseWait, Established, LastAck, Listen, SynSent},
    },
    kernel::{clock::ClockPair, reset_reasons::ResetReasons},
    record::{entry::Entry, origin::Origin, write::Writer},
};
use tempfile::TempDir;
use verdicts::READERS;

/// Connections of each process, and how many of them stay in CLOSE_WAIT.
const CONNECTIONS: u64 = 10;
const LEAKED: u64 = 4;

/// The first runs in a container, the second in a unit.
const PIDS: [u32; 2] = [4_001, 4_002];

const SECOND: u64 = 1_000_000_000;
const BEGAN: u64 = 100 * SECOND;

/// Of a host's first process.
fn container(host: u32) -> String {
    format!("{host}abcdef0").repeat(8)
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder of ours"))
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("text").to_owned()
    }

    /// The recordings of two hosts; the second was begun an hour later.
    fn two_hosts(&self) -> [String; 2] {
        [1, 2].map(|host| {
            let path = self.file(&format!("web{host}.arrows"));
            record(Path::new(&path), host);
            path
        })
    }
}

fn origin(host: u32) -> Origin {
    let clock = ClockPair {
        mono_ns: BEGAN,
        wall_ns: (1_795_300_000 + u64::from(host) * 3_600) * SECOND,
    };
    Origin {
        version: "0".to_owned(),
        host: format!("web{host}"),
        kernel: "6".to_owned(),
        machine: "x86_64".to_owned(),
        command: "tcptrace record".to_owned(),
        hooks: std::iter::empty().collect(),
        limitations: Vec::new(),
        clock,
        run: format!("run of {host}"),
        segment: 0,
        lost: 0,
        event_lost: 0,
        max_connections: 1_000,
        reset_reasons: ResetReasons::default(),
    }
}

fn record(path: &Path, host: u32) {
    record_by(path, host, &origin(host), 60, &[]);
}

/// The same by a recorder of another origin, for so many seconds, after other entries.
fn record_by(path: &Path, host: u32, origin: &Origin, seconds: u64, before: &[Entry]) {
    let mut writer = Writer::create(path, origin).expect("a new file");
    for entry in before {
        writer.push(entry).expect("there is room");
    }
    let mut events: Vec<Event> = [1, 2]
        .into_iter()
        .flat_map(|number| (0..CONNECTIONS).map(move |connection| (number, connection)))
        .flat_map(|(number, connection)| life(host, number, connection))
        .collect();
    events.sort_by_key(|event| event.time);
    let mut push = |entry: Entry| writer.push(&entry).expect("there is room");
    let mut placed = BTreeSet::new();
    for event in events {
        push(Entry::Event(event));
        push(Entry::Settled(event.time));
        // As a session does: found out after the events that name the process.
        if let Some(task) = event.task.filter(|task| placed.insert(task.process.pid)) {
            let path = if task.process.pid == PIDS[0] {
                format!("/system.slice/docker-{}.scope", container(host))
            } else {
                "/system.slice/nginx.service".to_owned()
            };
            push(Entry::Location {
                task,
                path: path.into(),
            });
        }
    }
    push(Entry::Stopped(Nanos(BEGAN + seconds * SECOND)));
    writer.flush().expect("there is room");
}

/// A client of 443, whose server closes at once; most close after as many seconds as the host's number.
fn life(host: u32, number: usize, connection: u64) -> Vec<Event> {
    let begin = BEGAN + connection * SECOND;
    let closed = begin + 2_000 + u64::from(host) * SECOND;
    let mut steps = vec![
        (begin, Close, SynSent),
        (begin + 1_000, SynSent, Established),
        (begin + 2_000, Established, CloseWait),
    ];
    if connection >= LEAKED {
        steps.extend([(closed, CloseWait, LastAck), (closed + 1, LastAck, Close)]);
    }
    let id = number as u64 * 1_000 + connection;
    let made = |(time, old, new)| event(id, time, old, new, task(PIDS[number - 1]));
    steps.into_iter().map(made).collect()
}

fn task(pid: u32) -> Task {
    Task {
        process: ProcessKey::new(pid, 7),
        comm: *b"server\0\0\0\0\0\0\0\0\0\0",
        cgroup: u64::from(pid),
        uid: Some(pid),
        is_kernel_thread: false,
    }
}

fn event(id: u64, time: u64, old: TcpState, new: TcpState, task: Task) -> Event {
    let port = u16::try_from(30_000 + id).expect("few connections");
    Event {
        time: Nanos(time),
        sock: SockRef::new(id, 0xffff_8880_0000_0000 + id),
        endpoints: Endpoints::new(
            ("10.0.0.1".parse().expect("an address"), port),
            ("10.0.0.2".parse().expect("an address"), 443),
        ),
        netns: 4_026_531_840,
        protocol: 6,
        data: EventData::State {
            old,
            new,
            error: 0,
            fin_received: new == CloseWait,
            is_orphan: false,
            bytes: Bytes::default(),
            path: PathStats::default(),
        },
        task: (new == SynSent).then_some(task),
        is_kernel_socket: false,
        lost: 0,
    }
}

/// What a command may map: itself, and as much again as it needs for a recording of any kind.
const MOST_MEMORY: u64 = 768 << 20;

/// Runs it with little memory.
fn bounded(arguments: &[&str], files: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptrace"));
    command.args(arguments).args(files);
    // SAFETY: setrlimit(2) is a system call alone, and what it is given is on the stack.
    unsafe {
        command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_AS, MOST_MEMORY, MOST_MEMORY)?));
    }
    command.output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it writes UTF-8")
}

fn tcptrace(arguments: &[&str], files: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(arguments)
        .args(files)
        .output()
        .expect("the command starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("it writes UTF-8")
}

fn rows(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect()
}

/// By host, `null` for all together: finished and open stays in CLOSE_WAIT.
fn close_waits(text: &str) -> BTreeSet<(String, u64, u64)> {
    rows(text)
        .iter()
        .filter(|row| row["group"] == "all" && row["state"] == "CLOSE_WAIT")
        .map(|row| {
            let number = |value: &serde_json::Value| value.as_u64().expect("a count");
            (
                row["host"].to_string(),
                number(&row["count"]),
                number(&row["open"]["count"]),
            )
        })
        .collect()
}

fn reported(host: &str, processes: u64) -> (String, u64, u64) {
    let finished = (CONNECTIONS - LEAKED) * processes;
    (host.to_owned(), finished, LEAKED * processes)
}

#[test]
fn several_hosts_make_one_report_with_the_host_as_a_column() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    let turned = [files[1].clone(), files[0].clone()];
    let report = tcptrace(&["report"], &files);
    assert_eq!(report, tcptrace(&["report"], &turned), "in any order the same");
    for host in ["web1 ", "web2 "] {
        let lines = report
            .lines()
            .filter(|line| line.starts_with(host) && line.contains("server"));
        assert_eq!(lines.count(), 2, "{host}: {report}");
    }
    let exported = rows(&tcptrace(&["export", "--format", "jsonl"], &files));
    let hosts: BTreeSet<&str> = exported.iter().filter_map(|row| row["host"].as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(["web1", "web2"]));
    let json = tcptrace(&["report", "--json"], &files);
    assert_eq!(
        json.matches("\"process\":{\"host\":\"web2\"").count(),
        2,
        "{json}"
    );
}

#[test]
fn histograms_of_several_hosts_are_distinguished_and_added_up_from_recordings_and_logs() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    let expected = BTreeSet::from([
        reported("null", 4),
        reported("\"web1\"", 2),
        reported("\"web2\"", 2),
    ]);
    let of_recordings = tcptrace(&["hist", "--json"], &files);
    assert_eq!(close_waits(&of_recordings), expected);
    let merged = folder.file("both.hlog");
    let logs = [folder.file("web1.hlog"), folder.file("web2.hlog")];
    for (file, log) in files.iter().zip(&logs) {
        let arguments = ["hist", "--format", "hlog", "-o", log.as_str()];
        let _written = tcptrace(&arguments, std::slice::from_ref(file));
    }
    assert_eq!(close_waits(&tcptrace(&["hist", "--json"], &logs)), expected);
    let mixed = [files[0].clone(), logs[1].clone()];
    assert_eq!(close_waits(&tcptrace(&["hist", "--json"], &mixed)), expected);
    for sources in [&files, &logs, &mixed] {
        let _written = tcptrace(&["hist", "--format", "hlog", "-o", &merged], sources);
        let read = tcptrace(&["hist", "--json"], std::slice::from_ref(&merged));
        assert_eq!(close_waits(&read), expected);
        fs::remove_file(&merged).expect("it was written");
    }
    // The two hosts' percentiles stay apart: web2's connections leave a second later.
    let p50 = |host: &str| -> u64 {
        let rows = rows(&of_recordings);
        let row = rows
            .iter()
            .find(|row| row["host"] == host && row["group"] == "all" && row["state"] == "CLOSE_WAIT");
        row.and_then(|row| row["p50_ns"].as_u64()).expect("a percentile")
    };
    assert_eq!((p50("web1") / SECOND, p50("web2") / SECOND), (1, 2));
}

#[test]
fn a_span_finds_older_connections_at_their_age() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let files = [file];
    let from = tcptrace(&["hist", "--json", "--from", "+5.5s"], &files);
    // Six began before, of which one closed is still in CLOSE_WAIT then; four begin later.
    let expected = (CONNECTIONS - 5) * 2;
    assert_eq!(
        close_waits(&from),
        BTreeSet::from([("\"web1\"".to_owned(), expected, LEAKED * 2)])
    );
    let at = tcptrace(&["hist", "--json", "--at", "+4.5s"], &files);
    assert_eq!(
        close_waits(&at),
        BTreeSet::from([("\"web1\"".to_owned(), 0, 5 * 2)])
    );
}

#[test]
fn what_a_recording_does_not_have_is_not_answered() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    let [first, _] = &files;
    let beginning = 1_795_300_000 + 3_600;
    let wall = |seconds: u64| {
        let time = jiff::Timestamp::from_second(i64::try_from(seconds).expect("small")).expect("a time");
        time.to_string()
    };
    let (before, after) = (wall(beginning - 60), wall(beginning + 600));
    for span in [
        &["--at", &before][..],
        &["--to", &before],
        &["--at", &after],
        &["--from", &after],
        &["--at", "+1000s"],
        &["--from", "+3s", "--to", "+2s"],
        &["--from", &after, "--to", "+2s"],
    ] {
        for command in ["report", "hist"] {
            let output = bounded(&[&[command], span].concat(), std::slice::from_ref(first));
            let (out, error) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(2), "{command} {span:?} {out}{error}");
            assert_eq!(out, "", "{command} {span:?}");
        }
    }
    // Of two hosts, the one that has the time answers, and the other is named.
    let output = bounded(&["report", "--json", "--at", &wall(beginning + 5)], &files);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(out.contains("web1") && !out.contains("web2"), "{out}");
    assert!(
        error.contains("web2.arrows: the recording begins later"),
        "{error}"
    );
    // An end beyond the recording is its end.
    let report = tcptrace(
        &["report", "--from", "+1s", "--to", "+1000s"],
        std::slice::from_ref(first),
    );
    assert!(report.contains(", where the "), "{report}");
}

#[test]
fn a_recording_without_a_row_that_can_be_read_is_a_failure() {
    let folder = Folder::new();
    let [whole, other] = folder.two_hosts();
    let mut bytes = fs::read(&whole).expect("it was written");
    let header = {
        let empty = folder.file("empty.arrows");
        let writer = Writer::create(Path::new(&empty), &origin(1)).expect("a new file");
        drop(writer);
        usize::try_from(fs::metadata(&empty).expect("it was written").len()).expect("small")
    };
    for byte in &mut bytes[header..] {
        *byte ^= 0x55;
    }
    let damaged = folder.file("damaged.arrows");
    fs::write(&damaged, &bytes).expect("there is room");
    for arguments in READERS {
        let output = bounded(arguments, std::slice::from_ref(&damaged));
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {out}{error}");
        assert!(
            error.contains("no row could be read"),
            "{arguments:?} {out}{error}"
        );
    }
    let output = bounded(&["report"], &[damaged, other]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("web2"));
}

#[test]
fn processes_are_selected_by_where_they_ran() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    let of_first = container(1);
    let unit_path = "/sys/fs/cgroup/system.slice/nginx.service";
    // The processes selected on each host.
    for (flag, word, counts) in [
        ("--container", &of_first[..6], [1, 0]),
        ("--container", "nginx", [1, 1]),
        ("--cgroup", "/system.slice", [2, 2]),
        ("--cgroup", unit_path, [1, 1]),
        ("--cgroup", "4001", [1, 1]),
    ] {
        let text = tcptrace(&["hist", "--json", flag, word], &files);
        let [first, second] = counts;
        let expected: BTreeSet<_> = [
            ("null", first + second),
            ("\"web1\"", first),
            ("\"web2\"", second),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(host, count)| reported(host, count))
        .collect();
        assert_eq!(close_waits(&text), expected, "{flag} {word}");
    }
    let report = tcptrace(&["report", "--json", "--container", &of_first[..6]], &files);
    let processes: Vec<_> = rows(&report)
        .into_iter()
        .filter_map(|row| row.get("process").cloned())
        .collect();
    assert_eq!(processes.len(), 1, "{report}");
    // Rates and dwell times are of that process too: ten connections, of which some were closed.
    let counted: Vec<(u64, u64, u64)> = rows(&report)
        .iter()
        .filter_map(|row| row.get("summary"))
        .map(|summary| {
            let established = &summary["dwells"]["ESTABLISHED"]["count"];
            (
                summary["changes"].as_u64().expect("a count"),
                summary["selected_changes"].as_u64().expect("a count"),
                established.as_u64().unwrap_or(0),
            )
        })
        .collect();
    let all = 2 * (3 * CONNECTIONS + 2 * (CONNECTIONS - LEAKED));
    assert_eq!(counted, [(all, all / 2, CONNECTIONS), (all, 0, 0)], "{report}");
    assert_eq!(
        (&processes[0]["host"], &processes[0]["pid"]),
        (&"web1".into(), &4_001.into())
    );
    let exported = tcptrace(&["export", "--format", "jsonl"], &files[..1]);
    let places: BTreeSet<String> = rows(&exported)
        .iter()
        .filter(|row| row["new"].is_null())
        .map(|row| {
            let columns = ["cgroup_path", "runtime", "container", "pod", "unit"];
            columns.map(|column| row[column].to_string()).join(" ")
        })
        .collect();
    let docker = format!(
        "\"/system.slice/docker-{of_first}.scope\" \"docker\" \"{of_first}\" null \"docker-{of_first}.scope\""
    );
    let unit = "\"/system.slice/nginx.service\" null null null \"nginx.service\"".to_owned();
    assert_eq!(places, BTreeSet::from([docker, unit]));
}

#[test]
fn cgroups_have_their_paths_in_histograms_and_in_their_logs() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    let paths = |text: &str| -> BTreeSet<String> {
        rows(text)
            .iter()
            .filter(|row| row["group"] == "key")
            .map(|row| {
                let key = &row["key"];
                format!("{} {} {}", row["host"], key["cgroup"], key["cgroup_path"])
            })
            .collect()
    };
    let expected: BTreeSet<String> = [1, 2]
        .into_iter()
        .flat_map(|host| {
            let [first, second] = PIDS;
            [
                format!(
                    "\"web{host}\" {first} \"/system.slice/docker-{}.scope\"",
                    container(host)
                ),
                format!("\"web{host}\" {second} \"/system.slice/nginx.service\""),
            ]
        })
        .collect();
    let by_cgroup = ["hist", "--json", "--by", "cgroup"];
    assert_eq!(paths(&tcptrace(&by_cgroup, &files)), expected);
    let log = folder.file("both.hlog");
    fs::write(
        &log,
        tcptrace(&["hist", "--format", "hlog", "--by", "cgroup"], &files),
    )
    .unwrap();
    assert_eq!(paths(&tcptrace(&by_cgroup, &[log])), expected);
    let text = tcptrace(&["hist", "--by", "cgroup"], &files[..1]);
    assert!(
        text.contains(&format!("cgroup {} /system.slice/nginx.service", PIDS[1])),
        "{text}"
    );
}
