//! Processes of one name without open sockets, in one row: of processes that live for one connection, as health checks
//! and cron jobs, only the sum of what they left is of interest.

use super::{ProcessView, oldest};
use crate::{
    engine::Engine,
    event::{ProcessKey, TcpState},
    filter::{Filter, FilterInput},
    owner::processes::{Process, ProcessId},
};
use hashbrown::{HashMap, HashSet};

/// Merges the rows of processes of one name that have nothing open into the first of them.
pub(super) fn merge(rows: Vec<ProcessView>) -> Vec<ProcessView> {
    let mut merged: Vec<ProcessView> = Vec::with_capacity(rows.len());
    let mut by_name: HashMap<[u8; 16], usize> = HashMap::new();
    for row in rows {
        let is_left_over = row.pid.is_some() && row.held == 0;
        if !is_left_over {
            merged.push(row);
        } else if let Some(at) = by_name.get(&row.name) {
            add(&mut merged[*at], &row);
        } else {
            by_name.insert(row.name, merged.len());
            merged.push(row);
        }
    }
    merged
}

fn add(sum: &mut ProcessView, row: &ProcessView) {
    sum.others += 1;
    sum.pid = None;
    sum.key = None;
    for (sum, count) in sum.counts.iter_mut().zip(row.counts) {
        *sum += count;
    }
    sum.rate += row.rate;
    sum.opens += row.opens;
    sum.closes += row.closes;
    sum.timewaits += row.timewaits;
    if sum.location != row.location {
        sum.location = None;
    }
    sum.oldest = oldest(sum.oldest, row.oldest);
}

/// The processes of a name that have nothing open of what `filter` lets pass.
pub(crate) fn processes(engine: &Engine, filter: &Filter, name: [u8; 16]) -> HashSet<ProcessKey> {
    let known = |id: ProcessId| engine.table.processes.get(id);
    let key_of = |process: &Process| (process.comm == name).then_some(process.key);
    let mut found = HashSet::new();
    let mut holding: HashSet<ProcessKey> = HashSet::new();
    for connection in engine.table.iter() {
        let process = engine.accepted_row(connection, filter).flatten();
        if let Some(key) = process.and_then(known).and_then(key_of) {
            found.insert(key);
            if connection.may_be_held() {
                holding.insert(key);
            }
        }
    }
    for closed in engine.holders.closed() {
        let process = known(closed.process);
        let is_wanted = filter.accepts(&FilterInput {
            endpoints: &closed.endpoints,
            netns: closed.netns,
            states: &[TcpState::Close],
            owner: process,
        });
        holding.extend(process.filter(|_| is_wanted).and_then(key_of));
    }
    found.retain(|key| !holding.contains(key));
    found
}

#[cfg(test)]
mod tests;
