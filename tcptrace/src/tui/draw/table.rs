//! Draws a table: titles, the visible rows or why there are none, and below it the full selected row if it was
//! shortened.

use super::{
    lines::{self, Line},
    pen::{Pen, width},
};
use crate::tui::{
    app::{App, Areas},
    columns::{Fit, Side},
    table::AnyTable,
};
use ratatui::layout::Rect;

/// Lines of a table that stay above a row in full: the titles and three rows.
const LEAST: u16 = 4;

pub(super) fn draw(app: &App, pen: &mut Pen<'_>, body: Rect, table: &dyn AnyTable, areas: &mut Areas) {
    let chosen = app.row_at_cursor();
    let detail = chosen.map_or_else(Vec::new, |row| table.detail(row, app, body.width));
    let needed = match detail.len() {
        0 => 0,
        lines => u16::try_from(lines + 1).unwrap_or(u16::MAX),
    };
    let below = needed.min(body.height.saturating_sub(LEAST));
    let list = Rect {
        height: body.height - below,
        ..body
    };
    titles_and_rows(app, pen, list, table, areas);
    let rest = Rect::new(body.x, list.bottom() + 1, body.width, below.saturating_sub(1));
    put_lines(pen, rest, &detail);
}

fn put_lines(pen: &mut Pen<'_>, area: Rect, lines: &[Line]) {
    for (y, line) in (area.y..area.bottom()).zip(lines) {
        lines::put(pen, area, y, line);
    }
}

/// The cell beside a title that shows in which direction rows are sorted: behind it, or before it at the edge of a table
/// of this width. `None` if the title leaves none.
fn arrow_at(fit: &Fit, columns: u16) -> Option<u16> {
    let title = width(fit.title).min(fit.width);
    let behind = match fit.side {
        Side::Left => fit.x + title,
        Side::Right => fit.x + fit.width,
    };
    if behind < columns {
        return Some(behind);
    }
    let free = fit.width - title;
    (fit.side == Side::Right && free > 0).then(|| fit.x + free - 1)
}

fn titles_and_rows(app: &App, pen: &mut Pen<'_>, body: Rect, table: &dyn AnyTable, areas: &mut Areas) {
    let order = app.order();
    let sorted_by = order.map(|order| order.column);
    let fits = table.fit(body.width, sorted_by);
    for fit in &fits {
        let style = if sorted_by == Some(fit.id) {
            app.theme.chosen()
        } else {
            app.theme.title()
        };
        pen.put_field(body.x + fit.x, body.y, fit.width, fit.side, fit.title, style);
        let area = Rect::new(body.x + fit.x, body.y, fit.width, 1);
        areas.titles.push((area, fit.id));
        if let Some(order) = order.filter(|order| order.column == fit.id) {
            let arrow = if order.is_reversed == fit.id.is_falling() {
                "↑"
            } else {
                "↓"
            };
            if let Some(x) = arrow_at(fit, body.width) {
                pen.put(body.x + x, body.y, 1, arrow, style);
            }
        }
    }
    let below = Rect {
        y: body.y + 1,
        height: body.height.saturating_sub(1),
        ..body
    };
    areas.rows = below;
    if app.rows().is_empty() {
        for (line, text) in (0..).zip(table.empty(app)) {
            pen.put(below.x, below.y + line, below.width, &text, app.theme.plain());
        }
        return;
    }
    let context = app.cell_context();
    let cursor = &app.current().cursor;
    let seen = app
        .rows()
        .iter()
        .enumerate()
        .skip(cursor.top)
        .take(usize::from(below.height));
    for (y, (at, row)) in (below.y..).zip(seen) {
        for fit in &fits {
            if let Some(cell) = table.cell(*row, fit, &context) {
                pen.put_field(below.x + fit.x, y, fit.width, fit.side, &cell.text, cell.style);
            }
        }
        if at == cursor.at {
            pen.tint(Rect::new(below.x, y, below.width, 1), app.theme.chosen());
        }
    }
}
