//! The processes: one row each, those with a finding first.

use super::{View, no_sockets};
use crate::{
    event::{ProcessKey, TcpState},
    findings::scene::Descriptors,
    owner::container::Location,
    plural,
    tui::{
        app::App,
        columns::{
            Cell, CellContext, Column, ColumnId, SortKey, by_text, fastest_first, greatest_first, in_state,
            oldest_first,
        },
        content::Content,
        cursor::RowId,
        format,
        route::Tab,
        table::{AnyTable, Table},
    },
    view::{ProcessView, Sort, connections::Selection},
};

#[derive(Clone, Copy, Debug)]
pub(in crate::tui) struct Processes;

impl View for Processes {
    fn tab(&self) -> Option<Tab> {
        Some(Tab::Processes)
    }

    fn caption(&self, app: &App) -> String {
        let others: u64 = app.content.view.processes.iter().map(|row| row.others).sum();
        plural::counted(app.rows().len() as u64 + others, "process")
    }

    fn is_filtered(&self) -> bool {
        true
    }

    fn process(&self, app: &App) -> Option<ProcessKey> {
        match app.current().cursor.chosen {
            Some(RowId::Process(process)) => process,
            _ => None,
        }
    }

    fn table(&self) -> Option<&dyn AnyTable> {
        Some(self)
    }
}

impl Table for Processes {
    type Row = ProcessView;

    fn columns(&self) -> &'static [Column<ProcessView>] {
        &COLUMNS
    }

    fn sorted_by(&self) -> Option<ColumnId> {
        Some(column_of(Sort::default()))
    }

    fn rows<'a>(&self, content: &'a Content) -> &'a [ProcessView] {
        &content.view.processes
    }

    fn id(&self, row: &ProcessView) -> RowId {
        if row.others > 0 {
            RowId::LeftOver(row.name)
        } else {
            RowId::Process(row.key)
        }
    }

    fn selection(&self, row: &ProcessView) -> Selection {
        if row.others > 0 {
            Selection::LeftOver(row.name)
        } else {
            Selection::Process(row.key)
        }
    }

    fn empty(&self, app: &App) -> Vec<String> {
        no_sockets(app, "sockets")
    }
}

pub(in crate::tui) const fn column_of(sort: Sort) -> ColumnId {
    match sort {
        // It has the processes with the most CLOSE_WAIT first among those of one finding.
        Sort::State(TcpState::CloseWait) => ColumnId::Finding,
        Sort::State(state) => ColumnId::SocketsIn(state),
        // The live view does not count the processes of a row.
        Sort::Sockets | Sort::Processes => ColumnId::Sockets,
        Sort::Changes => ColumnId::Changes,
        Sort::Opened => ColumnId::Opens,
        Sort::Closed => ColumnId::Closes,
        Sort::TimeWaits => ColumnId::TimeWaits,
        Sort::Oldest => ColumnId::Oldest,
        Sort::Pid => ColumnId::Pid,
        Sort::Comm => ColumnId::Command,
        Sort::Container | Sort::Pod | Sort::Unit | Sort::CgroupPath => ColumnId::Container,
    }
}

/// The column of a rate per second: identifier, title, width, rank, the row's field and the exported field's title.
macro_rules! rate {
    ($id:expr, $title:literal, $width:literal, $rank:literal, $rate:ident, $field:literal) => {
        Column {
            key: Some(|row, _| fastest_first(row.$rate)),
            fields: &[($field, |row, context| rate_field(row.$rate, context))],
            ..Column::right($id, $title, $width, $rank, |row, context| {
                Cell::rate(row.$rate, context)
            })
        }
    };
}

static COLUMNS: [Column<ProcessView>; 22] = [
    Column {
        key: Some(|row, _| (0, row.pid.map_or(u64::MAX, u64::from))),
        fields: &[
            ("pid", |row, _| format::field(row.pid)),
            ("processes", |row, _| (row.others + 1).to_string()),
        ],
        ..Column::right(ColumnId::Pid, "PID", 7, 0, |row, context| {
            Cell::new(pid(row), context.theme.dim())
        })
    },
    Column {
        key: Some(|row, _| (by_text(row.comm.as_bytes()), 0)),
        ..Column::left(ColumnId::Command, "COMMAND", 15, 0, |row, context| {
            Cell::new(row.comm.as_str(), context.theme.strong())
        })
    },
    Column {
        key: Some(|row, _| (by_text(location(row).as_bytes()), 0)),
        ..Column::left(ColumnId::Container, "CONTAINER/UNIT", 20, 5, |row, _| {
            Cell::plain(location(row))
        })
    },
    Column {
        key: Some(|row, _| greatest_first(row.total())),
        fields: &[("sockets", |row, _| row.total().to_string())],
        ..Column::right(ColumnId::Sockets, "SOCKETS", 7, 12, |row, context| {
            Cell::count(row.total(), context.theme, context.theme.plain())
        })
    },
    in_state!("LISTEN", 6, 10, TcpState::Listen, "listen"),
    in_state!("SYN_S", 5, 9, TcpState::SynSent, "syn_s"),
    in_state!("SYN_R", 5, 7, TcpState::SynRecv, "syn_r"),
    in_state!("ESTAB", 5, 1, TcpState::Established, "estab"),
    in_state!("FIN_1", 5, 9, TcpState::FinWait1, "fin_1"),
    in_state!("FIN_2", 5, 5, TcpState::FinWait2, "fin_2"),
    in_state!("CLOSNG", 6, 11, TcpState::Closing, "closng"),
    in_state!("TIME_W", 6, 1, TcpState::TimeWait, "time_w"),
    in_state!("CLOSE_W", 7, 0, TcpState::CloseWait, "close_w"),
    in_state!("LAST_A", 6, 9, TcpState::LastAck, "last_a"),
    in_state!("CLOSE", 5, 8, TcpState::Close, "close"),
    Column {
        key: Some(|row, _| oldest_first(row.oldest_close_wait())),
        fields: &[
            ("oldest_ns", |row, _| format::age_ns(row.oldest_close_wait())),
            ("oldest_exact", |row, _| {
                format::age_exact(row.oldest_close_wait())
            }),
        ],
        ..Column::right(ColumnId::Oldest, "OLDEST", 7, 2, |row, context| {
            let style = if row.oldest_close_wait().is_some() {
                context.theme.state(TcpState::CloseWait)
            } else {
                context.theme.dim()
            };
            Cell::new(format::age(row.oldest_close_wait()), style)
        })
    },
    rate!(ColumnId::Changes, "CHANGES/S", 9, 13, rate, "changes/s"),
    rate!(ColumnId::Opens, "OPEN/S", 6, 3, opens, "open/s"),
    rate!(ColumnId::Closes, "CLOSE/S", 7, 3, closes, "close/s"),
    rate!(ColumnId::TimeWaits, "TIME_W/S", 8, 4, timewaits, "time_w/s"),
    Column {
        key: Some(fullest_first),
        fields: &[
            ("fds", |row, context| {
                format::field(open_files(row, context).map(|open| open.used))
            }),
            ("fd_limit", |row, context| {
                format::field(open_files(row, context).map(|open| open.limit))
            }),
        ],
        ..Column::right(ColumnId::Descriptors, "FDS", 12, 4, descriptors)
    },
    Column {
        grows: true,
        key: Some(worst_first),
        ..Column::left(ColumnId::Finding, "FINDING", 11, 0, |row, context| {
            context.content.worst(row.key).map_or_else(
                || Cell::plain(""),
                |found| Cell::new(found.title.as_str(), context.theme.level(found.level)),
            )
        })
    },
];

/// Of an exported file.
fn rate_field(per_second: f64, context: &CellContext<'_>) -> String {
    let rate = context.content.view.rate;
    format::field(rate.map(|_| format!("{per_second:.3}")))
}

/// The process's id, or how many processes the row is of.
fn pid(row: &ProcessView) -> String {
    match row.pid {
        Some(pid) => pid.to_string(),
        None if row.others > 0 => format!("×{}", format::count(row.others + 1)),
        None => "-".to_owned(),
    }
}

fn location(row: &ProcessView) -> &str {
    row.location.as_deref().and_then(Location::short).unwrap_or("-")
}

fn open_files<'a>(row: &ProcessView, context: &CellContext<'a>) -> Option<&'a Descriptors> {
    context.content.descriptors.get(&row.key?)
}

fn descriptors(row: &ProcessView, context: &CellContext<'_>) -> Cell {
    let Some(open) = open_files(row, context) else {
        return Cell::unknown(context.theme);
    };
    let style = if open.is_nearly_all() {
        context.theme.bad()
    } else {
        context.theme.plain()
    };
    Cell::new(
        format!("{}/{}", format::count(open.used), format::count(open.limit)),
        style,
    )
}

fn fullest_first(row: &ProcessView, context: &CellContext<'_>) -> SortKey {
    open_files(row, context).map_or((1, 0), |open| fastest_first(open.share()))
}

/// The worst finding, then the most CLOSE_WAIT, then the most changes.
fn worst_first(row: &ProcessView, context: &CellContext<'_>) -> SortKey {
    let rank = context.content.rank_of(row.key);
    let close_waits = row.counts[TcpState::CloseWait.index()];
    let (_, fastest) = fastest_first(row.rate);
    (
        u128::from(rank) << 64 | u128::from(u64::MAX - close_waits),
        fastest,
    )
}
