//! Runs whose outputs are full, closed or stalled, and signals that end them.

mod stalls;

use nix::sys::signal::Signal;
use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    by_name,
    clock::poll_until,
    command::{self, Running, tcptrace},
    live::{self, LiveTest, Parallelism},
    netns::Netns,
    tracer::Tracer,
};

/// Maximum time for anything on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// More than any clock can add to the present.
const HUGE: &str = "9223372036854775807";

fn main() -> ExitCode {
    let live = |name: &str, body: fn()| LiveTest::new(name, live::TRACING, body);
    let tests = by_name! {
        live =>
            messages_that_cannot_be_written_cost_no_run,
            stalls::unread_messages_do_not_block_the_end_of_a_run,
            a_reader_that_goes_away_is_a_clean_end_of_every_command,
            each_signal_that_ends_a_run_ends_it_in_order,
            under_nohup_a_hang_up_is_ignored,
            spans_beyond_all_clocks_are_for_ever,
            names_of_files_need_not_be_text,
            the_first_event_after_a_quiet_time_is_printed_at_once,
            stalls::a_reader_that_stalls_costs_lines_that_are_counted_where_they_are_missing,
            stalls::a_reader_that_stalls_costs_frames_that_are_counted,
            stalls::a_reader_that_takes_nothing_does_not_keep_a_run_from_ending,
            stalls::losses_of_the_kernel_s_buffer_are_reported_where_they_happen;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}

fn full() -> File {
    let device = File::options().write(true).open("/dev/full");
    device.expect("Linux has /dev/full")
}

/// Waits until the run has reported that it stops in order when asked to.
fn wait_until_it_catches(run: &Running, signal: Signal) {
    let status = format!("/proc/{}/status", run.id());
    let mask = 1_u64 << (signal as i32 - 1);
    poll_until(TIMEOUT, || {
        let text = fs::read_to_string(&status).ok()?;
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask in hexadecimal");
        (caught & mask != 0).then_some(())
    })
    .expect("it starts");
}

/// The command with the default action for SIGHUP or with SIGHUP ignored, independent of this process.
fn with_hang_up(action: libc::sighandler_t, arguments: &[&str]) -> Command {
    let mut command = tcptrace(arguments);
    // SAFETY: the call takes numbers only, and is safe between fork and exec (signal-safety(7)).
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGHUP, action);
            Ok(())
        });
    }
    command
}

/// Stops the run if it is stoppable, and returns how it ended.
fn ended_by(run: &mut Running, signal: Signal) -> Option<i32> {
    wait_until_it_catches(run, signal);
    run.signal(signal);
    run.status().code()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn messages_that_cannot_be_written_cost_no_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ring = folder.path().join("ring");
    let runs: [(&[&str], &str); 4] = [
        (&["trace", "--json", "-v", "-o"], "trace.json"),
        (&["hist", "-o"], "hist.txt"),
        (&["record", "-o"], "run.arrows"),
        (&["record", "--flight-recorder", "1", "-o"], "ring"),
    ];
    for is_closed in [false, true] {
        for (arguments, name) in runs {
            let file = folder.path().join(name);
            let arguments = [arguments, &[path(&file)]].concat();
            let mut command = tcptrace(&arguments);
            if is_closed {
                let (reader, writer) = io::pipe().expect("a pipe can be had");
                drop(reader);
                command.stderr(writer);
            } else {
                command.stderr(full());
            }
            let mut run = Running::start(command);
            if name == "ring" {
                wait_until_it_catches(&run, Signal::SIGUSR1);
                run.signal(Signal::SIGUSR1);
                let saved = || {
                    let mut entries = fs::read_dir(&ring).ok()?.flatten();
                    entries.find(|entry| entry.path().join("states.hlog").exists())
                };
                poll_until(TIMEOUT, saved).expect("it saves its ring");
            }
            assert_eq!(ended_by(&mut run, Signal::SIGTERM), Some(0), "{arguments:?}");
            let written = if name == "ring" {
                fs::read_dir(&ring).expect("it is there").count() as u64
            } else {
                fs::metadata(&file).expect("it is there").len()
            };
            assert!(written > 0, "{arguments:?} has written nothing");
            if name == "ring" {
                fs::remove_dir_all(&ring).expect("our own folder");
            } else {
                fs::remove_file(&file).expect("our own file");
            }
        }
    }
}

fn a_reader_that_goes_away_is_a_clean_end_of_every_command() {
    for arguments in [
        &["check"][..],
        &["snapshot"],
        &["doctor", "--once", "--fail-on", "critical"],
        &["doctor", "--explain", "close-wait-leak"],
        &["trace"],
        &["watch", "-b"],
        &["hist", "--json"],
    ] {
        let (reader, writer) = io::pipe().expect("a pipe can be had");
        drop(reader);
        let mut command = tcptrace(arguments);
        command.stdout(writer);
        let output = command::run(command);
        assert_eq!(output.code, Some(0), "{arguments:?} {output:?}");
        assert!(!output.err.contains("ipe"), "{arguments:?} {output:?}");
    }
}

fn each_signal_that_ends_a_run_ends_it_in_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start = |arguments: &[&str]| with_hang_up(libc::SIG_DFL, arguments);
    for signal in [Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGINT, Signal::SIGTERM] {
        let recording = folder.path().join(format!("{signal}.arrows"));
        let mut run = Running::start(start(&["record", "-o", path(&recording)]));
        assert_eq!(ended_by(&mut run, signal), Some(0), "{signal}");
        assert!(run.messages().contains(" not recorded"), "{signal}");
        let report = command::run(tcptrace(&["report", path(&recording)]));
        assert_eq!(report.code, Some(0), "{signal} {report:?}");
        assert!(!report.out.contains("not ended"), "{signal} {report:?}");

        let mut run = Running::start(start(&["trace", "--json"]));
        let mut stdout = run.stdout();
        assert!(command::first_line(&mut stdout).starts_with("{\"header\""));
        assert_eq!(ended_by(&mut run, signal), Some(0), "{signal}");
        let lines = command::rest_of(stdout);
        assert!(
            lines.last().is_some_and(|line| line.starts_with("{\"summary\"")),
            "{signal}"
        );

        let measured = folder.path().join(format!("{signal}.json"));
        let mut run = Running::start(start(&["hist", "--json", "-o", path(&measured)]));
        assert_eq!(ended_by(&mut run, signal), Some(0), "{signal}");
        let text = fs::read_to_string(&measured).expect("it was written");
        assert!(
            text.lines()
                .last()
                .is_some_and(|line| line.starts_with("{\"summary\"")),
            "{signal}"
        );

        let mut run = Running::start(start(&["watch", "-b"]));
        assert_eq!(ended_by(&mut run, signal), Some(0), "{signal}");
        assert!(run.messages().contains(" on this host, "), "{signal}");
    }
}

fn under_nohup_a_hang_up_is_ignored() {
    let command = with_hang_up(libc::SIG_IGN, &["trace", "--json"]);
    let mut run = Running::start(command);
    let mut stdout = run.stdout();
    Netns::run(|netns| {
        wait_until_it_catches(&run, Signal::SIGTERM);
        assert!(command::first_line(&mut stdout).starts_with("{\"header\""));
        run.signal(Signal::SIGHUP);
        // Events from now on are still traced.
        drop(TcpListener::bind("127.0.0.1:0").expect("loopback takes a listener"));
        let of_listener = format!("\"netns\":{}", netns.inode);
        while !command::first_line(&mut stdout).contains(&of_listener) {}
    });
    assert_eq!(ended_by(&mut run, Signal::SIGTERM), Some(0));
}

fn spans_beyond_all_clocks_are_for_ever() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let most = u64::MAX.to_string();
    let rotation = format!("{most}s");
    let runs: [&[&str]; 7] = [
        &[
            "trace",
            "--duration",
            HUGE,
            "-n",
            &most,
            "--max-connections",
            &most,
        ],
        &[
            "hist",
            "--duration",
            HUGE,
            "--interval",
            HUGE,
            "--format",
            "hlog",
            "--top",
            &most,
        ],
        &["watch", "-b", "-d", HUGE, "-n", &most],
        &["leaks", "--duration", HUGE, "--older-than", HUGE],
        &["doctor", "--duration", HUGE, "--fail-on", "critical"],
        &[
            "record",
            "--duration",
            HUGE,
            "--sync",
            HUGE,
            "--rotate",
            &rotation,
            "--keep",
            &most,
            "-o",
            path(&one),
        ],
        &["record", "--flight-recorder", HUGE, "-o", path(&two)],
    ];
    for arguments in runs {
        let mut run = Running::start(tcptrace(arguments));
        assert_eq!(ended_by(&mut run, Signal::SIGTERM), Some(0), "{arguments:?}");
    }
}

fn names_of_files_need_not_be_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let named = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let run = |arguments: &[&OsStr]| {
        let mut command = tcptrace(&[]);
        command.args(arguments);
        let output = command::run(command);
        assert_eq!(output.code, Some(0), "{arguments:?} {output:?}");
        output.out
    };
    let word = OsStr::new;
    let recording = named(b"r\xff.arrows");
    run(&[
        word("record"),
        word("--duration"),
        word("0.2"),
        word("-o"),
        recording.as_os_str(),
    ]);
    assert!(recording.exists());
    let rotated = named(b"s\xff.arrows");
    let flags = ["record", "--duration", "0.2", "--rotate", "1h", "-o"].map(OsStr::new);
    run(&[&flags[..], &[rotated.as_os_str()]].concat());
    assert!(named(b"s\xff-000000.arrows").exists());
    assert!(!run(&[word("report"), recording.as_os_str()]).is_empty());
    let table = named(b"t\xff.csv");
    let flags = ["export", "--format", "csv", "-o"].map(OsStr::new);
    run(&[&flags[..], &[table.as_os_str(), recording.as_os_str()]].concat());
    assert!(table.exists());
    let lines = named(b"l\xff.csv");
    let flags = ["trace", "--csv", "--duration", "0.2", "-o"].map(OsStr::new);
    run(&[&flags[..], &[lines.as_os_str()]].concat());
    assert!(lines.exists());
}

fn the_first_event_after_a_quiet_time_is_printed_at_once() {
    /// Longer than the drains that have to find nothing before the tracer sleeps.
    const QUIET: Duration = Duration::from_millis(600);
    /// What a user may notice, and twice the time between two drains.
    const AT_ONCE: Duration = Duration::from_millis(50);
    Netns::run(|netns| {
        let tracer = Tracer::start(&[]);
        // Another program may keep a CPU for some time.
        let fastest = (0..5)
            .map(|_| {
                thread::sleep(QUIET);
                let begun = Instant::now();
                let listener =
                    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes a listener");
                let port = listener.local_addr().expect("it has an address").port();
                tracer
                    .wait_until(netns, TIMEOUT, |events| {
                        events
                            .iter()
                            .rev()
                            .find(|event| event.local.port == port)
                            .map(drop)
                    })
                    .expect("the listener is reported");
                begun.elapsed()
            })
            .min()
            .expect("five times");
        tracer.stop();
        assert!(fastest < AT_ONCE, "{fastest:?}");
    });
}
