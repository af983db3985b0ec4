//! Arguments, exit status, stopping, and error messages of `tcptrace`.

use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    binary, by_name,
    clock::poll_until,
    command::{self, Output, Running},
    live::{self, LiveTest, Parallelism},
    netns::Netns,
};

/// The user `nobody`.
const NOBODY: u32 = 65_534;

fn main() -> ExitCode {
    let test = |name: &str, body: fn()| LiveTest::new(name, &[], body);
    let live = |name: &str, body: fn()| LiveTest::new(name, live::TRACING, body);
    let tests = by_name! {
        test =>
            a_wrong_flag_is_wrong_usage,
            help_and_version_go_to_standard_output;
        live =>
            a_closed_pipe_is_a_clean_end,
            head_gets_its_line_and_the_shell_sees_success,
            an_unprivileged_user_gets_the_remedy,
            a_count_ends_the_run,
            a_duration_ends_the_run,
            sigterm_and_sigint_end_with_the_summary,
            sigusr1_ends_no_command_that_has_nothing_to_write,
            a_full_disk_is_a_failure,
            colours_are_for_terminals_unless_wanted,
            output_to_a_file_is_the_same_stream,
            filters_select_lines,
            a_user_selects_its_processes;
    };
    live::run(tests, Parallelism::Processors, || Ok(()))
}

fn a_wrong_flag_is_wrong_usage() {
    for arguments in [
        &["trace", "--nonsense"][..],
        &["trace", "-n", "many"],
        &["trace", "--duration", "-1"],
        &["trace", "--state", "OPEN"],
        &["trace", "--buffer", "3"],
        &["trace", "--json", "--csv"],
        &["trace", "-4", "-6"],
        &["trace", "--pid", "4194304000"],
        &["trace", "--netns", "/nowhere"],
        &["trace", "--netns", ""],
        &["leaks", "--once", "--netns", "/etc/passwd"],
        &["doctor", "--once", "--netns", "/proc/self/ns/mnt"],
        &["leaks", "--once", "--container", ""],
        &["report", "--from", "+2s", "--to", "+1s", "no-such-file"],
        &["watch", "no-such-file", "--dump", "x.hlog"],
        &["nonsense"],
        &[],
    ] {
        let output = command::run(command::tcptrace(arguments));
        assert_eq!(output.code, Some(2), "{arguments:?} {output:?}");
        assert!(output.out.is_empty(), "{arguments:?} {output:?}");
        assert!(!output.err.is_empty(), "{arguments:?} {output:?}");
    }
}

fn help_and_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["trace", "--help"], &["--version"]] {
        let output = command::run(command::tcptrace(arguments));
        assert_eq!(output.code, Some(0), "{arguments:?} {output:?}");
        assert!(
            output.out.contains("tcptrace") && output.err.is_empty(),
            "{arguments:?} {output:?}"
        );
    }
}

/// Without connections, the tracer has nothing to write when its reader exits.
fn a_closed_pipe_is_a_clean_end() {
    for form in ["--json", "--csv"] {
        Netns::run(|netns| {
            let inode = netns.inode.to_string();
            let mut run = Running::start(command::tcptrace(&["trace", form, "--netns", &inode]));
            let mut stdout = run.stdout();
            assert!(!command::first_line(&mut stdout).is_empty(), "{form}");
            drop(stdout);
            let closed = Instant::now();
            assert_eq!(run.status().code(), Some(0), "{form}");
            assert!(
                closed.elapsed() < Duration::from_secs(5),
                "{form} took {:?}",
                closed.elapsed()
            );
        });
    }
}

fn head_gets_its_line_and_the_shell_sees_success() {
    let script = format!(
        "\"{}\" trace --json | head -1; echo \"${{PIPESTATUS[*]}}\"",
        binary::path().display()
    );
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &script])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = command::run(shell);
    let lines: Vec<&str> = output.out.lines().collect();
    let [header, statuses] = lines[..] else {
        panic!("{output:?}")
    };
    assert!(header.starts_with("{\"header\""), "{output:?}");
    assert_eq!((statuses, output.err.as_str()), ("0 0", ""), "{output:?}");
}

fn an_unprivileged_user_gets_the_remedy() {
    // The build folder may not be accessible to other users.
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let copy = folder.path().join("tcptrace");
    fs::copy(binary::path(), &copy).expect("the binary can be copied");
    for arguments in [&["trace"][..], &["trace", "--json"]] {
        let mut command = Command::new(&copy);
        command.args(arguments).uid(NOBODY).gid(NOBODY);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let output = command::run(command);
        assert_eq!(output.code, Some(4), "{output:?}");
        assert!(output.err.contains("sudo"), "the remedy is missing: {output:?}");
        assert!(
            output.err.lines().count() <= 4,
            "that is more than a user reads: {output:?}"
        );
        assert!(output.out.is_empty(), "{output:?}");
    }
}

fn a_count_ends_the_run() {
    Netns::run(|netns| {
        let inode = netns.inode.to_string();
        let mut run = Running::start(command::tcptrace(&[
            "trace", "--json", "-n", "3", "--netns", &inode,
        ]));
        let mut stdout = run.stdout();
        assert!(command::first_line(&mut stdout).starts_with("{\"header\""));
        connect_and_close();
        let lines = command::rest_of(stdout);
        assert_eq!(run.status().code(), Some(0));
        let [first, second, third, summary] = &lines[..] else {
            panic!("{lines:?}")
        };
        for event in [first, second, third] {
            assert!(event.contains("\"mono_ns\""), "{event}");
        }
        assert_eq!(summary_of(summary)["printed"], 3);
    });
}

fn a_duration_ends_the_run() {
    let started = Instant::now();
    let output = command::run(command::tcptrace(&["trace", "--json", "--duration", "1.5"]));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        started.elapsed() >= Duration::from_millis(1500),
        "after {:?}",
        started.elapsed()
    );
    let summary = summary_of(output.out.lines().last().unwrap_or_default());
    assert!(summary["watched_ns"].as_u64() >= Some(1_500_000_000), "{summary}");
}

fn sigterm_and_sigint_end_with_the_summary() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut run = Running::start(command::tcptrace(&["trace", "--json"]));
        let mut stdout = run.stdout();
        assert!(command::first_line(&mut stdout).starts_with("{\"header\""));
        run.signal(signal);
        let lines = command::rest_of(stdout);
        assert_eq!(run.status().code(), Some(0), "{signal}");
        summary_of(lines.last().map_or("", String::as_str));
    }
}

fn sigusr1_ends_no_command_that_has_nothing_to_write() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for command in ["trace", "hist", "leaks", "doctor"] {
        let mut tracer = command::tcptrace(&[command, "--json", "--duration", "1.5"]);
        tracer.current_dir(folder.path());
        let mut run = Running::start(tracer);
        let stdout = run.stdout();
        // What is ignored may arrive at any time.
        let status = format!("/proc/{}/status", run.id());
        let usr1 = 1 << (Signal::SIGUSR1 as u64 - 1);
        let is_ignored = poll_until(Duration::from_secs(20), || {
            let text = fs::read_to_string(&status).ok()?;
            let set = text.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
            let set = u64::from_str_radix(set.trim(), 16).ok()?;
            (set & usr1 != 0).then_some(())
        });
        assert!(is_ignored.is_some(), "{command}");
        for _ in 0..10 {
            run.signal(Signal::SIGUSR1);
            thread::sleep(Duration::from_millis(100));
        }
        let lines = command::rest_of(stdout);
        assert!(run.status().code().is_some(), "{command}: {}", run.messages());
        summary_of(lines.last().map_or("", String::as_str));
    }
    assert_eq!(fs::read_dir(folder.path()).expect("our own").count(), 0);
}

fn a_full_disk_is_a_failure() {
    let mut command = command::tcptrace(&["trace", "--json"]);
    command.stdout(
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux has /dev/full"),
    );
    let output = command::run(command);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("No space left"), "{output:?}");
}

fn output_to_a_file_is_the_same_stream() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("events");
    let path = file.to_str().expect("a plain name");
    let Output { code, out, err } = command::run(command::tcptrace(&[
        "trace",
        "--json",
        "--duration",
        "0.2",
        "-o",
        path,
    ]));
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    let text = fs::read_to_string(&file).expect("the file was written");
    assert!(text.starts_with("{\"header\""), "{text}");
    summary_of(text.lines().last().unwrap_or_default());
}

/// Two connections, one over each IP version: each filter selects the right one.
fn filters_select_lines() {
    type Keeps = fn(&Value, u16) -> bool;
    let filters: [(&str, Keeps); 6] = [
        ("-4", |event, _| event["family"] == "ipv4"),
        ("-6", |event, _| event["family"] == "ipv6"),
        ("-L{}", |event, port| event["local"]["port"] == port),
        ("-D{}", |event, port| event["remote"]["port"] == port),
        ("-sclose-wait", |event, _| {
            event["old"] == "CLOSE_WAIT" || event["new"] == "CLOSE_WAIT"
        }),
        ("-p{pid}", |event, _| event["owner"]["pid"] == std::process::id()),
    ];
    for (filter, keeps) in filters {
        Netns::run(|netns| {
            let listeners = ["127.0.0.1:0", "[::1]:0"].map(|at| TcpListener::bind(at).expect("loopback"));
            let port = listeners[0].local_addr().expect("bound").port();
            let flag = filter
                .replace("{}", &port.to_string())
                .replace("{pid}", &std::process::id().to_string());
            let inode = netns.inode.to_string();
            let mut run = Running::start(command::tcptrace(&["trace", "--json", "--netns", &inode, &flag]));
            let mut stdout = run.stdout();
            command::first_line(&mut stdout);
            for listener in &listeners {
                let address = listener.local_addr().expect("bound");
                drop(TcpStream::connect(address).expect("the listener takes a connection"));
                drop(listener.accept().expect("it waits"));
            }
            run.signal(Signal::SIGINT);
            let lines = command::rest_of(stdout);
            assert_eq!(run.status().code(), Some(0));
            let (_, events) = lines.split_last().expect("at least the summary");
            assert!(!events.is_empty(), "{flag} leaves nothing");
            for line in events {
                let event: Value = serde_json::from_str(line).expect("JSON");
                assert!(keeps(&event, port), "{flag} leaves {line}");
            }
        });
    }
}

fn a_user_selects_its_processes() {
    Netns::run(|netns| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback takes a listener");
        let port = listener.local_addr().expect("bound").port();
        let inode = netns.inode.to_string();
        let mut run = Running::start(command::tcptrace(&[
            "trace", "--json", "--netns", &inode, "-u", "nobody",
        ]));
        let mut stdout = run.stdout();
        command::first_line(&mut stdout);
        let connect = || {
            let mut bash = Command::new("bash");
            bash.args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]);
            bash
        };
        let pids = [0, NOBODY].map(|user| {
            let mut child = connect().uid(user).spawn().expect("bash starts");
            assert!(child.wait().expect("our own child").success());
            drop(listener.accept().expect("it waits"));
            child.id()
        });
        run.signal(Signal::SIGINT);
        let lines = command::rest_of(stdout);
        let (_, events) = lines.split_last().expect("at least the summary");
        let events: Vec<Value> = events
            .iter()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(events[0]["new"], "SYN_SENT", "{events:?}");
        let of_nobody = |event: &Value| event["owner"]["pid"] == pids[1];
        assert!(events.iter().all(of_nobody), "{pids:?}: {events:?}");
    });
}

fn connect_and_close() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback takes a listener");
    let address = listener.local_addr().expect("a listener has an address");
    drop(TcpStream::connect(address).expect("the listener takes a connection"));
    drop(listener.accept().expect("it waits"));
}

fn summary_of(line: &str) -> Value {
    let mut object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    assert!(object.get("summary").is_some(), "{line}");
    object["summary"].take()
}

fn colours_are_for_terminals_unless_wanted() {
    Netns::run(|_| {
        let _listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        for (arguments, is_coloured) in [
            (&["snapshot"][..], false),
            (&["snapshot", "--color", "always"], true),
            (&["snapshot", "--color", "always", "--json"], false),
            (&["snapshot", "--color", "never"], false),
        ] {
            let output = command::run(command::tcptrace(arguments));
            let Output { code, out, err } = &output;
            assert_eq!(*code, Some(0), "{err}");
            assert!(out.contains("LISTEN"), "{out}");
            assert_eq!(
                out.contains("\u{1b}[34mLISTEN"),
                is_coloured,
                "{arguments:?}: {out}"
            );
            assert_eq!(out.contains('\u{1b}'), is_coloured, "{arguments:?}: {out}");
        }
    });
}
