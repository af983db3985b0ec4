//! One frame of the plain `watch`: what was traced, states in total, then a line a process.

use super::duration::{human, human_age};
use crate::{
    event::{Nanos, TcpState},
    view::{Counts, ProcessView, View},
};
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

/// Draws the view.
#[must_use]
pub fn draw(view: &View) -> String {
    let mut text = String::new();
    let total: u64 = view.counts.iter().sum();
    let _ = write!(
        text,
        "watched {}  {total} sockets  {:.0} changes/s  lost {}",
        human(view.watched),
        view.rate,
        view.lost
    );
    if view.evicted > 0 {
        let _ = write!(text, "  evicted {}", view.evicted);
    }
    if let Some(audit) = &view.audit {
        let _ = write!(
            text,
            "  audit: {} of {} sockets differ",
            audit.differences, audit.compared
        );
    }
    // The scan at the start is not spread over time yet.
    if view.scans.count > 0 && view.watched >= Nanos::from_secs(1) {
        let share = percent(view.scans.total_ns, view.watched.0);
        let _ = write!(text, "  owners: {share:.1} % of a CPU");
    }
    for words in [view.share.of_cpu(), view.share.of_memory()].iter().flatten() {
        let _ = write!(text, "  {words}");
    }
    text.push('\n');
    for shortfall in &view.shortfalls {
        let _ = writeln!(text, "not traced: {shortfall}");
    }
    let columns = columns(&view.counts);
    title_line(&mut text, &columns);
    total_line(&mut text, &view.counts, view.rate, &columns);
    for process in &view.processes {
        line(&mut text, process, &columns);
    }
    if view.processes.is_empty() {
        text.push_str("no sockets that match; connections appear as soon as they are made\n");
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

pub(super) fn total_line(text: &mut String, counts: &Counts, rate: f64, columns: &[(TcpState, &str)]) {
    let _ = write!(text, "{:>7} {:<15}", "", "all");
    for (state, _) in columns {
        let _ = write!(text, " {:>7}", counts[state.index()]);
    }
    let _ = writeln!(text, " {rate:>7.0}");
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

/// One process.
pub(super) fn line(text: &mut String, process: &ProcessView, columns: &[(TcpState, &str)]) {
    let pid = process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let _ = write!(text, "{pid:>7} {:<15}", process.comm);
    for (state, _) in columns {
        let _ = write!(text, " {:>7}", process.counts[state.index()]);
    }
    let _ = write!(text, " {:>7.0}", process.rate);
    if let Some((state, age)) = process.oldest {
        let _ = write!(text, "  {state} {}", human_age(age));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connection::audit::Audit, event::Age, owner::schedule::Cost, view::Share};

    fn view() -> View {
        let mut counts = [0; TcpState::COUNT];
        counts[TcpState::CloseWait.index()] = 14;
        counts[TcpState::Listen.index()] = 1;
        View {
            watched: Nanos::from_secs(12),
            counts,
            rate: 41.7,
            processes: vec![
                ProcessView {
                    pid: Some(4242),
                    comm: "leaky-server".to_owned(),
                    counts,
                    rate: 41.7,
                    oldest: Some((TcpState::CloseWait, Age::AtLeast(Nanos::from_secs(12)))),
                    ..ProcessView::default()
                },
                ProcessView {
                    comm: "(unknown)".to_owned(),
                    ..ProcessView::default()
                },
            ],
            lost: 3,
            evicted: 2,
            audit: Some(Audit {
                compared: 15,
                ..Audit::default()
            }),
            share: Share {
                kernel: None,
                here: Some(0.012),
                memory: Some(45 << 20),
            },
            scans: Cost {
                count: 4,
                total_ns: 48_000_000,
            },
            shortfalls: vec!["accept: this kernel refuses fentry and fexit programs".to_owned()],
        }
    }

    #[test]
    fn a_frame_shows_totals_processes_and_losses() {
        insta::assert_snapshot!(draw(&view()));
    }

    #[test]
    fn an_empty_frame_says_why() {
        let empty = View {
            counts: [0; TcpState::COUNT],
            rate: 0.0,
            processes: Vec::new(),
            lost: 0,
            evicted: 0,
            audit: None,
            scans: Cost::default(),
            share: Share::default(),
            shortfalls: Vec::new(),
            ..view()
        };
        insta::assert_snapshot!(draw(&empty));
    }
}
