//! Recordings on the running kernel: a replay reports the same as the live run, a kill and a full disk lose no more
//! than documented, rotated files are replayed as one, and third-party tools read the same rows.

mod flight_recorder;

use nix::sys::signal::Signal;
use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, SystemTime},
};
use tcptrace_tests::{
    arrow_readers, by_name,
    clock::poll_until,
    command::{self, tcptrace},
    files,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    random::Random,
    recording::{self, Recording},
    small_disk,
    workload::Workload,
};

/// Maximum time until an expected event.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum delay of scheduled work on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// Runs the queries of docs/postmortem.md in DuckDB and in ClickHouse, and compares all formats of the export.
const POSTMORTEM: &str = include_str!("postmortem.py");
/// Reads the stream with pyarrow, up to its last whole batch.
const STREAM: &str = include_str!("stream.py");

fn main() -> ExitCode {
    let with = |more: &[Requirement]| [live::TRACING, more].concat();
    let test = |more: &'static [Requirement]| {
        move |name, body: fn(Netns)| LiveTest::new(name, &with(more), move || Netns::run(body))
    };
    let tests = by_name! {
        test(&[Requirement::Ipv6]) => a_replay_gives_the_report_of_the_live_run_byte_for_byte;
        test(&[]) => a_kill_costs_at_most_the_stated_interval;
        test(&[Requirement::Mounts]) => a_full_disk_stops_the_recording_and_leaves_what_was_written;
        test(&[]) =>
            rotated_files_are_replayed_as_one_and_a_missing_one_is_reported,
            rotation_continues_after_a_kill_and_keeps_as_many_files_as_set;
        test(&[Requirement::Mounts]) => a_full_disk_at_a_rotation_leaves_the_files_before;
        test(&[]) =>
            a_file_that_is_removed_is_reported_when_it_happens,
            flight_recorder::the_flight_recorder_starts_again_in_its_folder_after_a_kill,
            flight_recorder::the_flight_recorder_saves_its_ring_when_asked,
            flight_recorder::the_flight_recorder_fires_when_a_rule_finds_something_new,
            a_recording_that_goes_on_writes_histograms_when_asked,
            histograms_are_not_written_over_the_recording,
            several_runs_make_one_report_with_their_hosts;
        test(&[Requirement::ArrowReaders]) =>
            other_tools_read_the_same_rows_and_answer_the_postmortem,
            pyarrow_reads_a_killed_recording_up_to_its_last_batch;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}

fn a_replay_gives_the_report_of_the_live_run_byte_for_byte(netns: Netns) {
    files::allow(16_384).expect("this user may open many files");
    for (name, value) in [("core/somaxconn", "4096"), ("ipv4/tcp_max_syn_backlog", "4096")] {
        netns.set(name, value).expect("a namespace takes its sysctls");
    }
    let folder = folder();
    let file = folder.path().join("run.arrows");
    let live = folder.path().join("live.txt");
    let mut workload = Workload::new(Random::announced("record")).expect("loopback takes listeners");
    workload.round(300).expect("loopback is there");
    let report = live.to_str().expect("a test's path is text");
    let run = Recording::start(&file, &file, &["--report", report]);
    for _ in 0..3 {
        workload.round(1_000).expect("loopback is there");
    }
    run.stop();
    let live = fs::read_to_string(live).expect("the report was written");
    let replayed = recording::read(&["report"], &[&file]).out;
    assert_eq!(replayed, live);
    assert_eq!(mode(&file), 0o600);
    let bytes = fs::metadata(&file).expect("it is there").len();
    let summary = recording::summary(&[&file]);
    println!("{bytes} bytes: {summary}\n{replayed}");
    assert_eq!(summary["gaps"], 0);
    assert!(summary["changes"].as_u64() > Some(10_000), "{summary}");
}

fn a_kill_costs_at_most_the_stated_interval(_netns: Netns) {
    let mut random = Random::announced("kill");
    for _ in 0..4 {
        let folder = folder();
        let file = folder.path().join("killed.arrows");
        let run = Recording::start(&file, &file, &["--sync", "0.3"]);
        let stop = Traffic::start();
        thread::sleep(Duration::from_millis(
            700 + u64::try_from(random.below(900)).expect("small"),
        ));
        let killed = SystemTime::now();
        run.kill();
        stop.stop();
        let result = recording::read(&["report", "--json"], &[&file]);
        let line: serde_json::Value =
            serde_json::from_str(result.out.lines().next().expect("a header")).expect("JSON");
        let header = &line["header"];
        assert_eq!(header["clean_end"], false);
        let to = header["to"].as_str().expect("a time");
        let lost = seconds_between(to, killed);
        println!("killed {lost:.3} s after the last that is there");
        assert!(
            lost < (Duration::from_millis(300) + SLACK).as_secs_f64(),
            "{lost} s were lost"
        );
        assert!(recording::summary(&[&file])["changes"].as_u64() > Some(0));
    }
}

/// The seconds from an RFC 3339 time with nanoseconds, of today or yesterday, to `later`.
fn seconds_between(time: &str, later: SystemTime) -> f64 {
    let clock = time.split(['T', 'Z']).nth(1).expect("a time of day");
    let mut parts = clock
        .split(':')
        .map(|part| part.parse::<f64>().expect("a number"));
    let mut next = || parts.next().expect("three parts");
    let of_day = next() * 3_600.0 + next() * 60.0 + next();
    let since_1970 = later
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock that is right")
        .as_secs_f64();
    (since_1970 % 86_400.0 - of_day).rem_euclid(86_400.0)
}

fn a_full_disk_stops_the_recording_and_leaves_what_was_written(_netns: Netns) {
    let folder = folder();
    small_disk::mount_on(folder.path(), 96).expect("a disk of its own");
    let file = folder.path().join("full.arrows");
    let run = Recording::start(&file, &file, &["--sync", "0.1"]);
    let stop = Traffic::start();
    let (status, messages) = run.ending();
    stop.stop();
    println!("{messages}");
    assert_eq!(status.code(), Some(1));
    assert!(messages.contains("the recording has stopped"), "{messages}");
    assert!(messages.contains("what to do: free some space"), "{messages}");
    let result = recording::read(&["report", "--json"], &[&file]);
    assert!(!result.err.contains("not read"), "{}", result.err);
    let summary = recording::summary(&[&file]);
    // Half a batch was truncated, so that nothing is damaged; later events are missing.
    let remarks = summary["remarks"].as_array().expect("a list");
    let is_truncated =
        |remark: &serde_json::Value| remark.as_str().is_some_and(|text| text.contains("truncated at"));
    assert!(
        remarks.len() == 1 && remarks.iter().all(is_truncated),
        "{summary}"
    );
    assert!(summary["changes"].as_u64() > Some(0), "{summary}");
}

fn rotated_files_are_replayed_as_one_and_a_missing_one_is_reported(_netns: Netns) {
    let folder = folder();
    let part = |number: u32| folder.path().join(format!("run-{number:06}.arrows"));
    let live = folder.path().join("live.txt");
    let run = Recording::start(
        &folder.path().join("run.arrows"),
        &part(0),
        &["--rotate", "1s", "--report", live.to_str().expect("text")],
    );
    let stop = Traffic::start();
    let fourth = poll_until(TIMEOUT, || part(3).exists().then_some(()));
    assert!(fourth.is_some(), "the files do not follow each other");
    stop.stop();
    run.stop();
    let all = parts(folder.path());
    let paths: Vec<&Path> = all.iter().rev().map(PathBuf::as_path).collect();
    let live = fs::read_to_string(live).expect("the report was written");
    assert_eq!(recording::read(&["report"], &paths).out, live);
    let without: Vec<&Path> = paths.iter().copied().filter(|path| **path != *part(1)).collect();
    let report = recording::read(&["report"], &without).out;
    assert!(report.contains("part 1 is missing"), "{report}");
    assert!(report.contains("the recording has 1 gap;"), "{report}");
    let last = recording::summary(&[paths[0]]);
    assert_eq!(last["gaps"], 0, "each part is understood alone: {last}");
}

/// Waits until the file of this number exists.
fn await_part(folder: &Path, name: &str, number: u32) {
    let path = folder.join(format!("{name}-{number:06}.arrows"));
    let has_come = poll_until(TIMEOUT, || path.exists().then_some(()));
    assert!(has_come.is_some(), "{} does not come", path.display());
}

fn rotation_continues_after_a_kill_and_keeps_as_many_files_as_set(_netns: Netns) {
    let folder = folder();
    let output = folder.path().join("run.arrows");
    let part = |number: u32| folder.path().join(format!("run-{number:06}.arrows"));
    let arguments = ["--rotate", "1s", "--keep", "2", "--sync", "0.1"];
    let run = Recording::start(&output, &part(0), &arguments);
    await_part(folder.path(), "run", 1);
    run.kill();
    assert_eq!(parts(folder.path()), [part(0), part(1)]);
    let run = Recording::start(&output, &part(2), &arguments);
    // A file of that name that appears during the recording is not overwritten.
    fs::write(part(3), "a user's").expect("there is room");
    await_part(folder.path(), "run", 5);
    run.stop();
    assert_eq!(fs::read_to_string(part(3)).expect("it is there"), "a user's");
    fs::remove_file(part(3)).expect("ours");
    let left = parts(folder.path());
    assert!(left.len() <= 3 && !left.contains(&part(2)), "{left:?}");
    let summary = recording::summary(&left);
    assert_eq!(
        (&summary["gaps"], &summary["remarks"]),
        (&0.into(), &serde_json::json!([]))
    );
}

/// Writes to `file` until its disk is full.
fn fill(mut file: &fs::File) {
    let error = loop {
        if let Err(error) = io::Write::write_all(&mut file, &[0; 512]) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
}

fn a_full_disk_at_a_rotation_leaves_the_files_before(_netns: Netns) {
    let folder = folder();
    // Space for the events of a busy host in the second before the first rotation.
    small_disk::mount_on(folder.path(), 8 << 10).expect("a disk of its own");
    let output = folder.path().join("run.arrows");
    let arguments = ["--rotate", "1s", "--keep", "1", "--sync", "0.1"];
    let mut run = Recording::start(&output, &folder.path().join("run-000000.arrows"), &arguments);
    await_part(folder.path(), "run", 1);
    let filler = fs::File::create(folder.path().join("filler")).expect("ours");
    // A rotation deletes a part and thereby makes space again.
    let has_ended = poll_until(TIMEOUT, || {
        fill(&filler);
        run.has_ended().then_some(())
    });
    assert!(has_ended.is_some(), "it continues on a full disk");
    let (status, messages) = run.ending();
    fill(&filler);
    println!("{messages}");
    assert_eq!(status.code(), Some(1));
    assert!(messages.contains("the recording has stopped"), "{messages}");
    assert!(messages.contains("is complete and readable"), "{messages}");
    assert!(messages.contains("what to do: free some space"), "{messages}");
    let left = parts(folder.path());
    assert!(!left.is_empty());
    for path in &left {
        let name = path.to_str().expect("text");
        let result = command::run(tcptrace(&["report", "--json", name]));
        assert!(!result.err.contains("not read"), "{name}: {}", result.err);
        // A file without space for events has no row.
        let is_without_rows =
            result.code == Some(1) && result.err.contains("no row could be read: it has none");
        assert!(result.code == Some(0) || is_without_rows, "{result:?}");
    }
    // Restarted by its unit: nothing is deleted, and no incomplete file is made.
    let again = command::run(tcptrace(
        &[&["record", "-o", output.to_str().expect("text")][..], &arguments].concat(),
    ));
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("nothing was written"), "{again:?}");
    assert!(again.err.contains("free some space"), "{again:?}");
    assert!(!again.err.contains("has stopped"), "it never began: {again:?}");
    assert_eq!(parts(folder.path()), left);
    drop(filler);
    fs::remove_file(folder.path().join("filler")).expect("ours");
    let arguments = [
        &[
            "record",
            "-o",
            output.to_str().expect("text"),
            "--duration",
            "0.5",
        ][..],
        &arguments,
    ]
    .concat();
    let again = command::run(tcptrace(&arguments));
    assert_eq!(again.code, Some(0), "{again:?}");
}

fn a_file_that_is_removed_is_reported_when_it_happens(_netns: Netns) {
    let folder = folder();
    let file = folder.path().join("run.arrows");
    let run = Recording::start(&file, &file, &["--sync", "0.1"]);
    fs::remove_file(&file).expect("it is there");
    let (status, messages) = run.ending();
    assert_eq!(status.code(), Some(1), "{messages}");
    assert!(
        messages.contains("run.arrows was removed while it was being written"),
        "{messages}"
    );
    assert!(messages.contains("the recording is lost"), "{messages}");
    assert!(!messages.contains("is complete and readable"), "{messages}");
    // With rotation, the next file is begun.
    let ring = folder.path().join("ring");
    let first = ring.join("ring-000000.arrows");
    let run = Recording::start(&ring, &first, &["--flight-recorder", "10", "--sync", "0.1"]);
    fs::remove_file(&first).expect("it is there");
    await_part(&ring, "ring", 1);
    run.stop();
    assert_eq!(parts(&ring), [ring.join("ring-000001.arrows")]);
}

fn histograms_are_not_written_over_the_recording(_netns: Netns) {
    let folder = folder();
    let file = folder.path().join("run.hlog");
    let run = Recording::start(&file, &file, &[]);
    run.signal(Signal::SIGUSR1);
    let histograms = folder.path().join("run.states.hlog");
    let written = poll_until(TIMEOUT, || histograms.exists().then_some(()));
    assert!(written.is_some(), "the histograms are nowhere");
    run.stop();
    assert_eq!(recording::summary(&[&file])["gaps"], 0);
}

/// The files of a run, in order.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "arrows"))
        .collect();
    list.sort();
    list
}

fn a_recording_that_goes_on_writes_histograms_when_asked(_netns: Netns) {
    let folder = folder();
    let file = folder.path().join("run.arrows");
    let run = Recording::start(&file, &file, &[]);
    let stop = Traffic::start();
    thread::sleep(Duration::from_millis(500));
    run.signal(Signal::SIGUSR1);
    let written = poll_until(TIMEOUT, || {
        fs::read_to_string(folder.path().join("run.hlog")).ok()
    });
    stop.stop();
    run.stop();
    let written = written.expect("the histograms are beside the recording");
    assert!(
        written.contains("Tag=ESTABLISHED,"),
        "no histogram of a state: {written}"
    );
    assert!(recording::summary(&[&file])["changes"].as_u64() > Some(0));
}

fn several_runs_make_one_report_with_their_hosts(_netns: Netns) {
    let folder = folder();
    let files = ["a.arrows", "b.arrows"].map(|name| folder.path().join(name));
    for file in &files {
        let run = Recording::start(file, file, &[]);
        let stop = Traffic::start();
        thread::sleep(Duration::from_millis(200));
        stop.stop();
        run.stop();
    }
    let paths = files.each_ref().map(PathBuf::as_path);
    let report = recording::read(&["report"], &paths).out;
    assert_eq!(report.matches("recorded by tcptrace").count(), 2, "{report}");
    assert!(report.contains("HOST"), "{report}");
    let rows = recording::read(&["export", "--format", "csv"], &paths).out;
    assert!(rows.starts_with("host,time,"), "{rows}");
    let each: Vec<usize> = paths
        .iter()
        .map(|path| {
            recording::read(&["export", "--format", "csv"], &[path])
                .out
                .lines()
                .count()
                - 1
        })
        .collect();
    assert_eq!(rows.lines().count() - 1, each.iter().sum::<usize>());
    let frames = recording::read(&["watch", "-b", "--speed", "0", "-d", "0.1"], &paths[..1]).out;
    assert!(frames.matches("watched ").count() > 2, "{frames}");
}

fn other_tools_read_the_same_rows_and_answer_the_postmortem(_netns: Netns) {
    let folder = folder();
    let file = folder.path().join("run.arrows");
    let run = Recording::start(&file, &file, &[]);
    let leak = Leak::of(25);
    let stop = Traffic::start();
    thread::sleep(Duration::from_millis(500));
    stop.stop();
    run.stop();
    drop(leak);
    for (format, name) in [
        ("parquet", "changes.parquet"),
        ("csv", "changes.csv"),
        ("jsonl", "changes.jsonl"),
    ] {
        let output = folder.path().join(name);
        let output = output.to_str().expect("text");
        let _said = recording::read(&["export", "--format", format, "-o", output], &[&file]);
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/postmortem.md");
    let result = arrow_readers::run(
        folder.path(),
        POSTMORTEM,
        &[page.to_str().expect("text"), "record"],
    );
    println!("{}", result.out);
    assert_eq!(result.code, Some(0), "{}", result.err);
}

fn pyarrow_reads_a_killed_recording_up_to_its_last_batch(_netns: Netns) {
    let folder = folder();
    let file = folder.path().join("killed.arrows");
    let run = Recording::start(&file, &file, &["--sync", "0.1"]);
    let stop = Traffic::start();
    thread::sleep(Duration::from_millis(600));
    run.kill();
    stop.stop();
    let whole = fs::read(&file).expect("it is there");
    // A write that was interrupted by a crash.
    let cut = folder.path().join("cut.arrows");
    fs::write(&cut, &whole[..whole.len() - 100]).expect("there is room");
    for path in [&file, &cut] {
        let events = recording::summary(&[path])["events"].to_string();
        let name = path.to_str().expect("text");
        let result = arrow_readers::run(folder.path(), STREAM, &[name]);
        assert_eq!(result.code, Some(0), "{}", result.err);
        assert_eq!(result.out.trim(), events, "{}", result.err);
    }
    let result = command::run(tcptrace(&["report", cut.to_str().expect("text")]));
    assert!(result.out.contains("truncated at byte"), "{}", result.out);
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("it is there").permissions().mode() & 0o777
}

/// Connections that are opened and closed, one after the other, until `stop`.
struct Traffic {
    thread: thread::JoinHandle<()>,
    stop: std::sync::mpsc::Sender<()>,
}

impl Traffic {
    /// In the namespace of the current thread.
    fn start() -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
            let end = listener.local_addr().expect("bound");
            // TIME_WAIT is the client's: thousands of ports are enough for a while.
            while stopped.try_recv().is_err() {
                let client = TcpStream::connect(end).expect("it listens");
                let (server, _) = listener.accept().expect("it waits");
                drop(client);
                drop(server);
                thread::sleep(Duration::from_micros(200));
            }
        });
        Self { thread, stop }
    }

    fn stop(self) {
        // It may have panicked, which `join` reports.
        let _ = self.stop.send(());
        self.thread.join().expect("the connections are made");
    }
}

/// Connections that their clients have closed and whose server never does.
struct Leak {
    _held: Vec<TcpStream>,
}

impl Leak {
    fn of(count: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let end = listener.local_addr().expect("bound");
        let held = (0..count)
            .map(|_| {
                drop(TcpStream::connect(end).expect("it listens"));
                listener.accept().expect("it waits").0
            })
            .collect();
        Self { _held: held }
    }
}
