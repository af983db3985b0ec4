//! Text in a terminal column, where a character takes one cell, two or none.

use std::fmt;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A text that is padded with blanks to a width in cells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Padded<'a>(pub(crate) &'a str, pub(crate) usize);

impl fmt::Display for Padded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, cells) = *self;
        let blanks = cells.saturating_sub(text.width());
        write!(f, "{text}{:blanks$}", "")
    }
}

/// Truncates to a width in cells; `…` replaces the front of an IPv6 address or the end of a name.
pub(crate) fn clip(text: &str, cells: usize) -> String {
    if text.width() <= cells {
        return text.to_owned();
    }
    let mut room = cells.saturating_sub(1);
    let fits = |c: &char| {
        let left = room.checked_sub(c.width().unwrap_or(0));
        room = left.unwrap_or(room);
        left.is_some()
    };
    if text.starts_with('[') {
        let tail: Vec<char> = text.chars().rev().take_while(fits).collect();
        std::iter::once('…').chain(tail.into_iter().rev()).collect()
    } else {
        text.chars().take_while(fits).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_begins_at_the_same_cell_behind_wide_and_combining_characters() {
        for text in ["nginx", "名前", "e\u{301}vil", ""] {
            let line = format!("{}|", Padded(text, 8));
            assert_eq!(line.width(), 9, "{line}");
        }
        assert_eq!(format!("{}|", Padded("longer", 3)), "longer|");
    }

    #[test]
    fn what_is_cut_fits() {
        assert_eq!(clip("名前名前", 6), "名前…");
        assert_eq!(clip("名前", 4), "名前");
        assert_eq!(clip("leaky-server", 6), "leaky…");
        assert_eq!(clip("[2001:db8::1]:80", 6), "…1]:80");
    }
}
