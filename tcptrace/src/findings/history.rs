//! What happened while it was watched, by process, destination and listener: counts of changes, and how many sockets
//! there were from second to second. Bounded. Is handed changes, the engine and the time; knows no clock.

use crate::{
    connection::{lifetime::Role, table::Change},
    engine::Engine,
    event::{Age, EndReason, Nanos, ProcessKey, TcpState},
    findings::slope::Slope,
    owner::policy::Owner,
    stats::totals,
};
use hashbrown::HashMap;
use hdrhistogram::Histogram;
use std::{collections::VecDeque, net::IpAddr, time::Duration};

/// Samples are this far apart, at least.
const SAMPLE_EVERY: Nanos = Nanos::from_secs(1);

/// The last so many are kept: growth is that of the last four minutes.
const SAMPLES: usize = 256;

/// Processes, destinations and listeners kept, each; what comes later is not told apart.
const KEYS: usize = 8_192;

/// A `connect` that fails within this time was answered by nobody: no segment was sent.
const AT_ONCE: Nanos = Nanos::from_millis(1);

/// How many there were, at successive times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    samples: VecDeque<(Nanos, u64)>,
}

impl Series {
    /// Adds a sample; the oldest is forgotten where there are many.
    pub fn push(&mut self, now: Nanos, count: u64) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, count));
    }

    /// The latest.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.samples.back().map_or(0, |(_, count)| *count)
    }

    /// Growth per minute; `None` where the samples are too few.
    #[must_use]
    pub fn per_minute(&self) -> Option<Slope> {
        let (first, _) = self.samples.front()?;
        let points: Vec<(f64, f64)> = self
            .samples
            .iter()
            .map(|(time, count)| {
                let seconds = Duration::from_nanos(time.since(*first).0).as_secs_f64();
                (seconds / 60.0, super::Figure::figure(*count))
            })
            .collect();
        Slope::through(&points)
    }
}

/// Of one process.
#[derive(Clone, Debug, Default)]
pub struct OfProcess {
    /// Its sockets in CLOSE_WAIT.
    pub close_wait: Series,
    /// How long its finished CLOSE_WAITs lasted, nanoseconds; `None` before the first. Lower bounds are none.
    pub close_wait_dwells: Option<Histogram<u64>>,
    /// Timewait socks that it left.
    pub time_waits: u64,
    /// Resets that its sockets sent with data unread, or after the program had given them up.
    pub resets_sent: u64,
}

/// A place that is connected to, as the kernel chooses ports for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Network namespace.
    pub netns: u32,
    /// From here.
    pub local: IpAddr,
    /// To here.
    pub remote: IpAddr,
    /// And this port.
    pub port: u16,
}

/// Of one destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfDestination {
    /// Calls of `connect`.
    pub connects: u64,
    /// Those that ended without an answer.
    pub timeouts: u64,
    /// Those that ended with an error from the network.
    pub unreachable: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those for which there was no port: `EADDRNOTAVAIL`.
    pub without_port: u64,
    /// Whose they were, latest.
    pub process: Option<ProcessKey>,
    /// Ports in use for it, from second to second.
    pub in_use: Series,
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
    /// Given up: the final ACK never came.
    pub abandoned: u64,
}

/// Everything.
#[derive(Debug, Default)]
pub struct History {
    /// By process; `None` where the owner is not known.
    pub by_process: HashMap<Option<ProcessKey>, OfProcess>,
    /// By destination.
    pub by_destination: HashMap<Destination, OfDestination>,
    /// By namespace and port.
    pub by_listener: HashMap<(u32, u16), OfListener>,
    /// How TIME_WAITs ended.
    pub time_wait_ends: HashMap<EndReason, u64>,
    batch: Vec<Change>,
    next_sample: Nanos,
}

impl History {
    /// Takes a change, to be counted by [`Self::sort`]: while it is reported, the engine is not at hand.
    pub fn take(&mut self, change: &Change) {
        self.batch.push(*change);
    }

    /// Counts the changes taken, and a sample where one is due at `now`.
    pub fn sort(&mut self, engine: &Engine, now: Nanos) {
        let batch = std::mem::take(&mut self.batch);
        for change in &batch {
            self.count(change, engine);
        }
        self.batch = batch;
        self.batch.clear();
        if now >= self.next_sample {
            self.next_sample = now.plus(SAMPLE_EVERY);
            self.sample(engine, now);
        }
    }

    /// Of a process, where anything is known.
    #[must_use]
    pub fn of_process(&self, key: ProcessKey) -> Option<&OfProcess> {
        self.by_process.get(&Some(key))
    }

    fn count(&mut self, change: &Change, engine: &Engine) {
        let process = process(change.owner, engine);
        if change.old == TcpState::TimeWait
            && let Some(reason) = change.reason
        {
            *self.time_wait_ends.entry(reason).or_default() += 1;
        }
        if change.old == TcpState::CloseWait
            && let Some(Age::Exact(dwell)) = change.dwell
            && let Some(of) = entry(&mut self.by_process, process)
        {
            let dwells = of.close_wait_dwells.get_or_insert_with(totals::empty);
            dwells.saturating_record(dwell.0);
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
        self.count_handshake(change);
    }

    fn count_connect(&mut self, change: &Change, process: Option<ProcessKey>) {
        let begins = change.new == TcpState::SynSent;
        let fails = change.old == TcpState::SynSent && change.new == TcpState::Close;
        if !begins && !fails {
            return;
        }
        let destination = Destination {
            netns: change.netns,
            local: change.ends.local(),
            remote: change.ends.remote(),
            port: change.ends.remote_port,
        };
        let Some(of) = entry(&mut self.by_destination, destination) else {
            return;
        };
        if begins {
            of.connects += 1;
            of.process = process;
            return;
        }
        match change.reason {
            Some(EndReason::Timeout) => of.timeouts += 1,
            Some(EndReason::Unreachable) => of.unreachable += 1,
            Some(EndReason::ResetReceived) => of.refused += 1,
            // `tcp_v4_connect` goes back to CLOSE before it has sent anything where `inet_hash_connect` finds no port
            // (net/ipv4/tcp_ipv4.c, Linux 6.18).
            Some(_) | None => {
                let at_once = change.dwell.is_some_and(|dwell| dwell.span() < AT_ONCE);
                of.without_port += u64::from(at_once && change.ends.local_port == 0);
            }
        }
    }

    fn count_handshake(&mut self, change: &Change) {
        if change.role != Role::Server {
            return;
        }
        let begins = change.new == TcpState::SynRecv;
        let ends = change.old == TcpState::SynRecv;
        let by_cookie = change.by_syn_cookie && change.new == TcpState::Established;
        if !begins && !ends && !by_cookie {
            return;
        }
        let key = (change.netns, change.ends.local_port);
        let Some(of) = entry(&mut self.by_listener, key) else {
            return;
        };
        of.begun += u64::from(begins);
        of.by_cookie += u64::from(by_cookie);
        if ends {
            of.done += u64::from(change.new == TcpState::Established);
            of.abandoned += u64::from(change.reason == Some(EndReason::HandshakeAbandoned));
        }
    }

    fn sample(&mut self, engine: &Engine, now: Nanos) {
        let mut close_wait: HashMap<Option<ProcessKey>, u64> = HashMap::new();
        let mut in_use: HashMap<Destination, u64> = HashMap::new();
        for row in engine.table.iter() {
            if row.life.state == TcpState::CloseWait {
                *close_wait.entry(process(row.owner, engine)).or_default() += 1;
            }
            let destination = Destination {
                netns: row.netns,
                local: row.ends.local(),
                remote: row.ends.remote(),
                port: row.ends.remote_port,
            };
            if self.by_destination.contains_key(&destination) {
                *in_use.entry(destination).or_default() += 1;
            }
        }
        for (key, of) in &mut self.by_process {
            let count = close_wait.remove(key).unwrap_or(0);
            of.close_wait.push(now, count);
        }
        for (key, count) in close_wait {
            if let Some(of) = entry(&mut self.by_process, key) {
                of.close_wait.push(now, count);
            }
        }
        for (key, of) in &mut self.by_destination {
            of.in_use.push(now, in_use.get(key).copied().unwrap_or(0));
        }
    }
}

/// The entry of a key, unless there are too many.
fn entry<K: std::hash::Hash + Eq, V: Default>(map: &mut HashMap<K, V>, key: K) -> Option<&mut V> {
    if map.len() >= KEYS && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}

fn process(owner: Option<Owner>, engine: &Engine) -> Option<ProcessKey> {
    let process = engine.table.processes.get(owner?.process)?;
    Some(process.key)
}
