//! The places in a program that made, or last read, the sockets that it has forgotten.

use super::{
    book::{Book, Stack},
    names::Named,
    sites::{Site, Sites},
    taken::{Call, End},
};
use crate::{
    event::TcpState,
    findings::{leak::Leak, scene::Scene},
};
use hashbrown::HashSet;

/// Places that are named of each process: looking names up takes time.
const PLACES: usize = 16;

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which call.
    pub call: Call,
    /// Forgotten sockets.
    pub leaked: usize,
    /// Sockets in CLOSE_WAIT that are not old enough to be called forgotten.
    pub younger: usize,
    /// Calls made here, since the watch began.
    pub calls: u64,
    /// The stack.
    pub named: Named,
    /// Why it has no more frames.
    pub end: End,
}

/// The places of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Where its sockets in CLOSE_WAIT were made, those that leak most first.
    pub opened: Vec<Place>,
    /// Where they were last read.
    pub read: Vec<Place>,
    /// Forgotten sockets that were made before the watch, so that nobody saw where.
    pub before: usize,
}

impl Places {
    /// Those of one leak; `name` looks up the names of a stack.
    pub fn find(leak: &Leak<'_>, scene: &Scene, book: &Book, name: impl Fn(&Stack) -> Named) -> Self {
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
        let place = |site: &Site| {
            let (stack, calls) = book.stack(site.stack)?;
            Some(Place {
                call: stack.call,
                leaked: site.leaked,
                younger: site.younger,
                calls,
                named: name(stack),
                end: stack.frames.end,
            })
        };
        let places = |sites: &Sites| sites.known.iter().take(PLACES).filter_map(place).collect();
        let opened = Sites::opened(book, leaked.iter().copied(), younger.iter().copied());
        let read = Sites::read(book, leaked.iter().copied(), younger.iter().copied());
        Self {
            opened: places(&opened),
            read: places(&read),
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
        stacks::{names::Frame, taken::Frames},
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

    fn name(stack: &Stack) -> Named {
        Named {
            frames: vec![Frame {
                function: Some(format!("f{}", stack.frames.addresses[0])),
                ..Frame::default()
            }],
            shortfalls: Vec::new(),
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
        let places = Places::find(leak, &scene, &book, name);
        let told: Vec<_> = places
            .opened
            .iter()
            .map(|place| {
                let function = place.named.frames[0].function.clone().expect("named");
                (function, place.leaked, place.younger, place.calls)
            })
            .collect();
        assert_eq!(told, [("f20".to_owned(), 3, 1, 4), ("f10".to_owned(), 1, 0, 41)]);
        assert_eq!(places.before, 1);
        assert_eq!(places.read.len(), 1);
        assert_eq!(places.read[0].call, Call::Read);
    }
}
