//! What changed during a watch, by process, destination and listener: counts of changes, and numbers of sockets from
//! second to second. Bounded. Receives changes, the engine and the time; reads no clock.

mod series;

pub use series::Series;

use self::series::SAMPLES;
use crate::{
    connection::{change::Change, handshake::HandshakeEnd, lifetime::Role, row::Connection, since::Since},
    engine::Engine,
    event::{Age, EndReason, Endpoints, Nanos, NetworkError, ProcessKey, TcpState},
    filter::{Filter, FilterInput},
    owner::policy::Owner,
    stats::{
        bins::Bins,
        measure::{Kind, Measure},
    },
};
use hashbrown::HashMap;
use std::net::IpAddr;

/// Samples are this far apart, at least.
const SAMPLE_EVERY: Nanos = Nanos::from_secs(1);

/// Processes, destinations, pools and listeners kept, each; later ones are not distinguished.
const KEYS: usize = 8_192;

/// A CLOSE_WAIT younger than this is normal for any service, and not counted as growth.
pub const SETTLED: Nanos = Nanos::from_secs(2);

/// A `connect` that its program gives up earlier may have had an answer on the way, or been one of several attempts of
/// which the first wins. At this time the SYN is sent again (`TCP_TIMEOUT_INIT`).
pub const RESENT: Nanos = Nanos::from_secs(1);

/// What is counted of the CLOSE_WAITs of a process.
pub(crate) const CLOSE_WAITS: (Measure, Kind) = (Measure::Dwell(TcpState::CloseWait), Kind::Finished);

/// What changed in one process during the watch.
#[derive(Clone, Debug, Default)]
pub struct OfProcess {
    /// Its sockets that have been in CLOSE_WAIT for [`SETTLED`], from that long after the beginning on: by then those
    /// that were there before have been for as long, too.
    pub close_wait: Series,
    /// How long its CLOSE_WAITs lasted that the program closed: [`Measure::Dwell`] and [`Kind::Finished`]. Some bytes for each
    /// length, since on some hosts thousands of processes come and go.
    pub close_wait_dwells: Bins,
    /// Timewait socks that it left.
    pub time_waits: u64,
    /// Connections that became ESTABLISHED.
    pub opened: u64,
    /// Those that left it.
    pub closed: u64,
    /// Resets that its sockets sent with data unread, or after the program had given them up.
    pub resets_sent: u64,
}

/// A place that is connected to, as the kernel chooses ports for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The local address.
    pub local: IpAddr,
    /// The remote address.
    pub remote: IpAddr,
    /// The remote port.
    pub port: u16,
}

/// Of one destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfDestination {
    /// Calls of `connect`.
    pub connects: u64,
    /// Those that became ESTABLISHED.
    pub connected: u64,
    /// Those that ended without an answer.
    pub timeouts: u64,
    /// Those that ended with an error from the network.
    pub unreachable: u64,
    /// The latest error from the network.
    pub error: Option<NetworkError>,
    /// Those that were refused.
    pub refused: u64,
    /// Those that their program gave up after [`RESENT`] or later.
    pub cancelled: u64,
    /// The shortest and the longest time after which it did.
    pub cancelled_after: Option<(Nanos, Nanos)>,
    /// Those for which there was no port: `EADDRNOTAVAIL`.
    pub without_port: u64,
    /// TIME_WAITs that a later `connect` reused.
    pub reused: u64,
    /// Whose they were, latest.
    pub process: Option<ProcessKey>,
    /// Ports in use for it, from second to second.
    pub in_use: Series,
}

impl OfDestination {
    fn count_cancelled(&mut self, waited: Option<Age>) {
        let Some(waited) = waited.map(Age::span).filter(|waited| *waited >= RESENT) else {
            return;
        };
        self.cancelled += 1;
        let (shortest, longest) = self.cancelled_after.unwrap_or((waited, waited));
        self.cancelled_after = Some((shortest.min(waited), longest.max(waited)));
    }
}

/// The connections that one process makes to one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pool {
    /// Who makes them.
    pub process: ProcessKey,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The remote address.
    pub remote: IpAddr,
    /// The remote port.
    pub port: u16,
}

/// What changed in one pool during the watch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfPool {
    /// Connections that became ESTABLISHED.
    pub opened: u64,
    /// Those that left it.
    pub closed: u64,
    /// How many there are, from second to second.
    pub open: Series,
}

/// Of one listening port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfListener {
    /// Handshakes begun.
    pub begun: u64,
    /// Handshakes done.
    pub done: u64,
    /// Done by a SYN cookie.
    pub by_cookie: u64,
    /// Given up: the last ACK never came, or was dropped each time.
    pub abandoned: u64,
    /// Ended by a RST.
    pub reset: u64,
    /// Begun by a SYN with data and a Fast Open cookie, where that is known.
    pub by_fast_open: u64,
}

/// A socket that is CLOSE and still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How long it has been CLOSE, and in CLOSE_WAIT before that.
    pub age: Age,
    /// When it became CLOSE, where that was seen and it had been in CLOSE_WAIT.
    pub left_close_wait: Option<Nanos>,
}

/// Everything, of the sockets that a filter selects.
#[derive(Debug, Default)]
pub struct History {
    filter: Filter,
    /// By process; `None` where the owner is not known.
    pub by_process: HashMap<Option<ProcessKey>, OfProcess>,
    /// Connects, failures and ports in use by destination.
    pub by_destination: HashMap<Destination, OfDestination>,
    /// By process and where it connects to.
    pub by_pool: HashMap<Pool, OfPool>,
    /// By namespace and port.
    pub by_listener: HashMap<(u32, u16), OfListener>,
    /// How many segments the kernel had dropped at a listener (`sk_drops`) at the beginning and when it was last read, by
    /// its cookie.
    pub drops: HashMap<u64, (u32, u32)>,
    /// Whether listeners were read.
    has_drops: bool,
    /// How TIME_WAITs ended.
    pub time_wait_ends: HashMap<EndReason, u64>,
    /// By cookie: sockets that left CLOSE_WAIT otherwise than by a close, and when; and those that were CLOSE before the
    /// watch. Since when they have been what they are, with CLOSE_WAIT.
    ended: HashMap<u64, (Since, Option<Nanos>)>,
    began: Option<Nanos>,
    next_sample: Nanos,
}

impl History {
    /// An empty one of the sockets that `filter` selects by anything but their owners: everything is counted by
    /// process, and a socket's owner may become known later.
    #[must_use]
    pub fn of(filter: &Filter) -> Self {
        Self {
            filter: filter.clone(),
            ..Self::default()
        }
    }

    fn selects(&self, endpoints: &Endpoints, netns: u32, states: &[TcpState]) -> bool {
        self.filter.accepts_ends(&FilterInput {
            endpoints,
            netns,
            states,
            owner: None,
        })
    }

    /// Notes how many segments the kernel has dropped at each listener, by its cookie, since it listens (`sk_drops`). One that
    /// was not there the first time has begun at 0.
    pub fn note_drops(&mut self, listeners: &[(u64, u32)]) {
        let is_first = !std::mem::replace(&mut self.has_drops, true);
        for &(cookie, count) in listeners {
            let before = if is_first { count } else { 0 };
            if let Some((_, now)) = entry_or(&mut self.drops, cookie, (before, count)) {
                *now = count;
            }
        }
    }

    /// How many it dropped since the first time that listeners were noted, up to the last; 0 where that is not known.
    #[must_use]
    pub fn drops_at(&self, cookie: u64) -> u64 {
        let of = self.drops.get(&cookie);
        of.map_or(0, |(before, now)| now.wrapping_sub(*before).into())
    }

    /// Counts the changes of the engine's present batch.
    pub fn count(&mut self, engine: &Engine) {
        for change in engine.batch() {
            if self.selects(&change.endpoints, change.netns, &[change.old, change.new]) {
                self.count_change(change, engine);
            }
        }
    }

    /// Takes the samples that are due at `now`.
    pub fn sample(&mut self, engine: &Engine, now: Nanos) {
        if self.began.is_none() {
            for closed in engine.holders.closed() {
                self.ended.insert(closed.cookie, (Since::before(now), None));
            }
        }
        let began = *self.began.get_or_insert(now);
        // Where nothing was taken for a while, as in a recording of a quiet host, the counts did not change.
        let kept = Nanos(SAMPLE_EVERY.0 * SAMPLES as u64);
        let latest = Nanos(now.0.saturating_sub(kept.0));
        self.next_sample = self.next_sample.max(latest).max(began);
        while self.next_sample <= now {
            let settles = self.next_sample.since(began) >= SETTLED;
            self.take_sample(engine, self.next_sample, settles);
            self.next_sample = self.next_sample.plus(SAMPLE_EVERY);
        }
    }

    /// Of a process, where anything is known.
    #[must_use]
    pub fn of_process(&self, key: ProcessKey) -> Option<&OfProcess> {
        self.by_process.get(&Some(key))
    }

    /// What is known of a socket that is CLOSE.
    #[must_use]
    pub fn ended(&self, cookie: u64, now: Nanos) -> Option<Ended> {
        let (since, left_close_wait) = *self.ended.get(&cookie)?;
        Some(Ended {
            age: since.age(now),
            left_close_wait,
        })
    }

    fn count_change(&mut self, change: &Change, engine: &Engine) {
        let process = process(change.owner, engine);
        if change.old == TcpState::TimeWait
            && let Some(reason) = change.reason
        {
            *self.time_wait_ends.entry(reason).or_default() += 1;
            // A destination is known before: `connect` enters SYN_SENT before it chooses a port.
            if reason == EndReason::TimewaitReused
                && let Some(of) = self
                    .by_destination
                    .get_mut(&destination(change.netns, &change.endpoints))
            {
                of.reused += 1;
            }
        }
        // Only the program's own closes count: a reset ends a leaked socket too.
        if change.old == TcpState::CloseWait
            && change.new == TcpState::LastAck
            && let Some(Age::Exact(dwell)) = change.dwell
            && let Some(of) = entry(&mut self.by_process, process)
        {
            let (measure, kind) = CLOSE_WAITS;
            of.close_wait_dwells.record(measure, kind, dwell);
        }
        // Whether the program still has it open is known at the end.
        if change.old == TcpState::CloseWait
            && change.new == TcpState::Close
            && change.reason != Some(EndReason::ResetSent)
            && let Some(dwell) = change.dwell
            && self.ended.len() < KEYS
        {
            let entered = Nanos(change.time.0.saturating_sub(dwell.span().0));
            let since = if dwell.is_exact() {
                Since::at(entered)
            } else {
                Since::before(entered)
            };
            self.ended.insert(change.id.cookie, (since, Some(change.time)));
        }
        let (opens, closes) = (
            change.new == TcpState::Established,
            change.old == TcpState::Established,
        );
        if process.is_some()
            && (opens || closes)
            && let Some(of) = entry(&mut self.by_process, process)
        {
            of.opened += u64::from(opens);
            of.closed += u64::from(closes);
        }
        if change.new == TcpState::TimeWait
            && let Some(of) = entry(&mut self.by_process, process)
        {
            of.time_waits += 1;
        }
        let is_live = matches!(change.old, TcpState::Established | TcpState::CloseWait);
        if change.reason == Some(EndReason::ResetSent)
            && is_live
            && let Some(of) = entry(&mut self.by_process, process)
        {
            of.resets_sent += 1;
        }
        self.count_connect(change, process);
        self.count_pool(change, process);
        self.count_handshake(change);
    }

    fn count_connect(&mut self, change: &Change, process: Option<ProcessKey>) {
        let begins = change.new == TcpState::SynSent;
        let end = HandshakeEnd::of(change).filter(|end| end.state() == TcpState::SynSent);
        if !begins && end.is_none() {
            return;
        }
        let destination = destination(change.netns, &change.endpoints);
        let Some(of) = entry(&mut self.by_destination, destination) else {
            return;
        };
        if begins {
            of.connects += 1;
            of.process = process;
        }
        match end {
            Some(HandshakeEnd::Connected) => of.connected += 1,
            Some(HandshakeEnd::TimedOut) => of.timeouts += 1,
            Some(HandshakeEnd::Unreachable) => {
                of.unreachable += 1;
                if let Some(EndReason::Unreachable(error)) = change.reason {
                    of.error = Some(error);
                }
            }
            Some(HandshakeEnd::Refused) => of.refused += 1,
            Some(HandshakeEnd::Cancelled) => of.count_cancelled(change.dwell),
            Some(HandshakeEnd::NoPort) => of.without_port += 1,
            Some(HandshakeEnd::Completed | HandshakeEnd::Abandoned | HandshakeEnd::Reset) | None => {}
        }
    }

    fn count_pool(&mut self, change: &Change, process: Option<ProcessKey>) {
        let (opens, closes) = (
            change.new == TcpState::Established,
            change.old == TcpState::Established,
        );
        let Some(process) = process.filter(|_| change.role == Role::Client && (opens || closes)) else {
            return;
        };
        let pool = Pool {
            process,
            netns: change.netns,
            remote: change.endpoints.remote(),
            port: change.endpoints.remote_port,
        };
        if let Some(of) = entry(&mut self.by_pool, pool) {
            of.opened += u64::from(opens);
            of.closed += u64::from(closes);
        }
    }

    fn count_handshake(&mut self, change: &Change) {
        if change.role != Role::Server {
            return;
        }
        let begins = change.new == TcpState::SynRecv;
        let is_end = change.old == TcpState::SynRecv;
        let by_cookie = change.by_syn_cookie && change.new == TcpState::Established;
        if !begins && !is_end && !by_cookie {
            return;
        }
        let key = (change.netns, change.endpoints.local_port);
        let Some(of) = entry(&mut self.by_listener, key) else {
            return;
        };
        of.begun += u64::from(begins);
        of.by_cookie += u64::from(by_cookie);
        of.by_fast_open += u64::from(change.by_fast_open);
        match HandshakeEnd::of(change) {
            Some(HandshakeEnd::Completed) => of.done += 1,
            Some(HandshakeEnd::Abandoned) => of.abandoned += 1,
            Some(HandshakeEnd::Reset) => of.reset += 1,
            _ => {}
        }
    }

    fn take_sample(&mut self, engine: &Engine, now: Nanos, settles: bool) {
        let mut close_wait: HashMap<Option<ProcessKey>, u64> = HashMap::new();
        let mut in_use: HashMap<Destination, u64> = HashMap::new();
        let mut open: HashMap<Pool, u64> = HashMap::new();
        let is_selected = |row: &&Connection| self.selects(&row.endpoints, row.netns, &[row.state.tcp]);
        for row in engine.table.iter().filter(is_selected) {
            if row.state.tcp == TcpState::CloseWait && row.state.since.age(now).span() >= SETTLED {
                *close_wait.entry(process(row.owner, engine)).or_default() += 1;
            }
            if row.state.tcp == TcpState::Established
                && let Some(process) = process(row.owner, engine)
            {
                let pool = Pool {
                    process,
                    netns: row.netns,
                    remote: row.endpoints.remote(),
                    port: row.endpoints.remote_port,
                };
                if self.by_pool.contains_key(&pool) {
                    *open.entry(pool).or_default() += 1;
                }
            }
            let destination = destination(row.netns, &row.endpoints);
            if self.by_destination.contains_key(&destination) {
                *in_use.entry(destination).or_default() += 1;
            }
        }
        if settles {
            self.sample_close_wait(close_wait, now);
        }
        for (key, of) in &mut self.by_pool {
            of.open.push(now, open.get(key).copied().unwrap_or(0));
        }
        for (key, of) in &mut self.by_destination {
            of.in_use.push(now, in_use.get(key).copied().unwrap_or(0));
        }
    }

    fn sample_close_wait(&mut self, mut counts: HashMap<Option<ProcessKey>, u64>, now: Nanos) {
        for (key, of) in &mut self.by_process {
            let count = counts.remove(key).unwrap_or(0);
            of.close_wait.push(now, count);
        }
        for (key, count) in counts {
            if let Some(of) = entry(&mut self.by_process, key) {
                of.close_wait.push(now, count);
            }
        }
    }
}

/// The entry of a key, unless there are too many.
fn entry<K: std::hash::Hash + Eq, V: Default>(map: &mut HashMap<K, V>, key: K) -> Option<&mut V> {
    entry_or(map, key, V::default())
}

fn entry_or<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, new: V) -> Option<&mut V> {
    if map.len() >= KEYS && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_insert(new))
}

/// What a connection takes a port for.
pub(super) fn destination(netns: u32, endpoints: &Endpoints) -> Destination {
    Destination {
        netns,
        local: endpoints.local(),
        remote: endpoints.remote(),
        port: endpoints.remote_port,
    }
}

fn process(owner: Option<Owner>, engine: &Engine) -> Option<ProcessKey> {
    let process = engine.table.processes.get(owner?.process)?;
    Some(process.key)
}

#[cfg(test)]
mod tests;
