//! The table of processes.

use super::{
    Cell, Column, Looks, Side, SortKey, age, counted, fastest_first, greatest_first, in_state, oldest_first,
    rated, short,
};
use crate::{event::TcpState, owner::container::Place, view::ProcessView};

/// Its columns.
pub static COLUMNS: [Column<ProcessView>; 20] = [
    Column {
        key: Some(|row, _| (0, row.pid.map_or(u64::MAX, u64::from))),
        ..Column::right("PID", 7, 0, |row, looks| {
            Cell::new(
                row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                looks.theme.dim(),
            )
        })
    },
    Column {
        key: Some(|row, _| (first_letters(&row.comm), 0)),
        ..Column::new("COMMAND", 15, Side::Left, 0, |row, looks| {
            Cell::new(row.comm.as_str(), looks.theme.strong())
        })
    },
    Column {
        key: Some(|row, _| (first_letters(place(row)), 0)),
        ..Column::new("CONTAINER/UNIT", 20, Side::Left, 5, |row, _| {
            Cell::plain(place(row))
        })
    },
    in_state!("LISTEN", 6, 10, TcpState::Listen),
    in_state!("SYN_S", 5, 9, TcpState::SynSent),
    in_state!("SYN_R", 5, 7, TcpState::SynRecv),
    in_state!("ESTAB", 5, 1, TcpState::Established),
    in_state!("FIN_1", 5, 9, TcpState::FinWait1),
    in_state!("FIN_2", 5, 5, TcpState::FinWait2),
    in_state!("CLOSNG", 6, 11, TcpState::Closing),
    in_state!("TIME_W", 6, 1, TcpState::TimeWait),
    in_state!("CLOSE_W", 7, 0, TcpState::CloseWait),
    in_state!("LAST_A", 6, 9, TcpState::LastAck),
    in_state!("CLOSE", 5, 8, TcpState::Close),
    Column {
        key: Some(|row, _| oldest_first(row.oldest_close_wait())),
        ..Column::right("OLDEST", 7, 2, |row, looks| {
            let style = if row.oldest_close_wait().is_some() {
                looks.theme.state(TcpState::CloseWait)
            } else {
                looks.theme.dim()
            };
            Cell::new(age(row.oldest_close_wait()), style)
        })
    },
    Column {
        key: Some(|row, _| fastest_first(row.opens)),
        ..Column::right("OPEN/S", 6, 3, |row, looks| rated(row.opens, looks.theme))
    },
    Column {
        key: Some(|row, _| fastest_first(row.closes)),
        ..Column::right("CLOSE/S", 7, 3, |row, looks| rated(row.closes, looks.theme))
    },
    Column {
        key: Some(|row, _| fastest_first(row.timewaits)),
        ..Column::right("TIME_W/S", 8, 4, |row, looks| rated(row.timewaits, looks.theme))
    },
    Column {
        key: Some(fullest_first),
        ..Column::right("FDS", 12, 4, descriptors)
    },
    Column {
        grows: true,
        key: Some(worst_first),
        ..Column::new("FINDING", 11, Side::Left, 0, |row, looks| {
            looks.content.worst(row.key).map_or_else(
                || Cell::plain(""),
                |found| Cell::new(found.title.as_str(), looks.theme.level(found.level)),
            )
        })
    },
];

/// The column that the table is sorted by at first.
pub const FINDING: usize = COLUMNS.len() - 1;

/// The places of columns that the flag `--sort` names.
pub mod place_of {
    #![expect(missing_docs, reason = "the names are those of the columns")]
    pub const PID: usize = 0;
    pub const COMMAND: usize = 1;
    pub const ESTABLISHED: usize = 6;
    pub const TIME_WAIT: usize = 10;
    pub const OPENS: usize = 15;
}

fn place(row: &ProcessView) -> &str {
    row.place.as_deref().and_then(Place::short).unwrap_or("-")
}

fn first_letters(text: &str) -> u128 {
    let mut letters = [0; 16];
    for (to, from) in letters.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    u128::from_be_bytes(letters)
}

fn descriptors(row: &ProcessView, looks: &Looks<'_>) -> Cell {
    let known = row.key.and_then(|key| looks.content.descriptors.get(&key));
    let Some(open) = known else {
        return Cell::new("-", looks.theme.dim());
    };
    let style = if open.is_nearly_all() {
        looks.theme.bad()
    } else {
        looks.theme.plain()
    };
    Cell::new(format!("{}/{}", short(open.used), short(open.limit)), style)
}

fn fullest_first(row: &ProcessView, looks: &Looks<'_>) -> SortKey {
    let known = row.key.and_then(|key| looks.content.descriptors.get(&key));
    known.map_or((1, 0), |open| fastest_first(open.share()))
}

/// The worst finding, then the most CLOSE_WAIT, then the most changes.
fn worst_first(row: &ProcessView, looks: &Looks<'_>) -> SortKey {
    let rank = looks.content.rank_of(row.key);
    let close_waits = row.counts[TcpState::CloseWait.index()];
    let (_, fastest) = fastest_first(row.rate);
    (
        u128::from(rank) << 64 | u128::from(u64::MAX - close_waits),
        fastest,
    )
}
