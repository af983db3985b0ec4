//! What `tcptrace` may do once it has attached, or before it reads a recording; and what an ordinary user gets for each
//! capability: the tables of docs/safety.md.

use caps::Capability;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};
use tcptrace_tests::{
    clock::poll_until,
    command::{self, Running, Said, tcptrace},
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    recording::Recording,
    user::Home,
};

const PATIENCE: Duration = Duration::from_mins(1);

/// Kept after attaching by every thread but the one that looks into other processes.
const KEPT: &[Capability] = &[
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_PERFMON,
    Capability::CAP_BPF,
];

/// Kept by that one.
const SCOUT: &[Capability] = &[Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE];

/// Threads that only write to what is open.
const WRITING: [&str; 3] = ["messages", "output", "screen"];

/// With which everything that traces works.
const TRACING: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

fn main() -> ExitCode {
    let live = |name: &str, body: fn()| LiveTest::new(name, live::TRACING, body);
    let root = |name: &str, body: fn()| LiveTest::new(name, &[Requirement::Root], body);
    let tests = vec![
        live(
            "after_attaching_every_thread_has_the_documented_capabilities_alone",
            after_attaching_every_thread_has_the_documented_capabilities_alone,
        ),
        live("check_says_what_is_kept", check_says_what_is_kept),
        live("a_replay_holds_nothing", a_replay_holds_nothing),
        live(
            "root_still_writes_into_the_folder_of_a_user",
            root_still_writes_into_the_folder_of_a_user,
        ),
        root(
            "without_capabilities_a_user_sees_his_own_sockets",
            without_capabilities_a_user_sees_his_own_sockets,
        ),
        live(
            "bpf_and_perfmon_trace_and_find_holders",
            bpf_and_perfmon_trace_and_find_holders,
        ),
        live("syslog_adds_time_wait", syslog_adds_time_wait),
        live(
            "sys_admin_adds_sockets_of_other_namespaces",
            sys_admin_adds_sockets_of_other_namespaces,
        ),
        live(
            "sys_ptrace_adds_namespaces_of_other_users",
            sys_ptrace_adds_namespaces_of_other_users,
        ),
        live(
            "all_of_them_leave_nothing_to_report",
            all_of_them_leave_nothing_to_report,
        ),
    ];
    // A program that is being copied cannot be run, and whatever is forked meanwhile has it open.
    live::run(tests, Parallelism::One, || Ok(()))
}

/// What `/proc/PID/task/TID/status` says of a thread's privileges.
#[derive(Debug, PartialEq, Eq)]
struct Thread {
    name: String,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
    no_new_privileges: bool,
}

fn threads(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .map(|status| {
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|value| value.strip_prefix(':'))
                    .unwrap_or_else(|| panic!("no {name} in {status}"))
                    .trim()
            };
            let set = |name| u64::from_str_radix(field(name), 16).expect("a set is hexadecimal");
            Thread {
                name: field("Name").to_owned(),
                effective: set("CapEff"),
                permitted: set("CapPrm"),
                inheritable: set("CapInh"),
                ambient: set("CapAmb"),
                no_new_privileges: field("NoNewPrivs") == "1",
            }
        })
        .collect()
}

fn mask(capabilities: &[Capability]) -> u64 {
    capabilities.iter().map(Capability::bitmask).sum()
}

/// Whether every thread has exactly what is documented.
fn is_confined(threads: &[Thread], kept: &[Capability], scout: &[Capability]) -> bool {
    !threads.is_empty()
        && threads.iter().all(|thread| {
            let set = mask(match thread.name.as_str() {
                "scout" => scout,
                name if WRITING.contains(&name) => &[],
                _ => kept,
            });
            thread.no_new_privileges
                && thread.inheritable == 0
                && thread.ambient == 0
                && (thread.effective, thread.permitted) == (set, set)
        })
}

fn wait_until_confined(run: &Running, kept: &[Capability], scout: &[Capability]) {
    let confined = poll_until(PATIENCE, || {
        is_confined(&threads(run.id()), kept, scout).then_some(())
    });
    assert!(confined.is_some(), "{:#?}", threads(run.id()));
}

fn after_attaching_every_thread_has_the_documented_capabilities_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("x.arrows");
    let file = file.to_str().expect("a test's path is text");
    for arguments in [
        &["trace", "--json"][..],
        &["watch", "-b", "-d", "0.2"],
        &["hist", "--duration", "60"],
        &["record", "-o", file],
        &["leaks", "--duration", "60"],
        &["doctor", "--duration", "60"],
    ] {
        let mut command = tcptrace(arguments);
        // `watch` dumps histograms where it runs, and keeps what it needs for that in a folder of somebody else.
        command.current_dir(folder.path());
        let mut run = Running::start(command);
        wait_until_confined(&run, KEPT, SCOUT);
        let names: BTreeSet<String> = threads(run.id()).into_iter().map(|thread| thread.name).collect();
        assert!(names.contains("scout"), "{arguments:?} {names:?}");
        run.signal(Signal::SIGINT);
        assert!(run.status().code().is_some(), "{arguments:?}");
    }
}

fn check_says_what_is_kept() {
    let said = command::run(tcptrace(&["check"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in [
        "  capabilities kept: DAC_READ_SEARCH NET_ADMIN SYS_ADMIN PERFMON BPF\n",
        "  in the one thread that looks into other processes: DAC_READ_SEARCH SYS_PTRACE\n",
        "  no_new_privs: yes\n",
        "  Landlock: ",
    ] {
        assert!(said.out.contains(line), "{line:?} is missing in {}", said.out);
    }
}

/// A recording of a connection.
fn recording(folder: &Path) -> String {
    let file = folder.join("run.arrows");
    let recording = Recording::start(&file, &file, &[]);
    connect_and_close();
    recording.stop();
    file.to_str().expect("a test's path is text").to_owned()
}

fn connect_and_close() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (server, _) = listener.accept().expect("a connection waits");
    drop(server);
    // The FIN has come.
    assert_eq!(client.read(&mut [0]).expect("it is open"), 0);
}

fn a_replay_holds_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = recording(folder.path());
    let out = folder.path().join("out.csv");
    let out = out.to_str().expect("a test's path is text");
    for arguments in [
        &["-v", "report"][..],
        &["-v", "export", "--format", "csv", "-o", out],
        &["-v", "hist"],
        &["-v", "doctor"],
        &["-v", "watch", "--speed", "0"],
    ] {
        let arguments = [arguments, &[&file]].concat();
        let said = command::run(tcptrace(&arguments));
        assert!(matches!(said.code, Some(0 | 3)), "{arguments:?} {said:?}");
        let held = "capabilities kept: none; Landlock: ";
        assert!(said.err.contains(held), "{arguments:?} {said:?}");
    }
    // Between two frames there is time to look.
    let mut run = Running::start(tcptrace(&["watch", "-d", "60", &file]));
    wait_until_confined(&run, &[], &[]);
    run.signal(Signal::SIGKILL);
    assert_eq!(run.status().code(), None);
}

fn root_still_writes_into_the_folder_of_a_user() {
    let home = Home::new();
    let out = home.path().join("out.json");
    let out = out.to_str().expect("a test's path is text");
    let said = command::run(tcptrace(&["trace", "--json", "--duration", "0.2", "-o", out]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(fs::read_to_string(out).is_ok_and(|text| text.contains("\"header\"")));
    let file = recording(home.path());
    std::os::unix::fs::chown(&file, Some(tcptrace_tests::user::NOBODY), None).expect("root gives it away");
    let said = command::run(tcptrace(&["report", &file]));
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// What a user with these capabilities sees. `arguments` follow the copy's name.
fn as_user(home: &Home, capabilities: &[Capability], arguments: &[&str]) -> Said {
    command::run(home.tcptrace(capabilities, arguments))
}

/// Sockets that listen on this port, in the lines of `snapshot --json`.
fn listeners(said: &Said, port: u16) -> Vec<Value> {
    said.out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
        .filter(|line| line["state"] == "LISTEN" && line["local"]["port"] == port)
        .collect()
}

fn without_capabilities_a_user_sees_his_own_sockets() {
    Netns::run(|_| {
        let home = Home::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let said = as_user(&home, &[], &["snapshot", "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(listeners(&said, port).len(), 1, "{said:?}");
        assert!(said.err.contains("CAP_BPF, CAP_PERFMON"), "{said:?}");
        assert!(said.err.contains("CAP_SYS_PTRACE"), "{said:?}");
        for arguments in [&["doctor", "--once"][..], &["leaks", "--once"]] {
            let said = as_user(&home, &[], arguments);
            assert!(matches!(said.code, Some(0 | 3)), "{arguments:?} {said:?}");
        }
        for command in ["trace", "watch", "record", "hist", "leaks", "doctor", "check"] {
            let out = ["record", "-o", "x.arrows"];
            let arguments = if command == "record" { &out[..] } else { &out[..0] };
            let arguments = if arguments.is_empty() {
                vec![command]
            } else {
                arguments.to_vec()
            };
            let said = as_user(&home, &[], &arguments);
            assert_eq!(said.code, Some(4), "{command} {said:?}");
            assert!(
                said.err.contains("missing CAP_BPF, CAP_PERFMON"),
                "{command} {said:?}"
            );
        }
    });
}

/// The header of `trace --json`, the states that a connection enters while it runs, and what it says.
fn trace(home: &Home, capabilities: &[Capability], kept: &[Capability], scout: &[Capability]) -> Traced {
    let mut run = Running::start(home.tcptrace(capabilities, &["trace", "--json"]));
    let mut stdout = run.stdout();
    let header: Value = serde_json::from_str(&command::first_line(&mut stdout))
        .unwrap_or_else(|error| panic!("{error}: {}", run.messages()));
    wait_until_confined(&run, kept, scout);
    connect_and_close();
    // The shortest of the states is over once the client's end is.
    std::thread::sleep(Duration::from_millis(100));
    run.signal(Signal::SIGINT);
    let lines = command::rest_of(stdout);
    assert_eq!(run.status().code(), Some(0), "{}", run.messages());
    Traced {
        header,
        states: lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
            .filter_map(|line| line["new"].as_str().map(str::to_owned))
            .collect(),
        messages: run.messages(),
    }
}

struct Traced {
    header: Value,
    states: BTreeSet<String>,
    messages: String,
}

fn bpf_and_perfmon_trace_and_find_holders() {
    Netns::run(|_| {
        let home = Home::new();
        let traced = trace(&home, &TRACING, &TRACING, &[]);
        for state in ["SYN_SENT", "ESTABLISHED", "CLOSE_WAIT", "CLOSE"] {
            assert!(traced.states.contains(state), "{state}: {:?}", traced.states);
        }
        // Other namespaces are not even found, so that there is none that cannot be entered.
        let said = &traced.messages;
        assert!(said.contains("CAP_SYS_PTRACE"), "{said}");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let said = as_user(&home, &TRACING, &["snapshot", "--json"]);
        let rows = listeners(&said, port);
        let [row] = &rows[..] else { panic!("{said:?}") };
        let holder = &row["holders"][0]["pid"];
        assert_eq!(*holder, std::process::id(), "root's process is found: {row}");
    });
}

fn syslog_adds_time_wait() {
    Netns::run(|_| {
        let home = Home::new();
        let with = [
            Capability::CAP_BPF,
            Capability::CAP_PERFMON,
            Capability::CAP_SYSLOG,
        ];
        let traced = trace(&home, &with, &TRACING, &[]);
        assert!(
            traced.states.contains("TIME_WAIT"),
            "{:?} {}",
            traced.states,
            traced.header
        );
        let without = trace(&home, &TRACING, &TRACING, &[]);
        let way = &without.header["header"]["hooks"]["timewait"];
        if *way == "missing" {
            assert!(without.messages.contains("CAP_SYSLOG"), "{}", without.messages);
        } else {
            assert!(without.states.contains("TIME_WAIT"), "{way} {:?}", without.states);
        }
    });
}

/// A listener in a namespace of root's, seen from another with the given capabilities.
fn seen_from_elsewhere(capabilities: &[Capability], inside: impl Fn(&Said, u16) + Sync) {
    Netns::run(|_| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let said = Netns::run(|_| as_user(&Home::new(), capabilities, &["snapshot", "--json"]));
        inside(&said, port);
    });
}

fn sys_admin_adds_sockets_of_other_namespaces() {
    // Its processes are root's, so that they are found with one more capability alone.
    let found = [Capability::CAP_SYS_PTRACE];
    let all = [&TRACING[..], &found].concat();
    seen_from_elsewhere(&all, |said, port| {
        assert_eq!(listeners(said, port), [] as [Value; 0], "{said:?}");
        assert!(said.err.contains("CAP_SYS_ADMIN"), "{said:?}");
    });
    let all = [&TRACING[..], &found, &[Capability::CAP_SYS_ADMIN]].concat();
    seen_from_elsewhere(&all, |said, port| {
        assert_eq!(listeners(said, port).len(), 1, "{said:?}");
    });
}

fn sys_ptrace_adds_namespaces_of_other_users() {
    let all = [&TRACING[..], &[Capability::CAP_SYS_ADMIN]].concat();
    seen_from_elsewhere(&all, |said, port| {
        assert_eq!(listeners(said, port), [] as [Value; 0], "{said:?}");
        assert!(said.err.contains("CAP_SYS_PTRACE"), "{said:?}");
    });
}

fn all_of_them_leave_nothing_to_report() {
    Netns::run(|_| {
        let home = Home::new();
        let all = [KEPT, SCOUT, &[Capability::CAP_NET_ADMIN, Capability::CAP_SYSLOG]].concat();
        let said = as_user(&home, &all, &["check"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(
            said.out.contains("capabilities: all that are needed\n"),
            "{said:?}"
        );
        let traced = trace(&home, &all, KEPT, SCOUT);
        assert!(!traced.messages.contains("not traced"), "{}", traced.messages);
        let said = as_user(&home, &all, &["snapshot"]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    });
}
