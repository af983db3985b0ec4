//! The columns that a frame may have by their names, for `--columns`.

use crate::{
    duration::human_age,
    event::TcpState,
    output::{
        row::{Value, location},
        table,
    },
    view::{ProcessView, View},
};

/// A column: its name, and what it shows of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessColumn {
    pub(crate) name: &'static str,
    value: OfProcess,
}

type OfProcess = for<'r> fn(&'r ProcessView) -> Value<'r>;

impl ProcessColumn {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        ALL.iter().map(|(name, value)| Self { name, value: *value })
    }
}

/// Appends titles, a line of all processes, and one of each.
pub(super) fn push_table(text: &mut String, view: &View, columns: &[ProcessColumn]) {
    text.push_str(&table::titles(columns.iter().map(|column| column.name)));
    let all = ProcessView {
        comm: "all".to_owned(),
        counts: view.counts,
        rate: view.rate.unwrap_or_default(),
        opens: view.processes.iter().map(|process| process.opens).sum(),
        closes: view.processes.iter().map(|process| process.closes).sum(),
        timewaits: view.processes.iter().map(|process| process.timewaits).sum(),
        others: view
            .processes
            .iter()
            .map(|process| process.others + 1)
            .sum::<u64>()
            .saturating_sub(1),
        ..ProcessView::default()
    };
    for process in std::iter::once(&all).chain(&view.processes) {
        let cells = columns.iter().map(|column| {
            // Too little was watched for a rate.
            let value = if column.name.ends_with("_per_second") && view.rate.is_none() {
                Value::Null
            } else {
                (column.value)(process)
            };
            (column.name, value)
        });
        table::push_line(text, cells);
    }
}

fn rate<'v>(per_second: f64) -> Value<'v> {
    format!("{per_second:.1}").into()
}

macro_rules! of_state {
    ($name:literal, $state:ident) => {
        ($name, |process| process.counts[TcpState::$state.index()].into())
    };
}

const ALL: &[(&str, OfProcess)] = &[
    ("pid", |process| process.pid.into()),
    ("comm", |process| process.comm.as_str().into()),
    of_state!("listen", Listen),
    of_state!("syn_sent", SynSent),
    of_state!("syn_recv", SynRecv),
    of_state!("established", Established),
    of_state!("fin_wait1", FinWait1),
    of_state!("fin_wait2", FinWait2),
    of_state!("closing", Closing),
    of_state!("time_wait", TimeWait),
    of_state!("close_wait", CloseWait),
    of_state!("last_ack", LastAck),
    of_state!("close", Close),
    ("sockets", |process| process.total().into()),
    ("changes_per_second", |process| rate(process.rate)),
    ("opened_per_second", |process| rate(process.opens)),
    ("closed_per_second", |process| rate(process.closes)),
    ("time_waits_per_second", |process| rate(process.timewaits)),
    ("oldest", |process| {
        let oldest = process
            .oldest
            .map(|(state, age)| format!("{state} {}", human_age(age)));
        oldest.into()
    }),
    ("processes", |process| (process.others + 1).into()),
    ("container", |process| {
        location::container(process.location.as_deref()).into()
    }),
    ("pod", |process| location::pod(process.location.as_deref()).into()),
    ("unit", |process| {
        location::unit(process.location.as_deref()).into()
    }),
    ("cgroup_path", |process| {
        location::cgroup_path(process.location.as_deref()).into()
    }),
];
