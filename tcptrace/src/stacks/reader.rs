//! The live side of `--stacks`: drains the kernel's buffer, unwinds, and counts distinct stacks.

use super::{
    book::{Book, Stack},
    unwind::Unwinders,
};
use crate::{decode, event::Nanos, kernel::stacks::Stacks};

pub(crate) struct StackReader {
    source: Stacks,
    unwinders: Unwinders,
    ended: Vec<u64>,
    pub(crate) book: Book,
}

impl StackReader {
    /// Reads stacks from `source`, for at most this number of sockets.
    pub(crate) fn new(source: Stacks, most_sockets: usize) -> Self {
        Self {
            source,
            unwinders: Unwinders::default(),
            ended: Vec::new(),
            book: Book::new(most_sockets),
        }
    }

    /// Takes in everything that is in the buffer.
    pub(crate) fn drain(&mut self, now: Nanos) {
        while let Some(bytes) = self.source.ring.next() {
            match decode::stack(&bytes) {
                Ok(taken) => {
                    let frames = self.unwinders.frames(&taken, now);
                    let stack = Stack {
                        process: taken.process,
                        call: taken.call,
                        frames,
                    };
                    self.book.take(taken.cookie, stack);
                }
                Err(error) => log::debug!("invalid stack record: {error}"),
            }
        }
        for cookie in self.ended.drain(..) {
            self.book.forget(cookie);
        }
    }

    /// The socket with this cookie cannot leak any more. Its stack may still be in the buffer, and no longer after the
    /// next time that it is emptied.
    pub(crate) fn end(&mut self, cookie: u64) {
        self.ended.push(cookie);
    }

    /// What is not recorded, and why, given how many stacks the kernel could not deliver: a sentence each.
    pub(crate) fn limitations(&self, lost: u64) -> Vec<String> {
        let mut said = self.source.limitations.clone();
        let dropped = self.book.dropped;
        let counts = [
            (lost, "stacks were lost because their buffer was full"),
            (dropped.stacks, "stacks were dropped: too many distinct ones"),
            (
                dropped.sockets,
                "stacks of sockets were dropped: --max-connections was reached",
            ),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        said.extend(counts.map(|(count, what)| format!("{count} {what}")));
        said
    }
}
