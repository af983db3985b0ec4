//! The columns of a socket: those of its row, and what the network does to it. CSV has all of them; `--columns` chooses,
//! for text too.

use super::{Socket, network};
use crate::{
    duration::human,
    event::{Age, Nanos},
    output::{
        bytes::human_bytes,
        csv,
        field::Padded,
        row::{Value, location},
    },
    owner::processes::comm_text,
    socket::network::Network,
};
use std::{borrow::Cow, cmp::Reverse, fmt::Write as _, net::IpAddr};

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
        matches!(
            self.name,
            "runtime" | "container" | "pod" | "unit" | "cgroup_path"
        )
    }

    fn of<'r>(self, socket: &'r Socket<'_>) -> Value<'r> {
        match self.value {
            Source::Socket(value) => value(socket),
            Source::Network(value) => value(socket.network),
        }
    }

    /// The title in text, whose values have their unit with them: `RTT` for `rtt_ns`.
    fn title(self) -> String {
        let Unit { suffix, .. } = Unit::of(self.name);
        self.name.strip_suffix(suffix).unwrap_or(self.name).to_uppercase()
    }

    /// The value in text, `-` if it is unknown.
    fn text<'r>(self, socket: &'r Socket<'_>) -> Cow<'r, str> {
        match self.of(socket) {
            Value::Null => "-".into(),
            Value::Number(number) => Unit::of(self.name).text(number).into(),
            Value::Flag(flag) => if flag { "yes" } else { "no" }.into(),
            other @ (Value::Text(_) | Value::Address(_) | Value::Time(_)) => other.text(),
        }
    }

    /// Width in text; what is wider shifts the rest of its line.
    fn width(self) -> usize {
        let least = match self.name {
            "local_addr" | "remote_addr" | "comm" | "netns_name" | "unit" => 15,
            "container" | "pod" => 12,
            "netns" | "state" | "timer" => 11,
            "runtime" | "congestion" | "evidence" => 8,
            "cgroup_path" => 24,
            _ => 6,
        };
        least.max(self.title().len())
    }

    /// Whether it is aligned to the left.
    fn is_word(self) -> bool {
        matches!(
            self.name,
            "family"
                | "local_addr"
                | "remote_addr"
                | "state"
                | "comm"
                | "netns_name"
                | "runtime"
                | "container"
                | "pod"
                | "unit"
                | "cgroup_path"
                | "evidence"
                | "timer"
                | "congestion"
        )
    }
}

/// The unit of a number, which the name of its column ends with.
struct Unit {
    suffix: &'static str,
    text: fn(u64) -> String,
}

impl Unit {
    fn of(name: &str) -> Self {
        let units = [
            Self {
                suffix: "_ns",
                text: |ns| human(Nanos(ns)),
            },
            Self {
                suffix: "_bytes",
                text: human_bytes,
            },
        ];
        let none = Self {
            suffix: "",
            text: |number| number.to_string(),
        };
        units
            .into_iter()
            .find(|unit| name.ends_with(unit.suffix))
            .unwrap_or(none)
    }

    fn text(&self, number: u64) -> String {
        (self.text)(number)
    }
}

/// The titles of [`push_text`].
pub(super) fn text_titles(columns: &[SocketColumn]) -> String {
    let mut out = String::new();
    push_cells(&mut out, columns, |column| column.title().into());
    out
}

/// Appends a line of these columns for people.
pub(super) fn push_text(out: &mut String, columns: &[SocketColumn], socket: &Socket<'_>) {
    push_cells(out, columns, |column| column.text(socket));
}

fn push_cells<'r>(out: &mut String, columns: &[SocketColumn], cell: impl Fn(SocketColumn) -> Cow<'r, str>) {
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let (text, width) = (cell(*column), column.width());
        let _ = match (column.is_word(), index + 1 == columns.len()) {
            (true, true) => write!(out, "{text}"),
            (true, false) => write!(out, "{}", Padded(&text, width)),
            (false, _) => write!(out, "{text:>width$}"),
        };
    }
    out.push('\n');
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
