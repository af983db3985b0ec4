//! Tests of what a collection has.

use super::{Family, Own, Source, Value, budget, catalogue, collect, counts::Counts, keyed, series};
use crate::{
    engine::{Engine, Input},
    event::{
        Nanos, ProcessKey, TcpState,
        fixture::{comm, of_client},
    },
    filter::Filter,
    kernel::clock::ClockPair,
    owner::{
        container::Location,
        kubernetes::{Name, Names},
    },
    summary::{Header, Summary},
    view::Share,
};
use std::{collections::HashSet, fmt::Write as _, fs, path::Path, sync::Arc};

fn own() -> Own {
    let totals = crate::kernel::counters::Totals {
        transitions: [0; 256],
        lost: [0; 4],
        hits: [[0; 4]; 16],
        lost_stacks: 0,
        skipped: 0,
    };
    Own {
        header: Header {
            schema_version: 2,
            program: "tcptrace",
            version: "0",
            kernel: "6.18".to_owned(),
            machine: "x86_64".to_owned(),
            host: "host".to_owned(),
            hooks: [("transitions", "tp_btf")].into(),
            missing: Vec::new(),
            clock: ClockPair::default(),
        },
        summary: Summary::new(0, 0, 0, 0, &crate::connection::table::Tally::default(), &totals),
        repaired: 0,
        audit: None,
        unseen: Vec::new(),
        share: Share::default(),
        resident_bytes: None,
        collection: None,
        started_wall_ns: 0,
        tracked: 0,
        exports: Vec::new(),
        dropped_logs: None,
    }
}

/// An engine and what is counted beside it.
struct Host {
    engine: Engine,
    filter: Filter,
    counts: Counts,
    names: Names,
    max_series: usize,
}

impl Host {
    fn new(max_series: usize) -> Self {
        let filter = Filter::default();
        Self {
            engine: Engine::new(1_000_000),
            counts: Counts::new(&filter, max_series),
            names: Names::default(),
            filter,
            max_series,
        }
    }

    /// A connection of a process, which it leaves ESTABLISHED or, where it `ends`, closes.
    fn connects(&mut self, process: u32, name: &str, ends: bool) {
        let key = ProcessKey::new(process, u64::from(process) + 1);
        let at = Nanos::from_secs(1).plus(Nanos(u64::from(process) * 1_000));
        let steps = [
            (TcpState::Close, TcpState::SynSent),
            (TcpState::SynSent, TcpState::Established),
            (TcpState::Established, TcpState::Close),
        ];
        let steps = if ends { &steps[..] } else { &steps[..2] };
        for step in steps {
            let event = of_client(key, comm(name), u64::from(process) + 1, at, *step);
            self.engine.apply(Input::Events(&[event]));
        }
        self.engine.apply(Input::Settle(at.plus(Nanos::from_millis(50))));
        self.engine.finish_batch();
        self.counts.count(&self.engine);
    }

    fn collect(&mut self, now: Nanos) -> Vec<Family> {
        let own = own();
        let source = Source {
            engine: &self.engine,
            filter: &self.filter,
            counts: &mut self.counts,
            evaluation: None,
            own: &own,
            names: &self.names,
            max_series: self.max_series,
        };
        collect(source, now)
    }
}

/// The value of the one sample with these labels.
fn value(families: &[Family], name: &str, labels: &[&str]) -> Option<u64> {
    let family = families.iter().find(|family| family.what.name == name)?;
    let mut found = family.samples.iter().filter(|sample| sample.labels == labels);
    let sample = found.next()?;
    assert!(found.next().is_none(), "{name} {labels:?} is there twice");
    match sample.value {
        Value::Integer(count) => Some(count),
        Value::Real(_) | Value::Distribution(_) => None,
    }
}

fn assert_well_formed(families: &[Family], max_series: usize) {
    assert!(series(families) <= max_series, "{} series", series(families));
    assert_eq!(
        value(families, "tcptrace_series", &[]),
        Some(series(families) as u64)
    );
    let order = |family: &Family| catalogue::ALL.iter().position(|what| *what == family.what);
    assert!(families.is_sorted_by_key(order));
    for family in families {
        let mut labels = HashSet::new();
        for sample in &family.samples {
            assert_eq!(
                sample.labels.len(),
                family.what.labels.len(),
                "{}",
                family.what.name
            );
            assert!(
                labels.insert(&sample.labels),
                "{} {:?}",
                family.what.name,
                sample.labels
            );
        }
    }
}

#[test]
fn every_state_is_there_with_its_sockets() {
    let mut host = Host::new(budget::DEFAULT);
    host.connects(1, "client", false);
    host.connects(2, "client", false);
    host.connects(3, "other", false);
    let mut families = host.collect(Nanos::from_secs(9));
    assert_well_formed(&families, budget::DEFAULT);
    for state in TcpState::ALL {
        let expected = if state == TcpState::Established { 3 } else { 0 };
        assert_eq!(
            value(&families, "tcptrace_sockets", &[state.name()]),
            Some(expected)
        );
    }
    let named_other = "other (name of a process)";
    let of = |name| value(&families, "tcptrace_process_sockets", &[name, "ESTABLISHED"]);
    assert_eq!((of("client"), of(named_other)), (Some(2), Some(1)));
    assert_eq!(
        value(&families, "tcptrace_aged_sockets", &["ESTABLISHED", "1"]),
        Some(3)
    );
    assert_eq!(
        value(&families, "tcptrace_aged_sockets", &["ESTABLISHED", "10"]),
        Some(0)
    );
    // A new series begins at 0, and a process may be called as the rest is.
    for expected in [(Some(0), Some(0), Some(0)), (Some(2), Some(1), Some(0))] {
        let opened = |name| value(&families, "tcptrace_process_connections_opened", &[name]);
        assert_eq!((opened("client"), opened(named_other), opened("other")), expected);
        families = host.collect(Nanos::from_secs(9).plus(keyed::NEW));
    }
    let transitions = |from, to| value(&families, "tcptrace_transitions", &[from, to]);
    assert_eq!(transitions("SYN_SENT", "ESTABLISHED"), Some(3));
    assert_eq!(transitions("CLOSE_WAIT", "LAST_ACK"), Some(0));
    assert_eq!(transitions("CLOSE_WAIT", "LISTEN"), None);
    assert_eq!(value(&families, "tcptrace_folded_keys", &["process"]), Some(0));
}

#[test]
fn sockets_are_counted_where_their_processes_run() {
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut host = Host::new(budget::DEFAULT);
    for (process, path) in [
        (1, "/system.slice/nginx.service".to_owned()),
        (2, "/system.slice/nginx.service".to_owned()),
        (3, format!("/system.slice/docker-{ID}.scope")),
    ] {
        host.connects(process, "worker", false);
        let key = ProcessKey::new(process, u64::from(process) + 1);
        let location = Arc::new(Location::of_path(path.as_bytes()));
        host.engine.table.processes.settle_location(key, location);
    }
    host.connects(4, "worker", false);
    let families = host.collect(Nanos::from_secs(9));
    assert_well_formed(&families, budget::DEFAULT);
    let unit = value(
        &families,
        "tcptrace_unit_sockets",
        &["nginx.service", "ESTABLISHED"],
    );
    let container = value(
        &families,
        "tcptrace_container_sockets",
        &["", "", ID, ID, "docker", "ESTABLISHED"],
    );
    let process = value(&families, "tcptrace_process_sockets", &["worker", "ESTABLISHED"]);
    assert_eq!((unit, container, process), (Some(2), Some(1), Some(4)));
    // Without any, a family is absent.
    assert!(
        families
            .iter()
            .all(|family| family.what.name != "tcptrace_pod_sockets")
    );
}

#[test]
fn a_pod_is_named_where_its_name_is_known() {
    const UID: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";
    let id = "c0de".repeat(16);
    let mut host = Host::new(budget::DEFAULT);
    host.connects(1, "web", false);
    let path = format!("/kubepods/burstable/pod{UID}/{id}");
    let location = Arc::new(Location::of_path(path.as_bytes()));
    host.engine
        .table
        .processes
        .settle_location(ProcessKey::new(1, 2), location);
    let pods = |host: &mut Host, labels: &[&str]| {
        value(&host.collect(Nanos::from_secs(2)), "tcptrace_pod_sockets", labels)
    };
    let containers = |host: &mut Host, labels: &[&str]| {
        value(
            &host.collect(Nanos::from_secs(2)),
            "tcptrace_container_sockets",
            labels,
        )
    };
    assert_eq!(pods(&mut host, &["", UID, UID, "ESTABLISHED"]), Some(1));
    assert_eq!(
        containers(&mut host, &["", UID, &id, &id, "", "ESTABLISHED"]),
        Some(1)
    );
    let of_pod = Name {
        namespace: "prod".to_owned(),
        pod: "shop-1".to_owned(),
        container: None,
    };
    host.names.pods.insert(UID.to_owned(), of_pod.clone());
    assert_eq!(pods(&mut host, &["prod", "shop-1", UID, "ESTABLISHED"]), Some(1));
    assert_eq!(
        containers(&mut host, &["prod", "shop-1", &id, &id, "", "ESTABLISHED"]),
        Some(1)
    );
    let of_container = Name {
        container: Some("web".to_owned()),
        ..of_pod
    };
    host.names.containers.insert(id.clone(), of_container);
    assert_eq!(
        containers(&mut host, &["prod", "shop-1", "web", &id, "", "ESTABLISHED"]),
        Some(1)
    );
}

#[test]
fn series_stay_within_the_budget_while_100_000_processes_come_and_go() {
    let mut host = Host::new(budget::LEAST);
    for process in 0..100_000 {
        // One in a hundred stays, each of another name.
        host.connects(process, &format!("p{process}"), process % 100 != 0);
        if process % 10_000 == 0 {
            let now = Nanos::from_secs(2 + u64::from(process));
            assert_well_formed(&host.collect(now), budget::LEAST);
        }
    }
    let families = host.collect(Nanos::from_secs(100_002));
    assert_well_formed(&families, budget::LEAST);
    // Whatever is folded, the sums are right.
    let sockets = families
        .iter()
        .find(|family| family.what.name == "tcptrace_process_sockets");
    let sum: u64 = sockets
        .expect("there are sockets")
        .samples
        .iter()
        .map(|sample| match sample.value {
            Value::Integer(count) => count,
            Value::Real(_) | Value::Distribution(_) => 0,
        })
        .sum();
    assert_eq!(sum, 1_000);
    assert_eq!(
        value(&families, "tcptrace_sockets", &["ESTABLISHED"]),
        Some(1_000)
    );
    let kept = sockets.map_or(0, |family| family.samples.len()) as u64 / 11 - 1;
    assert_eq!(
        value(&families, "tcptrace_folded_keys", &["process"]),
        Some(1_000 - kept)
    );
    // The series of processes that ended have gone away, and none is left of the others' by the idle time.
    host.collect(Nanos::from_secs(100_002).plus(keyed::NEW));
    let later = host.collect(Nanos::from_secs(200_000));
    let opened = later
        .iter()
        .find(|family| family.what.name == "tcptrace_process_connections_opened");
    assert_eq!(opened.map(|family| family.samples.len()), Some(1));
}

/// `TCPTRACE_WRITE_DOCS=1` writes the table.
#[test]
fn the_page_in_the_documentation_lists_every_family() {
    const HEADING: &str = "## Families\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, found) = page.split_once(HEADING).expect("there is the heading");
    let mut table = String::from("\n| family | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for what in catalogue::ALL {
        let suffix = if what.kind == super::Kind::Counter {
            "_total"
        } else {
            ""
        };
        let labels: Vec<String> = what.labels.iter().map(|label| format!("`{label}`")).collect();
        let unit = what
            .unit
            .map_or(String::new(), |unit| format!(", {}", unit.name()));
        let _ = writeln!(
            table,
            "| `{}{suffix}` | {}{unit} | {} | {} |",
            what.name,
            what.kind.name(),
            labels.join(", "),
            what.help
        );
    }
    if std::env::var_os("TCPTRACE_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{HEADING}{table}")).unwrap();
        return;
    }
    assert_eq!(found, table);
}

/// The words of a text that begin as families do.
fn names_in(text: &str) -> HashSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tcptrace_")).collect()
}

#[test]
fn alerts_and_dashboard_are_about_families_that_exist() {
    let exported: HashSet<String> = catalogue::ALL
        .iter()
        .flat_map(|what| {
            let suffixes: &[&str] = match what.kind {
                super::Kind::Counter => &["_total"],
                super::Kind::Gauge => &[""],
                super::Kind::Histogram => &["_bucket", "_sum", "_count"],
            };
            suffixes.iter().map(|suffix| format!("{}{suffix}", what.name))
        })
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let rules = folder.join("../../docs/rules");
    for file in ["prometheus/tcptrace.rules.yml", "grafana/tcptrace.json"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let names = names_in(&text);
        assert!(names.len() > 10, "{file}");
        for name in names {
            assert!(exported.contains(name), "{file}: {name}");
        }
        // What an alert links to is there.
        for link in text.split("blob/main/docs/rules/").skip(1) {
            let page = link.split_whitespace().next().unwrap_or_default();
            assert!(rules.join(page).exists(), "{file}: {page}");
        }
    }
}
