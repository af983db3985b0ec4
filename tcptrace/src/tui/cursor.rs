//! The selected row of a table, identified by its content, not its position: it stays selected as rows move.

use crate::{event::ProcessKey, stats::key::Key, view::connections::Identity};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RowId {
    /// A process, or the sockets whose owner is not known.
    Process(Option<ProcessKey>),
    /// All processes of a name that have nothing open.
    LeftOver([u8; 16]),
    Connection(Identity),
    Endpoint(Key),
    /// A finding: rule and subject.
    Finding(&'static str, String),
}

impl RowId {
    /// Whether both are of the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Connection(a), Self::Connection(b)) => a.is(b),
            _ => self == other,
        }
    }
}

/// The chosen row, and the first that is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cursor {
    /// Place of the chosen row in the table's order.
    pub(crate) at: usize,
    /// Place of the first row shown; in what is no table, the first line.
    pub(crate) top: usize,
    /// What is chosen; nothing before the first rows came, or where the user has moved to none.
    pub(crate) chosen: Option<RowId>,
    /// Whether the user has moved: until then the first row is chosen, whatever it is.
    pub(crate) has_moved: bool,
}

impl Cursor {
    /// Finds the chosen row again after the rows have changed. One that has gone gives its place to the row that is
    /// there now.
    pub(crate) fn follow(&mut self, count: usize, id_at: impl Fn(usize) -> Option<RowId>) {
        if self.has_moved
            && let Some(chosen) = &self.chosen
        {
            let is_chosen = |at: &usize| id_at(*at).is_some_and(|id| id.is(chosen));
            // It has most likely not moved far.
            if !is_chosen(&self.at)
                && let Some(at) = (0..count).find(is_chosen)
            {
                self.at = at;
            }
        } else {
            self.at = 0;
        }
        self.at = self.at.min(count.saturating_sub(1));
        self.chosen = id_at(self.at);
    }

    pub(crate) fn go(&mut self, at: usize, count: usize, id_at: impl Fn(usize) -> Option<RowId>) {
        self.at = at.min(count.saturating_sub(1));
        self.chosen = id_at(self.at);
        self.has_moved = true;
    }

    /// Scrolls so that the chosen row is among `page` rows shown.
    pub(crate) fn keep_in_sight(&mut self, count: usize, page: usize) {
        let page = page.max(1);
        self.top = self.top.min(count.saturating_sub(page));
        if self.at < self.top {
            self.top = self.at;
        } else if self.at >= self.top + page {
            self.top = self.at + 1 - page;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(pid: u32) -> RowId {
        RowId::Process(Some(ProcessKey::new(pid, 1)))
    }

    fn at(rows: &[u32]) -> impl Fn(usize) -> Option<RowId> + '_ {
        |at| rows.get(at).map(|pid| id(*pid))
    }

    #[test]
    fn the_chosen_row_is_followed_as_rows_move() {
        let mut cursor = Cursor::default();
        cursor.follow(3, at(&[1, 2, 3]));
        cursor.go(1, 3, at(&[1, 2, 3]));
        cursor.follow(4, at(&[9, 8, 3, 2]));
        assert_eq!((cursor.at, cursor.chosen.clone()), (3, Some(id(2))));
        cursor.follow(2, at(&[9, 8]));
        assert_eq!(
            (cursor.at, cursor.chosen.clone()),
            (1, Some(id(8))),
            "it has gone"
        );
        cursor.follow(0, at(&[]));
        assert_eq!((cursor.at, cursor.chosen.clone()), (0, None));
    }

    #[test]
    fn before_any_move_the_first_row_is_chosen_whatever_it_is() {
        let mut cursor = Cursor::default();
        cursor.follow(2, at(&[1, 2]));
        cursor.follow(2, at(&[2, 1]));
        assert_eq!((cursor.at, cursor.chosen), (0, Some(id(2))));
    }

    #[test]
    fn the_chosen_row_stays_in_sight() {
        let mut cursor = Cursor {
            at: 30,
            ..Cursor::default()
        };
        cursor.keep_in_sight(100, 10);
        assert_eq!(cursor.top, 21);
        cursor.at = 5;
        cursor.keep_in_sight(100, 10);
        assert_eq!(cursor.top, 5);
        cursor.at = 3;
        cursor.top = 60;
        cursor.keep_in_sight(4, 10);
        assert_eq!(cursor.top, 0);
    }
}
