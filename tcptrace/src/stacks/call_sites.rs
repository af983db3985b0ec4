//! The call sites that opened, or last read, a process's leaked sockets.

use super::{
    book::{Book, Stack},
    names::NamedStack,
    sites::{Site, Sites},
};
use crate::{
    event::TcpState,
    findings::{leak::Leak, scene::Scene},
    stacks::frames::End,
};
use hashbrown::HashSet;
use tcptrace_common::Call;

/// Places that are named of each process: looking names up takes time.
const MAX_CALL_SITES: usize = 16;

/// A call site: a distinct stack, with its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallSite {
    pub(crate) call: Call,
    /// Number of sockets it leaked: in CLOSE_WAIT past the threshold.
    pub(crate) leaked: usize,
    /// Sockets in CLOSE_WAIT younger than the threshold.
    pub(crate) younger: usize,
    /// Calls made here, since the watch began.
    pub(crate) calls: u64,
    pub(crate) named: NamedStack,
    /// Why it has no more frames.
    pub(crate) end: End,
}

/// The places of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallSites {
    /// Where its sockets in CLOSE_WAIT were made, those that leak most first.
    pub(crate) opened: Vec<CallSite>,
    /// Where they were last read.
    pub(crate) read: Vec<CallSite>,
    /// Leaked sockets that were opened before the watch, whose call site is unknown.
    pub(crate) before: usize,
}

impl CallSites {
    /// Those of one leak; `name` looks up the names of a stack.
    pub(crate) fn find(
        leak: &Leak<'_>,
        scene: &Scene,
        book: &Book,
        name: impl Fn(&Stack) -> NamedStack,
    ) -> Self {
        let leaked: HashSet<u64> = leak.sockets.iter().map(|leaked| leaked.socket.cookie).collect();
        let key = leak.process.map(|process| process.key);
        let younger: Vec<u64> = scene
            .in_state(TcpState::CloseWait)
            .filter(|socket| {
                let owner = socket.owner.and_then(|owner| scene.processes.get(owner.process));
                owner.map(|owner| owner.key) == key && !leaked.contains(&socket.cookie)
            })
            .map(|socket| socket.cookie)
            .collect();
        let call_site = |site: &Site| {
            let (stack, calls) = book.stack(site.stack)?;
            Some(CallSite {
                call: stack.call,
                leaked: site.leaked,
                younger: site.younger,
                calls,
                named: name(stack),
                end: stack.frames.end,
            })
        };
        let call_sites = |sites: &Sites| {
            sites
                .known
                .iter()
                .take(MAX_CALL_SITES)
                .filter_map(call_site)
                .collect()
        };
        let opened = Sites::opened(book, leaked.iter().copied(), younger.iter().copied());
        let read = Sites::read(book, leaked.iter().copied(), younger.iter().copied());
        Self {
            opened: call_sites(&opened),
            read: call_sites(&read),
            before: opened.unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::{
            fixture::{key, scene, socket},
            leak,
        },
        stacks::{frames::Frames, names::Frame},
    };

    fn stack(call: Call, address: u64) -> Stack {
        Stack {
            process: key(7),
            call,
            frames: Frames {
                addresses: vec![address],
                end: End::Root,
            },
        }
    }

    fn name(stack: &Stack) -> NamedStack {
        NamedStack {
            frames: vec![Frame {
                function: Some(format!("f{}", stack.frames.addresses[0])),
                ..Frame::default()
            }],
            limitations: Vec::new(),
        }
    }

    #[test]
    fn of_two_places_the_one_that_leaks_is_named_first_with_its_counts() {
        let mut scene = scene();
        // Cookies 1 to 5 are old, 6 and 7 are not.
        let owner = Some(scene.process_at(7, "shop"));
        let at = |remote, seconds| socket(TcpState::CloseWait, "10.0.0.1:80", remote, seconds, owner);
        scene.add(5, &at("10.0.0.2:1000", 120));
        scene.add(2, &at("10.0.0.2:2000", 1));
        let mut book = Book::new(100);
        book.take(1, stack(Call::Accept, 10));
        for cookie in [2, 3, 4, 6] {
            book.take(cookie, stack(Call::Accept, 20));
        }
        for cookie in 100..140 {
            book.take(cookie, stack(Call::Accept, 10));
        }
        book.take(2, stack(Call::Read, 30));
        let leaks = leak::leaks(&scene);
        let [leak] = leaks.as_slice() else {
            panic!("one process: {leaks:?}");
        };
        let call_sites = CallSites::find(leak, &scene, &book, name);
        let found: Vec<_> = call_sites
            .opened
            .iter()
            .map(|call_site| {
                let function = call_site.named.frames[0].function.clone().expect("named");
                (function, call_site.leaked, call_site.younger, call_site.calls)
            })
            .collect();
        assert_eq!(found, [("f20".to_owned(), 3, 1, 4), ("f10".to_owned(), 1, 0, 41)]);
        assert_eq!(call_sites.before, 1);
        assert_eq!(call_sites.read.len(), 1);
        assert_eq!(call_sites.read[0].call, Call::Read);
    }
}
