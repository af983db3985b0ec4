//! Which stacks opened, or last read, a process's leaked sockets. Pure.

use super::book::Book;
use hashbrown::HashMap;
use std::cmp::Reverse;

/// One stack's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// Its index among the distinct stacks.
    pub(crate) stack: usize,
    /// Number of sockets it leaked: in CLOSE_WAIT past the threshold.
    pub(crate) leaked: usize,
    /// Sockets in CLOSE_WAIT younger than the threshold.
    pub(crate) younger: usize,
}

/// The stacks behind one process's sockets, those that leak most first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sites {
    pub(crate) known: Vec<Site>,
    /// Leaked sockets of which no stack was seen: they were made before the watch.
    pub(crate) unknown: usize,
}

impl Sites {
    /// Counts the cookies of leaked sockets and of younger ones by the stack that `find` returns.
    pub(crate) fn of(
        leaked: impl IntoIterator<Item = u64>,
        younger: impl IntoIterator<Item = u64>,
        find: impl Fn(u64) -> Option<usize>,
    ) -> Self {
        let mut counts: HashMap<usize, (usize, usize)> = HashMap::new();
        let mut unknown = 0;
        for cookie in leaked {
            match find(cookie) {
                Some(stack) => counts.entry(stack).or_default().0 += 1,
                None => unknown += 1,
            }
        }
        for stack in younger.into_iter().filter_map(find) {
            counts.entry(stack).or_default().1 += 1;
        }
        let mut known: Vec<Site> = counts
            .into_iter()
            .map(|(stack, (leaked, younger))| Site {
                stack,
                leaked,
                younger,
            })
            .collect();
        known.sort_by_key(|site| (Reverse(site.leaked), Reverse(site.younger), site.stack));
        Self { known, unknown }
    }

    /// Which stacks made them.
    pub(crate) fn opened(
        book: &Book,
        leaked: impl IntoIterator<Item = u64>,
        younger: impl IntoIterator<Item = u64>,
    ) -> Self {
        Self::of(leaked, younger, |cookie| book.opened(cookie))
    }

    /// Which stacks read them last.
    pub(crate) fn read(
        book: &Book,
        leaked: impl IntoIterator<Item = u64>,
        younger: impl IntoIterator<Item = u64>,
    ) -> Self {
        Self::of(leaked, younger, |cookie| book.read(cookie))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_behind_most_leaks_comes_first() {
        // Cookies below 100 were made before the watch; even ones by stack 0, odd ones by stack 1.
        let find = |cookie: u64| (cookie >= 100).then_some(usize::from(cookie % 2 == 1));
        let sites = Sites::of([1, 2, 100, 101, 103], [3, 104, 106], find);
        assert_eq!(sites.unknown, 2);
        let counts: Vec<_> = sites
            .known
            .iter()
            .map(|site| (site.stack, site.leaked, site.younger))
            .collect();
        assert_eq!(counts, [(1, 2, 0), (0, 1, 2)]);
    }
}
