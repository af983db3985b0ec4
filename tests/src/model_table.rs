//! The table of sockets that follows from the tracer's events alone, to be compared with the kernel's. It has a socket from
//! its first event on.

use crate::{event::Event, ss::SsSocket, state::State};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

type Endpoints = (SocketAddr, SocketAddr);

/// The sockets by state.
#[derive(Clone, Debug, Default)]
pub struct ModelTable {
    by_cookie: HashMap<u64, Row>,
    /// Sockets that have no cookie yet.
    without_cookie: HashMap<Endpoints, State>,
    /// Events whose old state is not the new state of the event before.
    pub gaps: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    state: State,
    endpoints: Endpoints,
}

impl ModelTable {
    /// Applies the events in the order of their times.
    #[must_use]
    pub fn from_events<'a>(events: impl Iterator<Item = &'a Event>) -> Self {
        let mut in_order: Vec<&Event> = events.collect();
        in_order.sort_by_key(|event| event.mono_ns);
        let mut table = Self::default();
        for event in in_order {
            table.apply(event);
        }
        table
    }

    /// The number of sockets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_cookie.len() + self.without_cookie.len()
    }

    /// Whether it has no sockets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Differences from the `listed` sockets. A socket of `before` existed before the first event, and may have had none.
    #[must_use]
    pub fn differences(&self, listed: &[SsSocket], before: &HashSet<u64>) -> Vec<String> {
        let mut differences = Vec::new();
        let mut cookies = HashSet::new();
        let mut all_endpoints = HashSet::new();
        for socket in listed {
            let endpoints = (socket.local, socket.remote);
            cookies.insert(socket.cookie);
            all_endpoints.insert(endpoints);
            let known = match self.by_cookie.get(&socket.cookie) {
                Some(row) => Some(row.state),
                None => self.without_cookie.get(&endpoints).copied(),
            };
            let is_old = known.is_none() && before.contains(&socket.cookie);
            if !is_old && known != Some(socket.state) {
                let known = known.map_or("no state", State::name);
                differences.push(format!("{known} by the events, listed: {socket:?}"));
            }
        }
        for (cookie, row) in &self.by_cookie {
            if !cookies.contains(cookie) {
                differences.push(format!("not listed: cookie {cookie} {row:?}"));
            }
        }
        for (endpoints, state) in &self.without_cookie {
            if !all_endpoints.contains(endpoints) {
                differences.push(format!("not listed: no cookie, {state} {endpoints:?}"));
            }
        }
        differences
    }

    fn apply(&mut self, event: &Event) {
        let endpoints = event.endpoints();
        if let Some(state) = self.take(event, endpoints)
            && state != event.old
        {
            self.gaps.push(format!("{event} (was {state})"));
        }
        if event.new == State::Close {
            return;
        }
        if event.cookie == 0 {
            self.without_cookie.insert(endpoints, event.new);
        } else {
            let row = Row {
                state: event.new,
                endpoints,
            };
            self.by_cookie.insert(event.cookie, row);
        }
    }

    /// Removes the event's socket, and returns its state if it is in the table.
    fn take(&mut self, event: &Event, endpoints: Endpoints) -> Option<State> {
        if let Some(row) = self.by_cookie.remove(&event.cookie) {
            return Some(row.state);
        }
        if matches!(event.old, State::Close | State::Listen) {
            // The first event of a socket: one with the same endpoints is another socket.
            return None;
        }
        if let Some(state) = self.without_cookie.remove(&endpoints) {
            return Some(state);
        }
        if event.cookie != 0 {
            return None;
        }
        let known = self.by_cookie.iter().find(|(_, row)| row.endpoints == endpoints);
        let cookie = *known?.0;
        self.by_cookie.remove(&cookie).map(|row| row.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(cookie: u64, mono_ns: u64, old: &str, new: &str) -> Event {
        let end = |port: u16| json!({ "addr": "127.0.0.1", "port": port });
        serde_json::from_value(json!({
            "time": "", "mono_ns": mono_ns, "cookie": cookie, "incarnation": 0, "family": "ipv4",
            "local": end(80), "remote": end(5000), "netns": 1, "old": old, "new": new,
            "dwell_ns": null, "dwell_exact": false, "reason": null, "owner": null,
        }))
        .expect("an event")
    }

    fn listed(cookie: u64, state: State) -> SsSocket {
        SsSocket {
            state,
            local: "127.0.0.1:80".parse().expect("an end"),
            remote: "127.0.0.1:5000".parse().expect("an end"),
            cookie,
            received: 0,
            sent: 0,
        }
    }

    #[test]
    fn a_request_without_a_cookie_is_the_child_that_has_one() {
        let events = [
            event(0, 1, "LISTEN", "SYN_RECV"),
            event(9, 2, "SYN_RECV", "ESTABLISHED"),
        ];
        let table = ModelTable::from_events(events.iter());
        assert_eq!(table.len(), 1);
        assert!(table.gaps.is_empty());
        let none = HashSet::new();
        assert!(
            table
                .differences(&[listed(9, State::Established)], &none)
                .is_empty()
        );
        assert_eq!(table.differences(&[listed(9, State::CloseWait)], &none).len(), 1);
        assert_eq!(table.differences(&[], &none).len(), 1);
    }

    #[test]
    fn a_lost_event_is_a_gap() {
        let events = [
            event(9, 1, "CLOSE", "SYN_SENT"),
            event(9, 2, "ESTABLISHED", "FIN_WAIT1"),
        ];
        assert_eq!(ModelTable::from_events(events.iter()).gaps.len(), 1);
    }

    #[test]
    fn only_an_old_socket_may_have_no_event() {
        let table = ModelTable::default();
        assert!(table.is_empty());
        let sockets = [listed(9, State::TimeWait)];
        assert!(table.differences(&sockets, &HashSet::from([9])).is_empty());
        assert_eq!(table.differences(&sockets, &HashSet::new()).len(), 1);
    }
}
