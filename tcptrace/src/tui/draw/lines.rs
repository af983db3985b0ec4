//! Views that are no tables: lines of styled text that scroll.

use super::pen::Pen;
use crate::tui::app::{App, Areas};
use ratatui::{layout::Rect, style::Style};

/// Pieces of text one behind the other.
pub(super) type Line = Vec<(String, Style)>;

/// Lines in no style.
pub(super) fn plain(lines: &[String]) -> Vec<Line> {
    lines
        .iter()
        .map(|line| vec![(line.clone(), Style::new())])
        .collect()
}

/// Draws as many as there is room for, from where the user has scrolled to.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, body: Rect, lines: &[Line], areas: &mut Areas) {
    areas.rows = body;
    areas.lines = lines.len();
    let top = app.stop().cursor.top.min(lines.len().saturating_sub(1));
    for (y, line) in (body.y..body.bottom()).zip(lines.iter().skip(top)) {
        let mut x = body.x;
        for (text, style) in line {
            x = pen.put(x, y, body.right().saturating_sub(x), text, *style);
        }
    }
}

/// Breaks text into lines of `width` cells at most, each behind `indent` blanks.
pub(super) fn wrapped(text: &str, width: u16, indent: u16) -> Vec<String> {
    let room = usize::from(width.saturating_sub(indent)).max(1);
    let blanks = " ".repeat(usize::from(indent));
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let taken = usize::from(super::pen::width(&line));
        if taken > 0 && taken + 1 + usize::from(super::pen::width(word)) > room {
            lines.push(format!("{blanks}{line}"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(format!("{blanks}{line}"));
    }
    lines
}
