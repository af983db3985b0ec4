//! The connections of all processes, of one, or of an endpoint: one row each.

use super::{View, counted, name_of, no_sockets};
use crate::{
    event::{ProcessKey, TcpState},
    findings::verdict::Verdict,
    output::text,
    owner::policy::Evidence,
    tui::{
        app::App,
        columns::{Cell, CellContext, Column, ColumnId, by_text, greatest_first, oldest_first},
        content::Content,
        cursor::RowId,
        format,
        gather::Sources,
        route::{Route, Tab},
        table::{AnyTable, Table},
    },
    view::connections::{self, ConnectionView, Selection, endpoint_of},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(in crate::tui) of: Selection,
}

impl View for Connections {
    fn tab(&self) -> Option<Tab> {
        Some(Tab::Connections)
    }

    fn caption(&self, app: &App) -> String {
        let count = counted(app, "connection");
        match self.of {
            Selection::All => count,
            of => format!("{count} of {}", name_of(app, of)),
        }
    }

    fn is_filtered(&self) -> bool {
        true
    }

    fn process(&self, _: &App) -> Option<ProcessKey> {
        match self.of {
            Selection::Process(process) => process,
            Selection::All | Selection::LeftOver(_) | Selection::Endpoint(_) => None,
        }
    }

    fn gather(&self, content: &mut Content, sources: &Sources<'_>) {
        let Sources {
            engine, now, filter, ..
        } = *sources;
        connections::gather(&mut content.connections, engine, now, filter, self.of);
    }

    fn table(&self) -> Option<&dyn AnyTable> {
        Some(self)
    }
}

impl Table for Connections {
    type Row = ConnectionView;

    fn columns(&self) -> &'static [Column<ConnectionView>] {
        &COLUMNS
    }

    fn sorted_by(&self) -> Option<ColumnId> {
        Some(ColumnId::State)
    }

    fn rows<'a>(&self, content: &'a Content) -> &'a [ConnectionView] {
        &content.connections
    }

    fn id(&self, row: &ConnectionView) -> RowId {
        RowId::Connection(row.identity)
    }

    fn selection(&self, row: &ConnectionView) -> Selection {
        let endpoint = endpoint_of(&row.identity.endpoints, row.identity.netns, row.role);
        endpoint.map_or(Selection::All, Selection::Endpoint)
    }

    fn opens(&self, row: &ConnectionView) -> Option<Route> {
        Some(Route::history(row.identity))
    }

    fn empty(&self, app: &App) -> Vec<String> {
        if app.filter.is_empty() && !app.opened_from().is_empty() {
            return vec!["No connections left. Esc goes back.".to_owned()];
        }
        no_sockets(app, "connections")
    }
}

/// The column of one end: identifier, title, rank, its place in `octets`, its address and port, and the field's title.
macro_rules! end {
    ($id:expr, $title:literal, $rank:literal, $octets:tt, $address:ident, $port:ident, $field:literal) => {
        Column {
            key: Some(|row, _| {
                let ends = &row.identity.endpoints;
                (address(ends.octets().$octets), u64::from(ends.$port))
            }),
            fields: &[($field, |row, _| {
                let ends = &row.identity.endpoints;
                text::end(ends.$address(), ends.$port)
            })],
            ..Column::left($id, $title, 21, $rank, |row, _| {
                let ends = &row.identity.endpoints;
                Cell::plain(format::clip_front(&text::end(ends.$address(), ends.$port), 21))
            })
        }
    };
}

static COLUMNS: [Column<ConnectionView>; 9] = [
    Column {
        key: Some(|row, _| (u128::from(rank(row.state)), oldest_first(row.age).1)),
        ..Column::left(ColumnId::State, "STATE", 11, 0, |row, context| {
            Cell::new(row.state.name(), context.theme.state(row.state))
        })
    },
    Column {
        key: Some(|row, _| oldest_first(row.age)),
        fields: &[
            ("age_ns", |row, _| format::age_ns(row.age)),
            ("age_exact", |row, _| format::age_exact(row.age)),
        ],
        ..Column::right(ColumnId::Age, "AGE", 7, 0, |row, _| {
            Cell::plain(format::age(row.age))
        })
    },
    end!(ColumnId::Local, "LOCAL", 4, 0, local, local_port, "local"),
    Column {
        key: Some(|row, _| (0, u64::from(row.identity.endpoints.local_port))),
        ..Column::right(ColumnId::LocalPort, "LPORT", 5, 0, |row, _| {
            Cell::plain(row.identity.endpoints.local_port.to_string())
        })
    },
    end!(ColumnId::Remote, "REMOTE", 0, 1, remote, remote_port, "remote"),
    Column {
        key: Some(|row, _| {
            row.owner.map_or((u128::MAX, 0), |owner| {
                (by_text(&owner.comm), u64::from(owner.key.pid))
            })
        }),
        fields: &[
            ("pid", |row, _| {
                format::field(row.owner.map(|owner| owner.key.pid))
            }),
            ("comm", |row, _| {
                row.owner
                    .map_or_else(String::new, |owner| owner.name().into_owned())
            }),
        ],
        ..Column::left(ColumnId::Process, "PROCESS", 14, 0, process)
    },
    Column {
        key: Some(|row, _| {
            (
                0,
                row.owner
                    .and_then(|owner| owner.evidence)
                    .map_or(9, |evidence| evidence as u64),
            )
        }),
        fields: &[
            ("evidence", |row, _| {
                format::field(row.owner.and_then(|owner| owner.evidence).map(Evidence::name))
            }),
            ("other_holders", |row, _| row.sharers.to_string()),
        ],
        ..Column::left(ColumnId::Evidence, "EVIDENCE", 8, 0, |row, context| {
            let word = row
                .owner
                .and_then(|owner| owner.evidence)
                .map_or("-", |evidence| evidence.name());
            let more = match row.sharers {
                0 => String::new(),
                count => format!("+{count}"),
            };
            Cell::new(format!("{word}{more}"), context.theme.dim())
        })
    },
    Column {
        key: Some(|row, context| {
            context
                .content
                .queue(row)
                .map_or((1, 0), |queue| greatest_first(queue.unread.into()))
        }),
        fields: &[("unread", |row, context| {
            format::field(context.content.queue(row).map(|queue| queue.unread))
        })],
        ..Column::right(ColumnId::Unread, "UNREAD", 6, 0, |row, context| {
            match context.content.queue(row) {
                Some(queue) => Cell::plain(format::count(queue.unread.into())),
                None => Cell::unknown(context.theme),
            }
        })
    },
    Column {
        grows: true,
        ..Column::left(ColumnId::Explanation, "WHY", 24, 3, why)
    },
];

/// The states that incidents are about come first.
const fn rank(state: TcpState) -> u8 {
    match state {
        TcpState::CloseWait => 0,
        TcpState::Close => 1,
        TcpState::SynSent => 2,
        TcpState::SynRecv => 3,
        TcpState::FinWait1 => 4,
        TcpState::LastAck => 5,
        TcpState::Closing => 6,
        TcpState::FinWait2 => 7,
        TcpState::Established => 8,
        TcpState::TimeWait => 9,
        TcpState::Listen => 10,
    }
}

const fn address(octets: [u8; 16]) -> u128 {
    u128::from_be_bytes(octets)
}

fn process(row: &ConnectionView, context: &CellContext<'_>) -> Cell {
    match row.owner {
        None if row.is_kernel_socket => Cell::new("(kernel)", context.theme.dim()),
        None => Cell::new("(unknown)", context.theme.dim()),
        Some(owner) => {
            let guess = if owner.is_guess() { "?" } else { "" };
            Cell::plain(format!("{}{guess}/{}", owner.key.pid, owner.name()))
        }
    }
}

fn why(row: &ConnectionView, context: &CellContext<'_>) -> Cell {
    let theme = context.theme;
    match row.state {
        TcpState::CloseWait => {
            let unread = context.content.queue(row).map(|queue| queue.unread);
            match Verdict::of(unread, None) {
                Verdict::Unknown => Cell::new("peer has closed", theme.dim()),
                Verdict::ReadAll => Cell::new("all data read, not closed", theme.warning()),
                verdict => Cell::new(verdict.sentence(), theme.warning()),
            }
        }
        TcpState::Close => Cell::new("reset or never connected, still open", theme.warning()),
        TcpState::Listen => context.content.queue(row).map_or_else(
            || Cell::plain(""),
            |queue| Cell::plain(format!("{} of {} waiting for accept", queue.unread, queue.unsent)),
        ),
        TcpState::FinWait2 if !row.may_be_held => Cell::new("closed here, not by the peer", theme.dim()),
        TcpState::FinWait1 | TcpState::LastAck => Cell::new("FIN not acknowledged", theme.dim()),
        TcpState::SynSent => Cell::new("SYN not answered", theme.dim()),
        TcpState::SynRecv => Cell::new("SYN-ACK not answered, or no data yet", theme.dim()),
        TcpState::Established | TcpState::FinWait2 | TcpState::TimeWait | TcpState::Closing => {
            Cell::plain("")
        }
    }
}
