//! The rows of `snapshot`: text, JSON, CSV.

mod columns;
mod network;

pub(crate) use columns::SocketColumn;
use columns::SortKey;

use super::{
    field::Padded,
    json::{self, EndJson, HolderJson, OwnerJson},
    text::push_end,
};
use crate::{
    duration::human_age,
    event::{Age, Family, ProcessKey, TcpState},
    options::Format,
    owner::{container::Location, policy::Evidence, processes::comm_text},
    socket::{Holder, Row, SockKind, network::Network},
};
use hashbrown::HashMap;
pub(crate) use network::NetworkJson;
use serde::Serialize;
use std::{fmt::Write as _, sync::Arc};

/// Where processes run, as far as known.
pub(crate) type Locations = HashMap<ProcessKey, Arc<Location>>;

/// One socket, with all that is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Socket<'a> {
    pub(crate) row: &'a Row,
    /// What the network does to it.
    pub(crate) network: &'a Network,
    /// Time in the state, if the kernel reports it.
    pub(crate) age: Option<Age>,
    /// Who owns it, and how that is known.
    pub(crate) owner: Option<(&'a Holder, Evidence)>,
    pub(crate) holders: &'a [Holder],
    pub(crate) locations: &'a Locations,
    /// What its network namespace is called.
    pub(crate) netns_name: Option<&'a str>,
    /// The pending error of a socket in CLOSE, an errno, or 0.
    pub(crate) error: u32,
}

impl Socket<'_> {
    fn location(&self, holder: &Holder) -> Option<&Location> {
        self.locations.get(&holder.process).map(Arc::as_ref)
    }

    fn owner_location(&self) -> Option<&Location> {
        let (owner, _) = self.owner?;
        self.location(owner)
    }
}

/// How sockets are listed.
#[derive(Clone, Debug)]
pub(crate) enum SocketFormat {
    Text { wide: bool },
    TextColumns(Vec<SocketColumn>),
    Csv(Vec<SocketColumn>),
    Json,
}

impl SocketFormat {
    /// The format for what the user asked for; no `columns` are those of the format.
    pub(crate) fn new(format: Format, columns: Vec<SocketColumn>) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Csv if columns.is_empty() => Self::Csv(SocketColumn::all().collect()),
            Format::Csv => Self::Csv(columns),
            Format::Text { wide } if columns.is_empty() => Self::Text { wide },
            Format::Text { .. } => Self::TextColumns(columns),
        }
    }

    /// Whether a line may show where processes run.
    pub(crate) fn shows_locations(&self) -> bool {
        match self {
            Self::Text { wide } => *wide,
            Self::TextColumns(columns) | Self::Csv(columns) => {
                columns.iter().any(|column| column.is_of_location())
            }
            Self::Json => true,
        }
    }

    /// Whether a line may show what the network does.
    pub(crate) fn shows_network(&self) -> bool {
        match self {
            Self::Text { wide } => *wide,
            Self::TextColumns(columns) | Self::Csv(columns) => {
                columns.iter().any(|column| column.is_of_network())
            }
            Self::Json => true,
        }
    }

    /// Empty in a format without titles.
    pub(crate) fn titles(&self) -> String {
        match self {
            Self::Text { wide } => text_titles(*wide),
            Self::TextColumns(columns) => columns::text_titles(columns),
            Self::Csv(columns) => columns::csv_titles(columns),
            Self::Json => String::new(),
        }
    }

    /// Appends a socket, with its newline.
    pub(crate) fn push(&self, out: &mut String, socket: &Socket<'_>) {
        match self {
            Self::Text { wide } => push_text(out, socket, *wide),
            Self::TextColumns(columns) => columns::push_text(out, columns, socket),
            Self::Csv(columns) => columns::push_csv(out, columns, socket),
            Self::Json => out.push_str(&json(socket)),
        }
    }
}

/// The lines of a list, sorted by a column.
#[derive(Debug)]
pub(crate) struct SortedLines {
    column: SocketColumn,
    lines: Vec<(SortKey, String)>,
}

impl SortedLines {
    pub(crate) const fn by(column: SocketColumn) -> Self {
        Self {
            column,
            lines: Vec::new(),
        }
    }

    /// Whether the column shows what the network does.
    pub(crate) const fn needs_network(&self) -> bool {
        self.column.is_of_network()
    }

    /// Whether the column shows where processes run.
    pub(crate) fn needs_locations(&self) -> bool {
        self.column.is_of_location()
    }

    pub(crate) fn push(&mut self, format: &SocketFormat, socket: &Socket<'_>) {
        let mut line = String::new();
        format.push(&mut line, socket);
        self.lines.push((self.column.key(socket), line));
    }

    /// All lines in order; those with equal values in the order in which they came.
    pub(crate) fn finish(mut self) -> String {
        self.lines.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.lines.into_iter().map(|(_, line)| line).collect()
    }
}

#[derive(Serialize)]
struct SocketJson<'a> {
    cookie: u64,
    family: Family,
    local: EndJson,
    remote: EndJson,
    netns: u32,
    netns_name: Option<&'a str>,
    state: TcpState,
    age_ns: Option<u64>,
    age_exact: bool,
    unread_bytes: Option<u32>,
    unsent_bytes: Option<u32>,
    accept_queue: Option<u32>,
    backlog: Option<u32>,
    uid: u32,
    inode: Option<u32>,
    accepted: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    kernel: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkJson<'a>>,
    owner: Option<OwnerJson<'a>>,
    holders: Vec<HolderJson<'a>>,
}

fn json(socket: &Socket<'_>) -> String {
    let row = socket.row;
    let (local, remote) = json::endpoints(&row.endpoints);
    let is_listener = row.state == TcpState::Listen;
    let is_open = row.kind == SockKind::Full && row.state != TcpState::Close;
    let of = |wanted: bool, value: u32| (wanted && is_open).then_some(value);
    json::line(&SocketJson {
        cookie: row.sock.cookie,
        family: row.endpoints.family(),
        local,
        remote,
        netns: row.netns,
        netns_name: socket.netns_name,
        state: row.state,
        age_ns: socket.age.map(|age| age.span().0),
        age_exact: socket.age.is_some_and(Age::is_exact),
        unread_bytes: of(!is_listener, row.unread),
        unsent_bytes: of(!is_listener, row.unsent),
        accept_queue: of(is_listener, row.unread),
        backlog: of(is_listener, row.unsent),
        uid: row.uid,
        inode: (row.inode != 0).then_some(row.inode),
        accepted: socket.row.accepted(),
        kernel: row.is_kernel_socket,
        error: (socket.error != 0).then(|| errno_name(socket.error)),
        network: (!socket.network.is_empty()).then_some(NetworkJson(socket.network)),
        owner: socket
            .owner
            .map(|(holder, evidence)| OwnerJson::of_holder(holder, socket.location(holder), evidence)),
        holders: socket
            .holders
            .iter()
            .map(|holder| HolderJson::new(holder, socket.location(holder)))
            .collect(),
    })
}

/// What the network does to a socket, for people; empty if nothing is known.
pub(crate) fn network_text(network: &Network) -> String {
    let mut text = String::new();
    network::push_items(&mut text, network, "");
    text
}

/// `ECONNRESET`, as errno(3) has it.
fn errno_name(number: u32) -> String {
    let errno = i32::try_from(number).map(nix::errno::Errno::from_raw);
    match errno {
        Ok(nix::errno::Errno::UnknownErrno) | Err(_) => format!("errno {number}"),
        Ok(errno) => format!("{errno:?}"),
    }
}

/// The titles of [`push_text`].
fn text_titles(wide: bool) -> String {
    let netns = if wide { "NETNS           " } else { "" };
    format!(
        "{:<11} {:>6} {:>6} {:<21} {:<21} {:>8} {netns}{}\n",
        "STATE", "RECV-Q", "SEND-Q", "LOCAL", "REMOTE", "AGE", "HOLDERS"
    )
}

/// Appends one line for people; a wide one names the network namespace, and after `@` the container or unit of each
/// holder, and a line below it shows what the network does.
fn push_text(out: &mut String, socket: &Socket<'_>, wide: bool) {
    let row = socket.row;
    let _ = write!(
        out,
        "{:<11} {:>6} {:>6} ",
        row.state.name(),
        row.unread,
        row.unsent
    );
    push_end(out, row.endpoints.local(), row.endpoints.local_port, 21);
    out.push(' ');
    push_end(out, row.endpoints.remote(), row.endpoints.remote_port, 21);
    match socket.age {
        Some(age) => {
            let _ = write!(out, " {:>8}", human_age(age));
        }
        None => out.push_str("        -"),
    }
    if wide {
        let _ = write!(out, " {}", Padded(socket.netns_name.unwrap_or("-"), 15));
    }
    for (index, holder) in socket.holders.iter().enumerate() {
        let separator = if index == 0 { " " } else { "," };
        let _ = write!(
            out,
            "{separator}{}/{}:{}",
            holder.process.pid,
            comm_text(&holder.comm),
            holder.fd
        );
        if let (true, Some(location)) = (wide, socket.location(holder).and_then(Location::short)) {
            let _ = write!(out, "@{location}");
        }
    }
    if let (true, Some((owner, _))) = (socket.holders.is_empty(), socket.owner) {
        let _ = write!(out, " {}/{}?", owner.process.pid, comm_text(&owner.comm));
    }
    if row.waits_for_accept() {
        out.push_str(" (not accepted)");
    }
    if row.is_kernel_socket {
        out.push_str(" (the kernel's)");
    }
    if socket.error != 0 {
        let _ = write!(out, " {}", errno_name(socket.error));
    }
    out.push('\n');
    if wide {
        network::push_line(out, socket.network);
    }
}

#[cfg(test)]
mod tests;
