//! What a user with some of the capabilities sees, and what is named as unseen.

use crate::{KEPT, SCOUT, TRACING, connect_and_close, wait_until_confined};
use caps::Capability;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    time::Duration,
};
use tcptrace_tests::{
    command::{self, Output, Running, tcptrace},
    netns::Netns,
    user::Home,
};

/// The output for a user with these capabilities. `arguments` follow the name of the copy.
fn as_user(home: &Home, capabilities: &[Capability], arguments: &[&str]) -> Output {
    command::run(home.tcptrace(capabilities, arguments))
}

/// Listeners of this port, in the lines of `snapshot --json`.
fn listeners(output: &Output, port: u16) -> Vec<Value> {
    output
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
        .filter(|line| line["state"] == "LISTEN" && line["local"]["port"] == port)
        .collect()
}

pub(crate) fn without_capabilities_a_user_sees_his_own_sockets() {
    Netns::run(|_| {
        let home = Home::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let output = as_user(&home, &[], &["snapshot", "--json"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(listeners(&output, port).len(), 1, "{output:?}");
        assert!(output.err.contains("CAP_BPF, CAP_PERFMON"), "{output:?}");
        assert!(output.err.contains("CAP_SYS_PTRACE"), "{output:?}");
        for arguments in [&["doctor", "--once"][..], &["leaks", "--once"]] {
            let output = as_user(&home, &[], arguments);
            assert!(matches!(output.code, Some(3 | 4)), "{arguments:?} {output:?}");
        }
        for command in ["trace", "watch", "record", "hist", "leaks", "doctor", "check"] {
            let out = ["record", "-o", "x.arrows"];
            let arguments = if command == "record" { &out[..] } else { &out[..0] };
            let arguments = if arguments.is_empty() {
                vec![command]
            } else {
                arguments.to_vec()
            };
            let output = as_user(&home, &[], &arguments);
            assert_eq!(output.code, Some(4), "{command} {output:?}");
            assert!(
                output.err.contains("missing CAP_BPF, CAP_PERFMON"),
                "{command} {output:?}"
            );
        }
    });
}

/// The header of `trace --json`, the states that a connection enters while it runs, and its messages.
fn trace(home: &Home, capabilities: &[Capability], kept: &[Capability], scout: &[Capability]) -> Traced {
    let mut run = Running::start(home.tcptrace(capabilities, &["trace", "--json"]));
    let mut stdout = run.stdout();
    let header: Value = serde_json::from_str(&command::first_line(&mut stdout))
        .unwrap_or_else(|error| panic!("{error}: {}", run.messages()));
    wait_until_confined(&run, kept, scout);
    connect_and_close();
    // The shortest of the states has ended when the client's socket has.
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

pub(crate) fn bpf_and_perfmon_trace_and_find_holders() {
    Netns::run(|_| {
        let home = Home::new();
        let traced = trace(&home, &TRACING, &TRACING, &[]);
        for state in ["SYN_SENT", "ESTABLISHED", "CLOSE_WAIT", "CLOSE"] {
            assert!(traced.states.contains(state), "{state}: {:?}", traced.states);
        }
        // Other namespaces are not found, so that there is none that cannot be entered.
        let output = &traced.messages;
        assert!(output.contains("CAP_SYS_PTRACE"), "{output}");
        let unseen = &traced.header["header"]["unseen"];
        let mut kinds = unseen.as_array().into_iter().flatten();
        assert!(kinds.any(|unseen| unseen["kind"] == "processes"), "{unseen}");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let output = as_user(&home, &TRACING, &["snapshot", "--json"]);
        let rows = listeners(&output, port);
        let [row] = &rows[..] else { panic!("{output:?}") };
        let holder = &row["holders"][0]["pid"];
        assert_eq!(*holder, std::process::id(), "root's process is found: {row}");
    });
}

pub(crate) fn syslog_adds_time_wait() {
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
        let mechanism = &without.header["header"]["hooks"]["timewait"];
        if *mechanism == "missing" {
            assert!(without.messages.contains("CAP_SYSLOG"), "{}", without.messages);
        } else {
            assert!(
                without.states.contains("TIME_WAIT"),
                "{mechanism} {:?}",
                without.states
            );
        }
    });
}

/// A listener in a namespace of root, traced from another one with the given capabilities.
fn seen_from_elsewhere(capabilities: &[Capability], inside: impl Fn(&Output, u16) + Sync) {
    Netns::run(|_| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let output = Netns::run(|_| as_user(&Home::new(), capabilities, &["snapshot", "--json"]));
        inside(&output, port);
    });
}

pub(crate) fn sys_admin_adds_sockets_of_other_namespaces() {
    // Its processes are root's, so that only one more capability finds them.
    let found = [Capability::CAP_SYS_PTRACE];
    let all = [&TRACING[..], &found].concat();
    seen_from_elsewhere(&all, |output, port| {
        assert_eq!(listeners(output, port), [] as [Value; 0], "{output:?}");
        assert!(output.err.contains("CAP_SYS_ADMIN"), "{output:?}");
    });
    let all = [&TRACING[..], &found, &[Capability::CAP_SYS_ADMIN]].concat();
    seen_from_elsewhere(&all, |output, port| {
        assert_eq!(listeners(output, port).len(), 1, "{output:?}");
    });
}

pub(crate) fn sys_ptrace_adds_namespaces_of_other_users() {
    let all = [&TRACING[..], &[Capability::CAP_SYS_ADMIN]].concat();
    seen_from_elsewhere(&all, |output, port| {
        assert_eq!(listeners(output, port), [] as [Value; 0], "{output:?}");
        assert!(output.err.contains("CAP_SYS_PTRACE"), "{output:?}");
    });
}

pub(crate) fn all_of_them_leave_nothing_to_report() {
    Netns::run(|_| {
        let home = Home::new();
        let all = [KEPT, SCOUT, &[Capability::CAP_SYSLOG]].concat();
        let output = as_user(&home, &all, &["check"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(
            output.out.contains("capabilities: all required ones are held\n"),
            "{output:?}"
        );
        let traced = trace(&home, &all, KEPT, SCOUT);
        assert!(!traced.messages.contains("not seen"), "{}", traced.messages);
        let output = as_user(&home, &all, &["snapshot"]);
        assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{output:?}");
    });
}

/// The `unseen` entries of the summary: kinds and ids.
fn unseen(output: &Output) -> Vec<(String, Vec<u64>)> {
    let summary = output
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
        .find_map(|line| line.get("summary").cloned())
        .unwrap_or_else(|| panic!("no summary: {output:?}"));
    let list = summary["unseen"].as_array().cloned().unwrap_or_default();
    list.iter()
        .map(|unseen| {
            let ids = unseen["ids"].as_array().into_iter().flatten();
            let kind = unseen["kind"].as_str().unwrap_or_default().to_owned();
            (kind, ids.filter_map(Value::as_u64).collect())
        })
        .collect()
}

pub(crate) fn an_empty_answer_names_what_could_not_be_seen() {
    Netns::run(|netns| {
        let inode = netns.inode.to_string();
        let own = ["-N", inode.as_str()];
        // Everything selected is seen.
        let asked = |command: &[&str]| command::run(tcptrace(&[command, &own].concat()));
        let output = asked(&["leaks", "--once"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.out.contains("\nno leaks found\n"), "{output:?}");
        let output = asked(&["snapshot", "--json"]);
        assert_eq!((output.code, output.out.as_str()), (Some(0), ""), "{output:?}");
        // From another namespace, without permission to enter it or to search for it.
        let home = Home::new();
        Netns::run(|_| {
            // What nobody may search for is not reported as nonexistent.
            let output = as_user(&home, &[], &["snapshot", "-N", &inode]);
            assert_eq!(output.code, Some(4), "{output:?}");
            assert!(output.out.contains("CAP_SYS_PTRACE is missing"), "{output:?}");
            let of_init = as_user(&home, &[], &["snapshot", "-N", "/proc/1/ns/net"]);
            assert_eq!(of_init.code, Some(2), "{of_init:?}");
            assert!(of_init.err.contains("CAP_SYS_PTRACE is missing"), "{of_init:?}");
            for arguments in [&["leaks", "--once"][..], &["doctor", "--once"]] {
                let output = as_user(&home, &[], arguments);
                assert_eq!(output.code, Some(4), "{output:?}");
                assert!(output.out.contains("\nnot seen: "), "{output:?}");
                for clean in ["\nno leaks found\n", " sockets\n"] {
                    assert!(!output.out.contains(clean), "{output:?}");
                }
                let output = as_user(&home, &[], &[arguments, &["--json"]].concat());
                assert_eq!(output.code, Some(4), "{output:?}");
                let kinds: BTreeSet<String> = unseen(&output).into_iter().map(|(kind, _)| kind).collect();
                assert!(
                    kinds.contains("processes") && kinds.contains("holders"),
                    "{output:?}"
                );
            }
            // Histograms are read from files later, so that the files have what could not be seen, too.
            let nothing = ["hist", "--duration", "0.2", "-s", "close-wait", "-L", "1"];
            let output = as_user(&home, &TRACING, &nothing);
            assert_eq!(output.code, Some(4), "{output:?}");
            assert!(output.out.contains("nothing matched\nnot seen: "), "{output:?}");
            for command in [&["snapshot", "--json"][..], &["leaks", "--once", "--json"]] {
                let output = as_user(&home, &[], &[command, &own].concat());
                assert_eq!(output.code, Some(4), "{output:?}");
                let whole = ("network-namespaces".to_owned(), vec![netns.inode]);
                assert!(unseen(&output).contains(&whole), "{output:?}");
            }
        });
    });
}

/// `tcptrace` in new namespaces, by `unshare`.
fn unshared(flags: &[&str], arguments: &[&str]) -> Output {
    let program = tcptrace(arguments);
    let mut command = std::process::Command::new("unshare");
    command
        .args(flags)
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    command::run(command)
}

pub(crate) fn outside_of_a_pid_namespace_nothing_is_seen_and_that_is_reported() {
    Netns::run(|_| {
        let flags = ["--mount", "--pid", "--fork", "--mount-proc"];
        for arguments in [&["leaks", "--once"][..], &["doctor", "--once"], &["snapshot"]] {
            let output = unshared(&flags, arguments);
            assert_eq!(output.code, Some(4), "{output:?}");
            assert!(output.out.contains("not the host's PID namespace"), "{output:?}");
        }
        let output = unshared(&flags, &["check"]);
        assert!(
            output
                .out
                .contains("  NOT seen: processes outside of this PID namespace"),
            "{output:?}"
        );
    });
}

pub(crate) fn capabilities_of_a_user_namespace_are_not_called_enough() {
    let flags = ["--user", "--map-root-user"];
    let check = unshared(&flags, &["check"]);
    assert_eq!(check.code, Some(4), "{check:?}");
    for section in [
        "capabilities: none outside of this user namespace\n",
        "\ntracing: NOT possible: ",
        "\nexisting sockets by netlink",
        "\nholders: ",
        "\nprivileges after attaching\n",
    ] {
        assert!(check.out.contains(section), "{section:?}: {check:?}");
    }
    let trace = unshared(&flags, &["trace", "--duration", "1"]);
    assert_eq!(trace.code, Some(4), "{trace:?}");
    assert!(trace.err.contains("this is a user namespace"), "{trace:?}");
    assert!(!trace.err.contains("missing"), "{trace:?}");
}

pub(crate) fn a_namespace_that_only_sockets_keep_alive_is_read_or_named() {
    let home = Home::new();
    Netns::run(|_| {
        let outside = fs::File::open("/proc/thread-self/ns/net").expect("a thread has one");
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace can be made");
        tcptrace_tests::interface::bring_up("lo").expect("it has one");
        let inside = fs::metadata("/proc/thread-self/ns/net").expect("a thread has one");
        let inode = std::os::unix::fs::MetadataExt::ino(&inside);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        drop(TcpStream::connect(address).expect("it listens"));
        let (forgotten, _) = listener.accept().expect("a connection waits");
        nix::sched::setns(outside, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter it");

        let [pid, netns] = [u64::from(std::process::id()), inode].map(|number| number.to_string());
        let output = command::run(tcptrace(&["snapshot", "--json", "-N", &netns]));
        assert_eq!(
            (output.code, listeners(&output, address.port()).len()),
            (Some(0), 1),
            "{output:?}"
        );
        for span in [&["--once"][..], &["--duration", "0.2"]] {
            let more = ["--json", "--older-than", "0", "-p", &pid, "-N", &netns];
            let output = command::run(tcptrace(&[&["leaks"][..], span, &more].concat()));
            assert_eq!(output.code, Some(3), "{output:?}");
        }
        // A user who may not inspect the process gets a message about the namespace.
        let blind = [&TRACING[..], &[Capability::CAP_SYS_ADMIN]].concat();
        let output = as_user(&home, &blind, &["leaks", "--once", "--json", "-N", &netns]);
        assert_eq!(output.code, Some(4), "{output:?}");
        assert!(
            unseen(&output).iter().any(|(_, ids)| ids.contains(&inode)),
            "{output:?}"
        );
        drop(forgotten);
    });
}
