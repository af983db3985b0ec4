//! What Prometheus makes of it: the packaged rules and dashboard, with real numbers.

use super::numbers::{listen, pair};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use tcptrace_tests::{clock::poll_until, http, netns::Netns, prometheus::Prometheus, serving::Serving};

const TIMEOUT: Duration = Duration::from_mins(2);

/// A file of the packages.
fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tcptrace/packaging")
        .join(name)
}

fn scrape(serving: &Serving) -> String {
    format!(
        "  - job_name: tcptrace\n    static_configs:\n      - targets: [\"{}\"]\n",
        serving.address
    )
}

pub(super) fn promtool_has_no_remarks(netns: Netns) {
    let serving = Serving::start(&["-N", &netns.inode.to_string()]);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(serving.text().as_bytes()).expect("it reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");
    let remarks = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&remarks), "");
    assert!(output.status.success());
    serving.stop();
}

pub(super) fn the_packaged_rules_pass_their_tests(_: Netns) {
    for arguments in [
        ["check", "rules", "tcptrace.rules.yml"],
        ["test", "rules", "tcptrace.rules.test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(packaged("prometheus"))
            .output()
            .expect("promtool is installed");
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    }
}

/// The packaged rules with times that a test can wait for: ranges of seconds instead of minutes, and no patience.
fn hasty_rules() -> String {
    let text = fs::read_to_string(packaged("prometheus/tcptrace.rules.yml")).expect("it is packaged");
    let mut hasty = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("for: ") {
            continue;
        }
        let line = ["[5m]", "[10m]", "[15m]"]
            .iter()
            .fold(line.to_owned(), |line, range| line.replace(range, "[6s]"));
        hasty.push_str(&line);
        hasty.push('\n');
    }
    hasty
}

/// The queries of the packaged dashboard, with variables and ages that fit a test.
fn dashboard_queries() -> Vec<String> {
    let text = fs::read_to_string(packaged("grafana/tcptrace.json")).expect("it is packaged");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let expressions = targets.filter_map(|target| Some(target["expr"].as_str()?.to_owned()));
    let replaced = [
        ("$job", ".*"),
        ("$instance", ".*"),
        ("$__rate_interval", "10s"),
        ("$__range", "1m"),
        // Nothing here is as old as a minute.
        ("at_least=\"60\"", "at_least=\"1\""),
    ];
    expressions
        .map(|text| {
            replaced
                .iter()
                .fold(text, |text, (name, value)| text.replace(name, value))
        })
        .collect()
}

/// Queries whose subject this test does not have: units, containers and pods, growth that exhausts descriptors, more series
/// than fit, TIME_WAITs of a minute, and what a kernel or a container may not show.
const MAY_BE_EMPTY: [&str; 8] = [
    "tcptrace_unit_sockets",
    "tcptrace_container_sockets",
    "tcptrace_pod_sockets",
    "tcptrace_descriptors_exhaustion_seconds",
    "tcptrace_folded_keys",
    "tcptrace_time_wait_ends_total",
    "tcptrace_memory_",
    "tcptrace_kernel_cpu_ratio",
];

pub(super) fn a_leak_fires_its_alerts_and_its_end_clears_them(netns: Netns) {
    const LEAKED: usize = 40;
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("rules.yml"), hasty_rules()).expect("our own folder");
    let serving = Serving::start(&["-N", &netns.inode.to_string(), "--older-than", "2"]);
    let prometheus = Prometheus::start(folder.path(), &scrape(&serving), &[]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| churn(&is_over));
        let _end_of_churn = Ending(&is_over);
        let (listener, _) = listen();
        // It leaks ever more while the alerts are waited for.
        let mut leaked = Vec::new();
        let fires = |name: &str| {
            prometheus
                .alerts()
                .iter()
                .any(|alert| alert.name == name && alert.is_firing)
        };
        let both_fire = || {
            leaked.push(pair(&listener).1);
            thread::sleep(Duration::from_millis(50));
            (leaked.len() >= LEAKED && fires("TcptraceSocketsLeaked") && fires("TcptraceCloseWaitGrows"))
                .then_some(())
        };
        poll_until(TIMEOUT, both_fire).unwrap_or_else(|| panic!("{:?}", prometheus.alerts()));
        every_query_is_answered(&prometheus);
        every_rule_is_evaluated(&prometheus);
        // What has not happened has no alert.
        let names: Vec<String> = prometheus.alerts().into_iter().map(|alert| alert.name).collect();
        for name in [
            "TcptraceDeadPeers",
            "TcptraceLosesRecords",
            "TcptraceSynFlood",
            "TcptraceTimeWaitOverflow",
        ] {
            assert!(!names.iter().any(|known| known == name), "{names:?}");
        }
        drop(leaked);
        let are_cleared = || {
            let alerts = prometheus.alerts();
            (!alerts
                .iter()
                .any(|alert| alert.name.contains("Leak") || alert.name.contains("CloseWait")))
            .then_some(())
        };
        poll_until(TIMEOUT, are_cleared).unwrap_or_else(|| panic!("{:?}", prometheus.alerts()));
    });
    drop(prometheus);
    let messages = serving.stop();
    assert!(messages.contains(" 0 lost"), "{messages}");
}

/// Ends the churn when it is dropped, by a failure too.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connects and closes some hundreds of times a second, and once in a while where nobody listens.
fn churn(is_over: &AtomicBool) {
    let (listener, _) = listen();
    let (closed, nobody) = listen();
    drop(closed);
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..10 {
            drop(pair(&listener));
        }
        std::net::TcpStream::connect(nobody).expect_err("nobody listens");
        thread::sleep(Duration::from_millis(50));
    }
}

fn every_query_is_answered(prometheus: &Prometheus) {
    let queries = dashboard_queries();
    assert!(queries.len() > 30, "{} queries", queries.len());
    for query in queries {
        let may_be_empty = MAY_BE_EMPTY.iter().any(|part| query.contains(part));
        let has_rows = || {
            let rows = prometheus.query(&query).expect("the query is valid");
            (may_be_empty || !rows.is_empty()).then_some(())
        };
        // What is judged and sampled seldom takes a moment.
        poll_until(Duration::from_secs(15), has_rows).unwrap_or_else(|| panic!("no row: {query}"));
    }
}

fn every_rule_is_evaluated(prometheus: &Prometheus) {
    let rules = prometheus.rules();
    assert_eq!(rules.len(), 15, "{rules:?}");
    assert!(rules.iter().all(|(_, health)| health == "ok"), "{rules:?}");
}

/// A certificate for 127.0.0.1 and its key.
fn certify(folder: &Path) {
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status()
        .expect("openssl is installed");
    assert!(status.success());
}

pub(super) fn native_histograms_by_tls_with_a_password(netns: Netns) {
    // bcrypt of "secret".
    const HASH: &str = "$2b$05$R5Bb3hZ5d1lYg9yoV0yh8ueGDt6GWbE9VNrEHoPkXgxyIY06LyyDS";
    let folder = tempfile::tempdir().expect("a temporary folder");
    certify(folder.path());
    let web = folder.path().join("web.yml");
    let text = format!(
        "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  prometheus: {HASH}\n"
    );
    fs::write(&web, text).expect("our own folder");
    let inode = netns.inode.to_string();
    let serving = Serving::start(&["-N", &inode, "--web-config", &web.display().to_string()]);
    // Plain HTTP is no TLS.
    assert!(http::get(serving.address, "/metrics", &[]).is_err());
    let job = |name: &str, password: &str| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    tls_config: {{ca_file: cert.pem}}\n    basic_auth: {{username: prometheus, password: {password}}}\n    static_configs:\n      - targets: [\"{}\"]\n",
            serving.address
        )
    };
    let jobs = job("right", "secret") + &job("wrong", "guess");
    let prometheus = Prometheus::start(folder.path(), &jobs, &["--enable-feature=native-histograms"]);
    let (listener, _) = listen();
    for _ in 0..100 {
        drop(pair(&listener));
    }
    let has_all = || {
        let count = prometheus.number(
            "histogram_count(tcptrace_handshake_duration_seconds{job=\"right\",side=\"client\",outcome=\"connected\"})",
        )?;
        (count >= 100.0).then_some(())
    };
    poll_until(TIMEOUT, has_all).expect("the handshakes are there");
    let quantile =
        "histogram_quantile(0.5, tcptrace_handshake_duration_seconds{side=\"client\",outcome=\"connected\"})";
    let median = prometheus.number(quantile).expect("there is a median");
    assert!((1e-6..1.0).contains(&median), "{median}");
    let up = |job: &str| prometheus.number(&format!("up{{job=\"{job}\"}}"));
    let is_decided = || (up("right") == Some(1.0) && up("wrong") == Some(0.0)).then_some(());
    poll_until(TIMEOUT, is_decided).unwrap_or_else(|| panic!("{:?} {:?}", up("right"), up("wrong")));
    drop(prometheus);
    serving.stop();
}
