//! Draws the model into cells, and reports their positions. Reads nothing else, and formats only what is seen.

mod bottom;
mod lines;
mod pen;
mod states;
mod table;
#[cfg(test)]
mod tests;
mod top;

use super::app::{App, Areas};
pub(super) use lines::{Line, plain as plain_lines, wrapped};
use pen::Pen;
use ratatui::{buffer::Buffer, layout::Rect};

/// Lines of the terminal below which the states have none.
const ROOM_FOR_STATES: u16 = 16;

/// Draws everything.
pub fn draw(app: &App, buffer: &mut Buffer) -> Areas {
    let screen = buffer.area;
    let mut pen = Pen::new(buffer);
    let mut y = top::header(app, &mut pen, screen);
    if screen.height >= ROOM_FOR_STATES {
        y = states::strip(app, &mut pen, screen, y);
    }
    let mut areas = Areas {
        tabs: top::tabs(app, &mut pen, screen, y),
        ..Areas::default()
    };
    y += 1;
    let caption = y;
    y += 1;
    let body = Rect {
        x: screen.x,
        y: y.min(screen.bottom()),
        width: screen.width,
        height: screen.bottom().saturating_sub(y + 1),
    };
    let route = app.current().route;
    match route.view().table() {
        Some(table) => table::draw(app, &mut pen, body, table, &mut areas),
        None => lines::draw(
            app,
            &mut pen,
            body,
            &route.view().lines(app, body.width),
            &mut areas,
        ),
    }
    top::caption(app, &mut pen, screen, caption, &areas);
    if screen.height > 0 {
        bottom::footer(app, &mut pen, screen);
    }
    areas
}

/// All lines of a view that has no table, as text.
pub(super) fn text_of_lines(app: &App) -> String {
    let mut text = String::new();
    for line in app.current().route.view().lines(app, app.areas.rows.width) {
        let begin = text.len();
        for (piece, _) in line {
            text.push_str(&piece);
        }
        text.truncate(begin + text[begin..].trim_end().len());
        text.push('\n');
    }
    text
}
