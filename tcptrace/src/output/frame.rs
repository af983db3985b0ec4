//! One frame of plain `watch` output: what was traced, totals by state, then one line per process.

mod columns;

use super::field::Padded;
use crate::{
    duration::{human, human_age},
    event::{Nanos, TcpState},
    plural::counted,
    view::{Counts, ProcessView, View},
};
pub(crate) use columns::ProcessColumn;
use std::fmt::Write as _;

/// The states with a column of their own, and its title.
const COLUMNS: [(TcpState, &str); 11] = [
    (TcpState::Listen, "LISTEN"),
    (TcpState::SynSent, "SYN_S"),
    (TcpState::SynRecv, "SYN_R"),
    (TcpState::Established, "ESTAB"),
    (TcpState::FinWait1, "FIN_1"),
    (TcpState::FinWait2, "FIN_2"),
    (TcpState::Closing, "CLOSNG"),
    (TcpState::TimeWait, "TIME_W"),
    (TcpState::CloseWait, "CLOSE_W"),
    (TcpState::LastAck, "LAST_A"),
    (TcpState::Close, "CLOSE"),
];

/// Live text instead of rows if nothing matches.
pub(crate) const NOTHING_YET: &str = "no matching sockets; connections appear as soon as they are opened";

/// The same of a moment of a recording.
pub(crate) const NOTHING_NOW: &str = "no matching sockets at this moment";

/// Draws the view; `nothing` replaces the rows if there are none. `chosen` columns, if any, replace the usual ones.
pub(crate) fn draw(view: &View, nothing: &str, chosen: &[ProcessColumn]) -> String {
    let mut text = String::new();
    let total: u64 = view.counts.iter().sum();
    let _ = write!(
        text,
        "watched {}  {}  {} changes/s  lost {}",
        human(view.watched),
        counted(total, "socket"),
        rate(view.rate),
        view.lost
    );
    if view.evicted > 0 {
        let _ = write!(text, "  evicted {}", view.evicted);
    }
    if let Some(audit) = &view.audit {
        let of = view.audited.map_or_else(String::new, |of| format!(" {of}"));
        let _ = write!(
            text,
            "  audit{of} {} ago: {} of {} differ",
            human(view.now.since(audit.started)),
            audit.differences,
            counted(audit.compared, "socket")
        );
        if audit.unread_namespaces > 0 {
            let unread = counted(audit.unread_namespaces, "network namespace");
            let _ = write!(text, ", {unread} not read");
        }
    }
    // The scan at the start is not spread over time yet.
    if view.scans.count > 0 && view.watched >= Nanos::from_secs(1) {
        let share = percent(view.scans.total_ns, view.watched.0);
        let _ = write!(text, "  owner lookup: {share:.1} % of a CPU");
    }
    for words in [view.share.of_cpu(), view.share.of_memory()].iter().flatten() {
        let _ = write!(text, "  {words}");
    }
    text.push('\n');
    for limitation in &view.limitations {
        let _ = writeln!(text, "not seen: {limitation}");
    }
    if chosen.is_empty() {
        let columns = columns(&view.counts);
        title_line(&mut text, &columns);
        total_line(&mut text, &view.counts, view.rate, &columns);
        for process in &view.processes {
            line(&mut text, process, view.rate.is_some(), &columns);
        }
    } else {
        columns::push_table(&mut text, view, chosen);
    }
    if view.processes.is_empty() {
        let _ = writeln!(text, "{nothing}");
    }
    text
}

/// The states to show where there are these.
pub(super) fn columns(counts: &Counts) -> Vec<(TcpState, &'static str)> {
    COLUMNS
        .into_iter()
        .filter(|(state, _)| counts[state.index()] > 0 || is_always_shown(*state))
        .collect()
}

pub(super) fn title_line(text: &mut String, columns: &[(TcpState, &str)]) {
    let _ = write!(text, "{:>7} {:<15}", "PID", "COMMAND");
    for (_, title) in columns {
        let _ = write!(text, " {title:>7}");
    }
    let _ = writeln!(text, " {:>7}  OLDEST", "CHG/S");
}

pub(super) fn total_line(
    text: &mut String,
    counts: &Counts,
    per_second: Option<f64>,
    columns: &[(TcpState, &str)],
) {
    let _ = write!(text, "{:>7} {:<15}", "", "all");
    for (state, _) in columns {
        let _ = write!(text, " {:>7}", counts[state.index()]);
    }
    let _ = writeln!(text, " {:>7}", rate(per_second));
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share is shown to a tenth of a percent"
)]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// The states that incidents are about keep their column.
const fn is_always_shown(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::Established | TcpState::TimeWait | TcpState::CloseWait
    )
}

/// A rate, `-` where too little was watched for one.
fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))
}

pub(super) fn line(text: &mut String, process: &ProcessView, has_rates: bool, columns: &[(TcpState, &str)]) {
    let pid = process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let _ = write!(text, "{pid:>7} {}", Padded(&process.comm, 15));
    for (state, _) in columns {
        let _ = write!(text, " {:>7}", process.counts[state.index()]);
    }
    let _ = write!(text, " {:>7}", rate(has_rates.then_some(process.rate)));
    if let Some((state, age)) = process.oldest {
        let _ = write!(text, "  {state} {}", human_age(age));
    }
    if process.sharers > 0 {
        let _ = write!(text, "  shared with {}", counted(process.sharers, "process"));
    }
    if process.others > 0 {
        let _ = write!(text, "  ({} processes)", process.others + 1);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::audit::Audit,
        event::Age,
        owner::schedule::Cost,
        view::{Share, Sort},
    };
    use clap::ValueEnum as _;

    #[test]
    fn frames_are_sorted_by_their_columns() {
        let columns: Vec<&str> = ProcessColumn::all().map(|column| column.name).collect();
        let sorts = Sort::value_variants().iter();
        assert_eq!(sorts.map(|sort| sort.name()).collect::<Vec<_>>(), columns);
    }

    fn view() -> View {
        let mut counts = [0; TcpState::COUNT];
        counts[TcpState::CloseWait.index()] = 14;
        counts[TcpState::Listen.index()] = 1;
        View {
            now: Nanos::from_secs(100),
            watched: Nanos::from_secs(12),
            counts,
            rate: Some(41.7),
            processes: vec![
                ProcessView {
                    pid: Some(4242),
                    comm: "leaky-server".to_owned(),
                    counts,
                    held: 15,
                    rate: 41.7,
                    oldest: Some((TcpState::CloseWait, Age::AtLeast(Nanos::from_secs(12)))),
                    ..ProcessView::default()
                },
                ProcessView {
                    comm: "(unknown)".to_owned(),
                    ..ProcessView::default()
                },
                ProcessView {
                    pid: Some(7),
                    comm: "名前".to_owned(),
                    name: *b"\xe5\x90\x8d\xe5\x89\x8d\0\0\0\0\0\0\0\0\0\0",
                    ..ProcessView::default()
                },
            ],
            lost: 3,
            evicted: 2,
            audit: Some(Audit {
                started: Nanos::from_secs(97),
                compared: 15,
                ..Audit::default()
            }),
            audited: None,
            share: Share {
                kernel: None,
                here: Some(0.012),
                memory: Some(45 << 20),
            },
            scans: Cost {
                count: 4,
                total_ns: 48_000_000,
            },
            limitations: vec!["accept: this kernel refuses fentry and fexit programs".to_owned()],
        }
    }

    #[test]
    fn a_frame_shows_totals_processes_and_losses() {
        insta::assert_snapshot!(draw(&view(), NOTHING_YET, &[]));
    }

    #[test]
    fn columns_are_chosen_by_name() {
        let chosen = |names: &[&str]| -> Vec<ProcessColumn> {
            let column = |name: &&str| ProcessColumn::all().find(|column| column.name == *name);
            names.iter().map(|name| column(name).unwrap()).collect()
        };
        let columns = chosen(&["comm", "close_wait", "changes_per_second", "oldest", "pid"]);
        let mut view = view();
        view.limitations.clear();
        let with_rate = draw(&view, NOTHING_YET, &columns);
        view.rate = None;
        let without = draw(&view, NOTHING_YET, &columns);
        let table = |text: String| text.split_once('\n').unwrap().1.to_owned();
        insta::assert_snapshot!([table(with_rate), table(without)].concat());
    }

    #[test]
    fn what_many_processes_of_one_name_have_left_is_one_line() {
        let mut counts = [0; TcpState::COUNT];
        counts[TcpState::TimeWait.index()] = 1;
        let check = |pid| ProcessView {
            pid: Some(pid),
            comm: "healthcheck".to_owned(),
            name: *b"healthcheck\0\0\0\0\0",
            counts,
            rate: 0.5,
            oldest: Some((
                TcpState::TimeWait,
                Age::Exact(Nanos::from_secs(u64::from(pid) % 7)),
            )),
            ..ProcessView::default()
        };
        let mut view = view();
        let still_open = ProcessView {
            held: 1,
            sharers: 4,
            ..check(999)
        };
        view.processes.extend((1_000..1_150).map(check));
        view.processes.push(still_open);
        let merged = view.with_left_over_merged(Sort::State(TcpState::TimeWait));
        insta::assert_snapshot!(draw(&merged, NOTHING_YET, &[]));
    }

    #[test]
    fn a_comparison_of_the_host_says_so_beside_a_filter() {
        let filtered = View {
            audited: Some("of the host"),
            ..view()
        };
        let text = draw(&filtered, NOTHING_YET, &[]);
        assert!(
            text.contains("  audit of the host 3.00s ago: 0 of 15 sockets differ"),
            "{text}"
        );
    }

    #[test]
    fn an_empty_frame_says_why() {
        let empty = View {
            counts: [0; TcpState::COUNT],
            rate: None,
            processes: Vec::new(),
            lost: 0,
            evicted: 0,
            audit: None,
            scans: Cost::default(),
            share: Share::default(),
            limitations: Vec::new(),
            ..view()
        };
        insta::assert_snapshot!(draw(&empty, NOTHING_YET, &[]));
    }
}
