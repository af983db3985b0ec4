//! The rows of `snapshot`: text, JSON, CSV.

use super::{
    csv::{self, quoted},
    duration::human_age,
    json::{self, EndJson, HolderJson, OwnerJson},
    text::push_end,
};
use crate::{
    decode::{Holder, Row, SockKind},
    event::{Age, Family, ProcessKey, TcpState},
    owner::{container::Place, policy::Evidence, processes::comm_text},
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
    /// Who owns it, and how that is known.
    pub owner: Option<(&'a Holder, Evidence)>,
    /// Who has it open.
    pub holders: &'a [Holder],
    /// Where those run.
    pub places: &'a Places,
    /// What its network namespace is called.
    pub netns_name: Option<&'a str>,
    /// Of a socket that is CLOSE the errno that its program has not been told yet, or 0.
    pub error: u32,
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
            (SockKind::Full, TcpState::Established | TcpState::CloseWait) => {
                (!self.row.is_kernel_socket).then_some(!self.row.is_orphan)
            }
            (SockKind::Full, _) => None,
        }
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
    owner: Option<OwnerJson<'a>>,
    holders: Vec<HolderJson<'a>>,
}

/// One JSON line.
#[must_use]
pub fn json(socket: &Socket<'_>) -> String {
    let row = socket.row;
    let (local, remote) = json::ends(&row.ends);
    let is_listener = row.state == TcpState::Listen;
    let is_open = row.kind == SockKind::Full && row.state != TcpState::Close;
    let of = |wanted: bool, value: u32| (wanted && is_open).then_some(value);
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
        kernel: row.is_kernel_socket,
        error: (socket.error != 0).then(|| errno_name(socket.error)),
        owner: socket
            .owner
            .map(|(holder, evidence)| OwnerJson::of_holder(holder, socket.place(holder), evidence)),
        holders: socket
            .holders
            .iter()
            .map(|holder| HolderJson::new(holder, socket.place(holder)))
            .collect(),
    })
}

/// The titles of [`csv()`].
pub const CSV_TITLES: &str = "cookie,family,local_addr,local_port,remote_addr,remote_port,netns,state,age_ns,age_exact,recv_q,send_q,uid,inode,pid,comm,fd,netns_name,runtime,container,pod,unit,cgroup_path,evidence\n";

/// Appends one CSV line, with the owner of several holders.
pub fn csv(out: &mut String, socket: &Socket<'_>) {
    let row = socket.row;
    let (pid, comm, evidence) = socket.owner.map_or_else(Default::default, |(holder, evidence)| {
        (
            holder.process.pid.to_string(),
            comm_text(&holder.comm).into_owned(),
            evidence.name(),
        )
    });
    let named = socket.owner.map(|(holder, _)| holder);
    let fd = match named {
        Some(holder) if !socket.holders.is_empty() => holder.fd.to_string(),
        Some(_) | None => String::new(),
    };
    let family = row.ends.family().name();
    let _ = writeln!(
        out,
        "{},{family},{},{},{},{},{},{},{},{},{},{},{},{},{pid},{},{fd},{},{},{evidence}",
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
        csv::place(named.and_then(|holder| socket.place(holder))),
    );
}

/// `ECONNRESET`, as errno(3) has it.
fn errno_name(number: u32) -> String {
    let errno = i32::try_from(number).map(nix::errno::Errno::from_raw);
    match errno {
        Ok(nix::errno::Errno::UnknownErrno) | Err(_) => format!("errno {number}"),
        Ok(errno) => format!("{errno:?}"),
    }
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
    if let (true, Some((owner, _))) = (socket.holders.is_empty(), socket.owner) {
        let _ = write!(out, " {}/{}?", owner.process.pid, comm_text(&owner.comm));
    }
    if socket.accepted() == Some(false) && row.kind == SockKind::Full {
        out.push_str(" (not accepted)");
    }
    if row.is_kernel_socket {
        out.push_str(" (the kernel's)");
    }
    if socket.error != 0 {
        let _ = write!(out, " {}", errno_name(socket.error));
    }
    out.push('\n');
}
