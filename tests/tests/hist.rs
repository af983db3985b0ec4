//! `hist` and the dumps of `watch`: their counts are right in every format, and HdrHistogram's own programs read the
//! same values.

use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    io::{BufReader, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{self, ChildStdout, ExitCode},
    time::Duration,
};
use tcptrace_tests::{
    by_name,
    clock::poll_until,
    command::{self, Output, Running},
    hdrhistogram,
    kernel_table::state_of,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    recording::Recording,
    state::State,
};
use tempfile::TempDir;

/// Connections of a round, and how many of them the server leaks.
const CONNECTIONS: u64 = 20;
const LEAKED: u64 = 5;
const CLOSED: u64 = CONNECTIONS - LEAKED;

/// Maximum time for the kernel and the tracer.
const TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let live = |name: &str, body: fn(Netns)| LiveTest::new(name, live::TRACING, move || Netns::run(body));
    let with_java = [live::TRACING, &[Requirement::HdrHistogram]].concat();
    let java = |name: &str, body: fn(Netns)| LiveTest::new(name, &with_java, move || Netns::run(body));
    let tests = by_name! {
        live =>
            what_finished_and_what_stays_are_all_that_was_seen,
            each_is_distinguished,
            what_was_there_before_gives_lower_bounds,
            filters_and_states_select_histograms,
            watch_dumps_on_a_signal_and_goes_on,
            logs_of_two_hosts_merge,
            a_recording_gives_the_histograms_of_its_run;
        java =>
            java_reads_the_same_in_a_log,
            java_shows_our_p99_in_the_log_of_a_recording;
    };
    live::run(tests, Parallelism::Processors, || Ok(()))
}

/// A server that closes all but a few of its connections after their clients have.
struct Round {
    server: SocketAddr,
    leaked: Vec<TcpStream>,
}

impl Round {
    fn play() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let server = listener.local_addr().expect("bound");
        let mut leaked = Vec::new();
        for number in 0..CONNECTIONS {
            let client = TcpStream::connect(server).expect("it listens");
            let (accepted, from) = listener.accept().expect("it waits");
            drop(client);
            wait_for(server, from, Some(State::CloseWait));
            if number < LEAKED {
                wait_for(from, server, Some(State::FinWait2));
                leaked.push(accepted);
            } else {
                drop(accepted);
                wait_for(server, from, None);
                wait_for(from, server, Some(State::TimeWait));
            }
        }
        Self { server, leaked }
    }
}

fn wait_for(local: SocketAddr, remote: SocketAddr, wanted: Option<State>) {
    let reached = || {
        let state = state_of(local, remote).expect("the kernel's table can be read");
        (state == wanted).then_some(())
    };
    poll_until(TIMEOUT, reached).unwrap_or_else(|| panic!("{local} is never {wanted:?}"));
}

/// A running `hist` or `watch`, which from now on reports everything.
struct Measuring {
    running: Running,
    stdout: BufReader<ChildStdout>,
    first: String,
}

impl Measuring {
    fn start(netns: Netns, arguments: &[&str]) -> Self {
        let inode = netns.inode.to_string();
        let all = [arguments, &["-N", &inode]].concat();
        let mut running = Running::start(command::tcptrace(&all));
        let mut stdout = running.stdout();
        let first = command::first_line(&mut stdout);
        assert!(!first.is_empty(), "tcptrace {arguments:?} begins");
        Self {
            running,
            stdout,
            first,
        }
    }

    /// Stops it and returns all of its output.
    fn stop(mut self) -> String {
        self.running.signal(Signal::SIGINT);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        assert!(self.running.status().success());
        self.first + &rest
    }
}

fn rows(output: &str) -> Vec<Value> {
    output
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"))
        .filter(|row| row.get("by").is_some())
        .collect()
}

/// The row of all processes in a state; `CONNECTION` is the lifetime.
fn of_all<'a>(rows: &'a [Value], state: &str) -> &'a Value {
    let found = rows.iter().find(|row| row["group"] == "all" && is_of(row, state));
    found.unwrap_or_else(|| panic!("no row of {state} in {rows:?}"))
}

fn is_of(row: &Value, state: &str) -> bool {
    row["state"] == state || (state == "CONNECTION" && row["measure"] == "lifetime")
}

/// Ended, still open, and lower bounds of both.
fn counts(row: &Value) -> [u64; 4] {
    [
        &row["count"],
        &row["open"]["count"],
        &row["lower_bounds"]["count"],
        &row["open_lower_bounds"]["count"],
    ]
    .map(|count| count.as_u64().expect("a count"))
}

/// Runs `hist` over logs, to its end.
fn read(files: &[&Path], arguments: &[&str]) -> String {
    let result = hist_of(files, arguments);
    assert_eq!((result.code, result.err.as_str()), (Some(0), ""), "{result:?}");
    result.out
}

/// Runs `hist` over recordings, to its end: standard error reports how much was read.
fn replayed(files: &[&Path], arguments: &[&str]) -> String {
    let result = hist_of(files, arguments);
    assert_eq!(result.code, Some(0), "{result:?}");
    let lines = result.err.lines().count();
    assert!(
        lines > 0 && lines == result.err.matches(" changes in ").count(),
        "{result:?}"
    );
    result.out
}

fn hist_of(files: &[&Path], arguments: &[&str]) -> Output {
    let mut command = command::tcptrace(&["hist"]);
    command.args(files).args(arguments);
    command::run(command)
}

fn what_finished_and_what_stays_are_all_that_was_seen(netns: Netns) {
    let hist = Measuring::start(netns, &["hist", "--json"]);
    let round = Round::play();
    let output = hist.stop();
    drop(round.leaked);
    let rows = rows(&output);
    let reported = |state| counts(of_all(&rows, state));
    assert_eq!(reported("SYN_SENT"), [CONNECTIONS, 0, 0, 0]);
    assert_eq!(reported("SYN_RECV"), [CONNECTIONS, 0, 0, 0]);
    assert_eq!(reported("ESTABLISHED"), [2 * CONNECTIONS, 0, 0, 0]);
    assert_eq!(reported("CLOSE_WAIT"), [CLOSED, LEAKED, 0, 0]);
    assert_eq!(reported("LAST_ACK"), [CLOSED, 0, 0, 0]);
    assert_eq!(reported("FIN_WAIT2"), [CLOSED, LEAKED, 0, 0]);
    assert_eq!(reported("TIME_WAIT"), [0, CLOSED, 0, 0]);
    // Both sockets of each connection are here; the server's have ended if it closed them.
    assert_eq!(reported("CONNECTION"), [CLOSED, 2 * CONNECTIONS - CLOSED, 0, 0]);
    let leak = of_all(&rows, "CLOSE_WAIT");
    let share = leak["survival"].as_array().expect("points");
    let last = share.last().and_then(|point| point["share"].as_f64());
    let expected = 0.25;
    assert!(
        last.is_some_and(|share| (share - expected).abs() < 0.01),
        "5 of 20 stay: {leak}"
    );
    let [header, summary] = ["header", "summary"].map(|word| {
        output.lines().any(|line| {
            let object: Value = serde_json::from_str(line).expect("JSON");
            object.get(word).is_some()
        })
    });
    assert!(header && summary, "{output}");
}

fn each_is_distinguished(netns: Netns) {
    let kinds = ["process", "endpoint", "tuple", "cgroup"];
    let running = kinds.map(|by| Measuring::start(netns, &["hist", "--json", "--by", by]));
    let round = Round::play();
    let outputs = running.map(Measuring::stop);
    let [process, endpoint, tuple, cgroup] = outputs.map(|output| rows(&output));
    let keyed = |rows: &[Value], state: &str| -> Vec<Value> {
        rows.iter()
            .filter(|row| row["group"] == "key" && is_of(row, state))
            .cloned()
            .collect()
    };
    let of_process = keyed(&process, "CLOSE_WAIT");
    assert_eq!(of_process.len(), 1, "{of_process:?}");
    assert_eq!(of_process[0]["key"]["pid"], process::id());
    assert_eq!(counts(&of_process[0]), [CLOSED, LEAKED, 0, 0]);
    let port = round.server.port();
    let of_server = keyed(&endpoint, "CLOSE_WAIT");
    assert_eq!(of_server.len(), 1, "{of_server:?}");
    assert_eq!(of_server[0]["key"]["local"]["port"], port);
    let of_client = keyed(&endpoint, "FIN_WAIT2");
    assert_eq!(of_client.len(), 1, "{of_client:?}");
    assert_eq!(of_client[0]["key"]["remote"]["port"], port);
    assert_eq!(counts(&of_client[0]), [CLOSED, LEAKED, 0, 0]);
    assert_eq!(keyed(&tuple, "CLOSE_WAIT").len() as u64, CONNECTIONS);
    let of_cgroup = keyed(&cgroup, "CLOSE_WAIT");
    assert_eq!(of_cgroup.len(), 1, "{of_cgroup:?}");
    assert_eq!(counts(&of_cgroup[0]), [CLOSED, LEAKED, 0, 0]);
}

fn what_was_there_before_gives_lower_bounds(netns: Netns) {
    let before = Round::play();
    let hist = Measuring::start(netns, &["hist", "--json"]);
    let mut leaked = before.leaked;
    // One of them ends; the others stay.
    let ended = leaked.pop().expect("some are leaked");
    let (server, client) = (before.server, ended.peer_addr().expect("connected"));
    drop(ended);
    wait_for(server, client, None);
    let rows = rows(&hist.stop());
    assert_eq!(counts(of_all(&rows, "CLOSE_WAIT")), [0, 0, 1, LEAKED - 1]);
    let lived = counts(of_all(&rows, "CONNECTION"));
    assert_eq!(
        (lived[0], lived[1]),
        (0, 0),
        "nothing was seen from its first SYN"
    );
    assert_eq!(lived.iter().sum::<u64>(), 2 * CONNECTIONS - CLOSED);
}

fn filters_and_states_select_histograms(netns: Netns) {
    let hist = Measuring::start(
        netns,
        &["hist", "--json", "--state", "close-wait", "--remoteport", "1"],
    );
    drop(Round::play());
    assert!(rows(&hist.stop()).is_empty(), "nobody talks to port 1");
    let hist = Measuring::start(netns, &["hist", "--json", "--state", "close-wait"]);
    drop(Round::play());
    let rows = rows(&hist.stop());
    assert!(!rows.is_empty() && rows.iter().all(|row| row["state"] == "CLOSE_WAIT"));
}

fn watch_dumps_on_a_signal_and_goes_on(netns: Netns) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("dump.hlog");
    let name = file.to_str().expect("UTF-8");
    let watch = Measuring::start(netns, &["watch", "-b", "--dump", name]);
    let round = Round::play();
    watch.running.signal(Signal::SIGUSR1);
    let written = || file.exists().then_some(());
    poll_until(TIMEOUT, written).expect("a dump comes");
    let first = rows(&read(&[&file], &["--json"]));
    assert_eq!(counts(of_all(&first, "CLOSE_WAIT")), [CLOSED, LEAKED, 0, 0]);
    let mode = fs::metadata(&file).expect("it is there").mode();
    assert_eq!(mode & 0o777, 0o600, "only the user may read the file");
    // Dumps begin with the run: the second contains the first.
    drop(round.leaked);
    fs::remove_file(&file).expect("ours");
    watch.running.signal(Signal::SIGUSR1);
    poll_until(TIMEOUT, written).expect("a second dump comes");
    let second = rows(&read(&[&file], &["--json"]));
    let [finished, open, ..] = counts(of_all(&second, "CLOSE_WAIT"));
    assert_eq!(finished + open, CONNECTIONS);
    watch.stop();
}

fn logs_of_two_hosts_merge(netns: Netns) {
    let folder = TempDir::new().expect("a folder");
    let running = Measuring::start(netns, &["hist", "--format", "hlog", "--by", "process"]);
    let round = Round::play();
    let log = running.stop();
    drop(round.leaked);
    let host = log
        .lines()
        .find_map(|line| line.strip_prefix("#[Host: "))
        .and_then(|rest| rest.strip_suffix(']'))
        .expect("a log names its host");
    let other = log.replace(&format!("#[Host: {host}]"), "#[Host: elsewhere]");
    let [a, b] = [("a.hlog", &log), ("b.hlog", &other)].map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    });
    let merged = read(&[&a, &b], &["--json", "--by", "process"]);
    let turned = read(&[&b, &a], &["--json", "--by", "process"]);
    let rows_of = |output: &str| rows(output);
    assert_eq!(rows_of(&merged), rows_of(&turned));
    let all = rows_of(&merged);
    let sum = counts(of_all(&all, "CLOSE_WAIT"));
    assert_eq!(sum, [2 * CLOSED, 2 * LEAKED, 0, 0]);
    let hosts: Vec<&str> = all
        .iter()
        .filter(|row| row["group"] == "key" && is_of(row, "CLOSE_WAIT"))
        .filter_map(|row| row["host"].as_str())
        .collect();
    assert_eq!(hosts.len(), 2, "{hosts:?}");
    assert!(hosts.contains(&"elsewhere"));
    // The same file twice is one run.
    let twice = rows_of(&read(&[&a, &a], &["--json"]));
    assert_eq!(counts(of_all(&twice, "CLOSE_WAIT")), [CLOSED, LEAKED, 0, 0]);
}

fn a_recording_gives_the_histograms_of_its_run(netns: Netns) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("run.arrows");
    let inode = netns.inode.to_string();
    let recording = Recording::start(&file, &file, &[]);
    let live = Measuring::start(netns, &["hist", "--json"]);
    let round = Round::play();
    let live = rows(&live.stop());
    let report_of_dump = |file: &Path| counts(of_all(&rows(&read(&[file], &["--json"])), "CLOSE_WAIT"));
    recording.stop();
    drop(round.leaked);
    let all = rows(&replayed(&[&file], &["--json", "-N", &inode]));
    for row in &live {
        let state = row["state"].as_str().unwrap_or("CONNECTION");
        assert_eq!(counts(of_all(&all, state)), counts(row), "{state}");
    }
    assert_eq!(counts(of_all(&all, "CLOSE_WAIT")), [CLOSED, LEAKED, 0, 0]);
    let port = round.server.port().to_string();
    let of_server = rows(&replayed(
        &[&file],
        &["--json", "-N", &inode, "-L", &port, "--by", "endpoint"],
    ));
    let keyed: Vec<&Value> = of_server
        .iter()
        .filter(|row| row["group"] == "key" && is_of(row, "CLOSE_WAIT"))
        .collect();
    assert_eq!(keyed.len(), 1, "{keyed:?}");
    assert_eq!(counts(keyed[0]), [CLOSED, LEAKED, 0, 0]);
    // A log does not depend on the intervals of the recording, and merges with its copy of another host.
    let logs = [&["--interval", "0.05"][..], &[]].map(|more| {
        let log = folder.path().join(format!("{}.hlog", more.len()));
        let name = log.to_str().expect("UTF-8");
        let _said = replayed(
            &[&file],
            &[&["--format", "hlog", "-N", &inode, "-o", name], more].concat(),
        );
        log
    });
    assert_eq!(report_of_dump(&logs[0]), report_of_dump(&logs[1]));
    let elsewhere = folder.path().join("elsewhere.hlog");
    let text = fs::read_to_string(&logs[1]).expect("it was written");
    fs::write(&elsewhere, text.replace("#[Host: ", "#[Host: elsewhere-")).expect("a file");
    let both = folder.path().join("both.hlog");
    let name = both.to_str().expect("UTF-8");
    let _said = read(&[&logs[1], &elsewhere], &["--format", "hlog", "-o", name]);
    let merged = rows(&read(&[&both], &["--json"]));
    let sum = merged
        .iter()
        .find(|row| row["host"].is_null() && is_of(row, "CLOSE_WAIT"));
    assert_eq!(
        counts(sum.expect("a row of all hosts")),
        [2 * CLOSED, 2 * LEAKED, 0, 0]
    );
    let hosts = merged.iter().filter(|row| is_of(row, "CLOSE_WAIT")).count();
    assert_eq!(hosts, 3, "two hosts and their sum: {merged:?}");
    // Connections outside of a span are not counted, and a log does not have their number.
    let before = rows(&replayed(&[&file], &["--json", "-N", &inode, "--at", "+0s"]));
    assert!(before.iter().all(|row| row["count"] == 0), "{before:?}");
    let refused = hist_of(&[&logs[0]], &["--pid", "1"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

fn java_shows_our_p99_in_the_log_of_a_recording(netns: Netns) {
    let folder = TempDir::new().expect("a folder");
    let [file, log] = ["run.arrows", "run.hlog"].map(|name| folder.path().join(name));
    let inode = netns.inode.to_string();
    let recording = Recording::start(&file, &file, &[]);
    drop(Round::play());
    drop(Round::play());
    recording.stop();
    let with = |more: &[&str]| replayed(&[&file], &[more, &["-N", &inode]].concat());
    let name = log.to_str().expect("UTF-8");
    let _said = with(&["--format", "hlog", "-o", name]);
    let seen = hdrhistogram::by_tag(&log);
    let text = with(&[]);
    let mut compared = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [state, _, _, _, _, p99, ..] = words[..] else {
            continue;
        };
        let (Some(java), Some(ours)) = (seen.get(state), seconds(p99)) else {
            continue;
        };
        let [_, _, _, theirs, ..] = java.values;
        let difference = (Duration::from_nanos(theirs).as_secs_f64() - ours).abs() / ours;
        // Text has three digits, truncated.
        assert!(difference < 0.01, "{state}: {theirs} ns in Java, {p99} here");
        compared += 1;
    }
    assert!(compared >= 6, "{text}\n{seen:?}");
    same_distribution(&hdrhistogram::processed(&log), &with(&["--format", "hgrm"]));
}

/// The seconds of a duration with its unit; `None` for anything else.
fn seconds(text: &str) -> Option<f64> {
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    units.iter().find_map(|(unit, size)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * size)
    })
}

fn java_reads_the_same_in_a_log(netns: Netns) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("run.hlog");
    let hist = Measuring::start(
        netns,
        &[
            "hist",
            "--format",
            "hlog",
            "--interval",
            "0.1",
            "--by",
            "endpoint",
        ],
    );
    drop(Round::play());
    drop(Round::play());
    fs::write(&file, hist.stop()).expect("a file");
    let seen = hdrhistogram::by_tag(&file);
    let ours = rows(&read(&[&file], &["--json"]));
    let mut compared = 0;
    for row in &ours {
        let name = row["state"].as_str().unwrap_or("CONNECTION");
        let number = |field: &str| row[field].as_u64().expect("a number");
        if let Some(java) = seen.get(name) {
            let fields = ["min_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"];
            assert_eq!(
                (java.count, java.values),
                (number("count"), fields.map(number)),
                "{name}"
            );
            compared += 1;
        } else {
            assert_eq!(number("count"), 0, "{name}");
        }
        let open = seen.get(&format!("{name}+open")).map_or(0, |java| java.count);
        assert_eq!(row["open"]["count"], open, "{name}");
    }
    assert!(compared >= 6, "{seen:?}");
    let tagged = seen.keys().filter(|tag| tag.contains("/client:")).count();
    assert!(tagged > 0, "{seen:?}");
    // Intervals without a tag are the sum, and HistogramLogProcessor prints the same percentiles.
    let states = ours.iter().filter(|row| row["measure"] == "dwell");
    let sum: u64 = states.map(|row| row["count"].as_u64().expect("a count")).sum();
    assert_eq!(seen["-"].count, sum);
    same_distribution(
        &hdrhistogram::processed(&file),
        &read(&[&file], &["--format", "hgrm"]),
    );
}

/// Compares two percentile distributions to the two decimals that they are printed with.
fn same_distribution(theirs: &str, mine: &str) {
    let numbers = |text: &str| -> Vec<Vec<f64>> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect()
            })
            .filter(|line: &Vec<f64>| line.len() >= 3)
            .collect()
    };
    let (theirs, mine) = (numbers(theirs), numbers(mine));
    assert!(
        !mine.is_empty() && mine.len() == theirs.len(),
        "{mine:?}\n{theirs:?}"
    );
    for (mine, theirs) in mine.iter().zip(&theirs) {
        // Values are printed with two decimals.
        let is_same = mine.len() == theirs.len()
            && mine
                .iter()
                .zip(theirs)
                .all(|(mine, theirs)| (mine - theirs).abs() <= 0.005_001);
        assert!(is_same, "{mine:?} {theirs:?}");
    }
}
