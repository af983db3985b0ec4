//! The privileges of `tcptrace` after it has attached, or before it reads a recording; and what an unprivileged user
//! can do with each capability: the tables of docs/safety.md.

mod sight;

use caps::Capability;
use nix::sys::signal::Signal;
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
    by_name,
    clock::poll_until,
    command::{self, Running, tcptrace},
    live::{self, LiveTest, Parallelism, Requirement},
    recording::Recording,
    user::Home,
};

const TIMEOUT: Duration = Duration::from_mins(1);

/// Kept after attaching by every thread except the one that inspects other processes.
const KEPT: &[Capability] = &[
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_PERFMON,
    Capability::CAP_BPF,
];

/// Kept by that thread.
const SCOUT: &[Capability] = &[
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_PTRACE,
];

/// Threads that only write to open files.
const WRITING: [&str; 3] = ["messages", "output", "screen"];

/// The capabilities with which every command that traces works.
const TRACING: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

fn main() -> ExitCode {
    let live = |name: &str, body: fn()| LiveTest::new(name, live::TRACING, body);
    let root = |name: &str, body: fn()| LiveTest::new(name, &[Requirement::Root], body);
    let in_user_namespace =
        |name: &str, body: fn()| LiveTest::new(name, &[Requirement::Root, Requirement::UserNamespaces], body);
    let tests = by_name! {
        live =>
            after_attaching_every_thread_has_the_documented_capabilities_alone,
            check_reports_the_capabilities_kept,
            a_replay_holds_nothing,
            root_still_writes_into_the_folder_of_a_user;
        root => sight::without_capabilities_a_user_sees_his_own_sockets;
        live =>
            sight::bpf_and_perfmon_trace_and_find_holders,
            sight::syslog_adds_time_wait,
            sight::sys_admin_adds_sockets_of_other_namespaces,
            sight::sys_ptrace_adds_namespaces_of_other_users,
            sight::all_of_them_leave_nothing_to_report;
        root =>
            sight::an_empty_answer_names_what_could_not_be_seen,
            sight::outside_of_a_pid_namespace_nothing_is_seen_and_that_is_reported;
        in_user_namespace => sight::capabilities_of_a_user_namespace_are_not_called_enough;
        live => sight::a_namespace_that_only_sockets_keep_alive_is_read_or_named;
    };
    // A program that is being copied cannot be executed, and processes forked meanwhile have it open.
    live::run(tests, Parallelism::One, || Ok(()))
}

/// The privileges of a thread in `/proc/PID/task/TID/status`.
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

/// Whether every thread has exactly the documented privileges.
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
    let confined = poll_until(TIMEOUT, || {
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
        // `watch` dumps histograms to its working directory, and keeps the capabilities for that in another user's
        // folder.
        command.current_dir(folder.path());
        let mut run = Running::start(command);
        wait_until_confined(&run, KEPT, SCOUT);
        let names: BTreeSet<String> = threads(run.id()).into_iter().map(|thread| thread.name).collect();
        assert!(names.contains("scout"), "{arguments:?} {names:?}");
        run.signal(Signal::SIGINT);
        assert!(run.status().code().is_some(), "{arguments:?}");
    }
}

fn check_reports_the_capabilities_kept() {
    let output = command::run(tcptrace(&["check"]));
    assert_eq!(output.code, Some(0), "{output:?}");
    for line in [
        "  capabilities kept: DAC_READ_SEARCH NET_ADMIN SYS_ADMIN PERFMON BPF\n",
        "  in the scout thread, which inspects other processes: DAC_READ_SEARCH NET_ADMIN SYS_PTRACE\n",
        "  no_new_privs: yes\n",
        "  Landlock: ",
    ] {
        assert!(output.out.contains(line), "{line:?} is missing in {}", output.out);
    }
}

/// A recording of one connection.
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
    // The FIN has arrived.
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
        let output = command::run(tcptrace(&arguments));
        assert!(matches!(output.code, Some(0 | 3)), "{arguments:?} {output:?}");
        let held = "capabilities kept: none; Landlock: ";
        assert!(output.err.contains(held), "{arguments:?} {output:?}");
    }
    // Between two frames there is time to read them.
    let mut run = Running::start(tcptrace(&["watch", "-d", "60", &file]));
    wait_until_confined(&run, &[], &[]);
    run.signal(Signal::SIGKILL);
    assert_eq!(run.status().code(), None);
}

fn root_still_writes_into_the_folder_of_a_user() {
    let home = Home::new();
    let out = home.path().join("out.json");
    let out = out.to_str().expect("a test's path is text");
    let output = command::run(tcptrace(&["trace", "--json", "--duration", "0.2", "-o", out]));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(fs::read_to_string(out).is_ok_and(|text| text.contains("\"header\"")));
    let file = recording(home.path());
    std::os::unix::fs::chown(&file, Some(tcptrace_tests::user::NOBODY), None).expect("root gives it away");
    let output = command::run(tcptrace(&["report", &file]));
    assert_eq!(output.code, Some(0), "{output:?}");
}
