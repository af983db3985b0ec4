//! The table of connections.

use super::{Cell, Column, Looks, Side, age, by_name, clip_front, greatest_first, oldest_first, short};
use crate::{event::TcpState, findings::verdict::Verdict, output::text, view::connections::ConnectionView};

/// Its columns.
pub static COLUMNS: [Column<ConnectionView>; 9] = [
    Column {
        key: Some(|row, _| (u128::from(rank(row.state)), oldest_first(row.age).1)),
        ..Column::new("STATE", 11, Side::Left, 0, |row, looks| {
            Cell::new(row.state.name(), looks.theme.state(row.state))
        })
    },
    Column {
        key: Some(|row, _| oldest_first(row.age)),
        ..Column::right("AGE", 7, 0, |row, _| Cell::plain(age(row.age)))
    },
    Column {
        key: Some(|row, _| {
            (
                address(row.identity.ends.octets().0),
                u64::from(row.identity.ends.local_port),
            )
        }),
        ..Column::new("LOCAL", 21, Side::Left, 4, |row, _| {
            let ends = &row.identity.ends;
            Cell::plain(clip_front(&text::end(ends.local(), ends.local_port), 21))
        })
    },
    Column {
        key: Some(|row, _| (0, u64::from(row.identity.ends.local_port))),
        ..Column::right("LPORT", 5, 0, |row, _| {
            Cell::plain(row.identity.ends.local_port.to_string())
        })
    },
    Column {
        key: Some(|row, _| {
            (
                address(row.identity.ends.octets().1),
                u64::from(row.identity.ends.remote_port),
            )
        }),
        ..Column::new("REMOTE", 21, Side::Left, 0, |row, _| {
            let ends = &row.identity.ends;
            Cell::plain(clip_front(&text::end(ends.remote(), ends.remote_port), 21))
        })
    },
    Column {
        key: Some(|row, _| {
            row.owner.map_or((u128::MAX, 0), |owner| {
                (by_name(owner.comm).0, u64::from(owner.key.pid))
            })
        }),
        ..Column::new("PROCESS", 14, Side::Left, 0, process)
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
        ..Column::new("EVIDENCE", 8, Side::Left, 0, |row, looks| {
            let word = row
                .owner
                .and_then(|owner| owner.evidence)
                .map_or("-", |evidence| evidence.name());
            Cell::new(word, looks.theme.dim())
        })
    },
    Column {
        key: Some(|row, looks| {
            looks
                .content
                .queue(row)
                .map_or((1, 0), |queue| greatest_first(queue.unread.into()))
        }),
        ..Column::right("UNREAD", 6, 0, |row, looks| match looks.content.queue(row) {
            Some(queue) => Cell::plain(short(queue.unread.into())),
            None => Cell::new("-", looks.theme.dim()),
        })
    },
    Column {
        grows: true,
        ..Column::new("WHY", 24, Side::Left, 3, why)
    },
];

/// The column of ages, which the table is sorted by at first after the state.
pub const STATE: usize = 0;

/// What incidents are about comes first.
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

fn process(row: &ConnectionView, looks: &Looks<'_>) -> Cell {
    match row.owner {
        None if row.is_kernel_socket => Cell::new("the kernel", looks.theme.dim()),
        None => Cell::new("(unknown)", looks.theme.dim()),
        Some(owner) => {
            let guess = if owner.is_guess() { "?" } else { "" };
            Cell::plain(format!("{}{guess}/{}", owner.key.pid, owner.name()))
        }
    }
}

fn why(row: &ConnectionView, looks: &Looks<'_>) -> Cell {
    let theme = looks.theme;
    match row.state {
        TcpState::CloseWait => {
            let unread = looks.content.queue(row).map(|queue| queue.unread);
            match Verdict::of(unread, None) {
                Verdict::NotKnown => Cell::new("the peer has closed", theme.dim()),
                Verdict::ReadAll => Cell::new("has read all and not closed", theme.warning()),
                verdict => Cell::new(verdict.sentence(), theme.warning()),
            }
        }
        TcpState::Close => Cell::new("reset or never connected, still open", theme.warning()),
        TcpState::Listen => looks.content.queue(row).map_or_else(
            || Cell::plain(""),
            |queue| Cell::plain(format!("{} of {} wait for accept", queue.unread, queue.unsent)),
        ),
        TcpState::FinWait2 if !row.may_be_held => Cell::new("closed here, not by the peer", theme.dim()),
        TcpState::FinWait1 | TcpState::LastAck => Cell::new("our FIN is not acknowledged", theme.dim()),
        TcpState::SynSent => Cell::new("no answer to our SYN", theme.dim()),
        TcpState::SynRecv => Cell::new("no answer to our SYN-ACK", theme.dim()),
        TcpState::Established | TcpState::FinWait2 | TcpState::TimeWait | TcpState::Closing => {
            Cell::plain("")
        }
    }
}
