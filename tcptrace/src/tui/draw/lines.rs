//! Views that are not tables: lines of styled text that scroll.

use super::pen::Pen;
use crate::tui::app::{App, Areas};
use ratatui::{layout::Rect, style::Style};

/// Pieces of text one behind the other.
pub(in crate::tui) type Line = Vec<(String, Style)>;

/// Lines in no style.
pub(in crate::tui) fn plain(lines: &[String]) -> Vec<Line> {
    lines
        .iter()
        .map(|line| vec![(line.clone(), Style::new())])
        .collect()
}

/// Draws as many as there is room for, from where the user has scrolled to.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, body: Rect, lines: &[Line], areas: &mut Areas) {
    areas.rows = body;
    areas.lines = lines.len();
    let top = app.current().cursor.top.min(lines.len().saturating_sub(1));
    for (y, line) in (body.y..body.bottom()).zip(lines.iter().skip(top)) {
        put(pen, body, y, line);
    }
}

pub(super) fn put(pen: &mut Pen<'_>, area: Rect, y: u16, line: &Line) {
    let mut x = area.x;
    for (text, style) in line {
        x = pen.put(x, y, area.right().saturating_sub(x), text, *style);
    }
}

/// Breaks text into lines of `width` cells at most, each behind `indent` blanks.
pub(in crate::tui) fn wrapped(text: &str, width: u16, indent: u16) -> Vec<String> {
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
