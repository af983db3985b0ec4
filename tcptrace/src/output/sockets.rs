//! The rows of `snapshot`: text, JSON, CSV.

use super::{
    csv::quoted,
    duration::human_age,
    json::{self, EndJson},
    text::both,
};
use crate::{
    decode::{Holder, Row, SockKind},
    event::{Age, Family, TcpState},
    owner::processes::comm_text,
};
use serde::Serialize;
use std::fmt::Write as _;

/// One socket, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Socket<'a> {
    /// The kernel's row.
    pub row: &'a Row,
    /// How old its state is, where the kernel tells.
    pub age: Option<Age>,
    /// Who has it open.
    pub holders: &'a [Holder],
}

impl Socket<'_> {
    /// Whether a full socket that came from a listener was accepted; `None` where that is no question.
    fn accepted(&self) -> Option<bool> {
        match (self.row.kind, self.row.state) {
            (SockKind::Full, TcpState::Listen) | (SockKind::Timewait, _) => None,
            (SockKind::Request, _) => Some(false),
            (SockKind::Full, TcpState::Established | TcpState::CloseWait) => Some(!self.row.is_orphan),
            (SockKind::Full, _) => None,
        }
    }
}

#[derive(Serialize)]
struct HolderJson<'a> {
    pid: u32,
    start_ns: u64,
    comm: std::borrow::Cow<'a, str>,
    fd: u32,
}

#[derive(Serialize)]
struct SocketJson<'a> {
    cookie: u64,
    family: Family,
    local: EndJson,
    remote: EndJson,
    netns: u32,
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
    holders: Vec<HolderJson<'a>>,
}

/// One JSON line.
#[must_use]
pub fn json(socket: &Socket<'_>) -> String {
    let row = socket.row;
    let (local, remote) = json::ends(&row.ends);
    let is_listener = row.state == TcpState::Listen;
    let of = |wanted: bool, value: u32| (wanted && row.kind == SockKind::Full).then_some(value);
    json::line(&SocketJson {
        cookie: row.sock.cookie,
        family: row.ends.family(),
        local,
        remote,
        netns: row.netns,
        state: row.state,
        age_ns: socket.age.map(|age| age.span().0),
        age_exact: socket.age.is_some_and(Age::is_exact),
        unread_bytes: of(!is_listener, row.unread),
        unsent_bytes: of(!is_listener, row.unsent),
        accept_queue: of(is_listener, row.unread),
        backlog: of(is_listener, row.unsent),
        uid: row.uid,
        inode: (row.inode != 0).then_some(row.inode),
        accepted: socket.accepted(),
        holders: socket
            .holders
            .iter()
            .map(|holder| HolderJson {
                pid: holder.process.pid,
                start_ns: holder.process.start_ns,
                comm: comm_text(&holder.comm),
                fd: holder.fd,
            })
            .collect(),
    })
}

/// The titles of [`csv`].
pub const CSV_TITLES: &str = "cookie,family,local_addr,local_port,remote_addr,remote_port,netns,state,age_ns,age_exact,recv_q,send_q,uid,inode,pid,comm,fd\n";

/// One CSV line; of several holders the first.
#[must_use]
pub fn csv(socket: &Socket<'_>) -> String {
    let row = socket.row;
    let (pid, comm, fd) = socket.holders.first().map_or_else(Default::default, |holder| {
        (
            holder.process.pid.to_string(),
            comm_text(&holder.comm).into_owned(),
            holder.fd.to_string(),
        )
    });
    let family = if row.ends.family() == Family::Ipv4 {
        "ipv4"
    } else {
        "ipv6"
    };
    format!(
        "{},{family},{},{},{},{},{},{},{},{},{},{},{},{},{pid},{},{fd}\n",
        row.sock.cookie,
        row.ends.local(),
        row.ends.local_port,
        row.ends.remote(),
        row.ends.remote_port,
        row.netns,
        row.state,
        socket
            .age
            .map_or_else(String::new, |age| age.span().0.to_string()),
        socket.age.is_some_and(Age::is_exact),
        row.unread,
        row.unsent,
        row.uid,
        row.inode,
        quoted(&comm),
    )
}

/// The titles of [`text`].
#[must_use]
pub fn text_titles() -> String {
    format!(
        "{:<11} {:>6} {:>6} {:<21} {:<21} {:>8} {}\n",
        "STATE", "RECV-Q", "SEND-Q", "LOCAL", "REMOTE", "AGE", "HOLDERS"
    )
}

/// One line for people.
#[must_use]
pub fn text(socket: &Socket<'_>) -> String {
    let row = socket.row;
    let (local, remote) = both(&row.ends);
    let age = socket.age.map_or_else(|| "-".to_owned(), human_age);
    let mut line = String::with_capacity(96);
    let _ = write!(
        line,
        "{:<11} {:>6} {:>6} {local:<21} {remote:<21} {age:>8}",
        row.state.name(),
        row.unread,
        row.unsent
    );
    for (index, holder) in socket.holders.iter().enumerate() {
        let separator = if index == 0 { " " } else { "," };
        let _ = write!(
            line,
            "{separator}{}/{}:{}",
            holder.process.pid,
            comm_text(&holder.comm),
            holder.fd
        );
    }
    if socket.accepted() == Some(false) && row.kind == SockKind::Full {
        line.push_str(" (not accepted)");
    }
    line.push('\n');
    line
}
