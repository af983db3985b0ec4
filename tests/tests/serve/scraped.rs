//! What Prometheus makes of it: the packaged rules and dashboard, with real numbers.

use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tcptrace_tests::{clock::poll_until, netns::Netns, prometheus::Prometheus, serving::Serving};

/// A file of the packages.
fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tcptrace/packaging")
        .join(name)
}

pub(super) fn scrape(serving: &Serving) -> String {
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

/// The packaged rules with times that a test can wait for: ranges of seconds instead of minutes, and no `for:`.
pub(super) fn hasty_rules() -> String {
    let text = fs::read_to_string(packaged("prometheus/tcptrace.rules.yml")).expect("it is packaged");
    let mut hasty = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("for: ") {
            continue;
        }
        let line = [("[5m]", "[6s]"), ("[10m]", "[6s]"), ("offset 20m", "offset 12s")]
            .iter()
            .fold(line.to_owned(), |line, (long, short)| line.replace(long, short));
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

/// Queries whose subject the tests do not have: units, containers and pods, more series than fit, TIME_WAITs of a minute, and
/// what a kernel or a container may not show.
const MAY_BE_EMPTY: [&str; 7] = [
    "tcptrace_unit_sockets",
    "tcptrace_container_sockets",
    "tcptrace_pod_sockets",
    "tcptrace_folded_keys",
    "tcptrace_time_wait_ends_total",
    "tcptrace_memory_",
    "tcptrace_kernel_cpu_ratio",
];

pub(super) fn every_query_is_answered(prometheus: &Prometheus) {
    let queries = dashboard_queries();
    assert!(queries.len() > 30, "{} queries", queries.len());
    for query in queries {
        let may_be_empty = MAY_BE_EMPTY.iter().any(|part| query.contains(part));
        let has_rows = || {
            let rows = prometheus.query(&query).expect("the query is valid");
            (may_be_empty || !rows.is_empty()).then_some(())
        };
        // What is evaluated and sampled seldom takes a moment.
        poll_until(Duration::from_secs(15), has_rows).unwrap_or_else(|| panic!("no row: {query}"));
    }
}
