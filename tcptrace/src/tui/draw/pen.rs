//! Puts text into cells. A character may take two of them, or none.

use crate::tui::columns::Side;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};
use unicode_width::UnicodeWidthStr as _;

/// Writes into a buffer, never beyond it.
pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
}

impl<'a> Pen<'a> {
    pub(super) fn new(buffer: &'a mut Buffer) -> Self {
        Self { buffer }
    }

    /// Writes from (`x`, `y`) on, into `width` cells at most; what does not fit ends in `…`. Returns the cell behind it.
    pub(super) fn put(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
        let area = self.buffer.area;
        if y >= area.bottom() || x >= area.right() || width == 0 {
            return x;
        }
        let width = width.min(area.right() - x);
        if text.width() <= usize::from(width) {
            return self.buffer.set_stringn(x, y, text, usize::from(width), style).0;
        }
        let (end, _) = self.buffer.set_stringn(x, y, text, usize::from(width - 1), style);
        self.buffer.set_stringn(end, y, "…", 1, style).0
    }

    /// Writes on one side of a field.
    pub(super) fn put_field(&mut self, x: u16, y: u16, width: u16, side: Side, text: &str, style: Style) {
        let taken = u16::try_from(text.width()).unwrap_or(u16::MAX);
        let blank = match side {
            Side::Left => 0,
            Side::Right => width.saturating_sub(taken),
        };
        self.put(x + blank, y, width - blank, text, style);
    }

    /// Adds a style to all cells of an area.
    pub(super) fn tint(&mut self, area: Rect, style: Style) {
        self.buffer.set_style(area, style);
    }
}

/// Cells that a text takes.
pub(super) fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}
