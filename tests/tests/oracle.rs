//! An independent oracle: after rounds of random connections with every kind of ending, `ss -tanoe`, the snapshot, the
//! table that follows from the events, and the tracer's own audit have the same sockets in the same states. Compared
//! while nothing changes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    clock::{Moment, poll_until},
    event::Event,
    files,
    live::{self, LiveTest, Parallelism, Requirement},
    model_table::ModelTable,
    netns::Netns,
    random::Random,
    sockets,
    ss::{self, SsSocket},
    state::State,
    tracer::Tracer,
    workload::Workload,
};

/// Endings before the tracer starts.
const BEFORE: usize = 500;
/// Endings per round.
const ROUND: usize = 4_000;
const ROUNDS: usize = 4;
/// Minimum number of sockets with events.
const AT_LEAST: usize = 20_000;
/// Maximum time until a quiet moment, and until the tracer's last line before it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time until the tracer has printed the events before a moment.
const A_WHILE: Duration = Duration::from_secs(3);
/// Maximum number of sockets that a timer of the kernel's, which no workload waits for, may change during the audit.
const MOST_CHANGING: usize = 50;
/// Maximum number of differences in a failure.
const SHOWN: usize = 12;

fn main() -> ExitCode {
    let mut requirements = live::TRACING.to_vec();
    requirements.extend([Requirement::Ipv6, Requirement::Ss]);
    let tests = vec![LiveTest::new(
        "ss_the_snapshot_the_events_and_the_audit_agree",
        &requirements,
        ss_the_snapshot_the_events_and_the_audit_agree,
    )];
    live::run(tests, Parallelism::One, || Ok(()))
}

fn ss_the_snapshot_the_events_and_the_audit_agree() {
    files::allow(16_384).expect("this user may open many files");
    Netns::run(|netns| {
        for (name, value) in [("core/somaxconn", "4096"), ("ipv4/tcp_max_syn_backlog", "4096")] {
            netns.set(name, value).expect("a namespace takes its sysctls");
        }
        let mut workload = Workload::new(Random::announced("oracle")).expect("loopback takes listeners");
        workload.round(BEFORE).expect("loopback is there");
        let before = ss::list().expect("ss lists sockets");
        let tracer = Tracer::start(&["--audit", "--netns", &netns.inode.to_string()]);
        let mut oracle = Oracle {
            netns,
            before: before.iter().map(|socket| socket.cookie).collect(),
            seen: BTreeMap::new(),
        };
        for round in 1..=ROUNDS {
            let begun = Instant::now();
            workload.round(ROUND).expect("loopback is there");
            let played = begun.elapsed();
            oracle.the_events_agree(&tracer);
            oracle.the_snapshot_agrees();
            println!(
                "round {round}: played in {played:?}, compared in {:?}",
                begun.elapsed().saturating_sub(played)
            );
        }
        oracle.every_state_was_there();
        oracle.the_audit_agrees(&tracer);
    });
}

struct Oracle {
    netns: Netns,
    /// Cookies of the sockets that existed before the tracer.
    before: HashSet<u64>,
    /// Maximum number of sockets that `ss` listed in each state.
    seen: BTreeMap<State, usize>,
}

impl Oracle {
    /// The list of `ss`, while no event happened, agrees with the events before it.
    fn the_events_agree(&mut self, tracer: &Tracer) {
        let mut last = Vec::new();
        let agreed = poll_until(TIMEOUT, || {
            let (listed, moment) = Moment::of(|| ss::list().expect("ss lists sockets"));
            self.note(&listed);
            let is_quiet = tracer.wait_until(self.netns, A_WHILE, |events| {
                if events
                    .iter()
                    .any(|event| (moment.earliest_ns..=moment.latest_ns).contains(&event.mono_ns))
                {
                    return Some(false);
                }
                let table =
                    ModelTable::from_events(events.iter().filter(|event| event.mono_ns < moment.earliest_ns));
                last = table.differences(&listed, &self.before);
                last.extend(table.gaps.iter().map(|gap| format!("gap: {gap}")));
                last.is_empty().then_some(true)
            });
            is_quiet.filter(|is_quiet| *is_quiet)
        });
        assert!(
            agreed.is_some(),
            "{} differences between the events and ss:\n{}\ntold of these:\n{}",
            last.len(),
            shown(&last),
            stories_of(&last, &tracer.events(self.netns))
        );
    }

    /// The snapshot agrees with the lists of `ss` before and after it.
    fn the_snapshot_agrees(&mut self) {
        let mut last = vec!["no quiet moment".to_owned()];
        let agreed = poll_until(TIMEOUT, || {
            let earlier = ss::list().expect("ss lists sockets");
            let snapshot: Vec<SsSocket> = sockets::list(self.netns, &[])
                .iter()
                .map(sockets::Listed::as_ss)
                .collect();
            let later = ss::list().expect("ss lists sockets");
            let [earlier, snapshot, later] = [earlier, snapshot, later].map(by_cookie);
            if earlier != later {
                return None;
            }
            last = differences(&snapshot, &later);
            last.is_empty().then_some(later.len())
        });
        match agreed {
            Some(count) => println!("the snapshot has ss's {count} sockets"),
            None => panic!("the snapshot and ss:\n{}", shown(&last)),
        }
    }

    /// At its end the tracer has compared as many sockets as `ss` lists, but for those that changed meanwhile, and found
    /// no difference.
    fn the_audit_agrees(&self, tracer: &Tracer) {
        let before = by_cookie(ss::list().expect("ss lists sockets"));
        let ending = tracer.stop();
        let after = by_cookie(ss::list().expect("ss lists sockets"));
        let summary = &ending.summary;
        assert!(ending.status.success(), "{}", ending.messages);
        for none in ["lost", "undecoded", "impossible", "evicted"] {
            assert_eq!(summary[none], 0, "{none}: {summary}");
        }
        assert_eq!(summary["audit"]["differences"], 0, "{summary}");
        let [compared, changing] = ["compared", "changing"].map(|count| {
            let count = summary["audit"][count].as_u64().expect("an audit");
            usize::try_from(count).expect("a number of sockets")
        });
        let stayed = before
            .iter()
            .filter(|(cookie, socket)| {
                after
                    .get(*cookie)
                    .is_some_and(|later| later.state == socket.state)
            })
            .count();
        assert!(
            (stayed..=before.len()).contains(&(compared + changing)),
            "{compared} compared, {changing} changing; ss listed {} before and {} after: {summary}",
            before.len(),
            after.len()
        );
        let sockets: HashSet<u64> = tracer
            .events(self.netns)
            .iter()
            .map(|event| event.cookie)
            .collect();
        assert!(changing <= MOST_CHANGING, "{changing} changed: {summary}");
        println!(
            "{} sockets reported, {compared} audited, {changing} changing",
            sockets.len()
        );
        assert!(sockets.len() >= AT_LEAST, "only {} sockets", sockets.len());
    }

    fn note(&mut self, listed: &[SsSocket]) {
        let mut counts: BTreeMap<State, usize> = BTreeMap::new();
        for socket in listed {
            *counts.entry(socket.state).or_default() += 1;
        }
        for (state, count) in counts {
            let most = self.seen.entry(state).or_default();
            *most = count.max(*most);
        }
    }

    /// CLOSE is in no hash table: `ss` cannot list it.
    fn every_state_was_there(&self) {
        println!("most at a time: {:?}", self.seen);
        for state in State::ALL {
            assert!(
                state == State::Close || self.seen.contains_key(&state),
                "{state} never occurred: {:?}",
                self.seen
            );
        }
    }
}

fn by_cookie(sockets: Vec<SsSocket>) -> HashMap<u64, SsSocket> {
    sockets
        .into_iter()
        .map(|socket| (socket.cookie, socket))
        .collect()
}

fn differences(ours: &HashMap<u64, SsSocket>, theirs: &HashMap<u64, SsSocket>) -> Vec<String> {
    let same = |one: &SsSocket, other: &SsSocket| {
        (one.state, one.local, one.remote) == (other.state, other.local, other.remote)
    };
    let missing = theirs
        .values()
        .filter_map(|socket| match ours.get(&socket.cookie) {
            Some(known) if same(known, socket) => None,
            known => Some(format!("ss {socket:?}, we {known:?}")),
        });
    let invented = ours
        .values()
        .filter(|socket| !theirs.contains_key(&socket.cookie))
        .map(|socket| format!("only ours: {socket:?}"));
    missing.chain(invented).collect()
}

fn shown(differences: &[String]) -> String {
    differences[..differences.len().min(SHOWN)].join("\n")
}

/// All events of the sockets in the differences shown.
fn stories_of(differences: &[String], events: &[Event]) -> String {
    let shown = &differences[..differences.len().min(SHOWN)];
    let mut stories = String::new();
    for event in events {
        // As printed by `SsSocket` and by `Event`.
        let names = [
            format!("cookie: {},", event.cookie),
            format!("cookie {} ", event.cookie),
        ];
        let is_named = |difference: &String| names.iter().any(|name| difference.contains(name));
        if shown.iter().any(is_named) {
            writeln!(stories, "  {event}").expect("a string takes all text");
        }
    }
    stories
}
