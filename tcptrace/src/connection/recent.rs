//! The latest few of something that comes again and again.

use std::collections::VecDeque;

/// At most `N`; the oldest makes room for the next.
#[derive(Debug)]
pub(super) struct Recent<T, const N: usize>(VecDeque<T>);

impl<T, const N: usize> Default for Recent<T, N> {
    fn default() -> Self {
        Self(VecDeque::with_capacity(N))
    }
}

impl<T, const N: usize> Recent<T, N> {
    /// Adds the latest. Returns the one that is forgotten for it.
    #[inline]
    pub(super) fn push(&mut self, latest: T) -> Option<T> {
        let oldest = if self.0.len() == N {
            self.0.pop_front()
        } else {
            None
        };
        self.0.push_back(latest);
        oldest
    }

    /// The latest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().rev()
    }
}
