//! Tables: which columns there are, which of them fit, what stands in a cell and what a column sorts by. A cell is made
//! only for rows that are seen; a key for sorting is a number, so that 200,000 rows are put in order in no time.

pub mod connections;
pub mod endpoints;
pub mod findings;
pub mod processes;

use super::{content::Content, theme::Theme};
use crate::{event::Age, output::duration::human_age};
use ratatui::style::Style;

/// What a cell may look at beyond its row.
#[derive(Clone, Copy, Debug)]
pub struct Looks<'a> {
    /// Styles.
    pub theme: Theme,
    /// Everything of the moment.
    pub content: &'a Content,
}

/// What stands in a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The text.
    pub text: String,
    /// How it stands out.
    pub style: Style,
}

impl Cell {
    /// Text in a style.
    #[must_use]
    pub fn new(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }

    /// Plain text.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Style::new())
    }
}

/// Rows go from the least key to the greatest.
pub type SortKey = (u128, u64);

/// A key that puts the greatest number first.
#[must_use]
pub const fn greatest_first(number: u64) -> SortKey {
    (0, u64::MAX - number)
}

/// A key that puts the greatest rate first.
#[must_use]
pub const fn fastest_first(rate: f64) -> SortKey {
    // The bits of numbers that are not negative are in the order of the numbers (IEEE 754).
    greatest_first(rate.to_bits())
}

/// A key that puts the oldest first, and what has no age last.
#[must_use]
pub fn oldest_first(age: Option<Age>) -> SortKey {
    age.map_or((1, 0), |age| greatest_first(age.span().0))
}

/// A key in the order of a zero-padded name.
#[must_use]
pub const fn by_name(name: [u8; 16]) -> SortKey {
    (u128::from_be_bytes(name), 0)
}

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// One column of rows `R`.
#[derive(Debug)]
pub struct Column<R: 'static> {
    /// Its title.
    pub title: &'static str,
    /// Terminal columns that it needs.
    pub width: u16,
    /// Where its text stands.
    pub side: Side,
    /// 0 is always there; the greater, the sooner it is left out where the terminal is narrow.
    pub rank: u8,
    /// Whether it takes what is left over.
    pub grows: bool,
    /// What stands in it.
    pub cell: fn(&R, &Looks<'_>) -> Cell,
    /// What it sorts by.
    pub key: Option<fn(&R, &Looks<'_>) -> SortKey>,
}

impl<R> Column<R> {
    /// One that does not grow and by which nothing is sorted.
    const fn new(
        title: &'static str,
        width: u16,
        side: Side,
        rank: u8,
        cell: fn(&R, &Looks<'_>) -> Cell,
    ) -> Self {
        Self {
            title,
            width,
            side,
            rank,
            grows: false,
            cell,
            key: None,
        }
    }

    /// The same, of numbers.
    const fn right(title: &'static str, width: u16, rank: u8, cell: fn(&R, &Looks<'_>) -> Cell) -> Self {
        Self::new(title, width, Side::Right, rank, cell)
    }
}

/// The column of sockets in one state, for rows that have `counts`: title, width, rank and state.
macro_rules! in_state {
    ($title:literal, $width:literal, $rank:literal, $state:expr) => {
        Column {
            key: Some(|row, _| greatest_first(row.counts[$state.index()])),
            ..Column::right($title, $width, $rank, |row, looks| {
                counted(row.counts[$state.index()], looks.theme, looks.theme.state($state))
            })
        }
    };
}
use in_state;

/// A column that fits: its place in the table, where it begins and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Place among the columns.
    pub column: usize,
    /// First terminal column.
    pub x: u16,
    /// Terminal columns.
    pub width: u16,
}

/// Columns of this rank or a greater one are shown only where those that grow have room for a sentence.
const SPARE: u8 = 6;

/// Terminal columns of a sentence.
const SENTENCE: u16 = 40;

/// The columns that fit into `width`, with one blank between two.
#[must_use]
pub fn fit<R>(columns: &[Column<R>], width: u16) -> Vec<Fit> {
    let mut chosen: Vec<usize> = (0..columns.len()).collect();
    let needed = |chosen: &[usize]| -> u16 {
        let is_spare = chosen.iter().any(|at| columns[*at].rank >= SPARE);
        let width = |column: &Column<R>| {
            if is_spare && column.grows {
                column.width.max(SENTENCE)
            } else {
                column.width
            }
        };
        let widths: u16 = chosen.iter().map(|at| width(&columns[*at])).sum();
        widths + u16::try_from(chosen.len().saturating_sub(1)).unwrap_or(u16::MAX)
    };
    while needed(&chosen) > width {
        let Some(last) = chosen
            .iter()
            .copied()
            .filter(|at| columns[*at].rank > 0)
            .max_by_key(|at| columns[*at].rank)
        else {
            break;
        };
        chosen.retain(|at| *at != last);
    }
    let taken: u16 = chosen.iter().map(|at| columns[*at].width + 1).sum();
    let left = (width + 1).saturating_sub(taken);
    let growing = chosen.iter().filter(|at| columns[**at].grows).count();
    let share = left.checked_div(u16::try_from(growing).unwrap_or(1)).unwrap_or(0);
    let mut x = 0;
    let mut fits = Vec::with_capacity(chosen.len());
    for at in chosen {
        let more = if columns[at].grows { share } else { 0 };
        let wide = (columns[at].width + more).min(width.saturating_sub(x));
        fits.push(Fit {
            column: at,
            x,
            width: wide,
        });
        x += wide + 1;
    }
    fits
}

/// Places of rows in the order of a column. Rows that are equal keep theirs.
#[must_use]
pub fn order<R>(
    rows: &[R],
    columns: &[Column<R>],
    by: usize,
    is_reversed: bool,
    looks: &Looks<'_>,
) -> Vec<u32> {
    let places = 0..u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let Some(key) = columns.get(by).and_then(|column| column.key) else {
        return places.collect();
    };
    let keys: Vec<SortKey> = rows.iter().map(|row| key(row, looks)).collect();
    let leading = keys.first().map_or(0, |first| common_bits(first, &keys));
    // One number of 16 bytes for each row is sorted several times faster than its whole key. The place comes last, so
    // that no two are equal.
    let mut keyed: Vec<u128> = places
        .zip(&keys)
        .map(|(at, key)| {
            let bits = bits_from(key, leading);
            let bits = if is_reversed { !bits } else { bits };
            u128::from(bits) << 32 | u128::from(at)
        })
        .collect();
    keyed.sort_unstable();
    let mut order: Vec<u32> = keyed.iter().map(|keyed| place(*keyed)).collect();
    // Whole keys decide among those that begin alike.
    let mut from = 0;
    for run in keyed.chunk_by(|a, b| a >> 32 == b >> 32) {
        let alike = &mut order[from..from + run.len()];
        if is_reversed {
            alike.sort_by(|a, b| keys[*b as usize].cmp(&keys[*a as usize]));
        } else {
            alike.sort_by_key(|at| keys[*at as usize]);
        }
        from += run.len();
    }
    order
}

/// The place of a row, which is the last part of what it was sorted by.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the other bits are not the place's"
)]
const fn place(keyed: u128) -> u32 {
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

/// A count in five characters at most.
#[must_use]
pub fn short(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..1_000_000 => format!("{}k", count / 1_000),
        1_000_000..10_000_000 => format!("{}.{}M", count / 1_000_000, count / 100_000 % 10),
        10_000_000..1_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

/// A rate in five characters at most.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are not negative, and far below 2^53"
)]
pub fn rate(per_second: f64) -> String {
    if per_second <= 0.0 {
        "0".to_owned()
    } else if per_second < 0.05 {
        "<0.1".to_owned()
    } else if per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        short(per_second.round() as u64)
    }
}

/// An age, `>` before a lower bound, `-` where there is none.
#[must_use]
pub fn age(age: Option<Age>) -> String {
    age.map_or_else(|| "-".to_owned(), human_age)
}

/// A count in which nothing does not stand out, and something may.
fn counted(count: u64, theme: Theme, style: Style) -> Cell {
    if count == 0 {
        Cell::new("0", theme.dim())
    } else {
        Cell::new(short(count), style)
    }
}

fn rated(per_second: f64, theme: Theme) -> Cell {
    let style = if per_second > 0.0 {
        theme.plain()
    } else {
        theme.dim()
    };
    Cell::new(rate(per_second), style)
}

/// An end's address that keeps its tail where it is longer than `width`: an IPv6 address begins alike for many.
fn clip_front(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let tail: String = text.chars().skip(count + 1 - width).collect();
    format!("…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn column(width: u16, rank: u8, grows: bool) -> Column<u8> {
        Column {
            title: "",
            width,
            side: Side::Left,
            rank,
            grows,
            cell: |_, _| Cell::plain(""),
            key: Some(|row, _| greatest_first(u64::from(*row))),
        }
    }

    #[test]
    fn the_least_important_columns_are_left_out_first_and_the_rest_grows() {
        let columns = [
            column(5, 0, false),
            column(10, 2, false),
            column(10, 1, false),
            column(5, 0, true),
        ];
        let widths = |width| -> Vec<(usize, u16, u16)> {
            let fits = fit(&columns, width);
            fits.iter().map(|fit| (fit.column, fit.x, fit.width)).collect()
        };
        assert_eq!(widths(40), [(0, 0, 5), (1, 6, 10), (2, 17, 10), (3, 28, 12)]);
        assert_eq!(widths(25), [(0, 0, 5), (2, 6, 10), (3, 17, 8)]);
        assert_eq!(widths(12), [(0, 0, 5), (3, 6, 6)]);
        assert_eq!(widths(8), [(0, 0, 5), (3, 6, 2)], "what is too narrow is cut");
    }

    #[test]
    fn a_sentence_comes_before_columns_to_spare() {
        let columns = [column(5, 0, false), column(5, SPARE, false), column(5, 0, true)];
        let widths = |width| fit(&columns, width).into_iter().map(|fit| fit.width);
        assert!(widths(51).eq([5, 45]));
        assert!(widths(52).eq([5, 5, SENTENCE]));
    }

    #[test]
    fn equal_rows_keep_their_order() {
        let columns = [column(1, 0, false)];
        let content = Content::default();
        let looks = Looks {
            theme: Theme::PLAIN,
            content: &content,
        };
        assert_eq!(order(&[1, 3, 3, 2], &columns, 0, false, &looks), [1, 2, 3, 0]);
        assert_eq!(order(&[1, 3, 3, 2], &columns, 0, true, &looks), [0, 3, 1, 2]);
        assert_eq!(order(&[1, 3], &columns, 9, true, &looks), [0, 1]);
    }

    #[test]
    fn the_order_is_that_of_whole_keys_wherever_they_begin_to_differ() {
        let columns = [Column {
            key: Some(|row: &SortKey, _| *row),
            ..Column::new("", 1, Side::Left, 0, |_: &SortKey, _: &Looks<'_>| Cell::plain(""))
        }];
        let content = Content::default();
        let looks = Looks {
            theme: Theme::PLAIN,
            content: &content,
        };
        // Bits of an arbitrary word, moved to every place at which keys may begin to differ.
        let word = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at << 7;
        for shift in 0..192_u32 {
            let rows: Vec<SortKey> = (0..64_u64)
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
                    let order = rows[*a as usize].cmp(&rows[*b as usize]);
                    if is_reversed { order.reverse() } else { order }
                });
                assert_eq!(
                    order(&rows, &columns, 0, is_reversed, &looks),
                    expected,
                    "{shift}"
                );
            }
        }
    }

    #[test]
    fn numbers_fit_in_five_characters() {
        for (count, text) in [
            (99_999, "99999"),
            (123_456, "123k"),
            (1_250_000, "1.2M"),
            (45_000_000, "45M"),
            (7_000_000_000, "7G"),
        ] {
            assert_eq!(short(count), text);
        }
        for (per_second, text) in [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.25, "0.2"),
            (9.96, "10"),
            (98.4, "98"),
        ] {
            assert_eq!(rate(per_second), text);
        }
        assert!(fastest_first(2.0) < fastest_first(1.5));
    }
}
