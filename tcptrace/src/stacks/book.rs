//! Distinct stacks, the number of sockets each opened, and the stack of each socket. Bounded; what does not fit is
//! counted. Pure.

use crate::{event::ProcessKey, stacks::frames::Frames};
use hashbrown::HashMap;
use std::rc::Rc;
use tcptrace_common::Call;

/// Distinct stacks that are kept.
const STACKS: usize = 16_384;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stack {
    /// The process that made the call.
    pub(crate) process: ProcessKey,
    pub(crate) call: Call,
    /// Addresses, innermost first.
    pub(crate) frames: Frames,
}

/// What was not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Calls whose stack would have been one more than is kept.
    pub(crate) stacks: u64,
    /// Calls whose socket would have been.
    pub(crate) sockets: u64,
}

/// Distinct stacks, and which of them opened and last read each socket; bounded.
#[derive(Debug)]
pub(crate) struct Book {
    stacks: Vec<(Rc<Stack>, u64)>,
    index: HashMap<Rc<Stack>, usize>,
    opened: HashMap<u64, usize>,
    read: HashMap<u64, usize>,
    most_sockets: usize,
    pub(crate) dropped: Dropped,
}

impl Book {
    /// An empty table for at most this number of sockets.
    pub(crate) fn new(most_sockets: usize) -> Self {
        Self {
            stacks: Vec::new(),
            index: HashMap::new(),
            opened: HashMap::new(),
            read: HashMap::new(),
            most_sockets,
            dropped: Dropped::default(),
        }
    }

    /// Takes in one call on the socket with this cookie. Of reads the last one counts; so does the last `connect`, for
    /// a socket may be connected again.
    pub(crate) fn take(&mut self, cookie: u64, stack: Stack) {
        let call = stack.call;
        let known = self.index.get(&stack).copied();
        let at = match known {
            Some(at) => at,
            None if self.stacks.len() >= STACKS => {
                self.dropped.stacks += 1;
                return;
            }
            None => {
                let stack = Rc::new(stack);
                self.stacks.push((Rc::clone(&stack), 0));
                self.index.insert(stack, self.stacks.len() - 1);
                self.stacks.len() - 1
            }
        };
        self.stacks[at].1 += 1;
        let sockets = match call {
            Call::Connect | Call::Accept => &mut self.opened,
            Call::Read => &mut self.read,
        };
        if sockets.len() >= self.most_sockets && !sockets.contains_key(&cookie) {
            self.dropped.sockets += 1;
            return;
        }
        sockets.insert(cookie, at);
    }

    /// Forgets a socket that has ended.
    pub(crate) fn forget(&mut self, cookie: u64) {
        self.opened.remove(&cookie);
        self.read.remove(&cookie);
    }

    /// Which stack made the socket.
    pub(crate) fn opened(&self, cookie: u64) -> Option<usize> {
        self.opened.get(&cookie).copied()
    }

    /// Which stack read it last.
    pub(crate) fn read(&self, cookie: u64) -> Option<usize> {
        self.read.get(&cookie).copied()
    }

    /// A stack, and how many calls it made.
    pub(crate) fn stack(&self, at: usize) -> Option<(&Stack, u64)> {
        self.stacks.get(at).map(|(stack, calls)| (&**stack, *calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::frames::End;

    fn stack(call: Call, addresses: &[u64]) -> Stack {
        Stack {
            process: ProcessKey::new(7, 1),
            call,
            frames: Frames {
                addresses: addresses.to_vec(),
                end: End::Root,
            },
        }
    }

    #[test]
    fn a_stack_is_counted_once_however_often_it_comes() {
        let mut book = Book::new(10);
        for cookie in 1..=3 {
            book.take(cookie, stack(Call::Connect, &[1, 2]));
        }
        book.take(4, stack(Call::Connect, &[1, 3]));
        book.take(5, stack(Call::Accept, &[1, 2]));
        let of = |cookie| book.stack(book.opened(cookie).expect("kept")).expect("kept");
        assert_eq!((of(1), of(3)), (of(2), of(2)));
        assert_eq!((of(1).1, of(4).1, of(5).1), (3, 1, 1));
        assert_eq!(of(4).0.frames.addresses, [1, 3]);
    }

    #[test]
    fn the_last_read_counts_and_does_not_hide_who_opened() {
        let mut book = Book::new(10);
        book.take(1, stack(Call::Accept, &[1]));
        book.take(1, stack(Call::Read, &[2]));
        book.take(1, stack(Call::Read, &[3]));
        let frames = |at: Option<usize>| book.stack(at.expect("kept")).expect("kept").0.frames.clone();
        assert_eq!(frames(book.opened(1)).addresses, [1]);
        assert_eq!(frames(book.read(1)).addresses, [3]);
        book.forget(1);
        assert_eq!((book.opened(1), book.read(1)), (None, None));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut book = Book::new(2);
        for cookie in 1..=3 {
            book.take(cookie, stack(Call::Connect, &[1]));
        }
        assert_eq!(book.dropped.sockets, 1);
        assert_eq!(book.opened(3), None);
        assert_eq!(
            book.stack(0).expect("kept").1,
            3,
            "the call is counted all the same"
        );
        for address in 2..u64::try_from(STACKS).expect("it fits") + 10 {
            book.take(1, stack(Call::Read, &[address]));
        }
        assert_eq!(book.dropped.stacks, 9);
    }
}
