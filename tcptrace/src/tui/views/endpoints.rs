//! The endpoints: one row for each local server port and each destination.

use super::{View, counted, no_sockets};
use crate::{
    connection::handshake::HandshakeEnd,
    duration::{human, human_age},
    event::TcpState,
    stats::key::{Key, NamedKey},
    tui::{
        app::App,
        columns::{Cell, CellContext, Column, ColumnId, SortKey, greatest_first, in_state, oldest_first},
        content::Content,
        cursor::RowId,
        format,
        gather::Sources,
        route::Tab,
        table::{AnyTable, Table},
    },
    view::{
        connections::Selection,
        endpoints::{self, EndpointView},
    },
};

#[derive(Clone, Copy, Debug)]
pub(in crate::tui) struct Endpoints;

impl View for Endpoints {
    fn tab(&self) -> Option<Tab> {
        Some(Tab::Endpoints)
    }

    fn caption(&self, app: &App) -> String {
        counted(app, "endpoint")
    }

    fn is_filtered(&self) -> bool {
        true
    }

    fn gather(&self, content: &mut Content, sources: &Sources<'_>) {
        let Sources {
            gather,
            engine,
            now,
            filter,
        } = *sources;
        content.endpoints = endpoints::build(engine, now, filter, &gather.by_endpoint, &content.unaccepted);
    }

    fn table(&self) -> Option<&dyn AnyTable> {
        Some(self)
    }
}

impl Table for Endpoints {
    type Row = EndpointView;

    fn columns(&self) -> &'static [Column<EndpointView>] {
        &COLUMNS
    }

    fn sorted_by(&self) -> Option<ColumnId> {
        Some(ColumnId::Sockets)
    }

    fn rows<'a>(&self, content: &'a Content) -> &'a [EndpointView] {
        &content.endpoints
    }

    fn id(&self, row: &EndpointView) -> RowId {
        RowId::Endpoint(row.key)
    }

    fn selection(&self, row: &EndpointView) -> Selection {
        Selection::Endpoint(row.key)
    }

    fn empty(&self, app: &App) -> Vec<String> {
        no_sockets(app, "sockets")
    }
}

/// The field of how many handshakes ended in one way.
macro_rules! ended {
    ($title:literal, $end:ident) => {
        ($title, |row, _| {
            row.handshakes.count(HandshakeEnd::$end).to_string()
        })
    };
}

static COLUMNS: [Column<EndpointView>; 15] = [
    Column {
        grows: true,
        key: Some(by_address),
        ..Column::left(ColumnId::Endpoint, "ENDPOINT", 24, 0, |row, context| {
            Cell::new(name(row), context.theme.strong())
        })
    },
    Column {
        key: Some(|row, _| greatest_first(row.total())),
        fields: &[("all", |row, _| row.total().to_string())],
        ..Column::right(ColumnId::Sockets, "ALL", 5, 0, |row, context| {
            Cell::count(row.total(), context.theme, context.theme.plain())
        })
    },
    in_state!("SYN_S", 5, 5, TcpState::SynSent, "syn_s"),
    in_state!("SYN_R", 5, 5, TcpState::SynRecv, "syn_r"),
    in_state!("ESTAB", 5, 1, TcpState::Established, "estab"),
    in_state!("FIN_2", 5, 4, TcpState::FinWait2, "fin_2"),
    in_state!("TIME_W", 6, 1, TcpState::TimeWait, "time_w"),
    in_state!("CLOSE_W", 7, 0, TcpState::CloseWait, "close_w"),
    in_state!("LAST_A", 6, 6, TcpState::LastAck, "last_a"),
    Column {
        key: Some(|row, _| oldest_first(row.oldest.map(|(_, age)| age))),
        fields: &[
            ("oldest_state", |row, _| {
                format::field(row.oldest.map(|(state, _)| state))
            }),
            ("oldest_ns", |row, _| {
                format::age_ns(row.oldest.map(|(_, age)| age))
            }),
            ("oldest_exact", |row, _| {
                format::age_exact(row.oldest.map(|(_, age)| age))
            }),
        ],
        ..Column::right(ColumnId::Oldest, "OLDEST", 18, 3, |row, context| {
            match row.oldest {
                None => Cell::unknown(context.theme),
                Some((state, oldest)) => Cell::new(
                    format!("{state} {}", format::age(Some(oldest))),
                    context.theme.state(state),
                ),
            }
        })
    },
    Column {
        key: Some(|row, _| {
            row.handshakes
                .median
                .map_or((1, 0), |median| greatest_first(median.0))
        }),
        fields: &[("handshake_p50_ns", |row, _| {
            format::field(row.handshakes.median.map(|median| median.0))
        })],
        ..Column::right(ColumnId::Handshake, "HANDSHAKE", 9, 2, |row, context| {
            match row.handshakes.median {
                None => Cell::unknown(context.theme),
                Some(median) => Cell::plain(human(median)),
            }
        })
    },
    Column {
        key: Some(|row, _| greatest_first(failed(row))),
        fields: &[
            ended!("connected", Connected),
            ended!("refused", Refused),
            ended!("timed_out", TimedOut),
            ended!("unreachable", Unreachable),
            ended!("cancelled", Cancelled),
            ended!("no_port", NoPort),
            ended!("completed", Completed),
            ended!("abandoned", Abandoned),
            ended!("reset", Reset),
        ],
        ..Column::right(ColumnId::Failed, "FAILED", 16, 1, |row, context| {
            let worst = row.handshakes.failures().max_by_key(|(_, count)| *count);
            match worst {
                None => Cell::count(0, context.theme, context.theme.plain()),
                Some((end, count)) if count == failed(row) => Cell::new(
                    format!("{} {}", format::count(count), end.name()),
                    context.theme.bad(),
                ),
                Some((end, _)) => Cell::new(
                    format!("{} {}…", format::count(failed(row)), end.name()),
                    context.theme.bad(),
                ),
            }
        })
    },
    Column {
        key: Some(|row, context| context.content.ports_left(row).map_or((1, 0), |left| (0, left))),
        fields: &[("ports_left", |row, context| {
            format::field(context.content.ports_left(row))
        })],
        ..Column::right(
            ColumnId::PortsLeft,
            "PORTS LEFT",
            10,
            0,
            |row, context| match context.content.ports_left(row) {
                None => Cell::unknown(context.theme),
                Some(left) if left < row.ports_used => Cell::new(format::count(left), context.theme.bad()),
                Some(left) => Cell::plain(format::count(left)),
            },
        )
    },
    Column {
        key: Some(|row, context| {
            context
                .content
                .listener_queue(row)
                .map_or((1, 0), |queue| greatest_first(queue.unread.into()))
        }),
        fields: &[
            ("accept_queue", |row, context| {
                format::field(context.content.listener_queue(row).map(|queue| queue.unread))
            }),
            ("backlog", |row, context| {
                format::field(context.content.listener_queue(row).map(|queue| queue.unsent))
            }),
            ("accept_wait_ns", |row, _| format::age_ns(row.oldest_wait)),
            ("accept_wait_exact", |row, _| format::age_exact(row.oldest_wait)),
        ],
        ..Column::right(
            ColumnId::AcceptQueue,
            "ACCEPT QUEUE",
            16,
            0,
            |row, context| match context.content.listener_queue(row) {
                None => Cell::unknown(context.theme),
                Some(queue) => {
                    let style = if queue.unread > queue.unsent / 2 {
                        context.theme.bad()
                    } else {
                        context.theme.plain()
                    };
                    let waits = row
                        .oldest_wait
                        .map_or_else(String::new, |age| format!(" {}", human_age(age)));
                    Cell::new(format!("{}/{}{waits}", queue.unread, queue.unsent), style)
                }
            },
        )
    },
    Column {
        key: Some(|row, context| drops(row, context).map_or((1, 0), greatest_first)),
        fields: &[("drops", |row, context| format::field(drops(row, context)))],
        ..Column::right(ColumnId::Drops, "DROPS", 5, 3, |row, context| {
            match drops(row, context) {
                None => Cell::unknown(context.theme),
                Some(drops) => Cell::count(drops, context.theme, context.theme.bad()),
            }
        })
    },
];

/// Segments that the kernel dropped at a port's listener since it listens (`sk_drops`), those of healthy handshakes among them.
fn drops(row: &EndpointView, context: &CellContext<'_>) -> Option<u64> {
    context.content.listener_queue(row)?.drops.map(u64::from)
}

/// Handshakes that ended without a connection.
fn failed(row: &EndpointView) -> u64 {
    row.handshakes.failures().map(|(_, count)| count).sum()
}

/// `port 80`, or `10.0.0.1 → 10.0.0.2:443`.
fn name(row: &EndpointView) -> String {
    NamedKey {
        key: row.key,
        comm: [0; 16],
    }
    .to_string()
}

fn by_address(row: &EndpointView, _: &CellContext<'_>) -> SortKey {
    match row.key {
        Key::Server { port, .. } => (0, port.into()),
        Key::Client { endpoints, .. } | Key::Tuple { endpoints, .. } => (
            u128::from_be_bytes(endpoints.octets().1),
            endpoints.remote_port.into(),
        ),
        Key::Process(_) | Key::Cgroup(_) => (u128::MAX, 0),
    }
}
