//! The table of endpoints.

use super::{Cell, Column, Looks, Side, SortKey, age, counted, greatest_first, oldest_first, short};
use crate::{
    event::TcpState,
    stats::key::{Key, Named},
    view::endpoints::EndpointView,
};

/// Its columns.
pub static COLUMNS: [Column<EndpointView>; 12] = [
    Column {
        side: Side::Left,
        grows: true,
        key: Some(by_address),
        ..column("ENDPOINT", 24, 0, |row, looks| {
            Cell::new(name(row), looks.theme.strong())
        })
    },
    Column {
        key: Some(|row, _| greatest_first(row.total())),
        ..column("ALL", 5, 0, |row, looks| {
            counted(row.total(), looks.theme, looks.theme.plain())
        })
    },
    state(
        "SYN_S",
        5,
        5,
        |row, looks| count(row, looks, TcpState::SynSent),
        |row, _| most(row, TcpState::SynSent),
    ),
    state(
        "SYN_R",
        5,
        5,
        |row, looks| count(row, looks, TcpState::SynRecv),
        |row, _| most(row, TcpState::SynRecv),
    ),
    state(
        "ESTAB",
        5,
        1,
        |row, looks| count(row, looks, TcpState::Established),
        |row, _| most(row, TcpState::Established),
    ),
    state(
        "FIN_2",
        5,
        4,
        |row, looks| count(row, looks, TcpState::FinWait2),
        |row, _| most(row, TcpState::FinWait2),
    ),
    state(
        "TIME_W",
        6,
        1,
        |row, looks| count(row, looks, TcpState::TimeWait),
        |row, _| most(row, TcpState::TimeWait),
    ),
    state(
        "CLOSE_W",
        7,
        0,
        |row, looks| count(row, looks, TcpState::CloseWait),
        |row, _| most(row, TcpState::CloseWait),
    ),
    state(
        "LAST_A",
        6,
        6,
        |row, looks| count(row, looks, TcpState::LastAck),
        |row, _| most(row, TcpState::LastAck),
    ),
    Column {
        key: Some(|row, _| oldest_first(row.oldest.map(|(_, age)| age))),
        ..column("OLDEST", 18, 3, |row, looks| match row.oldest {
            None => Cell::new("-", looks.theme.dim()),
            Some((state, oldest)) => {
                Cell::new(format!("{state} {}", age(Some(oldest))), looks.theme.state(state))
            }
        })
    },
    Column {
        key: Some(|row, looks| looks.content.ports_left(row).map_or((1, 0), |left| (0, left))),
        ..column("PORTS LEFT", 10, 0, |row, looks| {
            match looks.content.ports_left(row) {
                None => Cell::new("-", looks.theme.dim()),
                Some(left) if left < row.ports_used => Cell::new(short(left), looks.theme.bad()),
                Some(left) => Cell::plain(short(left)),
            }
        })
    },
    Column {
        key: Some(|row, looks| {
            looks
                .content
                .listener_queue(row)
                .map_or((1, 0), |queue| greatest_first(queue.unread.into()))
        }),
        ..column("ACCEPT QUEUE", 12, 0, |row, looks| {
            match looks.content.listener_queue(row) {
                None => Cell::new("-", looks.theme.dim()),
                Some(queue) => {
                    let style = if queue.unread > queue.unsent / 2 {
                        looks.theme.bad()
                    } else {
                        looks.theme.plain()
                    };
                    Cell::new(format!("{}/{}", queue.unread, queue.unsent), style)
                }
            }
        })
    },
];

/// The column that the table is sorted by at first.
pub const ALL: usize = 1;

const fn column(
    title: &'static str,
    width: u16,
    rank: u8,
    cell: fn(&EndpointView, &Looks<'_>) -> Cell,
) -> Column<EndpointView> {
    Column {
        title,
        width,
        side: Side::Right,
        rank,
        grows: false,
        cell,
        key: None,
    }
}

const fn state(
    title: &'static str,
    width: u16,
    rank: u8,
    cell: fn(&EndpointView, &Looks<'_>) -> Cell,
    key: fn(&EndpointView, &Looks<'_>) -> SortKey,
) -> Column<EndpointView> {
    Column {
        key: Some(key),
        ..column(title, width, rank, cell)
    }
}

fn count(row: &EndpointView, looks: &Looks<'_>, state: TcpState) -> Cell {
    counted(row.counts[state.index()], looks.theme, looks.theme.state(state))
}

const fn most(row: &EndpointView, state: TcpState) -> SortKey {
    greatest_first(row.counts[state.index()])
}

/// `port 80`, or `10.0.0.1 → 10.0.0.2:443`.
#[must_use]
pub fn name(row: &EndpointView) -> String {
    Named {
        key: row.key,
        comm: [0; 16],
    }
    .to_string()
}

fn by_address(row: &EndpointView, _: &Looks<'_>) -> SortKey {
    match row.key {
        Key::Server { port, .. } => (0, port.into()),
        Key::Client { ends, .. } | Key::Tuple { ends, .. } => {
            (u128::from_be_bytes(ends.octets().1), ends.remote_port.into())
        }
        Key::Process(_) | Key::Cgroup(_) => (u128::MAX, 0),
    }
}
