//! `compare_mechanisms [--alone|--untraced] PROGRAM…`: runs test programs while one additional tracer for each mechanism that
//! this kernel supports traces the same traffic, and compares their reports. Prints a last line `compare_mechanisms: {…}`
//! for `cargo xtask vm-test`. With `--alone` nothing else makes connections on this machine, so that the kernel's counts
//! must be exact; with `--untraced` no tracer runs.

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::MetadataExt as _,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};
use tcptrace_tests::{
    clock::{monotonic_ns, poll_until},
    event::Event,
    path::{self, Story},
    state::State,
    tracer::{Ending, Tracer},
};

/// Hooks, and the kinds of record that count the hits of each.
type Hooks = &'static [(&'static str, &'static [&'static str])];

struct Mechanism {
    /// The value of `--hooks`.
    name: &'static str,
    /// Purposes without which there is nothing to compare.
    features: &'static [&'static str],
    hooks: Hooks,
}

const MECHANISMS: [Mechanism; 3] = [
    Mechanism {
        name: "fentry",
        features: &["timewait", "requests"],
        hooks: &[
            ("inet_sock_set_state", &["state"]),
            ("inet_twsk_alloc", &["timewait-start", "timewait-full"]),
            ("tcp_timewait_state_process", &["timewait-segment"]),
            ("inet_twsk_kill", &["timewait-end"]),
            ("inet_csk_reqsk_queue_hash_add", &["request-start"]),
            ("inet_csk_reqsk_queue_drop", &["request-end"]),
            ("reqsk_timer_handler", &["request-timer-expire"]),
            ("inet_csk_accept", &["accept"]),
            ("tcp_receive_reset", &["reset-received"]),
            ("tcp_send_reset", &["reset-sent"]),
        ],
    },
    Mechanism {
        name: "timers",
        features: &["timewait", "requests"],
        hooks: &[
            ("inet_sock_set_state", &["state"]),
            ("timer_start", &["timewait-timer-start", "request-timer-start"]),
            ("timer_cancel", &["timewait-timer-cancel", "request-timer-cancel"]),
            (
                "timer_expire_entry",
                &["timewait-timer-expire", "request-timer-expire"],
            ),
            ("kfree_skb", &["timewait-segment"]),
            ("tcp_receive_reset", &["reset-received"]),
            ("tcp_send_reset", &["reset-sent"]),
        ],
    },
    Mechanism {
        name: "tracepoint",
        features: &["transitions"],
        hooks: &[("inet_sock_set_state", &["state"])],
    },
];

/// Maximum difference between two tracers' times of one transition: their hooks are at different places of the kernel's
/// path, and a kernel may preempt a task between two programs of one tracepoint (37 ms seen in a guest of Linux 7.2 with
/// one busy processor).
const TOLERANCE_NS: u64 = 100_000_000;
/// Maximum time until the kernel has removed the last test's namespaces, and the tracers have reported it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The transitions of full sockets, which every mechanism reports.
const VISIBLE: [(State, State); 6] = [
    (State::Close, State::SynSent),
    (State::SynSent, State::Established),
    (State::Established, State::FinWait1),
    (State::Established, State::CloseWait),
    (State::CloseWait, State::LastAck),
    (State::FinWait1, State::Closing),
];

fn main() -> ExitCode {
    let mut programs: Vec<String> = env::args().skip(1).collect();
    let alone = programs.iter().any(|argument| argument == "--alone");
    let untraced = programs.iter().any(|argument| argument == "--untraced");
    programs.retain(|argument| !argument.starts_with("--"));

    let mut outcome = Outcome::default();
    let mechanisms = if untraced { &[][..] } else { &MECHANISMS[..] };
    let running: Vec<Running> = mechanisms
        .iter()
        .filter_map(|mechanism| outcome.start(mechanism))
        .collect();
    for program in &programs {
        outcome.run(program);
    }
    // The kernel removes the last test's namespaces some time after it. Connections may stay open beyond the timeout.
    let _ = poll_until(TIMEOUT, || {
        let mut complete = running
            .iter()
            .filter(|running| sees_hidden_states(running.mechanism));
        complete.all(|running| running.open() == 0).then_some(())
    });
    let end_ns = quiet_moment(&running);
    let traces: Vec<Trace> = running
        .into_iter()
        .map(|running| running.finish(end_ns))
        .collect();
    outcome.compare(&traces);
    for trace in &traces {
        outcome.count(trace, alone);
    }
    println!("compare_mechanisms: {}", outcome.line());
    if outcome.faults.is_empty() && outcome.tests.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A time of `CLOCK_MONOTONIC` without a transition nearby: up to it all traces must agree, although the tracers are stopped
/// one after the other. A connection whose peer is silent has its last transition minutes after its test.
fn quiet_moment(running: &[Running]) -> u64 {
    poll_until(TIMEOUT, || {
        let moment_ns = monotonic_ns();
        thread::sleep(Duration::from_nanos(TOLERANCE_NS));
        let latest = running.iter().filter_map(Running::latest_ns).max();
        latest
            .is_none_or(|latest_ns| latest_ns + TOLERANCE_NS < moment_ns)
            .then_some(moment_ns)
    })
    .expect("transitions stop when the tests have ended")
}

/// A running tracer.
struct Running {
    mechanism: &'static str,
    hooks: Hooks,
    tracer: Tracer,
}

/// The complete report of a tracer.
struct Trace {
    mechanism: &'static str,
    hooks: Hooks,
    events: Vec<Event>,
    ending: Ending,
    /// Whether it polls for late FINs, whose times are then less exact.
    is_polled: bool,
}

impl Running {
    /// The number of the tests' connections that have begun and not ended.
    fn open(&self) -> usize {
        let events = self.tracer.all_events();
        let begun = of_tests(&events).filter(|event| {
            event.old == State::Close || (event.old, event.new) == (State::Listen, State::SynRecv)
        });
        let ended = of_tests(&events).filter(|event| event.new == State::Close);
        begun.count().saturating_sub(ended.count())
    }

    /// The time of the last transition reported so far.
    fn latest_ns(&self) -> Option<u64> {
        let events = self.tracer.all_events();
        of_tests(&events).map(|event| event.mono_ns).max()
    }

    /// Stops it and drops the transitions after `end_ns`.
    fn finish(self, end_ns: u64) -> Trace {
        let is_polled = self.tracer.header()["hooks"]["timewait"] == "timers+poll";
        let ending = self.tracer.stop();
        let mut events = self.tracer.all_events();
        events.retain(|event| event.mono_ns <= end_ns);
        Trace {
            mechanism: self.mechanism,
            hooks: self.hooks,
            events,
            ending,
            is_polled,
        }
    }
}

impl Trace {
    fn lost(&self) -> u64 {
        self.ending.summary["lost"].as_u64().unwrap_or(u64::MAX)
    }

    /// Transitions for which the kernel did not run the program since it was already running on that processor. The last
    /// mechanism has a single program; the others have two that substitute for each other, so that none may be skipped.
    fn skipped(&self) -> u64 {
        if sees_hidden_states(self.mechanism) {
            return 0;
        }
        self.ending.summary["lost_by"]["skipped"].as_u64().unwrap_or(0)
    }

    fn hits(&self, kinds: &[&str]) -> u64 {
        let hits = &self.ending.summary["hits"];
        kinds.iter().filter_map(|kind| hits[*kind].as_u64()).sum()
    }

    fn ends_because(&self, reasons: &[&str]) -> u64 {
        let all = self.events.iter().filter_map(|event| event.reason.as_deref());
        all.filter(|reason| reasons.contains(reason)).count() as u64
    }

    fn changes(&self, pair: (State, State)) -> usize {
        self.events
            .iter()
            .filter(|event| (event.old, event.new) == pair)
            .count()
    }
}

#[derive(Default)]
struct Tests {
    passed: u64,
    ignored: u64,
    failed: u64,
}

#[derive(Default)]
struct Outcome {
    tests: Tests,
    faults: Vec<String>,
    missing: BTreeMap<&'static str, String>,
    hits: BTreeMap<&'static str, Vec<(&'static str, u64)>>,
    compared: usize,
}

impl Outcome {
    fn start(&mut self, mechanism: &Mechanism) -> Option<Running> {
        let &Mechanism {
            name,
            features,
            hooks,
        } = mechanism;
        let tracer = match Tracer::try_start(&["--hooks", name]) {
            Ok(tracer) => tracer,
            Err(refusal) => {
                self.missing.insert(name, refusal);
                return None;
            }
        };
        let header = tracer.header();
        let missing = header["missing"].as_array().into_iter().flatten();
        let refused = missing
            .filter(|missing| {
                missing["feature"]
                    .as_str()
                    .is_some_and(|feature| features.contains(&feature))
            })
            .find_map(|missing| missing["reason"].as_str());
        if let Some(reason) = refused {
            self.missing.insert(name, reason.to_owned());
            return None;
        }
        Some(Running {
            mechanism: name,
            hooks,
            tracer,
        })
    }

    /// Runs a test program, forwards its output and adds up its results.
    fn run(&mut self, program: &str) {
        println!("running {program}");
        let mut child = Command::new(program)
            .arg("--color=never")
            .env("TCPTRACE_REQUIRE_LIVE", "kernel")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        let mut counted = false;
        for line in BufReader::new(child.stdout.take().expect("stdout is piped")).lines() {
            let line = line.expect("a test program prints text");
            println!("{line}");
            if let Some(result) = line.strip_prefix("test result: ") {
                self.tests.passed += number_before(result, "passed");
                self.tests.ignored += number_before(result, "ignored");
                self.tests.failed += number_before(result, "failed");
                counted = true;
            }
        }
        let status = child.wait().expect("our own child");
        if !status.success() {
            self.faults.push(format!("{program}: {status}"));
        } else if !counted {
            self.faults.push(format!("{program} ran no test"));
        }
    }

    fn compare(&mut self, traces: &[Trace]) {
        for trace in traces {
            if !trace.ending.status.success() || trace.lost() != trace.skipped() {
                self.faults
                    .push(format!("{}: {}", trace.mechanism, trace.ending.summary));
            }
        }
        for (first, second) in traces.iter().zip(traces.iter().skip(1)) {
            if sees_hidden_states(second.mechanism) {
                self.compare_stories(first, second);
            } else {
                for pair in VISIBLE {
                    let counts = (first.changes(pair), second.changes(pair));
                    let skipped = usize::try_from(second.skipped()).unwrap_or(usize::MAX);
                    if counts.0.abs_diff(counts.1) > skipped {
                        self.faults.push(format!(
                            "{} -> {}: {} by {}, {} by {}",
                            pair.0, pair.1, counts.0, first.mechanism, counts.1, second.mechanism
                        ));
                    }
                }
            }
        }
    }

    fn compare_stories(&mut self, first: &Trace, second: &Trace) {
        let (one, mut other) = (stories(&first.events), stories(&second.events));
        self.compared = one.len();
        for story in &one {
            match other
                .iter()
                .position(|candidate| is_same(story, candidate, second.is_polled))
            {
                Some(at) => drop(other.swap_remove(at)),
                None => self
                    .faults
                    .push(format!("only {} reports: {}", first.mechanism, lines(story))),
            }
        }
        for story in &other {
            self.faults
                .push(format!("only {} reports: {}", second.mechanism, lines(story)));
        }
    }

    /// Compares the kernel's counts with the reported ends, which detects a hook that never fires or fires too often.
    fn count(&mut self, trace: &Trace, alone: bool) {
        let hits = trace
            .hooks
            .iter()
            .filter(|(hook, _)| !(trace.is_polled && *hook == "kfree_skb"))
            .map(|(hook, kinds)| (*hook, trace.hits(kinds)))
            .collect();
        self.hits.insert(trace.mechanism, hits);
        if !alone {
            return;
        }
        let ran_out = trace.ends_because(&["timewait-expired", "fin-timeout"]);
        let claims = match trace.mechanism {
            "fentry" => vec![(
                "inet_twsk_kill against inet_twsk_alloc",
                trace.hits(&["timewait-end"]),
                trace.hits(&["timewait-start"]),
            )],
            "timers" => vec![
                (
                    "timer_expire_entry against timewait socks that ran out",
                    trace.hits(&["timewait-timer-expire"]),
                    ran_out,
                ),
                (
                    "timer_cancel against timer_start",
                    trace.hits(&["timewait-timer-cancel"]),
                    trace.hits(&["timewait-timer-start"]),
                ),
            ],
            _ => Vec::new(),
        };
        for (claim, counted, expected) in claims {
            if counted != expected || counted == 0 {
                self.faults
                    .push(format!("{}: {claim}: {counted}, not {expected}", trace.mechanism));
            }
        }
    }

    fn line(&self) -> Value {
        json!({
            "passed": self.tests.passed,
            "ignored": self.tests.ignored,
            "failed": self.tests.failed,
            "compared": self.compared,
            "hits": self.hits,
            "missing": self.missing,
            "faults": self.faults,
        })
    }
}

fn sees_hidden_states(mechanism: &str) -> bool {
    mechanism != "tracepoint"
}

/// The events of all namespaces except this process's own, which has the host's connections.
fn of_tests(events: &[Event]) -> impl Iterator<Item = &Event> {
    let own = fs::metadata("/proc/self/ns/net").map(|own| own.ino()).ok();
    events.iter().filter(move |event| event.netns != own)
}

fn stories(events: &[Event]) -> Vec<Story<'_>> {
    let mut namespaces: Vec<Option<u64>> = of_tests(events).map(|event| event.netns).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let of = |netns| move |event: &&Event| event.netns == netns;
    namespaces
        .into_iter()
        .flat_map(|netns| path::stories(events.iter().filter(of(netns))))
        .collect()
}

/// Whether both are the same connection with the same transitions. If `other` polls for late FINs, it may report lower bounds
/// where `one` is exact.
fn is_same(one: &Story<'_>, other: &Story<'_>, is_polled: bool) -> bool {
    one.events.len() == other.events.len()
        && one.events.iter().zip(&other.events).all(|(one, other)| {
            (one.old, one.new, one.netns, one.cookie, one.incarnation)
                == (other.old, other.new, other.netns, other.cookie, other.incarnation)
                && have_same_endpoints(one, other)
                && if is_polled && is_of_a_timewait_sock(one) {
                    claims_no_more(one, other)
                } else {
                    one.reason == other.reason
                        && one.dwell_exact == other.dwell_exact
                        && is_near(one.mono_ns, other.mono_ns)
                        && is_near(one.dwell_ns.unwrap_or(0), other.dwell_ns.unwrap_or(0))
                }
        })
}

/// The port that `connect` chooses is known to a tracer whose line is written after that.
fn have_same_endpoints(one: &Event, other: &Event) -> bool {
    let [mut one_ends, mut other_ends] = [one, other].map(Event::endpoints);
    if (one.old, one.new) == (State::Close, State::SynSent)
        && (one_ends.0.port() == 0 || other_ends.0.port() == 0)
    {
        one_ends.0.set_port(0);
        other_ends.0.set_port(0);
    }
    one_ends == other_ends
}

fn is_of_a_timewait_sock(event: &Event) -> bool {
    matches!(
        (event.old, event.new),
        (State::FinWait2, State::TimeWait | State::Close) | (State::TimeWait, State::Close)
    )
}

/// Whether `polled` claims nothing beyond `exact`: the time of a late FIN is the same or later, a dwell time that is not exact
/// is a lower bound, and the reason is the same or absent.
fn claims_no_more(exact: &Event, polled: &Event) -> bool {
    let is_late_fin = (polled.old, polled.new) == (State::FinWait2, State::TimeWait);
    let (exact_dwell, dwell) = (exact.dwell_ns.unwrap_or(0), polled.dwell_ns.unwrap_or(0));
    let times_agree = if polled.dwell_exact {
        is_near(exact.mono_ns, polled.mono_ns) && is_near(exact_dwell, dwell)
    } else {
        (is_late_fin || is_near(exact.mono_ns, polled.mono_ns))
            && polled.mono_ns + TOLERANCE_NS >= exact.mono_ns
            && dwell <= exact_dwell + TOLERANCE_NS
    };
    times_agree && (polled.reason.is_none() || polled.reason == exact.reason)
}

const fn is_near(one_ns: u64, other_ns: u64) -> bool {
    one_ns.abs_diff(other_ns) <= TOLERANCE_NS
}

fn lines(story: &Story<'_>) -> String {
    let lines: Vec<String> = story.events.iter().map(|event| format!("\n  {event}")).collect();
    lines.concat()
}

/// `21` in `ok. 21 passed; 0 failed; …` for `passed`.
fn number_before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text.split([' ', ';']).collect();
    let at = words.iter().position(|candidate| *candidate == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok())
        .unwrap_or(0)
}
