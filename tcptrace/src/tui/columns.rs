//! The columns of a table: what a cell shows, what it sorts by, what an exported file has, and which columns fit.
//! Cells are made only for the rows in sight.

use super::{content::Content, format, theme::Theme};
use crate::event::{Age, TcpState};
use ratatui::style::Style;

/// What a column shows. No table has two columns of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnId {
    AcceptQueue,
    Age,
    Changes,
    Closes,
    Command,
    Container,
    Descriptors,
    Drops,
    Endpoint,
    Evidence,
    Explanation,
    Failed,
    Finding,
    Handshake,
    Level,
    Local,
    LocalPort,
    Oldest,
    Opens,
    Pid,
    PortsLeft,
    Process,
    Remote,
    Sockets,
    SocketsIn(TcpState),
    State,
    Subject,
    TimeWaits,
    Unread,
}

impl ColumnId {
    /// Whether rows are sorted from the greatest, the oldest or the worst on, unless reversed.
    pub(super) const fn is_falling(self) -> bool {
        match self {
            Self::AcceptQueue
            | Self::Age
            | Self::Changes
            | Self::Closes
            | Self::Descriptors
            | Self::Drops
            | Self::Failed
            | Self::Finding
            | Self::Handshake
            | Self::Level
            | Self::Oldest
            | Self::Opens
            | Self::Sockets
            | Self::SocketsIn(_)
            | Self::TimeWaits
            | Self::Unread => true,
            Self::Command
            | Self::Container
            | Self::Endpoint
            | Self::Evidence
            | Self::Explanation
            | Self::Local
            | Self::LocalPort
            | Self::Pid
            | Self::PortsLeft
            | Self::Process
            | Self::Remote
            | Self::State
            | Self::Subject => false,
        }
    }
}

/// What a cell depends on besides its row.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellContext<'a> {
    pub(super) theme: Theme,
    pub(super) content: &'a Content,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Style::new())
    }

    /// `-`, for what is unknown.
    pub(super) fn unknown(theme: Theme) -> Self {
        Self::new("-", theme.dim())
    }

    /// A count; zero is dimmed.
    pub(super) fn count(count: u64, theme: Theme, style: Style) -> Self {
        if count == 0 {
            Self::new("0", theme.dim())
        } else {
            Self::new(format::count(count), style)
        }
    }

    /// A rate; zero is dimmed.
    pub(super) fn rate(per_second: f64, context: &CellContext<'_>) -> Self {
        let theme = context.theme;
        if context.content.view.rate.is_none() {
            return Self::unknown(theme);
        }
        let style = if per_second > 0.0 {
            theme.plain()
        } else {
            theme.dim()
        };
        Self::new(format::rate(per_second), style)
    }
}

/// Rows are shown in ascending order of their keys.
pub(super) type SortKey = (u128, u64);

pub(super) const fn greatest_first(number: u64) -> SortKey {
    (0, u64::MAX - number)
}

pub(super) const fn fastest_first(rate: f64) -> SortKey {
    // The bits of non-negative numbers are in the order of the numbers (IEEE 754).
    greatest_first(rate.to_bits())
}

/// Rows without an age come last.
pub(super) fn oldest_first(age: Option<Age>) -> SortKey {
    age.map_or((1, 0), |age| greatest_first(age.span().0))
}

/// By the first sixteen bytes.
pub(super) fn by_text(text: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(text) {
        *to = *from;
    }
    u128::from_be_bytes(bytes)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

#[derive(Debug)]
pub(super) struct Column<R: 'static> {
    pub(super) id: ColumnId,
    pub(super) title: &'static str,
    pub(super) width: u16,
    pub(super) side: Side,
    /// 0: always shown. Of the others, the greatest is left out first on a narrow terminal.
    pub(super) rank: u8,
    /// Whether it shares the space that is left over.
    pub(super) grows: bool,
    pub(super) cell: fn(&R, &CellContext<'_>) -> Cell,
    /// `None` for a column that cannot be sorted by.
    pub(super) key: Option<fn(&R, &CellContext<'_>) -> SortKey>,
    /// Its fields in an exported file; empty for the cell's text under the title in lower case.
    pub(super) fields: &'static [Field<R>],
}

/// A field of an exported file: its title and its value in full, empty where it is unknown.
pub(super) type Field<R> = (&'static str, fn(&R, &CellContext<'_>) -> String);

impl<R> Column<R> {
    /// Aligned left; neither grows nor sorts.
    pub(super) const fn left(
        id: ColumnId,
        title: &'static str,
        width: u16,
        rank: u8,
        cell: fn(&R, &CellContext<'_>) -> Cell,
    ) -> Self {
        Self {
            id,
            title,
            width,
            side: Side::Left,
            rank,
            grows: false,
            cell,
            key: None,
            fields: &[],
        }
    }

    /// Aligned right; neither grows nor sorts.
    pub(super) const fn right(
        id: ColumnId,
        title: &'static str,
        width: u16,
        rank: u8,
        cell: fn(&R, &CellContext<'_>) -> Cell,
    ) -> Self {
        let left = Self::left(id, title, width, rank, cell);
        Self {
            side: Side::Right,
            ..left
        }
    }
}

/// The column of sockets in one state, for rows that have `counts`: title, width, rank, state and the field's title.
macro_rules! in_state {
    ($title:literal, $width:literal, $rank:literal, $state:expr, $field:literal) => {
        Column {
            key: Some(|row, _| greatest_first(row.counts[$state.index()])),
            fields: &[($field, |row, _| row.counts[$state.index()].to_string())],
            ..Column::right(
                ColumnId::SocketsIn($state),
                $title,
                $width,
                $rank,
                |row, context| {
                    let theme = context.theme;
                    Cell::count(row.counts[$state.index()], theme, theme.state($state))
                },
            )
        }
    };
}
pub(super) use in_state;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) id: ColumnId,
    pub(super) title: &'static str,
    pub(super) side: Side,
    pub(super) is_sortable: bool,
    /// Among the table's columns.
    pub(super) index: usize,
    /// First terminal cell.
    pub(super) x: u16,
    pub(super) width: u16,
}

/// Columns of this rank or a greater one are shown only where those that grow have room for a sentence.
const SPARE: u8 = 6;

/// Terminal cells of a sentence.
const SENTENCE: u16 = 40;

/// The columns that fit into `width` with one blank between two. The one that the rows are sorted by is always there.
pub(super) fn fit<R>(columns: &[Column<R>], width: u16, sorted_by: Option<ColumnId>) -> Vec<Fit> {
    let rank = |index: usize| match columns[index].rank {
        _ if Some(columns[index].id) == sorted_by => 0,
        rank => rank,
    };
    let mut chosen: Vec<usize> = (0..columns.len()).collect();
    let needed = |chosen: &[usize]| -> u16 {
        let is_spare = chosen.iter().any(|index| rank(*index) >= SPARE);
        let width = |column: &Column<R>| {
            if is_spare && column.grows {
                column.width.max(SENTENCE)
            } else {
                column.width
            }
        };
        let widths: u16 = chosen.iter().map(|index| width(&columns[*index])).sum();
        widths + u16::try_from(chosen.len().saturating_sub(1)).unwrap_or(u16::MAX)
    };
    while needed(&chosen) > width {
        let droppable = chosen.iter().copied().filter(|index| rank(*index) > 0);
        let Some(last) = droppable.max_by_key(|index| rank(*index)) else {
            break;
        };
        chosen.retain(|index| *index != last);
    }
    let taken: u16 = chosen.iter().map(|index| columns[*index].width + 1).sum();
    let left = (width + 1).saturating_sub(taken);
    let growing = chosen.iter().filter(|index| columns[**index].grows).count();
    let share = left.checked_div(u16::try_from(growing).unwrap_or(1)).unwrap_or(0);
    let mut x = 0;
    let mut fits = Vec::with_capacity(chosen.len());
    for index in chosen {
        let column = &columns[index];
        let more = if column.grows { share } else { 0 };
        let wide = (column.width + more).min(width.saturating_sub(x));
        fits.push(Fit {
            id: column.id,
            title: column.title,
            side: column.side,
            is_sortable: column.key.is_some(),
            index,
            x,
            width: wide,
        });
        x += wide + 1;
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn column(id: ColumnId, width: u16, rank: u8, grows: bool) -> Column<u8> {
        Column {
            grows,
            ..Column::left(id, "", width, rank, |_, _| Cell {
                text: String::new(),
                style: Style::new(),
            })
        }
    }

    #[test]
    fn the_least_important_columns_are_left_out_first_and_the_rest_grows() {
        let columns = [
            column(ColumnId::Pid, 5, 0, false),
            column(ColumnId::Command, 10, 2, false),
            column(ColumnId::Opens, 10, 1, false),
            column(ColumnId::Finding, 5, 0, true),
        ];
        let widths = |width, sorted_by| -> Vec<(usize, u16, u16)> {
            let fits = fit(&columns, width, sorted_by);
            fits.iter().map(|fit| (fit.index, fit.x, fit.width)).collect()
        };
        assert_eq!(
            widths(40, None),
            [(0, 0, 5), (1, 6, 10), (2, 17, 10), (3, 28, 12)]
        );
        assert_eq!(widths(25, None), [(0, 0, 5), (2, 6, 10), (3, 17, 8)]);
        assert_eq!(
            widths(25, Some(ColumnId::Command)),
            [(0, 0, 5), (1, 6, 10), (3, 17, 8)],
            "the rows are sorted by it"
        );
        assert_eq!(widths(12, None), [(0, 0, 5), (3, 6, 6)]);
        assert_eq!(
            widths(8, None),
            [(0, 0, 5), (3, 6, 2)],
            "what is too narrow is cut"
        );
    }

    #[test]
    fn a_sentence_comes_before_columns_to_spare() {
        let columns = [
            column(ColumnId::Pid, 5, 0, false),
            column(ColumnId::Changes, 5, SPARE, false),
            column(ColumnId::Finding, 5, 0, true),
        ];
        let widths = |width| fit(&columns, width, None).into_iter().map(|fit| fit.width);
        assert!(widths(51).eq([5, 45]));
        assert!(widths(52).eq([5, 5, SENTENCE]));
    }

    #[test]
    fn keys_put_the_greatest_first() {
        assert!(greatest_first(2) < greatest_first(1));
        assert!(fastest_first(2.0) < fastest_first(1.5));
    }
}
