//! Every alert of the packages but one is fired by real trouble, names who is in it, and ends with it. The one,
//! `TcptraceEvaluationOld`, is of ten minutes without an evaluation; promtool tests it.

use super::{
    numbers::{listen, pair},
    scraped::{every_query_is_answered, hasty_rules, scrape},
};
use nix::sys::signal::Signal;
use serde_json::{Map, Value};
use socket2::{SockRef, Socket};
use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    clock::{linger, poll_until},
    files, host,
    netns::Netns,
    peer::{Conversation, Family, Flags, Peer},
    program::{self, Program},
    prometheus::{Alert, Prometheus},
    serving::Serving,
};

/// A new series is published as 0 for a minute.
const TIMEOUT: Duration = Duration::from_mins(3);

/// An alert as it has to be.
struct Expected {
    name: &'static str,
    /// Its labels beside job, instance and severity.
    culprit: Value,
    /// Its summary, where `*` is a figure.
    summary: String,
}

impl Expected {
    /// `{}` in the summary is the instance.
    fn new(name: &'static str, culprit: &[(&str, &str)], summary: &str, instance: &str) -> Self {
        let labels = culprit
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
        Self {
            name,
            culprit: labels.collect::<Map<_, _>>().into(),
            summary: summary.replace("{}", instance),
        }
    }

    fn check(&self, alert: &Alert, instance: &str) {
        let mut labels = alert.labels.as_object().cloned().unwrap_or_default();
        let mut take = |name: &str| labels.remove(name).unwrap_or_default();
        assert_eq!(take("alertname"), self.name);
        assert_eq!(take("job"), "tcptrace", "{alert:?}");
        assert_eq!(take("instance"), instance, "{alert:?}");
        let severity = take("severity");
        assert!(severity == "warning" || severity == "critical", "{alert:?}");
        assert_eq!(Value::Object(labels), self.culprit, "{alert:?}");
        let text = |name: &str| alert.annotations[name].as_str().unwrap_or_default().to_owned();
        let [summary, description] = ["summary", "description"].map(text);
        let (start, end) = self.summary.split_once('*').unwrap_or((&self.summary, ""));
        let figure = summary
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end));
        let figure = figure.unwrap_or_else(|| panic!("{summary}, not {}", self.summary));
        assert_eq!(figure.is_empty(), !self.summary.contains('*'), "{summary}");
        assert!(!description.is_empty(), "{alert:?}");
        for wrong in ["<no value>", "NaN", "Inf", "%!"] {
            assert!(!description.contains(wrong), "{description}");
        }
        println!("{}: {summary}\n    {description}", self.name);
    }
}

/// What is wrong in the namespace, all at a time. Its end is that of all troubles.
struct Troubles {
    began: Instant,
    deaf: Program,
    /// Clients of the deaf one.
    waiting: Vec<Socket>,
    forgetful: Program,
    leaked: u64,
    _dialer: Program,
    dialled: TcpListener,
    peer: Rc<Peer>,
    flooded: TcpListener,
    syns: u16,
    /// A connection whose peer does not answer.
    unanswered: Socket,
    silent: Conversation,
}

impl Troubles {
    fn begin(netns: Netns) -> Self {
        let start = |arguments: &[&str]| {
            let mut command = Command::new("python3");
            Program::start(command.arg(program::source("trouble.py")).args(arguments))
        };
        let [deaf, forgetful] = ["deaf", "forgetful"].map(|name| start(&[name]));
        let peer = Peer::attach(Family::V4).expect("a device");
        let flooded = SocketAddr::new(Family::V4.host(), 8080);
        let flooded = host::listen(flooded, 16).expect("the address is this host's");
        let (unanswered, silent) = Conversation::of_connect(&peer, 5432, |_| {});
        unanswered.send(b"a request").expect("it is connected");
        let dialled = host::listen("127.0.0.1:0".parse().expect("an address"), 1_000).expect("loopback");
        // From here on nothing is bound to a free port.
        for (name, value) in [
            ("ipv4/ip_local_port_range", "20000 20499"),
            ("ipv4/tcp_max_tw_buckets", "10"),
        ] {
            netns.set(name, value).expect("a namespace takes its sysctls");
        }
        let port = port_of(&dialled);
        Self {
            began: Instant::now(),
            deaf,
            waiting: Vec::new(),
            forgetful,
            leaked: 0,
            _dialer: start(&["dialer", &port]),
            dialled,
            peer,
            flooded,
            syns: 0,
            unanswered,
            silent,
        }
    }

    /// Makes it worse: to be called some times a second.
    fn go_on(&mut self) {
        const LEAKED: u64 = 90;
        // So slow that the leak still grows once the counters that begin as 0 for 65 s have fired their alerts.
        const PER_SECOND: u64 = 1;
        const WAITING: usize = 50;
        const SYNS: u16 = 20;
        while self.leaked < LEAKED.min(PER_SECOND * self.began.elapsed().as_secs()) {
            drop(TcpStream::connect(("127.0.0.1", self.forgetful.ports[0])).expect("it listens"));
            self.leaked += 1;
        }
        if self.waiting.len() < WAITING {
            let address = SocketAddr::from(([127, 0, 0, 1], self.deaf.ports[0]));
            let client = host::socket(address).expect("a socket");
            // It is in progress, or connected.
            let _ = host::connect(&client, address);
            self.waiting.push(client);
        }
        let flooded = self.flooded.local_addr().expect("bound");
        for _ in 0..SYNS {
            self.syns = self.syns % 60_000 + 1;
            Conversation::new(&self.peer, 1_024 + self.syns, flooded).send(Flags::SYN);
        }
    }

    fn end(mut self, netns: Netns) {
        // Those who ask Prometheus leave TIME_WAITs too.
        let limit = ("ipv4/tcp_max_tw_buckets", "10000");
        netns
            .set(limit.0, limit.1)
            .expect("a namespace takes its sysctls");
        self.silent.send(Flags::RST);
        drop(self.unanswered);
    }

    fn expected(&self, netns: Netns, instance: &str) -> Vec<Expected> {
        let netns = netns.inode.to_string();
        let deaf = self.deaf.ports[0].to_string();
        let dialled = port_of(&self.dialled);
        let expected =
            |name, culprit: &[(&str, &str)], summary: &str| Expected::new(name, culprit, summary, instance);
        vec![
            expected(
                "TcptraceAcceptQueueFull",
                &[
                    ("netns", &netns),
                    ("process", "deaf"),
                    ("address", "127.0.0.1"),
                    ("port", &deaf),
                ],
                &format!("deaf on {{}} does not accept connections on port {deaf}"),
            ),
            expected(
                "TcptraceListenOverflows",
                &[("netns", &netns)],
                &format!("accept queues overflow in network namespace {netns} of {{}}"),
            ),
            expected(
                "TcptraceCloseWaitGrows",
                &[("process", "forgetful"), ("state", "CLOSE_WAIT")],
                "forgetful on {} has ever more sockets in CLOSE_WAIT",
            ),
            expected(
                "TcptraceSocketsLeaked",
                &[("process", "forgetful")],
                "forgetful on {} leaks sockets",
            ),
            expected(
                "TcptraceDescriptorsRunOut",
                &[("process", "forgetful")],
                "forgetful on {} runs out of file descriptors",
            ),
            expected(
                "TcptraceDescriptorsNearlyAllUsed",
                &[("process", "forgetful")],
                "forgetful on {} uses *% of its file descriptors",
            ),
            expected(
                "TcptracePortsNearlyAllUsed",
                &[
                    ("netns", &netns),
                    ("local", "127.0.0.1"),
                    ("remote", "127.0.0.1"),
                    ("port", &dialled),
                ],
                &format!("{{}} uses *% of the local ports towards 127.0.0.1 port {dialled}"),
            ),
            expected(
                "TcptracePortsRunOut",
                &[("port", &dialled)],
                &format!("connect finds no local port on {{}} towards port {dialled}"),
            ),
            expected(
                "TcptraceTimeWaitOverflow",
                &[("netns", &netns)],
                &format!("{{}} skips TIME_WAITs in network namespace {netns}"),
            ),
            expected("TcptraceSynFlood", &[], "handshakes with {} are not finished"),
            expected("TcptraceDeadPeers", &[], "peers of {} have stopped answering"),
        ]
    }
}

fn port_of(listener: &TcpListener) -> String {
    listener.local_addr().expect("bound").port().to_string()
}

/// Waits until all of these alerts have fired, and checks them; no others may fire.
fn all_fire(prometheus: &Prometheus, instance: &str, expected: &[Expected], mut go_on: impl FnMut()) {
    // By name and labels.
    let mut fired: BTreeMap<(String, String), Alert> = BTreeMap::new();
    let have_all = || {
        go_on();
        linger(Duration::from_millis(50));
        for alert in prometheus.alerts().into_iter().filter(|alert| alert.is_firing) {
            fired.insert((alert.name.clone(), alert.labels.to_string()), alert);
        }
        let has_fired = |expected: &Expected| fired.keys().any(|(name, _)| name == expected.name);
        expected.iter().all(has_fired).then_some(())
    };
    let have_fired = poll_until(TIMEOUT, have_all);
    assert!(have_fired.is_some(), "only {:?}", fired.keys());
    // On a busy machine a scrape may take longer than the second that it has here.
    let others = fired.keys().filter(|(name, _)| *name != "TcptraceDown");
    let others: Vec<_> = others
        .filter(|(name, _)| !expected.iter().any(|expected| expected.name == name))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    for expected in expected {
        let of_name = fired.iter().filter(|((name, _), _)| name == expected.name);
        let [(_, alert)] = &of_name.collect::<Vec<_>>()[..] else {
            panic!("{} names others, too: {:?}", expected.name, fired.keys());
        };
        expected.check(alert, instance);
    }
}

fn none_is_active(prometheus: &Prometheus) {
    let are_cleared = || {
        // Whoever asks leaves a TIME_WAIT.
        linger(Duration::from_millis(50));
        prometheus.alerts().is_empty().then_some(())
    };
    poll_until(TIMEOUT, are_cleared).unwrap_or_else(|| panic!("{:?}", prometheus.alerts()));
}

pub(super) fn troubles_fire_their_alerts_and_their_ends_clear_them(netns: Netns) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("rules.yml"), hasty_rules()).expect("our own folder");
    let serving = Serving::start(&["-N", &netns.inode.to_string(), "--older-than", "2"]);
    let instance = serving.address.to_string();
    let prometheus = Prometheus::start(folder.path(), &scrape(&serving), &[]);
    // Before the first scrape, tcptrace is not scraped.
    let is_up = || (prometheus.number("up") == Some(1.0)).then_some(());
    poll_until(TIMEOUT, is_up).expect("it is scraped");
    none_is_active(&prometheus);
    let (listener, _) = listen();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end_of_churn = Ending(&is_over);
        scope.spawn(|| churn(&listener, &is_over));
        let mut troubles = Troubles::begin(netns);
        let expected = troubles.expected(netns, &instance);
        all_fire(&prometheus, &instance, &expected, || troubles.go_on());
        every_query_is_answered(&prometheus);
        every_rule_is_evaluated(&prometheus);
        troubles.end(netns);
    });
    none_is_active(&prometheus);
    let messages = serving.stop();
    assert!(messages.contains(" 0 lost"), "{messages}");
    let down = Expected::new("TcptraceDown", &[], "tcptrace on {} is not scraped", &instance);
    all_fire(&prometheus, &instance, &[down], || {});
    tcptrace_is_overwhelmed(netns, &prometheus, &instance, &listener);
}

/// Tcptrace is there again, cannot run while thousands connect, and then has more connections than it may keep.
fn tcptrace_is_overwhelmed(netns: Netns, prometheus: &Prometheus, instance: &str, listener: &TcpListener) {
    const MOST: usize = 4_000;
    files::allow(2 * MOST as u64).expect("root may have as many files");
    let range = ("ipv4/ip_local_port_range", "20000 60000");
    netns
        .set(range.0, range.1)
        .expect("a namespace takes its sysctls");
    let (inode, most) = (netns.inode.to_string(), MOST.to_string());
    let limits = ["--buffer", "1M", "--max-connections", &most];
    let serving = Serving::run(&[&["serve", "--listen", instance, "-N", &inode][..], &limits].concat());
    let is_up = || (prometheus.number("up") == Some(1.0)).then_some(());
    poll_until(TIMEOUT, is_up).expect("it is scraped again");
    // Without TIME_WAITs, which would be there for a minute.
    let connect = || {
        let (client, server) = pair(listener);
        let abortive = SockRef::from(&client).set_linger(Some(Duration::ZERO));
        abortive.expect("a socket can linger");
        (client, server)
    };
    serving.signal(Signal::SIGSTOP);
    for _ in 0..MOST {
        drop(connect());
    }
    serving.signal(Signal::SIGCONT);
    // Each has two ends.
    let kept: Vec<_> = (0..MOST * 2 / 3).map(|_| connect()).collect();
    let expected = [
        ("TcptraceLosesRecords", "tcptrace on {} loses records"),
        (
            "TcptraceDoesNotSeeAll",
            "tcptrace on {} does not see all connections",
        ),
    ];
    let expected = expected.map(|(name, summary)| Expected::new(name, &[], summary, instance));
    all_fire(prometheus, instance, &expected, || {});
    drop(kept);
    none_is_active(prometheus);
    let messages = serving.stop();
    assert!(!messages.contains(" 0 lost"), "{messages}");
}

/// Ends the churn when it is dropped, by a failure too.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connects and closes some hundreds of times a second, and once in a while where nobody listens.
fn churn(listener: &TcpListener, is_over: &AtomicBool) {
    let (closed, nobody) = listen();
    drop(closed);
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..10 {
            drop(pair(listener));
        }
        TcpStream::connect(nobody).expect_err("nobody listens");
        thread::sleep(Duration::from_millis(50));
    }
}

fn every_rule_is_evaluated(prometheus: &Prometheus) {
    let rules = prometheus.rules();
    assert_eq!(rules.len(), 15, "{rules:?}");
    assert!(rules.iter().all(|(_, health)| health == "ok"), "{rules:?}");
}
