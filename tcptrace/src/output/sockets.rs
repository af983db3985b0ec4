//! The rows of `snapshot`: text, JSON, CSV.

use super::{
    csv::{self, quoted},
    duration::human_age,
    json::{self, EndJson, PlaceJson},
    text::push_end,
};
use crate::{
    decode::{Holder, Row, SockKind},
    event::{Age, Family, ProcessKey, TcpState},
    owner::{container::Place, processes::comm_text},
};
use hashbrown::HashMap;
use serde::Serialize;
use std::{fmt::Write as _, sync::Arc};

/// Where processes run, as far as known.
pub type Places = HashMap<ProcessKey, Arc<Place>>;

/// One socket, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Socket<'a> {
    /// The kernel's row.
    pub row: &'a Row,
    /// How old its state is, where the kernel tells.
    pub age: Option<Age>,
    /// Who has it open.
    pub holders: &'a [Holder],
    /// Where those run.
    pub places: &'a Places,
    /// What its network namespace is called.
    pub netns_name: Option<&'a str>,
}

impl Socket<'_> {
    fn place(&self, holder: &Holder) -> Option<&Place> {
        self.places.get(&holder.process).map(Arc::as_ref)
    }

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
    cgroup: Option<u64>,
    #[serde(flatten)]
    place: PlaceJson<'a>,
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
        accepted: socket.accepted(),
        holders: socket
            .holders
            .iter()
            .map(|holder| HolderJson {
                pid: holder.process.pid,
                start_ns: holder.process.start_ns,
                comm: comm_text(&holder.comm),
                fd: holder.fd,
                cgroup: (holder.cgroup != 0).then_some(holder.cgroup),
                place: json::place(socket.place(holder)),
            })
            .collect(),
    })
}

/// The titles of [`csv`].
pub const CSV_TITLES: &str = "cookie,family,local_addr,local_port,remote_addr,remote_port,netns,state,age_ns,age_exact,recv_q,send_q,uid,inode,pid,comm,fd,netns_name,runtime,container,pod,unit,cgroup_path\n";

/// Appends one CSV line; of several holders the first.
pub fn csv(out: &mut String, socket: &Socket<'_>) {
    let row = socket.row;
    let (pid, comm, fd) = socket.holders.first().map_or_else(Default::default, |holder| {
        (
            holder.process.pid.to_string(),
            comm_text(&holder.comm).into_owned(),
            holder.fd.to_string(),
        )
    });
    let family = row.ends.family().name();
    let _ = writeln!(
        out,
        "{},{family},{},{},{},{},{},{},{},{},{},{},{},{},{pid},{},{fd},{},{}",
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
        quoted(socket.netns_name.unwrap_or_default()),
        csv::place(socket.holders.first().and_then(|holder| socket.place(holder))),
    );
}

/// The titles of [`text`].
#[must_use]
pub fn text_titles(wide: bool) -> String {
    let netns = if wide { "NETNS           " } else { "" };
    format!(
        "{:<11} {:>6} {:>6} {:<21} {:<21} {:>8} {netns}{}\n",
        "STATE", "RECV-Q", "SEND-Q", "LOCAL", "REMOTE", "AGE", "HOLDERS"
    )
}

/// Appends one line for people; a wide one names the network namespace, and after `@` the container or unit of each
/// holder.
pub fn text(out: &mut String, socket: &Socket<'_>, wide: bool) {
    let row = socket.row;
    let _ = write!(
        out,
        "{:<11} {:>6} {:>6} ",
        row.state.name(),
        row.unread,
        row.unsent
    );
    push_end(out, row.ends.local(), row.ends.local_port, 21);
    out.push(' ');
    push_end(out, row.ends.remote(), row.ends.remote_port, 21);
    match socket.age {
        Some(age) => {
            let _ = write!(out, " {:>8}", human_age(age));
        }
        None => out.push_str("        -"),
    }
    if wide {
        let _ = write!(out, " {:<15}", socket.netns_name.unwrap_or("-"));
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
        if let (true, Some(place)) = (wide, socket.place(holder).and_then(Place::short)) {
            let _ = write!(out, "@{place}");
        }
    }
    if socket.accepted() == Some(false) && row.kind == SockKind::Full {
        out.push_str(" (not accepted)");
    }
    out.push('\n');
}
