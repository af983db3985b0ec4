//! `plans [--alone|--untraced] PROGRAM…`: runs test programs while one more tracer by each way that this kernel allows watches
//! the same traffic, and compares what all of them tell. Ends with a line `plans: {…}` for `cargo xtask vm-test`.
//! `--alone` says that nobody else makes connections here, so that the kernel's counts must be exact; `--untraced` runs
//! them beside no tracer.

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

/// Hooks, and the kinds of record that each one counts as.
type Hooks = &'static [(&'static str, &'static [&'static str])];

/// A way to trace.
struct Plan {
    /// The value of `--hooks`.
    name: &'static str,
    /// What it has to serve to be worth a comparison.
    purposes: &'static [&'static str],
    hooks: Hooks,
}

const PLANS: [Plan; 3] = [
    Plan {
        name: "fentry",
        purposes: &["timewait", "requests"],
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
    Plan {
        name: "timers",
        purposes: &["timewait", "requests"],
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
    Plan {
        name: "tracepoint",
        purposes: &["transitions"],
        hooks: &[("inet_sock_set_state", &["state"])],
    },
];

/// How far two tracers' times of one change may lie apart: each hook is at another place of the kernel's path, and a
/// kernel may take the processor from a task between two programs of one tracepoint (37 ms seen in a guest of Linux
/// 7.2, whose one processor others waited for).
const TOLERANCE_NS: u64 = 100_000_000;
/// How long the kernel may take to remove the last test's namespaces, and the tracers to tell of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The changes that a socket makes itself, which every plan sees.
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
    let plans = if untraced { &[][..] } else { &PLANS[..] };
    let watching: Vec<Watching> = plans.iter().filter_map(|plan| outcome.start(plan)).collect();
    for program in &programs {
        outcome.run(program);
    }
    // The last test's namespaces go away after it; where anything stays, patience decides.
    let _ = poll_until(PATIENCE, || {
        let mut plans = watching
            .iter()
            .filter(|watching| sees_hidden_states(watching.plan));
        plans.all(|watching| watching.open() == 0).then_some(())
    });
    let end_ns = quiet_moment(&watching);
    let told: Vec<Told> = watching
        .into_iter()
        .map(|watching| watching.finish(end_ns))
        .collect();
    outcome.compare(&told);
    for told in &told {
        outcome.count(told, alone);
    }
    println!("plans: {}", outcome.line());
    if outcome.faults.is_empty() && outcome.tests.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A moment at which nothing changed, by `CLOCK_MONOTONIC`: up to there all tell the same, though the tracers are
/// stopped one after the other. A connection that a silent peer left has its last change minutes after its test.
fn quiet_moment(watching: &[Watching]) -> u64 {
    poll_until(PATIENCE, || {
        let moment_ns = monotonic_ns();
        thread::sleep(Duration::from_nanos(TOLERANCE_NS));
        let latest = watching.iter().filter_map(Watching::latest_ns).max();
        latest
            .is_none_or(|latest_ns| latest_ns + TOLERANCE_NS < moment_ns)
            .then_some(moment_ns)
    })
    .expect("connections end changing when the tests have ended")
}

/// A tracer at work.
struct Watching {
    plan: &'static str,
    hooks: Hooks,
    tracer: Tracer,
}

/// What it has told.
struct Told {
    plan: &'static str,
    hooks: Hooks,
    events: Vec<Event>,
    ending: Ending,
    /// Whether it looks for late FINs, and so knows when they came less exactly.
    is_polled: bool,
}

impl Watching {
    /// How many connections of the tests it has seen begin and not end.
    fn open(&self) -> usize {
        let events = self.tracer.all_events();
        let begun = of_tests(&events).filter(|event| {
            event.old == State::Close || (event.old, event.new) == (State::Listen, State::SynRecv)
        });
        let ended = of_tests(&events).filter(|event| event.new == State::Close);
        begun.count().saturating_sub(ended.count())
    }

    /// When the last change was that it has told.
    fn latest_ns(&self) -> Option<u64> {
        let events = self.tracer.all_events();
        of_tests(&events).map(|event| event.mono_ns).max()
    }

    /// Ends it; what changed after `end_ns` is left out.
    fn finish(self, end_ns: u64) -> Told {
        let is_polled = self.tracer.header()["hooks"]["timewait"] == "timers+poll";
        let ending = self.tracer.stop();
        let mut events = self.tracer.all_events();
        events.retain(|event| event.mono_ns <= end_ns);
        Told {
            plan: self.plan,
            hooks: self.hooks,
            events,
            ending,
            is_polled,
        }
    }
}

impl Told {
    fn lost(&self) -> u64 {
        self.ending.summary["lost"].as_u64().unwrap_or(u64::MAX)
    }

    /// What the kernel did not run the program for, since it ran on that processor already. The last way has one
    /// program alone, where the others have two that stand in for each other: there every loss counts.
    fn skipped(&self) -> u64 {
        if sees_hidden_states(self.plan) {
            return 0;
        }
        self.ending.summary["lost_by"]["skipped"].as_u64().unwrap_or(0)
    }

    fn hits(&self, kinds: &[&str]) -> u64 {
        let hits = &self.ending.summary["hits"];
        kinds.iter().filter_map(|kind| hits[*kind].as_u64()).sum()
    }

    fn ends_because(&self, reasons: &[&str]) -> u64 {
        let told = self.events.iter().filter_map(|event| event.reason.as_deref());
        told.filter(|reason| reasons.contains(reason)).count() as u64
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

/// Everything that is found out.
#[derive(Default)]
struct Outcome {
    tests: Tests,
    faults: Vec<String>,
    missing: BTreeMap<&'static str, String>,
    hits: BTreeMap<&'static str, Vec<(&'static str, u64)>>,
    compared: usize,
}

impl Outcome {
    fn start(&mut self, plan: &Plan) -> Option<Watching> {
        let &Plan {
            name,
            purposes,
            hooks,
        } = plan;
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
                missing["purpose"]
                    .as_str()
                    .is_some_and(|purpose| purposes.contains(&purpose))
            })
            .find_map(|missing| missing["reason"].as_str());
        if let Some(reason) = refused {
            self.missing.insert(name, reason.to_owned());
            return None;
        }
        Some(Watching {
            plan: name,
            hooks,
            tracer,
        })
    }

    /// Runs a test program, shows what it prints and takes its counts from there.
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

    fn compare(&mut self, told: &[Told]) {
        for told in told {
            if !told.ending.status.success() || told.lost() != told.skipped() {
                self.faults
                    .push(format!("{}: {}", told.plan, told.ending.summary));
            }
        }
        for (first, second) in told.iter().zip(told.iter().skip(1)) {
            if sees_hidden_states(second.plan) {
                self.compare_stories(first, second);
            } else {
                for pair in VISIBLE {
                    let counts = (first.changes(pair), second.changes(pair));
                    let skipped = usize::try_from(second.skipped()).unwrap_or(usize::MAX);
                    if counts.0.abs_diff(counts.1) > skipped {
                        self.faults.push(format!(
                            "{} -> {}: {} by {}, {} by {}",
                            pair.0, pair.1, counts.0, first.plan, counts.1, second.plan
                        ));
                    }
                }
            }
        }
    }

    fn compare_stories(&mut self, first: &Told, second: &Told) {
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
                    .push(format!("only {} tells: {}", first.plan, tell(story))),
            }
        }
        for story in &other {
            self.faults
                .push(format!("only {} tells: {}", second.plan, tell(story)));
        }
    }

    /// The kernel's counts against the ends that were told: a hook that never fires, or fires for others too, shows.
    fn count(&mut self, told: &Told, alone: bool) {
        let hits = told
            .hooks
            .iter()
            .filter(|(hook, _)| !(told.is_polled && *hook == "kfree_skb"))
            .map(|(hook, kinds)| (*hook, told.hits(kinds)))
            .collect();
        self.hits.insert(told.plan, hits);
        if !alone {
            return;
        }
        let ran_out = told.ends_because(&["timewait-expired", "fin-timeout"]);
        let claims = match told.plan {
            "fentry" => vec![(
                "inet_twsk_kill against inet_twsk_alloc",
                told.hits(&["timewait-end"]),
                told.hits(&["timewait-start"]),
            )],
            "timers" => vec![
                (
                    "timer_expire_entry against timewait socks that ran out",
                    told.hits(&["timewait-timer-expire"]),
                    ran_out,
                ),
                (
                    "timer_cancel against timer_start",
                    told.hits(&["timewait-timer-cancel"]),
                    told.hits(&["timewait-timer-start"]),
                ),
            ],
            _ => Vec::new(),
        };
        for (claim, counted, expected) in claims {
            if counted != expected || counted == 0 {
                self.faults
                    .push(format!("{}: {claim}: {counted}, not {expected}", told.plan));
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

fn sees_hidden_states(plan: &str) -> bool {
    plan != "tracepoint"
}

/// Those of every namespace but this process's own, where the host's connections are.
fn of_tests(events: &[Event]) -> impl Iterator<Item = &Event> {
    let own = fs::metadata("/proc/self/ns/net").map_or(0, |own| own.ino());
    events.iter().filter(move |event| event.netns != own)
}

/// The stories of each namespace.
fn stories(events: &[Event]) -> Vec<Story<'_>> {
    let mut spaces: Vec<u64> = of_tests(events).map(|event| event.netns).collect();
    spaces.sort_unstable();
    spaces.dedup();
    let of = |netns| move |event: &&Event| event.netns == netns;
    spaces
        .into_iter()
        .flat_map(|netns| path::stories(events.iter().filter(of(netns))))
        .collect()
}

/// Whether both are the same connection, told in the same way. Where `other` looks for late FINs, it may know less
/// than `one`, and must say so.
fn is_same(one: &Story<'_>, other: &Story<'_>, is_polled: bool) -> bool {
    one.events.len() == other.events.len()
        && one.events.iter().zip(&other.events).all(|(one, other)| {
            (one.old, one.new, one.netns, one.cookie, one.incarnation)
                == (other.old, other.new, other.netns, other.cookie, other.incarnation)
                && one.ends() == other.ends()
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

fn is_of_a_timewait_sock(event: &Event) -> bool {
    matches!(
        (event.old, event.new),
        (State::FinWait2, State::TimeWait | State::Close) | (State::TimeWait, State::Close)
    )
}

/// Whether `polled` says what `exact` does, or less: a late FIN is told at its time or after it, a dwell that is not
/// exact is a lower bound, and a reason is the same or none.
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

fn tell(story: &Story<'_>) -> String {
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
