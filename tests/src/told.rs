//! The table of sockets that follows from the tracer's events and from nothing else, to be compared with the
//! kernel's. Knows sockets only from their first event on.

use crate::{event::Event, ss::SsSocket, state::State};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

type Ends = (SocketAddr, SocketAddr);

/// What the events say there is.
#[derive(Clone, Debug, Default)]
pub struct Told {
    by_cookie: HashMap<u64, Row>,
    /// Sockets that the kernel has given no cookie yet.
    nameless: HashMap<Ends, State>,
    /// Events that do not begin where the one before them ended.
    pub gaps: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    state: State,
    ends: Ends,
}

impl Told {
    /// Follows the events in the order of their times.
    #[must_use]
    pub fn by<'a>(events: impl Iterator<Item = &'a Event>) -> Self {
        let mut in_order: Vec<&Event> = events.collect();
        in_order.sort_by_key(|event| event.mono_ns);
        let mut told = Self::default();
        for event in in_order {
            told.follow(event);
        }
        told
    }

    /// How many sockets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_cookie.len() + self.nameless.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything in which `listed` differs. A socket of `before` was there before the first event: without an
    /// event of its own, nothing is said of it.
    #[must_use]
    pub fn differences(&self, listed: &[SsSocket], before: &HashSet<u64>) -> Vec<String> {
        let mut differences = Vec::new();
        let mut cookies = HashSet::new();
        let mut ends = HashSet::new();
        for socket in listed {
            let its_ends = (socket.local, socket.remote);
            cookies.insert(socket.cookie);
            ends.insert(its_ends);
            let told = match self.by_cookie.get(&socket.cookie) {
                Some(row) => Some(row.state),
                None => self.nameless.get(&its_ends).copied(),
            };
            let is_old = told.is_none() && before.contains(&socket.cookie);
            if !is_old && told != Some(socket.state) {
                let told = told.map_or("nothing", State::name);
                differences.push(format!("{told} told of {socket:?}"));
            }
        }
        for (cookie, row) in &self.by_cookie {
            if !cookies.contains(cookie) {
                differences.push(format!("only told: cookie {cookie} {row:?}"));
            }
        }
        for (its_ends, state) in &self.nameless {
            if !ends.contains(its_ends) {
                differences.push(format!("only told: no cookie, {state} {its_ends:?}"));
            }
        }
        differences
    }

    fn follow(&mut self, event: &Event) {
        let ends = event.ends();
        if let Some(state) = self.take(event, ends)
            && state != event.old
        {
            self.gaps.push(format!("{event} (was {state})"));
        }
        if event.new == State::Close {
            return;
        }
        if event.cookie == 0 {
            self.nameless.insert(ends, event.new);
        } else {
            let row = Row {
                state: event.new,
                ends,
            };
            self.by_cookie.insert(event.cookie, row);
        }
    }

    /// Takes out the socket that the event speaks of, if it is known.
    fn take(&mut self, event: &Event, ends: Ends) -> Option<State> {
        if let Some(row) = self.by_cookie.remove(&event.cookie) {
            return Some(row.state);
        }
        if matches!(event.old, State::Close | State::Listen) {
            // The first event of a socket: what has the same ends is another one.
            return None;
        }
        if let Some(state) = self.nameless.remove(&ends) {
            return Some(state);
        }
        if event.cookie != 0 {
            return None;
        }
        let known = self.by_cookie.iter().find(|(_, row)| row.ends == ends);
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
        let told = Told::by(events.iter());
        assert_eq!(told.len(), 1);
        assert!(told.gaps.is_empty());
        let none = HashSet::new();
        assert!(
            told.differences(&[listed(9, State::Established)], &none)
                .is_empty()
        );
        assert_eq!(told.differences(&[listed(9, State::CloseWait)], &none).len(), 1);
        assert_eq!(told.differences(&[], &none).len(), 1);
    }

    #[test]
    fn a_lost_event_is_a_gap() {
        let events = [
            event(9, 1, "CLOSE", "SYN_SENT"),
            event(9, 2, "ESTABLISHED", "FIN_WAIT1"),
        ];
        assert_eq!(Told::by(events.iter()).gaps.len(), 1);
    }

    #[test]
    fn only_an_old_socket_may_be_untold() {
        let told = Told::default();
        assert!(told.is_empty());
        let sockets = [listed(9, State::TimeWait)];
        assert!(told.differences(&sockets, &HashSet::from([9])).is_empty());
        assert_eq!(told.differences(&sockets, &HashSet::new()).len(), 1);
    }
}
