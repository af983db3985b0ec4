//! A table: titles, the rows that are seen, and where there are none, why.

use super::pen::Pen;
use crate::tui::{
    app::{App, Areas},
    columns::{Column, fit},
    place::Place,
};
use ratatui::layout::Rect;

/// Draws titles and rows.
pub(super) fn draw<R>(
    app: &App,
    pen: &mut Pen<'_>,
    body: Rect,
    rows: &[R],
    columns: &[Column<R>],
    areas: &mut Areas,
) {
    let fits = fit(columns, body.width);
    let sorted_by = app.order_of(&app.stop().place);
    for fit in &fits {
        let column = &columns[fit.column];
        let order = sorted_by.filter(|order| order.column == fit.column);
        let style = if order.is_some() {
            app.theme.chosen()
        } else {
            app.theme.title()
        };
        pen.put_field(
            body.x + fit.x,
            body.y,
            fit.width,
            column.side,
            column.title,
            style,
        );
        areas
            .titles
            .push((Rect::new(body.x + fit.x, body.y, fit.width, 1), fit.column));
    }
    let below = Rect {
        y: body.y + 1,
        height: body.height.saturating_sub(1),
        ..body
    };
    areas.rows = below;
    if app.rows().is_empty() {
        for (line, text) in (0..).zip(why_empty(app)) {
            pen.put(below.x, below.y + line, below.width, &text, app.theme.plain());
        }
        return;
    }
    let looks = app.looks();
    let cursor = &app.stop().cursor;
    let seen = app
        .rows()
        .iter()
        .enumerate()
        .skip(cursor.top)
        .take(usize::from(below.height));
    for (y, (place, row)) in (below.y..).zip(seen) {
        let Some(row) = rows.get(*row as usize) else {
            continue;
        };
        for fit in &fits {
            let column = &columns[fit.column];
            let cell = (column.cell)(row, &looks);
            pen.put_field(below.x + fit.x, y, fit.width, column.side, &cell.text, cell.style);
        }
        if place == cursor.at {
            pen.tint(Rect::new(below.x, y, below.width, 1), app.theme.chosen());
        }
    }
}

/// Why there are no rows, and what would bring some.
fn why_empty(app: &App) -> Vec<String> {
    let is_filtered = !app.filter.is_empty();
    let mut lines = match app.stop().place {
        Place::Findings => vec![
            "Nothing is wrong, as far as can be told.".to_owned(),
            "A finding appears when sockets pile up, stay too long in a state, or a limit comes near."
                .to_owned(),
        ],
        Place::Connections(_) if app.opened_from().is_empty() => {
            vec!["No TCP connections. They appear as soon as one is made.".to_owned()]
        }
        Place::Connections(_) => vec!["It has no connections any more. Esc goes back.".to_owned()],
        _ => vec!["No TCP sockets. They appear as soon as one is made.".to_owned()],
    };
    if is_filtered && app.stop().place != Place::Findings {
        lines[0] = format!("Nothing matches the filter {}.", app.filter);
        lines.push("f changes it; with nothing written, everything is shown.".to_owned());
    }
    lines
}
