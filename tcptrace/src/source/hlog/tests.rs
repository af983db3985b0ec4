use super::{interval::*, *};
use crate::stats::{
    key::NamedKey,
    measure::{Kind, Measure},
};
use crate::{
    event::{Nanos, ProcessKey, TcpState, fixture::comm},
    output::hist::{
        Picture, examples,
        hlog::{Heading, closing, heading, interval},
        measures,
    },
    stats::key::Key,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::ZlibEncoder};
use proptest::prelude::*;
use std::io::Write as _;

fn read(name: &str, text: &str, by: By) -> Result<Dump, Unusable> {
    super::read(name, text.as_bytes(), by)
}

fn named(pid: u32) -> NamedKey {
    NamedKey {
        key: Key::Process(Some(ProcessKey::new(pid, 7))),
        comm: comm("a b,/%"),
    }
}

/// A log of one interval, as a run writes it.
fn log(host: &str, start_s: u64, length_s: u64, report: &Report) -> String {
    let picture = Picture {
        report,
        measures: &measures(&[]),
        watched: None,
        top: 0,
    };
    [
        heading(&Heading {
            host,
            by: report.by,
            start_wall_ns: start_s * 1_000_000_000,
        }),
        interval(&picture, Nanos(0), Nanos::from_secs(length_s)),
        closing(0, 0),
    ]
    .concat()
}

fn report_of(spans: &[(u8, u8, u64)]) -> Report {
    let mut report = Report {
        by: By::Process,
        ..Report::default()
    };
    let mut all = Bins::default();
    let mut groups: HashMap<u32, Bins> = HashMap::new();
    for (measure, kind, span) in spans {
        let what = Measure::all().nth(usize::from(*measure) % Measure::COUNT);
        let what = what.expect("below their number");
        let kind = Kind::ALL[usize::from(*kind) % Kind::COUNT];
        all.record(what, kind, Nanos(*span));
        let its = groups.entry(u32::from(*measure) % 3).or_default();
        its.record(what, kind, Nanos(*span));
    }
    report.take_total(&all);
    for (pid, cells) in groups {
        report.groups.push(Group {
            host: None,
            who: Who::One(named(pid)),
            cells,
            missed_at_most: 0,
            location: None,
        });
    }
    report.sort();
    report
}

fn spans() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    let span = (0..64_u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
    prop::collection::vec((any::<u8>(), any::<u8>(), span), 1..40)
}

#[test]
fn the_path_of_a_cgroup_is_read_with_its_id_from_whichever_interval_has_it() {
    let report = examples::by_cgroup();
    let mut before = report.clone();
    for group in &mut before.groups {
        group.location = None;
    }
    let text = log("web1", 5, 60, &before) + &log("web1", 5, 60, &report);
    let dump = read("x.hlog", &text, By::Cgroup).unwrap();
    let titles: Vec<String> = dump.report.groups.iter().map(Group::title).collect();
    assert!(
        titles.contains(&"cgroup 77 /system.slice/nginx.service".to_owned()),
        "{titles:?}"
    );
    assert!(titles.contains(&"cgroup 78".to_owned()), "{titles:?}");
}

proptest! {
    #[test]
    fn what_is_written_is_read(spans in spans()) {
        let report = report_of(&spans);
        let dump = read("x.hlog", &log("web1", 5, 60, &report), By::Process).unwrap();
        prop_assert_eq!((dump.host.as_str(), dump.started_ms, dump.length_ms), ("web1", Some(5_000), 60_000));
        prop_assert_eq!(dump.damage, []);
        let mut expected = report;
        for group in &mut expected.groups {
            group.host = Some("web1".to_owned());
        }
        prop_assert_eq!(dump.report, expected);
    }

    #[test]
    fn merging_in_any_order_gives_the_same_report(
        parts in prop::collection::vec((0..3_u8, 0..3_u64, 1..4_u64, spans()), 1..7),
        order in any::<prop::sample::Index>(),
    ) {
        let dumps: Vec<Dump> = parts
            .iter()
            .enumerate()
            .map(|(number, (host, start, length, spans))| {
                // Two dumps of one run that are of the same length are the same dump.
                let length = length * 10 + number as u64;
                let text = log(&format!("web{host}"), *start, length, &report_of(spans));
                read("x.hlog", &text, By::Process).unwrap()
            })
            .collect();
        let merged = merge(&dumps, By::Process);
        let mut turned = dumps.clone();
        turned.rotate_left(order.index(dumps.len()));
        prop_assert_eq!(&merge(&turned, By::Process), &merged);
        turned.reverse();
        prop_assert_eq!(&merge(&turned, By::Process), &merged);
    }

    #[test]
    fn a_log_of_several_hosts_reads_back(a in spans(), b in spans()) {
        let dumps: Vec<Dump> = [("web 1,é@/", &a), ("web2", &b)]
            .iter()
            .map(|(host, spans)| read("x", &log(host, 5, 60, &report_of(spans)), By::Process).unwrap())
            .collect();
        let apart = merge(&dumps, By::Process);
        let mut together = apart.clone();
        together.add_up_hosts();
        together.sort();
        let back = read("x", &log("both", 5, 60, &together), By::Process).unwrap();
        prop_assert_eq!(back.damage, []);
        prop_assert_eq!(back.report, apart);
    }

    #[test]
    fn a_damaged_log_never_panics(
        spans in spans(),
        at in any::<prop::sample::Index>(),
        byte in 32..127_u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = log("web1", 5, 60, &report_of(&spans)).into_bytes();
        let location = at.index(bytes.len());
        bytes[location] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let text = String::from_utf8_lossy(&bytes);
        let _ = read("x.hlog", &text, By::State);
    }
}

#[test]
fn damage_is_reported_by_line_and_the_rest_is_read() {
    let whole = log("web1", 5, 60, &report_of(&[(7, 0, 1_000), (8, 0, 2_000)]));
    let cut = &whole[..whole.find("#[Lost").expect("the last line") - 20];
    let dump = read("x.hlog", cut, By::State).unwrap();
    assert_eq!(dump.damage.len(), 1);
    assert_eq!(dump.damage[0].line, cut.lines().count());
    let measure = Measure::Dwell(TcpState::CloseWait);
    assert_eq!(dump.report.groups[0].cells.count(measure, Kind::Finished), 1);
}

fn line(histogram: &[u8]) -> String {
    format!(
        "Tag=CLOSE_WAIT,0.000,1.000,1.000,{}\n",
        STANDARD.encode(histogram)
    )
}

/// A histogram that claims this length and these significant digits, whatever its counts are.
fn histogram_claiming(length: u32, digits: u32, counts: &[u8]) -> Vec<u8> {
    let words = [PLAIN, length, 0, digits].map(u32::to_be_bytes).concat();
    let range = [1_u64, u64::MAX >> 1].map(u64::to_be_bytes).concat();
    [&words[..], &range, &1_f64.to_be_bytes(), counts].concat()
}

fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    let deflated = encoder.finish().unwrap();
    let length = u32::try_from(deflated.len()).unwrap();
    [&DEFLATED.to_be_bytes()[..], &length.to_be_bytes(), &deflated].concat()
}

#[test]
fn a_histogram_that_says_more_than_it_has_is_damage_and_reserves_nothing() {
    let whole = line(&histogram_claiming(2, 2, &[2, 2]));
    let most = u32::try_from(64 << 20).unwrap();
    for hostile in [
        histogram_claiming(u32::MAX, 2, &[2, 2]),
        histogram_claiming(2, 5, &[2, 2]),
        histogram_claiming(2, u32::MAX, &[2, 2]),
        deflated(&histogram_claiming(most, 2, &vec![2; 64 << 20])),
        deflated(&histogram_claiming(u32::MAX, 2, &[2, 2])),
        // A run of 2^63 zeros, and a count of 2^62.
        histogram_claiming(9, 2, &[0xff; 9]),
        histogram_claiming(9, 2, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        histogram_claiming(1, 2, &[0x80]),
        histogram_claiming(0, 2, &[])[..39].to_vec(),
    ] {
        let text = format!("{}{whole}", line(&hostile));
        let dump = read("x", &text, By::State).unwrap();
        assert_eq!((dump.damaged_lines, dump.damage[0].line), (1, 1), "{dump:?}");
        let measure = Measure::Dwell(TcpState::CloseWait);
        assert_eq!(dump.report.groups[0].cells.count(measure, Kind::Finished), 2);
    }
}

#[test]
fn a_line_without_an_end_costs_itself_alone() {
    let long = "x".repeat(3 << 20);
    let whole = line(&histogram_claiming(2, 2, &[2, 2]));
    let dump = read("x", &format!("#a\n{long}\n{whole}{long}"), By::State).unwrap();
    let lines: Vec<usize> = dump.damage.iter().map(|damage| damage.line).collect();
    assert_eq!(lines, [2, 4]);
    assert_eq!(dump.report.groups.len(), 1);
}

#[test]
fn texts_of_a_log_are_printable() {
    let whole = line(&histogram_claiming(2, 2, &[2, 2]));
    let hostile = "a\u{1b}]0;b\u{2028}";
    let tagged = whole.replace("CLOSE_WAIT", "CLOSE_WAIT@%1b%e2%80%ae");
    let unknown = whole.replace("CLOSE_WAIT", &format!("NO_{hostile}"));
    let text = format!("{HOST}{hostile}]\n{whole}{tagged}{unknown}");
    let said = format!("{:?}", read("x", &text, By::State).unwrap());
    assert!(!said.contains("\\u{"), "{said}");
    assert_eq!(said.matches("\u{fffd}]0;b\u{fffd}").count(), 2, "{said}");
}

#[test]
fn logs_that_are_of_no_use_say_why() {
    let untagged = "#[StartTime: 1.5 (seconds since epoch)]\n0.127,1.007,2.769,AAAA\n";
    assert_eq!(read("x", untagged, By::State), Err(Unusable::NoState));
    let by_process = log("web1", 5, 60, &report_of(&[(7, 0, 1_000)]));
    assert_eq!(
        read("x", &by_process, By::Cgroup).unwrap_err().to_string(),
        "it is grouped by process, not cgroup"
    );
}

#[test]
fn the_longest_dump_of_a_run_counts_and_runs_add_up() {
    let report = report_of(&[(7, 0, 1_000)]);
    let longer = report_of(&[(7, 0, 1_000), (7, 0, 2_000)]);
    let dumps: Vec<Dump> = [
        log("web1", 5, 60, &report),
        log("web1", 5, 90, &longer),
        log("web1", 500, 10, &report),
        log("web2", 5, 60, &report),
    ]
    .iter()
    .map(|text| read("x", text, By::State).unwrap())
    .collect();
    let mut merged = merge(&dumps, By::State);
    merged.add_up_hosts();
    merged.sort();
    let measure = Measure::Dwell(TcpState::CloseWait);
    let counts: Vec<(Option<&str>, u64)> = merged
        .groups
        .iter()
        .map(|group| (group.host.as_deref(), group.cells.count(measure, Kind::Finished)))
        .collect();
    assert_eq!(counts, [(None, 4), (Some("web1"), 3), (Some("web2"), 1)]);
}
