//! The table of endpoints.

use super::{
    Cell, Column, Looks, Side, SortKey, age, counted, greatest_first, in_state, oldest_first, short,
};
use crate::{
    event::TcpState,
    stats::key::{Key, Named},
    view::endpoints::EndpointView,
};

/// Its columns.
pub static COLUMNS: [Column<EndpointView>; 12] = [
    Column {
        grows: true,
        key: Some(by_address),
        ..Column::new("ENDPOINT", 24, Side::Left, 0, |row, looks| {
            Cell::new(name(row), looks.theme.strong())
        })
    },
    Column {
        key: Some(|row, _| greatest_first(row.total())),
        ..Column::right("ALL", 5, 0, |row, looks| {
            counted(row.total(), looks.theme, looks.theme.plain())
        })
    },
    in_state!("SYN_S", 5, 5, TcpState::SynSent),
    in_state!("SYN_R", 5, 5, TcpState::SynRecv),
    in_state!("ESTAB", 5, 1, TcpState::Established),
    in_state!("FIN_2", 5, 4, TcpState::FinWait2),
    in_state!("TIME_W", 6, 1, TcpState::TimeWait),
    in_state!("CLOSE_W", 7, 0, TcpState::CloseWait),
    in_state!("LAST_A", 6, 6, TcpState::LastAck),
    Column {
        key: Some(|row, _| oldest_first(row.oldest.map(|(_, age)| age))),
        ..Column::right("OLDEST", 18, 3, |row, looks| match row.oldest {
            None => Cell::new("-", looks.theme.dim()),
            Some((state, oldest)) => {
                Cell::new(format!("{state} {}", age(Some(oldest))), looks.theme.state(state))
            }
        })
    },
    Column {
        key: Some(|row, looks| looks.content.ports_left(row).map_or((1, 0), |left| (0, left))),
        ..Column::right("PORTS LEFT", 10, 0, |row, looks| {
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
        ..Column::right("ACCEPT QUEUE", 12, 0, |row, looks| {
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
