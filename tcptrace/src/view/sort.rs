//! The order of processes: by any column of a frame.

use super::ProcessView;
use crate::{event::TcpState, owner::container::Location};
use clap::{ValueEnum, builder::PossibleValue};
use std::cmp::Ordering;

/// The column by which processes are sorted: numbers from the greatest, names in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Process ID.
    Pid,
    /// Process name.
    Comm,
    /// Sockets in this state.
    State(TcpState),
    /// Sockets in all states.
    Sockets,
    /// Transitions per second.
    Changes,
    /// Connections opened per second.
    Opened,
    /// Connections closed per second.
    Closed,
    /// TIME_WAITs made per second.
    TimeWaits,
    /// Age of the oldest socket, CLOSE_WAIT before all others.
    Oldest,
    /// Number of processes in the row.
    Processes,
    /// Container ID.
    Container,
    /// Pod UID.
    Pod,
    /// systemd unit.
    Unit,
    /// Path of the cgroup.
    CgroupPath,
}

impl Default for Sort {
    /// CLOSE_WAIT, then transitions per second.
    fn default() -> Self {
        Self::State(TcpState::CloseWait)
    }
}

impl Sort {
    /// The name of the column.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Comm => "comm",
            Self::State(TcpState::Listen) => "listen",
            Self::State(TcpState::SynSent) => "syn_sent",
            Self::State(TcpState::SynRecv) => "syn_recv",
            Self::State(TcpState::Established) => "established",
            Self::State(TcpState::FinWait1) => "fin_wait1",
            Self::State(TcpState::FinWait2) => "fin_wait2",
            Self::State(TcpState::Closing) => "closing",
            Self::State(TcpState::TimeWait) => "time_wait",
            Self::State(TcpState::CloseWait) => "close_wait",
            Self::State(TcpState::LastAck) => "last_ack",
            Self::State(TcpState::Close) => "close",
            Self::Sockets => "sockets",
            Self::Changes => "changes_per_second",
            Self::Opened => "opened_per_second",
            Self::Closed => "closed_per_second",
            Self::TimeWaits => "time_waits_per_second",
            Self::Oldest => "oldest",
            Self::Processes => "processes",
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Unit => "unit",
            Self::CgroupPath => "cgroup_path",
        }
    }

    /// Sorts the rows; equal ones by process ID.
    pub(super) fn apply(self, processes: &mut [ProcessView]) {
        processes.sort_by(|a, b| self.compare(a, b).then(a.pid.cmp(&b.pid)));
    }

    fn compare(self, a: &ProcessView, b: &ProcessView) -> Ordering {
        let by_rate = |rate: fn(&ProcessView) -> f64| rate(b).total_cmp(&rate(a));
        // Rows without a location come last.
        let by_place = |place: fn(&Location) -> Option<&str>| {
            let of = |row: &ProcessView| row.location.as_deref().and_then(place).map(str::to_owned);
            let (a, b) = (of(a), of(b));
            a.is_none().cmp(&b.is_none()).then(a.cmp(&b))
        };
        match self {
            Self::Pid => Ordering::Equal,
            Self::Comm => a.comm.cmp(&b.comm),
            Self::State(state) => {
                let count = |row: &ProcessView| row.counts[state.index()];
                let by_count = count(b).cmp(&count(a));
                if state == TcpState::CloseWait {
                    by_count.then(by_rate(|row| row.rate))
                } else {
                    by_count
                }
            }
            Self::Sockets => b.total().cmp(&a.total()),
            Self::Changes => by_rate(|row| row.rate),
            Self::Opened => by_rate(|row| row.opens),
            Self::Closed => by_rate(|row| row.closes),
            Self::TimeWaits => by_rate(|row| row.timewaits),
            Self::Oldest => {
                let rank = |row: &ProcessView| {
                    row.oldest
                        .map(|(state, age)| (state == TcpState::CloseWait, age.span()))
                };
                rank(b).cmp(&rank(a))
            }
            Self::Processes => b.others.cmp(&a.others),
            Self::Container => by_place(|place| place.container.as_ref().map(|container| &*container.id)),
            Self::Pod => by_place(|place| place.pod.as_deref()),
            Self::Unit => by_place(|place| place.unit.as_deref()),
            Self::CgroupPath => by_place(|place| Some(&place.path)),
        }
    }
}

impl ValueEnum for Sort {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Pid,
            Self::Comm,
            Self::State(TcpState::Listen),
            Self::State(TcpState::SynSent),
            Self::State(TcpState::SynRecv),
            Self::State(TcpState::Established),
            Self::State(TcpState::FinWait1),
            Self::State(TcpState::FinWait2),
            Self::State(TcpState::Closing),
            Self::State(TcpState::TimeWait),
            Self::State(TcpState::CloseWait),
            Self::State(TcpState::LastAck),
            Self::State(TcpState::Close),
            Self::Sockets,
            Self::Changes,
            Self::Opened,
            Self::Closed,
            Self::TimeWaits,
            Self::Oldest,
            Self::Processes,
            Self::Container,
            Self::Pod,
            Self::Unit,
            Self::CgroupPath,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Age, Nanos};

    #[test]
    fn rows_are_sorted_by_any_column() {
        let row = |pid, opens, oldest: Option<(TcpState, u64)>, path: Option<&str>| ProcessView {
            pid: Some(pid),
            opens,
            oldest: oldest.map(|(state, seconds)| (state, Age::Exact(Nanos::from_secs(seconds)))),
            location: path.map(|path| Location::of_path(path.as_bytes()).into()),
            ..ProcessView::default()
        };
        let mut rows = [
            row(1, 1.0, Some((TcpState::LastAck, 9)), None),
            row(2, 3.0, Some((TcpState::CloseWait, 5)), Some("/b")),
            row(3, 2.0, None, Some("/a")),
        ];
        for (sort, order) in [
            (Sort::Opened, [2, 3, 1]),
            (Sort::Oldest, [2, 1, 3]),
            (Sort::CgroupPath, [3, 2, 1]),
            (Sort::Pid, [1, 2, 3]),
        ] {
            sort.apply(&mut rows);
            assert_eq!(rows.each_ref().map(|row| row.pid.unwrap()), order, "{sort:?}");
        }
    }
}
