//! The sockets and processes of a scene: from rows of a snapshot, as far as there is one, or else from the engine's
//! table. Pure.

use super::scene::{Owner, Process, Socket};
use crate::{
    connection::{kept_age, table::Connection},
    decode::{Holder, Row, SockKind},
    engine::Engine,
    event::{Age, Nanos, ProcessKey, TcpState},
    filter::{Filter, Subject},
    owner::{opened::Opened, policy::Evidence, processes::comm_text},
    view,
};
use hashbrown::HashMap;

/// Sockets, and the processes that they name.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Every socket.
    pub sockets: Vec<Socket>,
    /// Those who own them.
    pub processes: Vec<Process>,
    places: HashMap<ProcessKey, usize>,
}

/// From a snapshot and a scan that has noticed its listeners, which know the queues and descriptors; the engine, where one has watched, knows ages
/// and who left a TIME_WAIT.
#[must_use]
pub fn of_rows(rows: &[Row], opened: &Opened, engine: Option<&Engine>, now: Nanos) -> Gathered {
    let mut gathered = Gathered::default();
    for row in rows {
        let known = engine.and_then(|engine| {
            let slot = engine.table.slot_of_cookie(row.sock.cookie)?;
            engine.table.row(slot)
        });
        let by_scan = opened.owner(row).map(|(holder, evidence)| {
            let process = gathered.process(holder.process, &comm_text(&holder.comm));
            Owner {
                process,
                is_guess: evidence == Evidence::Listener,
            }
        });
        let owner = by_scan.or_else(|| gathered.owner_of(known?, engine?));
        let fds = gathered.fds(opened.holders(row.sock.cookie), owner);
        gathered.sockets.push(Socket {
            cookie: row.sock.cookie,
            ends: row.ends,
            netns: row.netns,
            kind: row.kind,
            state: row.state,
            age: better(
                known.and_then(|known| age_of(known, row.state, now)),
                kept(row, now),
            ),
            quiet: row.idle,
            owner,
            fds,
            unread: (row.kind == SockKind::Full).then_some(row.unread),
            unsent: (row.kind == SockKind::Full).then_some(row.unsent),
            is_orphan: Some(row.is_orphan),
            is_kernel_socket: row.is_kernel_socket,
            error: 0,
        });
    }
    for holders in opened.closed() {
        let Some(chosen) = Opened::chosen(holders) else {
            continue;
        };
        let process = gathered.process(chosen.process, &comm_text(&chosen.comm));
        let owner = Owner {
            process,
            is_guess: false,
        };
        let fds = gathered.fds(holders, Some(owner));
        let closed = closed(chosen.cookie, chosen.ends, chosen.netns, owner);
        gathered.sockets.push(Socket {
            fds,
            error: chosen.error,
            ..closed
        });
    }
    gathered
}

/// From the table alone, as of a recording: queues and descriptors are not known. Listeners are kept whatever the
/// filter, since they say what came to them.
#[must_use]
pub fn of_engine(engine: &Engine, now: Nanos, filter: &Filter) -> Gathered {
    let mut gathered = Gathered::default();
    let is_wanted = |row: &&Connection| {
        let subject = Subject {
            ends: &row.ends,
            netns: row.netns,
            states: &[row.life.state],
            owner: None,
        };
        row.is_tcp()
            && (row.life.state == TcpState::Listen
                || (filter.accepts_ends(&subject)
                    && view::wanted_process(engine, row.owner, row.id().cookie, filter).is_some()))
    };
    for row in engine.table.iter().filter(is_wanted) {
        let kind = match row.life.state {
            _ if row.life.is_timewait => SockKind::Timewait,
            TcpState::SynRecv => SockKind::Request,
            _ => SockKind::Full,
        };
        let owner = gathered.owner_of(row, engine);
        gathered.sockets.push(Socket {
            cookie: row.id().cookie,
            ends: row.ends,
            netns: row.netns,
            kind,
            state: row.life.state,
            age: Some(row.life.since.age(now)),
            quiet: None,
            owner,
            fds: Vec::new(),
            unread: None,
            unsent: None,
            is_orphan: row.life.is_orphan.then_some(true),
            is_kernel_socket: row.is_kernel_socket,
            error: 0,
        });
    }
    for held in engine.holders.closed() {
        let Some(process) = engine.table.processes.get(held.process) else {
            continue;
        };
        let subject = Subject {
            ends: &held.ends,
            netns: held.netns,
            states: &[TcpState::Close],
            owner: Some(process),
        };
        if !filter.accepts(&subject) {
            continue;
        }
        let process = gathered.process(process.key, &process.name());
        let owner = Owner {
            process,
            is_guess: false,
        };
        gathered
            .sockets
            .push(closed(held.cookie, held.ends, held.netns, owner));
    }
    gathered
}

impl Gathered {
    /// The place of a process in the list.
    fn process(&mut self, key: ProcessKey, comm: &str) -> usize {
        *self.places.entry(key).or_insert_with(|| {
            self.processes.push(Process {
                key,
                comm: comm.to_owned(),
                descriptors: None,
            });
            self.processes.len() - 1
        })
    }

    fn owner_of(&mut self, row: &Connection, engine: &Engine) -> Option<Owner> {
        let owner = row.owner?;
        let process = engine.table.processes.get(owner.process)?;
        Some(Owner {
            process: self.process(process.key, &process.name()),
            is_guess: owner.evidence == Evidence::Listener,
        })
    }

    fn fds(&self, holders: &[Holder], owner: Option<Owner>) -> Vec<u32> {
        let owner = owner
            .and_then(|owner| self.processes.get(owner.process))
            .map(|process| process.key);
        holders
            .iter()
            .filter(|holder| Some(holder.process) == owner)
            .map(|holder| holder.fd)
            .collect()
    }
}

fn closed(cookie: u64, ends: crate::event::Ends, netns: u32, owner: Owner) -> Socket {
    Socket {
        cookie,
        ends,
        netns,
        kind: SockKind::Full,
        state: TcpState::Close,
        age: None,
        quiet: None,
        owner: Some(owner),
        fds: Vec::new(),
        unread: None,
        unsent: None,
        is_orphan: Some(false),
        is_kernel_socket: false,
        error: 0,
    }
}

fn age_of(row: &Connection, state: TcpState, now: Nanos) -> Option<Age> {
    (row.life.state == state).then(|| row.life.since.age(now))
}

fn kept(row: &Row, now: Nanos) -> Option<Age> {
    Some(kept_age::entered(row)?.age(now))
}

/// An exact age before a lower bound, of two bounds the higher.
fn better(one: Option<Age>, other: Option<Age>) -> Option<Age> {
    let rank = |age: Option<Age>| age.map(|age| (age.is_exact(), age.span()));
    if rank(one) >= rank(other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_ages_the_one_that_says_more_is_kept() {
        let exact = Some(Age::Exact(Nanos(5)));
        let low = Some(Age::AtLeast(Nanos(3)));
        let high = Some(Age::AtLeast(Nanos(9)));
        assert_eq!(better(low, exact), exact);
        assert_eq!(better(exact, high), exact);
        assert_eq!(better(low, high), high);
        assert_eq!(better(None, low), low);
        assert_eq!(better(None, None), None);
    }
}
