//! Connections that have ended, for `--otlp-logs lifetimes`: those that the filter accepts.

use crate::{
    connection::lifetime::{Lifetime, LifetimeTracker},
    engine::Engine,
    event::{Nanos, TcpState},
    filter::{Filter, FilterInput},
    output::{lifetimes, otlp::Record},
    run::session::Session,
    serve::otlp::{Connections, Pusher, Queue},
    source::{cgroups::Cgroups, namespaces::Names},
};
use std::{net::SocketAddr, sync::Arc};

pub(super) struct Lifetimes {
    filter: Filter,
    names: Names,
    queue: Arc<Queue>,
    /// The port of the collector.
    port: u16,
    pushes: Arc<Connections>,
    ended: Vec<Lifetime>,
}

impl Lifetimes {
    /// Has the session keep lifetimes from now on. Those of the pusher's own connections are not queued.
    pub(super) fn begin(session: &mut Session, filter: &Filter, queue: Arc<Queue>, pusher: &Pusher) -> Self {
        session.engine.table.lifetimes = Some(LifetimeTracker::default());
        Self {
            filter: filter.clone(),
            names: Names::default(),
            queue,
            port: pusher.port(),
            pushes: Arc::clone(pusher.connections()),
            ended: Vec::new(),
        }
    }

    /// Log records that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Queues those that have ended since the previous call.
    pub(super) fn take(&mut self, session: &mut Session, cgroups: &mut Cgroups, now: Nanos) {
        let mut ended = std::mem::take(&mut self.ended);
        if let Some(tracker) = &mut session.engine.table.lifetimes {
            tracker.take(|lifetime| ended.push(lifetime));
        }
        let room = self.queue.room();
        let mut records = Vec::new();
        for lifetime in &ended {
            if !self.accepts(lifetime, session, cgroups, now) {
                continue;
            }
            if records.len() == room {
                // Nothing is written that would be dropped.
                self.queue.drop_some(1);
                continue;
            }
            let anchor = session.anchor();
            let name = self.names.of(lifetime.netns, now);
            let line = lifetimes::json(lifetime, &session.engine, name, &anchor);
            records.push(Record::of_lifetime(
                lifetime,
                &line,
                anchor.wall(lifetime.ended),
                anchor.wall(now),
            ));
        }
        if !records.is_empty() {
            self.queue.add(records);
        }
        ended.clear();
        self.ended = ended;
    }

    /// Whether it was a push, whose log record would be pushed, and so on: this end of it, and where the collector is on this
    /// host, the other.
    fn is_push(&self, lifetime: &Lifetime, engine: &Engine) -> bool {
        let ends = &lifetime.endpoints;
        let process = lifetime
            .owner
            .and_then(|owner| engine.table.processes.get(owner.process));
        let is_own = process.is_some_and(|process| process.key.pid == std::process::id());
        let is_reverse = || {
            let local = SocketAddr::new(ends.local(), ends.local_port);
            let remote = SocketAddr::new(ends.remote(), ends.remote_port);
            self.pushes.has_reverse(local, remote)
        };
        ends.remote_port == self.port && is_own || ends.local_port == self.port && is_reverse()
    }

    fn accepts(&self, lifetime: &Lifetime, session: &mut Session, cgroups: &mut Cgroups, now: Nanos) -> bool {
        let states: Vec<TcpState> = TcpState::ALL
            .into_iter()
            .filter(|state| lifetime.spans[state.index()].is_some())
            .collect();
        let subject = FilterInput {
            endpoints: &lifetime.endpoints,
            netns: lifetime.netns,
            states: &states,
            owner: None,
        };
        if !self.filter.accepts_ends(&subject) {
            return false;
        }
        let engine = &mut session.engine;
        if let Some(owner) = lifetime.owner {
            let look_up = &mut |process: &crate::owner::processes::Process| {
                cgroups.location(process.key, process.cgroup, now)
            };
            engine.table.processes.location(owner.process, now, look_up);
        }
        !self.is_push(lifetime, engine)
            && engine
                .accepted_process(lifetime.owner, lifetime.id.cookie, &self.filter)
                .is_some()
    }
}
