//! How many sockets there are at a moment, by owner, network namespace and state, and how old they are.

use super::Counts;
use crate::{
    engine::Engine,
    event::{Age, Nanos, TcpState},
    filter::{Filter, FilterInput},
    owner::processes::ProcessId,
};
use hashbrown::HashMap;

/// Ages from which sockets are counted.
pub(crate) const AGES: [Nanos; 6] = [
    Nanos::from_secs(1),
    Nanos::from_secs(10),
    Nanos::from_secs(60),
    Nanos::from_secs(600),
    Nanos::from_secs(3_600),
    Nanos::from_secs(86_400),
];

/// The sockets that a filter accepts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Population {
    pub(crate) counts: Counts,
    /// By the process that each counts for; `None` where it is not known.
    pub(crate) by_owner: HashMap<Option<ProcessId>, Counts>,
    pub(crate) by_netns: HashMap<u32, Counts>,
    /// By state: those that have been in it for each of [`AGES`], at least.
    pub(crate) aged: [[u64; AGES.len()]; TcpState::COUNT],
    /// By state: how long the oldest has been in it.
    pub(crate) oldest: [Option<Nanos>; TcpState::COUNT],
}

impl Population {
    /// Counts the sockets of the table, and those that are CLOSE and open.
    pub(crate) fn of(engine: &Engine, now: Nanos, filter: &Filter) -> Self {
        let mut population = Self::default();
        for connection in engine.table.iter() {
            if let Some(process) = engine.accepted_row(connection, filter) {
                let state = connection.state.tcp;
                population.count(process, connection.netns, state);
                population.note_age(state, connection.state.since.age(now));
            }
        }
        for closed in engine.holders.closed() {
            let subject = FilterInput {
                endpoints: &closed.endpoints,
                netns: closed.netns,
                states: &[TcpState::Close],
                owner: engine.table.processes.get(closed.process),
            };
            if filter.accepts(&subject) {
                population.count(Some(closed.process), closed.netns, TcpState::Close);
            }
        }
        population
    }

    fn count(&mut self, process: Option<ProcessId>, netns: u32, state: TcpState) {
        let index = state.index();
        self.counts[index] += 1;
        self.by_owner.entry(process).or_default()[index] += 1;
        self.by_netns.entry(netns).or_default()[index] += 1;
    }

    fn note_age(&mut self, state: TcpState, age: Age) {
        let index = state.index();
        for (count, least) in self.aged[index].iter_mut().zip(AGES) {
            *count += u64::from(age.span() >= least);
        }
        let oldest = &mut self.oldest[index];
        *oldest = (*oldest).max(Some(age.span()));
    }
}
