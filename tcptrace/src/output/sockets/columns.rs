//! The columns of a socket: those of its row, and what the network does to it. CSV has all of them; `--columns` chooses,
//! for text too.

use super::{Socket, network};
use crate::{
    event::Age,
    output::{
        csv,
        row::{Value, location},
        table,
    },
    owner::processes::comm_text,
    socket::network::Network,
};
use std::{cmp::Reverse, net::IpAddr};

/// A column: its name, and what it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketColumn {
    pub(crate) name: &'static str,
    value: Source,
}

/// Numbers from the largest on, addresses and texts in their order, unknown values last.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SortKey {
    Number(Reverse<u64>),
    Address(IpAddr),
    Text(String),
    Unknown,
}

/// What a column shows a value of.
#[derive(Clone, Copy, Debug)]
enum Source {
    Socket(OfSocket),
    Network(fn(&Network) -> Value<'_>),
}

type OfSocket = for<'r, 's> fn(&'r Socket<'s>) -> Value<'r>;

impl SocketColumn {
    /// All of them, in the order of CSV.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let of_row = OF_ROW.iter().map(|(name, value)| Self {
            name,
            value: Source::Socket(*value),
        });
        let of_network = network::COLUMNS.iter().map(|(name, value)| Self {
            name,
            value: Source::Network(*value),
        });
        of_row.chain(of_network)
    }

    /// What a list is sorted by in this column.
    pub(super) fn key(self, socket: &Socket<'_>) -> SortKey {
        match self.of(socket) {
            Value::Number(number) | Value::Time(number) => SortKey::Number(Reverse(number)),
            Value::Flag(flag) => SortKey::Number(Reverse(flag.into())),
            Value::Address(address) => SortKey::Address(address),
            Value::Text(text) => SortKey::Text(text.into_owned()),
            Value::Null => SortKey::Unknown,
        }
    }

    /// Whether it shows what the network does.
    pub(super) const fn is_of_network(self) -> bool {
        matches!(self.value, Source::Network(_))
    }

    /// Whether it shows where the owner runs.
    pub(super) fn is_of_location(self) -> bool {
        table::is_of_location(self.name)
    }

    fn of<'r>(self, socket: &'r Socket<'_>) -> Value<'r> {
        match self.value {
            Source::Socket(value) => value(socket),
            Source::Network(value) => value(socket.network),
        }
    }
}

/// The titles of [`push_text`].
pub(super) fn text_titles(columns: &[SocketColumn]) -> String {
    table::titles(columns.iter().map(|column| column.name))
}

/// Appends a line of these columns for people.
pub(super) fn push_text(out: &mut String, columns: &[SocketColumn], socket: &Socket<'_>) {
    let is_exact = socket.age.is_none_or(Age::is_exact);
    let cells = columns.iter().map(|column| {
        let value = column.of(socket);
        match column.name {
            "age_ns" if !is_exact => (column.name, table::lower_bound(&value)),
            name => (name, value),
        }
    });
    table::push_line(out, cells);
}

/// The titles of CSV.
pub(super) fn csv_titles(columns: &[SocketColumn]) -> String {
    csv::line(columns.iter().map(|column| column.name))
}

/// Appends a line of CSV.
pub(super) fn push_csv(out: &mut String, columns: &[SocketColumn], socket: &Socket<'_>) {
    csv::push(out, columns.iter().map(|column| column.of(socket).text()));
}

const OF_ROW: &[(&str, OfSocket)] = &[
    ("cookie", |socket| socket.row.sock.cookie.into()),
    ("family", |socket| socket.row.endpoints.family().name().into()),
    ("local_addr", |socket| socket.row.endpoints.local().into()),
    ("local_port", |socket| socket.row.endpoints.local_port.into()),
    ("remote_addr", |socket| socket.row.endpoints.remote().into()),
    ("remote_port", |socket| socket.row.endpoints.remote_port.into()),
    ("netns", |socket| socket.row.netns.into()),
    ("state", |socket| socket.row.state.name().into()),
    ("age_ns", |socket| socket.age.map(|age| age.span().0).into()),
    ("age_exact", |socket| socket.age.is_some_and(Age::is_exact).into()),
    ("recv_q", |socket| socket.row.unread.into()),
    ("send_q", |socket| socket.row.unsent.into()),
    ("uid", |socket| socket.row.uid.into()),
    ("inode", |socket| socket.row.inode.into()),
    ("pid", |socket| {
        socket.owner.map(|(owner, _)| owner.process.pid).into()
    }),
    ("comm", |socket| {
        socket.owner.map(|(owner, _)| comm_text(&owner.comm)).into()
    }),
    ("fd", |socket| {
        let owner = socket.owner.filter(|_| !socket.holders.is_empty());
        owner.map(|(owner, _)| owner.fd).into()
    }),
    ("netns_name", |socket| socket.netns_name.into()),
    ("runtime", |socket| {
        location::runtime(socket.owner_location()).into()
    }),
    ("container", |socket| {
        location::container(socket.owner_location()).into()
    }),
    ("pod", |socket| location::pod(socket.owner_location()).into()),
    ("unit", |socket| location::unit(socket.owner_location()).into()),
    ("cgroup_path", |socket| {
        location::cgroup_path(socket.owner_location()).into()
    }),
    ("evidence", |socket| {
        socket.owner.map(|(_, evidence)| evidence.name()).into()
    }),
];
