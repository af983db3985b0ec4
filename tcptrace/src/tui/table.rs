//! Tables: what each defines, and what is common to all: order, search, export.

use super::{
    app::{App, Order},
    columns::{self, Cell, CellContext, Column, ColumnId, Fit, SortKey},
    content::Content,
    cursor::RowId,
    draw::Line,
    route::Route,
};
use crate::{output::csv, view::connections::Selection};

/// A table of rows that one can be chosen from.
pub(super) trait Table {
    type Row: 'static;

    fn columns(&self) -> &'static [Column<Self::Row>];

    /// What it is sorted by at first; `None` where its rows keep their order.
    fn sorted_by(&self) -> Option<ColumnId>;

    fn rows<'a>(&self, content: &'a Content) -> &'a [Self::Row];

    fn id(&self, row: &Self::Row) -> RowId;

    /// The connections that a row represents; all, if it represents none in particular.
    fn selection(&self, row: &Self::Row) -> Selection;

    /// What Enter opens.
    fn opens(&self, row: &Self::Row) -> Option<Route> {
        match self.selection(row) {
            Selection::All => None,
            selection => Some(Route::connections(selection)),
        }
    }

    /// Why there are no rows, and what would bring some.
    fn empty(&self, app: &App) -> Vec<String>;

    /// What is shown of the chosen row below the table.
    fn detail(&self, _row: &Self::Row, _app: &App, _width: u16) -> Vec<Line> {
        Vec::new()
    }
}

/// A table of whatever rows, which it has the numbers of.
pub(super) trait AnyTable {
    fn sorted_by(&self) -> Option<ColumnId>;
    fn fit(&self, width: u16, sorted_by: Option<ColumnId>) -> Vec<Fit>;
    fn cell(&self, row: u32, fit: &Fit, context: &CellContext<'_>) -> Option<Cell>;
    fn id(&self, row: u32, content: &Content) -> Option<RowId>;
    fn selection(&self, row: u32, content: &Content) -> Option<Selection>;
    fn opens(&self, row: u32, content: &Content) -> Option<Route>;
    fn empty(&self, app: &App) -> Vec<String>;
    fn detail(&self, row: u32, app: &App, width: u16) -> Vec<Line>;
    /// The rows, sorted; those that are equal keep their order.
    fn sort(&self, order: Option<Order>, context: &CellContext<'_>) -> Vec<u32>;
    /// Whether any cell of a row contains `lower_case`, in whichever case.
    fn contains(&self, row: u32, lower_case: &str, context: &CellContext<'_>) -> bool;
    /// These rows with all columns, below a line of titles.
    fn csv(&self, rows: &[u32], context: &CellContext<'_>) -> String;
}

impl<T: Table> AnyTable for T {
    fn sorted_by(&self) -> Option<ColumnId> {
        Table::sorted_by(self)
    }

    fn fit(&self, width: u16, sorted_by: Option<ColumnId>) -> Vec<Fit> {
        columns::fit(self.columns(), width, sorted_by)
    }

    fn cell(&self, row: u32, fit: &Fit, context: &CellContext<'_>) -> Option<Cell> {
        let row = self.rows(context.content).get(row as usize)?;
        Some((self.columns()[fit.index].cell)(row, context))
    }

    fn id(&self, row: u32, content: &Content) -> Option<RowId> {
        Some(Table::id(self, self.rows(content).get(row as usize)?))
    }

    fn selection(&self, row: u32, content: &Content) -> Option<Selection> {
        Some(Table::selection(self, self.rows(content).get(row as usize)?))
    }

    fn opens(&self, row: u32, content: &Content) -> Option<Route> {
        Table::opens(self, self.rows(content).get(row as usize)?)
    }

    fn empty(&self, app: &App) -> Vec<String> {
        Table::empty(self, app)
    }

    fn detail(&self, row: u32, app: &App, width: u16) -> Vec<Line> {
        let row = self.rows(&app.content).get(row as usize);
        row.map_or_else(Vec::new, |row| Table::detail(self, row, app, width))
    }

    fn sort(&self, order: Option<Order>, context: &CellContext<'_>) -> Vec<u32> {
        let rows = self.rows(context.content);
        let column = order.and_then(|order| {
            let mut columns = self.columns().iter();
            columns.find(|column| column.id == order.column)
        });
        match (order, column.and_then(|column| column.key)) {
            (Some(order), Some(key)) => {
                let keys: Vec<SortKey> = rows.iter().map(|row| key(row, context)).collect();
                sorted(&keys, order.is_reversed)
            }
            _ => (0..count(rows.len())).collect(),
        }
    }

    fn contains(&self, row: u32, lower_case: &str, context: &CellContext<'_>) -> bool {
        self.rows(context.content).get(row as usize).is_some_and(|row| {
            let mut cells = self.columns().iter().map(|column| (column.cell)(row, context));
            cells.any(|cell| cell.text.to_lowercase().contains(lower_case))
        })
    }

    fn csv(&self, rows: &[u32], context: &CellContext<'_>) -> String {
        let columns = self.columns();
        let mut text = String::new();
        csv::push(&mut text, columns.iter().flat_map(titles));
        let all = self.rows(context.content);
        for row in rows.iter().filter_map(|row| all.get(*row as usize)) {
            csv::push(
                &mut text,
                columns.iter().flat_map(|column| values(column, row, context)),
            );
        }
        text
    }
}

fn titles<R>(column: &Column<R>) -> Vec<String> {
    match column.fields {
        [] => vec![column.title.to_lowercase()],
        fields => fields.iter().map(|(title, _)| (*title).to_owned()).collect(),
    }
}

fn values<R>(column: &Column<R>, row: &R, context: &CellContext<'_>) -> Vec<String> {
    match column.fields {
        [] => vec![(column.cell)(row, context).text],
        fields => fields.iter().map(|(_, value)| value(row, context)).collect(),
    }
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

/// The numbers of keys in their order. Keys that are equal keep theirs.
fn sorted(keys: &[SortKey], is_reversed: bool) -> Vec<u32> {
    let leading = keys.first().map_or(0, |first| common_bits(first, keys));
    // One number of 16 bytes for each row is sorted three times faster than its whole key: a frame of 200,000 connections
    // takes 26 to 34 ms, and 42 to 58 ms with a plain sort (benches/live_view.rs). The row comes last, so that no two
    // are equal.
    let mut keyed: Vec<u128> = (0..count(keys.len()))
        .zip(keys)
        .map(|(row, key)| {
            let bits = bits_from(key, leading);
            let bits = if is_reversed { !bits } else { bits };
            u128::from(bits) << 32 | u128::from(row)
        })
        .collect();
    keyed.sort_unstable();
    let mut sorted: Vec<u32> = keyed.iter().map(|keyed| row(*keyed)).collect();
    // Whole keys decide among those that begin alike.
    let mut from = 0;
    for run in keyed.chunk_by(|a, b| a >> 32 == b >> 32) {
        let alike = &mut sorted[from..from + run.len()];
        if is_reversed {
            alike.sort_by(|a, b| keys[*b as usize].cmp(&keys[*a as usize]));
        } else {
            alike.sort_by_key(|at| keys[*at as usize]);
        }
        from += run.len();
    }
    sorted
}

/// The row, which is the last part of what it was sorted by.
#[expect(clippy::cast_possible_truncation, reason = "the other bits are not the row's")]
const fn row(keyed: u128) -> u32 {
    keyed as u32
}

/// How many bits all keys begin with that are the same as in `first`.
fn common_bits(first: &SortKey, keys: &[SortKey]) -> u32 {
    let (high, low) = keys.iter().fold((0, 0), |(high, low), key| {
        (high | (first.0 ^ key.0), low | (first.1 ^ key.1))
    });
    if high == 0 {
        u128::BITS + low.leading_zeros()
    } else {
        high.leading_zeros()
    }
}

/// 64 bits of a key behind its first `leading` ones; behind its end there are zeroes.
fn bits_from(key: &SortKey, leading: u32) -> u64 {
    if leading >= u128::BITS {
        return key.1.checked_shl(leading - u128::BITS).unwrap_or(0);
    }
    let bits = (key.0 << leading >> 64) as u64;
    match leading.checked_sub(64) {
        Some(room @ 1..) => bits | key.1 >> (64 - room),
        _ => bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_keep_their_order() {
        let keys = [1, 3, 3, 2].map(columns::greatest_first);
        assert_eq!(sorted(&keys, false), [1, 2, 3, 0]);
        assert_eq!(sorted(&keys, true), [0, 3, 1, 2]);
    }

    #[test]
    fn the_order_is_that_of_whole_keys_wherever_they_begin_to_differ() {
        // Bits of an arbitrary word, moved to every place at which keys may begin to differ.
        let word = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at << 7;
        for shift in 0..192_u32 {
            let keys: Vec<SortKey> = (0..64_u64)
                .map(|at| {
                    let high = u128::from(word(at % 48)) << 64 | u128::from(word(at % 24));
                    if shift < 128 {
                        (high >> shift, word(at) >> (at % 3))
                    } else {
                        (7, word(at % 48) >> (shift - 128))
                    }
                })
                .collect();
            for is_reversed in [false, true] {
                let mut expected: Vec<u32> = (0..64).collect();
                expected.sort_by(|a, b| {
                    let order = keys[*a as usize].cmp(&keys[*b as usize]);
                    if is_reversed { order.reverse() } else { order }
                });
                assert_eq!(sorted(&keys, is_reversed), expected, "{shift}");
            }
        }
    }
}
